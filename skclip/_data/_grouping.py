"""Group the events of a log into sessions: order, and one value per session."""

from itertools import pairwise

import numpy as np
from scipy import sparse

from skclip._data._ragged import blocks, gathered, times_fall

_EVENTS = 2**16  # events sorted at a time; the numbers of their sessions fit 16 bits


def one_each(user_codes, offsets, ids):
    """User of each session; refuses sessions that have several users."""
    of_session = user_codes[offsets[:-1]]
    mixed = user_codes != np.repeat(of_session, np.diff(offsets))
    if mixed.any():
        at = int(np.searchsorted(offsets, np.flatnonzero(mixed)[0], "right"))
        raise ValueError(
            f"Session {ids.tolist()[at - 1]!r} has events of more than one user. "
            "Expected one user per session. Make the session ids unique per user, or "
            "leave user= out."
        )
    return of_session


def group_events(session_codes, n_sessions, times):
    """Order events by session and time, sessions by their last time.

    Needs 14 bytes per event in addition to the results.

    Parameters
    ----------
    session_codes : ndarray of shape (n_events,), int32
        Each session has at least one event.
    n_sessions : int
    times : ndarray of shape (n_events,) or None
        None keeps the order of the events, and orders sessions by their first event.

    Returns
    -------
    order : ndarray of shape (n_events,)
        Events with equal times keep their order.
    offsets : ndarray of shape (n_sessions + 1,), int64
    rank : ndarray of shape (n_sessions,)
        Code of each session in its new order.
    """
    n = len(session_codes)
    if times is None:
        keys = np.full(n_sessions, n)
        for block in blocks(n):
            rows = np.arange(block.start, block.stop)
            np.minimum.at(keys, session_codes[block], rows)
    else:
        keys = np.full(n_sessions, times.min(), dtype=times.dtype)
        for block in blocks(n):
            np.maximum.at(keys, session_codes[block], times[block])
    rank = np.argsort(keys, kind="stable")
    place = np.empty(n_sessions, dtype=np.int32)
    place[rank] = np.arange(n_sessions, dtype=np.int32)
    # Converting a matrix with one entry per row to CSC is a stable counting sort.
    rows = np.arange(n + 1, dtype=np.int32 if n < 2**31 else np.int64)
    entries = (np.ones(n, dtype=np.int8), gathered(place, session_codes), rows)
    columns = sparse.csr_array(entries, shape=(n, n_sessions)).tocsc()
    order, offsets = columns.indices, columns.indptr.astype(np.int64)
    if times is not None:
        _sort_sessions(order, offsets, times)
    return order, offsets, rank


def _sort_sessions(order, offsets, times):
    """Sort the events of each session by time, in place."""
    borders = np.arange(0, len(order) + _EVENTS, _EVENTS)
    cuts = np.minimum(np.searchsorted(offsets, borders), len(offsets) - 1)
    for first, last in pairwise(np.unique(cuts)):
        bounds = offsets[first : last + 1]
        events = order[bounds[0] : bounds[-1]]
        of_events, bounds = times[events], bounds - bounds[0]
        if times_fall(of_events, bounds).any():
            by_time = np.argsort(of_events, kind="stable")
            numbers = np.arange(last - first, dtype=np.uint16)
            numbers = np.repeat(numbers, np.diff(bounds))[by_time]
            events[:] = events[by_time[np.argsort(numbers, kind="stable")]]
