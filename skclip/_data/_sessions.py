"""Sessions: raw item ids in order, flat and dictionary-encoded."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from numbers import Integral
from typing import Any, SupportsIndex, overload

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data._event_columns import (
    check_types,
    check_weights,
    column_of_events,
    flat_rows,
    joined_types,
    joined_weights,
)
from skclip._data._frames import (
    as_frame,
    check_columns,
    column,
    column_with_gaps,
    read_times,
    read_weights,
    warn_float_ids,
)
from skclip._data._grouping import group_events, one_each
from skclip._data._ids import (
    encode_rows,
    factorize_list,
    labels,
    parts_to_join,
    with_gaps,
    without_padding,
)
from skclip._data._ragged import flat_positions, gathered, picked, prefix_ends
from skclip._typing import (
    ArrayLike,
    FloatArray,
    Frame,
    Ids,
    IntArray,
    ItemIds,
    Lists,
    SessionsLike,
)

_SAMPLE = 1000  # number of objects from which the size of an array is estimated


class Sessions:
    """Hold sessions as flat arrays that scikit-learn can split.

    A session is one visit: the ids of its items in order. All sessions are stored in a
    single array of codes, so a million of them need only a few arrays. Every
    scikit-learn split of a `Sessions` is again a `Sessions`. Objects are immutable. Use
    :meth:`from_events` for an event log and :meth:`from_lists` for lists of ids. The
    constructor takes encoded parts.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int32
        Position of each event's item in `vocabulary`.
    offsets : ndarray of shape (n_sessions + 1,), int64
        Session ``i`` holds the events ``offsets[i]:offsets[i + 1]``.
    vocabulary : ndarray of shape (n_ids,)
        Distinct raw item ids, sorted.
    times : ndarray of shape (n_events,), default=None
        Times of the events, seconds since the epoch.
    clusters : ndarray of shape (n_events, n_levels), int32, default=None
        Cluster of each event's item at each level, 1..K, 0 = unknown.
        `SessionClusterer` sets it. An array of shape (n_events,) is one level.
    weights : ndarray of shape (n_events,), default=None
        Weight of each event, 0 or more. None means 1.
    types : ndarray of shape (n_events,), int32, default=None
        Position of each event's type in `type_names`, -1 = unknown.
    type_names : ndarray of shape (n_types,), default=None
        Distinct types of events, such as "view" and "purchase", sorted.
    ids, users : ndarray of shape (n_sessions,), default=None
        Raw session and user ids. None means unknown.

    Attributes
    ----------
    shape : tuple
        Shape ``(n_sessions,)``.
    lengths : ndarray of shape (n_sessions,)
        Number of events in each session.
    n_events : int
        Number of events in all sessions.
    nbytes : int
        Bytes of all arrays. The size of ids that are Python objects is estimated.
    end_times : ndarray of shape (n_sessions,) or None
        Time of the last event, seconds; NaN for an empty session.

    See Also
    --------
    skclip.SessionClusterer : Adds a cluster to each event.
    skclip.model_selection.TemporalSplit : Splits sessions in time.

    Examples
    --------
    >>> from skclip import Sessions
    >>> X = Sessions.from_lists([["tea", "cup"], ["tea", "milk", "tea"]])
    >>> X
    Sessions(n_sessions=2, n_events=5, n_items=3)
    >>> X[1].tolist()
    ['tea', 'milk', 'tea']
    >>> X[[1]]
    Sessions(n_sessions=1, n_events=3, n_items=2)
    """

    codes: IntArray
    offsets: IntArray
    vocabulary: ItemIds
    times: FloatArray | None
    clusters: IntArray | None
    weights: FloatArray | None
    types: IntArray | None
    type_names: ItemIds | None
    ids: ItemIds | None
    users: ItemIds | None

    _COLUMNS = (
        "codes",
        "offsets",
        "vocabulary",
        "times",
        "clusters",
        "weights",
        "types",
        "type_names",
        "ids",
        "users",
    )
    __slots__ = (*_COLUMNS, "__weakref__")
    _TYPES = dict.fromkeys(_COLUMNS) | {
        "codes": np.int32,
        "offsets": np.int64,
        "times": np.float64,
        "clusters": np.int32,
        "weights": np.float64,
        "types": np.int32,
    }
    _EVENT_COLUMNS = ("times", "clusters", "weights", "types")
    _SESSION_COLUMNS = ("ids", "users")

    def __init__(
        self,
        codes: ArrayLike,
        offsets: ArrayLike,
        vocabulary: Ids,
        *,
        times: ArrayLike | None = None,
        clusters: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        types: ArrayLike | None = None,
        type_names: Ids | None = None,
        ids: Ids | None = None,
        users: Ids | None = None,
    ) -> None:
        given = {
            "codes": codes,
            "offsets": offsets,
            "vocabulary": vocabulary,
            "times": times,
            "clusters": clusters,
            "weights": weights,
            "types": types,
            "type_names": type_names,
            "ids": ids,
            "users": users,
        }
        for name, values in given.items():
            if np.ma.is_masked(values):
                raise ValueError(f"{name} has masked cells. Drop those events first.")
        parts = {  # copies, so that later changes by the caller have no effect
            name: None if values is None else _copied(values, self._TYPES[name], name)
            for name, values in given.items()
        }
        for name in self._SESSION_COLUMNS:
            if parts[name] is not None and parts[name].dtype.kind in "fO":
                parts[name] = labels(parts[name], name)  # some may be missing
        self._set_checked(parts)

    @classmethod
    def _of_fresh(cls, *parts, **columns):
        """The same for arrays that no other object holds."""
        sessions = object.__new__(cls)
        given = dict(zip(cls._COLUMNS, parts, strict=False)) | columns
        sessions._set_checked(
            {
                name: None
                if given.get(name) is None
                else np.asarray(given[name], dtype=dtype)
                for name, dtype in cls._TYPES.items()
            }
        )
        return sessions

    def _set_checked(self, parts):
        n_events, n_sessions = len(parts["codes"]), len(parts["offsets"]) - 1
        offsets, codes = parts["offsets"], parts["codes"]
        if (
            n_sessions < 0
            or offsets[0] != 0
            or offsets[-1] != n_events
            or (np.diff(offsets) < 0).any()
        ):
            raise ValueError(
                f"offsets must rise from 0 to the number of events, {n_events}, but "
                f"start with {offsets.tolist()[:5]}. Use Sessions.from_lists or "
                "Sessions.from_events to build sessions."
            )
        n_ids = len(parts["vocabulary"])
        if n_events and not (codes.min() >= 0 and codes.max() < n_ids):
            raise ValueError(
                f"codes must be positions in the vocabulary of {n_ids} ids, but they "
                f"range from {codes.min()} to {codes.max()}."
            )
        for names, n in (
            (self._EVENT_COLUMNS, n_events),
            (self._SESSION_COLUMNS, n_sessions),
        ):
            for name in names:
                part = parts[name]
                wrong = part is not None and (
                    part.shape[:1] != (n,) or (name != "clusters" and part.ndim != 1)
                )
                if wrong:
                    raise ValueError(
                        f"{name} has {len(part)} values, expected {n}."
                        if part.ndim == 1
                        else f"{name} has shape {part.shape}, expected ({n},)."
                    )
        if parts["clusters"] is not None:
            shape = parts["clusters"].shape
            if len(shape) == 1:
                parts["clusters"] = parts["clusters"][:, None]
            elif len(shape) > 2 or 0 in shape[1:]:
                raise ValueError(
                    f"clusters has shape {shape}, expected ({n_events},) or "
                    f"({n_events}, n_levels)."
                )
        if parts["weights"] is not None:
            check_weights(parts["weights"])
        check_types(parts["types"], parts["type_names"])
        self.__setstate__(parts)

    # -- building ------------------------------------------------------------

    @classmethod
    def from_events(
        cls,
        events: Frame,
        *,
        session: str,
        item: str,
        time: str | None = None,
        user: str | None = None,
        weight: str | None = None,
        event: str | None = None,
    ) -> Sessions:
        """Build sessions from an event log with one row per click.

        Parameters
        ----------
        events : pandas.DataFrame, polars.DataFrame or pyarrow.Table
            Event log with rows in any order. Lazy frames are collected into memory: a
            polars LazyFrame, a DuckDB relation, a Dask or Spark frame. Filter them
            first with `skclip.preprocessing`, which keeps them lazy.
        session, item : str
            Columns of session and item ids: numbers, text, or anything hashable.
        time : str, default=None
            Column of times: seconds, dates or ISO 8601 text. Events are sorted by time,
            and equal times keep the order of their rows. None keeps the order of the
            rows. An engine may send the rows of a lazy frame in any order. Sort it in
            the engine if times may be equal.
        user : str, default=None
            Column of user ids, one user per session. Missing values mean no user.
        weight : str, default=None
            Column of weights, 0 or more. Training counts each event by its weight. For
            example, give purchases a higher weight than views. Events of weight 0 are
            read, but are never targets. None means 1 for each event.
        event : str, default=None
            Column of event types, such as "view" and "purchase". Recommenders read them
            together with the items, and can be scored on targets of one type. Missing
            values mean no type.

        Returns
        -------
        sessions : Sessions
            Sessions in order of their last event, then of session id. Without times
            they are in order of first appearance.

        Raises
        ------
        ValueError
            If a column or an id is missing, a time does not parse, a weight is missing
            or negative, or a session has two users.
        TypeError
            If `events` is not a data frame.

        Examples
        --------
        >>> import pandas as pd
        >>> from skclip import Sessions
        >>> clicks = pd.DataFrame({"sid": [7, 8, 7], "sku": ["a", "b", "c"],
        ...                        "ts": [10, 30, 5]})
        >>> X = Sessions.from_events(clicks, session="sid", item="sku", time="ts")
        >>> X[0].tolist(), X.ids.tolist()
        (['c', 'a'], [7, 8])
        """
        frame = as_frame(events)
        columns = {"session": session, "item": item, "time": time, "user": user}
        check_columns(frame, **columns, weight=weight, event=event)
        if len(frame) == 0:
            raise ValueError("events has no rows. Pass at least one event.")
        vocabulary, codes = column(frame, item, "item")
        ids, session_codes = column(frame, session, "session")
        times = None if time is None else read_times(frame, time)
        order, offsets, rank = group_events(
            session_codes, len(ids), None if times is None else times.order
        )
        del session_codes  # columns are freed as soon as possible: logs are large
        codes = gathered(codes, order)
        ids, users = ids[rank], None
        if user is not None:
            names, user_codes = column_with_gaps(frame, user, "user")
            user_codes = gathered(user_codes, order)
            users = with_gaps(names, one_each(user_codes, offsets, ids))
            del user_codes
        warn_float_ids(frame, item=item, session=session, user=user)
        columns = {"ids": ids, "users": users}
        if times is not None:
            columns["times"] = times.take(order).seconds
            del times
        if weight is not None:
            columns["weights"] = gathered(read_weights(frame, weight), order)
        if event is not None:
            names, types = column_with_gaps(frame, event, "event type")
            columns |= {"types": gathered(types, order), "type_names": names}
        del order
        return cls._of_fresh(codes, offsets, vocabulary, **columns)

    @classmethod
    def from_lists(
        cls,
        sessions: Lists,
        *,
        ids: Ids | None = None,
        users: Ids | None = None,
        padding: int | None = None,
        times: Lists | None = None,
        weights: Lists | None = None,
        events: Lists | None = None,
    ) -> Sessions:
        """Build sessions from one sequence of item ids per session.

        Parameters
        ----------
        sessions : sequence of sequences
            Lists, tuples or 1-D arrays of item ids. A session may be empty.
        ids, users : array-like of shape (n_sessions,), default=None
            Session and user ids. None and NaN mean that a session has none.
        padding : int, default=None
            Value that fills the ends of rows and is not an item, such as 0. None keeps
            every value, because some logs number their items from 0.
        times, weights, events : sequence of sequences, default=None
            Time in seconds, weight and type of each click, as in `from_events`. Each
            row has as many values as the same row of `sessions`.

        Returns
        -------
        sessions : Sessions
            Sessions in the given order.

        Raises
        ------
        TypeError
            If a session is not a sequence, or an item id cannot be hashed.
        ValueError
            If an item id is None, NaN or infinite, a time is missing, or a weight is
            missing or negative. Also if a row has more or fewer values than its
            session.

        Examples
        --------
        >>> from skclip import Sessions
        >>> X = Sessions.from_lists([["tea", "cup"]], events=[["view", "purchase"]])
        >>> X.type_names[X.types].tolist()
        ['view', 'purchase']
        """
        rows = without_padding(sessions, padding)
        vocabulary, codes, offsets = encode_rows(rows)
        columns = {
            "ids": None if ids is None else labels(ids),
            "users": None if users is None else labels(users, "users"),
        }
        given = (("times", times), ("weights", weights), ("events", events))
        for name, values in given:
            if values is not None:
                values = flat_rows(values, sessions, np.diff(offsets), name)
                columns |= column_of_events(name, values)
        return cls._of_fresh(codes, offsets, vocabulary, **columns)

    # -- the sequence protocol that scikit-learn uses ------------------------

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int]:
        """Shape ``(n_sessions,)``, as scikit-learn expects."""
        return (len(self),)

    @property
    def lengths(self) -> IntArray:
        """Number of events in each session, ndarray of shape (n_sessions,)."""
        return np.diff(self.offsets)

    @property
    def n_events(self) -> int:
        """Number of events in all sessions."""
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, including an estimate for Python objects."""
        columns = (getattr(self, name) for name in self._COLUMNS)
        return sum(_nbytes(column) for column in columns if column is not None)

    # dask ships large objects once instead of with each task
    def __sizeof__(self) -> int:
        return super().__sizeof__() + self.nbytes

    @property
    def end_times(self) -> FloatArray | None:
        """Time of each session's last event, seconds; NaN for an empty session."""
        if self.times is None:
            return None
        ends = np.full(len(self), np.nan)
        filled = self.lengths > 0
        ends[filled] = self.times[self.offsets[1:][filled] - 1]
        return ends

    @overload
    def __getitem__(self, key: SupportsIndex) -> ItemIds: ...
    @overload
    def __getitem__(self, key: slice | ArrayLike) -> Sessions: ...
    def __getitem__(self, key: Any) -> ItemIds | Sessions:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn indexes anything with a shape this way
        if isinstance(key, Integral):
            row = range(len(self))[int(key)]  # IndexError past the end
            start, stop = self.offsets[row : row + 2]
            return self.vocabulary[self.codes[start:stop]]
        if isinstance(key, slice):
            return self._take(np.arange(len(self))[key])
        rows = np.asarray(key)
        if rows.ndim != 1 or isinstance(key, tuple):
            raise IndexError(
                "Sessions have one dimension. Pass an integer, a slice, or an array of "
                f"rows or a mask of one dimension, not {key!r:.60}."
            )
        if rows.dtype.kind == "b":
            if rows.shape != self.shape:
                raise IndexError(
                    f"A mask for {len(self)} sessions must have shape {self.shape}, "
                    f"got {rows.shape}."
                )
            rows = np.flatnonzero(rows)
        elif rows.size == 0:
            rows = rows.astype(np.int64)
        elif rows.dtype.kind not in "iu":
            raise IndexError(
                f"Sessions cannot be indexed by {key!r}. Pass an integer, a slice, an "
                "array of integers or a mask."
            )
        return self._take(np.arange(len(self))[rows])

    def __iter__(self) -> Iterator[ItemIds]:
        return map(self.__getitem__, range(len(self)))

    def __contains__(self, item: object) -> bool:
        raise TypeError(
            "`in` is ambiguous: it could mean an item or a session. Use "
            "`session in X.to_lists()`, or `(X.vocabulary[X.codes] == item).any()`."
        )

    def _take(self, rows):
        starts, lengths = self.offsets[:-1][rows], self.lengths[rows]
        at, offsets = flat_positions(starts, lengths)
        codes, vocabulary = self.codes[at], self.vocabulary
        if 4 * len(codes) < len(vocabulary):  # small selections keep only their own ids
            used, codes = np.unique(codes, return_inverse=True)
            vocabulary = vocabulary[used]
        return self._of_fresh(codes, offsets, vocabulary, **columns_at(self, at, rows))

    def __repr__(self) -> str:
        return (
            f"Sessions(n_sessions={len(self)}, n_events={self.n_events}, "
            f"n_items={len(np.unique(self.codes))})"
        )

    # -- immutability and pickling -------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Sessions are immutable, so {name!r} cannot be set.")

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._COLUMNS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in self._COLUMNS:
            value = state.get(name)  # old pickles have no weights and types
            if value is not None and value.flags.writeable:
                value = value.view()
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    # -- views and conversions -----------------------------------------------

    def with_clusters(self, clusters: ArrayLike) -> Sessions:
        """Return the same sessions carrying a cluster per event.

        Parameters
        ----------
        clusters : array-like of shape (n_events,) or (n_events, n_levels)
            Clusters 1..K, 0 = unknown. Each level has its own numbers.

        Returns
        -------
        sessions : Sessions
            Sessions that share all other columns with these.
        """
        return self._with(clusters=clusters)

    def with_ids(self, ids: Ids) -> Sessions:
        """Return the same sessions with session ids.

        Parameters
        ----------
        ids : array-like of shape (n_sessions,)
            Session ids: numbers, text, or anything hashable.

        Returns
        -------
        sessions : Sessions
            Sessions that share all other columns with these.
        """
        return self._with(ids=labels(ids))

    def with_users(self, users: Ids) -> Sessions:
        """Return the same sessions with user ids.

        Parameters
        ----------
        users : array-like of shape (n_sessions,)
            User ids: numbers, text, or anything hashable.

        Returns
        -------
        sessions : Sessions
            Sessions that share all other columns with these.
        """
        return self._with(users=labels(users, "users"))

    def _with(self, **columns):
        state = self.__getstate__() | columns
        return type(self)(
            state.pop("codes"), state.pop("offsets"), state.pop("vocabulary"), **state
        )

    def to_lists(self) -> list[list[Any]]:
        """Return the raw item ids.

        Returns
        -------
        lists : list of list
            One list of ids per session.
        """
        items = self.vocabulary[self.codes].tolist()
        ends = self.offsets.tolist()
        return [items[a:b] for a, b in itertools.pairwise(ends)]

    def to_frame(self, backend: str = "pandas") -> Frame:
        """Return one row per event as a data frame.

        Parameters
        ----------
        backend : {"pandas", "polars", "pyarrow"}, default="pandas"
            Library of the frame, which must be installed. pandas accepts ids of mixed
            types. The other libraries need ids of one type.

        Returns
        -------
        frame : data frame
            Table with the columns ``session`` and ``item``, and if known ``time`` in
            seconds, ``user``, ``cluster``, ``weight`` and ``event``. Unknown session
            ids are replaced by row numbers. With several levels of clusters the first
            is used.
        """
        rows = np.repeat(np.arange(len(self)), self.lengths)
        data = {
            "session": rows if self.ids is None else self.ids[rows],
            "item": self.vocabulary[self.codes],
        }
        if self.times is not None:
            data["time"] = self.times
        if self.users is not None:
            data["user"] = self.users[rows]
        if self.clusters is not None:
            data["cluster"] = self.clusters[:, 0]
        if self.weights is not None:
            data["weight"] = self.weights
        if self.types is not None:
            data["event"] = with_gaps(self.type_names, self.types)
        data = {k: v.tolist() if v.dtype.kind in "OU" else v for k, v in data.items()}
        try:
            return nw.from_dict(data, backend=backend).to_native()
        except ModuleNotFoundError as error:
            raise ImportError(
                f"to_frame(backend={backend!r}) needs {error.name}. Run: pip install "
                f"{error.name}. Or name another backend: pandas, polars or pyarrow."
            ) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(
                f"{backend} cannot hold these ids in one column ({error!s:.80}). Pass "
                "backend='pandas', or convert the ids to one type first."
            ) from error

    def to_prefixes(self) -> tuple[Sessions, ItemIds]:
        """Return every prefix that has a next item, and that item.

        Returns
        -------
        prefixes : Sessions
            Prefixes ``session[:t]`` for ``t = 1 .. length - 1`` of each session in
            order, with its id and user.
        targets : ndarray of shape (n_prefixes,)
            Raw ids of the next items, ``session[t]``.
        """
        rows, ends = prefix_ends(self.lengths)
        at, offsets = flat_positions(self.offsets[:-1][rows], ends)
        prefixes = self._of_fresh(
            self.codes[at],
            offsets,
            self.vocabulary,
            **columns_at(self, at, rows),
        )
        return prefixes, self.vocabulary[self.codes[self.offsets[:-1][rows] + ends]]

    def concat(*parts: SessionsLike) -> Sessions:
        """Join several `Sessions` into one, in the given order.

        A column is dropped if one of the parts does not have it. Weights and types are
        kept: they are 1 or unknown for parts without them.
        ``Sessions.concat(first, second)``, ``Sessions.concat([first, second])`` and
        ``first.concat(second)`` are equivalent.

        Parameters
        ----------
        *parts : Sessions, lists of lists, or one list of them
            Parts to join, at least one.

        Returns
        -------
        sessions : Sessions
            Joined sessions with one vocabulary.
        """
        from skclip._data._as_sessions import as_sessions  # it builds Sessions

        parts = parts_to_join(parts, Sessions)
        parts = [p if isinstance(p, Sessions) else as_sessions(p) for p in parts]
        words = [word for part in parts for word in part.vocabulary.tolist()]
        vocabulary, codes = factorize_list(words)
        bounds = np.cumsum([0] + [len(part.vocabulary) for part in parts])
        clusters = [part.clusters for part in parts]
        if all(c is not None for c in clusters):
            shapes = {c.shape[1:] for c in clusters}
            if len(shapes) > 1:
                raise ValueError(
                    "The parts carry clusters of different numbers of levels. "
                    "Transform all of them with the same clusterer."
                )
        joined = {
            name: None
            if any(getattr(part, name) is None for part in parts)
            else np.concatenate([getattr(part, name) for part in parts])
            for name in ("times", "clusters")
        } | {
            name: None
            if any(getattr(part, name) is None for part in parts)
            else labels([x for part in parts for x in getattr(part, name).tolist()])
            for name in Sessions._SESSION_COLUMNS
        }
        joined |= joined_weights(parts) | joined_types(parts)
        lengths = np.concatenate([part.lengths for part in parts])
        return Sessions(
            np.concatenate(
                [codes[b:][part.codes] for b, part in zip(bounds, parts, strict=False)]
            ),
            np.concatenate([[0], np.cumsum(lengths)]),
            vocabulary,
            **joined,
        )

    def describe(self) -> dict[str, Any]:
        """Return a dictionary that summarizes the sessions.

        Returns
        -------
        summary : dict
            Number of sessions, events, items and users, share of sessions of length 1,
            mean, median and longest length, and first and last time. ``n_duplicates``
            counts events that equal an earlier one in session, item, time and type. It
            is None without times, and the number of users is None without users.

        See Also
        --------
        skclip.preprocessing.drop_duplicates : Removes duplicates from an event log.
        """
        lengths = self.lengths
        summary = {
            "n_sessions": len(self),
            "n_events": self.n_events,
            "n_items": len(np.unique(self.codes)),
            "n_users": None
            if self.users is None
            else len(set(self.users.tolist()) - {None}),
            "n_duplicates": None if self.times is None else self._count_duplicates(),
            "n_prefixes": int(np.maximum(lengths - 1, 0).sum()),
            "share_of_length_1": float((lengths == 1).mean()) if len(self) else 0.0,
            "mean_length": float(lengths.mean()) if len(self) else 0.0,
            "median_length": float(np.median(lengths)) if len(self) else 0.0,
            "max_length": int(lengths.max(initial=0)),
        }
        if self.times is not None and self.n_events:
            summary["first_time"] = float(self.times.min())
            summary["last_time"] = float(self.times.max())
        return summary

    def _count_duplicates(self):
        rows = np.repeat(np.arange(len(self)), self.lengths)
        keys = self.codes, self.times, rows
        if self.types is not None:
            keys = (self.types, *keys)
        order = np.lexsort(keys)
        return int(np.all([np.diff(key[order]) == 0 for key in keys], axis=0).sum())


def columns_at(sessions, events, rows):
    """Optional columns of some events and rows, as arguments of `Sessions`."""
    columns = picked(sessions, Sessions._EVENT_COLUMNS, events)
    columns |= picked(sessions, Sessions._SESSION_COLUMNS, rows)
    return columns | {"type_names": sessions.type_names}


def _nbytes(array):
    """Bytes of an array, with an estimate for the Python objects that it points to."""
    if array.dtype != object or not len(array):
        return array.nbytes
    sample = array[:: -(-len(array) // _SAMPLE)].tolist()
    return array.nbytes + len(array) * sum(map(sys.getsizeof, sample)) // len(sample)


def _copied(values, dtype, name):
    """Return a copy of a type; refuse numbers that the type cannot hold."""
    if dtype not in (np.int32, np.int64):
        return np.array(values, dtype=dtype)
    given = np.asarray(values)
    with np.errstate(invalid="ignore"):
        copy = given.astype(dtype)
    if given.size and not np.array_equal(copy, given):
        raise ValueError(
            f"{name} must hold whole numbers of type {np.dtype(dtype)}, got "
            f"{given.ravel()[np.flatnonzero((copy != given).ravel())[0]]}."
        )
    return copy
