import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import PopularityRecommender
from skclip._ranking import _topk, target_rank, topk_codes
from skclip.exceptions import UnseenItemWarning
from skclip.metrics import target_ranks

score_matrix = st.integers(1, 8).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(-2, 2), min_size=n, max_size=n), min_size=1, max_size=5
    )
)


few_or_many = st.sampled_from([0, 8])  # rows up to which there is a way of their own


@settings(max_examples=300)
@given(score_matrix, st.integers(1, 8), few_or_many)
def test_topk_equals_a_stable_sort(rows, k, few):
    scores = torch.tensor(rows, dtype=torch.float32)
    k = min(k, scores.shape[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_topk, "FEW", few)
        columns, values = topk_codes(scores, k)
    expected = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :k]
    assert columns.tolist() == expected.tolist()
    assert values.tolist() == np.take_along_axis(scores.numpy(), expected, 1).tolist()


@settings(max_examples=200)
@given(
    st.integers(600, 1500),
    st.integers(1, 4),
    st.integers(2, 2000),
    st.integers(0, 99),
    few_or_many,
)
def test_topk_of_many_columns_equals_a_stable_sort(n_items, k, n_values, seed, few):
    """Few distinct values make ties across groups of columns and across the cut."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, n_values, (3, n_items)).astype(np.float32)
    scores[0, : n_items // 2] = -np.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_topk, "FEW", few)
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


@pytest.mark.parametrize("few", [0, 8])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad, few, monkeypatch):
    monkeypatch.setattr(_topk, "FEW", few)
    scores = torch.tensor([[1.0, bad, 0.0]])
    with pytest.raises(ValueError, match="not finite"):
        target_rank(scores, torch.tensor([1]))
    with pytest.raises(ValueError, match="not finite"):
        topk_codes(scores, 2)
    many = torch.zeros(1, 1000)
    for column in (5, 999):  # in a group of columns, and behind the last one
        with pytest.raises(ValueError, match="not finite"):
            topk_codes(many.index_fill(1, torch.tensor([column]), bad), 2)


@given(score_matrix)
def test_ranks_equal_the_plain_formula(rows):
    scores = torch.tensor(rows, dtype=torch.float32)
    for column in range(scores.shape[1]):
        targets = torch.full((len(scores),), column)
        expected = target_ranks(rows, targets.numpy())
        assert target_rank(scores, targets).tolist() == expected.tolist()


# What every recommender does with filters is in tests/test_recommender_contract.py.


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, np.array, pd.Series])
def test_filters_are_any_collection(kind):
    popular = PopularityRecommender().fit([[1, 1, 1, 2], [2, 3], [4]])
    rows = [kind(items) for items in ([1], [2, 1], [1, 2, 3])]
    assert popular.predict_topk([[]] * 3, k=1, deny=rows).tolist() == [[2], [3], [4]]
    assert popular.predict_topk([[]], k=1, deny=kind([1, 2])).tolist() == [[3]]
    assert popular.predict_topk([[]], k=1, allow=kind([4, 99])).tolist() == [[4]]
    with pytest.raises(TypeError, match=r"allow\[1\] is a int: 2, but other"):
        popular.predict_topk([[1], [2]], allow=[[1], 2])


@pytest.mark.parametrize("name", ["allow", "deny"])
@pytest.mark.parametrize("value", [None, np.nan, pd.NA])
def test_missing_values_in_filters_are_refused(name, value):
    popular = PopularityRecommender().fit([["a", "b"], ["b", "c"]])
    with pytest.raises(ValueError, match=rf"{name}\[1\] is .*, not an id"):
        popular.predict_topk([["a"]], k=1, **{name: ["b", value]})
    with pytest.raises(ValueError, match=rf"{name}\[0\]\[0\] is .*, not an id"):
        popular.predict_topk([["a"]], k=1, **{name: [[value]]})
    padded = np.array([["b", value], ["c", "b"]], dtype=object)  # as of earlier lists
    best = popular.predict_topk([["a"]] * 2, k=1, **{name: padded}).ravel().tolist()
    assert best == (["b", "b"] if name == "allow" else ["a", "a"])


def test_allow_without_an_id_of_the_catalog_warns_once_for_each_model():
    kinds = {"category": UnseenItemWarning, "action": "error"}
    for rows, allow, message in (
        ([["a"]] * 2, ["x", "y", "x"], "None of the 2 ids of allow .* All rankings "),
        ([["a"]] * 3, [["x"], ["b"], []], "1 of 3 lists of allow .* these sessions"),
    ):
        popular = PopularityRecommender().fit([["a", "b"], ["b", "c"]])
        with pytest.warns(UnseenItemWarning, match=message + ".*has 'x', .* 'a'"):
            top = popular.predict_topk(rows, k=1, allow=allow)
        assert top[0].tolist() == [""]
        with warnings.catch_warnings():
            warnings.simplefilter(**kinds)
            assert popular.predict_topk(rows, k=1, allow=allow).tolist() == top.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter(**kinds)
        popular = PopularityRecommender().fit([["a", "b"], ["b", "c"]])
        popular.predict_topk([["a"]], k=1, allow=[])
        popular.predict_topk([["a"]], k=1, allow=["x", "b"])
        popular.predict_topk([["a"]], k=1, deny=["x"])


def test_a_tuple_may_be_an_item():
    pairs = PopularityRecommender().fit([[(1, 2), (3, 4)]])
    assert pairs.predict_topk([[]], k=1, deny=[(1, 2)])[0, 0] == (3, 4)


@pytest.mark.parametrize(
    ("ids", "fill_value", "filled"),
    [
        ([1, 2], None, -1),
        ([1, 2], 0, 0),
        ([1, 2], "no", "no"),
        ([0.5, 1.5], None, np.nan),
        (["a", "b"], None, ""),
        ([("a",), ("b",)], None, None),
    ],
)
def test_places_that_stay_empty_hold_no_item(ids, fill_value, filled):
    model = PopularityRecommender().fit([ids])
    top, scores = model.predict_topk(
        [ids], k=2, deny=ids[:1], return_scores=True, fill_value=fill_value
    )
    assert top[0, 0] == ids[1]
    assert top[0, 1] == filled or filled != filled != top[0, 1]
    assert scores.tolist() == [[1, -np.inf]]


def test_a_value_that_is_an_item_fills_nothing():
    model = PopularityRecommender().fit([[-1, 2]])
    for fill_value in (None, -1):
        with pytest.raises(ValueError, match="fill_value=-1 is an item"):
            model.predict_topk([[2]], k=2, allow=[2], fill_value=fill_value)
    assert model.predict_topk([[2]], k=1, deny=[2]).tolist() == [[-1]]
