import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionClusterer,
    Sessions,
)
from skclip._clip import chosen_params, resolve_params
from skclip.backbones import BACKBONES, NARM, Batch, GRU4Rec
from skclip.metrics import mrr_at_k


def same(a, b, X):
    np.testing.assert_array_equal(a.decision_function(X), b.decision_function(X))


# -- what fit promises ----------------------------------------------------------------


def test_fitted_attributes(fitted, shop_split):
    train, _ = shop_split
    assert fitted.n_items_ == len(fitted.item_ids_) == len(np.unique(train.codes))
    assert (np.sort(fitted.item_ids_) == fitted.item_ids_).all()
    assert isinstance(fitted.clusterer_, SessionClusterer)
    np.testing.assert_array_equal(fitted.membership_, fitted.clusterer_.membership_)
    assert fitted.n_iter_ == len(fitted.history_) == 2
    assert set(fitted.history_[0]) == {
        "epoch",
        "train_loss",
        "validation_score",
        "seconds",
    }
    assert fitted.history_[1]["train_loss"] < fitted.history_[0]["train_loss"]


@pytest.mark.parametrize(
    ("n_instances", "batch_size", "max_epochs"),
    [
        (1, 64, 100),
        (3_300, 64, 20),
        (12_800, 128, 10),
        (56_000, 512, 10),
        (10**6, 512, 10),
    ],
)
def test_automatic_sizes(fitted, n_instances, batch_size, max_epochs):
    model = CLIPSessionRecommender()
    chosen = chosen_params(model, NARM())
    resolved = resolve_params(model, chosen, n_instances, 300, torch.device("cpu"))
    assert resolved["batch_size"] == batch_size
    assert resolved["max_epochs"] == max_epochs
    assert fitted.resolved_params_["max_epochs"] == 2  # what was given wins
    assert fitted.resolved_params_["loss"] == "cross_entropy"


def test_same_seed_same_bits_and_other_seed_not(small_recommender, fitted, shop_split):
    train, test = shop_split
    same(fitted, clone(small_recommender).fit(train), test)
    other = clone(small_recommender).set_params(random_state=1).fit(train)
    assert (other.decision_function(test) != fitted.decision_function(test)).any()


def test_fit_twice_is_fit_once(small_recommender, fitted, shop_split):
    train, test = shop_split
    model = clone(small_recommender).fit([["x", "y", "z"]] * 5)
    assert model.item_ids_.tolist() == ["x", "y", "z"]
    same(model.fit(train), fitted, test)


@pytest.mark.parametrize("timed", [True, False])
def test_row_order_changes_nothing(small_recommender, shop_split, timed):
    train, test = shop_split
    if not timed:
        train = Sessions(train.codes, train.offsets, train.vocabulary)
    order = np.random.default_rng(5).permutation(len(train))
    one = clone(small_recommender).fit(train)
    same(one, clone(small_recommender).fit(train[order]), test)
    targets = np.array(["item-001", "item-002", "item-003", "item-004"] * 125)
    one = clone(small_recommender).fit(train, targets)
    two = clone(small_recommender).fit(train[order], targets[order])
    same(one, two, test)


def test_string_and_integer_ids_rank_alike(small_recommender, shop_split):
    train, test = shop_split
    numbers = np.arange(len(train.vocabulary)) * 3 - 7
    as_numbers = [
        Sessions(part.codes, part.offsets, numbers, times=part.times)
        for part in (train, test)
    ]
    one = clone(small_recommender).fit(train)
    two = clone(small_recommender).fit(as_numbers[0])
    same_items = np.searchsorted(train.vocabulary, one.item_ids_)
    np.testing.assert_array_equal(two.item_ids_, numbers[same_items])
    np.testing.assert_array_equal(
        one.decision_function(test), two.decision_function(as_numbers[1])
    )


def test_seed_leaves_global_state_alone(small_recommender, shop_split):
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    expected = torch.rand(2), np.random.rand()  # noqa: NPY002
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    threads = torch.get_num_threads()
    clone(small_recommender).fit(shop_split[0][:50])
    assert torch.equal(torch.rand(2), expected[0])
    assert np.random.rand() == expected[1]  # noqa: NPY002
    assert torch.get_num_threads() == threads


