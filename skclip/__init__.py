"""skclip: scikit-learn-style estimators for session-based recommendation.

From the items of an anonymous session, rank the whole catalogue for the next item::

    events -> Sessions -> item graph -> Leiden clusters -> prompts -+
                 |                                                  |
                 +-- prefixes -> batches -> item vectors + prompts -+-> backbone
                                                                          |
                          metrics <- ranking of the whole catalogue <- scores
"""

import importlib

from skclip._base import VERSION
from skclip._clip import CLIPSessionRecommender
from skclip._clusters import SessionClusterer
from skclip._data import Sessions
from skclip._inside import predict_topk
from skclip.baselines import (
    SLIST,
    AssociationRules,
    MarkovRecommender,
    PopularityRecommender,
    SequentialRules,
    SessionKNN,
)
from skclip.ensemble import VotingRecommender
from skclip.llm import LLMReranker
from skclip.persistence import load, save

__version__ = VERSION

__all__ = [
    "SLIST",
    "AssociationRules",
    "CLIPSessionRecommender",
    "LLMReranker",
    "MarkovRecommender",
    "PopularityRecommender",
    "SequentialRules",
    "SessionClusterer",
    "SessionKNN",
    "Sessions",
    "VotingRecommender",
    "load",
    "predict_topk",
    "save",
]


def __getattr__(name):
    """Import a module when it is asked for: ``skclip.datasets`` and its like."""
    if name in ("datasets", "inspection", "model_selection", "preprocessing"):
        return importlib.import_module(f"skclip.{name}")
    raise AttributeError(f"module 'skclip' has no attribute {name!r}")
