"""LLMReranker: parameters, fusion, what is asked, state, wrong input."""

import json
import pickle
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from chat_server import completion, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from juice_shop import TITLES, TRAIN, Recorder, asked, egg_timer, fit, reranker, says
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

import skclip
from skclip import LLMReranker, PopularityRecommender, SessionClusterer
from skclip.llm import Budget, ChatModel, Examples, TitleMatching, When
from skclip.llm._rank_fusion import borda, fused_scores
from skclip.metrics import SessionScorer


def refuse(messages):
    raise AssertionError("a request was sent")


# -- parameters ------------------------------------------------------------------------


def test_parts_have_parameters_of_their_own():
    llm = LLMReranker(PopularityRecommender(), TITLES)
    names = llm.get_params()
    assert (names["model__max_retries"], names["budget__max_cost"]) == (3, None)
    assert (names["when__rows"], names["when__margin"]) == ("always", 0.1)
    assert (names["examples__selection"], names["examples__n_shots"]) == ("knn", 3)
    assert names["matching__min_similarity"] == 0.55
    assert names["estimator__scoring"] == "mrr@20"
    assert llm.model is llm.matching is llm.budget is None  # listing changes nothing
    llm.set_params(model__timeout=2.0, model="tiny", when="cold", when__rare_count=2)
    assert (llm.model.name, llm.model.timeout) == ("tiny", 2.0)
    assert (llm.when.rows, llm.when.rare_count) == ("cold", 2)
    llm.set_params(examples=None, examples__selection="recent")
    assert (llm.examples.selection, llm.examples.n_shots) == ("recent", 0)
    with pytest.raises(ValueError, match="Did you mean 'model__max_retries'"):
        llm.set_params(model__max_retry=1)
    copy = clone(llm)
    assert copy.model is not llm.model
    assert repr(copy) == repr(llm)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"item_titles": {1: "a"}}, ValueError, r"like 'a' \(str\).* like 1 \(int\)"),
        ({"item_titles": {"a": 3}}, TypeError, "has 3 for the id 'a'. Expected text"),
        ({"item_titles": ["x"]}, ValueError, "'item_titles' parameter"),
        ({"mode": "chat"}, ValueError, "'mode' parameter"),
        ({"weight": 1.5}, ValueError, "'weight' parameter"),
        ({"client": 3}, TypeError, "client is a int"),
        ({"budget": Budget(max_cost=1)}, ValueError, "max_cost=1 needs prompt_price"),
        (
            {"budget__prompt_price": -1},
            ValueError,
            "'prompt_price' parameter of Budget",
        ),
        ({"budget": {}}, ValueError, "'budget' parameter of LLMReranker"),
        ({"estimator": SessionClusterer()}, TypeError, "SessionClusterer"),
        ({"matching__encoder": 3}, ValueError, "'encoder' parameter of TitleMatching"),
        ({"model__timeout": 0}, ValueError, "'timeout' parameter of ChatModel"),
        ({"when__margin": 2}, ValueError, "'margin' parameter of When"),
        ({"examples__n_shots": -1}, ValueError, "'n_shots' parameter of Examples"),
    ],
)
def test_bad_parameters(params, error, message):
    with pytest.raises(error, match=message):
        reranker(egg_timer).set_params(**params).fit(TRAIN)


