"""Item graph and Leiden on Diginetica: time of both engines and peak memory.

SKCLIP_DATA=... python -m benchmarks.speed.graph

A fit of `SessionClusterer` is timed, which codes the sessions, builds the item graph
and finds the clusters; a fit of `OneCluster` codes the sessions alone.
"""

import time

from benchmarks._data import training_rows
from benchmarks._results import new_parser, save
from benchmarks.speed._measuring import peak_gib
from skclip import SessionClusterer, Sessions
from skclip.controls import OneCluster


def main():
    new_parser(__doc__).parse_args()
    X = Sessions.from_lists(training_rows("diginetica"))
    result = {"clicks": X.n_events, "sessions": len(X), "peak_gib_before": peak_gib()}
    begun = time.perf_counter()
    OneCluster().fit(X)
    result["coding_seconds"] = time.perf_counter() - begun
    for engine in ("leidenalg", "igraph"):
        begun = time.perf_counter()
        clusterer = SessionClusterer(engine=engine, random_state=0).fit(X)
        result[engine] = {
            "seconds": time.perf_counter() - begun,
            "edges": int(clusterer.graph_.nnz // 2),
            "n_clusters": clusterer.n_clusters_,
            "modularity": clusterer.modularity_,
        }
    result["peak_gib"] = peak_gib()
    print(result)
    save("speed/graph.json", {"protocol": __doc__, **result})


if __name__ == "__main__":
    main()
