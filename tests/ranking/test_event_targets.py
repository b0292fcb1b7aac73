"""Targets of one type of event: what `event=` of ranks, scores and scorers picks."""

import numpy as np
import pytest
from common import small
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from skclip import MarkovRecommender, PopularityRecommender, SessionClusterer, Sessions
from skclip.datasets import make_sessions
from skclip.metrics import SessionScorer, mrr_at_k
from skclip.model_selection import evaluate


@pytest.fixture(scope="module")
def shop():
    """Sessions whose clicks are views, carts or buys."""
    rng = np.random.default_rng(0)
    lists = make_sessions(n_sessions=200, n_items=40, random_state=0)[0].to_lists()
    kinds = [rng.choice(["view", "view", "cart", "buy"], len(row)) for row in lists]
    return Sessions.from_lists(lists, events=kinds)


@pytest.fixture(scope="module")
def model(shop):
    return MarkovRecommender().fit(shop)


def prefixes_of(X, kinds):
    """Every prefix whose next event is of the kinds, and that item: a slow loop."""
    names = X.type_names[X.types]
    for row, (a, b) in enumerate(zip(X.offsets, X.offsets[1:], strict=False)):
        items = X[row].tolist()
        for t in range(1, b - a):
            if names[a + t] in kinds:
                yield items[:t], items[t]


@pytest.mark.parametrize("event", ["buy", ["buy", "cart"]])
def test_ranks_are_those_of_the_targets_of_that_type(model, shop, event):
    pairs = list(prefixes_of(shop, [event] if isinstance(event, str) else event))
    prefixes, targets = map(list, zip(*pairs, strict=True))
    ranks = model.rank_targets(shop, event=event)
    np.testing.assert_array_equal(ranks, model.rank_targets(prefixes, targets))
    assert model.score(shop, event=event) == mrr_at_k(ranks, 20)


def test_types_together_are_all_targets(model, shop):
    ranks = [model.rank_targets(shop, event=name) for name in shop.type_names.tolist()]
    every = model.rank_targets(shop)
    assert sorted(np.concatenate(ranks)) == sorted(every)


def test_remaining_items_of_a_type(model, shop):
    X = shop[:40]
    names = X.type_names[X.types]
    prefixes, targets = [], []
    for row, (a, b) in enumerate(zip(X.offsets, X.offsets[1:], strict=False)):
        items, kinds = X[row].tolist(), names[a:b]
        for t in range(1, b - a):
            rest = [i for i, k in zip(items[t:], kinds[t:], strict=True) if k == "buy"]
            if rest:
                prefixes.append(items[:t])
                targets.append(list(dict.fromkeys(rest)))
    expected = model.rank_targets(prefixes, targets, targets="remaining")
    found = model.rank_targets(X, targets="remaining", event="buy")
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_scorers_and_searches_take_it(shop):
    pipe = make_pipeline(SessionClusterer(random_state=0), small(max_epochs=1))
    scorer = SessionScorer("mrr@20", "recall@5", event="buy")
    assert repr(scorer) == "SessionScorer('mrr@20', 'recall@5', event='buy')"
    scores = cross_validate(pipe, shop, cv=2, scoring=scorer)
    fitted = pipe.fit(shop)
    assert len(scores["test_mrr@20"]) == 2
    assert scorer(fitted, shop)["mrr@20"] == pytest.approx(
        mrr_at_k(fitted[-1].rank_targets(pipe[:-1].transform(shop), event="buy"), 20)
    )


@pytest.mark.parametrize("by", [None, "position", "session_length"])
@pytest.mark.parametrize("targets", ["next", "remaining"])
def test_evaluate_agrees_with_the_scorer(shop, by, targets):
    models = {"popular": PopularityRecommender(), "markov": MarkovRecommender()}
    options = {"targets": targets, "event": "buy"}
    frame, fitted = evaluate(
        models, shop, shop, metrics="mrr@20", by=by, return_estimators=True, **options
    )
    for name, group in frame.groupby("estimator"):
        score = SessionScorer("mrr@20", **options)(fitted[name], shop)
        mean = np.average(group["value"], weights=group["n_queries"])
        assert mean == pytest.approx(score)


def test_lists_are_those_of_the_same_prefixes(shop):
    frame = evaluate(
        {"markov": MarkovRecommender()}, shop, shop, metrics="novelty@3", event="buy"
    )
    assert frame["n_queries"].tolist() == [len(list(prefixes_of(shop, ["buy"])))]


def test_what_cannot_be_picked_is_named(model, shop):
    lists = shop.to_lists()
    with pytest.raises(ValueError, match="'gift'.*types are .*'buy', 'cart', 'view'"):
        model.rank_targets(shop, event="gift")
    with pytest.raises(ValueError, match="have no event types. Pass event="):
        model.score(lists, event="buy")
    with pytest.raises(ValueError, match="the items of y have no"):
        model.score(shop, [row[-1] for row in lists], event="buy")
    one = Sessions.from_lists([["a", "b"]], events=[["buy", "view"]])
    with pytest.raises(ValueError, match="no session has such an event after"):
        model.rank_targets(one, event="buy")
    with pytest.raises(ValueError, match="no session of X_test has such an event"):
        evaluate({"m": model}, None, one, event="buy", fit=False)
    chosen = MarkovRecommender(scoring=SessionScorer("mrr@3", event="buy")).fit(shop)
    assert chosen.score(shop) == mrr_at_k(chosen.rank_targets(shop, event="buy"), 3)
    with pytest.raises(ValueError, match="scoring is a function"):
        chosen.score(shop, event="buy")