def test_a_dataset_of_predictable_sessions_is_learned():
    rows = [[i % 10, (i + 1) % 10, (i + 2) % 10] for i in range(400)]
    model = CLIPSessionRecommender(
        "gru4rec", max_epochs=15, batch_size=64, learning_rate=0.01, random_state=0
    ).fit(rows)
    assert model.predict([[3], [8, 9]]).tolist() == [4, 0]


# -- prompts and clusters --------------------------------------------------------------


def test_prompt_none_is_the_bare_backbone(small_recommender, shop_split):
    train, test = shop_split
    bare = clone(small_recommender).set_params(prompt=None).fit(train)
    assert bare.clusterer_ is None
    assert bare.membership_ is None
    assert not any("prompt" in name for name, _ in bare._model.named_parameters())
    assert bare.score(test) > 0


def test_carried_clusters_are_used(small_recommender, shop_split):
    train, _ = shop_split
    clusterer = SessionClusterer(3.0, random_state=0).fit(train)
    model = clone(small_recommender).fit(clusterer.transform(train))
    assert model.clusterer_ is None
    np.testing.assert_array_equal(model.membership_, clusterer.membership_)
    model.set_params(clusterer=SessionClusterer())
    with pytest.warns(UserWarning, match="carry clusters already"):
        model.fit(clusterer.transform(train))


def test_any_object_with_fit_and_membership_can_cluster(small_recommender, shop_split):
    train, test = shop_split

    class OneForAll(SessionClusterer):
        def fit(self, X, y=None):
            self.membership_ = np.zeros(len(np.unique(X.codes)), dtype=int)
            return self

    model = clone(small_recommender).set_params(clusterer=OneForAll()).fit(train)
    assert set(model.membership_) == {0}
    assert np.isfinite(model.decision_function(test)).all()

    class Wrong(OneForAll):
        def fit(self, X, y=None):
            self.membership_ = np.zeros(3, dtype=int)
            return self

    with pytest.raises(ValueError, match=r"membership_ has shape \(3,\), expected"):
        clone(small_recommender).set_params(clusterer=Wrong()).fit(train)


def test_nested_parameters_replace_names_and_none():
    model = CLIPSessionRecommender("gru4rec")
    model.set_params(backbone__hidden_dim=7, clusterer__resolution=2.0)
    assert isinstance(model.backbone, GRU4Rec)
    assert model.backbone.hidden_dim == 7
    assert model.clusterer.resolution == 2.0
    model.set_params(backbone="narm", backbone__dropout=0.1)
    assert isinstance(model.backbone, NARM)
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        model.set_params(backbone__depth=3)


# -- validation part -------------------------------------------------------------------


def test_latest_sessions_validate(small_recommender, shop_split, monkeypatch):
    train, _ = shop_split
    seen = []
    score = PopularityRecommender.rank_targets
    model = clone(small_recommender).set_params(max_epochs=1)
    monkeypatch.setattr(
        CLIPSessionRecommender,
        "rank_targets",
        lambda self, X, y=None: seen.append(X) or score(self, X, y),
    )
    order = np.random.default_rng(0).permutation(len(train))
    model.fit(train[order])
    latest = train[np.argsort(train.end_times)[-50:]]
    assert sorted(seen[0].to_lists()) == sorted(latest.to_lists())


def test_eval_set_replaces_the_validation_part(small_recommender, shop_split):
    train, test = shop_split
    model = clone(small_recommender).fit(train, eval_set=(test, None))
    assert model.best_validation_score_ == pytest.approx(model.score(test))
    with pytest.raises(TypeError, match=r"eval_set is a Sessions. Expected a tuple"):
        model.fit(train, eval_set=test)


def test_early_stopping_keeps_the_best_weights(small_recommender, shop_split):
    train, test = shop_split
    model = clone(small_recommender).set_params(
        max_epochs=40, n_iter_no_change=2, learning_rate=0.05
    )
    model.fit(train, eval_set=(test, None))
    scores = [row["validation_score"] for row in model.history_]
    best = int(np.argmax(scores))
    assert model.n_iter_ == best + 1 + 2 < 40
    assert model.best_validation_score_ == scores[best] == model.score(test)


