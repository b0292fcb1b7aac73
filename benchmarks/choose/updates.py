"""How partial_fit learns: updates day by day, and on a log that hardly changes.

    SKCLIP_DATA=... python -m benchmarks.choose.updates run
    python -m benchmarks.choose.updates table

`benchmarks/report/incremental.py` reports days that no choice has seen. Each part is
ranked (every prefix) before it is learned, by three default models: "stale" is never
updated, "partial_fit" has taken in the parts before one by one, "refit" is fitted on
everything before. A target that a model does not know is a miss.

retailrocket: fitted on days 1 and 2; days 4 to 6 are ranked after updates by days 3 to
5. diginetica: fitted on 20,000 sessions; 2,000 are ranked after two updates by 2,000
each, all before the validation part. Seconds are those of the process.

Rows with `trial` are earlier variants of the update, which were tried on the same parts
and have no parameter today: `epochs` of each update, `rate` as a share of the learning
rate of a fit, `n` old sessions ("latest" or "random"), `keep` (true: vectors of known
items stay, "absent": those that no session at hand has, false: none), `repeat` (how
often an epoch reads the new sessions), `ratio` (old sessions drawn for each new one),
`noise` (what is left of the random vector of a new item) and `init` ("neighbors": its
vector begins at those beside it). Their batches were of `batch`, or as for a fit. They
had no bias of items of the session. In the other rows a refit also tries that bias, in
its seconds. All rows were measured on a busy machine. No test part is opened.
"""

import copy
import time
from functools import cache

import numpy as np

from benchmarks._data import first_days, training_rows
from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    markdown,
    new_parser,
    replace_table,
    rows_of,
)
from skclip import CLIPSessionRecommender, Sessions
from skclip.metrics import SessionScorer

ROWS = "choose/updates.jsonl"
NOTE = "benchmarks/lab/2026-11-30-what-updates-bring.md"
SCORER = SessionScorer("recall@20", "mrr@20")
N_REHEARSED = (0, 5_000, 100_000)
METRICS = ("recall@20", "mrr@20")


@cache
def parts_of(log):
    """Sessions of a first fit, and of the parts after it in order of time."""
    if log == "retailrocket":
        first, second, *later = first_days()
        return [Sessions.concat([first, second]), *later]
    rows = training_rows(log)
    ends = np.cumsum([0, 20_000, 2_000, 2_000, 2_000])
    ends += round(0.95 * len(rows)) - ends[-1]
    pairs = zip(ends[:-1], ends[1:], strict=True)
    return [Sessions.from_lists(rows[a:b]) for a, b in pairs]


def ranked(log):
    """Numbers of the parts that are ranked."""
    return (2, 3, 4) if log == "retailrocket" else (3,)


def timed(fit, X):
    begun = time.process_time()
    model = fit(X)
    return model, time.process_time() - begun


def models_by_part(log, seed, n_rehearsed):
    """Yield the number of a part, and name -> (model, seconds) before it is learned."""
    parts = parts_of(log)
    settings = {"random_state": seed, "n_threads": 1}
    stale = CLIPSessionRecommender(n_rehearsed=100_000, **settings).fit(parts[0])
    updated = {n: copy.deepcopy(stale).set_params(n_rehearsed=n) for n in n_rehearsed}
    seconds = {}
    for i in range(1, len(parts)):
        if i in ranked(log):
            found = {"stale": (stale, 0.0)}
            found |= {n: (updated[n], seconds[n]) for n in n_rehearsed}
            refit = CLIPSessionRecommender(**settings).fit
            yield i, found | {"refit": timed(refit, Sessions.concat(parts[:i]))}
        for n in n_rehearsed:
            updated[n], seconds[n] = timed(updated[n].partial_fit, parts[i])


def run(log, seed, n_rehearsed):
    parts = parts_of(log)
    for i, models in models_by_part(log, seed, n_rehearsed):
        for name, (model, seconds) in models.items():
            row = {
                "log": log,
                "seed": seed,
                "part": i,
                "model": name if isinstance(name, str) else "partial_fit",
                "n_rehearsed": None if isinstance(name, str) else name,
                **SCORER(model, parts[i]),
                "seconds": seconds,
                "n_items": model.n_items_,
                "data_hash": data_hash(parts[i]),
                "environment": environment(),
            }
            add_row(ROWS, row)
            shown = {k: v for k, v in row.items() if k != "environment"}
            print(shown, flush=True)


def means(rows, log, model, n=None):
    some = [
        row
        for row in rows
        if (row["log"], row["model"], row["n_rehearsed"]) == (log, model, n)
    ]
    keys = (*METRICS, "seconds")
    return {key: np.mean([row[key] for row in some]) for key in keys}


def write_table():
    """Shares of a refit's gain over a stale model, and of its time."""
    rows = [row for row in rows_of(ROWS) if "trial" not in row]
    lines = []
    for log in ("retailrocket", "diginetica"):
        stale, refit = means(rows, log, "stale"), means(rows, log, "refit")
        for n in N_REHEARSED:
            found = means(rows, log, "partial_fit", n)
            gains = [
                (found[key] - stale[key]) / (refit[key] - stale[key]) for key in METRICS
            ]
            share = found["seconds"] / refit["seconds"]
            scores = " / ".join(f"{found[key]:.4f}" for key in METRICS)
            shares = " / ".join(f"{gain:.0%}" for gain in gains)
            lines.append([log, f"{n:,}", scores, shares, f"{share:.0%}"])
    head = ["log", "`n_rehearsed`", "Recall@20 / MRR@20", "of a refit's gain"]
    replace_table(NOTE, "updates", markdown([*head, "time"], lines))


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--logs", nargs="+", default=["retailrocket", "diginetica"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    if arguments.command == "table":
        write_table()
        return
    for log in arguments.logs:
        for seed in arguments.seeds:
            run(log, seed, N_REHEARSED)


if __name__ == "__main__":
    main()
