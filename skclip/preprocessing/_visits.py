"""Visits: users' clicks in runs, by idle gap or by windows of time."""

from datetime import timedelta
from functools import partial

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import read_times, span_seconds, wall_times
from skclip.preprocessing import _lazy
from skclip.preprocessing._eager import codes_of
from skclip.preprocessing._reading import read

_DAY = 86_400
# Columns in between; no log has such names.
_TIME, _ALONE, _BEFORE = "_skclip_time", "_skclip_alone", "_skclip_before"
_NEW, _NUMBER = "_skclip_new", "_skclip_number"


def sessionize(events, *, user, time, gap=None, window=None, session="session"):
    """Number the visits of each user by idle gap or by fixed windows.

    Parameters
    ----------
    events : data frame
        One row per click.
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
        Column to write: 0, 1, ... in order of user, then time. On a lazy frame it is
        text, ``"ann/3"`` of user and number, or ``"1700000000/1/guest"`` of time and
        number without a user.

    Returns
    -------
    events : data frame
        Sorted by user and time (equal times keep the order of their rows), with the
        new column. Rows without a user come last. A lazy frame is not sorted.

    Raises
    ------
    ValueError
        A column is missing, `session` is a column already, a time does not parse, or
        not exactly one of `gap` and `window` is a positive span. A lazy frame has text
        as times.

    Notes
    -----
    Clicks of a user at the same time are in the same visit, so that a lazy frame needs
    no tie-breakers. It gets the same visits as an eager one, under other names: one
    count over all users would need all rows in one place. Numbers by `gap` begin at 0
    for each user; those by `window` count from 1970. Gaps between dates are compared to
    the microsecond. DuckDB and Spark show clocks in the time zone of their session.

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
    frame = read(events, user=user, time=time)
    if session in frame.collect_schema().names():
        raise ValueError(
            f"events has a column {session!r} already. Pass another name for the new "
            "column, such as session='visit', or drop the old one first."
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
    """Visits named by their user and a number, which needs no count over all users.

    The rows of guests would all be in one window, and so in one worker of a cluster.
    Those of one time are in a window of their own instead (`_ALONE`).
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
    # Clicks at one time are in one visit. The two windows above may have put them in
    # different orders, so that some of them miss the beginning of their visit.
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
    """Number of the window that each time is in; those of whole weeks begin Mondays."""
    monday = 3 * _DAY if seconds % (7 * _DAY) == 0 else 0
    kind, times = frame.collect_schema()[_TIME], nw.col(_TIME)
    if not kind.is_numeric():
        return (_microseconds() + monday * 10**6) // round(seconds * 10**6)
    if kind.is_integer() and seconds.is_integer():
        return (times + monday) // int(seconds)
    return (times.cast(nw.Float64) + monday) // seconds


def _microseconds():
    """What a clock in the time zone of the column shows, counted from 1970.

    From its parts, since not every engine tells the time since 1970, and none on the
    clock of a zone.
    """
    names = "year", "ordinal_day", "hour", "minute", "second", "microsecond"
    parts = [getattr(nw.col(_TIME).dt, name)().cast(nw.Int64) for name in names]
    year, day, hour, minute, second, microsecond = parts
    past = year - 1
    leap_days = past // 4 - past // 100 + past // 400 - 477  # since 1970
    days = 365 * (year - 1970) + leap_days + day - 1
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 10**6 + microsecond
