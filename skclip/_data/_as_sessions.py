"""Convert the X and y of a caller to `Sessions` and targets."""

import narwhals.stable.v2 as nw
import numpy as np
from scipy import sparse
from sklearn.utils.validation import column_or_1d

from skclip._data._ids import (
    as_id_array,
    as_list,
    factorize,
    factorize_list,
    is_id,
    is_nan,
    plain,
    python_values,
    warn_trailing_zeros,
)
from skclip._data._list_columns import as_series, sessions_of_column
from skclip._data._sessions import Sessions


def as_sessions(X, owner=None):
    """Return `X` as `Sessions`, or raise an error that explains what is wrong.

    `X` may be a sequence of sequences, a Series of lists, a pyarrow list array or a 2-D
    array. In an array each row is a session, and NaN cells are padding. If zeros look
    like padding, a warning is given once for `owner`.
    """
    if not isinstance(X, Sessions):
        X = _from_anything(X, owner)
    if len(X) == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is "
            "required. Pass at least one session."
        )
    return X


def _from_anything(X, owner):
    if sparse.issparse(X):
        raise TypeError(
            "X is a sparse matrix, sparse data was passed where sessions are expected. "
            "Pass a list of lists of item ids, or Sessions."
        )
    if isinstance(X, (str, bytes)):
        raise TypeError(
            f"X is a {type(X).__name__}: {X!r:.60}. Expected sessions: a list of lists "
            "of item ids. Wrap a single session of a single item: [['abc']]."
        )
    if isinstance(X, np.ndarray):
        return _from_array(X, owner)
    if isinstance(X, (list, tuple)):  # the common case, first for speed
        return Sessions.from_lists(X)
    native = nw.from_native(X, allow_series=True, pass_through=True)
    if isinstance(native, (nw.DataFrame, nw.LazyFrame)):
        raise TypeError(
            "X is a data frame. Expected sessions. Turn an event log into sessions "
            "with Sessions.from_events(df, session=..., item=..., time=...) before any "
            "split, so that no split cuts a session in two. If the frame has one "
            "session per row, pass its column of lists."
        )
    if isinstance(native, nw.Series):
        return sessions_of_column(native)
    if hasattr(X, "to_pylist"):  # a pyarrow Array, which narwhals does not accept
        return sessions_of_column(as_series(X))
    if hasattr(X, "__array__"):
        return _from_array(np.asarray(X), owner)
    if not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        raise TypeError(
            f"X is a {type(X).__name__}: {X!r:.60}. Expected sessions: a list of lists "
            "of item ids, or Sessions."
        )
    if isinstance(X, dict):
        raise TypeError(
            "X is a dict. Expected a list of lists of item ids. "
            "Pass list(X.values()) if each value is a session."
        )
    return Sessions.from_lists(X)


def _from_array(X, owner):
    if isinstance(X, np.ma.MaskedArray):  # masked cells are padding, like NaN
        mask, X = np.ma.getmaskarray(X), np.asarray(X)
        if X.ndim == 2 and mask.any():
            rows = zip(X, mask, strict=True)
            return Sessions.from_lists([row[~hidden] for row, hidden in rows])
    if isinstance(X, np.matrix):
        X = np.asarray(X)
    if X.ndim == 1 and X.dtype.kind == "O":
        return Sessions.from_lists(X)
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead (shape={X.shape}). Each "
            "row is a session. Reshape your data with X.reshape(1, -1) if it holds a "
            "single session, X.reshape(-1, 1) if each value is a session of its own."
        )
    if X.dtype.kind == "c":
        raise ValueError("Complex data not supported: item ids must be real numbers.")
    if X.shape[0] == 0 or X.shape[1] == 0:
        what = "sample" if X.shape[0] == 0 else "feature"
        raise ValueError(
            f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is "
            "required."
        )
    if X.dtype.kind not in "biuf":
        rows = [[item for item in row if not is_nan(item)] for row in python_values(X)]
        return Sessions.from_lists(rows)
    keep = np.ones(X.shape, dtype=bool)
    if X.dtype.kind == "f":
        keep = ~np.isnan(X)
        if np.isinf(X).any():
            row = int(np.flatnonzero(np.isinf(X).any(axis=1))[0])
            raise ValueError(
                f"Input X contains infinity: row {row} has an item id of inf. Item ids "
                "must be finite; NaN marks padding."
            )
    elif X.dtype.kind in "iu" and X.shape[1] > 1:
        warn_trailing_zeros(X, "X", owner)
    vocabulary, codes = factorize(X[keep])
    offsets = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    return Sessions(codes, offsets, vocabulary)


def check_targets(y, n_sessions, name="y"):
    """Return the targets `y` as a 1-D array of raw ids, one per session."""
    if isinstance(y, Sessions):
        raise TypeError(
            f"{name} is Sessions. Expected one target item per session: a 1-D array."
        )
    if isinstance(y, np.ma.MaskedArray):
        if np.ma.getmaskarray(y).any():
            raise ValueError(
                f"{name} has masked cells. Expected an item id per session. Drop "
                "sessions without a target."
            )
        y = np.asarray(y)
    if not isinstance(y, np.ndarray) and hasattr(y, "__array__"):
        y = np.asarray(y)
    if not isinstance(y, np.ndarray):
        try:
            vocabulary, codes = factorize_list(as_list(y, name, ordered=True))
        except TypeError:
            raise TypeError(
                f"{name} is {y!r:.60}. Expected a 1-D array with one target item id "
                "per session, such as a string or a number."
            ) from None
        y = vocabulary[codes]
    if y.dtype.kind == "M":
        y = as_id_array(python_values(y))
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.ndim != 1 or len(y) != n_sessions:
        raise ValueError(
            f"{name} has shape {y.shape}, expected ({n_sessions},). Pass one target "
            "item for each session of X."
        )
    if y.dtype.kind == "c":
        raise ValueError("Complex data not supported: item ids must be real numbers.")
    bad = np.zeros(len(y), dtype=bool)
    if y.dtype.kind == "f":
        bad = ~np.isfinite(y)
    elif y.dtype.kind == "O":
        bad = np.array([not is_id(value) for value in y], dtype=bool)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name}[{row}] is {plain(y[row])!r}: Input {name} contains NaN, infinity "
            "or None. Expected an item id per session. Drop sessions without a target."
        )
    return y
