"""Lazy frames of several engines against their eager twins."""

from functools import partial

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

from skclip import SessionClusterer, Sessions
from skclip.preprocessing import (
    drop_duplicates,
    drop_rare_items,
    drop_rare_users,
    drop_repeats,
    drop_short_sessions,
    item_pairs,
    keep_top_items,
    sessionize,
    truncate_sessions,
)

ENGINES = ["polars", "duckdb", "dask", pytest.param("spark", marks=pytest.mark.engines)]


@pytest.fixture(scope="module")
def log():
    """Text ids, many equal times, users that are missing, clicks on one item twice."""
    rng = np.random.default_rng(0)
    n = 600
    sessions = rng.integers(120, size=n)
    users = np.array([f"user {s % 30}" for s in sessions], dtype=object)
    users[sessions % 7 == 0] = None
    items = np.minimum(rng.integers(25, size=n), rng.integers(25, size=n))
    minutes = rng.integers(40, size=n)
    kinds = rng.choice(np.array(["view", "buy", None], dtype=object), size=n)
    return pl.DataFrame(
        {
            "who": users.tolist(),
            "sid": [f"s{s}" for s in sessions],
            "sku": [f"item {i}" for i in items],
            "ts": minutes * 60,
            "at": pl.Series(minutes * 60_000_000 + 1_700_000_000_000_000).cast(
                pl.Datetime("us")
            ),
            "kind": kinds.tolist(),
            "value": rng.integers(4, size=n) / 2,
            "row": rng.permutation(n),
        }
    ).sort("row")


@pytest.fixture(scope="module")
def spark():
    pytest.importorskip("pyspark")
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]")
    options = {"spark.sql.shuffle.partitions": 2, "spark.ui.enabled": "false"}
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def lazily(request, tmp_path):
    """A function that makes a lazy frame of an engine from a polars frame."""

    def dask_frame(frame):
        dask = pytest.importorskip("dask")
        import dask.dataframe as dd

        dask.config.set(scheduler="synchronous")
        return dd.from_pandas(frame.to_pandas(), npartitions=3, sort=False)

    def duckdb_relation(frame):
        duckdb = pytest.importorskip("duckdb")
        return duckdb.connect().from_arrow(frame.to_arrow())

    def spark_frame(frame):
        frame.write_parquet(tmp_path / "log.parquet")
        session = request.getfixturevalue("spark")
        return session.read.parquet(str(tmp_path / "log.parquet"))

    engines = {
        "polars": pl.DataFrame.lazy,
        "duckdb": duckdb_relation,
        "dask": dask_frame,
        "spark": spark_frame,
    }
    return engines[request.param]


def rows(native, sort=("row",)):
    """Rows of any frame, in order, with None for what is missing."""
    frame = nw.from_native(native)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    found = [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.rows(named=True)
    ]
    return sorted(found, key=lambda row: tuple(row[name] for name in sort))


FILTERS = {
    "short": partial(drop_short_sessions, session="sid", min_length=5),
    "users": partial(drop_rare_users, user="who", session="sid", min_sessions=4),
    "items": partial(drop_rare_items, item="sku", min_count=20),
    "top": partial(keep_top_items, item="sku", n_items=9),
    "duplicates": partial(
        drop_duplicates, session="sid", item="sku", time="ts", by="row"
    ),
    "of a kind": partial(
        drop_duplicates, session="sid", item="sku", time="at", event="kind", by="row"
    ),
    "repeats": partial(
        drop_repeats, session="sid", item="sku", time="ts", by=("kind", "row")
    ),
    "repeats of a kind": partial(
        drop_repeats, session="sid", item="sku", time="at", event="kind", by="row"
    ),
    "by rows": partial(drop_repeats, session="sid", item="sku", by="row"),
    "cut": partial(
        truncate_sessions, session="sid", max_length=3, time="ts", by=["sku", "row"]
    ),
}


@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_filters_equal_their_eager_twins(lazily, log):
    lazy = lazily(log)
    for name, function in FILTERS.items():
        expected, found = function(log), function(lazy)
        assert type(found) is type(lazy), name
        assert 0 < len(expected) < len(log), name
        assert rows(found) == rows(expected), name


@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_visits_equal_their_eager_twins(lazily, log):
    lazy = lazily(log)
    spans = {"gap": "7min"}, {"window": "7min"}
    for time in ("ts", "at"):
        for span in spans:
            expected = rows(sessionize(log, user="who", time=time, **span))
            found = rows(sessionize(lazy, user="who", time=time, **span))
            pairs = {
                (a["session"], b["session"])
                for a, b in zip(expected, found, strict=True)
            }
            numbers, names = zip(*pairs, strict=True)
            assert len(pairs) == len(set(numbers)) == len(set(names))
            for row in found:
                end = row["session"].rpartition("/")[2]
                assert end == "guest" if row["who"] is None else end.isdigit()


@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_pairs_equal_the_item_graph(lazily, log):
    names = {"session": "sid", "item": "sku", "time": "ts"}
    by = {"by": ["value", "row"]}
    X = log.sort("value", "row")  # equal times keep the order of their rows
    for options in (
        {},
        {"self_loops": True},
        {"per_session_binary": True},
        {"weight": "value"},
        {"weight": "value", "per_session_binary": True, "self_loops": True},
    ):
        weight = {k: v for k, v in options.items() if k == "weight"}
        kind = {k: v for k, v in options.items() if k != "weight"}
        clusterer = SessionClusterer(random_state=0, **kind)
        clusterer.fit(Sessions.from_events(X, **names, **weight))
        expected = entries(clusterer)
        for frame in (lazily(log), log, log.to_pandas(), log.to_arrow()):
            found = rows(item_pairs(frame, **names, **by, **options), ("low", "high"))
            assert [tuple(row.values()) for row in found] == expected


def entries(clusterer):
    """Edges of the item graph by ids."""
    graph = clusterer.graph_.tocoo()
    ids = clusterer.item_ids_
    return sorted(
        (str(ids[i]), str(ids[j]), float(weight))
        for i, j, weight in zip(*graph.coords, graph.data, strict=True)
        if i <= j
    )
