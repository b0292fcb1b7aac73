"""Split off the latest sessions, to learn something else from them."""

import numpy as np


def latest_rows(sessions, fraction):
    """Rows of the other sessions and of the latest `fraction`, both ordered by time.

    The latest sessions are those that end last, or the last rows without times.
    """
    rows = np.arange(len(sessions))
    if sessions.end_times is not None:  # sessions without a time are not late
        ends = np.nan_to_num(sessions.end_times, nan=-np.inf)
        rows = np.argsort(ends, kind="stable")
    cut = len(rows) - round(fraction * len(rows))
    return rows[:cut], rows[cut:]


def taken(sessions, y, rows):
    """Return some rows of sessions and of their targets, if there are targets."""
    return sessions[rows], None if y is None else y[rows]
