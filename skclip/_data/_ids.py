"""Convert raw ids of any type to codes and back; check what can be an id."""

import itertools
from collections.abc import Mapping
from decimal import Decimal
from numbers import Integral

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data._ragged import blocks
from skclip._warnings import warn_once
from skclip.exceptions import IdTypeWarning

_TEXT_WIDTH = 256  # longer ids would make a fixed-width array wasteful
_MOST_WASTE = 4  # largest ratio of a fixed-width array to the characters in it
_HOW_TO_JOIN = "Pass the parts: concat([first, second]) or first.concat(second)."


def factorize(values):
    """Dictionary-encode a flat array of ids without missing values.

    Returns the distinct ids in native order and int32 codes: ``vocabulary[codes]``
    equals ``values``. Ids that cannot be compared are ordered by type name and repr.
    """
    if values.dtype.kind in "OUST":
        return _factorize_hashable(values.tolist())
    if values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        dense = high - low < 4 * len(values) + 1024
        if dense and low > -(2**62) and high < 2**62:  # no sort needed
            present = np.zeros(high - low + 1, dtype=bool)
            for block in blocks(len(values)):
                present[values[block].astype(np.int64) - low] = True
            lookup = np.cumsum(present, dtype=np.int32)
            lookup -= 1
            codes = np.empty(len(values), dtype=np.int32)
            for block in blocks(len(values)):
                codes[block] = lookup[values[block].astype(np.int64) - low]
            found = np.flatnonzero(present) + low
            return found.astype(values.dtype), codes
    return _factorize_by_sort(values)


