"""Tune hyperparameters on a Ray cluster.

    python search_ray.py

Ray keeps the sessions in memory that all workers of a machine share. Each candidate
uses one thread.
"""

import joblib
import ray
from ray.util.joblib import register_ray
from sklearn.model_selection import GridSearchCV

from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit


def main():
    ray.init(num_cpus=2, include_dashboard=False)
    register_ray()
    X, _ = make_sessions(500, 100, random_state=0)
    model = CLIPSessionRecommender(
        clusterer=SessionClusterer(), max_epochs=1, n_threads=1, random_state=0
    )
    grid = {"clusterer__resolution": [0.5, 2.0], "learning_rate": [0.002, 0.01]}
    with joblib.parallel_config("ray"):
        search = GridSearchCV(model, grid, cv=TemporalSplit(2), n_jobs=-1).fit(X)
    ray.shutdown()
    print(search.best_params_)
    print(f"MRR@20 {search.best_score_:.3f}")


if __name__ == "__main__":
    main()
