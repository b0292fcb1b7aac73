"""Rank the catalog for each session of a click log, with polars in batches.

    python score_polars.py

polars reads, groups and ranks the log in batches and writes the lists to a file.
Neither the log nor the lists have to fit in memory.
"""

import tempfile
from pathlib import Path

import polars as pl

import skclip
from skclip.datasets import make_sessions
from skclip.scoring import TopK


def write_log_and_model(folder):
    """Write simulated clicks as Parquet, and fit a model."""
    X, _ = make_sessions(500, 100, random_state=0)
    X.to_frame("polars").write_parquet(folder / "clicks.parquet")
    model = skclip.CLIPSessionRecommender(max_epochs=1, random_state=0).fit(X)
    skclip.save(model, folder / "model.skclip")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_log_and_model(folder)
        top = TopK(folder / "model.skclip", k=5, exclude_seen=True)
        clicks = pl.scan_parquet(folder / "clicks.parquet")
        sessions = (
            clicks.sort("time")
            .group_by("session", maintain_order=True)
            .agg(pl.col("item").alias("items"))
        )
        lists = sessions.map_batches(
            top, schema=top.schema("polars", sessions), streamable=True
        )
        lists.sink_parquet(folder / "lists.parquet")
        found = pl.read_parquet(folder / "lists.parquet")
        print(f"{len(found):,} rows for {found['session'].n_unique():,} sessions")
        print(found.head(5))


if __name__ == "__main__":
    main()
