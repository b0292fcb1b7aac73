"""The table of the README: rsc15_100k, test part, library defaults, several seeds.

    SKCLIP_DATA=... python -m benchmarks.report.first_table

Fits on train_tr + train_valid (the library cuts its own validation part from them)
and ranks the whole catalog for every prefix of the test sessions. Ties count
against the target; a target that was not seen in training is a miss. Settings were
chosen on train_valid alone (`choose/tune.py`). Writes the table of the README.
"""

import time

from benchmarks._data import rsc15
from benchmarks._results import (
    data_hash,
    load,
    new_parser,
    replace_table,
    save,
    seed_table,
)
from benchmarks.report._test_parts import log_test_evaluation, rsc15_test
from skclip import CLIPSessionRecommender, PopularityRecommender, Prompt
from skclip.metrics import SessionScorer

NAME = "report/first_table.json"
SCORER = SessionScorer("recall@20", "mrr@20")
COSINE = {"similarity": "cosine", "learning_rate": 0.005}  # tune_rsc15_cosine.json
MODELS = {
    "popularity": PopularityRecommender(),
    "gru4rec, bare": CLIPSessionRecommender("gru4rec", prompt=None),
    "gru4rec, CLIP": CLIPSessionRecommender("gru4rec"),
    "narm, bare": CLIPSessionRecommender("narm", prompt=None),
    "narm, CLIP": CLIPSessionRecommender("narm"),
    "narm, bare, cosine": CLIPSessionRecommender("narm", prompt=None, **COSINE),
    "narm, CLIP, cosine, prompted": CLIPSessionRecommender(
        "narm", prompt=Prompt("cluster", candidates="prompted"), **COSINE
    ),
}


def run(name, model, seed, train, test):
    begun = time.perf_counter()
    model.fit(train)
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
    print(row, flush=True)
    log_test_evaluation("first_table.py", "rsc15_100k", f"{name}, seed {seed}", values)
    return row


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if not arguments.table:
        train, test = rsc15("train_tr", "train_valid"), rsc15_test()
        rows = []
        for name, model in MODELS.items():
            seeded = "random_state" in model.get_params()
            for seed in range(arguments.seeds if seeded else 1):
                if seeded:
                    model.set_params(random_state=seed)
                rows.append(run(name, model, seed, train, test))
        hashes = {"train": data_hash(train), "test": data_hash(test)}
        save(NAME, {"protocol": __doc__, "data_hash": hashes, "rows": rows})
    replace_table(
        "README.md", "first_table", seed_table(load(NAME)["rows"], list(MODELS))
    )


if __name__ == "__main__":
    main()
