"""Blends of two networks and two kinds of neighbors, on test parts.

    SKCLIP_DATA=... python -m benchmarks.report.recipes rsc15
    python -m benchmarks.report.recipes --table

GRU4Rec and CORE with the defaults, tuned neighbors of `choose/tune_baselines.py` and
its tuned STAN, blended with learned weights. The members were fixed before the test
part was opened; `choose/blends.py` tried them on a quarter of tmall. Everything is
fitted on the training and the validation part, seed 0. The whole catalog is ranked,
ties count against the target. Writes a table of a laboratory
note.
"""

import time

from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    markdown,
    new_parser,
    replace_table,
    rows_of,
)
from benchmarks.choose.blends import members_of
from benchmarks.report._test_parts import log_test_evaluation, log_train_and_test
from skclip import VotingRecommender
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "report/recipes.jsonl"
METRICS = {"recall@20": recall_at_k, "mrr@20": mrr_at_k}


def run(log):
    train, X, y = log_train_and_test(log)
    model = VotingRecommender(members_of(log), method="blend", weights="auto")
    begun = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - begun
    for name, found in {**model.named_estimators_, "blend": model}.items():
        ranks = found.rank_targets(X, y)
        row = {
            "log": log,
            "model": name,
            **{metric: f(ranks, 20) for metric, f in METRICS.items()},
            "seed": 0,
            "data_hash": {"train": data_hash(train), "test": data_hash(X)},
            "environment": environment(),
        }
        if name == "blend":
            row["fit_seconds"] = seconds
            row["weights"] = model.weights_.tolist()
            row["temperatures"] = model.temperatures_.tolist()
        add_row(ROWS, row)
        values = {metric: row[metric] for metric in METRICS}
        log_test_evaluation("recipes.py", log, name, values)
        print(log, name, values, flush=True)


def table():
    head = ["click log", "model", "weight", "Recall@20", "MRR@20"]
    lines, weights = [], {}
    for row in reversed(rows_of(ROWS)):
        if row["model"] == "blend":
            weights = iter(reversed(row["weights"]))
        weight = "" if row["model"] == "blend" else f"{next(weights):.2f}"
        values = [f"{row[metric]:.4f}" for metric in METRICS]
        lines.append([row["log"], row["model"], weight, *values])
    return markdown(head, lines[::-1])


def main():
    parser = new_parser(__doc__)
    parser.add_argument("logs", nargs="*")
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if not arguments.table:
        for log in arguments.logs:
            run(log)
    note = "benchmarks/lab/2026-11-30-blend-and-bias-for-repeats.md"
    replace_table(note, "recipes", table())


if __name__ == "__main__":
    main()
