"""LLMReranker: fusion, prompts, failures, limits, state."""

import json
import logging
import os
import pickle
import re
import sqlite3
import stat
import threading
import time
import traceback
import warnings
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
from chat_server import Answer, completion, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from test_llm_contract import EXPAND, RERANK

import skclip
from skclip import LLMReranker, PopularityRecommender, SessionClusterer, Sessions
from skclip.llm import LLMError, LLMReply
from skclip.llm import _client as client_module
from skclip.llm._rank_fusion import borda, fused_scores
from skclip.llm._titles import normal_form
from skclip.metrics import SessionScorer, target_ranks

KEY = "SKCLIP_TEST_KEY"
SENTINEL = "sk-sentinel-51f7c0ffee"
# Popularity: a 5, b 4, c 3, d 2, e 1, f 1
TRAIN = [
    ["a", "b", "c"],
    ["a", "b", "d"],
    ["a", "b", "c"],
    ["a", "c", "e"],
    ["a", "b", "d", "f"],
]
TITLES = {
    "a": "apple juice",
    "b": "bread knife",
    "c": "coffee mill",
    "d": "dog basket",
    "e": "egg timer",
    "f": "fruit bowl",
    "new": "novel gadget",
}


def user(messages):
    return json.loads(messages[1]["content"])


def says(*titles):
    """A client that always writes these titles."""
    return lambda messages: json.dumps({"titles": list(titles)})


def reranker(client, **params):
    params = {"weight": 0.5, "protect_top": 0, "n_shots": 0} | params
    return LLMReranker(PopularityRecommender(), TITLES, client=client, **params)


def fit(client, **params):
    return reranker(client, **params).fit(TRAIN)


def refuse(messages):
    raise AssertionError("a request was sent")


@pytest.fixture
def shop_titles(shop):
    _, truth = shop
    words = ["oak", "pine", "tin", "silk", "jute"]
    return {
        item: f"{words[c]} {words[i % 5]} number {i}"
        for i, (item, c) in enumerate(
            zip(truth.item_ids.tolist(), truth.communities, strict=True)
        )
    }


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(client_module.Random, "uniform", lambda self, a, b: 0.0)


@pytest.fixture
def endpoint(monkeypatch):
    """Parameters that reach a scripted server through the package openai."""
    pytest.importorskip("openai")
    monkeypatch.setenv(KEY, SENTINEL)
    return lambda server, **params: {
        "client": None, "model": "m", "base_url": server.url, "api_key_env": KEY,
        "max_retries": 0, **params,
    }  # fmt: skip


# -- fusion ----------------------------------------------------------------------------


def test_weight_0_is_the_base_bit_for_bit_without_a_request(
    fitted, shop_split, shop_titles
):
    train, test = shop_split
    pipe = make_pipeline(SessionClusterer(random_state=0), fitted)
    for base in (fitted, pipe, FrozenEstimator(fitted)):
        for mode in ("expand", "rerank", "agent"):
            llm = LLMReranker(
                base, shop_titles, mode=mode, client=refuse, weight=0, prefit=True
            )
            if base is pipe:
                pipe[0].fit(train)
            llm.fit(train)
            options = {"k": 9, "return_scores": True, "exclude_seen": True}
            ours = llm.predict_topk(test, **options)
            theirs = fitted.predict_topk(test, **options)
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_array_equal(llm.rank_targets(test), fitted.rank_targets(test))
    np.testing.assert_array_equal(
        llm.decision_function(test[:5]), fitted.decision_function(test[:5])
    )
    assert llm.score(test) == fitted.score(test)
    assert llm.usage_["requests"] == llm.usage_["asked"] == 0


def test_reciprocal_rank_fusion_by_hand():
    """Base a b c d e=f; the model names d, then f, then something unknown."""
    llm = fit(says("Dog basket", "fruit bowl", "qqq zzz"))
    # a 1/61/2, b 1/62/2, c 1/63/2, d (1/64 + 1/61)/2, f (1/66 + 1/62)/2, e 1/66/2
    assert llm.predict_topk([["a"]], k=6)[0].tolist() == ["d", "f", "a", "b", "c", "e"]
    assert llm.set_params(protect_top=2).predict_topk([["a"]], k=6)[0].tolist() == [
        "a", "b", "d", "f", "c", "e",
    ]  # fmt: skip
    light = fit(says("Dog basket"), weight=0.01)
    # d: .99/64 + .01/61 = .015633; c: .99/63 = .015714
    assert light.predict([["a"]]) == ["a"]
    assert light.predict_topk([["a"]], k=4)[0].tolist() == ["a", "b", "c", "d"]
    agent = fit(says("Dog basket", "egg timer"), mode="agent", protect_top=3)
    assert agent.predict_topk([["a"]], k=6)[0].tolist() == [
        "d",
        "e",
        "a",
        "b",
        "c",
        "f",
    ]
    assert llm.faults_ == {"unmapped": 2}  # in each of two lists


def naive_order(scores, items, weight, protect):
    """Sort by the sentence of the docstring, with Python's own sort."""
    n = len(scores)
    rank = [sum(scores[j] >= scores[i] for j in range(n)) for i in range(n)]
    base = sorted(range(n), key=lambda i: (-scores[i], i))
    place = {item: p for p, item in enumerate(items, 1)}

    def value(i):
        found = weight / (60 + place[i]) if i in place else 0.0
        return (1 - weight) / (60 + rank[i]) + found

    rest = sorted(base[protect:], key=lambda i: (-value(i), rank[i], i))
    return base[:protect] + rest


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.data(),
    st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]),
    st.integers(0, 4),
)
def test_fusion_equals_a_plain_sort(rows, data, weight, protect):
    scores = np.array(rows, dtype=np.float32)
    items = data.draw(
        st.lists(st.integers(0, len(rows) - 1), unique=True, max_size=len(rows))
    )
    fused = fused_scores(scores, items, weight, protect)
    order = np.argsort(-fused, kind="stable").tolist()
    assert order == naive_order(rows, items, weight, protect)
    # What was equal and is not named is equal still, and counts against the target.
    kept = set(np.argsort(-scores, kind="stable")[:protect].tolist())
    for i in range(len(rows)):
        for j in range(len(rows)):
            free = not {i, j} & (kept | set(items))
            if free and rows[i] == rows[j]:
                assert fused[i] == fused[j]
    assert (fused > 0).all()


