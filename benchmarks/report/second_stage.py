"""What a second stage brings on test parts: diverse lists, learned order.

    SKCLIP_DATA=... python -m benchmarks.report.second_stage run [retailrocket rsc15]
    python -m benchmarks.report.second_stage table

First stages: the tuned neighbors of `choose/tune_baselines.py`, and
``CLIPSessionRecommender()`` with a seed. `CandidateRanker` and `MMRReranker` have the
settings that `choose/second_stage.py` chose on validation parts. All are fitted on the
training and the validation part, and rank the whole catalog for every prefix of the
test part. The candidate ranker fits its base twice: without the latest fifth of the
sessions, from which the classifier learns, and then on all. The base of that second fit
is the one that it is compared with, and that MMR reranks.

Intervals: 95 %, of the difference to the base, by 10,000 draws of test sessions.
Diversity: the share of pairs of the 20 items in different clusters of a
`SessionClusterer` of the training sessions. MMR over neighbors has clusters as its
similarity too, so that it raises what is measured. "by place" counts the places of
targets in the lists of the base, where ties do not count against them, as in lists of
MMR. Seconds are those of one core's work (CPU time), with one thread. Those of a second
stage contain the fits of its base: the ranker has two. A cell that has a row is not run
again.
"""

import time

import numpy as np

from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    markdown,
    new_parser,
    replace_table,
    rows_of,
)
from benchmarks.choose.second_stage import BASES, LOGS, base_of, chosen, second_stage
from benchmarks.report._test_parts import log_test_evaluation, log_train_and_test
from skclip import SessionClusterer
from skclip.model_selection import evaluate

NOTE = "benchmarks/lab/2026-11-30-second-stages.md"
ROWS = "report/second_stage.jsonl"
METRICS = ("recall@20", "mrr@20", "cluster_diversity@20", "coverage@20")
NAMES = {"rsc15": "rsc15_100k", "retailrocket": "retailrocket_last8days"}
SHOWN = {"base": "alone", "candidates": "`CandidateRanker`", "mmr": "`MMRReranker`"}
N_TIMED = 1000  # sessions


def run(log, base_name):
    train, X, y = log_train_and_test(log)
    models, seconds = fitted(log, base_name, train)
    clusterer = SessionClusterer(random_state=0).fit(train)
    frame = evaluate(
        models, train, X, y, fit=False, metrics=METRICS, clusterer=clusterer,
        baseline="base", random_state=0,
    )  # fmt: skip
    for name, model in models.items():
        cells = frame[frame.estimator == name].set_index("metric")
        columns = ["value", "difference", "difference_lower", "difference_upper"]
        values = {
            m: [None if np.isnan(v) else float(v) for v in cells.loc[m, columns]]
            for m in METRICS
        }
        row = {
            "log": log,
            "base": base_name,
            "stage": name,
            "settings": {} if name == "base" else chosen(log, base_name, name),
            **values,
            "by_place": by_place(model, X) if name == "base" else None,
            "fit_seconds": seconds[name],
            "seconds_per_1000": ranking_seconds(model, X),
            "candidate_recall": getattr(model, "candidate_recall_", None),
            "n_targets": int(cells.n_queries.iloc[0]),
            "data_hash": {"train": data_hash(train), "test": data_hash(X)},
            "environment": environment(),
        }
        add_row(ROWS, row)
        first = {metric: values[metric][0] for metric in METRICS}
        log_test_evaluation("second_stage.py", log, f"{base_name}, {name}", first)
        print(log, base_name, name, first, flush=True)


def fitted(log, base_name, train):
    """The fitted models, and the CPU seconds that each took."""
    base = base_of(log, base_name)
    base = timed(type(base))(**base.get_params(deep=False))
    models, seconds = {}, {}
    for stage in ("candidates", "mmr"):
        prefit, settings = stage == "mmr", chosen(log, base_name, stage)
        begun = time.process_time()
        models[stage] = second_stage(stage, base, settings, prefit=prefit).fit(train)
        seconds[stage] = time.process_time() - begun
        base = models[stage].estimator_  # fitted on all sessions
    seconds["base"] = base.fit_seconds
    seconds["mmr"] += base.fit_seconds
    return {"base": base} | models, seconds


def timed(cls):
    """A recommender that knows the CPU seconds of its fit."""

    class Timed(cls):
        def fit(self, X, y=None):
            begun = time.process_time()
            super().fit(X, y)
            self.fit_seconds = time.process_time() - begun
            return self

    return Timed


def by_place(model, X):
    """Recall@20 and MRR@20 from the places in the lists."""
    prefixes, targets = X.to_prefixes()
    hits = model.predict_topk(prefixes, k=20) == targets[:, None]
    places = hits.argmax(axis=1) + 1
    found = hits.any(axis=1)
    return [float(found.mean()), float((found / places).mean())]


def ranking_seconds(model, X):
    prefixes, _ = X.to_prefixes()
    some = np.linspace(0, len(prefixes) - 1, N_TIMED).astype(int)
    begun = time.process_time()
    model.predict_topk(prefixes[some], k=20)
    return time.process_time() - begun


def table():
    head = ["click log", "first stage", "second stage", "Recall@20", "MRR@20"]
    head += ["diversity", "coverage", "fit", "1,000 sessions"]
    lines = []
    for row in sorted(rows_of(ROWS), key=lambda row: LOGS.index(row["log"])):
        first = row["stage"] == "base"
        names = (NAMES[row["log"]], row["base"]) if first else ("", "")
        lines.append(
            [*names, SHOWN[row["stage"]]]
            + [with_difference(row[metric]) for metric in METRICS[:2]]
            + [f"{row[metric][0]:.2f}" for metric in METRICS[2:]]
            + [f"{row['fit_seconds']:.1f} s", f"{row['seconds_per_1000']:.2f} s"]
        )
    return markdown(head, lines)


def with_difference(values):
    value, difference, low, high = values
    if difference is None:
        return f"{value:.4f}"
    return f"{value:.4f}, {difference:+.4f} [{low:+.4f}, {high:+.4f}]"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("logs", nargs="*", help=f"logs among {LOGS} (default: all)")
    parser.add_argument("--bases", nargs="+", default=BASES, choices=BASES)
    arguments = parser.parse_args()
    if arguments.command == "table":
        replace_table(NOTE, "second_stage", table())
        return
    done = {(row["log"], row["base"]) for row in rows_of(ROWS)}
    for log in arguments.logs or LOGS:
        for base in arguments.bases:
            if (log, base) not in done:
                run(log, base)


if __name__ == "__main__":
    main()
