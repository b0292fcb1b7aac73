"""Sessions -> weighted item graph -> Leiden partition."""

import random
import threading

import igraph
import leidenalg
import numpy as np
from scipy import sparse

_IGRAPH_RANDOM = threading.Lock()
_BLOCK = 2**24  # cosines held at a time


def build_item_graph(
    codes, offsets, n_items, *, ends=None, self_loops=False, per_session_binary=False
):
    """Count how often two items follow each other, in either direction.

    Section 3.2.1 of the CLIP-SBR paper; the weight of an edge is the number of
    adjacent transitions between its two items over all sessions.

    Parameters
    ----------
    codes : ndarray of shape (n_events,)
        Item codes 1..n_items, session after session.
    offsets : ndarray of shape (n_sessions + 1,)
    n_items : int
    ends : ndarray of shape (n_transitions,), default=None
        Flat positions of the transitions' second events. None means all.
    self_loops : bool, default=False
        Keep transitions from an item to itself.
    per_session_binary : bool, default=False
        Count each pair of items once per session.

    Returns
    -------
    graph : csr_array of shape (n_items, n_items), float64
        Symmetric; a self loop stands on the diagonal with its count.
    """
    if ends is None:
        follows = np.ones(len(codes), dtype=bool)
        follows[offsets[:-1][offsets[:-1] < len(codes)]] = False
        ends = np.flatnonzero(follows)
    first, second = codes[ends - 1] - 1, codes[ends] - 1
    if not self_loops:
        keep = first != second
        first, second, ends = first[keep], second[keep], ends[keep]
    low, high = np.minimum(first, second), np.maximum(first, second)
    if per_session_binary:
        rows = np.searchsorted(offsets, ends, side="right")
        order = np.lexsort((high, low, rows))
        low, high, rows = low[order], high[order], rows[order]
        new = np.ones(len(low), dtype=bool)
        new[1:] = (np.diff(low) != 0) | (np.diff(high) != 0) | (np.diff(rows) != 0)
        low, high = low[new], high[new]
    upper = sparse.coo_array(
        (np.ones(len(low)), (low, high)), shape=(n_items, n_items)
    ).tocsr()  # equal pairs are summed here
    return (upper + sparse.triu(upper, k=1).T).tocsr()


