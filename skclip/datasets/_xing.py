"""Xing, the RecSys Challenge 2016."""

from skclip.datasets._text_table import Field, TextTable
from skclip.datasets._visits import clip_sessions, visits_of


def read_xing(path, *, gap=1800, min_session_length=3, min_user_sessions=5):
    """Read the interactions of the RecSys Challenge 2016 (Xing) as sessions of jobs.

    A visit ends after an idle gap of more than 30 minutes, as Quadrana et al. (2017)
    did; deletions (type 4) and repeats of a job within its run of events are dropped;
    then sessions of fewer than 3 events and users with fewer than 5 sessions. The
    program that made the paper's file is not public; its table counts 11,399 users,
    59,039 jobs and 90,286 sessions of 5.82 jobs on average.

    Parameters
    ----------
    path : path-like
        ``interactions.csv``: tab-separated with the header ``user_id item_id
        interaction_type created_at``, times in seconds.
    gap : float, timedelta or str, default=1800
        Idle time after which a visit has ended: seconds, or text such as ``"30min"``.
    min_session_length, min_user_sessions : int, default=3, 5
        Sessions of fewer events, then users with fewer sessions, are dropped.

    Returns
    -------
    X : Sessions
        With times and users.

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
