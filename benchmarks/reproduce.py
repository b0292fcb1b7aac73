"""The experiments of CLIP-SBR again, without leaks and with controls.

    SKCLIP_DATA=... python benchmarks/reproduce.py run rq1 --data rsc15
    python benchmarks/reproduce.py table

Questions: rq1 each backbone with and without CLIP; rq2 kinds of prompts, under both
protocols; rq3 the training time beside the quality (a column of rq1); rq4 resolution
(on the validation part); density: every n-th training session.

Forms: "paper" is the paper's model (raw candidates, the backbone's own score) trained
by the library's defaults at the learning rate that is best for the bare backbone on the
validation part (tune.py rsc15_bare); "strong" is ``preset="strong"``; "sampled" is the
strong preset with three epochs of a sampled softmax, at the temperature and the rate
that tune_strong.py chose on a validation part of Diginetica; "long" the same with six
epochs of 8,192 negatives and "longer" with ten, both better there; "tuned" is the
strong preset where clicks are few (every 8th session of rsc15), each backbone and
variant at the epochs, rate, temperature and embedding of its own that tune_sparse.py
chose on the validation part, out of equally many trials. Variants: "none" no prompt,
"leiden" CLIP, "random" clusters of the same sizes, "one" cluster for all, "levels" CLIP
with clusters at three resolutions (1, 16, 256), "random levels" the same with random
clusters of the same sizes; clusters by igraph, in "sampled", "long" and "longer" by
leidenalg, as compare.py has them. All variants of a form but "tuned" have the same
parameters. Nothing is chosen on a test part.

Protocols: all forms but "paper" train their number of epochs on all training sessions,
without early stopping. "paper" stops early: rsc15: train_tr + train_valid, of which the
library holds the latest tenth out; diginetica, tmall, lastfm: the last twentieth of the
training sessions validates, the rest trains. Every n-th training session is taken in
order of end time, before that. Test: the given test pairs (diginetica, tmall), every
prefix otherwise; whole catalogue, ties count against the target, unknown targets are
misses.

A cell that is in results/reproduce.jsonl is not run again, unless `--again` asks for
it, and then the last row counts. Ranks are kept in results/ranks (0 beyond the first
20), for the bootstrap: 10,000 draws of the test sessions, in pairs, over all seeds.
Where those of old runs are lost, the intervals that had been made of them are kept as
long as the rows are the same; `--again` runs cells without ranks once more. A cell does
not say what the preset was: after a change of the preset, run its cells again.
"""

import argparse
import fcntl
import hashlib
import itertools
import json
import time

import numpy as np
import pandas as pd
from _common import (
    RESULTS,
    chosen_learning_rates,
    data_hash,
    data_home,
    environment,
    log_test_evaluation,
    rsc15,
)
from recipe import clusterer
from tune_sparse import EVERY, best_settings

from skclip import CLIPSessionRecommender, Sessions
from skclip.backbones import BACKBONES
from skclip.metrics import mrr_at_k, recall_at_k
from skclip.model_selection import within_session_split

FILE = RESULTS / "reproduce.jsonl"
RANKS = RESULTS / "ranks"
VARIANTS = ["none", "leiden", "random", "one"]
METRICS = {"recall": recall_at_k, "mrr": mrr_at_k}
# The strong preset on a large catalogue: tune_strong.py.
SAMPLED = {"loss": "sampled_softmax", "n_negatives": 2048, "temperature": 0.07,
           "learning_rate": 0.01, "max_epochs": 3}  # fmt: skip
LONG = SAMPLED | {"n_negatives": 8192, "max_epochs": 6}
LONGER = LONG | {"max_epochs": 10}
STRONG = {"strong": {}, "sampled": SAMPLED, "long": LONG, "longer": LONGER}


def sessions_of(frame):
    """Whole sessions of prefix rows, with users: the longest prefix and its target."""
    frame = frame.assign(n=frame.session.str.len())
    last = frame.sort_values("n").groupby(["user_id", "session_id"]).tail(1)
    last = last.sort_values(["session_id"])
    rows = [[*s, t] for s, t in zip(last.session, last.target, strict=True)]
    return Sessions.from_lists(
        rows,
        users=last.user_id.to_numpy(),
        ids=last.session_id.to_numpy() + 10**6 * last.user_id.to_numpy(),
    )


