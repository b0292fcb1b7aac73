"""The examples run as scripts, in processes of their own where they train."""

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skclip.datasets import make_sessions

EXAMPLES = Path(__file__).parents[2] / "examples"
PLOTS = [path.stem for path in sorted(EXAMPLES.glob("plot_*.py"))]
FAST = "plot_item_clusters"
SLOW = sorted(set(PLOTS) - {FAST})  # they run with -m slow
ENVIRON = os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}


def run(name, **arguments):
    options = [str(part) for key in arguments for part in (f"--{key}", arguments[key])]
    command = [sys.executable, "-W", "ignore", f"{name}.py", *options]
    return subprocess.run(
        command, cwd=EXAMPLES, env=ENVIRON, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", PLOTS)
def test_example_is_fair(name):
    """It compiles, simulates its data, and where it scores it scores popularity."""
    text = (EXAMPLES / f"{name}.py").read_text()
    names = {node.id for node in ast.walk(ast.parse(text)) if hasattr(node, "id")}
    assert names & {"make_sessions", "make_titled_sessions"}
    if ".score(" in text or names & {"SessionScorer", "evaluate"}:
        assert "PopularityRecommender" in names


@pytest.mark.parametrize(
    "name", [FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_example_runs(name):
    done = run(name)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    X, _ = make_sessions(60, 20, n_communities=4, random_state=0)
    frame = X.to_frame().rename(columns={"item": "sku", "time": "ts"})
    path = tmp_path_factory.mktemp("clicks") / "clicks"
    frame.to_csv(f"{path}.csv", index=False)
    frame.to_parquet(f"{path}.parquet")
    return path


def test_quickstart_on_a_file_of_ones_own(clicks):
    columns = {"session": "session", "item": "sku", "time": "ts"}
    done = run("quickstart", events=f"{clicks}.csv", **columns, backbone="gru4rec")
    assert done.returncode == 0, done.stderr
    for shown in ("Train on 48 sessions", "CLIP, gru4rec", "loaded: the same ranking"):
        assert shown in done.stdout
    assert "epoch 1/" in done.stdout  # lines where there is no terminal


@pytest.fixture
def quickstart(monkeypatch):
    """What the script defines; its arguments are set by the function returned."""

    def with_arguments(*arguments):
        monkeypatch.setattr(sys, "argv", ["quickstart.py", *arguments])
        return SimpleNamespace(**runpy.run_path(EXAMPLES / "quickstart.py"))

    return with_arguments


def test_quickstart_reads_parquet_as_csv(clicks, quickstart):
    read = []
    for kind in ("csv", "parquet"):
        columns = "--session", "session", "--item", "sku", "--time", "ts"
        script = quickstart("--events", f"{clicks}.{kind}", *columns)
        read.append(script.read_sessions(script.parse_arguments()))
    assert read[0].to_lists() == read[1].to_lists()
    np.testing.assert_array_equal(read[0].times, read[1].times)


def test_quickstart_names_a_wrong_column(clicks, quickstart):
    script = quickstart(
        "--events", f"{clicks}.csv", "--session", "sid", "--item", "sku"
    )
    with pytest.raises(SystemExit, match="no column 'sid'"):
        script.main()  # a process ends with this text and without a traceback
