"""The recommender and the clusterer are found wherever they stand."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

import skclip
from skclip import PopularityRecommender, SessionClusterer, VotingRecommender
from skclip._inside import (
    clusterer_inside,
    estimators_inside,
    recommender_inside,
    unwrap,
)

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
    for look in (recommender_inside, lambda holder: skclip.predict_topk(holder, X)):
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
