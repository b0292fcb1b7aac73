"""The server under load, while its model file is replaced and a worker is killed.

    python -m benchmarks.speed.serve_load

`python -m skclip.serve --workers 2` gets 10,000 requests from 32 connections of a
client on the same machine, for one session of up to five items each. Meanwhile the
model file is replaced five times, by one of two models in turn, and a worker is killed.
Each answer says which model gave it, and must be the list of that model. Latency is
that of all requests, those during the changes included. Memory is that of the worker
that lives on: before each replacement, and at the end. The load average says how busy
other programs kept the machine, which all numbers depend on. The script fails if an
answer is wrong, if more requests fail than the killed worker can have had open, or if
the memory grows by more than a quarter between the second replacement and the end.

Linux only: workers and their memory are read from /proc.
"""

import hashlib
import http.client
import json
import os
import signal
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import skclip
from benchmarks._results import new_parser, save
from benchmarks.speed._measuring import started_by
from benchmarks.speed.serve import fitted, server, simulated_sessions

N_ITEMS, N_REQUESTS, N_CONNECTIONS, N_WORKERS = 20_000, 10_000, 32, 2
N_REPLACEMENTS, N_QUERIES, K, PORT = 5, 200, 10, 8766
HEADERS = {"content-type": "application/json"}


class Load:
    """What the connections have asked, in threads; they share these counts."""

    def __init__(self, queries, expected):
        self.queries, self.expected = queries, expected
        self.seconds, self.outcomes = [], Counter()
        self._lock, self._left = threading.Lock(), N_REQUESTS

    @property
    def n_done(self):
        return sum(self.outcomes.values())

    def _take(self):
        with self._lock:
            self._left -= 1
            return self._left

    def ask_until_done(self):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        while (number := self._take()) >= 0:
            at = number % len(self.queries)
            begun = time.perf_counter()
            try:
                outcome = self._outcome(connection, at)
            except (OSError, http.client.HTTPException):
                outcome = "connection lost"
                connection.close()  # the next request opens it again
            with self._lock:
                self.seconds.append(time.perf_counter() - begun)
                self.outcomes[outcome] += 1
        connection.close()

    def _outcome(self, connection, at):
        body = json.dumps({"session": self.queries[at], "k": K})
        connection.request("POST", "/recommend", body, HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            return f"status {answer.status}"
        answer = json.loads(text)
        right = self.expected[answer["version"]][at]
        return "right" if answer["items"] == right else "wrong"


def version_of(path):
    """As the server names it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def workers_of(pid):
    names = {p: Path(f"/proc/{p}/cmdline").read_text() for p in started_by(pid)}
    return [pid for pid, name in names.items() if "resource_tracker" not in name]


def megabytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def run(path, models, load):
    """The load, and the changes meanwhile: its seconds, and memory at each change."""
    skclip.save(models[0], path)
    options = ("--workers", str(N_WORKERS), "--reload-seconds", "0.5")
    with server(path, PORT, *options) as process:
        wait_for_workers()
        threads = [
            threading.Thread(target=load.ask_until_done) for _ in range(N_CONNECTIONS)
        ]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
            time.sleep(0.02)  # one worker may take all that come at once
        kept, killed = workers_of(process.pid)
        memory, step = [], N_REQUESTS // (N_REPLACEMENTS + 1)
        for number in range(1, N_REPLACEMENTS + 1):
            wait_for(load, number * step)
            memory.append(megabytes(kept))
            skclip.save(models[number % 2], path)
            if number == N_REPLACEMENTS // 2 + 1:
                wait_for(load, (number + 0.5) * step)
                os.kill(killed, signal.SIGKILL)
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begun
        memory.append(megabytes(kept))
    return seconds, memory


def wait_for_workers():
    """Wait until all of them answer; each has loaded the model at a time of its own."""
    times = set()
    while len(times) < N_WORKERS:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health") as answer:
            times.add(json.load(answer)["models"][0]["loaded_at"])
        time.sleep(0.05)


def wait_for(load, n):
    while load.n_done < n:
        time.sleep(0.01)


def check(load, memory):
    lost = load.outcomes["connection lost"]
    assert load.outcomes["right"] + lost == N_REQUESTS, load.outcomes
    assert lost <= N_CONNECTIONS, load.outcomes
    assert memory[-1] < 1.25 * memory[1], memory


def main():
    new_parser(__doc__).parse_args()
    rng = np.random.default_rng(0)
    X = simulated_sessions(rng, N_ITEMS)
    models = [fitted(X, backbone, max_time=1) for backbone in ("gru4rec", "narm")]
    torch.set_num_threads(1)
    queries = [X[i].tolist()[: 1 + i % 5] for i in rng.integers(len(X), size=N_QUERIES)]
    with tempfile.TemporaryDirectory() as folder:
        path, expected = Path(folder) / "model.skclip", {}
        for model in models:
            skclip.save(model, path)
            model = skclip.load(path)
            lists = [model.predict_topk([q], k=K, exclude_seen=True) for q in queries]
            expected[version_of(path)] = [items[0].tolist() for items in lists]
        load, load_average = Load(queries, expected), os.getloadavg()[0]
        seconds, memory = run(path, models, load)
    result = {
        "n_items": N_ITEMS,
        "n_connections": N_CONNECTIONS,
        "n_workers": N_WORKERS,
        "load_average_before": load_average,
        "outcomes": dict(load.outcomes),
        "requests_per_second": N_REQUESTS / seconds,
        **{f"p{p}_ms": 1e3 * np.percentile(load.seconds, p) for p in (50, 99)},
        "memory_mb": memory,
    }
    print(json.dumps(result, indent=1))
    check(load, memory)
    save("speed/serve_load.json", {"protocol": __doc__, **result})


if __name__ == "__main__":
    main()
