"""Engines of Leiden: what they maximize, which one runs, what they leave alone."""

import random
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

import skclip
from skclip import SessionClusterer
from skclip._clusters import _leiden, leiden_membership, modularity
from skclip._clusters._leiden import engine_for
from skclip.datasets import make_sessions

ENGINES = ["leidenalg", "igraph", "networkit"]
pytestmark = pytest.mark.skipif(
    find_spec("networkit") is None, reason="needs the package networkit"
)


def graph_with_loops(n_items=150):
    """A random graph without clusters, whose loops weigh as much as its edges."""
    rng = np.random.default_rng(0)
    upper = np.triu(rng.poisson(0.03, (n_items, n_items)), 1).astype(float)
    upper[np.diag_indices(n_items)] = rng.poisson(3, n_items)
    return sparse.csr_array(upper + np.triu(upper, 1).T)


def quality(graph, membership, resolution):
    """What leidenalg maximizes, by the formula of the docs."""
    weights = graph.toarray() + np.diag(graph.diagonal())  # a loop touches twice
    strength = weights.sum(axis=1)
    weights -= resolution * np.outer(strength, strength) / strength.sum()
    return (weights * np.equal.outer(membership, membership)).sum() / strength.sum()


def test_resolution_and_loops_mean_the_same_to_all_engines():
    graph, resolution = graph_with_loops(), 3.0
    found = {}
    for engine in ENGINES:
        options = {"n_iterations": -1, "seed": 0, "engine": engine}
        membership, n = leiden_membership(graph, resolution=resolution, **options)
        assert n == membership.max() + 1
        found[engine] = quality(graph, membership, resolution)
    assert quality(graph, membership, 1) == pytest.approx(modularity(graph, membership))
    assert found["igraph"] == pytest.approx(found["leidenalg"], abs=0.02)
    assert found["networkit"] == pytest.approx(found["leidenalg"], abs=0.02)


def test_networkit_recovers_planted_clusters_and_repeats_itself():
    X, truth = make_sessions(random_state=0)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    first, second = (
        SessionClusterer(engine="networkit", random_state=0).fit(X) for _ in range(2)
    )
    drawn = np.random.random(), random.random()  # noqa: NPY002
    reference = SessionClusterer(random_state=0).fit(X)
    planted = truth.communities[np.searchsorted(truth.item_ids, reference.item_ids_)]
    assert adjusted_rand_score(planted, first.membership_) >= 0.9
    assert first.modularity_ > reference.modularity_ - 0.01
    assert first.engine_ == "networkit"
    np.testing.assert_array_equal(first.membership_, second.membership_)
    sizes = first.cluster_sizes_.tolist()
    assert sizes == sorted(sizes, reverse=True)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    assert drawn == (np.random.random(), random.random())  # noqa: NPY002


def test_networkit_is_not_loaded_by_the_caller(kitchen_and_workshop):
    loaded = {name for name in sys.modules if name.startswith("networkit")}
    SessionClusterer(engine="networkit", random_state=0).fit(kitchen_and_workshop)
    assert {name for name in sys.modules if name.startswith("networkit")} == loaded


def test_auto_takes_igraph_for_large_graphs(monkeypatch, kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0)
    assert clusterer.fit(kitchen_and_workshop).engine_ == "leidenalg"
    graph = clusterer.graph_
    n_edges = graph.nnz // 2
    monkeypatch.setattr(_leiden, "LARGE", n_edges)
    assert engine_for("auto", graph) == "leidenalg"
    monkeypatch.setattr(_leiden, "LARGE", n_edges - 1)
    assert engine_for("auto", graph) == "igraph"
    for engine in ENGINES:
        assert engine_for(engine, graph) == engine
    assert clusterer.partial_fit([["saw", "oak"]]).engine_ == "igraph"


def test_partial_fit_after_networkit_begins_with_its_clusters(tmp_path):
    X, _ = make_sessions(n_sessions=300, n_items=80, random_state=0)
    clusterer = SessionClusterer(engine="networkit", random_state=0).fit(X[:280])
    skclip.save(clusterer, tmp_path / "c.skclip")
    again = skclip.load(tmp_path / "c.skclip").partial_fit(X[280:])
    assert again.engine_ == "igraph"
    assert again.cluster_drift_ < 0.2


def test_an_engine_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkit", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[networkit\]'"):
        SessionClusterer(engine="networkit").fit([["a", "b"]])
    with pytest.raises(ValueError, match="'engine' parameter of SessionClusterer"):
        SessionClusterer(engine="louvain").fit([["a", "b"]])
