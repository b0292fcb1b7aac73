"""Displays of what was learned, and explanations as a frame.

Displays follow scikit-learn: ``from_estimator`` computes and plots, the object keeps
the numbers, ``plot`` draws them again. The panels are ``axes_``, their figure is
``figure_``, and ``ax_`` is the Axes that was given, or the first panel. matplotlib is
imported when something is drawn (``pip install skclip[plot]``).
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
