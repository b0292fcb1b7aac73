"""Does training in bfloat16 reach the validation MRR of float32?

    SKCLIP_DATA=... python benchmarks/precision.py [--max-epochs 3] [--seeds 3]

CLIP-GRU4Rec on rsc15_100k, fit on train_tr, validated on train_valid, float32 over
some seeds and bf16 with the first ones. Without hardware for bfloat16 the bf16 runs
take some thirty times as long; the numbers do not depend on it.
"""

import argparse
import time

from _common import data_hash, rsc15, save

from skclip import CLIPSessionRecommender, SessionClusterer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bf16-seeds", type=int, default=1)
    arguments = parser.parse_args()
    train, valid = rsc15("train_tr"), rsc15("train_valid")
    clusterer = SessionClusterer(random_state=0)
    train, valid = clusterer.fit_transform(train), clusterer.transform(valid)
    rows = []
    for precision, seeds in (
        ("float32", arguments.seeds),
        ("bf16", arguments.bf16_seeds),
    ):
        for seed in range(seeds):
            begun = time.perf_counter()
            model = CLIPSessionRecommender(
                "gru4rec",
                precision=precision,
                max_epochs=arguments.max_epochs,
                random_state=seed,
            ).fit(train, eval_set=(valid, None))
            rows.append(
                {
                    "precision": precision,
                    "seed": seed,
                    "mrr@20": model.best_validation_score_,
                    "seconds": time.perf_counter() - begun,
                }
            )
            print(rows[-1], flush=True)
            save(
                "precision",
                {"protocol": __doc__, "data_hash": data_hash(train), "rows": rows},
            )


if __name__ == "__main__":
    main()
