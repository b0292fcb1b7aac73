"""One fit of the recommender: what it promises, and how it ends."""

import re
import warnings

import joblib
import numpy as np
import pytest
import torch
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import KFold

from skclip import (
    CLIPSessionRecommender,
    SessionClusterer,
    Sessions,
)
from skclip._training._trainer import SCHEDULES
from skclip.backbones import Batch, GRU4Rec
from skclip.metrics import mrr_at_k

# -- what fit promises ----------------------------------------------------------------


def test_fitted_attributes(fitted, train):
    assert fitted.n_items_ == len(fitted.item_ids_) == len(np.unique(train.codes))
    assert (np.sort(fitted.item_ids_) == fitted.item_ids_).all()
    counts = np.unique(train.codes, return_counts=True)[1]
    np.testing.assert_array_equal(fitted.item_counts_, counts)
    assert isinstance(fitted.clusterer_, SessionClusterer)
    np.testing.assert_array_equal(fitted.membership_, fitted.clusterer_.membership_)
    assert fitted.user_ids_ is fitted.fusion_weight_ is None
    assert fitted.n_iter_ == len(fitted.history_) == 2
    assert set(fitted.history_[0]) == {"epoch", "train_loss", "seconds"}
    assert fitted.history_[1]["train_loss"] < fitted.history_[0]["train_loss"]


def test_same_seed_same_bits_and_other_seed_not(fitted, train, test):
    same(fitted, small().fit(train), test)
    other = small(random_state=1).fit(train)
    assert (other.decision_function(test) != fitted.decision_function(test)).any()


def test_seed_leaves_global_state_alone(train):
    def drawn():
        return float(torch.rand(1)), np.random.rand()  # noqa: NPY002

    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    expected, threads = drawn(), torch.get_num_threads()
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    small().fit(train[:50])
    assert drawn() == expected
    assert torch.get_num_threads() == threads


def test_prediction_leaves_the_model_as_it_was(fitted, test):
    before = joblib.hash(fitted.__getstate__())
    rows = [[*row, f"new-{i}"] for i, row in enumerate(test.to_lists())]
    fitted.score(rows)
    fitted.predict_topk(rows, exclude_seen=True)
    assert joblib.hash(fitted.__getstate__()) == before


