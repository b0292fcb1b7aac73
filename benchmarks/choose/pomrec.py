"""What PoMRec's parts are good for: experiments with a known truth, and controls.

    python -m benchmarks.choose.pomrec run p1 --seeds 0 1 2
    SKCLIP_DATA=... python -m benchmarks.choose.pomrec run p5
    python -m benchmarks.choose.pomrec table

tune: learning rates. p1: number of interests K against the m that sessions have. p2:
prompt tokens of the extractor and the aggregator, on and off, frozen, and replaced by a
wider attention with at least as many parameters; p2-tokens: how many tokens. p3: weight
and kind of the dispersion. p4: parameters by component. p5: K on real sessions
(validation parts), beside how many clusters a session has and how alike its items are.
p6: training curves, read from p2. p7, item features, is
`report/semantics.py run s4 s6 --backbones pomrec`. p8: cluster prompts, none, or random
clusters of the same sizes. p2-real, p8-real: the same on real sessions. loss:
cross-entropy against BPR with one negative. aggregation: how interests become scores.

Planted: 1,200 sessions of `make_multi_interest_sessions`, 200 items in 15 clusters,
m interests each, mean length 8; data and model have the same seed. The first 80 % train
(of these the latest tenth stops), the rest is reported. Real data: rsc15 is train_tr
against train_valid of the YooChoose sample; wikispeedia_unfinished and ml_100k (ratings
of a user with no gap of eight hours) the first 80 % of their sessions against the next
10 %; batches of 256, at most 20 epochs. Test parts are not touched. Every prefix, whole
catalog, ties count against the target. All cells: d = 32, batches of 128, at most 12
epochs, patience 3, MRR@20, learning rate 0.01 unless the cell says otherwise, and
the rest as in `benchmarks/_november.py`.

A cell that has a row is not run again. Tables go to laboratory notes.
"""

import itertools
import json
import time

import numpy as np

from benchmarks._data import first_and_next, rsc15
from benchmarks._november import old_defaults
from benchmarks._results import (
    add_row,
    current_names,
    data_hash,
    environment,
    markdown,
    mean_and_spread,
    n_clusters_of,
    new_parser,
    replace_table,
    result_file,
    rows_of,
)
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.backbones import BACKBONES, PoMRec
from skclip.controls import RandomClusters
from skclip.datasets import make_multi_interest_sessions
from skclip.inspection import interest_report
from skclip.metrics import mrr_at_k, ndcg_at_k, recall_at_k

ROWS = "choose/pomrec.jsonl"
COUNTS = result_file("choose/pomrec_parameters.json")
NOTES = {
    "prompt-tokens": ("tune", "p2", "p2-tokens", "p2-real", "p6"),
    "several-interests": ("p1", "p5", "p5-data"),
    "dispersion": ("p3",),
    "cluster-prompts": ("p8", "p8-real"),
    "loss-and-aggregation": ("loss", "aggregation"),
    "size": ("p4",),
}
METRICS = {"recall": recall_at_k, "mrr": mrr_at_k, "ndcg": ndcg_at_k}
TRAINING = {"embedding_dim": 32, "batch_size": 128, "max_epochs": 12}
TRAINING |= {"learning_rate": 0.01, "prompt": None, "max_session_length": 20}
BPR = {"loss": "bpr", "loss__n_negatives": 1, "loss__shared": False}
NO_PROMPTS = {"use_extractor_prompts": False, "use_aggregator_prompts": False}
WIDER = NO_PROMPTS | {"attention_dim": 12}  # 280 numbers for 256
REAL = ("rsc15", "wikispeedia_unfinished", "ml_100k")
LARGER = {"batch_size": 256, "max_epochs": 20}


def load_data(data, seed):
    """Sessions to train on, and to report on."""
    if data.startswith("m="):
        X, _ = make_multi_interest_sessions(
            1200, 200, n_interests=int(data[2:]), random_state=seed
        )
        return X[:960], X[960:]
    if data == "rsc15":
        return rsc15("train_tr"), rsc15("train_valid")
    return first_and_next(data)


