"""How models with titles are trained: learning rates, and weights of cold items.

    SKCLIP_DATA=... python -m benchmarks.choose.semantics run tune cold
    python -m benchmarks.choose.semantics table

`benchmarks/report/semantics.py` takes models and settings from here and says what the
data are. Each n-th user (4th, unless it says otherwise) is taken; of each the last item
but one validates, the items before it are one training session. The whole catalog is
ranked, ties count against the target, a target outside the catalog is a miss. At most
ten epochs of the full softmax, the same for all; the epoch is chosen on the validation
targets too.

`tune` chooses the learning rate by MRR@20, for bare models (which "init" and
"init_frozen" take over) and for "gate" (all other kinds); without it the rates are
those of `benchmarks/_november.py`, and so is the rest. `cold`: what never clicked items
weigh as negatives; its table goes to a note in `benchmarks/lab`. A cell that has a row
is not run again. No test part is opened.
"""

import time
from functools import cache

import numpy as np

from benchmarks._data import beauty_items, beauty_train_and_valid, clicks_of
from benchmarks._november import old_defaults
from benchmarks._results import (
    add_row,
    current_names,
    data_hash,
    environment,
    markdown,
    n_clusters_of,
    new_parser,
    plain,
    replace_table,
    rows_of,
)
from skclip import CLIPSessionRecommender, Fusion, SessionClusterer
from skclip.controls import RandomClusters
from skclip.features import ItemFeatures
from skclip.metrics import mrr_at_k, recall_at_k
from skclip.text import ItemTextEncoder

ROWS = "choose/semantics.jsonl"
BINS = {"0": (0, 0), "1-5": (1, 5), "6-20": (6, 20), ">20": (21, np.inf)}
RATES = [0.003, 0.01]
BARE = ("none", "init", "init_frozen")  # kinds with the learning rate of bare models
FIXED = {
    "embedding_dim": 64,
    "loss": "cross_entropy",
    "batch_size": 256,
    "max_epochs": 10,
    "n_iter_no_change": 2,
    "max_session_length": 20,
    "n_threads": 1,
}
COLD_WEIGHT = "item_features__cold_item_weight"
NOTE = "benchmarks/lab/2026-11-21-weight-of-cold-items.md"


@cache
def features(kind):
    """Vectors of all items: "tfidf" or "minilm" of their titles, or "random" ones.

    Random vectors are normal, of length 1, zero where a title is missing.
    """
    items = beauty_items()
    encoder = "minilm" if kind == "minilm" else "tfidf"
    vectors = ItemTextEncoder(encoder, n_components=128).fit_transform(items.title)
    if kind == "random":
        drawn = np.random.default_rng(0).normal(size=vectors.shape)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        vectors = drawn * vectors.any(axis=1, keepdims=True)
    return ItemFeatures(items.item_id.to_numpy(), vectors)


train_and_valid = cache(beauty_train_and_valid)


def cell(backbone, fusion, **changes):
    return {"backbone": backbone, "fusion": fusion, "features": "tfidf",
            "prompt": None, "edges": "cooccurrence", "every": 4,
            "seed": 0} | changes  # fmt: skip


def model_of(cell, rate):
    clusterer = fusion = None
    if cell["edges"] == "random":
        clusterer = RandomClusters(random_state=cell["seed"])
    elif cell["edges"] != "cooccurrence":
        titles = features(cell["features"])
        clusterer = SessionClusterer(graph_edges=cell["edges"], item_features=titles)
    if cell["fusion"] != "none":
        fusion = Fusion(
            features(cell["features"]),
            kind=cell["fusion"],
            cold_item_weight=cell.get(COLD_WEIGHT, 0.1),
        )
    options = FIXED | {
        "prompt": cell["prompt"],
        "similarity": cell.get("similarity", "auto"),
        "clusterer": clusterer,
        "item_features": fusion,
        "learning_rate": rate,
    }
    return CLIPSessionRecommender(
        cell["backbone"], random_state=cell["seed"], device="cpu"
    ).set_params(**old_defaults(cell["backbone"], **options))