def test_without_early_stopping_all_rows_train(small_recommender, shop_split):
    model = clone(small_recommender).set_params(early_stopping=False)
    model.fit(shop_split[0])
    assert model.best_validation_score_ is None
    assert "validation_score" not in model.history_[0]


@pytest.mark.parametrize("scoring", ["recall@5", "ndcg@10", "mrr@3"])
def test_scoring_names_the_metric(small_recommender, shop_split, scoring):
    train, test = shop_split
    model = clone(small_recommender).set_params(scoring=scoring)
    model.fit(train, eval_set=(test, None))
    assert model.best_validation_score_ == pytest.approx(model.score(test))


def test_callable_scoring(small_recommender, shop_split):
    train, test = shop_split

    def scoring(estimator, X, y=None):
        return mrr_at_k(estimator.rank_targets(X, y), 7)

    model = clone(small_recommender).set_params(scoring=scoring).fit(train)
    assert model.score(test) == scoring(model, test)
    assert model.best_validation_score_ > 0


def test_validation_sessions_are_not_learned(small_recommender, shop_split):
    """Held-out sessions may hold anything: the weights do not see it."""
    train, test = shop_split
    late = train.end_times >= np.sort(train.end_times)[-50]
    codes = train.codes.copy()
    held_out = np.repeat(late, train.lengths)
    codes[held_out] = codes[held_out][::-1]
    other = Sessions(codes, train.offsets, train.vocabulary, times=train.times)
    model = clone(small_recommender).set_params(
        prompt=None, n_iter_no_change=50, max_epochs=1
    )
    assert (other.codes != train.codes).any()
    same(clone(model).fit(train), clone(model).fit(other), test)
    model.set_params(early_stopping=False)
    one, two = clone(model).fit(train), clone(model).fit(other)
    assert (one.decision_function(test) != two.decision_function(test)).any()


