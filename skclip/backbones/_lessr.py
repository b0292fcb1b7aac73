"""LESSR: layers of order-preserving aggregation and of shortcuts, alternating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout, spare_biases
from skclip.backbones._exporting import gru_operator, is_exporting
from skclip.backbones._parameters import AT_LEAST_1, RATE, parameter
from skclip.backbones._session_graph import masked_softmax, rows_at, session_graph


class LESSRNetwork(Backbone):
    r"""Layers that read the features of all layers before, and an attentive readout.

    .. math::
        f^0 &= x_{nodes}, \qquad
        f^{k+1} = [\mathrm{layer}_k(f^k) ; f^k], \quad
        \mathrm{layers} = \mathrm{EOPA}, \mathrm{SGAT}, \mathrm{EOPA}, \dots \\
        b &= \mathrm{dropout}(\mathrm{BN}(f)), \qquad
        \alpha = \mathrm{softmax}_v \big(w^\top \sigma(U b_v + V b_{last} + c)\big) \\
        g &= \mathrm{PReLU}\Big(O \sum_v \alpha_v b_v\Big), \qquad
        s = F\, \mathrm{dropout}(\mathrm{BN}([f_{last} ; g]))

    Item vectors keep a norm of at most 1. Features exist for real nodes only, (n_nodes,
    width), so that batch norms see no padding.
    """

    merges_equal_items = True

    def __init__(self, embedding_dim, spec):
        super().__init__()
        d = embedding_dim
        self.layers = nn.ModuleList()
        for k in range(spec.n_layers):
            layer = SGAT if k % 2 else EOPA
            self.layers.append(layer((k + 1) * d, d, spec.dropout))
        width = (spec.n_layers + 1) * d
        self.bn_nodes = BatchNorm(width)
        self.dropout = Dropout(spec.dropout)
        self.U = nn.Linear(width, d, bias=False)
        self.V = nn.Linear(width, d)
        self.w = nn.Linear(d, 1, bias=False)
        self.O = nn.Linear(width, d, bias=False)
        self.prelu = PReLU(d)
        self.bn = BatchNorm(width + d)
        self.F = nn.Linear(width + d, d, bias=False)

    def encode(self, x, batch):
        graph = session_graph(batch)
        row, place = graph.nodes()
        first = row * x.shape[1] + graph.first[row, place]
        f = x.flatten(0, 1).index_select(0, first)  # (n_nodes, d)
        number = torch.zeros_like(graph.first)
        number[row, place] = torch.arange(row.shape[0], device=x.device)
        in_edges = graph.in_edge_table if is_exporting() else graph.in_edges
        links = in_edges(number), graph.shortcut_edges(number)
        for k, layer in enumerate(self.layers):
            f = torch.cat([layer(f, links[k % 2]), f], dim=1)

        last = number.gather(1, graph.last[:, None]).squeeze(1)
        b = self.dropout(self.bn_nodes(f))
        asking = self.V(b.index_select(0, last)).index_select(0, row)
        e = self.w(torch.sigmoid(self.U(b) + asking)).squeeze(-1)
        e = e.new_zeros(graph.mask.shape).index_put((row, place), e)
        alpha = masked_softmax(e, graph.mask)[row, place]
        summed = b.new_zeros(last.shape[0], b.shape[1])
        summed = summed.index_add(0, row, alpha[:, None] * b)
        g = self.prelu(self.O(summed))
        return self.F(
            self.dropout(self.bn(torch.cat([f.index_select(0, last), g], dim=1)))
        )

    def init_table_(self, table, n_items):
        nn.init.normal_(table)

    def floats_per_query(self, length, dim):
        return 4 * dim * length * (length + 10)  # shortcuts, at most length^2 / 2

    def constrain_(self, item_table):
        norms = torch.linalg.vector_norm(item_table, dim=1, keepdim=True)
        item_table.mul_(torch.where(norms > 1.0, 1.0 / (norms + 1e-7), 1.0))

    def param_groups(self):
        return spare_biases(self)


class EOPA(nn.Module):
    r"""Edge-order preserving aggregation.

    :math:`b = \mathrm{BN}(f)`, and the sources u of the edges into v are in order of
    time:

    .. math:: \mathrm{PReLU}\big(F_{self} b_v +
        F_{neigh} \mathrm{GRU}(\mathrm{dropout}(b_{u_1}), \mathrm{dropout}(b_{u_2}),
        \dots)\big)
    """

    def __init__(self, width, dim, dropout):
        super().__init__()
        self.bn = BatchNorm(width)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRUCell(width, width)
        self.F_self = nn.Linear(width, dim, bias=False)
        self.F_neigh = nn.Linear(width, dim, bias=False)
        self.prelu = PReLU(dim)

    def forward(self, f, edges):
        b = self.bn(f)
        out = self.F_self(b)
        if is_exporting():
            return self.prelu(out + self.F_neigh(self.read_table(b, *edges)))
        targets, sources, sizes = edges
        if sizes:
            n = self.read(self.dropout(b).index_select(0, sources), sizes)
            out = out.index_add(0, targets, self.F_neigh(n))
        return self.prelu(out)

    def read(self, x, sizes):
        """Return last states of the GRU. `x` has all first inputs, then all second."""
        return _LastStates.apply(x, sizes, *self.gru.parameters())

    def read_table(self, b, sources, degree):
        """Return the last states for nodes `b` (n_nodes, width), in an exported graph.

        `sources` (n_nodes, length) are padded. Nodes with a `degree` of 0 get zeros.
        """
        x = b.index_select(0, sources.flatten()).view(*sources.shape, -1)
        h = gru_operator(x, *self.gru.parameters())
        last = (degree - 1).clamp_min(0)
        return rows_at(h, last[:, None]).squeeze(1) * (degree > 0)[:, None]


class _LastStates(torch.autograd.Function):
    r"""Last states of a GRU cell over sequences of inputs, longest first.

    .. math::
        r, z &= \sigma(W_{r,z} x + U_{r,z} h + b), \qquad n = U_c h + b_n \\
        c &= \tanh(W_c x + b_c + r \odot n), \qquad h' = c + z \odot (h - c)

    The first states are zero, so that the first step needs no product with U.
    """

    @staticmethod
    def forward(ctx, x, sizes, W, U, b_ih, b_hh):
        w = U.shape[1]
        bias = torch.cat([b_ih[: 2 * w] + b_hh[: 2 * w], b_ih[2 * w :]])
        gates = torch.addmm(bias, x, W.T)  # r, z and c replace these in place
        steps, states, inner = gates.split(sizes), [], []
        h = None  # current states
        for step in steps:
            rz, r, z, c = step[:, : 2 * w], *step.chunk(3, dim=1)
            if h is None:
                rz.sigmoid_()
                c.addcmul_(r, b_hh[2 * w :]).tanh_()
                h = torch.addcmul(c, z, c, value=-1)
            else:
                before = h[: len(step)].clone()
                of_state = torch.mm(before, U.T)
                rz.add_(of_state[:, : 2 * w]).sigmoid_()
                n = of_state[:, 2 * w :].add_(b_hh[2 * w :])
                c.addcmul_(r, n).tanh_()
                torch.lerp(c, before, z, out=h[: len(step)])
                states.append(before)
                inner.append(n)
        ctx.sizes, ctx.n_states = sizes, len(states)
        ctx.save_for_backward(x, W, U, b_hh, gates, *states, *inner)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, W, U, b_hh, gates, *rest = ctx.saved_tensors
        states, inner = rest[: ctx.n_states], rest[ctx.n_states :]
        w = U.shape[1]
        of_U, of_n = torch.zeros_like(U), grad.new_zeros(w)
        of_gates = torch.empty_like(gates)
        h = grad.clone()  # gradient of the states after the step
        steps = list(
            zip(gates.split(ctx.sizes), of_gates.split(ctx.sizes), strict=True)
        )
        for k in range(len(steps) - 1, -1, -1):
            step, out = steps[k]
            (r, z, c), (of_r, of_z, of_c) = step.chunk(3, dim=1), out.chunk(3, dim=1)
            of_h = h[: len(step)]
            torch.mul(of_h, z, out=of_r)  # passed on to the state before
            torch.sub(of_h, of_r, out=of_c)
            of_c.addcmul_(of_c * c, c, value=-1)  # slope of tanh
            slope = torch.addcmul(z, z, z, value=-1).mul_(of_h)
            n = inner[k - 1] if k else b_hh[2 * w :]
            if k:
                torch.sub(states[k - 1], c, out=of_z).mul_(slope)
                of_h.copy_(of_r)
            else:
                torch.mul(slope, c, out=of_z).neg_()
            of_inner = of_c * r
            of_n += of_inner.sum(dim=0)
            torch.mul(of_inner, n, out=of_r)
            of_r.addcmul_(of_r, r, value=-1)
            if k:
                of_state = torch.cat([out[:, : 2 * w], of_inner], dim=1)
                of_h.addmm_(of_state, U)
                of_U.addmm_(of_state.T, states[k - 1])
        of_bias = of_gates.sum(dim=0)
        of_b_hh = torch.cat([of_bias[: 2 * w], of_n])
        of_x = torch.mm(of_gates, W) if ctx.needs_input_grad[0] else None
        return of_x, None, torch.mm(of_gates.T, x), of_U, of_bias, of_b_hh


class SGAT(nn.Module):
    r"""Attention along shortcuts, from every node to all later ones.

    With :math:`b = \mathrm{dropout}(\mathrm{BN}(f))`:

    .. math:: \mathrm{PReLU}\Big(\sum_u \mathrm{softmax}_u
        \big(w^\top \sigma(W_q b_u + b_q + W_k b_v)\big) W_v b_u\Big)
    """

    def __init__(self, width, dim, dropout):
        super().__init__()
        self.bn = BatchNorm(width)
        self.dropout = Dropout(dropout)
        self.W_q = nn.Linear(width, dim)
        self.W_k = nn.Linear(width, dim, bias=False)
        self.W_v = nn.Linear(width, dim, bias=False)
        self.w = nn.Linear(dim, 1, bias=False)
        self.prelu = PReLU(dim)

    def forward(self, f, edges):
        b = self.dropout(self.bn(f))
        weights = self.W_q.weight, self.W_k.weight, self.W_v.weight
        qkv = F.linear(b, torch.cat(weights))  # one product for three
        return self.prelu(_Attention.apply(qkv, self.W_q.bias, self.w.weight, edges))


class _Attention(torch.autograd.Function):
    """Weighted sums of SGAT along edges, from the three products of each node."""

    @staticmethod
    def forward(ctx, qkv, bias, w, edges):
        sources, targets = edges
        q, k, v = qkv.chunk(3, dim=1)
        gate = q.index_select(0, sources)
        gate += (k + bias).index_select(0, targets)
        gate.sigmoid_()
        e = torch.mv(gate, w.squeeze(0))
        top = e.new_full((qkv.shape[0],), -torch.inf)
        top.scatter_reduce_(0, targets, e, "amax")
        alpha = (e - top[targets]).exp_()
        alpha /= torch.zeros_like(top).index_add_(0, targets, alpha)[targets]
        values = v.index_select(0, sources)
        out = torch.zeros_like(v, memory_format=torch.contiguous_format)
        out.index_add_(0, targets, values * alpha[:, None])
        ctx.edges = edges
        ctx.save_for_backward(gate, alpha, values, w)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        gate, alpha, values, w = ctx.saved_tensors
        sources, targets = ctx.edges
        n, dim = grad.shape
        grad = grad.index_select(0, targets)
        result = grad.new_zeros(n, 3 * dim)
        of_q, of_k, of_v = result.chunk(3, dim=1)
        along = torch.mul(grad, values).sum(dim=1).mul_(alpha)
        of_v.index_add_(0, sources, grad.mul_(alpha[:, None]))
        total = alpha.new_zeros(n).index_add_(0, targets, along)
        of_e = along.addcmul_(alpha, total[targets], value=-1)
        of_w = torch.mv(gate.T, of_e)[None]
        inside = torch.addcmul(gate, gate, gate, value=-1)  # slope of the sigmoid
        inside.mul_(w).mul_(of_e[:, None])
        of_q.index_add_(0, sources, inside)
        of_k.index_add_(0, targets, inside)
        return result, of_k.sum(dim=0), of_w, None


class PReLU(nn.PReLU):
    """PReLU with a gradient from plain arithmetic, which is faster than torch's."""

    def forward(self, x):
        return _PReLU.apply(x, self.weight)


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.prelu(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(grad, x, 0.0)
        below = grad - above
        above.addcmul_(below, weight)
        return above, below.mul_(x).sum(dim=0)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that uses its running statistics for a single row."""

    def forward(self, x):
        if not self.training or len(x) > 1:
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


@dataclass(kw_only=True, eq=False, repr=False)
class LESSR(BackboneSpec):
    """Lossless edge-order preserving aggregation and shortcut graph attention [1]_.

    Parameters
    ----------
    n_layers : int, default=4
        Number of layers. Order-preserving aggregation and shortcut attention alternate.
    dropout : float, default=0.2
        Dropout rate of the features, in [0, 1).
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Differences from the paper and its code:

    - **Norm of item vectors.** The authors' program limits the norm to 1 at each
      look-up, outside the gradient. skclip limits the whole table after each step,
      which is the same, because the scorer looks up every row.
    - **Padding nodes.** RecBole-GNN, and CLIP-SBR's copy of it, add a padding node to
      every session and leave out self loops of shortcuts. skclip follows the authors:
      real nodes only, and shortcuts with self loops. A padding node would enter batch
      norms and attention.
    - **Batches of one prefix.** The authors' program drops them. skclip trains on them
      and uses the running statistics of its batch norms, so that no prefix is left out.

    References
    ----------
    .. [1] T. Chen, R. C.-W. Wong, "Handling information loss of graph neural networks
           for session-based recommendation", KDD 2020, doi:10.1145/3394486.3403170.

    Examples
    --------
    >>> from skclip.backbones import LESSR
    >>> LESSR(n_layers=2)
    LESSR(n_layers=2)
    """

    n_layers: int = parameter(4, AT_LEAST_1)
    dropout: float = parameter(0.2, RATE)
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the authors' configuration for Diginetica.

        They drop the last batch of an epoch if it is incomplete. skclip keeps it.
        """
        training = {
            "loss": "cross_entropy",
            "embedding_dim": 32,
            "learning_rate": 1e-3,
            "batch_size": 512,
        }
        training |= {"optimizer": "adamw", "weight_decay": 1e-4, "max_epochs": 30}
        training |= {"lr_schedule": "constant", "n_iter_no_change": 2}
        return cls(training=training)

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return LESSRNetwork(embedding_dim, self)