def test_items_that_are_left_out_stay_out():
    scores = np.array([3, -np.inf, 2, -np.inf, 1], dtype=np.float32)
    fused = fused_scores(scores, [1, 4], 0.9, protect=4)
    np.testing.assert_array_equal(np.isneginf(fused), np.isneginf(scores))
    fused = fused_scores(scores, [1, 4], 0.9)
    assert np.argsort(-fused)[:3].tolist() == [4, 0, 2]


def test_ranks_lists_and_scores_agree(fitted, shop_split, shop_titles, rng):
    """Ranks of targets are places in the list, for a model of trained vectors."""
    train, test = shop_split
    names = list(shop_titles.values())

    def random_titles(messages):
        seed = abs(hash(messages[1]["content"])) % 2**32
        return json.dumps(
            {"titles": np.random.default_rng(seed).choice(names, 5).tolist()}
        )

    llm = LLMReranker(
        fitted, shop_titles, client=random_titles, prefit=True, weight=0.4
    ).fit(train)
    X = test[:20]
    prefixes, targets = X.to_prefixes()
    everything = llm.predict_topk(prefixes, k=fitted.n_items_)
    known = np.isin(targets, fitted.item_ids_)
    place = np.where(known, 1 + (everything == targets[:, None]).argmax(axis=1), np.inf)
    np.testing.assert_array_equal(llm.rank_targets(X), place)
    np.testing.assert_array_equal(llm.rank_targets(prefixes, targets), place)
    scores = llm.decision_function(prefixes)
    columns = np.searchsorted(fitted.item_ids_, targets[known])
    np.testing.assert_array_equal(target_ranks(scores[known], columns), place[known])
    np.testing.assert_array_equal(llm.predict(prefixes), everything[:, 0])
    assert (everything != fitted.predict_topk(prefixes, k=fitted.n_items_)).any()
    one_by_one = [llm.predict_topk([list(row)], k=7)[0] for row in prefixes[:8]]
    np.testing.assert_array_equal(one_by_one, everything[:8, :7])
    assert SessionScorer("recall@5")(llm, X) == (place <= 5).mean()


def test_ties_of_the_base_count_against_the_target():
    llm = fit(says("coffee mill"))
    # e and f are equal in the base: both rank 6; c is named and leads.
    assert llm.rank_targets([["a"]] * 4, ["e", "f", "c", "a"]).tolist() == [6, 6, 1, 2]


def test_filters_act_first():
    seen = []

    def client(messages):
        seen.append(user(messages))
        ids = [c["id"] for c in seen[-1]["candidates"]]
        by_title = {c["title"]: c["id"] for c in seen[-1]["candidates"]}
        first = by_title.get(TITLES["e"], ids[0])
        return json.dumps({"ranking": [first]})

    llm = fit(client, mode="rerank", n_candidates=3, weight=1.0)
    top = llm.predict_topk([["a"]], k=4, deny=["b", "c"], exclude_seen=True)
    assert top.tolist() == [["e", "d", "f", ""]]
    assert {c["title"] for c in seen[0]["candidates"]} == {TITLES[i] for i in "def"}
    named = fit(says("bread knife"), weight=1.0)
    top, scores = named.predict_topk(
        [["a"], ["c"]], k=3, allow=[["a", "c"], ["b", "c"]], return_scores=True
    )
    assert top.tolist() == [["a", "c", ""], ["b", "c", ""]]
    assert np.isneginf(scores[:, 2]).all()


# -- what is asked ---------------------------------------------------------------------


def test_rerank_orders_the_first_candidates_alone():
    def backwards(messages):
        order = sorted(user(messages)["candidates"], key=lambda c: c["title"])
        return json.dumps({"ranking": [c["id"] for c in order[::-1]]})

    llm = fit(backwards, mode="rerank", n_candidates=3, weight=1.0)
    assert llm.predict_topk([["a"]], k=6)[0].tolist() == list("cbadef")


def test_candidates_have_ids_of_this_request_in_a_shuffled_order(shop_titles):
    prompts = []

    def client(messages):
        prompts.append(user(messages))
        return json.dumps({"ranking": [c["id"] for c in prompts[-1]["candidates"]]})

    rows = [[item] for item in list(shop_titles)[:30]]
    llm = LLMReranker(
        PopularityRecommender(), shop_titles, mode="rerank", client=client, n_shots=0
    ).fit([list(shop_titles)])
    llm.predict(rows)
    firsts = {p["candidates"][0]["title"] for p in prompts}
    assert len(firsts) > 5  # each session has an order of its own
    for prompt in prompts:
        assert [c["id"] for c in prompt["candidates"]] == [
            f"c{i:02d}" for i in range(1, 21)
        ]
        assert not any(item in json.dumps(prompt) for item in shop_titles)
    again = list(prompts)
    prompts.clear()
    clone(llm).fit([list(shop_titles)]).predict(rows[::-1])
    assert sorted(map(str, prompts)) == sorted(map(str, again))  # a seed of its own
    prompts.clear()
    clone(llm).set_params(seed=1).fit([list(shop_titles)]).predict(rows)
    assert sorted(map(str, prompts)) != sorted(map(str, again))


