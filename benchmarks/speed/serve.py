"""Latency of one session: the estimator, and the example server over HTTP.

    python -m benchmarks.speed.serve

A model of 40,000 items (64 dimensions, random weights would do: it is fitted for one
epoch on simulated sessions), saved by skclip.save and loaded again; sessions of 5
items, top 10, seen items left out. 2,000 requests one after the other, one thread.
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

import skclip
from benchmarks._results import ROOT, new_parser, save
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions

N_ITEMS, N_REQUESTS, WARM_UP = 40_000, 2_000, 100
PORT = 8765


def simulated_sessions(rng):
    codes = rng.permutation(np.tile(np.arange(N_ITEMS), 5)).astype(np.int32)
    return Sessions(codes, np.arange(0, len(codes) + 1, 5), np.arange(N_ITEMS))


def fitted(X):
    return CLIPSessionRecommender(
        "gru4rec",
        clusterer=SessionClusterer(engine="igraph"),
        loss="sampled_softmax",
        max_epochs=1,
        early_stopping=False,
        repeats=False,
        random_state=0,
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
def server(model_file):
    """The example server, once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "serve:app", "--app-dir",
         str(ROOT / "examples"), "--port", str(PORT), "--log-level", "warning"],
        env=os.environ | {"SKCLIP_MODEL": str(model_file), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health")
                break
            except OSError:
                time.sleep(0.2)
        yield
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


def main():
    new_parser(__doc__).parse_args()
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
