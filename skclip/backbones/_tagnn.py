"""TAGNN: SR-GNN with attention from each candidate to the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, init_uniform_
from skclip.backbones._gated_graph import GatedGraph, SoftAttention
from skclip.backbones._parameters import AT_LEAST_1, parameter
from skclip.backbones._published import SRGNN_FAMILY
from skclip.backbones._session_graph import session_graph
from skclip.backbones._target_attention import TargetAttention


class TAGNNNetwork(Backbone):
    r"""Gated graph network, soft attention, target attention.

    .. math::
        h &= \mathrm{GatedGraph}(x_{nodes}), \qquad
        s = W_3 \Big[\sum_t \alpha_t h_{v(t)} ; h_{last}\Big] + b_3, \qquad
        \alpha = \mathrm{softmax}_t \\
        \beta_{tj} &= \mathrm{softmax}_t\big(e_j^\top W_t h_{v(t)}\big), \qquad
        score_j = \Big(s + \sum_t \beta_{tj} h_{v(t)}\Big)^\top e_j

    Sums over events t are computed over nodes v, weighted by their numbers of events.
    """

    merges_equal_items = True
    dot_product = False

    def __init__(self, embedding_dim, spec):
        super().__init__()
        self.gnn = GatedGraph(embedding_dim, spec.step, post_bias=True)
        self.attention = SoftAttention(embedding_dim, softmax=True)
        self.target = nn.Linear(embedding_dim, embedding_dim, bias=False)
        init_uniform_(self.parameters(), embedding_dim)

    def encode(self, x, batch):
        graph = session_graph(batch)
        h = self.gnn(graph.of_nodes(x), *graph.mean_edges(x.dtype))
        s = self.attention(h, graph.of_last(h), graph.counts)
        return s, h, self.target(h), graph.counts.to(h.dtype).log()

    def normalize(self, state):
        s, h, asked, log_counts = state
        return F.normalize(s, dim=-1), F.normalize(h, dim=-1), asked, log_counts

    def score_chunk(self, state, keys):
        s, h, asked, log_counts = state
        own = s @ keys.T  # (n, n_keys)
        value = (h.flatten(0, 1) @ keys.T).view(*h.shape[:2], -1)  # (n, size, n_keys)
        beta = (asked.flatten(0, 1) @ keys.T).view_as(value)
        beta = (beta + log_counts[..., None]).softmax(dim=1)
        return own + (beta * value).sum(dim=1)

    def scorer(self, state, empty=None):
        return TargetAttention(*state, empty)

    def floats_per_score(self, state):
        n_nodes = torch.isfinite(state[3]).sum()
        return 2 * -(-int(n_nodes) // len(state[3]))

    def init_table_(self, table, n_items):
        init_uniform_([table], table.shape[1])


@dataclass(kw_only=True, eq=False, repr=False)
class TAGNN(BackboneSpec):
    """Target attentive graph neural network [1]_.

    Parameters
    ----------
    step : int, default=1
        Number of rounds of messages between neighboring items.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Every candidate attends to the session. With m distinct items in the session, a
    score takes 2 m - 1 times as long as a dot product. Scores are computed in chunks of
    limited size.

    Differences from the paper and its code:

    - **Softmax over events.** The paper's softmaxes run over the session, and the
      code's run over the padded length. skclip follows the paper, because scores would
      otherwise depend on padding and on the other rows of a batch.
    - **Target vector.** The paper combines three parts with one map, and the code adds
      the target vector to the session vector. skclip follows the code.
    - **Edges and cell.** The paper and its code differ as described for `SRGNN`. skclip
      uses the same graph and gated cell in both.

    References
    ----------
    .. [1] F. Yu, Y. Zhu, Q. Liu, S. Wu, L. Wang, T. Tan, "TAGNN: target attentive
           graph neural networks for session-based recommendation", SIGIR 2020,
           arXiv:2005.02844.

    Examples
    --------
    >>> from skclip.backbones import TAGNN
    >>> TAGNN(step=2)
    TAGNN(step=2)
    """

    step: int = parameter(1, AT_LEAST_1)
    training: dict[str, Any] | None = parameter(None, dict, None)

    scores_repeats = True  # candidates attend to the session, and so to themselves

    @classmethod
    def published(cls) -> Self:
        """Return the configuration of the authors' program."""
        return cls(training=dict(SRGNN_FAMILY))

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return TAGNNNetwork(embedding_dim, self)
