"""Settle a recipe on validation parts: settings x controls x density x seed.

    SKCLIP_DATA=... python benchmarks/recipe.py rsc15 --every 8 --set '{"gate": "add"}'

No test part is opened. Trains on every n-th training session in order of end time and
validates on the whole validation part: rsc15: train_tr and train_valid; diginetica,
tmall: the last twentieth of the training sessions, the rest trains; lastfm: its
suggested validation part (the tenth before the last). `variants`: "none" is no prompt,
"leiden" the clusters of SessionClusterer, "random" and "one" its controls with as many
clusters of the same sizes, and one; "levels" its clusters at three resolutions, "random
levels" their control. Rows that exist are kept.
"""

import argparse
import fcntl
import itertools
import json
import time

import numpy as np
import pandas as pd
from _common import RESULTS, data_home, diginetica_rows, environment, rsc15
from sklearn.base import clone

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.backbones import BACKBONES
from skclip.controls import OneCluster, RandomClusters
from skclip.metrics import SessionScorer

FILE = RESULTS / "recipe.jsonl"
SCORER = SessionScorer("mrr@20", "recall@20", "mrr@5", "recall@5")


def load(data):
    """Training sessions and validation sessions, both in order of time."""
    if data == "rsc15":
        return rsc15("train_tr"), rsc15("train_valid")
    if data == "lastfm":
        frame = pd.read_parquet(data_home() / "lastfm_tail" / "sessions.parquet")
        rows = frame.session.tolist()
        a, b = int(0.8 * len(rows)), int(0.9 * len(rows))
        return Sessions.from_lists(rows[:a]), Sessions.from_lists(rows[a:b])
    rows = diginetica_rows() if data == "diginetica" else tmall_rows()
    rows = rows.tolist()
    cut = int(0.95 * len(rows))
    return Sessions.from_lists(rows[:cut]), Sessions.from_lists(rows[cut:])


def tmall_rows():
    return pd.read_parquet(data_home() / "tmall" / "train.parquet").session


def clusterer(variant, **parameters):
    """The clusterer of a variant, and the prompt to use with it."""
    leiden = SessionClusterer(**({"engine": "igraph"} | parameters))
    if variant == "none":
        return {"prompt": None}
    levels = clone(leiden).set_params(resolution=(1, 16, 256))
    kinds = {"leiden": leiden, "random": RandomClusters(leiden), "one": OneCluster(),
             "levels": levels, "random levels": RandomClusters(levels)}  # fmt: skip
    return {"clusterer": kinds[variant]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["rsc15", "diginetica", "tmall", "lastfm"])
    parser.add_argument("--every", type=int, nargs="+", default=[1])
    parser.add_argument("--backbones", nargs="+", default=["gru4rec"])
    parser.add_argument(
        "--variants", nargs="+", default=["none", "leiden", "random", "one"]
    )
    parser.add_argument("--set", nargs="+", type=json.loads, default=[{}])
    parser.add_argument("--clusters", nargs="+", type=json.loads, default=[{}])
    parser.add_argument("--spec", type=json.loads, default={}, help="of the backbone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    train, valid = load(arguments.data)
    done = []
    if FILE.exists():
        done = [
            {"spec": {}} | json.loads(line)["cell"]
            for line in FILE.read_text().splitlines()
        ]
    for every, seed, backbone, setting, clusters, variant in itertools.product(
        arguments.every,
        arguments.seeds,
        arguments.backbones,
        arguments.set,
        arguments.clusters,
        arguments.variants,
    ):
        cell = {
            "data": arguments.data,
            "every": every,
            "backbone": backbone,
            "setting": setting,
            "spec": arguments.spec,
            "clusters": clusters if variant in ("leiden", "random") else {},
            "variant": variant,
            "seed": seed,
        }
        if cell in done:
            continue
        begun = time.perf_counter()
        model = CLIPSessionRecommender(
            BACKBONES[backbone](**arguments.spec),
            **clusterer(variant, **cell["clusters"]),
            **setting,
            random_state=seed,
        ).fit(train[::every], eval_set=(valid, None))
        row = {
            "cell": cell,
            **SCORER(model, valid),
            "epochs": [r["validation_score"] for r in model.history_],
            "n_clusters": None
            if model.membership_ is None
            else int(model.membership_.max()) + 1,
            "modularity": getattr(model.clusterer_, "modularity_", None),
            "n_items": model.n_items_,
            "seconds": time.perf_counter() - begun,
            "learning_rate": model.resolved_params_["learning_rate"],
            "environment": environment(),
        }
        with FILE.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(row) + "\n")
        print(
            f"{arguments.data}/{every} {backbone} {arguments.spec or ''} {variant} "
            f"{cell['clusters'] or ''} {setting} seed {seed}: "
            f"{row['recall@20']:.4f} / {row['mrr@20']:.4f}, best epoch "
            f"{int(np.argmax(row['epochs'])) + 1}/{len(row['epochs'])}, "
            f"{row['seconds']:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
