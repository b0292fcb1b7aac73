"""Targets that stand in the observed session already, and those that do not.

    SKCLIP_DATA=... python -m benchmarks.report.repeats

Of the networks of `compare.py` and of STAN, which is fitted again with its settings:
Recall@20 and MRR@20 for both kinds of targets. Ranks of the networks on the test part
are read from `results/ranks`, which git does not keep; to make them, run

    python -m benchmarks.report.reproduce rq1 --data diginetica --forms sampled \\
        --variants none leiden --seeds 0 --again

and the same with `--data tmall`. Nothing is chosen here. Writes the table of
a laboratory note.
"""

import numpy as np

from benchmarks._results import (
    load,
    markdown,
    new_parser,
    replace_table,
    save,
)
from benchmarks.report._test_parts import log_test_evaluation
from benchmarks.report.compare import models, parts
from benchmarks.report.reproduce import ranks_file, rows_done
from skclip.metrics import mrr_at_k, recall_at_k

NAME = "report/repeats.json"
NAMES = {"none": "bare", "leiden": "CLIP"}


def ranks_of_networks(data):
    """Name -> ranks of the targets, infinite beyond the first 20."""
    found = {}
    for row in rows_done():
        cell = row["cell"]
        is_ours = cell["data"] == data and cell["form"] == "sampled"
        if is_ours and cell["variant"] in NAMES and cell["seed"] == 0:
            file = ranks_file(cell)
            if not file.exists():
                raise SystemExit(f"No ranks of {cell}. --help says how to make them.")
            with np.load(file) as stored:
                ranks = stored["ranks"].astype(float)
            ranks[ranks == 0] = np.inf
            found[f"{cell['backbone']}, {NAMES[cell['variant']]}"] = ranks
    return found


def rows_of_data(data):
    networks = ranks_of_networks(data)
    train, X, y = parts(data)
    pairs = zip(X.to_lists(), y.tolist(), strict=True)
    again = np.array([target in set(session) for session, target in pairs])
    stan = models(data)["stan"]().fit(train).rank_targets(X, y)
    values = {"recall@20": recall_at_k(stan, 20)}
    log_test_evaluation("repeats.py", data, "stan", values)
    for name, ranks in {"stan": stan, **networks}.items():
        row = {"data": data, "model": name, "share": float(again.mean())}
        for kind, inside in (("again", again), ("new", ~again)):
            row[f"recall@20, {kind}"] = recall_at_k(ranks[inside], 20)
            row[f"mrr@20, {kind}"] = mrr_at_k(ranks[inside], 20)
        yield row


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table")
    if not parser.parse_args().table:
        rows = [row for data in ("diginetica", "tmall") for row in rows_of_data(data)]
        save(NAME, {"protocol": __doc__, "rows": rows})
    head = ["data", "model", "target in the session: Recall@20", "MRR@20"]
    head += ["not in it: Recall@20", "MRR@20"]
    lines = [
        [
            row["data"],
            row["model"],
            *(
                f"{row[f'{name}, {kind}']:.3f}"
                for kind in ("again", "new")
                for name in ("recall@20", "mrr@20")
            ),
        ]
        for row in load(NAME)["rows"]
    ]
    note = "benchmarks/lab/2026-11-22-targets-that-repeat.md"
    replace_table(note, "repeats", markdown(head, lines))


if __name__ == "__main__":
    main()
