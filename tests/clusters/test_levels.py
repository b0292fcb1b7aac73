"""Clusters at several resolutions: one graph, several partitions, prompts mixed."""

import numpy as np
import pytest
import torch
from common import EXTRA_ENGINES, same, small
from golden import OPTIONS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import SessionClusterer, Sessions
from skclip._data import ItemFeatures, query_data
from skclip._model import SessionModel
from skclip._model._prompts import cluster_cells
from skclip.backbones import GRU4Rec
from skclip.controls import RandomClusters
from skclip.model_selection import TemporalSplit

RESOLUTIONS = (1.0, 4.0, 16.0)


def leveled(**params):
    return SessionClusterer(RESOLUTIONS, random_state=0, **params)


@pytest.fixture
def model(train):
    return small(clusterer=leveled()).fit(train)


def tables_of(model):
    """Prompts of the clusters of each level."""
    tables = model._fitted.model.prompt.kinds["cluster"].tables
    return [table.detach().clone() for table in tables]


def assert_close(tables, others):
    for table, other in zip(tables, others, strict=True):
        np.testing.assert_allclose(table, other, atol=1e-6)


# -- the clusterer ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "engine", ["leidenalg", "igraph", EXTRA_ENGINES["graspologic"]]
)
def test_each_level_is_the_partition_of_its_resolution(shop, engine):
    X, _ = shop
    several = leveled(engine=engine).fit(X[:300])
    ones = [
        SessionClusterer(r, engine=engine, random_state=0).fit(X[:300])
        for r in (1.0, 4.0, [16.0])
    ]
    for name in ("n_clusters_", "modularity_"):
        assert getattr(several, name) == getattr(ones[0], name)
    np.testing.assert_array_equal(several.predict(X[:9]), ones[0].predict(X[:9]))
    assert several.levels_[:, 2].max() > several.levels_[:, 0].max()
    for _ in range(2):  # and again after partial_fit
        np.testing.assert_array_equal(several.membership_, ones[0].membership_)
        for level, one in enumerate(ones):
            np.testing.assert_array_equal(several.levels_[:, [level]], one.levels_)
            np.testing.assert_array_equal(one.levels_[:, 0], one.membership_)
            one.partial_fit(X[300:])
        several.partial_fit(X[300:])
    several.set_params(resolution=1.0)
    with pytest.raises(ValueError, match="but fit had 3 of them"):
        several.partial_fit(X[:10])


def test_events_carry_all_levels(shop):
    X, _ = shop
    clusterer, later = leveled().fit(X[:300]), X[300:]
    found = clusterer.transform(later)
    of = dict(zip(clusterer.item_ids_, clusterer.levels_ + 1, strict=True))
    expected = [of.get(i, np.zeros(3)) for i in later.vocabulary[later.codes]]
    np.testing.assert_array_equal(found.clusters, expected)
    one = SessionClusterer(random_state=0).fit(X[:300]).transform(later)
    assert found.to_frame().equals(one.to_frame())
    assert len(found[:0].to_frame()) == 0
    joined = Sessions.concat([found[:5], found[5:]]).clusters
    np.testing.assert_array_equal(joined, found.clusters)
    with pytest.raises(ValueError, match="different numbers of levels"):
        Sessions.concat([one, found])


def test_clusters_of_sessions_have_levels(shop):
    X, _ = shop
    n = len(X.codes)
    for given_ in (np.arange(n), np.arange(n)[:, None]):
        assert X.with_clusters(given_).clusters.tolist() == [[i] for i in range(n)]
    for shape in ((n, 2, 2), (n, 0)):
        with pytest.raises(ValueError, match="clusters has shape"):
            X.with_clusters(np.ones(shape, dtype=int))


NO_RESOLUTIONS = [
    [], [1.0, 0.0], [1.0, -2.0], ["1"], [None], [1.0, np.inf], [np.nan], [[1.0, 2.0]],
    np.array(2.0), {1.0, 2.0}, {1: 2}, "12", 0.0, None,
]  # fmt: skip


@pytest.mark.parametrize("resolution", NO_RESOLUTIONS, ids=repr)
def test_what_is_no_resolution(resolution):
    with pytest.raises(ValueError, match="Expected a number above 0|'resolution' para"):
        SessionClusterer(resolution).fit([["a", "b"]])


def test_random_clusters_of_items_that_no_session_has(shop):
    X, _ = shop
    ids = [*X.vocabulary.tolist(), *(f"more-{i}" for i in range(len(X.vocabulary)))]
    features = ItemFeatures(ids, np.random.default_rng(0).normal(size=(len(ids), 4)))
    clusterer = leveled(graph_edges="both", item_features=features)
    control = RandomClusters(clusterer, random_state=0).fit(X)
    assert control.levels_.shape == control.clusterer_.levels_.shape == (len(ids), 3)
    assert control.item_ids_.tolist() == control.clusterer_.item_ids_.tolist()


