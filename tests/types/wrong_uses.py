"""What type checkers refuse. mypy reports an ignored line that has no error."""

from __future__ import annotations

import pandas as pd

from skclip import CLIPSessionRecommender, SessionClusterer, SessionKNN, Sessions
from skclip.model_selection import temporal_split


def mistakes(X: Sessions, frame: pd.DataFrame) -> None:
    recommender = CLIPSessionRecommender(embedding_dim="64")  # type: ignore[arg-type]
    recommender.fit(X).predict_topkk(X)  # type: ignore[attr-defined]
    recommender.predict_topk(X, exclude=True)  # type: ignore[call-overload]
    recommender.fit(["a", "b"], y=3)  # type: ignore[arg-type]
    SessionClusterer(graph_edges="titles")  # type: ignore[arg-type]
    SessionClusterer().set_score_request(event=True)  # type: ignore[attr-defined]
    SessionKNN("knn")  # type: ignore[arg-type]
    a, b = temporal_split(X)  # type: ignore[misc]
    Sessions.from_events(frame, session="sid")  # type: ignore[call-arg]
    recommender.score(X) + "%"  # type: ignore[operator]
