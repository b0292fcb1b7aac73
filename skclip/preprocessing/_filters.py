"""Filters that keep some rows of a click log."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Integral

import numpy as np

from skclip._typing import FrameT
from skclip.preprocessing import _eager, _lazy
from skclip.preprocessing._eager import codes_of, kept
from skclip.preprocessing._reading import read, tie_breakers


def drop_short_sessions(events: FrameT, *, session: str, min_length: int) -> FrameT:
    """Keep sessions with at least `min_length` events.

    Parameters
    ----------
    events : data frame
        One row per click.
    session : str
        Name of the session column.
    min_length : int
        Minimum number of events per session.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_short_sessions
    >>> clicks = pd.DataFrame({"sid": [1, 1, 2], "sku": list("aba")})
    >>> drop_short_sessions(clicks, session="sid", min_length=2)["sid"].tolist()
    [1, 1]
    """
    _check_count("min_length", min_length)
    frame = read(events, session=session)
    if _lazy.is_lazy(frame):
        return _lazy.frequent(frame, session, min_length).to_native()
    (rows,) = codes_of(frame, session=session)
    return kept(frame, np.bincount(rows)[rows] >= min_length).to_native()


def drop_rare_users(
    events: FrameT, *, user: str, session: str, min_sessions: int
) -> FrameT:
    """Keep users with at least `min_sessions` sessions.

    Rows without a user are dropped, because visits of guests cannot be linked.

    Parameters
    ----------
    events : data frame
        One row per click.
    user, session : str
        Names of the user and session columns. Each session must have one user.
    min_sessions : int
        Minimum number of sessions per user.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

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
    frame = read(events, user=user, session=session)
    if _lazy.is_lazy(frame):
        return _lazy.frequent_users(frame, user, session, min_sessions).to_native()
    users, rows = codes_of(frame, user=user, session=session)
    pairs = np.unique(np.stack([users, rows]), axis=1)
    counts = np.bincount(pairs[0] + 1)
    counts[:1] = 0  # guests
    return kept(frame, counts[users + 1] >= min_sessions).to_native()


def drop_rare_items(events: FrameT, *, item: str, min_count: int) -> FrameT:
    """Keep items with at least `min_count` events.

    Parameters
    ----------
    events : data frame
        One row per click.
    item : str
        Name of the item column.
    min_count : int
        Minimum number of events per item.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_rare_items
    >>> clicks = pd.DataFrame({"sid": [1, 1, 2], "sku": list("aba")})
    >>> drop_rare_items(clicks, item="sku", min_count=2)["sku"].tolist()
    ['a', 'a']
    """
    _check_count("min_count", min_count)
    frame = read(events, item=item)
    if _lazy.is_lazy(frame):
        return _lazy.frequent(frame, item, min_count).to_native()
    (codes,) = codes_of(frame, item=item)
    return kept(frame, np.bincount(codes)[codes] >= min_count).to_native()


def keep_top_items(events: FrameT, *, item: str, n_items: int) -> FrameT:
    """Keep the `n_items` items with the most events, and smaller ids among ties.

    Parameters
    ----------
    events : data frame
        One row per click.
    item : str
        Name of the item column.
    n_items : int
        Number of items to keep.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import keep_top_items
    >>> clicks = pd.DataFrame({"sid": [1, 1, 2], "sku": list("aba")})
    >>> keep_top_items(clicks, item="sku", n_items=1)["sku"].tolist()
    ['a', 'a']
    """
    _check_count("n_items", n_items)
    frame = read(events, item=item)
    if _lazy.is_lazy(frame):
        return _lazy.most_frequent(frame, item, n_items).to_native()
    (codes,) = codes_of(frame, item=item)
    top = np.argsort(-np.bincount(codes), kind="stable")[:n_items]
    return kept(frame, np.isin(codes, top)).to_native()


def drop_duplicates(
    events: FrameT,
    *,
    session: str,
    item: str,
    time: str,
    event: str | None = None,
    by: str | Sequence[str] | None = None,
) -> FrameT:
    """Drop events with the session, item and time of an earlier row.

    Use it if a log was loaded twice, for example.

    Parameters
    ----------
    events : data frame
        One row per click.
    session, item, time : str
        Names of the columns. `Sessions.from_events` lists the formats of times.
    event : str, default=None
        Name of the column of event types. Rows with different types are then no
        duplicates.
    by : str or sequence of str, default=None
        Columns that decide which of the duplicates stays: the row with the smallest
        values. None keeps the first row, or an arbitrary row of a lazy frame.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

    See Also
    --------
    Sessions.describe : Count such duplicates.
    drop_repeats : Drop repeated clicks on an item, also at different times.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_duplicates
    >>> clicks = pd.DataFrame({"sid": [1, 1, 1], "sku": list("aaa"), "ts": [0, 0, 5]})
    >>> drop_duplicates(clicks, session="sid", item="sku", time="ts")["ts"].tolist()
    [0, 5]
    """
    by = tie_breakers(by)
    columns = {"session": session, "item": item, "time": time, "event": event}
    frame = read(events, **columns, by=by)
    eager = partial(_eager.without_duplicates, **columns, by=by)
    if not _lazy.is_lazy(frame):
        return eager(frame).to_native()
    _lazy.check_times(frame, time)
    frame = _lazy.with_ids(frame, session, item, time)
    same = list(dict.fromkeys(name for name in columns.values() if name is not None))
    if by is None:
        return frame.unique(same).to_native()
    if frame.implementation.is_dask():
        return _lazy.in_partitions(frame, session, eager).to_native()
    return _lazy.first_rows(frame, same, 1, by).to_native()


