"""Pairs of a log that is larger than memory: time and peak memory of two engines.

    python -m benchmarks.speed.pairs [--clicks 100000000]

Clicks are simulated and written to Parquet files in a temporary folder. DuckDB, under
a memory limit of 2 GB, and polars, streaming, read them in a process of their own each.
An engine counts the pairs of the whole log, and then those of the log filtered by
`drop_rare_items` (5 clicks) and `drop_short_sessions` (2 clicks); both results go to a
Parquet file. Peak memory is that of the process, imports included. The first sessions,
a sample that fits into memory, are counted by both engines too. Those pairs are
compared entry by entry with the item graph that `SessionClusterer` builds.

Sessions have 1 click and a geometric number of further ones, 5.5 in the mean. An item
is clicked with a probability that falls with its rank; each click moves a random
distance from the item before, so that near items follow each other more often. Times
are whole minutes, so that there are many ties. The number of the row breaks them.
"""

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks._results import new_parser, save
from benchmarks.speed._measuring import in_fresh_process, peak_gib

ENGINES = "duckdb", "polars"
MEMORY_LIMIT = "2GB"
N_ITEMS, MEAN_LENGTH = 500_000, 5.5
CHUNK = 5_000_000  # clicks in a file
SAMPLE = 2_000_000  # clicks that are compared with the graph
COLUMNS = {"session": "session", "item": "item", "time": "time", "by": "row"}


def write_log(folder, n_clicks):
    """Files of whole sessions; about `n_clicks` clicks in all."""
    import polars as pl

    written = n_sessions = 0
    rng = np.random.default_rng(0)
    while written < n_clicks:
        clicks = chunk(rng, min(CHUNK, n_clicks - written), n_sessions, written)
        path = Path(folder) / f"clicks-{written:012}.parquet"
        pl.DataFrame(clicks).write_parquet(path)
        written += len(clicks["row"])
        n_sessions = int(clicks["session"].max()) + 1
    return written, n_sessions


def chunk(rng, n_clicks, first_session, first_row):
    """Columns of about so many clicks, in random order."""
    lengths = rng.geometric(1 / MEAN_LENGTH, size=max(1, round(n_clicks / MEAN_LENGTH)))
    n = int(lengths.sum())
    sessions = np.repeat(np.arange(len(lengths)), lengths)
    starts = N_ITEMS * rng.random(len(lengths)) ** 3
    steps = rng.standard_cauchy(n) * 20
    items = (starts[sessions] + steps).astype(np.int64) % N_ITEMS
    minutes = rng.integers(30 * 1_440, size=len(lengths))[sessions]
    minutes += rng.integers(10, size=n)
    order = rng.permutation(n)
    return {
        "session": first_session + sessions[order],
        "item": items[order],
        "time": minutes[order] * 60,
        "row": first_row + np.arange(n),
    }


# -- in a process of its own -----------------------------------------------------------


def read_log(engine, folder):
    files = str(Path(folder) / "clicks-*.parquet")
    if engine == "polars":
        import polars as pl

        return pl.scan_parquet(files)
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    connection.execute(f"SET temp_directory = '{folder}/spilled'")
    connection.execute("SET preserve_insertion_order = false")
    return connection.read_parquet(files)


def write(frame, path):
    if hasattr(frame, "sink_parquet"):
        frame.sink_parquet(path)
    else:
        frame.write_parquet(str(path))


def measure(engine, folder, task):
    """Seconds, peak memory and number of pairs of one task."""
    import polars as pl

    from skclip.preprocessing import drop_rare_items, drop_short_sessions, item_pairs

    log, before = read_log(engine, folder), peak_gib()
    begun = time.perf_counter()
    if task == "filtered":
        log = drop_rare_items(log, item="item", min_count=5)
        log = drop_short_sessions(log, session="session", min_length=2)
    elif task == "sample":
        last = sample_sessions()
        log = log.filter(
            pl.col("session") < last if engine == "polars" else f"session < {last}"
        )
    path = Path(folder) / f"{engine}-{task}.parquet"
    write(item_pairs(log, **COLUMNS), path)
    return {
        "seconds": time.perf_counter() - begun,
        "peak_gib": peak_gib(),
        "imports_gib": before,
        "pairs": pl.scan_parquet(path).select(pl.len()).collect().item(),
    }


def sample_sessions():
    return round(SAMPLE / MEAN_LENGTH)


def compare(folder):
    """Whether the pairs of the sample are the entries of the item graph."""
    import polars as pl
    from scipy import sparse

    from skclip import SessionClusterer, Sessions

    log = read_log("polars", folder).filter(pl.col("session") < sample_sessions())
    log = log.sort("row").collect()
    X = Sessions.from_events(log, session="session", item="item", time="time")
    clusterer = SessionClusterer(engine="igraph", random_state=0).fit(X)
    ids = clusterer.item_ids_
    upper = sparse.triu(clusterer.graph_).tocoo()
    rows, columns = upper.coords
    entries = {"low": ids[rows], "high": ids[columns], "weight": upper.data}
    entries = pl.DataFrame(entries).cast(pl.Int64).sort("low", "high")
    found = {"clicks": X.n_events, "pairs": len(entries)}
    for engine in ENGINES:
        pairs = pl.read_parquet(Path(folder) / f"{engine}-sample.parquet")
        found[engine] = entries.equals(pairs.sort("low", "high"))
    return found


# -- all of it -------------------------------------------------------------------------


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--clicks", type=int, default=100_000_000)
    parser.add_argument("--one", nargs=3, help="engine, folder and task of one process")
    parser.add_argument("--compare", help="folder of the files")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
    elif arguments.compare:
        print(json.dumps(compare(arguments.compare)))
    else:
        run(arguments.clicks)


def run(n_clicks):
    rows, module = [], "benchmarks.speed.pairs"
    with tempfile.TemporaryDirectory() as folder:
        written, n_sessions = write_log(folder, n_clicks)
        log_gib = sum(f.stat().st_size for f in Path(folder).iterdir()) / 2**30
        log = {"clicks": written, "sessions": n_sessions, "log_gib": log_gib}
        log |= {"memory_limit_duckdb": MEMORY_LIMIT}
        log["versions"] = {name: version(name) for name in (*ENGINES, "narwhals")}
        for task in ("all", "filtered", "sample"):
            for engine in ENGINES:
                found = in_fresh_process(module, "--one", engine, folder, task)
                rows.append({"engine": engine, "task": task} | found)
                print(json.dumps(rows[-1]), flush=True)
                save("speed/pairs.json", {"protocol": __doc__, **log, "rows": rows})
        equal = in_fresh_process(module, "--compare", folder)
        result = {"protocol": __doc__, **log, "equal_to_the_graph": equal, "rows": rows}
        save("speed/pairs.json", result)
    if not all(equal[engine] for engine in ENGINES):
        sys.exit("The pairs of an engine are not those of the item graph.")


if __name__ == "__main__":
    main()
