"""Boosts and caps against loops over the whole ranking."""

import numpy as np
import pandas as pd
import pytest
import torch
from common import small
from sklearn.pipeline import make_pipeline

import skclip
from skclip import (
    MarkovRecommender,
    PopularityRecommender,
    SessionClusterer,
    VotingRecommender,
)
from skclip._ranking import _rules
from skclip._ranking._rules import Caps
from skclip.datasets import make_sessions
from skclip.exceptions import IdTypeWarning
from skclip.rerank import MMRReranker

SESSIONS = [["item-003", "item-010", "item-003"], [], ["item-007"], ["never seen"]]


@pytest.fixture(scope="module")
def train():
    return make_sessions(n_sessions=400, n_items=50, random_state=0)[0]


@pytest.fixture(scope="module")
def network(train):
    return small().fit(train)


@pytest.fixture(scope="module")
def markov(train):
    return MarkovRecommender().fit(train)


@pytest.fixture(params=["network", "markov"])
def model(request):
    return request.getfixturevalue(request.param)


def boosted(model, sessions, boosts, of_seen=1.0):
    """Dense scores, boosted one by one."""
    scores = model.decision_function(sessions)
    for row, (session, boost) in enumerate(zip(sessions, boosts, strict=True)):
        known = {i for i in session if i in set(model.item_ids_)}
        factors = dict.fromkeys(known, of_seen)
        for item, factor in boost.items():
            factors[item] = factors.get(item, 1.0) * factor
        for item, factor in factors.items():
            at = np.flatnonzero(model.item_ids_ == item)
            if model._scores_are == "logits" and known:
                scores[row, at] += np.log(np.float32(factor))
            else:
                scores[row, at] *= np.float32(factor)
    return scores


def walk(scores, item_ids, k, group_of=None, cap=None):
    """The greedy walk down a ranking: a slow loop."""
    lists = []
    for row in scores:
        taken, counts = [], {}
        for at in np.lexsort((np.arange(len(row)), -row)):
            group = None if group_of is None else group_of.get(item_ids[at])
            if row[at] == -np.inf or (group is not None and counts.get(group) == cap):
                continue
            counts[group] = counts.get(group, 0) + 1
            taken.append(item_ids[at])
        lists.append((taken + [""] * k)[:k])
    return lists


BOOST = {"item-001": 3.0, "item-020": 0.2, "item-049": 50.0, "not there": 2.0}


def test_a_boost_is_that_of_all_scores(model):
    expected = boosted(model, SESSIONS, [BOOST] * 4)
    items, scores = model.predict_topk(SESSIONS, 12, boost=BOOST, return_scores=True)
    assert items.tolist() == walk(expected, model.item_ids_, 12)
    np.testing.assert_allclose(scores, -np.sort(-expected)[:, :12], rtol=1e-5)
    assert items.tolist() != model.predict_topk(SESSIONS, 12).tolist()


def test_each_session_may_have_its_own_boosts_and_reminders(model):
    boosts = [BOOST, {}, {"item-007": 0.5}, {"item-030": 9}]
    expected = boosted(model, SESSIONS, boosts, of_seen=4.0)
    found = model.predict_topk(SESSIONS, 50, boost=boosts, boost_seen=4)
    assert found.tolist() == walk(expected, model.item_ids_, 50)


def test_a_reminder_brings_items_of_the_session_up(network):
    row = [["item-003", "item-010"]]
    top = network.predict_topk(row, 2, boost_seen=1e6)[0].tolist()
    assert sorted(top) == sorted(row[0])


def test_factors_of_one_change_no_bit(model):
    plain = model.predict_topk(SESSIONS, 9, return_scores=True)
    same = model.predict_topk(
        SESSIONS, 9, return_scores=True, boost={"item-001": 1.0}, boost_seen=1.0
    )
    for one, other in zip(plain, same, strict=True):
        np.testing.assert_array_equal(one, other)


