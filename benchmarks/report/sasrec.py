"""SASRec beside GRU4Rec, NARM, GC-SAN and VSTAN on the test parts of three logs.

    SKCLIP_DATA=... python -m benchmarks.report.sasrec run
    python -m benchmarks.report.sasrec table

All of rsc15_100k; every 8th training session of diginetica and every 4th of its test
pairs; every 4th training session of tmall and all of its test pairs. The recommender
has its defaults (cosine score, cluster prompts), without a bias for repeats, which
works alike for all. SASRec's own settings were chosen on a validation part
(`choose/sasrec.py`). "gbce" and "sampled" are the same network with these losses and
256 shared negatives, trained as did best there (`choose/sasrec_losses.py`). VSTAN is
the one that a random search chose on the validation part (`choose/tune_baselines.py`).
Networks have seeds 0, 1 and 2 on rsc15_100k, else seed 0. The whole catalog is ranked,
ties count against the target.

Intervals: 95 %, of the mean over seeds, by 10,000 draws of test sessions. They do not
contain what other seeds would have changed. Seconds of a fit are those of one thread
beside other jobs on the same two cores: compare them roughly. Cells that have a row are
not run again. Writes the tables of a laboratory note.
"""

import time

import numpy as np

from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    load,
    markdown,
    new_parser,
    replace_table,
    result_file,
    rows_of,
    save,
)
from benchmarks.choose.sasrec_losses import chosen
from benchmarks.choose.sasrec_losses import model_of as trial
from benchmarks.choose.tune_baselines import chosen_row
from benchmarks.report._test_parts import load_parts, log_test_evaluation
from skclip import CLIPSessionRecommender, SessionKNN, Sessions
from skclip.metrics import mrr_at_k, recall_at_k

ROWS = "report/sasrec.jsonl"
INTERVALS = "report/sasrec.json"
RANKS = result_file("report/ranks")
LOGS = {
    "rsc15": ("rsc15_100k", 1, 1, 3),  # name, n-th training session, test pair, seeds
    "diginetica": ("diginetica, 1/8", 8, 4, 1),
    "tmall": ("tmall, 1/4", 4, 1, 1),
}
MODELS = ("sasrec", "gru4rec", "narm", "gcsan", "vstan")
LOSSES = {"sasrec, gbce": "gbce", "sasrec, sampled": "sampled_softmax"}
ONE_SEED = ("vstan", "sasrec, gbce")  # draws nothing; takes four times as long
METRICS = {"recall@20": recall_at_k, "mrr@20": mrr_at_k}
SHOWN = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "narm": "NARM", "gcsan": "GC-SAN",
         "vstan": "VSTAN", "sasrec, gbce": "SASRec, gBCE",
         "sasrec, sampled": "SASRec, sampled softmax"}  # fmt: skip


def parts_of(log):
    _, every, of_test, _ = LOGS[log]
    train, valid, (X, y) = load_parts(log, every)
    if valid is not None:
        train = Sessions.concat(train, valid[0])
    return train, X[::of_test], None if y is None else y[::of_test]


def model_of(log, name, seed):
    if name == "vstan":
        return SessionKNN(**chosen_row(log)["settings"])
    if name in LOSSES:
        return trial(LOSSES[name], *chosen(LOSSES[name]), seed=seed)
    options = {"repeats": False, "random_state": seed, "n_threads": 1}
    return CLIPSessionRecommender(name, **options)


def run(log, name, seed, parts):
    train, X, y = parts
    model, begun = model_of(log, name, seed), time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - begun
    ranks = model.rank_targets(X, y)
    values = {metric: f(ranks, 20) for metric, f in METRICS.items()}
    RANKS.mkdir(parents=True, exist_ok=True)
    np.save(ranks_file(log, name, seed), ranks)
    log_test_evaluation("sasrec.py", log, f"{name}, seed {seed}", values)
    row = {"log": log, "model": name, "seed": seed, **values, "fit_seconds": seconds,
           "n_targets": len(ranks), "epochs": getattr(model, "n_iter_", None),
           "loss": getattr(model, "resolved_params_", {}).get("loss"),
           "data_hash": {"train": data_hash(train), "test": data_hash(X)},
           "environment": environment()}  # fmt: skip
    add_row(ROWS, row)
    print(log, name, seed, values, f"{seconds:.0f} s", flush=True)


