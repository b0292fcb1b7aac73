"""Sessions and features to weighted, sparse item graphs."""

import numpy as np
from scipy import sparse

_BLOCK = 2**24  # cosines held at a time


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

    Section 3.2.1 of the CLIP-SBR paper; the weight of an edge is the number of adjacent
    transitions between its two items over all sessions. `codes` (n_events,) are
    1..n_items, session after session. `ends` are the flat positions of the transitions'
    second events, None means all. With `weights` (n_events,) a transition counts as
    much as its second event; of a session with `per_session_binary`, the heaviest
    transition counts. What counts 0 makes no edge. The graph is a symmetric csr_array
    (n_items, n_items) of float64; a self loop stands on the diagonal with its count.
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
    """Symmetric graph of pairs of items, 0-based, ``low <= high``; equal ones add up.

    A csr_array (n_items, n_items) of float64. What weighs 0 makes no edge.
    """
    shape = n_items, n_items
    upper = sparse.coo_array((weights, (low, high)), shape=shape)
    upper = upper.tocsr()  # equal pairs are summed here
    upper.eliminate_zeros()
    return (upper + sparse.triu(upper, k=1).T).tocsr()


def text_graph(vectors, *, n_neighbors):
    """Link each item to those whose vectors (n_items, n_features) are nearest by
    cosine.

    Two items are linked if either is among the nearest of the other and their cosine is
    above 0; a row of zeros has no neighbors. A symmetric csr_array without a diagonal.
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
    """The graph with further items at its end that have no edge."""
    rows = np.append(graph.indptr, np.full(n_items - graph.shape[0], graph.indptr[-1]))
    return sparse.csr_array((graph.data, graph.indices, rows), shape=(n_items, n_items))
