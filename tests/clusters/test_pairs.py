"""`SessionClusterer.fit_pairs`: a graph of pairs that were counted elsewhere."""

import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

import skclip
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip._data import ItemFeatures
from skclip.datasets import make_sessions

pd = pytest.importorskip("pandas")
ID_SETS = [
    st.integers(-3, 3),
    st.sampled_from(["a", "b", "c", "d"]),
    st.tuples(st.integers(0, 2), st.sampled_from("ab")),
]


def frame(pairs):
    return pd.DataFrame(
        {
            "low": pd.Series([a for a, _, _ in pairs]),
            "high": pd.Series([b for _, b, _ in pairs]),
            "weight": pd.Series([w for _, _, w in pairs], dtype=float),
        }
    )


def counted(lists):
    """Pairs of items that follow each other, as a data frame."""
    counts = Counter(pair for row in lists for pair in pairwise(row))
    return frame([(a, b, n) for (a, b), n in counts.items()])


def assert_same(one, other):
    assert one.item_ids_.tolist() == other.item_ids_.tolist()
    assert one.item_ids_.dtype == other.item_ids_.dtype
    assert (one.graph_ != other.graph_).nnz == 0
    np.testing.assert_array_equal(one.levels_, other.levels_)
    for name in ("n_clusters_", "modularity_", "cluster_drift_", "engine_"):
        assert getattr(one, name) == getattr(other, name)


@settings(max_examples=60)
@given(
    st.sampled_from(ID_SETS).flatmap(
        lambda kind: st.lists(st.lists(kind, max_size=6), min_size=1, max_size=8)
    ),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_pairs_give_what_their_sessions_give(lists, self_loops, draw):
    if not any(len(row) > 1 for row in lists):
        return
    rows = [(a, b, 1.0) for row in lists for a, b in pairwise(row)]
    rows = [(b, a, w) if draw.random() < 0.5 else (a, b, w) for a, b, w in rows]
    draw.shuffle(rows)
    halves = [(a, b, w / 2) for a, b, w in rows]  # equal pairs add up
    alone = [row[0] for row in lists if len(row) == 1]
    clusterer = SessionClusterer((1.0, 3.0), self_loops=self_loops, random_state=0)
    expected = clone(clusterer).fit(lists)
    for pairs in (rows, halves + halves):
        assert_same(clone(clusterer).fit_pairs(frame(pairs), items=alone), expected)


@pytest.mark.parametrize("library", ["pandas", "polars", "lazy", "pyarrow"])
@pytest.mark.parametrize("text", [False, True])
def test_pairs_of_any_library(shop, library, text):
    X, _ = shop
    lists = [list(map(str, row)) for row in X.to_lists()]
    if not text:
        numbers = {item: 7 * i for i, item in enumerate(sorted(set(sum(lists, []))))}
        lists = [[numbers[item] for item in row] for row in lists]
    pairs = counted(lists)
    if library in ("polars", "lazy"):
        pairs = pytest.importorskip("polars").from_pandas(pairs)
        pairs = pairs.lazy() if library == "lazy" else pairs
    elif library == "pyarrow":
        pairs = pytest.importorskip("pyarrow").Table.from_pandas(pairs)
    alone = [row[0] for row in lists if len(row) == 1]
    found = SessionClusterer(random_state=0).fit_pairs(pairs, items=alone)
    assert_same(found, SessionClusterer(random_state=0).fit(lists))


@pytest.mark.filterwarnings("ignore::skclip.exceptions.IdTypeWarning")
def test_item_ids_of_several_types():
    lists = [[1, "a", 2], ["b", 1], [2, "a"]]
    found = SessionClusterer(random_state=0).fit_pairs(counted(lists))
    assert_same(found, SessionClusterer(random_state=0).fit(lists))
    with pytest.raises(ValueError, match="items has ids of another type"):
        SessionClusterer().fit_pairs(frame([(1, 2, 1)]), items=["a"])


def test_item_ids_keep_their_type():
    pairs = frame([(1, 2, 1)]).astype({"low": "int16", "high": "int16"})
    assert SessionClusterer().fit_pairs(pairs).item_ids_.dtype == np.int16
    pairs["high"] = pairs["high"].astype("uint32")
    assert SessionClusterer().fit_pairs(pairs).item_ids_.tolist() == [1, 2]


def test_a_clusterer_of_pairs_goes_on(kitchen_and_workshop, tmp_path):
    clusterer = SessionClusterer(random_state=0)
    clusterer.fit_pairs(counted(kitchen_and_workshop))
    expected = SessionClusterer(random_state=0).fit(kitchen_and_workshop)
    assert_same(clusterer, expected)
    skclip.save(clusterer, tmp_path / "c.skclip")
    asked = [["saw", "moon"], ["tea"]]
    for again in (
        clusterer,
        pickle.loads(pickle.dumps(clusterer)),
        skclip.load(tmp_path / "c.skclip"),
    ):
        assert again.transform(asked).clusters.tolist() == [[2], [0], [1]]
        assert again.predict(asked).tolist() == [[1, 1], [0, -1]]
        again.partial_fit([["saw", "oak", "saw"]])
    assert_same(clusterer, expected.partial_fit([["saw", "oak", "saw"]]))


@pytest.mark.parametrize("edges", ["text", "both"])
def test_edges_by_features(edges, kitchen_and_workshop):
    names = ["tea", "cup", "milk", "pot", "saw", "nail", "glue"]
    vectors = np.random.default_rng(0).normal(size=(7, 3))
    clusterer = SessionClusterer(
        graph_edges=edges, item_features=ItemFeatures(names, vectors), random_state=0
    )
    found = clone(clusterer).fit_pairs(counted(kitchen_and_workshop))
    expected = clone(clusterer).fit(kitchen_and_workshop)
    assert_same(found, expected)
    assert "pot" in found.item_ids_
    more = [["pot", "cup"]]
    assert_same(found.partial_fit(more), expected.partial_fit(more))


def test_items_without_a_pair(kitchen_and_workshop):
    pairs = counted(kitchen_and_workshop)
    plain = SessionClusterer(random_state=0).fit_pairs(pairs)
    more = SessionClusterer(random_state=0).fit_pairs(pairs, items=["moon", "tea"])
    assert set(more.item_ids_) - set(plain.item_ids_) == {"moon"}
    assert more.membership_[more.item_ids_ == "moon"] == 0
    with pytest.raises(ValueError, match="items has nan, which is not an item id"):
        plain.fit_pairs(pairs, items=["moon", np.nan])
    with pytest.raises(TypeError, match="items is a str"):
        plain.fit_pairs(pairs, items="moon")


ROWS = [("a", "b", 1.0), ("b", "c", 2.0)]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weight": [1.0, -2.0]}, ValueError, "Row 1 of pairs has weight -2.0"),
        ({"weight": [np.inf, 1.0]}, ValueError, "Row 0 of pairs has weight inf"),
        ({"weight": [1.0, np.nan]}, ValueError, "Row 1 of pairs has no weight"),
        ({"weight": ["x", "y"]}, TypeError, "Column 'weight' .* Expected numbers"),
        ({"weight": [1e308, 1e308]}, ValueError, "all pairs is infinite. Divide"),
        ({"weight": [0.0, 0.0]}, ValueError, "None of 2 pairs has a weight above 0"),
        ({"low": ["a", None]}, ValueError, "Row 1 of pairs has no item: column 'low'"),
        ({"low": [1.0, np.inf]}, ValueError, "Row 1 of pairs has item inf"),
    ],
)
def test_pairs_that_are_refused(change, error, message):
    clusterer = SessionClusterer(random_state=0).fit([["x", "y"]])
    with pytest.raises(error, match=message):
        clusterer.fit_pairs(frame(ROWS).assign(**change))
    assert clusterer.item_ids_.tolist() == ["x", "y"]


