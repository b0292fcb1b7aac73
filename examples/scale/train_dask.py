"""Train one model on the workers of a Dask cluster.

    python train_dask.py

One task on each worker opens a group of torch.distributed and calls `fit` in it. The
first worker gives its address to the others; here both are on this machine.
"""

import socket

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


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def main():
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        X, _ = make_sessions(500, 100, random_state=0)
        workers = list(client.scheduler_info()["workers"])
        address, data = free_address(), client.scatter(X[:400], broadcast=True)
        models = [
            client.submit(train, data, rank, len(workers), address, workers=[worker])
            for rank, worker in enumerate(workers)
        ]
        model = models[0].result()
        print(f"{len(workers)} processes, {model.n_iter_} epochs")
        print(f"MRR@20 {model.score(X[400:]):.3f}")


if __name__ == "__main__":
    main()
