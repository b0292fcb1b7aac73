"""Readers of the data sets of the papers, and the sessions of their experiments.

The files themselves are not shipped and were not at hand: the readers are tested on
small files in these formats, so check the counts of `Sessions.describe` against the
paper's table.
"""

from functools import partial

import narwhals.stable.v2 as nw

from skclip._data import Sessions
from skclip.datasets._text_table import Field, read_table, with_seconds
from skclip.preprocessing import (
    drop_rare_items,
    drop_rare_users,
    drop_repeats,
    drop_short_sessions,
    keep_top_items,
    sessionize,
    truncate_sessions,
    until_stable,
)


def read_lastfm_1k(
    path,
    *,
    gap=8 * 3600,
    max_length=20,
    n_items=40_000,
    min_session_length=3,
    min_user_sessions=5,
):
    """Read Last.fm-1K as sessions of artists, as in the CLIP-SBR experiments.

    In this order: rows without an artist are dropped; a visit ends after an idle gap
    of more than 8 hours; immediate repeats are dropped; the first 20 events of a visit
    and the 40,000 artists with most events are kept; sessions of one event and artists
    with fewer than 5 events are dropped until there are none (all as HG-GNN's program);
    then sessions of fewer than 3 events and, once, users with fewer than 5 sessions
    (as CLIP-SBR's). The paper counts 966 users, 38,784 artists and 294,402 sessions of
    12.86 artists on average.

    Parameters
    ----------
    path : path-like
        ``userid-timestamp-artid-artname-traid-traname.tsv``, tab-separated without a
        header: user, ISO 8601 time, artist id, artist, track id, track (which may hold
        tabs). It may be gzipped.
    gap : float, default=28800
        Idle seconds.
    max_length, n_items : int, default=20, 40000
        Events kept of each visit, and artists kept.
    min_session_length, min_user_sessions : int, default=3, 5
        Sessions of fewer events, then users with fewer sessions, are dropped.

    Returns
    -------
    X : Sessions
        Items are artist names (1,000 users, 19 million events: some minutes, and
        about 10 GB); with times and users.

    Raises
    ------
    ValueError
        The first line does not have six fields, or a value is wrong; the message names
        line and column.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from skclip.datasets import read_lastfm_1k
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "lastfm.tsv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("".join(
    ...             f"ann\\t2009-05-04T13:0{i}:00Z\\t\\t{artist}\\t\\tsong\\n"
    ...             for i, artist in enumerate(["Nina", "Bill"] * 5)
    ...         ))
    ...     X = read_lastfm_1k(path, min_session_length=2, min_user_sessions=1)
    >>> X.to_lists()[0][:3], X.lengths.tolist(), X.users.tolist()
    (['Nina', 'Bill', 'Nina'], [10], ['ann'])
    """
    names = ["user", "time", "artist_id", "artist", "track_id", "track"]
    fields = [
        Field("user", ("user",), "id"),
        Field("time", ("time",), "time"),
        Field("item", ("artist",), "text", missing=("",)),
    ]
    # some track names hold tabs
    options = {"sep": "\t", "names": names, "free_end": True}
    events = read_table(path, fields, **options)
    events = with_seconds(events.drop_nulls(), path, fields, **options)
    visits = _visits(events.to_native(), gap)
    visits = truncate_sessions(visits, session="session", max_length=max_length)
    visits = keep_top_items(visits, item="item", n_items=n_items)
    visits = until_stable(
        visits,
        partial(drop_short_sessions, session="session", min_length=2),
        partial(drop_rare_items, item="item", min_count=5),
    )
    return _clip_sessions(visits, min_session_length, min_user_sessions)


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
    gap : float, default=1800
        Idle seconds.
    min_session_length, min_user_sessions : int, default=3, 5
        Sessions of fewer events, then users with fewer sessions, are dropped.

    Returns
    -------
    X : Sessions
        With times and users.

    Raises
    ------
    ValueError
        A column is missing or a value is wrong; the message names line and column.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from skclip.datasets import read_xing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "interactions.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("user_id\\titem_id\\tinteraction_type\\tcreated_at\\n"
    ...                         "1\\t70\\t1\\t0\\n1\\t71\\t1\\t60\\n")
    ...     X = read_xing(path, min_session_length=2, min_user_sessions=1)
    >>> X.to_lists(), X.users.tolist()
    ([[70, 71]], [1])
    """
    fields = [
        Field("user", ("user_id",), "id"),
        Field("item", ("item_id",), "id"),
        Field("kind", ("interaction_type",), "number"),
        Field("time", ("created_at",), "number"),
    ]
    events = read_table(path, fields, sep="\t").filter(nw.col("kind") != 4)
    visits = _visits(events.to_native(), gap)
    return _clip_sessions(visits, min_session_length, min_user_sessions)


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
    gap : float, default=3600
        Idle seconds.
    min_session_length, min_user_sessions : int, default=3, 5
        Sessions of fewer events, then users with fewer sessions, are dropped.

    Returns
    -------
    X : Sessions
        With times and users.

    Raises
    ------
    ValueError
        A column is missing or a value is wrong; the message names line and column.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from skclip.datasets import read_reddit
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "reddit_data.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("username,subreddit,utc\\n"
    ...                         "ann,tea,0\\nann,cups,60\\nann,tea,9000\\n")
    ...     X = read_reddit(path, min_session_length=2, min_user_sessions=1)
    >>> X.to_lists(), X.users.tolist()
    ([['tea', 'cups']], ['ann'])
    """
    fields = [
        Field("user", ("username",), "text"),
        Field("item", ("subreddit",), "text"),
        Field("time", ("utc",), "number"),
    ]
    visits = _visits(read_table(path, fields, sep=",").to_native(), gap)
    return _clip_sessions(visits, min_session_length, min_user_sessions)


def _visits(events, gap):
    """Visits by idle gap, immediate repeats dropped."""
    visits = sessionize(events, user="user", time="time", gap=gap)
    return drop_repeats(visits, session="session", item="item")


def _clip_sessions(visits, min_session_length, min_user_sessions):
    """The last two filters of CLIP-SBR, each once."""
    visits = drop_short_sessions(
        visits, session="session", min_length=min_session_length
    )
    visits = drop_rare_users(
        visits, user="user", session="session", min_sessions=min_user_sessions
    )
    if len(visits) == 0:
        raise ValueError(
            f"No user has {min_user_sessions} sessions of {min_session_length} events. "
            "Pass a smaller min_user_sessions or min_session_length."
        )
    return Sessions.from_events(
        visits, session="session", item="item", time="time", user="user"
    )