def test_a_fit_that_fails_changes_nothing(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    llm, fresh = fit(egg_timer, weight=0.9), reranker(egg_timer)
    before = vars(llm).copy()
    with pytest.raises(ValueError, match="empty"):
        llm.fit([[]])
    with pytest.raises(TypeError, match="has 3"):
        llm.set_params(item_titles=lambda item: 3).fit(TRAIN)
    llm.set_params(item_titles=TITLES)
    monkeypatch.setattr("skclip.llm._questions.encoded", interrupted)
    for some in (llm, fresh):
        with pytest.raises(KeyboardInterrupt):
            some.fit([["a", "new"]])
    assert vars(llm) == before
    assert llm.predict([["b"]]) == ["e"]
    with pytest.raises(Exception, match="not fitted"):
        fresh.predict([["a"]])


# -- fusion ----------------------------------------------------------------------------


def test_over_a_pipeline_as_over_its_recommender(fitted, shop_split, shop_titles):
    """With weight 0 all is the base, bit for bit, and nothing is sent."""
    train, test = shop_split[0], shop_split[1][:30]
    clusterer = SessionClusterer(random_state=0).fit(train)
    names = list(shop_titles.values())

    def five_names(messages):
        start = len(messages[1]["content"]) % 70
        return json.dumps({"titles": names[start : start + 5]})

    def answers(model):
        options = {"k": 9, "return_scores": True, "exclude_seen": True}
        ranks, scores = model.rank_targets(test), model.decision_function(test)
        return (*model.predict_topk(test, **options), ranks, scores, model.score(test))

    expected, changed = answers(fitted), []
    for base in (fitted, make_pipeline(clusterer, fitted), FrozenEstimator(fitted)):
        llm = LLMReranker(base, shop_titles, client=refuse, weight=0, prefit=True)
        llm.fit(train)
        for mode in ("expand", "rerank", "agent"):
            for a, b in zip(answers(llm.set_params(mode=mode)), expected, strict=True):
                np.testing.assert_array_equal(a, b)
        assert llm.usage_["requests"] == llm.usage_["asked"] == 0
        llm.set_params(client=five_names, mode="expand", weight=0.3)
        changed.append(answers(llm))
        for a, b in zip(changed[-1], changed[0], strict=True):
            np.testing.assert_array_equal(a, b)
    assert (changed[0][0] != expected[0]).any()


def test_reciprocal_rank_fusion_by_hand():
    """Base a b c d e=f; the model names d, then f, then something unknown."""
    llm = fit(says("Dog basket", "fruit bowl", "qqq zzz"))
    # a 1/61/2, b 1/62/2, c 1/63/2, d (1/64 + 1/61)/2, f (1/66 + 1/62)/2, e 1/66/2
    assert "".join(llm.predict_topk([["a"]], k=6)[0]) == "dfabce"
    llm.set_params(protect_top=2)
    assert "".join(llm.predict_topk([["a"]], k=6)[0]) == "abdfce"
    light = fit(says("Dog basket"), weight=0.01)
    # d: .99/64 + .01/61 = .015633; c: .99/63 = .015714
    assert "".join(light.predict_topk([["a"]], k=4)[0]) == "abcd"
    agent = fit(says("Dog basket", "egg timer"), mode="agent", protect_top=3)
    assert "".join(agent.predict_topk([["a"]], k=6)[0]) == "deabcf"


def naive_order(scores, items, weight, protect):
    """Sort by the sentence of the docstring, with Python's own sort."""
    n = len(scores)
    rank = [sum(scores[j] >= scores[i] for j in range(n)) for i in range(n)]
    base = sorted(range(n), key=lambda i: (-scores[i], i))

    def value(i):
        found = weight / (61 + items.index(i)) if i in items else 0.0
        return (1 - weight) / (60 + rank[i]) + found

    rest = sorted(base[protect:], key=lambda i: (-value(i), rank[i], i))
    return base[:protect] + rest


@settings(max_examples=300)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.data(),
    st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]),
    st.integers(0, 4),
)
def test_fusion_equals_a_plain_sort(rows, data, weight, protect):
    places = st.integers(0, len(rows) - 1)
    items = data.draw(st.lists(places, unique=True, max_size=len(rows)))
    scores = np.array(rows, dtype=np.float32)
    fused = fused_scores(scores, items, weight, protect)
    order = np.argsort(-fused, kind="stable").tolist()
    assert order == naive_order(rows, items, weight, protect)
    # What was equal and is not named is equal still, and counts against the target.
    kept = set(np.argsort(-scores, kind="stable")[:protect].tolist())
    free = [i for i in range(len(rows)) if i not in kept | set(items)]
    assert all(fused[i] == fused[j] for i in free for j in free if rows[i] == rows[j])
    assert (fused > 0).all()


def test_items_that_are_left_out_stay_out():
    scores = np.array([3, -np.inf, 2, -np.inf, 1], dtype=np.float32)
    fused = fused_scores(scores, [1, 4], 0.9, protect=4)
    np.testing.assert_array_equal(np.isneginf(fused), np.isneginf(scores))
    fused = fused_scores(scores, [1, 4], 0.9)
    assert np.argsort(-fused)[:3].tolist() == [4, 0, 2]


def test_ties_of_the_base_count_against_the_target():
    llm = fit(says("coffee mill"))
    # e and f are equal in the base: both rank 6; c is named and leads.
    assert llm.rank_targets([["a"]] * 4, ["e", "f", "c", "a"]).tolist() == [6, 6, 1, 2]


