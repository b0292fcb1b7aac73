"""All backbones as published (no prompt), rsc15_100k, test part, several seeds.

    SKCLIP_DATA=... python benchmarks/backbones.py [--backbones narm ...] [--seeds 3]

Learning rate: the best on the validation part (tune.py rsc15_bare); everything else is
the library's default, for every backbone alike. Fits on train_tr + train_valid, of
which the library cuts its own validation part for early stopping, and ranks the whole
catalogue for every prefix of the test sessions; ties count against the target. Rows
that exist are kept, so that the run can be taken up again. Writes the table of
benchmarks/README.md.
"""

import argparse
import time

from _common import (
    RESULTS,
    chosen_learning_rates,
    data_hash,
    load,
    log_test_evaluation,
    replace_table,
    rsc15,
    save,
    seed_table,
)

from skclip import CLIPSessionRecommender
from skclip.backbones import BACKBONES
from skclip.metrics import SessionScorer

SCORER = SessionScorer("recall@20", "mrr@20")
NAME = "backbones_rsc15"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rates = chosen_learning_rates()
    train, test = rsc15("train_tr", "train_valid"), rsc15("test")
    rows = load(NAME)["rows"] if (RESULTS / f"{NAME}.json").exists() else []
    done = {(row["model"], row["seed"]) for row in rows}
    for seed in range(arguments.seeds):
        for name in arguments.backbones:
            if (name, seed) in done:
                continue
            begun = time.perf_counter()
            model = CLIPSessionRecommender(
                name, prompt=None, learning_rate=rates[name], random_state=seed
            ).fit(train)
            seconds = time.perf_counter() - begun
            values = SCORER(model, test)
            rows.append(
                {
                    "model": name,
                    "learning_rate": rates[name],
                    "seed": seed,
                    **values,
                    "fit_seconds": seconds,
                    "epochs": model.n_iter_,
                    "validation": model.best_validation_score_,
                }
            )
            print(rows[-1], flush=True)
            log_test_evaluation(
                "backbones.py", "rsc15_100k", f"{name}, bare, seed {seed}", values
            )
            hashes = {"train": data_hash(train), "test": data_hash(test)}
            save(NAME, {"protocol": __doc__, "data_hash": hashes, "rows": rows})
    table = seed_table(rows, list(BACKBONES), extra=("learning_rate",))
    replace_table("benchmarks/README.md", NAME, table)


if __name__ == "__main__":
    main()
