"""ClusterPrompt: gates an item's vector with the vector of its cluster."""

import torch
from torch import nn
from torch.nn import functional as F

_CHUNK_FLOATS = 2**18  # of a table that is prompted at a time


class ClusterPrompt(nn.Module):
    r"""Gate item vectors with the prompt of their cluster, section 3.3 of CLIP-SBR.

    With :math:`\hat{v} = v / \max(\lVert v \rVert, 10^{-12})` for
    ``normalization="unit"`` and :math:`\hat{v} = v` for ``"none"``:

    .. math::
        \mathrm{elementwise:}\quad & \sigma(W_x \hat{x} + b_x) \odot \hat{x}
            + \sigma(W_p \hat{p} + b_p) \odot \hat{p} \\
        \mathrm{scalar:}\quad & g \hat{x} + (1 - g) \hat{p}, \quad
            g = \sigma(w_x^\top \hat{x} + w_p^\top \hat{p} + b) \\
        \mathrm{add:}\quad & \hat{x} + \hat{p}

    Parameters
    ----------
    n_clusters : int
    dim : int
    normalization : {"unit", "none"}, default="unit"
    gate : {"elementwise", "scalar", "add"}, default="elementwise"
    """

    def __init__(self, n_clusters, dim, *, normalization="unit", gate="elementwise"):
        super().__init__()
        self.normalization = normalization
        self.gate = gate
        self.table = nn.Parameter(torch.zeros(n_clusters + 1, dim))  # row 0: unknown
        if gate == "elementwise":
            self.gate_item = nn.Linear(dim, dim)
            self.gate_prompt = nn.Linear(dim, dim)
        elif gate == "scalar":
            self.gate_item = nn.Linear(dim, 1)
            self.gate_prompt = nn.Linear(dim, 1, bias=False)
        if gate != "add":
            for linear in (self.gate_item, self.gate_prompt):
                nn.init.xavier_uniform_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def forward(self, x, clusters):
        """Prompt the vectors `x` (..., dim) of items in `clusters` (...), 0 = none."""

        def look_up(table):
            return F.embedding(clusters, table, padding_idx=0)

        p = self.table
        if self.normalization == "unit":
            x = F.normalize(x, dim=-1)
        if self.gate == "elementwise":
            x = torch.sigmoid(self.gate_item(x)) * x
            if clusters.numel() < len(p):
                return x + self._gated(look_up(p))
            return x + look_up(self._gated(p))  # each cluster once
        if self.normalization == "unit":
            p = F.normalize(p, dim=-1)
        if self.gate == "scalar":
            g = self.gate_item(x) + look_up(self.gate_prompt(p))
            g = torch.sigmoid(g)
            return g * x + (1 - g) * look_up(p)
        return x + look_up(p)

    def _gated(self, p):
        """Elementwise gate times prompt, for prompts `p` (..., dim)."""
        if self.normalization == "unit":
            p = F.normalize(p, dim=-1)
        return torch.sigmoid(self.gate_prompt(p)) * p

    def of_table(self, table, clusters):
        """Prompt a whole item table (n_items, dim)."""
        if self.gate != "elementwise":
            return self(table, clusters)
        return _GatedTable.apply(
            table,
            clusters,
            self._gated(self.table),
            self.gate_item.weight,
            self.gate_item.bias,
            self.normalization == "unit",
        )


class _GatedTable(torch.autograd.Function):
    """The elementwise gate on a whole table, in chunks that stay in the cache.

    A dozen element-wise steps over a large table, one after the other, each wait for
    main memory. The gates are kept for the gradients; nothing is computed twice.
    """

    @staticmethod
    def forward(ctx, table, clusters, prompts, weight, bias, unit):
        out, gates, units = (torch.empty_like(table) for _ in range(3))
        norms = table.new_empty(len(table), 1) if unit else None
        for rows in _chunks(table):
            x = table[rows]
            if unit:
                norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
                torch.clamp_min(norm, 1e-12, out=norms[rows])
                x = torch.div(x, norms[rows], out=units[rows])
            g = torch.mm(x, weight.T, out=gates[rows]).add_(bias).sigmoid_()
            torch.mul(g, x, out=out[rows]).add_(prompts[clusters[rows]])
        ctx.clusters = clusters
        ctx.save_for_backward(units if unit else table, gates, norms, prompts, weight)
        return out

    @staticmethod
    def backward(ctx, grad):
        units, gates, norms, prompts, weight = ctx.saved_tensors
        grad_table, grad_weight = torch.empty_like(units), torch.zeros_like(weight)
        grad_bias = weight.new_zeros(len(weight))
        for rows in _chunks(units):
            x, g = units[rows], gates[rows]
            direct = grad[rows] * g
            inside = torch.addcmul(direct, direct, g, value=-1).mul_(x)
            grad_weight.addmm_(inside.T, x)
            grad_bias += inside.sum(dim=0)
            grad_x = torch.mm(inside, weight, out=grad_table[rows]).add_(direct)
            if norms is not None:  # of x / ||x||; a vector near 0 is not worth a case
                along = (grad_x * x).sum(dim=1, keepdim=True)
                grad_x.addcmul_(x, along, value=-1).div_(norms[rows])
        grad_prompts = torch.zeros_like(prompts).index_add_(0, ctx.clusters, grad)
        grad_prompts[0] = 0.0
        return grad_table, None, grad_prompts, grad_weight, grad_bias, None


def _chunks(table):
    size = max(1, _CHUNK_FLOATS // table.shape[1])
    return [slice(a, a + size) for a in range(0, len(table), size)]
