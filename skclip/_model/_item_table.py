"""Look-up of rows of the item table, and operations on the whole table in chunks.

Element-wise steps over a large table are limited by main memory. A chunk stays in the
cache for all steps. Tensors that gradients need are kept; nothing is computed twice.
"""

import torch
from torch.nn import functional as F

from skclip._threads import map_shared

_CHUNK_FLOATS = 2**18  # numbers of a table in a chunk


_MANY = 100  # items per prompt, above which gradients are added up chunk by chunk


_STEPS = 16  # multiplications that take as long as a few element-wise steps


def unit_rows(table):
    """Divide the rows of a table (n, d) by max(norm, 1e-12)."""
    return _UnitRows.apply(table)


def gate_rows(table, prompts, clusters, weight, bias):
    r"""Apply the elementwise gate to items and add gated prompts by cell.

    .. math:: \sigma(W x_i + b) \odot x_i + p_{c(i)}

    `table` is (n, d), `prompts` is (n_cells + 1, d). Row 0 of `prompts` gets no
    gradient.
    """
    return _GateRows.apply(table, prompts, clusters, weight, bias)


def look_up(table, codes, sparse=False):
    """Return rows of a table (n_items, d) for codes (...), zeros for 0: (..., d)."""
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

        def work(rows):
            norm = torch.linalg.vector_norm(table[rows], dim=1, keepdim=True)
            torch.clamp_min(norm, 1e-12, out=norms[rows])
            torch.div(table[rows], norms[rows], out=out[rows])

        _in_chunks(work, table)
        ctx.save_for_backward(out, norms)
        return out

    @staticmethod
    def backward(ctx, grad):
        units, norms = ctx.saved_tensors
        result = torch.empty_like(units)

        def work(rows):  # below the clamp, `units` and `along` are near 0
            x, g = units[rows], grad[rows]
            along = (g * x).sum(dim=1, keepdim=True)
            torch.addcmul(g, x, along, value=-1, out=result[rows]).div_(norms[rows])

        _in_chunks(work, units)
        return result


class _GateRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, prompts, clusters, weight, bias):
        out, gates = torch.empty_like(table), torch.empty_like(table)

        def work(rows):
            x = table[rows]
            g = torch.addmm(bias, x, weight.T, out=gates[rows]).sigmoid_()
            own = prompts.index_select(0, clusters[rows])
            torch.addcmul(own, g, x, out=out[rows])

        _in_chunks(work, table, table.shape[1])
        ctx.clusters = clusters
        ctx.save_for_backward(table, gates, prompts, weight)
        return out

    @staticmethod
    def backward(ctx, grad):
        table, gates, prompts, weight = ctx.saved_tensors
        result, grad_prompts = torch.empty_like(table), torch.zeros_like(prompts)
        few = _MANY * len(prompts) < len(table)  # prompts are small beside a chunk

        def work(rows):
            x, g = table[rows], gates[rows]
            direct = grad[rows] * g
            inside = torch.addcmul(direct, direct, g, value=-1).mul_(x)
            torch.addmm(direct, inside, weight, out=result[rows])
            of_prompts = 0.0
            if few:
                of_prompts = torch.zeros_like(prompts)
                of_prompts.index_add_(0, ctx.clusters[rows], grad[rows])
            return inside.T @ x, inside.sum(dim=0), of_prompts

        parts = _in_chunks(work, table, table.shape[1])
        grad_weight, grad_bias, of_prompts = map(sum, zip(*parts, strict=True))
        grad_prompts += of_prompts
        if not few:
            grad_prompts.index_add_(0, ctx.clusters, grad)
        grad_prompts[0] = 0.0
        return result, grad_prompts, None, grad_weight, grad_bias


class _Rows(torch.autograd.Function):
    """Look up rows, and add the gradient to that of the table in place.

    If autograd got the gradient, it would need another array of the size of the table,
    with zeros in most rows. That would cost more than the look-up. Therefore this works
    with `backward`, but not with ``torch.autograd.grad``.
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
    flat = codes.flatten()  # index_select is several times faster than indexing
    rows = table.index_select(0, (flat - 1).clamp_min_(0))
    rows.index_fill_(0, torch.nonzero(flat == 0).squeeze(1), 0.0)
    return rows.view(*codes.shape, -1)


def _in_chunks(work, table, multiplications=_STEPS):
    """Return the results of ``work(rows)`` for all rows of a table, on several threads.

    `multiplications` is the cost of the work for each number in the table.
    """
    size = len(table)  # a GPU takes the whole table at once
    if table.is_cpu:
        size = max(1, _CHUNK_FLOATS // table.shape[1])
    chunks = [slice(a, a + size) for a in range(0, len(table), size)]
    return map_shared(work, chunks, multiplications * table.numel())
