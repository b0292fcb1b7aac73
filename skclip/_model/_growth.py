"""What a model that has grown, or starts again, takes over from the one before."""

import numpy as np
import torch

_BY_ROW = {  # tables with a row for each item, cluster, user or session
    "item_table": ("items", 0),
    "network.bias": ("items", 0),
    "prompt.kinds.cluster.table": ("clusters 0", 1),
    "prompt.kinds.user.table": ("users", 1),
    "prompt.kinds.session.table": ("sessions", 1),
}


_LEVELS = "prompt.kinds.cluster.levels."


_SAME = {  # the first of several levels is what one level is
    "prompt.kinds.cluster.table": f"{_LEVELS}0",
    f"{_LEVELS}0": "prompt.kinds.cluster.table",
}


def rows_of_table(name):
    """What the rows of a parameter stand for, or None, and where the first stands."""
    if name.startswith(_LEVELS):
        return f"clusters {name.removeprefix(_LEVELS)}", 1
    return _BY_ROW.get(name, (None, 0))


def cluster_tables(state):
    """The prompts of the clusters at each level, of a ``state_dict()``."""
    levels = [name for name in state if name.startswith(_LEVELS)]
    return [state[name] for name in levels or ["prompt.kinds.cluster.table"]]


@torch.no_grad()
def carry_over(model, state, rows):
    """Copy the parameters of another model, row by row where tables have changed.

    Parameters
    ----------
    model : SessionModel
        Changed in place.
    state : dict of str to Tensor
        ``state_dict()`` of the other model.
    rows : dict of str to ndarray
        For "items", "clusters 0" (the first level, and so on), "users" and "sessions"
        the row (from 0) of the other model that each row of this one was, -1 = none; a
        kind that is missing has not changed.

    Raises
    ------
    ValueError
        A parameter has another shape: the models are not of one kind.
    """
    buffers = dict(model.named_buffers())
    for name, value in model.state_dict().items():
        known_as = name if name in state else _SAME.get(name)
        if name == "clusters" or known_as not in state:
            continue
        kind, shift = rows_of_table(name)
        before = state[known_as].to(value.device)
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

    Parameters
    ----------
    model : SessionModel
        Changed in place.
    clusters : ndarray of shape (n_items,)
        Cluster 1..K of each item, 0 = none.
    is_new : ndarray of shape (n_items,), bool
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

    Parameters
    ----------
    before : Tensor of shape (n_before + 1, dim)
        Prompts of the model before.
    table : Tensor of shape (n_clusters + 1, dim)
        Those of this model, changed in place.
    clusters, members_before : ndarray of shape (n_items,)
        Cluster 1..K of each item now and before, 0 = none.
    """
    before = before.to(table.device)
    had = members_before > 0
    for cluster in range(len(before), len(table)):
        of_cluster = members_before[had & (clusters == cluster)].astype(np.int64)
        if len(of_cluster):
            members = torch.from_numpy(of_cluster).to(table.device)
            table[cluster] = before[members].mean(dim=0)
