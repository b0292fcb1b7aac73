"""partial_fit day by day against a refit and against doing nothing: retailrocket.

    SKCLIP_DATA=... python -m benchmarks.report.incremental

Visits of eight days with two events or more. The default recommender is fitted on the
first three days. Days 7 and 8 are ranked (every prefix, before it is learned) by three
models: "stale" is never updated, "partial_fit" has taken in the days in between one by
one, "refit" is fitted on all days before. Targets that a model does not know are
misses, as for all others. Seeds 0 to 2, one thread. The rule of `partial_fit` was
chosen on days 4 to 6 by `choose/updates.py`. Writes a table of the
note lab/2026-11-30-what-updates-bring.md.
"""

import copy
import os
import tempfile
import time

import numpy as np
from sklearn.base import clone

import skclip
from benchmarks._results import (
    data_hash,
    load,
    markdown,
    new_parser,
    replace_table,
    save,
)
from benchmarks.report._test_parts import days_of, log_test_evaluation, retailrocket
from skclip import CLIPSessionRecommender
from skclip.metrics import SessionScorer

NAME = "report/incremental.json"
NOTE = "benchmarks/lab/2026-11-30-what-updates-bring.md"
METRICS = ("recall@20", "mrr@20")
SCORER = SessionScorer(*METRICS)
FIRST_DAYS, REPORTED = 3, (7, 8)


def timed(function, *arguments):
    begun = time.perf_counter()
    return function(*arguments), time.perf_counter() - begun


def models_by_day(X, day, seed):
    """Yield a reported day, and name -> (model, seconds) before it is learned."""
    model = CLIPSessionRecommender(random_state=seed, n_threads=1)
    stale = clone(model).fit(X[day <= FIRST_DAYS])
    updated = copy.deepcopy(stale)
    for d in range(FIRST_DAYS + 1, max(REPORTED)):
        updated, seconds = timed(updated.partial_fit, X[day == d])
        if d + 1 in REPORTED:
            refit = timed(clone(model).fit, X[day <= d])
            found = {"stale": (stale, 0.0), "partial_fit": (updated, seconds)}
            yield d + 1, found | {"refit": refit}


def size_of(model):
    """Bytes of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.skclip")
        skclip.save(model, path)
        return os.path.getsize(path)


def run():
    X = retailrocket()
    day = days_of(X)
    rows = []
    for seed in range(3):
        for d, models in models_by_day(X, day, seed):
            today = X[day == d]
            for name, (fitted, seconds) in models.items():
                values = SCORER(fitted, today)
                rows.append(
                    {
                        "seed": seed,
                        "day": d,
                        "model": name,
                        **values,
                        "seconds": seconds,
                        "file_bytes": size_of(fitted),
                        "n_items": fitted.n_items_,
                        "n_sessions": len(today),
                        "repeats": fitted.resolved_params_["repeats"],
                    }
                )
                print(rows[-1], flush=True)
                log_test_evaluation(
                    "incremental.py",
                    "retailrocket_last8days",
                    f"{name}, day {d}, seed {seed}",
                    values,
                )
    content = {"protocol": __doc__, "data_hash": data_hash(X), "rows": rows}
    save(NAME, content)


def write_table():
    rows, lines = load(NAME)["rows"], []
    for d in REPORTED:
        means = {
            name: {
                key: float(np.mean([r[key] for r in rows if r["day"] == d
                                    and r["model"] == name]))
                for key in (*METRICS, "seconds", "file_bytes")
            }
            for name in ("stale", "partial_fit", "refit")
        }  # fmt: skip
        for name, values in means.items():
            stale, refit = means["stale"], means["refit"]
            gains = [(values[m] - stale[m]) / (refit[m] - stale[m]) for m in METRICS]
            share = values["seconds"] / means["refit"]["seconds"]
            lines.append(
                [str(d), name, *(f"{values[m]:.3f}" for m in METRICS)]
                + [" / ".join(f"{gain:.0%}" for gain in gains)]
                + [f"{values['seconds']:.0f} s, {share:.0%}"]
                + [f"{values['file_bytes'] / 1e6:.1f} MB"]
            )
    head = ["day", "model", "Recall@20", "MRR@20", "share of the refit's gain"]
    head += ["time, share of the refit's", "file"]
    replace_table(NOTE, "incremental", markdown(head, lines))


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table")
    if not parser.parse_args().table:
        run()
    write_table()


if __name__ == "__main__":
    main()
