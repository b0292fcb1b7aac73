"""partial_fit day by day against a refit and against doing nothing: retailrocket.

    SKCLIP_DATA=... python benchmarks/incremental.py

Visits of eight days with two events or more. The model is fitted on the first three
days; then each next day is ranked (every prefix, before it is learned) by three models:
"stale" is never updated, "partial_fit" has taken in the days in between one by one,
"refit" is fitted on all days before. Targets that a model does not know are misses, as
for all others. Library defaults, GRU4Rec, seeds 0 to 2, no early stopping (so that all
three use all sessions). One thread.
"""

import copy
import time

import numpy as np
import pandas as pd
from _common import (
    data_hash,
    data_home,
    log_test_evaluation,
    replace_table,
    save,
)

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.metrics import SessionScorer

SCORER = SessionScorer("recall@20", "mrr@20")
FIRST_DAYS = 3


def main():
    events = pd.read_parquet(data_home() / "retailrocket_last8days" / "events.parquet")
    X = Sessions.from_events(
        events, session="session_id", item="item_id", time="timestamp"
    )
    X = X[X.lengths > 1]
    day = ((X.end_times - X.end_times.min()) // 86_400).astype(int)
    rows = []
    for seed in range(3):
        model = CLIPSessionRecommender(
            "gru4rec",
            clusterer=SessionClusterer(engine="igraph"),
            early_stopping=False,
            random_state=seed,
            n_threads=1,
        )
        stale = copy.deepcopy(model).fit(X[day < FIRST_DAYS])
        updated = copy.deepcopy(stale)
        for d in range(FIRST_DAYS, day.max() + 1):
            today, before = X[day == d], X[day < d]
            if len(today) < 50:
                continue
            seconds = {"stale": 0.0, "partial_fit": 0.0}
            if d > FIRST_DAYS:
                begun = time.perf_counter()
                updated.partial_fit(X[day == d - 1])
                seconds["partial_fit"] = time.perf_counter() - begun
            begun = time.perf_counter()
            refit = copy.deepcopy(model).fit(before)
            seconds["refit"] = time.perf_counter() - begun
            models = {"stale": stale, "partial_fit": updated, "refit": refit}
            for name, fitted in models.items():
                values = SCORER(fitted, today)
                row = {
                    "seed": seed,
                    "day": d + 1,
                    "model": name,
                    **values,
                    "seconds": seconds[name],
                    "n_items": fitted.n_items_,
                    "n_sessions": len(today),
                    "cluster_drift": fitted.clusterer_.cluster_drift_,
                }
                rows.append(row)
                print(row, flush=True)
                log_test_evaluation(
                    "incremental.py",
                    "retailrocket_last8days",
                    f"{name}, day {d + 1}, seed {seed}",
                    values,
                )
    save(
        "incremental",
        {"protocol": __doc__, "data_hash": data_hash(X), "rows": rows},
    )
    lines = [
        "| day | stale: Recall@20 / MRR@20 | partial_fit | seconds | refit | seconds "
        "| drift of the clusters |",
        "|---|---|---|---|---|---|---|",
    ]
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
        lines.append("| " + " | ".join([*cells, f"{drift:.2f}"]) + " |")
    replace_table("docs/production.md", "incremental", "\n".join(lines))


if __name__ == "__main__":
    main()
