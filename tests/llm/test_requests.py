"""Requests to a server on this machine: what goes wrong, keys, limits, kept answers."""

import json
import logging
import os
import pickle
import re
import socket
import sqlite3
import stat
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from chat_server import Answer, completion, serving
from juice_shop import KEY, SENTINEL, TITLES, Recorder, asked, egg_timer, fit, says

import skclip
from skclip.llm import Budget, ChatModel, LLMError, _asking
from skclip.llm._budget import Meter, token_bound

GOOD = completion('{"titles": ["egg timer"]}')
ITEMS = [[item] for item in "abcdef"]


def test_a_request(endpoint, monkeypatch):
    """What is sent, in body and headers; the key is read for each request."""
    with serving(lambda n, body: GOOD) as server:
        llm = fit(**endpoint(server, temperature=0.5, max_output_tokens=50), seed=3)
        for key, item in ((" sk-one\n", "a"), ("sk-two", "b"), ("", "c")):
            monkeypatch.setenv(KEY, key)
            llm.predict([[item]])
    body, keys = server.requests[0], [h.get("authorization") for h in server.headers]
    assert keys == ["Bearer sk-one", "Bearer sk-two", None]  # this machine needs none
    assert body.pop("messages")[0]["role"] == "system"
    assert body.pop("response_format")["type"] == "json_schema"
    assert body == {"model": "m", "max_tokens": 50, "seed": 3, "temperature": 0.5}
    assert llm.usage_ == {
        "rows": 3, "asked": 3, "requests": 3, "cache_hits": 0, "prompt_tokens": 33,
        "completion_tokens": 21, "cost": None,
    }  # fmt: skip


