"""GCE-GNN: a session graph and a global graph, read by attention with positions."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from skclip._sklearn import Interval
from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout, init_uniform_
from skclip.backbones._exporting import is_exporting
from skclip.backbones._global_graph import neighbor_table
from skclip.backbones._parameters import AT_LEAST_1, RATE, parameter
from skclip.backbones._published import SRGNN_FAMILY
from skclip.backbones._session_graph import masked_softmax, session_graph

_SLOPE = 0.2  # of the leaky rectifiers
_CHUNK_FLOATS = 2**17  # numbers in the neighbors' vectors of a chunk


class GCEGNNNetwork(Backbone):
    r"""Global context enhanced graph neural network.

    A session has nodes u with relations R in its graph, and neighbors q with
    co-occurrence counts w in the global graph. m is the mean of the session's items:

    .. math::
        l_u &= \sum_v \mathrm{softmax}_v \big(
            \mathrm{leaky}((x_u \odot x_v)^\top a_{R_{uv}})\big) x_v \\
        \pi &= \mathrm{softmax}_i \big(
            w_2^\top \mathrm{leaky}(W_1 [m \odot q_i ; w_i])\big), \qquad
        g_u = \mathrm{relu}\Big(W_3\, \mathrm{dropout}\Big(
            \Big[x_u ; \sum_i \pi_i q_i\Big]\Big)\Big) \\
        h_u &= \mathrm{dropout}(l_u) + \mathrm{dropout}(g_u) \\
        z_t &= \tanh(P [p_t ; h_{u(t)}]), \qquad
        s = \sum_t w_p^\top \sigma(G_1 z_t + b + G_2 \bar{h})\, h_{u(t)}

    Positions t count from the latest item. With two hops, a second layer reads the
    results of the first one for u and its neighbors.
    """

    merges_equal_items = True

    def __init__(self, embedding_dim, n_items, max_length, spec):
        super().__init__()
        d = embedding_dim

        def one_per_hop(n_in, n_out):
            maps = (nn.Linear(n_in, n_out, bias=False) for _ in range(spec.n_hops))
            return nn.ModuleList(maps)

        self.window, self.n_hops = spec.window, spec.n_hops
        neighbors = torch.zeros(n_items + 1, spec.n_neighbors, dtype=torch.int64)
        self.register_buffer("neighbors", neighbors)
        self.register_buffer("weights", torch.zeros(n_items + 1, spec.n_neighbors))
        self.a = nn.Parameter(torch.empty(4, d))  # same, precedes, follows, both
        self.W1, self.w2 = one_per_hop(d + 1, d), one_per_hop(d, 1)
        self.W3 = one_per_hop(2 * d, d)
        self.positions = nn.Parameter(torch.empty(max_length, d))
        self.P = nn.Linear(2 * d, d, bias=False)  # on (position, item)
        self.G1, self.G2 = nn.Linear(d, d), nn.Linear(d, d, bias=False)
        self.w_p = nn.Linear(d, 1, bias=False)
        self.dropout_gcn = Dropout(spec.dropout_gcn)
        self.dropout_local = Dropout(spec.dropout_local)
        self.dropout_global = Dropout(spec.dropout_global)
        init_uniform_(self.parameters(), d)

    def update(self, codes, offsets, ends):
        known = self.neighbors.cpu().numpy(), self.weights.cpu().numpy()
        self.prepare(codes, offsets, ends, known)

    def prepare(self, codes, offsets, ends, known=None):
        sizes = {"n_items": len(self.neighbors) - 1, "top": self.neighbors.shape[1]}
        table, counts = neighbor_table(
            codes, offsets, ends, window=self.window, known=known, **sizes
        )
        self.neighbors.copy_(torch.from_numpy(table))
        self.weights.copy_(torch.from_numpy(counts))

    def encode(self, x, batch):
        graph = session_graph(batch)
        h = graph.of_nodes(x)  # (n, size, d)
        m = (x * batch.mask[..., None]).sum(dim=1) / batch.ends[:, None]
        local, near = self.local(h, graph), self.from_neighbors(h, m, graph, batch)
        h = self.dropout_local(local) + self.dropout_global(near)
        return self.read(graph.of_events(h), batch)

    def local(self, h, graph):
        """Attend along the edges of the session graph: (n, size, d)."""
        kind = graph.relations()
        e = h.new_zeros(kind.shape)
        for relation in range(4):
            product = torch.bmm(h * self.a[relation], h.transpose(1, 2))
            e = torch.where(kind == relation + 1, product, e)
        gamma = masked_softmax(F.leaky_relu(e, _SLOPE), kind > 0)
        return torch.bmm(gamma, h)

    def from_neighbors(self, h, m, graph, batch):
        """Attend to the neighbors of each node in the global graph: (n, size, d)."""
        row, place = graph.nodes()
        items = batch.codes[row, graph.first[row, place]]
        items = items.masked_fill(items >= len(self.neighbors), 0)  # unseen: none
        node = row * h.shape[1] + place
        own = h.flatten(0, 1).index_select(0, node)  # (n_nodes, d)
        m = m.index_select(0, row)
        near = self.neighbors[items]  # (n_nodes, k)
        q = batch.lookup(near)
        g = self.aggregate(0, own, m, items, q)
        if self.n_hops == 2:
            far = batch.lookup(self.neighbors[near]).flatten(0, 1)
            m_near = m.repeat_interleave(near.shape[1], dim=0)
            q = self.aggregate(0, q.flatten(0, 1), m_near, near.flatten(), far)
            g = self.aggregate(1, g, m, items, q.view(*near.shape, -1))
        return torch.zeros_like(h).flatten(0, 1).index_copy(0, node, g).view_as(h)

    def aggregate(self, layer, own, m, items, q):
        """Apply one layer to `items` (n,) with neighbors `q` (n, k, d): (n, d)."""
        w = self.weights[items].to(q.dtype)
        known = self.neighbors[items] > 0
        weights = self.W1[layer].weight, self.w2[layer].weight
        both = torch.cat([own, _Neighbors.apply(m, q, w, known, *weights)], dim=-1)
        return torch.relu(self.W3[layer](self.dropout_gcn(both)))

    def read(self, h, batch):
        """Attend to the events `h` (n, length, d) with positions: (n, d)."""
        place = torch.arange(h.shape[1], device=h.device)
        age = (batch.ends[:, None] - 1 - place).clamp_min_(0)
        mask = batch.mask
        of_position, of_item = self.P.weight.chunk(2, dim=1)
        of_age = F.embedding(age, self.positions @ of_position.T)
        z = torch.tanh(of_age + h @ of_item.T)
        mean = (h * mask[..., None]).sum(dim=1) / batch.ends[:, None]
        beta = self.w_p(torch.sigmoid(self.G1(z) + self.G2(mean)[:, None])).squeeze(-1)
        return torch.bmm((beta * mask)[:, None], h).squeeze(1)

    def init_for_cosine_(self):
        """Make the weights of events positive, so that a session is like its items."""
        with torch.no_grad():
            self.w_p.weight.abs_()

    def floats_per_query(self, length, dim):
        return 4 * dim * length * self.neighbors.shape[1] ** self.n_hops

    def init_table_(self, table, n_items):
        init_uniform_([table], table.shape[1])


class _Neighbors(torch.autograd.Function):
    r"""Weighted sums (n, d) of the neighbors' vectors `q` (n, k, d).

    It reads some nodes at a time, so that a dozen steps over their k vectors stay in
    the cache. The column of W_1 for the number w is applied on its own, which saves a
    concatenation.
    """

    @staticmethod
    def forward(ctx, m, q, w, known, W1, w2):
        out, pi, inner = torch.empty_like(m), torch.empty_like(w), q.new_empty(q.shape)
        n_neighbors = q.shape[1]
        for nodes in _chunks(q):
            product = (m[nodes, None] * q[nodes]).flatten(0, 1)
            x = inner[nodes].flatten(0, 1)
            torch.mm(product, W1[:, :-1].T, out=x)
            x.addcmul_(w[nodes].reshape(-1, 1), W1[:, -1])
            F.leaky_relu_(x, _SLOPE)
            logits = torch.mv(x, w2.squeeze(0)).view(-1, n_neighbors)
            pi[nodes] = masked_softmax(logits, known[nodes])
            out[nodes] = torch.bmm(pi[nodes, None], q[nodes]).squeeze(1)
        ctx.save_for_backward(m, q, w, W1, w2, pi, inner)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        m, q, w, W1, w2, pi, inner = ctx.saved_tensors
        of_m, of_q = torch.empty_like(m), torch.empty_like(q)
        of_W1, of_w2 = torch.zeros_like(W1), torch.zeros_like(w2)
        for nodes in _chunks(q):
            g, p, x = grad[nodes], pi[nodes], inner[nodes].flatten(0, 1)
            of_e = torch.bmm(q[nodes], g[:, :, None]).squeeze(2).mul_(p)
            of_e = of_e.addcmul_(p, of_e.sum(dim=1, keepdim=True), value=-1)
            of_e = of_e.view(-1, 1)
            of_w2.addmm_(of_e.T, x)
            of_x = torch.ops.aten.leaky_relu_backward(of_e * w2, x, _SLOPE, True)
            product = (m[nodes, None] * q[nodes]).flatten(0, 1)
            of_W1[:, :-1] += torch.mm(of_x.T, product)
            of_W1[:, -1] += torch.mv(of_x.T, w[nodes].flatten())
            of_product = torch.mm(of_x, W1[:, :-1]).view_as(q[nodes])
            torch.mul(p[:, :, None], g[:, None], out=of_q[nodes])
            of_q[nodes].addcmul_(of_product, m[nodes, None])
            of_m[nodes] = of_product.mul_(q[nodes]).sum(dim=1)
        return of_m, of_q, None, None, of_W1, of_w2


def _chunks(q):
    if q.device.type != "cpu" or is_exporting():  # a few large steps are faster
        return [slice(None)]
    size = max(1, _CHUNK_FLOATS // (q.shape[1] * q.shape[2]))
    return [slice(a, a + size) for a in range(0, len(q), size)]


@dataclass(kw_only=True, eq=False, repr=False)
class GCEGNN(BackboneSpec):
    """Global context enhanced graph neural network [1]_.

    Parameters
    ----------
    n_hops : {1, 2}, default=1
        Number of layers of the global graph. A second one takes `n_neighbors` times
        as long as the first.
    n_neighbors : int, default=12
        Number of neighbors of an item in the global graph.
    window : int, default=3
        Largest distance, in events, between neighbors in a session.
    dropout_gcn : float, default=0.0
        Dropout rate of the input of the last linear map of a global layer, in [0, 1).
    dropout_local : float, default=0.0
        Dropout rate of the output of the session graph, in [0, 1).
    dropout_global : float, default=0.5
        Dropout rate of the output of the global graph, in [0, 1).
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    The global graph is built from the training sessions, without the validation part.

    Differences from the paper and its code:

    - **Absent neighbors.** The paper does not mention items with few neighbors, and
      code fills them up with repeated draws or with item 0. skclip leaves absent
      neighbors out of the attention.
    - **Window and ties.** The paper and its code use a window of 3, RecBole-GNN one of
      4. Code takes tied neighbors as first seen or in random order. skclip uses 3 and
      takes the smaller item first, so that the graph is reproducible.
    - **Immediate repeats.** RecBole-GNN adds a second edge for an immediate repeat of
      an item. In skclip such a repeat is the self relation alone.
    - **Weights under cosine scores.** The paper draws the weights of events around 0
      and scores by the dot product. Cosines ignore the length of the session vector, so
      the common sign of these weights cannot change in training. With cosine scores,
      skclip begins with their absolute values; before, a third of the first fits on one
      log ended below half of the others' MRR@20.

    References
    ----------
    .. [1] Z. Wang, W. Wei, G. Cong, X.-L. Li, X.-L. Mao, M. Qiu, "Global context
           enhanced graph neural networks for session-based recommendation", SIGIR
           2020, arXiv:2106.05081.

    Examples
    --------
    >>> from skclip.backbones import GCEGNN
    >>> GCEGNN(n_neighbors=6)
    GCEGNN(n_neighbors=6)
    """

    n_hops: int = parameter(1, Interval(Integral, 1, 2, closed="both"))
    n_neighbors: int = parameter(12, AT_LEAST_1)
    window: int = parameter(3, AT_LEAST_1)
    dropout_gcn: float = parameter(0.0, RATE)
    dropout_local: float = parameter(0.0, RATE)
    dropout_global: float = parameter(0.5, RATE)
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the authors' configuration for Diginetica."""
        training = SRGNN_FAMILY | {"max_epochs": 20, "n_iter_no_change": 3}
        return cls(n_hops=2, dropout_gcn=0.2, training=training)

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return GCEGNNNetwork(embedding_dim, n_items, max_length, self)
