"""Weights, types and times of events: columns of `Sessions` that travel with them."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.model_selection import KFold, train_test_split

from skclip import Sessions
from skclip.inspection import explain
from skclip.model_selection import leave_last_out, within_session_split

EVENTS = {
    "sid": [2, 1, 1, 2, 1],
    "sku": ["a", "b", "c", "b", "a"],
    "ts": [5, 1, 2, 6, 3],
    "w": [1.0, 0.5, 0.0, 3.0, 2.0],
    "kind": ["view", "view", None, "buy", "cart"],
}
LOG = pd.DataFrame(EVENTS)
NEW = ("weights", "types", "type_names")
NAMES = {"session": "sid", "item": "sku", "time": "ts", "weight": "w", "event": "kind"}


def table(X):
    """Rows of all columns, one for each event, without an order of sessions."""
    frame = X.to_frame().astype(object)
    return sorted(map(repr, frame.where(frame.notna(), None).to_numpy().tolist()))


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_a_log_becomes_columns_in_the_order_of_the_events(library):
    X = Sessions.from_events(library(EVENTS), **NAMES)
    assert X.to_lists() == [["b", "c", "a"], ["a", "b"]]
    assert X.weights.tolist() == [0.5, 0.0, 2.0, 1.0, 3.0]
    assert X.type_names.tolist() == ["buy", "cart", "view"]
    assert X.types.tolist() == [2, -1, 1, 2, 0]


def test_lists_and_frames_give_the_same():
    X = Sessions.from_events(LOG, **NAMES)
    again = Sessions.from_lists(
        [["b", "c", "a"], ["a", "b"]],
        ids=[1, 2],
        times=[[1, 2, 3], [5, 6]],
        weights=[[0.5, 0, 2], [1, 3]],
        events=[["view", None, "cart"], ["view", "buy"]],
    )
    for name in Sessions._COLUMNS:
        np.testing.assert_array_equal(getattr(X, name), getattr(again, name), name)


def test_padding_is_cut_off_the_columns_too():
    X = Sessions.from_lists([[3, 4, 0]], padding=0, weights=[[1, 2, 9]])
    assert X.weights.tolist() == [1, 2]


def some_sessions():
    rng = np.random.default_rng(0)
    sessions = [rng.integers(0, 9, n).tolist() for n in rng.integers(0, 6, 40)]
    return Sessions.from_lists(
        sessions,
        ids=np.arange(40),
        times=[np.sort(rng.random(len(s)) * 100).round(2) for s in sessions],
        weights=[rng.integers(0, 3, len(s)) for s in sessions],
        events=[[["view", "buy", None][i % 3] for i in s] for s in sessions],
    )


def test_columns_travel_through_splits_joins_and_pickles():
    X = some_sessions()
    whole = table(X)
    for parts in (
        train_test_split(X, random_state=0),
        [X[test] for _, test in KFold(4).split(X)],
        [X[::2], X[1::2]],
        [X[X.lengths < 3], X[X.lengths >= 3]],
    ):
        assert table(Sessions.concat(*parts)) == whole
    assert table(pickle.loads(pickle.dumps(X))) == whole
    assert table(X.with_users(["ann"] * 40)[3:4]) != []


def test_prefixes_and_parts_of_sessions_keep_the_columns():
    X = some_sessions()
    prefixes, _ = X.to_prefixes()
    row = int(np.flatnonzero(X.lengths > 2)[0])
    at = int(np.flatnonzero(prefixes.ids == row)[1])  # two events of that session
    start = X.offsets[row]
    for name in ("times", "weights", "types"):
        got = getattr(prefixes[[at]], name)
        np.testing.assert_array_equal(got, getattr(X, name)[start : start + 2], name)
    for part in (leave_last_out(X)[0], within_session_split(X)[0]):
        assert part.weights is not None
        assert len(part.types) == part.n_events


def test_parts_without_weights_or_types_count_one_and_know_none():
    first = Sessions.from_lists([["a"]], weights=[[2]], events=[["view"]])
    second = Sessions.from_lists([["b", "a"]], events=[["buy", "view"]])
    X = Sessions.concat(first, second, [["c"]])
    assert X.weights.tolist() == [2, 1, 1, 1]
    assert X.type_names.tolist() == ["buy", "view"]
    assert X.types.tolist() == [1, 0, 1, -1]
    assert Sessions.concat([["a"]], [["b"]]).weights is None


@pytest.mark.parametrize("bad", [-1.0, np.inf, np.nan])
def test_negative_and_missing_weights_are_refused(bad):
    log = LOG.assign(w=[1.0, bad, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="Row 1 of events has .*weight"):
        Sessions.from_events(log, **NAMES)
    with pytest.raises(ValueError, match=r"weights\[1\] is"):
        Sessions.from_lists([["a", "b"]], weights=[[1, bad]])


def test_weights_of_text_and_columns_that_are_not_there_are_refused():
    with pytest.raises(TypeError, match="'kind' .given as weight=.*pass event="):
        Sessions.from_events(LOG, **NAMES | {"weight": "kind"})
    with pytest.raises(ValueError, match="no column 'type' .given as event="):
        Sessions.from_events(LOG, **NAMES | {"event": "type"})


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"weights": [[1]]}, r"weights\[0\] has 1 values, but session 0 has 2 items"),
        ({"events": [["x", "y"], []]}, "events has 2 rows, expected 1"),
        ({"times": [[1, None]]}, "times has missing or infinite"),
        ({"weights": [["x", "y"]]}, "weights must be numbers"),
    ],
)
def test_rows_of_another_length_are_refused(columns, match):
    with pytest.raises((ValueError, TypeError), match=match):
        Sessions.from_lists([["a", "b"]], **columns)


def test_types_need_names():
    X = Sessions.from_lists([["a", "b"]])
    parts = X.codes, X.offsets, X.vocabulary
    with pytest.raises(ValueError, match="types is given without type_names"):
        Sessions(*parts, types=[0, 0])
    with pytest.raises(ValueError, match="positions in the 1 type_names"):
        Sessions(*parts, types=[0, 1], type_names=["view"])


def test_an_explanation_reads_sessions_with_columns():
    from skclip import PopularityRecommender

    X = Sessions.from_lists([["a", "b", "c"]] * 4, events=[["view"] * 3] * 4)
    rec = PopularityRecommender().fit(X)
    assert len(explain(rec, X[:1], k=2, exclude_seen=False))


def test_a_pickle_without_weights_and_types_opens():
    X = Sessions.from_lists([["a", "b"], ["b"]])
    before = {k: v for k, v in X.__getstate__().items() if k not in NEW}
    again = object.__new__(Sessions)
    again.__setstate__(before)
    assert again.to_lists() == X.to_lists()
    assert again.weights is None
