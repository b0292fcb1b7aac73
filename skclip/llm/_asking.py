"""Requests of one ranking, sent from threads, and a cache of their answers."""

import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np

from skclip._cache import FileCache
from skclip.llm._budget import token_bound
from skclip.llm._client import (
    REFUSED,
    WRONG_KEY,
    LLMError,
    check_client,
    complete,
    error_of,
    names_form,
)
from skclip.llm._contract import N_FORMS, N_SCHEMA_FORMS, parse_answer

# Parameters that some servers refuse. Once an error names one of them, it is no longer
# sent. "max_completion_tokens" then replaces "max_tokens".
_OPTIONAL = ("max_tokens", "temperature", "seed")
_UNUSABLE = {  # reasons why an answer cannot be used
    "empty": "The answer is empty.",
    "not_json": "The answer is not JSON.",
    "schema": "The answer does not have the requested form.",
    "unmapped": "The answer names no candidate.",
    "cut": "The answer was cut at its limit of tokens. Raise model__max_output_tokens.",
}


@dataclass
class Job:
    """One request, and the rows that need its answer."""

    key: str
    messages: list
    forms: list  # forms of the answer, see `answer_forms`
    max_tokens: int  # limit of the answer
    columns: dict = None  # column by id of candidate, in the order of the base
    # Rows that need it, and their columns, because items may have equal titles.
    rows: list = field(default_factory=list)


class Memory(dict):
    """Kept answers, with the methods of a `FileCache`."""

    put = dict.update


@dataclass
class Server:
    """Forms and parameters that a server accepts, as far as its answers show."""

    client: object  # kept here, or another client could get its id
    form: int = 0  # the strictest form that it may accept
    kept_form: int = None  # the last form that an answer followed
    refused: set = field(default_factory=set)  # other parameters
    answers: Memory = field(default_factory=Memory)

    def weaken(self, form):
        """Use the form after `form`, unless another thread has gone further."""
        self.form = max(self.form, min(form + 1, N_FORMS - 1))


