"""The next item and all remaining items of sessions, side by side, on two logs.

    SKCLIP_DATA=... python -m benchmarks.report.remaining_items [--table]

All of rsc15_100k, and every 16th of its training sessions. Every prefix of every test
session, the whole catalog, ties against the target; targets outside the catalog are
misses. "next" compares a list with the next item, "remaining" with the set of distinct
items that the session goes on with. "neighbors" is the V-SKNN or VSTAN that a random
search chose on the validation part (`choose/tune_baselines.py`), by the next item; the
recommender has its defaults, seed 0. All are fitted on all training sessions. Intervals
of 95 % and p-values come from 10,000 bootstrap draws of test sessions, the differences
are to the neighbors, and p-values are adjusted by Holm's method for the three other
models, within one metric. Nothing is chosen here. Writes tables of a note in
`benchmarks/lab`.
"""

from benchmarks._results import (
    data_hash,
    load,
    markdown,
    new_parser,
    plain,
    replace_table,
    save,
)
from benchmarks.choose.tune_baselines import chosen_row
from benchmarks.report._test_parts import log_test_evaluation, log_train_and_test
from skclip import (
    CLIPSessionRecommender,
    MarkovRecommender,
    PopularityRecommender,
    SessionKNN,
)
from skclip.model_selection import evaluate

NAME = "report/remaining_items.json"
NOTE = "benchmarks/lab/2026-12-01-next-item-or-remaining-items.md"
LOGS = {"rsc15": "rsc15_100k", "rsc15_16": "rsc15_100k, 1/16"}
METRICS = {
    "next": {"recall@20": "Recall@20", "mrr@20": "MRR@20"},
    "remaining": {"recall@20": "Recall@20", "map@20": "MAP@20", "ndcg@20": "NDCG@20"},
}
COLUMNS = ["estimator", "metric", "value", "lower", "upper", "difference"]
COLUMNS += ["difference_lower", "difference_upper", "p_value", "adjusted_p_value"]
COLUMNS += ["n_queries", "n_sessions", "predict_seconds"]
MODELS = ("popularity", "Markov chain", "neighbors", "default")


def models(log):
    made = (
        PopularityRecommender(),
        MarkovRecommender(),
        SessionKNN(**chosen_row(log)["settings"]),
        CLIPSessionRecommender(random_state=0),
    )
    return dict(zip(MODELS, made, strict=True))


def run(log):
    """Rows of a log, and the data and settings they were had with."""
    train, X, y = log_train_and_test(log)
    fitted, rows = models(log), []
    for targets, metrics in METRICS.items():
        frame, fitted = evaluate(
            fitted, train, X, y, metrics=list(metrics), targets=targets,
            baseline="neighbors", fit=targets == "next", random_state=0,
            return_estimators=True, verbose=True,
        )  # fmt: skip
        for row in frame[COLUMNS].to_dict("records"):
            known = {key: None if v != v else v for key, v in row.items()}  # no NaN
            rows.append({"log": log, "targets": targets} | known)
        for name, own in frame.groupby("estimator"):
            pairs = zip(own.metric, own.value, strict=True)
            values = {f"{metric}, {targets}": value for metric, value in pairs}
            log_test_evaluation("remaining_items.py", log, name, values)
    return rows, {
        "data_hash": {"train": data_hash(train), "test": data_hash(X)},
        "settings": {name: plain(m.get_params()) for name, m in fitted.items()},
    }


def tables():
    """Values of all models; differences to the neighbors, of two models."""
    found = {}
    for row in load(NAME)["rows"]:
        place = row["log"], row["targets"], row["metric"]
        found.setdefault(place, {})[row["estimator"]] = row
    values, differences = [], []
    for (log, targets, metric), of_model in found.items():
        cells = [LOGS[log], targets, METRICS[targets][metric]]
        values.append(
            cells + [f"{of_model[name]['value']:.4f}" for name in MODELS]
        )  # fmt: skip
        row = of_model["default"]
        keys = ("difference", "difference_lower", "difference_upper")
        change, low, high = (row[key] for key in keys)
        p_values = [f"{row[key]:.4f}" for key in ("p_value", "adjusted_p_value")]
        differences.append(
            [*cells, f"{change:+.4f} [{low:+.4f}, {high:+.4f}]", *p_values]
        )
    head = ["data", "targets", "metric"]
    return (
        markdown([*head, *MODELS], values),
        markdown([*head, "default − neighbors", "p", "p, Holm"], differences),
    )


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the tables")
    if not parser.parse_args().table:
        rows, about = [], {}
        for log in LOGS:
            of_log, about[log] = run(log)
            rows += of_log
            save(NAME, {"protocol": __doc__, "logs": about, "rows": rows})
    names = ("remaining items", "remaining items, differences")
    for name, table in zip(names, tables(), strict=True):
        replace_table(NOTE, name, table)


if __name__ == "__main__":
    main()
