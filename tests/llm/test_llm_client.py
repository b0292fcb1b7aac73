"""Requests against a server on this machine: what goes wrong, limits, retries."""

import pickle
import socket
import sys
import threading
import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from chat_server import Answer, completion, serving

from skclip.llm import LLMError, LLMReply
from skclip.llm import _client as client_module
from skclip.llm._budget import Meter, cost_of, token_bound
from skclip.llm._client import (
    as_client,
    check_base_url,
    error_of,
    is_loopback,
    read_key,
    reply_of,
    request,
)

KEY = "SKCLIP_TEST_KEY"
MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": "{}"}]
OPTIONS = {
    "model": "m",
    "temperature": 0.0,
    "max_output_tokens": 50,
    "response_format": {"type": "json_object"},
    "seed": 3,
    "timeout": 5.0,
}


def limits(**values):
    names = ("max_requests", "max_total_tokens", "max_cost", "prices")
    return SimpleNamespace(**{name: values.get(name) for name in names})


def ask(client, *, max_retries=0, meter=None, stop=None, timeout=5.0, **bounds):
    return request(
        client,
        MESSAGES,
        OPTIONS | {"timeout": timeout},
        max_retries=max_retries,
        meter=meter or Meter(),
        limits=limits(**bounds),
        stop=stop or threading.Event(),
    )


@pytest.fixture
def no_waiting(monkeypatch):
    """Back-off in no time; what a server asks for (Retry-After) is kept."""
    monkeypatch.setattr(client_module.Random, "uniform", lambda self, a, b: 0.0)


@pytest.fixture
def connect(monkeypatch):
    """A client of the package openai for a scripted server."""
    pytest.importorskip("openai")
    monkeypatch.delenv(KEY, raising=False)
    clients = []

    def connect(url):
        clients.append(as_client(None, url, KEY))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


# -- through the package openai --------------------------------------------------------


def test_an_answer(connect, monkeypatch):
    monkeypatch.setenv(KEY, " sk-of-the-test\n")
    with serving(lambda n, body: completion("hello")) as server:
        reply = ask(connect(server.url))
    assert reply == LLMReply("hello", "stop", 11, 7, 200)
    (sent,) = server.requests
    assert sent == {
        "messages": MESSAGES,
        "model": "m",
        "max_tokens": 50,
        "response_format": {"type": "json_object"},
        "seed": 3,
        "temperature": 0.0,
    }
    headers = {name.lower(): value for name, value in server.headers[0].items()}
    assert headers["authorization"] == "Bearer sk-of-the-test"
    assert headers["accept-encoding"] == "identity"


def test_without_a_key_this_machine_gets_no_header(connect):
    with serving(lambda n, body: completion("hello")) as server:
        ask(connect(server.url))
    assert "authorization" not in {name.lower() for name in server.headers[0]}


def test_the_key_is_read_for_each_request(connect, monkeypatch):
    with serving(lambda n, body: completion("hello")) as server:
        client = connect(server.url)
        for key in ("one", "two"):
            monkeypatch.setenv(KEY, key)
            ask(client)
    keys = [
        {name.lower(): value for name, value in headers.items()}["authorization"]
        for headers in server.headers
    ]
    assert keys == ["Bearer one", "Bearer two"]


