"""Readers of the formats in which session data are published.

All of them take the file as it lies on the publisher's page, or gzipped. None of them
filters: rare items, short sessions and repeats stay, so that the steps of a paper can
be taken one by one with `skclip.preprocessing`.
"""

import json
import re

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import Sessions, column, factorize_list, times_fall
from skclip.datasets._text_table import (
    Field,
    as_ids,
    is_pickle,
    line_of,
    name_first_fault,
    read_table,
    read_text,
    with_seconds,
)
from skclip.preprocessing import sessionize


def read_session_rec(path):
    """Read a prepared file of session-rec: SessionId, ItemId, Time.

    Parameters
    ----------
    path : path-like
        Tab-separated with a header that has the columns ``SessionId``, ``ItemId`` and
        ``Time`` (seconds), in any order; others are left out, but for ``UserId``.

    Returns
    -------
    X : Sessions
        With times, and users where the file has them. Events are put in order of time,
        equal times keep the order of their lines; sessions are in order of the time of
        their last event. Ids are whole numbers where all of a column are, else text.

    Raises
    ------
    ValueError
        A column is missing or a value is wrong; the message names line and column.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_session_rec
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.txt")
    ...     lines = ["SessionId ItemId Time", "7 31 20.5", "7 30 10.0", "8 31 60"]
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
    return _read_events(path, fields, sep="\t")


def read_yoochoose(path):
    """Read the raw clicks of YooChoose, the RecSys Challenge 2015.

    Parameters
    ----------
    path : path-like
        ``yoochoose-clicks.dat`` or ``yoochoose-test.dat``: session, time such as
        ``2014-04-07T10:51:09.277Z``, item, category; comma-separated, without a
        header (a header ``session_id,timestamp,item_id,category``, which the program of
        SR-GNN wants, is taken too).

    Returns
    -------
    X : Sessions
        With times in seconds, in order of time (the file is not).

    Raises
    ------
    ValueError
        A value is wrong; the message names line and column.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_yoochoose
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.dat")
    ...     lines = [
    ...         "7,2014-04-07T10:51:09.277Z,31,0",
    ...         "7,2014-04-07T10:54:09.868Z,30,0",
    ...     ]
    ...     _ = path.write_text("\\n".join(lines))
    ...     X = read_yoochoose(path)
    >>> X.to_lists(), X.ids.tolist()
    ([[31, 30]], [7])
    """
    fields = [
        Field("session", ("session_id",), "id"),
        Field("item", ("item_id",), "id"),
        Field("time", ("timestamp",), "time"),
    ]
    names = ["session_id", "timestamp", "item_id", "category"]
    return _read_events(path, fields, sep=",", names=names)


def read_diginetica(path, *, known_users=False):
    """Read the raw views of Diginetica, the CIKM Cup 2016.

    The time of an event is the date of its session, the first one where a session has
    several, plus ``timeframe``: so a session is in order of ``timeframe`` alone, as in
    the program of SR-GNN.

    Parameters
    ----------
    path : path-like
        ``train-item-views.csv``: semicolon-separated with the header
        ``sessionId;userId;itemId;timeframe;eventdate`` (or ``session_id;...``, as in
        the sample of SR-GNN); ``timeframe`` counts milliseconds in the session.
    known_users : bool, default=False
        Most events have no user (``NA``). False leaves the users out; True keeps the
        sessions whose events name one user, with their users.

    Returns
    -------
    X : Sessions
        With times in seconds.

    Raises
    ------
    ValueError
        A column is missing or a value is wrong; the message names line and column.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_diginetica
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "views.csv")
    ...     lines = [
    ...         "sessionId;userId;itemId;timeframe;eventdate",
    ...         "1;NA;81766;526309;2016-05-09",
    ...         "1;NA;31331;31018;2016-05-09",
    ...     ]
    ...     _ = path.write_text("\\n".join(lines))
    ...     X = read_diginetica(path)
    >>> X.to_lists()
    [[31331, 81766]]
    """
    fields = [
        Field("session", ("sessionId", "session_id"), "id"),
        Field("item", ("itemId", "item_id"), "id"),
        Field("timeframe", ("timeframe",), "number"),
        Field("date", ("eventdate",), "date"),
    ]
    if known_users:
        names = ("userId", "user_id")
        fields.append(Field("user", names, "id", optional=True, missing=("NA",)))
    frame = read_table(path, fields, sep=";")
    if known_users:
        if "user" not in frame.columns:
            raise ValueError(
                f"{path}, line 1: no column 'userId'. Pass known_users=False to read "
                "the sessions without users."
            )
        frame = _of_one_user(path, frame)
    ids, sessions = column(frame, "session", "session")
    dates = _days(path, frame, fields)
    first = np.full(len(ids), np.inf)
    np.minimum.at(first, sessions, dates)
    times = first[sessions] + frame.get_column("timeframe").to_numpy() / 1000
    return _sessions(path, _with(frame, "time", times))


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
        A column is missing or a value is wrong; the message names line and column. Or
        the file has no event of a kind that was asked for.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_retailrocket
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "events.csv")
    ...     lines = [
    ...         "timestamp,visitorid,event,itemid,transactionid",
    ...         "1433221332117,25,view,35,",
    ...         "1433221392117,25,view,24,",
    ...         "1433321392117,25,view,10,",
    ...     ]
    ...     _ = path.write_text("\\n".join(lines))
    ...     X = read_retailrocket(path)
    >>> X.to_lists(), X.users.tolist()  # a day later, a visit of its own
    ([[35, 24], [10]], [25, 25])
    """
    fields = [
        Field("item", ("itemid",), "id"),
        Field("time", ("timestamp",), "number"),
        Field("user", ("visitorid",), "id"),
        Field("event", ("event",), "text"),
    ]
    frame = read_table(path, fields, sep=",")
    if events is not None:
        wanted = [events] if isinstance(events, str) else list(events)
        kinds = sorted(frame.get_column("event").unique().to_list())
        absent = [kind for kind in wanted if kind not in kinds]
        if absent or not wanted:
            raise ValueError(
                f"{path} has no event of the kind {(absent or [None])[0]!r} "
                f"(events={events!r}). It has {kinds[:8]}; None keeps all."
            )
        frame = frame.filter(nw.col("event").is_in(wanted))
    frame = _with(frame, "time", frame.get_column("time").to_numpy() / 1000)
    visits = sessionize(frame.to_native(), user="user", time="time", gap=gap)
    return _sessions(path, nw.from_native(visits))


