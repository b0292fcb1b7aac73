"""ClusterPrompt: gates an item's vector with the vector of its cluster."""

import torch
from torch import nn
from torch.nn import functional as F

_CHUNK_FLOATS = 2**17  # of a table that is prompted at a time


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
            x, p = F.normalize(x, dim=-1), F.normalize(p, dim=-1)
        if self.gate == "elementwise":  # the gated prompt is the same for a cluster
            p = torch.sigmoid(self.gate_prompt(p)) * p
            return torch.sigmoid(self.gate_item(x)) * x + look_up(p)
        if self.gate == "scalar":
            g = self.gate_item(x) + look_up(self.gate_prompt(p))
            g = torch.sigmoid(g)
            return g * x + (1 - g) * look_up(p)
        return x + look_up(p)

    def of_table(self, table, clusters):
        """Prompt a whole item table (n_items, d), chunk by chunk in the cache."""
        return _InChunks.apply(self, clusters, table, *self.parameters())


class _InChunks(torch.autograd.Function):
    """Apply a prompt to chunks of rows; gradients come from a second pass.

    A dozen element-wise steps over a large table each wait for main memory; over a
    chunk that stays in the cache they do not.
    """

    @staticmethod
    def forward(ctx, prompt, clusters, table, *parameters):
        ctx.prompt, ctx.clusters = prompt, clusters
        ctx.save_for_backward(table)
        out = torch.empty_like(table)
        for rows in _chunks(table):
            out[rows] = prompt(table[rows], clusters[rows])
        return out

    @staticmethod
    def backward(ctx, grad):
        (table,) = ctx.saved_tensors
        parameters = list(ctx.prompt.parameters())
        grad_table = torch.empty_like(table)
        totals = [torch.zeros_like(p) for p in parameters]
        for rows in _chunks(table):
            with torch.enable_grad():
                x = table[rows].detach().requires_grad_()
                out = ctx.prompt(x, ctx.clusters[rows])
            parts = torch.autograd.grad(out, [x, *parameters], grad[rows])
            grad_table[rows] = parts[0]
            for total, part in zip(totals, parts[1:], strict=True):
                total += part
        return None, None, grad_table, *totals


def _chunks(table):
    size = max(1, _CHUNK_FLOATS // table.shape[1])
    return [slice(a, a + size) for a in range(0, len(table), size)]
