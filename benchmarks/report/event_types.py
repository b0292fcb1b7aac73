"""Types and weights of events on the test part of retailrocket_last8days.

    SKCLIP_DATA=... python -m benchmarks.report.event_types run
    SKCLIP_DATA=... python -m benchmarks.report.event_types compare
    python -m benchmarks.report.event_types table

Days 1 to 6 train, days 7 and 8 test, visits of two events or more. Models: the default
recipe with ``repeats=False``, without types and weights, with each, and with both; and
VSTAN with the settings of `choose/tune_baselines.py`, without and with weights. Weights
are the best unequal ones of `choose/event_weights.py`, on a validation part.

All models rank the same targets, every click behind the first of its session. They are
then counted by the type of the target: every one, those that are put in the cart, those
that are bought, and both of these. The whole catalog is ranked, ties count against the
target, a target that was not seen in training is a miss. Intervals: 95 %, of the mean
over seeds of a difference, by 10,000 draws of test sessions. Ranks stay on the machine
that made them. A cell that has a row is not run again.
"""

import time

import numpy as np

from benchmarks._data import days_of, prefix_sessions
from benchmarks._intervals import gain, interval, of_targets
from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    markdown,
    new_parser,
    replace_table,
    result_file,
    rows_of,
    save,
)
from benchmarks.choose.event_weights import (
    METRICS,
    chosen_weights,
    model_of,
    target_masks,
    values_of,
    weighted,
)
from benchmarks.report._test_parts import log_test_evaluation, retailrocket

ROWS = "report/event_types.jsonl"
DIFFERENCES = "report/event_types.json"
RANKS = result_file("report/ranks")
MODELS = {  # model, features of clicks, whether events have weights
    "network": ("network", None, False),
    "network, types": ("network", "event", False),
    "network, weights": ("network", None, True),
    "network, types and weights": ("network", "event", True),
    "neighbors": ("neighbors", None, False),
    "neighbors, weights": ("neighbors", None, True),
}
KINDS = {"next": "next item", "cart": "put in the cart", "purchase": "bought"}


def parts():
    """Training and test sessions, with types."""
    X = retailrocket(event="event")
    days = days_of(X)
    return X[days <= 6], X[days > 6]


def run(name, seed, train, test):
    base, click_features, with_weights = MODELS[name]
    weights = chosen_weights(base) if with_weights else None
    model = model_of(base, seed, click_features)
    begun = time.process_time()
    model.fit(weighted(train, weights))
    seconds = time.process_time() - begun
    ranks = model.rank_targets(test)
    RANKS.mkdir(parents=True, exist_ok=True)
    np.save(ranks_file(name, seed), ranks)
    values = values_of(ranks, test)
    row = {
        "model": name,
        "seed": seed,
        "weights": weights,
        "targets": values,
        "fit_cpu_seconds": seconds,
        "data_hash": {"train": data_hash(train), "test": data_hash(test)},
        "environment": environment(),
    }
    add_row(ROWS, row)
    log_test_evaluation(
        "event_types.py", "retailrocket", f"{name}, seed {seed}", values["next"]
    )
    shown = (f"{kind} {values[kind]['mrr@20']:.4f}" for kind in KINDS)
    print(name, seed, *shown, f"{seconds:.0f} s", flush=True)


def ranks_file(name, seed):
    return RANKS / f"event_types-{name.replace(', ', '-').replace(' ', '_')}-{seed}.npy"


def cells(name):
    return [row for row in rows_of(ROWS) if row["model"] == name]


def base_of(name):
    return name.split(", ")[0]


def differences(test):
    """Each model less the plain one, by kind of target and metric, with intervals."""
    sessions = prefix_sessions(test)
    rows = []
    for name in MODELS:
        seeds = {row["seed"] for row in cells(name)}
        seeds &= {row["seed"] for row in cells(base_of(name))}
        if name == base_of(name) or not seeds:
            continue
        row = {"model": name, "seeds": sorted(seeds)}
        for kind, mask in target_masks(test).items():
            row[kind] = {
                metric: of_targets(
                    mean_gain(name, metric, row["seeds"])[mask]
                    - mean_gain(base_of(name), metric, row["seeds"])[mask],
                    sessions[mask],
                )
                for metric in METRICS
            }
        rows.append(row)
    return rows


def mean_gain(name, metric, seeds):
    files = [ranks_file(name, seed) for seed in seeds]
    return np.mean([gain(np.load(file), metric) for file in files], axis=0)


def table():
    head = ["model", *KINDS.values(), "seeds"]
    lines = []
    for name in MODELS:
        rows = cells(name)
        if not rows:
            continue
        values = [
            " / ".join(
                f"{np.mean([r['targets'][kind][metric] for r in rows]):.4f}"
                for metric in METRICS
            )
            for kind in KINDS
        ]
        lines.append([name, *values, str(len(rows))])
    return markdown(head, lines)


def table_of_differences():
    head = ["model less the plain one", "metric", *KINDS.values()]
    lines = [
        [row["model"], metric.title().replace("Mrr", "MRR")]
        + [interval(row[kind][metric]) for kind in KINDS]
        for row in rows_of(DIFFERENCES)
        for metric in METRICS
    ]
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "compare", "table"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    page = "benchmarks/lab/2026-12-01-types-and-weights-of-events.md"
    if arguments.command == "run":
        train, test = parts()
        for seed in arguments.seeds:
            for name in arguments.models:
                done = {row["seed"] for row in cells(name)}
                if seed not in done and not (seed and base_of(name) == "neighbors"):
                    run(name, seed, train, test)
    elif arguments.command == "compare":
        found = differences(parts()[1])
        save(DIFFERENCES, {"protocol": __doc__, "rows": found})
    else:
        replace_table(page, "event_types", table())
        replace_table(page, "event_types_differences", table_of_differences())


if __name__ == "__main__":
    main()
