"""Metrics of recommendation lists that need no target, such as coverage and novelty.

All functions take lists as ``predict_topk`` returns them. Unknown ids count as empty
places. Examples are fill values and items without a training event.
"""

from __future__ import annotations

from numbers import Integral

import numpy as np

from skclip._data import (
    ItemIndex,
    as_list,
    as_sessions,
    check_targets,
    checked_codes,
    unmasked,
)
from skclip._typing import ArrayLike, Ids, Lists, SessionsLike


def catalog_coverage(items: Lists, catalog: Ids, *, k: int | None = None) -> float:
    r"""Return the share of the catalog that appears in at least one list.

    .. math:: \Big| \bigcup_q L_q \cap C \Big| \, / \, |C|

    Coverage grows with the number of lists. Compare models on the same sessions.

    Parameters
    ----------
    items : array-like of shape (n, k)
        Recommended raw ids, as ``predict_topk`` returns them.
    catalog : array-like of shape (n_items,)
        Distinct raw ids that could be recommended, such as ``item_ids_``.
    k : int, default=None
        Number of places to read from each list. None, or a larger number than the
        length of the lists, reads all.

    Returns
    -------
    coverage : float
        Share of the catalog, between 0 and 1.

    Examples
    --------
    >>> from skclip.metrics import catalog_coverage
    >>> catalog_coverage([["a", "b"], ["a", "c"]], ["a", "b", "c", "d"])
    0.75
    """
    index = _catalog_index(catalog)
    return coverage_of(exposure_of(list_codes(items, index, k), len(index)))


def gini_index(items: Lists, catalog: Ids, *, k: int | None = None) -> float:
    r"""Return the Gini index of how often each catalog item is recommended.

    .. math::
        G = \frac{\sum_{i=1}^{N} (2i - N - 1)\, x_{(i)}}{N \sum_i x_{(i)}}

    where :math:`x_{(1)} \le \dots \le x_{(N)}` are the numbers of lists that contain
    each item of the catalog, including zeros. The index is 0 if all items appear
    equally often, and :math:`(N - 1) / N` if one item takes every place.

    Parameters
    ----------
    items : array-like of shape (n, k)
        Recommended raw ids, as ``predict_topk`` returns them.
    catalog : array-like of shape (n_items,)
        Distinct raw ids that could be recommended, such as ``item_ids_``.
    k : int, default=None
        Number of places to read from each list. None, or a larger number than the
        length of the lists, reads all.

    Returns
    -------
    gini : float
        Gini index from 0 to below 1, or NaN if no item of the catalog is recommended.

    Examples
    --------
    >>> from skclip.metrics import gini_index
    >>> gini_index([["a", "b"], ["a", "c"]], ["a", "b", "c", "d"])
    ... # x = 0 1 1 2, G = (-3 * 0 - 1 * 1 + 1 * 1 + 3 * 2) / (4 * 4)
    0.375
    """
    index = _catalog_index(catalog)
    return gini_of(exposure_of(list_codes(items, index, k), len(index)))


def novelty(items: Lists, X_train: SessionsLike, *, k: int | None = None) -> float:
    r"""Return the mean self-information of the recommended items, in bits.

    .. math::
        \frac{1}{n} \sum_q \frac{1}{|L_q|} \sum_{i \in L_q} -\log_2 p(i), \qquad
        p(i) = \mathrm{events}(i) \Big/ \sum_j \mathrm{events}(j)

    where events are counted in the training sessions [1]_. Rare items have more bits,
    and a ranking by popularity has the lowest novelty.

    Parameters
    ----------
    items : array-like of shape (n, k)
        Recommended raw ids, as ``predict_topk`` returns them.
    X_train : Sessions or list of lists
        Training sessions, whose events are counted.
    k : int, default=None
        Number of places to read from each list. None, or a larger number than the
        length of the lists, reads all.

    Returns
    -------
    novelty : float
        Novelty in bits, at least 0. Lists without a known item are left out. NaN if no
        list is left.

    References
    ----------
    .. [1] T. Zhou et al., "Solving the apparent diversity-accuracy dilemma of
           recommender systems", PNAS 107 (2010), doi:10.1073/pnas.1000488107.

    Examples
    --------
    >>> from skclip.metrics import novelty
    >>> novelty([["a", "b"], ["a", "c"]], [["a", "b"], ["a", "c"]])
    ... # p(a) = 1/2, p(b) = p(c) = 1/4: both lists have a mean of (1 + 2) / 2 bits
    1.5
    """
    index, counts = item_counts(X_train)
    return _mean(novelty_of(list_codes(items, index, k), counts))


