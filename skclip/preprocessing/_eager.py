"""Frames in memory: columns as codes, rows in order, rows that are kept."""

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import column, column_with_gaps, read_times

_MAY_MISS = ("user", "event", "by")


def codes_of(frame, **columns):
    """The values of each column (by role) as codes 0, 1, ..., in order of the values.

    A missing user, event type or tie-breaker has the code -1. A role whose column is
    None is passed over.
    """
    return [
        (column_with_gaps if role in _MAY_MISS else column)(frame, name, role)[1]
        for role, name in columns.items()
        if name is not None
    ]


def in_order(frame, rows, time, by):
    """Rows of the frame by session, time and tie-breakers; equal ones as they are."""
    times = [] if time is None else [read_times(frame, time).order]
    return np.lexsort((*_tie_keys(frame, by), *times, rows))


def _tie_keys(frame, by):
    """Codes of the tie-breakers, the last one first, as `np.lexsort` takes them."""
    return [codes_of(frame, by=name)[0] for name in reversed(by or ())]


def equals_the_one_before(order, columns):
    """Whether a row has the values of the one before it in this order."""
    equal = np.zeros(len(order), dtype=bool)
    equal[order[1:]] = np.all([np.diff(c[order]) == 0 for c in columns], axis=0)
    return equal


def kept(frame, mask):
    """The rows of a mask."""
    keep = nw.new_series("", mask, nw.Boolean, backend=frame.implementation)
    return frame.filter(keep)


def without_duplicates(frame, session, item, time, event, by):
    """Rows that differ from all others, and of equal ones the first."""
    same = codes_of(frame, session=session, item=item, event=event)
    same.append(read_times(frame, time).order)
    order = np.lexsort((*_tie_keys(frame, by), *same))
    return kept(frame, ~equals_the_one_before(order, same))


def without_repeats(frame, session, item, time, event, by):
    """Rows that differ in item or event type from the row before in the session."""
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
