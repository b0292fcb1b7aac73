"""Requests to a language model about the rows of a ranking."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import numpy as np

from skclip._ranking import topk_codes
from skclip._sklearn import BaseEstimator, Interval, StrOptions
from skclip._typing import ArrayLike
from skclip.llm._asking import Job
from skclip.llm._contract import (
    MAX_TITLE_LENGTH,
    PROMPT_VERSION,
    answer_forms,
    build_messages,
    longest_answer,
)
from skclip.llm._examples import Shots, seed_of
from skclip.llm._matching import TitleIndex, encoded, titles_of

Rows: TypeAlias = (
    Literal["always", "uncertain", "cold"] | Callable[[list[list[Any]]], ArrayLike]
)


class When(BaseEstimator):
    """Choice of the rows that the language model is asked about.

    Parameters
    ----------
    rows : {"always", "uncertain", "cold"} or callable, default="always"
        Rule that chooses rows. "always" takes all rows. "uncertain" computes the
        softmax of the base's scores. It takes rows where the first two items differ by
        less than `margin`, or where the entropy is above `entropy` times its maximum.
        "cold" takes sessions with a rare or unseen item. A callable gets a list of
        lists of raw ids and returns a boolean mask.
    margin, entropy : float, default=0.1, 0.9
        Thresholds of "uncertain", between 0 and 1.
    rare_count : int, default=5
        Number of training events below which "cold" calls an item rare.

    Examples
    --------
    >>> from skclip import LLMReranker, PopularityRecommender
    >>> llm = LLMReranker(PopularityRecommender(), str, when="uncertain")
    >>> llm.set_params(when__margin=0.2).when
    When(margin=0.2, rows='uncertain')
    """

    _parameter_constraints: dict = {
        "rows": [StrOptions({"always", "uncertain", "cold"}), callable],
        "margin": [Interval(Real, 0, 1, closed="both")],
        "entropy": [Interval(Real, 0, 1, closed="both")],
        "rare_count": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        rows: Rows = "always",
        *,
        margin: float = 0.1,
        entropy: float = 0.9,
        rare_count: int = 5,
    ) -> None:
        self.rows = rows
        self.margin = margin
        self.entropy = entropy
        self.rare_count = rare_count

    def _mask(self, raw, counts, scores):
        """Choose rows by raw ids, training events of these, and scores (n, n_items)."""
        if self.rows == "uncertain":
            shares, n_items = scores.float().softmax(dim=1), scores.shape[1]
            first = shares.topk(min(2, n_items), dim=1).values
            nats = -(shares * shares.clamp_min(1e-30).log()).sum(dim=1)
            close = first[:, 0] - first[:, -1] < self.margin
            flat = nats / np.log(max(n_items, 2)) > self.entropy
            return (close | flat).cpu().numpy()
        if not callable(self.rows):
            bound = np.inf if self.rows == "always" else self.rare_count
            return np.array([min(row, default=np.inf) < bound for row in counts])
        mask = np.asarray(self.rows(raw))
        if mask.shape != (len(raw),):
            raise ValueError(
                f"when returned an array of shape {mask.shape}. Expected a mask of "
                f"shape ({len(raw)},) that is True for the sessions to ask about."
            )
        return mask.astype(bool)


class Catalog:
    """Items of the base, and what other processes rebuild from their titles."""

    def __init__(self, item_ids, titles, counts, sessions, encoder):
        self.item_ids, self.titles, self.counts = item_ids, titles, counts
        self.shots, self.servers, self._encoder = Shots(*sessions), {}, encoder
        told = [title[:MAX_TITLE_LENGTH] for title in titles]
        self.title_length = max(map(len, told))
        self.title_bytes = max(len(t.encode("utf-8", "replace")) for t in told)
        sessions = (self.shots.codes, self.shots.offsets, self.shots.ids)
        self.state = (
            titles,
            counts,
            sessions,
            encoder,
        )  # for other processes

    @cached_property
    def text(self):
        """The fitted encoder, and vectors of the titles."""
        return encoded(self._encoder, self.titles)

    @cached_property
    def index(self):
        return TitleIndex(self.titles, self.counts, *self.text)


class Questions:
    """Requests of one ranking. `settings` holds the parameters, parts as objects."""

    def __init__(self, settings, queries, catalog):
        self._settings, self._queries, self._catalog = settings, queries, catalog
        uncertain = settings.when.rows == "uncertain"
        self.reads_scores = uncertain or settings.mode == "rerank"

    def jobs(self, at, scores=None):
        """Return the distinct requests for rows `at`, and the number of these rows."""
        settings, catalog, jobs = self._settings, self._catalog, {}
        queries, n_asked = self._queries.take(at), 0
        raw = queries.as_sessions(catalog.item_ids).to_lists()
        told = [[t for t in titles_of(settings.item_titles, row) if t] for row in raw]
        starts = queries.offsets[:-1][queries.rows]
        places = zip(starts, starts + queries.ends, strict=True)
        codes = [queries.codes[start:end] for start, end in places]
        unseen = np.zeros(len(queries.unseen_ids))
        counts = np.concatenate([[0], catalog.counts, unseen])
        asked = settings.when._mask(raw, [counts[row] for row in codes], scores)
        tops = [None] * len(at)
        if settings.mode == "rerank":
            k = min(settings.n_candidates, len(catalog.titles))
            tops = [
                [c for c in columns[values > -np.inf].tolist() if catalog.titles[c]]
                for columns, values in zip(*topk_codes(scores, k), strict=True)
            ]
        for j in sorted(np.flatnonzero(asked), key=lambda j: at[j]):
            if told[j] and (tops[j] is None or len(tops[j]) > 1):
                n_asked += 1
                own_id = None if queries.ids is None else queries.ids[queries.rows[j]]
                examples = self._examples(raw[j], codes[j], own_id)
                for job in self._jobs_of(raw[j], told[j], examples, tops[j]):
                    rows = jobs.setdefault(job.key, job).rows
                    rows.append((int(at[j]), job.columns))
        return list(jobs.values()), n_asked

    def _jobs_of(self, raw, told, examples, columns):
        """Make one request, or one per permutation, with candidates named in order."""
        settings, titles = self._settings, self._catalog.titles
        if columns is None:
            options = {"n": settings.n_generate, "examples": examples}
            messages = build_messages("expand", told, **options)
            return [self._job("expand", messages, settings.n_generate)]
        n, jobs = len(columns), []
        names = [f"c{place:0{max(2, len(str(n)))}d}" for place in range(1, n + 1)]
        for permutation in range(settings.n_permutations):
            seed = seed_of(settings.seed, permutation, raw)
            places = np.argsort(np.random.default_rng(seed).permutation(n))
            of_name = {names[p]: c for p, c in zip(places, columns, strict=True)}
            candidates = [(name, titles[c]) for name, c in sorted(of_name.items())]
            options = {"n": n, "examples": examples, "candidates": candidates}
            messages = build_messages("rerank", told, **options)
            jobs.append(self._job("rerank", messages, n, of_name))
        return jobs

    def _job(self, task, messages, n, columns=None):
        forms = answer_forms(task, n, columns, self._catalog.title_length)
        max_tokens = self._settings.model.max_output_tokens
        if max_tokens == "auto":
            max_tokens = longest_answer(task, n, columns, self._catalog.title_bytes)
        # Answers are completed in the order of the base, so it is part of the key.
        key = self._key(messages, max_tokens, columns and list(columns))
        return Job(key, messages, forms, max_tokens, columns)

    def _examples(self, raw, codes, own_id):
        """Return the examples of a row as titles, in pairs of observed and next."""
        selection, catalog = self._settings.examples.selection, self._catalog
        query = [c for c in codes if c <= len(catalog.titles) and catalog.titles[c - 1]]
        options = {"seed": seed_of(self._settings.seed, "shots", raw), "own_id": own_id}
        if selection == "knn":
            options["vectors"] = catalog.text[1]
        query = np.array(query, dtype=np.int64)
        n_shots = self._settings.examples.n_shots
        picked = catalog.shots.pick(selection, query, n_shots, **options)
        titles = [[catalog.titles[code - 1] for code in session] for session in picked]
        return [(observed, target) for *observed, target in titles]

    def _key(self, messages, max_tokens, ids):
        """Return the cache key: everything that an answer depends on, as JSON."""
        settings, client = self._settings, self._settings.client
        model, kind = settings.model, type(client)
        asked = model._url if client is None else getattr(client, "base_url", "client")
        name = getattr(client, "__qualname__", kind.__qualname__)
        who = (str(asked), kind.__module__, name, model.name)
        numbers = (settings.seed, settings.n_generate, max_tokens)
        numbers = (*map(int, numbers), float(model.temperature))
        return json.dumps([PROMPT_VERSION, who, numbers, messages, ids])