WRONG = {
    "500": (Answer({"error": "x"}, 500), "http_5xx"),
    "404": (Answer({"error": "no such model"}, 404), "http_4xx"),
    "400": (Answer({"error": "context too long"}, 400), "http_4xx"),
    "429": (Answer({}, 429, headers={"retry-after": "900"}), "http_4xx"),
    "a redirect": (Answer({}, 307, headers={"location": "http://a.b"}), "http_3xx"),
    "garbage": (Answer(b"\x00\xff}{"), "not_json"),
    "text": (Answer(b"hello", headers={"content-type": "text/plain"}), "schema"),
    "half an envelope": (Answer(b'{"choices": [{"mess'), "not_json"),
    "cut short": (Answer(b'{"ch', headers={"content-length": "9000"}), "connection"),
    "no choices": (Answer({"choices": []}), "schema"),
    "odd choices": (Answer({"choices": 3}), "schema"),
    "no choice": (Answer({"choices": [None]}), "schema"),
    "a number": (Answer(3), "schema"),
    "null": (Answer(None), "schema"),
    "text in parts": (completion([{"text": "a"}]), "schema"),
    "late": (Answer(GOOD, delay=1.5), "timeout"),
    "a refusal": (completion(None), "empty"),
    "cut": (completion('{"titles": ["egg', end="length"), "cut"),
    "cut before it began": (completion(None, end="length"), "cut"),
    "prose": (completion("I would buy tea."), "not_json"),
    "wrong key": (completion('{"items": ["egg timer"]}'), "schema"),
    "unknown titles": (completion('{"titles": ["qqq zzz"]}'), "unmapped"),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_failure_loses_the_base_ranking(endpoint, case):
    """Row 1 of three fails; the others are answered, in their order."""
    wrong, reason = WRONG[case]
    titles = {TITLES["a"]: TITLES["d"], TITLES["c"]: TITLES["e"]}

    def script(n, body):
        (session,) = asked(body["messages"])["session"]
        if session not in titles:
            return wrong
        return completion(json.dumps({"titles": [titles[session]]}))

    with serving(script) as server:
        timeout = 0.6 if case == "late" else 20.0
        params = endpoint(server, timeout=timeout, max_concurrency=1)
        llm = fit(**params, weight=0.9)
        with pytest.warns(UserWarning, match=rf"1 row keeps .* \({reason} 1\)") as seen:
            top, scores = llm.predict_topk(ITEMS[:3], k=6, return_scores=True)
        assert len(seen) == 1
        assert llm.fallbacks_ == {reason: 1}
        assert top[:, 0].tolist() == ["d", "a", "e"]
        expected = llm.estimator_.predict_topk([["b"]], k=6, return_scores=True)
        np.testing.assert_array_equal(top[1:2], expected[0])
        np.testing.assert_array_equal(scores[1:2], expected[1])
        assert len(server.requests) == llm.usage_["requests"] == 3
        with pytest.raises(LLMError) as caught:
            fit(**params, on_error="raise").predict(ITEMS[:3])
    error = caught.value
    assert error.reason == reason
    assert (error.status is not None) == reason.startswith("http")
    assert error.__cause__ is error.__context__ is None  # nor request and headers
    assert pickle.loads(pickle.dumps(error)).reason == reason


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_retries(endpoint, no_waiting, status):
    """Those of the package, each counted; of what would fail again there are none."""
    answers = [Answer({}, status), Answer({}, status), GOOD, Answer({}, 404)]
    with serving(lambda n, body: answers[n]) as server:
        llm = fit(**endpoint(server, max_retries=2), weight=0.9)
        assert llm.predict([["a"]]) == ["e"]
        assert len(server.requests) == llm.usage_["requests"] == 3
        bound = token_bound(server.requests[0]["messages"])
        assert llm.usage_["prompt_tokens"] == 11 + 2 * bound  # may have been billed
        with pytest.warns(UserWarning, match="status 404"):
            llm.predict([["b"]])
    assert len(server.requests) == llm.usage_["requests"] == 4


def test_an_endpoint_that_is_down(no_waiting):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    llm = fit(None, model=ChatModel("m", base_url=url, max_retries=1))
    with pytest.warns(UserWarning, match="connection 2.*could not be reached"):
        assert llm.predict([["a"], ["b"]]).tolist() == ["a", "a"]
    assert llm.usage_["requests"] == 4
    assert llm.usage_["prompt_tokens"] == 0  # nothing was asked


FIELDS = ["temperature", "seed", "max_tokens"]


@pytest.mark.parametrize("fields", [FIELDS, *([field] for field in FIELDS)])
@pytest.mark.parametrize("status", [400, 422])
def test_parameters_that_a_server_refuses_are_left_out_for_good(
    endpoint, fields, status
):
    def script(n, body):
        unknown = [name for name in fields if name in body][:1]
        return Answer({"error": {"message": unknown}}, status) if unknown else GOOD

    with serving(script) as server:
        llm = fit(**endpoint(server, max_concurrency=1, max_output_tokens=50))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            llm.predict([["a"]])
            llm.predict([["b"]])
    n = len(fields)
    assert [fields[-1] in body for body in server.requests] == [True] * n + [False] * 2
    assert llm.usage_["requests"] == n + 2
    if "max_tokens" in fields:
        assert server.requests[-1]["max_completion_tokens"] == 50


FORMS = ["limited", "strict", "beside", "json_object", "none"]


def form_of(body):
    """Which of the `FORMS` a request asks for."""
    form = body.get("response_format", {"type": "none"})
    if form["type"] == "json_schema":
        return "limited" if "maxItems" in json.dumps(form) else "strict"
    return "beside" if "schema" in form else form["type"]


@pytest.mark.parametrize("taken", ["strict", "beside", "none"])
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Invalid schema for response_format 'titles': not permitted."),
        (400, "minItems: not supported"),
        (422, "{'loc': ('body', 'response_format', 'type')}"),
        (500, "{'loc': ('body', 'response_format', 'type')}"),
    ],
)
def test_a_form_that_is_refused_is_followed_by_a_weaker_one(
    endpoint, taken, status, message
):
    """What was learned stays until the next fit; a refusal is not sent again."""
    refusal = Answer({"error": {"message": message}}, status)
    script = lambda n, body: GOOD if form_of(body) == taken else refusal  # noqa: E731
    with serving(script) as server:
        llm = fit(**endpoint(server, max_concurrency=1, max_retries=3), weight=0.9)
        assert llm.predict([["a"]]) == llm.predict([["b"]]) == ["e"]
        tried = FORMS[: FORMS.index(taken) + 1]
        assert list(map(form_of, server.requests)) == [*tried, taken]
        llm.fit([["a", "b"], ["e", "a"]]).predict([["a"]])
        assert form_of(server.requests[len(tried) + 1]) == "limited"


