"""Rows of raw item ids: what may stand in a session, and its codes."""

import itertools

import numpy as np

from skclip._ids import factorize, factorize_list
from skclip._tabular import is_hashable


def encode_rows(rows):
    """Vocabulary, codes and offsets of rows of ids; refuse what is no session."""
    rows = [
        row
        if isinstance(row, (list, tuple, np.ndarray)) or not hasattr(row, "__array__")
        else np.asarray(row)
        for row in rows
    ]
    for i, row in enumerate(rows):
        if isinstance(row, (list, tuple, range)) or getattr(row, "ndim", 0) == 1:
            continue
        fix = "Pass a list, a tuple or a 1-D array."
        if isinstance(row, (str, bytes)) or not hasattr(row, "__iter__"):
            fix = f"Wrap a single item: [{row!r:.40}]."
            if i == 0 and len(rows) > 1:
                fix = f"For one session of these items pass [X]; for sessions, {fix}"
        raise TypeError(
            f"Session {i} of X is a {type(row).__name__}: {row!r:.40}. "
            f"Expected a sequence of item ids. {fix}"
        )
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    arrays = [row for row in rows if isinstance(row, np.ndarray)]
    kinds = {row.dtype.kind for row in arrays}
    if len(arrays) == len(rows) and kinds and kinds <= set("iuf") and len(kinds) == 1:
        flat = np.concatenate(rows)
        if flat.dtype.kind == "f" and not np.isfinite(flat).all():
            _refuse_id(flat, offsets, ~np.isfinite(flat))
        return *factorize(flat), offsets
    flat = list(
        itertools.chain.from_iterable(
            python_values(row) if isinstance(row, np.ndarray) else row for row in rows
        )
    )
    kinds = set(map(type, flat))
    if any(not _may_be_id(kind) for kind in kinds):
        bad = np.array([not is_id(value) for value in flat], dtype=bool)
        if bad.any():
            _refuse_id(flat, offsets, bad)
    try:
        vocabulary, codes = factorize_list(flat)
    except TypeError:
        bad = np.array([not is_hashable(value) for value in flat], dtype=bool)
        if not bad.any():
            raise
        _refuse_id(flat, offsets, bad)
    return vocabulary, codes, offsets


def _may_be_id(kind):
    """Whether every value of this type is an id (no float, which may be NaN)."""
    return issubclass(kind, (int, str, bytes, np.integer))


def is_id(value):
    """Whether a hashable value is an id: not missing, not NaN, not infinite."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return False
    if isinstance(value, (float, np.floating)):
        return bool(np.isfinite(value))
    return value == value if isinstance(value, np.datetime64) else True


def is_nan(value):
    """Whether a value is a NaN, which pads 2-D arrays."""
    return isinstance(value, (float, np.floating)) and value != value


def python_values(array):
    """Python values; dates as datetimes, not as counts of nanoseconds."""
    return (
        array.astype("datetime64[us]") if array.dtype.kind == "M" else array
    ).tolist()


def labels(values):
    """Session or user ids as an array that keeps their types."""
    if isinstance(values, np.ndarray):
        return values
    vocabulary, codes = factorize_list(list(values))
    return vocabulary[codes]


def _refuse_id(flat, offsets, bad):
    at = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(offsets, at, side="right")) - 1
    value = flat[at].item() if isinstance(flat, np.ndarray) else flat[at]
    where = f"Session {row} of X, position {at - int(offsets[row])}"
    if not is_hashable(value):
        raise TypeError(
            f"{where}: the item is a {type(value).__name__}: {value!r:.40}. An item "
            "argument must be hashable, such as a string or a number."
        )
    raise ValueError(
        f"{where}: the item id is {value!r}. Expected a finite number, text or "
        "another hashable id. Drop events without an item before building sessions "
        "(NaN marks padding only in a 2-D array)."
    )
