"""The examples run as scripts, in processes of their own where they train."""

import ast
import os
import re
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


def run(name, launcher=(), **arguments):
    options = [str(part) for key in arguments for part in (f"--{key}", arguments[key])]
    command = [sys.executable, "-W", "ignore", *launcher, f"{name}.py", *options]
    return subprocess.run(
        command, cwd=EXAMPLES, env=ENVIRON, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", PLOTS)
def test_example_is_fair(name):
    """It compiles, simulates its data, and where it scores it scores popularity."""
    text = (EXAMPLES / f"{name}.py").read_text("utf-8")
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
    for shown in ("Train on 48 sessions", "CLIP, gru4rec", "gives the same ranking"):
        assert shown in done.stdout
    assert "epoch 1/" in done.stdout  # lines where there is no terminal


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("polars", marks=pytest.mark.slow),  # the guide runs the same code
        pytest.param("dask", marks=pytest.mark.slow),
        pytest.param("spark", marks=pytest.mark.engines),
        pytest.param("ray", marks=pytest.mark.engines),
    ],
)
def test_sessions_are_scored_on_an_engine(engine):
    pytest.importorskip("pyspark" if engine == "spark" else engine)
    done = run(f"scale/score_{engine}")
    assert done.returncode == 0, done.stderr
    assert "2,500 rows for 500 sessions" in done.stdout


def test_pairs_are_counted_by_duckdb():
    done = run("scale/pairs_duckdb")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d clusters of (8|9)\d items\n[89]\d items", done.stdout)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("search_dask", marks=pytest.mark.slow),
        pytest.param("search_ray", marks=pytest.mark.engines),
        pytest.param("train_dask", marks=pytest.mark.slow),
        pytest.param("train_ray", marks=pytest.mark.engines),
        pytest.param("train_torchrun", marks=pytest.mark.slow),
    ],
)
def test_fits_run_on_an_engine(name):
    if name.endswith("ray"):
        pytest.importorskip("ray")
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    done = run(f"scale/{name}", torchrun if name == "train_torchrun" else ())
    assert done.returncode == 0, done.stderr
    (line,) = re.findall("MRR@20 (.*)", done.stdout)
    assert float(line) > 0.2
    assert name.startswith("search") or "2 processes, 2 epochs" in done.stdout


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


def test_quickstart_keeps_the_zeros_of_ids(tmp_path, quickstart):
    path = tmp_path / "clicks.csv"
    path.write_text("sid,sku\n01,0007\n01,0012\n")
    script = quickstart("--events", str(path), "--session", "sid", "--item", "sku")
    sessions = script.read_sessions(script.parse_arguments())
    assert sessions.to_lists() == [["0007", "0012"]]


def test_quickstart_names_a_wrong_column(clicks, quickstart):
    script = quickstart(
        "--events", f"{clicks}.csv", "--session", "sid", "--item", "sku"
    )
    with pytest.raises(SystemExit, match="no column 'sid'"):
        script.main()  # a process ends with this text and without a traceback
