"""Codes to scores: item table, prompts, features, and a backbone on top."""

from skclip._model._batches import Batches
from skclip._model._fusion import FUSIONS, Fusion
from skclip._model._growth import (
    carry_over,
    cluster_tables,
    keep_leading_buffers,
    rows_of_table,
    start_from_cluster_mates,
    start_new_prompts,
)
from skclip._model._item_table import look_up, unit_rows
from skclip._model._prompts import KINDS, Prompts, cluster_cells
from skclip._model._reading import observed_prefixes, read_states
from skclip._model._session_model import SessionModel, take_rows

__all__ = [
    "Batches",
    "FUSIONS",
    "Fusion",
    "KINDS",
    "Prompts",
    "SessionModel",
    "carry_over",
    "cluster_cells",
    "cluster_tables",
    "keep_leading_buffers",
    "look_up",
    "observed_prefixes",
    "read_states",
    "rows_of_table",
    "start_from_cluster_mates",
    "start_new_prompts",
    "take_rows",
    "unit_rows",
]
