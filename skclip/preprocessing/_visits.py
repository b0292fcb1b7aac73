"""Split the clicks of users into visits, by idle gap or by windows of time."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import read_times, span_seconds, wall_times
from skclip._typing import FrameT, Span
from skclip.preprocessing import _lazy
from skclip.preprocessing._eager import codes_of
from skclip.preprocessing._reading import read

_DAY = 86_400
# Names of temporary columns, chosen so that no log has them.
_TIME, _ALONE, _BEFORE = "_skclip_time", "_skclip_alone", "_skclip_before"
_NEW, _NUMBER = "_skclip_new", "_skclip_number"


def sessionize(
    events: FrameT,
    *,
    user: str,
    time: str,
    gap: Span | None = None,
    window: Span | None = None,
    session: str = "session",
) -> FrameT:
    """Number the visits of each user by idle gap or by fixed windows.

    Parameters
    ----------
    events : data frame
        One row per click.
    user, time : str
        Names of the user and time columns. `Sessions.from_events` lists the formats of
        times. Each row without a user becomes a visit of its own.
    gap : float, timedelta or str, default=None
        Longest idle time within a visit: a number of seconds, a timedelta, or text such
        as ``"30min"``. A later event of the user starts a new visit. The CLIP-SBR data
        sets use 8 h (Last.fm), 30 min (Xing) and 1 h (Reddit).
    window : float, timedelta or str, default=None
        Length of fixed windows, as an alternative to `gap`. A visit is then all clicks
        of a user in one window. ``"day"`` makes one visit per user and day. Windows
        start at 1970-01-01, and windows of whole weeks start on Mondays. They use the
        clock of the time zone of the column or the text, so days start at local
        midnight even if clocks change. Numbers and times without a zone are used as
        they are.
    session : str, default="session"
        Name of the new column. It numbers the visits 0, 1, ..., sorted by user and
        time. For a lazy frame it is text: ``"ann/3"`` from user and number, or
        ``"1700000000/1/guest"`` from time and number for rows without a user.

    Returns
    -------
    events : data frame
        The frame with the new column, sorted by user and time. Rows with equal times
        keep their order, and rows without a user come last. Lazy frames are not sorted.

    Raises
    ------
    ValueError
        If a column is missing, if `session` already exists, if a time cannot be parsed,
        or if the times of a lazy frame are text. If not exactly one of `gap` and
        `window` is given, or if it is not a positive span.

    Notes
    -----
    Clicks of a user at the same time are in the same visit, so lazy frames need no
    tie-breakers. A lazy frame gets the same visits as a frame in memory, under other
    names. One count over all users would require all rows in one place. With `gap`,
    numbers start at 0 for each user. With `window`, they count windows since 1970. Gaps
    between dates are compared to the microsecond. DuckDB and Spark show clocks in the
    time zone of their session.

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
            f"gap={gap!r} and window={window!r}. Pass exactly one of them, such as "
            "gap='30min'."
        )
    frame = read(events, user=user, time=time)
    if session in frame.collect_schema().names():
        raise ValueError(
            f"events already has a column {session!r}. Pass another name for the new "
            "column, such as session='visit', or drop the old column first."
        )
    name, span = ("gap", gap) if window is None else ("window", window)
    seconds = span_seconds(span, name, numbers=True)
    columns = {"user": user, "time": time, "session": session, name: seconds}
    if not _lazy.is_lazy(frame):
        return _of_eager(frame, **columns).to_native()
    _lazy.check_times(frame, time)
    frame = _lazy.with_ids(frame, time)
    visits = partial(_of_lazy, **columns)
    if frame.implementation.is_dask():
        return _lazy.in_partitions(frame, user, visits).to_native()
    return visits(frame).to_native()


def _of_eager(frame, user, time, session, gap=None, window=None):
    (users,) = codes_of(frame, user=user)
    times = read_times(frame, time)
    users[users < 0] = len(users)  # guests come last
    order = np.lexsort((times.order, users))
    new = users[order] == len(users)
    new[:1] = True
    new[1:] |= np.diff(users[order]) != 0
    if window is None:
        new[1:] |= np.diff(times.order[order]) > gap * times.ticks
    else:
        windows = wall_times(frame, time, times).windows(window)
        new[1:] |= np.diff(windows[order]) != 0
    frame = frame[order]
    numbers = nw.new_series(session, np.cumsum(new) - 1, backend=frame.implementation)
    return frame.with_columns(numbers)


