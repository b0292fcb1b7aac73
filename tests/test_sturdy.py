"""Strange ids, strange shapes, many threads: an answer or a helpful message."""

import string
import threading
import warnings
from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skclip import CLIPSessionRecommender, PopularityRecommender, SessionClusterer
from skclip._data import Sessions, as_sessions

IDS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-3, 9),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["\x00", "a\x00", "\ud800", "é", "e\u0301", "", " ", "nan", "0"]),
    st.binary(max_size=3),
    st.booleans(),
    st.none(),
    st.dates(date(1, 1, 1), date(9999, 12, 31)),
    st.tuples(st.integers(0, 2), st.text(string.ascii_letters, max_size=1)),
    st.sampled_from(
        [np.int8(3), np.uint64(2**63), np.float32(0.5), np.str_("n"), np.bool_(True)]
    ),
    st.just([1]),
)
PLAIN = st.one_of(st.integers(0, 6), st.sampled_from(list("abcdef")))


def rows_of(ids):
    return st.lists(st.lists(ids, max_size=6), min_size=1, max_size=8)


def as_given(rows, container):
    """The rows in a container, or None where they do not fit into it."""
    try:
        if container == "list":
            return rows
        if container == "tuples":
            return tuple(map(tuple, rows))
        if container == "objects":
            array = np.empty(len(rows), dtype=object)
            array[:] = [np.array(row, dtype=object) for row in rows]
            return array
        if container == "pandas":
            return pd.Series(rows)
        if container == "polars":
            return pl.Series(rows, strict=False)
        if container == "array":
            width = max(map(len, rows))
            padded = [[*row, *[np.nan] * (width - len(row))] for row in rows]
            return np.array(padded, dtype=float)
        return Sessions.from_lists(rows)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return None


CONTAINERS = ["list", "tuples", "objects", "pandas", "polars", "array", "Sessions"]


def works_or_explains(function):
    """Call; a ValueError or TypeError must have a message of some length."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message = None
        try:
            result = function()
        except (ValueError, TypeError) as error:
            result, message = None, str(error)
    assert message is None or len(message) > 20, message
    ours = [w for w in caught if issubclass(w.category, UserWarning)]
    assert len(ours) < 6, [str(w.message)[:60] for w in ours]  # no flood
    return result


SETTINGS = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("container", CONTAINERS)
@settings(SETTINGS, max_examples=220)
@given(rows=rows_of(IDS))
def test_containers_of_strange_ids(container, rows):
    X = as_given(rows, container)
    if X is None:
        return
    sessions = works_or_explains(lambda: as_sessions(X))
    if sessions is None:
        return
    assert len(sessions) == len(rows)
    back = sessions.to_lists()
    assert [len(r) for r in back] == sessions.lengths.tolist()
    if container == "list":
        for ours, theirs in zip(back, rows, strict=True):
            assert all(a == b for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("container", ["list", "objects", "Sessions"])
@settings(SETTINGS, max_examples=150)
@given(rows=rows_of(IDS), asked=rows_of(IDS))
def test_simple_estimators_on_strange_ids(container, rows, asked):
    X = as_given(rows, container)
    if X is None:
        return
    popular = works_or_explains(lambda: PopularityRecommender().fit(X))
    if popular is not None:
        top = works_or_explains(lambda: popular.predict_topk(asked, exclude_seen=True))
        assert top is None or len(top) == len(asked)
    clusterer = works_or_explains(lambda: SessionClusterer(random_state=0).fit(X))
    if clusterer is not None:
        assert clusterer.membership_.min() == 0
        works_or_explains(lambda: clusterer.predict(asked))


@settings(SETTINGS, max_examples=60)
@given(rows=rows_of(st.one_of(IDS, PLAIN)), asked=rows_of(st.one_of(IDS, PLAIN)))
def test_the_recommender_on_strange_ids(rows, asked):
    model = CLIPSessionRecommender(
        "gru4rec", embedding_dim=4, max_epochs=1, random_state=0, n_threads=1
    )
    fitted = works_or_explains(lambda: model.fit(rows))
    if fitted is None:
        return
    top = works_or_explains(lambda: fitted.predict_topk(asked, k=1))
    assert top is None or top.shape == (len(asked), 1)
    works_or_explains(lambda: fitted.score(asked))


@pytest.mark.parametrize("backbone", ["narm", "srgnn", "core"])
@pytest.mark.parametrize(
    "rows",
    [
        [["a"] * 2_000, ["a", "b"]],
        [["a", "a"]],
        [["a", "a"]] * 3,
        [list(range(300)) * 4, [5, 6]],
        [[], ["a"], ["a", "b"], []],
    ],
    ids=["very long", "one item", "one item often", "long", "empty ones"],
)
def test_edges_of_sessions(backbone, rows, small_recommender):
    model = clone(small_recommender).set_params(backbone=backbone, max_epochs=1)
    model.fit(rows)
    n_items = len({i for row in rows for i in row})
    top = model.predict_topk([*rows, ["a"] * 10_000, []])
    assert top.shape == (len(rows) + 2, min(20, n_items))
    assert np.isfinite(model.decision_function(rows)).all()


def test_a_hundred_threads(fitted, shop_split):
    """100 threads, 3,000 requests, the answers of one thread."""
    _, test = shop_split
    queries = [[row] for row in test.to_lists()[:100]]
    expected = [fitted.predict_topk(query, k=5) for query in queries]
    before = set(vars(fitted))
    differences, barrier = [], threading.Barrier(100)

    def ask(offset):
        barrier.wait()
        for i in range(30):
            at = (offset + i) % len(queries)
            found = fitted.predict_topk(queries[at], k=5)
            if not np.array_equal(found, expected[at]):
                differences.append(at)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(100)]
    before_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a server does
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before_threads)
    assert differences == []
    assert set(vars(fitted)) == before
