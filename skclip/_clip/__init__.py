"""The recommender: its settings, the steps of fit, and the estimator."""

from skclip._clip._recommender import CLIPSessionRecommender
from skclip._clip._settings import PRESETS
