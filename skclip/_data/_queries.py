"""Sessions to predict for, in codes of a catalog."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from skclip._data._as_sessions import as_sessions, check_targets
from skclip._data._id_types import other_type
from skclip._data._index import append_ids
from skclip._data._ragged import flat_positions, picked, prefix_ends
from skclip._data._sessions import Sessions
from skclip._warnings import warn_once, was_told
from skclip.exceptions import IdTypeWarning, UnseenItemWarning

FEW = 8  # up to this number sessions are scored by a separate path with low latency


@dataclass(frozen=True)
class Queries:
    """Prefixes to rank for, encoded against a catalog.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int32
        Codes 1..n_items. Each unseen raw id has its own code above n_items.
    offsets : ndarray of shape (n_sessions + 1,)
    rows, ends : ndarray of shape (n_queries,)
        Query i observes the first ``ends[i]`` events of session ``rows[i]``.
    targets : ndarray of shape (n_queries,), int32
        Codes of the next items; 0 = outside the catalog, or not needed.
    users, ids : ndarray of shape (n_sessions,), default=None
        Raw ids of users and sessions, if known.
    times : ndarray of shape (n_events,), default=None
        Times in seconds, if known.
    types : ndarray of shape (n_events,), default=None
        Positions of the types of events in `type_names`, -1 = unknown.
    unseen_ids : ndarray, default=None
        Raw ids of the codes above n_items.
    unknown_targets : ndarray, default=None
        Raw ids of targets outside the catalog.
    """

    codes: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray
    ends: np.ndarray
    targets: np.ndarray
    users: np.ndarray = None
    ids: np.ndarray = None
    times: np.ndarray = None
    unseen_ids: np.ndarray = None
    unknown_targets: np.ndarray = None
    types: np.ndarray = None
    type_names: np.ndarray = None

    def __len__(self):
        return len(self.rows)

    def as_sessions(self, item_ids):
        """Return the observed prefixes as `Sessions`, which other estimators read."""
        at, offsets = flat_positions(self.offsets[:-1][self.rows], self.ends)
        used, codes = np.unique(self.codes[at] - 1, return_inverse=True)
        seen, unseen = np.split(used, [np.searchsorted(used, len(item_ids))])
        return Sessions(
            codes,
            offsets,
            append_ids(item_ids[seen], self.unseen_ids[unseen - len(item_ids)]),
            type_names=self.type_names,
            **picked(self, ("times", "types"), at),
            **picked(self, ("users", "ids"), self.rows),
        )

    def take(self, which):
        return replace(self, **picked(self, ("rows", "ends", "targets"), which))


def query_data(X, index, y=None, *, every_prefix=False):
    """Encode sessions against a catalog, as `Queries`."""
    if y is None and not every_prefix:
        few = _few_known(X, index)
        if few is not None:
            return few
    sessions = as_sessions(X, index)
    codes = index.codes_of(sessions.vocabulary)
    unseen = codes == 0
    codes[unseen] = len(index) + 1 + np.arange(unseen.sum(), dtype=np.int32)
    codes = codes[sessions.codes]
    unknown_targets = None
    if y is None and every_prefix:
        rows, ends = prefix_ends(sessions.lengths)
        targets = codes[sessions.offsets[:-1][rows] + ends]
        targets = np.where(targets > len(index), 0, targets).astype(np.int32)
    else:
        rows, ends = np.arange(len(sessions)), sessions.lengths
        targets = np.zeros(len(sessions), dtype=np.int32)
        if y is not None:
            y = check_targets(y, len(sessions))
            targets = index.codes_of(y)
            unknown_targets = y[targets == 0]
    return Queries(
        codes=codes,
        offsets=sessions.offsets,
        rows=rows,
        ends=ends,
        targets=targets,
        users=sessions.users,
        ids=sessions.ids,
        times=sessions.times,
        unseen_ids=sessions.vocabulary[unseen],
        unknown_targets=unknown_targets,
        types=sessions.types,
        type_names=sessions.type_names,
    )


def newest_first(queries):
    """Events of the queries in order, the newest event of each query first.

    Returns three int64 arrays: the query of each event, its code from 0 (n_items or
    more for unseen items), and the number of events since.
    """
    starts = queries.offsets[:-1][queries.rows]
    at, offsets = flat_positions(-(starts + queries.ends - 1), queries.ends)
    rows = np.repeat(np.arange(len(queries), dtype=np.int64), queries.ends)
    codes = queries.codes[-at].astype(np.int64) - 1
    return rows, codes, np.arange(len(at)) - offsets[:-1][rows]


def _few_known(X, index):
    """The same for a few plain lists of known items; None for any other `X`.

    A server asks for one visitor at a time. This is faster than `Sessions`.
    """
    if type(X) is not list or not 0 < len(X) <= FEW:
        return None
    if not all(type(row) in (list, tuple) and row for row in X):
        return None
    codes = index.codes_of_known([item for row in X for item in row])
    if codes is None:
        return None
    offsets = np.array([0, *itertools.accumulate(map(len, X))])
    return Queries(
        codes=codes,
        offsets=offsets,
        rows=np.arange(len(X)),
        ends=offsets[1:] - offsets[:-1],
        targets=np.zeros(len(X), dtype=np.int32),
        unseen_ids=np.empty(0, dtype=np.int64),
    )


def warn_unknown(queries, index, what_happens, where=""):
    """Warn about unseen items, empty sessions and ids of another type, once each.

    Parameters
    ----------
    queries : Queries
    index : ItemIndex
        The catalog. Each warning is given once for it.
    what_happens : str
        How the model treats unseen items, a sentence.
    where : str, default=""
        Origin of the sessions, if they are not those of a prediction.
    """
    of = f" of {where}" if where else ""
    n_unseen = int((queries.codes > len(index)).sum())
    n_empty = int((queries.offsets[1:] == queries.offsets[:-1]).sum())
    if n_unseen:
        warn_once(
            index,
            ("unseen items", where),
            f"{n_unseen:,} of {len(queries.codes):,} clicks{of} are on items that were "
            f"not seen in fit. {what_happens}",
            UnseenItemWarning,
        )
    if n_empty:
        warn_once(
            index,
            ("empty sessions", where),
            f"{n_empty:,} of {len(queries.offsets) - 1:,} sessions{of} are empty. They "
            "get the most popular items.",
            UnseenItemWarning,
        )
    for name, ids in (("X", queries.unseen_ids), ("y", queries.unknown_targets)):
        warn_other_type(index, f"{name}{of}", ids)


def warn_other_type(index, name, ids):
    """Warn once if unknown ids are probably known ones of another type."""
    if ids is not None and len(ids) and not was_told(index, (name, "type")):
        hint = other_type(ids, index)
        if hint:
            message = f"{name} has ids that were not seen in fit. {hint}"
            warn_once(index, (name, "type"), message, IdTypeWarning)
