"""New sessions, new items: what a fitted model keeps and what it learns."""

import copy

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

import skclip
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip._clusters import align_clusters
from skclip.backbones import BACKBONES, GRU4Rec
from skclip.controls import OneCluster


@pytest.fixture
def model(small_recommender, shop_split):
    model = clone(small_recommender).set_params(max_epochs=6, n_iter_no_change=6)
    return model.fit(shop_split[0])


NEW = [["item-001", "new-a", "new-b"], ["new-a", "new-b", "item-002"]] * 30


def test_clusterer_equals_a_fit_on_all(shop):
    X, _ = shop
    grown = SessionClusterer(random_state=0).fit(X[:300]).partial_fit(X[300:])
    whole = SessionClusterer(random_state=0).fit(X)
    assert sorted(grown.item_ids_) == sorted(whole.item_ids_)
    order = [grown.item_ids_.tolist().index(i) for i in whole.item_ids_.tolist()]
    dense = grown.graph_.toarray()[np.ix_(order, order)]
    np.testing.assert_array_equal(dense, whole.graph_.toarray())
    assert grown.modularity_ > whole.modularity_ - 0.02
    assert 0 <= grown.cluster_drift_ <= 1
    assert grown.cluster_sizes_.sum() == len(grown.item_ids_)


