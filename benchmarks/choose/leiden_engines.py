"""What does a model gain or lose with the clusters of another Leiden engine?

    SKCLIP_DATA=... python -m benchmarks.choose.leiden_engines run
    python -m benchmarks.choose.leiden_engines table

The default recommender is fitted on a share of the training sessions, a quarter of
tmall and an eighth of diginetica, for four epochs, with the clusters of each engine at
its default settings; at the end without prompts. The seed of a fit is the seed of its
clusters too. Validation sessions are those of `choose/defaults.py`. The table has means
and standard deviations over seeds, and the mean paired difference to leidenalg with its
standard error over seeds. Budget: 60 minutes of one core. No test part is opened.
"""

import time

import numpy as np

from benchmarks._results import (
    add_row,
    environment,
    markdown,
    mean_and_spread,
    n_clusters_of,
    new_parser,
    replace_table,
    rows_of,
)
from benchmarks.choose.defaults import parts
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.metrics import SessionScorer

ROWS = "choose/leiden_engines.jsonl"
METRICS = "recall@20", "mrr@20"
SCORER = SessionScorer(*METRICS)
REFERENCE = "leidenalg"
ENGINES = REFERENCE, "igraph", "networkit"
NO_PROMPTS = "no prompts"
FURTHER = {"tmall": 1, "diginetica": 2}  # every n-th of the sessions of the trials
SEEDS = 0, 1, 2


def run(log, engine, seed):
    train, valid = parts(log)
    model = CLIPSessionRecommender(max_epochs=4, random_state=seed, n_threads=1)
    if engine == NO_PROMPTS:
        model.set_params(prompt=None)
    else:
        model.set_params(clusterer=SessionClusterer(engine=engine))
    begun = time.process_time()
    model.fit(train[:: FURTHER[log]])
    clusterer = model.clusterer_
    return {
        "log": log,
        "engine": engine,
        "seed": seed,
        **SCORER(model, valid),
        "n_clusters": n_clusters_of(model),
        "modularity": getattr(clusterer, "modularity_", None),
        "edges": None if clusterer is None else int(clusterer.graph_.nnz // 2),
        "cpu_seconds": time.process_time() - begun,
        "environment": environment(),
    }


def run_all():
    done = {(row["log"], row["engine"], row["seed"]) for row in rows_of(ROWS)}
    trials = [(log, e, seed) for seed in SEEDS for log in FURTHER for e in ENGINES]
    trials += [(log, NO_PROMPTS, seed) for seed in SEEDS for log in FURTHER]
    for trial in trials:
        if trial not in done:
            row = run(*trial)
            add_row(ROWS, row)
            print(*trial, f"{row['recall@20']:.4f} {row['mrr@20']:.4f}", flush=True)


def table():
    """Means of each engine, and its paired differences to leidenalg."""
    lines = []
    for log in FURTHER:
        rows = [row for row in rows_of(ROWS) if row["log"] == log]
        first = {row["seed"]: row for row in rows if row["engine"] == REFERENCE}
        for engine in (*ENGINES, NO_PROMPTS):
            of_engine = [row for row in rows if row["engine"] == engine]
            of_engine = [row for row in of_engine if row["seed"] in first]
            if not of_engine:
                continue
            cells = [log, engine, _modularity(of_engine)]
            for metric in METRICS:
                values = np.array([row[metric] for row in of_engine])
                cells.append(mean_and_spread(values, digits=4, ddof=1))
                before = np.array([first[row["seed"]][metric] for row in of_engine])
                cells.append("" if engine == REFERENCE else _paired(values - before))
            lines.append(cells)
    head = ["log", "engine", "modularity"]
    return markdown([*head, "Recall@20", "difference", "MRR@20", "difference"], lines)


def _modularity(rows):
    values = [row["modularity"] for row in rows]
    return "" if None in values else f"{np.mean(values):.4f}"


def _paired(differences):
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean():+.4f} ± {error:.4f}"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "table"])
    if parser.parse_args().command == "run":
        run_all()
    replace_table("benchmarks/lab/2026-12-01-leiden-engines.md", "models", table())


if __name__ == "__main__":
    main()
