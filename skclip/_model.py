"""SessionModel: item table, prompt and backbone; codes in, vectors out."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skclip._prompts import ClusterPrompt


class SessionModel(nn.Module):
    """An item table, an optional prompt and a backbone network.

    Every item look-up of the encoder goes through the prompt (docs/deviations);
    without one the backbone sees the bare table, on the same path.

    Parameters
    ----------
    spec : BackboneSpec
    item_clusters : ndarray of shape (n_items,) or None
        Cluster 1..K of each item, 0 = none. None builds no prompt.
    n_items, embedding_dim : int
    normalization, gate : str
        See `ClusterPrompt`.
    candidates : {"raw", "prompted"}
        Whether the scores use the item table or the prompted one.
    similarity : {None, "dot", "cosine"}
        None is the backbone's own; "cosine" normalises session and item vectors.
    temperature : float
        Divides cosine scores.
    """

    def __init__(
        self,
        spec,
        item_clusters,
        *,
        n_items,
        embedding_dim,
        normalization,
        gate,
        candidates,
        similarity,
        temperature,
    ):
        super().__init__()
        self.n_items = n_items
        self.item_table = nn.Parameter(torch.zeros(n_items, embedding_dim))
        self.network = spec.build(embedding_dim, n_items)
        self.network.init_table_(self.item_table.data, n_items)
        self.prompt = None
        if item_clusters is not None:
            n_clusters = int(np.max(item_clusters, initial=0))
            self.prompt = ClusterPrompt(
                n_clusters, embedding_dim, normalization=normalization, gate=gate
            )
            self.network.init_table_(self.prompt.table.data[1:], n_items)
            clusters = torch.from_numpy(np.array(item_clusters, dtype=np.int64))
            self.register_buffer("clusters", F.pad(clusters, (1, 0)))
        self.prompted_candidates = candidates == "prompted" and self.prompt is not None
        self.cosine = similarity == "cosine"
        self.sparse = (
            False  # whether gradients of the item table hold touched rows only
        )
        self.scale = 1.0 / temperature if self.cosine else self.network.scale

    @property
    def bias(self):
        """Item bias of the backbone, (n_items,) or None."""
        return self.network.bias

    def vectors(self, codes, clusters=None):
        """What the encoder sees for item codes (...), 0 = padding: (..., d)."""
        x = look_up(self.item_table, codes, self.sparse)
        if self.prompt is None:
            return x
        return self.prompt(x, self.clusters[codes] if clusters is None else clusters)

    def queries(self, batch):
        """Session vectors of a batch's prefixes, (n_queries, d)."""
        x = self.vectors(batch.codes, batch.clusters)
        query = self.network.query(self.network.encode(x, batch))
        return F.normalize(query, dim=-1) if self.cosine else query

    def keys(self, items=None):
        """Candidate vectors of all items, or of positions 0..n_items-1: (n, d)."""
        table = self.item_table
        if items is not None:
            table = F.embedding(items, table, sparse=self.sparse)
        if self.prompted_candidates and items is None:
            table = self.prompt.of_table(table, self.clusters[1:])
        elif self.prompted_candidates:
            table = self.prompt(table, self.clusters[items + 1])
        table = self.network.keys(table)
        return F.normalize(table, dim=-1) if self.cosine else table

    def scores(self, queries, keys, out=None):
        """Scores (n_queries, n_items), written to `out` if given."""
        scores = torch.mm(queries * self.scale, keys.T, out=out)
        return scores if self.bias is None else scores.add_(self.bias)


def look_up(table, codes, sparse=False):
    """Rows of a table (n_items, d) for codes (...), zeros for code 0: (..., d)."""
    if not sparse:
        return _Rows.apply(table, codes)
    known = codes > 0
    rows = F.embedding(codes[known] - 1, table, sparse=True)
    return table.new_zeros(*codes.shape, table.shape[1]).index_put((known,), rows)


class _Rows(torch.autograd.Function):
    """Look rows up; the gradient is added to the table's own, in place.

    Returned to autograd it would be another array as large as the table, most of it
    zeros, which costs more than the look-up.
    """

    @staticmethod
    def forward(ctx, table, codes):
        ctx.table = table
        ctx.save_for_backward(codes)
        rows = table[(codes - 1).clamp_min_(0)]
        return rows.masked_fill_((codes == 0)[..., None], 0.0)

    @staticmethod
    def backward(ctx, grad):
        (codes,) = ctx.saved_tensors
        known = codes > 0
        if ctx.table.grad is None:
            ctx.table.grad = torch.zeros_like(ctx.table)
        ctx.table.grad.index_add_(0, codes[known] - 1, grad[known])
        return None, None
