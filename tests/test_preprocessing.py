"""Each function against a slow loop, on three frame libraries."""

from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip.preprocessing import (
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
@settings(deadline=None, max_examples=40)
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


@settings(deadline=None, max_examples=40)
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
@settings(deadline=None, max_examples=40)
@given(events=EVENTS)
def test_filters_equal_loops(library, events):
    table = frame(events).assign(s=[f"{u}-{t}" for u, _, t in events])
    native = LIBRARIES[library](table.to_dict("list"))
    functions, kept = loops(events)
    for name, function in functions.items():
        found = function(native)
        assert isinstance(found, type(native))
        assert [r["row"] for r in rows(found)] == kept[name], name


@settings(deadline=None, max_examples=40)
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
    with pytest.raises(ValueError, match="gap=None and window=None.*one of the two"):
        sessionize(clicks, user="u", time="t")
    with pytest.raises(ValueError, match="gap=0 must be a positive number"):
        sessionize(clicks, user="u", time="t", gap=0)
    with pytest.raises(KeyError, match="no column 'who'.*given as user="):
        sessionize(clicks, user="who", time="t", gap=1)
    with pytest.raises(ValueError, match="min_length=0 must be a whole number"):
        drop_short_sessions(clicks, session="u", min_length=0)
    with pytest.raises(TypeError, match="events is a list"):
        drop_short_sessions([1], session="u", min_length=1)
    with pytest.raises(ValueError, match="has no user"):
        sessionize(
            pd.DataFrame({"u": [1, None], "t": [0, 1]}), user="u", time="t", gap=1
        )
    with pytest.raises(ValueError, match="at least one filter"):
        until_stable(clicks)
    with pytest.raises(ValueError, match="added rows"):
        until_stable(clicks, lambda e: pd.concat([e, e]))


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
