"""Engines of Leiden: what they maximize, which one runs, what they leave alone."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from common import EXTRA_ENGINES
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

import skclip
from skclip import SessionClusterer
from skclip._clusters import _leiden, leiden_membership, modularity
from skclip._clusters._leiden import engine_for
from skclip.datasets import make_sessions


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


@pytest.mark.parametrize("engine", ["igraph", *EXTRA_ENGINES.values()])
def test_resolution_and_loops_mean_the_same_to_all_engines(engine):
    graph, resolution = graph_with_loops(), 3.0
    found = {}
    for name in ("leidenalg", engine):
        options = {"n_iterations": -1, "seed": 0, "engine": name}
        membership, n = leiden_membership(graph, resolution=resolution, **options)
        assert n == membership.max() + 1
        found[name] = quality(graph, membership, resolution)
    assert quality(graph, membership, 1) == pytest.approx(modularity(graph, membership))
    assert found[engine] == pytest.approx(found["leidenalg"], abs=0.02)


@pytest.mark.parametrize("engine", EXTRA_ENGINES.values())
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_extra_engine_recovers_planted_clusters_and_repeats_itself(engine, seed):
    X, truth = make_sessions(random_state=seed)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    first, second = (
        SessionClusterer(engine=engine, random_state=seed).fit(X) for _ in range(2)
    )
    drawn = np.random.random(), random.random()  # noqa: NPY002
    reference = SessionClusterer(random_state=seed).fit(X)
    planted = truth.communities[np.searchsorted(truth.item_ids, reference.item_ids_)]
    assert adjusted_rand_score(planted, first.membership_) >= 0.9
    assert first.modularity_ > reference.modularity_ - 0.01
    assert first.engine_ == engine
    np.testing.assert_array_equal(first.membership_, second.membership_)
    sizes = first.cluster_sizes_.tolist()
    assert sizes == sorted(sizes, reverse=True)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    assert drawn == (np.random.random(), random.random())  # noqa: NPY002


@pytest.mark.skipif(find_spec("networkit") is None, reason="extra networkit")
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
    for engine in ("leidenalg", "igraph", "networkit", "graspologic"):
        assert engine_for(engine, graph) == engine
    assert clusterer.partial_fit([["saw", "oak"]]).engine_ == "igraph"


@pytest.mark.parametrize("engine", EXTRA_ENGINES.values())
def test_partial_fit_begins_with_the_clusters_of_an_extra_engine(engine, tmp_path):
    X, _ = make_sessions(n_sessions=300, n_items=80, random_state=0)
    clusterer = SessionClusterer(engine=engine, random_state=0).fit(X[:280])
    skclip.save(clusterer, tmp_path / "c.skclip")
    again = skclip.load(tmp_path / "c.skclip").partial_fit(X[280:])
    assert again.engine_ == ("igraph" if engine == "networkit" else engine)
    assert again.cluster_drift_ < 0.2


@pytest.mark.parametrize(
    ("missing", "engine", "remedy"),
    [
        ("networkit", "networkit", r"pip install 'skclip\[networkit\]'"),
        ("graspologic_native", "graspologic", r"pip install 'skclip\[graspologic\]'"),
        ("igraph", "igraph", "pip install igraph, or use .*'graspologic'"),
        ("leidenalg", "leidenalg", "pip install leidenalg, or use .*'graspologic'"),
        ("leidenalg", "auto", "pip install leidenalg, or use .*'graspologic'"),
    ],
)
def test_an_engine_that_is_not_installed(monkeypatch, missing, engine, remedy):
    monkeypatch.setitem(sys.modules, missing, None)
    message = f"engine={engine!r} needs {missing},.* {remedy}"
    with pytest.raises(ImportError, match=message):
        SessionClusterer(engine=engine).fit([["a", "b"]])


@pytest.mark.skipif(find_spec("networkit") is None, reason="extra networkit")
def test_partial_fit_with_networkit_and_without_igraph(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    clusterer = SessionClusterer(engine="networkit", random_state=0)
    clusterer.fit([["a", "b"], ["b", "c"]])
    with pytest.raises(ImportError, match="partial_fit with .*needs igraph"):
        clusterer.partial_fit([["a", "c"]])


def test_an_engine_that_does_not_exist():
    with pytest.raises(ValueError, match="'engine' parameter of SessionClusterer"):
        SessionClusterer(engine="louvain").fit([["a", "b"]])


# -- graspologic -----------------------------------------------------------------------

graspologic = pytest.mark.skipif(
    find_spec("graspologic_native") is None, reason="extra graspologic"
)


@graspologic
def test_graspologic_in_several_threads_at_once():
    X, _ = make_sessions(random_state=0)
    clusterers = [SessionClusterer(engine="graspologic", random_state=0)] * 4
    expected = clone(clusterers[0]).fit(X).membership_
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda c: clone(c).fit(X).membership_, clusterers))
    for membership in found:
        np.testing.assert_array_equal(membership, expected)


@graspologic
def test_graspologic_repeats_itself_in_another_process():
    """Its maps are hashed with a seed of the process."""
    code = """