@pytest.mark.parametrize(
    "change",
    [
        {"normalization": "none"},
        {"gate": "scalar"},
        {"gate": "add"},
        {"candidates": "prompted"},
        {"similarity": "cosine"},
        {"similarity": "cosine", "temperature": 0.5},
        {"embedding_dim": 8},
        {"learning_rate": 0.02},
        {"lr_schedule": "constant"},
        {"weight_decay": 0.1},
        {"batch_size": 64},
        {"max_session_length": 2},
        {"loss": "bpr", "n_negatives": 20},
        {"backbone": "narm"},
        {"backbone__dropout": 0.9},
        {"backbone__tied": True},
        {"clusterer__resolution": 5.0},
        {"validation_fraction": 0.5},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_every_parameter_has_an_effect(small_recommender, fitted, shop_split, change):
    train, test = shop_split
    model = clone(small_recommender).set_params(**change).fit(train)
    assert (model.decision_function(test) != fitted.decision_function(test)).any()


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_two_threads_give_the_same_bits_twice(small_recommender, shop_split, backbone):
    """Wide enough that torch splits the work of look-ups and of their gradients."""
    train, test = shop_split
    model = clone(small_recommender).set_params(
        backbone=backbone, n_threads=2, embedding_dim=64, max_epochs=1, batch_size=512
    )
    same(clone(model).fit(train), clone(model).fit(train), test)


def test_a_failed_fit_changes_nothing(small_recommender, fitted, shop_split):
    from sklearn.exceptions import NotFittedError

    train, test = shop_split
    fresh = clone(small_recommender).set_params(learning_rate=1e30)
    with pytest.raises(ValueError, match="loss became"):
        fresh.fit(train)
    with pytest.raises(NotFittedError):
        fresh.predict(test)
    model = clone(small_recommender).fit(train)
    with pytest.raises(ValueError, match="loss became|not finite"):
        model.set_params(learning_rate=1e30).fit([["x", "y"]] * 9)
    same(model, fitted, test)


def test_bad_eval_sets_fail_before_training(small_recommender, shop_split):
    train, _ = shop_split
    model = clone(small_recommender).set_params(max_epochs=10_000)
    with pytest.raises(TypeError, match="Session 0 of X is a str"):
        model.fit(train, eval_set=(["abc"], None))
    with pytest.raises(ValueError, match=r"y has shape \(1,\)"):
        model.fit(train, eval_set=([["a"], ["b"]], ["c"]))


@pytest.mark.parametrize("value", [float("nan"), {"mrr@5": 1.0}, "good", None])
def test_scoring_must_return_a_number(small_recommender, shop_split, value):
    model = clone(small_recommender).set_params(scoring=lambda est, X, y=None: value)
    with pytest.raises(ValueError, match="scoring returned .*Expected one number"):
        model.fit(shop_split[0])


def test_monitored_without_early_stopping(small_recommender, shop_split):
    train, test = shop_split
    model = clone(small_recommender).set_params(early_stopping=False, max_epochs=3)
    model.fit(train, eval_set=(test, None))
    assert model.best_validation_score_ == model.score(test)


# -- ways to end -----------------------------------------------------------------------


def test_keyboard_interrupt_keeps_the_best_model(small_recommender, shop_split):
    train, test = shop_split
    calls = []

    def scoring(estimator, X, y=None):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 1.0 / len(calls)

    model = clone(small_recommender).set_params(
        scoring=scoring, max_epochs=10, lr_schedule="constant"
    )
    with pytest.warns(UserWarning, match="interrupted in epoch 3.*best weights"):
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


def test_max_time_stops(small_recommender, shop_split):
    model = clone(small_recommender).set_params(max_epochs=10_000, max_time=0.5)
    model.set_params(n_iter_no_change=10_000).fit(shop_split[0])
    assert model.n_iter_ < 10_000
    assert sum(row["seconds"] for row in model.history_) < 5


def test_progress_bar_only_when_verbose(small_recommender, shop_split, capsys):
    model = clone(small_recommender)
    model.fit(shop_split[0][:60])
    assert capsys.readouterr().err == ""
    model.set_params(verbose=True).fit(shop_split[0][:60])
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "validation=" in shown


def test_a_loss_that_is_not_finite_names_its_cause(small_recommender, shop_split):
    model = clone(small_recommender).set_params(learning_rate=1e30)
    with pytest.raises(
        ValueError, match=r"loss became .* in epoch \d+, batch \d+.*1e\+30"
    ):
        model.fit(shop_split[0])


# -- inputs ----------------------------------------------------------------------------


def test_y_makes_one_instance_a_row(small_recommender):
    X, y = [["a", "b"], ["c"], ["a"]] * 20, ["c", "a", "b"] * 20
    model = clone(small_recommender).set_params(max_epochs=30, n_iter_no_change=30)
    model.set_params(learning_rate=0.05).fit(X, y)
    assert model.item_ids_.tolist() == ["a", "b", "c"]
    assert model.clusterer_.graph_.toarray().tolist() == [
        [0, 20, 20],
        [20, 0, 20],
        [20, 20, 0],
    ]
    assert model.predict(X[:3]).tolist() == y[:3]
    assert model.score(X, y) == 1.0


def test_min_item_count_leaves_rare_items_out(small_recommender):
    X = [["a", "b", "a"], ["b", "rare", "a"], ["a", "b"]] * 3 + [["once", "a"]]
    model = clone(small_recommender).set_params(min_item_count=3).fit(X)
    assert model.item_ids_.tolist() == ["a", "b", "rare"]
    assert model.predict_topk([["once", "b"]], k=2).shape == (1, 2)
    with pytest.raises(ValueError, match="No item has min_item_count=99"):
        clone(small_recommender).set_params(min_item_count=99).fit(X)


def test_min_item_count_with_targets_that_vanish(small_recommender):
    X = [["a"], ["a"], ["b"], ["b"], ["c"], ["c"]]
    y = ["r1", "r2", "c", "c", "b", "b"]
    model = clone(small_recommender).set_params(min_item_count=2).fit(X, y)
    assert model.item_ids_.tolist() == ["b", "c"]


def test_sessions_that_carry_no_cluster_at_all(small_recommender):
    X = Sessions.from_lists([["a", "b"], ["b", "c"]] * 10)
    model = clone(small_recommender).fit(X.with_clusters(np.zeros(X.n_events)))
    assert model.membership_.tolist() == [-1, -1, -1]
    assert model.predict([["new"], ["a", "new"]]).shape == (2,)


def test_long_sessions_keep_their_latest_items(small_recommender, shop_split):
    train, _ = shop_split
    model = clone(small_recommender).set_params(max_session_length=3)
    model.fit(Sessions.concat([train, [["item-001", "item-002"] * 30]]))
    long = ["item-010"] * 40 + ["item-003", "item-002", "item-005"]
    np.testing.assert_array_equal(
        model.decision_function([long]), model.decision_function([long[-3:]])
    )
    ranks = model.rank_targets([long])
    assert len(ranks) == 42
    assert ranks[-1] == model.rank_targets([long[-4:-1]], [long[-1]])[0]


@pytest.mark.parametrize("prompt", ["cluster", None])
def test_empty_and_unknown_never_raise(small_recommender, shop_split, prompt):
    train, _ = shop_split
    model = clone(small_recommender).set_params(prompt=prompt).fit(train)
    popular = PopularityRecommender().fit(train).predict_topk([[]], k=5)
    with pytest.warns(UserWarning, match="2 of 4 events .* 1 of 4 sessions are empty"):
        top = model.predict_topk([[], ["new"], ["item-003", "new"], ["item-003"]], k=5)
    assert top[0].tolist() == popular[0].tolist()
    if prompt is None:  # unseen items are dropped from the input
        assert top[1].tolist() == popular[0].tolist()
        assert top[2].tolist() == top[3].tolist()
    assert model.predict_topk([[5, (1, 2), b"x"]], k=2).shape == (1, 2)


@pytest.mark.parametrize("cluster", [0, 1, 2])
def test_unseen_item_speaks_through_the_prompt_of_its_neighbours(fitted, cluster):
    item = int(np.flatnonzero(fitted.membership_ == cluster)[3])
    known = fitted.item_ids_[item]
    batch = Batch(
        codes=torch.tensor([[item + 1, 0]]),
        clusters=torch.tensor([[cluster + 1, cluster + 1]]),
        rows=torch.tensor([0]),
        ends=torch.tensor([2]),
        targets=torch.tensor([0]),
    )
    with torch.no_grad():
        query = fitted._model.states(batch)
        expected = fitted._model.scores(query, fitted._model.keys())
    found = fitted.decision_function([[known, "new"]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_prefix_is_scored_from_what_it_has_observed_alone(fitted):
    session = [
        fitted.item_ids_[0],
        "new",
        fitted.item_ids_[5],
        "newer",
        fitted.item_ids_[60],
    ]
    ranks = fitted.rank_targets([session])
    alone = [fitted.rank_targets([session[:t]], [session[t]])[0] for t in range(1, 5)]
    np.testing.assert_array_equal(ranks, alone)


def test_other_rows_and_earlier_calls_change_nothing(fitted, shop_split):
    _, X = shop_split
    mixed = [*X.to_lists(), ["new", "item-001"], []]
    before = fitted.decision_function(mixed)
    for i in (0, 7, len(mixed) - 2):
        alone = fitted.decision_function([mixed[i]])
        np.testing.assert_allclose(alone[0], before[i], atol=1e-5)
    np.testing.assert_array_equal(fitted.decision_function(mixed), before)


@pytest.mark.parametrize(
    ("options", "X", "error", "message"),
    [
        ({"backbone": "nram"}, [["a", "b"]], ValueError, "Did you mean 'narm'"),
        ({"backbone": 5}, [["a", "b"]], ValueError, "The 'backbone' parameter"),
        (
            {"backbone": GRU4Rec(dropout=2)},
            [["a", "b"]],
            ValueError,
            "'dropout' parameter of GRU4Rec",
        ),
        ({"scoring": "auc"}, [["a", "b"]], ValueError, "Unknown metric 'auc'"),
        (
            {"learning_rate": -1},
            [["a", "b"]],
            ValueError,
            "The 'learning_rate' parameter",
        ),
        ({"device": "abacus"}, [["a", "b"]], ValueError, "device='abacus'"),
        ({}, [["a"], ["b"]], ValueError, "All 2 sessions have fewer than 2 items"),
        ({}, [], ValueError, "0 sample"),
        ({}, [[], []], ValueError, "All 2 sessions are empty"),
        ({}, ["abc"], TypeError, r"Session 0 of X is a str: 'abc'"),
    ],
)
def test_bad_input_says_what_to_do(options, X, error, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=message):
            CLIPSessionRecommender(**options).fit(X)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"], r"y has shape \(1,\), expected \(2,\)"),
        (["a", None], r"y\[1\] is None"),
        (pd.Series(["a", pd.NA], dtype="string"), r"y\[1\] is <NA>"),
        ([1.0, float("nan")], r"y\[1\] is nan"),
        ([[1], [2]], "Expected a 1-D array with one target item id"),
    ],
)
def test_bad_targets(y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CLIPSessionRecommender().fit([["a"], ["b"]], y)


def test_short_sessions_are_counted(small_recommender):
    with pytest.warns(UserWarning, match="2 of 22 sessions have fewer than 2 items"):
        model = clone(small_recommender).fit(
            [["a", "b"], ["b", "a"]] * 10 + [["c"], []]
        )
    assert model.item_ids_.tolist() == ["a", "b", "c"]


def test_warnings_point_at_the_caller(fitted):
    with pytest.warns(UserWarning, match="1 of 1 events") as caught:
        fitted.predict([["new"]])
    assert caught[0].filename == __file__


def test_not_fitted():
    from sklearn.exceptions import NotFittedError

    for method in (
        "predict",
        "predict_topk",
        "decision_function",
        "score",
        "rank_targets",
    ):
        with pytest.raises(NotFittedError):
            getattr(CLIPSessionRecommender(), method)([["a"]])


@pytest.mark.parametrize("prompt", ["cluster", None])
def test_filters(small_recommender, shop_split, prompt):
    train, test = shop_split
    model = clone(small_recommender).set_params(prompt=prompt).fit(train)
    X = [*test[:5].to_lists(), [], ["new"]]
    everything = model.predict_topk(X, k=model.n_items_)
    allowed = model.item_ids_[::7]
    for row, (top, seen) in enumerate(
        zip(model.predict_topk(X, k=6, exclude_seen=True), X, strict=True)
    ):
        assert top.tolist() == [i for i in everything[row] if i not in seen][:6]
    top = model.predict_topk(X, k=6, allow=allowed, deny=allowed[:2])
    for row in range(len(X)):
        kept = [i for i in everything[row] if i in allowed[2:]]
        assert top[row].tolist() == kept[:6]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu(fitted, shop_split):
    _, X = shop_split
    expected = fitted.decision_function(X)
    fitted._model.to("cuda")
    try:
        np.testing.assert_allclose(fitted.decision_function(X), expected, atol=1e-4)
    finally:
        fitted._model.to("cpu")


def test_schedules():
    from skclip._training import _SCHEDULES

    step = [_SCHEDULES["step"](done, 30) for done in (0, 2.9, 3, 5.9, 6)]
    assert step == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    cosine = [_SCHEDULES["cosine"](done, 10) for done in (0, 5, 10)]
    assert cosine == pytest.approx([1, 0.5, 0])
    assert _SCHEDULES["constant"](7, 10) == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_weight_decay_shrinks_the_table(small_recommender, shop_split, optimizer):
    norms = [
        clone(small_recommender)
        .set_params(optimizer=optimizer, weight_decay=decay)
        .fit(shop_split[0])
        ._model.item_table.norm()
        for decay in (0.0, 5.0)
    ]
    assert norms[1] < 0.9 * norms[0]


def test_optimizers_and_schedules_differ(small_recommender, shop_split):
    train, test = shop_split
    scores = [
        clone(small_recommender)
        .set_params(weight_decay=0.1, max_epochs=4, **options)
        .fit(train)
        .decision_function(test)
        for options in (
            {},
            {"optimizer": "adamw"},
            {"lr_schedule": "step"},
            {"lr_schedule": "constant"},
        )
    ]
    for i, one in enumerate(scores):
        for other in scores[:i]:
            assert (one != other).any()