def load_data(data, every=1):
    """Training sessions, eval_set or None, test (X, y), sessions of the test rows."""
    home = data_home()
    if data == "rsc15":
        return rsc15("train_tr", "train_valid")[::every], None, (rsc15("test"), None)
    if data == "rsc15-validation":
        return rsc15("train_tr")[::every], None, (rsc15("train_valid"), None)
    if data.startswith("lastfm10"):
        folder = home / "lastfm_hggnn_10users"
        parts = [pd.read_parquet(folder / f"{p}.parquet") for p in ("train", "test")]
        if data == "lastfm10":
            train, test = map(sessions_of, parts)
            cut = int(0.9 * len(train))
            return train[:cut], (train[cut:], None), (test, None)
        parts[1]["session_id"] += 10**5
        return within_session_split(sessions_of(pd.concat(parts)))
    if data == "lastfm":
        rows = pd.read_parquet(home / "lastfm_tail" / "sessions.parquet").session
        cut = int(0.9 * len(rows))
        rows, test = rows[:cut], (Sessions.from_lists(rows[cut:].tolist()), None)
    else:
        rows = pd.read_parquet(home / data / "train.parquet").session
        pairs = pd.read_parquet(home / data / "test.parquet")
        X = Sessions.from_lists(pairs.session.tolist(), ids=pairs.session_id.to_numpy())
        test = X, pairs.target.to_numpy()
    rows = rows.tolist()[::every]
    cut = int(0.95 * len(rows))
    valid = Sessions.from_lists(rows[cut:]), None
    return Sessions.from_lists(rows[:cut]), valid, test


def tuned_parameters(cell):
    """The strong preset with what was chosen for a backbone and a variant."""
    if (cell["data"], cell["every"]) != ("rsc15", EVERY):
        raise SystemExit(f'The form "tuned" is of rsc15 at --every {EVERY} alone.')
    setting = best_settings(cell["backbone"])[cell["variant"]]["cell"]["setting"]
    return strong_parameters(cell["backbone"], "strong") | setting


def strong_parameters(backbone, form):
    """The strong preset, on all rows; with a sampled loss for large catalogues."""
    # A rate of the backbone's own (CORE's) is not replaced by that of GRU4Rec.
    own = BACKBONES[backbone]().default_training
    parameters = {k: v for k, v in STRONG[form].items() if k not in own}
    return {"preset": "strong", "early_stopping": False} | parameters


def test_sessions(X, y):
    """Number of the test session of each rank."""
    if y is None:
        return np.repeat(np.arange(len(X)), np.maximum(X.lengths - 1, 0))
    return np.unique(X.ids, return_inverse=True)[1]


def cells(question, data, backbones, forms, variants, seeds, every):
    """The cells of a question, as dictionaries of what they depend on."""
    if question == "rq2":
        kinds = [None, ["cluster"], ["user"], ["session"], ["cluster", "user"]]
        kinds += [["cluster", "session"], ["user", "session"]]
        kinds += [["cluster", "user", "session"]]
        for seed, data, kind in itertools.product(
            seeds, ["lastfm10", "lastfm10-within"], kinds
        ):
            for pooled in (False, True) if kind and "session" in kind else (False,):
                yield {"data": data, "every": 1, "backbone": "gru4rec",
                       "form": "paper", "variant": "leiden", "seed": seed,
                       "prompt": kind, "pooled": pooled}  # fmt: skip
        return
    if question == "rq4":
        for seed, form, r in itertools.product(
            seeds, forms, [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0]
        ):
            yield {"data": "rsc15-validation", "every": 1, "backbone": "gru4rec",
                   "form": form, "variant": "leiden", "seed": seed,
                   "resolution": r}  # fmt: skip
        return
    for seed, backbone, form, n, variant in itertools.product(
        seeds, backbones, forms, every, variants
    ):
        yield {"data": data, "every": n, "backbone": backbone, "form": form,
               "variant": variant, "seed": seed}  # fmt: skip


def run(cell, tag, extra):
    train, valid, (X_test, y_test) = load_data(cell["data"], cell["every"])
    parameters = {"random_state": cell["seed"], **extra}
    if cell["form"] in STRONG:
        parameters |= strong_parameters(cell["backbone"], cell["form"])
        if valid is not None and valid[1] is None:
            train, valid = Sessions.concat([train, valid[0]]), None
    elif cell["form"] == "tuned":
        parameters |= tuned_parameters(cell)
    else:
        parameters["learning_rate"] = chosen_learning_rates()[cell["backbone"]]
    more = {"resolution": cell["resolution"]} if "resolution" in cell else {}
    if cell["form"] in ("sampled", "long", "longer"):
        more["engine"] = "leidenalg"
    parameters |= clusterer(cell["variant"], **more)
    if "prompt" in cell:
        kind = cell["prompt"]
        parameters["prompt"] = None if kind is None else tuple(kind)
        parameters["session_prompt"] = "pooled" if cell["pooled"] else "table"
    begun = time.perf_counter()
    model = CLIPSessionRecommender(cell["backbone"], **parameters)
    model.fit(train, eval_set=valid)
    fit_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    ranks = model.rank_targets(X_test, y_test)
    row = record(
        cell, model, train, (X_test, y_test), ranks,
        {"extra": extra, "fit_seconds": fit_seconds,
         "test_seconds": time.perf_counter() - begun, "tag": tag},
    )  # fmt: skip
    if "validation" not in cell["data"]:
        name = f"{cell['backbone']}, {cell['form']}, {cell['variant']}"
        log_test_evaluation(
            "reproduce.py",
            f"{cell['data']}/{cell['every']}",
            f"{name}, {cell.get('prompt', '')} seed {cell['seed']}",
            {k: row[k] for k in ("recall@20", "mrr@20")},
        )
    return row


