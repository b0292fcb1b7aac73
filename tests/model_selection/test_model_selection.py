import json
import warnings
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from common import GOLDEN
from sklearn.model_selection import cross_val_score

from skclip import PopularityRecommender, Sessions
from skclip.model_selection import (
    LeaveLastOut,
    SlidingWindowSplit,
    TemporalSplit,
    last_targets,
    leave_last_out,
    temporal_split,
    within_session_sizes,
    within_session_split,
)


def sessions_at(spans, ids=None):
    """One session for each (begin, end), in this order."""
    times = [t for span in spans for t in span]
    return Sessions(
        np.zeros(len(times), dtype=int),
        np.arange(0, len(times) + 1, 2),
        ["a"],
        times=times,
        ids=np.arange(len(spans)) if ids is None else ids,
    )


@pytest.fixture
def X():
    X = sessions_at([(i, i) for i in range(10)])
    return X[np.random.default_rng(0).permutation(10)]


@pytest.mark.parametrize(
    ("n_splits", "test_size", "expected"),
    [
        (1, 3, [(7, 3)]),
        (2, 2, [(6, 2), (8, 2)]),
        (2, 0.2, [(6, 2), (8, 2)]),
        (4, None, [(2, 2), (4, 2), (6, 2), (8, 2)]),
    ],
)
def test_sizes_and_order(X, n_splits, test_size, expected):
    splits = list(TemporalSplit(n_splits, test_size=test_size).split(X))
    assert [(len(a), len(b)) for a, b in splits] == expected
    for train, test in splits:
        assert X.end_times[train].max() < X.end_times[test].min()
    ends = np.concatenate([X.end_times[test] for _, test in splits])
    assert (np.diff(ends) == 1).all()
    assert ends[-1] == 9


