"""Requests: the three kinds of client, what went wrong, retries within a deadline."""

import json
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random
from urllib.parse import urlsplit

from skclip.llm._budget import text_tokens, token_bound

DEFAULT_BASE_URL = "https://api.openai.com/v1"
MAX_BODY_BYTES = 2_000_000
_MAX_RETRY_AFTER = 120.0
# Parameters that some servers refuse: left out for good once a 400 has named them
# ("max_tokens" is then called "max_completion_tokens").
_OPTIONAL = ("response_format", "max_tokens", "temperature", "seed")


@dataclass(frozen=True)
class LLMReply:
    """What came back for one request.

    Parameters
    ----------
    text : str or None
        The answer.
    finish_reason : str, default=None
        "length" if the answer was cut.
    prompt_tokens, completion_tokens : int, default=None
        As the server counted them; None where it did not.
    raw_status : int, default=None
        HTTP status.

    Examples
    --------
    An object with ``complete`` can stand as the ``client`` of `LLMReranker`:

    >>> from skclip.llm import LLMReply
    >>> class Scripted:
    ...     def complete(self, messages, **options):
    ...         return LLMReply('{"titles": ["tea cup"]}', finish_reason="stop")
    >>> Scripted().complete([]).text
    '{"titles": ["tea cup"]}'
    """

    text: str | None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    raw_status: int | None = None


class LLMError(RuntimeError):
    """A request that failed; carries neither prompt, answer nor key.

    Parameters
    ----------
    message : str
        What went wrong, and what to do.
    reason : str
        "timeout", "connection", "http_3xx", "http_4xx", "http_5xx", "too_large",
        "error", "empty", "not_json", "schema", "unmapped" or "budget".
    status : int, default=None
        HTTP status, where there was one.
    retry_after : float, default=None
        Seconds that the server asked to wait.
    fields : tuple of str, default=()
        Optional parameters that were sent and that the server refused by name.

    Examples
    --------
    >>> from skclip.llm import LLMError
    >>> error = LLMError("The server is busy.", "http_5xx", status=503, retry_after=2.0)
    >>> error.reason, error.status
    ('http_5xx', 503)
    """

    def __init__(self, message, reason="error", *, status=None, retry_after=None,
                 fields=()):  # fmt: skip
        super().__init__(message)
        self.reason, self.status = reason, status
        self.retry_after, self.fields = retry_after, tuple(fields)

    def __reduce__(self):
        return _restored_error, (str(self), self.reason, self.status)


def _restored_error(message, reason, status):
    return LLMError(message, reason, status=status)


# -- kinds of clients ------------------------------------------------------------------


class CallableClient:
    """A function of messages that returns text."""

    def __init__(self, function):
        self._function = function

    def complete(self, messages, **options):
        text = self._function(messages)
        if text is not None and not isinstance(text, str):
            raise LLMError(
                f"The client returned a {type(text).__name__}. Expected text, or None.",
                "schema",
            )
        return LLMReply(text)


