"""How much should carts and purchases count, and do types help? On a validation part.

    SKCLIP_DATA=... python -m benchmarks.choose.event_weights run network neighbors
    python -m benchmarks.choose.event_weights table

Log: retailrocket_last8days with its views, carts and transactions. Days 1 to 5 train,
day 6 validates. Models: the default recipe with ``repeats=False`` and without types;
the same with types, with equal weights alone; VSTAN with the settings of
`choose/tune_baselines.py`. Criterion, written down before the first trial: the sum of
the logarithms of MRR@20 of all targets and of MRR@20 of the targets that are put in the
cart or bought. Both kinds count, as there are few purchases in a day. Seed 0. No test
part is opened.
"""

import math
import time

import numpy as np

from benchmarks._data import retailrocket_train_and_valid
from benchmarks._results import add_row, environment, markdown, new_parser, rows_of
from benchmarks.choose.tune_baselines import chosen_row
from skclip import CLIPSessionRecommender, SessionKNN, Sessions
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "choose/event_weights.jsonl"
WEIGHTS = [  # of a view, a cart and a transaction
    {"view": 1.0, "addtocart": 1.0, "transaction": 1.0},
    {"view": 1.0, "addtocart": 2.0, "transaction": 4.0},
    {"view": 1.0, "addtocart": 3.0, "transaction": 10.0},
]
TRIALS = {"network": WEIGHTS, "network, types": WEIGHTS[:1], "neighbors": WEIGHTS}
TARGETS = {
    "next": ["view", "addtocart", "transaction"],
    "cart": ["addtocart"],
    "purchase": ["transaction"],
    "cart or purchase": ["addtocart", "transaction"],
}
METRICS = {"recall@20": recall_at_k, "mrr@20": mrr_at_k}


def weighted(X, weights):
    """The same sessions, whose events have the weights of their types; None: 1."""
    if weights is None or set(weights.values()) == {1.0}:
        return X
    of_type = np.array([weights[name] for name in X.type_names.tolist()])
    return Sessions(
        X.codes,
        X.offsets,
        X.vocabulary,
        times=X.times,
        weights=of_type[X.types],
        types=X.types,
        type_names=X.type_names,
        ids=X.ids,
    )


def target_masks(X):
    """Which targets of `rank_targets` are of which kind."""
    is_target = np.ones(X.n_events, dtype=bool)
    is_target[X.offsets[:-1][X.lengths > 0]] = False
    types = X.type_names[X.types[is_target]]
    return {name: np.isin(types, kinds) for name, kinds in TARGETS.items()}


def values_of(ranks, X):
    """Both metrics of each kind of target, and how many there are."""
    return {
        kind: {name: metric(ranks[mask], 20) for name, metric in METRICS.items()}
        | {"n_targets": int(mask.sum())}
        for kind, mask in target_masks(X).items()
    }


def model_of(name, seed=0, click_features=None):
    if name == "neighbors":
        return SessionKNN(**chosen_row("retailrocket", ("vstan",))["settings"])
    return CLIPSessionRecommender(
        click_features=click_features, repeats=False, random_state=seed, n_threads=1
    )


def run(name, weights):
    train, valid = retailrocket_train_and_valid(event="event")
    begun = time.process_time()
    base, _, types = name.partition(", ")
    model = model_of(base, click_features="event" if types else None)
    model.fit(weighted(train, weights))
    row = {
        "model": name,
        "weights": weights,
        "targets": values_of(model.rank_targets(valid), valid),
        "cpu_seconds": time.process_time() - begun,
        "environment": environment(),
    }
    add_row(ROWS, row)
    print(name, weights, f"{criterion(row):.4f}", flush=True)


def criterion(row):
    kinds = ("next", "cart or purchase")
    return sum(math.log(row["targets"][kind]["mrr@20"]) for kind in kinds)


def chosen_weights(name):
    """The best weights of a model that are not all equal."""
    rows = [
        r for r in rows_of(ROWS) if r["model"] == name and r["weights"] != WEIGHTS[0]
    ]
    return max(rows, key=criterion)["weights"]


def table():
    head = ["model", "weights", "criterion"]
    head += [f"{kind}: MRR@20 of n" for kind in TARGETS]
    lines = []
    for row in rows_of(ROWS):
        weights = ", ".join(f"{value:g}" for value in row["weights"].values())
        values = [row["targets"][kind] for kind in TARGETS]
        lines.append(
            [row["model"], weights, f"{criterion(row):.4f}"]
            + [f"{v['mrr@20']:.4f} of {v['n_targets']}" for v in values]
        )
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument(
        "models", nargs="*", help=f"models among {list(TRIALS)} (default: all)"
    )
    arguments = parser.parse_args()
    if arguments.command == "run":
        for name in arguments.models or TRIALS:
            done = [row["weights"] for row in rows_of(ROWS) if row["model"] == name]
            for weights in TRIALS[name]:
                if weights not in done:
                    run(name, weights)
    print(table())


if __name__ == "__main__":
    main()
