"""MMRReranker: the order against a loop, the list around it, similarities, errors."""

import warnings
from copy import copy as shallow_copy

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from common import small
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import (
    CandidateRanker,
    LLMReranker,
    MarkovRecommender,
    MMRReranker,
    PopularityRecommender,
    SessionClusterer,
    SessionKNN,
)
from skclip.controls import OneCluster
from skclip.exceptions import UnseenItemWarning
from skclip.features import ItemFeatures
from skclip.metrics import SessionScorer, cluster_diversity, mrr_at_k
from skclip.rerank import _mmr
from skclip.rerank._lists import Candidates, first_candidates, put_in_order
from skclip.rerank._mmr import mmr_places, relative_places


def answers(model, X):
    items, scores = model.predict_topk(X, k=9, return_scores=True, exclude_seen=True)
    return model.decision_function(X), items, scores, model.rank_targets(X)


def assert_same(model, other, X):
    for ours, theirs in zip(answers(model, X), answers(other, X), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# -- lists of candidates ---------------------------------------------------------------


@given(st.data(), st.integers(1, 9), st.integers(2, 12))
def test_scores_are_given_out_again(data, n_items, n):
    """Against sorting by (place, score of the base): -inf, ties and signs included."""
    value = st.sampled_from([-np.inf, -2.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, 3.5])
    row = data.draw(st.lists(value, min_size=n_items, max_size=n_items))
    scores = torch.tensor([row], dtype=torch.float32)
    before = scores[0].numpy().copy()
    candidates = first_candidates(scores, n)
    own = candidates.columns[0, candidates.valid[0]]
    left = np.setdiff1d(np.arange(n_items), own)
    assert len(own) <= n
    assert before[own].min(initial=np.inf) > before[left].max(initial=-np.inf)
    if len(own) < min(n, n_items):  # -inf, or a tie across the cut
        best = before[left].max()
        assert best == -np.inf or (before == best).sum() > n - len(own)
    places = np.arange(candidates.columns.shape[1])[None]
    groups = data.draw(
        st.lists(st.integers(0, 3), min_size=len(own), max_size=len(own))
    )
    places[0, : len(own)] = [sum(g < own for g in groups) for own in groups]
    put_in_order(scores, candidates, places)
    after = scores[0].numpy()
    np.testing.assert_array_equal(after[left], before[left])
    assert after[own].min(initial=np.inf) > after[left].max(initial=-np.inf)
    order = np.argsort(groups, kind="stable")
    for i, j in zip(order, order[1:], strict=False):
        if groups[i] == groups[j]:
            assert after[own[i]] == after[own[j]]
        else:
            assert after[own[i]] > after[own[j]]


def test_distinct_scores_are_those_of_the_base_in_another_order():
    scores = torch.tensor([[0.5, 4.0, 1.0, 2.0, 3.0]])
    candidates = first_candidates(scores, 3)
    put_in_order(scores, candidates, np.array([[2, 0, 1]]))
    assert scores.tolist() == [[0.5, 2.0, 1.0, 3.0, 4.0]]


def test_relative_scores_and_ranks():
    values = np.array([[6, 4, 4, 2, 1], [3, 3, -np.inf, -np.inf, -np.inf]], np.float32)
    valid = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], dtype=bool)
    candidates = Candidates(np.zeros((2, 5), int), values, valid)
    assert candidates.relative_scores().tolist() == [[1, 0.5, 0.5, 0, 0], [0] * 5]
    assert candidates.ranks()[0, :4].tolist() == [1, 3, 3, 4]
    assert candidates.ranks()[1, :2].tolist() == [2, 2]
    expected = [[1, 2 / 3, 1 / 3, 0, 0], [1, 0, 0, 0, 0]]
    np.testing.assert_allclose(relative_places(candidates.lengths, 5), expected)


# -- the order -------------------------------------------------------------------------


