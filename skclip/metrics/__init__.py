"""Ranking metrics for targets, for whole lists and by group, and a scorer.

All functions raise a ValueError for empty input, for ranks below 1 and for a cut-off
below 1.
"""

# F401: the names that are not in __all__ are for the other packages of skclip.
from skclip.metrics._accuracy import (  # noqa: F401
    GAINS,
    RankRows,
    hit_rate_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    parse_metric,
    precision_at_k,
    recall_at_k,
    split_metric,
    target_ranks,
)
from skclip.metrics._groups import (  # noqa: F401
    by_group,
    group_codes,
    length_groups,
    popularity_groups,
    position_groups,
)
from skclip.metrics._lists import (  # noqa: F401
    LIST_METRICS,
    catalog_coverage,
    cluster_diversity,
    coverage_of,
    diversity_of,
    exposure_of,
    gini_index,
    gini_of,
    item_counts,
    lift_parts,
    list_codes,
    novelty,
    novelty_of,
    popularity_lift,
)
from skclip.metrics._scorers import SessionScorer, rank_rows  # noqa: F401

__all__ = [
    "SessionScorer",
    "by_group",
    "catalog_coverage",
    "cluster_diversity",
    "gini_index",
    "hit_rate_at_k",
    "length_groups",
    "map_at_k",
    "mrr_at_k",
    "ndcg_at_k",
    "novelty",
    "popularity_groups",
    "popularity_lift",
    "position_groups",
    "precision_at_k",
    "recall_at_k",
    "target_ranks",
]