def test_permutations_are_merged_by_borda_count():
    assert borda([[1, 2, 3], [3, 1, 2], [1, 3, 2]]) == [1, 3, 2]
    assert borda([[1, 2], [2, 1]]) == [1, 2]
    orders = []

    def first_comes_first(messages):
        orders.append([c["title"] for c in user(messages)["candidates"]])
        return json.dumps({"ranking": [c["id"] for c in user(messages)["candidates"]]})

    llm = fit(first_comes_first, mode="rerank", n_permutations=4, weight=1.0)
    found = llm.predict_topk([["a"]], k=6)[0].tolist()
    assert len({tuple(order) for order in orders}) > 1
    points = {t: sum(len(o) - o.index(t) for o in orders) for t in orders[0]}
    expected = sorted(points, key=lambda title: -points[title])
    assert [points[TITLES[i]] for i in found] == [points[t] for t in expected]
    assert llm.usage_["requests"] == 4

    def half(messages):
        if len(orders) % 2:
            orders.append(0)
            return "nonsense"
        return first_comes_first(messages)

    orders.clear()
    some = fit(half, mode="rerank", n_permutations=3, max_concurrency=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one good answer is enough for a row
        some.predict([["a"]])
    assert some.fallbacks_ == {}
    assert some.faults_ == {"not_json": 1}


def test_items_with_equal_titles_are_those_of_the_row():
    """Equal prompts, answered once, whose candidates are different items."""
    titles = {"a": "tea", "x": "cup", "y": "cup", "z": "saw"}
    asked = []

    def cup_first(messages):
        asked.append(messages)
        names = {c["title"]: c["id"] for c in user(messages)["candidates"]}
        return json.dumps({"ranking": [names["cup"], names["saw"]]})

    llm = LLMReranker(
        PopularityRecommender(),
        titles,
        client=cup_first,
        mode="rerank",
        weight=1.0,
        protect_top=0,
        n_shots=0,
    ).fit([["z", "a"], ["z", "x", "y", "z"]])
    found = llm.predict_topk([["a"], ["a"]], 2, deny=[["a", "x"], ["a", "y"]])
    assert found.tolist() == [["y", "z"], ["x", "z"]]
    assert len(asked) == 1


def test_prompts_hold_what_was_observed_alone(shop_titles, fitted, shop_split):
    train, test = shop_split
    prompts = []

    def client(messages):
        prompts.append(user(messages))
        return '{"titles": ["x"]}'

    llm = LLMReranker(
        fitted, shop_titles, client=client, prefit=True, min_similarity=1.0
    ).fit(train)
    prefixes, targets = test[:12].to_prefixes()
    known = np.isin(targets, fitted.item_ids_)  # others are misses, and not asked about
    prefixes, targets = prefixes[known], targets[known]
    with pytest.warns(UserWarning, match="unmapped"):
        llm.rank_targets(prefixes, targets)
    by_session = {tuple(p["session"]): p for p in prompts}
    told = {tuple(shop_titles[i] for i in row[-20:].tolist()) for row in prefixes}
    assert set(by_session) <= told
    trained = {
        (tuple(shop_titles[i] for i in row[:-1]), shop_titles[row[-1]])
        for row in train.to_lists()
    }
    for prompt in prompts:
        assert prompt["most_recent"] == prompt["session"][-1]
        assert len(prompt["examples"]) == 3
        assert len({e["next"] for e in prompt["examples"]}) == 3
        for example in prompt["examples"]:
            assert (tuple(example["session"]), example["next"]) in trained
            assert example["session"] != prompt["session"]
    # The target of a row changes nothing that is sent.
    n = len(prompts)
    other = clone(llm).fit(train)
    with pytest.warns(UserWarning, match="unmapped"):
        other.rank_targets(prefixes, np.roll(targets, 1))
    assert {str(p) for p in prompts[n:]} == {str(p) for p in prompts[:n]}


def test_unseen_items_speak_by_their_title():
    sent = []

    def client(messages):
        sent.append(user(messages)["session"])
        return '{"titles": ["egg timer"]}'

    llm = fit(client, weight=0.9)
    llm.predict_topk([["new", "unknown", "a"], ["unknown"], []], k=2)
    assert sent == [["novel gadget", "apple juice"]]  # rows without titles: none
    assert llm.usage_["asked"] == 1
    assert llm.usage_["rows"] == 3


@pytest.mark.parametrize("selection", ["knn", "random", "recent"])
def test_examples(selection):
    sent = []

    def client(messages):
        sent.append(user(messages)["examples"])
        return '{"titles": ["egg timer"]}'

    fit(client, n_shots=2, shot_selection=selection).predict([["c"]])
    assert len(sent[0]) == 2
    fit(client, n_shots=2, shot_selection=[(["a", "new"], "b")]).predict([["c"]])
    assert sent[1] == [
        {"session": ["apple juice", "novel gadget"], "next": TITLES["b"]}
    ]
    fit(client, n_shots=2, shot_selection=[]).predict([["c"]])
    assert sent[2] == []
    with pytest.raises(ValueError, match=r"shot_selection holds 'abc'.*\(\['a', 'b'\]"):
        fit(client, n_shots=2, shot_selection=["abc"]).predict([["c"]])


def test_fit_with_targets_and_in_any_order_of_rows():
    sent = []

    def client(messages):
        sent.append(user(messages)["examples"])
        return '{"titles": ["egg timer"]}'

    X = [row[:-1] for row in TRAIN]
    y = [row[-1] for row in TRAIN]
    for a, b in ((TRAIN, None), (X, y), (TRAIN[::-1], None), (X[::-1], y[::-1])):
        reranker(client, n_shots=3).fit(a, b).predict([["d", "c"]])
    assert sent[0] == sent[1] == sent[2] == sent[3]
    assert len(sent[0]) == 3


def test_equal_prompts_are_sent_once():
    calls = []

    def client(messages):
        calls.append(1)
        return '{"titles": ["egg timer"]}'

    llm = fit(client, weight=0.9)
    top = llm.predict_topk([["a"], ["b"], ["a"], ["a"]], k=2)
    assert len(calls) == 2
    assert top[0].tolist() == top[2].tolist() == top[3].tolist()
    usage = llm.usage_
    assert (usage["requests"], usage["cache_hits"], usage["asked"]) == (2, 2, 4)


# -- when ------------------------------------------------------------------------------


def asked_rows(X, **params):
    sent = []

    def client(messages):
        sent.append(user(messages)["session"])
        return '{"titles": ["egg timer"]}'

    llm = fit(client, **params)
    llm.predict(X)
    return sorted(sent)


def test_when_cold():
    X = [["a"], ["a", "e"], ["new"], ["b"]]
    rare = asked_rows(X, when="cold", rare_count=2)
    assert rare == [["apple juice", "egg timer"], ["novel gadget"]]


def test_when_a_callable_says_so():
    X = [["a"], ["b", "c"], ["c"]]
    assert asked_rows(X, when=lambda rows: [len(r) == 2 for r in rows]) == [
        [TITLES["b"], TITLES["c"]]
    ]
    with pytest.raises(ValueError, match=r"shape \(2,\). Expected a mask of shape \(3"):
        asked_rows(X, when=lambda rows: [True, False])


def test_when_uncertain(fitted, shop_split, shop_titles):
    train, test = shop_split
    test = test[:30]
    scores = fitted.decision_function(test).astype(np.float64)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    ordered = np.sort(shares, axis=1)[:, ::-1]
    margins = ordered[:, 0] - ordered[:, 1]
    entropies = -(shares * np.log(shares)).sum(axis=1) / np.log(shares.shape[1])
    margin, entropy = np.quantile(margins, 0.3), np.quantile(entropies, 0.8)
    expected = (margins < margin) | (entropies > entropy)
    assert 0 < expected.sum() < 30
    llm = LLMReranker(
        fitted, shop_titles, client=says(next(iter(shop_titles.values()))),
        prefit=True, when="uncertain", margin=margin, entropy=entropy,
    ).fit(train)  # fmt: skip
    llm.predict_topk(test, k=5)
    assert llm.usage_["asked"] == expected.sum()
    changed = (llm.decision_function(test) != fitted.decision_function(test)).any(
        axis=1
    )
    np.testing.assert_array_equal(changed, expected)
    assert llm.estimate_cost(test)["asked"] == expected.sum()


def test_estimate_cost_sends_nothing_and_is_what_is_sent():
    calls = []

    def client(messages):
        calls.append(1)
        return '{"titles": ["egg timer"]}'

    prices = {"prompt": 2.0, "completion": 8.0}
    llm = fit(client, prices=prices, max_output_tokens=100)
    X = [["a", "b", "c"], ["a", "b"], ["new", "e"], [], ["a", "qq"]]
    estimate = llm.estimate_cost(X)
    assert not calls
    assert (estimate["rows"], estimate["asked"], estimate["requests"]) == (5, 4, 4)
    assert estimate["completion_tokens"] == 400
    assert estimate["cost"] == pytest.approx(
        (estimate["prompt_tokens"] * 2 + 400 * 8) / 1e6
    )
    whole = llm.estimate_cost(X, every_prefix=True)
    llm.predict(X)
    usage = llm.usage_
    assert usage["requests"] == estimate["requests"]
    assert usage["prompt_tokens"] == estimate["prompt_tokens"]
    assert 0 < usage["cost"] < estimate["cost"]
    assert llm.estimate_cost(X)["cached"] == 4
    fresh = clone(llm).fit(TRAIN)
    fresh.score(X)
    assert fresh.usage_["requests"] == whole["requests"] == 3
    assert fresh.set_params(weight=0).estimate_cost(X)["requests"] == 0


# -- failures --------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["always", "uncertain"])
@pytest.mark.parametrize("mode", ["expand", "rerank", "agent"])
def test_the_base_ranks_a_row_before_the_model_is_asked(mode, when, monkeypatch):
    """Two rows at a time; each is scored once, and no request comes before that."""
    told = []

    class Base(PopularityRecommender):
        def _masked_chunks(self, queries, mask=None):
            for at, scores in super()._masked_chunks(queries, mask):
                told.extend(("scored", TITLES["abcdef"[i]]) for i in at)
                yield at, scores

    def client(messages):
        (session,) = user(messages)["session"]
        told.append(("asked", session))
        return '{"titles": ["egg timer"], "ranking": ["c02", "c01"]}'

    monkeypatch.setattr("skclip.baselines._base.rows_per_chunk", lambda n_items: 2)
    X = [[i] for i in "abcdef"]
    llm = LLMReranker(
        Base(), TITLES, mode=mode, when=when, margin=1.0, client=client, n_shots=0
    ).fit(TRAIN)
    llm.predict(X)
    kinds = [kind for kind, _ in told]
    assert kinds == ["scored", "scored", "asked", "asked"] * 3
    for start in (0, 4, 8):
        assert {t for _, t in told[start : start + 2]} == {
            t for _, t in told[start + 2 : start + 4]
        }
    assert sorted(t for kind, t in told if kind == "scored") == sorted(
        TITLES[i] for i in "abcdef"
    )


@pytest.mark.parametrize("mode", ["expand", "rerank", "agent"])
def test_a_base_that_fails_costs_nothing(mode, monkeypatch):
    llm = fit(refuse, mode=mode)

    def broken(self, queries):
        raise MemoryError("the base")
        yield

    monkeypatch.setattr(PopularityRecommender, "_score_chunks", broken)
    with pytest.raises(MemoryError, match="the base"):
        llm.predict([["a"]])
    assert llm.usage_["requests"] == 0


def test_one_warning_and_one_client_for_all_chunks(endpoint, monkeypatch):
    """Also one end: what a limit stops in one chunk stays stopped in the next."""
    monkeypatch.setattr("skclip.baselines._base.rows_per_chunk", lambda n_items: 2)
    opened = []
    as_client = client_module.as_client
    monkeypatch.setattr(
        "skclip.llm._asking.as_client",
        lambda *args: opened.append(1) or as_client(*args),
    )
    script = lambda n, body: completion('{"titles": ["egg timer"]}')  # noqa: E731
    with serving(script) as server:
        llm = fit(**endpoint(server, max_requests=3, max_concurrency=1))
        with pytest.warns(UserWarning, match="3 rows keep") as seen:
            llm.predict([[i] for i in "abcdef"])
        assert len(seen) == len(opened) == 1
        assert len(server.requests) == 3
        assert llm.fallbacks_ == {"budget": 3}
        assert llm.usage_["rows"] == llm.usage_["asked"] == 6


WRONG = {
    "500": (Answer({}, 500), "http_5xx"),
    "404": (Answer({}, 404), "http_4xx"),
    "429": (Answer({}, 429, headers={"retry-after": "900"}), "http_4xx"),
    "a redirect": (Answer({}, 307, headers={"location": "http://a.b"}), "http_3xx"),
    "late": (Answer(completion("x"), delay=1.2), "timeout"),
    "garbage": (Answer(b"\xff{"), "not_json"),
    "no envelope": (Answer({}), "schema"),
    "oversized": (Answer(completion("x" * 2_100_000)), "too_large"),
    "a refusal": (completion(None), "empty"),
    "prose": (completion("I would buy tea."), "not_json"),
    "truncated": (completion('{"titles": ["eg', finish_reason="length"), "not_json"),
    "wrong key": (completion('{"items": ["egg timer"]}'), "schema"),
    "empty list": (completion('{"titles": []}'), "empty"),
    "unknown titles": (completion('{"titles": ["qqq zzz"]}'), "unmapped"),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_failure_loses_the_base_ranking(endpoint, case):
    """Row 1 of three fails; the others are answered, in their order."""
    wrong, reason = WRONG[case]
    titles = {TITLES["a"]: TITLES["d"], TITLES["c"]: TITLES["e"]}

    def script(n, body):
        (session,) = json.loads(body["messages"][1]["content"])["session"]
        if session not in titles:
            return wrong
        return completion(json.dumps({"titles": [titles[session]]}))

    X = [["a"], ["b"], ["c"]]
    base = PopularityRecommender().fit(TRAIN)
    with serving(script) as server:
        llm = fit(**endpoint(server, timeout=0.6, weight=0.9))
        with pytest.warns(UserWarning, match=rf"1 rows keep .* \({reason} 1\)") as seen:
            top, scores = llm.predict_topk(X, k=6, return_scores=True)
        assert len(seen) == 1
        assert llm.fallbacks_ == {reason: 1}
        expected = base.predict_topk(X, k=6, return_scores=True)
        assert top[:, 0].tolist() == ["d", "a", "e"]
        np.testing.assert_array_equal(top[1], expected[0][1])
        np.testing.assert_array_equal(scores[1], expected[1][1])
        assert len(server.requests) == llm.usage_["requests"] == 3
        strict = fit(**endpoint(server, timeout=0.6, on_error="raise"))
        with pytest.raises(LLMError) as caught:
            strict.predict_topk(X)
        assert caught.value.reason == reason


@pytest.mark.parametrize("on_error", ["fallback", "raise"])
def test_an_endpoint_that_is_down(endpoint, on_error, no_waiting):
    with serving(lambda n, body: None) as server:
        pass
    llm = fit(**endpoint(server, on_error=on_error, max_retries=1))
    if on_error == "raise":
        with pytest.raises(LLMError, match="could not be reached"):
            llm.predict([["a"]])
        return
    with pytest.warns(UserWarning, match="connection 2"):
        assert llm.predict([["a"], ["b"]]).tolist() == ["a", "a"]
    assert llm.usage_["requests"] == 4


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("on_error", ["fallback", "raise"])
def test_a_wrong_key_raises_at_once(endpoint, status, on_error):
    """Also while an earlier row still waits for its answer."""

    def script(n, body):
        data = json.loads(body["messages"][1]["content"])
        if data["session"] == [TITLES["a"]]:
            return Answer(completion("x"), delay=3.0)
        return Answer({"error": f"bad key {SENTINEL}"}, status)

    with serving(script) as server:
        llm = fit(**endpoint(server, on_error=on_error, max_concurrency=2, timeout=9.0))
        began = time.monotonic()
        with pytest.raises(LLMError, match=f"status {status}.*{KEY}") as caught:
            llm.predict([["a"], *[[i] for i in "bcdef"]])
        assert time.monotonic() - began < 2.5
        assert SENTINEL not in "".join(traceback.format_exception(caught.value))
    assert len(server.requests) <= 3  # nothing more was sent


def test_results_in_the_order_of_the_rows(endpoint, shop_titles):
    """Answers come in another order than the questions."""
    items = list(shop_titles)[:40]
    back = {shop_titles[a]: b for a, b in zip(items, items[::-1], strict=True)}

    def script(n, body):
        (session,) = json.loads(body["messages"][1]["content"])["session"]
        answer = json.dumps({"titles": [shop_titles[back[session]]]})
        return Answer(completion(answer), delay=0.05 * ((n * 7) % 5) / 5)

    with serving(script) as server:
        llm = LLMReranker(
            PopularityRecommender(), shop_titles, mode="agent", n_shots=0,
            **endpoint(server, max_concurrency=5),
        ).fit([items])  # fmt: skip
        top = llm.predict([[item] for item in items])
    assert top.tolist() == items[::-1]
    assert 1 < server.most_at_once <= 5
    assert len(server.requests) == 40
    usage = llm.usage_
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (440, 280)


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        ({"max_requests": 3}, 3),
        ({"max_requests": 0}, 0),
        ({"max_total_tokens": 1}, 0),
        ({"max_cost": 0.0, "prices": {"prompt": 1, "completion": 1}}, 0),
    ],
)
def test_no_request_beyond_a_budget(endpoint, at_once, limit, allowed):
    X = [[i] for i in "abcdef"]
    base = PopularityRecommender().fit(TRAIN)
    script = lambda n, body: completion('{"titles": ["egg timer"]}')  # noqa: E731
    with serving(script) as server:
        llm = fit(**endpoint(server, weight=0.9, max_concurrency=at_once, **limit))
        with pytest.warns(UserWarning, match=f"budget {6 - allowed}") as seen:
            top = llm.predict(X)
        assert len(seen) == 1
        assert len(server.requests) == llm.usage_["requests"] == allowed
        assert (top == "e").sum() == allowed
        assert (top == base.predict(X)).sum() == 6 - allowed
        if at_once == 1:
            assert (top[:allowed] == "e").all()
        with pytest.warns(UserWarning, match="budget"):  # spent since fit
            llm.predict([["b", "c"]])
        assert len(server.requests) == allowed