class ChatClient:
    """An object of the shape of ``openai.OpenAI``: ``chat.completions.create``."""

    def __init__(self, client):
        if hasattr(client, "with_options"):  # retries are ours, so that each is counted
            client = client.with_options(max_retries=0)
        self._client = client
        self._refused, self._lock = set(), threading.Lock()

    def complete(self, messages, *, model, temperature, max_output_tokens,
                 response_format, seed, timeout):  # fmt: skip
        options = {
            "response_format": response_format,
            "max_tokens": max_output_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        with self._lock:
            refused = set(self._refused)
        sent = {k: v for k, v in options.items() if k not in refused and v is not None}
        renamed = {}
        if "max_tokens" in refused:
            renamed["max_completion_tokens"] = max_output_tokens
        failed = None
        try:
            return self._create(
                messages=messages, model=model, timeout=timeout, **sent, **renamed
            )
        except Exception as error:
            failed = error_of(error, sent)
        raise failed  # outside: the error must not hold on to request and headers

    def leave_out(self, fields):
        """Never send these again."""
        with self._lock:
            self._refused |= set(fields)

    def _create(self, **arguments):
        return reply_of(self._client.chat.completions.create(**arguments), 200)

    def close(self):
        pass


class OpenAIClient(ChatClient):
    """The ``openai`` package, with limits that it does not set itself.

    One attempt for each call (retries are counted elsewhere), no redirects, no
    compression, at most 2 MB of an answer, and a time limit for the whole answer, not
    for each read. The key is read from the environment for each request, and stands
    in its header alone.
    """

    def __init__(self, base_url, api_key_env):
        url = check_base_url(base_url)
        try:
            import httpx2
            import openai
        except ImportError as error:
            raise ImportError(
                "LLMReranker needs the package openai to reach an endpoint: pip "
                "install skclip[llm]. Or pass client=, a function of messages that "
                "returns text."
            ) from error
        read_key(api_key_env, url)  # a missing key is known before anything is sent
        transport = _transport(httpx2, lambda: read_key(api_key_env, url))
        self._http = httpx2.Client(
            transport=transport, follow_redirects=False, trust_env=False
        )
        client = openai.OpenAI(
            api_key="read-for-each-request",
            base_url=url,
            max_retries=0,
            http_client=self._http,
        )
        super().__init__(client)

    def _create(self, **arguments):
        create = self._client.chat.completions.with_raw_response.create
        raw = _within(arguments["timeout"], lambda: create(**arguments).http_response)
        try:
            payload = json.loads(raw.text)
        except (ValueError, RecursionError):
            payload = None
        if payload is None:
            raise LLMError("The server's answer is no JSON.", "not_json")
        return reply_of(payload, raw.status_code)

    def close(self):
        self._http.close()


def as_client(client, base_url, api_key_env):
    """The client that was handed in, or one for the endpoint, as ``complete``."""
    if client is None:
        return OpenAIClient(base_url, api_key_env)
    if isinstance(client, str):
        raise ValueError(
            f"client={client!r}: clients are not kept in copies and files. Pass it "
            "again: set_params(client=...), or client=None for the endpoint base_url."
        )
    if hasattr(client, "complete"):
        return client
    if hasattr(client, "chat"):
        return ChatClient(client)
    return CallableClient(client)


def _within(seconds, function):
    """The result of a function in a thread of its own, or a TimeoutError.

    A socket's time limit is that of one read, which a server can stretch by sending a
    header at a time. The thread that is left ends with its connection: when the client
    is closed, at the latest.
    """
    done = Future()
    threading.Thread(target=_run, args=(done, function), daemon=True).start()
    return done.result(seconds)


def _run(done, function):
    try:
        done.set_result(function())
    except BaseException as error:
        done.set_exception(error)
    finally:
        del done, function  # or the error's traceback would hold on to itself


def is_loopback(url):
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def resolve_base_url(base_url):
    return base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL


def check_base_url(base_url):
    """The endpoint, or a ValueError; no part of a URL with secrets is repeated."""
    url = resolve_base_url(base_url)
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "base_url holds a user name, a password or a query. Keys come from the "
            "environment alone: pass the plain URL, and api_key_env."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url)):
        raise ValueError(
            f"base_url={url!r}. Expected https://..., or http:// on this machine "
            "(localhost, 127.0.0.1): sessions and key would travel in the clear."
        )
    return url


def read_key(name, url):
    """The key in the environment; None on this machine where there is none."""
    key = os.environ.get(name, "").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"The environment variable {name} holds characters that no key has. Set it "
            "to the key alone, on one line."
        )
    if key or is_loopback(url):
        return key or None
    raise ValueError(
        f"The environment variable {name} is not set. Put the key of {url} there "
        f"(export {name}=...), or name another variable: api_key_env."
    )


def _transport(httpx, read_current_key):
    """A transport with the key, and with limits of size and time."""

    class Limited(httpx.SyncByteStream):
        def __init__(self, stream, deadline):
            self._stream, self._deadline = stream, deadline

        def __iter__(self):
            size = 0
            for chunk in self._stream:
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise BodyTooLarge
                if time.monotonic() > self._deadline:
                    raise httpx.ReadTimeout("the answer took too long")
                yield chunk

        def close(self):
            self._stream.close()

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request):
            key = read_current_key()
            request.headers.pop("authorization", None)
            if key is not None:
                request.headers["Authorization"] = f"Bearer {key}"
            request.headers["Accept-Encoding"] = "identity"
            timeout = request.extensions.get("timeout", {}).get("read")
            deadline = time.monotonic() + (30.0 if timeout is None else timeout)
            response = super().handle_request(request)
            if response.headers.get("content-encoding", "identity") != "identity":
                response.close()  # it could unfold to any size
                raise BodyTooLarge
            response.stream = Limited(response.stream, deadline)
            return response

    return Transport()


class BodyTooLarge(Exception):
    """The answer exceeds what is read of one."""


# -- what came back --------------------------------------------------------------------


