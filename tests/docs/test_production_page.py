"""The code of docs/production.md, and the example server with a real client."""

import json
import os
import re
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

ROOT = Path(skclip.__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the model that the page writes; each block its own process."""
    page = (ROOT / "docs" / "production.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    folder = tmp_path_factory.mktemp("page")
    fit, load, update = blocks
    for code in (fit, load + "assert items.shape == (1, 10)\n"):
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    code = "from skclip import Sessions\n" + load + update
    code += 'assert "new-1" in rec.predict_topk([["item-003"]], k=40)[0]\n'
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return folder


def ask(port, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=data,
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def server(folder):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "serve:app", "--app-dir",
         str(ROOT / "examples"), "--port", str(port), "--log-level", "warning"],
        env=os.environ | {"SKCLIP_MODEL": str(folder / "model.skclip")},
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                ask(port, "/health")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, "the server ended"
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def test_the_page_runs(folder):
    assert (folder / "model.skclip").exists()


def test_the_server_answers_as_the_model_does(server, folder):
    model = skclip.load(folder / "model.skclip")
    assert ask(server, "/health")["items"] == len(model.item_ids_)
    session = ["item-003", "item-019"]
    found = ask(server, "/recommend", {"session": session, "k": 5})
    items, scores = model.predict_topk(
        [session], 5, return_scores=True, exclude_seen=True
    )
    assert found["items"] == items[0].tolist()
    np.testing.assert_allclose(found["scores"], scores[0], rtol=1e-5)
    assert len(ask(server, "/recommend", {"session": []})["items"]) == 10
    assert len(ask(server, "/recommend", {"session": ["never seen", 7]})["items"]) == 10
    denied = {"session": session, "k": 5, "deny": found["items"][:1]}
    assert ask(server, "/recommend", denied)["items"][:4] == found["items"][1:]
    few = ask(server, "/recommend", {"session": session, "k": 1000})["items"]
    assert len(few) == len(model.item_ids_) - len(session)


@pytest.mark.parametrize("body", [{}, {"session": "abc"}, {"session": [], "k": 0}])
def test_bad_requests_are_answered(server, body):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, "/recommend", body)
    assert caught.value.code == 422
