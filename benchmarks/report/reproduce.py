"""The experiments of CLIP-SBR again, without leaks and with controls.

    SKCLIP_DATA=... python -m benchmarks.report.reproduce rq1 --data rsc15
    python -m benchmarks.report.reproduce_tables

Questions: rq1 each backbone with and without CLIP; rq2 kinds of prompts, under both
protocols; rq3 the training time beside the quality (a column of rq1); rq4 resolution
(on the validation part); density: every n-th training session.

Forms, by the settings of `benchmarks/_november.py`: "paper" is the paper's model (raw
candidates, the backbone's own score) trained by the defaults at the learning rate that
is best for the bare backbone on the validation part (`choose/tune.py` rsc15_bare);
"strong" is the former strong preset; "sampled" is that with three epochs of a sampled
softmax, at the temperature and the rate that `choose/tune_strong.py` chose on a
validation part of Diginetica; "long" the same with six epochs of 8,192 negatives and
"longer" with ten, both better there; "tuned" is the strong preset where clicks are few
(every 8th session of rsc15), each backbone and variant at the epochs, rate, temperature
and embedding of its own that `choose/tune_sparse.py` chose on the validation part, out
of equally many trials. Variants: "none" no prompt, "leiden" CLIP, "random" clusters of
the same sizes, "one" cluster for all, "levels" CLIP with clusters at three resolutions
(1, 16, 256), "random levels" the same with random clusters of the same sizes; clusters
by igraph, in "sampled", "long" and "longer" by leidenalg, as `compare.py` has them. All
variants of a form but "tuned" have the same parameters. Nothing is chosen on a test
part.

Protocols: all forms but "paper" train their number of epochs on all training sessions,
without early stopping. "paper" stops early: rsc15: train_tr + train_valid, of which the
library holds the latest tenth out; diginetica, tmall, lastfm: the last twentieth of the
training sessions validates, the rest trains. Every n-th training session is taken in
order of end time, before that. Test: the given test pairs (diginetica, tmall), every
prefix otherwise; whole catalog, ties count against the target, unknown targets are
misses.

A cell that has a row is not run again, unless `--again` asks for it, and then the last
row counts. Ranks of the targets are written to `results/ranks`, which git does not
keep, for the intervals of `reproduce_tables.py`. `--again` runs the cells whose ranks
are not there.
"""

import hashlib
import itertools
import json
import time

import numpy as np

from benchmarks._data import clicks_of
from benchmarks._november import OWN_RATES, old_defaults, old_strong, without_latest
from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    n_clusters_of,
    new_parser,
    plain,
    result_file,
    rows_of,
)
from benchmarks.choose.recipe import clusterer
from benchmarks.choose.tune import chosen_learning_rates
from benchmarks.choose.tune_sparse import EVERY, best_settings
from benchmarks.choose.tune_strong import LONG, LONGER, SAMPLED
from benchmarks.report._test_parts import load_parts, log_test_evaluation
from skclip import CLIPSessionRecommender, Sessions
from skclip.backbones import BACKBONES
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "report/reproduce.jsonl"
RANKS = result_file("report/ranks")
QUESTIONS = ["rq1", "rq2", "rq4", "density"]
VARIANTS = ["none", "leiden", "random", "one"]
METRICS = {"recall": recall_at_k, "mrr": mrr_at_k}
STRONG = {"strong": {}, "sampled": SAMPLED, "long": LONG, "longer": LONGER}
KINDS = [None, ["cluster"], ["user"], ["session"], ["cluster", "user"],
         ["cluster", "session"], ["user", "session"],
         ["cluster", "user", "session"]]  # fmt: skip
RESOLUTIONS = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0]


def tuned_parameters(cell):
    """What the strong preset gets that was chosen for a backbone and a variant."""
    if (cell["data"], cell["every"]) != ("rsc15", EVERY):
        raise SystemExit(f'The form "tuned" is of rsc15 at --every {EVERY} alone.')
    setting = best_settings(cell["backbone"])[cell["variant"]]["cell"]["setting"]
    return strong_parameters(cell["backbone"], "strong") | setting


def strong_parameters(backbone, form):
    """What the strong preset gets: all rows, and a sampled loss for large catalogs."""
    # A rate of the backbone's own (CORE's) is not replaced by that of GRU4Rec.
    parameters = {"early_stopping": False} | STRONG[form]
    if backbone in OWN_RATES:
        parameters.pop("learning_rate", None)
    return parameters


def cells(question, data, backbones, forms, variants, seeds, every):
    """The cells of a question, as dictionaries of what they depend on."""
    if question == "rq2":
        for seed, data, kind in itertools.product(
            seeds, ["lastfm10", "lastfm10-within"], KINDS
        ):
            for pooled in (False, True) if kind and "session" in kind else (False,):
                yield {"data": data, "every": 1, "backbone": "gru4rec",
                       "form": "paper", "variant": "leiden", "seed": seed,
                       "prompt": kind, "pooled": pooled}  # fmt: skip
    elif question == "rq4":
        for seed, form, r in itertools.product(seeds, forms, RESOLUTIONS):
            yield {"data": "rsc15-validation", "every": 1, "backbone": "gru4rec",
                   "form": form, "variant": "leiden", "seed": seed,
                   "resolution": r}  # fmt: skip
    else:
        for seed, backbone, form, n, variant in itertools.product(
            seeds, backbones, forms, every, variants
        ):
            yield {"data": data, "every": n, "backbone": backbone, "form": form,
                   "variant": variant, "seed": seed}  # fmt: skip


