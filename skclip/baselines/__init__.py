"""Recommenders without a network: simple, fast, and hard to beat."""

from skclip.baselines._base import BaselineRecommender, fitted_catalog  # noqa: F401
from skclip.baselines._knn import SessionKNN
from skclip.baselines._popularity import PopularityRecommender
from skclip.baselines._rules import (
    AssociationRules,
    MarkovRecommender,
    SequentialRules,
)
from skclip.baselines._slist import SLIST

__all__ = [
    "SLIST",
    "AssociationRules",
    "MarkovRecommender",
    "PopularityRecommender",
    "SequentialRules",
    "SessionKNN",
]