def test_filters_act_first():
    def e_first(messages):
        by_title = {c["title"]: c["id"] for c in asked(messages)["candidates"]}
        return json.dumps({"ranking": [by_title[TITLES["e"]]]})

    client = Recorder(e_first)
    llm = fit(client, mode="rerank", n_candidates=3, weight=1.0)
    top = llm.predict_topk([["a"]], k=4, deny=["b", "c"], exclude_seen=True)
    assert top.tolist() == [["e", "d", "f", ""]]
    shown = {c["title"] for c in client.prompts[0]["candidates"]}
    assert shown == {TITLES[i] for i in "def"}
    named, allow = fit(says("bread knife"), weight=1.0), [["a", "c"], ["b", "c"]]
    top = named.predict_topk([["a"], ["c"]], k=3, allow=allow)
    assert top.tolist() == [["a", "c", ""], ["b", "c", ""]]


# -- what is asked ---------------------------------------------------------------------


def in_the_order_shown(messages):
    return json.dumps({"ranking": [c["id"] for c in asked(messages)["candidates"]]})


def test_rerank_orders_the_first_candidates_alone():
    def backwards(messages):
        order = sorted(asked(messages)["candidates"], key=lambda c: c["title"])
        return json.dumps({"ranking": [c["id"] for c in order[::-1]]})

    llm = fit(backwards, mode="rerank", n_candidates=3, weight=1.0)
    assert "".join(llm.predict_topk([["a"]], k=6)[0]) == "cbadef"


def test_candidates_have_ids_of_this_request_in_a_shuffled_order(shop_titles):
    client = Recorder(in_the_order_shown)
    rows = [[item] for item in list(shop_titles)[:30]]
    llm = reranker(client, item_titles=shop_titles, mode="rerank")

    def prompts(rows, **params):
        client.prompts.clear()
        clone(llm).set_params(**params).fit([list(shop_titles)]).predict(rows)
        return sorted(map(json.dumps, client.prompts))

    first = prompts(rows)
    assert not any(item in prompt for item in shop_titles for prompt in first)
    shown = [prompt["candidates"] for prompt in client.prompts]
    assert len({row[0]["title"] for row in shown}) > 5  # an order for each session
    names = [f"c{i:02d}" for i in range(1, 21)]
    assert all([c["id"] for c in row] == names for row in shown)
    assert prompts(rows[::-1]) == first  # by a seed of its own
    assert prompts(rows, seed=1) != first


