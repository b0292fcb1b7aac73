"""Steps over whole item tables, in chunks that stay in the cache; row look-up.

A dozen element-wise steps over a large table, one after the other, each wait for main
memory. What gradients need is kept; nothing is computed twice.
"""

import torch
from torch.nn import functional as F

_CHUNK_FLOATS = 2**18  # of a table that are worked on at a time


def unit_rows(table):
    """Rows of a table (n, d) divided by max(norm, 1e-12)."""
    return _UnitRows.apply(table)


def gate_rows(table, prompts, clusters, weight, bias):
    r"""Item part of the elementwise gate, plus gated prompts by cell.

    .. math:: \sigma(W x_i + b) \odot x_i + p_{c(i)}

    `table` is (n, d), `prompts` (n_cells + 1, d), whose row 0 gets no gradient.
    """
    return _GateRows.apply(table, prompts, clusters, weight, bias)


def look_up(table, codes, sparse=False):
    """Rows of a table (n_items, d) for codes (...), zeros for code 0: (..., d)."""
    if not torch.is_grad_enabled():
        return _rows(table, codes)
    if not sparse:
        return _Rows.apply(table, codes)
    known = codes > 0
    rows = F.embedding(codes[known] - 1, table, sparse=True)
    return table.new_zeros(*codes.shape, table.shape[1]).index_put((known,), rows)


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table):
        out, norms = torch.empty_like(table), table.new_empty(len(table), 1)
        for rows in _chunks(table):
            norm = torch.linalg.vector_norm(table[rows], dim=1, keepdim=True)
            torch.clamp_min(norm, 1e-12, out=norms[rows])
            torch.div(table[rows], norms[rows], out=out[rows])
        ctx.save_for_backward(out, norms)
        return out

    @staticmethod
    def backward(ctx, grad):
        units, norms = ctx.saved_tensors
        result = torch.empty_like(units)
        for rows in _chunks(units):  # below the clamp, units vanish and so does `along`
            x, g = units[rows], grad[rows]
            along = (g * x).sum(dim=1, keepdim=True)
            torch.addcmul(g, x, along, value=-1, out=result[rows]).div_(norms[rows])
        return result


class _GateRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, prompts, clusters, weight, bias):
        out, gates = torch.empty_like(table), torch.empty_like(table)
        for rows in _chunks(table):
            x = table[rows]
            g = torch.mm(x, weight.T, out=gates[rows]).add_(bias).sigmoid_()
            torch.mul(g, x, out=out[rows]).add_(prompts[clusters[rows]])
        ctx.clusters = clusters
        ctx.save_for_backward(table, gates, prompts, weight)
        return out

    @staticmethod
    def backward(ctx, grad):
        table, gates, prompts, weight = ctx.saved_tensors
        result, grad_weight = torch.empty_like(table), torch.zeros_like(weight)
        grad_bias = weight.new_zeros(len(weight))
        for rows in _chunks(table):
            x, g = table[rows], gates[rows]
            direct = grad[rows] * g
            inside = torch.addcmul(direct, direct, g, value=-1).mul_(x)
            grad_weight.addmm_(inside.T, x)
            grad_bias += inside.sum(dim=0)
            torch.mm(inside, weight, out=result[rows]).add_(direct)
        grad_prompts = torch.zeros_like(prompts).index_add_(0, ctx.clusters, grad)
        grad_prompts[0] = 0.0
        return result, grad_prompts, None, grad_weight, grad_bias


class _Rows(torch.autograd.Function):
    """Look rows up; the gradient is added to the table's own, in place.

    Returned to autograd it would be another array as large as the table, most of it
    zeros, which costs more than the look-up. So it serves `backward` alone, not
    ``torch.autograd.grad``.
    """

    @staticmethod
    def forward(ctx, table, codes):
        ctx.table = table
        ctx.save_for_backward(codes)
        return _rows(table, codes)

    @staticmethod
    def backward(ctx, grad):
        (codes,) = ctx.saved_tensors
        flat = codes.flatten()
        known = torch.nonzero(flat > 0).squeeze(1)
        if ctx.table.grad is None:
            ctx.table.grad = torch.zeros_like(ctx.table)
        grad = grad.reshape(len(flat), -1).index_select(0, known)
        ctx.table.grad.index_add_(0, flat[known] - 1, grad)
        return None, None


def _rows(table, codes):
    flat = codes.flatten()  # index_select is several times faster than brackets
    rows = table.index_select(0, (flat - 1).clamp_min_(0))
    rows.index_fill_(0, torch.nonzero(flat == 0).squeeze(1), 0.0)
    return rows.view(*codes.shape, -1)


def _chunks(table):
    if table.device.type != "cpu":  # there a chunk costs a launch, and no cache helps
        return [slice(None)]
    size = max(1, _CHUNK_FLOATS // table.shape[1])
    return [slice(a, a + size) for a in range(0, len(table), size)]
