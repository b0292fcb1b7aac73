"""What the simulated sets promise of their truth."""

import numpy as np
import pytest

from skclip import CLIPSessionRecommender, PopularityRecommender, Sessions
from skclip.datasets import (
    make_multi_interest_sessions,
    make_sessions,
    make_titled_sessions,
)


def test_truth_fits_the_sessions(shop):
    X, truth = shop
    assert len(X) == 600
    assert set(X.vocabulary[X.codes]) <= set(truth.item_ids)
    assert (np.diff(X.end_times) >= 0).all()
    assert X.lengths.min() >= 2
    of_event = truth.communities[np.searchsorted(truth.item_ids, X.vocabulary[X.codes])]
    same = np.diff(of_event) == 0
    inside = np.ones(len(same), bool)
    inside[X.offsets[1:-1] - 1] = False
    assert same[inside].mean() > 0.9
    counts = np.bincount(X.codes, minlength=80)
    assert np.corrcoef(np.argsort(np.argsort(-truth.popularity)), counts)[0, 1] < -0.4


def test_habits_and_returns():
    X, truth = make_sessions(5000, 60, p_return=0.3, p_habit=0.5, random_state=0)
    position = {item: i for i, item in enumerate(truth.item_ids)}
    habitual = returns = steps = 0
    for row in X:
        codes = [position[item] for item in row]
        for t in range(1, len(codes)):
            steps += 1
            habitual += codes[t] in truth.habits[codes[t - 1]]
            returns += codes[t] in codes[:t]
    assert habitual / steps > 0.4
    assert returns / steps > 0.3


@pytest.mark.parametrize(
    ("make", "word"), [(make_sessions, "late"), (make_titled_sessions, "cold")]
)
def test_late_items_appear_late_only(make, word):
    options = {f"{word}_share": 0.2, f"{word}_from": 0.7}
    X, truth = make(3000, 100, random_state=0, **options)
    late = set(truth.item_ids[truth[word]])
    assert len(late) == 20
    early = X[X.times[X.offsets[:-1]] < 0.7 * 30 * 86400]
    assert len(early) > 1000
    assert not late & set(early.vocabulary[early.codes])
    assert len(late & set(X.vocabulary[X.codes])) >= 15


@pytest.mark.parametrize(
    "make", [make_sessions, make_multi_interest_sessions, make_titled_sessions]
)
def test_seed_decides(make):
    drawn = [make(50, 40, random_state=seed) for seed in (0, 0, 1)]
    rows = [X.to_lists() for X, _ in drawn]
    assert rows[0] == rows[1] != rows[2]
    truths = [str(sorted(truth.items())) for _, truth in drawn]
    assert truths[0] == truths[1] != truths[2]


def shuffled(X, seed):
    """The same lengths and item counts, no order left in them."""
    codes = np.random.default_rng(seed).permutation(X.codes)
    return Sessions(codes, X.offsets, X.vocabulary, times=X.times)


@pytest.mark.parametrize(
    "backbone", ["gru4rec", pytest.param("narm", marks=pytest.mark.slow)]
)
def test_models_learn_what_is_there_and_nothing_else(backbone):
    X, _ = make_sessions(random_state=0)
    model = CLIPSessionRecommender(backbone, random_state=0, max_epochs=12, n_threads=1)
    train, test = X[:1600], X[1600:]
    popular = PopularityRecommender().fit(train).score(test)
    assert model.fit(train).score(test) >= 2 * popular

    noise = shuffled(X, 0)
    train, test = noise[:1600], noise[1600:]
    popular = reciprocal_ranks(PopularityRecommender().fit(train), test)
    gain = reciprocal_ranks(model.fit(train), test) - popular
    assert gain.mean() <= 2 * gain.std() / len(gain) ** 0.5  # within two errors of none


def reciprocal_ranks(model, X):
    ranks = model.rank_targets(X)
    return np.where(ranks <= 20, 1 / ranks, 0)


# -- interests -------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 4])
def test_the_interests_are_those_of_the_clicks(m):
    X, truth = make_multi_interest_sessions(
        300, 90, n_clusters=9, n_interests=m, random_state=m
    )
    codes = np.searchsorted(truth.item_ids, X.vocabulary[X.codes])
    np.testing.assert_array_equal(truth.clusters[codes], truth.interests)
    assert truth.session_interests.shape == (300, m)
    for i in range(300):
        own = truth.session_interests[i]
        assert len(set(own)) == m
        seen = truth.interests[X.offsets[i] : X.offsets[i + 1]]
        assert set(seen) <= set(own)
    assert (np.diff(X.end_times) >= 0).all()


