"""From a raw click log to the sessions of a paper: functions on data frames.

Each takes a pandas or polars frame or a pyarrow table of events, one row per click,
and returns one of the same library with some rows fewer, order kept. Chain them, then
build `Sessions.from_events`.
"""

from numbers import Integral

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import (
    as_frame,
    check_columns,
    column,
    column_with_gaps,
    read_times,
    span_seconds,
    wall_times,
)

_MAY_MISS = ("user", "event")

__all__ = [
    "drop_duplicates",
    "drop_rare_items",
    "drop_rare_users",
    "drop_repeats",
    "drop_short_sessions",
    "keep_top_items",
    "sessionize",
    "truncate_sessions",
    "until_stable",
]


def sessionize(events, *, user, time, gap=None, window=None, session="session"):
    """Number the visits of each user by idle gap or by fixed windows.

    Parameters
    ----------
    events : data frame
        A pandas or polars frame or a pyarrow table, one row per click.
    user, time : str
        Columns; times as `Sessions.from_events` takes them. A row without a user is a
        visit of its own, as nobody knows which of them belong together.
    gap : float, timedelta or str, default=None
        A visit ends where the next event of the user comes later than this span: a
        number of seconds, a timedelta, or text such as ``"30min"``. The CLIP-SBR data
        sets use 8 h (Last.fm), 30 min (Xing), 1 h (Reddit).
    window : float, timedelta or str, default=None
        Instead of `gap`: a visit is what a user does in one window of this span.
        ``"day"`` makes one visit per user and day. Windows are counted from 1970-01-01,
        whole weeks from a Monday, on the clock of the time zone that the column or the
        text has. So days begin at local midnight, also where clocks change. Times
        without a zone and numbers are taken as they are.
    session : str, default="session"
        Column to write: 0, 1, ... in order of user, then time.

    Returns
    -------
    events : data frame
        Sorted by user and time (equal times keep the order of their rows), with the
        new column. Rows without a user come last.

    Raises
    ------
    ValueError
        A column is missing, `session` is a column already, a time does not parse, or
        not exactly one of `gap` and `window` is a positive span.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import sessionize
    >>> clicks = pd.DataFrame({"who": ["ann"] * 3, "ts": [0, 60, 9_000]})
    >>> sessionize(clicks, user="who", time="ts", gap="30min")["session"].tolist()
    [0, 0, 1]
    """
    if (gap is None) == (window is None):
        raise ValueError(
            f"gap={gap!r} and window={window!r}. Pass one of the two, such as "
            "gap='30min'."
        )
    frame, users = _coded(events, user=user)
    check_columns(frame, time=time)
    if session in frame.columns:
        raise ValueError(
            f"events has a column {session!r} already. Pass another name for the new "
            "column, such as session='visit', or drop the old one first."
        )
    name, span = ("gap", gap) if window is None else ("window", window)
    seconds = span_seconds(span, name, numbers=True)
    times = read_times(frame, time)
    users[users < 0] = len(users)  # guests come last
    order = np.lexsort((times.order, users))
    new = users[order] == len(users)
    new[:1] = True
    new[1:] |= np.diff(users[order]) != 0
    if window is None:
        new[1:] |= np.diff(times.order[order]) > seconds * times.ticks
    else:
        windows = wall_times(frame, time, times).windows(seconds)
        new[1:] |= np.diff(windows[order]) != 0
    frame = frame[order]
    numbers = nw.new_series(session, np.cumsum(new) - 1, backend=frame.implementation)
    return frame.with_columns(numbers).to_native()


def drop_short_sessions(events, *, session, min_length):
    """Keep sessions of at least `min_length` events.

    Parameters
    ----------
    events : data frame
        One row per click.
    session : str
        Column.
    min_length : int
        Events that a session must have.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_short_sessions
    >>> clicks = pd.DataFrame({"sid": [1, 1, 2], "sku": list("aba")})
    >>> drop_short_sessions(clicks, session="sid", min_length=2)["sid"].tolist()
    [1, 1]
    """
    _check_count("min_length", min_length)
    frame, rows = _coded(events, session=session)
    return _kept(frame, np.bincount(rows)[rows] >= min_length)


