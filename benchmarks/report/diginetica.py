"""CLIP-GRU4Rec and CLIP-NARM on all of Diginetica, and sampled against full softmax.

    SKCLIP_DATA=... python -m benchmarks.report.diginetica [--threads 2] \\
        [--max-epochs 5]

Training sessions of the SR-GNN split: the last twentieth validates (in order of time),
the rest trains; the epoch with the best validation MRR@20 is kept. Learning rate 0.01
was chosen on a quarter of the training sessions (`choose/tune.py` diginetica), and what
is not set here is as in `benchmarks/_november.py`. The test part is looked at once by
each model that is meant for the table, and by no sampled one. Rows that exist are kept.
Prints the table.
"""

import time

import numpy as np

from benchmarks._data import train_and_valid
from benchmarks._november import old_defaults
from benchmarks._results import data_hash, markdown, new_parser, rows_of, save
from benchmarks.report._test_parts import log_test_evaluation, test_pairs
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.losses import SampledSoftmax
from skclip.metrics import SessionScorer

NAME = "report/diginetica.json"
SCORER = SessionScorer("mrr@20", "recall@20")
RUNS = {
    "CLIP-GRU4Rec": {"backbone": "gru4rec"},
    **{
        f"CLIP-GRU4Rec, 2,048 sampled by {by}": {
            "backbone": "gru4rec",
            "loss": SampledSoftmax(n_negatives=2048, sampling=by),
        }
        for by in ("uniform", "popularity")
    },
    "CLIP-NARM": {"backbone": "narm"},
}


def run(name, arguments, train, valid, test):
    begun, spent = time.perf_counter(), time.process_time()
    options = {"learning_rate": 0.01, "batch_size": 512} | RUNS[name]
    options["max_epochs"] = arguments.max_epochs
    model = CLIPSessionRecommender(n_threads=arguments.threads, random_state=0)
    model.set_params(**old_defaults(options["backbone"], **options))
    model.fit(train, eval_set=(valid, None))
    row = {
        "model": name,
        "fit_seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - spent,
        "threads": arguments.threads,
        "seconds_per_epoch": float(np.median([h["seconds"] for h in model.history_])),
        "validation": SCORER(model, valid),
        "validation_by_epoch": [h["validation_score"] for h in model.history_],
    }
    if "sampled" not in name:
        row["test"] = SCORER(model, *test)
        log_test_evaluation("diginetica.py", "diginetica", name, row["test"])
    return row


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-epochs", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if arguments.table:
        print_table()
        return
    train, valid = train_and_valid("diginetica")
    hashes = {"train": data_hash(train), "valid": data_hash(valid)}
    clusterer = SessionClusterer(engine="igraph", random_state=0)
    train, valid = clusterer.fit_transform(train), clusterer.transform(valid)
    test, rows = test_pairs("diginetica"), rows_of(NAME)
    for name in RUNS:
        if any(row["model"] == name for row in rows):
            continue
        rows.append(run(name, arguments, train, valid, test))
        print(rows[-1], flush=True)
        content = {"protocol": __doc__, "data_hash": hashes, "seed": 0, "rows": rows}
        save(NAME, content)
    print_table()


def print_table():
    head = ["model", "validation Recall@20", "MRR@20", "test Recall@20", "MRR@20"]
    lines = []
    for row in rows_of(NAME):
        cells = [row["model"]]
        for part in ("validation", "test"):
            values = row.get(part)
            for key in ("recall@20", "mrr@20"):
                cells.append(f"{values[key]:.4f}" if values else "-")
        cells += [str(len(row["validation_by_epoch"])), f"{row['fit_seconds']:,.0f} s"]
        lines.append(cells)
    print(markdown([*head, "epochs", "fit"], lines))


if __name__ == "__main__":
    main()
