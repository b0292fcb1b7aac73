"""Splits of sessions in time, and within sessions.

`TemporalSplit` and `temporal_split` cut between sessions, which is how a recommender
is used: all of a test session is new. `WithinSessionSplit` and `within_session_split`
cut inside them, as the released settings of CLIP-SBR do: the beginning of nearly every
test session is training data then, which makes the task easier. Compare numbers of one
protocol only. Every prefix with its next item ("sequence splitting") is
`Sessions.to_prefixes`; models learn and score all prefixes of whole sessions anyway.
"""

from numbers import Integral

import numpy as np

from skclip._ids import factorize
from skclip._sessions import Sessions, as_sessions

__all__ = [
    "TemporalSplit",
    "WithinSessionSplit",
    "temporal_split",
    "within_session_sizes",
    "within_session_split",
]


class TemporalSplit:
    """Split sessions in time: train on the earlier ones, test on the next ones.

    The sessions are ordered by the time of their last event, equal times by session
    id. The latest
    ``n_splits * test_size`` of them make the test parts, one behind the other; each
    split trains on everything before its test part. Works as ``cv=`` in scikit-learn.

    Parameters
    ----------
    n_splits : int, default=5
        Number of test parts.
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
        order = _time_order(X, "TemporalSplit")
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
        for i in range(self.n_splits, 0, -1):
            start = n - i * size
            yield order[:start], order[start : start + size]

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        n_splits : int
            How many pairs `split` yields.
        """
        return self.n_splits

    def __repr__(self):
        return f"TemporalSplit(n_splits={self.n_splits}, test_size={self.test_size})"


def temporal_split(X, *, test_size=0.1, validation_size=0.1):
    """Cut sessions into training, validation and test part in order of time.

    The protocol of CLIP-SBR's text: the latest tenth of the sessions is the test part,
    the tenth before it validates.

    Parameters
    ----------
    X : Sessions
        With times.
    test_size, validation_size : int or float, default=0.1
        Sessions in each part, as a number or a share of all.

    Returns
    -------
    X_train, X_validation, X_test : Sessions
        In order of the time of their last event, equal times by session id.

    Examples
    --------
    >>> from skclip.datasets import make_sessions
    >>> from skclip.model_selection import temporal_split
    >>> X, _ = make_sessions(100, random_state=0)
    >>> [len(part) for part in temporal_split(X)]
    [80, 10, 10]
    """
    order = _time_order(X, "temporal_split")
    n = len(X)
    sizes = [
        round(size * n) if isinstance(size, float) else size
        for size in (validation_size, test_size)
    ]
    if min(sizes) < 0 or n - sum(sizes) < 1:
        raise ValueError(
            f"{n} sessions are too few for validation_size={validation_size} and "
            f"test_size={test_size}. Pass smaller parts."
        )
    train, valid, test = np.split(order, [n - sum(sizes), n - sizes[1]])
    return X[train], X[valid], X[test]


def within_session_sizes(n_prefixes, *, validation_size=0.1, test_size=0.1):
    """Return a session's prefixes in training, validation and test part.

    The rule of RecBole's ratio split, which the released settings of CLIP-SBR apply to
    the prefixes of each session: both parts get their share, rounded down; a session
    whose share is less than one prefix gives one to the test part and, if training
    still has more than one, one to validation.

    Parameters
    ----------
    n_prefixes : int or ndarray of int
        Prefixes that have a next item: the session's length less one.
    validation_size, test_size : float, default=0.1
        Shares of each session's prefixes, together less than 1.

    Returns
    -------
    train, validation, test : int or ndarray of int
        Prefixes in each part; they add up to `n_prefixes`.

    Examples
    --------
    >>> from skclip.model_selection import within_session_sizes
    >>> [tuple(map(int, within_session_sizes(m))) for m in (1, 2, 3, 4, 20)]
    [(1, 0, 0), (1, 0, 1), (1, 1, 1), (2, 1, 1), (16, 2, 2)]
    """
    shares = validation_size, test_size
    if min(shares) < 0 or sum(shares) >= 1:
        raise ValueError(
            f"validation_size={validation_size!r} and test_size={test_size!r} must be "
            "shares of each session, at least 0 and together less than 1."
        )
    m = np.asarray(n_prefixes)
    sizes = []
    train = m
    for share in (test_size, validation_size):
        sizes.append((share * m).astype(int))
        train = train - sizes[-1]
    for i, share in enumerate((test_size, validation_size)):
        moves = (share * m > 0) & (share * m < 1) & (train > 1)
        sizes[i], train = sizes[i] + moves, train - moves
    test, valid = sizes
    return train, valid, test


