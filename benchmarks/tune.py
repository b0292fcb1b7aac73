"""Compare training settings on validation parts; no test part is opened.

    SKCLIP_DATA=... python benchmarks/tune.py rsc15

rsc15: fit on train_tr, validate on train_valid. diginetica: the last quarter of the
training sessions, of which the last tenth validates.
"""

import argparse
import itertools
import time

import numpy as np
from _common import RESULTS, data_hash, diginetica_rows, rsc15, save
from _common import load as load_results

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.backbones import BACKBONES
from skclip.metrics import SessionScorer

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
        "candidates": ["prompted"],
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


def load(data):
    if data.startswith("rsc15"):
        return rsc15("train_tr"), rsc15("train_valid")
    rows = diginetica_rows()
    rows = rows[-(len(rows) // 4) :].tolist()
    cut = int(0.9 * len(rows))
    return Sessions.from_lists(rows[:cut]), Sessions.from_lists(rows[cut:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=GRIDS)
    parser.add_argument("--max-epochs", type=int, default=10)
    parser.add_argument("--backbones", nargs="+", help="only these of the grid")
    arguments = parser.parse_args()
    train, valid = load(arguments.data)
    print(train, valid)
    grid, rows = dict(GRIDS[arguments.data]), []
    if (RESULTS / f"tune_{arguments.data}.json").exists():  # taken up again
        rows = load_results(f"tune_{arguments.data}")["rows"]
    if arguments.backbones:
        grid["backbone"] = arguments.backbones
    for values in itertools.product(*grid.values()):
        setting = dict(zip(grid, values, strict=True))
        if any(all(row.get(k) == v for k, v in setting.items()) for row in rows):
            continue
        begun = time.perf_counter()
        model = CLIPSessionRecommender(
            **setting,
            clusterer=SessionClusterer(engine="igraph"),
            max_epochs=arguments.max_epochs,
            random_state=0,
        ).fit(train, eval_set=(valid, None))
        scores = [row["validation_score"] for row in model.history_]
        row = {
            **setting,
            **SessionScorer("mrr@20", "recall@20")(model, valid),
            "best_epoch": int(np.argmax(scores)) + 1,
            "epochs": scores,
            "seconds": time.perf_counter() - begun,
            "seconds_per_epoch": float(
                np.median([r["seconds"] for r in model.history_])
            ),
        }
        rows.append(row)
        print(
            {
                k: round(v, 4) if isinstance(v, float) else v
                for k, v in row.items()
                if k != "epochs"
            },
            flush=True,
        )
        save(
            f"tune_{arguments.data}",
            {
                "protocol": __doc__,
                "data_hash": {"train": data_hash(train), "valid": data_hash(valid)},
                "seed": 0,
                "rows": rows,
            },
        )


if __name__ == "__main__":
    main()