def test_tokens_that_the_server_counts_end_it():
    """Each request may use prompt + 10 tokens and reports 1000."""
    calls = []

    class Costly:
        def complete(self, messages, **options):
            calls.append(options)
            return LLMReply('{"titles": ["egg timer"]}', "stop", 990, 10, 200)

    llm = fit(Costly(), max_total_tokens=2500, max_output_tokens=10, max_concurrency=1)
    with pytest.warns(UserWarning, match="budget 3"):
        llm.predict([[i] for i in "abcdef"])
    assert len(calls) == 3  # 0, 1000 and 2000 leave room for one more
    assert llm.usage_["prompt_tokens"] == 3 * 990
    assert calls[0]["response_format"] == {"type": "json_object"}
    assert set(calls[0]) == {
        "model", "temperature", "max_output_tokens", "response_format", "seed",
        "timeout",
    }  # fmt: skip


def test_errors_of_a_client_of_ones_own():
    def broken(messages):
        raise KeyError("secret words")

    with pytest.warns(UserWarning, match=r"error 1.*raised KeyError") as seen:
        assert fit(broken).predict([["a"]]).tolist() == ["a"]
    assert "secret words" not in str(seen[0].message)
    with pytest.raises(LLMError, match="raised KeyError"):
        fit(broken, on_error="raise").predict([["a"]])


