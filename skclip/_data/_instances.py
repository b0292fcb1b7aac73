"""Prefixes to read or to learn from, as views into flat codes."""

from dataclasses import dataclass, replace

import numpy as np

from skclip._data._ragged import _mixed, content_hashes, picked, prefix_ends


@dataclass(frozen=True)
class Instances:
    """Prefixes to learn from or to rank for: views into one flat array of codes.

    Instance ``i`` observes ``codes[starts[i]:stops[i]]`` and expects ``targets[i]``. A
    target of 0 is outside the catalog or missing. Instances with the same start are
    prefixes of one run of events, and follow each other. In the fields below, 0 is
    unknown.

    `clusters` (n_events, n_levels) are 1..K, or None to use the clusters of the items.
    `users` and `sessions` (n_instances,) are codes of those that have a prompt.
    `weights` (n_instances,) are the weights of the targets; None means 1. `click_codes`
    (n_events, n_click_features) are codes of the features of the clicks.
    """

    codes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    targets: np.ndarray
    clusters: np.ndarray = None
    users: np.ndarray = None
    sessions: np.ndarray = None
    weights: np.ndarray = None
    click_codes: np.ndarray = None

    def __len__(self):
        return len(self.starts)

    def take(self, rows):
        names = ("starts", "stops", "targets", "users", "sessions", "weights")
        return replace(self, **picked(self, names, rows))

    def weighted(self, weights):
        """The same with the weights of the events, without targets of weight 0."""
        if weights is None:
            return self
        weighted = replace(self, weights=weights[self.stops])
        return weighted.take(np.flatnonzero(weighted.weights > 0))


def session_instances(codes, offsets, rows, max_length, *, last_only=False):
    """Prefixes of whole sessions, and the number of the row that each belongs to.

    A prefix keeps its latest `max_length` items. `last_only`, for all rows or for each,
    keeps only the longest prefix.
    """
    lengths = np.diff(offsets)[rows]
    of_row, ends = prefix_ends(lengths)
    if np.any(last_only):
        every = ~np.broadcast_to(last_only, len(rows))
        taken = every[of_row] | (ends == lengths[of_row] - 1)
        of_row, ends = of_row[taken], ends[taken]
    starts = offsets[:-1][rows][of_row]
    stops = starts + ends
    starts = np.maximum(starts, stops - max_length)
    return Instances(codes, starts, stops, targets=codes[stops]), of_row


def distinct_prefixes(instances):
    """Distinct instances in order, and their positions for all instances.

    ``first[inverse]`` observes the same as the instances.
    """
    if len(instances) == 1:
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    values = instances.codes.astype(np.uint64)
    if instances.clusters is not None:
        first, *more = instances.clusters.T
        values |= first.astype(np.uint64) << np.uint64(32)
        for level in more:
            values = _mixed(values) ^ level.astype(np.uint64)
    if instances.click_codes is not None:
        for feature in instances.click_codes.T:
            values = _mixed(values) ^ feature.astype(np.uint64)
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
