"""New models, and what they take over from the ones before."""

from dataclasses import dataclass

import numpy as np
import torch

from skclip._clusters import match_clusters, with_new_items
from skclip._data import ItemIndex, Owners
from skclip._model._session_model import SessionModel

_BY_ROW = {  # tables with a row for each item, cluster, user or session
    "item_table": ("items", 0),
    "network.bias": ("items", 0),
    "fusion.table": ("items", 0),
    "fusion.counts": ("items", 0),
    "prompt.kinds.user.table": ("users", 1),
    "prompt.kinds.session.table": ("sessions", 1),
    "click_vectors.tables.event": ("types", 1),
}
_LEVELS = "prompt.kinds.cluster.levels."


def _rows_of_table(name):
    """What the rows of a parameter stand for, or None, and where the first stands."""
    if name.startswith(_LEVELS):
        return f"clusters {name.removeprefix(_LEVELS)}", 1
    return _BY_ROW.get(name, (None, 0))


@dataclass(frozen=True)
class Holders:
    """Whose the rows of a model's tables are: items, clusters, users, sessions, types.

    `types` are those of events, None where the model reads none. `clusters` is of shape
    (n_items, n_levels), 1..K and 0 = none, or None.
    """

    items: ItemIndex
    clusters: np.ndarray
    owners: Owners
    types: ItemIndex = None


def new_model(config, data, device, holders, before=None):
    """Build a model for a first fit, or for one that starts from another (warm start).

    `config` are the arguments of `SessionModel`, `data` is `FitData`. `before` has a
    ``model`` and ``holders``; what both have in common is taken over.
    """
    model = SessionModel(**config)
    if data.features is not None:
        model.fill_features(data.features, data.clicks)
    if before is not None:
        rows = _rows_in_common(model, holders, before.holders)
        carry_over(model, before.model.state_dict(), rows)
        if data.features is not None:
            model.fill_features(data.features, data.clicks, rows["items"] < 0)
    model.network.prepare(*data.sequences)
    return model.to(device)


def grown_model(config, data, device, holders, before):
    """Build a model that goes on from another, with new rows behind the old ones.

    A new cluster begins with the mean of the prompts that its members had, a new item
    with the mean of the vectors in its cluster. The vectors of items that were there
    stay as they are until ``model.release()``, unless old sessions are learned again:
    then those of items without any session at hand. Arguments are those of `new_model`.
    """
    n_known, n_items = len(before.holders.items), len(holders.items)
    state = before.model.state_dict()
    model = SessionModel(**config).to(device)
    now = model.state_dict()
    carry_over(model, state, _leading_rows(now, state))
    keep_leading_buffers(model, state)
    is_new, clicks = np.arange(n_items) >= n_known, None
    if data.features is not None:  # items that had no click have nothing to keep
        clicks = np.pad(state["fusion.counts"].cpu().numpy(), (0, n_items - n_known))
        is_new = clicks == 0
        clicks = clicks + data.clicks
    if holders.clusters is not None:
        had = with_new_items(before.holders.clusters, n_items)
        for level, clusters in enumerate(holders.clusters.T):
            name = f"{_LEVELS}{level}"
            start_new_prompts(state[name], now[name], clusters, had[:, level])
        start_from_cluster_mates(model, holders.clusters[:, 0], is_new)
    if data.features is not None:
        model.fill_features(data.features, clicks, is_new)
    model.constrain_()
    model.network.update(*data.sequences)
    kept = torch.from_numpy(np.flatnonzero(~is_new & ~data.rehearsed)).to(device)
    model.kept_rows = kept, model.item_table.detach()[kept].clone()
    return model


def model_with_features(config, device, holders, before, features):
    """Build a trained model again, with other features of the items that have a row.

    `features` is `ItemFeatures`, of items in `holders`, which may have new ones behind
    the old. All that was learned stays. New items start like those of a fit that
    nobody has clicked.
    """
    model = SessionModel(**config).to(device)
    state = before.model.state_dict()
    carry_over(model, state, _leading_rows(model.state_dict(), state))
    keep_leading_buffers(model, state)
    at = holders.items.codes_of(features.item_ids) - 1
    model.fusion.update_(features.vectors, at, model.item_table.data)
    return model.eval()


