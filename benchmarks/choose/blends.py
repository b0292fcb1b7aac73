"""Which members should a blend have? Trials on validation parts.

    SKCLIP_DATA=... python -m benchmarks.choose.blends rsc15 tmall diginetica
    python -m benchmarks.choose.blends --table

Members: GRU4Rec and CORE with the defaults, the tuned neighbors, and tuned STAN. Each
is fitted on all but the latest tenth of the training part, on which weights are
learned, and again on all of it. Then the validation part is ranked: by each member, by
all, and by all but one. Parts are those of `choose/defaults.py`: tmall and diginetica
have a quarter of their sessions. What was chosen is in `report/recipes.py`. Budget: 45
minutes of one core. No test part is opened.
"""

import time
from itertools import combinations

from benchmarks._results import add_row, environment, markdown, new_parser, rows_of
from benchmarks.choose.defaults import parts
from benchmarks.choose.tune_baselines import chosen_row
from skclip import CLIPSessionRecommender, SessionKNN, VotingRecommender
from skclip.metrics import SessionScorer

ROWS = "choose/blends.jsonl"
SCORER = SessionScorer("recall@20", "mrr@20")


def members_of(log):
    settings = {"random_state": 0, "n_threads": 1}
    stan = chosen_row(log, ("stan",))["settings"]
    return [
        ("gru4rec", CLIPSessionRecommender(**settings)),
        ("core", CLIPSessionRecommender("core", **settings)),
        ("neighbors", SessionKNN(**chosen_row(log)["settings"])),
        ("stan", SessionKNN(**stan)),
    ]


def fitted(members, X):
    found = {}
    for name, model in members:
        begun = time.perf_counter()
        found[name] = model.fit(X)
        print(name, len(X), f"{time.perf_counter() - begun:.0f} s", flush=True)
    return found


def run(log):
    train, valid = parts(log)
    cut = round(0.9 * len(train))
    early = fitted(members_of(log), train[:cut])
    full = fitted(members_of(log), train)
    names = tuple(full)
    sets = [(name,) for name in names]
    for some in [*sets, names, *combinations(names, len(names) - 1)]:
        blend = learned(early, full, some, train, cut)
        row = {
            "log": log,
            "members": list(some),
            **SCORER(blend, valid),
            "weights": blend.weights_.tolist(),
            "temperatures": blend.temperatures_.tolist(),
            "settings": {name: str(full[name]) for name in some},
            "environment": environment(),
        }
        add_row(ROWS, row)
        print(log, some, f"{row['recall@20']:.4f} {row['mrr@20']:.4f}", flush=True)


def learned(early, full, names, train, cut):
    """A blend of members fitted on all sessions, its weights learned on the latest."""
    blends = [
        VotingRecommender(
            [(name, models[name]) for name in names],
            method="blend",
            weights="auto" if models is early else None,
            prefit=True,
        ).fit(train[cut:])
        for models in (early, full)
    ]
    blends[1].weights_ = blends[0].weights_
    blends[1].temperatures_ = blends[0].temperatures_
    return blends[1]


def table():
    head = ["log", "members", "weights", "Recall@20", "MRR@20"]
    lines = [
        [row["log"], ", ".join(row["members"])]
        + [", ".join(f"{weight:.2f}" for weight in row["weights"])]
        + [f"{row[name]:.4f}" for name in ("recall@20", "mrr@20")]
        for row in rows_of(ROWS)
    ]
    return markdown(head, lines)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("logs", nargs="*")
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if not arguments.table:
        for log in arguments.logs:
            run(log)
    print(table())


if __name__ == "__main__":
    main()
