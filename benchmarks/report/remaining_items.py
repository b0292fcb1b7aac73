"""The next item and all remaining items of sessions, side by side: rsc15_100k.

    SKCLIP_DATA=... python -m benchmarks.report.remaining_items [--table]

Every prefix of every test session, the whole catalog, ties against the target; targets
outside the catalog are misses. "next" compares a list with the next item, "remaining"
with the set of distinct items that the session goes on with. VSTAN has the settings
that a random search chose on the validation part (`choose/tune_baselines.py`), by
MRR@20 of the next item; the recommender has its defaults, seed 0. All are fitted on all
training sessions. Intervals of 95 % and p-values come from 10,000 bootstrap draws of
test sessions, the differences are to VSTAN, and p-values are adjusted by Holm's method
for the other models, within one metric. Nothing is chosen here. Writes a table of
docs/evaluation.md.
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
from benchmarks.choose.tune_baselines import SPACES, chosen_baselines
from benchmarks.report._test_parts import load_parts, log_test_evaluation
from skclip import CLIPSessionRecommender, MarkovRecommender, PopularityRecommender
from skclip.model_selection import evaluate

NAME = "report/remaining_items.json"
BASELINE = "VSTAN"
METRICS = {
    "next": ["recall@20", "mrr@20"],
    "remaining": ["recall@20", "map@20", "ndcg@20"],
}
COLUMNS = ["estimator", "metric", "value", "lower", "upper", "difference"]
COLUMNS += ["difference_lower", "difference_upper", "p_value", "adjusted_p_value"]
COLUMNS += ["n_queries", "n_sessions", "predict_seconds"]


def models():
    vstan = SPACES["vstan"][0](**chosen_baselines("rsc15")["vstan"])
    return {
        "popularity": PopularityRecommender(),
        "Markov chain": MarkovRecommender(),
        BASELINE: vstan,
        "CLIPSessionRecommender": CLIPSessionRecommender(random_state=0),
    }


def run():
    train, _, (X, _) = load_parts("rsc15")
    fitted, rows = models(), []
    for targets, metrics in METRICS.items():
        frame, fitted = evaluate(
            fitted, train, X, metrics=metrics, targets=targets, baseline=BASELINE,
            fit=targets == "next", random_state=0, return_estimators=True, verbose=True,
        )  # fmt: skip
        for row in frame[COLUMNS].to_dict("records"):
            rows.append({"targets": targets} | row)
        for name in fitted:
            own = frame[frame.estimator == name]
            values = {f"{m}, {targets}": v for m, v in own[["metric", "value"]].values}
            log_test_evaluation("remaining_items.py", "rsc15", name, values)
    settings = {name: plain(model.get_params()) for name, model in fitted.items()}
    hashes = {"train": data_hash(train), "test": data_hash(X)}
    rows = [{k: None if v != v else v for k, v in row.items()} for row in rows]
    save(NAME, {"protocol": __doc__, "data_hash": hashes, "settings": settings,
                "rows": rows})  # fmt: skip


def table():
    head = ["model", "targets", "metric", "value", "difference to VSTAN", "p", "Holm"]
    lines = []
    for row in load(NAME)["rows"]:
        cells = [row["estimator"], row["targets"], shown(row["metric"])]
        cells.append(f"{row['value']:.4f} [{row['lower']:.4f}, {row['upper']:.4f}]")
        if row["p_value"] is None:
            cells += ["", "", ""]
        else:
            keys = ("difference", "difference_lower", "difference_upper")
            change, low, high = (row[key] for key in keys)
            cells.append(f"{change:+.4f} [{low:+.4f}, {high:+.4f}]")
            cells += [f"{row[key]:.4f}" for key in ("p_value", "adjusted_p_value")]
        lines.append(cells)
    return markdown(head, lines)


def shown(metric):
    """Name of a metric as the pages write it."""
    name, k = metric.split("@")
    return f"{name.capitalize() if name == 'recall' else name.upper()}@{k}"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table")
    if not parser.parse_args().table:
        run()
    replace_table("docs/evaluation.md", "remaining items", table())


if __name__ == "__main__":
    main()
