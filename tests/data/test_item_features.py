"""Vectors aligned by id."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip.features import ItemFeatures


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.randoms())
@settings(max_examples=30, deadline=None)
def test_rows_are_found_by_id_whatever_their_order(ids, random):
    rows = np.array([[i, i * i] for i in ids], dtype=float)
    asked = random.sample(ids, len(ids))
    found = ItemFeatures(ids, rows).rows_of(np.array(asked))
    np.testing.assert_array_equal(found, [[i, i * i] for i in asked])


def test_features_are_one_object_for_all_copies():
    features = ItemFeatures(["a", ("b", 1)], [[1, 2], [0, 0]])
    assert copy.deepcopy(features) is features
    assert copy.copy(features) is features
    assert len(features) == 2
    again = pickle.loads(pickle.dumps(features))
    assert repr(again) == repr(features)
    assert again.missing.tolist() == [("b", 1)]
    assert repr(ItemFeatures(["a", ("b", 1)], [[1, 2], [0, 1]])) != repr(features)
    with pytest.raises(ValueError, match="read-only"):
        features.vectors[0, 0] = 5


def test_covering_adds_zeros():
    features = ItemFeatures([3, 1], [[1.0], [2.0]]).covering([1, 7])
    assert features.item_ids.tolist() == [3, 1, 7]
    assert features.vectors.ravel().tolist() == [1, 2, 0]
    assert features.known_ids().tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"no row for 1 of 2 items .* such as 9"):
        features.rows_of(np.array([3, 9]))


@pytest.mark.parametrize(
    ("ids", "rows", "error", "match"),
    [
        (["a", "a"], np.ones((2, 1)), ValueError, "more than once, such as 'a'"),
        ([1, 1.0], np.ones((2, 1)), ValueError, "more than once, such as 1"),
        (["a", None], np.ones((2, 1)), ValueError, r"item_ids\[1\] is None"),
        (["a", np.nan], np.ones((2, 1)), ValueError, r"item_ids\[1\] is nan"),
        ("ab", np.ones((2, 1)), TypeError, "item_ids is a str"),
        (["a", "b"], np.ones((3, 1)), ValueError, "3 rows for 2 item_ids"),
        (["a", "b"], np.ones(2), ValueError, r"shape \(2,\)"),
        (["a", "b"], np.ones((2, 0)), ValueError, "has no column"),
        (["a", "b"], [["x"], ["y"]], ValueError, "Expected numbers"),
        (["a", "b"], [[1.0], [np.nan]], ValueError, "1 rows .* such as that of 'b'"),
        (["a"], [[1e300]], ValueError, "infinity"),
    ],
)
def test_bad_features(ids, rows, error, match):
    with pytest.raises(error, match=match):
        ItemFeatures(ids, rows)


def test_features_of_known_and_new_items_are_joined():
    known = ItemFeatures([1, 2], [[1.0, 0.0], [0.0, 1.0]])
    new = ItemFeatures([7], [[0.5, 0.5]])
    for both in (ItemFeatures.concat([known, new]), known.concat(new)):
        assert both.rows_of(np.array([7, 1])).tolist() == [[0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"columns. Join features of one encoder"):
        ItemFeatures.concat([known, ItemFeatures([7], [[0.5]])])
    with pytest.raises(ValueError, match="twice|more than once|repeat"):
        ItemFeatures.concat([known, known])
