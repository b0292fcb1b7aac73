"""RetailRocket, the clicks, carts and purchases of a shop."""

from skclip.datasets._text_table import Field, TextTable, sessions_of
from skclip.preprocessing import sessionize


def read_retailrocket(path, *, gap=1800, events=("view",)):
    """Read the events of RetailRocket as visits of its visitors.

    Parameters
    ----------
    path : path-like
        ``events.csv``: comma-separated with the header
        ``timestamp,visitorid,event,itemid,transactionid``, times in milliseconds.
    gap : float, default=1800
        Idle seconds: a visit ends where the next event comes later than that.
    events : tuple of str or None, default=("view",)
        Kinds of events to keep, of ``view``, ``addtocart`` and ``transaction``. None
        keeps all. What is dropped does not bridge a gap.

    Returns
    -------
    X : Sessions
        With times in seconds and users (the visitors). Ids count the visits in order of
        visitor and time.

    Raises
    ------
    ValueError
        The file is wrong, or has no event of a kind that was asked for.

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
            f"{path} has no event of the kind {(absent or [None])[0]!r} "
            f"(events={events!r}). It has {kinds[:8]}; None keeps all."
        )
    return frame.filter(frame["event"].is_in(wanted))