def naive_mmr(relevance, similarity, n, diversity):
    chosen = []
    while len(chosen) < n:
        values = [
            -np.inf
            if i in chosen
            else np.float32(1 - diversity) * relevance[i]
            - np.float32(diversity)
            * max((similarity[i, j] for j in chosen), default=np.float32(0))
            for i in range(n)
        ]
        chosen.append(int(np.argmax(values)))
    return chosen


@pytest.mark.parametrize("diversity", [0.1, 0.5, 1.0])
def test_places_are_those_of_the_definition(diversity):
    rng = np.random.default_rng(0)
    relevance = -np.sort(-rng.random((20, 12), dtype=np.float32), axis=1)
    relevance[5:8] = relevance[5:8].round(1)  # ties
    vectors = rng.normal(size=(20, 12, 4)).astype(np.float32)
    similarity = vectors @ vectors.transpose(0, 2, 1)
    similarity[:, :, 3] = similarity[:, 3] = 0
    lengths = rng.integers(0, 13, size=20)
    valid = np.arange(12) < lengths[:, None]
    places = mmr_places(relevance, similarity, valid, diversity)
    for row, n in enumerate(lengths):
        order = naive_mmr(relevance[row], similarity[row], n, diversity)
        assert np.argsort(places[row])[:n].tolist() == order
        assert sorted(places[row]) == list(range(12))


@pytest.fixture(scope="module")
def mmr(train):
    return MMRReranker(SessionKNN(), diversity=0.4, random_state=0).fit(train)


def test_first_lists_against_the_definition(mmr, train, test):
    """By public methods alone: base scores, clusters, and the loop above."""
    base, X = mmr.estimator_, test[:15]
    assert mmr.similarity_ == "clusters"
    clusterer = SessionClusterer(random_state=0).fit(train)
    assert clusterer.item_ids_.tolist() == mmr.item_ids_.tolist()
    items = mmr.predict_topk(X, k=len(mmr.item_ids_))
    mmr = clone(mmr).set_params(n_candidates=25, relevance="scores").fit(train)
    found = mmr.predict_topk(X, k=len(mmr.item_ids_))
    assert (found != items).any()
    for row, scores in zip(found, base.decision_function(X), strict=True):
        order = np.argsort(-scores, kind="stable")
        n = int((scores > scores[order[25]]).sum())
        own = scores[order[:n]]
        relevance = (own - own[-1]) / (own[0] - own[-1])
        clusters = clusterer.membership_[order[:n]]
        same = (clusters[:, None] == clusters).astype(np.float32)
        chosen = order[naive_mmr(relevance, same, n, 0.4)]
        assert row.tolist() == mmr.item_ids_[[*chosen, *order[n:]]].tolist()


def test_blocks_change_nothing(mmr, test, monkeypatch):
    before = mmr.decision_function(test)
    monkeypatch.setattr(_mmr, "_ROOM", 1)
    monkeypatch.setattr("skclip.rerank._lists._PAIRS", 300)
    np.testing.assert_array_equal(mmr.decision_function(test), before)


def test_a_rank_is_the_place_in_the_list(mmr, test):
    X, y = test.to_prefixes()
    items = mmr.predict_topk(X, k=20)
    ranks = mmr.rank_targets(X, y)
    hits = items == y[:, None]
    places = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    np.testing.assert_array_equal(np.where(ranks <= 20, ranks, np.inf), places)


def test_no_diversity_is_the_base_bit_for_bit(train, test, fitted):
    for base in (SessionKNN().fit(train), fitted):
        mmr = MMRReranker(base, diversity=0, prefit=True, random_state=0).fit(train)
        assert_same(mmr, base, test)
        assert mmr.score(test) == base.score(test)


def test_more_diversity_is_more_diverse(mmr, train, test):
    clusterer = SessionClusterer(random_state=0).fit(train)
    clusters = clusterer.item_ids_, clusterer.membership_
    mmr = MMRReranker(mmr.estimator_, prefit=True, random_state=0).fit(train)
    found = [
        cluster_diversity(mmr.set_params(diversity=d).predict_topk(test, 10), *clusters)
        for d in (0.0, 0.2, 0.5, 0.9)
    ]
    assert found == sorted(found)
    assert found[3] > found[0] + 0.2


