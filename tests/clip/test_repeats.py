"""Items of the session itself: `repeats` of the recommender."""

import joblib
import numpy as np
import pytest
from common import same, small

import skclip
from skclip import CLIPSessionRecommender
from skclip._clip import _fitting
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
    model = small(backbone, loss=loss, repeats=True).fit(returning(200))
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
    from skclip._training import _trainer

    def interrupt(self, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(_trainer._Run, "_steps", interrupt)
    model = CLIPSessionRecommender(max_epochs=20, n_threads=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(returning(100))
    assert not hasattr(model, "item_ids_")


def test_max_time_holds_for_all_of_the_fit():
    model = small(repeats="auto", max_epochs=1000, max_time=2.0)
    model.fit(returning())
    assert model.n_iter_ < 1000


def test_a_backbone_that_scores_repeats_itself():
    with pytest.raises(ValueError, match="repeats=True, but TAGNN scores"):
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
    with pytest.warns(UserWarning, match="repeats=True needs held-out sessions"):
        model = small(repeats=True).fit([[1, 2, 1], [2, 1]])
    assert model.repeat_bias_ is None
