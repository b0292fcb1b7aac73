"""The global graph of GCE-GNN: which items occur near each other, over all sessions."""

import numpy as np


def neighbor_table(codes, offsets, ends, *, n_items, window, top, known=None):
    """Items that occur near each other most often in the given sessions.

    Parameters
    ----------
    codes : ndarray of shape (n_events,)
        1..n_items.
    offsets : ndarray of shape (n_sessions + 1,)
    ends : ndarray or None
        Flat positions; only pairs whose later event stands there count. None: all.
    n_items, window, top : int
        Pairs at a distance of 1..window count once for either item.
    known : tuple (neighbors, counts), default=None
        An earlier table, whose counts are added; pairs that it had dropped are lost.

    Returns
    -------
    neighbors : ndarray of shape (n_items + 1, top), int64
        Most counted first, then smaller code; 0 = absent.
    counts : ndarray of shape (n_items + 1, top), float32
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