def test_what_is_no_frame_of_pairs():
    with pytest.raises(ValueError, match="pairs has no column 'high'. Expected the"):
        SessionClusterer().fit_pairs(frame(ROWS).drop(columns="high"))
    with pytest.raises(ValueError, match="None of 0 pairs has a weight above 0"):
        SessionClusterer().fit_pairs(frame(ROWS)[:0])
    with pytest.raises(TypeError, match="pairs is a list. .* columns low, high and"):
        SessionClusterer().fit_pairs(ROWS)


def test_a_recommender_keeps_a_clusterer_of_pairs(tmp_path):
    X, _ = make_sessions(n_sessions=80, n_items=30, random_state=0)
    clusterer = SessionClusterer(random_state=3).fit_pairs(counted(X.to_lists()))
    options = {"embedding_dim": 8, "max_epochs": 1, "random_state": 0}
    expected = CLIPSessionRecommender(**options).fit(clusterer.transform(X))
    scores = expected.decision_function(X[:9])
    frozen = FrozenEstimator(clusterer)
    inside = CLIPSessionRecommender(clusterer=frozen, **options).fit(X)
    behind = make_pipeline(frozen, CLIPSessionRecommender(**options)).fit(X)
    for model in (inside, behind):
        np.testing.assert_array_equal(model.decision_function(X[:9]), scores)
        skclip.save(model, tmp_path / "model.skclip")
        loaded = skclip.load(tmp_path / "model.skclip")
        np.testing.assert_array_equal(loaded.decision_function(X[:9]), scores)
    before = clusterer.item_ids_.tolist()
    inside.partial_fit([["new", before[0]]])
    assert "new" in inside.clusterer_.item_ids_
    assert clusterer.item_ids_.tolist() == before


def test_a_frozen_clusterer_without_a_seed_stays_as_it_is():
    X, _ = make_sessions(n_sessions=60, n_items=20, random_state=0)
    clusterer = SessionClusterer().fit(X)
    model = CLIPSessionRecommender(
        clusterer=FrozenEstimator(clusterer),
        embedding_dim=8,
        max_epochs=1,
        random_state=0,
    )
    model.fit(X).partial_fit(X[:5])
    assert vars(model.clusterer).keys() == {"estimator"}
    assert clusterer.random_state is None
