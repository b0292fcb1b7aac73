import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import PopularityRecommender
from skclip._ranking import _topk, target_rank, topk_codes
from skclip.metrics import target_ranks

score_matrix = st.integers(1, 8).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(-2, 2), min_size=n, max_size=n), min_size=1, max_size=5
    )
)


@settings(max_examples=200, deadline=None)
@given(score_matrix, st.integers(1, 8))
def test_topk_equals_a_stable_sort(rows, k):
    scores = torch.tensor(rows, dtype=torch.float32)
    k = min(k, scores.shape[1])
    columns, values = topk_codes(scores, k)
    expected = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :k]
    assert columns.tolist() == expected.tolist()
    assert values.tolist() == np.take_along_axis(scores.numpy(), expected, 1).tolist()


@settings(max_examples=100, deadline=None)
@given(
    st.integers(600, 1500), st.integers(1, 4), st.integers(2, 2000), st.integers(0, 99)
)
def test_topk_of_many_columns_equals_a_stable_sort(n_items, k, n_values, seed):
    """Few distinct values make ties across groups of columns and across the cut."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, n_values, (3, n_items)).astype(np.float32)
    scores[0, : n_items // 2] = -np.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_topk, "_SMALL", 0)  # groups of columns, for few rows as well
        columns, values = topk_codes(torch.from_numpy(scores), k)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert columns.tolist() == expected.tolist()
    assert values.tolist() == np.take_along_axis(scores, expected, 1).tolist()


def test_scores_in_double_precision_are_compared_as_they_are_returned():
    scores = torch.tensor([[1 + 1e-12, 1.0, 1 - 1e-12, 0.0]], dtype=torch.float64)
    columns, values = topk_codes(scores, 2)
    assert columns.tolist() == [[0, 1]]
    assert values.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad):
    scores = torch.tensor([[1.0, bad, 0.0]])
    with pytest.raises(ValueError, match="not finite"):
        target_rank(scores, torch.tensor([1]))
    with pytest.raises(ValueError, match="not finite"):
        topk_codes(scores, 2)


@given(score_matrix)
def test_ranks_equal_the_plain_formula(rows):
    scores = torch.tensor(rows, dtype=torch.float32)
    for column in range(scores.shape[1]):
        targets = torch.full((len(scores),), column)
        expected = target_ranks(rows, targets.numpy())
        assert target_rank(scores, targets).tolist() == expected.tolist()


def test_chunks_change_nothing(fitted, shop_split, monkeypatch):
    _, X = shop_split
    prefixes, _ = X.to_prefixes()
    top, scores = fitted.predict_topk(prefixes, k=7, return_scores=True)
    ranks = fitted.rank_targets(X)
    monkeypatch.setattr(_topk, "_CHUNK_FLOATS", 1000)
    again, again_scores = fitted.predict_topk(prefixes, k=7, return_scores=True)
    np.testing.assert_allclose(scores, again_scores, rtol=1e-5)
    assert (top == again).mean() > 0.999
    np.testing.assert_array_equal(ranks, fitted.rank_targets(X))


def test_topk_and_decision_function_agree(fitted, shop_split):
    _, X = shop_split
    scores = fitted.decision_function(X)
    assert scores.shape == (len(X), fitted.n_items_)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(fitted.predict_topk(X, k=5), fitted.item_ids_[best])
    np.testing.assert_array_equal(fitted.predict(X), fitted.item_ids_[best[:, 0]])


def test_ranks_of_given_targets_are_places_in_the_ranking(fitted, shop_split):
    _, X = shop_split
    prefixes, targets = X.to_prefixes()
    everything = fitted.predict_topk(prefixes, k=fitted.n_items_)
    known = np.isin(targets, fitted.item_ids_)
    place = np.where(known, 1 + (everything == targets[:, None]).argmax(axis=1), np.inf)
    np.testing.assert_array_equal(fitted.rank_targets(prefixes, targets), place)
    np.testing.assert_array_equal(fitted.rank_targets(X), place)


@pytest.fixture
def popular():
    return PopularityRecommender().fit([[1, 1, 1, 2], [2, 3], [4]])


def test_filters(popular):
    X = [[1], [2, 9], []]
    assert popular.predict_topk(X, k=2).tolist() == [[1, 2], [1, 2], [1, 2]]
    top = popular.predict_topk(X, k=2, exclude_seen=True)
    assert top.tolist() == [[2, 3], [1, 3], [1, 2]]
    assert popular.predict_topk(X, k=1, allow=[3, 4, 99]).tolist() == [[3]] * 3
    assert popular.predict_topk(X, k=1, deny=[1, 2]).tolist() == [[3]] * 3
    by_row = popular.predict_topk(X, k=1, allow=[[1], [4], [2, 3]])
    assert by_row.tolist() == [[1], [4], [2]]
    for kind in (tuple, set, frozenset, np.array, pd.Series):
        rows = [kind([1]), kind([2, 1]), kind([1, 2, 3])]
        by_row = popular.predict_topk(X, k=1, deny=rows)
        assert by_row.tolist() == [[2], [3], [4]]
    by_row = popular.predict_topk(X, k=1, deny=[[1], [], [1, 2, 3]])
    assert by_row.tolist() == [[2], [1], [4]]


def test_filters_that_leave_too_few_fill(popular):
    top, scores = popular.predict_topk([[1]], k=3, allow=[2], return_scores=True)
    assert top.tolist() == [[2, -1, -1]]
    assert scores.tolist() == [[2, -np.inf, -np.inf]]
    assert popular.predict_topk([[1]], k=2, allow=[2], fill_value=0).tolist() == [
        [2, 0]
    ]
    assert popular.predict_topk([[1]], k=2, allow=[2], fill_value="no").tolist() == [
        [2, "no"]
    ]
    with pytest.raises(ValueError, match="fill_value=4 is an item"):
        popular.predict_topk([[1]], k=2, allow=[2], fill_value=4)
    with pytest.raises(ValueError, match="fill_value=-1 is an item"):
        PopularityRecommender().fit([[-1, 2]]).predict_topk([[2]], k=2, allow=[2])
    minus_one = PopularityRecommender().fit([[-1, 2]])  # nothing to fill: no matter
    assert minus_one.predict_topk([[2]], k=1, deny=[2]).tolist() == [[-1]]
    with pytest.raises(TypeError, match=r"allow is a str: 'a'.*\['a'\]"):
        popular.predict_topk([[1]], allow="a")
    with pytest.raises(TypeError, match=r"allow\[1\] is a int: 2, others are lists"):
        popular.predict_topk([[1], [2]], allow=[[1], 2])
    pairs = PopularityRecommender().fit([[(1, 2), (3, 4)]])
    assert pairs.predict_topk([[]], k=1, deny=[(1, 2)])[0, 0] == (3, 4)
    words = PopularityRecommender().fit([["a", "b"]])
    assert words.predict_topk([["a"]], k=2, deny=["a"]).tolist() == [["b", ""]]
    with pytest.raises(
        ValueError, match="deny has 1 lists, expected one for each of 2"
    ):
        popular.predict_topk([[1], [2]], deny=[[1]])


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (
            5,
            ValueError,
            r"k=5 exceeds the catalogue of 4 items. Pass k <= 4, or k=None",
        ),
        (0, ValueError, "k=0 is less than 1"),
        (2.5, TypeError, "k must be a whole number"),
        (True, TypeError, "k must be a whole number"),
    ],
)
def test_bad_k(popular, k, error, message):
    with pytest.raises(error, match=message):
        popular.predict_topk([[1]], k=k)


def test_default_k_is_the_catalogue_if_it_is_small(popular, fitted):
    assert popular.predict_topk([[1]]).shape == (1, 4)
    assert fitted.predict_topk([[]]).shape == (1, 20)


def test_unknown_target_is_a_miss(popular):
    assert popular.rank_targets([[1], [1]], [77, 1]).tolist() == [np.inf, 1]
    assert popular.rank_targets([[1, 77]]).tolist() == [np.inf]


def test_nothing_to_rank(popular):
    with pytest.raises(ValueError, match="All 2 sessions have fewer than 2 items"):
        popular.score([[1], []])
