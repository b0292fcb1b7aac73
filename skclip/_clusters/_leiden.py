"""Leiden partitions of an item graph, and the numbers of their clusters."""

import contextlib
import itertools
import json
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from scipy import sparse

LARGE = 1_000_000  # with more edges, "auto" is igraph
_WORKER = str(Path(__file__).with_name("_engine_worker.py"))

Engine: TypeAlias = Literal["auto", "leidenalg", "igraph", "networkit", "graspologic"]

# igraph and leidenalg are required, but under the GPL. Users who must not ship them
# can remove them, so nothing is imported before an engine needs it.
PACKAGES: dict[Engine, list[str]] = {
    "auto": ["leidenalg", "igraph"],
    "leidenalg": ["leidenalg", "igraph"],
    "igraph": ["igraph"],
    "networkit": ["networkit"],
    "graspologic": ["graspologic_native"],
}


def check_engine(engine, *, begun=False):
    """Refuse an engine that is not installed.

    `begun` says that the search starts from given clusters, as in `engine_for`.
    """
    runs = "igraph" if engine == "networkit" and begun else engine
    missing = [name for name in PACKAGES[runs] if find_spec(name) is None]
    if not missing:
        return
    if runs in ("networkit", "graspologic"):
        remedy = f"Run pip install 'skclip[{runs}]', or pass another engine."
    else:
        remedy = (
            f"Run pip install {' '.join(missing)}, or use "
            "SessionClusterer(engine='graspologic'), which needs "
            "pip install 'skclip[graspologic]'."
        )
    where = "" if runs == engine else "partial_fit with "
    raise ImportError(
        f"{where}engine={engine!r} needs {' and '.join(missing)}, which cannot be "
        f"imported. {remedy}"
    )


def engine_for(engine, graph, *, begun=False):
    """Return the engine for a graph. "auto" depends on its number of edges.

    `begun` says that the search starts from given clusters, which NetworKit cannot do.
    """
    if engine == "auto":
        return "igraph" if graph.nnz // 2 > LARGE else "leidenalg"
    return "igraph" if engine == "networkit" and begun else engine


def leiden_membership(graph, *, resolution, n_iterations, seed, engine, start=None):
    """Partition the linked items by Leiden with the configuration null model.

    A negative `n_iterations` runs until nothing changes. `start` (n_items,) are first
    clusters 0, 1, ..., with -1 for an item on its own; NetworKit ignores them. Returns
    the clusters (n_items,), int32, and their number, at least 1. Clusters have the
    numbers of `canonical_clusters`. Items without an edge are in the largest one, 0.
    """
    linked = np.diff(graph.indptr) > 0
    membership = np.zeros(graph.shape[0], dtype=np.int32)
    if not linked.any():
        return membership, 1
    if start is not None:
        start = start[linked]
        alone = start < 0
        start[alone] = start.max() + 1 + np.arange(alone.sum())
        start = np.unique(start, return_inverse=True)[1]
    found = _search(engine)(
        *_edges(graph, linked),
        np.zeros(0, dtype=np.int64) if start is None else start,
        n_items=int(linked.sum()),
        resolution=float(resolution),
        n_iterations=int(n_iterations),
        seed=int(seed),
    )
    membership[linked], n_clusters = canonical_clusters(found)
    return membership, n_clusters


def _edges(graph, linked):
    """Return the items and weight of each edge once, with linked items renumbered."""
    upper = sparse.triu(graph, format="coo")
    row, column = (at.astype(np.int32, copy=False) for at in (upper.row, upper.col))
    if not linked.all():
        node = np.cumsum(linked, dtype=np.int32) - np.int32(1)
        row, column = node[row], node[column]
    return row, column, upper.data


def _search(engine):
    here = {"leidenalg": _leidenalg, "graspologic": _graspologic}
    return here.get(engine) or partial(_in_own_process, engine)