BIG = completion("x" * 2_100_000)
FAILURES = {
    "500": (Answer({"error": "x"}, 500), "http_5xx", 500),
    "503": (Answer(b"<html>busy</html>", 503), "http_5xx", 503),
    "404": (Answer({"error": "no such model"}, 404), "http_4xx", 404),
    "401": (Answer({"error": "bad key"}, 401), "http_4xx", 401),
    "403": (Answer({"error": "not you"}, 403), "http_4xx", 403),
    "422": (Answer({"error": "x"}, 422), "http_4xx", 422),
    "a redirect": (
        Answer({}, 302, headers={"location": "http://127.0.0.1:9/steal"}),
        "http_3xx",
        302,
    ),
    "garbage": (Answer(b"\x00\xff}{"), "not_json", None),
    "garbage as text": (
        Answer(b"hello", headers={"content-type": "text/plain"}),
        "not_json",
        None,
    ),
    "cut short": (
        Answer(b'{"choices": [{"mess', headers={"content-length": "9000"}),
        "connection",
        None,
    ),
    "half an envelope": (Answer(b'{"choices": [{"mess'), "not_json", None),
    "no choices": (Answer({"choices": []}), "schema", None),
    "another form": (Answer(["a"]), "schema", None),
    "a number": (Answer(3), "schema", None),
    "null": (Answer(None), "not_json", None),
    "text in parts": (
        Answer({"choices": [{"message": {"content": [{"text": "a"}]}}]}),
        "schema",
        None,
    ),
    "oversized": (Answer(BIG), "too_large", None),
    "an oversized error": (Answer(BIG, 400), "too_large", None),
    "compressed": (
        Answer(completion("x"), headers={"content-encoding": "gzip"}),
        "too_large",
        None,
    ),
    "late": (Answer(completion("x"), delay=1.5), "timeout", None),
    "drop by drop": (Answer(completion("x"), drip=0.02), "timeout", None),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures(connect, case):
    answer, reason, status = FAILURES[case]
    meter = Meter()
    with serving(lambda n, body: answer) as server, pytest.raises(LLMError) as caught:
        ask(connect(server.url), meter=meter, timeout=0.6)
    assert (caught.value.reason, caught.value.status) == (reason, status)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert len(server.requests) == meter.usage(None)["requests"] == 1


def test_headers_without_an_end(connect):
    """The time limit is for the whole answer; nothing is left behind."""
    threads = threading.active_count()
    with serving(lambda n, body: Answer({}, head_drip=0.02)) as server:
        client = connect(server.url)
        start = time.monotonic()
        with pytest.raises(LLMError, match="time limit") as caught:
            ask(client, timeout=0.5)
        assert 0.5 <= time.monotonic() - start < 3.0
        assert caught.value.reason == "timeout"
        client.close()
        until = time.monotonic() + 10.0
        while threading.active_count() > threads + 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert threading.active_count() <= threads + 1  # that of the server


def test_a_closed_port(connect):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meter = Meter()
    with pytest.raises(LLMError, match="could not be reached") as caught:
        ask(connect(f"http://127.0.0.1:{port}/v1"), meter=meter)
    assert caught.value.reason == "connection"
    assert meter.usage(None)["prompt_tokens"] == 0  # nothing was asked


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_retries(connect, no_waiting, status):
    meter = Meter()
    answers = [Answer({}, status), Answer({}, status), completion("at last")]
    with serving(lambda n, body: answers[n]) as server:
        reply = ask(connect(server.url), max_retries=2, meter=meter)
    assert reply.text == "at last"
    assert len(server.requests) == meter.usage(None)["requests"] == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_no_retries_of_what_would_fail_again(connect, no_waiting, status):
    script = lambda n, body: Answer({}, status)  # noqa: E731
    with serving(script) as server, pytest.raises(LLMError):
        ask(connect(server.url), max_retries=3)
    assert len(server.requests) == 1


def test_retries_end(connect, no_waiting):
    script = lambda n, body: Answer({}, 500)  # noqa: E731
    with serving(script) as server, pytest.raises(LLMError, match="status 500"):
        ask(connect(server.url), max_retries=2)
    assert len(server.requests) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(connect, form):
    began = []

    def script(n, body):
        began.append(time.time())
        wait = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        return Answer({}, 429, headers={"retry-after": wait}) if n == 0 else BIG_OK

    with serving(script) as server:
        assert ask(connect(server.url), max_retries=1).text == "ok"
    assert began[1] - began[0] >= 0.9


BIG_OK = completion("ok")


@pytest.mark.parametrize("wait", ["121", "90"])
def test_a_retry_after_beyond_the_deadline_ends_it(connect, wait):
    """121 s is more than is ever waited, 90 s more than 4 attempts of 5 s."""
    script = lambda n, body: Answer({}, 429, headers={"retry-after": wait})  # noqa: E731
    with serving(script) as server, pytest.raises(LLMError, match="status 429"):
        ask(connect(server.url), max_retries=3)
    assert len(server.requests) == 1


def test_odd_retry_after_headers(connect, no_waiting):
    values = iter(["soon", "-3", "nan"])

    def script(n, body):
        value = next(values, None)
        return BIG_OK if value is None else Answer(
            {}, 429, headers={"retry-after": value}
        )  # fmt: skip

    with serving(script) as server:
        assert ask(connect(server.url), max_retries=3).text == "ok"


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ("response_format", None),
        ("temperature", None),
        ("seed", None),
        ("max_tokens", "max_completion_tokens"),
    ],
)
def test_parameters_that_a_server_refuses_are_left_out_for_good(
    connect, field, instead
):
    def script(n, body):
        if field in body:
            return Answer({"error": {"message": f"Unknown parameter: {field}."}}, 400)
        return BIG_OK

    with serving(script) as server:
        client = connect(server.url)
        assert ask(client).text == "ok"  # without any retry
        assert ask(client).text == "ok"
    assert [field in body for body in server.requests] == [True, False, False]
    if instead:
        assert server.requests[-1][instead] == 50


