"""Ranking speed on Diginetica's catalogue, and the latency of a single session.

    SKCLIP_DATA=... python benchmarks/bench_rank.py

Speed does not depend on what was learned, so the model trains for a few seconds only;
no metric is reported. The queries are the observed prefixes of the test part, ranked
against their targets for the clock alone.
"""

import sys
import time

import numpy as np
import pandas as pd
import torch
from _common import data_home, diginetica_rows, load, replace_table, save

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions


def main():
    if "--table" in sys.argv:
        write_table()
        return
    X = Sessions.from_lists(diginetica_rows())
    X = SessionClusterer(engine="igraph", random_state=0).fit_transform(X)
    test = pd.read_parquet(data_home() / "diginetica" / "test.parquet")
    prefixes, targets = Sessions.from_lists(test.session), test.target.to_numpy()
    rows = []
    for backbone in ("gru4rec", "narm"):
        model = CLIPSessionRecommender(
            backbone, max_time=3, early_stopping=False, random_state=0
        ).fit(X)
        begun = time.perf_counter()
        model.rank_targets(prefixes, targets)
        rank_seconds = time.perf_counter() - begun
        begun = time.perf_counter()
        model.predict_topk(prefixes, k=20)
        topk_seconds = time.perf_counter() - begun
        single = []
        for row in test.session[:600]:
            begun = time.perf_counter()
            model.predict_topk([row], k=20)
            single.append(1e3 * (time.perf_counter() - begun))
        rows.append(
            {
                "backbone": backbone,
                "product_alone_per_second": 390 / product_seconds(model, 390),
                "product_of_one_ms": 1e3 * product_seconds(model, 1),
                "rank_targets_per_second": len(prefixes) / rank_seconds,
                "predict_topk_per_second": len(prefixes) / topk_seconds,
                "single_ms_p50": float(np.percentile(single[100:], 50)),
                "single_ms_p99": float(np.percentile(single[100:], 99)),
            }
        )
        print(rows[-1], flush=True)
    save("bench_rank", {"protocol": __doc__, "n_items": model.n_items_, "rows": rows})
    write_table()


def product_seconds(model, n):
    """Median time of n session vectors times the table, to a buffer that exists."""
    queries, keys = torch.randn(n, 64), torch.randn(model.n_items_, 64)
    scores, times = torch.empty(n, model.n_items_), []
    for _ in range(20):
        begun = time.perf_counter()
        torch.mm(queries, keys.T, out=scores)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def write_table():
    """Put the table of the committed results into benchmarks/README.md."""
    lines = ["| backbone | product alone | `score` | `predict_topk(k=20)` per second"]
    lines[0] += " | product of one | one session, p50 | p99 |"
    lines.append("|---" * 7 + "|")
    for row in load("bench_rank")["rows"]:
        lines.append(
            f"| {row['backbone']} | {row['product_alone_per_second']:,.0f}"
            f" | {row['rank_targets_per_second']:,.0f}"
            f" | {row['predict_topk_per_second']:,.0f}"
            f" | {row['product_of_one_ms']:.1f} ms"
            f" | {row['single_ms_p50']:.1f} ms | {row['single_ms_p99']:.1f} ms |"
        )
    replace_table("benchmarks/README.md", "bench_rank", "\n".join(lines))


if __name__ == "__main__":
    main()
