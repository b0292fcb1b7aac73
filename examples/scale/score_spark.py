"""Rank the catalog for each session of a click log, with Spark on two cores.

    python score_spark.py

This script needs Java and ``pip install 'skclip[spark]'``.
"""

import os
import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import skclip
from skclip.datasets import make_sessions
from skclip.scoring import TopK


def write_log_and_model(folder):
    """Write simulated clicks as Parquet, and fit a model."""
    X, _ = make_sessions(500, 100, random_state=0)
    X.to_frame().to_parquet(folder / "clicks.parquet")
    model = skclip.CLIPSessionRecommender(max_epochs=1, random_state=0).fit(X)
    skclip.save(model, folder / "model.skclip")


def session_on_two_cores():
    """Start Spark. Its workers use this Python, with one thread each."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.executorEnv.OMP_NUM_THREADS", "1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_log_and_model(folder)
        spark = session_on_two_cores()
        top = TopK(folder / "model.skclip", k=5, exclude_seen=True)
        clicks = spark.read.parquet(str(folder / "clicks.parquet"))
        in_order = F.sort_array(F.collect_list(F.struct("time", "item")))
        sessions = clicks.groupBy("session").agg(in_order["item"].alias("items"))
        lists = sessions.mapInArrow(top.iterate, top.schema("spark", sessions))
        lists.write.parquet(str(folder / "lists"))
        found = spark.read.parquet(str(folder / "lists"))
        n_sessions = found.select("session").distinct().count()
        print(f"{found.count():,} rows for {n_sessions:,} sessions")
        found.show(5)
        spark.stop()


if __name__ == "__main__":
    main()