def popularity_lift(
    items: Lists, X: SessionsLike, X_train: SessionsLike, *, k: int | None = None
) -> float:
    r"""Return how much more popular lists are than the sessions they were made for.

    .. math::
        \frac{\frac{1}{n} \sum_q \mathrm{pop}(L_q)}{\frac{1}{n} \sum_q
        \mathrm{pop}(S_q)} - 1, \qquad
        \mathrm{pop}(S) = \frac{1}{|S|} \sum_{i \in S} \mathrm{events}(i)

    where events are counted in the training sessions [1]_. A lift of 0 means that lists
    are as popular as the sessions, 1 means twice as popular, and a negative lift
    means less popular.

    Parameters
    ----------
    items : array-like of shape (n, k)
        Recommended raw ids, as ``predict_topk`` returns them.
    X : Sessions or list of lists
        Observed session of each list, shape (n,).
    X_train : Sessions or list of lists
        Training sessions, whose events are counted.
    k : int, default=None
        Number of places to read from each list. None, or a larger number than the
        length of the lists, reads all.

    Returns
    -------
    lift : float
        Relative lift, at least -1. Rows without a known item in the list or the session
        are left out. NaN if no row is left.

    Raises
    ------
    ValueError
        `X` and `items` have different numbers of rows.

    References
    ----------
    .. [1] H. Abdollahpouri, M. Mansoury, R. Burke, B. Mobasher, "The Connection
           Between Popularity Bias, Calibration, and Fairness in Recommendation",
           RecSys 2020, doi:10.1145/3383313.3418487.

    Examples
    --------
    >>> from skclip.metrics import popularity_lift
    >>> X_train = [["a", "b"], ["a", "c"], ["a"]]
    >>> popularity_lift([["a", "b"], ["a", "c"]], [["b"], ["b", "c"]], X_train)
    ... # lists have a mean of 2 events, sessions of 1: 2 / 1 - 1
    1.0
    """
    index, counts = item_counts(X_train)
    codes, sessions = list_codes(items, index, k), as_sessions(X)
    if len(sessions) != len(codes):
        raise ValueError(
            f"X has {len(sessions)} sessions, items {len(codes)} lists. Expected the "
            "session that each list answers."
        )
    ours, theirs = lift_parts(codes, sessions, index, counts)
    return float(ours.sum() / theirs.sum() - 1) if ours.any() else np.nan


def cluster_diversity(
    items: Lists, item_ids: Ids, membership: ArrayLike, *, k: int | None = None
) -> float:
    r"""Return the share of item pairs in a list that are from different clusters.

    .. math::
        \frac{1}{n} \sum_q \binom{|L_q|}{2}^{-1} \sum_{\{i, j\} \subset L_q}
        [c(i) \ne c(j)]

    Parameters
    ----------
    items : array-like of shape (n, k)
        Recommended raw ids, as ``predict_topk`` returns them.
    item_ids : array-like of shape (n_items,)
        Raw ids, such as ``SessionClusterer.item_ids_``.
    membership : array-like of shape (n_items,)
        Cluster of each item, such as ``membership_``. Negative means no cluster.
    k : int, default=None
        Number of places to read from each list. None, or a larger number than the
        length of the lists, reads all.

    Returns
    -------
    diversity : float
        Diversity between 0 and 1. Items without a cluster are left out, and so are
        lists with fewer than two items. NaN if no list is left.

    Raises
    ------
    ValueError
        `membership` and `item_ids` differ in length.

    Examples
    --------
    >>> from skclip.metrics import cluster_diversity
    >>> lists = [["a", "b", "c"], ["a", "b", ""]]
    >>> round(cluster_diversity(lists, ["a", "b", "c"], [0, 0, 1]), 4)
    ... # ac and bc of the pairs ab, ac, bc differ, and ab does not: (2/3 + 0) / 2
    0.3333
    """
    index = _catalog_index(item_ids, "item_ids", ordered=True)
    membership = unmasked(membership, "membership")
    if membership.shape != (len(index),):
        raise ValueError(
            f"membership has shape {membership.shape}, expected ({len(index)},): the "
            "cluster of each of item_ids."
        )
    return _mean(diversity_of(list_codes(items, index, k), membership))


# -- the same on codes -----------------------------------------------------------------

LIST_METRICS = (
    "coverage",
    "gini",
    "novelty",
    "popularity_lift",
    "cluster_diversity",
)