def test_fields_are_left_out_no_oftener_than_there_are_some():
    """A client may name the same one again and again."""
    calls, left_out = [], []

    class Stubborn:
        def complete(self, messages, **options):
            calls.append(options)
            raise LLMError("no", "http_4xx", status=400, fields=("seed",))

        def leave_out(self, fields):
            left_out.append(fields)

    with pytest.raises(LLMError, match="no") as caught:
        ask(Stubborn(), max_retries=3)
    assert caught.value.status == 400
    assert left_out == [("seed",)] * 4
    assert len(calls) == 5


def test_a_400_that_names_nothing_is_final(connect):
    script = lambda n, body: Answer({"error": "context too long"}, 400)  # noqa: E731
    with serving(script) as server, pytest.raises(LLMError, match="status 400"):
        ask(connect(server.url), max_retries=3)
    assert len(server.requests) == 1


# -- addresses and keys ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/v1", r"base_url='http://example.org/v1'. Expected https"),
        ("ftp://localhost/v1", "Expected https"),
        ("example.org", "Expected https"),
        ("http://127.0.0.1.example.org/v1", "Expected https"),
        ("https://me:hunter2@example.org/v1", "user name, a password or a query"),
        ("https://example.org/v1?key=hunter2", "user name, a password or a query"),
    ],
)
def test_addresses_that_are_refused(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_base_url(url)
    assert "hunter2" not in str(caught.value)


def test_addresses(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert check_base_url(None) == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    assert check_base_url(None) == "http://localhost:8000/v1"
    assert is_loopback("http://[::1]:80/v1")
    assert not is_loopback("https://example.org")


def test_keys(monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    assert read_key(KEY, "http://localhost/v1") is None
    with pytest.raises(ValueError, match=f"{KEY} is not set.*export {KEY}="):
        read_key(KEY, "https://example.org/v1")
    monkeypatch.setenv(KEY, "two\nlines")
    with pytest.raises(ValueError, match="characters that no key has") as caught:
        read_key(KEY, "https://example.org/v1")
    assert "two" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(
        ImportError, match=r"pip install skclip\[llm\]. Or pass client="
    ):
        as_client(None, "http://localhost/v1", KEY)


# -- other clients ---------------------------------------------------------------------


def test_a_function_of_messages():
    meter = Meter()
    assert ask(as_client(lambda messages: "héllo", None, KEY), meter=meter) == LLMReply(
        "héllo"
    )
    usage = meter.usage({"prompt": 1e6, "completion": 0})
    assert usage["prompt_tokens"] == token_bound(MESSAGES)[0]
    assert usage["completion_tokens"] == 2  # 6 bytes
    assert usage["cost"] == usage["prompt_tokens"]
    assert ask(as_client(lambda messages: None, None, KEY)).text is None
    with pytest.raises(LLMError, match="returned a int"):
        ask(as_client(lambda messages: 3, None, KEY))


class Chat:
    """Of the shape of openai.OpenAI; every error is raised by name."""

    def __init__(self, results):
        self.results, self.calls = list(results), []
        self.chat = SimpleNamespace(completions=self)

    def create(self, **options):
        self.calls.append(options)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


class StatusError(Exception):
    def __init__(self, status, body=""):
        super().__init__(body)
        self.status_code = status


def test_an_object_like_openai(no_waiting):
    message = SimpleNamespace(content="a")
    choice = SimpleNamespace(message=message, finish_reason="length")
    reply = SimpleNamespace(choices=[choice], usage=None)
    chat = Chat([StatusError(400, "seed is unknown"), TimeoutError(), reply])
    found = ask(as_client(chat, None, KEY), max_retries=1)
    assert found == LLMReply("a", "length", None, None, 200)
    assert ["seed" in call for call in chat.calls] == [True, False, False]


def test_the_package_itself_may_be_handed_in(no_waiting):
    openai = pytest.importorskip("openai")
    with serving(lambda n, body: Answer({}, 500) if n else BIG_OK) as server:
        theirs = openai.OpenAI(api_key="x", base_url=server.url, max_retries=5)
        client = as_client(theirs, None, KEY)
        assert ask(client) == LLMReply("ok", "stop", 11, 7, 200)
        with pytest.raises(LLMError, match="status 500"):
            ask(client, max_retries=1)
        theirs.close()
    assert len(server.requests) == 3  # retries are ours alone


def test_replies_of_any_shape():
    good = completion("a", usage=(-1, True))
    assert reply_of(good, 200) == LLMReply("a", "stop", None, None, 200)
    for bad in (None, 3, "x", [], {}, {"choices": 3}, {"choices": [None]}):
        with pytest.raises(LLMError, match="no choices"):
            reply_of(bad, 200)
    refusal = {"choices": [{"message": {"content": None, "refusal": "no"}}]}
    assert reply_of(refusal, 200).text is None


def test_errors_name_kinds_not_content():
    secret = "sk-secret"
    for error in (RuntimeError(secret), ValueError(secret), StatusError(500, secret)):
        assert secret not in str(error_of(error))
        assert secret not in repr(vars(error_of(error)))
    again = pickle.loads(pickle.dumps(error_of(StatusError(403))))
    assert (again.reason, again.status) == ("http_4xx", 403)


# -- limits ----------------------------------------------------------------------------


def test_no_request_beyond_a_limit(no_waiting):
    sent = []

    def failing(messages):
        sent.append(1)
        raise TimeoutError

    meter = Meter()
    with pytest.raises(LLMError, match="limit on requests") as caught:
        ask(as_client(failing, None, KEY), meter=meter, max_retries=9, max_requests=3)
    assert caught.value.reason == "budget"
    assert len(sent) == 3  # retries count
    bound = token_bound(MESSAGES)[0]
    usage = meter.usage(None)
    assert usage["prompt_tokens"] == 3 * bound  # they may have been billed
    assert usage["completion_tokens"] == 3 * 50


@pytest.mark.parametrize("limit", ["max_total_tokens", "max_cost"])
def test_tokens_are_set_aside_before_they_are_spent(limit):
    """Two threads at once: the second must see what the first may use."""
    prompt, both = token_bound(MESSAGES, 50)
    inside, go_on = threading.Event(), threading.Event()

    def slow(messages):
        inside.set()
        go_on.wait(10)
        return "x"

    bounds = {limit: both + 10, "prices": {"prompt": 1e6, "completion": 1e6}}
    meter, results = Meter(), []
    first = threading.Thread(
        target=lambda: results.append(
            ask(as_client(slow, None, KEY), meter=meter, **bounds)
        )
    )
    first.start()
    assert inside.wait(10)
    with pytest.raises(LLMError, match="limit"):
        ask(as_client(lambda m: "x", None, KEY), meter=meter, **bounds)
    go_on.set()
    first.join(10)
    assert results[0].text == "x"
    assert meter.usage(None)["requests"] == 1
    # The first used less than was set aside, but the next might use too much again.
    assert meter.reserve(prompt, 50, limits(**bounds)) is (prompt + 1 <= 10)
    assert meter.reserve(1, 1, limits(**bounds))


@pytest.mark.parametrize("first", [(60, 0), (0, 60)])
def test_prompt_and_answer_are_both_set_aside(first):
    meter, bounds = Meter(), limits(max_total_tokens=100)
    assert meter.reserve(*first, bounds)
    assert not meter.reserve(25, 25, bounds)
    meter.settle(first, (30, 20))  # 50 spent, 50 left
    assert meter.reserve(25, 25, bounds)
    assert not meter.reserve(1, 0, bounds)


def test_counters_are_exact_under_threads():
    meter, barrier = Meter(), threading.Barrier(8)
    bounds = limits(max_requests=500)
    granted = []

    def work():
        barrier.wait()
        for _ in range(100):
            if meter.reserve(3, 2, bounds):
                granted.append(1)
                meter.settle((3, 2), (2, 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usage = meter.usage({"prompt": 3, "completion": 5})
    assert len(granted) == usage["requests"] == 500
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (1000, 500)
    assert usage["cost"] == pytest.approx((1000 * 3 + 500 * 5) / 1e6)


def test_token_bound_counts_bytes():
    ascii_text = [{"role": "user", "content": "a" * 300}]
    cjk = [{"role": "user", "content": "\u8336" * 300}]
    assert token_bound(cjk)[0] > 300  # a token or more for each character
    assert 100 < token_bound(ascii_text)[0] < 130
    assert token_bound(ascii_text, 7)[1] == token_bound(ascii_text)[0] + 7
    assert cost_of(None, 1, 1) is None


def test_stopped_is_stopped():
    stop = threading.Event()
    stop.set()
    with pytest.raises(LLMError, match="stopped"):
        ask(as_client(lambda m: pytest.fail("sent"), None, KEY), stop=stop)
