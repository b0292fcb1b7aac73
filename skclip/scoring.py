"""Top-k lists on the workers of any engine: Dask, Spark, Ray Data, polars and others.

`TopK` is a small callable that holds the path of a model, and no model. An engine sends
it to its workers, and each process opens the file once.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import (
    as_frame,
    as_table,
    check_columns,
    holds_lists,
    sessions_of_column,
)
from skclip._fork import after_fork
from skclip._inside import ranked_columns, recommender_inside
from skclip._threads import Workers
from skclip._typing import Frame, Ids, PathLike
from skclip.backbones import BackboneSpec
from skclip.persistence import load

__all__ = ["TopK"]

_MOST_OPEN = 2  # models that a process keeps
_LIBRARIES = ("pandas", "polars", "pyarrow", "spark")
_TYPES = {
    str: nw.String(),
    bytes: nw.Binary(),
    bool: nw.Boolean(),
    int: nw.Int64(),
    float: nw.Float64(),
}
# From a row per click to a row per session, in the words of each library.
_GROUPED = {
    "pandas": "events.sort_values('time').groupby({session!r})[{items!r}].agg(list)"
    ".reset_index()",
    "polars": "events.sort('time').group_by({session!r}, maintain_order=True)"
    ".agg({items!r})",
    "pyarrow": "table.sort_by('time').group_by({session!r}, use_threads=False)"
    ".aggregate([({items!r}, 'list')]), and rename the column of lists",
    "RecordBatch": "events.groupBy({session!r}).agg(sort_array(collect_list(struct("
    "'time', {items!r}))).getField({items!r}).alias({items!r})) in Spark",
}

_LAZY = {
    "polars": "frame.map_batches(top, schema=top.schema('polars', frame))",
    "dask": "frame.map_partitions(top, meta=top.schema('pandas', frame))",
    "pyspark": "frame.mapInArrow(top.iterate, top.schema('spark', frame))",
}


class TopK:
    """Rank the catalog of a saved model for each row of a data frame.

    Call the object with a frame that has one session per row. It holds the path of the
    model and the settings below, so it pickles to a few hundred bytes. Each process
    opens the file once, and again when the file was replaced.

    Parameters
    ----------
    path : path-like
        File written by `skclip.save`. It holds a recommender, or a Pipeline that ends
        in one. Every worker must find it under this path. A relative path is made
        absolute.
    k : int, default=20
        Number of items per session. None means 20, or the size of a smaller catalog.
    session : str, default="session"
        Column of session ids, which appear in the result. None numbers the rows of
        each batch.
    items : str, default="items"
        Column of lists with the item ids of each session, oldest first. A session with
        an empty or missing list gets the most popular items.
    users : str, default=None
        Column of user ids, for models with user prompts.
    times, events : str, default=None
        Columns of lists with the time in seconds and the type of each click, for
        models that read them.
    exclude_seen : bool, default=False
        Leave out the items of the session itself.
    allow, deny : array-like of ids, default=None
        Items to rank, and items to leave out. They are part of the pickle.
    backbones : sequence of BackboneSpec classes, default=()
        Your own backbone classes that the file may contain, see `skclip.load`.
    n_threads : int, default=1
        Number of threads in each scoring process. Keep 1 if the engine runs one
        process or task per core. None uses torch's number.

    See Also
    --------
    skclip.predict_topk : Rank for sessions in this process.

    Notes
    -----
    A process keeps the two models that it used last. It warns of unseen items once per
    model, with the count of the first batch that has some.

    A batch takes about ``60 * k`` bytes per session, including its result. Scores may
    differ in the last bits between batch sizes.

    Examples
    --------
    >>> import os, tempfile, pandas as pd, skclip
    >>> from skclip.scoring import TopK
    >>> model = skclip.PopularityRecommender().fit([["a", "b"], ["b", "c"], ["b"]])
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.skclip")
    >>> skclip.save(model, path)
    >>> top = TopK(path, k=2)
    >>> top(pd.DataFrame({"session": [7], "items": [["a"]]}))
       session  rank item  score
    0        7     1    b    3.0
    1        7     2    a    1.0
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: PathLike,
        k: int | None = 20,
        *,
        session: str | None = "session",
        items: str = "items",
        users: str | None = None,
        times: str | None = None,
        events: str | None = None,
        exclude_seen: bool = False,
        allow: Ids | None = None,
        deny: Ids | None = None,
        backbones: Collection[type[BackboneSpec]] = (),
        n_threads: int | None = 1,
    ) -> None:
        path = os.fsdecode(path)
        if "://" in path:
            raise ValueError(
                f"path is {path!r}. A model is opened from a file system: copy the "
                "file to a folder that every worker sees, and pass its path."
            )
        if k is not None and (not isinstance(k, Integral) or isinstance(k, bool)):
            raise TypeError(f"k must be a whole number or None, got {k!r}.")
        if k is not None and k < 1:
            raise ValueError(
                f"k={k} is less than 1. Pass k >= 1, or None for the default."
            )
        if n_threads is not None and not n_threads >= 1:
            raise ValueError(f"n_threads={n_threads}. Pass 1 or more, or None.")
        self.path: str = os.path.abspath(path)
        self.k: int | None = k
        self.session = session
        self.items = items
        self.users = users
        self.times = times
        self.events = events
        self.exclude_seen = exclude_seen
        self.allow = allow
        self.deny = deny
        self.backbones: tuple[type[BackboneSpec], ...] = tuple(backbones)
        self.n_threads = n_threads

    def __repr__(self) -> str:
        return f"TopK({self.path!r}, k={self.k})"

    def __call__(self, batch: Frame) -> Frame:
        """Rank the catalog for each session of a batch.

        Parameters
        ----------
        batch : pandas or polars DataFrame, or pyarrow Table or RecordBatch
            Frame with one session per row. Lazy frames are not accepted.

        Returns
        -------
        lists : data frame of the same kind
            One row for each item of a list: ``session``, ``rank`` from 1, ``item`` and
            ``score``. Filters may leave fewer than `k` items to a session.

        Raises
        ------
        FileNotFoundError
            The file does not exist for this process.
        ValueError
            The file is not a skclip model, a column is missing, or `k` is larger than
            the catalog.
        TypeError
            The rows are clicks instead of sessions, or the file holds no recommender.
        """
        frame = self._checked(batch)
        opened = _opened(self.path, self.backbones)
        self._check_k(opened)
        columns, scores = self._ranked(frame, opened)
        kept = np.flatnonzero(~np.isneginf(scores))  # a filter may leave less than k
        rows, places = np.divmod(kept, max(scores.shape[1], 1))
        columns = {
            "session": self._session_ids(frame, rows),
            "rank": _series(places + 1, nw.Int32(), frame),
            "item": opened.column_of_ids(frame)[columns.ravel()[kept]],
            "score": _series(scores.ravel()[kept], nw.Float32(), frame),
        }
        columns = {name: nw.maybe_reset_index(part) for name, part in columns.items()}
        lists = nw.from_dict(columns).to_native()
        return _as_record_batch(lists) if _is_record_batch(batch) else lists

    def iterate(self, batches: Iterable[Frame]) -> Iterator[Frame]:
        """Rank batch by batch, as Spark's ``mapInArrow`` requires.

        Parameters
        ----------
        batches : iterable of data frames
            Frames with one session per row. Spark passes RecordBatches.

        Yields
        ------
        lists : data frame of the same kind
            The lists of each batch.
        """
        for batch in batches:
            yield self(batch)

    def schema(
        self,
        library: Literal["pandas", "polars", "pyarrow", "spark"],
        frame: Frame | None = None,
    ) -> Any:
        """Return the columns of the result, which some engines need in advance.

        This opens the file, because the type of the item ids is stored there.

        Parameters
        ----------
        library : {"pandas", "polars", "pyarrow", "spark"}
            Library of the schema. Use "pandas" for Dask.
        frame : data frame of any library, default=None
            Frame to be ranked, which may be lazy and is not computed. It tells the type
            of the session ids. None means 64-bit integers.

        Returns
        -------
        schema : DataFrame, polars.Schema, pyarrow.Schema or StructType
            For "pandas", a frame without rows. It can be the ``meta`` of Dask.

        Raises
        ------
        ImportError
            The library is not installed. ``skclip[spark]`` installs Spark.
        """
        if library not in _LIBRARIES:
            raise ValueError(f"library is {library!r}. Expected one of {_LIBRARIES}.")
        opened = _opened(self.path, self.backbones)
        like = self._like(frame)
        ids = nw.Int64() if like is None else like.collect_schema()[self.session]
        schema = nw.Schema(
            {
                "session": ids,
                "rank": nw.Int32(),
                "item": opened.id_type,
                "score": nw.Float32(),
            }
        )
        if library == "polars":
            return schema.to_polars()
        if library == "pandas":
            return self._empty_pandas(schema, like)
        if library == "pyarrow":
            return schema.to_arrow()
        try:
            from pyspark.sql.pandas.types import from_arrow_schema
        except ImportError as error:
            raise ImportError(
                "The schema of Spark needs PySpark. Install it with: pip install "
                "'skclip[spark]'"
            ) from error
        return from_arrow_schema(schema.to_arrow())

    def _checked(self, batch):
        """Return a batch as a narwhals frame with one session per row."""
        library = type(batch).__module__.partition(".")[0]
        if library in ("dask", "pyspark") or type(batch).__name__ == "LazyFrame":
            raise TypeError(
                f"The batch is a lazy frame of {library}. TopK does not collect it. "
                f"Call {_LAZY.get(library, _LAZY['polars'])}."
            )
        frame = as_frame(batch, "batch", "Pass a frame with one session per row.")
        if self.items not in frame.columns:
            raise ValueError(
                f"The batch has no column {self.items!r} (given as items=). Its "
                f"columns are {frame.columns}. TopK takes one session per row, with a "
                "column of lists. Group a frame of clicks by session first, or pass "
                "items= with the name of the column."
            )
        named = {"users": self.users, "times": self.times, "events": self.events}
        check_columns(frame, what="The batch", session=self.session, **named)
        column = frame.get_column(self.items)
        if not holds_lists(column):
            raise TypeError(self._no_lists(column, _is_record_batch(batch)))
        return frame

    def _no_lists(self, column, is_record_batch):
        """Error message for a column that holds no lists."""
        text = column[0] if len(column) and column.dtype == nw.String else ""
        if text and text.startswith("[") and text.endswith("]"):
            return (
                f"Column {self.items!r} holds text such as {text!r:.40}. Dask makes "
                "text of lists, but not of those in Parquet files. Call dask.config."
                "set({'dataframe.convert-string': False}) before you make its frame."
            )
        library = "RecordBatch" if is_record_batch else column.implementation.value
        recipe = _GROUPED.get(library, _GROUPED["pandas"]).format(
            session=self.session or "session", items=self.items
        )
        return (
            f"Column {self.items!r} holds {column.dtype} and no lists, as in a frame "
            "with one row per click. TopK takes one session per row. Group the clicks "
            f"first: {recipe}."
        )

    def _check_k(self, opened):
        n_items = len(opened.item_ids)
        if self.k is not None and self.k > n_items:
            raise ValueError(
                f"k={self.k} is larger than the catalog of {n_items} items in "
                f"{self.path}. Pass k={n_items} or less, or k=None."
            )

    def _ranked(self, frame, opened):
        """Positions in the catalog and scores, of shape (n_sessions, k)."""
        if len(frame) == 0:
            return np.empty((0, 0), np.int64), np.empty((0, 0), np.float32)
        named = {"users": self.users, "times": self.times, "events": self.events}
        sessions = sessions_of_column(
            frame.get_column(self.items),
            may_miss=True,
            **{key: frame.get_column(name) for key, name in named.items() if name},
        )
        filters = {"allow": self.allow, "deny": self.deny}
        with Workers(self.n_threads):
            return ranked_columns(
                opened.estimator, sessions, self.k, exclude_seen=self.exclude_seen,
                **filters,
            )  # fmt: skip

    def _session_ids(self, frame, rows):
        if self.session is None:
            return _series(rows, nw.Int64(), frame)
        return frame.get_column(self.session)[rows]

    def _like(self, frame):
        """A frame whose session ids have the type of those of the result, or None."""
        if frame is None or self.session is None:
            return None
        native = as_table(getattr(frame, "_meta", frame))  # of Dask: types and no rows
        like = nw.from_native(native, pass_through=True)
        if not isinstance(like, (nw.DataFrame, nw.LazyFrame)):
            raise TypeError(
                f"frame is a {type(frame).__name__}. Expected a data frame of polars, "
                "pandas, pyarrow, Dask or Spark."
            )
        names = like.collect_schema().names()
        if self.session not in names:
            raise ValueError(
                f"frame has no column {self.session!r} (given as session=). Its "
                f"columns are {names}."
            )
        return like

    def _empty_pandas(self, schema, like):
        """A frame without rows; session ids have exactly the type of another one."""
        import pandas

        types = schema.to_pandas()
        if isinstance(like, nw.DataFrame) and like.implementation.is_pandas():
            types["session"] = like.get_column(self.session).to_native().dtype
        return pandas.DataFrame({n: pandas.Series(dtype=t) for n, t in types.items()})


