"""Sessions scored by a saved model in two processes: speed and memory.

    python -m benchmarks.speed.score_everywhere --sessions 20000000

A GRU4Rec model of 5,000 items (64 dimensions) is fitted on simulated sessions and
saved. Further sessions, of about 4 clicks, are written as Parquet files of 100,000, one
session per row. A Dask cluster of two processes with one thread each ranks the 20 best
items of every session with `TopK` (`map_partitions`), and each partition writes its
lists as Parquet. Time is from the first task to the last file, opening of the model
included, start of the cluster apart. Memory is the peak of each process. For comparison
this process ranks the sessions of one file by `predict_topk` and by `TopK`, the faster
of three times.
"""

import tempfile
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client, LocalCluster

import skclip
from benchmarks._results import new_parser, rows_of, save
from skclip.scoring import TopK

RESULT = "speed/score_everywhere.json"
N_ITEMS, N_TRAIN, OF_COMMUNITY, K = 5000, 30_000, 50, 20
N_PROCESSES, OF_FILE, LONGEST = 2, 100_000, 20


def simulated(n_sessions, seed):
    """A column of lists; a session stays in one community of items."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.geometric(0.25, size=n_sessions), LONGEST)
    popularity = 1 / np.arange(1, OF_COMMUNITY + 1)
    places = rng.choice(
        OF_COMMUNITY, size=lengths.sum(), p=popularity / popularity.sum()
    )
    community = rng.integers(N_ITEMS // OF_COMMUNITY, size=n_sessions)
    items = np.repeat(community, lengths) * OF_COMMUNITY + places
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(items))


def save_model(path):
    X = pa.concat_arrays([simulated(N_TRAIN, seed=0), one_of_each()])
    model = skclip.CLIPSessionRecommender(
        "gru4rec", embedding_dim=64, max_epochs=1, random_state=0, n_threads=1,
        loss="sampled_softmax",
    ).fit(X)  # fmt: skip
    assert len(model.item_ids_) == N_ITEMS
    skclip.save(model, path)


def one_of_each():
    """A session of all items, so that the catalog has each of them."""
    return pa.array([list(range(N_ITEMS))])


def write_sessions(folder, n_sessions):
    """Files of sessions with a number each; their paths."""
    folder.mkdir()
    paths = []
    for i, start in enumerate(range(0, n_sessions, OF_FILE)):
        numbers = np.arange(start, min(start + OF_FILE, n_sessions))
        columns = {"session": numbers, "items": simulated(len(numbers), seed=1 + i)}
        paths.append(str(folder / f"{i:05d}"))
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def read_sessions(path):
    return pq.ParquetFile(path).read().to_pandas()


def used():
    """Peak memory of this process in MB, and its seconds of CPU; Linux only.

    The peak of `getrusage` would be that of the parent where this is larger.
    """
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    return {"peak_mb": peak / 1024, "cpu_seconds": time.process_time()}


def scored_by_dask(top, paths, folder):
    """Seconds of the start and of all sessions, and what each process used."""
    began = time.perf_counter()
    cluster = LocalCluster(
        n_workers=N_PROCESSES, threads_per_worker=1, dashboard_address=":0"
    )
    keep_lists = dask.config.set({"dataframe.convert-string": False})
    with keep_lists, cluster, Client(cluster) as client:
        start = time.perf_counter() - began
        idle = client.run(used)
        began = time.perf_counter()
        like = read_sessions(paths[0])[:0]
        sessions = dd.from_map(read_sessions, paths, meta=like)
        lists = sessions.map_partitions(top, meta=top.schema("pandas", like))
        lists.to_parquet(folder, write_index=False)
        seconds = time.perf_counter() - began
        busy = client.run(used)
    processes = [
        {"idle_mb": idle[name]["peak_mb"]}
        | busy[name]
        | {"cpu_seconds": busy[name]["cpu_seconds"] - idle[name]["cpu_seconds"]}
        for name in busy
    ]
    return start, seconds, processes


def check_rows(folder, n_sessions):
    """Each session has K lines."""
    files = [pq.ParquetFile(path) for path in folder.iterdir() if path.is_file()]
    assert sum(file.metadata.num_rows for file in files) == K * n_sessions
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20


def seconds_in_this_process(path, top, file):
    """CPU seconds of `predict_topk` on ready sessions, and of `TopK` on a frame."""
    model, frame = skclip.load(path).set_params(n_threads=1), read_sessions(file)
    X = skclip.Sessions.from_lists(frame["items"])
    table = pa.Table.from_pandas(frame)
    calls = {
        "predict_topk": lambda: model.predict_topk(X, K, return_scores=True),
        "TopK, pandas": lambda: top(frame),
        "TopK, pyarrow": lambda: top(table),
    }
    return {
        name: min(cpu_seconds(call) for _ in range(3)) for name, call in calls.items()
    }


def cpu_seconds(call):
    began = time.process_time()
    call()
    return time.process_time() - began


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--sessions", type=int, default=20_000_000)
    parser.add_argument("--folder", help="where files of some GB may be written")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        folder = Path(folder)
        path = folder / "model.skclip"
        save_model(path)
        began = time.perf_counter()
        paths = write_sessions(folder / "sessions", args.sessions)
        print(f"wrote the sessions in {time.perf_counter() - began:.0f} s", flush=True)
        top = TopK(path, K)
        alone = seconds_in_this_process(path, top, paths[0])
        print({name: round(value, 2) for name, value in alone.items()}, flush=True)
        start, seconds, processes = scored_by_dask(top, paths, folder / "lists")
        row = {
            "sessions": args.sessions,
            "n_items": N_ITEMS,
            "seconds": seconds,
            "sessions_per_second": args.sessions / seconds,
            "start_seconds": start,
            "processes": processes,
            "lists_mb": check_rows(folder / "lists", args.sessions),
            "model_mb": path.stat().st_size / 2**20,
            "cpu_seconds_of_one_file": alone,
        }
    print(row)
    rows = [r for r in rows_of(RESULT) if r["sessions"] != args.sessions]
    save(RESULT, {"protocol": __doc__, "rows": [*rows, row]})


if __name__ == "__main__":
    main()