def test_random_clusters_of_the_same_cells(shop):
    X, _ = shop
    control = RandomClusters(leveled(), random_state=1).fit(X)
    levels, shuffled = control.clusterer_.levels_, control.levels_
    assert (levels[:, 0] != shuffled[:, 0]).any()

    def cell_sizes(levels):
        return sorted(np.unique(levels, axis=0, return_counts=True)[1].tolist())

    assert cell_sizes(levels) == cell_sizes(shuffled)
    for column, other in zip(levels.T, shuffled.T, strict=True):
        assert sorted(np.bincount(column)) == sorted(np.bincount(other))


@given(
    arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(2, 4)),
           elements=st.integers(0, 3))
)  # fmt: skip
def test_cells_name_each_combination_once(levels):
    cells, codes = cluster_cells(levels)
    np.testing.assert_array_equal(cells[codes], levels)
    assert not cells[0].any()
    assert len(np.unique(codes)) == len(np.unique(levels, axis=0))
    assert ((codes == 0) == ~levels.any(axis=1)).all()


@torch.no_grad()
def test_items_have_the_prompts_of_their_clusters():
    levels = torch.tensor([[1, 1], [1, 2], [2, 3], [0, 0], [2, 0]])
    options = OPTIONS | {"candidates": "prompted"}
    model = SessionModel(
        GRU4Rec(), levels.numpy(), n_items=5, embedding_dim=4, max_length=5, **options
    ).eval()
    items, codes = model.item_table, torch.arange(1, 6)
    expected = model.prompt(items, clusters=levels)
    assert_close([model.vectors(codes), model.keys()], [expected, expected])
    assert_close([model.vectors(codes.repeat(40))[:5]], [expected])
    # An unseen item is voted into clusters, which stand in the place of its own.
    voted = torch.tensor([[1, 1], [1, 3], [2, 0], [0, 0]])
    found = model.vectors(torch.tensor([1, 6, 7, 0]), voted)
    own = torch.cat([items[:1], torch.zeros(3, 4)])
    assert_close([found], [model.prompt(own, clusters=voted)])


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax"])
@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
def test_all_tables_learn_and_padding_does_not(gate, loss, train):
    params = {"prompt__gate": gate, "loss": loss, "clusterer": leveled()}
    now, first = (
        small(max_epochs=1, learning_rate=rate, **params).fit(train)
        for rate in ("auto", 1e-12)
    )
    n_clusters = now.clusterer_.levels_.max(axis=0) + 1
    assert [len(table) - 1 for table in tables_of(now)] == n_clusters.tolist()
    for table, was in zip(tables_of(now), tables_of(first), strict=True):
        assert not table[0].any()
        assert ((table[1:] - was[1:]).abs().amax(dim=1) > 1e-6).all()
    report = now.parameter_report()
    assert report["cluster prompts"] == 16 * n_clusters.sum()
    n_gates = {"elementwise": 2 * 16 * 17, "scalar": 2 * 16 + 1, "add": 0}[gate]
    assert report["prompt gates"] == n_gates


def test_inside_and_as_a_step(model, train, test, tmp_path):
    pipe = make_pipeline(leveled(), small()).fit(train)
    top = model.predict_topk(test, k=7)
    np.testing.assert_array_equal(top, skclip.predict_topk(pipe, test, k=7))
    prefixes, y = train.to_prefixes()
    pipe.fit(prefixes, y)  # targets carry no cluster
    assert pipe[-1]._fitted.item_clusters.shape[1] == 3
    assert np.isfinite(pipe.score(test))
    skclip.save(model, tmp_path / "model.skclip")
    opened = skclip.load(tmp_path / "model.skclip")
    assert opened.clusterer.resolution == RESOLUTIONS
    np.testing.assert_array_equal(opened.clusterer_.levels_, model.clusterer_.levels_)
    same(opened, model, test)


def test_unseen_items_are_voted_for_at_each_level(train):
    model = small(clusterer=leveled(), unseen_items="vote").fit(train)
    items, levels = model.item_ids_.tolist(), model.clusterer_.levels_ + 1
    rows = [[items[3], "new"], ["other"]]
    seen = model._fitted.observed(query_data(rows, model._index))
    first, alone = (
        seen.clusters[a:b] for a, b in zip(seen.starts, seen.stops, strict=True)
    )
    np.testing.assert_array_equal(first, levels[[3, 3]])
    assert len(alone) == 0  # nobody votes
    together = model.decision_function(rows)
    for row, scores in zip(rows, together, strict=True):
        alone = model.decision_function([row])[0]
        np.testing.assert_allclose(alone, scores, rtol=1e-5, atol=1e-5)


