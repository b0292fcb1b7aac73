"""A search on any backend of joblib has the scores and weights of a sequential one."""

import functools
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
from common import small
from sklearn.model_selection import GridSearchCV

from skclip import Sessions
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit

X, _ = make_sessions(n_sessions=150, n_items=20, random_state=0)


@contextmanager
def loky():
    with joblib.parallel_config("loky", n_jobs=2):
        yield


@contextmanager
def dask():
    with joblib.parallel_config("dask", n_jobs=-1):
        yield


@contextmanager
def dask_in_threads():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None)
    with cluster, Client(cluster), dask():
        yield


@contextmanager
def ray():
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config("ray", n_jobs=2):
            yield
    finally:
        ray.shutdown()


BACKENDS = {
    "loky": loky,
    "dask, two processes": dask,
    "dask, two threads": dask_in_threads,
    "ray": ray,
}


def new_search():
    # Dropout, so that draws count; many epochs overlap with other threads of dask.
    model = small(max_epochs=3, backbone__dropout=0.2)
    grid = {"learning_rate": [0.01, 0.02]}
    return GridSearchCV(model, grid, cv=TemporalSplit(2), error_score="raise")


def searched(search):
    """Scores of all fits, and the weights of the last one."""
    search.fit(X)
    scores = [search.cv_results_[f"split{i}_test_score"] for i in range(2)]
    return np.concatenate(scores), search.best_estimator_._fitted.model.state_dict()


@functools.cache
def sequential():
    return searched(new_search())


@pytest.mark.parametrize(
    "name",
    [
        "loky",
        "dask, two processes",
        pytest.param("dask, two threads", marks=pytest.mark.slow),
        pytest.param("ray", marks=pytest.mark.engines),
    ],
)
def test_a_search_is_the_sequential_one_to_the_bit(name, monkeypatch, request):
    """Also the second time, when the fitted search travels with each task."""
    if name == "ray":
        pytest.importorskip("ray")
    if name == "dask, two processes":
        request.getfixturevalue("dask_workers")
    scores, weights = sequential()
    pickled, state_of = [], Sessions.__getstate__

    def getstate(self):
        if self is X:
            pickled.append(self)
        return state_of(self)

    monkeypatch.setattr(Sessions, "__getstate__", getstate)
    search = new_search()
    with BACKENDS[name]():
        for _ in range(2):
            pickled.clear()
            found, refitted = searched(search)
            np.testing.assert_array_equal(found, scores)
            for key, value in weights.items():
                np.testing.assert_array_equal(refitted[key], value, err_msg=key)
            if "dask" in name:
                assert len(pickled) == 1  # not once for each of the four fits