def reply_of(payload, status):
    """`LLMReply` of a chat completion, an object or parsed JSON."""
    choices = _get(payload, "choices")
    choice = choices[0] if isinstance(choices, (list, tuple)) and choices else None
    message = _get(choice, "message")
    if message is None:
        raise LLMError("The server's answer has no choices[0].message.", "schema")
    text, usage = _get(message, "content"), _get(payload, "usage")
    if text is not None and not isinstance(text, str):
        raise LLMError("The server's message is no text.", "schema")
    finish = _get(choice, "finish_reason")
    return LLMReply(
        text,
        finish if isinstance(finish, str) else None,
        _count(_get(usage, "prompt_tokens")),
        _count(_get(usage, "completion_tokens")),
        status,
    )


def _get(value, name):
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)


def _count(value):
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None


def error_of(error, sent=()):
    """`LLMError` of any exception; its text names kinds and codes, never content."""
    if isinstance(error, LLMError):
        return error
    chain, cause = [], error
    while cause is not None and len(chain) < 10:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(e, BodyTooLarge) for e in chain):
        return LLMError(
            f"The answer exceeds {MAX_BODY_BYTES:,} bytes, or is compressed.",
            "too_large",
        )
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        reason = f"http_{status // 100}xx"
        response = getattr(error, "response", None)
        named = ()
        if status == 400:
            body = f"{getattr(error, 'body', '')} {error}"
            named = [name for name in _OPTIONAL if name in sent and name in body]
        headers = getattr(response, "headers", None) or {}
        return LLMError(
            f"The server answered with status {status}.",
            reason,
            status=status,
            retry_after=_retry_after(headers),
            fields=named,
        )
    kinds = {kind.__name__ for e in chain for kind in type(e).__mro__}
    if "TimeoutError" in kinds or "APITimeoutError" in kinds:
        return LLMError("No answer within the time limit.", "timeout")
    if kinds & {"ConnectionError", "APIConnectionError"}:
        return LLMError("The server could not be reached.", "connection")
    return LLMError(f"The client raised {type(error).__name__}.", "error")


def _retry_after(headers):
    """Seconds of a Retry-After header, in seconds or as a date; None without one."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if seconds == seconds else None


# -- one request, with retries ---------------------------------------------------------


def request(client, messages, options, *, max_retries, meter, limits, stop):
    """Send a request until it is answered, counted and limited before each send.

    Parameters
    ----------
    client : object with ``complete``
    messages : list of dict
    options : dict
        Of ``complete``; ``timeout`` is for one attempt, and times (max_retries + 1)
        for all of them with the waits between.
    max_retries : int
    meter : Meter
    limits : object with max_requests, max_total_tokens, max_cost, prices
    stop : threading.Event
        Set when nothing more is to be sent.

    Returns
    -------
    reply : LLMReply

    Raises
    ------
    LLMError
    """
    timeout = options["timeout"]
    deadline = time.monotonic() + timeout * (max_retries + 1)
    bound = token_bound(messages)[0], options["max_output_tokens"]
    jitter, attempt, n_left_out = Random(), 0, 0
    while True:
        if stop.is_set():
            raise LLMError("Sending was stopped.", "budget")
        if not meter.reserve(*bound, limits):
            stop.set()
            raise LLMError("A limit on requests, tokens or cost is reached.", "budget")
        left = deadline - time.monotonic()
        spent, failed = (0, 0), None
        try:
            reply = client.complete(
                messages, **{**options, "timeout": max(0.001, min(timeout, left))}
            )
            prompt, completion = (
                _count(reply.prompt_tokens), _count(reply.completion_tokens)
            )  # fmt: skip
            text = reply.text if isinstance(reply.text, str) else ""
            spent = (
                bound[0] if prompt is None else prompt,
                text_tokens(text) if completion is None else completion,
            )
        except Exception as error:
            failed = error_of(error)
            if failed.status is None and failed.reason != "connection":
                spent = bound  # it may have been answered, and billed
        finally:
            meter.settle(bound, spent)
        if failed is None:
            return reply
        refused = failed.fields and hasattr(client, "leave_out")
        if refused and n_left_out < len(_OPTIONAL):
            client.leave_out(failed.fields)  # and once more without them
            n_left_out += 1
            continue
        wait = _wait(failed, attempt, jitter)
        attempt += 1
        if wait is None or attempt > max_retries or time.monotonic() + wait >= deadline:
            raise failed
        stop.wait(wait)


def _wait(error, attempt, jitter):
    """Seconds before the next attempt; None if there must not be one."""
    again = error.status in (408, 409, 429) or error.reason in (
        "timeout",
        "connection",
        "http_5xx",
    )
    if not again or (error.retry_after or 0) > _MAX_RETRY_AFTER:
        return None
    if error.retry_after is not None:
        return error.retry_after
    return min(8.0, 0.5 * 2**attempt) * jitter.uniform(0.5, 1.0)
