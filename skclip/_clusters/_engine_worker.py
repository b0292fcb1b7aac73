"""Run Leiden of igraph or NetworKit in its own process.

It reads a line of JSON from standard input, then the arrays that this line describes.
It writes the clusters to standard output.
"""

import json
import random
import sys
from importlib.util import find_spec, module_from_spec

import numpy as np


def main():
    task = json.loads(sys.stdin.buffer.readline())
    arrays = [_read(*kind) for kind in task.pop("arrays")]
    engine = {"igraph": _igraph, "networkit": _networkit}[task.pop("engine")]
    found = np.asarray(engine(*arrays, **task), dtype=np.int64)
    sys.stdout.buffer.write(found.data)


def _read(dtype, length):
    array = np.empty(length, dtype=dtype)
    sys.stdin.buffer.readinto(array.view(np.uint8))
    return array


def _igraph(row, column, weights, start, *, n_items, resolution, n_iterations, seed):
    import igraph

    strengths = np.bincount(row, weights, n_items)
    strengths += np.bincount(column, weights, n_items)
    # With igraph's own "modularity" a loop keeps an item in its cluster. Here loops
    # count in the strengths only, so they are dropped as edges.
    other = row != column
    if not other.all():
        row, column, weights = row[other], column[other], weights[other]
    edges = np.empty((len(row), 2), dtype=np.int64)
    edges[:, 0], edges[:, 1] = row, column
    igraph.set_random_number_generator(random.Random(seed))
    found = igraph.Graph(n=n_items, edges=edges).community_leiden(
        objective_function="CPM",
        weights=memoryview(weights),
        node_weights=memoryview(strengths),
        resolution=resolution / strengths.sum(),
        n_iterations=n_iterations,
        initial_membership=start.tolist() or None,
    )
    return found.membership


def _networkit(row, column, weights, _, *, n_items, resolution, n_iterations, seed):
    # NetworKit's __init__ imports matplotlib, pandas and more, which takes seconds.
    package = find_spec("networkit")
    sys.modules["networkit"] = module_from_spec(package)
    from networkit.community import ParallelLeiden
    from networkit.engineering import setNumberOfThreads, setSeed
    from networkit.graph import GraphFromCoo

    setNumberOfThreads(1)  # with more, the same seed gives other clusters
    setSeed(seed, False)
    edges = weights, (row, column)
    graph = GraphFromCoo(edges, n=n_items, weighted=True)
    passes = n_iterations if n_iterations > 0 else 2**31 - 1  # it stops by itself
    found = ParallelLeiden(graph, iterations=passes, gamma=resolution).run()
    return found.getPartition().getVector()


if __name__ == "__main__":
    main()
