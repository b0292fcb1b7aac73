"""`LLMReranker`: asks a language model about the lists of a recommender."""

import os
from collections import Counter
from numbers import Integral, Real
from types import SimpleNamespace

import numpy as np

from skclip._base import SessionEstimator, plain_number, with_plain_numbers
from skclip._data import query_data, training_data
from skclip._ranking import RerankingMixin
from skclip._sklearn import HasMethods, Interval, StrOptions, _fit_context
from skclip._warnings import warn_user
from skclip.llm._asking import Asking
from skclip.llm._budget import SENT, Budget, Meter, token_bound
from skclip.llm._client import ChatModel, LLMError, check_client
from skclip.llm._examples import Examples
from skclip.llm._matching import TitleMatching, titles_of
from skclip.llm._questions import Catalog, Questions, When
from skclip.llm._rank_fusion import borda, fused_scores


class LLMReranker(RerankingMixin, SessionEstimator):
    """Let a language model add to, or reorder, what a recommender ranks first.

    Language models are good at naming what may come next and poor at ordering it, and
    session models the other way round [1]_. So by default the model writes titles,
    which are mapped to items and merged into the recommender's list below its first
    place, by reciprocal rank fusion [2]_: an item scores ``(1 - weight) / (60 + rank in
    the base) + weight / (60 + rank by the model)``. A row keeps the recommender's list
    wherever the model does not answer. Every ranked prefix is a request, so look at
    ``estimate_cost`` first.

    Parameters
    ----------
    estimator : recommender, or Pipeline or search that ends in one
        The base. `fit` clones and fits it, unless `prefit`.
    item_titles : dict, Series or callable
        Title of each item id, also of ids outside the catalog, or a function of the id.
        Items without a title (missing, None, NaN, blank) keep their places, and the
        model neither sees nor names them.
    model : str or ChatModel, default=None
        Name of the language model, or a `ChatModel` with its endpoint and time limits.
    client : callable or openai.OpenAI, default=None
        Who is asked instead of the model's endpoint: a function of messages that
        returns text, or an object with ``chat.completions.create``. An
        ``openai.OpenAI`` retries as often as `model` says. It also sends again what a
        server refuses with status 500, such as the form of an answer: set
        ``model__max_retries=0`` for such a server. Clones share the client; pickles,
        files and copies for processes leave it out.
    mode : {"expand", "rerank", "agent"}, default="expand"
        "expand": the model writes `n_generate` titles, which may be any items; merged
        with the base list. "rerank": it orders the first `n_candidates` of the base;
        merged. "agent": its titles alone, then the base list, for experiments.
    n_generate : int, default=10
        Number of titles that "expand" and "agent" ask for.
    n_candidates : int, default=20
        Number of first items of the base that "rerank" shows.
    n_permutations : int, default=1
        Number of orders of the candidates that "rerank" asks about for each row. The
        answers are merged by Borda count; models favor what stands first.
    examples : {"knn", "random", "recent"} or Examples, default="knn"
        Training sessions that are shown as examples: an `Examples` or its `selection`.
        None shows none.
    matching : TitleMatching, default=None
        How written titles are matched with items. None is ``TitleMatching()``.
    when : {"always", "uncertain", "cold"}, callable or When, default="always"
        Which rows to ask about: a `When` or its `rows`.
    weight : float, default=0.3
        Weight of the model's ranks. 0 is the base list bit for bit, without requests.
    protect_top : int, default=1
        Number of first places that the base keeps, except in "agent".
    budget : Budget, default=None
        Limits on requests, tokens and cost. None sets no limit.
    cache : path-like, default=None
        SQLite file for answers that could be read (mode 0600). None keeps them in
        memory.
    on_error : {"fallback", "raise"}, default="fallback"
        "fallback" leaves the base list of a row as it is, counts why, and warns once.
        "raise" raises `LLMError`. Status 401 and 403 raise in any case.
    seed : int, default=0
        Seed of the order of candidates and of random examples, each with the session;
        also sent to the server.
    prefit : bool, default=False
        Whether `estimator` is fitted and taken as it is, also by clones. `fit` then
        only reads the sessions for examples and popularity.

    Attributes
    ----------
    estimator_ : recommender
        The fitted base.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog: that of the base.
    n_missing_titles_ : int
        Number of items of the catalog without a title.
    usage_ : dict
        Since `fit`: ``rows`` ranked, rows ``asked`` about, ``requests`` sent (retries
        too), ``cache_hits``, ``prompt_tokens``, ``completion_tokens`` (estimated where
        the server does not count) and ``cost``.
    fallbacks_ : dict
        Rows that kept the base list though asked about, by reason: "timeout",
        "connection", "http_3xx", "http_4xx", "http_5xx", "error", "empty", "not_json",
        "schema", "cut", "unmapped", "budget".

    Notes
    -----
    Scores of changed rows are 1 / place. Items that are equal in the base and not named
    by the model stay equal. Filters act on the base list first: the model is shown none
    of the items left out. Copies in other processes count and cache on their own.

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
    .. [1] J. Narwariya et al., "SemSR", arXiv:2508.20587. Only its abstract was read;
           prompt, mapping and fusion are this library's own.
    .. [2] G. V. Cormack, C. L. A. Clarke, S. Buettcher, "Reciprocal rank fusion
           outperforms Condorcet and individual rank learning methods", SIGIR 2009.

    Examples
    --------
    >>> from skclip import LLMReranker, PopularityRecommender
    >>> titles = {1: "green tea", 2: "tea pot", 3: "garden hose", 4: "tea cup"}
    >>> def scripted(messages):  # stands where a language model would
    ...     return '{"titles": ["Tea cup!"]}'
    >>> llm = LLMReranker(PopularityRecommender(), titles, client=scripted, weight=0.9)
    >>> llm.fit([[1, 2], [1, 3], [1, 2, 4]]).predict_topk([[1]], k=3).tolist()
    [[1, 4, 2]]
    >>> llm.usage_["requests"], llm.fallbacks_
    (1, {})
    """

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

    def __init__(self, estimator, item_titles, *, model=None, client=None,
                 mode="expand", n_generate=10, n_candidates=20, n_permutations=1,
                 examples="knn", matching=None, when="always", weight=0.3,
                 protect_top=1, budget=None, cache=None, on_error="fallback", seed=0,
                 prefit=False):  # fmt: skip
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
        """Parameters, parts as objects."""
        parts = {name: with_plain_numbers(part) for name, part in self._parts().items()}
        given = {k: plain_number(v) for k, v in self.get_params(deep=False).items()}
        return SimpleNamespace(**(given | parts))

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the base and read the sessions for examples. Sends nothing.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). With `prefit` those that the base
            was fitted on: examples come from them.
        y : array-like of shape (n_sessions,), default=None
            Next items.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more, for the base. A row of weight 0 is left out,
            also of the examples. None is 1 for all.

        Returns
        -------
        self : LLMReranker
            The estimator itself, fitted.

        Raises
        ------
        ValueError, TypeError
            No item has a title, or a title is no text, or an id has two, or the base
            is no recommender of skclip, or its `fit` takes no `sample_weight`.
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
        _ = catalog.text  # made now: an encoder may take its time, or fail
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
        """Number of missing titles; an error if that is all of them."""
        n, n_missing = len(titles), titles.count("")
        if n_missing == n:
            example = item_ids.tolist()[0]
            given = next(iter(getattr(self.item_titles, "keys", list)()), None)
            raise ValueError(
                f"item_titles has no title for any of the {n} items. Their ids look "
                f"like {example!r} ({type(example).__name__}), those of item_titles "
                f"like {given!r} ({type(given).__name__}). Pass titles by item id."
            )
        if n_missing:
            warn_user(
                f"{n_missing} of {n} items have no title: they keep the places of the "
                "base, and the language model neither sees nor names them."
            )
        return n_missing

    def estimate_cost(self, X, *, every_prefix=False):
        """Say what ranking for these sessions would send, without sending it.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).
        every_prefix : bool, default=False
            True is what `score` and `rank_targets` without `y` would send.

        Returns
        -------
        estimate : dict
            ``rows``, rows ``asked``, ``requests`` (without retries; equal prompts and
            cached answers are not sent), ``cached``, and upper estimates of
            ``prompt_tokens``, ``completion_tokens`` and ``cost``.
        """
        self._check_fitted()
        queries = query_data(X, self._index, every_prefix=every_prefix)
        n_rows, n_asked, jobs, settings = len(queries), 0, {}, self._settings()
        if every_prefix:  # unknown targets are misses, whatever is ranked
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
            for at, scores in chunks:  # of the base, and only then is the model asked
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
            warn_user(
                f"{len(failures)} rows keep the list of the base ({counts}). The "
                f"first: {failures[min(failures)]}"
            )

    def _ask(self, settings, asking, jobs, n_asked):
        """Columns that the model names, best first, by row; and errors, by row."""
        self._meter.add(asked=n_asked)
        orders, failures = {}, {}
        for job, answer in zip(jobs, asking.answers(jobs), strict=True):
            if self.mode != "rerank" and not isinstance(answer, LLMError):
                matching = settings.matching
                answer = self._catalog.index.match(answer, matching.min_similarity)
                answer = [i for i in dict.fromkeys(answer) if i is not None]
                answer = answer or LLMError("No title means an item.", "unmapped")
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

    def __getstate__(self):
        """Without clients and locks; of the catalog what another process needs."""
        state, client = dict(super().__getstate__()), self.client
        if not isinstance(client, (str, type(None))):
            name = getattr(client, "__qualname__", type(client).__qualname__)
            state["client"] = f"not saved: {name}"
        if state.pop("_meter", None) is not None:
            state["_catalog"] = self._catalog.state
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_catalog" in state:
            self._meter = Meter(self.usage_)
            self._catalog = Catalog(self.item_ids_, *state["_catalog"])


def _read_sessions(base, titles, data):
    """Training events of each item of the base, and sessions that can be examples.

    Examples are told in titles, and one without its target is none.
    """
    codes = base._index.codes_of(data.index.item_ids)[data.codes - 1]
    counts = np.bincount(codes, minlength=len(titles) + 1)[1:]
    titled = np.array([False, *map(bool, titles)])[codes]
    last = titled[data.offsets[1:] - 1]
    titled &= np.repeat(last, np.diff(data.offsets))
    cuts = np.concatenate([[0], np.cumsum(titled)])[data.offsets]
    return counts, (codes[titled], cuts, data.ids)
