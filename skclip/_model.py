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
        self.items = nn.Parameter(torch.zeros(n_items + 1, embedding_dim))
        self.network = spec.build(embedding_dim, n_items)
        self.network.init_table_(self.items.data[1:], n_items)
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
        x = F.embedding(codes, self.items, padding_idx=0, sparse=self.sparse)
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
        if items is None:
            table = self.items[1:]
        else:
            table = F.embedding(items + 1, self.items, sparse=self.sparse)
        if self.prompted_candidates:
            clusters = self.clusters[1:]
            table = self.prompt(table, clusters if items is None else clusters[items])
        table = self.network.keys(table)
        return F.normalize(table, dim=-1) if self.cosine else table

    def scores(self, queries, keys, out=None):
        """Scores (n_queries, n_items), written to `out` if given."""
        scores = torch.mm(queries * self.scale, keys.T, out=out)
        return scores if self.bias is None else scores.add_(self.bias)
