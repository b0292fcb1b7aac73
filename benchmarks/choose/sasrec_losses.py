"""How SASRec is trained by gBCE and by a sampled softmax, on a validation part.

    SKCLIP_DATA=... python -m benchmarks.choose.sasrec_losses [--table]

As `choose/sasrec.py`: trains on train_tr of rsc15_100k, ranks train_valid, seed 0, no
bias for repeats. Each loss has 256 shared negatives. With the cosine score of the
default, and with a dot product, at two or three learning rates. "auto" epochs are those
of the default, ten. Rows that exist are kept. Prints the table; the best row of each
loss goes into `report/sasrec.py`.
"""

import time

from benchmarks._data import train_and_valid
from benchmarks._results import add_row, environment, markdown, new_parser, rows_of
from benchmarks.choose.sasrec import SCORER
from skclip import CLIPSessionRecommender
from skclip.losses import GBCE, SampledSoftmax

LOSSES = {"gbce": GBCE, "sampled_softmax": SampledSoftmax}
ROWS = "choose/sasrec_losses.jsonl"
NAMES = ("loss", "similarity", "learning_rate", "max_epochs")
TRIALS = [
    ("gbce", "cosine", 0.005, "auto"),
    ("gbce", "dot", 0.001, "auto"),
    ("gbce", "dot", 0.002, "auto"),
    ("gbce", "dot", 0.005, "auto"),
    ("sampled_softmax", "cosine", 0.005, "auto"),
    ("sampled_softmax", "dot", 0.001, "auto"),
    ("sampled_softmax", "dot", 0.002, "auto"),
    ("gbce", "cosine", 0.005, 40),
]


def model_of(loss, similarity, rate, max_epochs="auto", seed=0):
    """The recommender of a trial."""
    return CLIPSessionRecommender(
        "sasrec",
        loss=LOSSES[loss](256, shared=True),
        similarity=similarity,
        learning_rate=rate,
        max_epochs=max_epochs,
        repeats=False,
        random_state=seed,
        n_threads=1,
    )


def chosen(loss):
    """Similarity, learning rate and epochs that did best with a loss."""
    rows = [row for row in rows_of(ROWS) if row["loss"] == loss]
    best = max(rows, key=lambda row: row["mrr@20"])
    return tuple(best[name] for name in NAMES[1:])


def table():
    rows = sorted(rows_of(ROWS), key=lambda row: (row["loss"], -row["mrr@20"]))
    metrics = ("recall@20", "mrr@20")
    cells = [
        [row[n] for n in NAMES] + [f"{row[m]:.4f}" for m in metrics] for row in rows
    ]
    return markdown([*NAMES, *metrics], [list(map(str, row)) for row in cells])


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only print the table")
    if not parser.parse_args().table:
        train, valid = train_and_valid("rsc15")
        done = {tuple(row[name] for name in NAMES) for row in rows_of(ROWS)}
        for trial in TRIALS:
            if trial in done:
                continue
            begun = time.perf_counter()
            model = model_of(*trial).fit(train)
            seconds = time.perf_counter() - begun
            row = dict(zip(NAMES, trial, strict=True)) | SCORER(model, valid)
            row |= {"seconds": seconds, "environment": environment()}
            add_row(ROWS, row)
            print(row, flush=True)
    print(table())


if __name__ == "__main__":
    main()
