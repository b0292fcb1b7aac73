"""Item graph and Leiden on Diginetica: time and peak memory of each step.

SKCLIP_DATA=... python benchmarks/bench_graph.py
"""

import resource
import time

import numpy as np
from _common import diginetica_rows, save

from skclip import Sessions
from skclip._clusters import build_item_graph, leiden_membership, modularity
from skclip._data import training_data


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB


def main():
    rows = diginetica_rows()
    X = Sessions.from_lists(rows)
    result = {"clicks": X.n_events, "sessions": len(X), "peak_gib_before": peak()}
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        data = training_data(X)
        graph = build_item_graph(data.codes, data.offsets, data.n_items)
        seconds.append(time.perf_counter() - begun)
    result |= {
        "graph_seconds_median": float(np.median(seconds)),
        "graph_seconds": seconds,
        "edges": int(graph.nnz // 2),
        "peak_gib_after_graph": peak(),
    }
    for engine in ("leidenalg", "igraph"):
        begun = time.perf_counter()
        membership, n_clusters = leiden_membership(
            graph, resolution=1.0, n_iterations=2, seed=0, engine=engine
        )
        result[engine] = {
            "seconds": time.perf_counter() - begun,
            "n_clusters": n_clusters,
            "modularity": modularity(graph, membership),
        }
    result["peak_gib"] = peak()
    print(result)
    save("bench_graph", result)


if __name__ == "__main__":
    main()