def scores(model, train, X, y):
    """Recall and MRR over all targets, and Recall@20 by their training clicks."""
    ranks = model.rank_targets(X, y)
    values = {
        f"{name}@{k}": metric(ranks, k)
        for name, metric in {"recall": recall_at_k, "mrr": mrr_at_k}.items()
        for k in (5, 10, 20, 50, 100)
        if name == "recall" or k <= 20
    }
    clicks = clicks_of(train)
    of_target = np.array([clicks.get(item, 0) for item in y.tolist()])
    for name, (low, high) in BINS.items():
        inside = (of_target >= low) & (of_target <= high)
        values[f"n, {name}"] = int(inside.sum())
        for k in (20, 100):
            hits = recall_at_k(ranks[inside], k) if inside.any() else None
            values[f"recall@{k}, {name}"] = hits
    return values


def fit_cell(cell, rate, question):
    """The fitted model of a cell, and its row as far as the validation part goes."""
    train, valid = train_and_valid(cell["every"])
    begun = time.process_time()
    model = model_of(cell, rate).fit(train, eval_set=valid)
    return model, {
        "cell": cell,
        "question": question,
        "rate": model.resolved_params_["learning_rate"],
        "validation": scores(model, train, *valid),
        "fusion_weight": model.fusion_weight_,
        "epochs": model.n_iter_,
        "n_items": model.n_items_,
        "n_clusters": n_clusters_of(model),
        "cpu_seconds": time.process_time() - begun,
        "resolved": plain(model.resolved_params_),
        "data_hash": {"train": data_hash(train)},
        "environment": environment(),
    }


def show(row, values):
    print(
        {k: v for k, v in row["cell"].items() if v is not None},
        f"{row['rate']:g}: {values['recall@20']:.4f} / {values['mrr@20']:.4f},",
        " ".join(f"{values[f'recall@20, {b}'] or 0:.4f}" for b in BINS),
        f"{row['epochs']} epochs, {row['cpu_seconds']:.0f} s",
        flush=True,
    )


def rows_done():
    """All rows, with the names that parameters have today."""
    rows = rows_of(ROWS)
    for row in rows:
        row["cell"] = current_names(row["cell"])
    return rows


def chosen_rates():
    """Best learning rate of bare models and of "gate", on validation targets."""
    best = {}
    for row in rows_done():
        if row["question"] != "tune":
            continue
        key = row["cell"]["backbone"], row["cell"]["fusion"]
        score = row["validation"]["mrr@20"]
        if score > best.get(key, (-1, None))[0]:
            best[key] = score, row["rate"]
    return {key: rate for key, (_, rate) in best.items()}


def cells_of(question, backbones, seeds):
    """Pairs of a cell and its learning rate."""
    if question == "cold":
        weights = (0, 0.01, 0.1, 1)
        for w in weights:
            for s in seeds:
                yield cell("gru4rec", "gate", seed=s, **{COLD_WEIGHT: w}), "auto"
        return
    for backbone in backbones:
        for kind in ("none", "gate"):
            for rate in RATES:
                yield cell(backbone, kind), rate


def write_table():
    """What a never clicked item weighs as a negative, on the validation targets."""
    names = ["recall@20", "mrr@20", *(f"recall@20, {name}" for name in BINS)]
    head = ["weight", "Recall@20", "MRR@20", *(f"targets {b}" for b in BINS)]
    rows = {
        row["cell"][COLD_WEIGHT]: row["validation"]
        for row in rows_done()
        if row["question"] == "cold"
    }
    lines = [
        [f"{weight:g}", *(f"{rows[weight][name]:.4f}" for name in names)]
        for weight in sorted(rows)
    ]
    replace_table(NOTE, "cold", markdown(head, lines))


def main():
    parser = new_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("questions", nargs="+", choices=["tune", "cold"])
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--backbones", nargs="+", default=["gru4rec", "niser", "core"])
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        write_table()
        return
    for question in arguments.questions:
        done = [row["cell"] for row in rows_done()]
        for c, rate in cells_of(question, arguments.backbones, arguments.seeds):
            with_rate = c | {"rate": rate}
            if with_rate not in done:
                _, row = fit_cell(c, rate, question)
                row["cell"] = with_rate
                add_row(ROWS, row)
                show(row, row["validation"])


if __name__ == "__main__":
    main()
