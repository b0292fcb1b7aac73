"""The gated graph cell of SR-GNN and related networks, and its readout."""

import torch
from torch import nn


class GatedGraph(nn.Module):
    r"""Messages along the edges of a session graph into a GRU cell, `step` times.

    .. math::
        a &= \big[A_{in} (W_{in} h + b_{in}) + p_{in} \,;\,
            A_{out} (W_{out} h + b_{out}) + p_{out}\big] \\
        r, z &= \sigma(W_{r,z} a + U_{r,z} h), \qquad
        c = \tanh(W_c a + r \odot U_c h) \\
        h' &= (1 - z) \odot h + z \odot c

    All of W and U have biases. `post_bias` says whether the biases p exist.
    """

    def __init__(self, dim, step, *, post_bias):
        super().__init__()
        self.step = step
        self.edge_in, self.edge_out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.register_parameter("post_in", None)
        self.register_parameter("post_out", None)
        if post_bias:
            self.post_in = nn.Parameter(torch.zeros(dim))
            self.post_out = nn.Parameter(torch.zeros(dim))
        self.w_ih = nn.Linear(2 * dim, 3 * dim)  # reset, update, candidate
        self.w_hh = nn.Linear(dim, 3 * dim)

    def forward(self, h, incoming, outgoing):
        """Update the nodes `h` (n, size, d) along the matrices of `mean_edges`."""
        for _ in range(self.step):
            a_in = torch.bmm(incoming, self.edge_in(h))
            a_out = torch.bmm(outgoing, self.edge_out(h))
            if self.post_in is not None:
                a_in, a_out = a_in + self.post_in, a_out + self.post_out
            of_input = self.w_ih(torch.cat([a_in, a_out], dim=-1)).chunk(3, dim=-1)
            of_state = self.w_hh(h).chunk(3, dim=-1)
            r = torch.sigmoid(of_input[0] + of_state[0])
            z = torch.sigmoid(of_input[1] + of_state[1])
            c = torch.tanh(of_input[2] + r * of_state[2])
            h = torch.lerp(h, c, z)
        return h


class SoftAttention(nn.Module):
    r"""Readout of SR-GNN, TAGNN and NISER over the nodes or events of a session.

    m is the number of events of a node. TAGNN adds a softmax over the events:

    .. math::
        \alpha_v = v^\top \sigma(W_1 h_{last} + b_1 + W_2 h_v + b_2), \qquad
        g = \sum_v m_v \alpha_v h_v, \qquad s = W_3 [g ; h_{last}] + b_3
    """

    def __init__(self, dim, *, softmax, hybrid=True):
        super().__init__()
        self.W1, self.W2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.v = nn.Linear(dim, 1, bias=False)
        self.W3 = nn.Linear(2 * dim, dim) if hybrid else None
        self.softmax = softmax

    def forward(self, h, last, counts):
        """Return session vectors of the nodes `h` (n, size, d) and `last` (n, d).

        Each node counts as often as `counts` (n, size) says.
        """
        counts = counts.to(h.dtype)
        gate = torch.sigmoid(self.W1(last)[:, None] + self.W2(h))
        alpha = self.v(gate).squeeze(-1)  # (n, size)
        if self.softmax:
            alpha = (alpha + counts.log()).softmax(dim=1)  # log 0: no node, no weight
        else:
            alpha = alpha * counts
        g = torch.bmm(alpha[:, None], h).squeeze(1)
        return g if self.W3 is None else self.W3(torch.cat([g, last], dim=-1))
