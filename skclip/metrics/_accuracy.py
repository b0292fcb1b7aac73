"""Ranking metrics with one target per row, or several."""

from __future__ import annotations

import re
from functools import partial
from typing import Literal

import numpy as np

from skclip._data import unmasked
from skclip._typing import ArrayLike, FloatArray


def target_ranks(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    ties: Literal["pessimistic", "average", "optimistic"] = "pessimistic",
) -> FloatArray:
    r"""Return the rank of each row's target among all columns, 1 = best.

    .. math:: \mathrm{rank} = 1 + \#\{j: s_j > s_t\} + \mathrm{ties}

    Parameters
    ----------
    scores : array-like of shape (n, n_items)
        Finite scores, higher is better.
    targets : array-like of shape (n,)
        Column of each row's target.
    ties : {"pessimistic", "average", "optimistic"}, default="pessimistic"
        How items with the same score as the target count: fully ("pessimistic"), by
        half ("average"), or not at all ("optimistic"). With the default, a model
        that gives the same score to all items ranks every target last.

    Returns
    -------
    ranks : ndarray of shape (n,), float64
        1 = best. Half ranks occur with ``ties="average"``.

    Raises
    ------
    ValueError
        A score is not finite, a target is not a valid column, or `ties` is unknown.

    Notes
    -----
    Differences from the paper and its code:

    - **Ties.** Papers do not mention ties, and published code ranks tied items as its
      top-k function happens to return them. skclip counts ties against the target, so
      that a model with equal scores for all items does not look good;
      ``ties="average"`` and ``ties="optimistic"`` are the other rules.
    - **Targets outside the catalog.** Papers do not mention them, and some programs,
      GRU4Rec's among them, drop such rows. skclip counts them as misses in every
      metric, because dropping them flatters models with smaller catalogs.

    Examples
    --------
    >>> from skclip.metrics import target_ranks
    >>> target_ranks([[.3, .9, .1, .9, .5]], [1]).tolist()  # another reaches .9
    [2.0]
    >>> target_ranks([[.3, .9, .1, .9, .5]], [1], ties="optimistic").tolist()
    [1.0]
    """
    shares = {"pessimistic": 1.0, "average": 0.5, "optimistic": 0.0}
    if ties not in shares:
        raise ValueError(f"ties must be one of {sorted(shares)}, got {ties!r}.")
    scores, targets = unmasked(scores, "scores"), unmasked(targets, "targets")
    _check_columns(scores, targets)
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    better = (scores > own).sum(axis=1)
    equal = (scores == own).sum(axis=1) - 1
    return 1.0 + better + shares[ties] * equal


def _check_columns(scores, targets):
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(
            f"scores has shape {scores.shape}, targets {targets.shape}. Expected (n, "
            "n_items) and (n,): one target for each row."
        )
    expected = f"Expected columns, whole numbers 0..{scores.shape[1] - 1}."
    if len(targets) and targets.dtype.kind not in "iu":
        raise ValueError(f"targets holds {targets.dtype}. {expected}")
    outside = np.flatnonzero((targets < 0) | (targets >= scores.shape[1]))
    if len(outside):
        at = outside[0]
        raise ValueError(f"targets[{at}] is {targets[at]}. {expected}")
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise ValueError(f"Row {row} of scores has a value that is not finite.")


def recall_at_k(ranks: ArrayLike, k: int, offsets: ArrayLike | None = None) -> float:
    r"""Return the mean share of a row's targets that are in the top k.

    .. math:: \frac{1}{n} \sum_i \frac{\#\{t \in T_i: \mathrm{rank}_t \le k\}}{|T_i|}

    With one target per row, this is the hit rate. SR-GNN and related papers report it
    as P@k.

    Parameters
    ----------
    ranks : array-like of shape (n,)
        Rank of each target, 1 = best. ``inf`` marks a target outside the catalog. It
        counts as a miss.
    k : int
        Cut-off, at least 1. It may exceed the size of the catalog.
    offsets : array-like of shape (n_rows + 1,), default=None
        Boundaries of the rows: row ``i`` has the targets
        ``offsets[i]:offsets[i + 1]``. ``rank_targets(X, targets="remaining")`` returns
        them. None means one target per row.

    Returns
    -------
    recall : float
        Recall@k, between 0 and 1.

    Raises
    ------
    ValueError
        `k` is below 1, `offsets` do not match `ranks`, or two targets of a row have
        the same rank. The other metrics raise the same error.

    Examples
    --------
    >>> from skclip.metrics import recall_at_k
    >>> recall_at_k([1, 2, 5, float("inf")], k=2)  # (1 + 1 + 0 + 0) / 4
    0.5
    >>> recall_at_k([1, 2, 5, float("inf")], 2, [0, 3, 4])  # (2/3 + 0) / 2
    0.3333333333333333
    """
    return _mean_gain("recall", ranks, k, offsets)