class Asking:
    """Get answers and keep them. At the end, close what was opened.

    `settings` holds the parameters, with parts as objects. `servers` is a dict of
    servers. It keeps what was learned about each, and its answers if there is no file.
    """

    def __init__(self, settings, meter, servers):
        self._settings, self._meter = settings, meter
        client, model = settings.client, settings.model
        key = (id(client), model._url, model.name)
        self._server = servers.setdefault(key, Server(client))
        self._cache = self._server.answers
        if settings.cache is not None:
            self._cache = FileCache(settings.cache)
        self._task = "rerank" if settings.mode == "rerank" else "expand"
        self._client, self._stop = None, threading.Event()
        self._fatal = None  # an error that ends the ranking

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._settings.client is None and self._client is not None:
            self._client.close()
        if self._settings.cache is not None:
            self._cache.close()

    def cached(self, job):
        """Return the entries of a kept answer, or None."""
        with contextlib.suppress(sqlite3.Error):
            text = (self._cache.get(job.key) or b"").decode("utf-8", "replace")
            return self._parsed(text, job)[0] or None

    def _parsed(self, text, job):
        return parse_answer(text, self._task, self._settings.n_generate, job.columns)

    def answers(self, jobs):
        """Return the entries of each answer in order, or an LLMError in their place."""
        answers = [self.cached(job) for job in jobs]
        missing = [i for i, answer in enumerate(answers) if answer is None]
        self._meter.add(cache_hits=sum(len(j.rows) for j in jobs) - len(missing))
        if not missing:
            return answers
        if self._client is None:
            self._client = self._settings.client
            check_client(self._client)
            if self._client is None:
                self._client = self._settings.model._open()
        n_threads = min(self._settings.model.max_concurrency, len(missing))
        pool, done = ThreadPoolExecutor(n_threads), False
        try:
            futures = {pool.submit(self._answer, jobs[i]): i for i in missing}
            for future in as_completed(futures):
                answers[futures[future]] = future.result()
                if self._fatal is not None:
                    raise self._fatal
            done = True
        finally:  # also on Ctrl-C: send nothing more, and do not wait for the rest
            if not done:
                self._stop.set()
            pool.shutdown(wait=done, cancel_futures=True)
        return answers

    def _answer(self, job):
        """Return the entries of one answer, or an LLMError. Never raise."""
        try:
            text, entries = self._usable(job)
        except LLMError as error:
            # A wrong key must not look like a working system.
            if self._settings.on_error == "raise" or error.status in WRONG_KEY:
                self._fatal = self._fatal or error
                self._stop.set()
            return error
        with contextlib.suppress(sqlite3.Error):  # an answer that is not kept is valid
            self._cache.put({job.key: text.encode("utf-8", "replace")})
        return entries

    def _usable(self, job):
        """Return text and entries of an answer that could be parsed."""
        while True:
            reply, form = self._send(job)
            entries, reason = self._parsed(reply.text, job)
            if entries:
                self._server.kept_form = form
                return reply.text, entries
            # A server may accept a schema and ignore it. Then ask in another form,
            # unless an answer has followed this one. Cut answers do not count.
            strays = reason in ("not_json", "schema") and not reply.cut
            if strays and form < N_SCHEMA_FORMS and self._server.kept_form != form:
                self._server.weaken(form)
                continue
            reason = "cut" if reply.cut else reason
            raise LLMError(_UNUSABLE[reason], reason)

    def _send(self, job):
        """Send a request. Return the `Reply` and the form that was requested.

        The request is counted and limited before it is sent.
        """
        client, model, budget = (
            self._client,
            self._settings.model,
            self._settings.budget,
        )
        retries = model.max_retries if hasattr(client, "with_options") else 0
        bound = np.array([1, token_bound(job.messages), job.max_tokens])
        while True:
            granted = self._meter.reserve(retries + 1, bound, budget)
            if granted == 0 or self._stop.is_set():
                self._meter.settle(granted, bound, budget, 0 * bound)
                self._stop.set()
                limit = (
                    "A limit of budget on requests, tokens or cost is reached. Raise "
                    "it, or fit again to reset the counts."
                )
                raise LLMError("Sending was stopped." if granted else limit, "budget")
            if hasattr(client, "with_options"):
                client = client.with_options(max_retries=granted - 1)
            form = self._server.form if hasattr(client, "chat") else N_FORMS - 1
            sent, failed = self._parameters(job, form), None
            request = {"messages": job.messages, "model": model.name, **sent}
            try:
                reply = complete(client, **request, timeout=model.timeout)
                guesses = (bound[1], token_bound(reply.text))
                pairs = zip(reply.counts, guesses, strict=True)
                tokens = [guess if count is None else count for count, guess in pairs]
                used = (reply.n_requests - 1) * bound + [1, *tokens]
            except Exception as error:
                failed, body = error_of(error), f"{getattr(error, 'body', '')} {error}"
                # Errors with a status are free. Other requests may have been billed.
                free = failed.status is not None or failed.reason == "connection"
                used = failed.n_requests * (np.array([1, 0, 0]) if free else bound)
            self._meter.settle(granted, bound, budget, used)
            if failed is None:
                return reply, form
            named = {name for name in _OPTIONAL if name in sent and name in body}
            refused = "response_format" in sent and names_form(body)
            if failed.status not in REFUSED or not (named or refused):
                raise failed  # outside of except: keeps no request and headers
            self._server.refused |= named  # send once more without them
            if refused:
                self._server.weaken(form)

    def _parameters(self, job, form):
        """Return the parameters of a request that the server has not refused."""
        values = (job.max_tokens, self._settings.model.temperature, self._settings.seed)
        sent, refused = dict(zip(_OPTIONAL, values, strict=True)), self._server.refused
        if "max_tokens" in refused:
            sent["max_completion_tokens"] = job.max_tokens
        sent = {name: value for name, value in sent.items() if name not in refused}
        response_format = job.forms[form]
        return sent | ({"response_format": response_format} if response_format else {})
