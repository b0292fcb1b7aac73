"""Observed prefixes, as a fitted model reads them, and their states."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from skclip._base import check_finite
from skclip._clusters import vote_clusters
from skclip._data import (
    Instances,
    distinct_prefixes,
    flat_positions,
)
from skclip._model._batches import Batches
from skclip._model._session_model import take_rows
from skclip._threads import Workers

_BATCH, _FEWEST = 2048, 128  # prefixes encoded at a time, at most and at least


_TASKS = 8  # or more that they are cut into, for threads to share


_SHARED = 2**28  # multiplications of all scores that make it worth while


_READ_FLOATS = 2**25  # that reading a batch may hold, about


def observed_prefixes(
    queries,
    *,
    item_clusters,
    n_items,
    max_length,
    users=None,
    sessions=None,
    click_codes=None,
):
    """Prefixes of `Queries` cut to their latest items, unseen items resolved.

    With `item_clusters` (n_items, n_levels), 1..K and 0 = none, an unseen item is voted
    into a cluster (at each level) by the prefix alone, and keeps its code; with None it
    is dropped. `users` and `sessions` are codes (n_sessions,) of those with a prompt,
    `click_codes` (n_events, n_click_features) those of the features of clicks. Returns
    `Instances` in the order of the queries; those without a known item are empty.
    """
    instances = _observed(queries, click_codes, item_clusters, n_items, max_length)
    return replace(
        instances,
        users=None if users is None else users[queries.rows],
        sessions=None if sessions is None else sessions[queries.rows],
    )


def _observed(queries, clicks, item_clusters, n_items, max_length):
    codes, offsets, rows = queries.codes, queries.offsets, queries.rows
    starts, targets = offsets[:-1][rows], np.zeros(len(rows), dtype=np.int32)
    stops = starts + queries.ends
    unseen = codes > n_items
    if not unseen.any():
        starts = np.maximum(starts, stops - max_length)
        return Instances(codes, starts, stops, targets, click_codes=clicks)
    before = np.concatenate([[0], np.cumsum(unseen)])
    if item_clusters is None:
        starts, stops = starts - before[starts], stops - before[stops]
        starts = np.maximum(starts, stops - max_length)
        clicks = None if clicks is None else clicks[~unseen]
        return Instances(codes[~unseen], starts, stops, targets, click_codes=clicks)
    starts = np.maximum(starts, stops - max_length)
    known = np.where(unseen, 0, codes)
    levels = np.pad(item_clusters, ((1, 0), (0, 0)))[known].astype(np.int32)
    # Without a known item a prefix is as if it were empty.
    stops = np.where(before[stops] - before[starts] == stops - starts, starts, stops)
    # A prefix with an unseen item is read apart: its votes are its own.
    apart = np.flatnonzero(before[stops] > before[starts])
    at, cuts = flat_positions(starts[apart], (stops - starts)[apart])
    clusters = []
    for own, of_items in zip(levels.T, item_clusters.T, strict=True):
        sizes = np.bincount(of_items)[1:]
        voted = vote_clusters(codes[at], own[at], cuts, sizes)
        voted = np.where(unseen[at], voted, own[at])
        clusters.append(np.concatenate([own, voted]))
    starts[apart], stops[apart] = len(codes) + cuts[:-1], len(codes) + cuts[1:]
    both = np.concatenate([codes, codes[at]])
    return Instances(
        codes=both,
        starts=starts,
        stops=stops,
        targets=targets,
        clusters=np.stack(clusters, axis=1),
        click_codes=None if clicks is None else np.concatenate([clicks, clicks[at]]),
    )


def reading_tasks(model, instances, states=None):
    """Functions that read prefixes that are not empty, each distinct one once.

    `states` reads a batch, ``model.states`` by default; it may also give other tensors
    with a row for each query. Each function returns positions of instances of similar
    lengths, those that are equal next to each other, how many of them share each row,
    and their state: a tensor, or a tuple of tensors, of shape (n_rows, ...).
    """
    if len(instances) == 0:
        return []
    first, inverse = distinct_prefixes(instances)
    order = np.argsort(inverse, kind="stable")
    counts = np.bincount(inverse)
    begins = np.cumsum(counts) - counts
    device = model.item_table.device
    batches = Batches(instances.take(first), device, model.shares_prefixes)

    def read(rows):
        with torch.autocast(device.type, enabled=False):  # whatever the caller has set
            state = (states or model.states)(batches.batch(rows))
        check_finite(state[0] if isinstance(state, tuple) else state)
        numbers = batches.instances_of(rows)
        at, _ = flat_positions(begins[numbers], counts[numbers])
        return order[at], counts[numbers], state

    size = _BATCH
    if device.type == "cpu" and len(first) * model.item_table.numel() > _SHARED:
        size = max(_FEWEST, min(_BATCH, len(first) // _TASKS))
    most = partial(most_read, model)
    return [partial(read, rows) for rows in batches.in_order_of_length(size, most)]


def read_states(model, instances, states=None):
    """Read prefixes as `reading_tasks` do; yield positions and their states, (n, ...).

    Positions that are equal have equal states.
    """
    for read in reading_tasks(model, instances, states):
        with Workers(1):
            at, counts, state = read()
        if len(at) > len(counts):
            which = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
            state = take_rows(state, which.to(model.item_table.device))
        yield at, state


def most_read(model, length):
    """How many prefixes of some length are read at a time."""
    dim = model.item_table.shape[1]
    return int(_READ_FLOATS // model.network.floats_per_query(length, dim))