def hit_rate_at_k(ranks: ArrayLike, k: int, offsets: ArrayLike | None = None) -> float:
    r"""Return the share of rows with a target in the top k.

    .. math:: \frac{1}{n} \sum_i [\min_{t \in T_i} \mathrm{rank}_t \le k]

    With one target per row, this is `recall_at_k`.

    Parameters
    ----------
    ranks, k, offsets : array-like of shape (n,), int, array-like or None
        Ranks of the targets, cut-off and rows, as in `recall_at_k`.

    Returns
    -------
    hit_rate : float
        Hit rate@k, between 0 and 1.

    Examples
    --------
    >>> from skclip.metrics import hit_rate_at_k
    >>> hit_rate_at_k([1, 2, 5, float("inf")], 2, [0, 3, 4])  # (1 + 0) / 2
    0.5
    """
    return _mean_gain("hit_rate", ranks, k, offsets)


def precision_at_k(ranks: ArrayLike, k: int, offsets: ArrayLike | None = None) -> float:
    r"""Return the share of the top k that are targets.

    .. math:: \frac{1}{n} \sum_i \frac{\#\{t \in T_i: \mathrm{rank}_t \le k\}}{k}

    With one target per row, this is Recall@k / k. SR-GNN and related papers call
    another number P@k, see `recall_at_k`. The list counts as k items long, even if
    the catalog is smaller.

    Parameters
    ----------
    ranks, k, offsets : array-like of shape (n,), int, array-like or None
        Ranks of the targets, cut-off and rows, as in `recall_at_k`.

    Returns
    -------
    precision : float
        Precision@k, between 0 and 1. It is at most 1 / k with one target per row.

    Notes
    -----
    Differences from the paper and its code:

    - **P@k.** Papers of the SR-GNN family call the share of targets in the top k
      "precision". In skclip that number is `recall_at_k`, and `precision_at_k` divides
      by k; with one target per row it is at most 1 / k.

    Examples
    --------
    >>> from skclip.metrics import precision_at_k
    >>> precision_at_k([1, 2, 5, float("inf")], k=2)  # (1/2 + 1/2 + 0 + 0) / 4
    0.25
    >>> precision_at_k([1, 2, 5, float("inf")], 2, [0, 3, 4])  # (2/2 + 0/2) / 2
    0.5
    """
    return _mean_gain("precision", ranks, k, offsets)


def mrr_at_k(ranks: ArrayLike, k: int, offsets: ArrayLike | None = None) -> float:
    r"""Return the mean reciprocal rank, 0 for rows without a target in the top k.

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k] / \mathrm{rank}_i

    If a row has several targets, only the one with the best rank counts.

    Parameters
    ----------
    ranks, k, offsets : array-like of shape (n,), int, array-like or None
        Ranks of the targets, cut-off and rows, as in `recall_at_k`.

    Returns
    -------
    mrr : float
        MRR@k, between 0 and 1.

    Examples
    --------
    >>> from skclip.metrics import mrr_at_k
    >>> mrr_at_k([1, 2, 5, float("inf")], k=2)  # (1 + 1/2 + 0 + 0) / 4
    0.375
    >>> mrr_at_k([1, 2, 5, float("inf")], 2, [0, 3, 4])  # (1 + 0) / 2
    0.5
    """
    return _mean_gain("mrr", ranks, k, offsets)


def map_at_k(ranks: ArrayLike, k: int, offsets: ArrayLike | None = None) -> float:
    r"""Return the mean average precision of the top k.

    .. math::
        \frac{1}{n} \sum_i \frac{1}{\min(k, |T_i|)} \sum_{j: r_{ij} \le k}
        \frac{j}{r_{ij}}

    with :math:`r_{i1} < r_{i2} < \dots` the ranks of the targets of row i, so that
    :math:`j / r_{ij}` is the precision of the list up to a hit. A perfect list of k
    items has the value 1. With one target per row, this is `mrr_at_k`.

    Parameters
    ----------
    ranks, k, offsets : array-like of shape (n,), int, array-like or None
        Ranks of the targets, cut-off and rows, as in `recall_at_k`.

    Returns
    -------
    map : float
        MAP@k, between 0 and 1.

    Examples
    --------
    >>> from skclip.metrics import map_at_k
    >>> map_at_k([1, 4, 5, float("inf")], 4, [0, 3, 4])  # ((1/1 + 2/4) / 3 + 0) / 2
    0.25
    """
    return _mean_gain("map", ranks, k, offsets)


def ndcg_at_k(ranks: ArrayLike, k: int, offsets: ArrayLike | None = None) -> float:
    r"""Return the normalized discounted cumulative gain. Each target has gain 1.

    .. math::
        \frac{1}{n} \sum_i \frac{\sum_{t \in T_i} [\mathrm{rank}_t \le k] /
        \log_2(1 + \mathrm{rank}_t)}{\sum_{j=1}^{\min(k, |T_i|)} 1 / \log_2(1 + j)}

    A perfect list of k items has the value 1. With one target per row, the
    denominator is 1.

    Parameters
    ----------
    ranks, k, offsets : array-like of shape (n,), int, array-like or None
        Ranks of the targets, cut-off and rows, as in `recall_at_k`.

    Returns
    -------
    ndcg : float
        NDCG@k, between 0 and 1.

    Examples
    --------
    >>> from skclip.metrics import ndcg_at_k
    >>> ndcg_at_k([1, 3, 5, float("inf")], k=3)  # (1 + 1/2 + 0 + 0) / 4
    0.375
    >>> ndcg_at_k([1, 3, float("inf")], 1, [0, 2, 3])  # (1 / 1 + 0) / 2
    0.5
    """
    return _mean_gain("ndcg", ranks, k, offsets)


