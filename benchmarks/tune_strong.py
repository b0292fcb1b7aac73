"""The strong preset on a large catalogue: loss, temperature, rate and epochs.

    SKCLIP_DATA=... python benchmarks/tune_strong.py

CLIP-GRU4Rec on every 4th training session of Diginetica (in order of time); the last
twentieth of these validates, every prefix, the rest trains. No test part is opened. A
setting that is in results/tune_strong.json is not run again.
"""

import time

from _common import RESULTS, data_hash, load, replace_table, save
from reproduce import load_data

from skclip import CLIPSessionRecommender
from skclip.metrics import mrr_at_k, recall_at_k

SAMPLED = {"loss": "sampled_softmax", "n_negatives": 2048}
SETTINGS = [
    {"max_epochs": 3, "temperature": 0.1},
    {"max_epochs": 3, "temperature": 0.07},
    SAMPLED | {"max_epochs": 3, "temperature": 0.1},
    SAMPLED | {"max_epochs": 3, "temperature": 0.07},
    SAMPLED | {"max_epochs": 6, "temperature": 0.07},
    SAMPLED | {"max_epochs": 6, "temperature": 0.07, "n_negatives": 8192},
    SAMPLED | {"max_epochs": 6, "temperature": 0.07, "learning_rate": 0.01},
    SAMPLED | {"max_epochs": 6, "temperature": 0.05, "learning_rate": 0.01},
    SAMPLED | {"max_epochs": 10, "temperature": 0.07, "learning_rate": 0.01},
]


def main():
    train, (valid, _), _ = load_data("diginetica", 4)
    rows = []
    if (RESULTS / "tune_strong.json").exists():  # taken up again
        rows = load("tune_strong")["rows"]
    for setting in SETTINGS:
        if any(row["setting"] == setting for row in rows):
            continue
        begun = time.process_time()
        model = CLIPSessionRecommender(
            "gru4rec", preset="strong", early_stopping=False, random_state=0,
            n_threads=1, **setting
        ).fit(train)  # fmt: skip
        seconds = time.process_time() - begun
        ranks = model.rank_targets(valid)
        row = {
            "setting": setting,
            "recall@20": recall_at_k(ranks, 20),
            "mrr@20": mrr_at_k(ranks, 20),
            "cpu_seconds": seconds,
        }
        rows.append(row)
        print(row, flush=True)
        hashes = {"train": data_hash(train), "valid": data_hash(valid)}
        save(
            "tune_strong",
            {"protocol": __doc__, "data_hash": hashes, "seed": 0, "rows": rows},
        )
    lines = [
        "| loss | epochs | temperature | learning rate | Recall@20 | MRR@20 | CPU |"
    ]
    lines.append("|---" * 7 + "|")
    for row in sorted(rows, key=lambda row: SETTINGS.index(row["setting"])):
        s = row["setting"]
        loss = f"{s['n_negatives']:,} sampled" if "loss" in s else "full softmax"
        lines.append(
            f"| {loss} | {s['max_epochs']} | {s['temperature']} | "
            f"{s.get('learning_rate', 0.005)} | {row['recall@20']:.4f} | "
            f"{row['mrr@20']:.4f} | {row['cpu_seconds']:.0f} s |"
        )
    replace_table("benchmarks/README.md", "tune_strong", "\n".join(lines))


if __name__ == "__main__":
    main()
