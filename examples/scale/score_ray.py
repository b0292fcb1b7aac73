"""Rank the catalog for each session of a Parquet file, with Ray Data on two cores.

    python score_ray.py

This script needs ``pip install 'skclip[ray]'``. The file has one session per row.
polars makes it from the clicks.
"""

import tempfile
from pathlib import Path

import polars as pl
import ray

import skclip
from skclip.datasets import make_sessions
from skclip.scoring import TopK


def write_sessions_and_model(folder):
    """Write simulated sessions as Parquet, one list per row, and fit a model."""
    X, _ = make_sessions(500, 100, random_state=0)
    clicks = X.to_frame("polars").sort("time")
    sessions = clicks.group_by("session", maintain_order=True).agg(items="item")
    sessions.write_parquet(folder / "sessions.parquet")
    model = skclip.CLIPSessionRecommender(max_epochs=1, random_state=0).fit(X)
    skclip.save(model, folder / "model.skclip")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_sessions_and_model(folder)
        ray.init(num_cpus=2, include_dashboard=False)
        top = TopK(folder / "model.skclip", k=5, exclude_seen=True)
        sessions = ray.data.read_parquet(str(folder / "sessions.parquet"))
        lists = sessions.map_batches(top, batch_format="pyarrow", batch_size=10_000)
        lists.write_parquet(str(folder / "lists"))
        ray.shutdown()
        found = pl.read_parquet(folder / "lists" / "*.parquet")
        print(f"{len(found):,} rows for {found['session'].n_unique():,} sessions")
        print(found.head(5))


if __name__ == "__main__":
    main()
