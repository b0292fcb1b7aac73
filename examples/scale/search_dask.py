"""Tune hyperparameters on a Dask cluster.

    python search_dask.py

Each worker runs one fit at a time on one thread, because several fits in one process
would wait for each other. Each worker receives the sessions once.
"""

import joblib
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit


def main():
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    X, _ = make_sessions(500, 100, random_state=0)
    model = CLIPSessionRecommender(
        clusterer=SessionClusterer(), max_epochs=1, n_threads=1, random_state=0
    )
    grid = {"clusterer__resolution": [0.5, 2.0], "learning_rate": [0.002, 0.01]}
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        search = GridSearchCV(model, grid, cv=TemporalSplit(2), n_jobs=-1).fit(X)
    print(search.best_params_)
    print(f"MRR@20 {search.best_score_:.3f}")


if __name__ == "__main__":
    main()
