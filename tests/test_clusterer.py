import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from skclip import SessionClusterer
from skclip.datasets import make_sessions


def test_fitted_attributes(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    assert clusterer.item_ids_.tolist() == ["cup", "glue", "milk", "nail", "saw", "tea"]
    assert clusterer.membership_.tolist() == [0, 1, 0, 1, 1, 0]
    assert clusterer.n_clusters_ == 2
    assert clusterer.cluster_sizes_.tolist() == [3, 3]
    assert clusterer.graph_.toarray()[0].tolist() == [0, 0, 1, 0, 0, 2]
    assert clusterer.modularity_ == pytest.approx(0.5)


def test_transform_carries_clusters_and_zero_for_unseen(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    X = clusterer.transform([["saw", "moon"], [], ["tea"]])
    assert X.clusters.tolist() == [2, 0, 1]
    assert X.to_lists() == [["saw", "moon"], [], ["tea"]]
    assert X[[2]].clusters.tolist() == [1]


def test_predict_votes_for_unseen_items(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    clusters = clusterer.predict([["saw", "moon"], [], ["star"], ["tea", "x", "y"]])
    assert clusters.tolist() == [[1, 1, -1], [-1, -1, -1], [0, -1, -1], [0, 0, 0]]


def test_y_adds_only_the_transition_to_the_target():
    clusterer = SessionClusterer(random_state=0).fit([["a", "b"], ["c"]], ["c", "a"])
    graph = dict(zip("abc", clusterer.graph_.toarray().tolist(), strict=True))
    assert graph == {"a": [0, 0, 1], "b": [0, 0, 1], "c": [1, 1, 0]}


@pytest.mark.parametrize("engine", ["leidenalg", "igraph"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_communities_are_recovered(engine, seed):
    X, truth = make_sessions(random_state=seed)
    clusterer = SessionClusterer(engine=engine, random_state=seed).fit(X)
    planted = truth.communities[np.searchsorted(truth.item_ids, clusterer.item_ids_)]
    assert adjusted_rand_score(planted, clusterer.membership_) >= 0.9


def test_resolution_makes_more_clusters(shop):
    counts = [
        SessionClusterer(resolution, random_state=0).fit(shop[0]).n_clusters_
        for resolution in (0.1, 1.0, 10.0)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_row_order_and_refit_change_nothing(shop):
    X, _ = shop
    clusterer = SessionClusterer(random_state=0).fit(X)
    order = np.random.default_rng(1).permutation(len(X))
    again = clone(clusterer).fit(X[order])
    np.testing.assert_array_equal(clusterer.membership_, again.membership_)
    again.fit([["x", "y"]]).fit(X)
    np.testing.assert_array_equal(clusterer.membership_, again.membership_)


def test_sessions_of_one_item_only():
    with pytest.raises(ValueError, match="All 2 sessions have fewer than 2 items"):
        SessionClusterer().fit([["a"], ["b"]])


def test_parameters_are_checked_in_fit(kitchen_and_workshop):
    with pytest.raises(ValueError, match="'resolution' parameter of SessionClusterer"):
        SessionClusterer(resolution=0).fit(kitchen_and_workshop)


def test_parameters_reach_graph_and_leiden(monkeypatch):
    import skclip._clusterer as module

    X = [["a", "a", "b", "a", "b"], ["b", "c"]]
    graphs = [
        SessionClusterer(**options).fit(X).graph_.toarray().tolist()
        for options in ({}, {"self_loops": True}, {"per_session_binary": True})
    ]
    assert graphs[0] == [[0, 3, 0], [3, 0, 1], [0, 1, 0]]
    assert graphs[1] == [[1, 3, 0], [3, 0, 1], [0, 1, 0]]
    assert graphs[2] == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    seen = {}
    leiden = module.leiden_membership
    monkeypatch.setattr(
        module,
        "leiden_membership",
        lambda graph, **options: seen.update(options) or leiden(graph, **options),
    )
    SessionClusterer(2.0, n_iterations=-1, engine="igraph", random_state=0).fit(X)
    seed = seen.pop("seed")
    assert isinstance(seed, int)
    assert seen == {"resolution": 2.0, "n_iterations": -1, "engine": "igraph"}
    with pytest.raises(ValueError, match="'n_iterations' parameter"):
        SessionClusterer(n_iterations=0).fit(X)