def _factorize_by_sort(values):
    """Like ``np.unique(values, return_inverse=True)``, with half of its memory."""
    order = np.argsort(values)
    ascending = values[order]
    new = np.ones(len(values), dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
    vocabulary = ascending[new]
    del ascending
    ranks = np.cumsum(new, dtype=np.int32)
    ranks -= 1
    codes = np.empty(len(values), dtype=np.int32)
    codes[order] = ranks
    return vocabulary, codes


def factorize_list(values):
    """Dictionary-encode a list of Python ids of any hashable type."""
    kinds = set(map(type, values))
    if not kinds:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    if all(issubclass(k, Integral) and k is not bool for k in kinds):
        try:
            return factorize(np.asarray(values, dtype=np.int64))
        except OverflowError:
            pass
    elif all(issubclass(k, (Integral, float, np.floating)) for k in kinds):
        array = np.asarray(values, dtype=np.float64)
        if all(k is not bool for k in kinds) and (abs(array) < 2**53).all():
            return factorize(array)
    return _factorize_hashable(values)


def _factorize_hashable(values):
    values = python_numbers(values)
    index = {}
    codes = np.fromiter(
        (index.setdefault(value, len(index)) for value in values),
        dtype=np.int32,
        count=len(values),
    )
    order = _sorted_positions(list(index))
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    keys = list(index)
    return as_id_array([keys[i] for i in order]), rank[codes]


def python_numbers(values):
    """Convert NumPy numbers in a list, which not all Python numbers compare with."""
    theirs = (np.number, np.bool_)
    if any(issubclass(kind, theirs) for kind in set(map(type, values))):
        return [v.item() if isinstance(v, theirs) else v for v in values]
    return values


def _sorted_positions(keys):
    try:
        return sorted(range(len(keys)), key=keys.__getitem__)
    except (TypeError, ValueError):
        return sorted(
            range(len(keys)), key=lambda i: (type(keys[i]).__name__, repr(keys[i]))
        )


def as_id_array(ids):
    """Store ids as a 1-D array: fixed-width text if that is exact, else objects."""
    if ids and all(isinstance(i, str) and not i.endswith("\0") for i in ids):
        lengths = list(map(len, ids))
        longest, total = max(lengths), sum(lengths)
        # One long id would set the width for all of them.
        spacious = longest * len(ids) > _MOST_WASTE * total + 1024
        if longest <= _TEXT_WIDTH and not spacious:
            return np.array(ids, dtype=np.str_)
    array = np.empty(len(ids), dtype=object)
    array[:] = ids
    return array


def parts_to_join(parts, kind):
    """Return the arguments of `concat`, single or in a list, as a list.

    If `concat` is called on an object of `kind`, that object is the first part.
    """
    if len(parts) == 1 and not isinstance(parts[0], kind):
        (given,) = parts
        single = isinstance(given, (str, bytes, Mapping))
        single = single or hasattr(given, "ndim") or hasattr(given, "columns")
        if single or not hasattr(given, "__iter__"):
            raise TypeError(f"concat is given a {type(given).__name__}. {_HOW_TO_JOIN}")
        parts = list(given)
        if not parts:
            raise ValueError("concat got no parts. Pass at least one.")
    elif len(parts) < 2:
        raise TypeError(f"concat got nothing to join. {_HOW_TO_JOIN}")
    flat = []
    for part in parts:
        several = isinstance(part, (list, tuple)) and len(part) > 0
        several = several and all(isinstance(x, kind) for x in part)
        flat += part if several else [part]
    return flat


def as_list(values, what, *, ordered=False, of="ids"):
    """Return the ids that a caller passes, in whatever container, as a flat list.

    Parameters
    ----------
    values : sequence, set, array, Series, pyarrow array, or frame of one column
    what : str
        Name of the argument, for messages.
    ordered : bool, default=False
        Whether the order matters, so that a set is refused.
    of : str, default="ids"
        Name of the values in plural, for messages.

    Returns
    -------
    values : list
        Python values. Elements may be lists if each row has its own ids.

    Raises
    ------
    TypeError
        If `values` is a single value, a mapping, a frame of several columns, or a set
        although the order matters.
    ValueError
        If it has masked cells.
    """
    if isinstance(values, list):
        return _plain_values(values)
    if values is None:
        raise TypeError(f"{what} is None. Pass a list of {of}.")
    if isinstance(values, Mapping):
        raise TypeError(
            f"{what} is a {type(values).__name__}: {values!r:.40}. Expected {of}. Pass "
            f"list({what}) for its keys, list({what}.values()) for its values."
        )
    native = nw.from_native(as_table(values), allow_series=True, pass_through=True)
    if isinstance(native, (nw.DataFrame, nw.LazyFrame)):
        columns = native.collect_schema().names()
        if len(columns) != 1:
            raise TypeError(
                f"{what} is a data frame with the columns {columns}. Pass one of them."
            )
        native = native.lazy().collect().get_column(columns[0])
    if isinstance(native, nw.Series):
        return native.to_list()
    single = not hasattr(values, "__iter__") or getattr(values, "ndim", 1) == 0
    if isinstance(values, (str, bytes)) or single:
        value = values.item() if getattr(values, "ndim", None) == 0 else values
        kind = type(value).__name__
        article = "an" if kind[0] in "aeiou" else "a"
        raise TypeError(
            f"{what} is {article} {kind}: {value!r:.40}. Expected a list of {of}. "
            f"Wrap a single one: [{value!r:.40}]."
        )
    if ordered and isinstance(values, (set, frozenset)):
        raise TypeError(
            f"{what} is a {type(values).__name__}, which has no order. Expected a list "
            f"of {of}, one for each row."
        )
    if isinstance(values, np.ma.MaskedArray):
        if values.ndim == 2:  # masked cells are padding
            return [python_values(row.compressed()) for row in values]
        if np.ma.getmaskarray(values).any():
            raise ValueError(
                f"{what} has masked cells. Drop them: {what}.compressed()."
            )
        values = np.asarray(values)
    if isinstance(values, np.ndarray):
        return python_values(values)
    for method in ("to_pylist", "tolist", "as_py"):
        if hasattr(values, method):
            return getattr(values, method)()
    return _plain_values(list(values))


def unmasked(values, what):
    """Return an array of numbers; refuse masked cells."""
    if np.ma.is_masked(values):
        raise ValueError(f"{what} has masked cells. Expected a value in each cell.")
    return np.asarray(values)


def as_table(values):
    """Return a pyarrow RecordBatch as a Table, and anything else unchanged."""
    if type(values).__name__ == "RecordBatch":
        import pyarrow

        return pyarrow.Table.from_batches([values])
    return values


def _plain_values(values):
    """Return a list with Python values instead of scalars of pyarrow."""
    if any(hasattr(kind, "as_py") for kind in set(map(type, values))):
        return [v.as_py() if hasattr(v, "as_py") else v for v in values]
    return values


def without_padding(rows, padding):
    """Return rows without trailing padding; warn if they seem to have some.

    `rows` is the argument of `Sessions.from_lists`.
    """
    if padding is None:
        matrix = np.ndim(rows) == 2 if isinstance(rows, np.ndarray) else False
        if matrix and rows.dtype.kind in "iu" and rows.shape[1] > 1:
            warn_trailing_zeros(rows, "sessions")
        return rows
    cut = []
    for row in rows:
        row = row if isinstance(row, (list, tuple, np.ndarray)) else list(row)
        n = len(row)
        while n and row[n - 1] == padding:
            n -= 1
        cut.append(row[:n])
    return cut


def warn_trailing_zeros(X, name, owner=None):
    """Warn if the zeros of an integer matrix occur only at the ends of rows.

    Each `owner` is warned about once.
    """
    zeros = np.cumprod(X[:, ::-1] == 0, axis=1).sum(axis=1)
    n = int((zeros > 0).sum())
    if n and (X == 0).sum() == zeros.sum():
        message = (
            f"{n} of {len(X)} rows of {name} end in zeros, which are read as items. "
            f"If they are padding, pass Sessions.from_lists({name}, padding=0)."
        )
        warn_once(owner, (name, "zeros"), message, IdTypeWarning)


def encode_rows(rows):
    """Return vocabulary, codes and offsets of rows of ids; refuse wrong rows."""
    rows = [row if type(row) in (list, tuple) else plain_row(row) for row in rows]
    for i, row in enumerate(rows):
        if isinstance(row, (list, tuple, range)) or getattr(row, "ndim", 0) == 1:
            continue
        row, fix = plain(row), "Pass a list, a tuple or a 1-D array."
        if _is_single(row):
            fix = f"Wrap a single item: [{row!r:.40}]."
            if row is None:
                fix = "Pass [] for an empty session, or leave it out."
            elif all(map(_is_single, rows)):
                fix = (
                    "For one session of these items pass [X]. Wrap each item if it is "
                    f"a session of its own: [[{row!r:.40}], ...]."
                )
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
    flat = _plain_values(flat)
    if needs_care(flat):
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


def _is_single(value):
    """Whether this is a single id and not a sequence."""
    return isinstance(value, (str, bytes)) or not hasattr(value, "__iter__")


def plain_row(row):
    """Return a row as a list, a tuple or an array without a mask, if possible."""
    if isinstance(row, np.ma.MaskedArray) and row.ndim:
        return row.compressed() if row.ndim == 1 else row
    if hasattr(row, "as_py"):  # a pyarrow scalar
        return row.as_py()
    if isinstance(row, (np.ndarray, np.generic)) or not hasattr(row, "__array__"):
        return row
    return np.asarray(row)


def needs_care(values):
    """Whether some values may not be ids: all but text, bytes and whole numbers."""
    return not all(map(_may_be_id, set(map(type, values))))


def _may_be_id(kind):
    """Whether every value of this type is an id; False for floats, because of NaN."""
    return issubclass(kind, (int, str, bytes, np.integer))


def is_id(value):
    """Whether a hashable value is an id: not missing, not NaN, not infinite."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return False
    if isinstance(value, (float, np.floating)):
        return bool(np.isfinite(value))
    if isinstance(value, Decimal):
        return value.is_finite()
    return value == value if isinstance(value, np.datetime64) else True


def is_nan(value):
    """Whether a value is NaN, the padding of 2-D arrays."""
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, (float, np.floating)) and value != value


def plain(value):
    """Convert a NumPy scalar to a Python value for messages; dates stay as they are."""
    is_scalar = isinstance(value, np.generic) and value.dtype.kind not in "mM"
    return value.item() if is_scalar else value


def python_values(array):
    """Return Python values, with dates as datetimes instead of nanoseconds."""
    return (
        array.astype("datetime64[us]") if array.dtype.kind == "M" else array
    ).tolist()


def labels(values, what="ids"):
    """Return session or user ids as a 1-D array of their types; None if missing."""
    if isinstance(values, np.ma.MaskedArray):
        values = values.tolist()
    values = as_list(values, what, ordered=True)
    known = np.array([not is_missing(value) for value in values], dtype=bool)
    check_hashable(values, what)
    vocabulary, of_known = factorize_list(
        [v for v, k in zip(values, known, strict=True) if k]
    )
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[known] = of_known
    return with_gaps(vocabulary, codes)


def own_codes(ids, n):
    """Codes of the ids of `n` sessions. Each missing id gets its own code."""
    if ids is None:
        return np.arange(n)
    known = np.array([value is not None for value in ids.tolist()], dtype=bool)
    codes = np.empty(n, dtype=np.int64)
    vocabulary, codes[known] = factorize(ids[known])
    codes[~known] = len(vocabulary) + np.arange(n - known.sum())
    return codes


def with_gaps(vocabulary, codes):
    """Ids of codes, None if the code is -1."""
    missing = codes < 0
    if not missing.any():
        return vocabulary[codes]
    known = as_id_array([*vocabulary.tolist(), None])  # -1 is the last
    return known.astype(object)[codes]


def is_missing(value):
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return is_nan(value)


def _refuse_id(flat, offsets, bad):
    at = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(offsets, at, side="right")) - 1
    value = plain(flat[at])
    where = f"Session {row} of X, position {at - int(offsets[row])}"
    if not is_hashable(value):
        raise TypeError(
            f"{where}: the item is a {type(value).__name__}: {value!r:.40}. An item "
            "argument must be hashable, such as a string or a number."
        )
    raise ValueError(
        f"{where}: the item id is {value!r}. Expected a finite number, text or "
        "another hashable id. Drop events without an item before you build sessions. "
        "Only in a 2-D array NaN marks padding."
    )


def check_hashable(values, what):
    """Refuse values that cannot be ids because they cannot be hashed."""
    bad = [not is_hashable(value) for value in values] if needs_care(values) else ()
    if any(bad):
        at = bad.index(True)
        raise TypeError(
            f"{what} holds a {type(values[at]).__name__}: {values[at]!r:.40}. Expected "
            "hashable ids, such as strings or numbers."
        )


def is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True
