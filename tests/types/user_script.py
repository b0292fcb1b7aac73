"""A script of a user who checks types: ``mypy --strict`` accepts it, and it runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from typing_extensions import assert_type

import skclip
from skclip import CLIPSessionRecommender, Prompt, SessionClusterer, Sessions
from skclip.backbones import GRU4Rec
from skclip.datasets import make_sessions
from skclip.features import ItemFeatures
from skclip.losses import SampledSoftmax
from skclip.metrics import SessionScorer, mrr_at_k
from skclip.model_selection import TemporalSplit, evaluate, temporal_split
from skclip.scoring import TopK

Ids = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Lists = tuple[NDArray[Any], NDArray[np.float32]]


def sessions_of(clicks: pd.DataFrame) -> Sessions:
    return Sessions.from_events(clicks, session="session", item="item", time="time")


def recommend(model: CLIPSessionRecommender, seen: list[str], k: int = 3) -> list[str]:
    ranked: list[str] = model.predict_topk([seen], k, exclude_seen=True)[0].tolist()
    return ranked


def mean_rank(model: Any, X: Sessions, y: Ids | None = None) -> float:
    return -float(np.median(model.rank_targets(X, y)))


def with_weights(model: skclip.SessionKNN) -> skclip.SessionKNN:
    return model.set_fit_request(sample_weight=True)


def main() -> None:
    simulated, _ = make_sessions(300, n_items=40, random_state=0)
    X = sessions_of(simulated.to_frame())
    train, test = temporal_split(X, validation_size=None)
    assert_type(train, Sessions)
    assert_type(temporal_split(X), tuple[Sessions, Sessions, Sessions])
    assert_type(X[np.argmax(X.lengths)], Ids)
    assert_type(X[10:20], Sessions)
    print(max(len(session) for session in X), X.describe()["n_events"])

    recommender = CLIPSessionRecommender(
        GRU4Rec(hidden_dim=8),
        prompt=Prompt("cluster", gate="scalar"),
        clusterer=SessionClusterer([0.5, 1.0]),
        item_features=ItemFeatures.from_mapping({i: [1.0] for i in X.vocabulary}),
        loss=SampledSoftmax(16),
        embedding_dim=8,
        max_epochs=1,
        scoring=mean_rank,
        random_state=0,
    )
    fitted = recommender.fit(train, eval_set=(test, None))
    assert_type(fitted, CLIPSessionRecommender)
    assert_type(fitted.predict_topk(test, k=5), Ids)
    assert_type(fitted.predict_topk(test, k=5, return_scores=True), Lists)
    assert_type(fitted.predict([["item-001"]]), Ids)
    assert_type(fitted.similar_items(["item-001"], k=2), Ids)
    assert_type(fitted.score(test), float)
    assert_type(fitted.n_iter_, int)
    assert_type(fitted.item_vectors_, Floats)
    assert_type(fitted.membership_, NDArray[np.integer[Any]] | None)
    assert_type(fitted.set_params(verbose=False), CLIPSessionRecommender)
    assert_type(fitted.partial_fit(test), CLIPSessionRecommender)
    assert_type(mrr_at_k(fitted.rank_targets(test), 20), float)
    assert_type(
        SessionScorer("recall@5", "mrr@5")(fitted, test), float | dict[str, float]
    )
    print(recommend(fitted, ["item-001"]), fitted.parameter_report()["total"])

    models = {
        "popular": skclip.PopularityRecommender(),
        "neighbors": skclip.SessionKNN("vstan", n_neighbors=20),
        "diverse": skclip.MMRReranker(skclip.SLIST()),
        "blend": skclip.VotingRecommender([("a", skclip.MarkovRecommender())]),
    }
    print(evaluate(models, train, test, metrics=["mrr@5"], n_boot=20, random_state=0))
    table, fits = evaluate(models, train, test, n_boot=20, return_estimators=True)
    print(len(table), list(fits))
    neighbors = skclip.SessionKNN().fit(train)
    assert_type(neighbors, skclip.SessionKNN)
    assert_type(neighbors.predict_topk(test, return_scores=True), Lists)

    pipeline = make_pipeline(SessionClusterer(), skclip.SequentialRules()).fit(train)
    assert_type(skclip.predict_topk(pipeline, test, k=3), Ids)
    assert_type(skclip.predict_topk(pipeline, test, return_scores=True), Lists)
    assert_type(skclip.partial_fit(neighbors, test), skclip.SessionKNN)
    search = GridSearchCV(
        neighbors, {"n_neighbors": [10, 50]}, cv=TemporalSplit(2)
    ).fit(train)
    print(search.best_params_, skclip.predict_topk(search, [["item-001"]], k=2))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shop.skclip")
        skclip.save(neighbors, path)
        again: skclip.SessionKNN = skclip.load(path)
        print((again.predict(test) == neighbors.predict(test)).all())
        frame = pd.DataFrame({"session": [1], "items": [["item-001"]]})
        print(TopK(path, k=2)(frame))


if __name__ == "__main__":
    main()