def test_search_over_one_and_several(train):
    search = GridSearchCV(
        small(clusterer=leveled(), max_epochs=1),
        {"clusterer__resolution": [1.0, (1.0, 8.0)]},
        cv=TemporalSplit(n_splits=2),
        error_score="raise",
    ).fit(train)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_partial_fit_keeps_and_grows_all_tables(model):
    new = [["item-001", "new-a", "new-b"], ["new-b", "new-a"], ["x", "y"], ["y", "x"]]
    old, n_before = tables_of(model), model.clusterer_.levels_.max(axis=0)
    model.set_params(learning_rate=1e-12).partial_fit(new * 20)
    n_now = model.clusterer_.levels_.max(axis=0)
    assert (n_now > n_before).any()
    tables = tables_of(model)
    assert [len(table) - 2 for table in tables] == n_now.tolist()
    assert_close([t[: len(o)] for t, o in zip(tables, old, strict=True)], old)
    recommended = model.predict_topk([["new-a"]], k=model.n_items_)
    assert set(recommended[0]) == set(model.item_ids_)


@pytest.mark.parametrize(
    ("first", "then"), [(1.0, RESOLUTIONS), (RESOLUTIONS, 1.0), (RESOLUTIONS,) * 2]
)
def test_warm_start_takes_each_level_over(first, then, train):
    model = small(clusterer=SessionClusterer(first, random_state=0), warm_start=True)
    before = tables_of(model.fit(train))
    model.set_params(clusterer__resolution=then, learning_rate=1e-12).fit(train)
    n = min(np.size(first), np.size(then))
    assert_close(tables_of(model)[:n], before[:n])


def test_partial_fit_with_other_levels_than_fit(train):
    two = SessionClusterer([1, 8], random_state=0).fit(train)
    one = SessionClusterer(1, random_state=0).fit(train)
    model = small().fit(two.transform(train))
    before = model._fitted
    with pytest.raises(ValueError, match="carry 1 level.s. of clusters, those of fit"):
        model.partial_fit(one.transform(train[:1]))
    assert model._fitted is before
    model.partial_fit(two.transform(train[:5]))
    np.testing.assert_array_equal(model._fitted.item_clusters, before.item_clusters)


def test_a_cluster_at_a_later_level_only(train):
    items = np.arange(79)
    levels = np.stack([items % 2, items + 1], axis=1)
    model = small().fit(train.with_clusters(levels[train.codes]))
    np.testing.assert_array_equal(model._fitted.item_clusters, levels)
    np.testing.assert_array_equal(model.membership_, items % 2 - 1)


# -- clusterers of somebody else -------------------------------------------------------


class Own(BaseEstimator):
    """Somebody's clusterer of three items, right or wrong."""

    def __init__(self, membership=(0, 1, 0), levels=((0, 2), (1, 1), (0, 0))):
        self.membership, self.levels = membership, levels

    def fit(self, X, y=None):
        for name in ("membership", "levels"):
            if getattr(self, name) is not None:
                setattr(self, f"{name}_", np.array(getattr(self, name)))
        return self

    partial_fit = fit


THREE = [["a", "b", "c"]] * 4


@pytest.mark.parametrize(("levels", "sizes"), [(Own().levels, [2, 3]), (None, [2])])
def test_another_clusterer(levels, sizes):
    model = small(clusterer=Own(levels=levels)).fit(THREE)
    assert [len(table) - 1 for table in tables_of(model)] == sizes
    assert model.membership_.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="Own has no item_ids_ beside membership_"):
        model.partial_fit(THREE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"membership": [0, 1]}, r"shape \(2,\)\. Expected \(3,\).*sorted item ids"),
        ({"membership": [0.5, 1.0, 0.0]}, "membership_ has the type float64"),
        ({"membership": [0, -2, 1]}, "membership_ has .* int.* the minimum -2"),
        ({"membership": None}, "has no membership_ after fit"),
        ({"levels": [[0, 2]]}, r"shape \(1, 2\)\. Expected \(3, n_levels\)"),
        ({"levels": [[0, 1, 0], [2, 1, 0]]}, r"levels_ has shape \(2, 3\)"),
        ({"levels": [[2, 0], [1, 1], [0, 0]]}, "first column of .*levels_ differs"),
        ({"levels": [[0, 0.5], [1, 1], [0, 0]]}, "levels_ has the type float64"),
    ],
    ids=str,
)
def test_clusters_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        small(clusterer=Own(**wrong)).fit(THREE)