def test_filters_act_before(mmr, test):
    allowed = mmr.item_ids_[:30].tolist()
    small = MMRReranker(mmr.estimator_, diversity=0.9, n_candidates=5, prefit=True)
    small.set_params(similarity="clusters", random_state=0).fit(test)
    lists = small.predict_topk(test, k=5, allow=allowed)
    base = mmr.estimator_.predict_topk(test, k=6, allow=allowed)
    assert (lists[:, 0] == base[:, 0]).all()
    assert (lists != base[:, :5]).any()
    for ours, theirs in zip(lists, base, strict=True):
        assert set(ours) <= set(theirs[:5]) or len(set(ours) - set(theirs[:5])) <= 1


# -- similarities ----------------------------------------------------------------------


def test_similarities_of_networks_pipelines_and_features(train, test, fitted):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(fitted.item_ids_), 3))
    features = ItemFeatures(fitted.item_ids_, vectors)
    frame = pd.DataFrame(vectors, index=fitted.item_ids_)
    mapping = dict(zip(fitted.item_ids_.tolist(), vectors, strict=True))

    def fit(**params):
        return MMRReranker(fitted, diversity=0.5, prefit=True, **params).fit(train)

    auto = fit()
    assert auto.similarity_ == "vectors"
    assert_same(auto, fit(similarity="vectors"), test)
    own = ItemFeatures(fitted.item_ids_, fitted.item_vectors_)
    assert_same(auto, fit(similarity=own), test)
    assert_same(fit(similarity=features), fit(similarity=frame), test)
    assert_same(fit(similarity=features), fit(similarity=mapping), test)
    assert fit(similarity=features).similarity_ == "features"
    own = fit(similarity=fitted.clusterer_)
    assert_same(fit(similarity="clusters"), own, test)  # the base knows them
    assert_same(fit(similarity=OneCluster()), fitted, test)  # all are alike


def test_clusters_of_the_pipeline_of_the_base(train, test):
    pipe = make_pipeline(SessionClusterer(resolution=3, random_state=1), SessionKNN())
    mmr = MMRReranker(pipe, diversity=0.5).fit(train)
    own = SessionClusterer(resolution=3, random_state=1)
    other = MMRReranker(SessionKNN(), diversity=0.5, similarity=own).fit(train)
    assert mmr.similarity_ == "clusters"
    assert_same(mmr, other, test)


def test_items_without_cluster_or_vector_are_like_none():
    X = [["a", "b"], ["a", "b", "c"], ["a"]]
    features = {"a": [0.0], "b": [0.0], "c": [1.0]}
    mmr = MMRReranker(PopularityRecommender(), diversity=0.9, similarity=features)
    assert mmr.fit(X).predict_topk([["b"]], k=3).tolist() == [["a", "b", "c"]]
    base = PopularityRecommender().fit([*X, ["d", "d"]])
    mmr = MMRReranker(base, diversity=0.9, similarity="clusters", prefit=True)
    assert mmr.fit(X).predict_topk([["b"]], k=4).tolist()[0][:2] == ["a", "d"]


# -- parameters, state, errors ---------------------------------------------------------


def test_in_a_search_and_a_file(train, test, tmp_path):
    grid = {"diversity": [0.0, 0.7], "estimator__n_neighbors": [20, 50]}
    mmr = MMRReranker(SessionKNN(), random_state=0)
    search = GridSearchCV(mmr, grid, cv=2, scoring=SessionScorer("mrr@20")).fit(train)
    assert search.best_params_["diversity"] == 0.0
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    best = search.best_estimator_.set_params(diversity=0.3)
    for copy in (
        joblib.load(joblib.dump(best, tmp_path / "j")[0]),
        save(best, tmp_path),
    ):
        assert_same(copy, best, test)
    features = ItemFeatures(best.item_ids_, np.eye(len(best.item_ids_)))
    own = clone(mmr).set_params(similarity=features).fit(train)
    assert_same(save(own, tmp_path), own, test)


def save(model, folder):
    skclip.save(model, folder / "s")
    return skclip.load(folder / "s")


