"""NISER: SR-GNN on vectors of length 1, which removes a bias to popular items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout, init_uniform_
from skclip.backbones._gated_graph import GatedGraph, SoftAttention
from skclip.backbones._parameters import AT_LEAST_1, POSITIVE, RATE, parameter
from skclip.backbones._published import RECBOLE
from skclip.backbones._session_graph import session_graph


class NISERNetwork(Backbone):
    r"""Gated graph network, positions, soft attention, cosine.

    Item vectors have length 1 wherever they are read or scored:

    .. math::
        h &= \mathrm{GatedGraph}(x_{nodes}), \qquad H_t = h_{v(t)} [+ p_t] \\
        \alpha_t &= v^\top \sigma(W_1 H_{last} + b_1 + W_2 H_t + b_2), \qquad
        s = W_3 \Big[\sum_t \alpha_t H_t ; H_{last}\Big] + b_3 \\
        score_j &= \cos(s, e_j) / \tau
    """

    merges_equal_items = True
    similarity = "cosine"
    normalize_items = True

    def __init__(self, embedding_dim, max_length, spec):
        super().__init__()
        self.scale = 1.0 / spec.temperature
        self.dropout = Dropout(spec.item_dropout)
        self.gnn = GatedGraph(embedding_dim, spec.step, post_bias=True)
        self.attention = SoftAttention(embedding_dim, softmax=False)
        self.register_parameter("positions", None)
        if spec.positions:
            self.positions = nn.Parameter(torch.empty(max_length, embedding_dim))
        init_uniform_(self.parameters(), embedding_dim)

    def encode(self, x, batch):
        graph = session_graph(batch)
        x = graph.of_nodes(x)
        if self.training and self.dropout.p:
            # Dropout comes before the normalization, so that vectors keep their length.
            length = x.norm(dim=-1, keepdim=True)
            x = self.dropout(x)
            x = x * (length / x.norm(dim=-1, keepdim=True).clamp_min(1e-12))
        h = self.gnn(x, *graph.mean_edges(x.dtype))
        H = graph.of_events(h)  # (n, length, d)
        if self.positions is not None:
            H = H + self.positions[: H.shape[1]]
        return self.attention(H, batch.last(H), batch.mask)

    def init_table_(self, table, n_items):
        init_uniform_([table], table.shape[1])


@dataclass(kw_only=True, eq=False, repr=False)
class NISER(BackboneSpec):
    """Normalized item and session representations [1]_, in the form of NISER+.

    In SR-GNN, popular items get long vectors and are recommended because of their
    length. In NISER, item and session vectors have length 1, and scores are cosines
    divided by a temperature. NISER+ adds positions and dropout;
    ``NISER(positions=False, item_dropout=0.0)`` is NISER itself.

    Parameters
    ----------
    positions : bool, default=True
        Whether events have a learned position, counted from the first event.
    item_dropout : float, default=0.1
        Dropout rate of the item vectors of the session before they are normalized, in
        [0, 1).
    step : int, default=1
        Number of rounds of messages between neighboring items.
    temperature : float, default=0.0625
        Temperature of the cosine score, used if the recommender's `temperature` is
        "auto". The default is 1/16, which is sigma = 16 in [1]_.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Differences from the paper and its code:

    - **Place of the normalization.** The paper normalizes items and sessions; a program
      by others overwrites the table outside autograd and normalizes events after the
      graph network. skclip normalizes items where they are read or scored, after any
      cluster prompts, and sessions before the score. Dropout comes before
      normalization, as in RecBole-GNN.

    References
    ----------
    .. [1] P. Gupta, D. Garg, P. Malhotra, L. Vig, G. Shroff, "NISER: normalized item
           and session representations to handle popularity bias", arXiv:1909.04276.

    Examples
    --------
    >>> from skclip.backbones import NISER
    >>> NISER(positions=False, item_dropout=0.0)
    NISER(item_dropout=0.0, positions=False)
    """

    positions: bool = parameter(True, "boolean")
    item_dropout: float = parameter(0.1, RATE)
    step: int = parameter(1, AT_LEAST_1)
    temperature: float = parameter(0.0625, POSITIVE)
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the configuration of RecBole-GNN. The authors' is not public."""
        return cls(training=dict(RECBOLE))

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return NISERNetwork(embedding_dim, max_length, self)