def drop_repeats(
    events: FrameT,
    *,
    session: str,
    item: str,
    time: str | None = None,
    event: str | None = None,
    by: str | Sequence[str] | None = None,
    check: bool = False,
) -> FrameT:
    """Drop events on the same item as the event before it in the session.

    Parameters
    ----------
    events : data frame
        One row per click.
    session, item : str
        Names of the session and item columns.
    time : str, default=None
        Name of the time column, which sorts the events. Events with equal times keep
        the order of their rows. None uses the order of the rows, which must be sorted.
    event : str, default=None
        Name of the column of event types. An item that is viewed and then bought is
        then not a repeat.
    by : str or sequence of str, default=None
        Columns that break ties: among clicks of a session at the same time, the one
        with the smaller value comes first. Lazy frames need `by` or `check`. Clicks
        with equal values in these columns come in arbitrary order.
    check : bool, default=False
        Whether the engine of a lazy frame counts ties first. Any tie raises an error.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

    Raises
    ------
    ValueError
        If a column is missing. If the order of clicks in a lazy frame is undefined,
        because neither `by` nor `check` is given or because `check` finds ties.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import drop_repeats
    >>> clicks = pd.DataFrame({"sid": [1, 1, 1, 2], "sku": list("aaba")})
    >>> drop_repeats(clicks, session="sid", item="sku")["sku"].tolist()
    ['a', 'b', 'a']
    """
    by = tie_breakers(by)
    columns = {"session": session, "item": item, "time": time, "event": event}
    frame = read(events, **columns, by=by)
    eager = partial(_eager.without_repeats, **columns, by=by)
    if not _lazy.is_lazy(frame):
        return eager(frame).to_native()
    frame = _lazy.with_ids(frame, session, item, time)
    order = _lazy.order_of(frame, session, time, by, check)
    if frame.implementation.is_dask():
        return _lazy.in_partitions(frame, session, eager).to_native()
    same = [name for name in (item, event) if name is not None]
    return _lazy.without_repeats(frame, session, same, order).to_native()


def truncate_sessions(
    events: FrameT,
    *,
    session: str,
    max_length: int,
    time: str | None = None,
    by: str | Sequence[str] | None = None,
    check: bool = False,
) -> FrameT:
    """Keep the first `max_length` events of each session.

    Parameters
    ----------
    events : data frame
        One row per click.
    session : str
        Name of the session column.
    max_length : int
        Number of events to keep per session.
    time : str, default=None
        Name of the time column, which sorts the events. Events with equal times keep
        the order of their rows. None uses the order of the rows, which must be sorted.
    by : str or sequence of str, default=None
        Columns that break ties: among clicks of a session at the same time, the one
        with the smaller value comes first. Lazy frames need `by` or `check`. Clicks
        with equal values in these columns come in arbitrary order.
    check : bool, default=False
        Whether the engine of a lazy frame counts ties first. Any tie raises an error.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

    Raises
    ------
    ValueError
        If a column is missing. If the order of clicks in a lazy frame is undefined,
        because neither `by` nor `check` is given or because `check` finds ties.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import truncate_sessions
    >>> clicks = pd.DataFrame({"sid": [1, 1, 1, 2], "sku": list("abca")})
    >>> truncate_sessions(clicks, session="sid", max_length=2)["sku"].tolist()
    ['a', 'b', 'a']
    """
    _check_count("max_length", max_length)
    by = tie_breakers(by)
    columns = {"session": session, "time": time}
    frame = read(events, **columns, by=by)
    eager = partial(_eager.first_rows, **columns, n=max_length, by=by)
    if not _lazy.is_lazy(frame):
        return eager(frame).to_native()
    frame = _lazy.with_ids(frame, session, time)
    order = _lazy.order_of(frame, session, time, by, check)
    if frame.implementation.is_dask():
        return _lazy.in_partitions(frame, session, eager).to_native()
    return _lazy.first_rows(frame, [session], max_length, order).to_native()


def _check_count(name, value):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r}. Expected a whole number of at least 1.")
