"""The former strong preset where clicks are few: settings of its own for every variant.

    SKCLIP_DATA=... python -m benchmarks.choose.tune_sparse run --backbones gru4rec core
    python -m benchmarks.choose.tune_sparse table

On every 8th training session of rsc15_100k (train_tr; validation: all of train_valid) a
backbone gets the same trials of epochs, learning rate, temperature and embedding with
every variant: no prompt, clusters, and their controls (see `recipe.py`). The first five
are the preset (`benchmarks/_november.py`) for six epochs, for fewer and for more; the
others are drawn. So a gain of clusters that goes away once a control is trained for
longer, or at another temperature, does not count as one. Chosen by MRR@20 of seed 0,
for each backbone and variant apart; `report/reproduce.py` runs what was chosen on the
test part (form "tuned"). No test part is opened here. A trial that has a row is not run
again; more trials go on with the same draws.
"""

import itertools
import time
from collections import defaultdict

import numpy as np

from benchmarks._data import train_and_valid
from benchmarks._november import old_strong
from benchmarks._results import add_row, environment, markdown, new_parser, rows_of
from benchmarks.choose.recipe import SCORER, clusterer
from skclip import CLIPSessionRecommender
from skclip.backbones import BACKBONES

ROWS = "choose/tune_sparse.jsonl"
EVERY = 8
VARIANTS = ("none", "leiden", "random", "one", "levels", "random levels")
SPACE = {
    "max_epochs": [4, 6, 9, 13, 20],
    "learning_rate": [0.00125, 0.0025, 0.005, 0.01],
    "temperature": [0.05, 0.07, 0.1, 0.14],
    "embedding_dim": [32, 64, 128],
}


def trials(n_trials):
    """The preset at several numbers of epochs, then random settings."""
    rng = np.random.default_rng(0)
    chosen = [{"max_epochs": n} for n in SPACE["max_epochs"]]
    while len(chosen) < n_trials:
        setting = {k: v[rng.integers(len(v))] for k, v in SPACE.items()}
        if setting not in chosen:
            chosen.append(setting)
    return chosen


def best_settings(backbone):
    """Best row of each variant, once all have had the same trials."""
    tried = {variant: [] for variant in VARIANTS}
    for row in rows_of(ROWS):
        if row["cell"]["backbone"] == backbone:
            tried[row["cell"]["variant"]].append(row)
    counts = {variant: len(rows) for variant, rows in tried.items()}
    if len(set(counts.values())) > 1 or not counts["none"]:
        raise SystemExit(f"Trials of {backbone}: {counts}. Run as many of each first.")
    return {v: max(rows, key=lambda row: row["mrr@20"]) for v, rows in tried.items()}


def run(backbones, variants, n_trials):
    train, valid = train_and_valid("rsc15")
    train = train[::EVERY]
    done = [row["cell"] for row in rows_of(ROWS)]
    for backbone, variant, setting in itertools.product(
        backbones, variants, trials(n_trials)
    ):
        cell = {"backbone": backbone, "variant": variant, "setting": setting, "seed": 0}
        if cell in done:
            continue
        begun = time.perf_counter()
        options = {"early_stopping": False} | clusterer(variant) | setting
        model = CLIPSessionRecommender(backbone, random_state=0)
        model.set_params(**old_strong(backbone, train, **options)).fit(train)
        row = {
            "cell": cell,
            **SCORER(model, valid),
            "resolved": {
                k: model.resolved_params_[k] for k in (*SPACE, "batch_size", "loss")
            },
            "seconds": time.perf_counter() - begun,
            "environment": environment(),
        }
        add_row(ROWS, row)
        print(
            f"{backbone} {variant} {setting}: {row['recall@20']:.4f} / "
            f"{row['mrr@20']:.4f}, {row['seconds']:.0f} s",
            flush=True,
        )


def print_table():
    """The preset as it is beside what was chosen, by backbone and variant."""
    head = [
        "backbone", "variant", "the preset, six epochs: MRR@20", "chosen: MRR@20",
        "Recall@20", "epochs", "learning rate", "temperature", "embedding", "trials",
    ]  # fmt: skip
    groups, lines = defaultdict(list), []
    for row in rows_of(ROWS):
        groups[row["cell"]["backbone"], row["cell"]["variant"]].append(row)
    tried = [name for name in BACKBONES if (name, "none") in groups]
    for backbone, variant in itertools.product(tried, VARIANTS):
        row, some = best_settings(backbone)[variant], groups[backbone, variant]
        plain = next(r for r in some if r["cell"]["setting"] == {"max_epochs": 6})
        cells = [backbone, variant, f"{plain['mrr@20']:.4f}", f"{row['mrr@20']:.4f}"]
        cells.append(f"{row['recall@20']:.4f}")
        cells += [f"{row['resolved'][k]:g}" for k in SPACE]
        lines.append([*cells, str(len(some))])
    print(markdown(head, lines))


def main():
    parser = new_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    command.add_argument("--variants", nargs="+", default=VARIANTS)
    command.add_argument("--trials", type=int, default=20)
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        print_table()
    else:
        run(arguments.backbones, arguments.variants, arguments.trials)


if __name__ == "__main__":
    main()