def settings(experiment):
    """Data, parameters of the backbone, and of the recommender, of each cell."""
    planted = [f"m={m}" for m in (1, 2, 4)]
    switches = [
        {"use_extractor_prompts": F, "use_aggregator_prompts": G}
        for F, G in itertools.product((True, False), repeat=2)
    ]
    if experiment == "loss":
        patient = {"max_epochs": 40, "n_iter_no_change": 40}
        rates = (0.005, 0.01, 0.02)
        of_bpr = [{"learning_rate": rate, **BPR, **patient} for rate in rates]
        return [("m=2", {}, options) for options in ({}, *of_bpr)]
    if experiment == "tune":
        rates = itertools.product((0.0025, 0.005, 0.01, 0.02), ({}, BPR))
        return [("m=2", {}, {"learning_rate": rate, **loss}) for rate, loss in rates]
    if experiment in ("p8", "p8-real"):
        data, more = (
            (("m=2", "m=4"), {}) if experiment == "p8" else (("rsc15",), LARGER)
        )
        kinds = itertools.product(data, (None, "cluster", "random"))
        return [(name, {}, more | {"prompt": prompt}) for name, prompt in kinds]
    data, specs, options = {
        "p1": (planted, _interests(1, 2, 3, 4, 8), {}),
        "p2": (["m=2"], [*switches, {"frozen_prompts": True}, WIDER], {}),
        "p2-tokens": (["m=2"], [{"n_prompt_tokens": P} for P in (1, 2, 8)], {}),
        "p2-real": (
            REAL[:2], [{}, NO_PROMPTS, {"frozen_prompts": True}, WIDER], LARGER
        ),
        "p3": (["m=2"], _dispersions(), {}),
        "p5": (REAL, _interests(1, 2, 3, 4, 8), LARGER),
        "aggregation": (
            ["m=2"], [{"aggregation": way} for way in ("weighted", "mean", "max")], {}
        ),
    }[experiment]  # fmt: skip
    return [(name, spec, options) for name in data for spec in specs]


def _interests(*numbers):
    return [{"n_interests": K} for K in numbers]


def _dispersions():
    weighed = itertools.product((0.5, 1, 2, 3, 4, 5), ("std", "var"))
    pairs = [(0, "std"), *weighed]
    return [{"dispersion_weight": weight, "dispersion": kind} for weight, kind in pairs]


def clusterer(prompt, seed):
    if prompt is None:
        return {"prompt": None}
    leiden = SessionClusterer(random_state=seed)
    if prompt == "random":
        leiden = RandomClusters(leiden, random_state=seed)
    return {"prompt": "cluster", "clusterer": leiden}


def run(cell):
    train, held_out = load_data(cell["data"], cell["seed"])
    options = TRAINING | cell["options"]
    options |= clusterer(options["prompt"], cell["seed"])
    begun = time.perf_counter()
    model = CLIPSessionRecommender(
        PoMRec(**cell["spec"]), random_state=cell["seed"], n_threads=1
    ).set_params(**old_defaults("pomrec", **options))
    model.fit(train)
    seconds = time.perf_counter() - begun
    ranks = model.rank_targets(held_out)
    row = {
        "cell": cell,
        **{
            f"{name}@{k}": metric(ranks, k)
            for name, metric in METRICS.items()
            for k in (5, 10, 20)
        },
        "fit_seconds": seconds,
        "epochs": model.n_iter_,
        "validation": model.best_validation_score_,
        "history": model.history_,
        "interests": interest_report(model, held_out),
        "parameters": model.parameter_report(),
        "n_clusters": n_clusters_of(model),
        "structure": structure(train, model) if cell["experiment"] == "p5" else None,
        "data_hash": {"train": data_hash(train), "held_out": data_hash(held_out)},
        "environment": environment(),
    }
    add_row(ROWS, row)
    return row


