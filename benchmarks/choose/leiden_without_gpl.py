"""Are the clusters of engine="graspologic" as good as those of leidenalg?

    SKCLIP_DATA=... python -m benchmarks.choose.leiden_without_gpl run
    python -m benchmarks.choose.leiden_without_gpl table

`SessionClusterer` at its default settings on the training sessions of rsc15, tmall and
diginetica, with three seeds and one thread. Both engines run in the process of the
script, in turn for each seed, so that the ratio of their CPU times is that of one
machine. Times include the building of the item graph. No test part is opened.
"""

import time
from importlib.metadata import version
from itertools import product

import numpy as np

from benchmarks._data import rsc15, training_rows
from benchmarks._results import (
    data_hash,
    markdown,
    mean_and_spread,
    new_parser,
    replace_table,
    rows_of,
    save,
)
from skclip import SessionClusterer, Sessions

NAME = "choose/leiden_without_gpl.json"
GRAPHS = "rsc15", "tmall", "diginetica"
ENGINES = "leidenalg", "graspologic"
SEEDS = range(3)


def sessions_of(log):
    if log == "rsc15":
        return rsc15("train_tr", "train_valid")
    return Sessions.from_lists(training_rows(log))


def run():
    content = {"protocol": __doc__, "graspologic-native": version("graspologic-native")}
    content |= {"data_hash": {}, "rows": rows_of(NAME)}
    done = {(row["graph"], row["seed"], row["engine"]) for row in content["rows"]}
    for engine in ENGINES:  # so that no time contains an import
        SessionClusterer(engine=engine).fit([["a", "b"]])
    for log in GRAPHS:
        X = sessions_of(log)
        content["data_hash"][log] = data_hash(X)
        for seed, engine in product(SEEDS, ENGINES):
            if (log, seed, engine) in done:
                continue
            clusterer = SessionClusterer(engine=engine, random_state=seed)
            begun = time.process_time()
            clusterer.fit(X)
            row = {
                "graph": log,
                "edges": int(clusterer.graph_.nnz // 2),
                "engine": engine,
                "seed": seed,
                "modularity": clusterer.modularity_,
                "n_clusters": clusterer.n_clusters_,
                "cpu_seconds": time.process_time() - begun,
            }
            content["rows"].append(row)
            save(NAME, content)


def table():
    """Means over seeds, and the ratio of CPU times as the median over seeds."""
    lines = []
    for log in GRAPHS:
        rows = {engine: [] for engine in ENGINES}
        for row in rows_of(NAME):
            if row["graph"] == log:
                rows[row["engine"]].append(row)
        first = [row["cpu_seconds"] for row in rows[ENGINES[0]]]
        for engine, own in rows.items():
            seconds = [row["cpu_seconds"] for row in own]
            cells = [log, f"{own[0]['edges']:,}", engine]
            cells.append(mean_and_spread([row["modularity"] for row in own], 4, ddof=1))
            cells.append(mean_and_spread([row["n_clusters"] for row in own], 1, ddof=1))
            cells.append(f"{np.median(np.divide(seconds, first)):.2f}")
            lines.append(cells)
    head = ["graph", "edges", "engine", "modularity", "clusters", "CPU time, relative"]
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "table"])
    if parser.parse_args().command == "run":
        run()
    page = "benchmarks/lab/2026-12-01-leiden-without-gpl.md"
    replace_table(page, "without_gpl", table())


if __name__ == "__main__":
    main()
