"""Prepared files of session-rec, and its sample of YooChoose."""

from __future__ import annotations

from typing import Literal

from skclip._data import Sessions
from skclip._typing import PathLike
from skclip.datasets._fetch import PublicFile, fetch
from skclip.datasets._text_table import Field, read_events

_WHERE = (  # a commit, so these files cannot change
    "https://raw.githubusercontent.com/rn5l/session-rec/"
    "02cf50705942f13a7f7ad77b0816403fb88df0f5/data/rsc15/prepared/"
)
_SHA256 = {
    "train_full": "9842c90358298ee784fcf0c9dccb2eeb283ab04368e53bdeee896747f4c03e1e",
    "train_tr": "fb4c6381c8e5bc4de51553cb1ed210fb4016c87d2425d58344cd6b19e81c133a",
    "train_valid": "14fca72e690c19b0da391059b7cf2c1b611cddbd1248ce93578a039ddb26ea69",
    "test": "380410c606403531019e1ec0b4d192ef90492d594b9b5a91633b860618dd7136",
}
RSC15_100K = {
    subset: PublicFile(
        f"{_WHERE}yoochoose-clicks-100k_{subset}.txt",
        f"sha256:{_SHA256[subset]}",
        "read_session_rec",
    )
    for subset in _SHA256
}


def read_session_rec(path: PathLike) -> Sessions:
    """Read a prepared file of session-rec.

    Parameters
    ----------
    path : path-like
        File separated by tabs. Its header has the columns ``SessionId``, ``ItemId`` and
        ``Time`` (in seconds), in any order. ``UserId`` is optional. Other columns are
        ignored.

    Returns
    -------
    X : Sessions
        Sessions with times, and with users if the file has them. Events are sorted by
        time, and equal times keep the order of their lines. Sessions are sorted by the
        time of their last event. Ids are whole numbers if all ids of the column are,
        and text otherwise.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_session_rec
    >>> lines = ["SessionId ItemId Time", "7 31 20.5", "7 30 10.0", "8 31 60"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.txt")
    ...     _ = path.write_text("\\n".join(lines).replace(" ", "\\t"))
    ...     X = read_session_rec(path)
    >>> X.to_lists(), X.ids.tolist()
    ([[30, 31], [31]], [7, 8])
    """
    fields = [
        Field("session", ("SessionId",), "id"),
        Field("item", ("ItemId",), "id"),
        Field("time", ("Time",), "number"),
        Field("user", ("UserId",), "id", optional=True),
    ]
    return read_events(path, fields, sep="\t")


def fetch_rsc15_100k(
    subset: Literal["train_full", "train_tr", "train_valid", "test"] = "train_full",
    *,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Sessions:
    """Fetch session-rec's sample of YooChoose: 100,000 clicks, split in time.

    The files come from a commit of the repository rn5l/session-rec on GitHub. All parts
    together have 5 MB.

    Parameters
    ----------
    subset : {"train_full", "train_tr", "train_valid", "test"}, default="train_full"
        Part to read. ``train_full`` is ``train_tr`` and ``train_valid`` together.
    data_home, download_if_missing, n_retries, delay : object
        Options of the download, as in `fetch_lastfm_1k`.

    Returns
    -------
    X : Sessions
        Sessions as from `read_session_rec`.

    Raises
    ------
    OSError
        The download failed or is not allowed, or the file is not the published one.

    Examples
    --------
    >>> from skclip.datasets import fetch_rsc15_100k
    >>> fetch_rsc15_100k("valid")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: subset='valid' must be one of ['train_full', ..., 'test'].
    """
    if subset not in RSC15_100K:
        raise ValueError(f"subset={subset!r} must be one of {list(RSC15_100K)}.")
    path = fetch(RSC15_100K[subset], data_home, download_if_missing, n_retries, delay)
    return read_session_rec(path)
