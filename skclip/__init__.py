"""skclip: scikit-learn-style estimators for session-based recommendation.

From the items of an anonymous session, rank the whole catalogue for the next item::

    events -> Sessions -> item graph -> Leiden clusters -> prompts -+
                 |                                                  |
                 +-- prefixes -> batches -> item vectors + prompts -+-> backbone
                                                                          |
                          metrics <- ranking of the whole catalogue <- scores
"""

from skclip._clusterer import SessionClusterer
from skclip._recommender import CLIPSessionRecommender
from skclip._sessions import Sessions
from skclip._state import VERSION
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
from skclip.metrics import predict_topk
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
