"""The strong preset on a large catalogue: loss, temperature, rate and epochs.

    SKCLIP_DATA=... python benchmarks/tune_strong.py

CLIP-GRU4Rec, and other backbones where a row names them, on every 4th training session
of Diginetica (in order of time); the last twentieth of these validates, every prefix,
the rest trains. No test part is opened. A setting that is in results/tune_strong.json
is not run again.
"""

import time

from _common import RESULTS, data_hash, load, replace_table, save
from reproduce import LONG, SAMPLED, load_data

from skclip import CLIPSessionRecommender
from skclip.metrics import mrr_at_k, recall_at_k

FEW = {"loss": "sampled_softmax", "n_negatives": 2048}
SETTINGS = [
    {"max_epochs": 3, "temperature": 0.1},
    {"max_epochs": 3, "temperature": 0.07},
    FEW | {"max_epochs": 3, "temperature": 0.1},
    FEW | {"max_epochs": 3, "temperature": 0.07},
    FEW | {"max_epochs": 6, "temperature": 0.07},
    FEW | {"max_epochs": 6, "temperature": 0.07, "n_negatives": 8192},
    FEW | {"max_epochs": 6, "temperature": 0.07, "learning_rate": 0.01},
    FEW | {"max_epochs": 6, "temperature": 0.05, "learning_rate": 0.01},
    FEW | {"max_epochs": 10, "temperature": 0.07, "learning_rate": 0.01},
    LONG,
    LONG | {"max_epochs": 10},
    LONG | {"backbone": "niser"},
    SAMPLED | {"backbone": "gcegnn"},
    LONG | {"backbone": "gcegnn"},
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
            setting.get("backbone", "gru4rec"), preset="strong", random_state=0,
            early_stopping=False, n_threads=1,
            **{k: v for k, v in setting.items() if k != "backbone"}
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
    names = "backbone | loss | epochs | temperature | learning rate | Recall@20"
    lines = [f"| {names} | MRR@20 | CPU |"]
    lines.append("|---" * 8 + "|")
    for row in sorted(rows, key=lambda row: SETTINGS.index(row["setting"])):
        s = row["setting"]
        loss = f"{s['n_negatives']:,} sampled" if "loss" in s else "full softmax"
        lines.append(
            f"| {s.get('backbone', 'gru4rec')} | {loss} | {s['max_epochs']} | "
            f"{s['temperature']} | {s.get('learning_rate', 0.005)} | "
            f"{row['recall@20']:.4f} | {row['mrr@20']:.4f} | "
            f"{row['cpu_seconds']:.0f} s |"
        )
    replace_table("benchmarks/README.md", "tune_strong", "\n".join(lines))


if __name__ == "__main__":
    main()