def test_similar_items_are_those_of_the_base(train):
    pipeline = make_pipeline(SessionClusterer(random_state=0), MarkovRecommender())
    mmr = MMRReranker(pipeline, similarity="clusters", random_state=0)
    with pytest.raises(NotFittedError, match="MarkovRecommender"):
        mmr.similar_items(["item-003"])
    mmr.fit(train)
    ids, base = mmr.item_ids_, mmr.estimator_[-1]
    options = {"k": 4, "return_scores": True, "deny": ids[:3]}
    found, wanted = (model.similar_items(ids, **options) for model in (mmr, base))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not hasattr(MMRReranker(PopularityRecommender()), "similar_items")


def test_nested_parameters_and_clones(train):
    mmr = MMRReranker(SessionKNN(), similarity=SessionClusterer())
    mmr.set_params(estimator__n_neighbors=7, similarity__resolution=2.0)
    assert clone(mmr).estimator.n_neighbors == 7
    assert clone(mmr).similarity.resolution == 2.0
    base = SessionKNN().fit(train)
    prefit = MMRReranker(base, prefit=True)
    assert clone(prefit).estimator is base
    with pytest.raises(ValueError, match="Did you mean 'diversity'"):
        mmr.set_params(diversty=1)


def test_stages_stand_on_each_other(train, test):
    mmr = MMRReranker(SessionKNN(), diversity=0.5, random_state=0)
    twice = MMRReranker(mmr, diversity=0, random_state=0).fit(train)
    assert_same(twice, clone(mmr).fit(train), test)
    titles = {item: item for item in twice.item_ids_.tolist()}
    llm = LLMReranker(mmr, titles, client=print, weight=0.0).fit(train)
    assert_same(llm, twice, test)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"diversity": -0.1}, ValueError, "'diversity' parameter of MMRReranker"),
        ({"diversity": 1.1}, ValueError, "'diversity' parameter"),
        ({"n_candidates": 1}, ValueError, "'n_candidates' parameter"),
        ({"similarity": "titles"}, ValueError, "'similarity' parameter"),
        ({"similarity": 3}, ValueError, "'similarity' parameter"),
        ({"similarity": "vectors"}, TypeError, "SessionKNN has none. Pass simil"),
        ({"similarity": SessionKNN()}, TypeError, "SessionKNN has no membership_"),
        ({"similarity": {"a": [1]}}, ValueError, "no row for 79 of 79 items"),
        ({"relevance": "logits"}, ValueError, "'relevance' parameter"),
        ({"estimator": SessionClusterer()}, TypeError, "SessionClusterer"),
        ({"estimator": LogisticRegression()}, TypeError, "no recommender with predict"),
        ({"similarity": {"a": ["x"]}}, ValueError, r"^similarity has shape \(1, 1\)"),
        ({"similarity": {"a": [1]}}, ValueError, "^similarity has no row"),
        ({"estimator": "knn"}, ValueError, "'estimator' parameter"),
    ],
    ids=str,
)
def test_bad_parameters(params, error, message, train):
    with pytest.raises(error, match=message):
        MMRReranker(SessionKNN()).set_params(**params).fit(train)


def both(base, X):
    classifier = LogisticRegression(C=1e-3)
    yield MMRReranker(base, diversity=0.9, prefit=True, random_state=0).fit(X)
    yield CandidateRanker(base, classifier, prefit=True, random_state=0).fit(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["knn", "popularity", "vote"])