def drop_rare_users(events, *, user, session, min_sessions):
    """Keep users with at least `min_sessions` sessions.

    Rows without a user are dropped: nobody knows how often these guests come.

    Parameters
    ----------
    events : data frame
        One row per click.
    user, session : str
        Columns; a session has one user.
    min_sessions : int
        Sessions that a user must have.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_rare_users
    >>> clicks = pd.DataFrame({"who": ["ann", "ann", "bob"], "sid": [1, 2, 3]})
    >>> clicks = drop_rare_users(clicks, user="who", session="sid", min_sessions=2)
    >>> clicks["sid"].tolist()
    [1, 2]
    """
    _check_count("min_sessions", min_sessions)
    frame, users, rows = _coded(events, user=user, session=session)
    pairs = np.unique(np.stack([users, rows]), axis=1)
    counts = np.bincount(pairs[0] + 1)
    counts[:1] = 0  # guests
    return _kept(frame, counts[users + 1] >= min_sessions)


def drop_rare_items(events, *, item, min_count):
    """Keep items with at least `min_count` events.

    Parameters
    ----------
    events : data frame
        One row per click.
    item : str
        Column.
    min_count : int
        Events that an item must have.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_rare_items
    >>> clicks = pd.DataFrame({"sid": [1, 1, 2], "sku": list("aba")})
    >>> drop_rare_items(clicks, item="sku", min_count=2)["sku"].tolist()
    ['a', 'a']
    """
    _check_count("min_count", min_count)
    frame, codes = _coded(events, item=item)
    return _kept(frame, np.bincount(codes)[codes] >= min_count)


def keep_top_items(events, *, item, n_items):
    """Keep the `n_items` items with most events; of equal ones the smaller ids.

    Parameters
    ----------
    events : data frame
        One row per click.
    item : str
        Column.
    n_items : int
        How many items to keep.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import keep_top_items
    >>> clicks = pd.DataFrame({"sid": [1, 1, 2], "sku": list("aba")})
    >>> keep_top_items(clicks, item="sku", n_items=1)["sku"].tolist()
    ['a', 'a']
    """
    _check_count("n_items", n_items)
    frame, codes = _coded(events, item=item)
    top = np.argsort(-np.bincount(codes), kind="stable")[:n_items]
    return _kept(frame, np.isin(codes, top))


def drop_duplicates(events, *, session, item, time, event=None):
    """Drop events that equal an earlier row in session, item and time.

    A log that was loaded twice holds each event twice.

    Parameters
    ----------
    events : data frame
        One row per click.
    session, item, time : str
        Columns; times as `Sessions.from_events` takes them.
    event : str, default=None
        Column of event types. Rows of different types are then no duplicates.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    See Also
    --------
    Sessions.describe : Counts such duplicates.
    drop_repeats : Drops an item that is clicked twice in a row at different times.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_duplicates
    >>> clicks = pd.DataFrame({"sid": [1, 1, 1], "sku": list("aaa"), "ts": [0, 0, 5]})
    >>> drop_duplicates(clicks, session="sid", item="sku", time="ts")["ts"].tolist()
    [0, 5]
    """
    frame, *codes = _coded_clicks(events, session, item, event)
    check_columns(frame, time=time)
    keys = *codes[::-1], read_times(frame, time).order
    return _kept(frame, ~_equals_the_one_before(np.lexsort(keys), keys))


