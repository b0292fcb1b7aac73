"""Training data of fit: sessions in codes of a catalog, in canonical order."""

from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_non_negative

from skclip._data._as_sessions import as_sessions, check_targets
from skclip._data._click_features import click_codes, codes_of_types
from skclip._data._id_types import check_own_types, refuse_other_type
from skclip._data._ids import factorize, factorize_list
from skclip._data._index import ItemIndex, append_ids, joined_ids
from skclip._data._instances import session_instances
from skclip._data._ragged import (
    check_times_rise,
    content_hashes,
    flat_positions,
    picked,
)
from skclip._data._sessions import Sessions, columns_at
from skclip._warnings import warn_user

_LARGEST = 1e9  # weight; with larger ones, sums and products lose small weights
_FILL = {"clusters": 0, "weights": 1.0, "types": -1, "times": np.nan}  # for targets


@dataclass(frozen=True)
class TrainingData:
    """Encoded training sessions of `fit`, in canonical order.

    `codes` and `offsets` are the sessions, with targets appended if `y` was given.
    `graph_ends` are the flat positions of the transitions in the item graph; None means
    all. `end_times` are the last times of the sessions. `users` and `ids` are raw ids
    of users and sessions, None if unknown.

    `clusters`, `weights`, `types` and `times` belong to the events. `types` are
    positions in `type_names`, -1 = unknown. `weights` is None if each event counts 1.
    `click_features` are the names of the click features that a model reads,
    `type_index` the event types that it has learned, and `click_codes` their codes.
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
    weights: np.ndarray = None
    types: np.ndarray = None
    type_names: np.ndarray = None
    times: np.ndarray = None
    click_features: tuple = ()
    type_index: ItemIndex = None
    click_codes: np.ndarray = None

    @property
    def n_sessions(self):
        return len(self.offsets) - 1

    @property
    def n_items(self):
        return len(self.index)

    def item_counts(self, before=None):
        """Number of events of each item of the catalog, or the sum of their weights.

        The counts `before` belong to a catalog that this one extends. They are added.
        """
        counts = np.bincount(self.codes, self.weights, self.n_items + 1)[1:]
        if before is None:
            return counts
        return counts + np.pad(before, (0, len(counts) - len(before)))

    def has_events(self):
        """Whether the sessions have an item of the catalog, whatever its weight."""
        return np.bincount(self.codes, minlength=self.n_items + 1)[1:] > 0

    def weights_at(self, events):
        """Weights of some events."""
        if self.weights is None:
            return np.ones(len(self.codes))[events]
        return self.weights[events]

    def session_weights(self):
        """Weights of sessions: the mean weight of their events, 0 for empty ones."""
        lengths = np.diff(self.offsets)
        of_event = np.repeat(np.arange(len(lengths)), lengths)
        sums = np.bincount(of_event, self.weights, len(lengths))
        return sums / np.maximum(lengths, 1)

    def item_clusters(self):
        """Clusters 1..K that the events carry, (n_items, n_levels); 0 = none."""
        shape = (self.n_items + 1, self.clusters.shape[1])
        clusters = np.zeros(shape, dtype=np.int32)
        carried = (self.clusters > 0).any(axis=1)
        clusters[self.codes[carried]] = self.clusters[carried]
        return clusters[1:]

    def pairs(self, gap):
        """Positions of two events of a session that are `gap` apart, in order.

        The later event has a weight above 0.
        """
        session = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        later = self.graph_ends  # with targets, only these transitions count
        later = np.arange(gap, len(session)) if later is None else later[later >= gap]
        later = later[session[later] == session[later - gap]]
        if self.weights is not None:
            later = later[self.weights[later] > 0]
        return later - gap, later

    def as_fit_arguments(self, rows=None):
        """Return (X, y) with the content of these rows, or of all; y may be None.

        Pass the weights of targets as `sample_weight`, see `target_weights`.
        """
        columns = columns_at(self, slice(None), slice(None))
        sessions = Sessions(
            self.codes - 1, self.offsets, self.index.item_ids, **columns
        )
        rows = np.arange(len(sessions)) if rows is None else rows
        if not self.one_target:
            return sessions[rows], None
        rows = rows[sessions.lengths[rows] > 0]
        starts, lengths = sessions.offsets[:-1][rows], sessions.lengths[rows]
        at, offsets = flat_positions(starts, lengths - 1)
        columns = columns_at(self, at, rows) | {"clusters": None}
        if self.weights is not None:
            of_targets = np.repeat(self.weights[starts + lengths - 1], lengths - 1)
            columns["weights"] = self.weights[at] / of_targets
        X = Sessions(self.codes[at] - 1, offsets, self.index.item_ids, **columns)
        return X, self.index.item_ids[self.codes[starts + lengths - 1] - 1]

    def target_weights(self):
        """The `sample_weight` for `as_fit_arguments` of all rows, or None."""
        if not self.one_target or self.weights is None:
            return None  # the sessions hold all weights
        return self.weights[self.offsets[1:][np.diff(self.offsets) > 0] - 1]

    def appended_to(self, item_ids, more=None):
        """The same sessions in codes of a catalog with new items appended."""
        known = ItemIndex(item_ids)
        codes = known.codes_of(self.index.item_ids)
        new = self.index.item_ids[codes == 0]
        refuse_other_type(new, known, "X")
        codes[codes == 0] = len(item_ids) + 1 + np.arange(len(new), dtype=np.int32)
        codes = np.concatenate([[0], codes]).astype(np.int32)
        ids = append_ids(item_ids, new)
        if more is not None:  # items that occur in no session
            ids = append_ids(ids, more[ItemIndex(ids).codes_of(more) == 0])
        index = ItemIndex(ids)
        check_own_types(index, "X")
        return replace(self, index=index, codes=codes[self.codes])

    def with_items(self, item_ids, what):
        """The same sessions in codes of a sorted catalog that has these items too.

        `what` is the name of the source of the items, for messages.
        """
        own = self.index.item_ids
        new = item_ids[self.index.codes_of(item_ids) == 0]
        if len(new) == 0:
            return self
        refuse_other_type(new, self.index, what)
        vocabulary, codes, _ = joined_ids(own, new)
        codes = np.concatenate([[0], codes + 1]).astype(np.int32)
        return replace(self, index=ItemIndex(vocabulary), codes=codes[self.codes])

    def with_click_features(self, names, types):
        """The same with codes of these click features. `types` is an index."""
        if not names:
            return self
        types_of_events = codes_of_types(types, self)
        codes = click_codes(names, self.offsets, self.times, types_of_events)
        return replace(self, click_features=names, type_index=types, click_codes=codes)

    def as_sequences(self, rows):
        """Codes, offsets and ends of these rows, as `Backbone.prepare` takes them."""
        lengths = np.diff(self.offsets)[rows]
        at, offsets = flat_positions(self.offsets[:-1][rows], lengths)
        ends = offsets[1:][lengths > 1] - 1 if self.one_target else None
        return self.codes[at], offsets, ends

    def instances(self, rows, max_length, users=None, sessions=None):
        """Every prefix of the given rows, or the one prefix before `y`.

        `users` and `sessions` are codes for each of the `rows`.
        """
        instances, of_row = session_instances(
            self.codes, self.offsets, rows, max_length, last_only=self.one_target
        )
        instances = replace(
            instances,
            users=None if users is None else users[of_row],
            sessions=None if sessions is None else sessions[of_row],
            click_codes=self.click_codes,
        )
        return instances.weighted(self.weights)


def training_data(
    X, y=None, *, min_item_count=1, known=None, in_order=False, sample_weight=None
):
    """Encode the arguments of `fit`. The order of their rows does not matter.

    The `sample_weight` of a row multiplies the weights of its events and of its target.
    Rows of weight 0 are left out.

    Items of the catalog `known` (an `ItemIndex`) need no `min_item_count`. With
    `in_order` the sessions are ordered by end time. Rows with equal times or without
    times then keep their order.
    """
    sessions = as_sessions(X)
    y = None if y is None else check_targets(y, len(sessions))
    row_weights = checked_sample_weight(sample_weight, len(sessions))
    if row_weights is not None and not row_weights.all():
        kept = row_weights > 0
        sessions, row_weights = sessions[kept], row_weights[kept]
        y = None if y is None else y[kept]
    if sessions.times is not None:
        check_times_rise(sessions, missing=False)
    codes, offsets, vocabulary = sessions.codes, sessions.offsets, sessions.vocabulary
    columns, end_times = picked(sessions, _FILL, slice(None)), sessions.end_times
    if y is not None:
        codes, offsets, vocabulary, columns = _append_targets(sessions, y)
        if sessions.weights is not None and sample_weight is None:
            warn_user(
                "The events of X have weights, but the targets in y have none, so each "
                "target counts 1. Pass sample_weight=, or whole sessions without y."
            )
    columns["weights"] = _event_weights(columns["weights"], row_weights, offsets)
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
        codes, offsets, columns = _drop_unknown(codes, offsets, columns, y)
        left = np.bincount(codes, minlength=len(item_ids) + 1)[1:] > 0
        item_ids = item_ids[left]  # some rows may be gone together with their targets
        codes = np.concatenate([[0], np.cumsum(left)]).astype(np.int32)[codes]
    if not in_order:
        order = _canonical_order(codes, offsets, end_times, columns)
    elif end_times is not None:
        order = np.argsort(end_times, kind="stable")
    else:
        order = np.arange(len(sessions))
    index = ItemIndex(item_ids)
    if known is None:
        check_own_types(index, "X")
    at, sorted_offsets = flat_positions(offsets[:-1][order], np.diff(offsets)[order])
    ends = None
    if y is not None:
        ends = sorted_offsets[1:][np.diff(sorted_offsets) > 1] - 1
    return TrainingData(
        index=index,
        codes=codes[at],
        offsets=sorted_offsets,
        end_times=None if end_times is None else end_times[order],
        graph_ends=ends,
        one_target=y is not None,
        type_names=sessions.type_names,
        **{name: None if v is None else v[at] for name, v in columns.items()},
        **picked(sessions, ("users", "ids"), order),
    )


def checked_sample_weight(sample_weight, n_rows):
    """Weights of rows as float64, or None if each is 1.

    Raises
    ------
    ValueError
        If they are not one finite number of 0 or more for each row, or if all are 0.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_rows, float(sample_weight))
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.shape != (n_rows,):
        raise ValueError(
            f"sample_weight has shape {weights.shape}, expected ({n_rows},). Pass one "
            "weight for each session of X."
        )
    check_non_negative(weights, "sample_weight")
    if not weights.any():
        raise ValueError(
            "Sample weights must contain at least one non-zero number, but all "
            f"{n_rows} weights are 0."
        )
    return None if (weights == 1).all() else weights