def model_of(cell, extra, train, valid):
    """The model of a cell, not fitted."""
    backbone, form = cell["backbone"], cell["form"]
    if form == "paper":
        parameters = {"learning_rate": chosen_learning_rates()[backbone]}
    elif form == "tuned":
        parameters = tuned_parameters(cell)
    else:
        parameters = strong_parameters(backbone, form)
    more = {"resolution": cell["resolution"]} if "resolution" in cell else {}
    if form in ("sampled", "long", "longer"):
        more["engine"] = "leidenalg"
    parameters |= clusterer(cell["variant"], **more)
    if "prompt" in cell:
        kinds = cell["prompt"]
        parameters["prompt"] = None if kinds is None else tuple(kinds)
        if cell["pooled"]:
            parameters["prompt__session"] = "pooled"
    old = old_strong
    if form == "paper":
        old, train = old_defaults, without_latest(train) if valid is None else train
    model = CLIPSessionRecommender(backbone, random_state=cell["seed"])
    return model.set_params(**old(backbone, train, **extra | parameters))


def run(cell, tag, extra):
    train, valid, (X_test, y_test) = load_parts(cell["data"], cell["every"])
    if cell["form"] in STRONG and valid is not None and valid[1] is None:
        train, valid = Sessions.concat([train, valid[0]]), None
    begun = time.perf_counter()
    model = model_of(cell, extra, train, valid).fit(train, eval_set=valid)
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
    sessions = test_sessions(X_test, y_test)
    keep_ranks(cell, ranks, sessions)
    targets = y_test if y_test is not None else X_test.to_prefixes()[1]
    row = {
        "cell": cell,
        **{
            f"{name}@{k}": metric(ranks, k)
            for name, metric in METRICS.items()
            for k in (5, 20)
        },
        **hits_by_frequency(ranks, targets, clicks_of(train)),
        **more,
        "epochs": model.n_iter_,
        "validation": model.best_validation_score_,
        "n_clusters": n_clusters_of(model),
        "modularity": getattr(model.clusterer_, "modularity_", None),
        "n_items": model.n_items_,
        "n_events": train.n_events,
        "n_parameters": model.parameter_report()["total"],
        "resolved": plain(model.resolved_params_),
        "data_hash": {"train": data_hash(train), "test": data_hash(X_test)},
        "environment": environment(),
    }
    add_row(ROWS, row)
    return row


def hits_by_frequency(ranks, targets, clicks):
    """Recall@20 of targets with few, some and many clicks in training."""
    values = {}
    frequency = np.array([clicks.get(t, 0) for t in targets.tolist()])
    for low, high in ((1, 5), (6, 20), (21, None)):
        inside = (frequency >= low) & (frequency <= (high or np.inf))
        of_bin = recall_at_k(ranks[inside], 20) if inside.any() else None
        values[f"recall@20, targets {low}-{high or ''}"] = of_bin
        values[f"n, targets {low}-{high or ''}"] = int(inside.sum())
    return values


# -- ranks, which git does not keep ----------------------------------------------------


def test_sessions(X, y):
    """Number of the test session of each rank."""
    if y is None:
        return np.repeat(np.arange(len(X)), np.maximum(X.lengths - 1, 0))
    return np.unique(X.ids, return_inverse=True)[1]


def keep_ranks(cell, ranks, sessions):
    """Ranks of the targets, 0 beyond the first 20; once for all, their sessions."""
    RANKS.mkdir(exist_ok=True, parents=True)
    first = np.where(ranks <= 20, ranks, 0).astype(np.uint8)
    np.savez_compressed(ranks_file(cell), ranks=first)
    file = RANKS / f"sessions_{cell['data']}.npz"
    if not file.exists():
        np.savez_compressed(file, sessions=sessions.astype(np.int32))
    with np.load(file) as stored:
        if not np.array_equal(stored["sessions"], sessions):
            raise SystemExit(f"{file.name} is of another test part. Remove it.")


def ranks_file(cell):
    return RANKS / f"{hashlib.sha256(key_of(cell).encode()).hexdigest()[:16]}.npz"


def key_of(cell):
    return json.dumps(cell, sort_keys=True)


def rows_done():
    """The rows of all cells; of a cell that was run again, the last."""
    return list({key_of(row["cell"]): row for row in rows_of(ROWS)}.values())


def estimate(todo, rows):
    """Seconds that cells will take, by the like of them; and how many have none."""

    def like(cell):
        return cell["data"], cell["every"], cell["backbone"]

    known = {}
    for row in rows:
        spent = row["fit_seconds"] + row["test_seconds"]
        known.setdefault(like(row["cell"]), []).append(spent)
    guesses = [np.median(known[like(c)]) for c in todo if like(c) in known]
    return sum(guesses), len(todo) - len(guesses)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--data", default="rsc15")
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--forms", nargs="+", default=["paper", "strong"])
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--every", type=int, nargs="+", default=None)
    parser.add_argument("--extra", type=json.loads, default={})
    parser.add_argument(
        "--again", action="store_true", help="repeat cells without ranks"
    )
    arguments = parser.parse_args()
    density = arguments.question == "density"
    every = arguments.every or ([1, 2, 4, 8, 16] if density else [1])
    asked = (
        arguments.question,
        arguments.data,
        arguments.backbones,
        arguments.forms,
        arguments.variants,
        arguments.seeds,
        every,
    )
    rows, again = rows_done(), arguments.again
    done = {
        key_of(row["cell"])
        for row in rows
        if not again or ranks_file(row["cell"]).exists()
    }
    todo = [cell for cell in cells(*asked) if key_of(cell) not in done]
    seconds, unknown = estimate(todo, rows)
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
