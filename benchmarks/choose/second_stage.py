"""Which settings should a second stage have? Trials on validation parts.

    SKCLIP_DATA=... python -m benchmarks.choose.second_stage run [retailrocket rsc15]
    python -m benchmarks.choose.second_stage table

First stages: the tuned neighbors of `choose/tune_baselines.py`, and
``CLIPSessionRecommender()`` with a seed. Each is fitted on all but the latest fifth of
the training part, and taken as it is. `CandidateRanker` learns from that fifth.
`MMRReranker` needs no sessions but for clusters. All rank the same prefixes of the
validation part, 5,000 at most, evenly spread.

`chosen` takes the candidate ranker with the largest product of Recall@20 and MRR@20,
and of the MMR rerankers that lose at most 5 % of Recall@20 the one with the most
diverse lists: the share of pairs in different clusters, of a `SessionClusterer` of the
training part. No test part is opened.

Seconds are those of one core's work (CPU time), with one thread.
"""

import time

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks._data import log_train_and_valid
from benchmarks._results import add_row, environment, markdown, new_parser, rows_of
from benchmarks.choose.tune_baselines import chosen_row
from skclip import (
    CandidateRanker,
    CLIPSessionRecommender,
    MMRReranker,
    SessionClusterer,
    SessionKNN,
)
from skclip.metrics import catalog_coverage, cluster_diversity, mrr_at_k, recall_at_k

ROWS = "choose/second_stage.jsonl"
LOGS = ("retailrocket", "rsc15")
BASES = ("neighbors", "network")
MOST_TARGETS = 5_000
MOST_LOSS = 0.05  # of Recall@20, for MMR
BOOSTING = {"classifier__learning_rate": 0.05, "classifier__max_leaf_nodes": 15}
CANDIDATE_TRIALS = [
    {"n_candidates": 50},
    {"n_candidates": 50} | BOOSTING,
    {"n_candidates": 100} | BOOSTING,
    {"n_candidates": 50, "n_negatives": None} | BOOSTING,
]
MMR_TRIALS = [
    {"relevance": relevance, "diversity": diversity}
    for relevance in ("scores", "ranks")
    for diversity in (0.05, 0.1, 0.2, 0.3, 0.5)
]
TRIALS = {"candidates": CANDIDATE_TRIALS, "mmr": MMR_TRIALS}


def base_of(log, name):
    if name == "neighbors":
        return SessionKNN(**chosen_row(log)["settings"])
    return CLIPSessionRecommender(random_state=0, n_threads=1)


def second_stage(stage, base, settings, *, prefit):
    if stage == "mmr":
        model = MMRReranker(base, prefit=prefit, random_state=0)
    else:
        classifier = HistGradientBoostingClassifier()
        model = CandidateRanker(base, classifier, prefit=prefit, random_state=0)
    return model.set_params(**settings)


def fitted(model, X):
    """The fitted model, and the CPU seconds that took."""
    begun = time.process_time()
    model.fit(X)
    return model, time.process_time() - begun


def thinned_prefixes(X, most):
    """Prefixes and targets of some sessions, at most so many, evenly spread."""
    prefixes, targets = X.to_prefixes()
    rows = np.linspace(0, len(targets) - 1, min(most, len(targets))).astype(int)
    return prefixes[rows], targets[rows]


def measured(model, parts, clusterer):
    """Metrics of the lists of a model, and CPU seconds for 1,000 sessions."""
    train, X, y = parts
    ranks = model.rank_targets(X, y)
    begun = time.process_time()
    items = model.predict_topk(X, k=20)
    seconds = time.process_time() - begun
    clusters = clusterer.item_ids_, clusterer.membership_
    return {
        "recall@20": recall_at_k(ranks, 20),
        "mrr@20": mrr_at_k(ranks, 20),
        "cluster_diversity@20": cluster_diversity(items, *clusters),
        "coverage@20": catalog_coverage(items, np.unique(train.vocabulary)),
        "seconds_per_1000": 1000 * seconds / len(y),
    }


def run(log, base_name):
    train, valid = log_train_and_valid(log)
    parts = train, *thinned_prefixes(valid, MOST_TARGETS)
    order = np.argsort(train.end_times, kind="stable")
    early = train[order[: len(train) - round(0.2 * len(train))]]
    clusterer = SessionClusterer(random_state=0).fit(train)
    base, seconds = fitted(base_of(log, base_name), early)
    add(log, base_name, "base", {}, seconds, measured(base, parts, clusterer))
    for stage, trials in TRIALS.items():
        for settings in trials:
            model = second_stage(stage, base, settings, prefit=True)
            _, seconds = fitted(model, train)
            values = measured(model, parts, clusterer)
            if stage == "candidates":
                values["candidate_recall"] = model.candidate_recall_
            add(log, base_name, stage, settings, seconds, values)


def add(log, base, stage, settings, seconds, values):
    row = {"log": log, "base": base, "stage": stage, "settings": settings, **values}
    add_row(ROWS, row | {"fit_seconds": seconds, "environment": environment()})
    shown = {name: round(value, 4) for name, value in values.items()}
    print(log, base, stage, settings, shown, f"{seconds:.1f} s", flush=True)


def cells(log, base, stage):
    return [
        row
        for row in rows_of(ROWS)
        if (row["log"], row["base"], row["stage"]) == (log, base, stage)
    ]


def chosen(log, base, stage):
    """Settings of a second stage for a log and a base, as said above."""
    rows = cells(log, base, stage)
    if stage == "candidates":
        best = max(rows, key=lambda row: row["recall@20"] * row["mrr@20"])
        return best["settings"]
    least = (1 - MOST_LOSS) * cells(log, base, "base")[0]["recall@20"]
    rows = [row for row in rows if row["recall@20"] >= least]
    if not rows:
        return {"diversity": 0.0}
    return max(rows, key=lambda row: row["cluster_diversity@20"])["settings"]


def table():
    head = ["log", "base", "stage", "settings", "Recall@20", "MRR@20", "diversity"]
    head += ["coverage", "fit", "1,000 sessions"]
    metrics = ("recall@20", "mrr@20", "cluster_diversity@20", "coverage@20")
    lines = []
    for row in rows_of(ROWS):
        names = (f"{k.split('__')[-1]}={v}" for k, v in row["settings"].items())
        lines.append(
            [row["log"], row["base"], row["stage"], ", ".join(names)]
            + [f"{row[metric]:.4f}" for metric in metrics]
            + [f"{row['fit_seconds']:.1f} s", f"{row['seconds_per_1000']:.2f} s"]
        )
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("logs", nargs="*", help=f"logs among {LOGS} (default: all)")
    parser.add_argument("--bases", nargs="+", default=BASES, choices=BASES)
    arguments = parser.parse_args()
    if arguments.command == "run":
        for log in arguments.logs or LOGS:
            for base in arguments.bases:
                if not cells(log, base, "base"):
                    run(log, base)
    print(table())


if __name__ == "__main__":
    main()
