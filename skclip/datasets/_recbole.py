"""Atomic files of RecBole."""

from __future__ import annotations

import numpy as np

from skclip._data import Sessions, times_fall
from skclip._typing import ItemIds, PathLike
from skclip.datasets._text_table import (
    Field,
    TextTable,
    are_whole,
    prefixes_and_targets,
    sessions_of,
)

_OF_LINES = [  # optional columns of a file of lists
    Field("session", ("session_id",), "id", optional=True),
    Field("user", ("user_id",), "id", optional=True),
    Field("times", ("timestamp_list",), "numbers", optional=True),
]


def read_recbole(path: PathLike, *, session: str = "session_id") -> Sessions:
    """Read an atomic file of RecBole, with one event or one session per line.

    Parameters
    ----------
    path : path-like
        File ``.inter``, separated by tabs, with a typed header such as
        ``session_id:token item_id:token timestamp:float``. Without a time, the order of
        the lines is the order of the events. With ``item_id_list:token_seq`` instead of
        ``item_id:token``, each line is a session with items separated by spaces.
    session : str, default="session_id"
        Name of the session column. Data sets of users do not have it. For these,
        ``session="user_id"`` makes one session of all events of each user. To split
        them into visits, see `skclip.preprocessing.sessionize`.

    Returns
    -------
    X : Sessions
        Sessions, with times if the file has them, and with users if it has
        ``user_id``. Single events are sorted by time, and whole sessions keep their
        order. Ids are whole numbers if all ids of the column are, and text otherwise.

    Raises
    ------
    ValueError
        A column is missing or a value is wrong. The message names line and column. Or
        the file has prefixes and targets, which `read_recbole_prefixes` reads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_recbole
    >>> lines = "session_id:token item_id:token timestamp:float\\n7 31 9.5\\n7 30 8\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.inter")
    ...     _ = path.write_text(lines.replace(" ", "\\t"))
    ...     read_recbole(path).to_lists()
    [[30, 31]]
    """
    fields = [
        Field("session", (session,), "id", optional=True),
        Field("item", ("item_id",), "id", optional=True),
        Field("items", ("item_id_list",), "text", optional=True),
        Field("time", ("timestamp",), "number", optional=True),
        *_OF_LINES[1:],
    ]
    table = TextTable(path, fields, sep="\t", header=_untyped)
    frame = table.read()
    if "items" not in frame.columns:
        _check_events(table, session)
        return sessions_of(path, frame)
    if "item" in frame.columns:
        raise ValueError(
            f"{path}, line 1: the columns 'item_id_list' and 'item_id' hold "
            "prefixes and targets, not sessions. Use read_recbole_prefixes."
        )
    return _rows_of_lists(table, frame)[0]


def read_recbole_prefixes(path: PathLike) -> tuple[Sessions, ItemIds]:
    """Read an atomic file of RecBole that holds prefixes and their targets.

    Parameters
    ----------
    path : path-like
        File ``.inter``, separated by tabs, with a typed header such as
        ``session_id:token item_id_list:token_seq item_id:token``. The items of a prefix
        are separated by spaces. RecBole's session benchmarks have this form.

    Returns
    -------
    X : Sessions
        Prefixes in the order of the lines, with ids (``session_id``), users
        (``user_id``) and times (``timestamp_list:float_seq``) if the file has them.
    y : ndarray of shape (n_prefixes,)
        Target of each prefix, for ``fit(X, y)`` and ``score(X, y)``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_recbole_prefixes
    >>> lines = "item_id_list:token_seq|item_id:token\\n30 31|32\\n30|31\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.train.inter")
    ...     _ = path.write_text(lines.replace("|", "\\t"))
    ...     X, y = read_recbole_prefixes(path)
    >>> X.to_lists(), y.tolist()
    ([[30, 31], [30]], [32, 31])
    """
    items = Field("items", ("item_id_list",), "text")
    fields = [items, Field("item", ("item_id",), "id"), *_OF_LINES]
    table = TextTable(path, fields, sep="\t", header=_untyped)
    return _rows_of_lists(table, table.read())


def _untyped(name):
    """Return the name in a typed header, "item_id" for "item_id:token"."""
    return name.split(":")[0]


def _check_events(table, session):
    """Refuse a file of events without a column of sessions or items."""
    found = {field.role: field.names[0] for field in table.places}
    hint = " Pass session='user_id' to make one session per user."
    for role, name in (("session", session), ("item", "item_id")):
        if role not in found:
            raise ValueError(
                f"{table.path}, line 1: no column {name!r}. Expected a typed header "
                "such as 'session_id:token', 'item_id:token'. Found "
                f"{list(found.values())}."
                f"{hint if 'user' in found and role == 'session' else ''}"
            )


def _rows_of_lists(table, frame):
    """Return sessions from the column of lists, and targets from that of items."""
    rows = [text.split() for text in frame["items"]]
    targets = [str(item) for item in frame["item"]] if "item" in frame.columns else []
    if are_whole({item for row in [targets, *rows] for item in row}):
        rows, targets = [list(map(int, row)) for row in rows], list(map(int, targets))
    columns = {
        name: frame[role].to_numpy()
        for name, role in (("ids", "session"), ("users", "user"))
        if role in frame.columns
    }
    if "times" in frame.columns:
        columns["times"] = _lists_of_times(table, frame, np.array(list(map(len, rows))))
    return prefixes_and_targets(rows, targets, **columns)


def _lists_of_times(table, frame, n_items):
    """Return the times of all events, after a check of their number and order."""

    def refuse(row, what):
        where = f"{table.path}, line {table.line_of(row)}, column 'timestamp_list'"
        raise ValueError(f"{where}: {what}")

    lists = [text.split(" ") for text in frame["times"]]
    n_times = np.array(list(map(len, lists)))
    if (n_times != n_items).any():
        row = int(np.argmax(n_times != n_items))
        what = f"{n_times[row]} times for {n_items[row]} items. Expected one per item."
        refuse(row, what)
    times = np.array([float(time) for row in lists for time in row])
    offsets = np.concatenate([[0], np.cumsum(n_items)])
    falls = np.flatnonzero(times_fall(times, offsets))
    if len(falls):
        row = int(np.searchsorted(offsets, falls[0], side="right")) - 1
        before, after = times[falls[0] - 1 : falls[0] + 1]
        refuse(row, f"{after:g} follows {before:g}. Expected times in order.")
    return times