class RankRows:
    """Ranks of the targets of each row, and the gain of each row.

    Parameters
    ----------
    ranks, offsets : array-like
        Ranks and offsets, as in `recall_at_k`.
    """

    def __init__(self, ranks, offsets=None):
        self.ranks = self.best = check_ranks(ranks)
        self.place = self.sizes = self._starts = 1  # each target is a row
        if offsets is None:
            return
        offsets = _check_offsets(offsets, len(self.ranks))
        self._starts, self.sizes = offsets[:-1], np.diff(offsets)
        of_row = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.ranks = self.ranks[np.lexsort((self.ranks, of_row))]
        self.place = np.arange(len(self.ranks)) - self._starts[of_row] + 1
        twice = (self.ranks[1:] == self.ranks[:-1]) & (of_row[1:] == of_row[:-1])
        twice = np.flatnonzero(twice & np.isfinite(self.ranks[1:]))
        if len(twice):
            raise ValueError(
                f"Two targets of row {of_row[twice[0]]} have the rank "
                f"{self.ranks[twice[0]]:g}. Expected places in one list, as "
                "rank_targets(X, targets='remaining') returns them."
            )
        self.best = self.ranks[self._starts]

    def __len__(self):
        return len(self.best)

    def sums(self, values):
        """Sum of the values of each row's targets."""
        if len(self) == len(values):
            return values
        return np.add.reduceat(values, self._starts)

    def gains(self, metric, k):
        """Contribution of each row to a metric. The metric is their mean."""
        if not k >= 1:
            raise ValueError(f"k must be at least 1, got {k!r}.")
        return GAINS[metric](self, k)


def _within(rows, k, values):
    """Sum of the values of the targets in the top k, for each row."""
    return rows.sums(np.where(rows.ranks <= k, values, 0.0))


def _ndcg(rows, k):
    most = np.minimum(k, rows.sizes).astype(np.int64)
    best = np.cumsum(1.0 / np.log2(1.0 + np.arange(1, np.max(most) + 1)))
    return _within(rows, k, 1.0 / np.log2(1.0 + rows.ranks)) / best[most - 1]


# What a row gains; the metric is the mean.
GAINS = {
    "recall": lambda rows, k: _within(rows, k, 1.0) / rows.sizes,
    "precision": lambda rows, k: _within(rows, k, 1.0) / k,
    "mrr": lambda rows, k: np.where(rows.best <= k, 1.0 / rows.best, 0.0),
    "ndcg": _ndcg,
    "map": lambda rows, k: (
        _within(rows, k, rows.place / rows.ranks) / np.minimum(k, rows.sizes)
    ),
    "hit_rate": lambda rows, k: (rows.best <= k).astype(np.float64),
}


def _mean_gain(name, ranks, k, offsets=None):
    return float(RankRows(ranks, offsets).gains(name, k).mean())


def check_ranks(ranks):
    """Return ranks as a 1-D array of floats, or raise an error."""
    ranks = unmasked(ranks, "ranks").astype(np.float64)
    if ranks.ndim != 1 or len(ranks) == 0 or not (ranks >= 1).all():
        raise ValueError(
            "ranks must be a non-empty 1-D array of numbers that are at least 1, "
            f"got {ranks!r:.80}."
        )
    return ranks


def _check_offsets(offsets, n_ranks):
    """Return the boundaries of the rows, checked."""
    given, offsets = offsets, unmasked(offsets, "offsets")
    rises = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 1
    rises = rises and (np.diff(offsets.astype(np.int64)) > 0).all()
    if not rises or offsets[0] != 0 or offsets[-1] != n_ranks:
        raise ValueError(
            f"offsets must be whole numbers that rise from 0 to {n_ranks}, the number "
            f"of ranks, by at least 1 for each row; got {given!r:.80}."
        )
    return offsets.astype(np.int64)


def split_metric(name, known):
    """Turn ``"mrr@20"`` into ``("mrr", 20)``, if it is among the known names."""
    match = re.fullmatch(r"([a-z_]+)@([1-9]\d*)", str(name))
    if not match or match[1] not in known:
        expected = ", ".join(f"'{metric}@k'" for metric in known)
        raise ValueError(
            f"Unknown metric {name!r}. Expected {expected} with a whole number k, "
            "for instance 'mrr@20'."
        )
    return match[1], int(match[2])


def parse_metric(name):
    """Turn ``"mrr@20"`` into a function of ranks and its cut-off."""
    metric, k = split_metric(name, GAINS)
    return partial(_mean_gain, metric), k
