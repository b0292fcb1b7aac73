"""Language models behind an endpoint: connection, replies and errors."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from numbers import Integral, Real
from urllib.parse import urlsplit

from skclip._sklearn import BaseEstimator, Interval, StrOptions
from skclip._typing import Auto

WRONG_KEY = (401, 403)
REFUSED = (400, 422, 500)  # status codes for an unknown parameter
# Words in the errors of servers that refuse the form of an answer.
_FORM = re.compile("response_format|schema|grammar|(min|max)(Items|Length)", re.I)


class ChatModel(BaseEstimator):
    """Language model behind an endpoint of the chat-completions protocol.

    Parameters
    ----------
    name : str, default=None
        Name of the model at the endpoint.
    base_url : str, default=None
        Address of the endpoint. It must use https, or http on the local machine. None
        means the environment variable OPENAI_BASE_URL. If that is not set, None means
        ``https://api.openai.com/v1``.
    api_key_env : str, default="OPENAI_API_KEY"
        Name of the environment variable that holds the key. It is read for each
        request.
    temperature : float, default=0.0
        Sampling temperature of the model. With 0, it gives its most likely answer.
    max_output_tokens : int or "auto", default="auto"
        Largest number of tokens per answer. "auto" leaves room for the longest answer
        of the requested form. Models that think before they answer need more.
    timeout : float, default=30.0
        Time limit of the package openai, in seconds. It applies to connecting, and to
        the wait for each further part of an answer.
    max_retries : int, default=3
        Number of retries by the package openai after connection errors, timeouts and
        the status codes 408, 409, 429 and 5xx. A function as `client` is not called
        again.
    max_concurrency : int, default=4
        Largest number of requests that run at the same time, in threads.

    Examples
    --------
    >>> from skclip import LLMReranker, PopularityRecommender
    >>> llm = LLMReranker(PopularityRecommender(), str, model="small")
    >>> llm.set_params(model__base_url="http://localhost:8000/v1").model
    ChatModel(base_url='http://localhost:8000/v1', name='small')
    """

    _parameter_constraints: dict = {
        "name": [str, None],
        "base_url": [str, None],
        "api_key_env": [str],
        "temperature": [Interval(Real, 0, None, closed="left")],
        "max_output_tokens": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "timeout": [Interval(Real, 0, None, closed="neither")],
        "max_retries": [Interval(Integral, 0, None, closed="left")],
        "max_concurrency": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        name: str | None = None,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        temperature: float = 0.0,
        max_output_tokens: int | Auto = "auto",
        timeout: float = 30.0,
        max_retries: int = 3,
        max_concurrency: int = 4,
    ) -> None:
        self.name = name
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.temperature = temperature
        self.max_output_tokens = max_output_tokens
        self.timeout = timeout
        self.max_retries = max_retries
        self.max_concurrency = max_concurrency

    @property
    def _url(self):
        default = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        return self.base_url or default

    def _open(self):
        """Open an ``openai.OpenAI`` without redirects, proxies or secrets in errors."""
        if self.name is None:
            raise ValueError(
                "model=None, but the endpoint needs the name of a model. Pass "
                "model='...', or client=, a function that answers."
            )
        parts = urlsplit(self._url)
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "base_url holds a user name, a password or a query. Pass the plain "
                "URL, and put the key in the environment variable that api_key_env "
                "names."
            )
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise ValueError(
                f"base_url={self._url!r}. Expected https://..., or http:// for the "
                "local machine. Other addresses do not protect sessions and key."
            )
        try:
            import openai
        except ImportError as error:
            raise ImportError(
                "LLMReranker needs the package openai to reach an endpoint. Run pip "
                "install skclip[llm]. Or pass client=, a function that answers."
            ) from error
        self._key(local)  # a missing key fails before anything is sent

        def authorize(request):
            key = self._key(local)
            del request.headers["Authorization"]
            if key:
                request.headers["Authorization"] = f"Bearer {key}"

        def refuse(response):  # or openai would repeat a request without a chance
            if response.status_code == 500:
                response.read()
                if names_form(response.text):
                    response.headers["x-should-retry"] = "false"

        safe = {"follow_redirects": False, "trust_env": False}
        hooks = {"request": [authorize], "response": [refuse]}
        http = openai.DefaultHttpxClient(event_hooks=hooks, **safe)
        return openai.OpenAI(api_key="hook", base_url=self._url, http_client=http)

    def _key(self, local):
        """Return the key in the environment, which may be empty for local servers."""
        key = os.environ.get(self.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()) or not (key or local):
            what = "holds characters that no key has" if key else "is not set"
            raise ValueError(
                f"The environment variable {self.api_key_env} {what}. Set it to the "
                f"key of {self._url}, on one line (export {self.api_key_env}=...), or "
                "name another variable with api_key_env."
            )
        return key


class LLMError(RuntimeError):
    """Failed request to a language model, without prompt, answer or key.

    Parameters
    ----------
    message : str
        Description of the error, and how to fix it.
    reason : str, default="error"
        Reason as counted in ``LLMReranker.fallbacks_``.
    status : int, default=None
        HTTP status of the answer. None means that there was no answer.
    n_requests : int, default=1
        Number of requests that were sent, including retries.

    Examples
    --------
    >>> from skclip.llm import LLMError
    >>> error = LLMError("The server is busy.", "http_5xx", 503)
    >>> str(error), error.reason, error.status
    ('The server is busy.', 'http_5xx', 503)
    """

    def __init__(
        self,
        message: str,
        reason: str = "error",
        status: int | None = None,
        n_requests: int = 1,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.n_requests = n_requests


def check_client(client):
    """Raise unless a client is None, a function or an ``openai.OpenAI``."""
    if isinstance(client, str):
        raise ValueError(
            f"client={client!r}, because copies and files do not keep clients. After "
            "loading, call set_params(client=...). In a search with worker processes, "
            "pass client=None, so that each process makes its own client. Or use "
            "n_jobs=1, or search inside joblib.parallel_backend('threading')."
        )
    if not (client is None or callable(client) or hasattr(client, "chat")):
        raise TypeError(
            f"client is a {type(client).__name__}. Expected a function that takes "
            "messages and returns text, an openai.OpenAI, or None."
        )


def names_form(text):
    """Whether an error is about the requested form of the answer."""
    return _FORM.search(text) is not None


@dataclass
class Reply:
    """Answer of a language model, and its cost in tokens and requests."""

    text: object  # None, or another value that a server sends instead
    counts: tuple = (None, None)  # prompt and completion tokens, None if unknown
    n_requests: int = 1
    cut: bool = False  # whether it ends at the limit on its tokens


def complete(client, messages, **request):
    """Send one request and return its `Reply`."""
    if not hasattr(client, "chat"):
        return Reply(client(messages))
    create = client.chat.completions.with_raw_response.create
    raw = create(messages=messages, **request)
    n_requests, reason = raw.retries_taken + 1, None
    try:
        reply = raw.parse()
        choice, usage = reply.choices[0], reply.usage
        text, end = choice.message.content, getattr(choice, "finish_reason", None)
    except ValueError:
        reason = "not_json"
    except (AttributeError, IndexError, TypeError):
        reason = "schema"
    if reason is not None:  # outside of except, so that the error keeps no answer
        text = f"The server's answer is not a chat completion ({reason})."
        raise LLMError(text, reason, n_requests=n_requests)
    names = ("prompt_tokens", "completion_tokens")
    counts = [getattr(usage, name, None) for name in names]
    counts = tuple(n if type(n) is int and n >= 0 else None for n in counts)
    return Reply(text, counts, n_requests, cut=end == "length")


def error_of(error):
    """Convert any exception to an `LLMError` that names types and codes, no content."""
    if isinstance(error, LLMError):
        return error
    name, status = type(error).__name__, getattr(error, "status_code", None)
    reason, text = "error", f"The client raised {name}."
    if "Timeout" in name:  # such as APITimeoutError of openai
        reason, text = "timeout", "No answer arrived within the time limit."
    elif "Connection" in name:
        reason, text = "connection", "The server could not be reached."
    elif isinstance(status, int):
        reason = f"http_{status // 100}xx"
        text = f"The server answered with status {status}."
        if status in WRONG_KEY:
            text += " Check base_url, and the key in the variable of api_key_env."
    headers = getattr(getattr(error, "request", None), "headers", {})
    n_requests = int(headers.get("x-stainless-retry-count", 0)) + 1  # sent by openai
    return LLMError(text, reason, status, n_requests)
