"""Scores to lists and ranks. Knows no network."""

from skclip._ranking._base import RankingMixin, rows_apart
from skclip._ranking._preselect import (
    PRESELECTED_ROWS,
    Preselected,
    Preselector,
    worth_preselecting,
)
from skclip._ranking._similar import SimilarItemsMixin
from skclip._ranking._topk import (
    rows_per_chunk,
    rows_per_product,
    target_rank,
    topk_codes,
)
