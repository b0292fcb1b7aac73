"""Frames in memory: columns as codes, sorted rows, selected rows."""

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import column, column_with_gaps, read_times

_MAY_MISS = ("user", "event", "by")


def codes_of(frame, **columns):
    """The values of each column (by role) as codes 0, 1, ..., sorted by value.

    A missing user, event type or tie-breaker has the code -1. Roles whose column is
    None are skipped.
    """
    return [
        (column_with_gaps if role in _MAY_MISS else column)(frame, name, role)[1]
        for role, name in columns.items()
        if name is not None
    ]


def in_order(frame, rows, time, by):
    """Positions sorted by session, time and tie-breakers; ties keep their order."""
    times = [] if time is None else [read_times(frame, time).order]
    return np.lexsort((*_tie_keys(frame, by), *times, rows))


def _tie_keys(frame, by):
    """Codes of the tie-breakers in the order of `np.lexsort`, the last one first."""
    return [codes_of(frame, by=name)[0] for name in reversed(by or ())]


def equals_the_one_before(order, columns):
    """Whether each row has the values of the row before it in this order."""
    equal = np.zeros(len(order), dtype=bool)
    equal[order[1:]] = np.all([np.diff(c[order]) == 0 for c in columns], axis=0)
    return equal


def kept(frame, mask):
    """Rows of the frame that a mask selects."""
    keep = nw.new_series("", mask, nw.Boolean, backend=frame.implementation)
    return frame.filter(keep)


def without_duplicates(frame, session, item, time, event, by):
    """Rows without duplicates. The first of equal rows stays."""
    same = codes_of(frame, session=session, item=item, event=event)
    same.append(read_times(frame, time).order)
    order = np.lexsort((*_tie_keys(frame, by), *same))
    return kept(frame, ~equals_the_one_before(order, same))


def without_repeats(frame, session, item, time, event, by):
    """Rows whose item or event type differs from the row before in the session."""
    rows, *codes = codes_of(frame, session=session, item=item, event=event)
    order = in_order(frame, rows, time, by)
    return kept(frame, ~equals_the_one_before(order, (rows, *codes)))


def first_rows(frame, session, time, n, by):
    """The first rows of each session."""
    (rows,) = codes_of(frame, session=session)
    order = in_order(frame, rows, time, by)
    lengths = np.bincount(rows)
    firsts = np.cumsum(lengths) - lengths
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - firsts[rows[order]]
    return kept(frame, place < n)
