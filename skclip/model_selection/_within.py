"""Splits within sessions: first prefixes train, last ones test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import numpy as np

from skclip._data import Sessions, as_sessions, columns_at, flat_positions, own_codes
from skclip._typing import IntArray, ItemIds, SessionsLike
from skclip.model_selection._splits import Splitter


@overload
def within_session_sizes(
    n_prefixes: int, *, validation_size: float = 0.1, test_size: float = 0.1
) -> tuple[np.integer[Any], np.integer[Any], np.integer[Any]]: ...
@overload
def within_session_sizes(
    n_prefixes: IntArray, *, validation_size: float = 0.1, test_size: float = 0.1
) -> tuple[IntArray, IntArray, IntArray]: ...
def within_session_sizes(
    n_prefixes: int | IntArray, *, validation_size: float = 0.1, test_size: float = 0.1
) -> Any:
    """Return the number of prefixes in the training, validation and test part.

    This is the rule of RecBole's ratio split, which the released settings of CLIP-SBR
    apply to the prefixes of each session. Both parts get their share, rounded down. If
    a share is less than one prefix, the test part gets one, and validation gets one if
    more than one is left for training.

    Parameters
    ----------
    n_prefixes : int or ndarray of int
        Number of prefixes with a next item, which is the session length minus one.
    validation_size, test_size : float, default=0.1
        Shares of the prefixes of each session, together less than 1.

    Returns
    -------
    train, validation, test : int or ndarray of int
        Number of prefixes in each part. They add up to `n_prefixes`.

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


def within_session_split(
    X: SessionsLike, *, validation_size: float = 0.1, test_size: float = 0.1
) -> tuple[Sessions, tuple[Sessions, ItemIds], tuple[Sessions, ItemIds]]:
    """Split inside each session: first prefixes train, last prefixes test.

    The prefixes between them are for validation. This is the protocol of the released
    settings of CLIP-SBR. Use it only to compare with published tables.

    Parameters
    ----------
    X : Sessions or list of lists
        Whole sessions, shape (n_sessions,).
    validation_size, test_size : float, default=0.1
        Shares of the prefixes of each session, see `within_session_sizes`.

    Returns
    -------
    X_train : Sessions
        The beginnings of the sessions. Pass them to ``fit`` without `y`. Sessions with
        one item are left out.
    validation, test : tuple (X, y)
        Prefixes and their next items, with the ids and users of their sessions. If `X`
        has no ids, the row number is the id.

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


def last_targets(X: SessionsLike) -> tuple[Sessions, ItemIds]:
    """Return one row per session: all items but the last, and the last as its target.

    Use it to evaluate the last item only, so that each session counts once. Evaluation
    of all prefixes gives more weight to long sessions. The two are not comparable.

    Parameters
    ----------
    X : Sessions or list of lists
        Whole sessions. Sessions with fewer than two items are left out.

    Returns
    -------
    X_observed : Sessions
        All items except the last, with the ids and users of `X`. If `X` has no ids, the
        row number is the id.
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


def leave_last_out(X: SessionsLike) -> tuple[Sessions, tuple[Sessions, ItemIds]]:
    """Split off the last item of each session for testing.

    This is common in the literature on sequential recommendation. The beginning of
    every test session is training data, and so are later events of other users. The
    task is easier than that of `temporal_split`. Do not compare the two.

    Parameters
    ----------
    X : Sessions or list of lists
        Whole sessions.

    Returns
    -------
    X_train : Sessions
        The sessions without their last item. Sessions with one item stay whole. Apply
        `leave_last_out` again to get a validation part.
    test : tuple (X, y)
        Observed items and last items, as `last_targets` returns them.

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
    """Split prefixes inside sessions: the longest of each session is for testing.

    Pass it as ``cv=`` for instances (X, y). It makes one split. Rows are the prefixes
    that `Sessions.to_prefixes` returns. The target of the longest prefix is the last
    item of the session.

    See Also
    --------
    leave_last_out : The same for whole sessions.
    within_session_split : Use a share of each session for testing.

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

    def split(
        self, X: Sessions, y: object = None, groups: object = None
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the training and test rows.

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
            `X` is not `Sessions` with ids, or no session has two prefixes, so nothing
            is left to train on.
        """
        if not isinstance(X, Sessions) or X.ids is None:
            what = "Sessions without ids" if isinstance(X, Sessions) else type(X)
            raise TypeError(
                f"X is {what}. LeaveLastOut needs prefixes with session ids: "
                "X, y = sessions.to_prefixes()."
            )
        if any(i is None for i in X.ids.tolist()):
            raise ValueError(
                "Some prefixes have no session id. Drop these rows, or pass ids "
                "for all sessions."
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
