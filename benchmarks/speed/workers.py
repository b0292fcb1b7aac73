"""Memory of servers with one worker process and with two.

    python -m benchmarks.speed.workers

A model of 40,000 items is served by one process, by two that load it each for
themselves (`--workers 2`), and by two that gunicorn forks with the settings of
`examples/deploy`. Each server answers 2,000 requests for one session of five items,
from 8 connections. Then its file is replaced by another model. Memory is the
proportional set size of all processes of a server, where what several processes share
is divided among them. It is taken before the first request, after the last one, and
with the new model. One thread for each worker.

Linux only: memory is read from /proc. Other programs that have the same libraries of
the same environment open share their memory as well, so there should be none.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import skclip
from benchmarks._results import ROOT, new_parser, save
from benchmarks.speed._measuring import started_by
from benchmarks.speed.serve import N_ITEMS, fitted, simulated_sessions

N_REQUESTS, N_CONNECTIONS, PORT = 2000, 8, 8767
PYTHON = (sys.executable, "-m")
GUNICORN = (*PYTHON, "gunicorn", "-c", str(ROOT / "examples/deploy/gunicorn.conf.py"))


def commands(path):
    """What starts each server, by the names of the table."""
    own = (*PYTHON, "skclip.serve", str(path), "--port", str(PORT))
    return {
        "one": own,
        "two": (*own, "--workers", "2"),
        "two, forked": (*GUNICORN, "--workers", "2", "--bind", f"127.0.0.1:{PORT}"),
    }


@contextmanager
def running(command, path):
    environ = {"OMP_NUM_THREADS": "1", "SKCLIP_MODEL": str(path)}
    with open(os.devnull, "w") as log:
        process = subprocess.Popen(
            command, env=os.environ | environ, stdout=log, stderr=log
        )
    try:
        for _ in range(600):
            try:
                version()
                break
            except OSError:
                time.sleep(0.2)
        time.sleep(5)  # until the other worker is up as well
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def version():
    """That of the model of whichever worker answers."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request("GET", "/health")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["models"][0]["version"]


def processes(pid):
    """A process and those that it has started."""
    return [pid, *(p for child in started_by(pid) for p in processes(child))]


def memory(pid):
    """Megabytes of all processes of a server."""
    total = 0
    for one in processes(pid):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        total += int(text.partition("\nPss:")[2].split()[0])
    return total / 1024


def ask_all(queries):
    """By N_CONNECTIONS that ask one request after the other."""

    def ask(share):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        for query in share:
            body = json.dumps({"session": query, "k": 10})
            kind = {"content-type": "application/json"}
            connection.request("POST", "/recommend", body, kind)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()

    shares = [queries[i::N_CONNECTIONS] for i in range(N_CONNECTIONS)]
    threads = [threading.Thread(target=ask, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_for_another(old):
    """Until no worker answers with the old model."""
    deadline = time.monotonic() + 60
    while old in {version() for _ in range(20)}:
        assert time.monotonic() < deadline
        time.sleep(1)


def measured(command, models, path, queries):
    skclip.save(models[0], path)
    with running(command, path) as pid:
        found = {"started": memory(pid)}
        ask_all(queries)
        found["asked"] = memory(pid)
        old = version()
        skclip.save(models[1], path)
        wait_for_another(old)
        found["replaced"] = memory(pid)
    return found


def main():
    new_parser(__doc__).parse_args()
    rng = np.random.default_rng(0)
    X = simulated_sessions(rng)
    models = [fitted(X, max_time=seconds) for seconds in (1, 2)]
    queries = [X[i].tolist() for i in rng.integers(len(X), size=N_REQUESTS)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skclip"
        for name, command in commands(path).items():
            found = measured(command, models, path, queries)
            rows.append({"server": name, "memory_mb": found})
            print(json.dumps(rows[-1]), flush=True)
        file_mb = path.stat().st_size / 2**20
    result = {"n_items": N_ITEMS, "file_mb": file_mb}
    save("speed/workers.json", {"protocol": __doc__, **result, "rows": rows})


if __name__ == "__main__":
    main()
