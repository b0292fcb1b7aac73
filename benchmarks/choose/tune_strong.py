"""The former strong preset on a large catalog: loss, temperature, rate and epochs.

    SKCLIP_DATA=... python -m benchmarks.choose.tune_strong

CLIP-GRU4Rec, and other backbones where a row names them, on every 4th training session
of Diginetica (in order of time); the last twentieth of these validates, every prefix,
the rest trains. The preset is in `benchmarks/_november.py`. No test part is opened. A
setting that has a row is not run again.
"""

import time

from benchmarks._data import split_rows, training_rows
from benchmarks._november import old_strong
from benchmarks._results import (
    current_names,
    data_hash,
    markdown,
    new_parser,
    rows_of,
    save,
)
from skclip import CLIPSessionRecommender
from skclip.metrics import mrr_at_k, recall_at_k

NAME = "choose/tune_strong.json"
FEW = {"loss": "sampled_softmax", "loss__n_negatives": 2048}
MANY = FEW | {"loss__n_negatives": 8192}
# What was chosen here for large catalogs; benchmarks/report/ runs it on test parts.
SAMPLED = FEW | {"temperature": 0.07, "learning_rate": 0.01, "max_epochs": 3}
LONG = SAMPLED | MANY | {"max_epochs": 6}
LONGER = LONG | {"max_epochs": 10}
SETTINGS = [
    {"max_epochs": 3, "temperature": 0.1},
    {"max_epochs": 3, "temperature": 0.07},
    FEW | {"max_epochs": 3, "temperature": 0.1},
    FEW | {"max_epochs": 3, "temperature": 0.07},
    FEW | {"max_epochs": 6, "temperature": 0.07},
    MANY | {"max_epochs": 6, "temperature": 0.07},
    FEW | {"max_epochs": 6, "temperature": 0.07, "learning_rate": 0.01},
    FEW | {"max_epochs": 6, "temperature": 0.05, "learning_rate": 0.01},
    FEW | {"max_epochs": 10, "temperature": 0.07, "learning_rate": 0.01},
    LONG,
    LONGER,
    LONG | {"backbone": "niser"},
    SAMPLED | {"backbone": "gcegnn"},
    LONG | {"backbone": "gcegnn"},
]


def setting_of(row):
    return current_names(row["setting"])


def run(setting, train, valid):
    begun = time.process_time()
    options = {"backbone": "gru4rec", "early_stopping": False} | setting
    model = CLIPSessionRecommender(random_state=0, n_threads=1)
    model.set_params(**old_strong(options["backbone"], train, **options)).fit(train)
    seconds = time.process_time() - begun
    ranks = model.rank_targets(valid)
    return {
        "setting": setting,
        "recall@20": recall_at_k(ranks, 20),
        "mrr@20": mrr_at_k(ranks, 20),
        "cpu_seconds": seconds,
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only print the table")
    if parser.parse_args().table:
        print_table()
        return
    train, valid = split_rows(training_rows("diginetica")[::4])
    hashes = {"train": data_hash(train), "valid": data_hash(valid)}
    rows = rows_of(NAME)
    for setting in SETTINGS:
        if any(setting_of(row) == setting for row in rows):
            continue
        rows.append(run(setting, train, valid))
        print(rows[-1], flush=True)
        content = {"protocol": __doc__, "data_hash": hashes, "seed": 0, "rows": rows}
        save(NAME, content)
    print_table()


def print_table():
    head = ["backbone", "loss", "epochs", "temperature", "learning rate"]
    lines = []
    for row in sorted(rows_of(NAME), key=lambda row: SETTINGS.index(setting_of(row))):
        s = setting_of(row)
        loss = f"{s['loss__n_negatives']:,} sampled" if "loss" in s else "full softmax"
        cells = [s.get("backbone", "gru4rec"), loss, str(s["max_epochs"])]
        cells += [str(s["temperature"]), str(s.get("learning_rate", 0.005))]
        cells += [f"{row['recall@20']:.4f}", f"{row['mrr@20']:.4f}"]
        lines.append([*cells, f"{row['cpu_seconds']:.0f} s"])
    print(markdown([*head, "Recall@20", "MRR@20", "CPU"], lines))


if __name__ == "__main__":
    main()
