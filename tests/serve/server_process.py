"""A server in processes of its own, and what can be seen of them."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

JSON = {"content-type": "application/json"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_command(path, port, *options):
    return [sys.executable, "-m", "skclip.serve", str(path), f"--port={port}", *options]


def ask(port, where="/health", body=None, timeout=60):
    """Status and answer of a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        method = "GET" if body is None else "POST"
        text = None if body is None else json.dumps(body)
        connection.request(method, where, text, JSON)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@contextlib.contextmanager
def running(command, port, log, **environ):
    """The process of a command, once the server answers."""
    with open(log, "w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | environ
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, Path(log).read_text("utf-8")
            assert time.monotonic() < deadline, Path(log).read_text("utf-8")
            with contextlib.suppress(OSError, http.client.HTTPException):
                ask(port)
                break
            time.sleep(0.1)
        yield process
    finally:
        workers = workers_of(process.pid)
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        process.kill()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def workers_of(pid):
    """Processes that a server has started to answer requests; Linux only."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    except OSError:
        return []
    return [int(child) for child in children if _is_worker(child)]


def _is_worker(pid):
    with contextlib.suppress(OSError):
        return "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text("utf-8")
    return False


def megabytes(pid):
    """Memory of a process that is not of files."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no memory is told of {pid}")
