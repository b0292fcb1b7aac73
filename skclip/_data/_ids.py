"""Raw ids of any type to codes and back; what may stand in a session."""

import itertools
from collections.abc import Mapping
from functools import cached_property
from numbers import Integral

import narwhals.stable.v2 as nw
import numpy as np

from skclip._sklearn import warn_user
from skclip.exceptions import IdTypeWarning

_TEXT_WIDTH = 256  # longer ids would make a fixed-width array wasteful
_MOST_WASTE = 4  # times the characters that there are
_HOW_TO_JOIN = "Pass what to join: concat([first, second]) or first.concat(second)."


def factorize(values):
    """Dictionary-encode a flat array of ids without missing values.

    Returns the distinct ids in native order (what cannot be compared by type name, then
    repr) and int32 codes: ``vocabulary[codes]`` equals ``values``.
    """
    if values.dtype.kind in "OUST":
        return _factorize_hashable(values.tolist())
    if values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        dense = high - low < 4 * len(values) + 1024
        if dense and low > -(2**62) and high < 2**62:  # no sort needed
            shifted = values.astype(np.int64) - low
            present = np.zeros(high - low + 1, dtype=bool)
            present[shifted] = True
            lookup = np.cumsum(present, dtype=np.int32) - np.int32(1)
            found = np.flatnonzero(present) + low
            return found.astype(values.dtype), lookup[shifted]
    vocabulary, codes = np.unique(values, return_inverse=True)
    return vocabulary, codes.astype(np.int32)


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


def _sorted_positions(keys):
    try:
        return sorted(range(len(keys)), key=keys.__getitem__)
    except (TypeError, ValueError):
        return sorted(
            range(len(keys)), key=lambda i: (type(keys[i]).__name__, repr(keys[i]))
        )


def as_id_array(ids):
    """Store ids as a 1-D array: fixed-width text where that is exact, else objects."""
    if ids and all(isinstance(i, str) and not i.endswith("\0") for i in ids):
        lengths = list(map(len, ids))
        longest, total = max(lengths), sum(lengths)
        # One long id would give all of them its width.
        spacious = longest * len(ids) > _MOST_WASTE * total + 1024
        if longest <= _TEXT_WIDTH and not spacious:
            return np.array(ids, dtype=np.str_)
    array = np.empty(len(ids), dtype=object)
    array[:] = ids
    return array


def parts_to_join(parts, kind):
    """What `concat` is given, one by one or in a list, as a list.

    Called on an object of `kind`, that object is the first part.
    """
    if len(parts) == 1 and not isinstance(parts[0], kind):
        (given,) = parts
        single = isinstance(given, (str, bytes, Mapping))
        single = single or hasattr(given, "ndim") or hasattr(given, "columns")
        if single or not hasattr(given, "__iter__"):
            raise TypeError(f"concat is given a {type(given).__name__}. {_HOW_TO_JOIN}")
        parts = list(given)
        if not parts:
            raise ValueError("concat needs at least one part.")
    elif len(parts) < 2:
        raise TypeError(f"concat has nothing to join. {_HOW_TO_JOIN}")
    flat = []
    for part in parts:
        several = isinstance(part, (list, tuple)) and len(part) > 0
        several = several and all(isinstance(x, kind) for x in part)
        flat += part if several else [part]
    return flat


def append_ids(ids, new):
    """Ids followed by new ones, in one type if that is exact, else as objects."""
    kinds = {ids.dtype.kind, new.dtype.kind}
    if len(kinds) == 1 and kinds <= set("iufUb"):
        return np.concatenate([ids, new])
    array = np.empty(len(ids) + len(new), dtype=object)
    array[:] = ids.tolist() + new.tolist()
    return array


class CatalogMixin:
    """Keeps the index of ``item_ids_`` as ``_index``, outside the state."""

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_index", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "item_ids_" in state:
            self._index = ItemIndex(self.item_ids_)


