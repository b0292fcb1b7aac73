"""What a search on several processes ships: bytes and time of trivial fits.

    python -m benchmarks.speed.shipping

`GridSearchCV` fits a recommender that learns next to nothing 16 times on 5 million
clicks, by two processes of one thread. Backends of joblib: loky, Ray, and dask as it
is, with ``scatter=[X]``, and with sessions that do not tell their size, so that they
travel with each task. A fresh process for each backend. Its start is that of the
workers, and ships what is scattered; two searches follow. Bytes are those of the
loopback interface, on which other programs should be silent. It sees neither the shared
memory of Ray nor the memory-mapped files of loky.

Linux only: bytes are read from /proc.
"""

import json
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV

from benchmarks._results import new_parser, save
from benchmarks.speed._measuring import in_fresh_process
from skclip import Sessions

N_CLICKS, N_ITEMS, A_SESSION, N_FITS = 5_000_000, 100_000, 6, 16
BACKENDS = ("dask", "dask, scattered", "dask, with each task", "loky", "ray")


class Trivial(BaseEstimator):
    """Counts sessions, so that all time is that of the search."""

    def __init__(self, number=0):
        self.number = number

    def fit(self, X, y=None):
        self.n_sessions_ = len(X)
        return self

    def score(self, X, y=None):
        return X.n_events / self.n_sessions_


class Hidden(Sessions):
    """Sessions that do not tell their size, which dask ships with each task."""

    __slots__ = ()

    def __sizeof__(self):
        return 88


def sessions(kind=Sessions):
    rng = np.random.default_rng(0)
    n = N_CLICKS // A_SESSION
    ends = np.append(np.sort(rng.integers(1, N_CLICKS, size=n - 1)), N_CLICKS)
    return kind(
        rng.integers(N_ITEMS, size=N_CLICKS),
        np.insert(ends, 0, 0),
        np.arange(N_ITEMS),
        times=np.arange(N_CLICKS, dtype=float),
    )


@contextmanager
def dask(scatter=None):
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    options = {} if scatter is None else {"scatter": scatter}
    with cluster, Client(cluster), joblib.parallel_config("dask", **options):
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


def backend_of(name, X):
    if name == "loky":
        return joblib.parallel_config("loky", n_jobs=2)
    if name == "ray":
        return ray()
    return dask([X] if "scattered" in name else None)


def loopback():
    """Bytes that the loopback interface has received so far."""
    text = Path("/proc/net/dev").read_text().partition(" lo:")[2]
    return int(text.split()[0])


def run(name):
    X = sessions(Hidden if "each task" in name else Sessions)
    grid = {"number": range(N_FITS // 2)}
    search = GridSearchCV(Trivial(), grid, cv=2, refit=False, n_jobs=2)
    before, begun, searches = loopback(), time.perf_counter(), []
    with warnings.catch_warnings(), backend_of(name, X):
        warnings.simplefilter("ignore")
        seconds = time.perf_counter() - begun
        start = {"mb": (loopback() - before) / 1e6, "seconds": seconds}
        for _ in range(2):
            before, begun = loopback(), time.perf_counter()
            search.fit(X)
            seconds = time.perf_counter() - begun
            searches.append({"mb": (loopback() - before) / 1e6, "seconds": seconds})
    mean = float(search.cv_results_["mean_test_score"].mean())
    return {
        "x_mb": X.nbytes / 1e6,
        "start": start,
        "searches": searches,
        "mean": mean,
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--one", choices=BACKENDS, help="one backend; prints JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(args.one)))
        return
    rows = []
    for name in BACKENDS:
        found = in_fresh_process("benchmarks.speed.shipping", "--one", name)
        rows.append({"backend": name, **found})
        print(json.dumps(rows[-1]), flush=True)
        save("speed/shipping.json", {"protocol": __doc__, "rows": rows})


if __name__ == "__main__":
    main()
