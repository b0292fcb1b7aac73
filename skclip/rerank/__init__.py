"""Second stages over a recommender: more diverse lists, and a learned order.

Both estimators reorder the first items of a recommender's list, and leave the rest of
the list as it is.
"""

from skclip.rerank._candidates import CandidateRanker
from skclip.rerank._mmr import MMRReranker

__all__ = ["CandidateRanker", "MMRReranker"]
