"""Sessions to clusters of items: item graph, Leiden, votes, membership."""

from skclip._clusters._assignment import (
    Assignment,
    assign_clusters,
    extend_clusters,
    with_new_items,
)
from skclip._clusters._clusterer import ItemClusterer, SessionClusterer
from skclip._clusters._item_graph import build_item_graph, text_graph
from skclip._clusters._leiden import (
    align_clusters,
    canonical_clusters,
    canonical_levels,
    leiden_membership,
    match_clusters,
    modularity,
)
from skclip._clusters._membership import known_ids_of, levels_of
from skclip._clusters._votes import vote_clusters
