"""Splits of sessions in time and within sessions, comparison, and a check for leaks.

`TemporalSplit`, `SlidingWindowSplit` and `temporal_split` cut between sessions, which
is how a recommender is used: all of a test session is new. `WithinSessionSplit`,
`LeaveLastOut` and their functions cut inside them, as the released settings of CLIP-SBR
do: the beginning of nearly every test session is training data then, which makes the
task easier. Compare numbers of one protocol only. Every prefix with its next item
("sequence splitting") is `Sessions.to_prefixes`; models learn and score all prefixes of
whole sessions anyway.
"""

from skclip.model_selection._evaluate import evaluate
from skclip.model_selection._leakage import LeakageReport, leakage_check
from skclip.model_selection._splits import (
    SlidingWindowSplit,
    TemporalSplit,
    temporal_split,
)
from skclip.model_selection._within import (
    LeaveLastOut,
    WithinSessionSplit,
    last_targets,
    leave_last_out,
    within_session_sizes,
    within_session_split,
)

__all__ = [
    "LeakageReport",
    "LeaveLastOut",
    "SlidingWindowSplit",
    "TemporalSplit",
    "WithinSessionSplit",
    "evaluate",
    "last_targets",
    "leakage_check",
    "leave_last_out",
    "temporal_split",
    "within_session_sizes",
    "within_session_split",
]