from skclip import SessionClusterer
from skclip.datasets import make_sessions
X, _ = make_sessions(random_state=0)
clusterer = SessionClusterer((1, 8), engine="graspologic", random_state=5).fit(X)
print(clusterer.levels_.tolist())
"""
    command = [sys.executable, "-c", code]
    run = partial(subprocess.run, command, capture_output=True, check=True)
    assert run().stdout == run().stdout


@graspologic
def test_graspologic_begins_with_given_clusters():
    """In a graph without clusters, where each seed finds others."""
    graph = graph_with_loops()
    options = {"resolution": 1.0, "engine": "graspologic"}
    start, _ = leiden_membership(graph, n_iterations=-1, seed=0, **options)
    again = {"n_iterations": 1, "seed": 1} | options
    kept, _ = leiden_membership(graph, start=start.astype(np.int64), **again)
    fresh, _ = leiden_membership(graph, **again)
    assert modularity(graph, kept) >= modularity(graph, start) - 1e-12
    assert modularity(graph, kept) > modularity(graph, fresh)
    assert adjusted_rand_score(start, kept) > adjusted_rand_score(start, fresh) + 0.2


@graspologic
def test_each_pass_of_graspologic_continues_the_last():
    X, _ = make_sessions(n_items=300, random_state=1)
    found = [
        SessionClusterer(engine="graspologic", n_iterations=n, random_state=0)
        .fit(X)
        .modularity_
        for n in (1, 2, 4, -1)
    ]
    assert found == sorted(found)
    assert found[0] < found[-1]


@graspologic
def test_graspologic_counts_loops_once_in_a_cluster_and_twice_in_a_strength():
    """Loops enter by nodes of their own, which are not among the clusters."""
    X = [["a", "a", "b"], ["b", "a"], ["c", "c"], ["c", "d"], ["e"]]
    clusterer = SessionClusterer(engine="graspologic", self_loops=True, random_state=0)
    assert clusterer.fit(X).membership_.tolist() == [0, 0, 1, 1, 0]
    reference = SessionClusterer(self_loops=True, random_state=0).fit(X)
    assert clusterer.modularity_ == reference.modularity_


REAL = {
    "rsc15_100k/events.parquet": ("session_id", "item_id"),
    "retailrocket_last8days/events.parquet": ("session_id", "item_id"),
    "diginetica/train.parquet": None,
}


@graspologic
@pytest.mark.realdata
@pytest.mark.parametrize("file", REAL)
def test_modularity_of_graspologic_on_a_real_log(file, data_home):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(data_home / file)
    if REAL[file]:
        session, item = REAL[file]
        X = frame.groupby(session, sort=False)[item].agg(list).tolist()
    else:
        X = frame.session.tolist()[::8]
    found = {
        engine: SessionClusterer(engine=engine, random_state=0).fit(X)
        for engine in ("leidenalg", "graspologic")
    }
    # Engines and seeds differ by about .003.
    assert found["graspologic"].modularity_ >= found["leidenalg"].modularity_ - 0.005
    n_clusters = [clusterer.n_clusters_ for clusterer in found.values()]
    assert max(n_clusters) < 1.5 * min(n_clusters)
