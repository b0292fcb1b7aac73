"""Each function against a slow loop, on three frame libraries."""

import warnings
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import Sessions
from skclip.preprocessing import (
    drop_duplicates,
    drop_rare_items,
    drop_rare_users,
    drop_repeats,
    drop_short_sessions,
    keep_top_items,
    sessionize,
    truncate_sessions,
    until_stable,
)

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3),  # user
        st.integers(0, 5),  # item
        st.integers(0, 40),  # time
    ),
    min_size=1,
    max_size=40,
)
LIBRARIES = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}


def frame(events, library="pandas"):
    users, items, times = zip(*events, strict=True)
    columns = {"u": list(users), "i": list(items), "t": list(times)}
    return LIBRARIES[library](columns | {"row": list(range(len(events)))})


def rows(events):
    return (
        events.to_dict("records")
        if isinstance(events, pd.DataFrame)
        else events.to_pylist()
        if isinstance(events, pa.Table)
        else events.to_dicts()
    )


@pytest.mark.parametrize("library", LIBRARIES)
@settings(max_examples=40)
@given(events=EVENTS, gap=st.integers(1, 20))
def test_sessions_by_gap(library, events, gap):
    found = rows(sessionize(frame(events, library), user="u", time="t", gap=gap))
    expected, number, last = [], -1, None
    for row, (u, _, t) in sorted(enumerate(events), key=lambda e: (e[1][0], e[1][2])):
        if last is None or last[0] != u or t - last[1] > gap:
            number += 1
        expected.append((row, number))
        last = u, t
    assert [(r["row"], r["session"]) for r in found] == expected