def test_an_interrupt_sends_nothing_more(monkeypatch):
    sent, go_on = [], threading.Event()

    def slow(messages):
        sent.append(1)
        go_on.wait(0.3)
        return '{"titles": ["egg timer"]}'

    from skclip.llm import _asking

    def interrupted(futures):
        raise KeyboardInterrupt

    monkeypatch.setattr(_asking, "as_completed", interrupted)
    llm = fit(slow, max_concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        llm.predict([[i] for i in "abcdef"])
    go_on.set()
    time.sleep(0.1)
    assert len(sent) <= 1


def test_without_the_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    llm = fit(None, model="m", base_url="http://localhost:9/v1")
    with pytest.raises(ImportError, match=r"skclip\[llm\]"):
        llm.predict([["a"]])


# -- keys ------------------------------------------------------------------------------


def test_the_key_is_nowhere(endpoint, tmp_path, caplog, capfd):
    """repr, parameters, logs, warnings, errors, pickles, files: none holds it."""
    caplog.set_level(logging.DEBUG)
    found = []

    def script(n, body):
        if n == 0:
            return completion('{"titles": ["egg timer"]}')
        return Answer({"error": f"Incorrect key {SENTINEL}"}, 500 if n < 3 else 401)

    with serving(script) as server:
        llm = fit(**endpoint(server, cache=tmp_path / "answers.db", max_concurrency=1))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            llm.predict([["a"], ["b"], ["c"]])
        found += [str(w.message) for w in caught]
        # Sockets of earlier tests may be collected, and warn, at any time.
        assert sum(issubclass(w.category, UserWarning) for w in caught) == 1, found
        with pytest.raises(LLMError) as error:
            llm.predict([["d"]])
    sent = {k.lower(): v for k, v in server.headers[0].items()}
    assert sent["authorization"] == f"Bearer {SENTINEL}"
    assert not any(SENTINEL in json.dumps(body) for body in server.requests)
    exception = error.value
    assert exception.__cause__ is exception.__context__ is None
    found += traceback.format_exception(exception)
    found += [repr(exception), repr(vars(exception)), repr(pickle.dumps(exception))]
    found += [repr(llm), str(llm), llm._repr_html_(), repr(llm.get_params())]
    found += [repr(vars(llm)), repr(llm.usage_), repr(vars(llm._meter))]
    found += [repr(pickle.dumps(llm)), caplog.text, *capfd.readouterr()]
    joblib.dump(llm, tmp_path / "llm.joblib")
    skclip.save(llm, tmp_path / "llm.skclip")
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(files) >= 3
    assert "httpx2" in caplog.text or "openai" in caplog.text  # logs were there
    assert not any(SENTINEL in text for text in found)
    assert not any(SENTINEL.encode() in data for data in files)


# -- cache -----------------------------------------------------------------------------


def test_memory_keeps_answers_of_one_client():
    calls = []

    def one(messages):
        calls.append("one")
        return '{"titles": ["egg timer"]}'

    def other(messages):
        calls.append("other")
        return '{"titles": ["dog basket"]}'

    llm = fit(one, weight=0.9)
    assert llm.predict([["a"]]) == llm.predict([["a"]]) == ["e"]
    assert calls == ["one"]
    assert llm.usage_["cache_hits"] == 1
    assert llm.set_params(client=other).predict([["a"]]) == ["d"]
    assert calls == ["one", "other"]


def test_a_file_of_answers(tmp_path):
    path = tmp_path / "answers.db"
    answers = ['{"titles": ["egg timer"]}', "nonsense"]

    def client(messages):
        return answers[user(messages)["session"] == [TITLES["b"]]]

    old_umask = os.umask(0)
    try:
        llm = fit(client, weight=0.9, cache=path)
        with pytest.warns(UserWarning, match="not_json 1"):
            first = llm.predict([["a"], ["b"]])
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    db = sqlite3.connect(path)
    rows = db.execute("SELECT key, value FROM answers").fetchall()
    assert [json.loads(value) for _, value in rows] == [["egg timer"]]
    assert re.fullmatch("[0-9a-f]{64}", rows[0][0])
    again = fit(client, weight=0.9, cache=str(path), max_requests=0)
    with pytest.warns(UserWarning, match="budget 1"):  # what did not parse is not kept
        assert again.predict([["a"], ["b"]]).tolist() == first.tolist()
    warmer = fit(client, weight=0.9, cache=path, temperature=0.5)
    assert warmer.estimate_cost([["a"]])["requests"] == 1
    assert again.estimate_cost([["a"]])["requests"] == 0
    for bad in ("{", '"text"', "[]", "[3]", "null"):  # changed by hand: ask again
        db.execute("UPDATE answers SET value = ?", (bad,))
        db.commit()
        assert again.estimate_cost([["a"]])["requests"] == 1
    db.close()


def test_a_kept_ranking_must_fit_the_candidates(tmp_path):
    def client(messages):
        return json.dumps({"ranking": [c["id"] for c in user(messages)["candidates"]]})

    llm = fit(client, mode="rerank", cache=tmp_path / "a.db")
    llm.predict([["a"]])
    with sqlite3.connect(tmp_path / "a.db") as db:
        db.execute("UPDATE answers SET value = ?", ('["c01", "c99"]',))
    db.close()
    assert llm.estimate_cost([["a"]])["requests"] == 1


def test_a_file_that_is_no_cache(tmp_path):
    (tmp_path / "notes.txt").write_text("my notes " * 200)
    llm = fit(says("egg timer"), cache=tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"notes.txt' is no cache of answers"):
        llm.predict([["a"]])
    assert (tmp_path / "notes.txt").read_text() == "my notes " * 200


def test_a_cache_that_breaks_loses_nothing(tmp_path, monkeypatch):
    from skclip.llm._cache import FileCache

    def broken(self, *args):
        raise sqlite3.OperationalError("disk is full")

    monkeypatch.setattr(FileCache, "put", broken)
    monkeypatch.setattr(FileCache, "get", broken)
    llm = fit(says("egg timer"), weight=0.9, cache=tmp_path / "a.db")
    assert llm.predict([["a"]]) == ["e"]
    assert llm.usage_["cache_errors"] == 2


# -- state -----------------------------------------------------------------------------


def egg_timer(messages):
    return '{"titles": ["egg timer"]}'


@pytest.mark.parametrize("by", ["pickle", "joblib", "save"])
def test_files_leave_the_client_out(by, tmp_path, fitted, shop_split):
    llm = fit(egg_timer, weight=0.9, n_shots=2)
    expected = llm.predict_topk([["a"], ["b"]], k=3)
    if by == "pickle":
        data = pickle.dumps(llm)
        assert b"egg_timer" not in data.replace(b"not saved: egg_timer", b"")
        again = pickle.loads(data)
    elif by == "joblib":
        joblib.dump(llm, tmp_path / "a")
        again = joblib.load(tmp_path / "a")
    else:
        skclip.save(llm, tmp_path / "a")
        again = skclip.load(tmp_path / "a")
    assert again.usage_ == llm.usage_
    with pytest.raises(ValueError, match=r"not saved: egg_timer.*set_params\(client="):
        again.predict([["a"]])
    assert again.set_params(weight=0).predict([["a"]]) == ["a"]
    again.set_params(weight=0.9, client=egg_timer)
    np.testing.assert_array_equal(again.predict_topk([["a"], ["b"]], k=3), expected)
    assert again.usage_["requests"] == llm.usage_["requests"] + 2
    assert llm.client is egg_timer  # the one that was saved keeps it


def test_numbers_as_ids_are_saved(tmp_path):
    titles = {1: "egg timer", 2: "dog basket"}
    llm = LLMReranker(PopularityRecommender(), titles, model="m").fit([[1, 2], [2]])
    skclip.save(llm, tmp_path / "a")
    again = skclip.load(tmp_path / "a")
    assert again.item_titles == titles
    assert again.get_params(deep=False).keys() == llm.get_params(deep=False).keys()
    assert again.set_params(weight=0).predict([[1]]) == [2]


def test_clones_share_what_cannot_be_copied(fitted, shop_titles, shop_split):
    train, test = shop_split
    lock = threading.Lock()  # cannot be copied

    class Client:
        def __init__(self):
            self.lock = lock

        def complete(self, messages, **options):
            return LLMReply('{"titles": []}')

    client = Client()
    llm = LLMReranker(fitted, shop_titles, client=client, prefit=True)
    copy = clone(llm)
    assert copy.client is client
    assert copy.estimator is fitted
    assert copy.item_titles is not shop_titles
    assert not hasattr(copy, "estimator_")
    other = clone(LLMReranker(fitted, shop_titles, client=client))
    assert other.estimator is not fitted
    assert not hasattr(other.estimator, "item_ids_")
    with pytest.raises(Exception, match="not fitted"):
        other.predict(test)


def test_searches(fitted, shop_split, shop_titles):
    train, _ = shop_split
    title = shop_titles["item-003"]
    llm = LLMReranker(fitted, shop_titles, client=says(title), prefit=True, n_shots=0)
    search = GridSearchCV(llm, {"weight": [0.0, 0.3], "protect_top": [1]}, cv=2,
                          error_score="raise").fit(train[:60])  # fmt: skip
    assert search.best_params_["weight"] == 0.0
    assert skclip.predict_topk(search, train[:3], 4).shape == (3, 4)
    result = cross_validate(
        llm, train[:40], cv=2, scoring=SessionScorer("mrr@5", "recall@20")
    )
    assert (result["test_recall@20"] > 0).all()
    nested = LLMReranker(PopularityRecommender(), shop_titles, client=says(title))
    assert nested.set_params(estimator__scoring="recall@3").fit(train)._scoring == (
        "recall@3"
    )
    twice = LLMReranker(nested, shop_titles, client=says(title), n_shots=0).fit(train)
    assert twice.predict_topk(train[:2], k=3).shape == (2, 3)


def test_clients_do_not_reach_worker_processes(shop_split, shop_titles):
    """`fit` says so there; threads share the client."""
    train, _ = shop_split
    client = says(shop_titles["item-003"])
    llm = LLMReranker(PopularityRecommender(), shop_titles, client=client, n_shots=0)
    with pytest.raises(ValueError, match=r"client=None.*n_jobs=1.*threading"):
        pickle.loads(pickle.dumps(llm)).fit(train)
    search = GridSearchCV(llm, {"weight": [0.3]}, cv=2, n_jobs=2, error_score="raise")
    with joblib.parallel_backend("threading"):
        assert np.isfinite(search.fit(train[:40]).best_score_)


def test_worker_processes_make_the_default_client(endpoint, shop_split, shop_titles):
    train, _ = shop_split
    answer = completion(json.dumps({"titles": [shop_titles["item-003"]]}))
    with serving(lambda n, body: answer) as server:
        params = endpoint(server, n_shots=0)
        llm = LLMReranker(PopularityRecommender(), shop_titles, **params)
        search = GridSearchCV(llm, {"weight": [0.3]}, cv=2, n_jobs=2,
                              error_score="raise").fit(train[:20])  # fmt: skip
        assert np.isfinite(search.best_score_)
        assert server.requests


def test_a_base_that_has_changed():
    base = PopularityRecommender().fit(TRAIN)
    llm = LLMReranker(base, TITLES, client=egg_timer, prefit=True).fit(TRAIN)
    base.fit([*TRAIN, ["new"]])
    with pytest.raises(ValueError, match="base has 7 items now, 6 when"):
        llm.predict([["a"]])


# -- wrong input -----------------------------------------------------------------------


def test_missing_titles():
    titles = TITLES | {"a": None, "b": float("nan"), "c": " "}
    titles.pop("d")
    sent = []

    def client(messages):
        sent.append(user(messages))
        return json.dumps({"ranking": [sent[-1]["candidates"][1]["id"]]})

    llm = LLMReranker(
        PopularityRecommender(), titles, mode="rerank", client=client, weight=1.0,
        protect_top=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="4 of 6 items have no title"):
        llm.fit(TRAIN)
    assert llm.n_missing_titles_ == 4
    top = llm.predict_topk([["a", "e"], ["a"]], k=6)
    assert sent[0]["session"] == ["egg timer"]
    assert {c["title"] for c in sent[0]["candidates"]} == {"egg timer", "fruit bowl"}
    assert set(top[0, :2]) == {"e", "f"}
    assert top[1].tolist() == list("abcdef")  # no titles, no request
    assert len(sent) == 1


def test_series_and_functions_of_ids():
    series = pd.Series(TITLES)
    for titles in (series, TITLES.get, lambda item: f"the item {item}"):
        llm = LLMReranker(PopularityRecommender(), titles, client=egg_timer)
        llm.fit(TRAIN)
        assert llm._titles == [
            titles(i) if callable(titles) else TITLES[i] for i in "abcdef"
        ]
    twice = pd.concat([series, series[:1]])
    with pytest.raises(ValueError, match="two titles for the id 'a'"):
        LLMReranker(PopularityRecommender(), twice, client=egg_timer).fit(TRAIN)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"item_titles": {1: "a"}}, ValueError, r"like 'a' \(str\).* like 1 \(int\)"),
        ({"item_titles": {"a": 3}}, TypeError, "has 3 for the id 'a'. Expected text"),
        ({"item_titles": ["x"]}, ValueError, "'item_titles' parameter"),
        ({"mode": "chat"}, ValueError, "'mode' parameter"),
        ({"weight": 1.5}, ValueError, "'weight' parameter"),
        ({"client": 3}, TypeError, "client is a int"),
        ({"max_cost": 1}, ValueError, "max_cost=1 needs prices"),
        ({"prices": {"prompt": 1}}, ValueError, r"prices=\{'prompt': 1\}"),
        ({"prices": {"prompt": -1, "completion": 1}}, ValueError, "prices="),
        ({"estimator": SessionClusterer()}, TypeError, "SessionClusterer"),
        ({"text_encoder": 3}, ValueError, "'text_encoder' parameter"),
        ({"prompt_version": "2"}, ValueError, "'prompt_version' parameter"),
    ],
)
def test_bad_parameters(params, error, message):
    llm = reranker(egg_timer).set_params(**params)
    with pytest.raises(error, match=message):
        llm.fit(TRAIN)