def test_bad_input(X):
    for cv, sessions, error, message in (
        (TemporalSplit(2), [[1, 2]], TypeError, "X is a list.*from_events"),
        (TemporalSplit(2), Sessions.from_lists([[1, 2]]), ValueError,
         "no times.*TimeSeriesSplit"),
        (TemporalSplit(5, test_size=2), X, ValueError, "10 sessions are too few"),
        (TemporalSplit(1, test_size="1D"), X[:0], ValueError, "0 sessions are too few"),
        (TemporalSplit(0), X, ValueError, "n_splits must be at least 1"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            next(cv.split(sessions))
    with pytest.raises(ValueError, match="0 sessions are too few"):
        temporal_split(X[:0], test_size="1D")


def test_empty_sessions_are_never_tested_and_equal_times_go_by_session_id():
    X = Sessions([0, 0], [0, 1, 1, 2], ["a"], times=[1.0, 2.0])
    (_, test), *_ = TemporalSplit(1, test_size=1).split(X)
    assert test.tolist() == [2]
    X = sessions_at([(9, 9), (5, 5), (5, 5), (5, 5)], ids=[0, 2, 3, 1])
    (train, test), *_ = TemporalSplit(1, test_size=2).split(X)
    assert X[train].ids.tolist() == [1, 2]
    assert X[test].ids.tolist() == [3, 0]


def test_temporal_split(X):
    train, valid, test = temporal_split(X, test_size=2, validation_size=0.3)
    ids = [part.ids.tolist() for part in (train, valid, test)]
    assert ids == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    with pytest.raises(ValueError, match="10 sessions are too few"):
        temporal_split(X, test_size=6, validation_size=4)
    train, test = temporal_split(X, test_size=2, validation_size=None)
    assert [part.ids.tolist() for part in (train, test)] == [[*range(8)], [8, 9]]
    train, valid, test = temporal_split(X, test_size=2, validation_size=0)
    assert [len(part) for part in (train, valid, test)] == [8, 0, 2]
    with pytest.raises(ValueError, match="10 sessions are too few"):
        temporal_split(X, test_size=10, validation_size=None)


# -- within sessions -------------------------------------------------------------------


def test_golden_within_session_sizes():
    golden = json.loads((GOLDEN / "within_session_split.json").read_text("utf-8"))[
        "sizes"
    ]
    for m, expected in golden.items():
        assert [int(n) for n in within_session_sizes(int(m))] == expected
    sizes = np.stack(within_session_sizes(np.array([int(m) for m in golden])), axis=1)
    assert sizes.tolist() == list(golden.values())


def test_within_session_split_equals_a_loop():
    rng = np.random.default_rng(0)
    rows = [rng.integers(9, size=n).tolist() for n in rng.integers(1, 35, size=60)]
    users = [f"u{i % 7}" for i in range(60)]
    X = Sessions.from_lists(rows, users=users)
    train, valid, test = within_session_split(X)
    expected = {"train": [], "valid": [], "test": []}
    for i, row in enumerate(rows):
        samples = [(row[:t], row[t]) for t in range(1, len(row))]
        if not samples:
            continue
        a, b, _ = (int(n) for n in within_session_sizes(len(samples)))
        expected["train"].append((row[: a + 1], i))
        expected["valid"] += [(*sample, i) for sample in samples[a : a + b]]
        expected["test"] += [(*sample, i) for sample in samples[a + b :]]
    found = zip(train.to_lists(), train.ids.tolist(), strict=True)
    assert [*found] == expected["train"]
    for name, (prefixes, targets) in (("valid", valid), ("test", test)):
        columns = prefixes.to_lists(), targets.tolist(), prefixes.ids.tolist()
        assert [*zip(*columns, strict=True)] == expected[name]
        assert prefixes.users.tolist() == [users[i] for i in prefixes.ids]


def test_within_session_sizes_are_checked_and_nothing_trains_twice():
    rows = [list("abc"), list("defgh")]
    train, valid, test = within_session_split(rows, test_size=0.5, validation_size=0.49)
    held_out = {y for part in (valid, test) for y in part[1].tolist()}
    assert not held_out & {i for row in train.to_lists() for i in row[1:]}
    for bad in ({"test_size": 1}, {"test_size": -0.1}, {"test_size": 0.95}):
        with pytest.raises(ValueError, match="shares of each session"):
            within_session_split(rows, **bad)


# -- spans of time, gaps, straddling sessions ------------------------------------------


def test_spans_of_time_equal_a_loop():
    rng = np.random.default_rng(3)
    ends = rng.integers(0, 50, size=200)
    X = sessions_at([(t, t) for t in ends])
    cv = TemporalSplit(3, test_size="7s", gap="4s", straddling="raise")
    for i, (train, test) in zip((3, 2, 1), cv.split(X), strict=True):
        cut = ends.max() - 7 * i
        assert set(train) == {j for j, t in enumerate(ends) if t <= cut - 4}
        assert set(test) == {j for j, t in enumerate(ends) if cut < t <= cut + 7}


SPANS = (
    "2D",
    "2 days",
    "48h",
    "2880min",
    "172800 s",
    timedelta(days=2),
    np.timedelta64(2, "D"),
)


@pytest.mark.parametrize("span", [*SPANS, pd.Timedelta("2D")])
def test_ways_to_say_two_days(span):
    day = 86_400
    X = sessions_at([(i * day, i * day) for i in range(10)])
    ((train, test),) = TemporalSplit(1, test_size=span, gap=span).split(X)
    assert train.tolist() == [0, 1, 2, 3, 4, 5]
    assert test.tolist() == [8, 9]
    parts = temporal_split(X, test_size=span, validation_size=span)
    assert [part.ids.tolist() for part in parts] == [[*range(6)], [6, 7], [8, 9]]


def test_gap_in_sessions_and_time(X):
    def sizes(**params):
        splits = TemporalSplit(2, test_size=2, **params).split(X)
        return [tuple(X.end_times[part].tolist() for part in split) for split in splits]

    assert sizes(gap=3) == [([0, 1, 2], [6, 7]), ([0, 1, 2, 3, 4], [8, 9])]
    assert sizes(gap=0.3) == sizes(gap=3)
    assert sizes(gap="4s") == sizes(gap=3)  # the last to train on ends 4 s before
    assert sizes(gap="0s") == sizes()


def test_straddling_sessions():
    X = sessions_at([(0, 1), (2, 5), (4, 6), (7, 8)])
    cv = TemporalSplit(1, test_size=2)
    with pytest.warns(UserWarning, match="1 of 2 test sessions straddle") as caught:
        ((_, test),) = cv.split(X)
    assert len(caught) == 1
    assert test.tolist() == [2, 3]
    cv.straddling = "drop"
    ((train, test),) = cv.split(X)
    assert (train.tolist(), test.tolist()) == ([0, 1], [3])
    cv.straddling = "raise"
    with pytest.raises(ValueError, match="straddling='drop'"):
        next(cv.split(X))
    cv.straddling = "keep"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ((_, test),) = cv.split(X)
    assert test.tolist() == [2, 3]
    with pytest.warns(UserWarning, match="1 of 3 held-out .* and test parts"):
        temporal_split(X, validation_size=1, test_size=2)
    parts = temporal_split(X, validation_size=1, test_size=2, straddling="drop")
    assert [part.ids.tolist() for part in parts] == [[0], [1], [3]]
    parts = temporal_split(X, validation_size=None, test_size=2, straddling="drop")
    assert [part.ids.tolist() for part in parts] == [[0, 1], [3]]
    with pytest.raises(ValueError, match="straddling must be one of.*'maybe'"):
        next(TemporalSplit(1, test_size=2, straddling="maybe").split(X))


def test_what_straddles():
    """Not what begins at the last training event; but prefixes on both sides."""
    X = sessions_at([(0, 3), (3, 4), (2.9, 5)])
    with pytest.warns(UserWarning, match="1 of 2 test sessions"):
        next(TemporalSplit(1, test_size=2).split(X))
    long = Sessions([0] * 4, [0, 4], ["a"], times=[1, 2, 3, 4], ids=[5])
    X, _ = long.to_prefixes()
    with pytest.warns(UserWarning, match="1 of 1 test sessions straddle"):
        next(TemporalSplit(1, test_size=1).split(X))
    with pytest.raises(ValueError, match="whole sessions, not prefixes"):
        next(TemporalSplit(1, test_size=1, straddling="drop").split(X))


@pytest.mark.parametrize("split", [TemporalSplit(1).split, temporal_split])
def test_unsorted_times_are_named(split):
    X = Sessions([0] * 5, [0, 2, 5], ["a"], times=[8, 9, 1, 7, 5])
    with pytest.raises(ValueError, match="session 1.*event 2 is at 5 after 7"):
        list(split(X))
    X = Sessions([0] * 2, [0, 1, 2], ["a"], times=[1, np.nan])
    with pytest.raises(ValueError, match="session 1.*event 0 is at nan"):
        list(split(X))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"test_size": "7 moons"}, ValueError, "'7 moons' is not a time span"),
        ({"test_size": [3]}, TypeError, r"\[3\] is not a time span"),
        ({"test_size": True}, TypeError, "True is not a time span"),
        ({"test_size": 1.5}, ValueError, "1.5 is a float, a share"),
        ({"test_size": -1}, ValueError, "must not be negative"),
        ({"test_size": "0s"}, ValueError, "positive time span"),
        ({"test_size": "100s"}, ValueError, "too few.*'100s'"),
        ({"test_size": 1, "gap": 9}, ValueError, "gap=9 leaves no session"),
        ({"test_size": "1s", "gap": "1D"}, ValueError, "gap='1D' leaves no session"),
    ],
)
def test_bad_sizes(X, params, error, message):
    with pytest.raises(error, match=message):
        next(TemporalSplit(1, **params).split(X))


