"""GC-SAN: a gated graph network, then self-attention over the session."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import nn

from skclip._sklearn import Interval
from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, init_uniform_
from skclip.backbones._gated_graph import GatedGraph
from skclip.backbones._parameters import AT_LEAST_1, RATE, parameter
from skclip.backbones._published import RECBOLE
from skclip.backbones._session_graph import session_graph
from skclip.backbones._transformer import causal_mask, init_normal_, transformer_layers


class GCSANNetwork(Backbone):
    r"""Gated graph network, transformer, and a mix of both at the last event.

    .. math::
        h &= \mathrm{GatedGraph}(x_{nodes}), \qquad S_t = h_{v(t)} \\
        F &= \mathrm{TransformerLayers}(S), \qquad
        s = \omega F_{last} + (1 - \omega) S_{last}
    """

    merges_equal_items = True

    def __init__(self, embedding_dim, spec):
        super().__init__()
        self.weight = spec.weight
        self.gnn = GatedGraph(embedding_dim, spec.step, post_bias=False)
        self.layers = transformer_layers(
            embedding_dim, spec, spec.dropout, spec.dropout
        )
        init_normal_(self, 0.02)
        cell = [*self.gnn.w_ih.parameters(), *self.gnn.w_hh.parameters()]
        init_uniform_(cell, embedding_dim)

    def encode(self, x, batch):
        graph = session_graph(batch)
        h = self.gnn(graph.of_nodes(x), *graph.mean_edges(x.dtype))
        states = graph.of_events(h)  # (n, length, d)
        last = graph.of_last(h)
        allowed = causal_mask(states.shape[1], x.device)
        f = states
        for layer in self.layers[:-1]:
            f = layer(f, allowed)
        # The last layer computes the last event only.
        asking = last if len(self.layers) == 1 else batch.last(f)
        f = self.layers[-1](f, graph.events[:, None], asking[:, None])
        return torch.lerp(last, f.squeeze(1), self.weight)

    def init_table_(self, table, n_items):
        nn.init.normal_(table, std=0.02)


@dataclass(kw_only=True, eq=False, repr=False)
class GCSAN(BackboneSpec):
    """Graph contextualized self-attention network [1]_, in the form of RecBole.

    Parameters
    ----------
    step : int, default=1
        Number of rounds of messages between neighboring items.
    n_layers : int, default=1
        Number of transformer layers.
    n_heads : int, default=1
        Number of attention heads. It must divide the recommender's `embedding_dim`.
    inner_dim : int, default=256
        Width of the feed-forward layers.
    dropout : float, default=0.2
        Dropout rate in the transformer, in [0, 1).
    weight : float, default=0.6
        Share of the transformer's output in the session vector, in [0, 1]. The rest is
        the graph network's state of the last item.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Differences from the paper and its code:

    - **Sizes.** The paper has several blocks and one head, and no program of the
      authors is public. skclip defaults to one layer, one head and dropout of 0.2,
      because the 0.5 of RecBole is heavy for short sessions; `published` has RecBole's
      sizes.
    - **Regularization of the table.** RecBole adds a penalty on the item table to the
      loss. skclip leaves it out, because its value is numerically nothing.
    - **Edges and cell.** The paper and its code differ as described for `SRGNN`. skclip
      uses the same graph and gated cell, without biases after the messages.

    References
    ----------
    .. [1] C. Xu, P. Zhao, Y. Liu, V. S. Sheng, J. Xu, F. Zhuang, J. Fang, X. Zhou,
           "Graph contextualized self-attention network for session-based
           recommendation", IJCAI 2019.

    Examples
    --------
    >>> from skclip.backbones import GCSAN
    >>> GCSAN(n_heads=2)
    GCSAN(n_heads=2)
    """

    step: int = parameter(1, AT_LEAST_1)
    n_layers: int = parameter(1, AT_LEAST_1)
    n_heads: int = parameter(1, AT_LEAST_1)
    inner_dim: int = parameter(256, AT_LEAST_1)
    dropout: float = parameter(0.2, RATE)
    weight: float = parameter(0.6, Interval(Real, 0, 1, closed="both"))
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the sizes that CLIP-SBR used, with RecBole's training settings."""
        return cls(n_layers=2, n_heads=2, dropout=0.5, training=dict(RECBOLE))

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return GCSANNetwork(embedding_dim, self)
