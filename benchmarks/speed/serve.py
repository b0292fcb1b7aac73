"""Latency of one session: the estimator, and the server over HTTP.

    python -m benchmarks.speed.serve
    python -m benchmarks.speed.serve --network

A model of 40,000 items (64 dimensions, random weights would do: it is fitted for one
epoch on simulated sessions), saved by skclip.save and loaded again; sessions of 5
items, top 10, seen items left out. 2,000 requests one after the other, one thread.

With --network the same is set against what no answer can do without: the backbone's
network on five vectors that are ready, and the product of its state with those of all
items. Both take turns in one process. What is above that floor is the list of ids, the
look-up of vectors, the best 20 and, in a model with prompts, their gate.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

import skclip
from benchmarks._results import new_parser, save
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.backbones import BACKBONES, Batch

N_ITEMS, N_REQUESTS, WARM_UP = 40_000, 2_000, 100
N_ROUNDS = 400
CAUSAL = ("gru4rec", "narm", "stamp", "core", "pomrec", "sasrec")
PORT = 8765


def simulated_sessions(rng, n_items=N_ITEMS):
    codes = rng.permutation(np.tile(np.arange(n_items), 5)).astype(np.int32)
    return Sessions(codes, np.arange(0, len(codes) + 1, 5), np.arange(n_items))


def fitted(X, backbone="gru4rec", **params):
    return CLIPSessionRecommender(
        backbone,
        clusterer=SessionClusterer(engine="igraph"),
        loss="sampled_softmax",
        max_epochs=1,
        early_stopping=False,
        repeats=False,
        random_state=0,
        **params,
    ).fit(X)


def percentiles(ask, queries):
    """Percentiles of the time of one query; the first ones are a warm-up."""
    seconds = []
    for query in queries[:WARM_UP] + queries:
        begun = time.perf_counter()
        ask(query)
        seconds.append(time.perf_counter() - begun)
    return {
        f"p{p}_ms": float(1e3 * np.percentile(seconds[WARM_UP:], p))
        for p in (50, 95, 99)
    }


@contextmanager
def server(model_file, port=PORT, *options):
    """The process of the server, once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skclip.serve", str(model_file), "--port", str(port),
         *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait()


def ask_server(session):
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/recommend",
        data=json.dumps({"session": session, "k": 10}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        json.load(answer)


def floor(backbone, n_items, dim=64, length=5):
    """The network on ready vectors and the product, as a function."""
    network = BACKBONES[backbone]().build(dim, n_items, max_length=50).eval()
    x, keys = torch.randn(1, length, dim), torch.randn(dim, n_items)
    one = torch.ones(1, dtype=torch.long)
    batch = Batch(torch.ones(1, length).long(), one - 1, one * length, one)

    @torch.no_grad()
    def compute():
        state = F.normalize(network.query(network.encode(x, batch)), dim=-1)
        return torch.mm(state, keys)

    return compute


def medians(functions, queries):
    """Median milliseconds of functions of a query that take turns.

    So each finds the vectors of another one in the processor's caches.
    """
    seconds = {name: [] for name in functions}
    for query in queries:
        for name, function in functions.items():
            begun = time.perf_counter()
            function(query)
            seconds[name].append(time.perf_counter() - begun)
    return {name: 1e3 * np.median(s[WARM_UP:]) for name, s in seconds.items()}


def against_the_network(backbone, n_items):
    rng = np.random.default_rng(0)
    X = simulated_sessions(rng, n_items)
    bare, prompted = (
        fitted(X, backbone, max_time=1, **params) for params in ({"prompt": None}, {})
    )
    torch.set_num_threads(1)
    network = floor(backbone, n_items)
    queries = rng.integers(n_items, size=(WARM_UP + N_ROUNDS, 5)).tolist()
    found = medians(
        {
            "floor": lambda _: network(),
            "bare": lambda row: bare.predict_topk([row], k=20),
            "prompted": lambda row: prompted.predict_topk([row], k=20),
            "bare, seen items left out": lambda row: bare.predict_topk(
                [row], k=20, exclude_seen=True
            ),
        },
        queries,
    )
    above = {k: float(v - found["floor"]) for k, v in found.items() if k != "floor"}
    row = {"backbone": backbone, "n_items": n_items}
    return row | {"above_ms": above, "floor_ms": float(found["floor"])}


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--network", action="store_true", help="compare with that")
    if parser.parse_args().network:
        rows = []
        for n_items in (60, N_ITEMS):
            for backbone in CAUSAL:
                rows.append(against_the_network(backbone, n_items))
                print(json.dumps(rows[-1]), flush=True)
        save("speed/one_session.json", {"protocol": __doc__, "rows": rows})
        return
    rng = np.random.default_rng(0)
    X = simulated_sessions(rng)
    model = fitted(X)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skclip"
        skclip.save(model, path)
        result = {"file_bytes": path.stat().st_size, "n_items": N_ITEMS}
        begun = time.perf_counter()
        model = skclip.load(path)
        result["load_seconds"] = time.perf_counter() - begun
        queries = [X[i].tolist() for i in rng.integers(len(X), size=N_REQUESTS)]
        result["in_process"] = percentiles(
            lambda row: model.predict_topk([row], k=10, exclude_seen=True), queries
        )
        with server(path):
            result["http"] = percentiles(ask_server, queries)
    print(json.dumps(result, indent=1))
    save("speed/serve.json", {"protocol": __doc__, **result})


if __name__ == "__main__":
    main()
