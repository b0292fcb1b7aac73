"""RetailRocket: the views, carts and purchases of a shop."""

from __future__ import annotations

from collections.abc import Sequence

from skclip._data import Sessions
from skclip._typing import PathLike, Span
from skclip.datasets._text_table import Field, TextTable, sessions_of
from skclip.preprocessing import sessionize


def read_retailrocket(
    path: PathLike, *, gap: Span = 1800, events: Sequence[str] = ("view",)
) -> Sessions:
    """Read the events of RetailRocket as visits of its visitors.

    Parameters
    ----------
    path : path-like
        File ``events.csv``, separated by commas, with the header
        ``timestamp,visitorid,event,itemid,transactionid``. Times are in milliseconds.
    gap : float, timedelta or str, default=1800
        Longest idle time within a visit, in seconds or as text such as ``"30min"``.
    events : tuple of str or None, default=("view",)
        Types of events to keep, out of ``view``, ``addtocart`` and ``transaction``.
        None keeps all. Dropped events do not bridge an idle gap.

    Returns
    -------
    X : Sessions
        Sessions with times in seconds, and with visitors as users. Session ids number
        the visits in the order of visitor and time.

    Raises
    ------
    ValueError
        The file is wrong, or it has no event of a type in `events`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_retailrocket
    >>> lines = [
    ...     "timestamp,visitorid,event,itemid,transactionid",
    ...     "1433221332117,25,view,35,",
    ...     "1433221392117,25,view,24,",
    ...     "1433321392117,25,view,10,",
    ... ]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "events.csv")
    ...     _ = path.write_text("\\n".join(lines))
    ...     read_retailrocket(path).to_lists()  # a day later, a visit of its own
    [[35, 24], [10]]
    """
    fields = [
        Field("item", ("itemid",), "id"),
        Field("time", ("timestamp",), "milliseconds"),
        Field("user", ("visitorid",), "id"),
        Field("event", ("event",), "text"),
    ]
    frame = TextTable(path, fields, sep=",").read()
    if events is not None:
        frame = _of_kinds(path, frame, events)
    return sessions_of(path, sessionize(frame, user="user", time="time", gap=gap))


def _of_kinds(path, frame, events):
    wanted = [events] if isinstance(events, str) else list(events)
    kinds = frame["event"].unique().sort().to_list()
    absent = [kind for kind in wanted if kind not in kinds]
    if absent or not wanted:
        raise ValueError(
            f"{path} has no event of type {(absent or [None])[0]!r} "
            f"(events={events!r}). It has {kinds[:8]}. Pass some of these, or None to "
            "keep all."
        )
    return frame.filter(frame["event"].is_in(wanted))
