"""Settings of the simple baselines, by random search on validation parts.

    SKCLIP_DATA=... python -m benchmarks.choose.tune_baselines rsc15 --trials 100

rsc15: train_tr -> train_valid. diginetica, tmall: the last twentieth of the training
sessions validates (every third of them), the rest trains. On these three every model
has at least 30 trials, the neighbors on rsc15 and tmall 100, and the choice is by
MRR@20. The other logs of `_data.LOGS` have 30 trials each of V-SKNN and VSTAN (ml_100k
15), and `chosen_row` takes the largest product of Recall@20 and MRR@20. Nothing here
looks at a test part. A trial that has a row is not run again; more trials go on with
the same draws.
"""

import json
import time

import numpy as np

from benchmarks._data import LOGS, log_train_and_valid
from benchmarks._results import add_row, environment, new_parser, rows_of
from skclip import SLIST, AssociationRules, MarkovRecommender, SequentialRules
from skclip.baselines import SessionKNN
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "choose/tune_baselines.jsonl"
NEIGHBORS = {
    "n_neighbors": [100, 200, 500, 1000, 1500],
    "sample_size": [1000, 2500, 5000, 10000],
}
LAMBDAS = {
    "lambda1": [0.5, 1.0, 2.0, 4.9],
    "lambda2": [1.0, 2.5, 5.0, 10.0, 20.0, 40.0],
    "lambda3": [0.5, 1.0, 2.0, 4.9, 10.0],
}
WEIGHTINGS = ["same", "linear", "div", "quadratic", "log"]
IDF = [0.0, 1.0, 2.0, 5.0, 10.0]
SPACES = {
    "markov": (MarkovRecommender, {"tie_break": [None, "first"]}),
    "ar": (AssociationRules, {}),
    "sr": (SequentialRules, {"max_gap": [1, 5, 10, 20], "weighting": WEIGHTINGS}),
    "sknn": (SessionKNN, {"variant": ["sknn"], **NEIGHBORS}),
    "vsknn": (
        SessionKNN,
        {"variant": ["vsknn"], **NEIGHBORS, "weighting": WEIGHTINGS,
         "decay": WEIGHTINGS, "idf_weight": IDF},
    ),
    "stan": (SessionKNN, {"variant": ["stan"], **NEIGHBORS, **LAMBDAS}),
    "vstan": (
        SessionKNN,
        {"variant": ["vstan"], **NEIGHBORS, **LAMBDAS,
         "lambda4": [0.5, 1.225, 2.0, 4.9], "idf_weight": IDF},
    ),
    "slist": (
        SLIST,
        {"alpha": [0.0, 0.2, 0.4, 0.6, 0.8], "delta_pos": [0.25, 0.5, 1.0, 2.0],
         "delta_inf": [0.5, 1.0, 2.0, 4.0], "delta_time": [4.0, 8.0, 32.0, 128.0],
         "direction": ["part", "sr"]},
    ),
}  # fmt: skip
TIMED = ("lambda2", "delta_time")  # left out where there are no times


def parts(data):
    """Training and validation sessions."""
    train, valid = log_train_and_valid(data)
    if data in ("diginetica", "tmall"):
        return train, valid[::3]
    every = max(1, round((valid.lengths - 1).sum() / 10_000))
    return train, valid if data.startswith("rsc15") else valid[::every]


def trials(name, n_trials, timed, rng):
    space = SPACES[name][1]
    space = {k: v for k, v in space.items() if timed or k not in TIMED}
    n_settings = int(np.prod([len(v) for v in space.values()]))
    chosen = []
    while len(chosen) < min(n_trials, n_settings):
        setting = {k: v[rng.integers(len(v))] for k, v in space.items()}
        if setting not in chosen:
            chosen.append(setting)
    return chosen


def chosen_baselines(data, criteria=("mrr@20",)):
    """Best settings of each model on the validation part, by the sum of `criteria`."""
    best = {}
    for row in rows_of(ROWS):
        if row["data"] == data:
            score = sum(row[name] for name in criteria)
            if score > best.get(row["model"], (0, None))[0]:
                best[row["model"]] = score, row["settings"]
    return {name: settings for name, (_, settings) in best.items()}


def chosen_row(log, models=("vsknn", "vstan")):
    """The row of the neighbors with the best sum of logarithms of both metrics."""
    rows = [r for r in rows_of(ROWS) if r["data"] == log and r["model"] in models]
    return max(rows, key=lambda row: row["recall@20"] * row["mrr@20"])


def run(data, name, setting, train, valid):
    begun = time.perf_counter()
    model = SPACES[name][0](**setting).fit(train)
    fit_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    ranks = model.rank_targets(valid)
    row = {
        "data": data,
        "model": name,
        "settings": setting,
        "mrr@20": mrr_at_k(ranks, 20),
        "recall@20": recall_at_k(ranks, 20),
        "fit_seconds": fit_seconds,
        "ms_per_query": 1000 * (time.perf_counter() - begun) / len(ranks),
        "environment": environment(),
    }
    add_row(ROWS, row)
    print(data, name, setting, f"{row['recall@20']:.4f}", f"{row['mrr@20']:.4f}",
          flush=True)  # fmt: skip


def main():
    parser = new_parser(__doc__)
    parser.add_argument("data", nargs="+", choices=LOGS)
    parser.add_argument("--models", nargs="+", default=list(SPACES), choices=SPACES)
    parser.add_argument("--trials", type=int, default=30)
    arguments = parser.parse_args()
    rows = rows_of(ROWS)
    done = {(r["data"], r["model"], json.dumps(r["settings"])) for r in rows}
    for data in arguments.data:
        train, valid = parts(data)
        for name in arguments.models:
            if name == "slist" and data != "rsc15":
                continue  # 40,000 items and more: a fit takes too long to be searched
            rng = np.random.default_rng(list(SPACES).index(name))
            timed = train.times is not None
            for setting in trials(name, arguments.trials, timed, rng):
                if (data, name, json.dumps(setting)) not in done:
                    run(data, name, setting, train, valid)


if __name__ == "__main__":
    main()