def test_a_dataset_of_predictable_sessions_is_learned():
    rows = [[i % 10, (i + 1) % 10, (i + 2) % 10] for i in range(400)]
    model = CLIPSessionRecommender(
        "gru4rec", max_epochs=15, batch_size=64, learning_rate=0.01, random_state=0
    ).fit(rows)
    assert model.predict([[3], [8, 9]]).tolist() == [4, 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu(fitted, test):
    on_cuda = small(device="cuda")
    on_cuda.__setstate__(fitted.__getstate__() | {"device": "cuda"})
    np.testing.assert_allclose(
        on_cuda.decision_function(test), fitted.decision_function(test), atol=1e-4
    )


# -- prompts and clusters --------------------------------------------------------------


def test_prompt_none_is_the_bare_backbone(train, test):
    bare = small(prompt=None).fit(train)
    assert bare.clusterer_ is bare.membership_ is None
    assert not any("prompt" in name for name in bare.parameter_report())
    assert bare.score(test) > 0
    same(bare, small(prompt=()).fit(train), test)


def test_carried_clusters_are_used(train):
    clusterer = SessionClusterer(3.0, random_state=0).fit(train)
    model = small().fit(clusterer.transform(train))
    assert model.clusterer_ is None
    np.testing.assert_array_equal(model.membership_, clusterer.membership_)
    model.set_params(clusterer=SessionClusterer())
    with pytest.warns(UserWarning, match="already carry clusters"):
        model.fit(clusterer.transform(train))


def test_sessions_that_carry_no_cluster_at_all():
    X = Sessions.from_lists([["a", "b"], ["b", "c"]] * 10)
    with pytest.raises(ValueError, match="carry clusters, but no item has one"):
        small().fit(X.with_clusters(np.zeros(X.n_events)))
    clusters = np.where(X.codes == 0, 1, 0)  # of one item at least
    model = small(unseen_items="vote").fit(X.with_clusters(clusters))
    assert model.membership_.tolist() == [0, -1, -1]
    assert model.predict([["new"], ["a", "new"]]).shape == (2,)


@pytest.fixture(scope="module")
def voting(train):
    return small(unseen_items="vote").fit(train)


@pytest.mark.parametrize("cluster", [0, 1, 2])
def test_unseen_item_speaks_through_the_prompt_of_its_neighbors(voting, cluster):
    item = int(np.flatnonzero(voting.membership_ == cluster)[3])
    levels = torch.from_numpy(voting.clusterer_.levels_[item] + 1)
    batch = Batch(
        codes=torch.tensor([[item + 1, 0]]),
        clusters=levels.expand(1, 2, -1),
        rows=torch.tensor([0]),
        ends=torch.tensor([2]),
        targets=torch.tensor([0]),
    )
    model = voting._fitted.model
    with torch.no_grad():
        expected = model.scores(model.states(batch), model.keys())
    found = voting.decision_function([[voting.item_ids_[item], "new"]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_later_click_does_not_tell_the_cluster_of_an_unseen_item(voting, test):
    """The score of a prefix is the same whatever comes behind it."""
    rows = [["new-1", *row] for row in test.to_lists()[:30]]
    for row in rows:
        row.insert(2, "new-2")
    for end in (1, 2, 3):
        X, y = [row[:end] for row in rows], [row[end] for row in rows]
        expected = voting.rank_targets(X, y)
        for tail in ("item-000", "item-079"):
            longer = [[*row[: end + 1], tail] for row in rows]
            ranks = voting.rank_targets(longer).reshape(len(rows), end + 1)
            np.testing.assert_array_equal(ranks[:, end - 1], expected)


# -- validation part -------------------------------------------------------------------


def test_latest_sessions_validate(train, monkeypatch):
    seen = []
    monkeypatch.setattr(
        CLIPSessionRecommender,
        "rank_targets",
        lambda self, X, y=None: seen.append(X) or np.ones(9),
    )
    order = np.random.default_rng(0).permutation(len(train))
    small(early_stopping=True, max_epochs=1).fit(train[order])
    latest = train[np.argsort(train.end_times)[-50:]]
    assert sorted(seen[0].to_lists()) == sorted(latest.to_lists())


def recall_at_7(estimator, X, y=None):
    return float((estimator.rank_targets(X, y) <= 7).mean())


@pytest.mark.parametrize("scoring", ["auto", "recall@5", "ndcg@10", recall_at_7])
def test_eval_set_is_scored_as_asked(scoring, train, test):
    model = small(early_stopping=True, scoring=scoring)
    model.fit(train, eval_set=(test, None))
    assert model.best_validation_score_ == pytest.approx(model.score(test))
    assert model.best_validation_score_ > 0
    if scoring == "auto":
        assert model.score(test) == mrr_at_k(model.rank_targets(test), 20)


def test_bad_eval_sets_fail_before_training(train):
    model = small(max_epochs=10_000)
    for eval_set, error, message in (
        (train, TypeError, r"eval_set is a Sessions. Expected a tuple"),
        ((["abc"], None), TypeError, "Session 0 of X is a str"),
        (([["a"], ["b"]], ["c"]), ValueError, r"y has shape \(1,\)"),
    ):
        with pytest.raises(error, match=message):
            model.fit(train, eval_set=eval_set)


@pytest.mark.parametrize("value", [float("nan"), {"mrr@5": 1.0}, "good", None])
def test_scoring_must_return_a_number(value, train):
    model = small(early_stopping=True, scoring=lambda estimator, X, y=None: value)
    with pytest.raises(ValueError, match="scoring returned .*Expected one number"):
        model.fit(train)


def test_early_stopping_keeps_the_best_weights(train, test):
    model = small(
        early_stopping=True, max_epochs=40, n_iter_no_change=2, learning_rate=0.05
    ).fit(train, eval_set=(test, None))
    scores = [row["validation_score"] for row in model.history_]
    best = int(np.argmax(scores))
    assert model.n_iter_ == best + 1 + 2 < 40
    assert model.best_validation_score_ == scores[best] == model.score(test)


def test_without_early_stopping_the_last_weights_stay(train, test):
    model = small(early_stopping=False, max_epochs=3).fit(train)
    assert model.best_validation_score_ is None
    assert "validation_score" not in model.history_[0]
    model.fit(train, eval_set=(test, None))  # only watched
    assert model.best_validation_score_ == model.score(test)


def test_validation_sessions_are_not_learned(train, test):
    """Held-out sessions may hold anything: the weights do not see it."""
    late = train.end_times >= np.sort(train.end_times)[-50]
    codes = train.codes.copy()
    held_out = np.repeat(late, train.lengths)
    codes[held_out] = codes[held_out][::-1]
    other = Sessions(codes, train.offsets, train.vocabulary, times=train.times)
    assert (other.codes != train.codes).any()
    model = small(prompt=None, early_stopping=True, max_epochs=1)
    same(clone(model).fit(train), clone(model).fit(other), test)
    model.set_params(early_stopping=False)
    one, two = clone(model).fit(train), clone(model).fit(other)
    assert (one.decision_function(test) != two.decision_function(test)).any()


# -- ways to train and to end ----------------------------------------------------------


def test_schedules():
    step = [SCHEDULES["step"](done, 30) for done in (0, 2.9, 3, 5.9, 6)]
    assert step == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    cosine = [SCHEDULES["cosine"](done, 10) for done in (0, 5, 10)]
    assert cosine == pytest.approx([1, 0.5, 0])
    assert SCHEDULES["constant"](7, 10) == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_weight_decay_shrinks_the_table(optimizer, train):
    norms = [
        small(prompt=None, optimizer=optimizer, weight_decay=decay)
        .fit(train)
        ._fitted.model.item_table.norm()
        for decay in (0.0, 5.0)
    ]
    assert norms[1] < 0.9 * norms[0]


def test_optimizers_and_schedules_differ(train, test):
    options = (
        {}, {"optimizer": "adamw"}, {"lr_schedule": "step"}, {"lr_schedule": "constant"}
    )  # fmt: skip
    scores = [
        small(weight_decay=0.1, max_epochs=4, **some).fit(train).decision_function(test)
        for some in options
    ]
    for i, one in enumerate(scores):
        for other in scores[:i]:
            assert (one != other).any()


def test_keyboard_interrupt_keeps_the_best_model(train, test):
    calls = []

    def scoring(estimator, X, y=None):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 1.0 / len(calls)

    model = small(
        early_stopping=True, scoring=scoring, max_epochs=10, lr_schedule="constant"
    )
    with pytest.warns(UserWarning, match="interrupted in epoch 3.*best epoch"):
        model.fit(train)
    assert model.n_iter_ == 2
    assert model.best_validation_score_ == 1.0
    first = clone(model).set_params(scoring="mrr@20", max_epochs=1).fit(train)
    same(model, first, test)  # the first epoch was the best
    assert model.predict_topk(test, k=3).shape == (len(test), 3)

    calls.clear()
    model.set_params(early_stopping=False)
    with pytest.warns(UserWarning, match="interrupted in epoch 3.*keeps its weights"):
        model.fit(train, eval_set=(test, None))
    assert model.best_validation_score_ is None  # no epoch ended with these weights
    model.set_params(early_stopping=True)

    before = model.decision_function(test)
    calls[:] = [1, 1]  # before the first epoch is over there is nothing to keep
    with pytest.raises(KeyboardInterrupt):
        model.fit(train[:100])
    np.testing.assert_array_equal(model.decision_function(test), before)


def test_max_time_stops(train):
    model = small(max_epochs=10_000, max_time=0.5).fit(train)
    assert model.n_iter_ < 10_000


def test_progress_only_when_verbose(train, capsys, monkeypatch):
    model = small(early_stopping=True).fit(train[:60])
    assert capsys.readouterr() == ("", "")
    model.set_params(verbose=True).fit(train[:60])
    shown, bar = capsys.readouterr()
    assert bar == ""
    first, second = shown.splitlines()
    assert re.fullmatch(
        r"epoch 1/2, loss \S+, validation \S+, \S+ s, \d+ s left", first
    )
    assert second.startswith("epoch 2/2")
    monkeypatch.setattr("skclip._training._trainer.shows_bars", lambda: True)
    model.fit(train[:60])
    shown, bar = capsys.readouterr()
    assert shown == ""
    assert "2/2" in bar
    assert "validation=" in bar


RAW = {"similarity": None, "prompt__candidates": "raw"}  # vectors of any length


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ({"learning_rate": 1e30, **RAW}, r"learning_rate=1e\+30, which"),
        ({"weight_decay": 1e6, "optimizer": "adamw"}, r"weight_decay=1e\+06, which"),
        ({"temperature": 1e-30}, "temperature=1e-30, which"),
    ],
)
def test_a_loss_that_is_not_finite_names_its_cause(train, params, cause):
    message = (
        rf"loss became .* in epoch \d+, batch \d+ of \d+\. The .* cause is {cause}"
    )
    with pytest.raises(ValueError, match=message) as caught:
        small(**params).fit(train)
    others = {"learning_rate", "weight_decay", "temperature"} - set(params)
    assert not any(name in str(caught.value) for name in others)


# -- inputs ----------------------------------------------------------------------------


def test_y_makes_one_instance_a_row():
    X, y = [["a", "b"], ["c"], ["a"]] * 20, ["c", "a", "b"] * 20
    model = small(max_epochs=30, learning_rate=0.05).fit(X, y)
    assert model.item_ids_.tolist() == ["a", "b", "c"]
    graph = model.clusterer_.graph_.toarray().tolist()
    assert graph == [[0, 20, 20], [20, 0, 20], [20, 20, 0]]
    assert model.predict(X[:3]).tolist() == y[:3]
    assert model.score(X, y) == 1.0


def test_min_item_count_leaves_rare_items_out():
    X = [["a", "b", "a"], ["b", "rare", "a"], ["a", "b"]] * 3 + [["once", "a"]]
    model = small(min_item_count=3).fit(X)
    assert model.item_ids_.tolist() == ["a", "b", "rare"]
    assert model.predict_topk([["once", "b"]], k=2).shape == (1, 2)
    with pytest.raises(ValueError, match="No item has min_item_count=99"):
        small(min_item_count=99).fit(X)
    targets_vanish = [["a"], ["a"], ["b"], ["b"], ["c"], ["c"]]
    y = ["r1", "r2", "c", "c", "b", "b"]
    model = small(min_item_count=2).fit(targets_vanish, y)
    assert model.item_ids_.tolist() == ["b", "c"]


def test_long_sessions_keep_their_latest_items(train):
    model = small(max_session_length=3)
    model.fit(Sessions.concat([train, [["item-001", "item-002"] * 30]]))
    long = ["item-010"] * 40 + ["item-003", "item-002", "item-005"]
    one, other = (model.decision_function([row]) for row in (long, long[-3:]))
    np.testing.assert_array_equal(one, other)
    ranks = model.rank_targets([long])
    assert len(ranks) == 42
    assert ranks[-1] == model.rank_targets([long[-4:-1]], [long[-1]])[0]


def test_short_sessions_are_counted():
    with pytest.warns(UserWarning, match="2 of 22 sessions have fewer than 2 items"):
        model = small().fit([["a", "b"], ["b", "a"]] * 10 + [["c"], []])
    assert model.item_ids_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "nram"}, "Did you mean 'narm'"),
        ({"backbone": 5}, "The 'backbone' parameter"),
        ({"backbone": GRU4Rec(dropout=2)}, "'dropout' parameter of GRU4Rec"),
        ({"scoring": "auc"}, "Unknown metric 'auc'"),
        ({"learning_rate": -1}, "The 'learning_rate' parameter"),
        ({"temperature": "learned"}, "The 'temperature' parameter"),
        ({"preset": "best"}, "preset='best' is unknown"),
        ({"device": "abacus"}, "device='abacus'"),
        ({}, "All 2 sessions have fewer than 2 items"),
    ],
    ids=str,
)
def test_bad_parameters_say_what_to_do(options, message):
    X = [["a", "b"]] if options else [["a"], ["b"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            CLIPSessionRecommender(**options).fit(X)


# -- leaks -----------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["gru4rec", "gcegnn"])
def test_nothing_of_the_held_out_rows_is_in_a_fold(backbone, shop):
    """Fitting on a fold gives the same whatever the held-out rows are."""
    rows = shop[0].to_lists()
    X = Sessions.from_lists(rows)
    model = small(backbone, max_epochs=1)
    for train, test in KFold(3).split(X):
        other = list(rows)
        for i in test:  # other transitions, other items, other popularity
            other[i] = [f"leak-{j}" for j in rows[i]]
        fold, changed = X[train], Sessions.from_lists(other)[train]
        a, b = clone(model).fit(fold), clone(model).fit(changed)
        assert not any(str(i).startswith("leak") for i in b.item_ids_)
        for name in ("item_ids_", "membership_", "item_counts_"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.clusterer_.graph_ != b.clusterer_.graph_).nnz == 0
        np.testing.assert_array_equal(a.clusterer_.levels_, b.clusterer_.levels_)
        if backbone == "gcegnn":
            one, two = (m._fitted.model.network.neighbors for m in (a, b))
            assert one.equal(two)
        edges = {
            (u, v) for i in train for u, v in zip(rows[i], rows[i][1:], strict=False)
        }
        ids = b.item_ids_
        for u, v in zip(*b.clusterer_.graph_.nonzero(), strict=True):
            assert (ids[u], ids[v]) in edges or (ids[v], ids[u]) in edges


def test_a_signal_of_the_held_out_sessions_is_not_found():
    """In the held-out part alone, "left-i" is always followed by "right-i"."""
    rng = np.random.default_rng(0)
    sides = [[f"{s}-{i}" for i in range(20)] for s in ("left", "right")]
    train = [[str(i) for i in rng.permutation(sum(sides, []))[:5]] for _ in range(300)]
    held_out = [[left, right] for left, right in zip(*sides, strict=True)] * 5
    X = Sessions.from_lists(train + held_out)
    fold = small(max_epochs=5).fit(X[: len(train)])
    chance = (1 / np.arange(1, 21)).sum() / 40
    assert fold.score(X[len(train) :]) < 2 * chance
    knows = small(max_epochs=40, learning_rate=0.02).fit(X)
    assert knows.score(X[len(train) :]) > 4 * chance  # the signal can be found