@settings(max_examples=40)
@given(events=EVENTS, window=st.integers(1, 20))
def test_sessions_by_window(events, window):
    found = rows(sessionize(frame(events), user="u", time="t", window=window))
    keys = [(r["u"], r["t"] // window) for r in found]
    assert keys == sorted(keys)
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    assert [r["session"] for r in found] == [numbers[key] for key in keys]


def loops(events):
    """Filter name -> (function, rows that a slow loop keeps); users are sessions."""
    columns = {name: [e[at] for e in events] for name, at in (("u", 0), ("i", 1))}

    def count(name, value):
        return columns[name].count(value)

    sessions = [(u, t) for u, _, t in events]  # a session per user and time
    top = sorted(set(columns["i"]), key=lambda i: (-count("i", i), i))[:2]
    places, before = {}, {}
    kept = {name: [] for name in ("short", "items", "users", "top", "repeats", "cut")}
    for row, (u, i, _) in enumerate(events):
        conditions = {
            "short": count("u", u) >= 3,
            "items": count("i", i) >= 3,
            "users": len({s for s in sessions if s[0] == u}) >= 2,
            "top": i in top,
            "repeats": before.get(u) != i,
            "cut": places.get(u, 0) < 2,
        }
        before[u], places[u] = i, places.get(u, 0) + 1
        for name, keep in conditions.items():
            if keep:
                kept[name].append(row)
    return {
        "short": (partial(drop_short_sessions, session="u", min_length=3)),
        "items": (partial(drop_rare_items, item="i", min_count=3)),
        "users": (partial(drop_rare_users, user="u", session="s", min_sessions=2)),
        "top": (partial(keep_top_items, item="i", n_items=2)),
        "repeats": (partial(drop_repeats, session="u", item="i")),
        "cut": (partial(truncate_sessions, session="u", max_length=2)),
    }, kept


@pytest.mark.parametrize("library", LIBRARIES)
@settings(max_examples=40)
@given(events=EVENTS)
def test_filters_equal_loops(library, events):
    table = frame(events).assign(s=[f"{u}-{t}" for u, _, t in events])
    native = LIBRARIES[library](table.to_dict("list"))
    functions, kept = loops(events)
    for name, function in functions.items():
        found = function(native)
        assert isinstance(found, type(native))
        assert [r["row"] for r in rows(found)] == kept[name], name


@settings(max_examples=40)
@given(events=EVENTS)
def test_until_stable_is_stable_and_the_largest(events):
    filters = [
        partial(drop_short_sessions, session="u", min_length=3),
        partial(drop_rare_items, item="i", min_count=3),
    ]
    table = frame(events)
    found = until_stable(table, *filters)
    for keep in filters:
        assert len(keep(found)) == len(found)
    reversed_order = until_stable(table, *filters[::-1])
    assert found["row"].tolist() == reversed_order["row"].tolist()  # a unique core


def test_bad_input():
    clicks = pd.DataFrame({"u": [1], "t": [0.0]})
    with pytest.raises(ValueError, match="gap=None and window=None.*exactly one"):
        sessionize(clicks, user="u", time="t")
    for gap, error, message in (
        (0, ValueError, "gap=0 must be a positive number"),
        (float("nan"), ValueError, "gap=nan must be a positive number"),
        (
            "1800",
            ValueError,
            "gap='1800' is not a .*'30min'.*number alone is seconds",
        ),
        (True, TypeError, "gap=True is not a time span"),
        (np.timedelta64(1, "M"), TypeError, "is not a time span"),
    ):
        with pytest.raises(error, match=message):
            sessionize(clicks, user="u", time="t", gap=gap)
    with pytest.raises(ValueError, match="no column 'who'.*given as user="):
        sessionize(clicks, user="who", time="t", gap=1)
    with pytest.raises(ValueError, match="no column 'when'.*given as time="):
        drop_repeats(clicks, session="u", item="t", time="when")
    with pytest.raises(ValueError, match="min_length=0. Expected a whole number"):
        drop_short_sessions(clicks, session="u", min_length=0)
    with pytest.raises(TypeError, match="events is a list"):
        drop_short_sessions([1], session="u", min_length=1)
    with pytest.raises(ValueError, match="at least one filter"):
        until_stable(clicks)
    with pytest.raises(ValueError, match="added rows"):
        until_stable(clicks, lambda e: pd.concat([e, e]))


@pytest.mark.parametrize("session", ["session", "u", "t"])
def test_no_column_is_overwritten(session):
    clicks = pd.DataFrame({"u": [1], "t": [0.0], "session": ["mine"]})
    with pytest.raises(ValueError, match=f"has a column '{session}'.*session='v"):
        sessionize(clicks, user="u", time="t", gap=1, session=session)
    found = sessionize(clicks, user="u", time="t", gap=1, session="visit")
    assert found.to_dict("list") == clicks.to_dict("list") | {"visit": [0]}


HALF_AN_HOUR = 1_800, 1_800.0, "30min", "1800 s", "0.5h", timedelta(minutes=30)


@pytest.mark.parametrize(
    "span", [*HALF_AN_HOUR, np.timedelta64(30, "m"), pd.Timedelta("30min")]
)
def test_ways_to_say_half_an_hour(span):
    clicks = pd.DataFrame({"u": 1, "t": [0, 1_799, 3_599, 5_400]})
    for name, expected in (("gap", [0, 0, 0, 1]), ("window", [0, 0, 1, 2])):
        found = sessionize(clicks, user="u", time="t", **{name: span})
        assert found["session"].tolist() == expected


def test_gaps_are_exact_to_the_nanosecond():
    times = np.array([900, 100, 500], dtype="datetime64[ns]") + np.timedelta64(
        20_000, "D"
    )
    clicks = pd.DataFrame({"u": 1, "t": times, "row": [0, 1, 2]})
    for gap, expected in ((399, [0, 1, 2]), (400, [0, 0, 0])):
        found = sessionize(clicks, user="u", time="t", gap=np.timedelta64(gap, "ns"))
        assert found["row"].tolist() == [1, 2, 0]
        assert found["session"].tolist() == expected


# -- days of the shop's own clock ------------------------------------------------------

BERLIN = {  # a night, a day of 23 and one of 25 hours
    "2024-03-30T23:59:59+01:00": 0,
    "2024-03-31T00:00:00+01:00": 1,
    "2024-03-31T03:00:00+02:00": 1,
    "2024-03-31T23:59:59+02:00": 1,
    "2024-04-01T00:00:00+02:00": 2,
    "2024-10-27T00:00:00+02:00": 3,
    "2024-10-27T02:30:00+02:00": 3,
    "2024-10-27T02:30:00+01:00": 3,
    "2024-10-27T23:59:59+01:00": 3,
    "2024-10-28T00:00:00+01:00": 4,
}
DATES = pd.DataFrame({"u": 1, "t": pd.to_datetime(list(BERLIN), utc=True)})
DATES["t"] = DATES["t"].dt.tz_convert("Europe/Berlin")
TEXTS = DATES.assign(t=list(BERLIN))
ZONED = {
    "pandas": DATES,
    "polars": pl.from_pandas(DATES),
    "pyarrow": pa.Table.from_pandas(DATES),
    "nanoseconds": DATES.assign(t=DATES["t"].astype("datetime64[ns, Europe/Berlin]")),
    "objects": DATES.assign(t=DATES["t"].astype(object)),
    "text": TEXTS,
    "text of polars": pl.from_pandas(TEXTS),
    "text with hours": TEXTS.assign(t=TEXTS["t"].str[:-3]),
}


@pytest.mark.parametrize("kind", ZONED)
@pytest.mark.parametrize("window", ["day", "1D", 86_400, timedelta(days=1)], ids=str)
def test_days_are_those_of_the_time_zone(kind, window):
    found = sessionize(ZONED[kind], user="u", time="t", window=window)
    assert np.asarray(found["session"]).tolist() == list(BERLIN.values())


def test_days_without_a_zone_and_weeks():
    naive = DATES.assign(t=DATES["t"].dt.tz_localize(None))
    found = sessionize(naive, user="u", time="t", window="D")["session"]
    assert found.tolist() == list(BERLIN.values())
    utc = DATES.assign(t=DATES["t"].dt.tz_convert("UTC"))
    found = sessionize(utc, user="u", time="t", window="day")["session"]
    assert found.tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 3, 3]
    week = ["2024-04-28", "2024-04-29", "2024-05-05", "2024-05-06"]  # Sunday, Monday...
    clicks = pd.DataFrame({"u": 1, "t": pd.to_datetime(week)})
    found = sessionize(clicks, user="u", time="t", window="1W")["session"]
    assert found.tolist() == [0, 1, 1, 2]


# -- guests, duplicates, rows out of order ---------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("users", [["b", None, "a", None, "b"], [2, None, 1, None, 2]])
def test_guests_have_a_visit_for_each_row(library, users):
    times = {"t": [5, 4, 3, 2, 1], "row": list(range(5))}
    clicks = LIBRARIES[library]({"u": users} | times)
    for span in ({"gap": "1h"}, {"window": "day"}):
        found = rows(sessionize(clicks, user="u", time="t", **span))
        pairs = [(r["row"], r["session"]) for r in found]
        assert pairs == [(2, 0), (4, 1), (0, 1), (3, 2), (1, 3)]
    nobody = LIBRARIES[library]({"u": [None] * 5} | times)
    found = rows(sessionize(nobody, user="u", time="t", gap="1h"))
    assert [(r["row"], r["session"]) for r in found] == [(4 - i, i) for i in range(5)]


@pytest.mark.parametrize("library", LIBRARIES)
def test_guests_are_no_frequent_user(library):
    clicks = LIBRARIES[library](
        {"u": ["a", None, None, "a", "b"], "s": [1, 2, 3, 4, 5]}
    )
    found = drop_rare_users(clicks, user="u", session="s", min_sessions=2)
    assert [r["s"] for r in rows(found)] == [1, 4]
    found = drop_rare_users(clicks, user="u", session="s", min_sessions=1)
    assert [r["s"] for r in rows(found)] == [1, 4, 5]


@pytest.mark.parametrize("library", LIBRARIES)
@settings(max_examples=40)
@given(events=EVENTS)
def test_filters_in_order_of_time_equal_loops(library, events):
    kept = {"duplicates": [], "repeats": [], "cut": []}
    seen, before, places = set(), {}, {}
    for row, (u, i, t) in sorted(enumerate(events), key=lambda e: e[1][2]):
        conditions = {
            "duplicates": (u, i, t) not in seen,
            "repeats": before.get(u) != i,
            "cut": places.get(u, 0) < 2,
        }
        seen.add((u, i, t))
        before[u], places[u] = i, places.get(u, 0) + 1
        for name, keep in conditions.items():
            kept[name] += [row] * keep
    native, names = frame(events, library), {"session": "u", "time": "t"}
    for name, found in (
        ("duplicates", drop_duplicates(native, item="i", **names)),
        ("repeats", drop_repeats(native, item="i", **names)),
        ("cut", truncate_sessions(native, max_length=2, **names)),
    ):
        assert [r["row"] for r in rows(found)] == sorted(kept[name]), name


@settings(max_examples=40)
@given(events=EVENTS)
def test_describe_counts_what_drop_duplicates_drops(events):
    def n_duplicates(clicks):
        X = Sessions.from_events(clicks, session="u", item="i", time="t")
        return X.describe()["n_duplicates"]

    clicks = frame(events)
    once = drop_duplicates(clicks, session="u", item="i", time="t")
    assert n_duplicates(clicks) == len(clicks) - len(once)
    assert n_duplicates(once) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("typed", [True, False])
def test_an_empty_log_stays_empty(library, typed):
    empty = LIBRARIES[library]({"u": ["a"], "i": ["x"], "t": [0.0]})[:0]
    if not typed:
        empty = LIBRARIES[library]({"u": [], "i": [], "t": []})
    for function in (
        partial(sessionize, user="u", time="t", gap=1),
        partial(sessionize, user="u", time="t", window="day"),
        partial(drop_duplicates, session="u", item="i", time="t"),
        partial(drop_repeats, session="u", item="i", time="t"),
        partial(drop_repeats, session="u", item="i"),
        partial(drop_short_sessions, session="u", min_length=2),
        partial(drop_rare_users, user="u", session="i", min_sessions=2),
        partial(drop_rare_items, item="i", min_count=2),
        partial(keep_top_items, item="i", n_items=2),
        partial(truncate_sessions, session="u", max_length=2, time="t"),
    ):
        found = function(empty)
        assert isinstance(found, type(empty))
        assert len(found) == 0


def test_filters_leave_the_type_of_ids_to_from_events():
    """A column of floats is warned about where ids are read, not by each filter."""
    clicks = pd.DataFrame({"u": [1.0, 1.0], "i": [3.0, 4.0], "t": [0, 1]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        visits = sessionize(clicks, user="u", time="t", gap=1)
        visits = drop_rare_items(visits, item="i", min_count=1)
    with pytest.warns(UserWarning, match="'i' holds item ids as floats, such as 3.0"):
        Sessions.from_events(visits, session="session", item="i")


def test_times_as_dates():
    clicks = pl.DataFrame(
        {"u": ["a", "a"], "t": ["2009-04-08T01:00:00Z", "2009-04-08T10:00:00Z"]}
    )
    assert sessionize(clicks, user="u", time="t", gap=8 * 3600)[
        "session"
    ].to_list() == [
        0,
        1,
    ]
    nine = sessionize(clicks, user="u", time="t", gap=9 * 3600)
    np.testing.assert_array_equal(nine["session"], [0, 0])


def test_another_type_of_event_is_no_repeat_and_no_duplicate():
    log = pd.DataFrame(
        {
            "sid": [1] * 5,
            "sku": list("aaaab"),
            "ts": [0, 0, 0, 5, 6],
            "kind": ["view", "buy", "buy", None, None],
        }
    )
    columns = {"session": "sid", "item": "sku", "time": "ts"}
    assert drop_duplicates(log, **columns).index.tolist() == [0, 3, 4]
    kept = drop_duplicates(log, **columns, event="kind")
    assert kept.index.tolist() == [0, 1, 3, 4]
    assert drop_repeats(log, **columns).index.tolist() == [0, 4]
    assert drop_repeats(log, **columns, event="kind").index.tolist() == [0, 1, 3, 4]
