"""From scores to lists and ranks, without knowledge of networks."""

from skclip._ranking._base import RankingMixin, rows_apart
from skclip._ranking._preselect import (
    PRESELECTED_ROWS,
    Preselected,
    Preselector,
    worth_preselecting,
)
from skclip._ranking._reranking import RerankingMixin, base_of, queries_of_base
from skclip._ranking._rules import Groups, clusters_of
from skclip._ranking._similar import SimilarItemsMixin
from skclip._ranking._topk import (
    ranks_in_sets,
    rows_per_chunk,
    rows_per_product,
    target_rank,
    topk_codes,
)
