"""What the recommender's defaults should be: trials on the validation parts of 8 logs.

    SKCLIP_DATA=... python -m benchmarks.choose.defaults small large --workers 2
    python -m benchmarks.choose.defaults --table

Criterion, written down before the first trial: the mean over the eight logs of

    log(Recall@20 / that of the neighbors) + log(MRR@20 / that of the neighbors),

where the neighbors are the best VSTAN or V-SKNN of `choose/tune_baselines.py`, fitted
on the same training part (rows with the setting {"model": ...}). A setting that needs
more than five minutes on two cores for 700,000 clicks and 40,000 items is out.
Differences below 0.01 are no reason to change a setting. Budget: one hour on two cores,
one thread for each fit. `lab/2026-11-29-defaults-by-evidence.md` has what was decided.

Training parts of diginetica, tmall and lastfm are a quarter of their sessions ("large"
logs); "lastfm_all" and so on have all of them. Of long validation parts an even sample
of sessions is ranked, every prefix. No test part is opened. A trial that has a row is
not run again.
"""

import json
import math
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache

from benchmarks._data import LOGS, log_train_and_valid
from benchmarks._results import add_row, environment, markdown, new_parser, rows_of
from benchmarks.choose._defaults_trials import TRIALS
from benchmarks.choose.tune_baselines import chosen_row
from skclip import CLIPSessionRecommender, SessionClusterer, SessionKNN
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "choose/defaults.jsonl"
LARGE = ("diginetica", "tmall", "lastfm")
ALL = [f"{log}_all" for log in LARGE]
SIZES = {"small": [log for log in LOGS if log not in LARGE], "large": list(LARGE)}
_MOST_TARGETS = 10_000


@cache
def parts(log):
    """Training sessions, and the validation sessions that are ranked."""
    train, valid = log_train_and_valid(log.removesuffix("_all"))
    if log in LARGE:
        train = train[::4]
    every = max(1, round((valid.lengths - 1).sum() / _MOST_TARGETS))
    return train, valid[::every]


def model_of(setting):
    setting = dict(setting)
    if "resolution" in setting:
        resolution = tuple(setting.pop("resolution"))
        setting["clusterer"] = SessionClusterer(resolution=resolution)
    backbone = setting.pop("backbone", "gru4rec")
    model = CLIPSessionRecommender(backbone, n_threads=1)
    return model.set_params(**setting)


def run(log, setting, seed):
    train, valid = parts(log)
    model = model_of(setting).set_params(random_state=seed)
    begun = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - begun
    resolved = model.resolved_params_
    return result(log, setting, model, seconds) | {
        "seed": seed,
        "epochs": model.n_iter_,
        "train_loss": model.history_[-1]["train_loss"],
        "batch_size": resolved["batch_size"],
        "loss": resolved["loss"],
        "repeats": resolved["repeats"],
    }


def result(log, setting, model, seconds):
    ranks = model.rank_targets(parts(log)[1])
    return {
        "log": log,
        "setting": setting,
        "recall@20": recall_at_k(ranks, 20),
        "mrr@20": mrr_at_k(ranks, 20),
        "fit_seconds": seconds,
        "n_targets": len(ranks),
        "environment": environment(),
    }


def neighbors_of(log):
    """The row of the tuned neighbors, fitted on the training part of the trials."""
    for row in rows_of(ROWS):
        if row["log"] == log and "model" in row["setting"]:
            return row
    settings = chosen_row(log.removesuffix("_all"))["settings"]
    begun = time.perf_counter()
    model = SessionKNN(**settings).fit(parts(log)[0])
    seconds = time.perf_counter() - begun
    setting = {"model": "neighbors"} | settings
    row = result(log, setting, model, seconds) | {"seed": 0}
    add_row(ROWS, row)
    return row


def key_of(log, setting, seed):
    return json.dumps([log, sorted(setting.items()), seed])


def gain(row, neighbors):
    """Sum of the logarithms of both ratios to the neighbors."""
    return sum(math.log(row[m] / neighbors[m]) for m in ("recall@20", "mrr@20"))


def main():
    parser = new_parser(__doc__)
    parser.add_argument("sizes", nargs="*", choices=[[], *SIZES, *LOGS, *ALL])
    parser.add_argument("--trials", nargs="+", help="names of trials (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if not arguments.table:
        logs = [log for size in arguments.sizes for log in SIZES.get(size, [size])]
        names = arguments.trials or list(TRIALS)
        done = {key_of(r["log"], r["setting"], r["seed"]) for r in rows_of(ROWS)}
        todo = [
            (log, TRIALS[name], seed)
            for name in names
            for log in logs
            for seed in arguments.seeds
            if key_of(log, TRIALS[name], seed) not in done
        ]
        with ProcessPoolExecutor(arguments.workers) as pool:
            for future in as_completed(pool.submit(run, *trial) for trial in todo):
                row = future.result()
                add_row(ROWS, row)
                values = f"{row['recall@20']:.4f} {row['mrr@20']:.4f}"
                print(row["log"], row["setting"], values, f"{row['fit_seconds']:.0f} s",
                      flush=True)  # fmt: skip
    print(table())


def table():
    """Gain over the neighbors of each trial on each log, mean over seeds."""
    found = {}
    logs = [*LOGS, *ALL]
    neighbors = {log: neighbors_of(log) for log in logs}
    for row in rows_of(ROWS):
        if "model" in row["setting"]:
            continue
        name = json.dumps(sorted(row["setting"].items()))
        cells = found.setdefault(name, {})
        cells.setdefault(row["log"], []).append(gain(row, neighbors[row["log"]]))
    lines = []
    for name, cells in found.items():
        means = {log: sum(v) / len(v) for log, v in cells.items()}
        shown = ", ".join(f"{k}={v}" for k, v in json.loads(name))
        lines.append(
            [shown]
            + [f"{means[log]:+.3f}" if log in means else "" for log in logs]
            + [f"{sum(means.values()) / len(means):+.3f} of {len(means)}"]
        )
    return markdown(["setting", *logs, "mean"], lines)


if __name__ == "__main__":
    main()
