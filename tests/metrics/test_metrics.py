import json
import pickle

import numpy as np
import pytest
from common import GOLDEN
from hypothesis import given
from hypothesis import strategies as st

from skclip import PopularityRecommender
from skclip.metrics import (
    SessionScorer,
    mrr_at_k,
    ndcg_at_k,
    parse_metric,
    precision_at_k,
    recall_at_k,
    target_ranks,
)

METRICS = json.loads((GOLDEN / "metrics.json").read_text("utf-8"))


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic", "average"])
def test_golden_ranks_and_metrics(ties):
    scores = METRICS["scores_items_1_to_5"]
    ranks = target_ranks(scores, np.array(METRICS["targets"]) - 1, ties=ties)
    assert ranks.tolist() == METRICS["ranks"][ties]
    expected = METRICS["at_2"][ties]
    assert recall_at_k(ranks, 2) == pytest.approx(expected["recall"])
    assert mrr_at_k(ranks, 2) == pytest.approx(expected["mrr"])


@given(
    st.lists(st.one_of(st.integers(1, 30), st.just(float("inf"))), min_size=1),
    st.integers(1, 40),
)
def test_metrics_equal_slow_loops(ranks, k):
    hits = [r for r in ranks if r <= k]
    assert recall_at_k(ranks, k) == pytest.approx(len(hits) / len(ranks))
    assert mrr_at_k(ranks, k) == pytest.approx(sum(1 / r for r in hits) / len(ranks))
    assert precision_at_k(ranks, k) == pytest.approx(len(hits) / len(ranks) / k)
    gain = sum(1 / np.log2(1 + r) for r in hits)
    assert ndcg_at_k(ranks, k) == pytest.approx(gain / len(ranks))


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=8).flatmap(
        lambda row: st.tuples(st.just(row), st.integers(0, len(row) - 1))
    )
)
def test_ranks_equal_a_sort(case):
    row, target = case
    rest = [s for i, s in enumerate(row) if i != target]
    last = 1 + sum(s >= row[target] for s in rest)
    first = 1 + sum(s > row[target] for s in rest)
    ranks = {"pessimistic": last, "optimistic": first, "average": (first + last) / 2}
    for ties, rank in ranks.items():
        assert target_ranks([row], [target], ties=ties).tolist() == [rank]


def test_a_collapsed_model_ranks_last():
    assert target_ranks(np.zeros((2, 50)), [0, 49]).tolist() == [50, 50]


ROWS = [[0.1, 0.9], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: target_ranks([[1.0, 2.0], [1.0, np.nan]], [0, 0]),
         "Row 1 of scores has a value"),
        (lambda: target_ranks([[1.0]], [0], ties="lucky"), "ties must be one of"),
        (lambda: target_ranks(ROWS, [0.5, 1]), "targets holds .*Expected columns"),
        (lambda: target_ranks(ROWS, [True, True]), "targets holds .*Expected columns"),
        (lambda: target_ranks(ROWS, ["a", "b"]), "targets holds .*Expected columns"),
        (lambda: target_ranks(ROWS, [0, -1]), r"targets\[1\] is -1.*0\.\.1"),
        (lambda: target_ranks(ROWS, [0, 2]), r"targets\[1\] is 2.*0\.\.1"),
        (lambda: target_ranks(ROWS, [0]), r"targets \(1,\)"),
        (lambda: recall_at_k([1], 0), "k must be at least 1"),
        (lambda: recall_at_k([1, 2], float("nan")), "got nan"),
        (lambda: mrr_at_k([], 5), "non-empty 1-D"),
        (lambda: parse_metric("auc@5"), r"'auc@5'.*'recall@k', 'precision@k', 'mrr@k'"),
        (lambda: SessionScorer("hit@3"), "Unknown metric"),
    ],
)  # fmt: skip
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["mrr", "mrr@0", "auc@5", "mrr@2.5", 7])
def test_unknown_metrics(name):
    with pytest.raises(ValueError, match=r"Unknown metric .*'mrr@20'"):
        parse_metric(name)


def test_scorer_shares_one_pass_and_survives_pickling(monkeypatch):
    X = [["a", "b"], ["a", "b"], ["a", "c"]]
    popular = PopularityRecommender().fit(X)
    scorer = pickle.loads(pickle.dumps(SessionScorer("recall@1", "mrr@2", "ndcg@2")))
    calls = []
    rank = PopularityRecommender.rank_targets
    monkeypatch.setattr(
        PopularityRecommender,
        "rank_targets",
        lambda self, *args: calls.append(1) or rank(self, *args),
    )
    values = scorer(popular, [["a", "b"]])
    assert len(calls) == 1
    assert values == pytest.approx({"recall@1": 0, "mrr@2": 0.5, "ndcg@2": 0.63093})
    assert scorer(popular, [["a"]], ["b"]) == values
    assert SessionScorer("mrr@2")(popular, [["a", "b"]]) == 0.5
    assert SessionScorer("precision@2")(popular, [["a", "b"]]) == 0.5
    scored = PopularityRecommender(scoring="precision@3").fit(X).score([["a", "b"]])
    assert scored == pytest.approx(1 / 3)
