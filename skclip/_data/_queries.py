"""What a fitted estimator is asked: sessions in codes of its catalog."""

from dataclasses import dataclass, replace

import numpy as np

from skclip._data._as_sessions import as_sessions, check_targets
from skclip._data._ids import append_ids
from skclip._data._ragged import flat_positions, picked, prefix_ends
from skclip._data._sessions import Sessions
from skclip._sklearn import warn_user


@dataclass(frozen=True)
class Queries:
    """Prefixes to rank for, encoded against a catalog.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int32
        1..n_items; unseen items have codes above n_items, one per raw id.
    offsets : ndarray of shape (n_sessions + 1,)
    rows, ends : ndarray of shape (n_queries,)
        Query i observes the first ``ends[i]`` events of session ``rows[i]``.
    targets : ndarray of shape (n_queries,), int32
        0 = outside the catalog, or not asked for.
    users, ids : ndarray of shape (n_sessions,), default=None
        Raw ids of users and sessions, where known.
    times : ndarray of shape (n_events,), default=None
        Seconds, where known.
    unseen_ids : ndarray, default=None
        Raw ids of the codes above n_items.
    type_hint : str, default=""
        What to say where these ids have another type than those of `fit`.
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
    type_hint: str = ""

    def __len__(self):
        return len(self.rows)

    def as_sessions(self, item_ids):
        """What is observed, as `Sessions` that any other estimator reads."""
        at, offsets = flat_positions(self.offsets[:-1][self.rows], self.ends)
        used, codes = np.unique(self.codes[at] - 1, return_inverse=True)
        seen, unseen = np.split(used, [np.searchsorted(used, len(item_ids))])
        return Sessions(
            codes,
            offsets,
            append_ids(item_ids[seen], self.unseen_ids[unseen - len(item_ids)]),
            times=None if self.times is None else self.times[at],
            **picked(self, ("users", "ids"), self.rows),
        )

    def take(self, which):
        return replace(self, **picked(self, ("rows", "ends", "targets"), which))


def other_type(ids, item_ids):
    """What to say where ids are text and those of a catalog numbers, or so; or ""."""
    kinds = {"U": "text", "S": "bytes", "i": "numbers", "u": "numbers", "f": "numbers"}
    mine, theirs = (kinds.get(a.dtype.kind) for a in (ids, item_ids))
    if len(ids) == 0 or mine is None or theirs is None or mine == theirs:
        return ""
    return (
        f" Ids such as {ids.tolist()[0]!r} are {mine}, those of fit are {theirs}: "
        "convert them."
    )


def query_data(X, index, y=None, *, every_prefix=False):
    """Encode sessions against a catalog, as `Queries`."""
    sessions = as_sessions(X)
    codes = index.codes_of(sessions.vocabulary)
    unseen = codes == 0
    codes[unseen] = len(index) + 1 + np.arange(unseen.sum(), dtype=np.int32)
    codes = codes[sessions.codes]
    if y is None and every_prefix:
        rows, ends = prefix_ends(sessions.lengths)
        targets = codes[sessions.offsets[:-1][rows] + ends]
        targets = np.where(targets > len(index), 0, targets).astype(np.int32)
    else:
        rows, ends = np.arange(len(sessions)), sessions.lengths
        targets = np.zeros(len(sessions), dtype=np.int32)
        if y is not None:
            targets = index.codes_of(check_targets(y, len(sessions)))
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
        type_hint=other_type(sessions.vocabulary[unseen], index.item_ids),
    )


def warn_unknown(queries, n_items, what_happens):
    """Count the events and sessions that say nothing, in one warning."""
    n_unseen = int((queries.codes > n_items).sum())
    n_empty = int((np.diff(queries.offsets) == 0).sum())
    if n_unseen or n_empty:
        n_sessions = len(queries.offsets) - 1
        empty = f", {n_empty} of {n_sessions} sessions are empty" if n_empty else ""
        warn_user(
            f"{n_unseen} of {len(queries.codes)} events have an item that was not "
            f"seen in fit{empty}.{queries.type_hint} {what_happens}"
        )
