"""New sessions, new items: what a fitted model keeps and what it learns."""

import copy

import joblib
import numpy as np
import pytest
import torch
from common import same, small
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

import skclip
from skclip import SessionClusterer, Sessions
from skclip.backbones import BACKBONES
from skclip.controls import OneCluster

NEW = [["item-001", "new-a", "new-b"], ["new-a", "new-b", "item-002"]] * 30


@pytest.fixture
def model(train):
    return small(early_stopping=True, max_epochs=6, n_iter_no_change=6).fit(train)


def codes_of(model, *items):
    return model._fitted.index.codes_of(np.array(items))


def prompts_of(model, kind="cluster"):
    """The learned prompts, those of clusters at the first level."""
    return model._fitted.model.prompt.kinds[kind].tables[0].detach().clone()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_new_items_are_appended_and_recommended(backbone, train, test):
    model = small(backbone, max_epochs=3, early_stopping=False, batch_size=16)
    model.fit(train[:150]).set_params(max_epochs=30, learning_rate=0.05)
    ids, n_prompts = model.item_ids_, len(prompts_of(model))
    frozen = copy.deepcopy(model)
    model.partial_fit(NEW)
    assert model.item_ids_.tolist() == [*ids.tolist(), "new-a", "new-b"]
    assert model.n_items_ == len(ids) + 2
    assert model.decision_function(test).shape == (len(test), len(ids) + 2)
    assert "new-b" in model.predict_topk([["item-001", "new-a"]], k=5)[0]
    assert model.membership_.shape == model.item_counts_.shape == (model.n_items_,)
    assert len(prompts_of(model)) >= n_prompts
    np.testing.assert_array_equal(frozen.item_ids_, ids)  # others share nothing
    popular = model.predict_topk([[]], k=model.n_items_)[0].tolist()
    assert popular.index("new-a") < popular.index(min(ids))


def test_what_was_learned_is_kept(model, test, tmp_path):
    before = model.score(test)
    table = model._fitted.model.item_table.detach().clone()
    model.partial_fit(NEW)
    assert model.score(test) > 0.85 * before
    assert torch.equal(table, model._fitted.model.item_table[: len(table)])
    assert model.n_iter_ == 8
    assert [row["epoch"] for row in model.history_] == list(range(1, 9))
    assert model.best_validation_score_ is None
    skclip.save(model, tmp_path / "m")
    same(skclip.load(tmp_path / "m"), model, NEW[:2])
    same(copy.deepcopy(model), model, NEW[:2])


def test_neighbors_of_gcegnn_grow(train):
    model = small("gcegnn", max_epochs=1, early_stopping=False).fit(train)
    before = copy.deepcopy(model._fitted.model.network)
    model.partial_fit(NEW)
    network = model._fitted.model.network
    one, two, new_a = codes_of(model, "item-001", "item-002", "new-a")
    assert new_a in network.neighbors[one]
    rest = np.setdiff1d(np.arange(1, len(before.neighbors)), [one, two])
    assert network.neighbors[rest].equal(before.neighbors[rest])
    assert network.weights[rest].equal(before.weights[rest])


def test_item_biases_grow(train):
    model = small(backbone__tied=True, prompt=None).fit(train).partial_fit(NEW)
    assert len(model._fitted.model.bias) == model.n_items_


def test_users_and_sessions_are_appended(train):
    model = small(prompt=("user", "session"))
    model.fit(train.with_users(np.arange(len(train)) % 7))
    model.partial_fit(Sessions.from_lists(NEW, users=[3, 99] * 30))
    assert model.user_ids_.tolist() == [*range(7), 99]
    known = Sessions.from_lists([["item-001"]] * 2, users=[99, 98])
    scores = model.decision_function(known)
    assert (scores[0] != scores[1]).any()


def test_unfitted_and_without_new_items(train, test):
    a, b = small().partial_fit(train), small().fit(train)
    same(a, b, test)
    a.partial_fit(test)
    assert set(a.item_ids_) == {i for X in (train, test) for i in X.vocabulary[X.codes]}
    same(a, b.partial_fit(test), test)


