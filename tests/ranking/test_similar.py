"""Similar items of every kind of network; chunks and threads."""

import inspect
import re

import numpy as np
import pytest
from common import small

import skclip
from skclip import SLIST, Fusion, PopularityRecommender, Sessions
from skclip._ranking import SimilarItemsMixin, _topk
from skclip.backbones import BACKBONES, GRU4Rec
from skclip.features import ItemFeatures


def lists_by_cosine(vectors, item_ids, k):
    """Plain cosines, an item out of its own list, best first."""
    units = vectors.astype(float)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = units @ units.T
    np.fill_diagonal(found, -np.inf)
    order = np.argsort(-found, axis=1, kind="stable")[:, :k]
    return item_ids[order], np.take_along_axis(found, order, axis=1)


def check(model, vectors):
    items, scores = model.similar_items(model.item_ids_, 5, return_scores=True)
    expected, cosines = lists_by_cosine(vectors, model.item_ids_, 5)
    np.testing.assert_allclose(scores, cosines, rtol=2e-5, atol=2e-6)
    assert (items == expected).mean() > 0.99  # where rounding makes a tie
    return items


@pytest.mark.parametrize("similarity", [None, "auto"])
@pytest.mark.parametrize("backbone", ["core", "lessr", "narm", "niser", "tagnn"])
def test_networks_compare_candidates_by_their_cosine(backbone, similarity, train):
    assert backbone in BACKBONES
    model = small(backbone, max_epochs=1, similarity=similarity).fit(train[:60])
    vectors = model._fitted.keys.numpy()  # TAGNN does not hand them out
    check(model, vectors)


def test_a_bias_of_items_makes_none_similar(train):
    model = small(GRU4Rec(tied=True), loss="bpr", similarity=None).fit(train[:60])
    model._fitted.model.bias.data[0] = 100.0
    assert model.item_vectors_[0, -1] == 100
    check(model, model.item_vectors_[:, :-1])


def test_features_of_late_fusion_count_as_in_the_scores(train):
    ids = [*train.vocabulary.tolist(), "nobody clicked it"]
    features = ItemFeatures(ids, np.random.default_rng(0).normal(size=(len(ids), 8)))
    model = small(item_features=Fusion(features, kind="late")).fit(train[:60])
    weights = np.sqrt([1 - model.fusion_weight_] * 16 + [model.fusion_weight_] * 16)
    vectors = weights * model.item_vectors_
    items, scores = model.similar_items(model.item_ids_, 5, return_scores=True)
    found = vectors @ vectors.T
    np.fill_diagonal(found, -np.inf)
    np.testing.assert_allclose(scores, -np.sort(-found)[:, :5], rtol=2e-5, atol=2e-6)
    text = model.item_vectors_[:, 16:]
    by_text, _ = lists_by_cosine(text, model.item_ids_, 5)
    cold = np.isin(
        model.item_ids_, train[:60].vocabulary[train[:60].codes], invert=True
    )
    assert cold.sum() > 5
    np.testing.assert_array_equal(items[cold], by_text[cold])


def test_neither_chunks_nor_threads_change_the_lists(train, monkeypatch):
    for model in (small(n_threads=2), SLIST()):
        model.fit(train)
        before = model.similar_items(model.item_ids_, 7)
        one_by_one = [model.similar_items([item], 7)[0] for item in model.item_ids_]
        np.testing.assert_array_equal(one_by_one, before)
        with monkeypatch.context() as patch:
            patch.setattr(_topk, "_CHUNK_FLOATS", 300)  # three rows at a time
            patch.setattr("skclip._threads._LARGE", 0)
            after = model.similar_items(model.item_ids_, 7)
        np.testing.assert_array_equal(after, before)


def test_what_has_no_similar_items_names_what_has():
    names = {
        name
        for name in skclip.__all__
        if inspect.isclass(kind := getattr(skclip, name))
        and issubclass(kind, SimilarItemsMixin)
    }
    with pytest.raises(TypeError) as caught:
        PopularityRecommender().similar_items(["a"])
    told = re.search("fitted (.*?)[.] To rank", str(caught.value))[1]
    assert set(re.split(", | or ", told)) == names


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, "^ids is None. Pass a list of ids"),
        (3, r"^ids is an int: 3.* Wrap a single one: \[3\]"),
        (np.array("item-003"), r"^ids is a str: 'item-003'.* \['item-003'\]"),
        (
            Sessions.from_lists([["item-003"]]),
            "^ids are Sessions. Expected a list of",
        ),
    ],
    ids=["None", "int", "0-d", "sessions"],
)
def test_what_is_no_list_of_ids(ids, message, train):
    with pytest.raises(TypeError, match=message):
        SLIST().fit(train).similar_items(ids)


def test_truth_values_are_the_ids_that_they_equal():
    model = SLIST().fit([[1, 2], [2, 3], [1, 3]] * 3)
    expected = model.similar_items([1], 3).tolist()
    assert model.similar_items([True], 3).tolist() == expected
    top = model.predict_topk([[1]], 3).tolist()
    assert model.predict_topk([[True]], 3).tolist() == top
