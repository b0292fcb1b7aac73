"""What each kind of item features brings, beside random ones, on two real logs.

    SKCLIP_DATA=... python -m benchmarks.report.item_features run [ml_100k]
    python -m benchmarks.report.item_features table

Kinds of amazon_beauty: the title, and its first word, which mostly is the brand. Kinds
of ml_100k: the title, the genres, the year of release. "all" is all kinds of a log side
by side. "random" are normal numbers of as many columns, drawn once for each item, and
"none" is the model without features. Neither log has prices. With
"cold items by set_item_features" the model is fitted with features of the clicked items
alone, and is handed those of all others afterwards, so that no cold item was a negative
in training. These cells came after all others, and have no paired difference to "none".

amazon_beauty: every fourth user; the last review is the target, the reviews before it
are the training sessions. ml_100k: sessions of eight hours in order of time, the last
fifth tests; every second one of the others is trained on. A tenth of the films, drawn
with seed 0, is taken out of the training sessions, as hardly any target of this log is
cold without that. Test sessions keep all films.

Settings: those of ``CLIPSessionRecommender``, of which `choose/defaults.py` chose the
recipe on validation parts (ml_100k was one of the logs). ``kind="gate"`` and
``cold_item_weight=0.1`` are the defaults of `Fusion`; `choose/semantics.py` chose the
weight on validation targets of amazon_beauty. To save time: no prompts, no bias for
repeats (no item is clicked twice), and 5 epochs on ml_100k. One seed.

The whole catalog is ranked, ties count against the target, a target outside the catalog
is a miss. Intervals: 95 %, by 10,000 draws of test sessions; they do not contain what
another seed would change. Groups: training events of the target. A cell that has a row
is not run again. Writes the table of its note in
`benchmarks/lab`.
"""

import time
from functools import cache

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks._data import beauty_items, clicks_of, ml_100k_items
from benchmarks._results import (
    add_row,
    data_hash,
    environment,
    markdown,
    new_parser,
    plain,
    replace_table,
    rows_of,
)
from benchmarks.report._test_parts import (
    beauty_test,
    log_test_evaluation,
    log_train_and_test,
)
from skclip import CLIPSessionRecommender, Sessions
from skclip.features import ItemFeatures
from skclip.model_selection import evaluate
from skclip.text import ItemTextEncoder

ROWS = "report/item_features.jsonl"
PAGE = "benchmarks/lab/2026-12-01-kinds-of-item-features.md"
GROUPS = ("0", "1-5", "6-20", ">20")
EPOCHS = {"amazon_beauty": "auto", "ml_100k": 5}
TITLE = (ItemTextEncoder(n_components=64), "title")
BRAND = OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist")
GENRES = CountVectorizer(binary=True, token_pattern=r"\S+")
YEAR = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
KINDS = {
    "amazon_beauty": {"title": TITLE, "brand": (BRAND, ["brand"])},
    "ml_100k": {
        "title": TITLE,
        "genres": (GENRES, "genres"),
        "year": (YEAR, ["release_year"]),
    },
}
LATER = ", cold items by set_item_features"
NAMES = {"brand": "brand (first word of the title)", "year": "year of release"}


@cache
def items_of(log):
    """A data frame of the items."""
    if log == "ml_100k":
        items = ml_100k_items()
        items["release_year"] = pd.to_numeric(items.release_year, "coerce")
        return items
    items = beauty_items()
    items["brand"] = items.title.str.lower().str.split().str[0].fillna("")
    return items


@cache
def features(log, kind):
    """Features of all items, of one kind or "all"."""
    kinds = KINDS[log] if kind == "all" else {kind: KINDS[log][kind]}
    encoder = make_column_transformer(*kinds.values(), sparse_threshold=0)
    return ItemFeatures.from_frame(items_of(log), "item_id", transformer=encoder)


def random_features(log, kind):
    """Normal numbers of the same shape; rows have a length of about 1."""
    shape = features(log, kind).shape
    drawn = np.random.default_rng(0).normal(size=shape) / np.sqrt(shape[1])
    return ItemFeatures(features(log, kind).item_ids, drawn)


