"""Sessions and targets as codes 1..n_items of one catalogue."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import column_or_1d

from skclip._ids import (
    ItemIndex,
    append_ids,
    as_id_array,
    factorize,
    factorize_list,
)
from skclip._levels import each_level, has_cluster
from skclip._rows import is_id, python_values
from skclip._sessions import (
    Sessions,
    as_sessions,
    check_times_rise,
    flat_positions,
    prefix_ends,
)


@dataclass(frozen=True)
class Instances:
    """Prefixes to learn from or to rank for: views into one flat array of codes.

    Instance ``i`` observes ``codes[starts[i]:stops[i]]`` and expects
    ``targets[i]``. Instances with the same start are prefixes of one run of events,
    and stand next to each other.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int32
        1..n_items, 0 = an item outside the catalogue.
    starts, stops : ndarray of shape (n_instances,), int64
    targets : ndarray of shape (n_instances,), int32
        1..n_items, 0 = outside the catalogue or not asked for.
    clusters : ndarray of shape (n_events,) or (n_events, n_levels), int32, default=None
        1..K, 0 = unknown; None where every code's own cluster holds.
    users, sessions : ndarray of shape (n_instances,), int32, default=None
        Codes of those that have a prompt, 0 = unknown; equal for instances with the
        same start.
    """

    codes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    targets: np.ndarray
    clusters: np.ndarray = None
    users: np.ndarray = None
    sessions: np.ndarray = None

    def __len__(self):
        return len(self.starts)

    def take(self, rows):
        names = ("starts", "stops", "targets", "users", "sessions")
        return replace(self, **_picked(self, names, rows))


@dataclass(frozen=True)
class Queries:
    """Prefixes to rank for, encoded against a catalogue.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int32
        1..n_items; unseen items have codes above n_items, one per raw id.
    offsets : ndarray of shape (n_sessions + 1,)
    rows, ends : ndarray of shape (n_queries,)
        Query i observes the first ``ends[i]`` events of session ``rows[i]``.
    targets : ndarray of shape (n_queries,), int32
        0 = outside the catalogue, or not asked for.
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
            **_picked(self, ("users", "ids"), self.rows),
        )

    def take(self, which):
        return replace(self, **_picked(self, ("rows", "ends", "targets"), which))


@dataclass(frozen=True)
class TrainingData:
    """What `fit` learns from: encoded sessions in an order of their own.

    `codes` and `offsets` are the sessions, targets appended where `y` was given;
    `graph_ends` are the flat positions of the transitions that enter the item graph
    (None means all), `end_times` the sessions' last times, `users` and `ids` raw ids
    of users and sessions; None where they are unknown.
    """

    index: ItemIndex
    codes: np.ndarray
    offsets: np.ndarray
    clusters: np.ndarray
    end_times: np.ndarray
    graph_ends: np.ndarray
    one_target: bool
    users: np.ndarray = None
    ids: np.ndarray = None

    @property
    def n_items(self):
        return len(self.index)

    def item_counts(self):
        """Number of events of each item of the catalogue, in its order."""
        return np.bincount(self.codes, minlength=self.n_items + 1)[1:]

    def item_clusters(self):
        """Cluster 1..K that the events carry for each item, 0 where none does.

        With as many columns as they carry levels, if they carry several.
        """
        shape = (self.n_items + 1, *self.clusters.shape[1:])
        clusters = np.zeros(shape, dtype=np.int32)
        carried = has_cluster(self.clusters)
        clusters[self.codes[carried]] = self.clusters[carried]
        return clusters[1:]

    def as_fit_arguments(self, rows=None):
        """(X, y) that stand for these rows, or all: Sessions and targets or None."""
        sessions = Sessions(
            self.codes - 1,
            self.offsets,
            self.index.item_ids,
            clusters=self.clusters,
            users=self.users,
            ids=self.ids,
        )
        rows = np.arange(len(sessions)) if rows is None else rows
        if not self.one_target:
            return sessions[rows], None
        rows = rows[sessions.lengths[rows] > 0]
        starts, lengths = sessions.offsets[:-1][rows], sessions.lengths[rows]
        at, offsets = flat_positions(starts, lengths - 1)
        of_rows = _picked(self, ("users", "ids"), rows)
        X = Sessions(self.codes[at] - 1, offsets, self.index.item_ids, **of_rows)
        return X, self.index.item_ids[self.codes[starts + lengths - 1] - 1]

    def appended_to(self, item_ids, more=None):
        """The same sessions in codes of a catalogue that gets new items appended."""
        codes = ItemIndex(item_ids).codes_of(self.index.item_ids)
        new = self.index.item_ids[codes == 0]
        codes[codes == 0] = len(item_ids) + 1 + np.arange(len(new), dtype=np.int32)
        codes = np.concatenate([[0], codes]).astype(np.int32)
        ids = append_ids(item_ids, new)
        if more is not None:  # items that no session has
            ids = append_ids(ids, more[ItemIndex(ids).codes_of(more) == 0])
        index = ItemIndex(ids)
        return replace(self, index=index, codes=codes[self.codes])

    def with_items(self, item_ids):
        """The same sessions in codes of a sorted catalogue that has these items too."""
        own = self.index.item_ids
        new = item_ids[self.index.codes_of(item_ids) == 0]
        if len(new) == 0:
            return self
        vocabulary, codes = factorize_list(own.tolist() + new.tolist())
        if own.dtype.kind == vocabulary.dtype.kind == "i" == new.dtype.kind:
            vocabulary = vocabulary.astype(np.result_type(own, new))
        codes = np.concatenate([[0], codes[: len(own)] + 1]).astype(np.int32)
        return replace(self, index=ItemIndex(vocabulary), codes=codes[self.codes])

    def as_sequences(self, rows):
        """Codes, offsets and ends of these rows, as `Backbone.prepare` takes them."""
        lengths = np.diff(self.offsets)[rows]
        at, offsets = flat_positions(self.offsets[:-1][rows], lengths)
        ends = offsets[1:][lengths > 1] - 1 if self.one_target else None
        return self.codes[at], offsets, ends

    def instances(self, rows, max_length, users=None, sessions=None):
        """Every prefix, or the one prefix before `y`, of the given rows.

        `users` and `sessions` are codes for each of the `rows`.
        """
        instances, of_row = session_instances(
            self.codes, self.offsets, rows, max_length, last_only=self.one_target
        )
        return replace(
            instances,
            users=None if users is None else users[of_row],
            sessions=None if sessions is None else sessions[of_row],
        )


