"""Cluster the items of a log that is larger than memory, with DuckDB.

    python pairs_duckdb.py

DuckDB filters the log and counts pairs of items within a memory limit. The clusters
come from the whole log. The model learns from the latest sessions.
"""

import tempfile
from functools import partial
from pathlib import Path

import duckdb
from sklearn.frozen import FrozenEstimator

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.datasets import make_sessions
from skclip.preprocessing import (
    drop_rare_items,
    drop_short_sessions,
    item_pairs,
    until_stable,
)

COLUMNS = {"session": "session", "item": "item", "time": "time"}


def write_log(folder):
    """Write simulated clicks as Parquet."""
    X, _ = make_sessions(500, 100, random_state=0)
    X.to_frame("polars").write_parquet(folder / "clicks.parquet")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_log(folder)
        connection = duckdb.connect()
        connection.execute("SET memory_limit = '1GB'")
        clicks = until_stable(
            connection.read_parquet(str(folder / "clicks.parquet")),
            partial(drop_rare_items, item="item", min_count=5),
            partial(drop_short_sessions, session="session", min_length=2),
            scratch=folder,
        )
        # Clicks of a session at the same time are sorted by item.
        pairs = item_pairs(clicks, **COLUMNS, by="item")
        clusterer = SessionClusterer(random_state=0).fit_pairs(pairs)
        ((middle,),) = clicks.aggregate("median(time)").fetchall()
        X = Sessions.from_events(clicks.filter(f"time > {middle}"), **COLUMNS)
    model = CLIPSessionRecommender(
        clusterer=FrozenEstimator(clusterer), max_epochs=1, random_state=0
    ).fit(X)
    print(f"{clusterer.n_clusters_} clusters of {len(clusterer.item_ids_)} items")
    print(f"{model.n_items_} items in the latest {len(X)} sessions")


if __name__ == "__main__":
    main()