def _rows_in_common(model, now, before):
    """Row of each item, cluster, user and session in the model before, or -1."""
    rows = {"items": before.items.codes_of(now.items.item_ids) - 1}
    for name, table in model.state_dict().items():
        kind, _ = _rows_of_table(name)  # nothing in common, unless seen below
        if kind not in (None, "items"):
            rows[kind] = np.full(len(table) - 1, -1)
    if now.clusters is not None and before.clusters is not None:
        had = np.pad(before.clusters, ((1, 0), (0, 0)))[rows["items"] + 1]
        pairs = zip(now.clusters.T, had.T, strict=False)
        for level, (clusters, were) in enumerate(pairs):
            linked = clusters > 0
            matched = match_clusters(clusters[linked] - 1, were[linked] - 1)
            rows[f"clusters {level}"][: len(matched)] = matched
    for kind in ("users", "sessions"):
        mine, theirs = getattr(now.owners, kind), getattr(before.owners, kind)
        if mine is not None and theirs is not None:
            rows[kind] = theirs.codes_of(mine.item_ids) - 1
    if now.types is not None and before.types is not None:
        rows["types"] = before.types.codes_of(now.types.item_ids) - 1
    return rows


def _leading_rows(now, before):
    """Rows of tables that have grown at their end."""
    rows = {}
    for name in now:
        kind, extra = _rows_of_table(name)
        if kind is not None:
            n, n_before = len(now[name]) - extra, len(before[name]) - extra
            rows[kind] = np.where(np.arange(n) < n_before, np.arange(n), -1)
    return rows


@torch.no_grad()
def carry_over(model, state, rows):
    """Copy the parameters of another model, row by row where tables have changed.

    `rows` has for "items", "clusters 0" (the first level, and so on), "users" and
    "sessions" the row of the other model that each row of this one was, -1 = none; a
    kind that is missing has not changed. A parameter of another shape is refused.
    """
    buffers = dict(model.named_buffers())
    for name, value in model.state_dict().items():
        if name not in state:
            continue
        kind, shift = _rows_of_table(name)
        before = state[name].to(value.device)
        if kind in rows and before.shape[1:] == value.shape[1:]:
            was = torch.from_numpy(np.asarray(rows[kind], dtype=np.int64))
            is_known = was >= 0
            at = torch.nonzero(is_known).squeeze(1) + shift
            value[at.to(value.device)] = before[was[is_known] + shift]
        elif before.shape == value.shape:
            value.copy_(before)
        elif name not in buffers:  # those `Backbone.prepare` fills
            raise ValueError(
                f"The model before has {name} of shape {tuple(before.shape)}, this one "
                f"of {tuple(value.shape)}. Only items, clusters, users and sessions "
                "may change; leave backbone and sizes as they were, or set "
                "warm_start=False and fit."
            )


@torch.no_grad()
def keep_leading_buffers(model, state):
    """Copy what buffers of the network held for the items that were there before."""
    for name, value in model.network.named_buffers():
        before = state.get(f"network.{name}")
        if before is not None and before.shape != value.shape:
            value[tuple(map(slice, before.shape))] = before.to(value.device)


@torch.no_grad()
def start_from_cluster_mates(model, clusters, is_new):
    """Add to the vectors of new items the mean of the old ones in their cluster.

    `clusters` (n_items,) are 1..K, 0 = none; `is_new` is a mask of the items.
    """
    table = model.item_table
    clusters = torch.from_numpy(clusters.astype(np.int64)).to(table.device)
    is_new = torch.from_numpy(is_new).to(table.device) & (clusters > 0)
    n = int(clusters.max()) + 1
    old = (~is_new & (clusters > 0)).to(table.dtype)
    sums = table.new_zeros(n, table.shape[1]).index_add_(
        0, clusters, table * old[:, None]
    )
    counts = table.new_zeros(n).index_add_(0, clusters, old)
    means = sums / counts.clamp_min(1.0)[:, None]
    table[is_new] += means[clusters[is_new]]


@torch.no_grad()
def start_new_prompts(before, table, clusters, members_before):
    """Give a new cluster the mean of the prompts that its members had.

    `before` are the prompts of the model before, `table` those of this one, changed in
    place; both with a row 0. `clusters` and `members_before` (n_items,) are 1..K.
    """
    before = before.to(table.device)
    had = members_before > 0
    for cluster in range(len(before), len(table)):
        of_cluster = members_before[had & (clusters == cluster)].astype(np.int64)
        if len(of_cluster):
            members = torch.from_numpy(of_cluster).to(table.device)
            table[cluster] = before[members].mean(dim=0)
