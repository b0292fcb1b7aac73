"""Scores to lists and ranks. Knows no network."""

from skclip._ranking._base import RankingMixin
from skclip._ranking._topk import rows_per_chunk, target_rank, topk_codes
