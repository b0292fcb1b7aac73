"""The requests of one ranking, in threads, and kept answers."""

import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np

from skclip._cache import FileCache
from skclip.llm._budget import token_bound
from skclip.llm._client import WRONG_KEY, LLMError, check_client, complete, error_of
from skclip.llm._contract import answer_format, parse_answer

# Parameters that some servers refuse: left out for good once a 400 has named them
# ("max_tokens" is then called "max_completion_tokens").
_OPTIONAL = ("response_format", "max_tokens", "temperature", "seed")


@dataclass
class Job:
    """One request, and the rows that wait for its answer."""

    key: str
    messages: list
    columns: dict = None  # of the ids of candidates, in the order of the base
    # Rows that wait for it, and their columns: items may have equal titles.
    rows: list = field(default_factory=list)


class Memory(dict):
    """Kept answers, with the methods of a `FileCache`."""

    put = dict.update


class Asking:
    """Asks for answers, and keeps them; at its end it closes what it has opened.

    `settings` are parameters with parts as objects; `memory` is a dict that keeps the
    answers of each client where no file does.
    """

    def __init__(self, settings, meter, memory):
        self._settings, self._meter = settings, meter
        if settings.cache is not None:
            self._cache = FileCache(settings.cache)
        else:  # with the client, or another could get its id
            new = (settings.client, Memory())
            _, self._cache = memory.setdefault(id(settings.client), new)
        self._task = "rerank" if settings.mode == "rerank" else "expand"
        self._client, self._refused, self._stop = None, set(), threading.Event()
        self._fatal = None  # an error that ends the ranking

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._settings.client is None and self._client is not None:
            self._client.close()
        if self._settings.cache is not None:
            self._cache.close()

    def cached(self, job):
        """Entries of a kept answer, or None."""
        with contextlib.suppress(sqlite3.Error):
            text = (self._cache.get(job.key) or b"").decode("utf-8", "replace")
            return self._parsed(text, job)[0] or None

    def _parsed(self, text, job):
        return parse_answer(text, self._task, self._settings.n_generate, job.columns)

    def answers(self, jobs):
        """For each request in order: entries of the answer, or an LLMError."""
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
        finally:  # also on Ctrl-C: nothing more is sent, nobody waits for the rest
            if not done:
                self._stop.set()
            pool.shutdown(wait=done, cancel_futures=True)
        return answers

    def _answer(self, job):
        """Entries of the answer to one request, or an LLMError; never raises."""
        try:
            text = self._send(job)
            entries, reason = self._parsed(text, job)
            if not entries:
                raise LLMError(f"The answer could not be used ({reason}).", reason)
        except LLMError as error:
            # A wrong key must not look like a working system.
            if self._settings.on_error == "raise" or error.status in WRONG_KEY:
                self._fatal = self._fatal or error
                self._stop.set()
            return error
        with contextlib.suppress(sqlite3.Error):  # an answer that is not kept is one
            self._cache.put({job.key: text.encode("utf-8", "replace")})
        return entries

    def _send(self, job):
        """Text of an answer; the request is counted and limited before it is sent."""
        client, model, budget = (
            self._client,
            self._settings.model,
            self._settings.budget,
        )
        retries = model.max_retries if hasattr(client, "with_options") else 0
        bound = np.array([1, token_bound(job.messages), model.max_output_tokens])
        while True:
            granted = self._meter.reserve(retries + 1, bound, budget)
            if granted == 0 or self._stop.is_set():
                self._meter.settle(granted, bound, budget, 0 * bound)
                self._stop.set()
                limit = "A limit on requests, tokens or cost is reached."
                raise LLMError("Sending was stopped." if granted else limit, "budget")
            if hasattr(client, "with_options"):
                client = client.with_options(max_retries=granted - 1)
            request, failed = self._request(job), None
            try:
                text, counts, n = complete(client, **request)
                guesses = zip(counts, (bound[1], token_bound(text)), strict=True)
                tokens = [guess if count is None else count for count, guess in guesses]
                used = (n - 1) * bound + [1, *tokens]
            except Exception as error:
                failed, body = error_of(error), f"{getattr(error, 'body', '')} {error}"
                # A status costs nothing; what else was sent may have been billed.
                free = failed.status is not None or failed.reason == "connection"
                used = failed.n_requests * (np.array([1, 0, 0]) if free else bound)
            self._meter.settle(granted, bound, budget, used)
            if failed is None:
                return text
            named = {name for name in _OPTIONAL if name in request and name in body}
            if failed.status != 400 or not named:
                raise failed  # outside: it must not hold on to request and headers
            self._refused |= named  # and once more without them

    def _request(self, job):
        """What is sent, without the parameters that the server has refused."""
        model, form = self._settings.model, answer_format(self._task, job.columns)
        values = (form, model.max_output_tokens, model.temperature, self._settings.seed)
        request = dict(zip(_OPTIONAL, values, strict=True))
        request = {k: v for k, v in request.items() if k not in self._refused}
        if "max_tokens" in self._refused:
            request["max_completion_tokens"] = model.max_output_tokens
        request |= {"messages": job.messages, "model": model.name}
        return request | {"timeout": model.timeout}
