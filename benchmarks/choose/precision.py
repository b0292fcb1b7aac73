"""Does training in bfloat16 reach the validation MRR of float32?

    SKCLIP_DATA=... python -m benchmarks.choose.precision [--max-epochs 3] [--seeds 3]

CLIP-GRU4Rec on rsc15_100k, fit on train_tr, validated on train_valid, float32 over
some seeds and bf16 with the first ones. Without hardware for bfloat16 the bf16 runs
take some thirty times as long; the numbers do not depend on it. The rest is as
in `benchmarks/_november.py`.
"""

import time

from benchmarks._data import rsc15
from benchmarks._november import old_defaults
from benchmarks._results import data_hash, new_parser, save
from skclip import CLIPSessionRecommender, SessionClusterer


def run(precision, seed, max_epochs, train, valid):
    begun = time.perf_counter()
    model = CLIPSessionRecommender(
        "gru4rec", precision=precision, random_state=seed
    ).set_params(**old_defaults("gru4rec", train, max_epochs=max_epochs))
    model.fit(train, eval_set=(valid, None))
    return {
        "precision": precision,
        "seed": seed,
        "mrr@20": model.best_validation_score_,
        "seconds": time.perf_counter() - begun,
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--max-epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bf16-seeds", type=int, default=1)
    arguments = parser.parse_args()
    train, valid = rsc15("train_tr"), rsc15("train_valid")
    clusterer = SessionClusterer(random_state=0)
    train, valid = clusterer.fit_transform(train), clusterer.transform(valid)
    runs = [("float32", seed) for seed in range(arguments.seeds)]
    runs += [("bf16", seed) for seed in range(arguments.bf16_seeds)]
    rows = []
    for precision, seed in runs:
        rows.append(run(precision, seed, arguments.max_epochs, train, valid))
        print(rows[-1], flush=True)
        content = {"protocol": __doc__, "data_hash": data_hash(train), "rows": rows}
        save("choose/precision.json", content)


if __name__ == "__main__":
    main()
