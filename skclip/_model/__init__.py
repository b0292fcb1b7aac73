"""From item codes to scores: item table, prompts, features and a backbone."""

from skclip._model._batches import Batches
from skclip._model._draws import Draws
from skclip._model._fusion import FUSIONS, Fusion, as_fusion, used_features
from skclip._model._growth import Holders, grown_model, model_with_features, new_model
from skclip._model._prompts import KINDS, Kind, Prompt, as_prompt, kinds_of
from skclip._model._reading import (
    most_read,
    observed_prefixes,
    read_states,
    reading_tasks,
)
from skclip._model._repeats import N_COUNTS, N_STEPS, RepeatBias, seen_items
from skclip._model._session_model import SessionModel, n_rows, take_rows