def list_codes(items, index, k=None):
    """Codes of recommended ids, shape (n, k), 0 = not in the index."""
    if np.ma.is_masked(items):
        items = np.array(items.tolist(), dtype=object)  # None is no item
    if isinstance(items, list) and all(isinstance(row, list) for row in items):
        items = _as_table(items)
    elif not isinstance(items, np.ndarray):
        items = np.array(items, dtype=object)
    if items.ndim != 2 or items.size == 0:
        raise ValueError(
            f"items has shape {items.shape}, expected (n, k) with at least one list of "
            "one item, as predict_topk returns them."
        )
    if k is not None and (not isinstance(k, Integral) or k < 1):
        raise ValueError(f"k must be a whole number, at least 1, or None; got {k!r}.")
    items = items[:, :k]
    return checked_codes(items.ravel(), index, "items").reshape(items.shape)


def _as_table(lists):
    """Return lists of ids, which may be tuples, as a 2-D array."""
    lengths = set(map(len, lists))
    if len(lengths) > 1:
        raise ValueError(
            f"items has lists of {min(lengths)} to {max(lengths)} ids, expected (n, "
            "k). Fill short lists with a value that is not an item id."
        )
    flat = np.empty(sum(map(len, lists)), dtype=object)
    flat[:] = [item for row in lists for item in row]
    return flat.reshape(len(lists), -1) if len(flat) else flat


def item_counts(X_train):
    """Return the index of the training items, and their event counts."""
    sessions = as_sessions(X_train)
    counts = np.bincount(sessions.codes, minlength=len(sessions.vocabulary))
    if not counts.any():
        raise ValueError("X_train has no event. Pass sessions that hold items.")
    return ItemIndex(sessions.vocabulary[counts > 0]), counts[counts > 0]


def exposure_of(codes, n_items):
    """Number of places that each item of the index takes."""
    return np.bincount(codes.ravel(), minlength=n_items + 1)[1:]


def coverage_of(exposure):
    return float((exposure > 0).mean())


def gini_of(exposure):
    n, total = len(exposure), exposure.sum()
    if total == 0:
        return np.nan
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float(weights @ np.sort(exposure) / (n * total))


def novelty_of(codes, counts):
    """Mean self-information of each list, NaN for lists without a known item."""
    return _known_means(codes, -np.log2(counts / counts.sum()))


def lift_parts(codes, sessions, index, counts):
    """Popularity of each list and its session. Both are 0 if one has no known item."""
    ours = _known_means(codes, counts)
    codes_of_ids = checked_codes(sessions.vocabulary, index, "X")
    events = np.concatenate([[0], counts])[codes_of_ids]
    events = events[sessions.codes]
    sums = np.diff(np.concatenate([[0], np.cumsum(events)])[sessions.offsets])
    known = np.diff(np.concatenate([[0], np.cumsum(events > 0)])[sessions.offsets])
    both = (known > 0) & ~np.isnan(ours)
    return np.where(both, ours, 0.0), np.where(both, sums / np.maximum(known, 1), 0.0)


def diversity_of(codes, membership):
    """Share of pairs in different clusters, NaN for lists of fewer than two."""
    clusters = np.concatenate([[-1], membership])[codes]
    known = clusters >= 0
    pairs, different = np.zeros(len(codes)), np.zeros(len(codes))
    for gap in range(1, codes.shape[1]):
        both = known[:, gap:] & known[:, :-gap]
        pairs += both.sum(axis=1)
        different += (both & (clusters[:, gap:] != clusters[:, :-gap])).sum(axis=1)
    return np.where(pairs > 0, different / np.maximum(pairs, 1), np.nan)


def _known_means(codes, values):
    known = codes > 0
    sums = np.where(known, np.concatenate([[0], values])[codes], 0.0).sum(axis=1)
    n_known = known.sum(axis=1)
    return np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)


def _mean(values):
    """Mean of the lists that have a value."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _catalog_index(item_ids, name="catalog", ordered=False):
    ids = as_list(item_ids, name, ordered=ordered)
    n = len(ids)
    if n == 0:
        raise ValueError("The catalog is empty. Pass the ids of at least one item.")
    ids = check_targets(ids, n, name)
    if len(set(ids.tolist())) < n:
        raise ValueError(
            f"The catalog names {n - len(set(ids.tolist()))} items twice. Pass "
            "distinct ids, such as item_ids_."
        )
    return ItemIndex(ids)
