"""Ranking speed on Diginetica's catalog, and the latency of a single session.

    SKCLIP_DATA=... python -m benchmarks.speed.rank

Speed does not depend on what was learned, so the model trains for a few seconds only;
no metric is reported. The queries are the prefixes of the latest twentieth of the
training sessions, ranked against their targets for the clock alone.
"""

import time

import numpy as np
import torch

from benchmarks._data import split_rows, training_rows
from benchmarks._results import load, markdown, new_parser, save
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions


def measure(backbone, X, prefixes, targets):
    model = CLIPSessionRecommender(
        backbone, max_time=3, early_stopping=False, repeats=False, random_state=0
    ).fit(X)
    begun = time.perf_counter()
    model.rank_targets(prefixes, targets)
    rank_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    model.predict_topk(prefixes, k=20)
    topk_seconds = time.perf_counter() - begun
    single = []
    for row in prefixes[:600].to_lists():
        begun = time.perf_counter()
        model.predict_topk([row], k=20)
        single.append(1e3 * (time.perf_counter() - begun))
    n_items = model.n_items_
    return {
        "backbone": backbone,
        "product_alone_per_second": 390 / product_seconds(n_items, 390),
        "product_of_one_ms": 1e3 * product_seconds(n_items, 1),
        "rank_targets_per_second": len(prefixes) / rank_seconds,
        "predict_topk_per_second": len(prefixes) / topk_seconds,
        "single_ms_p50": float(np.percentile(single[100:], 50)),
        "single_ms_p99": float(np.percentile(single[100:], 99)),
        "n_items": n_items,
        "n_queries": len(prefixes),
    }


def product_seconds(n_items, n):
    """Median time of n session vectors times the table, to a buffer that exists."""
    queries, keys = torch.randn(n, 64), torch.randn(n_items, 64)
    scores, times = torch.empty(n, n_items), []
    for _ in range(20):
        begun = time.perf_counter()
        torch.mm(queries, keys.T, out=scores)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only print the table")
    if parser.parse_args().table:
        print_table()
        return
    rows = training_rows("diginetica")
    X = Sessions.from_lists(rows)
    X = SessionClusterer(engine="igraph", random_state=0).fit_transform(X)
    prefixes, targets = split_rows(rows)[1].to_prefixes()
    found = []
    for backbone in ("gru4rec", "narm"):
        found.append(measure(backbone, X, prefixes, targets))
        print(found[-1], flush=True)
    save("speed/rank.json", {"protocol": __doc__, "rows": found})
    print_table()


def print_table():
    head = ["backbone", "`score` / product", "`predict_topk` / product"]
    head += ["product alone", "`score`", "`predict_topk(k=20)` per second"]
    head += ["product of one", "one session, p50", "p99"]
    lines = []
    for row in load("speed/rank.json")["rows"]:
        names = ("product_alone", "rank_targets", "predict_topk")
        rates = [row[f"{name}_per_second"] for name in names]
        times = ("product_of_one_ms", "single_ms_p50", "single_ms_p99")
        cells = [f"{rate / rates[0]:.2f}" for rate in rates[1:]]
        cells += [f"{rate:,.0f}" for rate in rates]
        cells += [f"{row[name]:.1f} ms" for name in times]
        lines.append([row["backbone"], *cells])
    print(markdown(head, lines))


if __name__ == "__main__":
    main()
