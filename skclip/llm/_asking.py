"""What one ranking asks a language model: requests, in threads, and kept answers."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from types import SimpleNamespace

from skclip.llm._cache import FileCache, cache_key
from skclip.llm._client import LLMError, as_client, request, resolve_base_url
from skclip.llm._contract import parse_answer

_JSON_MODE = {"type": "json_object"}
_RAISED_AT_ONCE = (401, 403)  # a wrong key must not look like a working system


@dataclass
class Job:
    """One request, and the rows that wait for its answer."""

    key: str
    messages: list
    columns: dict = None  # of the ids of candidates, for the row that it is made for
    ids: list = None  # in the order of the base
    # Rows that wait for it, and their columns: items may have equal titles.
    rows: list = field(default_factory=list)


def request_key(settings, messages, ids=None):
    """Name of a request in the cache, by all that its answer depends on."""
    asked = resolve_base_url(settings.base_url)
    if settings.client is not None:
        asked = str(getattr(settings.client, "base_url", "client"))
    kind = type(settings.client)
    name = getattr(settings.client, "__qualname__", kind.__qualname__)
    return cache_key(
        endpoint=[asked, kind.__module__, name],
        model=settings.model,
        messages=messages,
        ids=ids,
        temperature=float(settings.temperature),
        max_output_tokens=int(settings.max_output_tokens),
        seed=int(settings.seed),
        prompt_version=settings.prompt_version,
        n=int(settings.n_generate),
    )


class Asking:
    """The requests of one ranking, and what they share.

    A context manager: at its end a file of answers and a client of its own are closed.

    Parameters
    ----------
    settings : LLMReranker
        Its parameters say whom to ask, how, how often, and where answers are kept.
    meter : Meter
    memory : Memory
    """

    def __init__(self, settings, meter, memory):
        self.settings, self.meter = settings, meter
        self._client, self._stop = None, threading.Event()
        if settings.cache is not None:
            self._cache = FileCache(settings.cache)
        else:
            self._cache = memory.of(settings.client)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.settings.client is None and self._client is not None:
            self._client.close()
        self._cache.close()

    def cached(self, job):
        """A kept answer that still reads as one of this request, or None."""
        try:
            value = self._cache.get(job.key)
        except sqlite3.Error:
            self.meter.add("cache_errors")
            return None
        good = isinstance(value, list) and value
        if not good or not all(isinstance(entry, str) for entry in value):
            return None
        if job.ids is not None and sorted(value) != sorted(job.ids):
            return None
        return value

    def answers(self, jobs):
        """For each request in order: entries of the answer, or an LLMError."""
        settings = self.settings
        answers = [self.cached(job) for job in jobs]
        hits = sum(
            len(job.rows) - (answer is None)
            for job, answer in zip(jobs, answers, strict=True)
        )
        self.meter.add("cache_hits", hits)
        missing = [i for i, answer in enumerate(answers) if answer is None]
        if not missing:
            return answers
        if settings.client is None and settings.model is None:
            raise ValueError(
                "model=None: the endpoint must be told which model to ask. Pass "
                "model='...', or client= for a function that answers."
            )
        if self._client is None:
            self._client = as_client(
                settings.client, settings.base_url, settings.api_key_env
            )
        pool = ThreadPoolExecutor(min(settings.max_concurrency, len(missing)))
        done = False
        try:
            futures = {pool.submit(self._answer, jobs[i]): i for i in missing}
            for future in as_completed(futures):
                i = futures[future]
                answers[i] = future.result()
                failed = isinstance(answers[i], LLMError)
                if failed and answers[i].status in _RAISED_AT_ONCE:
                    raise LLMError(
                        f"The server refused the key (status {answers[i].status}). "
                        f"Check the environment variable {settings.api_key_env} and "
                        "base_url, or the client that was handed in.",
                        answers[i].reason,
                        status=answers[i].status,
                    )
                if failed and settings.on_error == "raise":
                    raise answers[i]
            done = True
        finally:  # also on Ctrl-C: nothing more is sent, nobody waits for the rest
            if not done:
                self._stop.set()
            pool.shutdown(wait=done, cancel_futures=True)
        return answers

    def _answer(self, job):
        """Entries of the answer to one request, or an LLMError; never raises."""
        settings = self.settings
        options = {
            "model": settings.model,
            "temperature": settings.temperature,
            "max_output_tokens": settings.max_output_tokens,
            "response_format": _JSON_MODE,
            "seed": settings.seed,
            "timeout": settings.timeout,
        }
        limits = SimpleNamespace(
            max_requests=settings.max_requests,
            max_total_tokens=settings.max_total_tokens,
            max_cost=settings.max_cost,
            prices=settings.prices,
        )
        try:
            reply = request(
                self._client,
                job.messages,
                options,
                max_retries=settings.max_retries,
                meter=self.meter,
                limits=limits,
                stop=self._stop,
            )
        except LLMError as error:
            if error.status in _RAISED_AT_ONCE or settings.on_error == "raise":
                self._stop.set()
            return error
        entries, faults = parse_answer(
            reply.text,
            task="rerank" if settings.mode == "rerank" else "expand",
            n=settings.n_generate,
            ids=job.ids,
            finish_reason=reply.finish_reason,
        )
        for fault in faults:
            self.meter.add_fault(fault)
        if not entries:
            known = [f for f in faults if f in ("empty", "not_json", "schema")]
            reason = known[0] if known else "unmapped"
            return LLMError(f"The answer could not be used ({reason}).", reason)
        try:
            self._cache.put(job.key, entries)
        except sqlite3.Error:
            self.meter.add("cache_errors")
        return entries
