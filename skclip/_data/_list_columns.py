"""Columns of lists: one session per row of a data frame."""

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data._event_columns import column_of_events
from skclip._data._frames import encoded
from skclip._data._ids import encode_rows, is_missing, labels
from skclip._data._sessions import Sessions

_SEQUENCES = (list, tuple, np.ndarray)
_TEXT = (nw.String, nw.Categorical, nw.Enum)
_WHOLE = (nw.Int8, nw.Int16, nw.Int32, nw.Int64, nw.UInt8, nw.UInt16, nw.UInt32)


def as_series(array):
    """A pyarrow Array as a narwhals Series."""
    import pyarrow

    return nw.from_native(pyarrow.chunked_array([array]), series_only=True)


def holds_lists(series):
    """Whether the values of a column are lists; missing values are ignored."""
    if series.dtype in (nw.List, nw.Array):
        return True
    if not series.implementation.is_pandas_like():
        return series.dtype in (nw.Unknown, nw.Object)
    known = series.drop_nulls()
    return len(known) == 0 or isinstance(known[0], _SEQUENCES)


def sessions_of_column(series, *, may_miss=False, **columns):
    """`Sessions` of a Series of lists.

    Parameters
    ----------
    series : narwhals Series
    may_miss : bool, default=False
        Whether missing lists become empty sessions. Otherwise they are refused.
    **columns : narwhals Series
        Times, weights and events with one list per session, and users with one value.
    """
    parts = None
    if may_miss:
        parts = _encoded_lists(_in_arrow(series))
    elif not series.null_count():
        parts = _encoded_lists(series)
    if parts is None:
        parts = encode_rows(_python_lists(series, may_miss))
    vocabulary, codes, offsets = parts
    users = columns.pop("users", None)
    given = {"users": None if users is None else labels(users, "users")}
    for name, values in columns.items():
        given |= _aligned(name, values, offsets)
    return Sessions._of_fresh(codes, offsets, vocabulary, **given)


def _encoded_lists(series):
    """Vocabulary, codes and offsets, without Python lists if that is exact.

    polars and pyarrow hold the values of all lists in one array. Whole numbers and text
    are read from there. Other values are read by `encode_rows`, which checks each id.
    """
    flat = _flat(series)
    if flat is None:
        return None
    values, offsets = flat
    if values.null_count() or values.dtype not in (*_TEXT, *_WHOLE):
        return None
    if values.dtype in _WHOLE:
        values = values.cast(nw.Int64)  # the type that Python's numbers would get
    return *encoded(values, "items", "item"), offsets


def _flat(series):
    """Values of all lists and their offsets; None if each list is an object.

    Missing lists count as empty.
    """
    native, library = series.to_native(), series.implementation
    if library.is_pandas() and hasattr(native.dtype, "pyarrow_dtype"):
        native = native.array.__arrow_array__()
    elif library.is_pandas_like():
        return None
    if library.is_polars():
        if series.dtype != nw.List:
            return None
        lengths = native.list.len().fill_null(0)
        values = native.filter(lengths > 0).explode()
        lengths = lengths.to_numpy()
    else:
        import pyarrow
        from pyarrow import compute

        kind = pyarrow.types
        if not (kind.is_list(native.type) or kind.is_large_list(native.type)):
            return None
        lengths = compute.list_value_length(native).fill_null(0).to_numpy()
        values = compute.list_flatten(native)
    values = nw.from_native(values, series_only=True)
    return values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _in_arrow(series):
    """Convert a pandas Series of lists or arrays to pyarrow, if possible."""
    native = series.to_native()
    if not series.implementation.is_pandas() or native.dtype != object:
        return series
    if not set(map(type, native)) <= {list, np.ndarray, type(None), float}:
        return series
    try:
        import pyarrow

        array = pyarrow.array(native, from_pandas=True)
    except (ImportError, TypeError, ValueError, OverflowError, NotImplementedError):
        return series  # the lists hold other values, which are read one by one
    return as_series(array)


def _python_lists(series, may_miss):
    rows = series.to_list()
    return [[] if is_missing(row) else row for row in rows] if may_miss else rows


def _aligned(name, series, offsets):
    """Arguments of `Sessions` from lists with one value for each event."""
    flat = _flat(series)
    if flat is None:
        rows = _python_lists(series, may_miss=True)
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        flat = [value for row in rows for value in row], np.cumsum([0, *lengths])
    values, own = flat
    wrong = np.flatnonzero(np.diff(own) != np.diff(offsets))
    if len(wrong):
        row = wrong[0]
        n_values, n_items = (np.diff(ends)[row] for ends in (own, offsets))
        raise ValueError(
            f"{name}[{row}] has {n_values} values, but session {row} has {n_items} "
            "items. Pass one value for each item."
        )
    if not isinstance(values, list):
        is_number = values.dtype.is_numeric() and not values.null_count()
        values = values.to_numpy() if is_number else values.to_list()
    return column_of_events(name, values)