def test_shares_follow_recency_and_popularity():
    X, truth = make_multi_interest_sessions(
        4000, 40, n_clusters=4, recency=0.5, mean_length=20, random_state=0
    )
    # After the first click the other interest was last picked two clicks ago, the
    # same one a click ago: 0.5 against 0.25.
    first = X.offsets[:-1]
    again = truth.interests[first] == truth.interests[first + 1]
    assert again.mean() == pytest.approx(2 / 3, abs=0.03)
    codes = np.searchsorted(truth.item_ids, X.vocabulary[X.codes])
    found = np.bincount(codes, minlength=40).astype(float)
    of_cluster = np.bincount(truth.interests, minlength=4)
    np.testing.assert_allclose(
        found / of_cluster[truth.clusters], truth.popularity, atol=0.02
    )
    assert X.lengths.mean() == pytest.approx(19, abs=1)  # some are cut at 50


# -- titles ----------------------------------------------------------------------------


def test_titles_are_made_of_the_words_of_the_community():
    X, truth = make_titled_sessions(300, 90, n_communities=6, random_state=0)
    assert len(truth.titles) == len(set(truth.titles)) == 90
    vocabularies = [set(words) for words in truth.vocabularies]
    assert sum(map(len, vocabularies)) == len(set.union(*vocabularies)) == 6 * 12
    own = []
    for title, community in zip(truth.titles, truth.communities, strict=True):
        words = title.split()
        shared = [word for word in words if word in vocabularies[community]]
        assert len(shared) == len(set(shared)) == 2
        own += [word for word in words if word not in shared]
    assert len(own) == len(set(own)) == 90
    assert not set(own) & set.union(*vocabularies)
    assert set(X.vocabulary[X.codes]) <= set(truth.item_ids)


def test_frequent_words_come_first_and_titles_may_repeat():
    _, truth = make_titled_sessions(50, 400, n_communities=2, random_state=0)
    text = " ".join(truth.titles[truth.communities == 0]).split()
    counts = [text.count(word) for word in truth.vocabularies[0]]
    assert counts[0] > 2 * counts[-1]
    _, truth = make_titled_sessions(9, 200, n_own_words=0, random_state=0)
    assert len(set(truth.titles)) < 200


def test_titled_sessions_are_those_of_make_sessions():
    X, truth = make_titled_sessions(80, 40, mean_length=4, random_state=3)
    same, plain = make_sessions(
        80, 40, mean_length=4, late_share=0.1, random_state=np.random.RandomState(3)
    )
    assert X.to_lists() == same.to_lists()
    assert truth.communities.tolist() == plain.communities.tolist()


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_sessions, {"n_items": 5}, "n_items=5 is too few"),
        (make_sessions, {"n_sessions": 0}, "n_sessions must be at least 1, got 0"),
        (make_sessions, {"mean_length": 1}, "mean_length must be at least 2, got 1"),
        (make_sessions, {"p_habit": 1.5}, r"p_habit must be in \[0, 1\], got 1.5"),
        (make_sessions, {"p_habit": 0.9, "p_return": 0.2}, "must not exceed 1"),
        (make_multi_interest_sessions, {"n_interests": 16}, "s=16 exceeds n_clust.*15"),
        (make_multi_interest_sessions, {"n_interests": 0}, "n_interests must be at l"),
        (make_multi_interest_sessions, {"n_items": 29}, "too few for n_clusters=15"),
        (make_multi_interest_sessions, {"recency": 0}, r"must be in \(0, 1\], got 0"),
        (make_multi_interest_sessions, {"mean_length": 1.5}, "at least 2, got 1.5"),
        (make_multi_interest_sessions, {"popularity_exponent": -1}, "at least 0"),
        (make_titled_sessions, {"n_shared_words": 13}, "s=13 exceeds n_comm.*ords=12"),
        (make_titled_sessions, {"n_own_words": -1}, "n_own_words must be at least 0"),
        (make_titled_sessions, {"n_shared_words": 0, "n_own_words": 0}, "both 0"),
        (make_titled_sessions, {"cold_share": 2}, r"late_share must be in \[0, 1\]"),
    ],
)
def test_bad_arguments(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