def drop_repeats(events, *, session, item, time=None, event=None):
    """Drop an event whose item is that of the event before it in the session.

    Parameters
    ----------
    events : data frame
        One row per click.
    session, item : str
        Columns.
    time : str, default=None
        Column of times, which give the order of the events; equal times keep the order
        of their rows. None takes the order of the rows, which must then be sorted.
    event : str, default=None
        Column of event types. An item that is viewed and then bought is then no repeat.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_repeats
    >>> clicks = pd.DataFrame({"sid": [1, 1, 1, 2], "sku": list("aaba")})
    >>> drop_repeats(clicks, session="sid", item="sku")["sku"].tolist()
    ['a', 'b', 'a']
    """
    frame, rows, *codes = _coded_clicks(events, session, item, event)
    order = _in_order(frame, rows, time)
    return _kept(frame, ~_equals_the_one_before(order, (rows, *codes)))


def truncate_sessions(events, *, session, max_length, time=None):
    """Keep the first `max_length` events of each session.

    Parameters
    ----------
    events : data frame
        One row per click.
    session : str
        Column.
    max_length : int
        Events kept of each session.
    time : str, default=None
        Column of times, which give the order of the events; equal times keep the order
        of their rows. None takes the order of the rows, which must then be sorted.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import truncate_sessions
    >>> clicks = pd.DataFrame({"sid": [1, 1, 1, 2], "sku": list("abca")})
    >>> truncate_sessions(clicks, session="sid", max_length=2)["sku"].tolist()
    ['a', 'b', 'a']
    """
    _check_count("max_length", max_length)
    frame, rows = _coded(events, session=session)
    order = _in_order(frame, rows, time)
    lengths = np.bincount(rows)
    firsts = np.cumsum(lengths) - lengths
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - firsts[rows[order]]
    return _kept(frame, place < max_length)


def until_stable(events, *filters):
    """Apply filters in turn, over and over, until none drops a row.

    Parameters
    ----------
    events : data frame
        One row per click.
    *filters : callable
        ``filter(events)`` -> events, for instance a `functools.partial` of a function
        of this module.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Examples
    --------
    >>> from functools import partial
    >>> import pandas as pd
    >>> from skclip.preprocessing import *
    >>> clicks = pd.DataFrame({"s": [1, 1, 2, 2, 3], "i": list("abaxa")})
    >>> until_stable(clicks, partial(drop_rare_items, item="i", min_count=2),
    ...              partial(drop_short_sessions, session="s", min_length=2)).empty
    True
    """
    if not filters:
        raise ValueError("until_stable needs at least one filter after the events.")
    left = len(as_frame(events))
    while True:
        for keep in filters:
            events = keep(events)
        n = len(as_frame(events))
        if n > left:
            raise ValueError("A filter of until_stable added rows; it may only drop.")
        if n == left or n == 0:
            return events
        left = n


def _checked(events, **columns):
    frame = as_frame(events)
    check_columns(frame, **columns)
    return frame


def _coded(events, **columns):
    """The frame, and the values of each column (by role) as codes 0, 1, ...

    A missing user or event type has the code -1.
    """
    frame = _checked(events, **columns)
    codes = [
        (column_with_gaps if role in _MAY_MISS else column)(frame, name, role)[1]
        for role, name in columns.items()
    ]
    return frame, *codes


def _coded_clicks(events, session, item, event):
    """The frame, and codes of sessions, items and, if there are such, event types."""
    columns = {"session": session, "item": item}
    return _coded(events, **columns if event is None else columns | {"event": event})


def _in_order(frame, rows, time):
    """Rows of the frame by session, then by time, if there is one."""
    if time is None:
        return np.argsort(rows, kind="stable")
    check_columns(frame, time=time)
    return np.lexsort((read_times(frame, time).order, rows))


def _equals_the_one_before(order, columns):
    """Whether a row has the values of the one before it in this order."""
    equal = np.zeros(len(order), dtype=bool)
    equal[order[1:]] = np.all([np.diff(c[order]) == 0 for c in columns], axis=0)
    return equal


def _check_count(name, value):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number, at least 1.")


def _kept(frame, mask):
    keep = nw.new_series("", mask, nw.Boolean, backend=frame.implementation)
    return frame.filter(keep).to_native()