# -- lazy frames -----------------------------------------------------------------------


def _of_lazy(frame, user, time, session, gap=None, window=None):
    """Visits named by user and a number, so that no count over all users is needed.

    The rows of guests would share one window, and so one worker of a cluster. Instead,
    rows of guests only share a window if they have the same time (`_ALONE`).
    """
    names = frame.collect_schema().names()
    known = _lazy.is_there(frame, user)
    frame = frame.with_columns(
        _comparable(frame, time).alias(_TIME),
        nw.when(~known).then(nw.col(time)).alias(_ALONE),
    )
    number = _by_window if gap is None else _by_gap
    frame = number(frame, user, known, window if gap is None else gap)
    text = {n: nw.col(n).cast(nw.String) for n in (user, time, _NUMBER)}
    visit = nw.concat_str(text[user], text[_NUMBER], separator="/")
    alone = nw.concat_str(text[time], text[_NUMBER], nw.lit("guest"), separator="/")
    visit = nw.when(known).then(visit).otherwise(alone)
    return frame.with_columns(visit.alias(session)).select(*names, session)


def _comparable(frame, time):
    """Times as whole numbers, floats or datetimes, which all engines subtract."""
    kind, times = frame.collect_schema()[time], nw.col(time)
    if kind.is_numeric():
        return times.cast(nw.Int64 if kind.is_integer() else nw.Float64)
    return times.cast(nw.Datetime("us")) if kind == nw.Date else times


def _by_gap(frame, user, known, gap):
    if not frame.collect_schema()[_TIME].is_numeric():
        gap = timedelta(seconds=gap)
    before = nw.col(_TIME).shift(1).over(user, _ALONE, order_by=_TIME)
    frame = frame.with_columns(before.alias(_BEFORE))
    late = (nw.col(_TIME) - nw.col(_BEFORE) > gap).fill_null(False)
    frame = frame.with_columns((late | ~known).cast(nw.Int64).alias(_NEW))
    number = nw.col(_NEW).cum_sum().over(user, _ALONE, order_by=_TIME)
    frame = frame.with_columns(number.alias(_NUMBER))
    # Clicks at the same time are in one visit. The two windows above may have sorted
    # them in different ways, so some of them may miss the start of their visit.
    last = nw.col(_NUMBER).max().over(user, _TIME)
    return frame.with_columns(
        nw.when(known).then(last).otherwise(nw.col(_NUMBER)).alias(_NUMBER)
    )


def _by_window(frame, user, known, seconds):
    row = nw.col(_TIME).cum_count().over(user, _ALONE, order_by=_TIME)
    frame = frame.with_columns(row.alias(_BEFORE))
    number = _window(frame, seconds).cast(nw.Int64)
    row = nw.col(_BEFORE).cast(nw.Int64)
    return frame.with_columns(nw.when(known).then(number).otherwise(row).alias(_NUMBER))


def _window(frame, seconds):
    """Number of the window of each time. Windows of whole weeks start on Mondays."""
    monday = 3 * _DAY if seconds % (7 * _DAY) == 0 else 0
    kind, times = frame.collect_schema()[_TIME], nw.col(_TIME)
    if not kind.is_numeric():
        return (_microseconds() + monday * 10**6) // round(seconds * 10**6)
    if kind.is_integer() and seconds.is_integer():
        return (times + monday) // int(seconds)
    return (times.cast(nw.Float64) + monday) // seconds


def _microseconds():
    """Time on the clock in the time zone of the column, in microseconds from 1970.

    It is computed from its parts, because not every engine returns the time since 1970,
    and none returns it on the clock of a time zone.
    """
    names = "year", "ordinal_day", "hour", "minute", "second", "microsecond"
    parts = [getattr(nw.col(_TIME).dt, name)().cast(nw.Int64) for name in names]
    year, day, hour, minute, second, microsecond = parts
    past = year - 1
    leap_days = past // 4 - past // 100 + past // 400 - 477  # since 1970
    days = 365 * (year - 1970) + leap_days + day - 1
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 10**6 + microsecond
