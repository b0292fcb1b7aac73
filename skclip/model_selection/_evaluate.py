"""evaluate: several recommenders on the same targets, with intervals and times."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal, overload

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from tqdm.auto import tqdm

from skclip._base import shows_bars
from skclip._clusters import SessionClusterer
from skclip._data import (
    as_sessions,
    check_no_targets,
    check_protocol,
    check_target_sets,
    check_targets,
    checked_codes,
    events_of_type,
    has_target,
    own_codes,
    prefix_ends,
    with_targets,
)
from skclip._inside import unwrap
from skclip._typing import (
    ArrayLike,
    Backend,
    Estimator,
    Frame,
    Ids,
    RandomState,
    SessionsLike,
    Targets,
)
from skclip.metrics import (
    GAINS,
    LIST_METRICS,
    coverage_of,
    diversity_of,
    exposure_of,
    gini_of,
    group_codes,
    item_counts,
    length_groups,
    lift_parts,
    list_codes,
    novelty_of,
    popularity_groups,
    position_groups,
    rank_rows,
    split_metric,
)
from skclip.model_selection._p_values import bootstrap_p_values, holm

# Weights of sessions that the bootstrap holds at a time: 8 MiB, and as much to draw
# them. It costs n_boot * n_sessions random numbers and a matrix product.
_CHUNK = 2**20


@overload
def evaluate(
    estimators: dict[str, Estimator] | Sequence[tuple[str, Estimator]],
    X_train: SessionsLike | None,
    X_test: SessionsLike,
    y_test: Ids | SessionsLike | None = None,
    *,
    y_train: Ids | None = None,
    metrics: str | Sequence[str] = ("recall@20", "mrr@20"),
    by: str | ArrayLike | None = None,
    baseline: str | None = None,
    fit: bool = True,
    clusterer: Estimator | None = None,
    n_boot: int = 10_000,
    confidence_level: float = 0.95,
    random_state: RandomState = None,
    backend: Backend = "pandas",
    return_estimators: Literal[False] = False,
    verbose: bool = False,
    targets: Targets = "next",
    event: object = None,
) -> Frame: ...
@overload
def evaluate(
    estimators: dict[str, Estimator] | Sequence[tuple[str, Estimator]],
    X_train: SessionsLike | None,
    X_test: SessionsLike,
    y_test: Ids | SessionsLike | None = None,
    *,
    y_train: Ids | None = None,
    metrics: str | Sequence[str] = ("recall@20", "mrr@20"),
    by: str | ArrayLike | None = None,
    baseline: str | None = None,
    fit: bool = True,
    clusterer: Estimator | None = None,
    n_boot: int = 10_000,
    confidence_level: float = 0.95,
    random_state: RandomState = None,
    backend: Backend = "pandas",
    return_estimators: Literal[True],
    verbose: bool = False,
    targets: Targets = "next",
    event: object = None,
) -> tuple[Frame, dict[str, Estimator]]: ...
def evaluate(
    estimators: dict[str, Estimator] | Sequence[tuple[str, Estimator]],
    X_train: SessionsLike | None,
    X_test: SessionsLike,
    y_test: Ids | SessionsLike | None = None,
    *,
    y_train: Ids | None = None,
    metrics: str | Sequence[str] = ("recall@20", "mrr@20"),
    by: str | ArrayLike | None = None,
    baseline: str | None = None,
    fit: bool = True,
    clusterer: Estimator | None = None,
    n_boot: int = 10_000,
    confidence_level: float = 0.95,
    random_state: RandomState = None,
    backend: Backend = "pandas",
    return_estimators: bool = False,
    verbose: bool = False,
    targets: Targets = "next",
    event: object = None,
) -> Any:
    """Fit recommenders, rank the same targets with each, and compare them.

    Intervals come from a percentile bootstrap over whole test *sessions*, because the
    prefixes of a session are not independent. Every estimator gets the same draws, so
    differences have intervals, too. The intervals cover the choice of test sessions
    from the same time. They do not cover other training data, seeds or weeks.

    The same draws give two-sided p-values of the differences. Holm's method [1]_
    adjusts them for comparing several models with the baseline.

    Parameters
    ----------
    estimators : dict, or list of (name, estimator)
        Recommenders, or Pipelines and searches that end in one. They are cloned before
        the fit.
    X_train, X_test : Sessions or list of lists
        Training and test sessions. Test rows with the same session id are drawn
        together. `X_train` may be None with ``fit=False`` if no metric needs it.
    y_test, y_train : array-like of shape (n_sessions,), default=None
        Next item of each row. None takes every prefix of every session. Targets in
        `y_train` count as training events. With ``targets="remaining"``, `y_test` has
        one or more items per row: Sessions, or a list of lists or sets.
    metrics : str or sequence of str, default=("recall@20", "mrr@20")
        ``"recall@k"``, ``"precision@k"``, ``"mrr@k"``, ``"ndcg@k"``, ``"map@k"``,
        ``"hit_rate@k"`` use the ranks of the targets in the full catalog. Ties count
        against the target. ``"coverage@k"``, ``"gini@k"``, ``"novelty@k"``,
        ``"popularity_lift@k"`` and ``"cluster_diversity@k"`` describe the lists.
        Coverage and Gini refer to the items of `X_train`.
    by : {"target_popularity", "session_length", "position"} or array-like, default=None
        Groups of test rows with results of their own. See
        `skclip.metrics.popularity_groups`, `length_groups` and `position_groups`, or
        pass one label per ranked row. ``"target_popularity"`` needs one target per
        row.
    baseline : str, default=None
        Name of the estimator that the others are compared with. None means the first.
    fit : bool, default=True
        Whether to fit clones of the estimators. With False, they must be fitted. To mix
        both, wrap fitted ones in ``sklearn.frozen.FrozenEstimator``.
    clusterer : SessionClusterer, default=None
        Fitted clusterer for ``"cluster_diversity@k"``. None fits the default clusterer
        on `X_train`.
    n_boot, confidence_level : int and float, default=10_000, 0.95
        Number of bootstrap draws, where 0 omits the intervals, and level of the
        intervals.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws and of the default clusterer. Estimators use their own
        `random_state`.
    backend : {"pandas", "polars", "pyarrow"}, default="pandas"
        Library of the returned frame. It must be installed.
    return_estimators, verbose : bool, default=False
        Whether to return the fitted estimators, and whether to show a progress bar.
    targets : {"next", "remaining"}, default="next"
        Targets of a prefix: the next item, or the set of distinct items in the rest of
        its session. Targets outside the catalog count as misses.
    event : object or list, default=None
        Event type of the targets to rank, such as "purchase", or a list of types.
        `X_test` must have event types, and `y_test` must be None.

    Returns
    -------
    frame : data frame
        One row per estimator, metric and group, with these columns:

        - ``estimator``, ``metric``, and ``group`` if you pass `by`.
        - ``value`` and its interval, ``lower`` and ``upper``.
        - ``difference`` to the baseline, and its ``difference_lower``,
          ``difference_upper``, ``p_value`` and ``adjusted_p_value``.
        - ``n_queries`` and ``n_sessions`` of the group.
        - ``fit_seconds``, ``predict_seconds`` for all targets, and ``ms_per_query``.

        Differences are NaN for the baseline, fit times are NaN with ``fit=False``, and
        p-values are NaN for a single session. Coverage and Gini have no intervals and
        no p-values: a resample contains fewer distinct sessions than the test part,
        which biases both.
    estimators : dict
        Fitted estimators by name, only with ``return_estimators=True``.

    Raises
    ------
    ValueError
        A metric, `by` or `baseline` is unknown, two estimators have the same name, or
        there is no target. These are checked before the first fit. Or an estimator
        ranked a different number of targets.
    TypeError, ImportError
        An estimator is not a recommender, or `backend` is not installed.

    See Also
    --------
    skclip.model_selection.leakage_check : Check the two parts for leaks first.
    skclip.metrics.SessionScorer : The same metrics inside cross-validation.

    Notes
    -----
    ``p_value`` is twice the share of draws in which the difference is 0 or has the
    opposite sign. One draw is added to both counts, so it is at least
    ``2 / (n_boot + 1)``. It is below 0.05 if the 95 % interval excludes 0, up to one or
    two draws.

    ``adjusted_p_value`` covers the comparisons of all other estimators with the
    baseline, within one metric and one group. With two estimators it equals
    ``p_value``. It does not cover several metrics or groups, or a baseline or settings
    that were chosen on the same rows. Intervals are not adjusted.

    References
    ----------
    .. [1] S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
           Scandinavian Journal of Statistics 6 (1979), 65-70.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> from skclip.model_selection import evaluate
    >>> models, X = {"popularity": PopularityRecommender()}, [["a", "b"], ["a", "c"]]
    >>> frame = evaluate(models, X, [["c", "a"], ["a", "b"]], metrics="recall@1")
    >>> frame[["estimator", "metric", "value", "lower", "upper"]].values.tolist()
    [['popularity', 'recall@1', 0.5, 0.0, 1.0]]
    """
    estimators, metrics = _named(estimators), _parsed_metrics(metrics)
    _check_options(estimators, baseline, n_boot, confidence_level, backend)
    check_protocol(targets)
    queries, training = _Queries(as_sessions(X_test), y_test, targets, event), X_train
    if X_train is not None and y_train is not None:
        training = with_targets(as_sessions(X_train), y_train)
    codes, groups = _groups(by, queries, training)
    if fit and X_train is None:
        raise ValueError("X_train is None. Pass training sessions, or fit=False.")
    seeds = check_random_state(random_state).randint(2**31 - 1, size=2).tolist()
    clusterer = _clusterer(metrics, clusterer, X_train, y_train, seeds[1])
    lists = _lists(metrics, training, clusterer)

    table = _Table(codes, len(groups), queries.sessions)
    fit_to = (X_train, y_train) if fit else None
    fitted, times = _run(estimators, fit_to, queries, metrics, lists, table, verbose)
    rows = list(estimators), list(metrics), groups
    base = rows[0].index(baseline) if baseline is not None else 0
    columns = _columns(table, rows, base, n_boot, confidence_level, seeds[0], times)
    if by is None:
        del columns["group"]
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
            f"estimators has the names {names}. Expected at least one name, and "
            "each name once."
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
                "catalog."
            )
    return dict(pairs)


def _parsed_metrics(metrics):
    """Return name and cut-off of each metric, or one error for all unknown ones."""
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    known, parsed, unknown = [*GAINS, *LIST_METRICS], {}, []
    for name in metrics:
        try:
            parsed[name] = split_metric(name, known)
        except ValueError:
            unknown.append(name)
    if unknown or not parsed:
        wrong = f"Unknown metrics {unknown}" if unknown else "metrics is empty"
        expected = ", ".join(f"'{name}@k'" for name in known)
        raise ValueError(
            f"{wrong}. Expected {expected} with a whole number k, for instance "
            "'mrr@20'."
        )
    return parsed


def _check_options(estimators, baseline, n_boot, confidence_level, backend):
    if baseline is not None and baseline not in estimators:
        raise ValueError(
            f"baseline={baseline!r} is not among the estimators {list(estimators)}."
        )
    if not isinstance(n_boot, Integral) or n_boot < 0:
        raise ValueError(f"n_boot must be a whole number, at least 0, got {n_boot!r}.")
    if not isinstance(confidence_level, Real) or not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level must be between 0 and 1, got {confidence_level!r}."
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
    """The test rows that every estimator ranks, and the session of each."""

    def __init__(self, X, y, protocol, event):
        check_no_targets(event, y)
        self.X, self.protocol, self.event = X, protocol, event
        self.asked = slice(None)  # of all prefixes
        if y is None:
            self.y, (rows, ends) = None, prefix_ends(X.lengths)
            if len(rows) == 0:
                raise ValueError(
                    f"All {len(X)} sessions of X_test have fewer than 2 items, so "
                    "there is no next item to rank. Pass longer sessions, or y_test."
                )
            of_type = events_of_type(X, event)
            if of_type is not None:
                self.asked = has_target(X, of_type, protocol)
                rows, ends = rows[self.asked], ends[self.asked]
            if len(rows) == 0:
                raise ValueError(
                    f"event={event!r}: no session of X_test has such an event behind "
                    "another one, so there is no target to rank."
                )
            self.next = X.vocabulary[X.codes[X.offsets[rows] + ends]]
        else:
            check = check_targets if protocol == "next" else check_target_sets
            self.y = self.next = check(y, len(X))
            rows = np.arange(len(X))
        of_row = own_codes(X.ids, len(X))[rows]
        _, self.sessions = np.unique(of_row, return_inverse=True)

    def __len__(self):
        return len(self.sessions)

    @cached_property
    def prefixes(self):  # large where sessions are long, and only lists need them
        return self.X.to_prefixes()[0][self.asked] if self.y is None else self.X


def _groups(by, queries, X_train):
    """Group of each query, and the names of the groups."""
    if by is None:
        return np.zeros(len(queries), dtype=np.int64), [None]
    if not isinstance(by, str):
        return group_codes(by, len(queries))
    if by not in ("target_popularity", "session_length", "position"):
        raise ValueError(
            f"by={by!r} is unknown. Expected 'target_popularity', 'session_length', "
            "'position', or a label for each row that is ranked."
        )
    y = queries.y
    if queries.protocol == "remaining":
        if by == "target_popularity" or (by == "session_length" and y is not None):
            raise ValueError(
                f"by={by!r} needs the next item of each row, but targets='remaining' "
                "has several. Pass a label for each row."
            )
        y = None if y is None else np.zeros(len(queries))  # positions are those of X
    if by == "target_popularity":
        if X_train is None:
            raise ValueError("by='target_popularity' counts events: pass X_train.")
        return popularity_groups(queries.next, X_train)
    groups = length_groups if by == "session_length" else position_groups
    codes, names = groups(queries.X, y)
    return codes[queries.asked], names


# -- one estimator after the other -----------------------------------------------------


def _run(estimators, fit_to, queries, metrics, lists, table, verbose):
    """Add all metrics to the table. Return fitted estimators and the seconds spent."""
    fitted, times = {}, []
    hidden = not (verbose and shows_bars())
    with tqdm(total=len(estimators), unit="model", disable=hidden) as progress:
        for name, estimator in estimators.items():
            progress.set_description(name if fit_to is None else f"{name}: fit")
            fitted[name], fit_seconds = _fitted(estimator, fit_to)
            progress.set_description(f"{name}: rank")
            begun = time.perf_counter()
            ranked = _ranked(fitted[name], queries, name)
            times.append([fit_seconds, time.perf_counter() - begun])
            if lists is not None:
                progress.set_description(f"{name}: lists")
                lists.read(fitted[name], queries)
            for metric, k in metrics.values():
                if metric in GAINS:
                    table.add_mean(ranked.gains(metric, k))
                else:
                    lists.add(table, metric, k)
            progress.update()
            if verbose and hidden:  # a line for each in a log
                seconds = np.nansum(times[-1])
                row = f"model {len(times)}/{len(estimators)}, {name}, {seconds:.1f} s"
                print(row, flush=True)
    return fitted, times


def _fitted(estimator, fit_to):
    """Return the fitted estimator and the seconds of the fit."""
    if fit_to is None or isinstance(estimator, FrozenEstimator):
        return estimator, np.nan
    estimator = clone(estimator)
    begun = time.perf_counter()
    estimator.fit(*fit_to)
    return estimator, time.perf_counter() - begun


def _ranked(estimator, queries, name):
    recommender, X = unwrap(estimator, queries.X)
    asked = queries.y, queries.protocol, queries.event
    ranked = rank_rows(recommender, X, *asked)
    if len(ranked) != len(queries):
        what = "targets" if queries.protocol == "next" else "rows"
        raise ValueError(
            f"Estimator {name!r} ranked {len(ranked)} {what}, expected {len(queries)}. "
            "A step of a Pipeline must not add or drop test rows or events: all "
            "estimators answer the same targets."
        )
    return ranked


def _clusterer(metrics, clusterer, X_train, y_train, seed):
    """The fitted clusterer that a metric needs, or None."""
    if "cluster_diversity" not in dict(metrics.values()):
        return None
    if clusterer is None and X_train is not None:
        return SessionClusterer(random_state=seed).fit(X_train, y_train)
    if clusterer is not None and not hasattr(clusterer, "membership_"):
        raise ValueError(
            f"clusterer={clusterer!r:.60} is not fitted. Pass a fitted one, or None "
            "to fit the default on X_train."
        )
    return clusterer


def _lists(metrics, training, clusterer):
    """Return the object that computes list metrics, or None if not needed."""
    asked = [pair for pair in metrics.values() if pair[0] in LIST_METRICS]
    if not asked:
        return None
    if training is None:
        raise ValueError(
            f"{sorted(dict(asked))} need the training sessions: pass X_train, also "
            "with fit=False."
        )
    return _Lists(training, clusterer, max(k for _, k in asked))


class _Lists:
    """The lists of one estimator after the other, over the training items."""

    def __init__(self, training, clusterer, k):
        self.index, self.counts = item_counts(training)
        self.k, self.membership = k, None
        if clusterer is not None:
            codes = checked_codes(clusterer.item_ids_, self.index, "the clusterer")
            membership = np.full(len(self.index) + 1, -1, dtype=np.int64)
            membership[codes] = clusterer.membership_
            self.membership = membership[1:]

    def read(self, estimator, queries):
        recommender, X = unwrap(estimator, queries.prefixes)
        n_items = len(getattr(recommender, "item_ids_", range(self.k)))
        items = recommender.predict_topk(X, min(self.k, n_items))
        self.codes, self.sessions = list_codes(items, self.index), queries.prefixes

    def add(self, table, metric, k):
        codes = self.codes[:, :k]
        if metric == "novelty":
            table.add_mean(novelty_of(codes, self.counts))
        elif metric == "cluster_diversity":
            table.add_mean(diversity_of(codes, self.membership))
        elif metric == "popularity_lift":
            parts = lift_parts(codes, self.sessions, self.index, self.counts)
            table.add_ratio(*parts, offset=-1.0)
        else:
            of, n = {"coverage": coverage_of, "gini": gini_of}[metric], len(self.index)
            table.add_plain(
                [
                    of(exposure_of(codes[rows], n)) if rows.any() else np.nan
                    for rows in table.groups()
                ]
            )


# -- values and their bootstrap --------------------------------------------------------


class _Table:
    """Statistics of groups of queries, as ratios of sums over sessions.

    Every metric but coverage and Gini is a ratio of two sums over queries, such as the
    sum of gains and the number of queries. A bootstrap over sessions therefore only
    needs the sums of each session. A draw is a vector of counts: how often each session
    was taken. One matrix product of these vectors with the sums, and a division, give
    all statistics of all draws.
    """

    def __init__(self, codes, n_groups, of_session):
        self.codes, self.n_groups, self.of_session = codes, n_groups, of_session
        n = self.n_drawn = int(of_session.max()) + 1
        self.n_queries = np.bincount(codes, minlength=n_groups)
        pairs = np.unique(codes.astype(np.int64) * n + of_session)
        self.n_sessions = np.bincount(pairs // n, minlength=n_groups)
        self._columns = [np.ones(len(codes))]
        self._statistics = []  # (column over, column under, offset), or plain values

    def groups(self):
        return [self.codes == g for g in range(self.n_groups)]

    def add_mean(self, values):
        """Mean of the queries that have a value; the others are NaN."""
        known = ~np.isnan(values)
        if known.all():  # under it stands the column of ones
            self._columns.append(values)
            self._statistics.append((len(self._columns) - 1, 0, 0.0))
        else:
            self.add_ratio(np.where(known, values, 0.0), known.astype(float), 0.0)

    def add_ratio(self, over, under, offset):
        """Sum of one column over the sum of another, plus an offset."""
        self._columns += [under, over]
        n = len(self._columns)
        self._statistics.append((n - 1, n - 2, offset))

    def add_plain(self, values):
        """Add a value per group that is not a ratio of sums and has no interval."""
        self._statistics.append(np.asarray(values, dtype=np.float64))

    def values(self):
        """Shape (n_statistics, n_groups), from the queries themselves."""
        rows = self.groups()
        sums = np.array([[c[g].sum() for g in rows] for c in self._columns])
        return self._ratios(sums[:, None])[0]

    def bootstrap(self, n_boot, seed):
        """The statistics of all draws, shape (n_boot, n_statistics, n_groups).

        Draw i takes the sessions ``Generator.integers(n, size=n)``, in order of i. A
        metric that is not a ratio of sums is NaN.
        """
        rng, n = np.random.default_rng(seed), self.n_drawn
        cell = self.of_session * self.n_groups + self.codes
        per_session = np.stack(
            [np.bincount(cell, c, minlength=n * self.n_groups) for c in self._columns]
        ).reshape(-1, n, self.n_groups)
        per_session = per_session.transpose(1, 0, 2).reshape(n, -1)
        sums = np.empty((len(self._columns), n_boot, self.n_groups))
        step = max(1, _CHUNK // n)
        for start in range(0, n_boot, step):
            size = min(step, n_boot - start)
            # One bincount for all draws of the chunk: draw i counts in its own n cells.
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
            if isinstance(statistic, tuple):
                over, under, offset = statistic
                where = sums[under] > 0
                np.divide(sums[over], sums[under], out=result[:, i], where=where)
                result[:, i] += offset
            elif plain:
                result[:, i] = statistic
        return result


def _columns(table, rows, base, n_boot, confidence_level, seed, times):
    """Columns of the frame, a row for each estimator, metric and group."""
    estimators, metrics, groups = rows
    shape = len(estimators), len(metrics), len(groups)
    values = table.values().reshape(shape)
    draws = table.bootstrap(n_boot, seed).reshape(n_boot, *shape)
    lower, upper = _interval(draws, confidence_level)
    apart = draws - draws[:, [base]]
    between, p_values = _interval(apart, confidence_level), bootstrap_p_values(apart)
    p_values = np.where(table.n_sessions > 1, p_values, np.nan)  # nothing to resample
    differences = np.stack([values - values[base], *between, p_values])
    differences[:, base] = np.nan
    adjusted = np.apply_along_axis(holm, 0, differences[3])  # over the estimators
    e, m, g = np.indices(shape).reshape(3, -1)
    fit_seconds, predict_seconds = np.array(times)[e].T
    return {
        "estimator": [estimators[i] for i in e],
        "metric": [metrics[i] for i in m],
        "group": [groups[i] for i in g],
        "value": values.ravel(),
        "lower": lower.ravel(),
        "upper": upper.ravel(),
        "difference": differences[0].ravel(),
        "difference_lower": differences[1].ravel(),
        "difference_upper": differences[2].ravel(),
        "p_value": differences[3].ravel(),
        "adjusted_p_value": adjusted.ravel(),
        "n_queries": table.n_queries[g],
        "n_sessions": table.n_sessions[g],
        "fit_seconds": fit_seconds,
        "predict_seconds": predict_seconds,
        "ms_per_query": 1000 * predict_seconds / len(table.codes),
    }


def _interval(draws, confidence_level):
    """Lower and upper percentiles of each cell, over the draws that have a value."""
    tail = (1 - confidence_level) / 2
    bounds = np.full((2, *draws.shape[1:]), np.nan)
    for at in np.ndindex(draws.shape[1:]):
        values = draws[(slice(None), *at)]
        values = values[~np.isnan(values)]
        if len(values):
            bounds[(slice(None), *at)] = np.quantile(values, [tail, 1 - tail])
    return bounds