def test_what_the_endpoint_needs(monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.delenv(KEY, raising=False)
    for params, message in (
        ({}, "model=None"),
        ({"model": "m"}, f"{KEY} is not set"),
        ({"model": "m", "base_url": "http://example.org"}, "Expected https"),
    ):
        llm = fit(None, **{"base_url": "https://example.org/v1", "api_key_env": KEY,
                           **params})  # fmt: skip
        with pytest.raises(ValueError, match=message):
            llm.predict([["a"]])
        assert llm.usage_["requests"] == 0


def test_a_base_that_is_not_fitted():
    llm = LLMReranker(PopularityRecommender(), TITLES, prefit=True, client=egg_timer)
    with pytest.raises(Exception, match="not fitted"):
        llm.fit(TRAIN)


def test_sessions_of_every_kind():
    llm = fit(egg_timer, weight=0.9)
    X = Sessions.from_lists([["a"], ["b", "new"]], ids=[7, 8])
    for rows in (X, X.to_lists(), pd.Series(X.to_lists())):
        assert llm.predict(rows).tolist() == ["e", "e"]
    with pytest.raises(TypeError, match="X is a data frame"):
        llm.predict(pd.DataFrame({"a": [1]}))


# -- every case of the parser, over the wire -------------------------------------------


@pytest.mark.parametrize("mode", ["expand", "rerank"])
def test_every_case_of_the_parser_over_the_wire(endpoint, mode):
    """A row for each case: its answer is used, or the row keeps the base list."""
    cases = list((EXPAND if mode == "expand" else RERANK).values())
    items = [f"i{n:02d}" for n in range(len(cases))]
    titles = {item: f"{item} thing" for item in items}
    titles |= {"x": "a", "y": "b", "z": "c"}  # what the answers name
    row_of = {titles[item]: n for n, item in enumerate(items)}
    train = [["x", "y", "z"], ["x", "y", "z", "x"], *[[item] for item in items]]

    def script(n, body):
        asked = json.loads(body["messages"][1]["content"])
        text = cases[row_of[asked["session"][0]]][0]
        if mode == "rerank" and text:  # ids of this request for those of the table
            names = {c["title"]: c["id"] for c in asked["candidates"]}
            for place, title in enumerate("abc", 1):
                text = text.replace(f'"c{place}"', f'"{names[title]}"')
        return completion(text)

    with serving(script) as server:
        llm = LLMReranker(
            PopularityRecommender(), titles, mode=mode, n_generate=2, n_candidates=3,
            n_shots=0, protect_top=0, weight=1.0, min_similarity=1.0,
            **endpoint(server, timeout=20.0),
        ).fit(train)  # fmt: skip
        with pytest.warns(UserWarning, match="rows keep the list of the base"):
            top = llm.predict_topk([[item] for item in items], k=3)
    assert len(server.requests) == len(cases)
    base = llm.estimator_.predict_topk([["x"]], k=3)[0].tolist()
    item_of = {"a": "x", "b": "y", "c1": "x", "c2": "y", "c3": "z"}
    reasons = Counter()
    for (text, entries, faults), row in zip(cases, top.tolist(), strict=True):
        meant = [item_of.get(normal_form(entry)) for entry in entries]
        named = [item for item in meant if item]
        expected = named + [item for item in base if item not in named]
        assert row == expected[:3], text
        if not named:
            fatal = [f for f in faults or ["not_json"] if f not in ("unknown_id",)]
            reasons[fatal[-1] if fatal and not entries else "unmapped"] += 1
    assert llm.fallbacks_ == reasons
    assert set(reasons) >= {"empty", "schema", "unmapped"}
