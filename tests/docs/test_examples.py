"""The examples run as scripts, each in a process of its own; so does the server."""

import ast
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import skclip
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
    X, _ = make_sessions(300, 40, n_communities=4, random_state=0)
    frame = X.to_frame().rename(columns={"item": "sku", "time": "ts"})
    path = tmp_path_factory.mktemp("clicks") / "clicks"
    frame.to_csv(f"{path}.csv", index=False)
    frame.to_parquet(f"{path}.parquet")
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_quickstart_on_a_file_of_ones_own(clicks, kind):
    columns = {"session": "session", "item": "sku", "time": "ts"}
    done = run("quickstart", events=f"{clicks}.{kind}", **columns, backbone="gru4rec")
    assert done.returncode == 0, done.stderr
    for shown in ("Train on 240 sessions", "CLIP, gru4rec", "loaded: the same ranking"):
        assert shown in done.stdout
    assert "epoch 1/" in done.stdout  # lines where there is no terminal


def test_quickstart_names_a_wrong_column(clicks):
    done = run("quickstart", events=f"{clicks}.csv", session="sid", item="sku")
    assert done.returncode != 0
    assert "no column 'sid'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def ask(fitted, tmp_path_factory):
    """Ask examples/serve.py, which serves `fitted` in a process of its own."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    path = tmp_path_factory.mktemp("served") / "model.skclip"
    skclip.save(fitted, path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def ask(where, **body):
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{where}", data)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "serve:app", "--port", port],
        cwd=EXAMPLES,
        env=ENVIRON | {"SKCLIP_MODEL": str(path)},
    )
    try:
        for _ in range(300):
            try:
                ask("health")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, "the server ended"
                time.sleep(0.2)
        yield ask
    finally:
        process.terminate()
        process.wait(20)


def test_the_server_answers_as_the_model_does(ask, fitted):
    assert ask("health")["items"] == fitted.n_items_
    session = fitted.item_ids_[[3, 19]].tolist()
    found = ask("recommend", session=session, k=5)
    items, scores = fitted.predict_topk(
        [session], 5, return_scores=True, exclude_seen=True
    )
    assert found["items"] == items[0].tolist()
    np.testing.assert_allclose(found["scores"], scores[0], rtol=1e-5)
    for unknown in ([], ["never seen", 7]):
        assert len(ask("recommend", session=unknown)["items"]) == 10
    denied = ask("recommend", session=session, k=5, deny=found["items"][:1])
    assert denied["items"][:4] == found["items"][1:]
    few = ask("recommend", session=session, k=1000)["items"]
    assert len(few) == fitted.n_items_ - len(session)


@pytest.mark.parametrize(
    "body", [{"k": 3}, {"session": "abc"}, {"session": [], "k": 0}]
)
def test_the_server_refuses_bad_requests(ask, body):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask("recommend", **body)
    assert caught.value.code == 422