def test_what_is_ranked_by_popularity_stays(kind, train):
    bases = {"knn": SessionKNN(), "popularity": PopularityRecommender()}
    base = bases.get(kind, small("stamp", unseen_items="vote", max_epochs=1))
    base.fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenItemWarning)
        known = train.to_lists()[0][:1]
        X = [[], ["new"], known, ["new", *known]]
        expected = base.predict_topk(X, k=79)
        for model in both(base, train):
            items = model.predict_topk(X, k=79)
            np.testing.assert_array_equal(items[:2], expected[:2])
            assert (items[2:] != expected[2:]).any(axis=1).all()
            twice = MMRReranker(model, diversity=0.9, prefit=True, random_state=0)
            items = twice.fit(train).predict_topk(X, k=79)
            np.testing.assert_array_equal(items[:2], expected[:2])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_filters_that_leave_nothing(train):
    first = train.vocabulary[:1]
    for model in both(SessionKNN().fit(train), train):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for options in ({"allow": []}, {"deny": train.vocabulary}):
                assert (model.predict_topk(train[:3], k=2, **options) == "").all()
            assert model.predict_topk(train[:1], k=1, allow=first).tolist() == [first]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_parameters_are_checked_at_prediction(train):
    mmr, ranker = both(SessionKNN().fit(train), train)
    wrong = {"diversity": [7, -3, np.nan, "a"], "relevance": ["foo"]}
    n_candidates = {"n_candidates": [0, -1, 1, 2.5]}
    for model, params in ((mmr, wrong | n_candidates), (ranker, n_candidates)):
        for name, values in params.items():
            for value in values:
                other = shallow_copy(model).set_params(**{name: value})
                with pytest.raises(ValueError, match=f"'{name}' parameter of"):
                    other.predict_topk(train[:2])
                with pytest.raises(ValueError, match=f"'{name}' parameter of"):
                    MMRReranker(other, prefit=True).fit(train).predict(train[:2])
    with pytest.raises(ValueError, match="'n_candidates' parameter of"):
        other.candidate_features(train)


def test_features_are_checked_before_the_base_is_fitted(train):
    class NeverFitted(SessionKNN):
        def fit(self, X, y=None):
            raise AssertionError("fitted before its input was checked")

    for similarity in ({"a": [1.0]}, {"a": ["x"]}, SessionKNN()):
        with pytest.raises((TypeError, ValueError), match=r"^similarity|membership_"):
            MMRReranker(NeverFitted(), similarity=similarity).fit(train)
    with pytest.raises(TypeError, match="no recommender with predict_topk"):
        LLMReranker(LogisticRegression(), {}, client=print).fit(train)


def test_a_base_that_knows_none_of_the_items(train):
    base = SessionKNN().fit(train)
    with pytest.warns(UnseenItemWarning, match="None of the items") as caught:
        MMRReranker(base, prefit=True, random_state=0).fit([["x", "y"], ["y", "x"]])
    assert len(caught) == 1


def test_a_fit_that_fails_changes_nothing(mmr, test):
    before = vars(mmr).copy()
    for X, y in (([[]], None), (["abc"], None), ([["a"]], ["b", "c"])):
        with pytest.raises((TypeError, ValueError)):
            mmr.fit(X, y)
    mmr.set_params(similarity="vectors")
    with pytest.raises(TypeError, match="has none"):
        mmr.fit([["a", "b"]])
    mmr.set_params(similarity="auto")
    assert vars(mmr) == before
    assert np.isfinite(mmr.score(test))


def test_a_base_that_has_grown_is_named(train):
    base = MarkovRecommender().fit(train)
    mmr = MMRReranker(base, prefit=True, random_state=0).fit(train)
    base.partial_fit([["x", "y"]])
    with pytest.raises(ValueError, match="81 items now, but had 79 when MMRReranker"):
        mmr.predict([["x"]])


def test_frozen_and_quiet(train):
    frozen = FrozenEstimator(SessionKNN().fit(train))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mmr = MMRReranker(frozen, diversity=0.3, random_state=0).fit(train)
        assert mmr.score(train) == mrr_at_k(mmr.rank_targets(train), 20)


def test_more_places_than_candidates(train, test):
    mmr = MMRReranker(small(), diversity=0.9, n_candidates=5).fit(train)
    ours = mmr.predict_topk(test, k=20)
    theirs = mmr.estimator_.predict_topk(test, k=20)
    np.testing.assert_array_equal(ours[:, 5:], theirs[:, 5:])
    np.testing.assert_array_equal(np.sort(ours[:, :5]), np.sort(theirs[:, :5]))
    assert (ours[:, :5] != theirs[:, :5]).any()
