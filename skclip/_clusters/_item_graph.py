"""Weighted, sparse item graphs, from sessions or features."""

import numpy as np
from scipy import sparse

_BLOCK = 2**24  # cosines in memory at a time


def build_item_graph(
    codes,
    offsets,
    n_items,
    *,
    ends=None,
    self_loops=False,
    per_session_binary=False,
    weights=None,
):
    """Count how often two items follow each other, in either direction.

    This is section 3.2.1 of the CLIP-SBR paper. The weight of an edge is the number of
    adjacent transitions between its two items over all sessions. `codes` (n_events,)
    are 1..n_items, session after session. `ends` are flat positions of the second
    events of transitions; None means all. With `weights` (n_events,), a transition
    counts as much as its second event, and with `per_session_binary` only the heaviest
    transition of a session counts. A weight of 0 makes no edge. The graph is a
    symmetric csr_array (n_items, n_items) of float64, with self loops on the diagonal.
    """
    if ends is None:
        follows = np.ones(len(codes), dtype=bool)
        follows[offsets[:-1][offsets[:-1] < len(codes)]] = False
        ends = np.flatnonzero(follows)
    first, second = codes[ends - 1] - 1, codes[ends] - 1
    if not self_loops:
        keep = first != second
        first, second, ends = first[keep], second[keep], ends[keep]
    counts = np.ones(len(ends)) if weights is None else weights[ends]
    low, high = np.minimum(first, second), np.maximum(first, second)
    if per_session_binary:
        rows = np.searchsorted(offsets, ends, side="right")
        order = np.lexsort((high, low, rows))
        low, high, rows, counts = low[order], high[order], rows[order], counts[order]
        new = np.ones(len(low), dtype=bool)
        new[1:] = (np.diff(low) != 0) | (np.diff(high) != 0) | (np.diff(rows) != 0)
        low, high, firsts = low[new], high[new], np.flatnonzero(new)
        counts = np.maximum.reduceat(counts, firsts) if len(firsts) else counts
    return pair_graph(low, high, counts, n_items)


def pair_graph(low, high, weights, n_items):
    """Build a symmetric graph of pairs of item positions, with ``low <= high``.

    The weights of equal pairs are added. A weight of 0 makes no edge. The graph is a
    csr_array (n_items, n_items) of float64.
    """
    shape = n_items, n_items
    upper = sparse.coo_array((weights, (low, high)), shape=shape)
    upper = upper.tocsr()  # equal pairs are summed here
    upper.eliminate_zeros()
    return (upper + sparse.triu(upper, k=1).T).tocsr()


def text_graph(vectors, *, n_neighbors):
    """Link each item to its nearest neighbors by the cosine of their vectors.

    `vectors` is (n_items, n_features). Two items are linked if one is among the nearest
    neighbors of the other and their cosine is above 0. A row of zeros has no neighbors.
    The graph is a symmetric csr_array without a diagonal.
    """
    n_items = len(vectors)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    k = min(n_neighbors, n_items - 1)
    rows, columns, cosines = [], [], []
    step = max(1, _BLOCK // max(1, n_items))
    for start in range(0, n_items if k > 0 else 0, step):
        block = units[start : start + step] @ units.T
        own = np.arange(len(block))
        block[own, start + own] = -np.inf
        nearest = np.argpartition(-block, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(block, nearest, axis=1)
        at, of = np.nonzero(values > 0)
        rows.append(start + at)
        columns.append(nearest[at, of])
        cosines.append(values[at, of].astype(np.float64))
    empty = np.zeros(0)
    entries = np.concatenate([empty, *cosines])
    places = [np.concatenate([empty, *part]).astype(int) for part in (rows, columns)]
    graph = sparse.csr_array((entries, places), shape=(n_items, n_items))
    return graph.maximum(graph.T).tocsr()


def grown_graph(graph, n_items):
    """Append items without edges to a graph."""
    rows = np.append(graph.indptr, np.full(n_items - graph.shape[0], graph.indptr[-1]))
    return sparse.csr_array((graph.data, graph.indices, rows), shape=(n_items, n_items))
