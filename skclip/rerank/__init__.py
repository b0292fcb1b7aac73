"""A second stage over a recommender: more diverse lists, learned order of candidates.

Both estimators put the first items of a recommender in another order, and leave the
rest of its list as it is.
"""

from skclip.rerank._candidates import CandidateRanker
from skclip.rerank._mmr import MMRReranker

__all__ = ["CandidateRanker", "MMRReranker"]