def read_recbole(path, *, session="session_id"):
    """Read an atomic file of RecBole, one event or one whole session a line.

    Parameters
    ----------
    path : path-like
        ``.inter``: tab-separated with a typed header such as ``session_id:token
        item_id:token timestamp:float``. The time may be absent: then the order of the
        lines is the order of the events. A file with ``item_id_list:token_seq`` instead
        of ``item_id:token`` has a session a line, its items separated by spaces.
    session : str, default="session_id"
        Column of sessions. Data sets of users have none: ``session="user_id"`` makes
        one session of all events of a user (see `skclip.preprocessing.sessionize` for
        visits by idle gap).

    Returns
    -------
    X : Sessions
        With times where the file has them, and with users where it has ``user_id``.
        Single events are put in order of time, whole sessions stay as they are. Ids are
        whole numbers where all of a column are, else text.

    Raises
    ------
    ValueError
        A column is missing or a value is wrong; the message names line and column. Or
        the file has prefixes and targets: use `read_recbole_prefixes`.
    ImportError
        Neither polars nor pandas is installed.

    See Also
    --------
    read_recbole_prefixes : Files that hold prefixes and targets.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_recbole
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.inter")
    ...     lines = [
    ...         "session_id:token item_id:token timestamp:float",
    ...         "7 31 20.5",
    ...         "7 30 10.0",
    ...     ]
    ...     _ = path.write_text("\\n".join(lines).replace(" ", "\\t"))
    ...     X = read_recbole(path)
    >>> X.to_lists(), X.ids.tolist()
    ([[30, 31]], [7])
    """
    fields = [
        Field("session", (session,), "id", optional=True),
        Field("item", ("item_id",), "id", optional=True),
        Field("items", ("item_id_list",), "text", optional=True),
        Field("time", ("timestamp",), "number", optional=True),
        Field("user", ("user_id",), "id", optional=True),
        *_TIME_LISTS,
    ]
    frame = read_table(path, fields, sep="\t", header=_untyped)
    if "items" in frame.columns:
        if "item" in frame.columns:
            raise ValueError(
                f"{path}, line 1: the columns 'item_id_list' and 'item_id' are "
                "prefixes and their targets, not sessions. Use read_recbole_prefixes."
            )
        return _rows_of_lists(path, frame)[0]
    for role, name in (("session", session), ("item", "item_id")):
        if role not in frame.columns:
            found = [f.names[0] for f in fields if f.role in frame.columns]
            hint = " Pass session='user_id' to make one session of each user."
            raise ValueError(
                f"{path}, line 1: no column {name!r}. Expected a typed header such as "
                f"'session_id:token', 'item_id:token'; found {found}."
                f"{hint if 'user' in frame.columns and role == 'session' else ''}"
            )
    return _sessions(path, frame)


