"""CandidateRanker: features against loops, what is learned from what, order, errors."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from common import small
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import skclip
from skclip import (
    SLIST,
    CandidateRanker,
    MarkovRecommender,
    MMRReranker,
    PopularityRecommender,
    SessionClusterer,
    SessionKNN,
    Sessions,
)
from skclip.controls import OneCluster
from skclip.exceptions import TrainingWarning
from skclip.features import ItemFeatures
from skclip.metrics import SessionScorer
from skclip.rerank._candidates import places_by

TREE = DecisionTreeClassifier(max_depth=4)


def ranker(estimator, classifier=TREE, **params):
    params = {"n_candidates": 50, "random_state": 0} | params
    return CandidateRanker(estimator, classifier, **params)


@pytest.fixture(scope="module")
def model(train):
    return ranker(SessionKNN()).fit(train)


class ByColumn(ClassifierMixin, BaseEstimator):
    """A classifier that keeps what it is fitted on, and answers with a column."""

    def __init__(self, column=0, sign=1.0):
        self.column = column
        self.sign = sign

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return self.sign * X[:, self.column]


# -- features --------------------------------------------------------------------------


def naive_features(model, session, train, clusters):
    """All features of the candidates of a session, by loops over raw ids."""
    base, n = model.estimator_, model.n_candidates
    rows, ids = train.to_lists(), base.item_ids_.tolist()
    scores = base.decision_function([session])[0]
    order = np.argsort(-scores, kind="stable")
    if n < len(order):
        order = [i for i in order[:n] if scores[i] > scores[order[n]]]
    low, high = scores[order[-1]], scores[order[0]]
    flat = [item for row in rows for item in row]
    steps = [pair for row in rows for pair in zip(row, row[1:], strict=False)]
    known = [item for item in session if item in ids]
    last = known[-1] if known else None
    n_after = max(1, sum(a == last for a, _ in steps))
    ends = {i: max((t for r, t in zip(rows, train.end_times, strict=True) if i in r),
                   default=train.end_times.min()) for i in ids}  # fmt: skip
    for i in order:
        item, backwards = ids[i], session[::-1]
        where = backwards.index(item) if item in session else None
        yield [
            scores[i],
            (scores[i] - low) / (high - low),
            (scores >= scores[i]).sum(),
            0 if where is None else 1 / (1 + where),
            session.count(item),
            len(session),
            sum(pair == (last, item) for pair in steps) / n_after,
            last is not None and clusters.get(item) == clusters.get(last),
            np.log((flat.count(item) + 1) / (len(flat) + len(ids))),
            (train.end_times.max() - ends[item]) / 86400,
            clusters.get(item, -1),
        ]


@pytest.mark.parametrize("refit", [True, False])
def test_features_are_those_of_the_definition(train, test, refit):
    """Clusters come from the early sessions alone, all else from all with `refit`."""
    n_early = round(0.8 * len(train))
    own = SessionClusterer(random_state=3)
    model = ranker(MarkovRecommender(), n_candidates=10, clusterer=own, refit=refit)
    model.fit(train)
    clusterer = clone(own).fit(train[:n_early])
    ids = clusterer.item_ids_.tolist()
    clusters = dict(zip(ids, clusterer.membership_.tolist(), strict=True))
    known = train if refit else train[:n_early]
    again = [*test[3].tolist()[:3], "new", test[3].tolist()[0]]
    for session in (again, ["new"], test[0].tolist()[:1]):
        target = model.predict([session])
        features, labels, rows = model.candidate_features([session], target)
        expected = list(naive_features(model, session, known, clusters))
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
        assert labels.tolist() == [1] + [0] * (len(expected) - 1)
        assert (rows == 0).all()
    assert len(model.feature_names_) == features.shape[1]


def test_names_of_features(train, fitted):
    plain = Sessions(train.codes, train.offsets, train.vocabulary)
    frame = pd.DataFrame({"price": 1.0, "new": 0.0}, index=train.vocabulary)
    over_network = ranker(fitted, item_columns=frame, prefit=True).fit(train)
    names = over_network.feature_names_.tolist()
    without = ranker(SessionKNN()).fit(plain).feature_names_.tolist()
    assert names[-2:] == ["price", "new"]
    assert set(names) - set(without) == {
        "similarity_to_last", "days_since_click", "price", "new"}  # fmt: skip
    columns = ItemFeatures(train.vocabulary, np.zeros((len(train.vocabulary), 1)))
    own = ranker(SessionKNN(), item_columns=columns).fit(plain).feature_names_
    assert own.tolist() == [*without, "item_0"]


def test_similarity_to_the_last_item(fitted, train, test):
    model = ranker(fitted, prefit=True).fit(train)
    at = model.feature_names_.tolist().index("similarity_to_last")
    session = test[0].tolist()[:2]
    features, _, _ = model.candidate_features([session], model.predict([session]))
    vectors = fitted.item_vectors_
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = fitted.item_ids_.tolist()
    items = fitted.predict_topk([session], k=len(features))[0]
    expected = [vectors[ids.index(i)] @ vectors[ids.index(session[-1])] for i in items]
    np.testing.assert_allclose(features[:, at], expected, atol=1e-5)


# -- what is learned -------------------------------------------------------------------


def test_the_base_has_not_seen_what_the_classifier_learns_from(train, monkeypatch):
    fits = []
    own_fit = MarkovRecommender.fit

    def fit(self, X, y=None):
        fits.append(X)
        return own_fit(self, X, y)

    monkeypatch.setattr(MarkovRecommender, "fit", fit)
    order = np.random.default_rng(0).permutation(len(train))
    model = ranker(MarkovRecommender(), ByColumn(), n_negatives=None)
    model.set_params(held_out_fraction=0.3).fit(train[order])
    early, everything = fits
    assert (len(early), len(everything)) == (350, 500)
    assert early.end_times.max() <= np.sort(train.end_times)[350]
    late = train[np.argsort(train.end_times, kind="stable")[350:]]
    n_targets = (late.lengths - 1).sum()
    base = own_fit(MarkovRecommender(), early)
    hits = (base.rank_targets(late) <= 50).sum()
    assert abs(model.classifier_.y_.sum() - hits) <= 0.02 * hits  # but for ties at 50
    assert model.candidate_recall_ == model.classifier_.y_.sum() / n_targets


def test_negatives_and_targets_are_drawn(train):
    def learned(**params):
        return ranker(MarkovRecommender(), ByColumn(), **params).fit(train).classifier_

    all_of_them, some = learned(n_negatives=None), learned(n_negatives=3)
    assert some.y_.sum() == all_of_them.y_.sum()
    n = len(some.y_) / some.y_.sum() - 1
    assert 2.5 < n <= 3
    pairs = {row.tobytes() for row in all_of_them.X_}
    assert all(row.tobytes() in pairs for row in some.X_)
    np.testing.assert_array_equal(
        all_of_them.X_[all_of_them.y_ == 1], some.X_[some.y_ == 1]
    )
    few = learned(max_targets=40)
    assert 0 < few.y_.sum() <= 40


def test_targets_in_y(train, test):
    X, y = train.to_prefixes()
    model = ranker(SessionKNN()).fit(X, y)
    assert model.score(*test.to_prefixes()) > 0.5 * model.estimator_.score(test)


def test_it_helps_where_the_base_is_blind(train, test):
    """Popularity knows candidates only; the features say what follows the last item."""
    model = ranker(PopularityRecommender(), n_candidates=80).fit(train)
    assert model.score(test) > 2 * model.estimator_.score(test)


def test_nothing_to_learn_is_told():
    X = [[str(i), f"{i}+"] for i in range(20)]
    with pytest.warns(TrainingWarning, match="items of the latest 4 sessions"):
        model = ranker(MarkovRecommender()).fit(X)
    assert model.classifier_ is None
    assert model.candidate_recall_ == 0
    base = MarkovRecommender().fit(X)
    np.testing.assert_array_equal(model.decision_function(X), base.decision_function(X))
    with pytest.warns(TrainingWarning, match="or a larger held_out_fraction"):
        ranker(MarkovRecommender()).fit([["a", "b"]])


def test_prefit_and_no_refit_keep_the_base(train, test):
    base = SessionKNN().fit(train[:400])
    model = ranker(base, prefit=True).fit(train)
    other = ranker(SessionKNN(), refit=False).fit(train)
    assert model.estimator_ is base
    np.testing.assert_array_equal(
        other.estimator_.decision_function(test), base.decision_function(test)
    )
    assert clone(model).estimator is base


# -- order -----------------------------------------------------------------------------


def test_candidates_are_in_the_order_of_the_classifier(train, test):
    names = ranker(SessionKNN()).fit(train).feature_names_.tolist()
    by_popularity = ByColumn(names.index("log_popularity"))
    model = ranker(SessionKNN(), by_popularity, n_candidates=15).fit(train)
    popular = PopularityRecommender().fit(train).decision_function([[]])[0]
    base = model.estimator_
    for row in test.to_lists()[:30]:
        scores = base.decision_function([row])[0]
        order = np.argsort(-scores, kind="stable")
        own = [i for i in order[:15] if scores[i] > scores[order[15]]]
        own.sort(key=lambda i: -popular[i])  # stable: then in the order of the base
        expected = [*own, *order[len(own) :]]
        found = model.predict_topk([row], k=len(scores))[0]
        assert found.tolist() == base.item_ids_[expected].tolist()


def test_the_score_of_the_base_changes_nothing(train, test):
    """Ties stay ties, so ranks are those of the base, too."""
    for base in (MarkovRecommender(backoff=None), SessionKNN()):
        model = ranker(base, ByColumn(0), n_candidates=10).fit(train)
        base = model.estimator_
        np.testing.assert_array_equal(model.rank_targets(test), base.rank_targets(test))
        np.testing.assert_array_equal(model.predict_topk(test), base.predict_topk(test))


def test_places_of_equal_values():
    values = np.array([[0.5, 0.9, 0.5, 0.5, -np.inf]])
    base = np.array([[4.0, 3.0, 2.0, 2.0, 1.0]])
    assert places_by(values, base).tolist() == [[1, 0, 2, 2, 4]]


def test_a_rank_is_the_place_in_the_list(train, test):
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    model = ranker(SessionKNN(), logistic).fit(train)
    X, y = test.to_prefixes()
    items, scores = model.predict_topk(X, k=20, return_scores=True)
    hits = items == y[:, None]
    places = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    ranks = model.rank_targets(X, y)
    own = np.where(hits, scores, -np.inf).max(axis=1)
    alone = ((scores == own[:, None]).sum(axis=1) == 1) & (scores[:, 19] < own)
    assert alone.sum() > 0.5 * len(y)
    np.testing.assert_array_equal(ranks[alone], places[alone])


def test_filters_act_before(model, test):
    X = test[:30]
    items = model.predict_topk(X, k=10, exclude_seen=True, deny=["item-001"])
    base = model.estimator_.predict_topk(X, k=50, exclude_seen=True, deny=["item-001"])
    for row, ours, theirs in zip(X.to_lists(), items, base, strict=True):
        assert not set(ours) & {*row, "item-001"}
        assert set(ours) <= set(theirs)


# -- classifiers, parameters, state ----------------------------------------------------


def test_any_classifier(train, test):
    for classifier in (
        LinearSVC(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=5),
        GridSearchCV(TREE, {"max_depth": [2, 3]}, cv=2),
    ):
        model = ranker(PopularityRecommender(), classifier).fit(train)
        assert model.score(test) > model.estimator_.score(test)


def test_default_classifier_has_nested_parameters(train, test, tmp_path):
    model = CandidateRanker(SessionKNN(), random_state=0)
    assert model.get_params()["classifier__max_iter"] == 100
    assert model.get_params()["clusterer__resolution"] == 1.0
    model.set_params(classifier__max_iter=4, clusterer__resolution=2.0).fit(train)
    assert model.classifier_.n_iter_ == 4
    again = clone(model).fit(train)
    np.testing.assert_array_equal(
        again.decision_function(test), model.decision_function(test)
    )
    copy = joblib.load(joblib.dump(model, tmp_path / "model")[0])
    np.testing.assert_array_equal(copy.predict_topk(test), model.predict_topk(test))
    with pytest.raises(TypeError, match=r"joblib\.dump"):
        skclip.save(model, tmp_path / "other")


def test_in_a_search(train):
    grid = {"classifier__max_depth": [1, 4], "estimator__n_neighbors": [20, 60]}
    search = GridSearchCV(
        ranker(SessionKNN()), grid, cv=2, scoring=SessionScorer("mrr@20")
    )
    search.fit(train)
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    assert skclip.predict_topk(search, [["item-003"]], 3).shape == (1, 3)


def test_importance_of_features(model, test):
    features, labels, rows = model.candidate_features(test)
    assert labels.sum() == len(np.unique(rows))
    found = permutation_importance(
        model.classifier_, features, labels, scoring="average_precision", n_repeats=2
    )
    assert len(found.importances_mean) == len(model.feature_names_)
    assert found.importances_mean.max() > 0


def test_over_a_pipeline_and_below_mmr(train, test):
    pipe = make_pipeline(SessionClusterer(random_state=0), SessionKNN())
    model = ranker(pipe, n_candidates=30).fit(train)
    alone = ranker(SessionKNN(), n_candidates=30).fit(train)
    np.testing.assert_array_equal(
        model.decision_function(test), alone.decision_function(test)
    )
    mmr = MMRReranker(ranker(SessionKNN()), random_state=0).fit(train)
    assert np.isfinite(mmr.score(test))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"classifier": Ridge()}, TypeError, "Ridge, which has neither predict_proba"),
        ({"classifier": "trees"}, ValueError, "'classifier' parameter"),
        ({"n_candidates": 1}, ValueError, "'n_candidates' parameter"),
        ({"held_out_fraction": 1.0}, ValueError, "'held_out_fraction' parameter"),
        ({"n_negatives": 0}, ValueError, "'n_negatives' parameter"),
        ({"clusterer": SessionKNN()}, TypeError, "SessionKNN has no membership_"),
        ({"item_columns": {"a": [1]}}, ValueError, "no row for 7. of 7. items"),
        ({"item_columns": 3}, ValueError, "'item_columns' parameter"),
        (
            {"classifier": SessionKNN()},
            TypeError,
            "SessionKNN, which is or contains",
        ),
        (
            {"classifier": make_pipeline(StandardScaler(), SLIST())},
            TypeError,
            "contains",
        ),
        (
            {"item_columns": {"a": ["x"]}},
            ValueError,
            r"columns has shape \(1, 1\)",
        ),
        (
            {"item_columns": {"a": [1], "b": [1, 2]}},
            ValueError,
            "columns have dif",
        ),
        ({"item_columns": {"a": [np.nan]}}, ValueError, "(?s)of item_columns.*Fill"),
        ({"item_columns": {"a": [1]}}, ValueError, "^item_columns has no row for 7"),
        ({"estimator": SessionClusterer()}, TypeError, "SessionClusterer"),
    ],
    ids=str,
)
def test_bad_parameters(params, error, message, train):
    with pytest.raises(error, match=message):
        ranker(SessionKNN()).set_params(**params).fit(train)


class NeverFitted(SessionKNN):
    def fit(self, X, y=None):
        raise AssertionError("fitted before its input was checked")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"item_columns": {"a": [1.0]}}, "item_columns has no row"),
        ({"clusterer": SessionKNN()}, "no membership_"),
        ({"estimator": LogisticRegression()}, "Regression holds no recommender with"),
    ],
)
def test_wrong_parameters_are_refused_before_the_base_is_fitted(params, message, train):
    with pytest.raises((TypeError, ValueError), match=message):
        ranker(NeverFitted()).set_params(**params).fit(train)


def test_items_that_the_base_leaves_out_need_no_row(train):
    rare = Sessions.from_lists([*train.to_lists()[:60], ["rare", train.vocabulary[0]]])
    columns = {item: [1.0] for item in train.vocabulary.tolist()}
    base = small("stamp", min_item_count=2, max_epochs=1)
    model = ranker(base, item_columns=columns, n_candidates=5).fit(rare)
    assert "rare" not in model.item_ids_


@pytest.mark.parametrize("name", ["score", "cluster", "similarity_to_last"])
def test_names_of_columns_are_not_those_of_other_features(name, train):
    frame = pd.DataFrame({"price": 1.0, name: 0.0}, index=train.vocabulary)
    with pytest.raises(ValueError, match=f"has a column '{name}', but another"):
        ranker(SessionKNN(), item_columns=frame).fit(train)
    frame.columns = ["price", "price"]
    with pytest.raises(ValueError, match="has a column 'price', but another"):
        ranker(SessionKNN(), item_columns=frame).fit(train)


def test_a_frame_without_ids_as_its_index(train):
    frame = pd.DataFrame({"price": np.ones(len(train.vocabulary))})
    with pytest.raises(ValueError, match="set the item ids as its index"):
        ranker(SessionKNN(), item_columns=frame).fit(train)
    frame.index = [*train.vocabulary[1:], np.nan]
    with pytest.raises(ValueError, match=r"item_columns\.index\[\d+\] is nan"):
        ranker(SessionKNN(), item_columns=frame).fit(train)


def test_why_there_is_nothing_to_learn(train):
    short, pairs = [["a"], ["b"]], [["a", "b"], ["b", "a"]]
    popular = [["a", "b"]] * 8 + [["a", "c"]] * 2
    base = PopularityRecommender().fit(train)
    for estimator, X, params, message in (
        (SessionKNN(), pairs * 5, {"held_out_fraction": 0.99}, "a smaller held_out_f"),
        (SessionKNN(), pairs, {}, "a larger held_out_fraction"),
        (SessionKNN(), pairs * 4 + short, {}, "of the latest 2 sessions has 2 items"),
        (base, pairs * 5, {"prefit": True}, "catalog.*sessions with items of the base"),
        (SessionKNN(), [["a", "a"]] * 5, {}, "All candidates .* are targets"),
        (PopularityRecommender(), [*popular, *[["c", "c"]] * 3], {"n_candidates": 2},
         "None of the 3 targets .* or a larger n_candidates"),
    ):  # fmt: skip
        with pytest.warns(TrainingWarning, match=f"^The classifier has .*{message}"):
            model = ranker(estimator, **params).fit(X)
        assert model.classifier_ is None


def test_sessions_without_a_transition_are_counted(train):
    with pytest.raises(ValueError, match="2 of 3 sessions are not held out, and none"):
        ranker(MarkovRecommender()).fit([["a"], ["b"], ["a"]])


def test_a_fit_that_fails_changes_nothing(train):
    class Failing(ByColumn):
        def fit(self, X, y):
            raise KeyboardInterrupt

    model = ranker(MarkovRecommender()).fit(train)
    fresh, before = clone(model), vars(model).copy()
    for some in (model, fresh):
        with pytest.raises(ValueError, match="empty"):
            some.fit([[]])
        some.set_params(classifier=Failing())
        with pytest.raises(KeyboardInterrupt):
            some.fit(train)
        some.set_params(classifier=TREE)
    assert {k: v for k, v in vars(model).items() if k != "classifier"} == {
        k: v for k, v in before.items() if k != "classifier"
    }
    assert not hasattr(fresh, "classifier_")


def test_sessions_without_any_time(train):
    times = np.full(train.n_events, np.nan)
    X = Sessions(train.codes, train.offsets, train.vocabulary, times=times)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ranker(MarkovRecommender()).fit(X)
    assert "days_since_click" not in model.feature_names_
    plain = ranker(MarkovRecommender()).fit(train.to_lists())
    np.testing.assert_array_equal(
        model.predict_topk(X[:50]), plain.predict_topk(X[:50])
    )


def test_one_cluster_switches_clusters_off(train):
    model = ranker(SessionKNN(), ByColumn(), clusterer=OneCluster()).fit(train)
    at = model.feature_names_.tolist().index("cluster")
    assert set(model.classifier_.X_[:, at]) == {0}