@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_client_of_your_own_retries_as_the_model_says(max_retries, no_waiting):
    """It sends refusals with status 500 again, so with some servers none is wise."""
    refusal = Answer({"error": {"message": "no response_format"}}, 500)
    script = lambda n, body: GOOD if form_of(body) == "beside" else refusal  # noqa: E731
    with serving(script) as server:
        openai = pytest.importorskip("openai")
        client = openai.OpenAI(api_key="none", base_url=server.url, max_retries=5)
        llm = fit(client, model=ChatModel("m", max_retries=max_retries), weight=0.9)
        assert llm.predict([["a"]]) == llm.predict([["b"]]) == ["e"]
    refused = [form for form in FORMS[:2] for _ in range(1 + max_retries)]
    assert list(map(form_of, server.requests)) == [*refused, "beside", "beside"]
    assert llm.usage_["requests"] == len(server.requests)


def test_a_form_that_is_ignored_is_followed_by_a_weaker_one(endpoint):
    """Until an answer has kept to one; from there on, one that strays is a failure."""
    prose, titles = completion("I would buy tea."), ["a", "b", "c"]

    def script(n, body):
        kept = form_of(body) == "beside" and n != 3
        return GOOD if kept else prose

    with serving(script) as server:
        llm = fit(**endpoint(server, max_concurrency=1), weight=0.9)
        with pytest.warns(UserWarning, match=r"1 row keeps .* \(not_json 1\)"):
            assert llm.predict([[item] for item in titles]).tolist() == ["e", "a", "e"]
    forms = list(map(form_of, server.requests))
    assert forms == ["limited", "strict", "beside", "beside", "beside"]


def test_a_server_that_knows_no_form_is_asked_once_for_each(endpoint):
    with serving(lambda n, body: completion("I would buy tea.")) as server:
        llm = fit(**endpoint(server, max_concurrency=4))
        with pytest.warns(UserWarning, match="not_json 6"):
            llm.predict(ITEMS)
        at_first = len(server.requests)
        with pytest.warns(UserWarning, match="not_json 1"):
            llm.predict([["a", "b"]])
    assert at_first <= 6 + 3 * 4  # threads that had begun
    assert len(server.requests) == at_first + 1


def test_answers_have_the_room_that_they_need(endpoint):
    """Of the longest title of the catalog; `estimate_cost` counts on it."""
    with serving(lambda n, body: GOOD) as server:
        llm = fit(**endpoint(server), n_generate=4)
        estimate = llm.estimate_cost([["a"]])
        llm.predict([["a"]])
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["titles"]["items"]["maxLength"] == len("apple juice")
    assert server.requests[0]["max_tokens"] == estimate["completion_tokens"] == 54


def test_a_server_that_names_the_same_field_for_ever(endpoint):
    script = lambda n, body: Answer({"error": "seed? no!"}, 400)  # noqa: E731
    with serving(script) as server:
        llm = fit(**endpoint(server, max_retries=3))
        with pytest.warns(UserWarning, match="http_4xx 1.*status 400"):
            llm.predict([["a"]])
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("on_error", ["fallback", "raise"])
def test_a_wrong_key_raises_at_once(endpoint, status, on_error):
    """Also while an earlier row still waits for its answer."""

    def script(n, body):
        late = Answer(GOOD, delay=8.0)
        wrong = Answer({"error": f"bad key {SENTINEL}"}, status)
        return late if asked(body["messages"])["session"] == [TITLES["a"]] else wrong

    with serving(script) as server:
        llm = fit(**endpoint(server, max_concurrency=2, timeout=9.0), on_error=on_error)
        began = time.monotonic()
        with pytest.raises(LLMError, match=f"status {status}.*api_key_env") as caught:
            llm.predict(ITEMS)
        assert time.monotonic() - began < 6
        assert SENTINEL not in "".join(traceback.format_exception(caught.value))
    assert len(server.requests) <= 3  # nothing more was sent


def test_results_in_the_order_of_the_rows(endpoint, shop_titles):
    """Answers come in another order than the questions."""
    items, titles = list(shop_titles)[:40], list(shop_titles.values())[:40]
    opposite = dict(zip(titles, titles[::-1], strict=True))

    def script(n, body):
        (session,) = asked(body["messages"])["session"]
        answer = json.dumps({"titles": [opposite[session]]})
        return Answer(completion(answer), delay=0.05 * ((n * 7) % 5) / 5)

    with serving(script) as server:
        llm = fit(**endpoint(server, max_concurrency=5), mode="agent")
        llm.set_params(item_titles=shop_titles).fit([items])
        top = llm.predict([[item] for item in items])
    assert top.tolist() == items[::-1]
    assert 1 < server.most_at_once <= 5
    assert len(server.requests) == 40


