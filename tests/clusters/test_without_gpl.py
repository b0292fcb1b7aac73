"""igraph and leidenalg can be removed, and engine="graspologic" does not load them."""

import subprocess
import sys

import pytest

pytest.importorskip("graspologic_native", reason="extra graspologic")
GPL = ("igraph", "leidenalg")
EVERYTHING = """
import joblib, skclip, skclip.controls
from skclip import CLIPSessionRecommender, SessionClusterer, SessionKNN
from skclip.datasets import make_sessions
from sklearn.pipeline import make_pipeline

X, _ = make_sessions(n_sessions=200, n_items=60, random_state=0)
clusterer = SessionClusterer((1, 4), engine="graspologic", random_state=0)
small = dict(embedding_dim=8, max_epochs=1, random_state=0, n_threads=1)
model = CLIPSessionRecommender(clusterer=clusterer, **small).fit(X[:150])
assert model.clusterer_.engine_ == "graspologic"
expected = model.predict_topk(X[150:], k=5).tolist()
skclip.save(model, "model.skclip")
joblib.dump(model, "model.joblib")
for again in (skclip.load("model.skclip"), joblib.load("model.joblib")):
    assert again.predict_topk(X[150:], k=5).tolist() == expected
    again.partial_fit(X[150:]).predict_topk(X[150:], k=5)
    assert again.clusterer_.engine_ == "graspologic"
pipeline = make_pipeline(clusterer, CLIPSessionRecommender(**small)).fit(X)
skclip.predict_topk(pipeline, X, k=5)
CLIPSessionRecommender(prompt=None, **small).fit(X).predict_topk(X, k=5)
SessionKNN().fit(X).predict_topk(X, k=5)
skclip.controls.RandomClusters(clusterer, random_state=0).fit(X)
"""
BLOCKED = "import sys\nsys.modules |= dict.fromkeys(('igraph', 'leidenalg'))\n"


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_all_works_where_they_are_removed(tmp_path):
    ending = """
for fit in (SessionClusterer().fit, CLIPSessionRecommender(**small).fit):
    try:
        fit(X)
    except ImportError as error:
        print(error)
"""
    code = BLOCKED + EVERYTHING + ending
    messages = run(code, tmp_path).splitlines()
    assert len(messages) == 2
    for message in messages:
        assert "pip install leidenalg igraph" in message
        assert "SessionClusterer(engine='graspologic')" in message
        assert "pip install 'skclip[graspologic]'" in message


def test_they_are_not_loaded_where_they_are_installed(tmp_path):
    """Neither here nor in a process that this one starts."""
    code = """
import subprocess, sys
start = subprocess.Popen.__init__
def refuse_python(process, command, *args, **kwargs):
    assert sys.executable not in command, "a process was started"
    start(process, command, *args, **kwargs)
subprocess.Popen.__init__ = refuse_python
"""
    code += EVERYTHING + "print(*{n.partition('.')[0] for n in sys.modules})"
    loaded = run(code, tmp_path).split()
    assert "graspologic_native" in loaded
    assert not {*GPL, "networkit"} & {*loaded}