def test_permutations_are_merged_by_borda_count():
    assert borda([[1, 2, 3], [3, 1, 2], [1, 3, 2]]) == [1, 3, 2]
    assert borda([[1, 2], [2, 1]]) == [1, 2]
    client = Recorder(in_the_order_shown)
    llm = fit(client, mode="rerank", n_permutations=4, weight=1.0)
    found = llm.predict_topk([["a"]], k=6)[0].tolist()
    orders = [[c["title"] for c in prompt["candidates"]] for prompt in client.prompts]
    assert len({tuple(order) for order in orders}) > 1
    points = {t: sum(len(o) - o.index(t) for o in orders) for t in orders[0]}
    assert [points[TITLES[i]] for i in found] == sorted(points.values(), reverse=True)
    assert llm.usage_["requests"] == 4

    def half(messages):
        return "nonsense" if len(client.prompts) % 2 else in_the_order_shown(messages)

    client = Recorder(half)
    some = fit(client, mode="rerank", n_permutations=3, model__max_concurrency=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one good answer is enough for a row
        some.predict([["a"]])
    assert some.fallbacks_ == {}
    assert len(client.prompts) == 3


def test_items_with_equal_titles_are_those_of_the_row():
    """Equal prompts, answered once, whose candidates are different items."""

    def cup_first(messages):
        names = {c["title"]: c["id"] for c in asked(messages)["candidates"]}
        return json.dumps({"ranking": [names["cup"], names["saw"]]})

    client = Recorder(cup_first)
    llm = reranker(client, mode="rerank", weight=1.0)
    llm.set_params(item_titles={"a": "tea", "x": "cup", "y": "cup", "z": "saw"})
    llm.fit([["z", "a"], ["z", "x", "y", "z"]])
    found = llm.predict_topk([["a"], ["a"]], 2, deny=[["a", "x"], ["a", "y"]])
    assert found.tolist() == [["y", "z"], ["x", "z"]]
    assert len(client.prompts) == 1


def test_prompts_hold_what_was_observed_alone(shop_titles, fitted, shop_split):
    train, test = shop_split
    client = Recorder(says("xyz"))
    llm = LLMReranker(fitted, shop_titles, client=client, prefit=True)
    prefixes, targets = test[:12].to_prefixes()
    known = np.isin(targets, fitted.item_ids_)  # others are misses, and not asked about
    prefixes, targets = prefixes[known], targets[known]
    prompts = []
    for y in (targets, np.roll(targets, 1)):
        with pytest.warns(UserWarning, match="unmapped"):
            clone(llm).fit(train).rank_targets(prefixes, y)
        prompts.append(sorted(map(str, client.prompts)))
        sent, client.prompts = client.prompts, []
    assert prompts[0] == prompts[1]  # the target of a row changes nothing that is sent
    told = {tuple(shop_titles[i] for i in row[-20:].tolist()) for row in prefixes}
    assert {tuple(p["session"]) for p in sent} <= told
    titles = [[shop_titles[i] for i in row] for row in train.to_lists()]
    for prompt in sent:
        assert prompt["most_recent"] == prompt["session"][-1]
        assert len({e["next"] for e in prompt["examples"]}) == 3
        for example in prompt["examples"]:
            assert [*example["session"], example["next"]] in titles
            assert example["session"] != prompt["session"]


def test_unseen_items_speak_by_their_title():
    client = Recorder()
    llm = fit(client, weight=0.9)
    llm.predict_topk([["new", "unknown", "a"], ["unknown"], []], k=2)
    (prompt,) = client.prompts  # rows without titles: none
    assert prompt["session"] == ["novel gadget", "apple juice"]
    assert (llm.usage_["rows"], llm.usage_["asked"]) == (3, 1)


@pytest.mark.parametrize("selection", ["knn", "random", "recent"])
def test_examples(selection):
    client = Recorder()
    for examples, row in ((Examples(selection, n_shots=2), "c"), (None, "c"),
                          (selection, "new")):  # fmt: skip
        fit(client, examples=examples).predict([[row]])
    assert [len(prompt["examples"]) for prompt in client.prompts] == [2, 0, 3]


def test_fit_with_targets_and_in_any_order_of_rows():
    client = Recorder()
    X, y = [row[:-1] for row in TRAIN], [row[-1] for row in TRAIN]
    for a, b in ((TRAIN, None), (X, y), (TRAIN[::-1], None), (X[::-1], y[::-1])):
        reranker(client, examples="knn").fit(a, b).predict([["d", "c"]])
    first, *others = [prompt["examples"] for prompt in client.prompts]
    assert all(other == first for other in others)
    assert len(first) == 3


def test_equal_prompts_are_sent_once():
    client = Recorder()
    llm = fit(client, weight=0.9)
    top = llm.predict_topk([["a"], ["b"], ["a"], ["a"]], k=2)
    assert len(client.prompts) == 2
    assert top[0].tolist() == top[2].tolist() == top[3].tolist()
    usage = llm.usage_
    assert (usage["requests"], usage["cache_hits"], usage["asked"]) == (2, 2, 4)


def test_when_cold_or_a_callable_says_so():
    def rows_asked(X, **params):
        client = Recorder()
        fit(client, **params).predict(X)
        return sorted(prompt["session"] for prompt in client.prompts)

    X = [["a"], ["a", "e"], ["new"], ["b"]]
    cold = [["apple juice", "egg timer"], ["novel gadget"]]
    assert rows_asked(X, when=When("cold", rare_count=2)) == cold
    assert len(rows_asked(X, when="cold")) == 3  # fewer than 5 events
    assert rows_asked(X, when="cold", when__rare_count=0) == []
    assert rows_asked(X, when=lambda rows: [row[-1] in "en" for row in rows]) == [
        cold[0]
    ]
    with pytest.raises(ValueError, match=r"shape \(2,\). Expected a mask of shape \(4"):
        rows_asked(X, when=lambda rows: [True, False])


def test_when_uncertain(fitted, shop_split, shop_titles):
    train, test = shop_split[0], shop_split[1][:30]
    scores = fitted.decision_function(test).astype(np.float64)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    second, first = np.sort(shares, axis=1)[:, -2:].T
    entropies = -(shares * np.log(shares)).sum(axis=1) / np.log(shares.shape[1])
    margin, entropy = np.quantile(first - second, 0.3), np.quantile(entropies, 0.8)
    expected = (first - second < margin) | (entropies > entropy)
    assert 0 < expected.sum() < 30
    client = says(next(iter(shop_titles.values())))
    llm = LLMReranker(fitted, shop_titles, client=client, prefit=True, when="uncertain")
    llm.set_params(when__margin=margin, when__entropy=entropy).fit(train)
    changed = llm.decision_function(test) != fitted.decision_function(test)
    np.testing.assert_array_equal(changed.any(axis=1), expected)
    assert llm.usage_["asked"] == llm.estimate_cost(test)["asked"] == expected.sum()


def test_estimate_cost_sends_nothing_and_is_what_is_sent():
    client = Recorder()
    budget = Budget(prompt_price=2.0, completion_price=8.0)
    llm = fit(client, budget=budget, model__max_output_tokens=100)
    X = [["a", "b", "c"], ["a", "b"], ["new", "e"], [], ["a", "qq"]]
    estimate, whole = llm.estimate_cost(X), llm.estimate_cost(X, every_prefix=True)
    assert not client.prompts
    assert (estimate["rows"], estimate["asked"], estimate["requests"]) == (5, 4, 4)
    assert estimate["completion_tokens"] == 400
    cost = (estimate["prompt_tokens"] * 2 + 400 * 8) / 1e6
    assert estimate["cost"] == pytest.approx(cost)
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


@pytest.mark.parametrize("when", ["always", "uncertain"])
@pytest.mark.parametrize("mode", ["expand", "rerank", "agent"])
def test_the_base_ranks_a_row_before_the_model_is_asked(mode, when, monkeypatch):
    """Two rows at a time; each is scored once. A base that fails costs nothing."""
    told = []

    class Base(PopularityRecommender):
        def _masked_chunks(self, queries, mask=None):
            if len(queries) == 1:
                raise MemoryError("the base")
            for at, scores in super()._masked_chunks(queries, mask):
                told.extend(("scored", TITLES["abcdef"[i]]) for i in at)
                yield at, scores

    def client(messages):
        told.append(("asked", asked(messages)["most_recent"]))
        return '{"titles": ["egg timer"], "ranking": ["c02", "c01"]}'

    monkeypatch.setattr("skclip.baselines._base.rows_per_chunk", lambda n_items: 2)
    llm = reranker(client, estimator=Base(), mode=mode, when=When(when, margin=1.0))
    llm.fit(TRAIN).predict([[i] for i in "abcdef"])
    with pytest.raises(MemoryError, match="the base"):
        llm.predict([["a"]])
    assert [kind for kind, _ in told] == ["scored", "scored", "asked", "asked"] * 3
    titles = [title for _, title in told]
    for start in (0, 4, 8):
        assert set(titles[start : start + 2]) == set(titles[start + 2 : start + 4])
    assert sorted(titles) == sorted([TITLES[i] for i in "abcdef"] * 2)


# -- state -----------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["pickle", "joblib", "skclip"])
def test_files_leave_the_client_out(by, tmp_path):
    parts = {"examples": Examples(n_shots=2), "model": ChatModel("m", timeout=3.0)}
    parts |= {"when": When("cold", rare_count=99), "budget": Budget(max_requests=9)}
    llm = fit(egg_timer, weight=0.9, matching=TitleMatching(), **parts)
    expected = llm.predict_topk([["a"], ["b"]], k=3)
    if by == "pickle":
        data = pickle.dumps(llm)
        assert b"egg_timer" not in data.replace(b"not saved: egg_timer", b"")
        again = pickle.loads(data)
    else:
        (joblib.dump if by == "joblib" else skclip.save)(llm, tmp_path / "a")
        again = (joblib if by == "joblib" else skclip).load(tmp_path / "a")
    assert again.model.timeout == 3.0
    assert again.usage_ == llm.usage_
    with pytest.raises(ValueError, match=r"not saved: egg_timer.*set_params\(client="):
        again.predict([["a"]])
    assert again.set_params(weight=0).predict([["a"]]) == ["a"]
    again.set_params(weight=0.9, client=egg_timer)
    np.testing.assert_array_equal(again.predict_topk([["a"], ["b"]], k=3), expected)
    assert again.usage_["requests"] == llm.usage_["requests"] + 2
    assert llm.client is egg_timer  # the one that was saved keeps it


def test_clones_share_what_cannot_be_copied(fitted, shop_titles):
    class Client:
        def __init__(self):
            self.lock = threading.Lock()  # cannot be copied

        def __call__(self, messages):
            return '{"titles": []}'

    llm = LLMReranker(fitted, shop_titles, client=Client(), prefit=True)
    copy, other = clone(llm), clone(llm.set_params(prefit=False))
    assert copy.client is other.client is llm.client
    assert copy.estimator is fitted
    assert copy.item_titles is not shop_titles
    assert other.estimator is not fitted
    assert not hasattr(other.estimator, "item_ids_")


def test_searches(fitted, shop_split, shop_titles):
    train, _ = shop_split
    title = shop_titles["item-003"]
    llm = LLMReranker(fitted, shop_titles, client=says(title), prefit=True)
    grid = {"weight": [0.0, 0.3], "examples__n_shots": [0], "when__rows": ["always"]}
    search = GridSearchCV(llm, grid, cv=2, error_score="raise").fit(train[:60])
    assert search.best_params_["weight"] == 0.0
    assert skclip.predict_topk(search, train[:3], 4).shape == (3, 4)
    scorer = SessionScorer("mrr@5", "recall@20")
    result = cross_validate(llm, train[:40], cv=2, scoring=scorer)
    assert (result["test_recall@20"] > 0).all()
    nested = LLMReranker(PopularityRecommender(), shop_titles, client=says(title))
    nested.set_params(estimator__scoring="recall@3").fit(train)
    assert nested._scoring == "recall@3"
    twice = LLMReranker(nested, shop_titles, client=says(title), examples=None)
    assert twice.fit(train).predict_topk(train[:2], k=3).shape == (2, 3)


def test_worker_processes(endpoint, shop_split, shop_titles):
    """They make the client of an endpoint; another does not reach them, `fit` says."""
    X = shop_split[0][:20]
    text = json.dumps({"titles": [shop_titles["item-003"]]})
    options = {"cv": 2, "n_jobs": 2, "error_score": "raise"}
    llm = reranker(lambda messages: text, item_titles=shop_titles)
    with pytest.raises(ValueError, match=r"client=None.*n_jobs=1.*threading"):
        pickle.loads(pickle.dumps(llm)).fit(X)
    with joblib.parallel_backend("threading"):  # threads share it
        search = GridSearchCV(llm, {"weight": [0.3]}, **options).fit(X)
        assert np.isfinite(search.best_score_)
    with serving(lambda n, body: completion(text)) as server:
        llm.set_params(**endpoint(server))
        search = GridSearchCV(llm, {"weight": [0.3]}, **options).fit(X)
        assert np.isfinite(search.best_score_)
        assert server.requests


# -- wrong input -----------------------------------------------------------------------


def test_bases_that_are_not_fitted_or_have_changed():
    llm = reranker(egg_timer, prefit=True)
    with pytest.raises(Exception, match="not fitted"):
        llm.fit(TRAIN)
    llm.estimator.fit(TRAIN)
    llm.fit(TRAIN).estimator.fit([*TRAIN, ["new"]])
    with pytest.raises(ValueError, match="base has 7 items now, but had 6"):
        llm.predict([["a"]])


def test_missing_titles():
    titles = TITLES | {"a": None, "b": float("nan"), "c": " "}
    titles.pop("d")

    def second_first(messages):
        return json.dumps({"ranking": [asked(messages)["candidates"][1]["id"]]})

    client = Recorder(second_first)
    llm = reranker(
        client, item_titles=titles, mode="rerank", examples="knn", weight=1.0
    )
    with pytest.warns(UserWarning, match="4 of 6 items have no title"):
        llm.fit(TRAIN)
    assert llm.n_missing_titles_ == 4
    top = llm.predict_topk([["a", "e"], ["a"]], k=6)
    (prompt,) = client.prompts
    assert prompt["session"] == ["egg timer"]
    assert {c["title"] for c in prompt["candidates"]} == {"egg timer", "fruit bowl"}
    assert set(top[0, :2]) == {"e", "f"}
    assert top[1].tolist() == list("abcdef")  # no titles, no request


def test_series_and_functions_of_ids():
    series = pd.Series(TITLES)
    for titles in (series, TITLES.get, lambda item: f"egg timer {item}"):
        client = Recorder()
        reranker(client, item_titles=titles).fit(TRAIN).predict([["a", "b"]])
        told = [titles(i) if callable(titles) else TITLES[i] for i in "ab"]
        assert client.prompts[0]["session"] == told
    twice = pd.concat([series, series[:1]])
    with pytest.raises(ValueError, match="two titles for the id 'a'"):
        reranker(egg_timer, item_titles=twice).fit(TRAIN)
