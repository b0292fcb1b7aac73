"""Layers, heads, dropout and learning rate of SASRec, on a validation part.

    SKCLIP_DATA=... python -m benchmarks.choose.sasrec [--table]

Trains on train_tr of rsc15_100k and ranks every prefix of train_valid, whole catalog,
ties against the target. Everything else is the recommender's default, without a bias for
repeats, seed 0. One parameter is changed at a time, and the best values are then tried
together. Rows that exist are kept. Prints the table.
"""

import time

from benchmarks._data import train_and_valid
from benchmarks._results import add_row, environment, markdown, new_parser, rows_of
from skclip import CLIPSessionRecommender
from skclip.backbones import SASRec
from skclip.metrics import SessionScorer

ROWS = "choose/sasrec.jsonl"
SCORER = SessionScorer("recall@20", "mrr@20")
FIRST = {"n_layers": 2, "n_heads": 1, "dropout": 0.2, "learning_rate": 0.005}
TRIALS = [
    FIRST,
    FIRST | {"learning_rate": 0.002},
    FIRST | {"learning_rate": 0.001},
    FIRST | {"dropout": 0.5},
    FIRST | {"dropout": 0.1},
    FIRST | {"n_heads": 2},
    FIRST | {"n_layers": 1},
]


def run(trial, train, valid):
    spec = {name: value for name, value in trial.items() if name != "learning_rate"}
    model = CLIPSessionRecommender(
        SASRec(**spec),
        learning_rate=trial["learning_rate"],
        repeats=False,
        random_state=0,
        n_threads=1,
    )
    begun = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, **SCORER(model, valid), "environment": environment()}


def table():
    rows = sorted(rows_of(ROWS), key=lambda row: -row["mrr@20"])
    names = [*FIRST, "recall@20", "mrr@20"]
    cells = [[f"{row[name]:.4g}" for name in names] for row in rows]
    return markdown(names, cells)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only print the table")
    if not parser.parse_args().table:
        train, valid = train_and_valid("rsc15")
        done = [{name: row[name] for name in FIRST} for row in rows_of(ROWS)]
        for trial in TRIALS:
            if trial not in done:
                row = trial | run(trial, train, valid)
                add_row(ROWS, row)
                print(row, flush=True)
    print(table())


if __name__ == "__main__":
    main()
