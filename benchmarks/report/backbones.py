"""All backbones as published (no prompt), rsc15_100k, test part, several seeds.

    SKCLIP_DATA=... python -m benchmarks.report.backbones [--backbones narm] [--seeds 3]

Learning rate: the best on the validation part (`choose/tune.py` rsc15_bare); everything
else is as in `benchmarks/_november.py`, for every backbone alike. Fits on train_tr +
train_valid, of which the library cuts its own validation part for early stopping, and
ranks the whole catalog for every prefix of the test sessions; ties count against the
target. Rows that exist are kept, so that the run can be taken up again. Prints the
table.
"""

import time

from benchmarks._data import rsc15
from benchmarks._november import old_defaults, without_latest
from benchmarks._results import data_hash, new_parser, rows_of, save, seed_table
from benchmarks.choose.tune import chosen_learning_rates
from benchmarks.report._test_parts import log_test_evaluation, rsc15_test
from skclip import CLIPSessionRecommender
from skclip.backbones import BACKBONES
from skclip.metrics import SessionScorer

SCORER = SessionScorer("recall@20", "mrr@20")
NAME = "report/backbones_rsc15.json"


def run(name, rate, seed, train, test):
    begun = time.perf_counter()
    options = {"prompt": None, "learning_rate": rate}
    model = CLIPSessionRecommender(name, random_state=seed)
    model.set_params(**old_defaults(name, without_latest(train), **options)).fit(train)
    seconds = time.perf_counter() - begun
    values = SCORER(model, test)
    log_test_evaluation(
        "backbones.py", "rsc15_100k", f"{name}, bare, seed {seed}", values
    )
    return {
        "model": name,
        "learning_rate": rate,
        "seed": seed,
        **values,
        "fit_seconds": seconds,
        "epochs": model.n_iter_,
        "validation": model.best_validation_score_,
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    rows = rows_of(NAME)
    if not arguments.table:
        rates = chosen_learning_rates()
        train, test = rsc15("train_tr", "train_valid"), rsc15_test()
        hashes = {"train": data_hash(train), "test": data_hash(test)}
        done = {(row["model"], row["seed"]) for row in rows}
        for seed in range(arguments.seeds):
            for name in arguments.backbones:
                if (name, seed) in done:
                    continue
                rows.append(run(name, rates[name], seed, train, test))
                print(rows[-1], flush=True)
                save(NAME, {"protocol": __doc__, "data_hash": hashes, "rows": rows})
    print(seed_table(rows, list(BACKBONES), extra=("learning_rate",)))


if __name__ == "__main__":
    main()
