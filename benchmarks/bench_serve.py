"""Latency of one session: the estimator, and the example server over HTTP.

    python benchmarks/bench_serve.py

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
from pathlib import Path

import numpy as np
import torch
from _common import save

import skclip
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions

N_ITEMS, N_REQUESTS = 40_000, 2_000


def percentiles(seconds):
    return {f"p{p}_ms": float(1e3 * np.percentile(seconds, p)) for p in (50, 95, 99)}


def main():
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.tile(np.arange(N_ITEMS), 5)).astype(np.int32)
    X = Sessions(codes, np.arange(0, len(codes) + 1, 5), np.arange(N_ITEMS))
    model = CLIPSessionRecommender(
        "gru4rec",
        clusterer=SessionClusterer(engine="igraph"),
        loss="sampled_softmax",
        max_epochs=1,
        early_stopping=False,
        random_state=0,
    ).fit(X)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skclip"
        skclip.save(model, path)
        size = path.stat().st_size
        begun = time.perf_counter()
        model = skclip.load(path)
        load_seconds = time.perf_counter() - begun
        queries = [[X[i].tolist()] for i in rng.integers(len(X), size=N_REQUESTS)]
        seconds = []
        for query in queries[:100] + queries:
            begun = time.perf_counter()
            model.predict_topk(query, k=10, exclude_seen=True)
            seconds.append(time.perf_counter() - begun)
        result = {"in_process": percentiles(seconds[100:])}
        port = "8765"
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "serve:app", "--app-dir",
             str(Path(__file__).parents[1] / "examples"), "--port", port,
             "--log-level", "warning"],
            env=os.environ | {"SKCLIP_MODEL": str(path), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                    break
                except OSError:
                    time.sleep(0.2)
            seconds = []
            for query in queries[:100] + queries:
                body = json.dumps({"session": query[0], "k": 10}).encode()
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/recommend",
                    data=body,
                    headers={"content-type": "application/json"},
                )
                begun = time.perf_counter()
                with urllib.request.urlopen(request) as answer:
                    json.load(answer)
                seconds.append(time.perf_counter() - begun)
            result["http"] = percentiles(seconds[100:])
        finally:
            server.terminate()
            server.wait()
    result |= {"file_bytes": size, "load_seconds": load_seconds, "n_items": N_ITEMS}
    print(json.dumps(result, indent=1))
    save("serve", {"protocol": __doc__, **result})


if __name__ == "__main__":
    main()
