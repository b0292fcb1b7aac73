"""New sessions, new items: what a fitted model keeps and what it learns."""

import copy

import joblib
import numpy as np
import pandas as pd
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
    model = small(backbone, max_epochs=1, early_stopping=False, batch_size=16)
    model.fit(train[:150])
    model.set_params(max_epochs=18, learning_rate=0.05, n_rehearsed=20)
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
    model.set_params(n_rehearsed=0).partial_fit(NEW)
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
    with pytest.raises(ValueError, match="has its own clusterer"):
        model.partial_fit(clusterer.transform(train))
    piped = small().fit(clusterer.transform(train))
    with pytest.raises(ValueError, match="carried clusters, but these carry none"):
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


# -- rehearsal -------------------------------------------------------------------------


def kept_by(model):
    """The sessions that a model keeps, as lists of ids."""
    kept = model._fitted.rehearsal
    runs = np.split(kept.codes, kept.offsets[1:-1]) if len(kept) else []
    return [model.item_ids_[run - 1].tolist() for run in runs]


def in_time(rows, begin=0):
    """Sessions whose order of time is that of the rows."""
    events = [
        {"session": i, "item": item, "time": begin + i + 0.01 * t}
        for i, row in enumerate(rows)
        for t, item in enumerate(row)
    ]
    frame = pd.DataFrame(events)
    return Sessions.from_events(frame, session="session", item="item", time="time")


def test_the_latest_sessions_are_kept_and_bounded():
    first, second = blocks("a", 9, 40), blocks("b", 9, 25)
    model = small(n_rehearsed=30).fit(in_time([*first, ["a0"]]))
    assert kept_by(model) == first[-30:]
    model.partial_fit(in_time(second, 100))
    assert kept_by(model) == first[-5:] + second
    model.set_params(n_rehearsed=7).partial_fit(in_time(first[:3], 200))
    assert kept_by(model) == second[-4:] + first[:3]
    model.set_params(n_rehearsed=0).partial_fit(in_time(second, 300))
    assert kept_by(model) == []
    assert kept_by(small(n_rehearsed=0).fit(first)) == []


def test_sessions_that_validate_are_not_kept():
    rows = blocks("a", 9, 40)
    model = small(early_stopping=True).fit(in_time(rows))
    assert kept_by(model) == rows[:36]


def test_the_order_of_rows_does_not_decide_what_is_kept(train):
    rows = np.random.default_rng(0).permutation(len(train))
    a, b = (small(n_rehearsed=50, max_epochs=1).fit(X) for X in (train, train[rows]))
    assert kept_by(a) == kept_by(b)
    assert len(kept_by(a)) == 50


def test_rehearsed_sessions_survive_updates_on_other_items(train, test):
    options = {"max_epochs": 6, "learning_rate": 0.05, "batch_size": 64}
    scores = {}
    for n in (0, 100_000):
        model = small(n_rehearsed=n, **options).fit(train)
        for i in range(2):
            model.partial_fit(blocks(f"new-{i}", 12, 100))
        scores[n] = model.score(test)
    assert scores[100_000] > scores[0] + 0.01


def test_known_vectors_move_where_a_session_is_at_hand():
    first = [*blocks("a", 6, 20), *blocks("b", 6, 20)]
    model = small(n_rehearsed=20).fit(in_time(first))
    before = model._fitted.model.item_table.detach().clone()
    model.partial_fit(in_time([["a0", "new"]] * 5, 100))
    moved = (model._fitted.model.item_table[: len(before)] != before).any(dim=1)
    assert {item for item, m in zip(model.item_ids_, moved, strict=False) if m} == {
        "a0", *(f"b{i}" for i in range(6))
    }  # fmt: skip


def test_without_rehearsal_parameters_of_training_make_the_same_update(train, test):
    """0 learns further sessions alone, however many the model could have kept."""
    a = small(n_rehearsed=0).fit(train).set_params(n_rehearsed=99)
    b = small(n_rehearsed=99).fit(train).set_params(n_rehearsed=0)
    same(a.partial_fit(NEW), b.partial_fit(NEW), test)
    assert (len(kept_by(a)), len(kept_by(b))) == (60, 0)


def test_two_updates_after_files_are_those_without(train, test, tmp_path):
    X = train.with_users(np.arange(len(train)) % 7)
    days = [Sessions.from_lists(NEW, users=[3, u] * 30) for u in (98, 99)]
    model = small(prompt=("cluster", "user", "session"), n_rehearsed=80).fit(X)
    other = copy.deepcopy(model)
    for i, day in enumerate(days):
        skclip.save(other, tmp_path / "m")
        joblib.dump(skclip.load(tmp_path / "m"), tmp_path / "j")
        other = joblib.load(tmp_path / "j")
        same(model.partial_fit(day), other.partial_fit(day), test)
        assert kept_by(model) == kept_by(other)
        assert len(kept_by(model)) == 80, i
    users = model._fitted.rehearsal.users
    assert set(model.user_ids_[users[-60:] - 1]) == {3, 99}


def test_of_rows_with_a_target_the_last_item_alone_is_learned_again(train):
    rows = blocks("a", 9, 40)
    model = small(max_epochs=1).fit([r[:-1] for r in rows], [r[-1] for r in rows])
    assert sorted(kept_by(model)) == sorted(rows)
    model.partial_fit(blocks("b", 9, 10))
    kept = model._fitted.rehearsal
    found = kept.instances(max_length=3)
    assert len(found) == 40 + 10 * 3
    pairs = list(zip(found.starts, found.stops, strict=True))
    assert pairs[:2] == [(0, 3), (4, 7)]
    assert pairs[40:44] == [(160, 161), (160, 162), (160, 163), (164, 165)]


def test_carried_clusters_and_backbones_with_neighbors_rehearse(train):
    clusterer = SessionClusterer(random_state=0).fit(train)
    model = small("gcegnn", max_epochs=1).fit(clusterer.transform(train))
    model.partial_fit(clusterer.partial_fit(NEW).transform(NEW))
    assert len(kept_by(model)) == len(train) + len(NEW)
    assert {"new-a", "new-b"} <= set(model.item_ids_)


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
