"""Figures of fitted models, and explanations of recommendations.

The displays follow scikit-learn. ``from_estimator`` computes and plots, the object
keeps the numbers, and ``plot`` draws them again. The attribute ``axes_`` holds the
panels, ``figure_`` their figure, and ``ax_`` the given Axes or the first panel. Figures
need matplotlib (``pip install skclip[plot]``).
"""

from skclip.inspection._cluster_map import ClusterMapDisplay
from skclip.inspection._explain import SessionExplanationDisplay, explain
from skclip.inspection._explain import occlusion as occlusion  # for the server
from skclip.inspection._gate import GateDisplay
from skclip.inspection._history import TrainingHistoryDisplay
from skclip.inspection._interests import (
    interest_assignments,
    interest_report,
    interest_vectors,
    interest_weights,
)
from skclip.inspection._rank_curve import RankCurveDisplay

__all__ = [
    "ClusterMapDisplay",
    "GateDisplay",
    "RankCurveDisplay",
    "SessionExplanationDisplay",
    "TrainingHistoryDisplay",
    "explain",
    "interest_assignments",
    "interest_report",
    "interest_vectors",
    "interest_weights",
]