def within_session_split(X, *, validation_size=0.1, test_size=0.1):
    """Cut each session: its first prefixes train, the next validate, the last test.

    The protocol of CLIP-SBR's released settings, for comparison with its tables.

    Parameters
    ----------
    X : Sessions or list of lists
        Whole sessions, shape (n_sessions,).
    validation_size, test_size : float, default=0.1
        Shares of each session's prefixes; see `within_session_sizes`.

    Returns
    -------
    X_train : Sessions
        The beginnings of the sessions, whose prefixes are the training part: ``fit``
        them without `y`. Sessions of one item are left out.
    validation, test : tuple (X, y)
        Prefixes and their next items. Ids and users are those of the session; where
        `X` has no ids the session's row takes their place.

    Examples
    --------
    >>> from skclip.model_selection import within_session_split
    >>> train, (X_valid, y_valid), test = within_session_split([list("abcd")])
    >>> train.to_lists(), X_valid.to_lists(), y_valid.tolist()
    ([['a', 'b']], [['a', 'b']], ['c'])
    >>> test[0].to_lists(), test[1].tolist()
    ([['a', 'b', 'c']], ['d'])
    """
    X = as_sessions(X)
    if X.ids is None:
        X = X.with_ids(np.arange(len(X)))
    X = X[X.lengths > 1]
    prefixes, targets = X.to_prefixes()
    sizes = within_session_sizes(
        X.lengths - 1, validation_size=validation_size, test_size=test_size
    )
    part = np.repeat(np.tile([0, 1, 2], len(X)), np.stack(sizes, axis=1).ravel())
    last = np.cumsum(X.lengths - 1) - (sizes[1] + sizes[2]) - 1  # of training
    last = last[sizes[0] > 0]
    held_out = [
        (prefixes[np.flatnonzero(part == i)], targets[part == i]) for i in (1, 2)
    ]
    return _with_targets(prefixes[last], targets[last]), *held_out


def _with_targets(prefixes, targets):
    """Sessions whose last item is the target of a prefix."""
    rows = [
        [*row, y] for row, y in zip(prefixes.to_lists(), targets.tolist(), strict=True)
    ]
    return Sessions.from_lists(rows, ids=prefixes.ids, users=prefixes.users)


class WithinSessionSplit:
    """Split prefixes inside their sessions: ``cv=`` for instances (X, y).

    One split: the first prefixes of each session train, the last ones test (the
    validation part of `within_session_split` is left out of both). Rows are the
    prefixes that `Sessions.to_prefixes` makes.

    Parameters
    ----------
    validation_size, test_size : float, default=0.1
        See `within_session_sizes`.

    Examples
    --------
    >>> from skclip import Sessions
    >>> from skclip.model_selection import WithinSessionSplit
    >>> X = Sessions.from_lists([list("abcd"), list("ab")], ids=[1, 2])
    >>> X, y = X.to_prefixes()
    >>> train, test = next(WithinSessionSplit().split(X))
    >>> train.tolist(), test.tolist()
    ([0, 3], [2])
    """

    def __init__(self, *, validation_size=0.1, test_size=0.1):
        self.validation_size = validation_size
        self.test_size = test_size

    def split(self, X, y=None, groups=None):
        """Yield the rows of the training and the test part.

        Parameters
        ----------
        X : Sessions
            Prefixes with session ids.
        y, groups : object
            Ignored.

        Yields
        ------
        train, test : ndarray of int
        """
        if not isinstance(X, Sessions) or X.ids is None:
            raise TypeError(
                f"X is {'Sessions without ids' if isinstance(X, Sessions) else type(X)}"
                ". WithinSessionSplit needs prefixes that know their session: "
                "X, y = sessions.to_prefixes(), of sessions with ids."
            )
        _, of_session = factorize(X.ids)
        order = np.lexsort((X.lengths, of_session))
        counts = np.bincount(of_session)
        sizes = within_session_sizes(
            counts, validation_size=self.validation_size, test_size=self.test_size
        )
        part = np.repeat(np.tile([0, 1, 2], len(counts)), np.stack(sizes, 1).ravel())
        yield np.sort(order[part == 0]), np.sort(order[part == 2])

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        n_splits : int
            How many pairs `split` yields.
        """
        return 1


def _time_order(X, name):
    """Rows by the time of their last event, then by id; empty sessions come first."""
    if not isinstance(X, Sessions):
        raise TypeError(
            f"X is a {type(X).__name__}. {name} needs Sessions with times: "
            "Sessions.from_events(df, session=..., item=..., time=...)."
        )
    if X.times is None:
        raise ValueError(
            "The sessions have no times. Pass time= to Sessions.from_events, or "
            "use sklearn's TimeSeriesSplit if the rows are in order of time."
        )
    ends = np.nan_to_num(X.end_times, nan=-np.inf)
    if X.ids is None:
        return np.argsort(ends, kind="stable")
    return np.lexsort((factorize(X.ids)[1], ends))
