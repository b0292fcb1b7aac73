"""One table of all baselines and all backbones, bare and with CLIP.

    SKCLIP_DATA=... python benchmarks/compare.py run rsc15 [--models vsknn ...]
    python benchmarks/compare.py table

Baselines have the settings that a random search chose on the validation part
(tune_baselines.py; SLIST on large catalogues: settings of its authors); backbones have
`preset="strong"`, trained on all training sessions, with clusters ("CLIP") and without
a prompt ("bare"), seed 0. On rsc15 for the preset's six epochs of the full softmax; on
the two large catalogues for three epochs of the sampled one, at a temperature and a
learning rate chosen for CLIP-GRU4Rec on a validation part of Diginetica
(tune_strong.py). "vsknn, by both" is chosen by the sum of Recall@20 and MRR@20.

A network that is fitted here is written to results/reproduce.jsonl as well, where that
has the same cell (the sampled form; on rsc15 bare). Nothing is chosen on a test part,
and a cell that is in results/compare.jsonl is not run again, unless `--again` asks for
it: for new settings or times, and then the last row counts. Test: the given pairs
(diginetica, tmall), every prefix otherwise; whole catalogue, ties count against the
target.

Coverage: share of the catalogue in the first 20 places of any test row. Milliseconds
per query: the whole test part at once, ranks of the targets; and the median of 200
sessions one by one, their first 20 places.
"""

import argparse
import json
import time
from functools import partial

import numpy as np
from _common import (
    RESULTS,
    data_hash,
    environment,
    log_test_evaluation,
    replace_table,
    rsc15,
)
from reproduce import load_data, record, strong_parameters
from reproduce import rows_done as reproduced
from tune_baselines import SPACES, chosen_baselines

from skclip import (
    CLIPSessionRecommender,
    MarkovRecommender,
    PopularityRecommender,
    SessionKNN,
    Sessions,
    VotingRecommender,
)
from skclip.backbones import BACKBONES
from skclip.metrics import mrr_at_k, recall_at_k

FILE = RESULTS / "compare.jsonl"
# SLIST where nothing could be searched: its authors' settings for Diginetica, and those
# for Nowplaying for want of others.
AUTHORS = {
    "slist": {
        "diginetica": {"alpha": 0.8, "delta_pos": 1.0, "delta_inf": 2.0,
                       "max_items": 50_000},
        "tmall": {"alpha": 0.8, "delta_pos": 1.0, "delta_inf": 1.0,
                  "max_items": 50_000},
    }
}  # fmt: skip


def models(data):
    """Name -> a function that makes the model."""
    chosen = chosen_baselines(data)

    def tuned(name, settings=chosen):
        setting = settings.get(name) or AUTHORS.get(name, {}).get(data, {})
        return SPACES[name][0](**setting)

    listed = {
        "popularity": PopularityRecommender,
        "markov, ties against": lambda: MarkovRecommender(backoff=None),
        "markov, first first": lambda: MarkovRecommender(
            backoff=None, tie_break="first"
        ),
        **{name: (lambda name=name: tuned(name)) for name in SPACES},
        "vstan + slist": lambda: VotingRecommender(
            [("vstan", tuned("vstan")), ("slist", tuned("slist"))]
        ),
    }
    if data == "rsc15":
        both = chosen_baselines(data, ("recall@20", "mrr@20"))
        listed |= {
            "vsknn 500": lambda: SessionKNN(
                n_neighbors=500, sample_size=5000, idf_weight=5, weighting="quadratic",
                decay="quadratic",
            ),
            "vsknn 500, no backoff": lambda: SessionKNN("vsknn", backoff=None),
            "vsknn, by both": lambda: tuned("vsknn", both),
            "vsknn, by both, no backoff": lambda: tuned("vsknn", both).set_params(
                backoff=None
            ),
        }  # fmt: skip
    for name in BACKBONES:
        strong = strong_parameters(name, "strong" if data == "rsc15" else "sampled")
        model = partial(CLIPSessionRecommender, name, random_state=0, **strong)
        listed[f"{name}, bare"] = partial(model, prompt=None)
        listed[f"{name}, CLIP"] = model
    return listed


def parts(data):
    if data == "rsc15":
        return rsc15("train_tr", "train_valid"), rsc15("test"), None
    train, valid, (X, y) = load_data(data)
    return Sessions.concat([train, valid[0]]), X, y


