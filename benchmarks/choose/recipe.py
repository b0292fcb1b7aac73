"""Settle a recipe on validation parts: settings x controls x density x seed.

    SKCLIP_DATA=... python -m benchmarks.choose.recipe rsc15 --every 8 \\
        --set '{"prompt__gate": "add"}'

No test part is opened. Trains on every n-th training session in order of end time and
validates on the whole validation part: rsc15: train_tr and train_valid; diginetica,
tmall: the last twentieth of the training sessions, the rest trains; lastfm: its
suggested validation part (the tenth before the last). `variants`: "none" is no prompt,
"leiden" the clusters of SessionClusterer, "random" and "one" its controls with as many
clusters of the same sizes, and one; "levels" its clusters at three resolutions, "random
levels" their control. What a setting leaves open is as in `_november.py`, and
{"preset": "strong"} in it is the former strong preset. Rows that exist are kept.
"""

import itertools
import json
import time

import numpy as np
from sklearn.base import clone

from benchmarks._data import train_and_valid
from benchmarks._november import old_defaults, old_strong
from benchmarks._results import (
    add_row,
    current_names,
    environment,
    n_clusters_of,
    new_parser,
    rows_of,
)
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.backbones import BACKBONES
from skclip.controls import OneCluster, RandomClusters
from skclip.metrics import SessionScorer

ROWS = "choose/recipe.jsonl"
SCORER = SessionScorer("mrr@20", "recall@20", "mrr@5", "recall@5")


def clusterer(variant, **parameters):
    """The clusterer of a variant, and the prompt to use with it."""
    leiden = SessionClusterer(**({"engine": "igraph"} | parameters))
    if variant == "none":
        return {"prompt": None}
    levels = clone(leiden).set_params(resolution=(1, 16, 256))
    kinds = {"leiden": leiden, "random": RandomClusters(leiden), "one": OneCluster(),
             "levels": levels, "random levels": RandomClusters(levels)}  # fmt: skip
    return {"clusterer": kinds[variant]}


def cells(arguments):
    for every, seed, backbone, setting, clusters, variant in itertools.product(
        arguments.every,
        arguments.seeds,
        arguments.backbones,
        arguments.set,
        arguments.clusters,
        arguments.variants,
    ):
        yield {
            "data": arguments.data,
            "every": every,
            "backbone": backbone,
            "setting": setting,
            "spec": arguments.spec,
            "clusters": clusters if variant in ("leiden", "random") else {},
            "variant": variant,
            "seed": seed,
        }


def cells_done():
    for row in rows_of(ROWS):
        setting = current_names(row["cell"]["setting"])
        yield {"spec": {}} | row["cell"] | {"setting": setting}


def run(cell, train, valid):
    train, backbone = train[:: cell["every"]], cell["backbone"]
    setting = clusterer(cell["variant"], **cell["clusters"]) | cell["setting"]
    old = old_strong if setting.pop("preset", None) == "strong" else old_defaults
    begun = time.perf_counter()
    model = CLIPSessionRecommender(
        BACKBONES[backbone](**cell["spec"]), random_state=cell["seed"]
    ).set_params(**old(backbone, train, **setting))
    model.fit(train, eval_set=(valid, None))
    row = {
        "cell": cell,
        **SCORER(model, valid),
        "epochs": [r["validation_score"] for r in model.history_],
        "n_clusters": n_clusters_of(model),
        "modularity": getattr(model.clusterer_, "modularity_", None),
        "n_items": model.n_items_,
        "seconds": time.perf_counter() - begun,
        "learning_rate": model.resolved_params_["learning_rate"],
        "environment": environment(),
    }
    add_row(ROWS, row)
    return row


def main():
    parser = new_parser(__doc__)
    parser.add_argument("data", choices=["rsc15", "diginetica", "tmall", "lastfm"])
    parser.add_argument("--every", type=int, nargs="+", default=[1])
    parser.add_argument("--backbones", nargs="+", default=["gru4rec"])
    parser.add_argument(
        "--variants", nargs="+", default=["none", "leiden", "random", "one"]
    )
    parser.add_argument("--set", nargs="+", type=json.loads, default=[{}])
    parser.add_argument("--clusters", nargs="+", type=json.loads, default=[{}])
    parser.add_argument(
        "--spec", type=json.loads, default={}, help="JSON settings of the backbone"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    train, valid = train_and_valid(arguments.data)
    done = list(cells_done())
    for cell in cells(arguments):
        if cell in done:
            continue
        row = run(cell, train, valid)
        print(
            {k: v for k, v in cell.items() if v},
            f"{row['recall@20']:.4f} / {row['mrr@20']:.4f}, best epoch "
            f"{int(np.argmax(row['epochs'])) + 1}/{len(row['epochs'])}, "
            f"{row['seconds']:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
