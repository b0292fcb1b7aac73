"""Clusters at several resolutions: one graph, several partitions, prompts mixed."""

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import SessionClusterer, Sessions, predict_topk
from skclip._data import ItemFeatures, query_data
from skclip._model import SessionModel, cluster_cells
from skclip.backbones import GRU4Rec
from skclip.controls import RandomClusters
from skclip.model_selection import TemporalSplit

RESOLUTIONS = (1.0, 4.0, 16.0)


def leveled(**params):
    return SessionClusterer(RESOLUTIONS, random_state=0, **params)


@pytest.fixture
def model(small_recommender, shop_split):
    model = clone(small_recommender).set_params(clusterer=leveled())
    return model.fit(shop_split[0])


@pytest.mark.parametrize("engine", ["leidenalg", "igraph"])
def test_each_level_is_the_partition_of_its_resolution(shop, engine):
    X, _ = shop
    several = leveled(engine=engine).fit(X)
    for level, resolution in enumerate(RESOLUTIONS):
        one = SessionClusterer(resolution, engine=engine, random_state=0).fit(X)
        np.testing.assert_array_equal(several.levels_[:, level], one.membership_)
        np.testing.assert_array_equal(one.levels_, one.membership_[:, None])
        if level == 0:
            assert several.n_clusters_ == one.n_clusters_
            assert several.modularity_ == one.modularity_
            np.testing.assert_array_equal(several.membership_, one.membership_)
            np.testing.assert_array_equal(several.predict(X[:9]), one.predict(X[:9]))
    assert several.levels_[:, 2].max() > several.levels_[:, 0].max()


def test_events_carry_all_levels(shop):
    X, _ = shop
    clusterer = leveled().fit(X[:300])
    found = clusterer.transform(X[300:])
    codes = {item: i for i, item in enumerate(clusterer.item_ids_.tolist())}
    for item, clusters in zip(
        X[300:].vocabulary[X[300:].codes].tolist(), found.clusters, strict=True
    ):
        expected = clusterer.levels_[codes[item]] + 1 if item in codes else 0
        np.testing.assert_array_equal(clusters, expected)
    one = SessionClusterer(random_state=0).fit(X[:300]).transform(X[300:])
    assert found.to_frame().equals(one.to_frame())
    assert len(found[:0].to_frame()) == 0
    np.testing.assert_array_equal(
        Sessions.concat([found[:5], found[5:]]).clusters, found.clusters
    )


NO_RESOLUTIONS = [
    [], [1.0, 0.0], [1.0, -2.0], ["1"], [None], [1.0, np.inf], [np.nan], [[1.0, 2.0]],
    np.array(2.0),
]  # fmt: skip


@pytest.mark.parametrize("resolution", NO_RESOLUTIONS)
def test_what_is_no_resolution(shop, resolution):
    with pytest.raises(ValueError, match="Expected a number above 0, or a sequence"):
        SessionClusterer(resolution).fit(shop[0])


@pytest.mark.parametrize("resolution", [{1.0, 2.0}, {1: 2}, "12", 0.0, None])
def test_what_is_no_sequence_of_resolutions(shop, resolution):
    with pytest.raises(ValueError, match="resolution"):
        SessionClusterer(resolution).fit(shop[0])


def test_clusters_of_sessions_have_one_or_two_axes(shop):
    X, _ = shop
    n = len(X.codes)
    for shape in ((n, 2, 2), (n, 0)):
        with pytest.raises(ValueError, match="clusters has shape"):
            X.with_clusters(np.ones(shape, dtype=int))
    one, two = (
        SessionClusterer(r, random_state=0).fit(X).transform(X) for r in (1.0, [1, 2])
    )
    with pytest.raises(ValueError, match="different numbers of levels"):
        Sessions.concat([one, two])