def test_bad_input_leaves_the_model_alone(model, train):
    before = joblib.hash(model.__getstate__())
    with pytest.raises(ValueError, match="fewer than 2 items"):
        model.partial_fit([["a"], ["b"]])
    assert joblib.hash(model.__getstate__()) == before
    other = small(clusterer=OneCluster()).fit(train)
    with pytest.raises(TypeError, match="OneCluster has no partial_fit"):
        other.partial_fit(NEW)
    clusterer = SessionClusterer(random_state=0).fit(train)
    with pytest.raises(ValueError, match="has a clusterer of its own"):
        model.partial_fit(clusterer.transform(train))
    piped = small().fit(clusterer.transform(train))
    with pytest.raises(ValueError, match="carried clusters; these carry none"):
        piped.partial_fit(NEW)
    piped.partial_fit(clusterer.partial_fit(NEW).transform(NEW))
    assert "new-a" in piped.item_ids_


def test_ids_of_another_type_are_appended():
    model = small(max_epochs=1).fit([[1, 2, 3]] * 8)
    model.partial_fit([["x", 1, 2.5]] * 4)
    assert model.item_ids_.tolist() == [1, 2, 3, 2.5, "x"]
    assert model.predict_topk([[1]], k=5).shape == (1, 5)


def test_the_model_is_that_of_fit(train):
    model = small().fit(train)
    model.set_params(embedding_dim=8, similarity=None, prompt="user")
    model.partial_fit(NEW)
    assert model.resolved_params_["embedding_dim"] == 16
    assert model.resolved_params_["similarity"] == "cosine"


# -- warm_start ------------------------------------------------------------------------


def test_warm_start_begins_where_the_model_was(train, test):
    cold = small(max_epochs=8, early_stopping=False).fit(train)
    warm = clone(cold).set_params(warm_start=True).fit(train)
    same(cold, warm, test)
    first = warm.history_[0]["train_loss"]
    warm.fit(train)
    assert warm.history_[0]["train_loss"] < first - 0.5
    assert warm.n_iter_ == 8
    assert adjusted_rand_score(cold.membership_, warm.membership_) == 1.0


def test_warm_start_with_other_items(train):
    warm = small(warm_start=True, max_epochs=8, early_stopping=False).fit(train)
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
    return prompts_of(model)[model.membership_[codes_of(model, item)[0] - 1] + 1]


def test_prompts_follow_their_clusters_when_sizes_change():
    """The larger cluster becomes the smaller one; each keeps its prompt."""
    first = blocks("a", 8, 80) + blocks("b", 5, 60)
    second = blocks("a", 8, 80) + blocks("b", 14, 200)
    model = small(warm_start=True, learning_rate=1e-7).fit(first)
    before = [prompt_of(model, item) for item in ("a0", "b0")]
    for go_on in (lambda: model.fit(second), lambda: model.partial_fit(second[:20])):
        go_on()
        assert model.membership_[0] == 1  # "a0" was in cluster 0
        now = [prompt_of(model, item) for item in ("a0", "b0")]
        torch.testing.assert_close(now, before, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(model.membership_, model.clusterer_.membership_)


def test_warm_start_takes_nothing_from_strangers():
    rows = blocks("a", 8, 80)
    model = small(warm_start=True, learning_rate=1e-7, prompt=("cluster", "session"))
    model.fit(rows)
    before = {kind: prompts_of(model, kind) for kind in model.prompt}
    model.set_params(random_state=5).fit([[f"new-{i}" for i in row] for row in rows])
    for kind, table in before.items():
        assert (prompts_of(model, kind)[1] - table[1]).abs().max() > 1e-3


def test_anonymous_sessions_get_no_prompt_beside_known_ones():
    rows = blocks("a", 8, 60)
    model = small(prompt="session").fit(Sessions.from_lists(rows, ids=np.arange(60)))

    def known():
        ids = model._fitted.holders.owners.sessions.item_ids.tolist()
        assert len(prompts_of(model, "session")) == 1 + len(ids)
        return ids

    ids = known()
    model.partial_fit(rows[:5])
    assert known() == ids
    model.partial_fit(Sessions.from_lists(rows[:2], ids=[5000, 5001]))
    assert known() == [*ids, 5000, 5001]
