"""Reddit: the subreddits that users comment in."""

from __future__ import annotations

from skclip._data import Sessions
from skclip._typing import PathLike, Span
from skclip.datasets._text_table import Field, TextTable
from skclip.datasets._visits import clip_sessions, visits_of


def read_reddit(
    path: PathLike,
    *,
    gap: Span = 3600,
    min_session_length: int = 3,
    min_user_sessions: int = 5,
) -> Sessions:
    """Read comments as sessions of the subreddits that a user visits.

    A visit ends after an idle gap of more than 60 minutes. Immediate repeats are
    dropped. Then sessions with fewer than 3 events are dropped, and after that users
    with fewer than 5 sessions.

    The program behind the paper's file is not public. The paper counts 13,850 users and
    21,790 subreddits. Its 458,292 sessions have 4.49 subreddits on average.

    Parameters
    ----------
    path : path-like
        File ``reddit_data.csv``, separated by commas, with the header
        ``username,subreddit,utc``. Times are in seconds.
    gap : float, timedelta or str, default=3600
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

    - **Repeats.** The paper gives counts and idle gaps, and the program behind its file
      is not public. skclip drops immediate repeats by its own choice. It was tested on
      small files of this format, not on the real one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_reddit
    >>> lines = "username,subreddit,utc\\nann,tea,0\\nann,cups,60\\nann,tea,9000\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "reddit_data.csv")
    ...     _ = path.write_text(lines)
    ...     read_reddit(path, min_session_length=2, min_user_sessions=1).to_lists()
    [['tea', 'cups']]
    """
    fields = [
        Field("user", ("username",), "text"),
        Field("item", ("subreddit",), "text"),
        Field("time", ("utc",), "number"),
    ]
    visits = visits_of(TextTable(path, fields, sep=",").read(), gap)
    return clip_sessions(visits, min_session_length, min_user_sessions)
