"""Events of a log to sessions: their order, and what belongs to a session."""

import numpy as np
from scipy import sparse


def one_each(user_codes, offsets, ids):
    """User of each session; refuses sessions that have several."""
    of_session = user_codes[offsets[:-1]]
    mixed = user_codes != np.repeat(of_session, np.diff(offsets))
    if mixed.any():
        at = int(np.searchsorted(offsets, np.flatnonzero(mixed)[0], "right"))
        raise ValueError(
            f"Session {ids.tolist()[at - 1]!r} has events of more than one user. "
            "Expected one user per session; make the session ids unique per user, or "
            "leave user= out."
        )
    return of_session


def group_events(session_codes, n_sessions, times):
    """Order events by session, sessions by time; each step linear or one sort."""
    n = len(session_codes)
    by_time = None
    if times is not None and (times[1:] < times[:-1]).any():
        by_time = np.argsort(times, kind="stable")
        session_codes = session_codes[by_time]
        times = times[by_time]
    if times is None:
        first = np.empty(n_sessions, dtype=np.int64)
        first[session_codes[::-1]] = np.arange(n - 1, -1, -1)
        rank = np.argsort(first, kind="stable")
    else:
        last = np.empty(n_sessions, dtype=times.dtype)
        last[session_codes] = times  # ascending, so the latest one stays
        rank = np.argsort(last, kind="stable")
    place = np.empty(n_sessions, dtype=np.int32)
    place[rank] = np.arange(n_sessions, dtype=np.int32)
    placed = place[session_codes]
    # A matrix with one entry per row, turned to columns, is a stable counting sort.
    entries = sparse.csr_array(
        (np.ones(n, dtype=np.int8), placed, np.arange(n + 1)), shape=(n, n_sessions)
    ).tocsc()
    order = entries.indices
    if by_time is not None:
        order = by_time[order]
    return order, entries.indptr.astype(np.int64), rank
