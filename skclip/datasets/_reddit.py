"""Reddit, the subreddits that users comment in."""

from skclip.datasets._text_table import Field, TextTable
from skclip.datasets._visits import clip_sessions, visits_of


def read_reddit(path, *, gap=3600, min_session_length=3, min_user_sessions=5):
    """Read comments as sessions of the subreddits that a user visits.

    A visit ends after an idle gap of more than 60 minutes; immediate repeats are
    dropped; then sessions of fewer than 3 events and users with fewer than 5 sessions.
    The program that made the paper's file is not public; its table counts 13,850 users,
    21,790 subreddits and 458,292 sessions of 4.49 subreddits on average.

    Parameters
    ----------
    path : path-like
        ``reddit_data.csv``: comma-separated with the header ``username,subreddit,utc``,
        times in seconds.
    gap : float, timedelta or str, default=3600
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
