"""Leiden partitions of an item graph, and how their clusters are numbered."""

import io
import subprocess
import sys
from pathlib import Path

import igraph
import leidenalg
import numpy as np
from scipy import sparse

_WORKER = str(Path(__file__).with_name("_igraph_worker.py"))


def leiden_membership(graph, *, resolution, n_iterations, seed, engine, start=None):
    """Partition the linked items by Leiden with the configuration null model.

    A negative `n_iterations` means until nothing changes. `start` (n_items,) are
    clusters 0, 1, ... to begin with, -1 = an item on its own. Returns the clusters
    (n_items,), int32, in canonical numbers (see `canonical_clusters`), items without an
    edge in the largest one, 0; and the number of clusters, at least 1.
    """
    upper = sparse.triu(graph).tocoo()
    linked = np.diff(graph.indptr) > 0
    membership = np.zeros(graph.shape[0], dtype=np.int32)
    if not linked.any():
        return membership, 1
    node = np.cumsum(linked) - 1
    edges = np.column_stack([node[upper.row], node[upper.col]])
    if start is not None:
        start = start[linked]
        alone = start < 0
        start[alone] = start.max() + 1 + np.arange(alone.sum())
        start = np.unique(start, return_inverse=True)[1].tolist()
    search = _leidenalg if engine == "leidenalg" else _igraph
    found = search(
        int(linked.sum()), edges, upper.data, resolution, n_iterations, seed, start
    )
    membership[linked], n_clusters = canonical_clusters(np.asarray(found))
    return membership, n_clusters


def _leidenalg(n_items, edges, weights, resolution, n_iterations, seed, start):
    partition = leidenalg.RBConfigurationVertexPartition(
        igraph.Graph(n=n_items, edges=edges),
        initial_membership=start,
        weights=weights.tolist(),
        resolution_parameter=resolution,
    )
    optimizer = leidenalg.Optimiser()
    optimizer.set_rng_seed(seed)
    done, gain = 0, 1.0
    # One pass a call: Ctrl-C is obeyed between calls.
    while done < n_iterations or (n_iterations < 0 and gain > 0):
        gain = optimizer.optimise_partition(partition, n_iterations=1)
        done += 1
    return partition.membership


def _igraph(n_items, edges, weights, resolution, n_iterations, seed, start):
    """Run igraph in a process of its own: it draws from one generator per process.

    That of the caller could not be put back. Ctrl-C ends the process.
    """
    given = io.BytesIO()
    np.savez(
        given,
        edges=edges,
        weights=weights,
        numbers=np.array([n_items, n_iterations, seed]),
        resolution=resolution,
        start=np.array([] if start is None else start, dtype=np.int64),
    )
    done = subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", _WORKER],
        input=given.getvalue(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"igraph failed: {done.stderr.decode()[-500:]}")
    return np.load(io.BytesIO(done.stdout))


def canonical_clusters(labels):
    """Renumber clusters by (-size, position of their first member), from 0."""
    _, first, inverse, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(sizes), dtype=np.int32)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[inverse], len(sizes)


def canonical_levels(levels):
    """Renumber the clusters (n_items, n_levels) of each level like those of Leiden."""
    return np.column_stack([canonical_clusters(level)[0] for level in levels.T])


def match_clusters(labels, known):
    """The known cluster that each new one overlaps most, (n_new,), -1 = none is left.

    Pairs of a new and a known cluster are joined by the number of items that they
    share, largest first, each cluster once. `labels` are the new clusters 0, 1, ... of
    the items, `known` those before, -1 for items that had none.
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
