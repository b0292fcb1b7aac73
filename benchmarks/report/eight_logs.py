"""Popularity, neighbors, the default recommender and a blend on the tests of 8 logs.

    SKCLIP_DATA=... python -m benchmarks.report.eight_logs run
    SKCLIP_DATA=... python -m benchmarks.report.eight_logs blend
    SKCLIP_DATA=... python -m benchmarks.report.eight_logs differences
    python -m benchmarks.report.eight_logs table

Models of "run": popularity; the best V-SKNN or VSTAN of `choose/tune_baselines.py`,
chosen on the validation part; ``CLIPSessionRecommender(repeats=False)`` with nothing
else set but the seed and the number of threads; the same without prompts; the same with
random clusters of the same sizes. Models of "blend": the recommender with nothing set,
and a `VotingRecommender` of it and the neighbors, with ``method="blend"`` and
``weights="auto"``, whose member it is. All are fitted on the training and the
validation part. Seeds 0, 1 and 2 where a fit of seed 0 takes less than three minutes,
else seed 0.

The whole catalog is ranked, ties count against the target, and a target that was not
seen in training is a miss. Test: the given pairs of diginetica and tmall, every prefix
otherwise. The defaults were chosen in `choose/defaults.py`, on validation parts alone.

Intervals: 95 %, of the mean over seeds of a difference, by 10,000 draws of test
sessions. They do not contain what other seeds would have changed. Those of "run" and of
"blend" are kept apart: ranks of "run" were not kept. A cell that has a row is not run
again. Writes tables of README.md and of two laboratory notes.
"""

import time

import numpy as np

from benchmarks._data import LOGS, prefix_sessions
from benchmarks._intervals import draws, gain, interval
from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    load,
    markdown,
    new_parser,
    replace_table,
    result_file,
    rows_of,
    save,
)
from benchmarks.choose.tune_baselines import chosen_row
from benchmarks.report._test_parts import log_test_evaluation, log_train_and_test
from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionKNN,
    VotingRecommender,
)
from skclip.controls import RandomClusters
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "report/eight_logs.jsonl"
DIFFERENCES = "report/eight_logs.json"
OF_BLEND = "report/eight_logs_blend.json"
RANKS = result_file("report/ranks")
NOTE = "benchmarks/lab/2026-11-29-default-beside-its-neighbors.md"
NOTE_ON_BLEND = "benchmarks/lab/2026-11-30-blend-and-bias-for-repeats.md"
METRICS = {"recall@20": recall_at_k, "mrr@20": mrr_at_k}
NETWORKS = {  # "default" was the default before `repeats` was a parameter
    "default": {"repeats": False},
    "no prompts": {"repeats": False, "prompt": None},
    "random clusters": {"repeats": False, "clusterer": RandomClusters()},
}
MODELS = ("popularity", "neighbors", *NETWORKS)
BLEND = ("repeats", "blend")
SHOWN = {"default": "no bias for repeats", "repeats": "default"}
SHORT_FIT = 180  # seconds
NAMES = {"rsc15": "rsc15_100k", "rsc15_16": "rsc15_100k, 1/16", "lastfm": "lastfm_tail",
         "retailrocket": "retailrocket_last8days",
         "wikispeedia": "wikispeedia_unfinished"}  # fmt: skip


def model_of(log, name, seed, n_threads):
    if name == "popularity":
        return PopularityRecommender()
    if name == "neighbors":
        return SessionKNN(**chosen_row(log)["settings"])
    model = CLIPSessionRecommender(random_state=seed, n_threads=n_threads)
    return model.set_params(**NETWORKS[name])


def run(log, name, seed, parts, n_threads):
    model = model_of(log, name, seed, n_threads)
    begun = time.perf_counter()
    model.fit(parts[0])
    seconds = time.perf_counter() - begun
    return evaluate(log, name, seed, parts, n_threads, model, seconds)


def run_blend(log, seed, parts, n_threads):
    """The blend, and the network that is its member and is not timed alone."""
    members = [
        ("network", CLIPSessionRecommender(random_state=seed, n_threads=n_threads)),
        ("neighbors", model_of(log, "neighbors", seed, n_threads)),
    ]
    model = VotingRecommender(members, method="blend", weights="auto")
    begun = time.perf_counter()
    model.fit(parts[0])
    seconds = time.perf_counter() - begun
    network, neighbors = model.estimators_
    evaluate(log, "repeats", seed, parts, n_threads, network, None)
    ranks = neighbors.rank_targets(*parts[1:])
    np.save(ranks_file(log, "neighbors", 0), ranks)
    return evaluate(log, "blend", seed, parts, n_threads, model, seconds)


