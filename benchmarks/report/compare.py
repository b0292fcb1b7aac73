"""One table of all baselines and all backbones, bare and with CLIP.

    SKCLIP_DATA=... python -m benchmarks.report.compare run rsc15 [--models vsknn ...]
    python -m benchmarks.report.compare table

Baselines have the settings that a random search chose on the validation part
(`choose/tune_baselines.py`; SLIST on large catalogs: settings of its authors);
backbones have the former strong preset (`benchmarks/_november.py`), trained on all
training sessions, with clusters ("CLIP") and without a prompt ("bare"), seed 0. On
rsc15 for the preset's epochs of the full softmax; on the two large catalogs for three
epochs of the sampled one, at a temperature and a learning rate chosen for CLIP-GRU4Rec
on a validation part of Diginetica (`choose/tune_strong.py`). "vsknn, by both" is chosen
by the sum of Recall@20 and MRR@20.

The row of a network goes to the rows of `reproduce.py` as well, where those have the
same cell (the sampled form; on rsc15 bare). Nothing is chosen on a test part, and a
cell that has a row is not run again, unless `--again` asks for it: for new settings or
times, and then the last row counts. Test: the given pairs (diginetica, tmall), every
prefix otherwise; whole catalog, ties count against the target.

Coverage: share of the catalog in the first 20 places of any test row. Milliseconds
per query: the whole test part at once, ranks of the targets; and the median of 200
sessions one by one, their first 20 places. Tables go to a laboratory note.
"""

import time
from functools import partial

import numpy as np

from benchmarks._november import old_strong, spelled_out
from benchmarks._results import (
    add_row,
    current_names,
    data_hash,
    environment,
    markdown,
    new_parser,
    plain,
    replace_table,
    rows_of,
)
from benchmarks.choose.tune_baselines import SPACES, chosen_baselines
from benchmarks.report._test_parts import load_parts, log_test_evaluation
from benchmarks.report.reproduce import record, rows_done, strong_parameters
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

ROWS = "report/compare.jsonl"
DATA = ("rsc15", "diginetica", "tmall")
NOTE = "benchmarks/lab/2026-11-22-every-model-on-three-logs.md"
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
        "markov, ties against": partial(MarkovRecommender, backoff=None),
        "markov, first first": partial(
            MarkovRecommender, backoff=None, tie_break="first"
        ),
        **{name: partial(tuned, name) for name in SPACES},
        "vstan + slist": lambda: VotingRecommender(
            [("vstan", tuned("vstan")), ("slist", tuned("slist"))]
        ),
    }
    if data == "rsc15":
        both = chosen_baselines(data, ("recall@20", "mrr@20"))
        listed |= {
            "vsknn 500": partial(
                SessionKNN, n_neighbors=500, sample_size=5000, idf_weight=5,
                weighting="quadratic", decay="quadratic",
            ),
            "vsknn 500, no backoff": partial(SessionKNN, "vsknn", backoff=None),
            "vsknn, by both": partial(tuned, "vsknn", both),
            "vsknn, by both, no backoff": lambda: tuned("vsknn", both).set_params(
                backoff=None
            ),
        }  # fmt: skip
    for name in BACKBONES:
        listed[f"{name}, bare"] = partial(network, data, name, {"prompt": None})
        listed[f"{name}, CLIP"] = partial(network, data, name, {})
    return listed


def form_of(data):
    return "strong" if data == "rsc15" else "sampled"


def network(data, name, prompt):
    settings = strong_parameters(name, form_of(data)) | prompt
    model = CLIPSessionRecommender(name, random_state=0)
    return model.set_params(**old_strong(name, **settings))


def parts(data):
    """All training sessions, and (X, y) of the test part."""
    train, valid, (X, y) = load_parts(data)
    if valid is not None:
        train = Sessions.concat([train, valid[0]])
    return train, X, y


def seconds_alone(model, prefixes):
    """Median time of the first 20 places of one session."""
    single = []
    for i in np.linspace(0, len(prefixes) - 1, 200).astype(int):
        one = [prefixes[i : i + 1].to_lists()[0]]
        begun = time.perf_counter()
        model.predict_topk(one, k=20)
        single.append(time.perf_counter() - begun)
    return float(np.median(single))


def run(data, name, model, train, X, y):
    begun = time.perf_counter()
    model.fit(train)
    fit_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    ranks = model.rank_targets(X, y)
    rank_seconds = time.perf_counter() - begun
    prefixes = X if y is not None else X.to_prefixes()[0]
    lists = model.predict_topk(prefixes, k=20)
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
        "ms_single": 1000 * seconds_alone(model, prefixes),
        "n_queries": len(ranks),
        "settings": plain(model.get_params()),
        "data_hash": {"train": data_hash(train), "test": data_hash(X)},
        "environment": environment(),
    }
    if isinstance(model, CLIPSessionRecommender):
        more = {"extra": {}, "fit_seconds": fit_seconds, "test_seconds": rank_seconds,
                "tag": "compare.py"}  # fmt: skip
        record_network(data, name, model, train, (X, y), ranks, more)
    add_row(ROWS, row)
    values = {k: row[k] for k in ("recall@20", "mrr@20")}
    log_test_evaluation("compare.py", data, name, values)
    return row


def record_network(data, name, model, train, test, ranks, more):
    """Hand a network to `reproduce.py`, unless that has it or does it otherwise."""
    backbone, variant = name.split(", ")
    cell = {"data": data, "every": 1, "backbone": backbone, "form": form_of(data),
            "variant": "none" if variant == "bare" else "leiden",
            "seed": 0}  # fmt: skip
    same = variant == "bare" or cell["form"] == "sampled"  # else another engine
    if same and all(row["cell"] != cell for row in rows_done()):
        record(cell, model, train, test, ranks, more)


def table(data):
    rows = {r["model"]: r for r in rows_of(ROWS) if r["data"] == data}
    head = ["model", "Recall@20", "MRR@20", "coverage@20", "fit", "ms per query",
            "ms, one alone"]  # fmt: skip
    lines = []
    for name, make in models(data).items():
        if name not in rows:
            continue
        r, now = rows[name], plain(make().get_params())
        settings = current_names(r["settings"])
        if "backbone" in settings:
            settings = spelled_out(settings)
        if any(now.get(key, value) != value for key, value in settings.items()):
            raise SystemExit(f"{data}, {name}: other settings now; run it --again")
        lines.append(
            [name, f"{r['recall@20']:.4f}", f"{r['mrr@20']:.4f}",
             f"{r['coverage@20']:.2f}", f"{r['fit_seconds']:.1f} s",
             f"{r['ms_per_query']:.2f}", f"{r['ms_single']:.2f}"]
        )  # fmt: skip
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("data", choices=DATA)
    command.add_argument("--models", nargs="+", default=None)
    command.add_argument(
        "--again", action="store_true", help="repeat finished cells, too"
    )
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        for data in DATA:
            replace_table(NOTE, data, table(data))
        return
    data = arguments.data
    done = {(row["data"], row["model"]) for row in rows_of(ROWS)}
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
