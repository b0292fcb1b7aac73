"""Join the rankings of a base and of a language model: Borda count, fused ranks."""

from collections import Counter

import numpy as np

RRF_CONSTANT = 60


def borda(orders):
    """Items of several rankings of the same ones by Borda count; ties by the first."""
    points = Counter()
    for order in orders:
        for place, item in enumerate(order):
            points[item] += len(order) - place
    return sorted(points, key=lambda item: -points[item])


def fused_scores(scores, items, weight, protect=0):
    """Scores of one row after reciprocal rank fusion, 1 / place.

    Parameters
    ----------
    scores : ndarray of shape (n_items,), float32
        Of the base; -inf for items that are left out, which stay so.
    items : list of int
        Columns that the language model names, best first.
    weight : float
        Of the language model's ranks, in [0, 1].
    protect : int
        First places of the base that stay.

    Returns
    -------
    fused : ndarray of shape (n_items,), float32
        1 / (1 + number of items before). Items that are equal in the base share their
        last place there as rank, and stay equal if neither is named.
    """
    items = [i for i in items if scores[i] > -np.inf]
    descending = np.sort(-scores)
    ranks = np.searchsorted(descending, -scores, side="right")  # equal or better
    value = (1.0 - weight) / (RRF_CONSTANT + ranks)
    for place, i in enumerate(items, 1):
        value[i] += weight / (RRF_CONSTANT + place)
    first = np.full(len(scores), protect)
    if protect:
        kept = np.argsort(-scores, kind="stable")[:protect]
        first[kept] = np.arange(len(kept))
    first[np.isneginf(scores)] = len(scores) + protect
    order = np.lexsort((ranks, -value, first))
    keys = np.stack([first[order], -value[order], ranks[order]])
    new = np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)])
    before = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    fused = np.empty(len(scores), dtype=np.float32)
    fused[order] = 1.0 / (1 + before)
    fused[np.isneginf(scores)] = -np.inf
    return fused
