"""The table of the README: rsc15_100k, test part, library defaults, several seeds.

    SKCLIP_DATA=... python benchmarks/first_table.py

Fits on train_tr + train_valid (the library cuts its own validation part from them)
and ranks the whole catalogue for every prefix of the test sessions. Ties count
against the target; a target that was not seen in training is a miss. Settings were
chosen on train_valid alone (tune.py). Writes the table that stands in the README.
"""

import argparse
import time

from _common import (
    data_hash,
    load,
    log_test_evaluation,
    replace_table,
    rsc15,
    save,
    seed_table,
)

from skclip import CLIPSessionRecommender, PopularityRecommender
from skclip.metrics import SessionScorer

SCORER = SessionScorer("recall@20", "mrr@20")
COSINE = {"similarity": "cosine", "learning_rate": 0.005}  # tune_rsc15_cosine.json
MODELS = {
    "popularity": (PopularityRecommender, {}),
    "gru4rec, bare": (CLIPSessionRecommender, {"backbone": "gru4rec", "prompt": None}),
    "gru4rec, CLIP": (CLIPSessionRecommender, {"backbone": "gru4rec"}),
    "narm, bare": (CLIPSessionRecommender, {"backbone": "narm", "prompt": None}),
    "narm, CLIP": (CLIPSessionRecommender, {"backbone": "narm"}),
    "narm, bare, cosine": (
        CLIPSessionRecommender,
        {"backbone": "narm", "prompt": None} | COSINE,
    ),
    "narm, CLIP, cosine, prompted": (
        CLIPSessionRecommender,
        {"backbone": "narm", "candidates": "prompted"} | COSINE,
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if arguments.table:
        write_table()
        return
    train, test = rsc15("train_tr", "train_valid"), rsc15("test")
    rows = []
    for name, (kind, options) in MODELS.items():
        for seed in range(arguments.seeds if kind is CLIPSessionRecommender else 1):
            seeded = {"random_state": seed} if kind is CLIPSessionRecommender else {}
            begun = time.perf_counter()
            model = kind(**options, **seeded).fit(train)
            fitted = time.perf_counter()
            values = SCORER(model, test)
            row = {
                "model": name,
                "seed": seed,
                **values,
                "fit_seconds": fitted - begun,
                "score_seconds": time.perf_counter() - fitted,
                "epochs": getattr(model, "n_iter_", None),
                "validation": getattr(model, "best_validation_score_", None),
            }
            rows.append(row)
            print(row, flush=True)
            log_test_evaluation(
                "first_table.py", "rsc15_100k", f"{name}, seed {seed}", values
            )
    save(
        "first_table",
        {
            "protocol": __doc__,
            "data_hash": {"train": data_hash(train), "test": data_hash(test)},
            "rows": rows,
        },
    )
    write_table()


def write_table():
    """Put the table of the committed results into the README."""
    table = seed_table(load("first_table")["rows"], list(MODELS))
    replace_table("README.md", "first_table", table)


if __name__ == "__main__":
    main()
