"""Popularity, tuned neighbors and the default recommender on the test parts of 8 logs.

    SKCLIP_DATA=... python -m benchmarks.report.eight_logs run
    SKCLIP_DATA=... python -m benchmarks.report.eight_logs differences
    python -m benchmarks.report.eight_logs table

Models: popularity; the best V-SKNN or VSTAN of `choose/tune_baselines.py`, chosen on
the validation part; ``CLIPSessionRecommender()`` with nothing set but the seed and the
number of threads; the same without prompts; the same with random clusters of the same
sizes. All are fitted on the training and the validation part. Seeds 0, 1 and 2 where a
fit of seed 0 takes less than three minutes, else seed 0.

The whole catalog is ranked, ties count against the target, and a target that was not
seen in training is a miss. Test: the given pairs of diginetica and tmall, every prefix
otherwise. The defaults were chosen in `choose/defaults.py`, on validation parts alone.

Intervals: 95 %, of the mean over seeds of a difference, by 10,000 draws of test
sessions. They do not contain what other seeds would have changed. A cell that has a row
is not run again. Writes tables of README.md and docs/comparison.md.
"""

import time

import numpy as np

from benchmarks._data import LOGS
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
)
from skclip.controls import RandomClusters
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "report/eight_logs.jsonl"
DIFFERENCES = "report/eight_logs.json"
RANKS = result_file("report/ranks")
METRICS = {"recall@20": recall_at_k, "mrr@20": mrr_at_k}
NETWORKS = {
    "default": {},
    "no prompts": {"prompt": None},
    "random clusters": {"clusterer": RandomClusters()},
}
MODELS = ("popularity", "neighbors", *NETWORKS)
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
    train, X, y = parts
    model = model_of(log, name, seed, n_threads)
    begun = time.perf_counter()
    model.fit(train)
    fitted = time.perf_counter()
    ranks = model.rank_targets(X, y)
    values = {metric: f(ranks, 20) for metric, f in METRICS.items()}
    row = {
        "log": log,
        "model": name,
        "seed": seed,
        **values,
        "fit_seconds": fitted - begun,
        "rank_seconds": time.perf_counter() - fitted,
        "threads": n_threads,
        "n_targets": len(ranks),
        "epochs": getattr(model, "n_iter_", None),
        "loss": getattr(model, "resolved_params_", {}).get("loss"),
        "data_hash": {"train": data_hash(train), "test": data_hash(X)},
        "environment": environment(),
    }
    if name == "neighbors":
        row["settings"] = model.get_params()
    RANKS.mkdir(parents=True, exist_ok=True)
    np.save(ranks_file(log, name, seed), ranks)
    add_row(ROWS, row)
    log_test_evaluation("eight_logs.py", log, f"{name}, seed {seed}", values)
    shown = " / ".join(f"{value:.4f}" for value in values.values())
    print(
        f"{log}, {name}, seed {seed}: {shown}, {row['fit_seconds']:.1f} s", flush=True
    )
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


# -- differences and tables ------------------------------------------------------------


def differences(log):
    """Metrics of the default less those of each other model, with intervals."""
    _, X, y = log_train_and_test(log)
    if y is None:
        of_session = np.repeat(np.arange(len(X)), np.maximum(X.lengths - 1, 0))
    else:
        of_session = np.unique(X.ids, return_inverse=True)[1]
    n_sessions = of_session.max() + 1
    sizes = np.bincount(of_session, minlength=n_sessions)
    found = {}
    for metric in METRICS:
        sums = {}
        for name in MODELS:
            seeds = [r["seed"] for r in cells(log, name)]
            gains = [gain(np.load(ranks_file(log, name, s)), metric) for s in seeds]
            sums[name] = np.bincount(of_session, np.mean(gains, axis=0), n_sessions)
        for name in MODELS:
            if name != "default":
                drawn = draws(sums["default"] - sums[name], sizes)
                found.setdefault(name, {})[metric] = drawn
    return found


def clicks_per_item(log):
    train, _, _ = log_train_and_test(log)
    return round(train.n_events / len(np.unique(train.codes)), 1)


def gain(ranks, metric):
    """What each target adds to the mean of a metric."""
    hits = ranks <= 20
    return hits.astype(float) if metric == "recall@20" else hits / ranks


def draws(sums, sizes, n_draws=10_000):
    """Mean over targets, and its 95 % interval over sessions."""
    rng = np.random.default_rng(0)
    drawn = np.empty(n_draws)
    for i in range(n_draws):
        at = rng.integers(len(sums), size=len(sums))
        drawn[i] = sums[at].sum() / sizes[at].sum()
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [float(sums.sum() / sizes.sum()), float(low), float(high)]


def cells(log, name):
    return [r for r in rows_of(ROWS) if (r["log"], r["model"]) == (log, name)]


def mean(log, name, key):
    return float(np.mean([row[key] for row in cells(log, name)]))


def both(log, name):
    values = (f"{mean(log, name, m):.3f}".removeprefix("0") for m in METRICS)
    return " / ".join(values)


def short_table():
    head = ["click log", "popularity", "neighbors", "skclip's default", "its fit"]
    lines = [
        [NAMES.get(log, log)]
        + [both(log, name) for name in ("popularity", "neighbors", "default")]
        + [f"{mean(log, 'default', 'fit_seconds'):.0f} s"]
        for log in LOGS
        if cells(log, "default")
    ]
    return markdown(head, lines)


def long_table():
    head = ["click log", "model", "Recall@20", "MRR@20", "seeds", "fit",
            "default less this: Recall@20", "MRR@20"]  # fmt: skip
    found = load(DIFFERENCES)["differences"]
    lines = []
    for log in found:
        for name in MODELS:
            of_model = cells(log, name)
            against = found[log].get(name)
            lines.append(
                [NAMES.get(log, log), name]
                + [f"{mean(log, name, metric):.4f}" for metric in METRICS]
                + [str(len(of_model)), f"{mean(log, name, 'fit_seconds'):.1f} s"]
                + [interval(against[m]) if against else "" for m in METRICS]
            )
    return markdown(head, lines)


def interval(values):
    mean, low, high = values
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "differences", "table"])
    parser.add_argument("logs", nargs="*", help=f"of {LOGS}; all by default")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logs = arguments.logs or LOGS
    if arguments.command == "run":
        for log in logs:
            run_log(log, arguments.threads)
    elif arguments.command == "differences":
        found = {log: differences(log) for log in logs}
        content = {"protocol": __doc__, "differences": found}
        save(
            DIFFERENCES,
            content | {"clicks_per_item": {log: clicks_per_item(log) for log in logs}},
        )
    else:
        replace_table("README.md", "eight_logs", short_table())
        replace_table("docs/comparison.md", "eight_logs", long_table())


if __name__ == "__main__":
    main()
