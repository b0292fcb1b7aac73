"""Last.fm-1K, the listening histories of a thousand users."""

from functools import partial

from skclip.datasets._fetch import PublicFile, fetch
from skclip.datasets._text_table import Field, TextTable
from skclip.datasets._visits import clip_sessions, visits_of
from skclip.preprocessing import (
    drop_rare_items,
    drop_short_sessions,
    keep_top_items,
    truncate_sessions,
    until_stable,
)

LASTFM_1K = PublicFile(
    "https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz",
    "md5:64747b21563e3d2aa95751e0ddc46b68",  # of the member, on the author's page
    "read_lastfm_1k",
    member="userid-timestamp-artid-artname-traid-traname.tsv",
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

    In this order, as HG-GNN's program: rows without an artist are dropped; a visit ends
    after an idle gap of more than 8 hours; immediate repeats are dropped; the first 20
    events of a visit and the 40,000 artists with most events are kept; sessions of one
    event and artists with fewer than 5 events are dropped until there are none. Then,
    as CLIP-SBR's: sessions of fewer than 3 events and, once, users with fewer than 5
    sessions. The paper counts 966 users, 38,784 artists and 294,402 sessions of 12.86
    artists on average.

    Parameters
    ----------
    path : path-like
        ``userid-timestamp-artid-artname-traid-traname.tsv``: tab-separated, no header.
    gap : float, timedelta or str, default=28800
        Idle time after which a visit has ended: seconds, or text such as ``"30min"``.
    max_length, n_items : int, default=20, 40000
        Events kept of each visit, and artists kept.
    min_session_length, min_user_sessions : int, default=3, 5
        Sessions of fewer events, then users with fewer sessions, are dropped.

    Returns
    -------
    X : Sessions
        With times and users; items are artist names. Reading 19 million events takes
        some minutes and about 10 GB.

    Notes
    -----
    Differences from the paper and its code:

    - **Preparation.** The paper gives counts and idle gaps, and its code starts from a
      file of another project. skclip follows the known rules, each as a parameter; see
      the counts above to compare.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_lastfm_1k
    >>> line = "ann\\t2009-05-04T13:0{}:00Z\\t\\t{}\\t\\tsong\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "lastfm.tsv")
    ...     _ = path.write_text("".join(line.format(i, "AB"[i % 2]) for i in range(10)))
    ...     X = read_lastfm_1k(path, min_user_sessions=1)
    >>> X.to_lists()[0][:3], X.lengths.tolist(), X.users.tolist()
    (['A', 'B', 'A'], [10], ['ann'])
    """
    visits = visits_of(_plays(path), gap)
    visits = truncate_sessions(visits, session="session", max_length=max_length)
    visits = keep_top_items(visits, item="item", n_items=n_items)
    visits = until_stable(
        visits,
        partial(drop_short_sessions, session="session", min_length=2),
        partial(drop_rare_items, item="item", min_count=5),
    )
    return clip_sessions(visits, min_session_length, min_user_sessions)


def _plays(path):
    """Events with an artist; the last column may hold tabs."""
    names = ["user", "time", "artist_id", "artist", "track_id", "track"]
    fields = [
        Field("user", ("user",), "id"),
        Field("time", ("time",), "time"),
        Field("item", ("artist",), "text", missing=""),
    ]
    options = {"sep": "\t", "names": names, "free_end": True}
    return TextTable(path, fields, **options).read().drop_nulls()


def fetch_lastfm_1k(
    *,
    data_home=None,
    download_if_missing=True,
    n_retries=3,
    delay=1.0,
    **options,
):
    """Fetch Last.fm-1K and read it as in the CLIP-SBR experiments.

    From Zenodo, record 6090214: 670 MB, unpacked 2.4 GB. The data are for
    non-commercial use.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder of downloads; None is that of scikit-learn.
    download_if_missing : bool, default=True
        False raises an OSError instead of a download.
    n_retries, delay : int and float, default=3, 1.0
        Times to try again after a failed attempt, and seconds in between.
    **options
        Passed to `read_lastfm_1k`.

    Returns
    -------
    X : Sessions
        As from `read_lastfm_1k`.

    Raises
    ------
    OSError
        The download failed, is not allowed, or is not the file that was expected.

    Examples
    --------
    >>> import tempfile
    >>> from skclip.datasets import fetch_lastfm_1k
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         fetch_lastfm_1k(data_home=folder, download_if_missing=False)
    ...     except OSError as error:
    ...         print(str(error).split(". ")[0][-46:])
    is not there, and download_if_missing is False
    """
    path = fetch(LASTFM_1K, data_home, download_if_missing, n_retries, delay)
    return read_lastfm_1k(path, **options)