def record(cell, model, train, test, ranks, more):
    """Append the row of a cell whose model is fitted and whose test part is ranked."""
    X_test, y_test = test
    values = {
        f"{name}@{k}": metric(ranks, k)
        for name, metric in METRICS.items()
        for k in (5, 20)
    }
    counts = dict(
        zip(model.item_ids_.tolist(), model._popularity.tolist(), strict=True)
    )
    targets = y_test if y_test is not None else X_test.to_prefixes()[1]
    frequency = np.array([counts.get(t, 0) for t in targets.tolist()])
    for low, high in ((1, 5), (6, 20), (21, None)):
        inside = (frequency >= low) & (frequency <= (high or np.inf))
        of_bin = recall_at_k(ranks[inside], 20) if inside.any() else None
        values[f"recall@20, targets {low}-{high or ''}"] = of_bin
        values[f"n, targets {low}-{high or ''}"] = int(inside.sum())
    keep_ranks(cell, ranks, test_sessions(X_test, y_test))
    row = {
        "cell": cell,
        **values,
        **more,
        "epochs": model.n_iter_,
        "validation": model.best_validation_score_,
        "n_clusters": None
        if model.membership_ is None
        else int(model.membership_.max()) + 1,
        "modularity": getattr(model.clusterer_, "modularity_", None),
        "n_items": model.n_items_,
        "n_events": int(model._popularity.sum()),
        "n_parameters": sum(p.numel() for p in model._model.parameters()),
        "resolved": {
            k: v for k, v in model.resolved_params_.items() if not callable(v)
        },
        "data_hash": {"train": data_hash(train), "test": data_hash(X_test)},
        "environment": environment(),
    }
    with FILE.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(row) + "\n")
    return row


def keep_ranks(cell, ranks, sessions):
    """Ranks of the targets, 0 beyond the first 20; once for all, their sessions."""
    RANKS.mkdir(exist_ok=True, parents=True)
    first = np.where(ranks <= 20, ranks, 0).astype(np.uint8)
    np.savez_compressed(RANKS / f"{name_of(cell)}.npz", ranks=first)
    file = RANKS / f"sessions_{cell['data']}.npz"
    if not file.exists():
        np.savez_compressed(file, sessions=sessions.astype(np.int32))
    with np.load(file) as stored:
        if not np.array_equal(stored["sessions"], sessions):
            raise SystemExit(f"{file.name} is of another test part. Remove it.")


def has_ranks(cell):
    return (RANKS / f"{name_of(cell)}.npz").exists()


def name_of(cell):
    text = json.dumps(cell, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows_done():
    """The rows of all cells; of a cell that was run again, the last."""
    if not FILE.exists():
        return []
    rows = [json.loads(line) for line in FILE.read_text().splitlines()]
    return list({json.dumps(r["cell"], sort_keys=True): r for r in rows}.values())


def estimate(todo, rows):
    """Seconds that cells will take, by the like of them; None for unlike ones."""

    def like(cell):
        return cell["data"], cell["every"], cell["backbone"]

    known = {}
    for row in rows:
        spent = row["fit_seconds"] + row["test_seconds"]
        known.setdefault(like(row["cell"]), []).append(spent)
    guesses = [np.median(known[like(c)]) for c in todo if like(c) in known]
    return sum(guesses), len(todo) - len(guesses)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("question", choices=["rq1", "rq2", "rq4", "density"])
    command.add_argument("--data", default="rsc15")
    command.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    command.add_argument("--forms", nargs="+", default=["paper", "strong"])
    command.add_argument("--variants", nargs="+", default=VARIANTS)
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--every", type=int, nargs="+", default=None)
    command.add_argument("--extra", type=json.loads, default={})
    command.add_argument("--again", action="store_true", help="cells without ranks too")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        from reproduce_tables import write

        write(rows_done(), RANKS, name_of)
        return
    every = arguments.every or (
        [1, 2, 4, 8, 16] if arguments.question == "density" else [1]
    )
    done = {
        json.dumps(row["cell"], sort_keys=True)
        for row in rows_done()
        if not arguments.again or has_ranks(row["cell"])
    }
    todo = [
        cell
        for cell in cells(
            arguments.question,
            arguments.data,
            arguments.backbones,
            arguments.forms,
            arguments.variants,
            arguments.seeds,
            every,
        )
        if json.dumps(cell, sort_keys=True) not in done
    ]
    seconds, unknown = estimate(todo, rows_done())
    print(
        f"{len(todo)} cells; {seconds / 60:.0f} min for {len(todo) - unknown} of them, "
        f"no experience with {unknown}",
        flush=True,
    )
    for cell in todo:
        row = run(cell, arguments.question, arguments.extra)
        print(
            {k: v for k, v in cell.items() if v != 1},
            f"{row['recall@20']:.4f} / {row['mrr@20']:.4f}, {row['mrr@5']:.4f}",
            f"{row['epochs']} epochs, {row['fit_seconds']:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
