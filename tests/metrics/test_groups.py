"""Metrics by group, and the groups."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip import Sessions
from skclip.metrics import (
    by_group,
    length_groups,
    mrr_at_k,
    popularity_groups,
    position_groups,
    recall_at_k,
)


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from("xyz")), min_size=1))
def test_by_group_equals_a_loop(rows):
    ranks, groups = zip(*rows, strict=True)
    frame = pd.DataFrame(by_group(ranks, groups, ["recall@5", "mrr@10"]))
    for group in set(groups):
        own = [r for r, g in rows if g == group]
        found = frame[frame.group == group].set_index("metric")
        assert found.value["recall@5"] == pytest.approx(recall_at_k(own, 5))
        assert found.value["mrr@10"] == pytest.approx(mrr_at_k(own, 10))
        assert set(found.n_queries) == {len(own)}
    assert len(frame) == 2 * len(set(groups))


def test_empty_groups_are_kept_by_name():
    found = by_group([1, 3], [2, 0], "recall@2", names=["rare", "some", "many"])
    assert found["group"] == ["rare", "some", "many"]
    assert found["n_queries"] == [1, 0, 1]
    np.testing.assert_array_equal(found["value"], [0.0, np.nan, 1.0])


def named(result):
    groups, names = result
    return " ".join(names[g] for g in groups)


def test_popularity_groups_count_training_events():
    train = [["a"] * 5, ["a", "b"], ["c"] * 20, ["d"] * 21, ["e"] * 5]
    targets = ["z", "b", "e", "a", "c", "d"]
    assert named(popularity_groups(targets, train)) == "0 1-5 1-5 6-20 6-20 >20"
    assert popularity_groups(targets, train)[1] == ["0", "1-5", "6-20", ">20"]
    assert named(popularity_groups(["b"], train, bins=[1, 5])) == "0-1"


def test_groups_of_prefixes_equal_those_of_whole_sessions():
    rng = np.random.default_rng(0)
    rows = [rng.integers(9, size=n).tolist() for n in rng.integers(0, 15, size=40)]
    X = Sessions.from_lists(rows, ids=np.arange(40))
    prefixes, y = X.to_prefixes()
    length = [len(row) for row in rows for _ in row[1:]]
    position = [t for row in rows for t in range(1, len(row))]
    for groups, values in ((length_groups, length), (position_groups, position)):
        whole, names = groups(X, bins=(3, 6, 7))
        again, _ = groups(prefixes, y, bins=(3, 6, 7))
        assert names[1:] == ["4-6", "7", ">7"]
        assert whole.tolist() == again.tolist()
        assert whole.tolist() == [sum(v > b for b in (3, 6, 7)) for v in values]


def test_rows_without_ids_are_sessions_of_their_own_and_may_be_empty():
    X, y = [["a"], [], ["a", "b"]], list("xyz")
    assert named(length_groups(X, y)) == "1-2 1-2 3-4"
    assert named(position_groups(X, y)) == "0-1 0-1 2"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: by_group([1], ["a"], "hits@3"), "Unknown metric 'hits@3'.*'recall@k'"),
        (lambda: by_group([1], ["a", "b"]), r"shape \(2,\), expected \(1,\)"),
        (lambda: by_group([1], [3], names=["a"]), "positions in the 1 names"),
        (lambda: by_group([], []), "non-empty"),
        (lambda: popularity_groups(["a"], [["a"]], bins=(5, 1)), r"\[5, 1\]"),
        (lambda: length_groups([["a", "b"]], bins=(1, 3)), "at least 2"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