def structure(X, model):
    """Of a mean session: different Leiden clusters, length, cosine of two items."""
    clustered = SessionClusterer(random_state=0).fit(X).transform(X)
    distinct = [
        len(set(clustered.clusters[a:b, 0].tolist()) - {0})
        for a, b in itertools.pairwise(clustered.offsets)
    ]
    vectors = model.item_vectors_ / np.linalg.norm(model.item_vectors_, axis=1)[:, None]
    row_of = {item: i for i, item in enumerate(model.item_ids_.tolist())}
    cosines = []
    for session in X.to_lists():
        rows = [row_of[item] for item in dict.fromkeys(session) if item in row_of]
        n = len(rows)
        if n > 1:  # all pairs at once: |sum|^2 is n and twice their sum
            total = float(np.square(vectors[rows].sum(axis=0)).sum())
            cosines.append((total - n) / (n * (n - 1)))
    return {
        "clusters": float(np.mean(distinct)),
        "length": float(X.lengths.mean()),
        "cosine": float(np.mean(cosines)),
    }


def count_parameters():
    """p4: every backbone at its defaults, d = 64, 20 events, 1,000 items."""
    X, _ = make_multi_interest_sessions(2000, 1000, random_state=0)
    rows = {}
    specs = {name: name for name in BACKBONES}
    specs["pomrec, read as ComiRec"] = PoMRec(
        **NO_PROMPTS, dispersion_weight=0, aggregation="max"
    )
    for name, spec in specs.items():
        model = CLIPSessionRecommender(
            spec, max_session_length=20, random_state=0, n_threads=1
        ).set_params(**old_defaults(name, X[:200], max_epochs=1))
        report = model.fit(X[:200]).parameter_report()
        n_items = model.n_items_
        own = sum(v for k, v in report.items() if k.startswith("backbone."))
        rows[name] = {"n_items": n_items, "backbone": own, "report": report}
    COUNTS.write_text(json.dumps(rows, indent=1) + "\n")


def rows_done():
    """All rows, with the names that parameters have today."""
    rows = rows_of(ROWS)
    for row in rows:
        row["cell"]["options"] = current_names(row["cell"]["options"])
    return rows


def label(cell):
    """What is special about a cell, in words."""
    of = {**cell["spec"], **cell["options"]}
    if cell["options"].items() >= LARGER.items():  # the same for all real sessions
        of = {k: v for k, v in of.items() if k not in LARGER}
    of = {k.removesuffix("_prompts"): v for k, v in of.items()}
    if of.get("loss") == "bpr":  # with what belongs to it
        of = {k: v for k, v in of.items() if not k.startswith("loss__")}
    return ", ".join(f"`{k}={v}`" for k, v in of.items()) or "defaults"


def table_of(rows, experiment):
    """One line for each setting: mean and spread over seeds, and signs of failure."""
    head = ["data", "setting", "seeds", "Recall@20", "MRR@20", "NDCG@20", "epochs"]
    head += ["smallest weight", "cosine", "dominance", "on prompts"]
    lines, groups = [], {}
    for row in rows:
        cell = row["cell"]
        if cell["experiment"] == experiment:
            groups.setdefault((cell["data"], label(cell)), []).append(row)
    if not groups:
        return "Not run yet."
    for (data, name), group in sorted(groups.items(), key=lambda pair: pair[0][0]):
        cells = [data, name, str(len(group))]
        for key in ("recall@20", "mrr@20", "ndcg@20"):
            cells.append(mean_and_spread([row[key] for row in group], ddof=1))
        cells.append(f"{np.mean([row['epochs'] for row in group]):.1f}")
        for read in (
            lambda r: min(r["mean_weights"]) if r["mean_weights"] else None,
            lambda r: r["interest_cosine"],
            lambda r: r["dominance"],
            lambda r: r["prompt_share"],
        ):
            values = [read(row["interests"]) for row in group]
            known = [v for v in values if v is not None]
            cells.append(f"{np.mean(known):.2f}" if known else "")
        lines.append(cells)
    return markdown(head, lines)