def _event_weights(weights, row_weights, offsets):
    """Weights of events and rows combined; None if each is 1."""
    if row_weights is not None:
        of_events = np.repeat(row_weights, np.diff(offsets))
        weights = of_events if weights is None else weights * of_events
    if weights is not None and len(weights) and not weights.any():
        raise ValueError(
            f"All {len(weights)} events have weight 0, so there is nothing to learn. "
            "Pass weights above 0 for the events to learn."
        )
    if weights is None or (weights == 1).all():
        return None
    largest = weights.max(initial=0.0)
    if largest > 0 and not 1 / _LARGEST <= largest <= _LARGEST:
        raise ValueError(
            f"The largest weight is {largest:g}. Expected one from {1 / _LARGEST:g} to "
            f"{_LARGEST:g}, so that sums stay exact. Divide all weights by the largest."
        )
    return weights


def with_targets(sessions, y):
    """Items of the sessions, each followed by its target; no other column."""
    codes, offsets, vocabulary, _ = _append_targets(sessions, y)
    return Sessions(codes, offsets, vocabulary)


def _append_targets(sessions, y):
    """Codes, offsets, vocabulary and columns, with each target after its session."""
    y = check_targets(y, len(sessions))
    words, word_codes = factorize(y)
    known = ItemIndex(sessions.vocabulary)
    refuse_other_type(words[known.codes_of(words) == 0], known, "y")
    both = sessions.vocabulary.tolist() + words.tolist()
    vocabulary, renamed = factorize_list(both)
    n_words = len(sessions.vocabulary)
    new = sessions.offsets[1:]
    codes = np.insert(renamed[sessions.codes], new, renamed[n_words:][word_codes])
    columns = {
        name: None if values is None else np.insert(values, new, fill, axis=0)
        for name, fill in _FILL.items()
        for values in [getattr(sessions, name)]
    }
    return codes, sessions.offsets + np.arange(len(sessions) + 1), vocabulary, columns


def _drop_unknown(codes, offsets, columns, y):
    known = codes > 0
    if y is not None:  # a row without its target has nothing left to learn
        lost = ~known[offsets[1:] - 1]
        known &= ~np.repeat(lost, np.diff(offsets))
    running = np.concatenate([[0], np.cumsum(known)])
    columns = {name: None if v is None else v[known] for name, v in columns.items()}
    return codes[known], running[offsets], columns


def _canonical_order(codes, offsets, end_times, columns):
    """Order sessions by end time and content, whatever their original order."""
    runs = offsets[:-1], offsets[1:]
    keys = (np.diff(offsets), content_hashes(codes, *runs))
    if end_times is not None:
        keys = (*keys, end_times)
    for name in ("weights", "types", "times"):
        if columns[name] is not None:  # for sessions that are equal otherwise
            bits = (columns[name].astype(np.float64) + 0.0).view(np.uint64)
            keys = (content_hashes(bits, *runs), *keys)
    return np.lexsort(keys)
