import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

import skclip
from skclip import SessionClusterer
from skclip._clusters import _clusterer, leiden_membership
from skclip._data import ItemFeatures
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
    assert X.clusters.tolist() == [[2], [0], [1]]
    assert X.to_lists() == [["saw", "moon"], [], ["tea"]]
    assert X[[2]].clusters.tolist() == [[1]]


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


def test_bad_input_and_parameters():
    with pytest.raises(ValueError, match="All 2 sessions have fewer than 2 items"):
        SessionClusterer().fit([["a"], ["b"]])
    for name in ("resolution", "n_iterations"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of SessionClusterer"):
            SessionClusterer(**{name: 0}).fit([["a", "b"]])


def test_parameters_reach_graph_and_leiden(monkeypatch):
    X = [["a", "a", "b", "a", "b"], ["b", "c"]]
    graphs = [
        SessionClusterer(**options).fit(X).graph_.toarray().tolist()
        for options in ({}, {"self_loops": True}, {"per_session_binary": True})
    ]
    assert graphs[0] == [[0, 3, 0], [3, 0, 1], [0, 1, 0]]
    assert graphs[1] == [[1, 3, 0], [3, 0, 1], [0, 1, 0]]
    assert graphs[2] == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    seen = {}

    def leiden(graph, **options):
        seen.update(options)
        return leiden_membership(graph, **options)

    monkeypatch.setattr(_clusterer, "leiden_membership", leiden)
    SessionClusterer(2.0, n_iterations=-1, engine="igraph", random_state=0).fit(X)
    assert isinstance(seen.pop("seed"), int)
    expected = {"resolution": 2.0, "n_iterations": -1, "engine": "igraph"}
    assert seen == expected | {"start": None}


# -- partial_fit -----------------------------------------------------------------------


def test_partial_fit_equals_a_fit_on_all(shop):
    X, _ = shop
    grown = SessionClusterer(random_state=0).fit(X[:300]).partial_fit(X[300:])
    whole = SessionClusterer(random_state=0).fit(X)
    assert sorted(grown.item_ids_) == sorted(whole.item_ids_)
    order = np.argsort(grown.item_ids_)
    dense = grown.graph_.toarray()[np.ix_(order, order)]
    np.testing.assert_array_equal(dense, whole.graph_.toarray())
    assert grown.modularity_ > whole.modularity_ - 0.02
    assert 0 <= grown.cluster_drift_ <= 1
    assert grown.cluster_sizes_.sum() == len(grown.item_ids_)


def test_clusters_keep_their_numbers(kitchen_and_workshop):
    clusterer = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    before = dict(zip(clusterer.item_ids_, clusterer.membership_, strict=True))
    more = [["spoon", "cup"], ["cup", "spoon"], ["oak", "ash"], ["ash", "oak"]]
    clusterer.partial_fit(more + [["hammer", "nail", "saw"]] * 3)
    after = dict(zip(clusterer.item_ids_, clusterer.membership_, strict=True))
    assert before.items() <= after.items()
    assert clusterer.cluster_drift_ == 0.0
    assert after["spoon"] == after["cup"]
    assert after["hammer"] == after["nail"]
    assert after["oak"] == after["ash"] == 2
    appended = clusterer.item_ids_.tolist()[len(before) :]
    assert appended == sorted(set(after) - set(before))


# -- edges by features -----------------------------------------------------------------


@pytest.fixture
def tools():
    """Features of kitchen and workshop, and of three items that no session has."""
    kitchen = ["tea", "cup", "milk", "pot"]
    workshop = ["saw", "nail", "glue", "hammer"]
    rows = [[1.0, 0.1 * i] for i in range(4)] + [[-1.0, 0.1 * i] for i in range(4)]
    return ItemFeatures([*kitchen, *workshop, "blank"], [*rows, [0.0, 0.0]])


@pytest.mark.parametrize("edges", ["text", "both"])
def test_edges_by_features_give_new_items_a_cluster(
    edges, tools, kitchen_and_workshop, tmp_path
):
    clusterer = SessionClusterer(graph_edges=edges, item_features=tools, random_state=0)
    clusterer.fit(kitchen_and_workshop)
    of = dict(zip(clusterer.item_ids_, clusterer.membership_, strict=True))
    assert "blank" not in of
    assert of["pot"] == of["tea"] == of["cup"] == of["milk"]
    assert of["hammer"] == of["saw"] == of["nail"] == of["glue"] != of["pot"]
    found = clusterer.transform([["pot", "hammer", "blank"]]).clusters
    assert found.ravel().tolist() == [of["pot"] + 1, of["hammer"] + 1, 0]
    before = clusterer.graph_.toarray()
    clusterer.partial_fit([["pot", "tea"]])
    assert clusterer.cluster_drift_ == 0
    grown = clusterer.graph_.toarray()
    ids = clusterer.item_ids_.tolist()
    pot, tea, saw, nail = (ids.index(i) for i in ("pot", "tea", "saw", "nail"))
    if edges == "text":
        np.testing.assert_allclose(grown, before)
    else:
        assert grown[pot, tea] > before[pot, tea] + 0.9
        assert grown[saw, nail] == pytest.approx(before[saw, nail], abs=0.2)
    skclip.save(clusterer, tmp_path / "c.skclip")
    again = skclip.load(tmp_path / "c.skclip").partial_fit([["saw", "glue"]])
    np.testing.assert_array_equal(again.item_ids_, clusterer.item_ids_)


def test_weight_of_edges_by_features(tools, kitchen_and_workshop):
    plain = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    both = SessionClusterer(
        graph_edges="both", item_features=tools, text_weight=0.5, n_neighbors=1
    ).fit(kitchen_and_workshop)
    ids = both.item_ids_.tolist()
    mean = plain.graph_.data.mean()  # 1.5: two edges of 2, two of 1
    assert mean == 1.5
    a, b = np.array([1.0, 0.2]), np.array([1.0, 0.3])
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    found = both.graph_[ids.index("milk"), ids.index("pot")]
    assert found == pytest.approx(0.5 * mean * cosine, rel=1e-5)


def test_edges_by_features_need_features(tools, kitchen_and_workshop):
    with pytest.raises(ValueError, match="graph_edges='both' needs item_features"):
        SessionClusterer(graph_edges="both").fit(kitchen_and_workshop)
    short = ItemFeatures(tools.item_ids[1:], tools.vectors[1:])
    with pytest.raises(ValueError, match="no row for 1 of 6 .* 'tea'"):
        SessionClusterer(graph_edges="text", item_features=short).fit(
            kitchen_and_workshop
        )
    ignored = SessionClusterer(item_features=short).fit(kitchen_and_workshop)
    assert len(ignored.item_ids_) == 6
