"""`TopK` in the workers of engines: the rows of predict_topk, in any order."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

import skclip
from skclip import scoring
from skclip.scoring import TopK

K = 5
# Both use deprecated parts of pandas and of themselves.
THEIR_WARNINGS = ("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def files(fitted, test, tmp_path_factory):
    """A model, and sessions as lists and as clicks in no order."""
    folder = tmp_path_factory.mktemp("scoring")
    skclip.save(fitted, folder / "model.skclip")
    clicks = test.to_frame("polars").sort("time")
    in_order = clicks.group_by("session", maintain_order=True)
    in_order.agg(items="item").write_parquet(folder / "sessions.parquet")
    clicks.sample(fraction=1, shuffle=True, seed=0).write_parquet(
        folder / "clicks.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def top(files):
    return TopK(files / "model.skclip", K, exclude_seen=True)


@pytest.fixture(scope="module")
def ranked(fitted, test):
    """Items and scores of each session, by its id."""
    items, scores = fitted.predict_topk(test, K, return_scores=True, exclude_seen=True)
    ids = test.to_frame()["session"].unique()
    rows = zip(ids, items, scores, strict=True)
    return {session: (own, values) for session, own, values in rows}


def check(lists, ranked):
    """The rows of an engine, in any order, are those of predict_topk."""
    lists = pd.DataFrame(lists).sort_values(["session", "rank"])
    assert list(lists["rank"]) == [*range(1, K + 1)] * len(ranked)
    for session, (items, scores) in ranked.items():
        own = lists[lists["session"] == session]
        assert list(own["item"]) == list(items)
        np.testing.assert_allclose(own["score"], scores, rtol=1e-5, atol=1e-6)


def test_polars_in_a_stream(files, top, ranked):
    sessions = pl.scan_parquet(files / "sessions.parquet")
    schema = top.schema("polars", sessions)
    lists = sessions.map_batches(top, schema=schema, streamable=True)
    assert lists.collect_schema() == lists.collect(engine="streaming").schema
    check(lists.collect(engine="streaming").to_pandas(), ranked)
    first = lists.filter(pl.col("rank") == 1).select("item").collect()
    assert len(first) == len(ranked)


def test_dask_in_two_processes(files, top, ranked, dask_workers):
    dd = pytest.importorskip("dask.dataframe")

    def rank_clicks(clicks):
        sessions = clicks.sort_values("time").groupby("session")["item"].agg(list)
        return top(sessions.reset_index(name="items"))

    path = files / "sessions.parquet"
    sessions = dd.read_parquet(path).repartition(npartitions=4)
    meta = top.schema("pandas", sessions)
    check(sessions.map_partitions(top, meta=meta).compute(), ranked)
    clicks = dd.read_parquet(files / "clicks.parquet").repartition(npartitions=2)
    clicks = clicks[["session", "item", "time"]].shuffle("session")
    check(clicks.map_partitions(rank_clicks, meta=meta).compute(), ranked)
    assert set(dask_workers.run(lambda: len(scoring._open)).values()) == {1}
    with pytest.raises(TypeError, match="lazy frame of dask.*map_partitions"):
        top(sessions)
    gone = TopK(files / "gone.skclip", K)
    with pytest.raises(FileNotFoundError, match="on the host .* every worker sees"):
        sessions.map_partitions(gone, meta=meta).compute()


@pytest.mark.engines
@pytest.mark.filterwarnings(*THEIR_WARNINGS)
def test_spark(files, top, ranked, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    F = pytest.importorskip("pyspark.sql.functions")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    spark = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.executorEnv.OMP_NUM_THREADS", "1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    try:
        sessions = spark.read.parquet(str(files / "sessions.parquet"))
        schema = top.schema("spark", sessions)
        check(sessions.mapInArrow(top.iterate, schema).toPandas(), ranked)
        clicks = spark.read.parquet(str(files / "clicks.parquet"))
        names = {"session": "session", "items": "item"}  # what the message says to type
        recipe = (
            scoring._GROUPED["RecordBatch"].format(**names).removesuffix("in Spark")
        )
        grouped = eval(recipe, {"events": clicks} | vars(F))
        lists = grouped.withColumnRenamed("item", "items")
        check(lists.mapInArrow(top.iterate, schema).toPandas(), ranked)
        with pytest.raises(Exception, match="one row per click.*collect_list"):
            clicks.withColumnRenamed("item", "items").mapInArrow(
                top.iterate, schema
            ).collect()
    finally:
        spark.stop()


@pytest.mark.engines
@pytest.mark.filterwarnings(*THEIR_WARNINGS)
def test_ray(files, top, ranked):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        sessions = ray.data.read_parquet(str(files / "sessions.parquet"))
        lists = sessions.map_batches(top, batch_format="pyarrow", batch_size=30)
        check(lists.to_pandas(), ranked)
    finally:
        ray.shutdown()
