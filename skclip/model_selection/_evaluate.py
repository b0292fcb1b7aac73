"""evaluate: several recommenders on the same targets, with intervals and times."""

import importlib.util
import time
from dataclasses import dataclass
from numbers import Integral, Real

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from tqdm.auto import tqdm

from skclip._clusters import SessionClusterer
from skclip._data import (
    as_sessions,
    check_targets,
    factorize,
    prefix_ends,
    with_targets,
)
from skclip._inside import unwrap
from skclip.metrics import METRICS, length_groups, popularity_groups, position_groups
from skclip.metrics._accuracy import GAINS, check_ranks, split_metric
from skclip.metrics._groups import group_codes
from skclip.metrics._lists import (
    LIST_METRICS,
    coverage_of,
    diversity_of,
    exposure_of,
    gini_of,
    item_counts,
    lift_parts,
    list_codes,
    novelty_of,
)

_CHUNK = 2**20  # weights of sessions held at a time: 8 MiB, and as much to draw them
_BY = ("target_popularity", "session_length", "position")


def evaluate(
    estimators,
    X_train,
    X_test,
    y_test=None,
    *,
    y_train=None,
    metrics=("recall@20", "mrr@20"),
    by=None,
    baseline=None,
    fit=True,
    clusterer=None,
    n_boot=10_000,
    confidence_level=0.95,
    random_state=None,
    backend="pandas",
    return_estimators=False,
    verbose=False,
):
    r"""Fit recommenders, rank the same targets with each, and compare them.

    Intervals come from a percentile bootstrap over test *sessions*: a draw takes whole
    sessions with all their prefixes, which are not independent of each other, and the
    same sessions for every estimator, so that differences have intervals of their own
    (paired). They say how much the numbers would move with other test sessions of the
    same time; not with other training data, seeds or weeks.

    Parameters
    ----------
    estimators : dict, or list of (name, estimator)
        Recommenders, Pipelines that end in one, or searches over one. They are cloned,
        not changed.
    X_train : Sessions or list of lists
        Training sessions. May be None if `fit` is False and nothing needs them (the
        metrics beyond accuracy do, and ``by="target_popularity"``).
    X_test : Sessions or list of lists
        Test sessions. Rows with the same session id are drawn together.
    y_test : array-like of shape (n_test,), default=None
        Next item of each row of `X_test`. None asks for every prefix of every session.
    y_train : array-like of shape (n_train,), default=None
        Targets for `fit`; None learns every prefix.
    metrics : str or sequence of str, default=("recall@20", "mrr@20")
        ``"recall@k"``, ``"precision@k"``, ``"mrr@k"``, ``"ndcg@k"`` of the targets'
        ranks in the full catalogue, ties against the target; and of the lists
        ``"coverage@k"``, ``"gini@k"`` (both of the items of `X_train`),
        ``"novelty@k"``, ``"popularity_lift@k"`` and ``"cluster_diversity@k"``, see
        `skclip.metrics`. Targets in `y_train` are training events, too.
    by : {"target_popularity", "session_length", "position"} or array-like, default=None
        Give results for groups of test rows: see `skclip.metrics.popularity_groups`,
        `length_groups` and `position_groups`. Or one label for each target.
    baseline : str, default=None
        Name of the estimator that the others are compared with; None is the first.
    fit : bool, default=True
        False takes the estimators as they are, fitted. To mix both, wrap fitted ones
        in ``sklearn.frozen.FrozenEstimator``.
    clusterer : SessionClusterer, default=None
        What ``"cluster_diversity@k"`` takes clusters from: a fitted one, with
        ``item_ids_`` and ``membership_``; None fits the default on `X_train`.
    n_boot : int, default=10_000
        Draws; 0 leaves the intervals out (NaN).
    confidence_level : float, default=0.95
        Of the intervals.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws and the default clusterer. Estimators have their own.
    backend : {"pandas", "polars", "pyarrow"}, default="pandas"
        The library of the frame; it must be installed.
    return_estimators : bool, default=False
        Return the fitted estimators as well, by name.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    frame : data frame
        A row for each estimator, metric and group: ``estimator``, ``metric``,
        ``group`` (only with `by`), ``value``, ``lower``, ``upper``, ``difference`` to
        the baseline (value minus its value), ``difference_lower``,
        ``difference_upper`` (NaN for the baseline itself), ``n_queries`` and
        ``n_sessions`` (of the group), and of the estimator ``fit_seconds`` (NaN where
        it was fitted before), ``predict_seconds`` (ranking all targets once) and
        ``ms_per_query``. Coverage and Gini have no intervals: a resample holds fewer
        distinct sessions than the test part, which biases both.
    estimators : dict
        Only if `return_estimators`.

    Raises
    ------
    ValueError
        A metric, `by` or `baseline` is unknown, two estimators have one name, there is
        no target, or an estimator ranked other targets than these. All that can be
        known before is checked before the first fit.
    TypeError
        `estimators` is no dict or list of pairs, or one holds no recommender.
    ImportError
        `backend` is not installed.

    See Also
    --------
    skclip.model_selection.leakage_check : Run it on the same parts first.
    skclip.metrics.SessionScorer : The same metrics inside cross-validation.

    Notes
    -----
    Ranks for all cut-offs come from one pass over the test part; metrics of the lists
    need a second one, at the largest of their k (a catalogue smaller than k fills as
    many places as it has). ``ms_per_query`` is wall time in batches, not the latency of
    one request. The bootstrap costs ``n_boot * n_sessions`` random numbers and a matrix
    product; it holds some 30 MiB of them at a time, or the weights of one draw.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> from skclip.model_selection import evaluate
    >>> frame = evaluate(
    ...     {"popularity": PopularityRecommender()},
    ...     [["a", "b"], ["a", "b"], ["a", "c"]],
    ...     [["c", "a"], ["a", "b"]],
    ...     metrics=["recall@1", "coverage@1"],
    ...     n_boot=100,
    ...     random_state=0,
    ... )
    >>> frame[["estimator", "metric", "value", "lower", "upper"]].values.tolist()
    ... # doctest: +NORMALIZE_WHITESPACE
    [['popularity', 'recall@1', 0.5, 0.0, 1.0],
     ['popularity', 'coverage@1', 0.3333333333333333, nan, nan]]
    """
    estimators = _named(estimators)
    metrics = _parsed_metrics(metrics)
    _check_options(estimators, baseline, n_boot, confidence_level, backend)
    X_test = as_sessions(X_test)
    queries = _Queries(X_test, y_test)
    training = X_train
    if X_train is not None and y_train is not None:
        training = with_targets(as_sessions(X_train), y_train)
    codes, groups = _groups(by, queries, training)
    rng = check_random_state(random_state)
    draw_seed, cluster_seed = rng.randint(2**31 - 1, size=2)
    if fit and X_train is None:
        raise ValueError("X_train is None. Pass training sessions, or fit=False.")
    reference = None
    if any(name in LIST_METRICS for name, _ in metrics.values()):
        names = {name for name, _ in metrics.values()}
        if "cluster_diversity" in names and clusterer is None and X_train is not None:
            clusterer = SessionClusterer(random_state=int(cluster_seed))
            clusterer.fit(X_train, y_train)
        reference = _Reference(training, clusterer, names)

    table = _Table(codes, len(groups), queries)
    times, fitted = {}, {}
    with tqdm(total=len(estimators), unit="model", disable=not verbose) as progress:
        for name, estimator in estimators.items():
            progress.set_description(f"{name}: fit" if fit else name)
            fitted[name], seconds = _fitted(estimator, X_train, y_train, fit)
            progress.set_description(f"{name}: rank")
            begun = time.perf_counter()
            ranks = _ranks(fitted[name], queries, name)
            times[name] = seconds, time.perf_counter() - begun
            lists = None
            if reference is not None:
                progress.set_description(f"{name}: lists")
                ks = [k for m, k in metrics.values() if m in LIST_METRICS]
                lists = reference.lists(fitted[name], queries, max(ks))
            for metric, k in metrics.values():
                if metric in GAINS:
                    table.add_mean(GAINS[metric](ranks, k))
                else:
                    reference.add(table, metric, lists[:, :k], queries)
            progress.update()

    values = table.values().reshape(len(estimators), len(metrics), len(groups))
    draws = table.bootstrap(n_boot, int(draw_seed))
    draws = draws.reshape(n_boot, *values.shape)
    base = list(estimators).index(baseline) if baseline is not None else 0
    lower, upper = _interval(draws, confidence_level)
    draws = draws - draws[:, [base]]
    d_lower, d_upper = _interval(draws, confidence_level)
    for array in (d_lower, d_upper):
        array[base] = np.nan
    difference = values - values[base]
    difference[base] = np.nan

    rows = []
    for e, name in enumerate(estimators):
        fit_seconds, predict_seconds = times[name]
        for m, metric in enumerate(metrics):
            for g, group in enumerate(groups):
                at = e, m, g
                rows.append(
                    {"estimator": name, "metric": metric}
                    | ({} if by is None else {"group": group})
                    | {
                        "value": values[at],
                        "lower": lower[at],
                        "upper": upper[at],
                        "difference": difference[at],
                        "difference_lower": d_lower[at],
                        "difference_upper": d_upper[at],
                        "n_queries": table.n_queries[g],
                        "n_sessions": table.n_sessions[g],
                        "fit_seconds": fit_seconds,
                        "predict_seconds": predict_seconds,
                        "ms_per_query": 1000 * predict_seconds / len(queries),
                    }
                )
    columns = {
        key: [v.item() if isinstance(v, np.generic) else v for v in column]
        for key, column in ((key, [row[key] for row in rows]) for key in rows[0])
    }
    frame = nw.from_dict(columns, backend=backend).to_native()
    return (frame, fitted) if return_estimators else frame


