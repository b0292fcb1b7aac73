"""Metrics over the remaining items of sessions equal loops over Python sets."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from skclip import CLIPSessionRecommender, PopularityRecommender, SessionClusterer
from skclip._ranking import ranks_in_sets
from skclip.metrics import (
    SessionScorer,
    by_group,
    hit_rate_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)

METRICS = {
    "recall": recall_at_k,
    "precision": precision_at_k,
    "mrr": mrr_at_k,
    "ndcg": ndcg_at_k,
    "map": map_at_k,
    "hit_rate": hit_rate_at_k,
}


def of_list(ranking, relevant, k):
    """All metrics of one list, by their definitions."""
    n, top = len(relevant), ranking[:k]
    hits = [item in relevant for item in top]
    precisions = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
    gains = [1 / math.log2(i + 2) for i, hit in enumerate(hits) if hit]
    best = sum(1 / math.log2(i + 2) for i in range(min(k, n)))
    return {
        "recall": len(set(top) & relevant) / n,
        "precision": len(set(top) & relevant) / k,
        "mrr": max((1 / (i + 1) for i, hit in enumerate(hits) if hit), default=0),
        "ndcg": sum(gains) / best,
        "map": sum(precisions) / min(k, n),
        "hit_rate": float(any(hits)),
    }


def worst_list(scores, relevant):
    """Items by score; among equals those that are not relevant come first."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i in relevant))


class Tied(PopularityRecommender):
    """Few different scores, other ones for each prefix, a few rows at a time."""

    step = 4

    def scores(self, n_events):
        rng = np.random.default_rng(n_events)
        return rng.integers(0, 3, len(self.item_ids_)).astype(np.float32)

    def _score_chunks(self, queries):
        for start in range(0, len(queries), self.step):
            at = np.arange(start, min(start + self.step, len(queries)))
            rows = [self.scores(end) for end in queries.ends[at]]
            yield at, torch.from_numpy(np.stack(rows))


@given(
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=9), min_size=1).filter(
        lambda X: max(map(len, X)) > 1
    ),
    st.integers(1, 12),
    st.integers(1, 7),
)
@pytest.mark.filterwarnings("ignore::skclip.exceptions.UnseenItemWarning")
def test_every_metric_equals_a_loop_over_sets(sessions, k, step):
    """Items 9, 10 and 11 are not in the catalog: they stay in the denominators."""
    model = Tied().fit([list(range(9))])
    model.step = step
    expected = [
        of_list(worst_list(model.scores(t), set(s[t:])), set(s[t:]), k)
        for s in sessions
        for t in range(1, len(s))
    ]
    ranks, offsets = model.rank_targets(sessions, targets="remaining")
    assert len(offsets) == len(expected) + 1
    for name, metric in METRICS.items():
        mean = np.mean([row[name] for row in expected])
        assert metric(ranks, k, offsets) == pytest.approx(mean, rel=1e-12)
        scorer = SessionScorer(f"{name}@{k}", targets="remaining")
        assert scorer(model, sessions) == metric(ranks, k, offsets)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1))
def test_ranks_are_places_in_the_worst_list(rows):
    """From the numbers of items that score as much; all items may be targets."""
    rng = np.random.default_rng(len(rows))
    sets = [rng.permutation(len(row))[: rng.integers(0, len(row) + 1)] for row in rows]
    pairs = zip(rows, sets, strict=True)
    reaching = [sum(s >= row[i] for s in row) for row, own in pairs for i in own]
    of_row = np.repeat(np.arange(len(rows)), list(map(len, sets)))
    found = ranks_in_sets(np.array(reaching, dtype=np.int64), of_row, 9)
    start = 0
    for row, own in zip(rows, sets, strict=True):
        ranking = worst_list(row, set(own.tolist()))
        places = sorted(1 + ranking.index(item) for item in own)
        assert sorted(found[start : start + len(own)].tolist()) == places
        start += len(own)


def test_counts_that_contradict_each_other_give_distinct_ranks():
    """As two ways to sum in float32 may have it: 1, 1 and 4, 5, 5."""
    found = ranks_in_sets(np.array([1, 1, 5, 4, 5]), np.array([0, 0, 1, 1, 1]), 9)
    assert found.tolist() == [1, 2, 4, 3, 5]


def test_golden_table():
    """Worked by hand. Catalog a b c d e, with scores 5 4 4 2 1 after every prefix.

    After [x]: remaining a, c, z. a is first. c ties with b, which comes before it, so
    that c is third. z is unknown. After [x, a]: c and z. After [x, a, c]: z alone.
    """

    class Fixed(PopularityRecommender):
        def _score_chunks(self, queries):
            scores = torch.tensor([5.0, 4.0, 4.0, 2.0, 1.0])
            yield np.arange(len(queries)), scores.repeat(len(queries), 1)

    model = Fixed().fit([["a", "b", "c", "d", "e"]])
    with pytest.warns(UserWarning, match="not seen in fit"):
        ranks, offsets = model.rank_targets(
            [["x", "a", "c", "a", "c", "z"]], targets="remaining"
        )
    inf = math.inf
    # From the prefixes x; x a; x a c; x a c a; x a c a c.
    expected = [[1, 3, inf], [3, 1, inf], [1, 3, inf], [3, inf], [inf]]
    assert offsets.tolist() == [0, 3, 6, 9, 11, 12]
    assert np.split(ranks, offsets[1:-1])[0].tolist() == expected[0]
    assert [part.tolist() for part in np.split(ranks, offsets[1:-1])] == expected
    ideal_2, ideal_3 = 1 + 1 / math.log2(3), 1 + 1 / math.log2(3) + 1 / 2
    at_3 = {
        "recall": (3 * 2 / 3 + 1 / 2) / 5,
        "precision": (3 * 2 / 3 + 1 / 3) / 5,
        "mrr": (3 * 1 + 1 / 3) / 5,
        "map": (3 * (1 + 2 / 3) / 3 + 1 / 3 / 2) / 5,
        "ndcg": (3 * (1 + 1 / 2) / ideal_3 + 1 / 2 / ideal_2) / 5,
        "hit_rate": 4 / 5,
    }
    at_1 = dict.fromkeys(("precision", "mrr", "map", "ndcg", "hit_rate"), 3 / 5)
    for name, metric in METRICS.items():
        assert metric(ranks, 3, offsets) == pytest.approx(at_3[name])
        assert metric(ranks, 1, offsets) == pytest.approx(at_1.get(name, 1 / 5))


