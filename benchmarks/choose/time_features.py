"""Do times of clicks help? Trials on the validation parts of three logs with times.

    SKCLIP_DATA=... python -m benchmarks.choose.time_features run retailrocket
    SKCLIP_DATA=... python -m benchmarks.choose.time_features control retailrocket
    python -m benchmarks.choose.time_features compare
    python -m benchmarks.choose.time_features table

Fits the default recipe without features of clicks, with each of "gap", "dwell",
"position", "hour" and "weekday", with "dwell" and "position", which are those of
published models, and with all five. The control of a set has the same features and
shuffled times: sessions keep their items in order, and

- the gaps between clicks are permuted among all clicks of a part ("gap", "dwell");
- the starts of the sessions are permuted among its sessions ("hour", "weekday").

So a feature has the same values as often, and they say nothing of the items. The
position has no control but the fit without it.

Rule, written down before the first trial: times become part of the default if, for one
set, MRR@20 has an interval above that of no features and above that of the control, on
at least two of the three logs.

Parts are those of `choose/defaults.py`. For a budget of 30 minutes of one core only
every n-th training session is fitted, see `EVERY`, with ``repeats=False``, which needs
one fit instead of two. Intervals: 95 %, of the mean over seeds of a difference, by
10,000 draws of validation sessions. Ranks stay on the machine that made them. A trial
that has a row is not run again. No test part is opened.
"""

import time

import numpy as np

from benchmarks._data import prefix_sessions
from benchmarks._intervals import gain, interval, of_targets
from benchmarks._results import (
    add_row,
    environment,
    markdown,
    new_parser,
    replace_table,
    result_file,
    rows_of,
    save,
)
from benchmarks.choose.defaults import parts
from skclip import CLIPSessionRecommender, Sessions
from skclip.metrics import mrr_at_k, recall_at_k

NOTE = "benchmarks/lab/2026-12-01-time-inside-a-session.md"
ROWS = "choose/time_features.jsonl"
DIFFERENCES = "choose/time_features.json"
RANKS = result_file("choose/ranks")
EVERY = {"retailrocket": 2, "rsc15": 4, "ml_100k": 8}
NAMES = {"retailrocket": "retailrocket_last8days", "rsc15": "rsc15_100k"}
METRICS = {"recall@20": recall_at_k, "mrr@20": mrr_at_k}
OF_GAPS, OF_STARTS = {"gap", "dwell"}, {"hour", "weekday"}
ALONE = ("gap", "dwell", "position", "hour", "weekday")
SETS = [*((name,) for name in ALONE), ("dwell", "position"), ALONE]
TRIALS = {
    "run": [((), False), *((features, False) for features in SETS)],
    "control": [(features, True) for features in SETS if features != ("position",)],
}


def shuffled(X, features, rng):
    """The same sessions with other times, which keep their distribution."""
    first = X.offsets[:-1]
    gaps = np.diff(X.times, prepend=0.0)
    inner = np.ones(X.n_events, dtype=bool)
    inner[first] = False
    if OF_GAPS & set(features):
        gaps[inner] = rng.permutation(gaps[inner])
    starts = X.times[first]
    if OF_STARTS & set(features):
        starts = rng.permutation(starts)
    since = np.cumsum(np.where(inner, gaps, 0.0))
    times = np.repeat(starts - since[first], X.lengths) + since
    return Sessions(X.codes, X.offsets, X.vocabulary, times=times, ids=X.ids)


