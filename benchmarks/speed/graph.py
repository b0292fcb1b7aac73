"""Leiden engines on item graphs: time, memory and modularity.

    SKCLIP_DATA=... python -m benchmarks.speed.graph
    python -m benchmarks.speed.graph --table

Graphs are those of the training sessions of Tmall and Diginetica, and a simulated one:
pairs of 700,000 items in 3,000 groups, popularity by a power law, a fifth of the pairs
across groups. Each engine reads the pairs in a fresh process and runs
`SessionClusterer.fit_pairs` at its default settings, on one thread. CPU time is that of
the process and of the engine's own; other programs disturb it less than time on the
clock. Memory is the sum of both peaks, less what the process had before the fit; it is
read from /proc, so Linux only. An engine is stopped after ten minutes of CPU time.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks._data import training_rows
from benchmarks._results import (
    ROOT,
    load,
    markdown,
    new_parser,
    replace_table,
    result_file,
    save,
)
from benchmarks.speed._measuring import started_by
from skclip import SessionClusterer, Sessions

FILE = "speed/graph.json"
ENGINES = ("leidenalg", "igraph", "networkit")
GRAPHS = ("tmall", "diginetica", "simulated")
LIMIT = 600  # seconds of CPU time
USAGES = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def pairs_of(graph):
    """Pairs of items that follow each other, and how often, as a data frame."""
    if graph == "simulated":
        low, high = simulated_pairs()
    else:
        X = Sessions.from_lists(training_rows(graph))
        codes = X.codes.astype(np.int32)
        last = X.offsets[1:-1]
        follows = np.ones(len(codes), dtype=bool)
        follows[0] = False
        follows[last] = False
        second = np.flatnonzero(follows)
        low, high = codes[second - 1], codes[second]
    pairs = pd.DataFrame({"low": np.minimum(low, high), "high": np.maximum(low, high)})
    pairs = pairs[pairs.low != pairs.high]
    return pairs.groupby(["low", "high"]).size().rename("weight").reset_index()


def simulated_pairs(n_items=700_000, n_groups=3_000, n_pairs=17_000_000):
    rng = np.random.default_rng(0)
    group = np.sort(rng.integers(n_groups, size=n_items))
    begins = np.searchsorted(group, np.arange(n_groups + 1))
    shares = np.concatenate([[0], np.cumsum(rng.pareto(1.5, n_items) + 0.1)])

    def drawn(begin, end):
        at = begin + rng.random(n_pairs) * (end - begin)
        found = np.searchsorted(shares, at, side="right") - 1
        return np.minimum(found, n_items - 1).astype(np.int32)

    first = drawn(0, shares[-1])
    inside = rng.random(n_pairs) < 0.8
    begin = np.where(inside, shares[begins[group[first]]], 0)
    end = np.where(inside, shares[begins[group[first] + 1]], shares[-1])
    return first, drawn(begin, end)


# -- one engine, in a fresh process ----------------------------------------------------


def cpu_seconds(who):
    found = resource.getrusage(who)
    return found.ru_utime + found.ru_stime


def gib(pid, name):
    """A line of the status of a process: VmRSS is its memory, VmHWM the peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [line.split()[1] for line in lines if line.startswith(name)]
    return int(found[0]) / 2**20 if found else 0.0


@contextmanager
def memory_watched():
    """Collects the peaks of this process and of the one that it starts."""
    own, ended = os.getpid(), threading.Event()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    peaks = {"before": gib(own, "VmRSS"), "started": 0.0}

    def watch():
        while not ended.wait(0.02):
            for pid in started_by(own):
                with suppress(FileNotFoundError, ProcessLookupError):
                    # The last one counts: before exec it is that of this process.
                    peaks["started"] = gib(pid, "VmHWM") or peaks["started"]

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()
        peaks["own"] = gib(own, "VmHWM")


def measured(file, engine):
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
    with np.load(file) as arrays:
        pairs = pd.DataFrame(dict(arrays))
    tiny = SessionClusterer(engine=engine, random_state=0)
    tiny.fit([["a", "b"], ["b", "c"]])  # imports are not counted
    begun, own, theirs = time.perf_counter(), *map(cpu_seconds, USAGES)
    with memory_watched() as peaks:
        clusterer = SessionClusterer(engine=engine, random_state=0).fit_pairs(pairs)
    seconds = time.perf_counter() - begun
    own_end, theirs_end = map(cpu_seconds, USAGES)
    return {
        "engine": engine,
        "items": len(clusterer.item_ids_),
        "edges": int(clusterer.graph_.nnz // 2),
        "cpu_seconds": own_end - own + theirs_end - theirs,
        "cpu_seconds_started": theirs_end - theirs,
        "seconds": seconds,
        "gib": peaks["own"] - peaks["before"] + peaks["started"],
        "gib_started": peaks["started"],
        "modularity": clusterer.modularity_,
        "n_clusters": clusterer.n_clusters_,
    }


def in_fresh_process(file, engine):
    """The row of an engine, or that it was stopped."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.graph"]
    command += ["--one", str(file), engine]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environ
    )
    if run.returncode == 0:
        return json.loads(run.stdout.splitlines()[-1])
    if run.returncode > 0:
        sys.exit(run.stderr[-2000:])
    return {"engine": engine, "stopped_after_cpu_seconds": LIMIT}


# -- all of them -----------------------------------------------------------------------


def run():
    rows = load(FILE)["rows"] if result_file(FILE).exists() else []
    done = {(row["graph"], row["engine"]) for row in rows}
    for graph in GRAPHS:
        left = [e for e in reversed(ENGINES) if (graph, e) not in done]  # quick first
        if not left:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pairs.npz"
            np.savez(file, **{n: c.to_numpy() for n, c in pairs_of(graph).items()})
            for engine in left:
                rows.append({"graph": graph} | in_fresh_process(file, engine))
                print(rows[-1], flush=True)
                save(FILE, {"protocol": __doc__, "rows": rows})


def table():
    head = ["graph", "edges", "engine", "CPU time", "memory", "modularity", "clusters"]
    places = {name: i for i, name in enumerate([*GRAPHS, *ENGINES])}
    rows = load(FILE)["rows"]
    rows.sort(key=lambda row: (places[row["graph"]], places[row["engine"]]))
    edges = {row["graph"]: row["edges"] for row in rows if "edges" in row}
    lines = []
    for row in rows:
        cells = [row["graph"], f"{edges[row['graph']]:,}", row["engine"]]
        if "edges" in row:
            cells += [f"{row['cpu_seconds']:.1f} s", f"{row['gib']:.2f} GiB"]
            cells += [f"{row['modularity']:.4f}", f"{row['n_clusters']:,}"]
        else:
            cells += [f"more than {LIMIT} s", "", "", ""]
        lines.append(cells)
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--one", nargs=2, help="a file of pairs and an engine")
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(*arguments.one)))
        return
    if not arguments.table:
        run()
    replace_table("benchmarks/lab/2026-12-01-leiden-engines.md", "engines", table())


if __name__ == "__main__":
    main()
