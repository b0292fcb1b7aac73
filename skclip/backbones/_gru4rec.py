"""GRU4Rec: a GRU over the session. Its last state is the session vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout
from skclip.backbones._parameters import AT_LEAST_1, RATE, parameter
from skclip.backbones._published import RECBOLE


class GRU4RecNetwork(Backbone):
    r"""The last state of a GRU.

    .. math::
        e_t &= \mathrm{dropout}(x_t), \qquad
        h_1, \dots, h_t = \mathrm{GRU}(e_1, \dots, e_t) \\
        s &= W_d h_t + b_d

    With ``tied=True``, :math:`s = \mathrm{dropout}(h_t)` and scores have an item bias.
    """

    shares_prefixes = True

    def __init__(self, embedding_dim, n_items, spec):
        super().__init__()
        tied = spec.tied
        hidden_dim = embedding_dim if tied else spec.hidden_dim
        self.dropout = Dropout(spec.dropout)
        self.gru = nn.GRU(
            embedding_dim, hidden_dim, spec.n_layers, bias=tied, batch_first=True
        )
        if tied:
            self.state_dropout = Dropout(spec.state_dropout)
            self.bias = nn.Parameter(torch.zeros(n_items))
            for name, weight in self.gru.named_parameters():
                if "bias" in name:
                    nn.init.zeros_(weight)
                else:
                    for gate in weight.data.chunk(3):
                        nn.init.xavier_uniform_(gate)
        else:
            self.dense = nn.Linear(hidden_dim, embedding_dim)
            nn.init.xavier_uniform_(self.gru.weight_ih_l0)
            nn.init.xavier_uniform_(self.gru.weight_hh_l0)
        self.tied = tied

    def encode(self, x, batch):
        h, _ = self.gru(self.dropout(x))  # (n_sessions, length, hidden)
        h = batch.last(h)  # (n_queries, hidden)
        return self.state_dropout(h) if self.tied else self.dense(h)

    def init_table_(self, table, n_items):
        if self.tied:
            bound = (6.0 / (n_items + table.shape[1])) ** 0.5
            nn.init.uniform_(table, -bound, bound)
        else:
            super().init_table_(table, n_items)


@dataclass(kw_only=True, eq=False, repr=False)
class GRU4Rec(BackboneSpec):
    """GRU4Rec [1]_: a gated recurrent network, in the form of RecBole.

    Parameters
    ----------
    hidden_dim : int, default=128
        Width of the GRU. With ``tied=True`` it has no effect, and the width is the
        recommender's `embedding_dim`.
    n_layers : int, default=1
        Number of stacked GRU layers.
    dropout : float, default=0.3
        Dropout rate of the item vectors, in [0, 1).
    tied : bool, default=False
        Whether to use the authors' own form. Its GRU has biases and the width of the
        item vectors, the state is the session vector, and scores have an item bias.
    state_dropout : float, default=0.0
        Dropout rate of the session vector, in [0, 1). Used with ``tied=True`` only.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Differences from the paper and its code:

    - **Form of the network.** The authors train session-parallel batches with sampled
      losses, while CLIP-SBR uses RecBole's form with a dense layer and a full softmax.
      skclip follows RecBole's form. ``GRU4Rec(tied=True)`` has the authors'
      architecture, but dropout acts on the session vector and not inside the
      recurrence.
    - **Weights of several layers.** RecBole draws Xavier weights in the first layer
      only and uses torch's rule in the others. skclip does the same, so the network
      differs from the authors' program for ``n_layers`` above 1.
    - **First vectors when tied.** The paper does not mention them, and the authors'
      program draws all matrices from a uniform distribution. skclip does the same with
      ``tied=True``.

    References
    ----------
    .. [1] B. Hidasi, A. Karatzoglou, L. Baltrunas, D. Tikk, "Session-based
           recommendations with recurrent neural networks", ICLR 2016,
           arXiv:1511.06939.

    Examples
    --------
    >>> from skclip.backbones import GRU4Rec
    >>> GRU4Rec(hidden_dim=64)
    GRU4Rec(hidden_dim=64)
    """

    hidden_dim: int = parameter(128, AT_LEAST_1)
    n_layers: int = parameter(1, AT_LEAST_1)
    dropout: float = parameter(0.3, RATE)
    tied: bool = parameter(False, "boolean")
    state_dropout: float = parameter(0.0, RATE)
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the configuration of CLIP-SBR, with RecBole's training settings."""
        return cls(training=dict(RECBOLE))

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return GRU4RecNetwork(embedding_dim, n_items, self)
