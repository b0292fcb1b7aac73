"""ClusterPrompt: gates an item's vector with the vector of its cluster."""

import torch
from torch import nn
from torch.nn import functional as F

from skclip._tables import gate_rows, unit_rows


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
        x = unit_rows(table) if self.normalization == "unit" else table
        gate, p = self.gate_item, self._gated(self.table)
        return gate_rows(x, p, clusters, gate.weight, gate.bias)