def test_sliding_windows_equal_a_loop():
    rng = np.random.default_rng(5)
    ends = rng.integers(0, 100, size=500)
    X = sessions_at([(t, t) for t in ends])
    for step, shift in ((None, 19), ("4s", 4)):
        spans = {"train_size": "13s", "test_size": "4s", "gap": "2s", "step": step}
        cv = SlidingWindowSplit(5, **spans)
        assert cv.get_n_splits() == 5
        for i, (train, test) in zip(range(4, -1, -1), cv.split(X), strict=True):
            cut = ends.max() - i * shift - 4
            assert set(test) == {j for j, t in enumerate(ends) if cut < t <= cut + 4}
            before = {j for j, t in enumerate(ends) if cut - 15 < t <= cut - 2}
            assert set(train) == before
            assert (np.diff(ends[train]) >= 0).all()


def test_sliding_windows_straddle_and_fail(X):
    def split(sessions, n, train, test, step=None):
        cv = SlidingWindowSplit(n, train_size=train, test_size=test, step=step)
        next(cv.split(sessions))

    sparse = sessions_at([(0, 0), (50, 50), (99, 99)])
    for arguments, error, message in (
        ((X, 5, "3s", "1s"), ValueError, "span 0.0001.*Pass fewer splits"),
        ((X, 1, 3, "1s"), TypeError, "train_size=3 is not a time span"),
        ((sparse, 1, "10s", "5s"), ValueError, "training window.*larger train_size"),
        ((sparse, 2, "50s", "10s", "20s"), ValueError, "test window.*0.*larger test_"),
    ):
        with pytest.raises(error, match=message):
            split(*arguments)
    overlap = sessions_at([(0, 0), (2, 6), (5, 9)])
    with pytest.warns(UserWarning, match="1 of 1 test sessions straddle"):
        split(overlap, 1, "5s", "2s")


