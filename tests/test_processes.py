"""Forked children answer; Ctrl-C is obeyed; logs have lines; dir() is for users."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from common import EXTRA_ENGINES, small

import skclip
from skclip import SessionClusterer
from skclip._clusters import _leiden
from skclip.datasets import make_sessions

ENGINES = ["leidenalg", "igraph", *EXTRA_ENGINES.values()]
FORKS = '''
import json, os, signal, sys, threading, warnings
import joblib
import torch

torch.set_num_threads(2)  # so that torch starts threads, which a child does not have

import skclip
from skclip import *
from skclip.datasets import make_sessions
from sklearn.model_selection import GridSearchCV

X, _ = make_sessions(n_sessions=200, n_items=120, random_state=0)


def new(n_threads=None):
    return CLIPSessionRecommender(
        "gru4rec", embedding_dim=64, max_epochs=1, batch_size=256, random_state=0,
        n_threads=n_threads,
    )


def in_child(function, seconds=60):
    """What the function returns in a forked child, or how that ended."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)  # a child that hangs is killed
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Python warns of forks in general.
            warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
            try:
                result = function()
            except BaseException as error:
                result = repr(error)
        text = json.dumps([result, [str(w.message) for w in caught]])
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(read) as file:
        return json.loads(file.read()) if status == 0 else [f"status {status}", []]


def searched():
    grid = {"learning_rate": [0.01, 0.02]}
    return GridSearchCV(new(1), grid, cv=2).fit(X).best_estimator_


def top(model):
    return model.predict_topk(X[:100], k=3).tolist()


model = new(2).fit(X)
skclip.save(model, sys.argv[1])
popular, neighbors = PopularityRecommender().fit(X), SessionKNN().fit(X)
one = new(1).fit(X)
expected = {
    "fitted": top(model), "loaded": top(model), "popular": top(popular),
    "neighbors": top(neighbors), "score": neighbors.score(X),
    "fit": top(one), "fit with two threads": top(one),
    "clusters": SessionClusterer(random_state=0).fit(X).n_clusters_,
    "grandchild": [top(model), []],
    "search": top(searched()),
    "unseen": top(model),
}
loaded = skclip.load(sys.argv[1])
found = {
    "fitted": in_child(lambda: top(model)),
    "loaded": in_child(lambda: top(loaded)),
    "popular": in_child(lambda: top(popular)),
    "neighbors": in_child(lambda: top(neighbors)),
    "score": in_child(lambda: neighbors.score(X)),
    "fit": in_child(lambda: top(new().fit(X))),
    "fit with two threads": in_child(lambda: top(new(2).fit(X))),
    "clusters": in_child(lambda: SessionClusterer(random_state=0).fit(X).n_clusters_),
    "grandchild": in_child(lambda: in_child(lambda: top(model))),
}
with joblib.parallel_config("multiprocessing", n_jobs=2):
    found["search"] = [top(searched()), []]


def held(lock):
    """Forked while another thread holds a lock of the library."""
    with lock:
        return in_child(lambda: (model.predict_topk([["never seen"]]), top(model))[1])