def curves(rows):
    """p6: epochs to 95 % of the best validation score, with and without prompts."""
    lines = []
    for name, spec in (
        ("both", {"use_extractor_prompts": True, "use_aggregator_prompts": True}),
        ("none", NO_PROMPTS),
        ("frozen", {"frozen_prompts": True}),
        ("none, wider attention", WIDER),
    ):
        epochs, best = [], []
        for row in rows:
            if row["cell"]["experiment"] == "p2" and row["cell"]["spec"] == spec:
                scores = [epoch["validation_score"] for epoch in row["history"]]
                best.append(max(scores))
                reached = np.array(scores) >= 0.95 * best[-1]
                epochs.append(int(np.argmax(reached)) + 1)
        if len(epochs) > 1:
            shown = mean_and_spread(epochs, 1, ddof=1), mean_and_spread(best, ddof=1)
            lines.append([name, str(len(epochs)), *shown])
    head = ["prompt tokens", "seeds", "epochs to 95 % of the best", "best MRR@20"]
    return markdown(head, lines)


def structures(rows):
    """p5: what the sessions of a data set are like, and which K was best."""
    lines = []
    for data in REAL:
        found = [
            row
            for row in rows
            if row["cell"]["experiment"] == "p5" and row["cell"]["data"] == data
        ]
        if not found:
            continue
        of_K = {}
        for row in found:
            K = row["cell"]["spec"]["n_interests"]
            of_K.setdefault(K, []).append(row["mrr@20"])
        means = {K: np.mean(values) for K, values in of_K.items()}
        best = max(means, key=means.get)
        like = found[0]["structure"]
        shown = [f"{like[k]:.2f}" for k in ("length", "clusters", "cosine")]
        of_best = f"{means[1]:.3f}, {means[best]:.3f}"
        lines.append([data, *shown, str(best), of_best])
    head = ["data", "items of a session", "its clusters", "cosine of two of its items"]
    head += ["best K by MRR@20", "MRR@20 of K = 1 and of the best"]
    return markdown(head, lines)


def counts():
    lines = []
    for name, row in json.loads(COUNTS.read_text()).items():
        parts = {
            key.removeprefix("backbone."): value
            for key, value in row["report"].items()
            if key.startswith("backbone.")
        }
        text = ", ".join(f"{k} {v:,}" for k, v in parts.items())
        lines.append([name, f"{row['backbone']:,}", text])
    return markdown(["backbone", "outside tables and prompts", "by component"], lines)


def write(name, table):
    """Write a table into the note that has it."""
    (note,) = [note for note, names in NOTES.items() if name in names]
    replace_table(f"benchmarks/lab/2026-11-21-pomrec-{note}.md", name, table)


EXPERIMENTS = ["tune", "p1", "p2", "p2-tokens", "p2-real", "p3", "p5", "p8", "p8-real",
               "loss", "aggregation"]  # fmt: skip


def main():
    parser = new_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("experiments", nargs="+", choices=[*EXPERIMENTS, "p4"])
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    command.add_argument("--data", nargs="+", help="data sets, such as m=4 or rsc15")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        rows = rows_done()
        for experiment in EXPERIMENTS:
            write(experiment, table_of(rows, experiment))
        write("p6", curves(rows))
        write("p5-data", structures(rows))
        write("p4", counts())
        return
    done = {json.dumps(row["cell"], sort_keys=True) for row in rows_done()}
    if "p4" in arguments.experiments:
        count_parameters()
    trained = [name for name in arguments.experiments if name != "p4"]
    for seed, experiment in itertools.product(arguments.seeds, trained):
        for data, spec, options in settings(experiment):
            cell = {"experiment": experiment, "data": data, "spec": spec}
            cell |= {"options": options, "seed": seed}
            if json.dumps(cell, sort_keys=True) in done:
                continue
            if arguments.data and data not in arguments.data:
                continue
            row = run(cell)
            print(
                experiment,
                data,
                label(cell),
                f"seed {seed}: {row['recall@20']:.3f} / {row['mrr@20']:.3f}",
                f"{row['epochs']} epochs, {row['fit_seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
