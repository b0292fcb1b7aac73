"""New models, and the parameters that they copy from previous models."""

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
    """Return the kind of the rows of a parameter, or None, and the first row."""
    if name.startswith(_LEVELS):
        return f"clusters {name.removeprefix(_LEVELS)}", 1
    return _BY_ROW.get(name, (None, 0))


@dataclass(frozen=True)
class Holders:
    """Items, clusters, users, sessions and event types of the rows of a model's tables.

    `types` is None if the model reads no event types. `clusters` (n_items, n_levels)
    are 1..K, or 0 for none; it may be None.
    """

    items: ItemIndex
    clusters: np.ndarray
    owners: Owners
    types: ItemIndex = None


def new_model(config, data, device, holders, before=None):
    """Build a model for a fit, which may start from another model (warm start).

    `config` are the arguments of `SessionModel`, `data` is `FitData`. `before` has a
    ``model`` and ``holders``. Rows that both have in common are copied.
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
    """Build a model that continues another one, with new rows behind the old ones.

    A new cluster begins with the mean of its members' previous prompts. A new item
    begins with the mean of the vectors in its cluster. Old items keep their vectors
    until ``model.release()``, except for items of sessions that are learned again.
    Arguments are the same as for `new_model`.
    """
    n_known, n_items = len(before.holders.items), len(holders.items)
    state = before.model.state_dict()
    model = SessionModel(**config).to(device)
    now = model.state_dict()
    carry_over(model, state, _leading_rows(now, state))
    keep_leading_buffers(model, state)
    is_new, clicks = np.arange(n_items) >= n_known, None
    if data.features is not None:  # items without a click start again
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
    """Build a trained model again, with new features of some items.

    `features` is an `ItemFeatures` with items of `holders`, which may have new items
    behind the old ones. Learned parameters are kept. New items start like items without
    clicks in a fit.
    """
    model = SessionModel(**config).to(device)
    state = before.model.state_dict()
    carry_over(model, state, _leading_rows(model.state_dict(), state))
    keep_leading_buffers(model, state)
    at = holders.items.codes_of(features.item_ids) - 1
    model.fusion.update_(features.vectors, at, model.item_table.data)
    return model.eval()


def _rows_in_common(model, now, before):
    """Return the row of each item, cluster, user and session before, or -1."""
    rows = {"items": before.items.codes_of(now.items.item_ids) - 1}
    for name, table in model.state_dict().items():
        kind, _ = _rows_of_table(name)  # nothing in common, unless found below
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
    """Return the old row, or -1, of each row of tables that grew at their end."""
    rows = {}
    for name in now:
        kind, extra = _rows_of_table(name)
        if kind is not None:
            n, n_before = len(now[name]) - extra, len(before[name]) - extra
            rows[kind] = np.where(np.arange(n) < n_before, np.arange(n), -1)
    return rows


@torch.no_grad()
def carry_over(model, state, rows):
    """Copy the parameters of another model, row by row if a table has changed.

    `rows` has a key for each kind of row: "items", "clusters 0" for the first level and
    so on, "users", and "sessions". Its values are the rows in the other model, or -1. A
    missing kind has not changed. A parameter of another shape raises a ValueError.
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
        elif name not in buffers:  # `Backbone.prepare` fills buffers
            raise ValueError(
                f"In the previous model {name} has shape {tuple(before.shape)}, now it "
                f"has shape {tuple(value.shape)}. Only items, clusters, users and "
                "sessions may change. Use the same backbone and sizes, or set "
                "warm_start=False and call fit."
            )


@torch.no_grad()
def keep_leading_buffers(model, state):
    """Copy the rows of old items in the buffers of the network."""
    for name, value in model.network.named_buffers():
        before = state.get(f"network.{name}")
        if before is not None and before.shape != value.shape:
            value[tuple(map(slice, before.shape))] = before.to(value.device)


@torch.no_grad()
def start_from_cluster_mates(model, clusters, is_new):
    """Add the mean vector of the old items in its cluster to each new item.

    `clusters` (n_items,) are 1..K, or 0 for none. `is_new` is a mask of the items.
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
    """Set the prompt of a new cluster to the mean of its members' previous prompts.

    `before` are the prompts of the previous model. `table` are those of this one, which
    change in place. Both have a row 0. `clusters` and `members_before` (n_items,) are
    1..K.
    """
    before = before.to(table.device)
    had = members_before > 0
    for cluster in range(len(before), len(table)):
        of_cluster = members_before[had & (clusters == cluster)].astype(np.int64)
        if len(of_cluster):
            members = torch.from_numpy(of_cluster).to(table.device)
            table[cluster] = before[members].mean(dim=0)
