"""CLIP-GRU4Rec and CLIP-NARM on all of Diginetica, and sampled against full softmax.

    SKCLIP_DATA=... python benchmarks/diginetica.py [--threads 2] [--max-epochs 5]

Training sessions of the SR-GNN split: the last twentieth validates (in order of time),
the rest trains; the epoch with the best validation MRR@20 is kept. Learning rate 0.01
was chosen on a quarter of the training sessions (`tune.py diginetica`). The test part
is looked at once by each model that is meant for the table, and by no sampled one.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _common import (
    RESULTS,
    data_hash,
    data_home,
    diginetica_rows,
    load,
    log_test_evaluation,
    replace_table,
    save,
)

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.metrics import SessionScorer

RUNS = [
    ("CLIP-GRU4Rec", {"backbone": "gru4rec"}, True),
    *(
        (
            f"CLIP-GRU4Rec, 2,048 sampled by {by}",
            {
                "backbone": "gru4rec",
                "loss": "sampled_softmax",
                "n_negatives": 2048,
                "negative_sampling": by,
            },
            False,
        )
        for by in ("uniform", "popularity")
    ),
    ("CLIP-NARM", {"backbone": "narm"}, True),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-epochs", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if arguments.table:
        write_table()
        return
    sessions = diginetica_rows().tolist()
    cut = int(0.95 * len(sessions))
    train = Sessions.from_lists(sessions[:cut])
    valid = Sessions.from_lists(sessions[cut:])
    clusterer = SessionClusterer(engine="igraph", random_state=0)
    clustered = clusterer.fit_transform(train)
    valid = clusterer.transform(valid)
    test = pd.read_parquet(data_home() / "diginetica" / "test.parquet")
    prefixes, targets = Sessions.from_lists(test.session), test.target.to_numpy()
    metrics, rows = SessionScorer("mrr@20", "recall@20"), []
    if (RESULTS / "diginetica.json").exists():  # taken up again
        rows = load("diginetica")["rows"]
    for name, setting, on_test in RUNS:
        if any(row["model"] == name for row in rows):
            continue
        begun, spent = time.perf_counter(), time.process_time()
        model = CLIPSessionRecommender(
            **setting,
            learning_rate=0.01,
            batch_size=512,
            max_epochs=arguments.max_epochs,
            n_threads=arguments.threads,
            random_state=0,
        ).fit(clustered, eval_set=(valid, None))
        row = {
            "model": name,
            "setting": setting,
            "fit_seconds": time.perf_counter() - begun,
            "cpu_seconds": time.process_time() - spent,
            "threads": arguments.threads,
            "seconds_per_epoch": float(
                np.median([h["seconds"] for h in model.history_])
            ),
            "validation": metrics(model, valid),
            "validation_by_epoch": [h["validation_score"] for h in model.history_],
        }
        if on_test:
            row["test"] = metrics(model, prefixes, targets)
            log_test_evaluation("diginetica.py", "diginetica", name, row["test"])
        rows.append(row)
        print(row, flush=True)
        save(
            "diginetica",
            {
                "protocol": __doc__,
                "data_hash": {"train": data_hash(train), "valid": data_hash(valid)},
                "seed": 0,
                "rows": rows,
            },
        )
    write_table()


def write_table():
    """Put the table of the committed results into benchmarks/README.md."""
    lines = ["| model | validation Recall@20 | MRR@20 | test Recall@20 | MRR@20 |"]
    lines[0] += " epochs | fit |"
    lines.append("|---" * 7 + "|")
    for row in load("diginetica")["rows"]:
        cells = [row["model"]]
        for part in ("validation", "test"):
            values = row.get(part)
            for key in ("recall@20", "mrr@20"):
                cells.append(f"{values[key]:.4f}" if values else "-")
        cells += [str(len(row["validation_by_epoch"])), f"{row['fit_seconds']:,.0f} s"]
        lines.append(f"| {' | '.join(cells)} |")
    replace_table("benchmarks/README.md", "diginetica", "\n".join(lines))


if __name__ == "__main__":
    main()
