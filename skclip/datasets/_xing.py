"""Xing, the RecSys Challenge 2016."""

from __future__ import annotations

from skclip._data import Sessions
from skclip._typing import PathLike, Span
from skclip.datasets._text_table import Field, TextTable
from skclip.datasets._visits import clip_sessions, visits_of


def read_xing(
    path: PathLike,
    *,
    gap: Span = 1800,
    min_session_length: int = 3,
    min_user_sessions: int = 5,
) -> Sessions:
    """Read the interactions of the RecSys Challenge 2016 (Xing) as sessions of jobs.

    A visit ends after an idle gap of more than 30 minutes, as in Quadrana et al.
    (2017). Deletions (type 4) and immediate repeats of a job are dropped. Then sessions
    with fewer than 3 events are dropped, and after that users with fewer than 5
    sessions.

    The program behind the paper's file is not public. The paper counts 11,399 users and
    59,039 jobs. Its 90,286 sessions have 5.82 jobs on average.

    Parameters
    ----------
    path : path-like
        File ``interactions.csv``, separated by tabs, with the header ``user_id item_id
        interaction_type created_at``. Times are in seconds.
    gap : float, timedelta or str, default=1800
        Longest idle time within a visit, in seconds or as text such as ``"30min"``.
    min_session_length, min_user_sessions : int, default=3, 5
        Smallest number of events per session, and of sessions per user. Shorter
        sessions are dropped first, then users.

    Returns
    -------
    X : Sessions
        Sessions with times and users.

    Notes
    -----
    Differences from the paper and its code:

    - **Deletions and repeats.** The paper gives counts and idle gaps, and the program
      behind its file is not public. skclip drops deletions and immediate repeats by its
      own choice. It was tested on small files of this format, not on the real one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_xing
    >>> lines = "user_id item_id interaction_type created_at\\n1 70 1 0\\n1 71 1 60\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "interactions.csv")
    ...     _ = path.write_text(lines.replace(" ", "\\t"))
    ...     read_xing(path, min_session_length=2, min_user_sessions=1).to_lists()
    [[70, 71]]
    """
    fields = [
        Field("user", ("user_id",), "id"),
        Field("item", ("item_id",), "id"),
        Field("kind", ("interaction_type",), "number"),
        Field("time", ("created_at",), "number"),
    ]
    events = TextTable(path, fields, sep="\t").read()
    events = events.filter(events["kind"] != 4)
    return clip_sessions(visits_of(events, gap), min_session_length, min_user_sessions)
