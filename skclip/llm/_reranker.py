"""`LLMReranker` merges a recommender's lists with answers of a language model."""

from __future__ import annotations

import os
from collections import Counter
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from skclip._base import SessionEstimator, plain_number, with_plain_numbers
from skclip._data import query_data, training_data
from skclip._ranking import RerankingMixin
from skclip._sklearn import HasMethods, Interval, StrOptions, _fit_context
from skclip._typing import (
    Estimator,
    Ids,
    Labels,
    PathLike,
    Self,
    SessionsLike,
    Weights,
)
from skclip._warnings import warn_user
from skclip.llm._asking import Asking
from skclip.llm._budget import SENT, Budget, Meter, token_bound
from skclip.llm._client import ChatModel, LLMError, check_client
from skclip.llm._examples import Examples, Selection
from skclip.llm._matching import TitleMatching, titles_of
from skclip.llm._questions import Catalog, Questions, Rows, When
from skclip.llm._rank_fusion import borda, fused_scores


class LLMReranker(RerankingMixin, SessionEstimator):
    """Let a language model add to a recommender's list, or reorder its first items.

    Language models are good at naming items that may come next, and poor at ordering
    them. Session models are the other way round [1]_. So by default, the language model
    writes titles, which are matched to items. These are merged into the recommender's
    list below its first place, by reciprocal rank fusion [2]_. An item scores
    ``(1 - weight) / (60 + rank in the base) + weight / (60 + rank by the model)``.

    A row keeps the recommender's list if the model gives no usable answer. Every ranked
    prefix is a request, so call ``estimate_cost`` first.

    Parameters
    ----------
    estimator : recommender, or Pipeline or search that ends in one
        Base recommender. `fit` clones and fits it, unless `prefit` is True.
    item_titles : dict, Series or callable
        Titles by item id, or a function that returns the title of an id. It may cover
        ids outside the catalog. Items without a title (missing, None, NaN or blank)
        keep their places, and the model neither sees nor names them.
    model : str or ChatModel, default=None
        Name of the language model, or a `ChatModel` with its endpoint and time limits.
    client : callable or openai.OpenAI, default=None
        Client that answers instead of the model's endpoint. It is a function that takes
        messages and returns text, or an object with ``chat.completions.create``. An
        ``openai.OpenAI`` uses `max_retries` of `model`. It also repeats requests that a
        server refuses with status 500, for example because of the form of the answer.
        Set ``model__max_retries=0`` for such a server. Clones share the client.
        Pickles, files and copies for other processes do not contain it.
    mode : {"expand", "rerank", "agent"}, default="expand"
        Task of the model. With "expand", it writes `n_generate` titles of any items,
        which are merged with the base list. With "rerank", it orders the first
        `n_candidates` items of the base, and its order is merged with the base list.
        With "agent", the items of its titles come first, followed by the base list.
        "agent" is meant for experiments.
    n_generate : int, default=10
        Number of titles to request with "expand" and "agent".
    n_candidates : int, default=20
        Number of top items of the base to show with "rerank".
    n_permutations : int, default=1
        Number of requests per row with "rerank", each with the candidates in another
        order. Models favor the first candidates, and several orders reduce this bias.
        The answers are merged by Borda count.
    examples : {"knn", "random", "recent"} or Examples, default="knn"
        Training sessions to show as examples, as an `Examples` or its `selection`. None
        shows no examples.
    matching : TitleMatching, default=None
        Matching of written titles to items. None means ``TitleMatching()``.
    when : {"always", "uncertain", "cold"}, callable or When, default="always"
        Choice of the rows to ask about, as a `When` or its `rows`.
    weight : float, default=0.3
        Weight of the model's ranks, between 0 and 1. With 0, the lists are exactly
        those of the base, and nothing is sent.
    protect_top : int, default=1
        Number of first places that the base keeps. "agent" ignores it.
    budget : Budget, default=None
        Limits on requests, tokens and cost. None sets no limit.
    cache : path-like, default=None
        SQLite file that keeps usable answers. Only its owner may read it (mode 0600).
        None keeps answers in memory.
    on_error : {"fallback", "raise"}, default="fallback"
        Reaction to a failed request. "fallback" keeps the base list of the row, counts
        the reason in `fallbacks_`, and warns once per ranking. "raise" raises
        `LLMError`. The status codes 401 and 403 always raise.
    seed : int, default=0
        Seed of the order of candidates and of random examples, combined with the
        session. It is also sent to the server.
    prefit : bool, default=False
        Whether `estimator` is already fitted. It is then used unchanged, also by
        clones, and `fit` only reads the sessions for examples and popularity.

    Attributes
    ----------
    estimator_ : recommender
        Fitted base recommender.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog, which is that of the base.
    n_missing_titles_ : int
        Number of catalog items without a title.
    usage_ : dict
        Counts since `fit`: ``rows`` ranked, rows ``asked`` about, ``requests`` sent
        including retries, ``cache_hits``, ``prompt_tokens``, ``completion_tokens`` and
        ``cost``. Tokens are estimated if the server does not count them.
    fallbacks_ : dict
        Number of rows that kept the base list because their requests failed, by reason.
        The reasons are "timeout", "connection", "http_3xx", "http_4xx", "http_5xx",
        "error", "empty", "not_json", "schema", "cut", "unmapped" and "budget".

    Notes
    -----
    Scores of changed rows are 1 / place. Items that are tied in the base stay tied if
    the model does not name them. Filters apply to the base list first, so the model
    does not see excluded items. Copies in other processes count and cache separately.

    Differences from the paper and its code:

    - **Prompt and examples.** The part of the paper that describes the prompt was not
      available, and no code was found. skclip has its own: an answer in JSON, and three
      training sessions as examples, the nearest by the vectors of their titles.
    - **Joining the two lists.** The abstract reports that joining both lists beats
      either alone, and no code was found. skclip merges them by reciprocal rank fusion
      below the first place of the base, because language models name items well and
      order them poorly. The constant 60 comes from the authors of that fusion.

    References
    ----------
    .. [1] J. Narwariya et al., "SemSR", arXiv:2508.20587. skclip follows its abstract.
           Prompt, matching and fusion are skclip's own.
    .. [2] G. V. Cormack, C. L. A. Clarke, S. Buettcher, "Reciprocal rank fusion
           outperforms Condorcet and individual rank learning methods", SIGIR 2009.

    Examples
    --------
    >>> from skclip import LLMReranker, PopularityRecommender
    >>> titles = {1: "green tea", 2: "tea pot", 3: "garden hose", 4: "tea cup"}
    >>> def scripted(messages):  # in place of a language model
    ...     return '{"titles": ["Tea cup!"]}'
    >>> llm = LLMReranker(PopularityRecommender(), titles, client=scripted, weight=0.9)
    >>> llm.fit([[1, 2], [1, 3], [1, 2, 4]]).predict_topk([[1]], k=3).tolist()
    [[1, 4, 2]]
    >>> llm.usage_["requests"], llm.fallbacks_
    (1, {})
    """

    n_missing_titles_: int
    usage_: dict[str, Any]
    fallbacks_: dict[str, int]

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "item_titles": [HasMethods(["get"]), callable],
        "model": [str, ChatModel, None],
        "client": "no_validation",
        "mode": [StrOptions({"expand", "rerank", "agent"})],
        "n_generate": [Interval(Integral, 1, None, closed="left")],
        "n_candidates": [Interval(Integral, 2, None, closed="left")],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "examples": [Examples, *Examples._parameter_constraints["selection"], None],
        "matching": [TitleMatching, None],
        "when": [When, *When._parameter_constraints["rows"]],
        "weight": [Interval(Real, 0, 1, closed="both")],
        "protect_top": [Interval(Integral, 0, None, closed="left")],
        "budget": [Budget, None],
        "cache": [str, os.PathLike, None],
        "on_error": [StrOptions({"fallback", "raise"})],
        "seed": [Integral],
        "prefit": ["boolean"],
    }
    _shared_by_clones = ("client",)

    def __init__(
        self,
        estimator: Estimator,
        item_titles: Labels,
        *,
        model: str | ChatModel | None = None,
        client: Any = None,
        mode: Literal["expand", "rerank", "agent"] = "expand",
        n_generate: int = 10,
        n_candidates: int = 20,
        n_permutations: int = 1,
        examples: Selection | Examples | None = "knn",
        matching: TitleMatching | None = None,
        when: Rows | When = "always",
        weight: float = 0.3,
        protect_top: int = 1,
        budget: Budget | None = None,
        cache: PathLike | None = None,
        on_error: Literal["fallback", "raise"] = "fallback",
        seed: int = 0,
        prefit: bool = False,
    ) -> None:
        self.estimator = estimator
        self.item_titles = item_titles
        self.model = model
        self.client = client
        self.mode = mode
        self.n_generate = n_generate
        self.n_candidates = n_candidates
        self.n_permutations = n_permutations
        self.examples = examples
        self.matching = matching
        self.when = when
        self.weight = weight
        self.protect_top = protect_top
        self.budget = budget
        self.cache = cache
        self.on_error = on_error
        self.seed = seed
        self.prefit = prefit

    def _parts(self):
        kinds = {"model": ChatModel, "examples": Examples, "matching": TitleMatching}
        parts = {"when": When, "budget": Budget} | kinds
        for name, kind in parts.items():
            value = getattr(self, name)
            if not isinstance(value, kind):  # the first parameter of one, or None
                value = kind() if value is None else kind(value)
            parts[name] = value
        if self.examples is None:
            parts["examples"] = Examples(n_shots=0)
        return parts

    def _settings(self):
        """Return the parameters, with parts as objects."""
        parts = {name: with_plain_numbers(part) for name, part in self._parts().items()}
        given = {k: plain_number(v) for k, v in self.get_params(deep=False).items()}
        return SimpleNamespace(**(given | parts))

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Fit the base and read the sessions for examples. No request is sent.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Examples come from them. With
            `prefit`, pass the sessions that the base was fitted on.
        y : array-like of shape (n_sessions,), default=None
            Next item of each session.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows for the base, 0 or more. Rows of weight 0 are left out,
            also as examples. None means 1 for all rows.

        Returns
        -------
        self : LLMReranker
            The estimator itself, fitted.

        Raises
        ------
        ValueError, TypeError
            No item has a title, a title is not text, or an id has two titles. Or the
            base is not a recommender of skclip, or its `fit` takes no `sample_weight`.
        """
        check_client(self.client)
        parts = self._parts()
        for part in parts.values():
            part._validate_params()
        estimator, base, sessions = self._fitted_base(X, y, sample_weight)
        titles = titles_of(self.item_titles, base.item_ids_.tolist())
        n_missing = self._check_titles(titles, base.item_ids_)
        data = training_data(sessions, y, sample_weight=sample_weight)
        counts, shown = _read_sessions(base, titles, data)
        encoder = parts["matching"].encoder
        catalog = Catalog(base.item_ids_, titles, counts, shown, encoder)
        _ = catalog.text  # made now, because an encoder may be slow or fail
        usage = dict.fromkeys(("rows", "asked", "cache_hits", *SENT), 0)
        usage["cost"] = parts["budget"]._cost(0, 0)
        return self._adopt(
            X,
            estimator_=estimator,
            item_ids_=base.item_ids_,
            n_missing_titles_=n_missing,
            _index=base._index,
            usage_=usage,
            fallbacks_={},
            _catalog=catalog,
            _meter=Meter(usage),
        )

    def _check_titles(self, titles, item_ids):
        """Return the number of missing titles, and raise if all are missing."""
        n, n_missing = len(titles), titles.count("")
        if n_missing == n:
            example = item_ids.tolist()[0]
            given = next(iter(getattr(self.item_titles, "keys", list)()), None)
            raise ValueError(
                f"item_titles has no title for any of the {n} items. Their ids look "
                f"like {example!r} ({type(example).__name__}), and those of "
                f"item_titles like {given!r} ({type(given).__name__}). Pass titles by "
                "item id."
            )
        if n_missing:
            warn_user(
                f"{n_missing} of {n} items have no title. They keep the places of the "
                "base, and the language model neither sees nor names them. Add titles "
                "to include these items."
            )
        return n_missing

    def estimate_cost(
        self, X: SessionsLike, *, every_prefix: bool = False
    ) -> dict[str, Any]:
        """Estimate what ranking these sessions would send, without sending it.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).
        every_prefix : bool, default=False
            Whether every prefix is ranked, as in `score` and `rank_targets` without
            `y`. By default, each session is ranked once.

        Returns
        -------
        estimate : dict
            Numbers of ``rows``, rows ``asked`` about, ``requests`` to send and
            ``cached`` answers, and upper estimates of ``prompt_tokens``,
            ``completion_tokens`` and ``cost``. Equal prompts are sent once. Retries are
            not included.
        """
        self._check_fitted()
        queries = query_data(X, self._index, every_prefix=every_prefix)
        n_rows, n_asked, jobs, settings = len(queries), 0, {}, self._settings()
        if every_prefix:  # unknown targets are misses for every ranking
            queries = queries.take(np.flatnonzero(queries.targets > 0))
        base, queries = self._base_queries(queries)
        questions = Questions(settings, queries, self._catalog)
        chunks = [(np.arange(len(queries)), None)]
        if questions.reads_scores:
            chunks = base._masked_chunks(queries)
        for at, scores in chunks if self.weight > 0 else ():
            made, n = questions.jobs(at, scores)
            n_asked += n
            jobs = {job.key: job for job in made} | jobs
        with Asking(settings, self._meter, self._catalog.servers) as asking:
            new = [job for job in jobs.values() if asking.cached(job) is None]
        counts = {"rows": n_rows, "asked": n_asked, "requests": len(new)}
        counts["cached"] = len(jobs) - len(new)
        counts["prompt_tokens"] = sum(token_bound(job.messages) for job in new)
        counts["completion_tokens"] = sum(job.max_tokens for job in new)
        tokens = (counts["prompt_tokens"], counts["completion_tokens"])
        return counts | {"cost": settings.budget._cost(*tokens)}

    # -- ranking ---------------------------------------------------------------

    def _masked_chunks(self, queries, mask=None):
        base, queries = self._base_queries(queries)
        chunks = base._masked_chunks(queries, mask)
        if self.weight == 0 or len(queries) == 0:
            yield from chunks
            return
        agent, settings, failures = self.mode == "agent", self._settings(), {}
        weight, protect = (1.0, 0) if agent else (self.weight, self.protect_top)
        self._meter.add(rows=len(queries))
        questions = Questions(settings, queries, self._catalog)
        with Asking(settings, self._meter, self._catalog.servers) as asking:
            for at, scores in chunks:  # of the base, which comes before the model
                named, failed = self._ask(settings, asking, *questions.jobs(at, scores))
                failures |= failed
                for row, i in enumerate(at.tolist()):
                    if i in named:
                        own = scores[row].float().cpu().numpy()
                        fused = fused_scores(own, named[i], weight, protect)
                        scores[row] = scores.new_tensor(fused)
                yield at, scores
        if failures:
            reasons = Counter(error.reason for error in failures.values())
            for reason, n in reasons.items():
                self.fallbacks_[reason] = self.fallbacks_.get(reason, 0) + n
            counts = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items()))
            n = len(failures)
            rows = "1 row keeps" if n == 1 else f"{n} rows keep"
            warn_user(
                f"{rows} the list of the base, because requests failed ({counts}). "
                f"The first error: {failures[min(failures)]}"
            )

    def _ask(self, settings, asking, jobs, n_asked):
        """Return by row the columns that the model names, best first, and errors."""
        self._meter.add(asked=n_asked)
        orders, failures = {}, {}
        for job, answer in zip(jobs, asking.answers(jobs), strict=True):
            if self.mode != "rerank" and not isinstance(answer, LLMError):
                matching = settings.matching
                answer = self._catalog.index.match(answer, matching.min_similarity)
                answer = [i for i in dict.fromkeys(answer) if i is not None]
                answer = answer or LLMError("No title matches an item.", "unmapped")
            for row, columns in job.rows:
                if isinstance(answer, LLMError):
                    failures.setdefault(row, answer)
                else:
                    order = [columns[a] for a in answer] if columns else answer
                    orders.setdefault(row, []).append(order)
        failures = {row: error for row, error in failures.items() if row not in orders}
        if failures and self.on_error == "raise":
            raise failures[min(failures)]
        return {row: borda(some) for row, some in orders.items()}, failures

    # -- state -----------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without clients and locks, and with a small catalog."""
        state, client = dict(super().__getstate__()), self.client
        if not isinstance(client, (str, type(None))):
            name = getattr(client, "__qualname__", type(client).__qualname__)
            state["client"] = f"not saved: {name}"
        if state.pop("_meter", None) is not None:
            state["_catalog"] = self._catalog.state
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_catalog" in state:
            self._meter = Meter(self.usage_)
            self._catalog = Catalog(self.item_ids_, *state["_catalog"])


def _read_sessions(base, titles, data):
    """Count training events per item of the base, and find sessions for examples.

    Examples consist of titles, so a session whose target has no title is left out.
    """
    codes = base._index.codes_of(data.index.item_ids)[data.codes - 1]
    counts = np.bincount(codes, minlength=len(titles) + 1)[1:]
    titled = np.array([False, *map(bool, titles)])[codes]
    last = titled[data.offsets[1:] - 1]
    titled &= np.repeat(last, np.diff(data.offsets))
    cuts = np.concatenate([[0], np.cumsum(titled)])[data.offsets]
    return counts, (codes[titled], cuts, data.ids)