def plain_params(model):
    return {
        name: value
        for name, value in model.get_params(deep=False).items()
        if isinstance(value, (int, float, str, bool, type(None)))
    }


def run(data, name, model, train, X, y):
    begun = time.perf_counter()
    model.fit(train)
    fit_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    ranks = model.rank_targets(X, y)
    rank_seconds = time.perf_counter() - begun
    prefixes = X if y is not None else X.to_prefixes()[0]
    lists = model.predict_topk(prefixes, k=20)
    single = []
    for i in np.linspace(0, len(prefixes) - 1, 200).astype(int):
        one = [prefixes[i : i + 1].to_lists()[0]]
        begun = time.perf_counter()
        model.predict_topk(one, k=20)
        single.append(time.perf_counter() - begun)
    row = {
        "data": data,
        "model": name,
        "recall@20": recall_at_k(ranks, 20),
        "mrr@20": mrr_at_k(ranks, 20),
        "recall@5": recall_at_k(ranks, 5),
        "mrr@5": mrr_at_k(ranks, 5),
        "coverage@20": len(np.unique(lists)) / len(model.item_ids_),
        "fit_seconds": fit_seconds,
        "ms_per_query": 1000 * rank_seconds / len(ranks),
        "ms_single": 1000 * float(np.median(single)),
        "n_queries": len(ranks),
        "settings": plain_params(model),
        "data_hash": {"train": data_hash(train), "test": data_hash(X)},
        "environment": environment(),
    }  # fmt: skip
    if isinstance(model, CLIPSessionRecommender):
        backbone, variant = name.split(", ")
        cell = {"data": data, "every": 1, "backbone": backbone,
                "form": "strong" if data == "rsc15" else "sampled",
                "variant": "none" if variant == "bare" else "leiden",
                "seed": 0}  # fmt: skip
        same = variant == "bare" or cell["form"] == "sampled"  # else another engine
        if same and all(other["cell"] != cell for other in reproduced()):
            more = {"extra": {}, "fit_seconds": fit_seconds,
                    "test_seconds": rank_seconds, "tag": "compare.py"}  # fmt: skip
            record(cell, model, train, (X, y), ranks, more)
    with FILE.open("a") as file:
        file.write(json.dumps(row) + "\n")
    values = {k: row[k] for k in ("recall@20", "mrr@20")}
    log_test_evaluation("compare.py", data, name, values)
    return row


def rows_done():
    return [json.loads(line) for line in FILE.open()] if FILE.exists() else []


def table():
    for data in ("rsc15", "diginetica", "tmall"):
        rows = {r["model"]: r for r in rows_done() if r["data"] == data}
        lines = [
            ["model", "Recall@20", "MRR@20", "coverage@20", "fit", "ms per query",
             "ms, one alone"],
            ["---"] * 7,
        ]  # fmt: skip
        for name, make in models(data).items():
            if name not in rows:
                continue
            r = rows[name]
            now = plain_params(make())
            if any(
                now.get(key, value) != value for key, value in r["settings"].items()
            ):
                raise SystemExit(f"{data}, {name}: other settings now; run it --again")
            lines.append(
                [name, f"{r['recall@20']:.4f}", f"{r['mrr@20']:.4f}",
                 f"{r['coverage@20']:.2f}", f"{r['fit_seconds']:.1f} s",
                 f"{r['ms_per_query']:.2f}", f"{r['ms_single']:.2f}"]
            )  # fmt: skip
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        replace_table("docs/comparison.md", data, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("data", choices=["rsc15", "diginetica", "tmall"])
    command.add_argument("--models", nargs="+", default=None)
    command.add_argument("--again", action="store_true", help="finished cells as well")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        table()
        return
    data = arguments.data
    done = {(row["data"], row["model"]) for row in rows_done()}
    done = set() if arguments.again else done
    train, X, y = parts(data)
    listed = models(data)
    for name in arguments.models or listed:
        if (data, name) in done:
            continue
        row = run(data, name, listed[name](), train, X, y)
        print(
            f"{data} {name}: {row['recall@20']:.4f} / {row['mrr@20']:.4f}, fit "
            f"{row['fit_seconds']:.1f} s, {row['ms_per_query']:.3f} ms a query, "
            f"{row['ms_single']:.2f} alone",
            flush=True,
        )


if __name__ == "__main__":
    main()
