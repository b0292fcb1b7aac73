"""How cost grows: events to sessions, item graph, and training on a huge catalogue.

    python benchmarks/bench_scale.py [--events 1000000 10000000 50000000]

Simulated logs: Zipf items, sessions of mean length 5, rows in order of time as logs
are. Every line runs in a process of its own, so that peaks of memory are its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
from _common import load, replace_table, save

from skclip import CLIPSessionRecommender, Sessions
from skclip._clusters import build_item_graph
from skclip._data import training_data


def gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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


def events_line(library, n_events, n_items, text):
    log = simulated_log(n_events, n_items, text)
    if library == "pandas":
        import pandas as pd

        frame = pd.DataFrame(log, copy=False)
    else:
        import polars as pl

        frame = pl.DataFrame(log)
    del log
    before = gib()
    begun = time.perf_counter()
    X = Sessions.from_events(frame, session="session", item="item", time="time")
    events_seconds = time.perf_counter() - begun
    peak = gib()
    begun = time.perf_counter()
    data = training_data(X)
    encode_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    graph = build_item_graph(data.codes, data.offsets, data.n_items)
    return {
        "library": library,
        "ids": "text" if text else "integer",
        "events": n_events,
        "items": data.n_items,
        "from_events_seconds": events_seconds,
        "gib_before": before,
        "gib_peak_of_from_events": peak,
        "encode_seconds": encode_seconds,
        "graph_seconds": time.perf_counter() - begun,
        "edges": int(graph.nnz // 2),
        "gib_peak_of_graph": gib(),
    }


def training_line(n_sessions, n_items, seconds):
    rng = np.random.default_rng(0)
    lengths = 1 + rng.geometric(0.25, n_sessions)
    codes = (n_items * rng.random(lengths.sum()) ** 2).astype(np.int32)
    X = Sessions(codes, np.r_[0, np.cumsum(lengths)], np.arange(n_items))
    model = CLIPSessionRecommender(
        "gru4rec",
        prompt=None,
        loss="sampled_softmax",
        early_stopping=False,
        random_state=0,
        max_epochs=1,
    )
    seen = []
    from skclip import _training

    step = _training._Stepper.step

    def counting(self, batch, done):
        value = step(self, batch, done)
        seen.append((time.perf_counter(), len(batch.targets)))
        return value

    _training._Stepper.step = counting
    begun = time.perf_counter()
    model.set_params(max_time=seconds).fit(X)
    took = seen[-1][0] - seen[0][0]
    return {
        "sessions": n_sessions,
        "items": model.n_items_,
        "setup_seconds": seen[0][0] - begun,
        "prefixes_per_second": sum(n for _, n in seen[1:]) / took,
        "gib_peak": gib(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--events",
        type=int,
        nargs="+",
        default=[5 * 10**4, 10**6, 10**7, 5 * 10**7],
    )
    parser.add_argument("--line", nargs="+")
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if arguments.table:
        write_table()
        return
    if arguments.line:
        kind, *values = arguments.line
        if kind == "events":
            library, n_events, n_items, text = values
            line = events_line(library, int(n_events), int(n_items), text == "text")
        else:
            line = training_line(*map(int, values))
        print(json.dumps(line))
        return
    lines = [
        ["events", library, n, min(10**6, n // 20), "integer"]
        for n in arguments.events
        for library in ("pandas", "polars")
    ]
    lines.append(["events", "polars", min(10**7, max(arguments.events)), 10**5, "text"])
    lines += [["training", n, n, 30] for n in (10**4, 10**5, 10**6)]
    rows = []
    for line in lines:
        run = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--line", *map(str, line)],
            capture_output=True,
            text=True,
            check=True,
        )
        rows.append({"what": line[0]} | json.loads(run.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
        save("bench_scale", {"protocol": __doc__, "rows": rows})
    write_table()


def write_table():
    """Put the tables of the committed results into benchmarks/README.md."""
    rows = load("bench_scale")["rows"]
    lines = [
        "| events | items | frame, ids | from_events | beyond the input | encode |"
    ]
    lines[0] += " graph | pairs | peak |"
    lines.append("|---" * 9 + "|")
    for row in rows:
        if row["what"] == "events":
            beyond = row["gib_peak_of_from_events"] - row["gib_before"]
            beyond = f"{beyond:.2f} GiB" if beyond else "not seen"  # below an old peak
            frame = f"{row['library']}, {row['ids']}"
            lines.append(
                f"| {row['events']:,} | {row['items']:,} | {frame}"
                f" | {row['from_events_seconds']:.2f} s | {beyond}"
                f" | {row['encode_seconds']:.2f} s | {row['graph_seconds']:.2f} s"
                f" | {row['edges']:,} | {row['gib_peak_of_graph']:.2f} GiB |"
            )
    lines += ["", "| sessions | items | set-up | prefixes per second | peak |"]
    lines.append("|---" * 5 + "|")
    for row in rows:
        if row["what"] == "training":
            lines.append(
                f"| {row['sessions']:,} | {row['items']:,}"
                f" | {row['setup_seconds']:.1f} s"
                f" | {row['prefixes_per_second']:,.0f} | {row['gib_peak']:.2f} GiB |"
            )
    replace_table("benchmarks/README.md", "bench_scale", "\n".join(lines))


if __name__ == "__main__":
    main()
