"""New model files while the server runs; the command in a process of its own."""

import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from fastapi.testclient import TestClient

import skclip
from skclip import MarkovRecommender, PopularityRecommender
from skclip.serve import create_app
from skclip.serve._models import Models

FIRST, SECOND = [["a", "b"], ["a", "c"]], [["a", "d"], ["d", "e"]]


def save(X, path):
    skclip.save(PopularityRecommender().fit(X), path)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.skclip"
    save(FIRST, path)
    return path


def test_a_new_file_is_taken_and_a_damaged_one_is_not(path, caplog):
    caplog.set_level(logging.INFO, "skclip.serve")
    models = Models(path)
    first = models["a"]
    models.refresh()
    assert models["a"] is first
    whole = path.read_bytes()

    path.write_bytes(whole[:-1])
    models.refresh()
    models.refresh()
    assert models["a"] is first
    error = models.describe()[0]["reload_error"]
    assert error.startswith("model.skclip has")
    assert "it is truncated" in error
    told = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(told) == 1  # not at each look
    assert f"stays at version {first.version}" in told[0].getMessage()

    path.write_bytes(whole)
    models.refresh()
    assert models.describe()[0]["reload_error"] is None
    assert models["a"].estimator is first.estimator  # it is not opened again

    path.unlink()
    models.refresh()
    assert "No such file" in models.describe()[0]["reload_error"]
    save(SECOND, path)
    models.refresh()
    assert models.describe()[0]["reload_error"] is None
    assert models["a"].version != first.version
    assert models["a"].recommend([["a"]], 5)[0][0] == ["d", "a", "e"]
    assert first.recommend([["a"]], 5)[0][0] == ["a", "b", "c"]  # of open requests


def test_only_the_file_that_changed_is_read(path, tmp_path):
    save(SECOND, tmp_path / "other.skclip")
    models = Models([path, tmp_path / "other.skclip"])
    first, second = models["a"], models["b"]
    save(FIRST + SECOND, tmp_path / "other.skclip")
    models.refresh()
    assert models["a"] is first
    assert models["b"].version != second.version


def test_new_titles_are_taken(path, tmp_path):
    titles = tmp_path / "titles.csv"
    titles.write_text("id,title\na,old\n")
    models = Models(path, titles)
    for text, title, error in (
        ("id,title\na,newer\n", "newer", None),
        ("id,titel\na,x\n", "newer", "Expected item ids"),
    ):
        titles.write_text(text)
        models.refresh()
        assert models["a"].catalog.records(["a"])[0]["title"] == title
        told = models.describe()[0]["reload_error"]
        assert told is error is None or error in told
        assert str(tmp_path) not in (told or "")


def test_the_version_of_titles_is_told(path, tmp_path):
    assert Models(path).describe()[0]["titles_version"] is None
    titles = tmp_path / "titles.csv"
    titles.write_text("id,title\na,old\n")
    models = Models(path, titles)
    (before,) = models.describe()
    titles.write_text("id,title\na,new\n")
    models.refresh()
    (after,) = models.describe()
    assert after["titles_version"] != before["titles_version"]
    assert after["version"] == before["version"]


def test_titles_that_fit_one_of_two_catalogs(path, tmp_path):
    """Those that fit neither are refused; a model does not lose the ones it has."""
    other, titles = tmp_path / "other.skclip", tmp_path / "titles.csv"
    save([["x", "y"]], other)
    titles.write_text("id,title\nx,an x\n")
    models = Models([path, other], titles)
    assert [m["titles"] for m in models.describe()] == [False, True]
    for text, errors, title in (
        ("id,title\ny,a y\n", [False, False], None),
        ("id,title\na,an a\n", [False, True], "an a"),
    ):
        titles.write_text(text)
        models.refresh()
        told = [m["reload_error"] for m in models.describe()]
        assert [error is not None for error in told] == errors
        assert models["a"].catalog.records(["a"])[0]["title"] == title
        assert models["b"].catalog.records(["y"])[0]["title"] == "a y"
    titles.write_text("id,title\nz,none\n")
    with pytest.raises(ValueError, match="none of them is in the model"):
        Models([path, other], titles)


def test_a_model_that_cannot_rank_is_not_taken(path, monkeypatch):
    models = Models(path)
    save(SECOND, path)
    monkeypatch.setattr("skclip.serve._models.predict_topk", None)
    models.refresh()
    assert "not callable" in models.describe()[0]["reload_error"]


def test_a_file_that_never_rests_is_refused(path, monkeypatch):
    states = iter(range(100))
    monkeypatch.setattr("skclip.serve._models._state_of_file", lambda _: next(states))
    with pytest.raises(ValueError, match="was replaced during each"):
        create_app(path)


def test_files_are_watched_from_the_start_on(path):
    app = create_app(path, reload_seconds=0.01)
    save(SECOND, path)  # as after a fork, before the worker runs
    with TestClient(app) as client:
        for X in (SECOND, FIRST, SECOND):
            save(X, path)
            version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            deadline = time.monotonic() + 60
            while client.get("/health").json()["models"][0]["version"] != version:
                assert time.monotonic() < deadline


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
def test_the_command_serves_and_stops(path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "skclip.serve", str(path), "--port", port]
    process = subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = ""
        while "Uvicorn running" not in line:
            line = process.stderr.readline()
            assert line, "the server ended"
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/recommend",
            json.dumps({"session": ["b"]}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["items"] == ["a", "c"]
            assert "server" not in answer.headers
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)  # raised again at the end
        assert "Application shutdown complete" in process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()


def test_similar_items_follow_the_new_model(path):
    models = Models(path)
    assert models.describe()[0]["similar"] is False
    skclip.save(MarkovRecommender().fit(FIRST), path)
    models.refresh()
    assert models.describe()[0]["similar"] is True
    assert models["a"].similar(["a"], 5)[0][0] == ["b", "c"]