def test_random_clusters_of_items_that_no_session_has(shop):
    X, _ = shop
    ids = [*X.vocabulary.tolist(), *(f"more-{i}" for i in range(len(X.vocabulary)))]
    features = ItemFeatures(ids, np.random.default_rng(0).normal(size=(len(ids), 4)))
    for resolution in (1.0, RESOLUTIONS):
        clusterer = SessionClusterer(
            resolution, graph_edges="both", item_features=features, random_state=0
        )
        control = RandomClusters(clusterer, random_state=0).fit(X)
        assert control.levels_.shape == control.clusterer_.levels_.shape
        assert control.item_ids_.tolist() == control.clusterer_.item_ids_.tolist()


def test_partial_fit_follows_each_level(shop):
    X, _ = shop
    grown = leveled().fit(X[:300])
    before = grown.levels_.copy()
    grown.partial_fit(X[300:])
    for level, resolution in enumerate(RESOLUTIONS):
        one = SessionClusterer(resolution, random_state=0).fit(X[:300])
        np.testing.assert_array_equal(before[:, level], one.membership_)
        one.partial_fit(X[300:])
        np.testing.assert_array_equal(grown.levels_[:, level], one.membership_)
    grown.set_params(resolution=1.0)
    with pytest.raises(ValueError, match="but fit had 3 of them"):
        grown.partial_fit(X[:10])


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
def test_an_items_prompt_is_the_mean_of_its_clusters():
    levels = np.array([[1, 1], [1, 2], [2, 3], [0, 0], [2, 0]])
    model = SessionModel(
        GRU4Rec(), levels, n_items=5, embedding_dim=4, max_length=5,
        normalization="none", gate="add", candidates="prompted", similarity=None,
        temperature=1.0,
    ).eval()  # fmt: skip
    first, second = (table.numpy() for table in model.prompt.kinds["cluster"].tables)
    assert first.shape == (3, 4)
    assert second.shape == (4, 4)
    items = model.item_table.numpy()
    expected = np.array(
        [
            items[0] + (first[1] + second[1]) / 2,
            items[1] + (first[1] + second[2]) / 2,
            items[2] + (first[2] + second[3]) / 2,
            items[3],
            items[4] + first[2],
        ]
    )
    codes = torch.arange(1, 6)
    for found in (model.vectors(codes), model.vectors(codes.repeat(40))[:5]):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(model.keys(), expected, atol=1e-6)
    # An unseen item is voted into clusters, which stand in the place of its own.
    voted = torch.tensor([[1, 1], [1, 3], [2, 0], [0, 0]])
    found = model.vectors(torch.tensor([1, 6, 7, 0]), voted)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    mixed = [(first[1] + second[3]) / 2, first[2], np.zeros(4)]
    np.testing.assert_allclose(found[1:], mixed, atol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax"])
@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
def test_all_tables_learn_and_padding_does_not(
    gate, loss, small_recommender, shop_split
):
    model = clone(small_recommender).set_params(
        clusterer=leveled(), gate=gate, preset="strong", max_epochs=1, loss=loss
    )
    model.fit(shop_split[0])
    tables = model._model.prompt.kinds["cluster"].tables
    assert [len(t) - 1 for t in tables] == list(model.clusterer_.levels_.max(0) + 1)
    fresh = clone(model).set_params(max_epochs=1, learning_rate=1e-12)
    fresh.fit(shop_split[0])
    for table, first in zip(
        tables, fresh._model.prompt.kinds["cluster"].tables, strict=True
    ):
        assert not table[0].any()
        moved = (table[1:] - first[1:]).abs().amax(dim=1)
        assert (moved > 1e-6).all()


def test_one_resolution_in_a_list_is_one_resolution(small_recommender, shop_split):
    train, test = shop_split
    found = [
        clone(small_recommender)
        .set_params(clusterer=SessionClusterer(resolution, random_state=0))
        .fit(train)
        .rank_targets(test)
        for resolution in (2.0, [2.0])
    ]
    np.testing.assert_array_equal(*found)


def test_inside_and_as_a_step(small_recommender, shop_split):
    train, test = shop_split
    inside = clone(small_recommender).set_params(clusterer=leveled()).fit(train)
    pipe = make_pipeline(leveled(), clone(small_recommender)).fit(train)
    np.testing.assert_array_equal(
        inside.predict_topk(test, k=7), predict_topk(pipe, test, k=7)
    )
    prefixes, y = train.to_prefixes()
    pipe.fit(prefixes, y)  # targets carry no cluster
    assert pipe[-1]._model_config["item_clusters"].shape[1] == 3
    assert np.isfinite(pipe.score(test))


def test_unseen_items_and_other_rows(model):
    rows = [["item-001", "new", "item-002"], ["other", "item-003"], ["item-004"]]
    state = copy.deepcopy(model._model.state_dict())
    with pytest.warns(UserWarning, match="not seen in fit"):
        together = model.predict_topk(rows, k=5, return_scores=True)
    for row in range(len(rows)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            items, scores = model.predict_topk([rows[row]], k=5, return_scores=True)
        np.testing.assert_array_equal(together[0][row], items[0])
        np.testing.assert_allclose(together[1][row], scores[0], rtol=1e-5)
    for name, value in model._model.state_dict().items():
        assert torch.equal(value, state[name])


def test_unseen_items_are_voted_for_at_each_level(model):
    items, levels = model.item_ids_.tolist(), model.clusterer_.levels_ + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        queries = query_data([[items[3], "new"], ["other"]], model._index)
        seen = model._observed(queries)
    first = slice(seen.starts[0], seen.stops[0])
    np.testing.assert_array_equal(seen.clusters[first], levels[[3, 3]])
    largest = [np.bincount(column).argmax() for column in levels.T]
    alone = slice(seen.starts[1], seen.stops[1])
    np.testing.assert_array_equal(seen.clusters[alone], [largest])


def test_saved_and_opened(model, shop_split, tmp_path):
    skclip.save(model, tmp_path / "model.skclip")
    opened = skclip.load(tmp_path / "model.skclip")
    assert opened.clusterer.resolution == RESOLUTIONS
    np.testing.assert_array_equal(opened.clusterer_.levels_, model.clusterer_.levels_)
    test = shop_split[1]
    np.testing.assert_array_equal(opened.rank_targets(test), model.rank_targets(test))


def test_search_over_one_and_several(small_recommender, shop_split):
    search = GridSearchCV(
        clone(small_recommender).set_params(clusterer=leveled(), max_epochs=1),
        {"clusterer__resolution": [1.0, (1.0, 8.0)]},
        cv=TemporalSplit(n_splits=2),
        error_score="raise",
    ).fit(shop_split[0])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_partial_fit_keeps_and_grows_all_tables(model):
    new = [["item-001", "new-a", "new-b"], ["new-b", "new-a"], ["x", "y"], ["y", "x"]]
    old = [
        table.detach().clone() for table in model._model.prompt.kinds["cluster"].tables
    ]
    n_before = model.clusterer_.levels_.max(axis=0)
    model.set_params(learning_rate=1e-12).partial_fit(new * 20)
    levels = model.clusterer_.levels_
    assert (levels.max(axis=0) > n_before).any()
    items = model.item_ids_.tolist()
    for column, table, before in zip(
        levels.T, model._model.prompt.kinds["cluster"].tables, old, strict=True
    ):
        assert len(table) == column.max() + 2
        np.testing.assert_allclose(table[: len(before)].detach(), before, atol=1e-6)
    recommended = model.predict_topk([["new-a"]], k=len(items))
    assert set(recommended[0]) == set(items)


def test_warm_start_takes_each_level_over(model, shop_split):
    before = [t.detach().clone() for t in model._model.prompt.kinds["cluster"].tables]
    model.set_params(warm_start=True, learning_rate=1e-12)
    model.fit(shop_split[0])
    tables = model._model.prompt.kinds["cluster"].tables
    for table, was in zip(tables, before, strict=True):
        np.testing.assert_allclose(table.detach(), was, atol=1e-6)


@pytest.mark.parametrize("gate", ["elementwise", "add"])
def test_report_counts_what_is_learned(gate, small_recommender, shop_split):
    model = clone(small_recommender).set_params(clusterer=leveled(), gate=gate)
    report = model.fit(shop_split[0]).parameter_report()
    n_prompts = int((model.clusterer_.levels_.max(axis=0) + 1).sum())
    assert report["cluster prompts"] == 16 * n_prompts
    assert report["prompt gates"] == (2 * 16 * 17 if gate == "elementwise" else 0)


@pytest.mark.parametrize(("first", "then"), [(1.0, RESOLUTIONS), (RESOLUTIONS, 1.0)])
def test_warm_start_between_one_and_several(first, then, small_recommender, shop_split):
    model = clone(small_recommender).set_params(
        clusterer=SessionClusterer(first, random_state=0), warm_start=True
    )
    model.fit(shop_split[0])
    before = model._model.prompt.kinds["cluster"].tables[0].detach().clone()
    model.set_params(clusterer__resolution=then, learning_rate=1e-12)
    model.fit(shop_split[0])
    now = model._model.prompt.kinds["cluster"].tables[0].detach()
    np.testing.assert_allclose(now, before, atol=1e-6)


def test_partial_fit_with_other_levels_than_fit(small_recommender, shop_split):
    train, _ = shop_split
    two = SessionClusterer([1, 8], random_state=0).fit(train)
    one = SessionClusterer(1, random_state=0).fit(train)
    model = clone(small_recommender).fit(two.transform(train))
    before = model._model_config["item_clusters"].copy()
    with pytest.raises(ValueError, match="carry 1 level.s. of clusters, those of fit"):
        model.partial_fit(one.transform(train[:1]))
    np.testing.assert_array_equal(model._model_config["item_clusters"], before)
    model.partial_fit(two.transform(train[:5]))


def test_a_cluster_at_a_later_level_only(small_recommender, shop_split):
    train, _ = shop_split
    levels = np.stack([train.codes % 2, train.codes + 1], axis=1)
    model = clone(small_recommender).fit(train.with_clusters(levels))
    items = np.arange(79)
    np.testing.assert_array_equal(
        model._model_config["item_clusters"], np.stack([items % 2, items + 1], axis=1)
    )
    np.testing.assert_array_equal(model.membership_, items % 2 - 1)


class Own(BaseEstimator):
    """Somebody's clusterer, which knows two levels, right or wrong ones."""

    def __init__(self, mistake=None):
        self.mistake = mistake

    def fit(self, X, y=None):
        items = np.arange(len(X.vocabulary))
        self.membership_ = items % 3
        self.levels_ = np.column_stack([items % 3, items % 7])
        if self.mistake == "too few":
            self.levels_ = self.levels_[2:]
        elif self.mistake == "turned":
            self.levels_ = self.levels_.T
        elif self.mistake == "another first":
            self.levels_ = self.levels_[:, ::-1]
        elif self.mistake == "fractions":
            self.levels_ = self.levels_ / 2
        return self

    def partial_fit(self, X, y=None):
        return self.fit(X, y)


def test_another_clusterer_with_levels(small_recommender, shop_split):
    model = clone(small_recommender).set_params(clusterer=Own()).fit(shop_split[0])
    tables = model._model.prompt.kinds["cluster"].tables
    assert [len(table) for table in tables] == [4, 8]
    np.testing.assert_array_equal(model.membership_, np.arange(79) % 3)
    with pytest.raises(ValueError, match="Own has no item_ids_ beside membership_"):
        model.partial_fit(shop_split[1])


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("too few", r"levels_ has shape \(77, 2\), expected \(79, n_levels\)"),
        ("turned", r"levels_ has shape \(2, 79\)"),
        ("another first", "first column of clusterer.levels_ differs"),
        ("fractions", "levels_ holds float64"),
    ],
)
def test_levels_that_are_none(mistake, message, small_recommender, shop_split):
    model = clone(small_recommender).set_params(clusterer=Own(mistake))
    with pytest.raises(ValueError, match=message):
        model.fit(shop_split[0])
