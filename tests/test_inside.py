"""The recommender and the clusterer are found wherever they stand."""

import pickle

import numpy as np
import pytest
from common import same, small
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

import skclip
from skclip import (
    SLIST,
    PopularityRecommender,
    SequentialRules,
    SessionClusterer,
    SessionKNN,
    VotingRecommender,
)
from skclip._inside import (
    clusterer_inside,
    estimators_inside,
    recommender_inside,
    unwrap,
)
from skclip.controls import RandomClusters

X = [["a", "b"], ["b", "c"], ["b"], ["c", "a"]]


class DropFirst(TransformerMixin, BaseEstimator):
    """A step that shows how often it was applied."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return [row[1:] for row in X]


def search_over(estimator, name):
    grid = {f"{name}scoring": ["mrr@1", "mrr@2"]}
    return GridSearchCV(estimator, grid, cv=2)


ROW = list("abcd")
PIPE = make_pipeline(DropFirst(), PopularityRecommender())
HOLDERS = {
    "bare": (PopularityRecommender(), ROW),
    "pipeline": (PIPE, ROW[1:]),
    "nested": (make_pipeline(DropFirst(), PIPE), ROW[2:]),
    "search": (search_over(PIPE, "popularityrecommender__"), ROW[1:]),
    "search as a step": (
        make_pipeline(DropFirst(), search_over(PopularityRecommender(), "")),
        ROW[1:],
    ),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", HOLDERS)
def test_the_recommender_is_reached_and_each_step_applied_once(name, frozen):
    holder, left = clone(HOLDERS[name][0]), HOLDERS[name][1]
    assert isinstance(unwrap(holder, None)[0], PopularityRecommender)
    with pytest.raises(NotFittedError):
        recommender_inside(holder)
    fitted = holder.fit([["x", *row] for row in X])
    fitted = FrozenEstimator(fitted) if frozen else fitted
    recommender, rows = unwrap(fitted, [ROW])
    assert rows == [left]
    assert recommender_inside(fitted).item_ids_ is recommender.item_ids_
    np.testing.assert_array_equal(
        skclip.predict_topk(fitted, [ROW], 2), recommender.predict_topk([left], 2)
    )


@pytest.mark.parametrize(
    "holder",
    [SessionClusterer(), make_pipeline(SessionClusterer()), Pipeline([("s", "drop")]),
     "narm"],
)  # fmt: skip
def test_what_holds_no_recommender_says_so(holder):
    for look in (
        recommender_inside,
        lambda holder: skclip.predict_topk(holder, X),
        lambda holder: skclip.partial_fit(holder, X),
    ):
        with pytest.raises(TypeError, match="holds no recommender with predict_topk"):
            look(holder)


def test_the_clusterer_is_a_step_or_the_own_one(fitted):
    assert clusterer_inside(fitted) is fitted.clusterer_
    step = SessionClusterer(random_state=0)
    assert clusterer_inside(step) is None
    pipe = make_pipeline(step, PopularityRecommender()).fit(X)
    assert clusterer_inside(pipe) is clusterer_inside(step) is step
    assert clusterer_inside(make_pipeline(step, fitted)) is fitted.clusterer_
    assert clusterer_inside(pipe[-1]) is None


def test_fitted_copies_stand_in_for_what_was_passed():
    """An ensemble learned from X alone, although its member was fitted before."""
    member = PopularityRecommender().fit([["z", "z"]])
    voting = VotingRecommender([("m", member)]).fit(X)
    inside = list(estimators_inside(voting))
    assert voting.estimators_[0] in inside
    assert member not in inside


# -- partial_fit -----------------------------------------------------------------------

MORE = [["c", "d"], ["d", "c", "b"], ["a", "d"]]


def behind(rows):
    """Rows whose first item each step drops."""
    return [["x", *row] for row in rows]


@pytest.mark.parametrize("name", HOLDERS)
def test_further_sessions_reach_the_recommender_through_each_step(name):
    holder = clone(HOLDERS[name][0]).fit(behind(X))
    assert skclip.partial_fit(holder, behind(MORE)) is holder
    whole = recommender_inside(clone(holder).fit(behind(X + MORE)))
    updated = recommender_inside(holder)
    counts, expected = (
        dict(zip(model.item_ids_, model.item_counts_, strict=True))
        for model in (updated, whole)
    )
    assert counts == expected
    frozen = FrozenEstimator(holder)
    with pytest.raises(TypeError, match="is frozen, so it cannot be updated. Pass"):
        skclip.partial_fit(frozen, behind(MORE))
    assert recommender_inside(frozen).item_counts_ is updated.item_counts_
    if hasattr(holder, "steps"):
        holder.steps[-1] = ("last", FrozenEstimator(holder[-1]))
        with pytest.raises(TypeError, match="is frozen"):
            skclip.partial_fit(holder, behind(MORE))


def test_further_targets_are_learned():
    pipe = make_pipeline(SessionClusterer(random_state=0), SequentialRules())
    pipe.fit([["a", "b"], ["b", "c"]], ["c", "d"])
    skclip.partial_fit(pipe, [["a", "d"]], ["b"])
    whole = clone(pipe).fit([["a", "b"], ["b", "c"], ["a", "d"]], ["c", "d", "b"])
    same(pipe[-1], whole[-1], X)
    assert pipe[0].graph_.sum() == whole[0].graph_.sum() == 6  # 3 transitions to y


@pytest.mark.parametrize("name", ["pipeline", "nested", "search as a step"])
def test_a_pipeline_that_is_not_fitted_is_fitted(name):
    holder = clone(HOLDERS[name][0])
    expected = recommender_inside(clone(holder).fit(behind(X)))
    found = recommender_inside(skclip.partial_fit(holder, behind(X)))
    same(found, expected, [ROW])
    failing = clone(holder)
    with pytest.raises((TypeError, ValueError)):
        skclip.partial_fit(failing, [["a", None]])
    with pytest.raises(NotFittedError):
        recommender_inside(failing)


@pytest.mark.parametrize("refit", [True, False])
def test_a_search_without_a_best_estimator_says_so(refit):
    search = search_over(PopularityRecommender(), "").set_params(refit=refit)
    if not refit:
        search.fit(X)
    for holder in (search, make_pipeline(DropFirst().fit(X), search)):
        if refit and holder is not search:
            continue  # a pipeline that is not fitted is fitted
        with pytest.raises(NotFittedError, match="no best_estimator_.*refit=True"):
            skclip.partial_fit(holder, X)


def test_a_search_keeps_its_scores():
    search = search_over(PopularityRecommender(), "").fit(X)
    score, best = search.best_score_, search.best_estimator_
    skclip.partial_fit(search, MORE)
    assert search.best_score_ == score
    assert search.best_estimator_ is not best
    assert best.item_ids_.tolist() == ["a", "b", "c"]


def test_nothing_has_changed_where_a_step_fails(shop):
    sessions, _ = shop
    pipe = make_pipeline(SessionClusterer(random_state=0), SessionKNN("stan"))
    nested = make_pipeline("passthrough", pipe).fit(sessions.to_lists())
    steps, file = list(pipe.steps), pickle.dumps(nested)
    for holder in (pipe, nested):
        with pytest.raises(ValueError, match="fitted on sessions without times"):
            skclip.partial_fit(holder, sessions)
    assert pipe.steps == steps
    for (_, now), (_, then) in zip(pipe.steps, steps, strict=True):
        assert now is then
    assert pickle.dumps(nested) == file


def test_clusters_move_only_if_they_can():
    random = RandomClusters(random_state=0)
    pipe = make_pipeline(random, PopularityRecommender()).fit(X)
    with pytest.raises(TypeError, match="RandomClusters has no partial_fit.*Frozen"):
        skclip.partial_fit(pipe, MORE)
    pipe.steps[0] = ("frozen", FrozenEstimator(pipe[0]))
    skclip.partial_fit(pipe, MORE)
    assert pipe[0].item_ids_.tolist() == ["a", "b", "c"]
    assert pipe[1].item_ids_.tolist() == ["a", "b", "c", "d"]

    inner = make_pipeline(DropFirst(), SessionClusterer(random_state=0))
    pipe = make_pipeline(inner, "passthrough", PopularityRecommender()).fit(behind(X))
    skclip.partial_fit(pipe, behind(MORE))
    for part in (pipe[0][1], pipe[-1]):
        assert part.item_ids_.tolist() == ["a", "b", "c", "d"]


def test_models_without_partial_fit_are_named():
    for model in (SLIST(), make_pipeline(SessionClusterer(), SLIST()).fit(X)):
        with pytest.raises(TypeError, match="SLIST has no partial_fit. Fit it again"):
            skclip.partial_fit(model, X)


def test_a_clusterer_before_the_recommender_is_one_inside_it(train):
    """Clusters keep their numbers, and prompts go on with what they were."""
    further = [*train[400:].to_lists(), [*train.vocabulary.tolist(), "new-1", "new-2"]]
    clusterer = SessionClusterer(random_state=0)
    pipe = make_pipeline(clone(clusterer), small()).fit(train[:400])
    alone = small(clusterer=clone(clusterer)).fit(train[:400])
    same(pipe[-1], alone, pipe[0].transform(train[:20]))
    skclip.partial_fit(pipe, further)
    alone.partial_fit(further)
    np.testing.assert_array_equal(pipe[0].levels_, alone.clusterer_.levels_)
    same(pipe[-1], alone, train[:20])