def test_boosts_join_filters(model):
    options = {"boost": BOOST, "deny": ["item-049"], "exclude_seen": True}
    expected = boosted(model, SESSIONS, [BOOST] * 4)
    for row, session in enumerate(SESSIONS):
        out = np.isin(model.item_ids_, [*session, "item-049"])
        expected[row, out] = -np.inf
    found = model.predict_topk(SESSIONS, 50, **options)
    assert found.tolist() == walk(expected, model.item_ids_, 50)


@pytest.mark.parametrize("cap", [1, 2, 7])
@pytest.mark.parametrize("k", [1, 10, 50])
def test_caps_are_the_walk_down_the_ranking(model, k, cap):
    brands = {f"item-{n:03}": f"brand {n % 4}" for n in range(45)}
    brands |= {"item-044": None, "item-043": np.nan, "not there": "brand 1"}
    of_item = {i: b for i, b in brands.items() if isinstance(b, str)}
    scores = boosted(model, SESSIONS, [BOOST] * 4)
    expected = walk(scores, model.item_ids_, k, of_item, cap)
    options = {"boost": BOOST, "max_per_group": cap}
    found = model.predict_topk(SESSIONS, k, groups=brands, **options)
    assert found.tolist() == expected
    series = pd.Series(brands)
    found = model.predict_topk(SESSIONS, k, groups=series, **options)
    assert found.tolist() == expected


def test_caps_of_clusters(network):
    options = {"max_per_group": 1, "groups": "cluster"}
    found = network.predict_topk(SESSIONS, 50, **options)
    of_item = dict(
        zip(network.item_ids_.tolist(), network.membership_.tolist(), strict=True)
    )
    scores = network.decision_function(SESSIONS)
    assert found.tolist() == walk(scores, network.item_ids_, 50, of_item, 1)
    assert (found == "").any()  # fewer clusters than places


def test_a_pipeline_lends_its_clusters(train):
    pipe = make_pipeline(SessionClusterer(random_state=0), MarkovRecommender())
    pipe.fit(train)
    clusterer = pipe[0]
    given = dict(zip(clusterer.item_ids_, clusterer.membership_, strict=True))
    found = skclip.predict_topk(pipe, SESSIONS, 8, max_per_group=2, groups="cluster")
    expected = pipe[-1].predict_topk(SESSIONS, 8, max_per_group=2, groups=given)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(5))