from skclip import _warnings
found["unseen"] = held(_warnings._told_lock)
wrong = {name: found[name][0] for name in expected if found[name][0] != expected[name]}
told = {name: messages for name, (_, messages) in found.items() if messages}
print(json.dumps([wrong, told, torch.get_num_threads()]))
'''


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_forked_children_answer(tmp_path):
    """Nothing hangs: neither after a fit or a load, nor in a fit inside the child."""
    root = Path(skclip.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ
        | {
            "PYTHONPATH": str(root),
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "passive",  # do not spin on cores that others use
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    wrong, told, n_threads = json.loads(done.stdout.splitlines()[-1])
    assert wrong == {}
    assert told.keys() == {"unseen"}
    assert n_threads == 2  # of the parent, as before


# -- interrupts ------------------------------------------------------------------------


def graph_of(n_items=300):
    X, _ = make_sessions(n_sessions=3000, n_items=n_items, random_state=0)
    return X


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
def test_ctrl_c_ends_a_clustering_that_would_take_for_ever(engine):
    X = graph_of()
    clusterer = SessionClusterer(engine=engine, n_iterations=2, random_state=0).fit(X)
    before = clusterer.membership_.tolist()
    clusterer.set_params(n_iterations=10**8)
    pressed = []

    def press():
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    # NetworKit stops when nothing changes, but its process takes longer to start.
    timer = threading.Timer(0.15 if engine == "networkit" else 1.0, press)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            clusterer.fit(X)
    finally:
        timer.cancel()
    assert time.perf_counter() - pressed[0] < 20
    assert clusterer.membership_.tolist() == before


def test_ctrl_c_is_obeyed_between_passes(monkeypatch):
    leidenalg = pytest.importorskip("leidenalg")
    passes = []

    class Optimiser(leidenalg.Optimiser):
        def optimise_partition(self, *args, **kwargs):
            if len(passes) == 3:
                raise KeyboardInterrupt
            passes.append(kwargs)
            return super().optimise_partition(*args, **kwargs)

    X = graph_of(60)
    expected = SessionClusterer(n_iterations=3, random_state=0).fit(X).membership_
    monkeypatch.setattr(leidenalg, "Optimiser", Optimiser)
    found = SessionClusterer(n_iterations=3, random_state=0).fit(X).membership_
    np.testing.assert_array_equal(found, expected)
    assert passes == [{"n_iterations": 1}] * 3
    with pytest.raises(KeyboardInterrupt):
        SessionClusterer(n_iterations=-1, random_state=0).fit(X)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_negative_number_of_passes_ends_when_nothing_changes(engine):
    X = graph_of(60)
    until = SessionClusterer(engine=engine, n_iterations=-1, random_state=0).fit(X)
    many = SessionClusterer(engine=engine, n_iterations=200, random_state=0).fit(X)
    assert until.modularity_ == pytest.approx(many.modularity_, abs=0.02)


def test_an_igraph_that_fails_says_so(monkeypatch, tmp_path):
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit('no such graph')")
    monkeypatch.setattr(_leiden, "_WORKER", str(broken))
    with pytest.raises(RuntimeError, match="igraph failed: no such graph"):
        SessionClusterer(engine="igraph", random_state=0).fit([["a", "b"], ["b", "c"]])


# -- output ----------------------------------------------------------------------------


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self, is_terminal):
        self.is_terminal, self.text = is_terminal, ""

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def trained(monkeypatch, is_terminal, **params):
    """What training writes: on standard output, and on standard error."""
    X, _ = make_sessions(n_sessions=60, n_items=20, random_state=0)
    streams = Terminal(is_terminal), Terminal(is_terminal)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        small(embedding_dim=4, **params).fit(X)
    return streams[0].text, streams[1].text


def test_a_log_gets_a_line_for_each_epoch(monkeypatch):
    options = {"early_stopping": True, "max_epochs": 3, "verbose": True}
    out, bars = trained(monkeypatch, False, **options)
    assert bars == ""
    lines = out.splitlines()
    assert len(lines) == 3
    assert "\r" not in out
    for n, line in enumerate(lines, 1):
        epoch, loss, score, seconds, left = line.split(", ")
        assert epoch == f"epoch {n}/3"
        assert float(loss.removeprefix("loss ")) > 0
        assert 0 <= float(score.removeprefix("validation ")) <= 1
        assert seconds.endswith(" s")
        assert left.endswith(" s left")
    assert lines[-1].endswith(", 0 s left")
    out, _ = trained(monkeypatch, False, verbose=True, early_stopping=False)
    assert "validation" not in out


def test_a_terminal_gets_the_bar(monkeypatch):
    options = {"early_stopping": True, "max_epochs": 3, "verbose": True}
    out, bar = trained(monkeypatch, True, **options)
    assert out == ""
    assert "3/3" in bar
    assert "loss=" in bar
    assert "validation=" in bar


@pytest.mark.parametrize("is_terminal", [True, False])
def test_silent_where_not_asked(monkeypatch, is_terminal):
    assert trained(monkeypatch, is_terminal) == ("", "")


def test_dir_shows_public_names_and_subpackages_only():
    shown = dir(skclip)
    assert shown == sorted(shown)
    packages = {
        path.name.removesuffix(".py")
        for path in Path(skclip.__file__).parent.iterdir()
        if not path.name.startswith("_") and path.suffix in ("", ".py")
    }
    assert set(shown) == {*skclip.__all__, *packages, "__version__"}
    for name in shown:
        assert getattr(skclip, name) is not None
    for package in ("model_selection", "preprocessing", "datasets", "inspection"):
        assert getattr(skclip, package) is importlib.import_module(f"skclip.{package}")
    with pytest.raises(AttributeError, match="no attribute 'Session'"):
        skclip.Session  # noqa: B018
