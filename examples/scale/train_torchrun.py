"""Train one model on several processes, with torch.distributed.

    torchrun --nproc-per-node 2 train_torchrun.py

Each process runs this script with the same sessions and parameters. `fit` divides the
batches among the processes. All processes end with the same model, and the first one
saves it.
"""

import tempfile
from pathlib import Path

from torch import distributed

import skclip
from skclip.datasets import make_sessions


def main():
    distributed.init_process_group()
    X, _ = make_sessions(500, 100, random_state=0)
    model = skclip.CLIPSessionRecommender(
        batch_size=256, max_epochs=2, n_threads=1, random_state=0
    )
    model.fit(X[:400])
    if distributed.get_rank() == 0:
        with tempfile.TemporaryDirectory() as folder:
            skclip.save(model, Path(folder) / "model.skclip")
        print(f"{distributed.get_world_size()} processes, {model.n_iter_} epochs")
        print(f"MRR@20 {model.score(X[400:]):.3f}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
