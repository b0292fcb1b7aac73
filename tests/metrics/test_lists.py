"""Metrics of whole lists, against slow loops and worked by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip import PopularityRecommender
from skclip.metrics import (
    by_group,
    catalog_coverage,
    cluster_diversity,
    gini_index,
    novelty,
    popularity_groups,
    popularity_lift,
    recall_at_k,
)

CATALOG = list("abcdef")
ids = st.sampled_from([*CATALOG, "", "unseen"])


@st.composite
def cases(draw):
    k = draw(st.integers(1, 5))
    n = draw(st.integers(1, 6))
    row = st.lists(ids, min_size=k, max_size=k)
    items = draw(st.lists(row, min_size=n, max_size=n))
    sessions = draw(st.lists(st.lists(ids, max_size=4), min_size=n, max_size=n))
    train = draw(st.lists(st.lists(st.sampled_from(CATALOG)), max_size=4))
    clusters = draw(st.lists(st.integers(-1, 2), min_size=6, max_size=6))
    cut = draw(st.one_of(st.none(), st.integers(1, 7)))
    return items, sessions, [*train, ["a"]], clusters, cut


def mean(values):
    return sum(values) / len(values) if values else float("nan")


@given(cases())
def test_equal_slow_loops(case):
    items, sessions, train, clusters, k = case
    lists = [row[:k] for row in items]
    flat = [i for row in train for i in row]
    events = {i: flat.count(i) for i in set(flat)}

    shown = [sum(i == j for row in lists for j in row) for i in CATALOG]
    found = catalog_coverage(items, CATALOG, k=k)
    assert found == pytest.approx(sum(x > 0 for x in shown) / 6)
    total = sum(shown)
    expected = float("nan")
    if total:  # mean absolute difference, another form of the Gini index
        expected = sum(abs(x - y) for x in shown for y in shown) / (2 * 6 * total)
    assert gini_index(items, CATALOG, k=k) == pytest.approx(expected, nan_ok=True)

    bits, lift = [], []
    for row, session in zip(lists, sessions, strict=True):
        known = [events[i] for i in row if i in events]
        observed = [events[i] for i in session if i in events]
        if known:
            bits.append(mean([-np.log2(x / len(flat)) for x in known]))
        if known and observed:
            lift.append((mean(known), mean(observed)))
    assert novelty(items, train, k=k) == pytest.approx(mean(bits), nan_ok=True)
    expected = float("nan")
    if lift:
        expected = sum(a for a, _ in lift) / sum(b for _, b in lift) - 1
    found = popularity_lift(items, sessions, train, k=k)
    assert found == pytest.approx(expected, nan_ok=True)

    of = dict(zip(CATALOG, clusters, strict=True))
    shares = []
    for row in lists:
        known = [of[i] for i in row if of.get(i, -1) >= 0]
        pairs = [(a, b) for n, a in enumerate(known) for b in known[:n]]
        if pairs:
            shares.append(mean([a != b for a, b in pairs]))
    found = cluster_diversity(items, CATALOG, clusters, k=k)
    assert found == pytest.approx(mean(shares), nan_ok=True)


def test_extremes():
    same = [["a", "b"]] * 3
    assert catalog_coverage(same, ["a", "b"]) == 1.0
    assert gini_index(same, ["a", "b"]) == 0.0
    assert gini_index([["a"]] * 5, CATALOG) == pytest.approx(5 / 6)
    assert novelty([["a"]], [["a"]]) == 0.0
    assert popularity_lift([["a"], ["b"]], [["a"], ["b"]], [["a", "a", "b"]]) == 0.0
    assert cluster_diversity([["a", "b"]], ["a", "b"], [3, 3]) == 0.0
    assert cluster_diversity([["a", "b"]], ["a", "b"], [3, 0]) == 1.0
    assert np.isnan(cluster_diversity([["a"]], ["a"], [0]))
    assert catalog_coverage([["a", "b"]], CATALOG, k=50) == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", [int, float, str])
def test_fill_values_of_filtered_lists_do_not_count(kind):
    train = [[kind(i) for i in row] for row in ([1, 2], [1, 3], [1, 2])]
    popular = PopularityRecommender().fit(train)
    full = popular.predict_topk(train[:1], k=3)
    lists = popular.predict_topk(train[:1], k=3, deny=[kind(3)])
    assert lists[0, 2] != full[0, 2]
    assert catalog_coverage(lists, popular.item_ids_) == pytest.approx(2 / 3)
    assert novelty(lists, train) == novelty(full, train, k=2)
    expected = gini_index(full, popular.item_ids_, k=2)
    assert gini_index(lists, popular.item_ids_) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: catalog_coverage([], CATALOG), r"shape \(0,\)"),
        (lambda: catalog_coverage(np.empty((0, 3)), CATALOG), r"shape \(0, 3\)"),
        (lambda: catalog_coverage([["a"]], []), "catalog is empty"),
        (lambda: gini_index([["a"]], ["a", "a"]), "names 1 items twice"),
        (lambda: gini_index([["a"]], ["a"], k=0), "got 0"),
        (lambda: gini_index([["a"]], ["a"], k=1.5), "got 1.5"),
        (lambda: novelty([["a"]], [[], []]), "no event"),
        (lambda: popularity_lift([["a"]], [["a"]] * 2, [["a"]]), "2 sessions, items 1"),
        (lambda: cluster_diversity([["a"]], ["a"], [0, 1]), r"shape \(2,\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ids_that_are_tuples_stand_in_plain_lists():
    lists, ids = [[("s", 1), ("m", 2)], [("s", 1), ""]], [("s", 1), ("m", 2), ("l", 3)]
    assert catalog_coverage(lists, ids) == pytest.approx(2 / 3)
    assert novelty(lists, [[("s", 1), ("m", 2)]]) == 1.0
    with pytest.raises(ValueError, match="lists of 1 to 2 ids.*Fill short lists"):
        catalog_coverage([[1, 2], [3]], [1, 2, 3])


def test_masked_cells_are_empty_places_or_refused():
    lists = np.ma.array([[1, 2], [1, 3]], mask=[[0, 0], [0, 1]])
    assert catalog_coverage(lists, [1, 2, 3, 4]) == 0.5
    assert novelty(lists, [[1, 2, 3]]) == novelty([[1, 2], [1, None]], [[1, 2, 3]])
    masked = np.ma.array([1, 2], mask=[0, 1])
    for call in (
        lambda: cluster_diversity([[1, 2]], [1, 2], masked),
        lambda: catalog_coverage([[1, 2]], masked),
        lambda: recall_at_k(masked, 1),
        lambda: by_group([1, 2], masked, names=["a", "b", "c"]),
        lambda: popularity_groups(masked, [[1, 2]]),
    ):
        with pytest.raises(ValueError, match="masked cells"):
            call()


def test_catalogs_come_in_any_array_and_are_named_in_messages():
    for catalog in (
        ["a", "b"],
        {"a", "b"},
        pd.Series(["a", "b"]),
        pa.array(["a", "b"]),
    ):
        assert catalog_coverage([["a", "x"]], catalog) == 0.5
    with pytest.raises(TypeError, match="item_ids is a set, which has no order"):
        cluster_diversity([["a", "b"]], {"a", "b"}, [0, 1])
    with pytest.raises(TypeError, match="catalog is a str"):
        catalog_coverage([["a"]], "a")
    with pytest.raises(ValueError, match="catalog\\[1\\] is None"):
        catalog_coverage([["a"]], ["a", None])