def ranks_file(log, name, seed):
    return RANKS / f"sasrec_{log}_{name.replace(', ', '_')}_{seed}.npy"


def run_all():
    done = {(row["log"], row["model"], row["seed"]) for row in rows_of(ROWS)}
    for log, (_, _, _, n_seeds) in LOGS.items():
        parts = parts_of(log)
        more = LOSSES if log == "rsc15" else ()
        for seed in range(n_seeds):
            for name in (*MODELS, *more):
                fixed = name in ONE_SEED and seed > 0
                if not fixed and (log, name, seed) not in done:
                    run(log, name, seed, parts)
        write_intervals(log, parts[1])


def sessions_of(X, y):
    """Number of the session of each target."""
    if y is None:
        return np.repeat(np.arange(len(X)), np.maximum(X.lengths - 1, 0))
    return np.unique(X.ids, return_inverse=True)[1]


def write_intervals(log, X):
    """Means over seeds, their differences to GRU4Rec, and intervals of both."""
    _, _, y = parts_of(log)
    session = sessions_of(X, y)
    n = session.max() + 1
    sizes = np.bincount(session, minlength=n)
    names = [name for name in SHOWN if ranks_file(log, name, 0).exists()]
    content = {}
    for metric, f in METRICS.items():
        sums = []
        for name in names:
            files = [ranks_file(log, name, seed) for seed in range(LOGS[log][3])]
            gains = [_gains(f, np.load(file)) for file in files if file.exists()]
            sums.append(np.bincount(session, np.mean(gains, axis=0), minlength=n))
        rng, draws = np.random.default_rng(0), []
        for _ in range(100):  # of 100 draws at a time
            weights = rng.multinomial(n, np.full(n, 1 / n), size=100)
            draws.append(weights @ np.array(sums).T / (weights @ sizes)[:, None])
        draws = np.concatenate(draws)
        base = names.index("gru4rec")
        for i, name in enumerate(names):
            cell = content.setdefault(name, {})
            cell[metric] = [sums[i].sum() / sizes.sum(), *_interval(draws[:, i])]
            apart = (sums[i] - sums[base]).sum() / sizes.sum()
            cell[f"{metric} - gru4rec"] = [
                apart, *_interval(draws[:, i] - draws[:, base])
            ]  # fmt: skip
    kept = {}
    if result_file(INTERVALS).exists():
        kept = load(INTERVALS)["logs"]
    save(INTERVALS, {"protocol": __doc__, "logs": kept | {log: content}})


def _gains(metric, ranks):
    """What each target adds to a mean metric."""
    if metric is recall_at_k:
        return (ranks <= 20).astype(float)
    return np.where(ranks <= 20, 1 / ranks, 0.0)


def _interval(draws):
    return np.percentile(draws, [2.5, 97.5]).tolist()


def tables():
    cells, intervals = rows_of(ROWS), load(INTERVALS)["logs"]
    seconds = {}
    for row in cells:
        of_model = seconds.setdefault((row["log"], row["model"]), [])
        of_model.append(row["fit_seconds"])
    main, losses = [], []
    for log, of_log in intervals.items():
        for name, cell in of_log.items():
            row = [LOGS[log][0], SHOWN[name]]
            row += [_shown(cell[metric]) for metric in METRICS]
            row.append(f"{np.median(seconds[log, name]):.0f}")
            if name in MODELS:
                against = [cell[f"{metric} - gru4rec"] for metric in METRICS]
                signed = ["" if name == "gru4rec" else _shown(x, "+") for x in against]
                main.append([*row[:-1], *signed, row[-1]])
            if name.startswith("sasrec") and log == "rsc15":
                losses.append(row[1:])
    head = ["Recall@20", "MRR@20"]
    minus = [f"{metric} − GRU4Rec" for metric in head]
    return {
        "sasrec": markdown(["data", "model", *head, *minus, "fit, s"], main),
        "losses of sasrec": markdown(["model", *head, "fit, s"], losses),
    }


def _shown(values, sign=""):
    value, low, high = values
    return f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("step", choices=("run", "table"))
    if parser.parse_args().step == "run":
        run_all()
    for name, table in tables().items():
        replace_table("benchmarks/lab/2026-12-01-sasrec.md", name, table)


if __name__ == "__main__":
    main()
