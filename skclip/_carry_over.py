"""What a model that has grown, or starts again, takes over from the one before."""

import numpy as np
import torch

_BY_ROW = {  # tables with a row for each item, cluster, user or session
    "item_table": ("items", 0),
    "network.bias": ("items", 0),
    "prompt.kinds.cluster.table": ("clusters", 1),
    "prompt.kinds.user.table": ("users", 1),
    "prompt.kinds.session.table": ("sessions", 1),
}


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
        For "items", "clusters", "users" and "sessions" the row (from 0) of the other
        model that each row of this one was, -1 = none; a kind that is missing has
        not changed.

    Raises
    ------
    ValueError
        A parameter has another shape: the models are not of one kind.
    """
    buffers = dict(model.named_buffers())
    for name, value in model.state_dict().items():
        if name == "clusters" or name not in state:
            continue
        kind, shift = _BY_ROW.get(name, (None, 0))
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
def start_from_cluster_mates(model, is_new):
    """Add to the vectors of new items the mean of the old ones in their cluster.

    Parameters
    ----------
    model : SessionModel
        With cluster prompts; changed in place.
    is_new : ndarray of shape (n_items,), bool
    """
    clusters, table = model.clusters[1:], model.item_table
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
def start_new_prompts(model, members_before, state):
    """Give a new cluster the mean of the prompts that its members had.

    Parameters
    ----------
    model : SessionModel
    members_before : ndarray of shape (n_items,)
        Cluster 1..K of each item before, 0 = none.
    state : dict of str to Tensor
        Of the model before.
    """
    name = "prompt.kinds.cluster.table"
    before, table = state[name].to(model.item_table.device), model.state_dict()[name]
    clusters = model.clusters[1:]
    members = torch.from_numpy(members_before.astype(np.int64)).to(table.device)
    had = members > 0
    for cluster in range(len(before), len(table)):
        of_cluster = members[had & (clusters == cluster)]
        if len(of_cluster):
            table[cluster] = before[of_cluster].mean(dim=0)