def _leidenalg(row, column, weights, start, *, n_items, resolution, n_iterations, seed):
    import igraph
    import leidenalg

    partition = leidenalg.RBConfigurationVertexPartition(
        igraph.Graph(n=n_items, edges=np.column_stack([row, column])),
        initial_membership=start.tolist() or None,
        weights=weights.tolist(),
        resolution_parameter=resolution,
    )
    optimizer = leidenalg.Optimiser()
    optimizer.set_rng_seed(seed)
    done, gain = 0, 1.0
    # One pass per call, so that Ctrl-C works between calls.
    while done < n_iterations or (n_iterations < 0 and gain > 0):
        gain = optimizer.optimise_partition(partition, n_iterations=1)
        done += 1
    return np.array(partition.membership)


def _graspologic(
    row, column, weights, start, *, n_items, resolution, n_iterations, seed
):
    from graspologic_native import leiden

    # Loops would not count in the strengths. An edge of the same weight to a node of
    # its own, in the cluster of its item, adds to modularity exactly what a loop adds.
    loops = row == column
    column = column.copy()
    column[loops] = n_items + np.arange(loops.sum())
    names = [str(node) for node in range(n_items + loops.sum())]
    lists = row.tolist(), column.tolist(), weights.tolist()
    edges = [(names[i], names[j], w) for i, j, w in zip(*lists, strict=True)]
    if len(start):
        start = np.concatenate([start, start[row[loops]]])
    found = dict(zip(names, start.tolist(), strict=False))
    best = -np.inf
    # One pass per call, so that Ctrl-C works between calls.
    for done in itertools.count() if n_iterations < 0 else range(n_iterations):
        quality, latest = leiden(
            edges, found or None, resolution=resolution, seed=seed + done
        )
        if n_iterations < 0 and not quality > best:  # also where it is NaN
            break
        best, found = quality, latest
    return np.array([found[name] for name in names[:n_items]])


def _in_own_process(engine, *arrays, **task):
    """Run igraph or NetworKit in its own process.

    Both have one random generator per process, and NetworKit one number of threads.
    The caller's values could not be restored. Ctrl-C ends the process.
    """
    kinds = [(array.dtype.str, len(array)) for array in arrays]
    head = json.dumps({"engine": engine, "arrays": kinds} | task)
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", _WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as worker:
        try:
            with contextlib.suppress(BrokenPipeError):  # its error is read below
                worker.stdin.write(f"{head}\n".encode())
                for array in arrays:
                    worker.stdin.write(np.ascontiguousarray(array).data)
            found, errors = worker.communicate()
        except BaseException:
            worker.kill()
            raise
    if worker.returncode:
        raise RuntimeError(f"{engine} failed: {errors.decode()[-500:]}")
    return np.frombuffer(found, dtype=np.int64)


def canonical_clusters(labels):
    """Renumber clusters by (-size, position of their first member), from 0."""
    _, first, inverse, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(sizes), dtype=np.int32)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[inverse], len(sizes)


def canonical_levels(levels):
    """Renumber the clusters (n_items, n_levels) at each level by size."""
    return np.column_stack([canonical_clusters(level)[0] for level in levels.T])


def match_clusters(labels, known):
    """Return the known cluster that each new one overlaps most, (n_new,), or -1.

    New and known clusters are matched in order of the number of items that they share,
    largest first, and each cluster once. `labels` are the new clusters 0, 1, ... of the
    items. `known` are the clusters before, -1 for items without one.
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
    """Renumber clusters by `match_clusters`. Unmatched ones get new numbers."""
    numbers = match_clusters(labels, known)
    rest = numbers < 0
    numbers[rest] = known.max(initial=-1) + 1 + np.arange(rest.sum())
    return numbers[labels]


def modularity(graph, membership):
    """Newman's modularity of a partition at resolution 1, or 0 without edges."""
    loops = graph.diagonal()
    strength = graph.sum(axis=1) + loops  # a loop counts twice for its item
    total = strength.sum()
    if total == 0:
        return 0.0
    coo = graph.tocoo()
    inside = coo.data[membership[coo.row] == membership[coo.col]].sum() + loops.sum()
    of_cluster = np.bincount(membership, weights=strength)
    return float(inside / total - ((of_cluster / total) ** 2).sum())
