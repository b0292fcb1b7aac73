"""Train one model on the workers of a Dask cluster.

    python train_dask.py

One task on each worker joins a torch.distributed group and calls `fit`. The tasks
connect through an address of the first worker.
"""

import socket
from urllib.parse import urlsplit

from distributed import Client, LocalCluster
from torch import distributed

import skclip
from skclip.datasets import make_sessions


def train(X, rank, n_processes, address):
    distributed.init_process_group(
        init_method=f"tcp://{address}", rank=rank, world_size=n_processes
    )
    try:
        model = skclip.CLIPSessionRecommender(
            batch_size=256, max_epochs=2, n_threads=1, random_state=0
        )
        return model.fit(X)
    finally:
        distributed.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def main():
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        X, _ = make_sessions(500, 100, random_state=0)
        workers = list(client.nthreads())
        port = client.submit(free_port, workers=workers[:1], pure=False).result()
        address = f"{urlsplit(workers[0]).hostname}:{port}"
        data = client.scatter(X[:400], broadcast=True)
        models = [
            client.submit(train, data, rank, len(workers), address, workers=[worker])
            for rank, worker in enumerate(workers)
        ]
        model = models[0].result()
        print(f"{len(workers)} processes, {model.n_iter_} epochs")
        print(f"MRR@20 {model.score(X[400:]):.3f}")


if __name__ == "__main__":
    main()