def test_random_scores_with_ties(seed):
    rng = np.random.default_rng(seed)
    n, n_items = int(rng.integers(1, 12)), int(rng.integers(3, 400))
    scores = rng.integers(0, 6, (n, n_items)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    groups = rng.integers(-1, 5, n_items)
    caps = Caps.__new__(Caps)
    caps.cap, caps.group_of = int(rng.integers(1, 4)), groups
    k = int(rng.integers(1, min(30, n_items) + 1))
    columns, values = caps.topk(torch.from_numpy(scores.copy()), k)
    named = {i: g for i, g in enumerate(groups.tolist()) if g >= 0}
    expected = walk(scores, np.arange(n_items), k, named, caps.cap)
    found = np.where(np.isneginf(values), -1, columns).tolist()
    assert found == [[-1 if i == "" else i for i in row] for row in expected]


def test_many_sessions_are_ranked_as_one_by_one(network, train):
    X, options = train[:150], {"boost": BOOST, "boost_seen": 0.5}
    options |= {"max_per_group": 1, "groups": "cluster"}
    together = network.predict_topk(X, 5, **options)
    for row in (0, 70, 149):
        alone = network.predict_topk(X[[row]], 5, **options)
        assert alone[0].tolist() == together[row].tolist()


def test_votes_and_rerankers(train, markov):
    vote = VotingRecommender(
        [("m", markov), ("p", PopularityRecommender())], method="blend"
    ).fit(train)
    scores = vote.decision_function(SESSIONS)
    scores[:, vote.item_ids_ == "item-049"] *= 50
    found = vote.predict_topk(SESSIONS, 9, boost={"item-049": 50.0})
    assert found.tolist() == walk(scores, vote.item_ids_, 9)
    rerank = MMRReranker(markov, prefit=True).fit(train)
    with pytest.raises(ValueError, match="MMRReranker only define .*Boost the recomm"):
        rerank.predict_topk(SESSIONS, boost={"item-049": 2.0})
    brands = {f"item-{n:03}": n % 2 for n in range(50)}
    found = rerank.predict_topk(SESSIONS, 2, max_per_group=1, groups=brands)
    for row in found:
        assert sorted(brands[item] for item in row) == [0, 1]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"boost": {"item-001": 0}},
            ValueError,
            "item-001.. is 0. Expected",
        ),
        ({"boost": {"item-001": -1}}, ValueError, "from 1e-09"),
        ({"boost": {"item-001": np.inf}}, ValueError, "is inf"),
        ({"boost": {"item-001": 1e10}}, ValueError, "is 10000000000.0"),
        ({"boost": {"item-001": "2"}}, ValueError, "is '2'"),
        ({"boost": ["item-001"]}, ValueError, "boost has 1 mappings, expected one for"),
        ({"boost": ["a"] * 4}, TypeError, "boost is a str: 'a'. Expected a mapping"),
        ({"boost": "item-001"}, TypeError, "Expected a mapping"),
        ({"boost_seen": 0.0}, ValueError, "boost_seen is 0.0"),
        ({"boost_seen": 2, "exclude_seen": True}, ValueError, "Pass one of the two"),
        ({"max_per_group": 2}, ValueError, "max_per_group is given alone"),
        ({"groups": {}}, ValueError, "groups is given alone"),
        ({"max_per_group": 0, "groups": {}}, ValueError, "less than 1"),
        ({"max_per_group": 1.5, "groups": {}}, TypeError, "whole number"),
        ({"max_per_group": 1, "groups": "brand"}, ValueError, "'brand' is unknown"),
        ({"max_per_group": 1, "groups": ["a"]}, TypeError, "groups is a list"),
        (
            {"max_per_group": 1, "groups": pd.DataFrame({"a": [1]})},
            TypeError,
            "set_index",
        ),
    ],
)
def test_wrong_rules_are_refused(network, options, error, match):
    with pytest.raises(error, match=match):
        network.predict_topk(SESSIONS, 3, **options)


def test_models_without_clusters_say_what_to_pass(markov):
    with pytest.raises(ValueError, match="no clusters. Pass a mapping"):
        markov.predict_topk(SESSIONS, 3, max_per_group=1, groups="cluster")


def test_ids_of_another_type_are_told():
    model = PopularityRecommender().fit([[1, 2], [2, 3]])
    for options in (
        {"boost": {"1": 2.0}},
        {"groups": {"1": "x"}, "max_per_group": 1},
    ):
        model = PopularityRecommender().fit([[1, 2], [2, 3]])
        with pytest.warns(IdTypeWarning):
            model.predict_topk([[1]], 2, **options)


def test_boosts_may_be_a_series():
    model = PopularityRecommender().fit([["a", "a", "b"], ["b", "b", "c"]])
    series = pd.Series({"c": 9.0, "gone": 2.0})
    for boost in (series, [series]):
        assert model.predict_topk([[]], k=1, boost=boost).tolist() == [["c"]]
    with pytest.raises(ValueError, match="boost names an item more than once"):
        model.predict_topk([[]], boost=pd.Series([2.0, 3.0], ["a", "a"]))


def test_few_groups_do_not_sort_the_catalog(monkeypatch):
    """Where the groups hold fewer items than a list has places, few are looked at."""
    model = PopularityRecommender().fit([list(range(4000))])
    sizes, topk = [], _rules.topk_codes
    monkeypatch.setattr(
        _rules, "topk_codes", lambda scores, k: sizes.append(k) or topk(scores, k)
    )
    groups = {i: i % 3 for i in range(4000)}
    items = model.predict_topk([[]], k=20, max_per_group=2, groups=groups)
    assert items[0].tolist() == [0, 1, 2, 3, 4, 5] + [-1] * 14
    assert max(sizes) < 100