# -- what was asked for ----------------------------------------------------------------


def _named(estimators):
    pairs = list(estimators.items()) if isinstance(estimators, dict) else estimators
    if not isinstance(pairs, (list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    ):
        raise TypeError(
            f"estimators is {estimators!r:.60}. Expected a dict or a list of pairs: "
            "{'popularity': PopularityRecommender(), ...}."
        )
    names = [name for name, _ in pairs]
    if not pairs or len(set(names)) < len(names):
        raise ValueError(
            f"estimators has the names {names}. Expected at least one, each once."
        )
    for name, estimator in pairs:
        if isinstance(estimator, type) or not hasattr(estimator, "fit"):
            raise TypeError(
                f"Estimator {name!r} is {estimator!r:.60}. Expected an object with "
                "fit and predict_topk, such as PopularityRecommender()."
            )
        recommender, _ = unwrap(estimator, None)
        if not hasattr(recommender, "rank_targets"):
            raise TypeError(
                f"Estimator {name!r}: {type(recommender).__name__} has no "
                "rank_targets(X, y), which returns the rank of each target in the full "
                "catalogue."
            )
    return dict(pairs)


def _parsed_metrics(metrics):
    """Name and cut-off of each metric; all unknown ones in one message."""
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    known, parsed, unknown = [*METRICS, *LIST_METRICS], {}, []
    for name in metrics:
        try:
            parsed[name] = split_metric(name, known)
        except ValueError:
            unknown.append(name)
    if unknown or not parsed:
        wrong = f"Unknown metrics {unknown}" if unknown else "metrics is empty"
        raise ValueError(
            f"{wrong}. Expected "
            + ", ".join(f"'{name}@k'" for name in known)
            + " with "
            "a whole number k, for instance 'mrr@20'."
        )
    return parsed


def _check_options(estimators, baseline, n_boot, confidence_level, backend):
    if baseline is not None and baseline not in estimators:
        raise ValueError(
            f"baseline={baseline!r} is none of the estimators {list(estimators)}."
        )
    if not isinstance(n_boot, Integral) or n_boot < 0:
        raise ValueError(f"n_boot must be a whole number, at least 0, got {n_boot!r}.")
    if not isinstance(confidence_level, Real) or not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level must lie between 0 and 1, got {confidence_level!r}."
        )
    if backend not in ("pandas", "polars", "pyarrow"):
        raise ValueError(
            f"backend must be 'pandas', 'polars' or 'pyarrow', got {backend!r}."
        )
    if importlib.util.find_spec(backend) is None:
        raise ImportError(
            f"evaluate(backend={backend!r}) returns a frame of {backend}, which is not "
            f"installed: pip install {backend}, or name one of pandas, polars, pyarrow "
            "that is."
        )


