"""The global graph of GCE-GNN: items that occur near each other in any session."""

import numpy as np


def neighbor_table(codes, offsets, ends, *, n_items, window, top, known=None):
    """Return the most frequent neighbors of each item, and their counts.

    Sessions are given as to `Backbone.prepare`. Each pair at a distance of 1..window
    counts once for both items. With `ends`, only pairs with their later event at these
    positions count. Counts of an earlier table, `known`, are added; pairs that it
    dropped are lost. Both results have the shape (n_items + 1, top). Neighbors are in
    order of count, then of code, and 0 means absent; counts are float32.
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
        for first, second in ((a, b), (b, a)):  # one at a time, to save memory
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