class ItemIndex:
    """Codes 1..n_items of raw ids, in the order of ``item_ids``; 0 = not among them.

    The order is the catalog's: sorted after ``fit``, append-only afterwards.
    """

    def __init__(self, item_ids):
        self.item_ids = item_ids
        if (
            item_ids.dtype.kind in "bif"
            or item_ids.dtype.kind == "u"
            and (
                item_ids.dtype.itemsize < 8  # uint64 compares with int64 as float
            )
        ):
            self._sorter = np.argsort(item_ids, kind="stable")
            self._sorted = item_ids[self._sorter]
            self._codes = None
        else:
            self._codes = {item: i for i, item in enumerate(item_ids.tolist(), 1)}

    def __len__(self):
        return len(self.item_ids)

    @cached_property
    def text_widths(self):
        """Lengths of the ids that are text of digits, at most a few."""
        if self.item_ids.dtype.kind not in "UO":
            return ()
        ids = self.item_ids[:: max(1, len(self) // 1000)].tolist()
        return {len(i) for i in ids if isinstance(i, (str, bytes)) and i.isdigit()}

    def codes_of(self, ids):
        """Codes of an array of raw ids, int32, 0 where the id is unknown."""
        if self._codes is not None:
            get = self._codes.get
            return np.fromiter(
                (get(i, 0) for i in ids.tolist()), dtype=np.int32, count=len(ids)
            )
        codes = np.zeros(len(ids), dtype=np.int32)
        if len(self) == 0 or ids.dtype.kind not in "biufO":
            return codes
        values, exact = self._as_own_type(ids)
        at = np.searchsorted(self._sorted, values)
        at[at == len(self)] = 0
        exact &= self._sorted[at] == values
        codes[exact] = self._sorter[at[exact]] + 1
        return codes

    def _as_own_type(self, ids):
        """Numbers in the type of the catalog, and which of them are still exact."""
        kind = "f" if self._sorted.dtype.kind == "f" else "i"
        own = np.float64 if kind == "f" else np.int64
        if ids.dtype.kind in ("b", "i") and kind == "i":
            return ids.astype(np.int64), np.ones(len(ids), dtype=bool)
        if ids.dtype.kind == "f" and kind == "f":
            return ids.astype(np.float64), np.ones(len(ids), dtype=bool)
        if ids.dtype.kind == "f":
            exact = (abs(ids) < 2.0**63) & (np.floor(ids) == ids)
            return np.where(exact, ids, 0).astype(np.int64), exact
        values, exact = np.zeros(len(ids), dtype=own), np.zeros(len(ids), dtype=bool)
        for i, value in enumerate(ids.tolist()):
            value = value.item() if isinstance(value, np.generic) else value
            try:  # Python compares whole numbers and floats exactly
                values[i] = value
                exact[i] = values[i].item() == value
            except (TypeError, ValueError, OverflowError):
                continue
        return values, exact


def as_list(values, what):
    """A flat list of what a caller passes as ids, whatever array holds them.

    Parameters
    ----------
    values : sequence, set, array, Series, pyarrow array, or frame of one column
    what : str
        What it is, for messages.

    Returns
    -------
    values : list
        Python values; elements may be lists, where each row has ids of its own.

    Raises
    ------
    TypeError
        It is one value, a mapping, a frame of several columns, or a matrix.
    ValueError
        It has masked cells.
    """
    if isinstance(values, list):
        return values
    if isinstance(values, Mapping):
        raise TypeError(
            f"{what} is a {type(values).__name__}: {values!r:.40}. Expected ids. Pass "
            f"list({what}) for its keys, list({what}.values()) for its values."
        )
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise TypeError(
            f"{what} is a {type(values).__name__}: {values!r:.40}. Expected a list of "
            f"ids. Wrap a single one: [{values!r:.40}]."
        )
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            raise ValueError(
                f"{what} has masked cells. Drop them: {what}.compressed()."
            )
        values = np.asarray(values)
    if isinstance(values, np.ndarray):
        return python_values(values)
    native = nw.from_native(values, allow_series=True, pass_through=True)
    if isinstance(native, (nw.DataFrame, nw.LazyFrame)):
        columns = native.collect_schema().names()
        if len(columns) != 1:
            raise TypeError(
                f"{what} is a data frame of the columns {columns}. Pass one of them."
            )
        native = native.lazy().collect().get_column(columns[0])
    if isinstance(native, nw.Series):
        return native.to_list()
    for method in ("to_pylist", "tolist"):
        if hasattr(values, method):
            return getattr(values, method)()
    return list(values)


def without_padding(rows, padding):
    """Rows without the ends that are padding; warns where they look like it.

    `rows` is whatever `Sessions.from_lists` is given.
    """
    if padding is None:
        matrix = np.ndim(rows) == 2 if isinstance(rows, np.ndarray) else False
        if matrix and rows.dtype.kind in "iu" and rows.shape[1] > 1:
            warn_trailing_zeros(rows)
        return rows
    cut = []
    for row in rows:
        row = row if isinstance(row, (list, tuple, np.ndarray)) else list(row)
        n = len(row)
        while n and row[n - 1] == padding:
            n -= 1
        cut.append(row[:n])
    return cut


def warn_trailing_zeros(X):
    """Warn if the zeros of an integer matrix stand at the ends of rows alone."""
    zeros = np.cumprod(X[:, ::-1] == 0, axis=1).sum(axis=1)
    n = int((zeros > 0).sum())
    if n and (X == 0).sum() == zeros.sum():
        warn_user(
            f"{n} of {len(X)} rows of X end in zeros, which are taken as items. If "
            "they are padding, pass Sessions.from_lists(X, padding=0).",
            IdTypeWarning,
        )


def encode_rows(rows):
    """Vocabulary, codes and offsets of rows of ids; refuse what is no session."""
    rows = [
        row
        if isinstance(row, (list, tuple, np.ndarray, np.generic))
        or not hasattr(row, "__array__")
        else np.asarray(row)
        for row in rows
    ]
    for i, row in enumerate(rows):
        if isinstance(row, (list, tuple, range)) or getattr(row, "ndim", 0) == 1:
            continue
        row, fix = plain(row), "Pass a list, a tuple or a 1-D array."
        if _is_single(row):
            fix = f"Wrap a single item: [{row!r:.40}]."
            if all(map(_is_single, rows)):
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


def _is_single(value):
    """Whether this is one id and no sequence."""
    return isinstance(value, (str, bytes)) or not hasattr(value, "__iter__")


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


def plain(value):
    """A NumPy scalar as a Python value, for messages; dates stay as they are."""
    is_scalar = isinstance(value, np.generic) and value.dtype.kind not in "mM"
    return value.item() if is_scalar else value


def python_values(array):
    """Python values; dates as datetimes, not as counts of nanoseconds."""
    return (
        array.astype("datetime64[us]") if array.dtype.kind == "M" else array
    ).tolist()


def labels(values):
    """Session or user ids as a 1-D array that keeps their types; None where missing."""
    values = as_list(values, "ids")
    known = np.array([not _is_missing(value) for value in values], dtype=bool)
    vocabulary, of_known = factorize_list(
        [v for v, k in zip(values, known, strict=True) if k]
    )
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[known] = of_known
    return with_gaps(vocabulary, codes)


def with_gaps(vocabulary, codes):
    """Ids of codes, None where the code is -1."""
    missing = codes < 0
    if not missing.any():
        return vocabulary[codes]
    array = np.empty(len(codes), dtype=object)
    array[~missing] = vocabulary[codes[~missing]].tolist()
    return array


def _is_missing(value):
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
        "another hashable id. Drop events without an item before building sessions "
        "(NaN marks padding only in a 2-D array)."
    )


def is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True