@cache
def parts(log):
    """Training sessions, and (X, y) of the test part."""
    if log == "amazon_beauty":
        X, y = beauty_test(4)
        return X, X, y
    train, X, y = log_train_and_test(log)
    films = items_of(log).item_id.to_numpy()
    cold = set(np.random.default_rng(0).permutation(films)[: len(films) // 10].tolist())
    rows = [[item for item in row if item not in cold] for row in train[::2].to_lists()]
    return Sessions.from_lists([row for row in rows if len(row) > 1]), X, y


def model_of(log, given):
    return CLIPSessionRecommender(
        prompt=None,
        repeats=False,
        item_features=given,
        max_epochs=EPOCHS[log],
        n_threads=1,
        random_state=0,
        device="cpu",
    )


def measured(models, log, by=None):
    """Of the last model: values, differences to the first, intervals and sizes."""
    train, X, y = parts(log)
    frame = evaluate(
        models, train, X, y, fit=False, metrics=["recall@20", "mrr@20"], by=by,
        random_state=0,
    )  # fmt: skip
    name = list(models)[-1]
    columns = ["value", "lower", "upper"]
    columns += ["difference", "difference_lower", "difference_upper"]
    found = {}
    for row in frame[frame.estimator == name].to_dict("records"):
        key = row["metric"] + ("" if by is None else f", {row['group']}")
        values = [None if np.isnan(row[c]) else float(row[c]) for c in columns]
        found[key] = [*values, int(row["n_queries"])]
    return found


def without_cold(given, train):
    """Features of the items that have clicks, and those of the others."""
    clicks = clicks_of(train)
    cold = np.array([clicks.get(item, 0) == 0 for item in given.item_ids.tolist()])
    return [ItemFeatures(given.item_ids[at], given.vectors[at]) for at in (~cold, cold)]


def run(log, kind, vectors, bare):
    """Fit and measure one cell; return the model."""
    given = {
        "none": lambda: None,
        "real": lambda: features(log, kind.removesuffix(LATER)),
        "random": lambda: random_features(log, kind.removesuffix(LATER)),
    }[vectors]()
    begun = time.process_time()
    if kind.endswith(LATER):
        known, cold = without_cold(given, parts(log)[0])
        model = model_of(log, known).fit(parts(log)[0]).set_item_features(cold)
    else:
        model = model_of(log, given).fit(parts(log)[0])
    models = {"none": bare} if bare else {}
    models["this"] = model
    found = measured(models, log) | measured(models, log, "target_popularity")
    train, X, _ = parts(log)
    row = {
        "log": log,
        "kind": kind,
        "vectors": vectors,
        "n_features": None if given is None else given.shape[1],
        **found,
        "weight": model.fusion_weight_,
        "epochs": model.n_iter_,
        "cpu_seconds": time.process_time() - begun,
        "resolved": plain(model.resolved_params_),
        "data_hash": {"train": data_hash(train), "test": data_hash(X)},
        "environment": environment(),
    }
    add_row(ROWS, row)
    values = {metric: found[metric][0] for metric in ("recall@20", "mrr@20")}
    log_test_evaluation("item_features.py", log, f"{kind}, {vectors}", values)
    print(log, kind, vectors, values, f"{row['cpu_seconds']:.0f} s", flush=True)
    return model


def cells_of(log):
    for kind in (*KINDS[log], "all", "all" + LATER):
        for vectors in ("real", "random"):
            yield kind, vectors


def run_log(log):
    done = {(row["kind"], row["vectors"]) for row in rows_of(ROWS) if row["log"] == log}
    left = [cell for cell in cells_of(log) if cell not in done]
    if not left:
        return
    if ("none", "none") in done:
        bare = None
        if any(not kind.endswith(LATER) for kind, _ in left):
            bare = model_of(log, None).fit(parts(log)[0])
    else:
        bare = run(log, "none", "none", None)
    for kind, vectors in left:
        run(log, kind, vectors, bare)


def table():
    lines, before = [], None
    for log in KINDS:
        rows = [row for row in rows_of(ROWS) if row["log"] == log]
        for row in rows:
            cells = [with_interval(row["recall@20"])]
            cells += [with_interval(row[f"recall@20, {group}"]) for group in GROUPS]
            lines.append(["" if log == before else log, label_of(row), *cells])
            before = log
    head = ["log", "features", "Recall@20", *(f"targets {g}" for g in GROUPS)]
    return markdown(head, lines)


def label_of(row):
    n, later = row["n_features"], LATER if row["kind"].endswith(LATER) else ""
    kind = row["kind"].removesuffix(LATER)
    kind = "random" if row["vectors"] == "random" else NAMES.get(kind, kind)
    return kind if n is None else f"{kind}, {n} column{'s' * (n > 1)}{later}"


def with_interval(values):
    value, low, high = values[:3]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument(
        "logs", nargs="*", help=f"logs among {list(KINDS)} (default: all)"
    )
    arguments = parser.parse_args()
    if arguments.command == "table":
        replace_table(PAGE, "item_features", table())
        return
    for log in arguments.logs or KINDS:
        run_log(log)


if __name__ == "__main__":
    main()