def test_the_package_itself_may_be_handed_in(no_waiting):
    openai = pytest.importorskip("openai")
    with serving(lambda n, body: Answer({}, 500) if n else GOOD) as server:
        theirs = openai.OpenAI(api_key="x", base_url=server.url, max_retries=5)
        llm = fit(theirs, weight=0.9, model=ChatModel("m", max_retries=1))
        assert llm.predict([["a"]]) == ["e"]
        with pytest.warns(UserWarning, match="http_5xx"):
            llm.predict([["b"]])
        assert not theirs.is_closed()
        theirs.close()
    assert len(server.requests) == llm.usage_["requests"] == 3
    assert server.headers[0]["authorization"] == "Bearer x"


def test_tokens_that_nobody_counts_are_estimated(endpoint):
    replies = [
        completion('{"titles": ["egg timer"]}', (-1, True)),
        GOOD | {"usage": None},
    ]
    with serving(lambda n, body: replies[n]) as server:
        llm = fit(**endpoint(server))
        llm.predict([["a"], ["b"]])
    bounds = [token_bound(request["messages"]) for request in server.requests]
    assert llm.usage_["prompt_tokens"] == sum(bounds)
    assert llm.usage_["completion_tokens"] == 18  # 25 bytes each
    ascii_text, cjk = ([{"role": "user", "content": c * 300}] for c in "a\u8336")
    assert token_bound(cjk) > 300  # a token or more for each character
    assert 100 < token_bound(ascii_text) < 130


def test_functions():
    """They are not called again, and their tokens are estimated."""
    llm = fit(egg_timer, budget=Budget(prompt_price=1e6, completion_price=0))
    llm.predict([["a"]])
    usage = llm.usage_
    assert usage["completion_tokens"] == 9  # 25 bytes
    assert usage["cost"] == usage["prompt_tokens"] > 100
    for answer, reason in ((None, "empty"), (3, "schema")):
        with pytest.warns(UserWarning, match=f"{reason} 1"):
            fit(lambda messages, answer=answer: answer).predict([["a"]])

    def broken(messages):
        raise KeyError("secret words")

    with pytest.warns(UserWarning, match=r"error 1.*raised KeyError") as seen:
        assert fit(broken).predict([["a"]]).tolist() == ["a"]
    assert "secret words" not in str(seen[0].message)
    with pytest.raises(LLMError, match="raised KeyError") as caught:
        fit(broken, on_error="raise").predict([["a"]])
    assert "secret words" not in repr(vars(caught.value))


def test_an_interrupt_sends_nothing_more(monkeypatch):
    def interrupted(futures):
        raise KeyboardInterrupt

    go_on = threading.Event()
    client = Recorder(lambda messages: go_on.wait(0.3) and "x")
    monkeypatch.setattr(_asking, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(client, model__max_concurrency=1).predict(ITEMS)
    go_on.set()
    time.sleep(0.1)
    assert len(client.prompts) <= 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/v1", r"base_url='http://example.org/v1'. Expected https"),
        ("ftp://localhost/v1", "Expected https"),
        ("example.org", "Expected https"),
        ("http://127.0.0.1.example.org/v1", "Expected https"),
        ("https://me:hunter2@example.org/v1", "user name, a password or a query"),
        ("https://example.org/v1?key=hunter2", "user name, a password or a query"),
        ("https://example.org/v1", rf"{KEY} is not set.*export {KEY}="),
    ],
)
def test_addresses_that_are_refused(monkeypatch, url, message):
    pytest.importorskip("openai")
    monkeypatch.delenv(KEY, raising=False)
    llm = fit(None, model=ChatModel("m", base_url=url, api_key_env=KEY))
    with pytest.raises(ValueError, match=message) as caught:
        llm.predict([["a"]])
    assert "hunter2" not in str(caught.value)
    assert llm.usage_["requests"] == 0


def test_what_else_the_endpoint_needs(monkeypatch):
    with pytest.raises(ValueError, match="model=None"):
        fit(None).predict([["a"]])
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert ChatModel()._url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://[::1]:80/v1")
    assert ChatModel()._url == "http://[::1]:80/v1"
    monkeypatch.setenv(KEY, "two\nlines")
    llm = fit(None, model=ChatModel("m", api_key_env=KEY))
    with pytest.raises(ValueError, match="characters that no key has") as caught:
        llm.predict([["a"]])
    assert "two" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"install skclip\[llm\]. Or pass client="):
        llm.predict([["a"]])


