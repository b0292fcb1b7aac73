"""Splits within sessions: first prefixes train, last ones test."""

import numpy as np

from skclip._data import Sessions, as_sessions, columns_at, flat_positions, own_codes
from skclip.model_selection._splits import Splitter


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
    due = test_size * m, validation_size * m
    sizes = [part.astype(int) for part in due]
    train = m - sum(sizes)
    for i, part in enumerate(due):
        moves = (part > 0) & (part < 1) & (train > 1)
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

    Notes
    -----
    Differences from the paper and its code:

    - **Protocol.** The CLIP-SBR paper tests on the last tenth of the sessions and
      validates on the tenth before, while its code cuts nearly every session as this
      function does. skclip recommends the paper's form, `temporal_split`. Here the
      beginning of each test session is training data, which is an easier task.

    Examples
    --------
    >>> from skclip.model_selection import within_session_split
    >>> train, (X_valid, y_valid), test = within_session_split([list("abcd")])
    >>> train.to_lists(), X_valid.to_lists(), y_valid.tolist()
    ([['a', 'b']], [['a', 'b']], ['c'])
    >>> test[0].to_lists(), test[1].tolist()
    ([['a', 'b', 'c']], ['d'])
    """
    X = _with_ids(X)
    X = X[X.lengths > 1]
    prefixes, targets = X.to_prefixes()
    sizes = within_session_sizes(
        X.lengths - 1, validation_size=validation_size, test_size=test_size
    )
    part = np.repeat(np.tile([0, 1, 2], len(X)), np.stack(sizes, axis=1).ravel())
    held_out = [(prefixes[part == i], targets[part == i]) for i in (1, 2)]
    at, offsets = flat_positions(X.offsets[:-1], sizes[0] + 1)
    columns = columns_at(X, at, slice(None)) | {"times": None, "clusters": None}
    train = Sessions(X.codes[at], offsets, X.vocabulary, **columns)
    return train, *held_out


def _with_ids(X):
    X = as_sessions(X)
    return X.with_ids(np.arange(len(X))) if X.ids is None else X


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
    X = _with_ids(X)
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

    Examples
    --------
    >>> from skclip.model_selection import leave_last_out
    >>> X_train, (X_test, y_test) = leave_last_out([["a", "b", "c"], ["d"]])
    >>> X_train.to_lists(), X_test.to_lists(), y_test.tolist()
    ([['a', 'b'], ['d']], [['a', 'b']], ['c'])
    """
    X = _with_ids(X)
    return _without_last(X), last_targets(X)


def _without_last(X):
    """Sessions without their last item; those of one item stay as they are."""
    at, offsets = flat_positions(X.offsets[:-1], X.lengths - (X.lengths > 1))
    columns = columns_at(X, at, slice(None))
    return Sessions(X.codes[at], offsets, X.vocabulary, **columns)


class LeaveLastOut(Splitter):
    """Split prefixes inside their sessions: the longest of each session tests.

    ``cv=`` for instances (X, y), one split. Rows are the prefixes that
    `Sessions.to_prefixes` makes; the target of the longest is the session's last item.

    See Also
    --------
    leave_last_out : The same of whole sessions.
    within_session_split : A share of each session tests.

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
        TypeError, ValueError
            `X` is no `Sessions` with ids; no session has two prefixes, so that nothing
            is left to train on.
        """
        if not isinstance(X, Sessions) or X.ids is None:
            what = "Sessions without ids" if isinstance(X, Sessions) else type(X)
            raise TypeError(
                f"X is {what}. LeaveLastOut needs prefixes that know their session: "
                "X, y = sessions.to_prefixes(), of sessions with ids."
            )
        if any(i is None for i in X.ids.tolist()):
            raise ValueError(
                "Some prefixes have no session id. LeaveLastOut needs prefixes that "
                "know their session: drop those without, or give all sessions ids."
            )
        of_session = own_codes(X.ids, len(X))
        order = np.lexsort((X.lengths, of_session))
        last = np.append(np.diff(of_session[order]) > 0, True)
        if last.all():
            raise ValueError(
                f"None of the {len(X)} prefixes is left to train on: no session has "
                "two. Pass sessions of 3 items or more as prefixes."
            )
        yield np.sort(order[~last]), np.sort(order[last])