def run(log, features, control, seed):
    train, valid = parts(log)
    train = train[:: EVERY[log]]
    if control:
        rng = np.random.default_rng(seed)
        train, valid = (shuffled(X, features, rng) for X in (train, valid))
    model = CLIPSessionRecommender(
        click_features=features or None,
        repeats=False,
        random_state=seed,
        n_threads=1,
    )
    begun = time.process_time()
    model.fit(train)
    seconds = time.process_time() - begun
    ranks = model.rank_targets(valid)
    RANKS.mkdir(parents=True, exist_ok=True)
    np.save(ranks_file(log, features, control, seed), ranks)
    row = {
        "log": log,
        "features": list(features),
        "shuffled": control,
        "seed": seed,
        **{name: metric(ranks, 20) for name, metric in METRICS.items()},
        "fit_cpu_seconds": seconds,
        "n_sessions": len(train),
        "n_targets": len(ranks),
        "environment": environment(),
    }
    add_row(ROWS, row)
    print(log, features, "shuffled" if control else "", seed,
          f"{row['recall@20']:.4f} {row['mrr@20']:.4f}", f"{seconds:.0f} s",
          flush=True)  # fmt: skip


def ranks_file(log, features, control, seed):
    name = "_".join(features) or "none"
    return RANKS / f"time-{log}-{name}{'-shuffled' * control}-{seed}.npy"


def cells(log, features, control):
    return [
        row
        for row in rows_of(ROWS)
        if (row["log"], tuple(row["features"]), row["shuffled"])
        == (log, features, control)
    ]


def mean_gain(log, features, control, metric, seeds):
    files = [ranks_file(log, features, control, seed) for seed in seeds]
    return np.mean([gain(np.load(file), metric) for file in files], axis=0)


def differences(log):
    """Each set less no features, and less its control, by metric, with intervals."""
    sessions = prefix_sessions(parts(log)[1])
    rows = []
    for features in SETS:
        row = {"log": log, "features": list(features)}
        for name, base in (("none", ((), False)), ("control", (features, True))):
            seeds = common_seeds(log, (features, False), base)
            if not seeds:
                continue
            row[name] = {"seeds": seeds} | {
                metric: of_targets(
                    mean_gain(log, features, False, metric, seeds)
                    - mean_gain(log, *base, metric, seeds),
                    sessions,
                )
                for metric in METRICS
            }
        rows.append(row)
    return rows


def common_seeds(log, *trials):
    return sorted(
        set.intersection(*({r["seed"] for r in cells(log, *trial)} for trial in trials))
    )


def passes(row):
    """Whether MRR@20 is above no features and, but for the position, the control."""
    bases = ["none"] if row["features"] == ["position"] else ["none", "control"]
    return all(base in row and row[base]["mrr@20"][1] > 0 for base in bases)


def table():
    head = ["log", "features", "Recall@20", "MRR@20", "less none: MRR@20"]
    head += ["less shuffled times: MRR@20"]
    lines = []
    for log in EVERY:
        lines.append(table_line(log, (), {}))
        for row in rows_of(DIFFERENCES):
            if row["log"] == log:
                lines.append(table_line(log, tuple(row["features"]), row))
    return markdown(head, lines)


def table_line(log, features, row):
    of_set = cells(log, features, False)
    line = [NAMES.get(log, log), ", ".join(features) or "none"]
    for metric in METRICS:
        line.append(f"{np.mean([cell[metric] for cell in of_set]):.4f}")
    for base in ("none", "control"):
        line.append(interval(row[base]["mrr@20"]) if base in row else "")
    return line


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=[*TRIALS, "compare", "table"])
    parser.add_argument(
        "logs", nargs="*", help=f"logs among {list(EVERY)} (default: all)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    logs = arguments.logs or list(EVERY)
    if arguments.command in TRIALS:
        for seed in arguments.seeds:
            for log in logs:
                for features, control in TRIALS[arguments.command]:
                    done = {row["seed"] for row in cells(log, features, control)}
                    if seed not in done:
                        run(log, features, control, seed)
    elif arguments.command == "compare":
        rows = [row for log in logs for row in differences(log)]
        passed = {
            ", ".join(features): [
                row["log"]
                for row in rows
                if row["features"] == list(features) and passes(row)
            ]
            for features in SETS
        }
        save(DIFFERENCES, {"protocol": __doc__, "passed": passed, "rows": rows})
    else:
        replace_table(NOTE, "time_features", table())


if __name__ == "__main__":
    main()
