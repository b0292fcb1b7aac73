"""Rank the catalog for each session of a click log, with Dask in two processes.

    python score_dask.py

The clicks of a session may lie in several partitions. A shuffle brings them together.
"""

import tempfile
from pathlib import Path

import dask.dataframe as dd
from distributed import Client, LocalCluster

import skclip
from skclip.datasets import make_sessions
from skclip.scoring import TopK


def write_log_and_model(folder):
    """Write simulated clicks as Parquet, and fit a model."""
    X, _ = make_sessions(500, 100, random_state=0)
    clicks = X.to_frame().sort_values("time")
    dd.from_pandas(clicks, npartitions=4, sort=False).to_parquet(folder / "clicks")
    model = skclip.CLIPSessionRecommender(max_epochs=1, random_state=0).fit(X)
    skclip.save(model, folder / "model.skclip")


def rank_clicks(clicks, top):
    """Recommend items for all sessions of a partition."""
    sessions = clicks.sort_values("time").groupby("session")["item"].agg(list)
    return top(sessions.reset_index(name="items"))


def main():
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with tempfile.TemporaryDirectory() as folder, cluster, Client(cluster):
        folder = Path(folder)
        write_log_and_model(folder)
        top = TopK(folder / "model.skclip", k=5, exclude_seen=True)
        clicks = dd.read_parquet(folder / "clicks", columns=["session", "item", "time"])
        lists = clicks.shuffle("session").map_partitions(
            rank_clicks, top, meta=top.schema("pandas", clicks)
        )
        lists.to_parquet(folder / "lists")
        found = dd.read_parquet(folder / "lists").compute()
        print(f"{len(found):,} rows for {found['session'].nunique():,} sessions")
        print(found.head(5))


if __name__ == "__main__":
    main()