def text_graph(vectors, *, n_neighbors):
    """Link each item to those whose vectors are nearest by cosine.

    Parameters
    ----------
    vectors : ndarray of shape (n_items, n_features)
        A row of zeros has no neighbours.
    n_neighbors : int

    Returns
    -------
    graph : csr_array of shape (n_items, n_items), float64
        Symmetric, without a diagonal; cosines above 0. Two items are linked if either
        is among the nearest of the other.
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


def leiden_membership(graph, *, resolution, n_iterations, seed, engine, start=None):
    """Partition the linked items by Leiden with the configuration null model.

    Parameters
    ----------
    graph : csr_array of shape (n_items, n_items)
    resolution : float
    n_iterations : int
        Negative means until nothing changes.
    seed : int
    engine : {"leidenalg", "igraph"}
    start : ndarray of shape (n_items,), default=None
        Clusters 0, 1, ... to begin with, -1 = an item on its own. None begins with
        every item on its own.

    Returns
    -------
    membership : ndarray of shape (n_items,), int32
        Canonical: clusters sorted by (number of items, descending; smallest item)
        and numbered from 0. Items without an edge are in the largest cluster, 0.
    n_clusters : int
        At least 1.
    """
    upper = sparse.triu(graph).tocoo()
    linked = np.zeros(graph.shape[0], dtype=bool)
    linked[upper.row] = linked[upper.col] = True
    membership = np.zeros(graph.shape[0], dtype=np.int32)
    if not linked.any():
        return membership, 1
    node = np.cumsum(linked) - 1
    edges = np.column_stack([node[upper.row], node[upper.col]])
    network = igraph.Graph(n=int(linked.sum()), edges=edges)
    weights = upper.data.tolist()
    if start is not None:
        start = start[linked]
        alone = start < 0
        start[alone] = start.max() + 1 + np.arange(alone.sum())
        start = np.unique(start, return_inverse=True)[1].tolist()
    if engine == "leidenalg":
        found = leidenalg.find_partition(
            network,
            leidenalg.RBConfigurationVertexPartition,
            weights=weights,
            resolution_parameter=resolution,
            n_iterations=n_iterations,
            seed=seed,
            initial_membership=start,
        ).membership
    else:
        with _IGRAPH_RANDOM:  # igraph draws from one generator per process
            igraph.set_random_number_generator(random.Random(seed))
            try:
                found = network.community_leiden(
                    objective_function="modularity",
                    weights=weights,
                    resolution=resolution,
                    n_iterations=n_iterations,
                    initial_membership=start,
                ).membership
            finally:
                igraph.set_random_number_generator(random)
    membership[linked], n_clusters = canonical_clusters(np.asarray(found))
    return membership, n_clusters


def canonical_clusters(labels):
    """Renumber clusters by (-size, position of their first member), from 0."""
    _, first, inverse, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(sizes), dtype=np.int32)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[inverse], len(sizes)


def match_clusters(labels, known):
    """The known cluster that each new one overlaps most.

    Pairs of a new and a known cluster are joined by the number of items that they
    share, largest first, each cluster once.

    Parameters
    ----------
    labels : ndarray of shape (n_items,)
        New clusters, 0, 1, ...
    known : ndarray of shape (n_items,)
        Cluster of each item before, 0, 1, ..., or -1 for items that had none.

    Returns
    -------
    numbers : ndarray of shape (n_new,), int32
        -1 where no known cluster is left.
    """
    n_new, n_known = labels.max(initial=-1) + 1, known.max(initial=-1) + 1
    had = known >= 0
    pairs, counts = np.unique(
        np.stack([labels[had], known[had]]), axis=1, return_counts=True
    )
    numbers = np.full(n_new, -1, dtype=np.int32)
    taken = np.zeros(n_known, dtype=bool)
    for at in np.lexsort((pairs[1], pairs[0], -counts)):
        new, old = pairs[:, at]
        if numbers[new] < 0 and not taken[old]:
            numbers[new], taken[old] = old, True
    return numbers


def align_clusters(labels, known):
    """Renumber clusters as `match_clusters` has it; the others get new numbers."""
    numbers = match_clusters(labels, known)
    rest = numbers < 0
    numbers[rest] = known.max(initial=-1) + 1 + np.arange(rest.sum())
    return numbers[labels]


def modularity(graph, membership):
    """Newman's modularity of a partition, resolution 1, in [-0.5, 1]; 0 if no edge."""
    loops = graph.diagonal()
    strength = graph.sum(axis=1) + loops  # a loop touches its item twice
    total = strength.sum()
    if total == 0:
        return 0.0
    coo = graph.tocoo()
    inside = coo.data[membership[coo.row] == membership[coo.col]].sum() + loops.sum()
    of_cluster = np.bincount(membership, weights=strength)
    return float(inside / total - ((of_cluster / total) ** 2).sum())


def vote_clusters(codes, clusters, offsets, sizes):
    """Give the items that have no cluster one by votes inside their session.

    In rounds, an item without a cluster collects one vote per adjacent transition,
    in either direction, to an item that has one, and takes the cluster with most
    votes (ties: the cluster with more items, then the smaller number). Sessions in
    which no item has a cluster get the largest one.

    Parameters
    ----------
    codes : ndarray of shape (n_events,)
        Any codes that tell the items of one session apart.
    clusters : ndarray of shape (n_events,), int32
        1..K, 0 = none yet.
    offsets : ndarray of shape (n_sessions + 1,)
    sizes : ndarray of shape (K,)
        Number of known items in each cluster.

    Returns
    -------
    clusters : ndarray of shape (n_events,), int32
        1..K.
    """
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    open_rows = np.unique(rows[clusters == 0])
    if len(open_rows) == 0 or len(sizes) == 0:
        return clusters
    busy = np.zeros(len(offsets) - 1, dtype=bool)
    busy[open_rows] = True
    events = np.flatnonzero(busy[rows])
    # A node is one item of one session.
    pairs = np.column_stack([rows[events], codes[events]])
    _, first, node = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    node = node.reshape(-1)
    of_node = clusters[events][first].astype(np.int64)

    links = np.flatnonzero(np.diff(rows[events]) == 0)
    one = np.concatenate([node[links], node[links + 1]])
    other = np.concatenate([node[links + 1], node[links]])
    n_codes = len(sizes) + 1
    while True:
        voting = (of_node[one] == 0) & (of_node[other] > 0)
        if not voting.any():
            break
        ballots, counts = np.unique(
            one[voting] * n_codes + of_node[other[voting]], return_counts=True
        )
        voter, choice = ballots // n_codes, ballots % n_codes
        order = np.lexsort((choice, -sizes[choice - 1], -counts, voter))
        voter, choice = voter[order], choice[order]
        won = np.ones(len(voter), dtype=bool)
        won[1:] = np.diff(voter) != 0
        of_node[voter[won]] = choice[won]
    of_node[of_node == 0] = 1 + int(np.argmax(sizes))
    resolved = clusters.copy()
    resolved[events] = of_node[node]
    return resolved