# -- models that are open --------------------------------------------------------------


@dataclass(frozen=True)
class _Opened:
    """A model, and the state of its file when it was read."""

    state: tuple
    estimator: object
    item_ids: np.ndarray
    id_type: object
    columns: dict = field(default_factory=dict)

    def column_of_ids(self, frame):
        """The catalog as a column of the library of a frame, made once for each."""
        library = frame.implementation
        if library not in self.columns:
            self.columns[library] = _series(self.item_ids, self.id_type, frame)
        return self.columns[library]


_open, _lock = OrderedDict(), threading.Lock()


@after_fork
def _new_lock():
    """A thread of the parent may have held the lock when the child was forked."""
    global _lock
    _lock = threading.Lock()


def _opened(path, backbones):
    """The model in a file, as it is now; opened once while the file stays the same."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no file {path} on the host {socket.gethostname()}, where a "
            "batch is scored. Put the model on storage that every worker sees under "
            "the same path."
        ) from None
    state = found.st_ino, found.st_size, found.st_mtime_ns
    key = path, backbones
    with _lock:  # the other threads wait for what they need, too
        opened = _open.get(key)
        if opened is None or opened.state != state:
            _open.pop(key, None)
            opened = _open[key] = _read(path, backbones, state)
        _open.move_to_end(key)
        while len(_open) > _MOST_OPEN:
            _open.popitem(last=False)
    return opened


def _read(path, backbones, state):
    estimator = load(path, backbones=backbones)
    try:
        item_ids = recommender_inside(estimator).item_ids_
    except TypeError:
        raise TypeError(
            f"{path} holds a {type(estimator).__name__}, which is not a "
            "recommender. Save a fitted recommender, or a Pipeline that ends in one."
        ) from None
    return _Opened(state, estimator, item_ids, _id_type(item_ids, path))


def _id_type(ids, path):
    """Type of a column of these ids."""
    kinds = {
        type(value) for value in ids[: 1 if ids.dtype.kind != "O" else None].tolist()
    }
    types = {_TYPES.get(kind) for kind in kinds}
    if len(types) > 1 or None in types:
        raise TypeError(
            f"The item ids in {path} have several types, or a type that no column "
            f"holds, such as {ids.tolist()[0]!r:.40}. Fit the model with ids that are "
            "all text or all whole numbers."
        )
    return types.pop()


# -- frames ----------------------------------------------------------------------------


def _series(values, dtype, frame):
    """An array as a column of the library of a frame."""
    values = values.tolist() if values.dtype.kind in "OUS" else values
    return nw.new_series("", values, dtype, backend=frame.implementation)


def _is_record_batch(batch):
    return type(batch).__name__ == "RecordBatch"


def _as_record_batch(table):
    """A pyarrow Table as one RecordBatch."""
    import pyarrow

    columns = [column.combine_chunks() for column in table.columns]
    return pyarrow.RecordBatch.from_arrays(columns, schema=table.schema)
