"""Items of the session itself: `repeats` of the recommender."""

import copy

import joblib
import numpy as np
import pandas as pd
import pytest
from common import same, small

import skclip
from skclip import CLIPSessionRecommender, Sessions
from skclip._clip import _fitting
from skclip._data import few_held_out, first_fit_data, training_data
from skclip._training import _trainer
from skclip.backbones import BACKBONES
from skclip.losses import SampledSoftmax

N_ITEMS = 60


def returning(n=400, seed=0):
    """Sessions whose last item is their first one."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(N_ITEMS)[: rng.integers(2, 6)].tolist() for _ in range(n)]
    return [[*row, row[0]] for row in rows]


def never_returning(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.permutation(N_ITEMS)[: rng.integers(2, 6)].tolist() for _ in range(n)]


@pytest.fixture(scope="module")
def fitted():
    return small(repeats=True, max_epochs=8).fit(returning())


def test_scores_are_products_and_a_bias_by_recency_and_count(fitted):
    X = [[3, 4, 3], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [5] * 6 + [6]]
    expected = fitted.session_vectors(X) @ fitted.item_vectors_.T
    for row, session in enumerate(X):
        for item in set(session):
            step = min(session[::-1].index(item), 11)
            count = min(session.count(item), 4)
            bias = fitted.repeat_bias_[step, count - 1]
            expected[row, list(fitted.item_ids_).index(item)] += bias
    np.testing.assert_allclose(fitted.decision_function(X), expected, atol=1e-5)


def test_what_returns_is_learned(fitted):
    X = returning(200, seed=1)
    X, y = [row[:-1] for row in X], [row[-1] for row in X]
    without = small(max_epochs=8).fit(returning())
    assert without.repeat_bias_ is None
    assert fitted.score(X, y) > 1.5 * without.score(X, y)


def test_ranks_count_the_scores(fitted):
    X = returning(50, seed=2)
    X, y = [row[:-1] for row in X], np.array([row[-1] for row in X])
    scores = fitted.decision_function(X)
    own = scores[np.arange(len(X)), np.searchsorted(fitted.item_ids_, y)]
    ranks = (scores >= own[:, None]).sum(axis=1)
    np.testing.assert_array_equal(fitted.rank_targets(X, y), ranks)
    every = fitted.rank_targets(X)
    prefixes = [row[:end] for row in X for end in range(1, len(row))]
    targets = [row[end] for row in X for end in range(1, len(row))]
    np.testing.assert_array_equal(fitted.rank_targets(prefixes, targets), every)


@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {"tagnn"}))
@pytest.mark.parametrize("loss", ["cross_entropy", SampledSoftmax(20)])
def test_the_bias_is_learned_with_every_backbone_and_loss(backbone, loss):
    model = small(backbone, loss=loss, repeats=True).fit(returning(100))
    assert model.repeat_bias_[1, 0] > model.repeat_bias_[0, 0]
    assert model.parameter_report()["repeats"] == 16


def test_files_keep_the_bias(fitted, tmp_path):
    X = returning(20, seed=3)
    skclip.save(fitted, tmp_path / "model.skclip")
    same(skclip.load(tmp_path / "model.skclip"), fitted, X)
    joblib.dump(fitted, tmp_path / "model.joblib")
    same(joblib.load(tmp_path / "model.joblib"), fitted, X)


def test_partial_fit_keeps_the_bias():
    model = small(repeats=True).fit(returning(100))
    before = model.repeat_bias_
    model.set_params(repeats="auto").partial_fit([[1, 99, 1], [2, 99, 2]])
    assert model.resolved_params_["repeats"] is True
    np.testing.assert_array_equal(model.repeat_bias_, before)


def test_unseen_items_of_a_session_have_no_bias(fitted):
    fitted = copy.deepcopy(fitted)  # one warning for each fitted model
    known = fitted.decision_function([[3, 4]])
    with pytest.warns(UserWarning, match="not seen in fit"):
        found = fitted.decision_function([[3, 999, 4]])
    np.testing.assert_array_equal(found, known)


# -- "auto" ----------------------------------------------------------------------------


def test_auto_takes_what_ranks_held_out_sessions_better():
    model = small(repeats="auto", max_epochs=10).fit(returning())
    assert model.resolved_params_["repeats"] is True
    same(model, small(repeats=True, max_epochs=10).fit(returning()), returning(20))


@pytest.mark.parametrize("answer", [1.0, -1.0])
def test_auto_goes_by_scoring(answer):
    """A metric that likes, or does not like, that the first item is ranked high."""

    def scoring(model, X, y):
        firsts = [row[0] for row in X.to_lists()]
        rows = [row[:-1] for row in X.to_lists()]
        return answer / np.mean(model.rank_targets(rows, firsts))

    chosen = small(repeats="auto", scoring=scoring).fit(returning())
    assert chosen.resolved_params_["repeats"] is (answer > 0)


def test_auto_trains_once_where_no_item_returns(monkeypatch):
    monkeypatch.setattr(_fitting, "few_held_out", None)  # would fail when called
    model = small(repeats="auto").fit(never_returning())
    assert model.resolved_params_["repeats"] is False
    same(model, small(repeats=False).fit(never_returning()), never_returning(20))


def test_auto_needs_sessions_to_hold_out():
    model = small(repeats="auto").fit([[1, 2, 1]])
    assert model.resolved_params_["repeats"] is False


def test_auto_with_targets_and_early_stopping():
    rows = returning()
    X, y = [row[:-1] for row in rows], [row[-1] for row in rows]
    model = small(repeats="auto", max_epochs=10, early_stopping=True).fit(X, y)
    assert model.resolved_params_["repeats"] is True
    assert model.best_validation_score_ > 0


def test_the_paper_has_no_bias():
    model = small(preset="paper", repeats="auto").fit(returning(100))
    assert model.resolved_params_["repeats"] is False
    model = small(preset="paper", repeats=True).fit(returning(100))
    assert model.repeat_bias_ is not None


def test_an_interrupt_while_auto_decides_ends_the_fit(monkeypatch):
    def interrupt(self, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(_trainer._Run, "_steps", interrupt)
    model = CLIPSessionRecommender(max_epochs=20, n_threads=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(returning(100))
    assert not hasattr(model, "item_ids_")


def test_max_time_holds_for_both_fits(monkeypatch):
    plans = []

    def train(model, batches, loss, plan, **options):
        plans.append(plan)
        return _trainer.train(model, batches, loss, plan, **options)

    monkeypatch.setattr(_fitting, "train", train)
    small(repeats="auto", max_epochs=3, max_time=600.0).fit(returning())
    first, second = (plan.max_time for plan in plans)
    assert first == 300.0
    assert 300 < second < 600
    assert [plan.kept for plan in plans] == [False, True]


def test_a_warm_start_learns_the_bias_of_sessions_that_are_new_to_the_network():
    model = small(repeats=True, max_epochs=20, learning_rate=0.05, warm_start=True)
    cold = model.fit(returning()).repeat_bias_
    warm = model.fit(returning()).repeat_bias_
    np.testing.assert_array_equal(warm, cold)


def test_few_of_many_sessions_are_left_out_and_nothing_is_fitted_twice(monkeypatch):
    monkeypatch.setattr(_fitting, "_HELD_OUT", 70)
    seen = []

    def train(model, batches, loss, plan, **options):
        seen.append(batches.counts.sum())
        return _trainer.train(model, batches, loss, plan, **options)

    monkeypatch.setattr(_fitting, "train", train)
    rows = [*returning(900), ["only", "here"], ["only", "once"], ["here", "once"]]
    rows = [[str(item) for item in row] for row in rows]
    model = small(repeats="auto").fit(rows)
    assert len(seen) == 1
    n_prefixes = sum(len(row) - 1 for row in rows)
    assert n_prefixes - 100 < seen[0] < n_prefixes - 40
    assert model.resolved_params_["repeats"] is True


def test_held_out_sessions_have_no_item_of_their_own_and_their_users_are_new():
    rows = [*returning(300), *([n, n + 1, n] for n in range(100, 200, 2))]
    X = Sessions.from_lists(rows, users=[f"user-{i}" for i in range(len(rows))])
    coded = training_data(X)
    data = first_fit_data(coded, None, {"user"}, lambda c, rows: (rows, None), 50)
    part, (held_out, _) = few_held_out(data, 0.5, 50, 0, 10**6)
    learned = set(coded.codes[np.isin(_row_of_event(coded), part.rows)].tolist())
    assert learned == set(coded.codes.tolist())
    assert len(held_out) + len(part.rows) == len(rows)
    assert not set(held_out.users) & set(part.owners.users.item_ids)


def _row_of_event(coded):
    return np.repeat(np.arange(coded.n_sessions), np.diff(coded.offsets))


@pytest.mark.parametrize(
    "params",
    [
        {"prompt": "user"},
        {"prompt": ("cluster", "session")},
        {"unseen_items": "vote"},
        {"max_session_length": 2},
        {"loss": "bpr"},
        {"item_features": {item: [item, 1.0] for item in range(N_ITEMS)}},
    ],
    ids=lambda params: next(iter(params)),
)
def test_a_bias_with_other_parameters(params, tmp_path):
    rows = returning(200)
    X = Sessions.from_lists(rows, users=[f"u{i % 30}" for i in range(len(rows))])
    model = small(repeats=True, **params).fit(X)
    assert model.repeat_bias_[1, 0] > model.repeat_bias_[0, 0]
    skclip.save(model, tmp_path / "model")
    same(skclip.load(tmp_path / "model"), model, X[:20])
    model.partial_fit(X[:20])
    assert model.repeat_bias_ is not None


def test_a_resumed_fit_has_the_same_bias(tmp_path):
    path = tmp_path / "run"
    whole = small(repeats="auto", max_epochs=6).fit(returning())
    cut = small(repeats="auto", max_epochs=6, checkpoint=path)

    def stop(run, epoch):
        if epoch == 4 and run.plan.kept:
            raise RuntimeError("power cut")
        return steps(run, epoch)

    steps = _trainer._Run._steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_trainer._Run, "_steps", stop)
        with pytest.raises(RuntimeError, match="power cut"):
            cut.fit(returning())
    assert path.exists()
    same(cut.fit(returning()), whole, returning(20))


def test_a_backbone_that_scores_repeats_itself():
    with pytest.raises(ValueError, match="repeats=True, but TAGNN has its own"):
        small("tagnn", repeats=True).fit(returning(50))
    model = small("tagnn", repeats="auto").fit(returning(50))
    assert model.resolved_params_["repeats"] is False


def test_before_fit():
    with pytest.raises(AttributeError, match="after fit"):
        _ = small().repeat_bias_


def test_few_held_out_clicks_decide_nothing():
    few = [row[:2] + row[:1] for row in returning(60)]  # six sessions are held out
    assert small(repeats="auto").fit(few).resolved_params_["repeats"] is False
    assert small(repeats=True).fit(few).resolved_params_["repeats"] is True


def test_a_bias_without_anything_to_learn_it_from_is_told():
    with pytest.warns(UserWarning, match="repeats=True learns a bias from held-out"):
        model = small(repeats=True).fit([[1, 2, 1], [2, 1]])
    assert model.repeat_bias_ is None


def test_the_latest_sessions_are_held_out_where_times_are_known():
    rows = returning(100)
    begins = 100 * np.random.default_rng(0).permutation(100)
    clicks = pd.DataFrame(
        [
            (session, item, begin + place)
            for session, (row, begin) in enumerate(zip(rows, begins, strict=True))
            for place, item in enumerate(row)
        ],
        columns=["session", "item", "time"],
    )
    columns = {name: name for name in clicks}
    coded = training_data(Sessions.from_events(clicks, **columns))
    data = first_fit_data(coded, None, set(), lambda c, rows: (rows, None), 50)
    part, held_out = few_held_out(data, 0.2, 50, 0, 10**6)
    assert len(held_out[0]) == 20
    assert coded.end_times[part.rows].max() < np.sort(coded.end_times)[-20]
