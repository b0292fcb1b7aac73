"""Compare training settings on validation parts; no test part is opened.

    SKCLIP_DATA=... python -m benchmarks.choose.tune rsc15

rsc15: fit on train_tr, validate on train_valid. diginetica: the last quarter of the
training sessions, of which the last tenth validates. What a grid leaves open is as in
`benchmarks/_november.py`. Rows that exist are kept.
"""

import itertools
import time

import numpy as np

from benchmarks._data import rsc15, split_rows, training_rows
from benchmarks._november import old_defaults
from benchmarks._results import current_names, data_hash, new_parser, rows_of, save
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.backbones import BACKBONES
from skclip.metrics import SessionScorer

SCORER = SessionScorer("mrr@20", "recall@20")
GRIDS = {
    "rsc15": {
        "backbone": ["gru4rec", "narm"],
        "lr_schedule": ["constant", "cosine"],
        "learning_rate": [0.005, 0.01, 0.02],
        "batch_size": [512],
    },
    "rsc15_cosine": {
        "backbone": ["gru4rec", "narm"],
        "similarity": ["cosine"],
        "prompt__candidates": ["prompted"],
        "learning_rate": [0.0025, 0.005, 0.01],
    },
    "rsc15_bare": {
        "learning_rate": [0.005, 0.01, 0.0025],
        "backbone": list(BACKBONES),
        "prompt": [None],
    },
    "diginetica": {
        "backbone": ["gru4rec", "narm"],
        "lr_schedule": ["cosine"],
        "learning_rate": [0.005, 0.01],
        "batch_size": [512],
    },
}


def parts(data):
    if data.startswith("rsc15"):
        return rsc15("train_tr"), rsc15("train_valid")
    rows = training_rows(data)
    return split_rows(rows[-(len(rows) // 4) :], 0.9)


def chosen_learning_rates():
    """Best of each bare backbone on the validation part of rsc15_100k."""
    best = {}
    for row in rows_of("choose/tune_rsc15_bare.json"):
        known = best.get(row["backbone"])
        if known is None or row["mrr@20"] > known["mrr@20"]:
            best[row["backbone"]] = row
    return {name: row["learning_rate"] for name, row in best.items()}


def run(setting, max_epochs, train, valid):
    begun = time.perf_counter()
    model = CLIPSessionRecommender(
        clusterer=SessionClusterer(engine="igraph"), random_state=0
    )
    options = {"max_epochs": max_epochs} | setting
    model.set_params(**old_defaults(setting["backbone"], train, **options))
    model.fit(train, eval_set=(valid, None))
    scores = [row["validation_score"] for row in model.history_]
    return {
        **setting,
        **SCORER(model, valid),
        "best_epoch": int(np.argmax(scores)) + 1,
        "epochs": scores,
        "seconds": time.perf_counter() - begun,
        "seconds_per_epoch": float(np.median([r["seconds"] for r in model.history_])),
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("data", choices=GRIDS)
    parser.add_argument("--max-epochs", type=int, default=10)
    parser.add_argument(
        "--backbones", nargs="+", help="backbones of the grid (default: all)"
    )
    arguments = parser.parse_args()
    train, valid = parts(arguments.data)
    hashes = {"train": data_hash(train), "valid": data_hash(valid)}
    name, grid = f"choose/tune_{arguments.data}.json", dict(GRIDS[arguments.data])
    if arguments.backbones:
        grid["backbone"] = arguments.backbones
    rows = rows_of(name)
    for values in itertools.product(*grid.values()):
        setting = dict(zip(grid, values, strict=True))
        if any(setting.items() <= _plain(row).items() for row in rows):
            continue
        rows.append(run(setting, arguments.max_epochs, train, valid))
        shown = {k: v for k, v in rows[-1].items() if k != "epochs"}
        print(shown, flush=True)
        content = {"protocol": __doc__, "data_hash": hashes, "seed": 0, "rows": rows}
        save(name, content)


def _plain(row):
    """What of a row can be compared with a setting."""
    return {k: v for k, v in current_names(row).items() if not isinstance(v, list)}


if __name__ == "__main__":
    main()
