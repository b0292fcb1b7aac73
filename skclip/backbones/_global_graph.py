"""The global graph of GCE-GNN: which items occur near each other, over all sessions."""

import numpy as np


def neighbor_table(codes, offsets, ends, *, n_items, window, top, known=None):
    """Items that occur near each other most often, and how often.

    Sessions are given as to `Backbone.prepare`. Pairs at a distance of 1..window count
    once for either item; with `ends`, only those whose later event stands there. The
    counts of an earlier table, `known`, are added; pairs that it had dropped are lost.
    Returns neighbors, most counted first, then smaller code, 0 = absent, and float32
    counts, both (n_items + 1, top).
    """
    codes = codes.astype(np.int64)
    session = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    wanted = np.ones(len(codes), dtype=bool)
    if ends is not None:
        wanted[:] = False
        wanted[ends] = True
    keys, counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    if known is not None:
        row, place = np.nonzero(known[0])
        keys = row * (n_items + 1) + known[0][row, place]
        order = np.argsort(keys)
        keys, counts = keys[order], known[1][row, place][order].astype(np.int64)
    for step in range(1, window + 1):
        near = (session[:-step] == session[step:]) & wanted[step:]
        a, b = codes[:-step][near], codes[step:][near]
        for first, second in ((a, b), (b, a)):  # one at a time, to hold less
            more, n = np.unique(first * (n_items + 1) + second, return_counts=True)
            keys, place = np.unique(np.r_[keys, more], return_inverse=True)
            counts = np.bincount(place, np.r_[counts, n]).astype(np.int64)
    item, other = np.divmod(keys, n_items + 1)
    order = np.lexsort((other, -counts, item))
    item, other, counts = item[order], other[order], counts[order]
    place = np.arange(len(item)) - np.searchsorted(item, item)
    kept = place < top
    neighbors = np.zeros((n_items + 1, top), dtype=np.int64)
    weights = np.zeros((n_items + 1, top), dtype=np.float32)
    neighbors[item[kept], place[kept]] = other[kept]
    weights[item[kept], place[kept]] = counts[kept]
    return neighbors, weights