def read_recbole_prefixes(path):
    """Read an atomic file of RecBole that holds prefixes and their targets.

    Parameters
    ----------
    path : path-like
        ``.inter``: tab-separated with a typed header such as ``session_id:token
        item_id_list:token_seq item_id:token``; the items of a prefix are separated by
        spaces. RecBole's session benchmarks have this form.

    Returns
    -------
    X : Sessions
        The prefixes in order of the lines, with ids (``session_id``), users
        (``user_id``) and times (``timestamp_list:float_seq``) where the file has them.
    y : ndarray of shape (n_prefixes,)
        The target of each, for ``fit(X, y)`` and ``score(X, y)``.

    Raises
    ------
    ValueError
        A column is missing or a value is wrong; the message names line and column.
    ImportError
        Neither polars nor pandas is installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_recbole_prefixes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.train.inter")
    ...     lines = [
    ...         "session_id:token|item_id_list:token_seq|item_id:token",
    ...         "1|30 31|32",
    ...         "2|30|31",
    ...     ]
    ...     _ = path.write_text("\\n".join(lines).replace("|", "\\t"))
    ...     X, y = read_recbole_prefixes(path)
    >>> X.to_lists(), y.tolist()
    ([[30, 31], [30]], [32, 31])
    """
    fields = [
        Field("items", ("item_id_list",), "text"),
        Field("item", ("item_id",), "id"),
        Field("session", ("session_id",), "id", optional=True),
        Field("user", ("user_id",), "id", optional=True),
        *_TIME_LISTS,
    ]
    frame = read_table(path, fields, sep="\t", header=_untyped)
    return _rows_of_lists(path, frame)


def read_srgnn(path):
    """Read prefixes and labels of SR-GNN and GCE-GNN, written as text.

    The programs of SR-GNN, GCE-GNN and their followers write the pair ``([[1, 2], [1]],
    [3, 2])``: prefixes, then labels. Some publish it as text, which is read here. Most
    publish a pickle (often named ``train.txt``), which is refused: loading one may run
    code of whoever wrote it. To turn one into text, load it with an unpickler that
    knows lists and numbers only::

        import json, pickle

        class Plain(pickle.Unpickler):
            def find_class(self, module, name):
                raise pickle.UnpicklingError(f"{module}.{name} is no list or number")

        with open("train.txt", "rb") as file, open("train.json", "w") as text:
            json.dump(Plain(file).load(), text)

    Parameters
    ----------
    path : path-like
        The pair, in round or square brackets.

    Returns
    -------
    X : Sessions
        The prefixes, in order. The files have no session ids, users or times.
    y : ndarray of shape (n_prefixes,)
        The label of each, for ``fit(X, y)`` and ``score(X, y)``.

    Raises
    ------
    ValueError
        The file is a pickle, no list, or no pair of equally long lists.

    See Also
    --------
    read_srgnn_sessions : ``all_train_seq.txt``, the whole sessions.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_srgnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "train.json")
    ...     _ = path.write_text("([[1, 2], [1]], [3, 2])")
    ...     X, y = read_srgnn(path)
    >>> X.to_lists(), y.tolist()
    ([[1, 2], [1]], [3, 2])
    """
    pair = _read_lists(path)
    if len(pair) != 2 or not all(isinstance(part, list) for part in pair):
        raise ValueError(
            f"{path} is a list of {len(pair)} parts. Expected a pair of prefixes and "
            "labels, ([[1, 2], [1]], [3, 2]); whole sessions are for "
            "read_srgnn_sessions."
        )
    prefixes, labels = pair
    if len(prefixes) != len(labels):
        raise ValueError(
            f"{path} has {len(prefixes)} prefixes and {len(labels)} labels. Expected "
            "one label for each prefix."
        )
    _check_rows(path, prefixes, "prefix")
    _check_ids(path, labels, "label")
    flat = [item for row in prefixes for item in row]
    vocabulary, codes = factorize_list(flat + labels)
    offsets = np.cumsum([0, *map(len, prefixes)])
    X = Sessions(codes[: len(flat)], offsets, vocabulary)
    return X, vocabulary[codes[len(flat) :]]


