"""Engines for many processes, two of them on this machine."""

import pytest


@pytest.fixture(scope="session")
def dask_workers(tmp_path_factory):
    """A client of two Dask workers, each a process with one thread."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        local_directory=tmp_path_factory.mktemp("dask"),
    )
    with cluster, distributed.Client(cluster) as client:
        yield client
