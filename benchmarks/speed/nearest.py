"""Approximate indexes of item vectors: recall against exact lists, and speed.

    SKCLIP_DATA=... python -m benchmarks.speed.nearest

Lists of 20 items. The vectors are those of a default model after two epochs on a
quarter of Diginetica's training sessions, and 200,000 simulated ones of length 1: in
2,000 clusters, and without any structure. Queries are 1,000 later sessions, or 1,000 of
the items. Everything runs on one thread. Speeds are medians, as multiples of an exact
search in the same run: one query after the other, and 1,000 at a time. The exact search
is the faster one of torch's product with its selection and faiss. The search alone
counts, without the network.
"""

import time

import faiss
import numpy as np
import torch

from benchmarks._data import split_rows, training_rows
from benchmarks._results import (
    data_hash,
    load,
    markdown,
    new_parser,
    replace_table,
    save,
)
from skclip import CLIPSessionRecommender

K, N_QUERIES, N_ITEMS, DIM = 20, 1000, 200_000, 64
INDEXES = {  # name -> how faiss makes it, the setting of a search, its values
    "IVF": ("IVF{n_cells},Flat", "nprobe", (1, 4, 16, 64)),
    "HNSW": ("HNSW16", "efSearch", (20, 40, 80, 160)),
}


def trained():
    """Item vectors, vectors of later sessions, and how long the model itself takes."""
    rows = training_rows("diginetica")
    X, later = split_rows(rows[-len(rows) // 4 :])
    model = CLIPSessionRecommender(
        max_epochs=2, repeats=False, n_threads=1, random_state=0
    ).fit(X)
    later = later[:N_QUERIES]
    vectors = model.session_vectors(later)
    vectors = vectors[~np.isnan(vectors).any(axis=1)]
    one = later.to_lists()[:100]
    exact = {
        "predict_topk_ms": 1e3 * seconds(lambda i: model.predict_topk([one[i]], K)),
        "session_vectors_ms": 1e3 * seconds(lambda i: model.session_vectors([one[i]])),
        "similar_items_ms": 1e3
        * seconds(lambda i: model.similar_items(model.item_ids_[i : i + 1], K)),
        "data_hash": data_hash(X),
    }
    return model.item_vectors_, vectors, exact


def simulated(n_clusters, rng):
    """Unit vectors, around some centers if there are clusters."""
    vectors = rng.normal(size=(N_ITEMS, DIM))
    if n_clusters:
        centers = 1.5 * rng.normal(size=(n_clusters, DIM))
        vectors += centers[rng.integers(n_clusters, size=N_ITEMS)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def seconds(function, n=100):
    """Median time of ``function(i)`` over some i."""
    times = []
    for i in range(n):
        begun = time.perf_counter()
        function(i)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def by_product(items):
    """Exact search with torch, in blocks that stay in the cache."""
    keys, step = torch.from_numpy(items).T.contiguous(), max(48, 2**21 // len(items))

    def search(queries):
        for rows in torch.from_numpy(queries).split(step):
            torch.topk(rows @ keys, K)

    return search


def timed(search, queries):
    """Seconds of one query alone, and of each in calls with all of them."""
    one = seconds(lambda i: search(queries[i : i + 1]))
    return one, seconds(lambda i: search(queries), n=3) / len(queries)


def measure(vectors, items, queries):
    """Rows of one set of queries, for each index and setting."""
    items, queries = (np.ascontiguousarray(part) for part in (items, queries))
    exact = faiss.IndexFlatIP(items.shape[1])
    exact.add(items)
    _, wanted = exact.search(queries, K)
    ways = [lambda q: exact.search(q, K), by_product(items)]
    ones, eachs = zip(*(timed(way, queries) for way in ways), strict=True)
    one, each = min(ones), min(eachs)
    of_all = {"vectors": vectors, "n_items": len(items), "n_queries": len(queries)}
    of_exact = {"faiss_ms": (ones[0], eachs[0]), "torch_ms": (ones[1], eachs[1])}
    of_exact = {way: [1e3 * t for t in times] for way, times in of_exact.items()}
    yield of_all | {"index": "exact"} | of_exact
    n_cells = 2 ** round(np.log2(4 * np.sqrt(len(items))) - 0.5)
    for name, (factory, setting, values) in INDEXES.items():
        begun = time.perf_counter()
        index = faiss.index_factory(
            items.shape[1], factory.format(n_cells=n_cells), faiss.METRIC_INNER_PRODUCT
        )
        index.train(items)
        index.add(items)
        build_seconds = time.perf_counter() - begun
        for value in values:
            faiss.ParameterSpace().set_index_parameter(index, setting, value)
            _, found = index.search(queries, K)
            pairs = zip(found, wanted, strict=True)
            alone, together = timed(lambda q, i=index: i.search(q, K), queries)
            yield of_all | {
                "index": name,
                "setting": f"{setting}={value}",
                "build_seconds": build_seconds,
                "recall@20": float(
                    np.mean([len(np.intersect1d(*p)) / K for p in pairs])
                ),
                "speed_of_one": one / alone,
                "speed_of_many": each / together,
            }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table")
    if not parser.parse_args().table:
        run()
    write_table()


def run():
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    items, sessions, of_model = trained()
    some = rng.permutation(len(items))[:N_QUERIES]
    sets = [
        ("Diginetica, sessions", items, sessions),
        ("Diginetica, items", items, items[some]),
    ]
    some = rng.permutation(N_ITEMS)[:N_QUERIES]
    for name, n_clusters in (("clustered, items", 2000), ("unstructured, items", 0)):
        vectors = simulated(n_clusters, rng)
        sets.append((name, vectors, vectors[some]))
    rows = []
    for each in sets:
        for row in measure(*each):
            rows.append(row)
            print(row, flush=True)
    save(
        "speed/nearest.json", {"protocol": __doc__, "of_model": of_model, "rows": rows}
    )


def write_table():
    """For each index the fastest setting with a recall of 0.95, or its best one."""
    head = ["vectors, queries", "catalog", "index", "recall@20"]
    head += ["one query", "many queries", "build"]
    lines = {}
    for row in load("speed/nearest.json")["rows"]:
        key = row["vectors"], row["index"]
        if row["index"] != "exact" and lines.get(key, {}).get("recall@20", 0) < 0.95:
            lines[key] = row
    cells = [
        [
            row["vectors"],
            f"{row['n_items']:,}",
            f"{row['index']}, {row['setting']}",
            f"{row['recall@20']:.3f}",
            two_digits(row["speed_of_one"]),
            two_digits(row["speed_of_many"]),
            f"{two_digits(row['build_seconds'])} s",
        ]
        for row in lines.values()
    ]
    note = "benchmarks/lab/2026-11-30-approximate-indexes.md"
    replace_table(note, "nearest", markdown(head, cells))


def two_digits(value):
    return f"{float(f'{value:.2g}'):g}"


if __name__ == "__main__":
    main()