def test_the_key_is_nowhere(endpoint, tmp_path, caplog, capfd):
    """repr, parameters, logs, warnings, errors, pickles, files: none holds it."""
    caplog.set_level(logging.DEBUG)

    def script(n, body):
        wrong = Answer({"error": f"Incorrect key {SENTINEL}"}, 500 if n < 3 else 401)
        return wrong if n else GOOD

    with serving(script) as server:
        params = endpoint(server, max_concurrency=1)
        llm = fit(**params, cache=tmp_path / "answers.db")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            llm.predict([["a"], ["b"], ["c"]])
        found = [str(w.message) for w in caught]
        # Sockets of earlier tests may be collected, and warn, at any time.
        assert sum(issubclass(w.category, UserWarning) for w in caught) == 1, found
        with pytest.raises(LLMError) as error:
            llm.predict([["d"]])
    assert server.headers[0]["authorization"] == f"Bearer {SENTINEL}"
    found += map(json.dumps, server.requests)
    found += traceback.format_exception(error.value)
    found += [repr(vars(error.value)), repr(pickle.dumps(error.value))]
    found += [repr(llm), llm._repr_html_(), repr(llm.get_params()), repr(vars(llm))]
    found += [repr(vars(llm._meter)), repr(pickle.dumps(llm))]
    found += [caplog.text, *capfd.readouterr()]
    joblib.dump(llm, tmp_path / "llm.joblib")
    skclip.save(llm.set_params(model=None), tmp_path / "llm.skclip")
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(files) >= 3
    assert "httpx2" in caplog.text or "openai" in caplog.text  # logs were there
    assert not any(SENTINEL in text for text in found)
    assert not any(SENTINEL.encode() in data for data in files)


# -- limits ----------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        ({"max_requests": 3}, 3),
        ({"max_requests": 0}, 0),
        ({"max_tokens": 1}, 0),
        ({"max_cost": 0.0, "prompt_price": 1, "completion_price": 1}, 0),
    ],
)
def test_no_request_beyond_a_budget(endpoint, at_once, retries, limit, allowed):
    with serving(lambda n, body: GOOD) as server:
        model = endpoint(server, max_concurrency=at_once, max_retries=retries)
        llm = fit(**model, weight=0.9, budget=Budget(**limit))
        with pytest.warns(UserWarning, match=f"budget {6 - allowed}") as seen:
            top = llm.predict(ITEMS)
        # Other threads and the garbage collector may warn too, under load.
        assert ["budget" in str(w.message) for w in seen].count(True) == 1
        assert Counter(top) == Counter({"e": allowed, "a": 6 - allowed})
        if at_once == 1:
            assert (top[:allowed] == "e").all()
        with pytest.warns(UserWarning, match="budget"):  # spent since fit
            llm.predict([["b", "c"]])
    assert len(server.requests) == llm.usage_["requests"] == allowed


def test_retries_are_within_the_budget(endpoint, no_waiting):
    with serving(lambda n, body: Answer({}, 500)) as server:
        model = endpoint(server, max_retries=9, max_concurrency=4)
        llm = fit(**model, budget=Budget(max_requests=12))
        with pytest.warns(UserWarning, match="budget 4, http_5xx 2"):
            llm.predict(ITEMS)
    assert len(server.requests) == llm.usage_["requests"] == 12


def test_one_warning_one_client_and_one_end_for_all_chunks(endpoint, monkeypatch):
    """What a limit stops in one chunk of rows stays stopped in the next.

    Each request may use prompt + 10 tokens and reports 1000.
    """
    monkeypatch.setattr("skclip.baselines._base.rows_per_chunk", lambda n_items: 2)
    opened, open_client = [], ChatModel._open
    monkeypatch.setattr(
        ChatModel, "_open", lambda model: opened.append(1) or open_client(model)
    )
    costly = completion('{"titles": ["egg timer"]}', usage=(990, 10))
    with serving(lambda n, body: costly) as server:
        model = endpoint(server, max_output_tokens=10, max_concurrency=1)
        llm = fit(**model, budget=Budget(max_tokens=2500))
        with pytest.warns(UserWarning, match="3 rows keep.*budget 3") as seen:
            llm.predict(ITEMS)
    assert ["budget" in str(w.message) for w in seen].count(True) == 1
    assert len(opened) == 1
    assert len(server.requests) == 3  # 0, 1000 and 2000 leave room for one more
    assert llm.usage_["prompt_tokens"] == 3 * 990
    assert llm.usage_["rows"] == llm.usage_["asked"] == 6


def make_meter():
    usage = dict.fromkeys(("requests", "prompt_tokens", "completion_tokens"), 0)
    return Meter(usage), usage


