"""The example on a user's own files."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from skclip.datasets import make_sessions

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    X, _ = make_sessions(300, 40, n_communities=4, random_state=0)
    frame = X.to_frame().rename(columns={"item": "sku", "time": "ts"})
    folder = tmp_path_factory.mktemp("clicks")
    frame.to_csv(folder / "clicks.csv", index=False)
    frame.to_parquet(folder / "clicks.parquet")
    return folder


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", QUICKSTART, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["clicks.csv", "clicks.parquet"])
def test_own_file(clicks, name):
    columns = ["--session", "session", "--item", "sku", "--time", "ts"]
    done = run("--events", clicks / name, *columns, "--backbone", "gru4rec")
    assert done.returncode == 0, done.stderr
    assert "Train on 240 sessions" in done.stdout
    assert "gru4rec, CLIP" in done.stdout
    assert "loaded: the same ranking" in done.stdout
    assert "validation=" in done.stderr  # the progress bar


def test_wrong_column_is_named(clicks):
    done = run("--events", clicks / "clicks.csv", "--session", "sid", "--item", "sku")
    assert done.returncode != 0
    assert "no column 'sid'" in done.stderr
    assert "Traceback" not in done.stderr
    assert pd.read_csv(clicks / "clicks.csv").columns.tolist() == [
        "session",
        "sku",
        "ts",
    ]
