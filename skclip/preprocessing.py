"""From a raw click log to the sessions of a paper: functions on data frames.

Each takes a pandas or polars frame or a pyarrow table of events, one row per click,
and returns one of the same library with some rows fewer, order kept. Chain them, then
build `Sessions.from_events`.
"""

from numbers import Integral, Real

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import as_frame, column, parse_times

__all__ = [
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
        Columns; times as `Sessions.from_events` takes them.
    gap : float, default=None
        A visit ends where the next event of the user comes more than so many seconds
        later. The CLIP-SBR data sets use 8 h (Last.fm), 30 min (Xing), 1 h (Reddit).
    window : float, default=None
        Instead of `gap`: a visit is what a user does in one window of so many seconds,
        counted from the epoch (86,400: one visit per user and day).
    session : str, default="session"
        Column to write: 0, 1, ... in order of user, then time.

    Returns
    -------
    events : data frame
        Sorted by user and time (equal times keep the order of their rows), with the
        new column.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import sessionize
    >>> clicks = pd.DataFrame({"who": ["ann"] * 3, "ts": [0, 60, 9_000]})
    >>> sessionize(clicks, user="who", time="ts", gap=1_800)["session"].tolist()
    [0, 0, 1]
    """
    frame = _checked(events, user=user, time=time)
    if (gap is None) == (window is None):
        raise ValueError(
            f"gap={gap!r} and window={window!r}. Pass one of the two, in seconds."
        )
    name, seconds = ("gap", gap) if window is None else ("window", window)
    if not isinstance(seconds, Real) or not seconds > 0:
        raise ValueError(f"{name}={seconds!r} must be a positive number of seconds.")
    _, users = column(frame, user, "user")
    times = parse_times(frame, time)
    order = np.lexsort((times, users))
    users, times = users[order], times[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.diff(users) != 0
    if window is None:
        new[1:] |= np.diff(times) > gap
    else:
        new[1:] |= np.diff(np.floor(times / window)) != 0
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
    return _kept(frame, np.bincount(pairs[0])[users] >= min_sessions)


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


def drop_repeats(events, *, session, item):
    """Drop an event whose item is that of the event before it in the session.

    The order of the rows is the order of the events.

    Parameters
    ----------
    events : data frame
        One row per click.
    session, item : str
        Columns.

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
    frame, rows, codes = _coded(events, session=session, item=item)
    order = np.argsort(rows, kind="stable")
    same = (np.diff(rows[order]) == 0) & (np.diff(codes[order]) == 0)
    keep = np.ones(len(order), dtype=bool)
    keep[order[1:][same]] = False
    return _kept(frame, keep)


def truncate_sessions(events, *, session, max_length):
    """Keep the first `max_length` events of each session, in order of the rows.

    Parameters
    ----------
    events : data frame
        One row per click.
    session : str
        Column.
    max_length : int
        Events kept of each session.

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
    order = np.argsort(rows, kind="stable")
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
    for role, name in columns.items():
        if name not in frame.columns:
            raise ValueError(
                f"events has no column {name!r} (given as {role}=). "
                f"Its columns are {list(frame.columns)}."
            )
    return frame


def _coded(events, **columns):
    """The frame, and the values of each column (by role) as codes 0, 1, ..."""
    frame = _checked(events, **columns)
    codes = [column(frame, name, role)[1] for role, name in columns.items()]
    return frame, *codes


def _check_count(name, value):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number, at least 1.")


def _kept(frame, mask):
    keep = nw.new_series("", mask, nw.Boolean, backend=frame.implementation)
    return frame.filter(keep).to_native()
