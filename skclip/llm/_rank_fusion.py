"""Join the rankings of a base and of a language model: Borda count, fused ranks."""

import numpy as np

RRF_CONSTANT = 60


def borda(orders):
    """Items of several rankings of the same ones by Borda count; ties by the first."""
    return sorted(
        orders[0], key=lambda item: sum(order.index(item) for order in orders)
    )


def fused_scores(scores, items, weight, protect=0):
    """Scores of one row after reciprocal rank fusion: 1 / (1 + number of items before).

    `scores` (n_items,) are those of the base; -inf stays -inf. `items` are columns that
    the language model names, best first. The first `protect` places of the base stay.
    Items that are equal in the base share their last place there as rank, and stay
    equal if neither is named.
    """
    out = np.isneginf(scores)
    descending = np.sort(-scores)
    ranks = np.searchsorted(descending, -scores, side="right")  # equal or better
    value = (1.0 - weight) / (RRF_CONSTANT + ranks)
    for place, i in enumerate([i for i in items if not out[i]], 1):
        value[i] += weight / (RRF_CONSTANT + place)
    first = np.full(len(scores), protect)
    kept = np.argsort(-scores, kind="stable")[:protect]
    first[kept] = np.arange(len(kept))
    first[out] = len(scores) + protect
    # Sort by protected place, then value, then base rank. Items that are equal in all
    # three get the place of the first of them.
    keys = np.stack([first, -value, ranks])
    _, group, sizes = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    fused = (1.0 / (1 + np.cumsum(sizes) - sizes))[group.ravel()].astype(np.float32)
    fused[out] = -np.inf
    return fused