def test_splitters_are_cv_arguments(shop):
    X, _ = shop
    cv = SlidingWindowSplit(2, train_size="8D", test_size="2D", straddling="keep")
    scores = cross_val_score(PopularityRecommender(), X, cv=cv)
    assert scores.shape == (2,)
    assert (scores > 0).all()
    rows, y = X.to_prefixes()
    cv = LeaveLastOut()
    [(train, test)] = cv.split(rows)
    popular = PopularityRecommender().fit(rows[train], y[train])
    expected = popular.score(rows[test], y[test])
    assert cross_val_score(PopularityRecommender(), rows, y, cv=cv) == [expected]


# -- the last item ---------------------------------------------------------------------


def test_leave_last_out_equals_a_loop():
    rng = np.random.default_rng(1)
    rows = [rng.integers(9, size=n).tolist() for n in rng.integers(0, 6, size=50)]
    times = [float(t) for t in range(sum(map(len, rows)))]
    base, users = Sessions.from_lists(rows), [f"u{i % 3}" for i in range(50)]
    columns = {"times": times, "users": users}
    X = Sessions(base.codes, base.offsets, base.vocabulary, **columns)
    train, (observed, y) = leave_last_out(X)
    assert train.to_lists() == [row[:-1] if len(row) > 1 else row for row in rows]
    long = [i for i, row in enumerate(rows) if len(row) > 1]
    assert observed.to_lists() == [rows[i][:-1] for i in long]
    assert y.tolist() == [rows[i][-1] for i in long]
    assert observed.ids.tolist() == long
    assert observed.users.tolist() == [f"u{i % 3}" for i in long]
    starts = np.cumsum([0, *map(len, rows)])
    expected = [times[starts[i] + len(rows[i]) - 2] for i in long]
    assert observed.end_times.tolist() == expected
    again, again_y = last_targets(X)
    assert (again.to_lists(), again_y.tolist()) == (observed.to_lists(), y.tolist())


def test_leave_last_out_of_prefix_rows_and_what_is_missing():
    rows = [list("abcdef"), list("xy"), list("pqrs")]
    X, y = Sessions.from_lists(rows, ids=[7, 8, 9]).to_prefixes()
    order = np.random.default_rng(1).permutation(len(X))
    X, y = X[order], y[order]
    [(train, test)] = LeaveLastOut().split(X, y)
    assert sorted(y[test].tolist()) == ["f", "s", "y"]
    assert sorted(y[train].tolist()) == ["b", "c", "d", "e", "q", "r"]
    assert LeaveLastOut().get_n_splits() == 1
    assert repr(LeaveLastOut()) == "LeaveLastOut()"
    with pytest.raises(ValueError, match="No session has two items"):
        leave_last_out([["a"], ["b"]])
    with pytest.raises(TypeError, match="LeaveLastOut needs prefixes"):
        next(LeaveLastOut().split([["a", "b"]]))
    X, _ = Sessions.from_lists([["a", "b"]], ids=[1]).to_prefixes()
    with pytest.raises(ValueError, match="None of the 1 prefixes is left"):
        next(LeaveLastOut().split(X))