def training_data(X, y=None, *, min_item_count=1, known=None, in_order=False):
    """Encode what was given to `fit`, independently of the order of its rows.

    Items of the catalogue `known` (an `ItemIndex`) need no `min_item_count`. With
    `in_order` the sessions are in order of end time, and rows with equal or without
    times stay in theirs.
    """
    sessions = as_sessions(X)
    if sessions.times is not None:
        check_times_rise(sessions, missing=False)
    codes, offsets, vocabulary = sessions.codes, sessions.offsets, sessions.vocabulary
    clusters, end_times = sessions.clusters, sessions.end_times
    if y is not None:
        codes, offsets, vocabulary, clusters = _append_targets(sessions, y)
    if len(codes) == 0:
        raise ValueError(
            f"All {len(sessions)} sessions are empty. Pass sessions of 2 items or more."
        )
    counts = np.bincount(codes, minlength=len(vocabulary))
    kept = counts >= min_item_count
    if known is not None:
        kept |= (counts > 0) & (known.codes_of(vocabulary) > 0)
    if not kept.any():
        raise ValueError(
            f"No item has min_item_count={min_item_count} events (the most frequent "
            f"has {counts.max(initial=0)}). Pass a smaller min_item_count."
        )
    item_ids = vocabulary[kept]
    codes = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[codes]
    if min_item_count > 1:
        codes, offsets, clusters = _drop_unknown(codes, offsets, clusters, y)
        left = np.bincount(codes, minlength=len(item_ids) + 1)[1:] > 0
        item_ids = item_ids[left]  # rows may have gone with their targets
        codes = np.concatenate([[0], np.cumsum(left)]).astype(np.int32)[codes]
    if not in_order:
        order = _canonical_order(codes, offsets, end_times)
    elif end_times is not None:
        order = np.argsort(end_times, kind="stable")
    else:
        order = np.arange(len(sessions))
    at, sorted_offsets = flat_positions(offsets[:-1][order], np.diff(offsets)[order])
    ends = None
    if y is not None:
        ends = sorted_offsets[1:][np.diff(sorted_offsets) > 1] - 1
    return TrainingData(
        index=ItemIndex(item_ids),
        codes=codes[at],
        offsets=sorted_offsets,
        clusters=None if clusters is None else clusters[at],
        end_times=None if end_times is None else end_times[order],
        graph_ends=ends,
        one_target=y is not None,
        **_picked(sessions, ("users", "ids"), order),
    )


def other_type(ids, item_ids):
    """What to say where ids are text and those of a catalogue numbers, or so; or ""."""
    kinds = {"U": "text", "S": "bytes", "i": "numbers", "u": "numbers", "f": "numbers"}
    mine, theirs = (kinds.get(a.dtype.kind) for a in (ids, item_ids))
    if len(ids) == 0 or mine is None or theirs is None or mine == theirs:
        return ""
    return (
        f" Ids such as {ids.tolist()[0]!r} are {mine}, those of fit are {theirs}: "
        "convert them."
    )


def query_data(X, index, y=None, *, every_prefix=False):
    """Encode sessions against a catalogue, as `Queries`."""
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


def session_instances(codes, offsets, rows, max_length, *, last_only=False):
    """Prefixes of whole sessions, and which of the `rows` each belongs to.

    A prefix keeps its latest `max_length` items.
    """
    lengths = np.diff(offsets)[rows]
    if last_only:
        of_row = np.flatnonzero(lengths > 1)
        ends = lengths[of_row] - 1
    else:
        of_row, ends = prefix_ends(lengths)
    starts = offsets[:-1][rows][of_row]
    stops = starts + ends
    starts = np.maximum(starts, stops - max_length)
    return Instances(codes, starts, stops, targets=codes[stops]), of_row


