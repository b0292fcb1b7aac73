"""Observed prefixes as input of a fitted model, and their states."""

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

_BATCH, _FEWEST = 2048, 128  # largest and smallest number of prefixes in a batch


_TASKS = 8  # least number of batches for threads to share


_SHARED = 2**28  # multiplications of all scores from which threads pay off


_READ_FLOATS = 2**25  # numbers in memory while a batch is read, about


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
    """Return prefixes of `Queries`, cut to their latest items, as `Instances`.

    `item_clusters` (n_items, n_levels) are 1..K, or 0 for none. With it, an unseen item
    keeps its code and gets a cluster at each level, by votes of its prefix only. If it
    is None, unseen items are dropped. `users` and `sessions` (n_sessions,) are codes of
    those with a prompt. `click_codes` (n_events, n_click_features) are codes of the
    click features. Instances have the order of the queries. Those without a known item
    are empty.
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
    # A prefix without a known item becomes empty.
    stops = np.where(before[stops] - before[starts] == stops - starts, starts, stops)
    # A prefix with an unseen item is copied, because its votes differ.
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
    """Return functions that encode prefixes, each distinct one once.

    No prefix may be empty. `states` encodes a batch and is ``model.states`` by default;
    it may return other tensors with a row for each query. Each function returns
    positions of instances, with equal instances side by side. It also returns how many
    of them share each row, and their states: a tensor or a tuple of tensors
    (n_rows, ...).
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
        with torch.autocast(device.type, enabled=False):  # if the caller has it on
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
    """Run the functions of `reading_tasks`, and yield positions and states (n, ...).

    Equal prefixes have equal states.
    """
    for read in reading_tasks(model, instances, states):
        with Workers(1):
            at, counts, state = read()
        if len(at) > len(counts):
            which = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
            state = take_rows(state, which.to(model.item_table.device))
        yield at, state


def most_read(model, length):
    """Return the largest number of prefixes of a length in a batch."""
    dim = model.item_table.shape[1]
    return int(_READ_FLOATS // model.network.floats_per_query(length, dim))
