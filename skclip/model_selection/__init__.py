"""Splits of sessions in time and within sessions, comparison, and a check for leaks.

`TemporalSplit`, `SlidingWindowSplit` and `temporal_split` cut between sessions. All of
a test session is then new to the model, as in production. `within_session_split`,
`leave_last_out` and `LeaveLastOut` cut inside sessions, as the released settings of
CLIP-SBR do. The beginning of nearly every test session is then training data, which
makes the task easier. Only compare numbers from the same protocol.
`Sessions.to_prefixes` lists every prefix with its next item. You do not need it for
`fit` and `score`, which read all prefixes of whole sessions.
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
    "evaluate",
    "last_targets",
    "leakage_check",
    "leave_last_out",
    "temporal_split",
    "within_session_sizes",
    "within_session_split",
]
