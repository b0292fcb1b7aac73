"""Engines for many processes, two of them on this machine."""

import pytest


@pytest.fixture(scope="session")
def dask_client(tmp_path_factory):
    """A client of two Dask workers, which no other test takes by default."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        local_directory=tmp_path_factory.mktemp("dask"),
    )
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def dask_workers(dask_client):
    """The client of two Dask workers, each a process with one thread."""
    with dask_client.as_current():
        yield dask_client
