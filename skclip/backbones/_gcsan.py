"""GC-SAN: a gated graph network, then self-attention over the session."""

from numbers import Integral, Real

import torch
from torch import nn

from skclip._sklearn import Interval
from skclip.backbones._base import Backbone, BackboneSpec, init_uniform_
from skclip.backbones._gated_graph import GatedGraph
from skclip.backbones._published import RECBOLE
from skclip.backbones._session_graph import session_graph
from skclip.backbones._transformer import (
    TransformerLayer,
    causal_mask,
    check_heads,
    init_normal_,
)


class GCSANNetwork(Backbone):
    r"""Gated graph network, transformer, and a mix of both at the last event.

    .. math::
        h &= \mathrm{GatedGraph}(x_{nodes}), \qquad S_t = h_{v(t)} \\
        F &= \mathrm{TransformerLayers}(S), \qquad
        s = \omega F_{last} + (1 - \omega) S_{last}
    """

    def __init__(self, embedding_dim, spec):
        super().__init__()
        self.weight = spec.weight
        self.gnn = GatedGraph(embedding_dim, spec.step, post_bias=False)
        self.layers = nn.ModuleList(
            TransformerLayer(
                embedding_dim,
                spec.inner_dim,
                spec.n_heads,
                dropout=spec.dropout,
                attention_dropout=spec.dropout,
            )
            for _ in range(spec.n_layers)
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
        asking = last if len(self.layers) == 1 else batch.last(f)
        f = self.layers[-1](f, graph.events[:, None], asking[:, None])  # the last asks
        return torch.lerp(last, f.squeeze(1), self.weight)

    def init_table_(self, table, n_items):
        nn.init.normal_(table, std=0.02)


class GCSAN(BackboneSpec):
    """Graph contextualized self-attention network [1]_, in the form of RecBole.

    Parameters
    ----------
    step : int, default=1
        Rounds of messages.
    n_layers : int, default=1
        Transformer layers.
    n_heads : int, default=1
        Attention heads; must divide the embedding's dimension.
    inner_dim : int, default=256
        Width of the feed-forward part.
    dropout : float, default=0.2
        In the transformer.
    weight : float, default=0.6
        Share of the attended state in the session vector, omega, in [0, 1].
    training : dict, default=None
        Settings for the recommender's parameters that are left at "auto".

    Notes
    -----
    There is no program of the authors; the sizes are those of RecBole-GNN.

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

    _parameter_constraints: dict = {
        "step": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "inner_dim": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "weight": [Interval(Real, 0, 1, closed="both")],
        "training": [dict, None],
    }

    def __init__(
        self,
        *,
        step=1,
        n_layers=1,
        n_heads=1,
        inner_dim=256,
        dropout=0.2,
        weight=0.6,
        training=None,
    ):
        self.step = step
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.inner_dim = inner_dim
        self.dropout = dropout
        self.weight = weight
        self.training = training

    @classmethod
    def published(cls):
        """Return the sizes that CLIP-SBR used, with RecBole's training settings."""
        return cls(n_layers=2, n_heads=2, dropout=0.5, training=dict(RECBOLE))

    def build(self, embedding_dim, n_items, max_length):
        """Return a new network."""
        check_heads(self.n_heads, embedding_dim)
        return GCSANNetwork(embedding_dim, self)