class _Queries:
    """The test rows that every estimator answers, and the session of each."""

    def __init__(self, X, y):
        self.X = X
        if y is None:
            self.y = None
            rows, ends = prefix_ends(X.lengths)
            if len(rows) == 0:
                raise ValueError(
                    f"All {len(X)} sessions of X_test have fewer than 2 items, so "
                    "there is no next item to rank. Pass longer sessions, or y_test."
                )
            self.targets = X.vocabulary[X.codes[X.offsets[:-1][rows] + ends]]
        else:
            self.y = self.targets = check_targets(y, len(X))
            rows = np.arange(len(X))
        of_row = rows if X.ids is None else factorize(X.ids)[1][rows]
        _, self.sessions = np.unique(of_row, return_inverse=True)
        self._prefixes = X if y is not None else None

    def __len__(self):
        return len(self.targets)

    @property
    def prefixes(self):
        """What each query observes, as a row of its own."""
        if self._prefixes is None:
            self._prefixes, _ = self.X.to_prefixes()
        return self._prefixes


def _groups(by, queries, X_train):
    """Group of each query, and the names of the groups."""
    if by is None:
        return np.zeros(len(queries), dtype=np.int64), [None]
    if isinstance(by, str):
        if by == "target_popularity" and X_train is None:
            raise ValueError("by='target_popularity' counts events: pass X_train.")
        if by == "target_popularity":
            return popularity_groups(queries.targets, X_train)
        if by == "session_length":
            return length_groups(queries.X, queries.y)
        if by == "position":
            return position_groups(queries.X, queries.y)
        raise ValueError(
            f"by={by!r} is unknown. Expected one of {list(_BY)}, or a label for each "
            "target."
        )
    codes, names = group_codes(by, len(queries))
    return codes, names


