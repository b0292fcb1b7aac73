"""Train, compare, recommend, save and load a model.

Without arguments, the script simulates a shop::

    python examples/quickstart.py

With your own click log (CSV or parquet), one row per click::

    python examples/quickstart.py --events clicks.csv --session sid --item sku --time ts
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import skclip
from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionKNN,
    Sessions,
)
from skclip.datasets import make_sessions
from skclip.metrics import SessionScorer
from skclip.model_selection import TemporalSplit


def main():
    arguments = parse_arguments()
    X = read_sessions(arguments)
    print("Sessions:", summary(X))

    train, test = hold_out_later(X)
    print(f"Train on {len(train)} sessions, test on the latest {len(test)}.\n")

    clip = CLIPSessionRecommender(arguments.backbone, random_state=0, verbose=True)
    models = {
        "popularity": PopularityRecommender(),
        "nearest neighbors": SessionKNN("vstan"),
        f"CLIP, {arguments.backbone}": clip,
    }
    metrics = SessionScorer("recall@20", "mrr@20")
    rows = []
    for name, model in models.items():
        begun = time.perf_counter()
        model.fit(train)
        rows.append((name, metrics(model, test), time.perf_counter() - begun))

    print("\nPredict each click of the test sessions among all items of the catalog:")
    print(f"{'model':<20}{'Recall@20':>10}{'MRR@20':>10}{'fit + score':>14}")
    for name, values, seconds in rows:
        print(
            f"{name:<20}{values['recall@20']:>10.3f}{values['mrr@20']:>10.3f}"
            f"{seconds:>12.1f} s"
        )

    print(
        f"\nThe CLIP model uses {clip.clusterer_.n_clusters_} item clusters "
        f"(modularity {clip.clusterer_.modularity_:.2f}) among {clip.n_items_} items."
    )
    new_session = two_known_items(test, clip)
    print(f"Top 10 for a new session {new_session}:")
    top, scores = clip.predict_topk(
        [new_session], k=min(10, clip.n_items_), return_scores=True
    )
    for place, (item, score) in enumerate(zip(top[0], scores[0], strict=True), 1):
        print(f"{place:>4}. {item}  ({score:.2f})")

    path = arguments.save or Path(tempfile.mkdtemp()) / "clip.skclip"
    skclip.save(clip, path)
    again = skclip.load(path).predict_topk([new_session], k=top.shape[1])
    same = "the same" if np.array_equal(top, again) else "ANOTHER"
    print(
        f"\nSaved {path.stat().st_size / 1e6:.1f} MB. "
        f"The loaded model gives {same} ranking."
    )
    print(path)


def two_known_items(sessions, model):
    """The first two distinct items of a session that the model has seen in fit."""
    known = set(model.item_ids_.tolist())
    distinct = (dict.fromkeys(session.tolist()) for session in sessions)
    return max(([i for i in items if i in known] for items in distinct), key=len)[:2]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=Path, help="CSV or parquet file of clicks")
    parser.add_argument("--session", help="column of session ids")
    parser.add_argument("--item", help="column of item ids")
    parser.add_argument("--time", help="column of times, to sort the clicks")
    parser.add_argument("--backbone", default="gru4rec")
    parser.add_argument("--save", type=Path, help="file to save the model to")
    arguments = parser.parse_args()
    if arguments.events and not (arguments.session and arguments.item):
        parser.error("--events needs --session COL and --item COL")
    return arguments


def read_sessions(arguments):
    if arguments.events is None:
        return make_sessions(4000, 300, random_state=0)[0]
    try:
        import pandas as pd
    except ImportError as error:
        raise SystemExit(
            "Reading files needs pandas. Run pip install pandas."
        ) from error
    if arguments.events.suffix == ".parquet":
        clicks = pd.read_parquet(arguments.events)
    else:  # ids stay as they are written: "0007" would become the number 7
        ids = {arguments.session: str, arguments.item: str}
        clicks = pd.read_csv(arguments.events, dtype=ids)
    try:
        return Sessions.from_events(
            clicks,
            session=arguments.session,
            item=arguments.item,
            time=arguments.time,
        )
    except (KeyError, ValueError) as error:
        raise SystemExit(
            f"{arguments.events}: {error.args[0]}\n"
            "To clean a log step by step, see docs/guide/shop_csv.md."
        ) from error


def hold_out_later(X, share=0.2):
    if X.times is not None:
        train, test = next(TemporalSplit(1, test_size=share).split(X))
        return X[train], X[test]
    cut = len(X) - round(share * len(X))
    return X[:cut], X[cut:]


def summary(X):
    facts = X.describe()
    return (
        f"{facts['n_sessions']} sessions, {facts['n_events']} clicks, "
        f"{facts['n_items']} items, mean length {facts['mean_length']:.1f}"
    )


if __name__ == "__main__":
    main()
