"""partial_fit day by day against a refit and against doing nothing: retailrocket.

    SKCLIP_DATA=... python -m benchmarks.report.incremental

Visits of eight days with two events or more. The model is fitted on the first three
days; then each next day is ranked (every prefix, before it is learned) by three models:
"stale" is never updated, "partial_fit" has taken in the days in between one by one,
"refit" is fitted on all days before. Targets that a model does not know are misses, as
for all others. GRU4Rec with the settings of `benchmarks/_november.py`, seeds 0 to 2, no
early stopping (so that all three use all sessions). One thread. Writes a table of
docs/production.md.
"""

import copy
import time

import numpy as np
from sklearn.base import clone

from benchmarks._november import old_defaults, old_sizes
from benchmarks._results import (
    data_hash,
    load,
    markdown,
    new_parser,
    replace_table,
    save,
)
from benchmarks.report._test_parts import log_test_evaluation, retailrocket
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.metrics import SessionScorer

NAME = "report/incremental.json"
SCORER = SessionScorer("recall@20", "mrr@20")
FIRST_DAYS = 3


def models_by_day(X, day, seed):
    """Yield a day, its sessions, and name -> (model, seconds) before it is learned."""
    model = CLIPSessionRecommender(
        "gru4rec",
        clusterer=SessionClusterer(engine="igraph"),
        random_state=seed,
        n_threads=1,
    ).set_params(**old_defaults("gru4rec", early_stopping=False))

    def fitted(X):
        return clone(model).set_params(**old_sizes(X)).fit(X)

    stale = fitted(X[day < FIRST_DAYS])
    updated = copy.deepcopy(stale)
    for d in range(FIRST_DAYS, day.max() + 1):
        today = X[day == d]
        if len(today) < 50:
            continue
        begun = time.perf_counter()
        if d > FIRST_DAYS:
            yesterday = X[day == d - 1]
            updated.set_params(**old_sizes(yesterday)).partial_fit(yesterday)
        seconds = time.perf_counter() - begun
        found = {"stale": (stale, 0.0), "partial_fit": (updated, seconds)}
        begun = time.perf_counter()
        refit = fitted(X[day < d])
        yield d, today, found | {"refit": (refit, time.perf_counter() - begun)}


def run():
    X = retailrocket()
    day = ((X.end_times - X.end_times.min()) // 86_400).astype(int)
    rows = []
    for seed in range(3):
        for d, today, models in models_by_day(X, day, seed):
            for name, (fitted, seconds) in models.items():
                values = SCORER(fitted, today)
                rows.append(
                    {
                        "seed": seed,
                        "day": d + 1,
                        "model": name,
                        **values,
                        "seconds": seconds,
                        "n_items": fitted.n_items_,
                        "n_sessions": len(today),
                        "cluster_drift": fitted.clusterer_.cluster_drift_,
                    }
                )
                print(rows[-1], flush=True)
                log_test_evaluation(
                    "incremental.py",
                    "retailrocket_last8days",
                    f"{name}, day {d + 1}, seed {seed}",
                    values,
                )
    save(NAME, {"protocol": __doc__, "data_hash": data_hash(X), "rows": rows})


def write_table():
    rows, lines = load(NAME)["rows"], []
    for d in sorted({row["day"] for row in rows}):
        cells = [str(d)]
        for name in ("stale", "partial_fit", "refit"):
            some = [r for r in rows if r["day"] == d and r["model"] == name]
            pair = [np.mean([r[k] for r in some]) for k in ("recall@20", "mrr@20")]
            cells.append(f"{pair[0]:.3f} / {pair[1]:.3f}")
            if name != "stale":
                cells.append(f"{np.median([r['seconds'] for r in some]):.1f}")
            if name == "partial_fit":
                drift = np.mean([r["cluster_drift"] for r in some])
        lines.append([*cells, f"{drift:.2f}"])
    head = ["day", "stale: Recall@20 / MRR@20", "partial_fit", "seconds", "refit"]
    head += ["seconds", "drift of the clusters"]
    replace_table("docs/production.md", "incremental", markdown(head, lines))


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table")
    if not parser.parse_args().table:
        run()
    write_table()


if __name__ == "__main__":
    main()
