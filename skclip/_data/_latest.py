"""Sessions to fit on, and the latest ones, to learn something else from."""

import numpy as np


def latest_rows(sessions, fraction):
    """Rows of all other sessions, and of the latest `fraction`, both in order of time.

    Latest are the sessions that end last, or the last rows if there are no times.
    """
    rows = np.arange(len(sessions))
    if sessions.end_times is not None:  # those without a time are no late ones
        ends = np.nan_to_num(sessions.end_times, nan=-np.inf)
        rows = np.argsort(ends, kind="stable")
    cut = len(rows) - round(fraction * len(rows))
    return rows[:cut], rows[cut:]


def taken(sessions, y, rows):
    """Rows of some sessions and of their targets, if any."""
    return sessions[rows], None if y is None else y[rows]
