"""The recommender: its settings, the steps of fit, and the estimator."""

from skclip._clip._recommender import CLIPSessionRecommender
from skclip._clip._settings import _DEFAULTS, PRESETS, chosen_params, resolve_params

__all__ = [
    "CLIPSessionRecommender",
    "PRESETS",
    "_DEFAULTS",
    "chosen_params",
    "resolve_params",
]