def read_srgnn_sessions(path):
    """Read the whole sessions of SR-GNN and GCE-GNN, written as text.

    Parameters
    ----------
    path : path-like
        ``all_train_seq.txt`` as text, ``[[1, 2, 3], [1, 2]]``; see `read_srgnn` for
        what to do with a pickle.

    Returns
    -------
    X : Sessions
        In order; the files have no session ids, users or times.

    Raises
    ------
    ValueError
        The file is a pickle, or no list of lists.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_srgnn_sessions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "all_train_seq.json")
    ...     _ = path.write_text("[[1, 2, 3], [1, 2]]")
    ...     X = read_srgnn_sessions(path)
    >>> X.to_lists()
    [[1, 2, 3], [1, 2]]
    """
    rows = _read_lists(path)
    nested = [row for row in rows if isinstance(row, list) and row]
    if len(rows) == 2 and any(isinstance(row[0], list) for row in nested):
        raise ValueError(
            f"{path} is a pair of prefixes and labels. Use read_srgnn, which gives "
            "(X, y)."
        )
    _check_rows(path, rows, "session")
    return Sessions.from_lists(rows)


# -- events ----------------------------------------------------------------------------


def _read_events(path, fields, **options):
    """Sessions of a file with a line for each event."""
    frame = read_table(path, fields, **options)
    if any(field.kind == "time" for field in fields):
        frame = with_seconds(frame, path, fields, **options)
    return _sessions(path, frame)


def _sessions(path, frame):
    roles = {role: role for role in ("time", "user") if role in frame.columns}
    try:
        return Sessions.from_events(frame, session="session", item="item", **roles)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _with(frame, name, values):
    series = nw.new_series(name, values, backend=frame.implementation)
    return frame.with_columns(series)


def _days(path, frame, fields):
    """Seconds of the dates, of which there are few."""
    words, codes = column(frame, "date", "date")
    try:
        days = words.astype("datetime64[s]").astype(np.float64)
    except ValueError as error:
        name_first_fault(path, fields, sep=";")
        raise ValueError(f"{path}: {error}") from error
    return days[codes]


def _of_one_user(path, frame):
    """Events of the sessions that name one user, each with that user."""
    ids, sessions = column(frame, "session", "session")
    named = ~np.asarray(frame.get_column("user").is_null().to_numpy(), dtype=bool)
    low, high = np.full(len(ids), np.inf), np.full(len(ids), -1.0)
    if named.any():
        known = frame.filter(~nw.col("user").is_null())
        names, users = column(known, "user", "user")
        np.minimum.at(low, sessions[named], users)
        np.maximum.at(high, sessions[named], users)
    one = (low == high)[sessions]
    if not one.any():
        raise ValueError(
            f"{path} has no session whose events name one user. Pass known_users=False."
        )
    kept = nw.new_series("", one, nw.Boolean, backend=frame.implementation)
    users = as_ids(names)[low[sessions[one]].astype(np.int64)]
    return _with(frame.filter(kept), "user", users.tolist())


