"""LLMReranker: asks a language model about the lists of a recommender."""

import os
import threading
from collections import Counter
from numbers import Integral, Real
from types import SimpleNamespace

import numpy as np
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._data import factorize_list, is_nan, query_data, training_data
from skclip._inside import unwrap
from skclip._ranking import RankingMixin, topk_codes
from skclip._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    accept_ragged,
    warn_user,
)
from skclip.llm._asking import Asking, Job, request_key
from skclip.llm._budget import Meter, cost_of, token_bound
from skclip.llm._cache import Memory
from skclip.llm._client import LLMError
from skclip.llm._contract import PROMPT_VERSION, build_messages
from skclip.llm._rank_fusion import borda, fused_scores
from skclip.llm._shots import Shots, seed_of
from skclip.llm._titles import TitleIndex, TitleVectors, merged_items


class LLMReranker(MetaEstimatorMixin, RankingMixin, SessionEstimator):
    r"""Let a language model add to, or reorder, what a recommender ranks first.

    SemSR [1]_ found language models good at naming what may come next and poor at
    ordering it, and session models the other way round. So by default the model
    writes titles, which are mapped to items and merged into the recommender's list
    below its first place, by reciprocal rank fusion [2]_:

    .. math::
        \mathrm{score}(i) = \frac{1 - w}{60 + \mathrm{rank}_{\mathrm{base}}(i)}
            + \frac{w}{60 + \mathrm{rank}_{\mathrm{llm}}(i)}

    where the second term is 0 for items that the model does not name. The base list
    comes first, and stays wherever the model does not answer. Not for latencies of
    milliseconds, and not without a look at ``estimate_cost``: every ranked prefix is a
    request.

    Parameters
    ----------
    estimator : recommender, or Pipeline or search that ends in one
        Cloned and fitted by `fit`, unless `prefit`.
    item_titles : dict, Series or callable
        Title of each item id: a mapping, a pandas Series by id, or a function of the
        id. Items without a title (missing, None, NaN, blank) keep their places, and
        the model neither sees nor names them. Titles of ids outside the catalogue tell
        the model of unseen items in a session.
    mode : {"expand", "rerank", "agent"}, default="expand"
        "expand": the model writes `n_generate` titles, which may be any items; merged
        with the base list. "rerank": it orders the first `n_candidates` of the base;
        merged. "agent": its titles alone, then the base list, for experiments.
    model : str, default=None
        Name that the endpoint knows the model by. Needed without a `client`.
    base_url : str, default=None
        Endpoint that speaks the chat-completions protocol: https, or http on this
        machine. None is the environment variable OPENAI_BASE_URL, else
        ``https://api.openai.com/v1``.
    api_key_env : str, default="OPENAI_API_KEY"
        Environment variable that holds the key, read for each request. Keys are kept
        nowhere else.
    client : callable, object or None, default=None
        Who is asked instead of `base_url`: a function of messages that returns text,
        an ``openai.OpenAI``, or an object with ``complete`` (see the guide). Clones
        share it; pickles and files leave it out, and so do copies for processes:
        searches with ``n_jobs`` need None, or threads.
    n_candidates : int, default=20
        First items of the base that "rerank" shows.
    n_generate : int, default=10
        Titles that "expand" and "agent" ask for.
    n_shots : int, default=3
        Training sessions shown as examples.
    shot_selection : {"knn", "random", "recent"} or list, default="knn"
        "knn": those whose mean title vector is nearest; a list of
        ``(session, next item)`` in raw ids shows the same to all.
    weight : float, default=0.3
        The w above. 0 is the base list bit for bit, and sends nothing.
    fusion : {"rrf"}, default="rrf"
    protect_top : int, default=1
        First places that the base keeps ("agent" has none).
    n_permutations : int, default=1
        Requests for each row in "rerank", with the candidates in different orders,
        merged by Borda count; models favour what stands first.
    when : {"always", "uncertain", "cold"} or callable, default="always"
        Which rows to ask about. "uncertain": the softmax of the base's scores has less
        than `margin` between its first two items, or an entropy above `entropy` times
        the largest possible. "cold": an item of the session has fewer than
        `rare_count` training events. A callable gets a list of lists of raw ids and
        returns a mask.
    margin, entropy : float, default=0.1, 0.9
        Bounds of "uncertain", between 0 and 1.
    rare_count : int, default=5
        Training events below which an item is "cold".
    min_similarity : float, default=0.55
        Cosine from which a written title may mean an item that it does not name.
    spread : int, default=1
        Items that one such title may mean, the further ones with less weight.
    text_encoder : object, default=None
        None is TF-IDF of words and characters; else an object with
        ``encode(list of str) -> array``, a transformer, or a callable.
    temperature : float, default=0.0
        Of the model's choice of words; 0 is its most likely answer.
    max_output_tokens : int, default=400
        Longest answer.
    seed : int, default=0
        Of the order of candidates and of random examples, each with the session; also
        sent to the server.
    timeout : float, default=30.0
        Seconds for one attempt; ``timeout * (max_retries + 1)`` with all retries. A
        function as `client` takes as long as it takes.
    max_retries : int, default=3
        After connection errors, timeouts and status 408, 409, 429 and 5xx.
    max_concurrency : int, default=4
        Requests at a time, in threads.
    max_requests, max_total_tokens : int, default=None
        Limits since `fit`, checked before each request is sent, retries included,
        with an upper estimate of its tokens.
    max_cost : float, default=None
        Likewise, by `prices`.
    prices : dict, default=None
        ``{"prompt": ..., "completion": ...}``, money for a million tokens.
    cache : path-like, default=None
        SQLite file for answers that could be read (mode 0600); None keeps the last
        10,000 in memory.
    on_error : {"fallback", "raise"}, default="fallback"
        "fallback" leaves the base list of a row as it is, counts why, and warns once.
        "raise" raises `LLMError`. Status 401 and 403 raise in any case.
    prompt_version : {"1"}, default="1"
    prefit : bool, default=False
        Take `estimator` as it is, fitted; `fit` then only reads the sessions for
        examples and popularity. Clones share it.

    Attributes
    ----------
    estimator_ : recommender
        The fitted base.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalogue: that of the base.
    n_missing_titles_ : int
        Items of the catalogue without a title.
    usage_ : dict
        Since `fit`: ``rows`` ranked, rows ``asked`` about, ``requests`` sent (retries
        too), ``cache_hits``, ``cache_errors``, ``prompt_tokens``,
        ``completion_tokens`` (estimated where the server does not count), ``cost``.
    fallbacks_ : dict
        Rows that kept the base list though asked about, by reason: "timeout",
        "connection", "http_3xx", "http_4xx", "http_5xx", "too_large", "error",
        "empty", "not_json", "schema", "unmapped", "budget".
    faults_ : dict
        What was wrong with answers, used or not; also written titles that no item has
        ("unmapped").

    See Also
    --------
    skclip.llm : Errors, replies, and the prompt contract as functions.

    Notes
    -----
    Items that are equal in the base and not named by the model stay equal, and count
    against the target in `rank_targets`. In every mode the base scores rows first, at
    most 64 MiB of scores at a time, and then the model is asked about them; no row is
    scored twice. Scores of changed rows are 1 / place. Copies in other processes
    (``n_jobs``) count and cache on their own.

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
        "mode": [StrOptions({"expand", "rerank", "agent"})],
        "model": [str, None],
        "base_url": [str, None],
        "api_key_env": [str],
        "client": "no_validation",
        "n_candidates": [Interval(Integral, 2, None, closed="left")],
        "n_generate": [Interval(Integral, 1, None, closed="left")],
        "n_shots": [Interval(Integral, 0, None, closed="left")],
        "shot_selection": [StrOptions({"knn", "random", "recent"}), list, tuple],
        "weight": [Interval(Real, 0, 1, closed="both")],
        "fusion": [StrOptions({"rrf"})],
        "protect_top": [Interval(Integral, 0, None, closed="left")],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "when": [StrOptions({"always", "uncertain", "cold"}), callable],
        "margin": [Interval(Real, 0, 1, closed="both")],
        "entropy": [Interval(Real, 0, 1, closed="both")],
        "rare_count": [Interval(Integral, 0, None, closed="left")],
        "min_similarity": [Interval(Real, 0, 1, closed="both")],
        "spread": [Interval(Integral, 1, None, closed="left")],
        "text_encoder": [
            HasMethods(["encode"]),
            HasMethods(["fit", "transform"]),
            callable,
            None,
        ],
        "temperature": [Interval(Real, 0, None, closed="left")],
        "max_output_tokens": [Interval(Integral, 1, None, closed="left")],
        "seed": [Integral],
        "timeout": [Interval(Real, 0, None, closed="neither")],
        "max_retries": [Interval(Integral, 0, None, closed="left")],
        "max_concurrency": [Interval(Integral, 1, None, closed="left")],
        "max_requests": [Interval(Integral, 0, None, closed="left"), None],
        "max_total_tokens": [Interval(Integral, 0, None, closed="left"), None],
        "max_cost": [Interval(Real, 0, None, closed="left"), None],
        "prices": [dict, None],
        "cache": [str, os.PathLike, None],
        "on_error": [StrOptions({"fallback", "raise"})],
        "prompt_version": [StrOptions({PROMPT_VERSION})],
        "prefit": ["boolean"],
    }

    def __init__(
        self,
        estimator,
        item_titles,
        *,
        mode="expand",
        model=None,
        base_url=None,
        api_key_env="OPENAI_API_KEY",
        client=None,
        n_candidates=20,
        n_generate=10,
        n_shots=3,
        shot_selection="knn",
        weight=0.3,
        fusion="rrf",
        protect_top=1,
        n_permutations=1,
        when="always",
        margin=0.1,
        entropy=0.9,
        rare_count=5,
        min_similarity=0.55,
        spread=1,
        text_encoder=None,
        temperature=0.0,
        max_output_tokens=400,
        seed=0,
        timeout=30.0,
        max_retries=3,
        max_concurrency=4,
        max_requests=None,
        max_total_tokens=None,
        max_cost=None,
        prices=None,
        cache=None,
        on_error="fallback",
        prompt_version=PROMPT_VERSION,
        prefit=False,
    ):
        self.estimator = estimator
        self.item_titles = item_titles
        self.mode = mode
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.client = client
        self.n_candidates = n_candidates
        self.n_generate = n_generate
        self.n_shots = n_shots
        self.shot_selection = shot_selection
        self.weight = weight
        self.fusion = fusion
        self.protect_top = protect_top
        self.n_permutations = n_permutations
        self.when = when
        self.margin = margin
        self.entropy = entropy
        self.rare_count = rare_count
        self.min_similarity = min_similarity
        self.spread = spread
        self.text_encoder = text_encoder
        self.temperature = temperature
        self.max_output_tokens = max_output_tokens
        self.seed = seed
        self.timeout = timeout
        self.max_retries = max_retries
        self.max_concurrency = max_concurrency
        self.max_requests = max_requests
        self.max_total_tokens = max_total_tokens
        self.max_cost = max_cost
        self.prices = prices
        self.cache = cache
        self.on_error = on_error
        self.prompt_version = prompt_version
        self.prefit = prefit

    # -- fitting ---------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the base and read the sessions for examples. Sends nothing.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). With `prefit` those that the base
            was fitted on: examples come from them.
        y : array-like of shape (n_sessions,), default=None
            Next items.

        Returns
        -------
        self : LLMReranker
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            No item has a title, an id has two, a parameter is out of range.
        TypeError
            The base is no recommender of skclip, or a title is no text.
        """
        self._check_parameters()
        accept_ragged(self, X)
        estimator = self.estimator
        if not self.prefit:
            estimator = clone(estimator).fit(X, y)
        base, X = unwrap(estimator, X)
        if not hasattr(base, "_masked_chunks"):
            raise TypeError(
                f"estimator ends in a {type(base).__name__}, which is no recommender "
                "of skclip. Pass CLIPSessionRecommender, PopularityRecommender, or a "
                "Pipeline that ends in one."
            )
        base._check_fitted()
        self.estimator_ = estimator
        self.item_ids_, self._index = base.item_ids_, base._index
        self._titles = self._titles_of(self.item_ids_.tolist())
        self.n_missing_titles_ = sum(not title for title in self._titles)
        self._check_titles()
        self._read_sessions(X, y)
        self._item_vectors = None
        self._meter = Meter()
        self._start()
        if self._needs_vectors():
            self._here.vectors = TitleVectors(self.text_encoder, self._titles)
            if self.text_encoder is not None:  # may be costly: kept in pickles
                self._item_vectors = self._here.vectors.items
        return self

    def _check_parameters(self):
        client = self.client
        known = client is None or callable(client)
        if isinstance(client, str):
            raise ValueError(
                f"client={client!r}: clients are not kept in copies and files. Worker "
                "processes get such a copy: pass client=None, for which each makes its "
                "own, or n_jobs=1, or search inside "
                "joblib.parallel_backend('threading'). After loading, "
                "set_params(client=...)."
            )
        if not (known or hasattr(client, "complete") or hasattr(client, "chat")):
            raise TypeError(
                f"client is a {type(client).__name__}. Expected a callable of messages "
                "that returns text, an openai.OpenAI, an object with complete, or None."
            )
        if self.max_cost is not None and self.prices is None:
            raise ValueError(
                f"max_cost={self.max_cost} needs prices: pass prices={{'prompt': ..., "
                "'completion': ...}, money for a million tokens."
            )
        if self.prices is not None and not (
            set(self.prices) == {"prompt", "completion"}
            and all(
                isinstance(p, Real) and not isinstance(p, bool) and 0 <= p < np.inf
                for p in self.prices.values()
            )
        ):
            raise ValueError(
                f"prices={self.prices!r:.80}. Expected {{'prompt': number, "
                "'completion': number}, money for a million tokens."
            )

    def _titles_of(self, ids):
        """Title of each id, empty where there is none."""
        index = getattr(self.item_titles, "index", None)
        if getattr(index, "has_duplicates", False):
            twice = index[index.duplicated()][0]
            raise ValueError(
                f"item_titles has two titles for the id {twice!r}. Pass one for each "
                "id, such as item_titles.groupby(level=0).first()."
            )
        get = getattr(self.item_titles, "get", self.item_titles)
        titles = []
        for item in ids:
            title = get(item)
            if title is None or type(title).__name__ == "NAType" or is_nan(title):
                title = ""
            if not isinstance(title, str):
                raise TypeError(
                    f"item_titles has {title!r:.60} for the id {item!r:.40}. Expected "
                    "text, or None for items without a title."
                )
            titles.append(title.strip())
        return titles

    def _check_titles(self):
        n = len(self._titles)
        if self.n_missing_titles_ == n:
            example = self.item_ids_.tolist()[0]
            keys = getattr(self.item_titles, "keys", list)()
            given = next(iter(keys), None)
            raise ValueError(
                f"item_titles has no title for any of the {n} items. Their ids look "
                f"like {example!r} ({type(example).__name__}), those of item_titles "
                f"like {given!r} ({type(given).__name__}). Pass titles by item id."
            )
        if self.n_missing_titles_:
            warn_user(
                f"{self.n_missing_titles_} of {n} items have no title: they keep the "
                "places of the base, and the language model neither sees nor names "
                "them."
            )

    def _read_sessions(self, X, y):
        """Training sessions in codes of the catalogue: examples, and popularity."""
        data = training_data(X, y)
        codes = self._index.codes_of(data.index.item_ids)[data.codes - 1]
        self._counts = np.bincount(codes, minlength=len(self.item_ids_) + 1)[1:]
        # Examples are told in titles, and one without its target is none.
        titled = np.array([False, *map(bool, self._titles)])[codes]
        lengths = np.diff(data.offsets)
        titled &= np.repeat(titled[data.offsets[1:] - 1], lengths)
        cuts = np.concatenate([[0], np.cumsum(titled)])[data.offsets]
        shots = Shots.of_sessions(codes[titled], cuts, data.ids)
        self._shot_codes, self._shot_offsets = shots.codes, shots.offsets
        self._shot_ids = shots.ids

    def _start(self):
        """What lives in one process alone, and is made again in the next."""
        shots = Shots(self._shot_codes, self._shot_offsets, self._shot_ids)
        self._here = SimpleNamespace(
            lock=threading.Lock(),
            memory=Memory(),
            shots=shots,
            vectors=None,
            index=None,
        )

    def _needs_vectors(self):
        knn = self.n_shots > 0 and self.shot_selection == "knn"
        return self.weight > 0 and (self.mode != "rerank" or knn)

    def _title_vectors(self):
        with self._here.lock:
            if self._here.vectors is None:
                self._here.vectors = TitleVectors(
                    self.text_encoder, self._titles, self._item_vectors
                )
            return self._here.vectors

    def _title_index(self):
        vectors = self._title_vectors()
        with self._here.lock:
            known = self._here.index
            wanted = (self.min_similarity, self.spread)
            if known is None or known[0] != wanted:
                index = TitleIndex(
                    self._titles,
                    self._counts,
                    vectors,
                    min_similarity=self.min_similarity,
                    spread=self.spread,
                )
                known = self._here.index = (wanted, index)
            return known[1]

    # -- ranking ---------------------------------------------------------------

    def predict_topk(
        self,
        X,
        k=None,
        *,
        return_scores=False,
        exclude_seen=False,
        allow=None,
        deny=None,
        fill_value=None,
    ):
        """Rank the catalogue for the next item of each session.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,). Sessions without any title are
            not asked about.
        k : int, default=None
            Number of items per session; None is the smaller of 20 and the size of
            the catalogue.
        return_scores : bool, default=False
            Also return the scores.
        exclude_seen : bool, default=False
            Leave out the items of the session itself.
        allow, deny : array-like of ids, or list of n_sessions lists, default=None
            Rank only, or rank not, these items. Filters act on the base list first:
            the model is shown none of the items left out, and cannot bring one back.
        fill_value : object, default=None
            What stands behind the last item where filters leave fewer than `k`, see
            `CLIPSessionRecommender.predict_topk`.

        Returns
        -------
        items : ndarray of shape (n_sessions, k)
            Raw item ids, best first.
        scores : ndarray of shape (n_sessions, k), float32
            Only if ``return_scores``: those of the base, or 1 / place in rows that
            the model had a say in.

        Raises
        ------
        LLMError
            Status 401 or 403, or any failure with ``on_error="raise"``.
        """
        self._check_fitted()
        return super().predict_topk(
            self._base_input(X),
            k,
            return_scores=return_scores,
            exclude_seen=exclude_seen,
            allow=allow,
            deny=deny,
            fill_value=fill_value,
        )

    def decision_function(self, X):
        """Return the scores of all items. For small inputs: the result is dense.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        scores : ndarray of shape (n_sessions, n_items), float32
            Those of the base, or 1 / place in rows that the model had a say in.
        """
        self._check_fitted()
        return super().decision_function(self._base_input(X))

    def rank_targets(self, X, y=None):
        """Return the rank of each target in the full catalogue.

        Every prefix with a known target is a request; see ``estimate_cost``.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None takes every prefix of every session.

        Returns
        -------
        ranks : ndarray of shape (n_sessions,) or (n_prefixes,), float64
            1 = best. Items that the base ranks as equal to the target and that the
            model does not name count against it, as everywhere.
        """
        self._check_fitted()
        return super().rank_targets(self._base_input(X), y)

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
            ``prompt_tokens``, ``completion_tokens`` and ``cost`` (None without
            `prices`).
        """
        self._check_fitted()
        X = self._base_input(X)
        queries = query_data(X, self._index, every_prefix=every_prefix)
        jobs, n_asked = self._all_jobs(queries, every_prefix)
        estimate = Counter(rows=len(queries), asked=n_asked)
        with Asking(self, self._meter, self._here.memory) as asking:
            for job in jobs:
                if asking.cached(job) is not None:
                    estimate["cached"] += 1
                    continue
                estimate["requests"] += 1
                estimate["prompt_tokens"] += token_bound(job.messages)[0]
                estimate["completion_tokens"] += self.max_output_tokens
        names = ("rows", "asked", "requests", "cached", "prompt_tokens")
        estimate = {name: estimate[name] for name in (*names, "completion_tokens")}
        estimate["cost"] = cost_of(
            self.prices, estimate["prompt_tokens"], estimate["completion_tokens"]
        )
        return estimate

    def _all_jobs(self, queries, every_prefix):
        """Requests for all queries, equal ones once, and number of rows asked about."""
        if self.weight == 0:
            return [], 0
        jobs, n_asked = {}, 0
        if every_prefix:  # unknown targets are misses, whatever is ranked
            queries = queries.take(np.flatnonzero(queries.targets > 0))
        reading, chunks = self._read(queries), [(np.arange(len(queries)), None)]
        if self._shows_base:
            chunks = self._base._masked_chunks(queries)
        for at, scores in chunks:
            made, n = self._jobs(reading, at, scores)
            n_asked += n
            jobs = {job.key: job for job in made} | jobs
        return list(jobs.values()), n_asked

    @property
    def usage_(self):
        """Rows, requests, tokens and cost since `fit`."""
        return self._meter.usage(self.prices)

    @property
    def fallbacks_(self):
        """Rows that kept the base list though asked about, by reason."""
        return dict(self._meter.fallbacks)

    @property
    def faults_(self):
        """What was wrong with answers, used or not, by kind."""
        return dict(self._meter.faults)

    def _base_input(self, X):
        base, X = unwrap(self.estimator_, X)
        if len(base.item_ids_) != len(self.item_ids_):
            raise ValueError(
                f"The base has {len(base.item_ids_)} items now, {len(self.item_ids_)} "
                "when LLMReranker was fitted. Fit it again (prefit=True keeps the "
                "base as it is)."
            )
        return X

    @property
    def _base(self):
        estimator = self.estimator_
        while not hasattr(estimator, "predict_topk"):  # as `unwrap`, without sessions
            if hasattr(estimator, "best_estimator_"):
                estimator = estimator.best_estimator_
            else:
                estimator = estimator[-1]
        return estimator

    @property
    def _scoring(self):
        return self._base._scoring

    def _masked_chunks(self, queries, mask=None):
        chunks = self._base._masked_chunks(queries, mask)
        if self.weight == 0 or len(queries) == 0:
            yield from chunks
            return
        protect = 0 if self.mode == "agent" else self.protect_top
        weight = 1.0 if self.mode == "agent" else self.weight
        self._meter.add("rows", len(queries))
        reading, failures = self._read(queries), {}
        with Asking(self, self._meter, self._here.memory) as asking:
            for at, scores in chunks:  # of the base, and only then is the model asked
                named, failed = self._ask(asking, reading, at, scores)
                failures |= failed
                for row, i in enumerate(at.tolist()):
                    if i in named:
                        fused = fused_scores(
                            scores[row].float().cpu().numpy(), named[i], weight, protect
                        )
                        scores[row] = scores.new_tensor(fused)
                yield at, scores
        self._report(failures)

    # -- asking ----------------------------------------------------------------

    def _ask(self, asking, reading, at, scores):
        """Columns that the model names, best first, by row; and errors, by row.

        `scores` are those of the base for rows `at`. Rows without requests are in
        neither.
        """
        jobs, n_asked = self._jobs(reading, at, scores)
        self._meter.add("asked", n_asked)
        if not jobs:
            return {}, {}
        answers = asking.answers(jobs)
        by_row, failures = {}, {}
        for job, answer in zip(jobs, answers, strict=True):
            for row, columns in job.rows:
                if isinstance(answer, LLMError):
                    failures.setdefault(row, answer)
                else:
                    by_row.setdefault(row, []).append((columns, answer))
        if self.mode == "rerank":
            named = {
                row: borda([[columns[a] for a in answer] for columns, answer in some])
                for row, some in by_row.items()
            }
        else:
            named = self._mapped({row: some[0][1] for row, some in by_row.items()})
            for row, items in list(named.items()):
                if not items:
                    failures[row] = LLMError("No title means an item.", "unmapped")
                    del named[row]
        failures = {row: e for row, e in failures.items() if row not in named}
        if failures and self.on_error == "raise":
            raise failures[min(failures)]
        return named, failures

    def _report(self, failures):
        """Count rows that keep the base list, and warn once."""
        if not failures:
            return
        reasons = Counter(error.reason for error in failures.values())
        for error in failures.values():
            self._meter.add_fallback(error.reason)
        counts = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items()))
        first = failures[min(failures)]
        warn_user(
            f"{len(failures)} rows keep the list of the base ({counts}). The first: "
            f"{first}"
        )

    def _mapped(self, titles_of_row):
        """Items that the written titles of each row mean."""
        distinct = dict.fromkeys(t for titles in titles_of_row.values() for t in titles)
        found = dict(
            zip(distinct, self._title_index().match(list(distinct)), strict=True)
        )
        named = {}
        for row, titles in titles_of_row.items():
            matches = [found[title] for title in titles]
            unmapped = sum(not match for match in matches)
            if unmapped:
                self._meter.add_fault("unmapped", unmapped)
            named[row] = merged_items(matches)
        return named

    def _read(self, queries):
        """What is asked about rows, as far as the base has no part in it."""
        unseen = self._titles_of(queries.unseen_ids.tolist())
        titles = np.array([None, *self._titles, *unseen], dtype=object)
        starts = queries.offsets[:-1][queries.rows]
        sessions = [
            queries.codes[a : a + n] for a, n in zip(starts, queries.ends, strict=True)
        ]
        return SimpleNamespace(
            queries=queries,
            titles=titles,
            sessions=sessions,
            told=[[t for t in titles[codes] if t] for codes in sessions],
            wanted=self._wanted(queries, sessions),
        )

    @property
    def _shows_base(self):
        """Whether what is asked depends on the base's scores."""
        return self.mode == "rerank" or self.when == "uncertain"

    def _jobs(self, reading, at, scores=None):
        """Requests to make for rows `at`, equal ones once, and rows asked about."""
        queries, told = reading.queries, reading.told
        asked = reading.wanted[at]
        if self.when == "uncertain":
            asked = self._unsure(scores)
        rows = sorted(i for i in at[asked].tolist() if told[i])
        if self.mode == "rerank":
            tops = dict(zip(at.tolist(), self._candidates(scores), strict=True))
        examples = self._examples(queries, reading.sessions, rows, reading.titles)
        jobs = {}
        n_asked = 0
        for i, shown in zip(rows, examples, strict=True):
            if self.mode != "rerank":
                made = [self._expand_job(told[i], shown)]
            else:
                columns = [c for c in tops[i].tolist() if self._titles[c]]
                if len(columns) < 2:
                    continue
                codes = reading.sessions[i].tolist()
                raw = [self._raw_id(code, queries) for code in codes]
                made = [
                    self._rerank_job(
                        told[i], shown, columns, seed_of(self.seed, p, raw)
                    )
                    for p in range(self.n_permutations)
                ]
            n_asked += 1
            for job in made:
                jobs.setdefault(job.key, job).rows.append((i, job.columns))
        return list(jobs.values()), n_asked

    def _candidates(self, scores):
        """First columns of the base for each row."""
        k = min(self.n_candidates, len(self.item_ids_))
        columns, values = topk_codes(scores, k)
        return [c[v > -np.inf] for c, v in zip(columns, values, strict=True)]

    def _unsure(self, scores):
        """Rows where the base is unsure."""
        n_items = len(self.item_ids_)
        shares = scores.float().softmax(dim=1)
        first = shares.topk(min(2, n_items), dim=1).values
        margin = (first[:, 0] - first[:, -1]).cpu().numpy()
        nats = -(shares * shares.clamp_min(1e-30).log()).sum(dim=1)
        spread = nats.cpu().numpy() / np.log(max(n_items, 2))
        return (margin < self.margin) | (spread > self.entropy)

    def _wanted(self, queries, sessions):
        """Rows to ask about; "uncertain" leaves it to the scores."""
        if self.when in ("always", "uncertain"):
            return np.ones(len(queries), dtype=bool)
        if self.when == "cold":
            counts = np.concatenate(
                [[0], self._counts, np.zeros(len(queries.unseen_ids), dtype=np.int64)]
            )
            return np.array(
                [bool((counts[c] < self.rare_count).any()) for c in sessions],
                dtype=bool,
            )
        rows = [
            [self._raw_id(c, queries) for c in codes.tolist()] for codes in sessions
        ]
        mask = np.asarray(self.when(rows))
        if mask.shape != (len(rows),):
            raise ValueError(
                f"when returned an array of shape {mask.shape}. Expected a mask of "
                f"shape ({len(rows)},): whether to ask, for each session."
            )
        return mask.astype(bool)

    def _raw_id(self, code, queries):
        n_items = len(self.item_ids_)
        ids = self.item_ids_ if code <= n_items else queries.unseen_ids
        item = ids[code - 1 if code <= n_items else code - n_items - 1]
        return item.item() if isinstance(item, np.generic) else item

    def _examples(self, queries, sessions, rows, titles):
        """Titles of the examples of each row."""
        if not isinstance(self.shot_selection, str):
            fixed = [self._fixed_example(pair) for pair in self.shot_selection]
            fixed = [example for example in fixed if all(example)]
            return [fixed[: self.n_shots]] * len(rows)
        if not self.n_shots or not rows:
            return [[]] * len(rows)
        n_unseen = len(queries.unseen_ids)
        has = np.array([False, *map(bool, self._titles), *[False] * n_unseen])
        asked = [sessions[i][has[sessions[i]]] for i in rows]
        knn = self.shot_selection == "knn"
        picked = self._here.shots.pick(
            self.shot_selection,
            asked,
            self.n_shots,
            seed=self.seed,
            vectors=self._title_vectors().items if knn else None,
            keys=[
                [self._raw_id(c, queries) for c in sessions[i].tolist()] for i in rows
            ]
            if self.shot_selection == "random"
            else rows,
            ids=None if queries.ids is None else queries.ids[queries.rows[rows]],
        )
        examples = []
        for chosen in picked:
            pairs = [self._here.shots.example(i) for i in chosen]
            examples.append([(list(titles[o]), titles[target]) for o, target in pairs])
        return examples

    def _fixed_example(self, pair):
        try:
            observed, target = pair
            vocabulary, codes = factorize_list([*observed, target])
            raw = vocabulary[codes].tolist()
        except (TypeError, ValueError):
            raise ValueError(
                f"shot_selection holds {pair!r:.60}. Expected pairs (session, next "
                "item) of raw ids, such as [(['a', 'b'], 'c')]."
            ) from None
        *observed, target = self._titles_of(raw)
        return [title for title in observed if title], target

    def _expand_job(self, session, examples):
        messages = build_messages(
            "expand", session, n=self.n_generate, examples=examples
        )
        return Job(request_key(self, messages), messages)

    def _rerank_job(self, session, examples, columns, seed):
        order = np.random.default_rng(seed).permutation(len(columns))
        width = max(2, len(str(len(columns))))
        names = [f"c{i:0{width}d}" for i in range(1, len(columns) + 1)]
        shown = [columns[i] for i in order]
        messages = build_messages(
            "rerank",
            session,
            n=len(columns),
            examples=examples,
            candidates=[
                (n, self._titles[c]) for n, c in zip(names, shown, strict=True)
            ],
        )
        of_name = dict(zip(names, shown, strict=True))
        place = {c: i for i, c in enumerate(columns)}
        in_base_order = sorted(of_name, key=lambda name: place[of_name[name]])
        # The order is what an answer is completed by.
        key = request_key(self, messages, in_base_order)
        return Job(key, messages, of_name, in_base_order)

    # -- state -----------------------------------------------------------------

    def _check_fitted(self):
        check_is_fitted(self, "estimator_")

    def __sklearn_clone__(self):
        """Copy parameters; clients and fitted bases (`prefit`) are shared."""
        shared = {"client"} | ({"estimator"} if self.prefit else set())
        params = {
            name: value if name in shared else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        copy = type(self)(**params)
        for name in ("_metadata_request", "_sklearn_output_config"):
            if hasattr(self, name):
                setattr(copy, name, getattr(self, name))
        return copy

    def __getstate__(self):
        state = dict(super().__getstate__())
        if state.get("client") is not None and not isinstance(state["client"], str):
            kind = type(state["client"])
            name = getattr(state["client"], "__qualname__", kind.__qualname__)
            state["client"] = f"not saved: {name}"
        state.pop("_here", None)
        if "_meter" in state:
            state["_meter"] = state["_meter"].to_dict()
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_meter" in state:
            self._meter = Meter.from_dict(state["_meter"])
            self._start()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        return tags
