"""Train one model on the workers of a Ray cluster, with Ray Train.

    python train_ray.py

Ray Train starts the workers and connects them in a torch.distributed group.
"""

import tempfile
from pathlib import Path

import ray
from ray import train
from ray.train.torch import TorchTrainer

import skclip
from skclip.datasets import make_sessions


def fit(config):
    model = skclip.CLIPSessionRecommender(
        batch_size=256, max_epochs=2, n_threads=1, random_state=0
    )
    model.fit(config["X"])
    if train.get_context().get_world_rank() == 0:
        skclip.save(model, config["path"])


def main():
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    X, _ = make_sessions(500, 100, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skclip"
        TorchTrainer(
            fit,
            train_loop_config={"X": X[:400], "path": str(path)},
            scaling_config=train.ScalingConfig(num_workers=2),
            run_config=train.RunConfig(storage_path=folder),
        ).fit()
        model = skclip.load(path)
    ray.shutdown()
    print(f"2 processes, {model.n_iter_} epochs")
    print(f"MRR@20 {model.score(X[400:]):.3f}")


if __name__ == "__main__":
    main()
