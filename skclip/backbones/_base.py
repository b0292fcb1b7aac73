"""What a backbone is: a spec with hyper-parameters, and a network."""

from dataclasses import dataclass

import torch
from sklearn.base import BaseEstimator
from torch import nn


@dataclass(frozen=True)
class Batch:
    """Sessions of a mini-batch, right-padded, and the prefixes asked for.

    Query ``i`` is the prefix ``codes[rows[i], :ends[i]]``. Networks that share a
    pass get several queries per session, all others one.

    Parameters
    ----------
    codes : LongTensor of shape (n_sessions, length)
        Item codes, 0 = padding.
    rows, ends : LongTensor of shape (n_queries,)
    targets : LongTensor of shape (n_queries,)
        Item codes, 0 = none.
    clusters : LongTensor of shape (n_sessions, length), default=None
        None where every item's own cluster holds.
    """

    codes: torch.Tensor
    rows: torch.Tensor
    ends: torch.Tensor
    targets: torch.Tensor
    clusters: torch.Tensor = None

    def last(self, h):
        """Rows of `h` (n_sessions, length, d) at the end of each query."""
        return h[self.rows, self.ends - 1]

    @property
    def mask(self):
        """True where an event belongs to the query, (n_queries, length)."""
        positions = torch.arange(self.codes.shape[1], device=self.codes.device)
        return positions < self.ends[:, None]


class Backbone(nn.Module):
    """Network from the vectors of a prefix to scores of the catalogue.

    A subclass defines `encode`. Scores are
    ``scale * query(state) @ keys(item_table).T + bias``.

    Attributes
    ----------
    shares_prefixes : bool
        Whether one pass over a session serves all its prefixes (causal networks).
        Then ``encode`` answers several queries per session.
    scale : float
    bias : Tensor of shape (n_items,) or None
    """

    shares_prefixes = False
    scale = 1.0

    def __init__(self):
        super().__init__()
        self.register_parameter("bias", None)

    def encode(self, x, batch):
        """Map item vectors `x` (n_sessions, length, d) to states (n_queries, ...)."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(x, batch)")

    def query(self, state):
        """Session vectors (n_queries, d) of states."""
        return state

    def keys(self, item_table):
        """Candidate vectors (n_items, d) of item vectors."""
        return item_table

    def init_table_(self, table, n_items):
        """Draw the rows of an item or prompt table as published for the items."""
        nn.init.normal_(table, std=(2.0 / (n_items + 1 + table.shape[1])) ** 0.5)


class BackboneSpec(BaseEstimator):
    """Hyper-parameters of a backbone, as scikit-learn parameters.

    A subclass stores them in ``__init__``, names their ranges in
    ``_parameter_constraints`` and builds the network.
    """

    _parameter_constraints: dict = {}

    def build(self, embedding_dim, n_items):
        """Return a new, randomly initialised `Backbone`."""
        raise NotImplementedError(
            f"{type(self).__name__} must define build(embedding_dim, n_items)"
        )