def evaluate(log, name, seed, parts, n_threads, model, fit_seconds):
    """Rank the test part, keep ranks and a row."""
    train, X, y = parts
    begun = time.perf_counter()
    ranks = model.rank_targets(X, y)
    values = {metric: f(ranks, 20) for metric, f in METRICS.items()}
    row = {
        "log": log,
        "model": name,
        "seed": seed,
        **values,
        "fit_seconds": fit_seconds,
        "rank_seconds": time.perf_counter() - begun,
        "threads": n_threads,
        "n_targets": len(ranks),
        "epochs": getattr(model, "n_iter_", None),
        "loss": getattr(model, "resolved_params_", {}).get("loss"),
        "repeats": getattr(model, "resolved_params_", {}).get("repeats"),
        "data_hash": {"train": data_hash(train), "test": data_hash(X)},
        "environment": environment(),
    }
    if name == "neighbors":
        row["settings"] = model.get_params()
    if name == "blend":
        row["weights"] = model.weights_.tolist()
        row["temperatures"] = model.temperatures_.tolist()
    RANKS.mkdir(parents=True, exist_ok=True)
    np.save(ranks_file(log, name, seed), ranks)
    add_row(ROWS, row)
    log_test_evaluation("eight_logs.py", log, f"{name}, seed {seed}", values)
    shown = " / ".join(f"{value:.4f}" for value in values.values())
    print(f"{log}, {name}, seed {seed}: {shown}, {fit_seconds} s", flush=True)
    return row


def ranks_file(log, name, seed):
    return RANKS / f"eight_logs-{log}-{name.replace(' ', '_')}-{seed}.npy"


def run_log(log, n_threads):
    parts = log_train_and_test(log)
    done = {
        (row["model"], row["seed"]): row for row in rows_of(ROWS) if row["log"] == log
    }
    for name in MODELS:
        for seed in range(3 if name in NETWORKS else 1):
            first = done.get(("default", 0))
            if seed and first["fit_seconds"] >= SHORT_FIT:
                continue
            if (name, seed) not in done:
                done[name, seed] = run(log, name, seed, parts, n_threads)


def blend_log(log, seeds, n_threads):
    """Network and blend, of no more seeds than the network had in "run"."""
    parts = log_train_and_test(log)
    done = {row["seed"] for row in cells(log, "blend")}
    had = {row["seed"] for row in cells(log, "default")}
    for seed in sorted(had & set(seeds) - done):
        run_blend(log, seed, parts, n_threads)


# -- differences and tables ------------------------------------------------------------


def differences(log, models=MODELS, best="default"):
    """Metrics of one model less those of each other model, with intervals."""
    _, X, y = log_train_and_test(log)
    if y is None:
        of_session = prefix_sessions(X)
    else:
        of_session = np.unique(X.ids, return_inverse=True)[1]
    n_sessions = of_session.max() + 1
    sizes = np.bincount(of_session, minlength=n_sessions)
    found = {}
    for metric in METRICS:
        sums = {}
        for name in models:
            seeds = [r["seed"] for r in cells(log, name)]
            gains = [gain(np.load(ranks_file(log, name, s)), metric) for s in seeds]
            sums[name] = np.bincount(of_session, np.mean(gains, axis=0), n_sessions)
        for name in models:
            if name != best:
                drawn = draws(sums[best] - sums[name], sizes)
                found.setdefault(name, {})[metric] = drawn
    return found


def clicks_per_item(log):
    train, _, _ = log_train_and_test(log)
    return round(train.n_events / len(np.unique(train.codes)), 1)


def cells(log, name):
    return [r for r in rows_of(ROWS) if (r["log"], r["model"]) == (log, name)]


def mean(log, name, key):
    return float(np.mean([row[key] for row in cells(log, name)]))


def fit_time(log, name):
    if cells(log, name)[0]["fit_seconds"] is None:
        return ""
    return f"{mean(log, name, 'fit_seconds'):.1f} s"


def table_of_one_log(log="retailrocket"):
    shown = {"popularity": "popularity", "neighbors": "tuned nearest neighbors"}
    shown |= {"repeats": "skclip's default", "blend": "blend of default and neighbors"}
    lines = [
        [text, *(f"{mean(log, name, metric):.3f}" for metric in METRICS)]
        for name, text in shown.items()
    ]
    return markdown(["model", "Recall@20", "MRR@20"], lines)


def long_table(name="default", models=MODELS, file=DIFFERENCES):
    head = ["click log", "model", "Recall@20", "MRR@20", "seeds", "fit"]
    head += [f"{SHOWN.get(name, name)} less this: Recall@20", "MRR@20"]
    found = load(file)["differences"]
    lines = []
    for log in found:
        for name in models:
            of_model = cells(log, name)
            against = found[log].get(name)
            lines.append(
                [NAMES.get(log, log), SHOWN.get(name, name)]
                + [f"{mean(log, name, metric):.4f}" for metric in METRICS]
                + [str(len(of_model)), fit_time(log, name)]
                + [interval(against[m]) if against else "" for m in METRICS]
            )
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "blend", "differences", "table"])
    parser.add_argument("logs", nargs="*", help=f"logs among {LOGS} (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    logs = arguments.logs or LOGS
    if arguments.command == "run":
        for log in logs:
            run_log(log, arguments.threads)
    elif arguments.command == "blend":
        for log in logs:
            blend_log(log, arguments.seeds, arguments.threads)
    elif arguments.command == "differences":
        models = ("neighbors", *BLEND)
        found = {log: differences(log, models, "blend") for log in logs}
        save(OF_BLEND, {"protocol": __doc__, "differences": found})
    else:
        blend = long_table("blend", ("neighbors", *BLEND), OF_BLEND)
        replace_table("README.md", "one_log", table_of_one_log())
        replace_table(NOTE, "eight_logs", long_table())
        replace_table(NOTE_ON_BLEND, "eight_logs_blend", blend)


if __name__ == "__main__":
    main()