def check_targets(y, n_sessions):
    """Return the targets `y` as a 1-D array of raw ids, one per session."""
    if isinstance(y, Sessions):
        raise TypeError(
            "y is Sessions. Expected one target item per session: a 1-D array."
        )
    if not isinstance(y, np.ndarray) and hasattr(y, "__array__"):
        y = np.asarray(y)
    if not isinstance(y, np.ndarray):
        try:
            vocabulary, codes = factorize_list(list(y))
        except TypeError:
            raise TypeError(
                f"y is {y!r:.60}. Expected a 1-D array with one target item id per "
                "session, such as a string or a number."
            ) from None
        y = vocabulary[codes]
    if y.dtype.kind == "M":
        y = as_id_array(python_values(y))
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.ndim != 1 or len(y) != n_sessions:
        raise ValueError(
            f"y has shape {y.shape}, expected ({n_sessions},): one target item per "
            "session of X."
        )
    if y.dtype.kind == "c":
        raise ValueError("Complex data not supported: item ids must be real numbers.")
    bad = np.zeros(len(y), dtype=bool)
    if y.dtype.kind == "f":
        bad = ~np.isfinite(y)
    elif y.dtype.kind == "O":
        bad = np.array([not is_id(value) for value in y], dtype=bool)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"y[{row}] is {y.tolist()[row]!r}: Input y contains NaN, infinity or None. "
            "Expected an item id per session; drop sessions without a target."
        )
    return y


def with_targets(sessions, y):
    """Items of the sessions, each with its target behind it; no other column."""
    codes, offsets, vocabulary, _ = _append_targets(sessions, y)
    return Sessions(codes, offsets, vocabulary)


def _append_targets(sessions, y):
    y = check_targets(y, len(sessions))
    words, word_codes = factorize(y)
    both = sessions.vocabulary.tolist() + words.tolist()
    vocabulary, renamed = factorize_list(both)
    n_words = len(sessions.vocabulary)
    new = sessions.offsets[1:]  # each target goes behind its session
    codes = np.insert(renamed[sessions.codes], new, renamed[n_words:][word_codes])
    clusters = sessions.clusters
    if clusters is not None:
        clusters = np.insert(clusters, new, 0, axis=0)
    return codes, sessions.offsets + np.arange(len(sessions) + 1), vocabulary, clusters


def _drop_unknown(codes, offsets, clusters, y):
    known = codes > 0
    if y is not None:  # a row whose target is dropped has nothing left to learn
        lost = ~known[offsets[1:] - 1]
        known &= ~np.repeat(lost, np.diff(offsets))
    running = np.concatenate([[0], np.cumsum(known)])
    return codes[known], running[offsets], None if clusters is None else clusters[known]


def _canonical_order(codes, offsets, end_times):
    """Order sessions by end time and content, whatever the order they came in."""
    keys = (np.diff(offsets), content_hashes(codes, offsets[:-1], offsets[1:]))
    if end_times is not None:
        keys = (*keys, end_times)
    return np.lexsort(keys)


def distinct_prefixes(instances):
    """Instances that observe different things, and who shares with whom.

    Returns
    -------
    first : ndarray of shape (n_distinct,)
        Instances to read, in order.
    inverse : ndarray of shape (n_instances,)
        ``first[inverse]`` observes the same as each instance.
    """
    if len(instances) == 1:
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    values = instances.codes.astype(np.uint64)
    if instances.clusters is not None:
        first, *more = each_level(instances.clusters)
        values |= first.astype(np.uint64) << np.uint64(32)
        for level in more:
            values = _mixed(values) ^ level.astype(np.uint64)
    hashes = content_hashes(values, instances.starts, instances.stops)
    hashes ^= (instances.stops - instances.starts).astype(np.uint64)
    for owner in (instances.users, instances.sessions):
        if owner is not None:
            hashes = _mixed(hashes ^ _mixed(owner))
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[inverse]


def content_hashes(values, starts, stops):
    """64-bit hashes of ``values[starts[i]:stops[i]]``, order and content.

    Two different runs collide with probability 2 ** -64.
    """
    mixed = _mixed(values)
    base = 0xC2B2AE3D27D4EB4F  # odd, so that it has an inverse modulo 2 ** 64
    powers = _powers(base, len(values))
    running = np.concatenate([[np.uint64(0)], np.cumsum(mixed * powers[:-1])])
    back = _powers(pow(base, -1, 2**64), len(values))
    return (running[stops] - running[starts]) * back[starts]


def _mixed(values):
    """64 well mixed bits of each value, by the finaliser of SplitMix64."""
    mixed = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _powers(base, n):
    steps = np.full(n + 1, base, dtype=np.uint64)
    steps[0] = 1
    return np.cumprod(steps)


def _picked(owner, names, rows):
    """Rows of some attributes, None where they are None."""
    values = {name: getattr(owner, name) for name in names}
    return {k: None if v is None else v[rows] for k, v in values.items()}
