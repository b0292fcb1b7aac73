import json

import numpy as np
import pandas as pd
import pytest
from conftest import GOLDEN

from skclip import Sessions
from skclip.model_selection import (
    TemporalSplit,
    WithinSessionSplit,
    temporal_split,
    within_session_sizes,
    within_session_split,
)


@pytest.fixture
def X():
    n = 10
    events = pd.DataFrame(
        {"s": np.repeat(np.arange(n), 2), "i": 1, "t": np.repeat(np.arange(n), 2)}
    )
    X = Sessions.from_events(events, session="s", item="i", time="t")
    return X[np.random.default_rng(0).permutation(n)]


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
    with pytest.raises(TypeError, match="X is a list.*from_events"):
        next(TemporalSplit(2).split([[1, 2]]))
    with pytest.raises(ValueError, match="no times.*TimeSeriesSplit"):
        next(TemporalSplit(2).split(Sessions.from_lists([[1, 2]])))
    with pytest.raises(ValueError, match="10 sessions are too few"):
        next(TemporalSplit(5, test_size=2).split(X))
    with pytest.raises(ValueError, match="n_splits must be at least 1"):
        next(TemporalSplit(0).split(X))


def test_empty_sessions_are_never_tested():
    X = Sessions([0, 0], [0, 1, 1, 2], ["a"], times=[1.0, 2.0])
    (_, test), *_ = TemporalSplit(1, test_size=1).split(X)
    assert test.tolist() == [2]


def test_equal_times_go_by_session_id():
    events = pd.DataFrame({"s": [3, 1, 2, 0], "i": 1, "t": [5, 5, 5, 9]})
    X = Sessions.from_events(events, session="s", item="i", time="t")
    X = X[[3, 2, 0, 1]]
    (train, test), *_ = TemporalSplit(1, test_size=2).split(X)
    assert X[train].ids.tolist() == [1, 2]
    assert X[test].ids.tolist() == [3, 0]


def test_temporal_split(X):
    train, valid, test = temporal_split(X, test_size=2, validation_size=0.3)
    assert [part.ids.tolist() for part in (train, valid, test)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7],
        [8, 9],
    ]
    with pytest.raises(ValueError, match="10 sessions are too few"):
        temporal_split(X, test_size=6, validation_size=4)


# -- within sessions -------------------------------------------------------------------


def test_golden_within_session_sizes():
    golden = json.loads((GOLDEN / "within_session_split.json").read_text())["sizes"]
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
    assert [*zip(train.to_lists(), train.ids.tolist(), strict=True)] == expected[
        "train"
    ]
    for name, (prefixes, targets) in (("valid", valid), ("test", test)):
        found = zip(
            prefixes.to_lists(), targets.tolist(), prefixes.ids.tolist(), strict=True
        )
        assert [*found] == expected[name]
        assert prefixes.users.tolist() == [users[i] for i in prefixes.ids]


def test_within_session_split_of_prefix_rows():
    rows = [list("abcdef"), list("xy"), list("pqrs")]
    X, y = Sessions.from_lists(rows, ids=[7, 8, 9]).to_prefixes()
    order = np.random.default_rng(1).permutation(len(X))
    X, y = X[order], y[order]
    [(train, test)] = WithinSessionSplit().split(X, y)
    _, _, (X_test, y_test) = within_session_split(Sessions.from_lists(rows))
    assert sorted(y[test].tolist()) == sorted(y_test.tolist())
    assert len(train) == sum(within_session_sizes(m)[0] for m in (5, 1, 3))
    assert not set(train) & set(test)
    lengths = dict(zip(X[train].ids.tolist(), X[train].lengths.tolist(), strict=True))
    assert all(
        length > lengths[i]
        for i, length in zip(X[test].ids, X[test].lengths, strict=True)
    )
    with pytest.raises(TypeError, match="Sessions without ids.*to_prefixes"):
        next(WithinSessionSplit().split(Sessions.from_lists(rows)))


def test_within_session_sizes_are_checked_and_nothing_trains_twice():
    rows = [list("abc"), list("defgh")]
    train, valid, test = within_session_split(rows, test_size=0.5, validation_size=0.49)
    held_out = {y for part in (valid, test) for y in part[1].tolist()}
    assert not held_out & {i for row in train.to_lists() for i in row[1:]}
    for bad in ({"test_size": 1}, {"test_size": -0.1}, {"test_size": 0.95}):
        with pytest.raises(ValueError, match="shares of each session"):
            within_session_split(rows, **bad)