# -- one estimator ---------------------------------------------------------------------


def _fitted(estimator, X_train, y_train, fit):
    if not fit:
        return estimator, np.nan
    if isinstance(estimator, FrozenEstimator):
        return estimator, np.nan
    estimator = clone(estimator)
    begun = time.perf_counter()
    estimator.fit(X_train, y_train)
    return estimator, time.perf_counter() - begun


def _ranks(estimator, queries, name):
    recommender, X = unwrap(estimator, queries.X)
    ranks = check_ranks(recommender.rank_targets(X, queries.y))
    if len(ranks) != len(queries):
        raise ValueError(
            f"Estimator {name!r} ranked {len(ranks)} targets, expected "
            f"{len(queries)}. A step of a Pipeline must not add or drop test rows or "
            "events: all estimators answer the same targets."
        )
    return ranks


class _Reference:
    """What lists are compared with: items and events of the training sessions."""

    def __init__(self, X_train, clusterer, names):
        if X_train is None:
            raise ValueError(
                f"{sorted(names & set(LIST_METRICS))} need the training sessions: "
                "pass X_train, also with fit=False."
            )
        X_train = as_sessions(X_train)
        self.index, self.counts = item_counts(X_train)
        self.membership = None
        if "cluster_diversity" in names:
            if not hasattr(clusterer, "membership_"):
                raise ValueError(
                    f"clusterer={clusterer!r:.60} is not fitted. Pass a fitted one, or "
                    "None to fit the default on X_train."
                )
            codes = self.index.codes_of(clusterer.item_ids_)
            membership = np.full(len(self.index) + 1, -1, dtype=np.int64)
            membership[codes] = clusterer.membership_
            self.membership = membership[1:]

    def lists(self, estimator, queries, k):
        recommender, X = unwrap(estimator, queries.prefixes)
        n_items = len(getattr(recommender, "item_ids_", range(k)))
        items = recommender.predict_topk(X, min(k, n_items))
        return list_codes(items, self.index)

    def add(self, table, metric, codes, queries):
        if metric == "novelty":
            table.add_mean(novelty_of(codes, self.counts))
        elif metric == "cluster_diversity":
            table.add_mean(diversity_of(codes, self.membership))
        elif metric == "popularity_lift":
            parts = lift_parts(codes, queries.prefixes, self.index, self.counts)
            table.add_ratio(*parts, offset=-1.0)
        else:
            of = coverage_of if metric == "coverage" else gini_of
            n = len(self.index)
            table.add_plain(
                [
                    of(exposure_of(codes[rows], n)) if rows.any() else np.nan
                    for rows in table.groups()
                ]
            )


# -- values and their bootstrap --------------------------------------------------------