# -- lists in a column, lists of lists -------------------------------------------------

_TIME_LISTS = [Field("times", ("timestamp_list",), "numbers", optional=True)]


def _untyped(name):
    """The name in a typed header: "item_id" of "item_id:token"."""
    return name.split(":")[0]


def _rows_of_lists(path, frame):
    """Sessions of a column of lists, and the ids of the column of single items."""
    rows = [text.split() for text in frame.get_column("items").to_list()]
    targets = []
    if "item" in frame.columns:
        targets = [str(item) for item in frame.get_column("item").to_list()]
    flat = [item for row in rows for item in row]
    words, codes = factorize_list(flat + targets)
    vocabulary = as_ids(words)
    if vocabulary is not words:  # numbers have another order than their texts
        order = np.argsort(vocabulary)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        vocabulary, codes = vocabulary[order], place[codes]
    offsets = np.cumsum([0, *map(len, rows)])
    columns = {
        name: frame.get_column(role).to_numpy()
        for name, role in (("ids", "session"), ("users", "user"))
        if role in frame.columns
    }
    if "times" in frame.columns:
        columns["times"] = _lists_of_times(path, frame, rows)
    X = Sessions(codes[: len(flat)], offsets, vocabulary, **columns)
    return X, vocabulary[codes[len(flat) :]]


def _lists_of_times(path, frame, rows):
    """Times of all events, in order, as many on each line as there are items."""
    lists = [text.split(" ") for text in frame.get_column("times").to_list()]
    for row, (times, items) in enumerate(zip(lists, rows, strict=True)):
        if len(times) != len(items):
            raise ValueError(
                f"{path}, line {line_of(path, row)}, column 'timestamp_list': "
                f"{len(times)} times for {len(items)} items. Expected as many."
            )
    flat = np.array([float(time) for times in lists for time in times])
    offsets = np.cumsum([0, *map(len, lists)])
    falls = np.flatnonzero(times_fall(flat, offsets))
    if len(falls):
        row = int(np.searchsorted(offsets, falls[0], side="right")) - 1
        raise ValueError(
            f"{path}, line {line_of(path, row)}, column 'timestamp_list': "
            f"{flat[falls[0]]:g} after {flat[falls[0] - 1]:g}. Expected times in order."
        )
    return flat


def _read_lists(path):
    """Lists of a text file; round brackets are as good as square ones."""
    if is_pickle(path):
        raise ValueError(
            f"{path} is a pickle. Loading one may run code of whoever wrote it, so "
            "skclip does not; see the docstring of read_srgnn for how to turn it into "
            "text."
        )
    text = _QUOTED_OR_ROUND.sub(_square, read_text(path))
    if not text.strip():
        raise ValueError(f"{path} is empty.")
    try:
        lists = json.loads(text)
    except RecursionError:
        raise ValueError(f"{path} nests brackets without end.") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}, column {error.colno}: {error.msg}. Expected "
            "lists of ids, such as ([[1, 2], [1]], [3, 2]); ids that are text stand in "
            "double quotes."
        ) from None
    if not isinstance(lists, list):
        raise ValueError(
            f"{path} holds a {type(lists).__name__}. Expected lists of ids, such as "
            "([[1, 2], [1]], [3, 2])."
        )
    return lists


_QUOTED_OR_ROUND = re.compile(r'"(?:\\.|[^"\\])*"|[()]')


def _square(match):
    return {"(": "[", ")": "]"}.get(match[0], match[0])


def _check_rows(path, rows, what):
    if not rows:
        raise ValueError(f"{path} holds no {what}.")
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise ValueError(
                f"{path}, {what} {i + 1}: {row!r:.40} is no list of ids, such as "
                "[1, 2]."
            )
        _check_ids(path, row, f"{what} {i + 1}, id")


def _check_ids(path, ids, what):
    for i, value in enumerate(ids):
        if type(value) not in (int, str):
            raise ValueError(
                f"{path}, {what} {i + 1}: {value!r:.40} is no id. Expected a whole "
                "number or a text."
            )