def test_sessions_of_two_items_have_one_target():
    X = [["a", "b"], ["b", "c"], ["c", "a"], ["a", "new"]]
    model = PopularityRecommender().fit([["a", "b", "a", "c"]])
    with pytest.warns(UserWarning, match="not seen in fit"):
        ranks, offsets = model.rank_targets(X, targets="remaining")
    assert ranks.tolist() == model.rank_targets(X).tolist()
    for name, metric in METRICS.items():
        assert metric(ranks, 2, offsets) == metric(ranks, 2)
        assert SessionScorer(f"{name}@2")(model, X) == metric(ranks, 2)
    assert hit_rate_at_k(ranks, 2) == recall_at_k(ranks, 2)
    assert map_at_k(ranks, 2) == mrr_at_k(ranks, 2)


def test_groups_of_rows_with_several_targets():
    ranks, offsets = [1, 4, 2, np.inf, 3], [0, 2, 3, 5]
    found = by_group(ranks, ["x", "y", "x"], "recall@3", offsets=offsets)
    assert found["value"] == [0.5, 1.0]
    assert found["n_queries"] == [2, 1]


# -- scorers ---------------------------------------------------------------------------

SCORER = SessionScorer("recall@5", "map@5", "ndcg@5", targets="remaining")


def test_pipelines_and_searches(shop_split):
    train, test = shop_split[0][:120], shop_split[1]
    plain = PopularityRecommender().fit(train)
    expected = SCORER(plain, test)
    assert set(expected) == {"recall@5", "map@5", "ndcg@5"}
    assert 0 < expected["map@5"] < expected["recall@5"] < 1
    pipe = make_pipeline(SessionClusterer(random_state=0), PopularityRecommender())
    assert SCORER(pipe.fit(train), test) == expected
    grid = {"half_life": [None, 1]}
    search = GridSearchCV(
        PopularityRecommender(), grid, cv=2, scoring=SCORER, refit="map@5"
    ).fit(train)
    assert SCORER(search, test).keys() == expected.keys()
    assert search.cv_results_["mean_test_ndcg@5"].shape == (2,)
    result = cross_validate(pipe, train, cv=2, scoring=SCORER)
    assert (result["test_recall@5"] > 0).all()


def test_targets_that_are_given(shop_split):
    train, test = shop_split
    model = PopularityRecommender().fit(train)
    X, _ = test.to_prefixes()
    lists = test.to_lists()
    y = [s[t:] for s in lists for t in range(1, len(s))]
    assert SCORER(model, X, y) == SCORER(model, test)
    assert SCORER(model, X, list(map(set, y))) == SCORER(model, test)


def test_a_scorer_is_copied_and_shown():
    scorer = pickle.loads(pickle.dumps(SCORER))
    assert scorer.targets == "remaining"
    shown = "SessionScorer('recall@5', 'map@5', 'ndcg@5', targets='remaining')"
    assert repr(scorer) == shown
    assert repr(SessionScorer("mrr@2")) == "SessionScorer('mrr@2')"


def test_early_stopping_by_the_remaining_items(shop_split):
    train = shop_split[0][:150]
    scorer = SessionScorer("map@5", targets="remaining")
    model = CLIPSessionRecommender(
        "gru4rec", embedding_dim=8, max_epochs=1, random_state=0, scoring=scorer,
        early_stopping=True, n_threads=1, device="cpu",
    ).fit(train[:120], eval_set=(train[120:], None))  # fmt: skip
    assert model.score(train[120:]) == scorer(model, train[120:])
    assert model.best_validation_score_ == pytest.approx(model.score(train[120:]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SessionScorer("mrr@2", targets="rest"), "targets='rest' is unknown"),
        (lambda: SessionScorer("mrr@2", targets=None), "targets=None is unknown"),
        (lambda: recall_at_k([1, 2], 3, [0, 1]), "rise from 0 to 2"),
        (lambda: recall_at_k([1, 2], 3, [1, 2]), "rise from 0 to 2"),
        (lambda: recall_at_k([1, 2], 3, [0, 1, 1, 2]), "at least 1 for each row"),
        (lambda: recall_at_k([1, 2], 3, [0, 0.5, 2]), "whole numbers"),
        (lambda: map_at_k([3, 1, 1], 3, [0, 1, 3]), "row 1 have the rank 1"),
        (lambda: map_at_k([1, 2], 0, [0, 2]), "k must be at least 1"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unknown_targets_option_of_a_recommender():
    model = PopularityRecommender().fit([["a", "b"]])
    with pytest.raises(ValueError, match="targets='all' is unknown.*'remaining'"):
        model.rank_targets([["a", "b"]], targets="all")
    with pytest.raises(ValueError, match="All 1 sessions have fewer than 2 items"):
        model.rank_targets([["a"]], targets="remaining")
