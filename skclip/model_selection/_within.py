"""Splits within sessions: first prefixes train, last ones test."""

import numpy as np

from skclip._data import Sessions, as_sessions, factorize


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
        of_session = _sessions_of_prefixes(X, "WithinSessionSplit")
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


def last_targets(X):
    """Return one row per session: all items but the last, and the last as its target.

    "Last item only" evaluation: every session counts once, where every prefix counts
    long sessions more often. Numbers of the two are not comparable.

    Parameters
    ----------
    X : Sessions or list of lists
        Whole sessions; those of fewer than two items are left out.

    Returns
    -------
    X_observed : Sessions
        With ids and users of `X`; where it has no ids the row in `X` takes their place.
    y : ndarray
        Raw ids.

    Raises
    ------
    ValueError
        No session has two items.

    Examples
    --------
    >>> from skclip.model_selection import last_targets
    >>> X, y = last_targets([["a", "b", "c"], ["d"]])
    >>> X.to_lists(), y.tolist()
    ([['a', 'b']], ['c'])
    """
    X = as_sessions(X)
    if X.ids is None:
        X = X.with_ids(np.arange(len(X)))
    X = X[X.lengths > 1]
    if len(X) == 0:
        raise ValueError(
            "No session has two items, so none has a last item to predict. Pass "
            "sessions of 2 items or more."
        )
    return _without_last(X), X.vocabulary[X.codes[X.offsets[1:] - 1]]


def leave_last_out(X):
    """Cut off the last item of each session: it tests, what is before it trains.

    As in much of the literature on sequences. The beginning of every test session is
    training data, and so is what other users did later: an easier task than
    `temporal_split`, not to be compared with it.

    Parameters
    ----------
    X : Sessions or list of lists
        Whole sessions.

    Returns
    -------
    X_train : Sessions
        The sessions without their last item, those of one item whole. Apply
        `leave_last_out` to it again for a validation part.
    test : tuple (X, y)
        What `last_targets` returns.

    Raises
    ------
    ValueError
        No session has two items.

    Examples
    --------
    >>> from skclip.model_selection import leave_last_out
    >>> X_train, (X_test, y_test) = leave_last_out([["a", "b", "c"], ["d"]])
    >>> X_train.to_lists(), X_test.to_lists(), y_test.tolist()
    ([['a', 'b'], ['d']], [['a', 'b']], ['c'])
    """
    X = as_sessions(X)
    if X.ids is None:
        X = X.with_ids(np.arange(len(X)))
    test = last_targets(X)
    return _without_last(X), test


def _without_last(X):
    """Sessions without their last item; those of one item stay as they are."""
    last = X.offsets[1:][X.lengths > 1] - 1
    columns = {
        name: None
        if getattr(X, name) is None
        else np.delete(getattr(X, name), last, axis=0)
        for name in ("times", "clusters")
    }
    lengths = X.lengths - (X.lengths > 1)
    return Sessions(
        np.delete(X.codes, last),
        np.concatenate([[0], np.cumsum(lengths)]),
        X.vocabulary,
        ids=X.ids,
        users=X.users,
        **columns,
    )


class LeaveLastOut:
    """Split prefixes inside their sessions: the longest of each session tests.

    ``cv=`` for instances (X, y), one split. Rows are the prefixes that
    `Sessions.to_prefixes` makes; the target of the longest is the session's last item.

    See Also
    --------
    leave_last_out : The same of whole sessions.
    WithinSessionSplit : A share of each session tests.

    Examples
    --------
    >>> from skclip import Sessions
    >>> from skclip.model_selection import LeaveLastOut
    >>> X = Sessions.from_lists([list("abcd"), list("ab")], ids=[1, 2])
    >>> X, y = X.to_prefixes()
    >>> train, test = next(LeaveLastOut().split(X))
    >>> train.tolist(), test.tolist(), y[test].tolist()
    ([0, 1], [2, 3], ['d', 'b'])
    """

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
            Rows in order.

        Raises
        ------
        TypeError
            `X` is no `Sessions` with ids.
        ValueError
            No session has two prefixes, so that nothing is left to train on.
        """
        of_session = _sessions_of_prefixes(X, "LeaveLastOut")
        order = np.lexsort((X.lengths, of_session))
        last = np.append(np.diff(of_session[order]) > 0, True)
        if last.all():
            raise ValueError(
                f"None of the {len(X)} prefixes is left to train on: no session has "
                "two. Pass sessions of 3 items or more as prefixes."
            )
        yield np.sort(order[~last]), np.sort(order[last])

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        n_splits : int
            Number of splits.
        """
        return 1

    def __repr__(self):
        return "LeaveLastOut()"


def _sessions_of_prefixes(X, name):
    """Session of each prefix, as a code."""
    if not isinstance(X, Sessions) or X.ids is None:
        raise TypeError(
            f"X is {'Sessions without ids' if isinstance(X, Sessions) else type(X)}"
            f". {name} needs prefixes that know their session: "
            "X, y = sessions.to_prefixes(), of sessions with ids."
        )
    return factorize(X.ids)[1]