def test_clusters_keep_their_numbers(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    before = dict(zip(clusterer.item_ids_, clusterer.membership_, strict=True))
    more = [["spoon", "cup"], ["cup", "spoon"], ["oak", "ash"], ["ash", "oak"]]
    more += [["hammer", "nail", "saw"]] * 3
    clusterer.partial_fit(more)
    after = dict(zip(clusterer.item_ids_, clusterer.membership_, strict=True))
    assert {i: after[i] for i in before} == before
    assert clusterer.cluster_drift_ == 0.0
    assert after["spoon"] == after["cup"]
    assert after["hammer"] == after["nail"]
    assert after["oak"] == after["ash"] == 2
    assert clusterer.item_ids_.tolist()[len(before) :] == sorted(
        set(after) - set(before)
    )


def test_align_clusters():
    known = np.array([0, 0, 0, 1, 1, 2, -1, -1])
    labels = np.array([1, 1, 0, 0, 0, 2, 3, 3])
    assert align_clusters(labels, known).tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    split = align_clusters(np.array([0, 0, 1, 2]), np.array([5, 5, 5, -1]))
    assert split.tolist() == [5, 5, 6, 7]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_new_items_are_appended_and_recommended(
    backbone, small_recommender, shop_split
):
    train, test = shop_split
    model = clone(small_recommender).set_params(
        backbone=backbone, max_epochs=3, early_stopping=False, batch_size=16
    )
    model.fit(train[:150]).set_params(max_epochs=30, learning_rate=0.05)
    ids, prompts = model.item_ids_, model._model.prompt.kinds["cluster"].table.clone()
    frozen = copy.deepcopy(model)
    model.partial_fit(NEW)
    assert model.item_ids_.tolist() == [*ids.tolist(), "new-a", "new-b"]
    assert model.n_items_ == len(ids) + 2
    assert model.decision_function(test).shape == (len(test), len(ids) + 2)
    assert "new-b" in model.predict_topk([["item-001", "new-a"]], k=5)[0]
    assert model.membership_.shape == (model.n_items_,)
    assert len(model._model.prompt.kinds["cluster"].table) >= len(prompts)
    np.testing.assert_array_equal(frozen.item_ids_, ids)  # others share nothing
    again = joblib.hash(model.__getstate__())
    assert joblib.hash(copy.deepcopy(model).__getstate__()) == again
    popular = model.predict_topk([[]], k=model.n_items_)[0].tolist()
    assert popular.index("new-a") < popular.index(min(ids))


def test_what_was_learned_is_kept(model, shop_split):
    _, test = shop_split
    before = model.score(test)
    state = {k: v.clone() for k, v in model._model.state_dict().items()}
    model.partial_fit(NEW)
    assert model.score(test) > 0.85 * before
    after = model._model.state_dict()
    old, new = state["item_table"], after["item_table"][: len(state["item_table"])]
    assert torch.equal(old, new)
    assert model.n_iter_ == 8
    assert [row["epoch"] for row in model.history_] == list(range(1, 9))


def test_neighbours_of_gcegnn_grow(small_recommender, shop_split):
    train, _ = shop_split
    model = clone(small_recommender).set_params(
        backbone="gcegnn", max_epochs=1, early_stopping=False
    )
    model.fit(train)
    before = model._model.network.neighbors.clone()
    weights = model._model.network.weights.clone()
    model.partial_fit(NEW)
    network = model._model.network
    one = model._index.codes_of(np.array(["item-001"]))[0]
    new_a = model._index.codes_of(np.array(["new-a"]))[0]
    assert new_a in network.neighbors[one]
    untouched = np.setdiff1d(
        np.arange(1, len(before)),
        model._index.codes_of(np.array(["item-001", "item-002"])),
    )
    np.testing.assert_array_equal(network.neighbors[untouched], before[untouched])
    np.testing.assert_array_equal(network.weights[untouched], weights[untouched])


@pytest.mark.parametrize("spec", [GRU4Rec(tied=True)])
def test_item_biases_grow(spec, small_recommender, shop_split):
    model = clone(small_recommender).set_params(backbone=spec, prompt=None)
    model.fit(shop_split[0]).partial_fit(NEW)
    assert len(model._model.bias) == model.n_items_


def test_users_and_sessions_are_appended(small_recommender, shop_split):
    train, test = shop_split
    train = train.with_users(np.arange(len(train)) % 7)
    model = clone(small_recommender).set_params(prompt=("user", "session"))
    model.fit(train)
    more = Sessions.from_lists(NEW, users=[3, 99] * 30)
    model.partial_fit(more)
    assert model.user_ids_.tolist() == [*range(7), 99]
    known = Sessions.from_lists([["item-001"]] * 2, users=[99, 98])
    scores = model.decision_function(known)
    assert (scores[0] != scores[1]).any()


def test_unfitted_and_without_new_items(small_recommender, shop_split):
    train, test = shop_split
    a = clone(small_recommender).partial_fit(train)
    b = clone(small_recommender).fit(train)
    np.testing.assert_array_equal(a.decision_function(test), b.decision_function(test))
    a.partial_fit(test)
    assert a.n_items_ == len(
        {i for row in (train, test) for s in row.to_lists() for i in s}
    )
    same = clone(small_recommender).fit(train).partial_fit(test)
    np.testing.assert_array_equal(
        a.decision_function(test), same.decision_function(test)
    )


def test_bad_input_leaves_the_model_alone(model, small_recommender, shop_split):
    before = joblib.hash(model.__getstate__())
    with pytest.raises(ValueError, match="fewer than 2 items"):
        model.partial_fit([["a"], ["b"]])
    assert joblib.hash(model.__getstate__()) == before
    other = clone(small_recommender).set_params(clusterer=OneCluster())
    other.fit(shop_split[0])
    with pytest.raises(TypeError, match="OneCluster has no partial_fit"):
        other.partial_fit(NEW)
    carried = SessionClusterer(random_state=0).fit(shop_split[0])
    piped = clone(small_recommender).fit(carried.transform(shop_split[0]))
    with pytest.raises(ValueError, match="carried clusters; these carry none"):
        piped.partial_fit(NEW)
    piped.partial_fit(carried.partial_fit(NEW).transform(NEW))
    assert "new-a" in piped.item_ids_


def test_saved_after_partial_fit(model, tmp_path):
    model.partial_fit(NEW)
    skclip.save(model, tmp_path / "m")
    again = skclip.load(tmp_path / "m")
    np.testing.assert_array_equal(
        again.decision_function(NEW[:2]), model.decision_function(NEW[:2])
    )


def test_ids_of_another_type_are_appended():
    model = CLIPSessionRecommender("gru4rec", max_epochs=1, random_state=0)
    model.fit([[1, 2, 3]] * 8).partial_fit([["x", 1, 2.5]] * 4)
    assert model.item_ids_.tolist() == [1, 2, 3, 2.5, "x"]
    assert model.predict_topk([[1]], k=5).shape == (1, 5)


# -- warm_start ------------------------------------------------------------------------


def test_warm_start_begins_where_the_model_was(small_recommender, shop_split):
    train, test = shop_split
    cold = clone(small_recommender).set_params(max_epochs=8, early_stopping=False)
    cold.fit(train)
    warm = clone(cold).set_params(warm_start=True).fit(train)
    np.testing.assert_array_equal(
        cold.decision_function(test), warm.decision_function(test)
    )
    first = warm.history_[0]["train_loss"]
    warm.fit(train)
    assert warm.history_[0]["train_loss"] < first - 0.5
    assert warm.n_iter_ == 8
    assert adjusted_rand_score(cold.membership_, warm.membership_) == 1.0


def test_warm_start_with_other_items(small_recommender, shop_split):
    train, _ = shop_split
    warm = clone(small_recommender).set_params(
        warm_start=True, max_epochs=8, early_stopping=False
    )
    warm.fit(train)
    some = Sessions.concat([train[:250], Sessions.from_lists(NEW)])
    cold = clone(warm).set_params(warm_start=False).fit(some)
    warm.fit(some)
    assert warm.item_ids_.tolist() == cold.item_ids_.tolist()
    assert warm.history_[0]["train_loss"] < cold.history_[0]["train_loss"] - 0.3
    warm.set_params(embedding_dim=24)
    with pytest.raises(ValueError, match="warm_start=False"):
        warm.fit(some)


def blocks(prefix, n, k):
    rng = np.random.default_rng(0)
    return [[f"{prefix}{i}" for i in rng.choice(n, 4, replace=False)] for _ in range(k)]


def prompt_of(model, item):
    """The prompt vector of an item's cluster."""
    cluster = model.membership_[model._index.codes_of(np.array([item]))[0] - 1]
    return model._model.prompt.kinds["cluster"].table[cluster + 1].detach().clone()


def test_prompts_follow_their_clusters_when_sizes_change(small_recommender):
    """The larger cluster becomes the smaller one; each keeps its prompt."""
    first = blocks("a", 8, 80) + blocks("b", 5, 60)
    second = blocks("a", 8, 80) + blocks("b", 14, 200)
    model = clone(small_recommender).set_params(warm_start=True, learning_rate=1e-7)
    model.fit(first)
    before = {item: prompt_of(model, item) for item in ("a0", "b0")}
    model.fit(second)
    assert model.membership_[0] == 1  # "a0" was in cluster 0
    for item, prompt in before.items():
        torch.testing.assert_close(prompt_of(model, item), prompt, atol=1e-4, rtol=0)
    model.partial_fit(second[:20])
    for item, prompt in before.items():
        torch.testing.assert_close(prompt_of(model, item), prompt, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(model.membership_, model.clusterer_.membership_)


def test_warm_start_takes_nothing_from_strangers(small_recommender):
    rows = blocks("a", 8, 80)
    model = clone(small_recommender).set_params(
        warm_start=True, learning_rate=1e-7, prompt=("cluster", "session")
    )
    model.fit(rows)
    kinds = model._model.prompt.kinds
    before = {k: kinds[k].table.detach().clone() for k in ("cluster", "session")}
    model.set_params(random_state=5).fit([[f"new-{i}" for i in row] for row in rows])
    for kind, table in before.items():
        now = model._model.prompt.kinds[kind].table.detach()
        assert (now[1] - table[1]).abs().max() > 1e-3


def test_anonymous_sessions_get_no_prompt_beside_known_ones(small_recommender):
    rows = blocks("a", 8, 60)
    model = clone(small_recommender).set_params(prompt="session")
    model.fit(Sessions.from_lists(rows, ids=np.arange(60)))
    n = len(model._session_ids)
    model.partial_fit(rows[:5])
    assert len(model._session_ids) == n == model._model_config["n_sessions"]
    model.partial_fit(Sessions.from_lists(rows[:2], ids=[5000, 5001]))
    assert model._session_ids.tolist()[-2:] == [5000, 5001]
    assert model._model_config["n_sessions"] == n + 2


def test_the_model_is_that_of_fit(small_recommender, shop_split):
    train, _ = shop_split
    model = clone(small_recommender).fit(train)
    model.set_params(embedding_dim=8, similarity="cosine", prompt="user")
    model.partial_fit(NEW)
    assert model.resolved_params_["embedding_dim"] == 16
    assert model.resolved_params_["similarity"] is None
    carried = SessionClusterer(random_state=0).fit(NEW).transform(NEW)
    with pytest.raises(ValueError, match="has a clusterer of its own"):
        model.partial_fit(carried)