@pytest.mark.parametrize("first", [(60, 0), (0, 60)])
def test_tokens_are_set_aside_before_they_are_spent(first):
    """A second thread waits for what the first may give back."""
    meter, usage = make_meter()
    budget = Budget(max_tokens=100, prompt_price=1e6, completion_price=2e6)
    first, second = np.array([1, *first]), np.array([1, 25, 25])
    assert meter.reserve(1, first, budget) == 1
    granted = []
    waiting = threading.Thread(
        target=lambda: granted.append(meter.reserve(1, second, budget))
    )
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    meter.settle(1, first, budget, [1, 30, 20])  # 50 spent, 50 left
    waiting.join(10)
    assert granted == [1]
    meter.settle(1, second, budget, second)
    assert meter.reserve(1, np.array([1, 1, 0]), budget) == 0
    assert list(usage.values()) == [2, 55, 45, 55 + 2 * 45]


def test_fewer_retries_where_the_budget_is_short():
    meter, _ = make_meter()
    bound, budget = np.array([1, 10, 0]), Budget(max_requests=5, max_tokens=1000)
    assert meter.reserve(4, bound, budget) == 4
    assert meter.reserve(4, bound, budget) == 1
    meter.settle(4, bound, budget, bound)
    assert meter.reserve(4, bound, budget) == 3


def test_counters_are_exact_under_threads():
    meter, usage = make_meter()
    bound, budget = np.array([1, 3, 2]), Budget(max_requests=500)

    def work(_):
        granted = meter.reserve(1, bound, budget)
        if granted:
            meter.settle(1, bound, budget, [1, 2, 1])
        return granted

    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(work, range(800)))
    assert sum(granted) == usage["requests"] == 500
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (1000, 500)


# -- kept answers ----------------------------------------------------------------------


def test_memory_keeps_answers_of_each_client():
    one, other = Recorder(), Recorder(says("dog basket"))
    llm = fit(one, weight=0.9)
    assert llm.predict([["a"]]) == llm.predict([["a"]]) == ["e"]
    assert llm.usage_["cache_hits"] == 1
    assert llm.set_params(client=other).predict([["a"]]) == ["d"]
    assert llm.set_params(client=one).predict([["a"]]) == ["e"]
    assert len(one.prompts) == len(other.prompts) == 1


def test_a_file_of_answers(tmp_path):
    path = tmp_path / "answers.db"
    answers = {TITLES["a"]: '{"titles": ["egg timer"]}', TITLES["b"]: "nonsense"}

    def client(messages):
        return answers[asked(messages)["most_recent"]]

    old_umask = os.umask(0)
    try:
        llm = fit(client, weight=0.9, cache=path)
        with pytest.warns(UserWarning, match="not_json 1"):
            first = llm.predict([["a"], ["b"]])
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    db = sqlite3.connect(path)
    ((key, value),) = db.execute("SELECT key, value FROM entries").fetchall()
    assert json.loads(value) == {"titles": ["egg timer"]}  # what parses alone is kept
    assert re.fullmatch("[0-9a-f]{64}", key)
    again = fit(client, weight=0.9, cache=str(path), budget=Budget(max_requests=0))
    with pytest.warns(UserWarning, match="budget 1"):
        assert again.predict([["a"], ["b"]]).tolist() == first.tolist()
    warmer = fit(client, weight=0.9, cache=path, model__temperature=0.5)
    assert warmer.estimate_cost([["a"]])["requests"] == 1
    assert again.estimate_cost([["a"]])["requests"] == 0
    for bad in (b"{", b'"text"', b"[]", b"\xff"):  # changed by hand: ask again
        db.execute("UPDATE entries SET value = ?", (bad,))
        db.commit()
        assert again.estimate_cost([["a"]])["requests"] == 1
    db.close()


def test_files_that_are_no_cache_or_break(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("my notes " * 200)
    llm = fit(egg_timer, weight=0.9, cache=tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"notes.txt' is not a cache of skclip"):
        llm.predict([["a"]])
    assert (tmp_path / "notes.txt").read_text("utf-8") == "my notes " * 200

    def broken(self, *args):
        raise sqlite3.OperationalError("disk is full")

    monkeypatch.setattr(_asking.FileCache, "put", broken)
    monkeypatch.setattr(_asking.FileCache, "get", broken)
    assert llm.set_params(cache=tmp_path / "a.db").predict([["a"]]) == ["e"]