@dataclass
class _Ratio:
    """A statistic: sum of one column over sum of another, plus an offset."""

    over: int
    under: int
    offset: float


class _Table:
    """Statistics of groups of queries, as ratios of sums over sessions.

    Every metric but coverage and Gini is a ratio of two sums over queries: of gains and
    of ones, or of what the lists have and how many have it. Sums over sessions are all
    that a bootstrap over sessions needs.
    """

    def __init__(self, codes, n_groups, queries):
        self.codes, self.n_groups = codes, n_groups
        self.of_session = queries.sessions
        self.n_units = int(queries.sessions.max()) + 1
        self.n_queries = np.bincount(codes, minlength=n_groups)
        pairs = np.unique(codes.astype(np.int64) * self.n_units + self.of_session)
        self.n_sessions = np.bincount(pairs // self.n_units, minlength=n_groups)
        self._columns = [np.ones(len(codes))]
        self._statistics = []

    def groups(self):
        return [self.codes == g for g in range(self.n_groups)]

    def add_mean(self, values):
        """Mean of the queries that have a value; the others are NaN."""
        missing = np.isnan(values)
        if not missing.any():
            return self._add(values, 0)
        self._columns.append((~missing).astype(np.float64))
        return self._add(np.where(missing, 0.0, values), len(self._columns) - 1)

    def add_ratio(self, over, under, *, offset):
        self._columns.append(under)
        self._add(over, len(self._columns) - 1, offset)

    def _add(self, over, under, offset=0.0):
        self._columns.append(over)
        self._statistics.append(_Ratio(len(self._columns) - 1, under, offset))

    def add_plain(self, values):
        """A value for each group that is no ratio of sums and gets no interval."""
        self._statistics.append(np.asarray(values, dtype=np.float64))

    def values(self):
        """Shape (n_statistics, n_groups), from the queries themselves."""
        rows = self.groups()
        sums = np.array([[c[g].sum() for g in rows] for c in self._columns])
        return self._ratios(sums[:, None])[0]

    def bootstrap(self, n_boot, seed):
        """The statistics of `n_boot` draws of as many sessions as there are.

        Returns
        -------
        draws : ndarray of shape (n_boot, n_statistics, n_groups)
            Draw i takes the sessions ``Generator.integers(n, size=n)`` in order of
            i; NaN for statistics that are no ratio of sums.
        """
        rng, n = np.random.default_rng(seed), self.n_units
        shape = len(self._columns), n_boot, self.n_groups
        sums = np.empty(shape)
        cell = self.of_session * self.n_groups + self.codes
        per_session = np.stack(
            [np.bincount(cell, c, minlength=n * self.n_groups) for c in self._columns]
        ).reshape(-1, n, self.n_groups)
        per_session = per_session.transpose(1, 0, 2).reshape(n, -1)
        step = max(1, _CHUNK // n)
        for start in range(0, n_boot, step):
            size = min(step, n_boot - start)
            drawn = rng.integers(n, size=(size, n))
            drawn += n * np.arange(size)[:, None]
            weights = np.bincount(drawn.ravel(), minlength=size * n)
            weights = weights.reshape(size, n).astype(np.float64)
            part = (weights @ per_session).reshape(size, -1, self.n_groups)
            sums[:, start : start + size] = part.transpose(1, 0, 2)
        return self._ratios(sums, plain=False)

    def _ratios(self, sums, plain=True):
        """From sums (n_columns, n, n_groups) to (n, n_statistics, n_groups)."""
        result = np.full((sums.shape[1], len(self._statistics), self.n_groups), np.nan)
        for i, statistic in enumerate(self._statistics):
            if isinstance(statistic, _Ratio):
                under = sums[statistic.under]
                np.divide(
                    sums[statistic.over], under, out=result[:, i], where=under > 0
                )
                result[:, i] += statistic.offset
            elif plain:
                result[:, i] = statistic
        return result


def _interval(draws, confidence_level):
    """Percentiles over the draws that have a value, of each cell."""
    tail = (1 - confidence_level) / 2
    lower = np.full(draws.shape[1:], np.nan)
    upper = lower.copy()
    for at in np.ndindex(lower.shape):
        values = draws[(slice(None), *at)]
        values = values[~np.isnan(values)]
        if len(values):
            lower[at], upper[at] = np.quantile(values, [tail, 1 - tail])
    return lower, upper
