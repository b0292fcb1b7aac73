"""Ranking metrics with one target per row."""

import re
from functools import partial

import numpy as np

from skclip._data import unmasked


def target_ranks(scores, targets, *, ties="pessimistic"):
    r"""Return the rank of each row's target among all columns, 1 = best.

    .. math:: \mathrm{rank} = 1 + \#\{j: s_j > s_t\} + \mathrm{ties}

    Parameters
    ----------
    scores : array-like of shape (n, n_items)
        Finite scores, higher is better.
    targets : array-like of shape (n,)
        Column of each row's target.
    ties : {"pessimistic", "average", "optimistic"}, default="pessimistic"
        Items that score the same as the target count all, half or not at all. The
        default lets a model that gives every item the same score rank last.

    Returns
    -------
    ranks : ndarray of shape (n,), float64
        1 = best; halves occur with ``ties="average"``.

    Raises
    ------
    ValueError
        A score is not finite, a target is no column, or `ties` is unknown.

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
        raise ValueError(f"Row {row} of scores is not finite; ranks are undefined.")


def recall_at_k(ranks, k):
    r"""Return the share of targets in the top k, also known as hit rate.

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k]

    Papers of the SR-GNN family print it as P@k.

    Parameters
    ----------
    ranks : array-like of shape (n,)
        Rank of each target, 1 = best; ``inf`` = not in the catalog, a miss.
    k : int
        Cut-off, at least 1. It may exceed the catalog.

    Returns
    -------
    recall : float
        In [0, 1].

    Examples
    --------
    >>> from skclip.metrics import recall_at_k
    >>> recall_at_k([1, 2, 5, float("inf")], k=2)  # (1 + 1 + 0 + 0) / 4
    0.5
    """
    return _mean_gain("recall", ranks, k)


def precision_at_k(ranks, k):
    r"""Return the share of the top k that is the target: Recall@k / k.

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k] / k

    Papers of the SR-GNN family print another number as P@k: `recall_at_k`. The list
    counts as k items long, also where the catalog is smaller.

    Parameters
    ----------
    ranks, k : array-like of shape (n,), int
        Ranks of the targets and cut-off, as in `recall_at_k`.

    Returns
    -------
    precision : float
        In [0, 1 / k].

    Examples
    --------
    >>> from skclip.metrics import precision_at_k
    >>> precision_at_k([1, 2, 5, float("inf")], k=2)  # (1/2 + 1/2 + 0 + 0) / 4
    0.25
    """
    return _mean_gain("precision", ranks, k)


def mrr_at_k(ranks, k):
    r"""Return the mean reciprocal rank, 0 for targets outside the top k.

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k] / \mathrm{rank}_i

    Parameters
    ----------
    ranks, k : array-like of shape (n,), int
        Ranks of the targets and cut-off, as in `recall_at_k`.

    Returns
    -------
    mrr : float
        In [0, 1].

    Examples
    --------
    >>> from skclip.metrics import mrr_at_k
    >>> mrr_at_k([1, 2, 5, float("inf")], k=2)  # (1 + 1/2 + 0 + 0) / 4
    0.375
    """
    return _mean_gain("mrr", ranks, k)


def ndcg_at_k(ranks, k):
    r"""Return the normalized discounted cumulative gain of one target per row.

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k] / \log_2(1 + \mathrm{rank}_i)

    The best list has a gain of 1, so that nothing is left to normalize.

    Parameters
    ----------
    ranks, k : array-like of shape (n,), int
        Ranks of the targets and cut-off, as in `recall_at_k`.

    Returns
    -------
    ndcg : float
        In [0, 1].

    Examples
    --------
    >>> from skclip.metrics import ndcg_at_k
    >>> ndcg_at_k([1, 3, 5, float("inf")], k=3)  # (1 + 1/2 + 0 + 0) / 4
    0.375
    """
    return _mean_gain("ndcg", ranks, k)


# What a rank is worth; the metric is the mean.
GAINS = {
    "recall": lambda ranks, k: (ranks <= k).astype(np.float64),
    "precision": lambda ranks, k: (ranks <= k) / k,
    "mrr": lambda ranks, k: np.where(ranks <= k, 1.0 / ranks, 0.0),
    "ndcg": lambda ranks, k: np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0),
}


def _mean_gain(name, ranks, k):
    ranks = check_ranks(ranks)
    if not k >= 1:
        raise ValueError(f"k must be at least 1, got {k!r}.")
    return float(GAINS[name](ranks, k).mean())


def check_ranks(ranks):
    """Return ranks as a 1-D array of floats, or say what is wrong with them."""
    ranks = unmasked(ranks, "ranks").astype(np.float64)
    if ranks.ndim != 1 or len(ranks) == 0 or not (ranks >= 1).all():
        raise ValueError(
            f"ranks must be a non-empty 1-D array of numbers >= 1, got {ranks!r:.80}."
        )
    return ranks


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
