"""How cost grows: events to sessions, clusters, and training on a huge catalog.

    python -m benchmarks.speed.scale [--events 1000000 10000000 50000000]

Simulated logs: Zipf items, sessions of mean length 5, rows in order of time as logs
are. Coding is timed by a fit of `OneCluster`, item graph and clusters together by one
of `SessionClusterer` with igraph's engine, on logs of up to ten million events. Every
line runs in a process of its own, so that peaks of memory are its own.
"""

import json
import time

import numpy as np

from benchmarks._results import load, markdown, new_parser, save
from benchmarks.speed._measuring import (
    counted,
    in_fresh_process,
    peak_gib,
    prefixes_per_second,
)
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.backbones import GRU4Rec
from skclip.controls import OneCluster

MOST_CLUSTERED = 10**7


def simulated_log(n_events, n_items, text=False):
    rng = np.random.default_rng(0)
    n_sessions = n_events // 5
    begin = np.sort(rng.integers(0, 10**7, n_sessions))
    session = rng.integers(0, n_sessions, n_events)
    time_ = begin[session] + rng.integers(0, 1800, n_events)
    order = np.argsort(time_, kind="stable")
    item = (n_items * rng.random(n_events) ** 3).astype(np.int64)
    log = {"session": session[order], "item": item, "time": time_[order]}
    if text:
        log["item"] = np.char.add("sku-", item.astype(str)).astype(object)
    return log


def data_frame(library, log):
    if library == "pandas":
        import pandas as pd

        return pd.DataFrame(log, copy=False)
    import polars as pl

    return pl.DataFrame(log)


def events_line(library, n_events, n_items, ids):
    frame = data_frame(library, simulated_log(n_events, n_items, ids == "text"))
    row = {"library": library, "ids": ids, "events": n_events}
    row["gib_before"] = peak_gib()
    begun = time.perf_counter()
    X = Sessions.from_events(frame, session="session", item="item", time="time")
    row["from_events_seconds"] = time.perf_counter() - begun
    row["gib_peak_of_from_events"] = peak_gib()
    begun = time.perf_counter()
    row["items"] = len(OneCluster().fit(X).item_ids_)
    row["encode_seconds"] = time.perf_counter() - begun
    if n_events <= MOST_CLUSTERED:
        begun = time.perf_counter()
        clusterer = SessionClusterer(engine="igraph", random_state=0).fit(X)
        row["cluster_seconds"] = time.perf_counter() - begun
        row["edges"] = int(clusterer.graph_.nnz // 2)
    return row | {"gib_peak": peak_gib()}


def training_line(n_sessions, n_items, seconds):
    rng = np.random.default_rng(0)
    lengths = 1 + rng.geometric(0.25, n_sessions)
    codes = (n_items * rng.random(lengths.sum()) ** 2).astype(np.int32)
    X, steps = Sessions(codes, np.r_[0, np.cumsum(lengths)], np.arange(n_items)), []
    begun = time.perf_counter()
    model = CLIPSessionRecommender(
        counted(GRU4Rec, steps),
        prompt=None,
        loss="sampled_softmax",
        early_stopping=False,
        repeats=False,
        random_state=0,
        max_epochs=1,
        max_time=seconds,
    ).fit(X)
    return {
        "sessions": n_sessions,
        "items": model.n_items_,
        "setup_seconds": steps[0][0] - begun,
        "prefixes_per_second": prefixes_per_second(steps),
        "gib_peak": peak_gib(),
    }


def measured(kind, *values):
    """The row of a line, which is taken in a process of its own."""
    if kind == "training":
        return training_line(*map(int, values))
    library, n_events, n_items, ids = values
    return events_line(library, int(n_events), int(n_items), ids)


def main():
    sizes = [5 * 10**4, 10**6, 10**7, 5 * 10**7]
    parser = new_parser(__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=sizes)
    parser.add_argument("--line", nargs="+")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    arguments = parser.parse_args()
    if arguments.line:
        print(json.dumps(measured(*arguments.line)))
        return
    lines = [
        ["events", library, n, min(10**6, n // 20), "integer"]
        for n in arguments.events
        for library in ("pandas", "polars")
    ]
    lines.append(["events", "polars", min(10**7, max(arguments.events)), 10**5, "text"])
    lines += [["training", n, n, 30] for n in (10**4, 10**5, 10**6)]
    rows = []
    for line in () if arguments.table else lines:
        row = in_fresh_process("benchmarks.speed.scale", "--line", *line)
        rows.append({"what": line[0]} | row)
        print(rows[-1], flush=True)
        save("speed/scale.json", {"protocol": __doc__, "rows": rows})
    print_tables()


def print_tables():
    rows = load("speed/scale.json")["rows"]
    head = ["events", "items", "frame, ids", "from_events", "beyond the input"]
    head += ["encode", "graph", "graph and clusters", "pairs", "peak"]
    print(markdown(head, [events_cells(r) for r in rows if r["what"] == "events"]))
    head = ["sessions", "items", "set-up", "prefixes per second", "peak"]
    lines = [training_cells(r) for r in rows if r["what"] == "training"]
    print(f"\n{markdown(head, lines)}")


def events_cells(row):
    """Rows of 2026-11 timed the item graph alone, newer ones have its clusters too."""
    beyond = row["gib_peak_of_from_events"] - row["gib_before"]
    cells = [
        f"{row['events']:,}",
        f"{row['items']:,}",
        f"{row['library']}, {row['ids']}",
        f"{row['from_events_seconds']:.2f} s",
        f"{beyond:.2f} GiB" if beyond else "not seen",  # below an earlier peak
    ]
    for name in ("encode_seconds", "graph_seconds", "cluster_seconds"):
        cells.append(f"{row[name]:.2f} s" if name in row else "-")
    cells.append(f"{row['edges']:,}" if "edges" in row else "-")
    peak = row.get("gib_peak", row.get("gib_peak_of_graph"))
    return [*cells, f"{peak:.2f} GiB"]


def training_cells(row):
    return [
        f"{row['sessions']:,}",
        f"{row['items']:,}",
        f"{row['setup_seconds']:.1f} s",
        f"{row['prefixes_per_second']:,.0f}",
        f"{row['gib_peak']:.2f} GiB",
    ]


if __name__ == "__main__":
    main()
