"""Several workers, forked or spawned: none hangs, one may die, all stop gracefully."""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time

import pytest
from common import small
from server_process import ask, free_port, running, serve_command, workers_of

import skclip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]
KINDS = ["own", "gunicorn", "gunicorn --preload"]
N_CLIENTS = 4


def command(kind, path, port):
    if kind == "own":
        return serve_command(path, port, "--workers=2", "--reload-seconds=0.2")
    pytest.importorskip("gunicorn")
    pytest.importorskip("uvicorn_worker")
    app = f"skclip.serve:create_app({str(path)!r}, reload_seconds=0.2)"
    options = ["-w2", "-kuvicorn_worker.UvicornWorker", f"-b127.0.0.1:{port}"]
    return [sys.executable, "-m", "gunicorn", *kind.split()[1:], *options, app]


class Clients:
    """Threads that ask all the time; what they were told, and which requests broke."""

    def __init__(self, port, session):
        self.statuses, self.versions, self.broken = [], [], []
        self._port, self._session, self._stop = port, session, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(N_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self):
        while not self._stop.is_set():
            try:
                body = {"session": self._session}
                status, answer = ask(self._port, "/recommend", body)
                self.statuses.append(status)
                self.versions.append(answer.get("version"))
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(error)

    def wait_for(self, n):
        """Wait until so many more were answered."""
        goal, deadline = len(self.statuses) + n, time.monotonic() + 60
        while len(self.statuses) < goal:
            assert time.monotonic() < deadline, "the server hangs"
            time.sleep(0.01)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def version_of(port):
    return ask(port)[1]["models"][0]["version"]


@pytest.mark.parametrize("kind", KINDS)
def test_workers(kind, train, tmp_path):
    path, port = tmp_path / "model.skclip", free_port()
    # Without n_threads, so that torch in the parent has threads that a fork loses.
    model = small(n_threads=None, embedding_dim=64).fit(train)
    skclip.save(model, path)
    log = tmp_path / "log"
    with running(command(kind, path, port), port, log, OMP_NUM_THREADS="2") as process:
        clients = Clients(port, train[0].tolist())
        try:
            clients.wait_for(100)
            many = {"sessions": [row.tolist() for row in train[:300]], "k": 80}
            assert ask(port, "/recommend", many)[0] == 200

            first, other = workers_of(process.pid)
            os.kill(first, signal.SIGKILL)
            clients.wait_for(100)
            assert len(clients.broken) <= N_CLIENTS  # what the killed one had open
            deadline = time.monotonic() + 60
            while set(workers_of(process.pid)) in ({other}, {first, other}):
                assert time.monotonic() < deadline, "no worker takes its place"
                time.sleep(0.1)

            n_broken, old = len(clients.broken), version_of(port)
            skclip.save(small("narm").fit(train), path)
            deadline = time.monotonic() + 60
            while {version_of(port) for _ in range(20)} & {old}:
                assert time.monotonic() < deadline, "the old model is still there"
                time.sleep(0.1)
            clients.wait_for(100)
            assert len(clients.broken) == n_broken
        finally:
            clients.stop()
        assert set(clients.statuses) == {200}
        assert old not in clients.versions[-50:]
        status = finish_while_stopping(process, port)
        assert status == 200
        assert process.wait(30) == 0, log.read_text("utf-8")
    assert "Traceback" not in log.read_text("utf-8")


@pytest.mark.parametrize("mended", [True, False])
def test_a_new_worker_waits_for_a_sound_file(mended, train, tmp_path):
    """The other one answers meanwhile, and the server can be stopped."""
    path, port, log = tmp_path / "model.skclip", free_port(), tmp_path / "log"
    skclip.save(small().fit(train), path)
    whole = path.read_bytes()
    with running(command("own", path, port), port, log) as process:
        wait_for_line(log, "Application startup complete", 2)
        first, other = workers_of(process.pid)
        path.write_bytes(whole[:-1])
        os.kill(first, signal.SIGKILL)
        wait_for_line(log, "A new worker waits", 1)
        (new,) = set(workers_of(process.pid)) - {other}
        time.sleep(1.0)  # it looks several times
        assert {ask(port)[0] for _ in range(20)} == {200}
        assert set(workers_of(process.pid)) == {new, other}
        if mended:
            path.write_bytes(whole)
            wait_for_line(log, "Application startup complete", 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text("utf-8")
    assert log.read_text("utf-8").count("A new worker waits") == 1
    assert "Traceback" not in log.read_text("utf-8")


def wait_for_line(log, line, n):
    deadline = time.monotonic() + 60
    while log.read_text("utf-8").count(line) < n:
        assert time.monotonic() < deadline, log.read_text("utf-8")
        time.sleep(0.1)


def finish_while_stopping(process, port):
    """Stop the server in the middle of a request; the status of its answer."""
    body = json.dumps({"session": []}).encode()
    head = (
        "POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:5])
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        connection.sendall(body[5:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert json.loads(answer.read())["unknown"] == []
        return answer.status
