"""SR-GNN: a gated graph network over the session's items, and soft attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, init_uniform_
from skclip.backbones._gated_graph import GatedGraph, SoftAttention
from skclip.backbones._parameters import AT_LEAST_1, parameter
from skclip.backbones._published import SRGNN_FAMILY
from skclip.backbones._session_graph import session_graph


class SRGNNNetwork(Backbone):
    r"""Gated graph network (`GatedGraph`), then soft attention (`SoftAttention`).

    .. math::
        h = \mathrm{GatedGraph}(x_{nodes}), \qquad
        s = W_3 \Big[\sum_t \alpha_t h_{v(t)} ; h_{last}\Big] + b_3
    """

    merges_equal_items = True

    def __init__(self, embedding_dim, spec):
        super().__init__()
        self.gnn = GatedGraph(embedding_dim, spec.step, post_bias=True)
        self.attention = SoftAttention(embedding_dim, softmax=False, hybrid=spec.hybrid)
        init_uniform_(self.parameters(), embedding_dim)

    def encode(self, x, batch):
        graph = session_graph(batch)
        h = self.gnn(graph.of_nodes(x), *graph.mean_edges(x.dtype))
        return self.attention(h, graph.of_last(h), graph.counts)

    def init_for_cosine_(self):
        """Without W_3, make the weights of events positive, as in GCE-GNN."""
        if self.attention.W3 is None:
            with torch.no_grad():
                self.attention.v.weight.abs_()

    def init_table_(self, table, n_items):
        init_uniform_([table], table.shape[1])


@dataclass(kw_only=True, eq=False, repr=False)
class SRGNN(BackboneSpec):
    """Session-based recommendation with graph neural networks [1]_.

    Parameters
    ----------
    step : int, default=1
        Number of rounds of messages between neighboring items.
    hybrid : bool, default=True
        Whether the session vector combines the attended sum with the last item. False
        uses the attended sum only.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    The cost of a batch grows with the number of its sessions and with the square of
    the size of its largest graph.

    Differences from the paper and its code:

    - **Edge weights.** The paper weights edges by how often a step occurs, and the code
      gives each distinct step the weight 1 before it normalizes. skclip follows the
      code.
    - **Gated cell.** The paper multiplies by the reset gate inside the product, the
      code multiplies outside, and two programs mirror the update gate. skclip
      multiplies outside with h' = (1 - z) h + z c; all forms are the same functions
      with other weights.
    - **Biases after messages.** The paper does not mention them, and the code has them
      in SR-GNN and TAGNN but not in GC-SAN. skclip does the same; they add nothing that
      another bias cannot.
    - **Weights under cosine scores.** The code draws attention weights around 0 and
      scores by the dot product. With ``hybrid=False`` and cosine scores, skclip takes
      their absolute values at the start, because their common sign cannot change in
      training; see `GCEGNN`.

    References
    ----------
    .. [1] S. Wu, Y. Tang, Y. Zhu, L. Wang, X. Xie, T. Tan, "Session-based
           recommendation with graph neural networks", AAAI 2019, arXiv:1811.00855.

    Examples
    --------
    >>> from skclip.backbones import SRGNN
    >>> SRGNN(step=2)
    SRGNN(step=2)
    """

    step: int = parameter(1, AT_LEAST_1)
    hybrid: bool = parameter(True, "boolean")
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the configuration of the authors' program."""
        return cls(training=dict(SRGNN_FAMILY))

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return SRGNNNetwork(embedding_dim, self)
