"""Requests that schemathesis makes from the OpenAPI description, most of them bad."""

import re
import subprocess
import sys

import pytest
from server_process import ask, free_port, megabytes, running, serve_command

import skclip
from skclip import MarkovRecommender

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]
MOST_GROWTH = 32  # MB: what one request of the largest size takes for a moment


def fuzz(port, seed, n_examples):
    """Exit code of a run of schemathesis, its output, and how many requests it sent."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{port}/openapi.json",
            *("--checks", "all", "--max-examples", str(n_examples)),
            *("--seed", str(seed), "--request-timeout", "10", "--no-color"),
            "--continue-on-failure",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    found = re.search(r"(\d+) generated", done.stdout)
    return done.returncode, done.stdout + done.stderr, int(found[1]) if found else 0


def test_generated_requests(fitted, train, tmp_path):
    pytest.importorskip("schemathesis")
    skclip.save(fitted, tmp_path / "a.skclip")
    skclip.save(MarkovRecommender().fit(train), tmp_path / "b.skclip")
    port = free_port()
    command = serve_command(tmp_path / "a.skclip", port, str(tmp_path / "b.skclip"))
    with running(command, port, tmp_path / "log") as process:
        fuzz(port, seed=0, n_examples=2)  # so that all code is loaded
        before = megabytes(process.pid)
        status, output, n_requests = fuzz(port, seed=1, n_examples=60)
        assert status == 0, output
        assert n_requests >= 500, output
        assert megabytes(process.pid) - before < MOST_GROWTH
        assert ask(port)[0] == 200
        print(f"{n_requests} requests, {megabytes(process.pid) - before:+.1f} MB")
    log = (tmp_path / "log").read_text("utf-8")
    assert '" 5' not in log  # no status of 500 and more
    assert "Traceback" not in log
