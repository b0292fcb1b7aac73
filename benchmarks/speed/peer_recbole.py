"""Training steps of RecBole on the same prefixes; run by an interpreter that has it.

    python -m benchmarks.speed.peer_recbole FILE MODEL SECONDS

FILE is an .npz with ``codes``, ``starts``, ``stops``, ``targets`` (items 1..n_items);
`train.py` writes it. Prints a JSON line. RecBole runs as shipped (full softmax,
its own loader, padding to 50) and with torch's anomaly detection, which its trainer
switches on, off.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

SETTINGS = {
    "benchmark_filename": ["train", "valid", "test"],
    "alias_of_item_id": ["item_id_list"],
    "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
    "USER_ID_FIELD": "session_id",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "MAX_ITEM_LIST_LENGTH": 50,
    "train_neg_sample_args": None,
    "train_batch_size": 512,
    "embedding_size": 64,
    "loss_type": "CE",
    "use_gpu": False,
    "show_progress": False,
    "state": "CRITICAL",
}


def write_dataset(folder, file, n_rows):
    data = dict(np.load(file))
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(data["starts"]))[:n_rows]
    n_items = int(data["codes"].max())
    everything = [
        (" ".join(map(str, range(a, min(a + 50, n_items + 1)))), 1)
        for a in range(1, n_items + 1, 50)
    ]  # so that the catalog is whole
    sample = [
        (
            " ".join(map(str, data["codes"][data["starts"][i] : data["stops"][i]])),
            data["targets"][i],
        )
        for i in rows
    ]
    head = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    folder = Path(folder) / "peer"
    folder.mkdir()
    for part, lines in {
        "train": sample + everything,
        "valid": everything,
        "test": everything,
    }.items():
        text = "".join(f"{i}\t{p}\t{t}\n" for i, (p, t) in enumerate(lines))
        (folder / f"peer.{part}.inter").write_text(head + text)
    return len(sample)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("model")
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(folder, arguments.file, n_rows=40_000)
        folders = {"data_path": folder, "checkpoint_dir": folder}
        config = Config(
            model=arguments.model, dataset="peer", config_dict=SETTINGS | folders
        )
        init_seed(0, True)
        train, _, _ = data_preparation(config, create_dataset(config))
        model = get_model(config["model"])(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        result = {"peer": "recbole", "model": arguments.model}
        result["n_items"] = model.n_items - 1
        for name, debug in (("as_shipped", True), ("debug_off", False)):
            torch.autograd.set_detect_anomaly(debug)
            result[name] = rate(trainer, model, train, arguments.seconds)
        print(json.dumps(result))


def rate(trainer, model, train, seconds):
    """Prefixes per second of loading, forward, backward and step, after a warm-up."""
    model.train()
    seen, begun = 0, None
    while True:
        for interaction in train:
            interaction = interaction.to("cpu")
            trainer.optimizer.zero_grad()
            loss = model.calculate_loss(interaction)
            loss.backward()
            trainer.optimizer.step()
            now = time.perf_counter()
            if begun is None:
                begun = now
                continue
            seen += len(interaction)
            if now - begun > seconds:
                return seen / (now - begun)


if __name__ == "__main__":
    main()
