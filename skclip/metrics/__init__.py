"""Yardsticks: of ranks, of whole lists, by group; and scorers for scikit-learn."""

from skclip._inside import predict_topk, unwrap  # noqa: F401
from skclip.metrics._accuracy import (
    METRICS,  # noqa: F401
    mrr_at_k,
    ndcg_at_k,
    parse_metric,  # noqa: F401
    precision_at_k,
    recall_at_k,
    target_ranks,
)
from skclip.metrics._groups import (
    by_group,
    length_groups,
    popularity_groups,
    position_groups,
)
from skclip.metrics._lists import (
    catalogue_coverage,
    cluster_diversity,
    gini_index,
    novelty,
    popularity_lift,
)
from skclip.metrics._scorers import SessionScorer

__all__ = [
    "SessionScorer",
    "by_group",
    "catalogue_coverage",
    "cluster_diversity",
    "gini_index",
    "length_groups",
    "mrr_at_k",
    "ndcg_at_k",
    "novelty",
    "popularity_groups",
    "popularity_lift",
    "position_groups",
    "precision_at_k",
    "predict_topk",
    "recall_at_k",
    "target_ranks",
]
