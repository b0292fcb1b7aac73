"""Does training in bfloat16 reach the validation metrics of float32?

    SKCLIP_DATA=... python -m benchmarks.choose.precision [--seeds 3]

Default settings with the full softmax, without the bias of `repeats`, on rsc15_100k and
on the latest quarter of Diginetica's training sessions. Each is validated on its latest
sessions. Both precisions have the same seeds. Where bfloat16 is emulated its runs take
some thirty times as long; the numbers do not depend on it.
"""

import time

import numpy as np

from benchmarks._data import split_rows, train_and_valid, training_rows
from benchmarks._results import data_hash, load, markdown, new_parser, save
from skclip import CLIPSessionRecommender
from skclip.metrics import mrr_at_k, recall_at_k

NAME = "choose/precision.json"
DATA = {"rsc15_100k": 10, "a quarter of diginetica": 3}  # epochs
PRECISIONS = ("float32", "bf16")


def parts_of(data):
    if data == "rsc15_100k":
        return train_and_valid("rsc15")
    rows = training_rows("diginetica")
    return split_rows(rows[-len(rows) // 4 :])


def run(data, precision, seed, train, valid):
    begun = time.perf_counter()
    model = CLIPSessionRecommender(
        loss="cross_entropy",
        max_epochs=DATA[data],
        repeats=False,
        precision=precision,
        random_state=seed,
    ).fit(train)
    seconds, ranks = time.perf_counter() - begun, model.rank_targets(valid)
    return {
        "data": data,
        "precision": precision,
        "seed": seed,
        "recall@20": recall_at_k(ranks, 20),
        "mrr@20": mrr_at_k(ranks, 20),
        "fit_seconds": seconds,
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    content = {"protocol": __doc__, "data_hash": {}, "rows": []}
    for data in () if arguments.table else arguments.data:
        train, valid = parts_of(data)
        content["data_hash"][data] = data_hash(train)
        for seed in range(arguments.seeds):
            for precision in PRECISIONS:
                content["rows"].append(run(data, precision, seed, train, valid))
                print(content["rows"][-1], flush=True)
                save(NAME, content)
    print_table()


def print_table():
    lines = []
    rows = load(NAME)["rows"]
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        for metric in ("recall@20", "mrr@20"):
            values = [
                np.array([row[metric] for row in of_data if row["precision"] == name])
                for name in PRECISIONS
            ]
            cells = [f"{v.mean():.4f} ± {v.std(ddof=1):.4f}" for v in values]
            difference = (values[1] - values[0]).mean()
            lines.append([data, metric, f"{difference:+.4f}", *cells])
    print(markdown(["data", "metric", "difference", *PRECISIONS], lines))


if __name__ == "__main__":
    main()
