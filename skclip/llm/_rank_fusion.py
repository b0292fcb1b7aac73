"""Merge the rankings of a base and of a language model."""

import numpy as np

RRF_CONSTANT = 60


def borda(orders):
    """Merge rankings of the same items by Borda count. The first one breaks ties."""
    return sorted(
        orders[0], key=lambda item: sum(order.index(item) for order in orders)
    )


def fused_scores(scores, items, weight, protect=0):
    """Score a row by reciprocal rank fusion, as 1 / (1 + number of items before).

    `scores` of shape (n_items,) come from the base, where -inf stays -inf. `items` are
    columns that the language model names, best first. The first `protect` places of the
    base stay. Items that are tied in the base share the last of their places as rank.
    They stay tied if the model names none of them.
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
    # Sort by protected place, then value, then base rank. Items that are tied in all
    # three get the place of the first of them.
    keys = np.stack([first, -value, ranks])
    _, group, sizes = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    fused = (1.0 / (1 + np.cumsum(sizes) - sizes))[group.ravel()].astype(np.float32)
    fused[out] = -np.inf
    return fused
