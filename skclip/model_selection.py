"""Splits of sessions in time."""

from numbers import Integral

import numpy as np

from skclip._sessions import Sessions

__all__ = ["TemporalSplit"]


class TemporalSplit:
    """Split sessions in time: train on the earlier ones, test on the next ones.

    The sessions are ordered by the time of their last event. The latest
    ``n_splits * test_size`` of them make the test parts, one behind the other; each
    split trains on everything before its test part. Works as ``cv=`` in scikit-learn.

    Parameters
    ----------
    n_splits : int, default=5
    test_size : int or float, default=None
        Sessions in each test part, as a number or a share of all; None gives all
        parts and the first training part the same size.

    See Also
    --------
    sklearn.model_selection.TimeSeriesSplit : The same by row order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip import Sessions
    >>> from skclip.model_selection import TemporalSplit
    >>> clicks = pd.DataFrame({"sid": [2, 2, 1, 1, 3, 3], "sku": list("abcabc"),
    ...                        "ts": [5, 6, 1, 2, 8, 9]})
    >>> X = Sessions.from_events(clicks, session="sid", item="sku", time="ts")
    >>> train, test = next(TemporalSplit(1, test_size=1).split(X))
    >>> X[train].ids.tolist(), X[test].ids.tolist()
    ([1, 2], [3])
    """

    def __init__(self, n_splits=5, *, test_size=None):
        self.n_splits = n_splits
        self.test_size = test_size

    def split(self, X, y=None, groups=None):
        """Yield the rows of the training and the test part of each split.

        Parameters
        ----------
        X : Sessions
            With times.
        y, groups : object
            Ignored.

        Yields
        ------
        train, test : ndarray of int
            In order of time.

        Raises
        ------
        TypeError
            `X` is no `Sessions`.
        ValueError
            The times are unknown, or there are too few sessions.
        """
        if not isinstance(X, Sessions):
            raise TypeError(
                f"X is a {type(X).__name__}. TemporalSplit needs Sessions with times: "
                "Sessions.from_events(df, session=..., item=..., time=...)."
            )
        if X.times is None:
            raise ValueError(
                "The sessions have no times. Pass time= to Sessions.from_events, or "
                "use sklearn's TimeSeriesSplit if the rows are in order of time."
            )
        if not isinstance(self.n_splits, Integral) or self.n_splits < 1:
            raise ValueError(f"n_splits must be at least 1, got {self.n_splits!r}.")
        n, size = len(X), self.test_size
        if size is None:
            size = n // (self.n_splits + 1)
        elif isinstance(size, float):
            size = round(size * n)
        if size < 1 or n - self.n_splits * size < 1:
            raise ValueError(
                f"{n} sessions are too few for n_splits={self.n_splits} test parts of "
                f"{size}. Pass fewer splits or another test_size."
            )
        ends = np.nan_to_num(X.end_times, nan=-np.inf)  # empty sessions come first
        order = np.argsort(ends, kind="stable")
        for i in range(self.n_splits, 0, -1):
            start = n - i * size
            yield order[:start], order[start : start + size]

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of splits."""
        return self.n_splits

    def __repr__(self):
        return f"TemporalSplit(n_splits={self.n_splits}, test_size={self.test_size})"
