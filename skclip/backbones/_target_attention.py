"""Scores with attention from candidates to the nodes of a session."""

import torch
from torch.autograd.function import once_differentiable

_LARGEST_LOGIT = 60.0  # above it, the largest logit is subtracted first


class TargetAttention:
    r"""Scores of candidates for some sessions. It packs the nodes of these once.

    .. math::
        score_j = \Big(s + \sum_v \beta_{vj} h_v\Big)^\top e_j, \qquad
        \beta_{vj} = \mathrm{softmax}_v\big(a_v^\top e_j + \log m_v\big)

    Weights sum to one, so node 0 of each session can be subtracted from the others. Its
    logit is then 0, and

    .. math::
        score_j = (s + h_0)^\top e_j + \sum_{v > 0} \beta_{vj} (h_v - h_0)^\top e_j

    This saves two products for node 0, and a session of one node is a plain dot
    product. Sessions are sorted by their number of nodes. The other nodes are stored in
    slots: the nodes at place 1 of all sessions that have one, then those at place 2,
    and so on. So there is no padding, and sums over nodes are sums of blocks of rows.

    Parameters
    ----------
    s : Tensor of shape (n, d)
        Session vectors.
    h, a : Tensor of shape (n, size, d)
        Values and queries of the nodes, which fill the first places of their row.
    log_counts : Tensor of shape (n, size)
        log m for nodes, minus infinity for places without a node.
    empty : callable, default=None
        Function that returns memory, as for `Backbone.scorer`.
    """

    def __init__(self, s, h, a, log_counts, empty=None):
        n, size, _ = h.shape
        n_nodes = torch.isfinite(log_counts).sum(dim=1)
        self.order = order = n_nodes.argsort(descending=True, stable=True)
        self.rank = torch.empty_like(order)
        self.rank[order] = torch.arange(n, device=order.device)
        places = torch.arange(1, size, device=order.device)
        slot, row = torch.nonzero(places[:, None] < n_nodes[order], as_tuple=True)
        self.sizes = slot.bincount(minlength=1).tolist()  # sessions in each slot
        begins = order * size
        first = begins[row]
        other = first + slot + 1
        h, a = h.flatten(0, 1), a.flatten(0, 1)
        # index_select, whose gradient adds up in a fixed order
        own = s.index_select(0, order) + h.index_select(0, begins)
        asked = a.index_select(0, other) - a.index_select(0, first)
        value = h.index_select(0, other) - h.index_select(0, first)
        self.vectors = torch.cat([own, asked, value])
        log_counts = log_counts.flatten()
        ratio = (log_counts[other] - log_counts[first])[:, None]
        self.log_ratio = ratio if bool(ratio.any()) else None
        self.empty = empty or self.vectors.new_empty
        self._scratch = None

    def __call__(self, keys):
        """Return scores (n, n_keys) of the candidates `keys` (n_keys, d)."""
        return _TargetAttention.apply(self.vectors, keys, self)

    def scratch(self, n_keys):
        """Return memory (n_vectors, n_keys) that the gradients of all chunks share."""
        size = len(self.vectors) * n_keys
        if self._scratch is None or len(self._scratch) < size:
            self._scratch = self.empty(size)
        return self._scratch[:size].view(-1, n_keys)

    def split(self, products):
        """Split products with `vectors`: those of s + h_0, of logits and of values."""
        n, n_others = len(self.order), sum(self.sizes)
        return products.split([n, n_others, n_others])


class _TargetAttention(torch.autograd.Function):
    """One matrix product for all scores of a chunk, and one for each gradient."""

    @staticmethod
    def forward(ctx, vectors, keys, packed):
        products = packed.empty(len(vectors), len(keys))
        torch.mm(vectors, keys.T, out=products)
        scores, beta, value = packed.split(products)
        mean = beta
        if packed.sizes[0]:
            _softmax_(beta, packed)
            mean = _sum_over_slots(beta, value, packed)
            scores[: len(mean)] += mean
        ctx.packed = packed
        ctx.save_for_backward(vectors, keys, products, mean)
        return scores.index_select(0, packed.rank)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        vectors, keys, products, mean = ctx.saved_tensors
        packed, sizes = ctx.packed, ctx.packed.sizes
        _, *parts = packed.split(products)
        grads = packed.scratch(len(keys))
        of_scores, *of_parts = packed.split(grads)
        torch.index_select(grad, 0, packed.order, out=of_scores)
        slots = zip(sizes, *(x.split(sizes) for x in parts + of_parts), strict=True)
        for size, beta, value, of_logit, of_value in slots:
            torch.mul(beta, of_scores[:size], out=of_value)
            torch.sub(value, mean[:size], out=of_logit).mul_(of_value)
        needs_vectors, needs_keys, _ = ctx.needs_input_grad
        return (
            torch.mm(grads, keys) if needs_vectors else None,
            torch.mm(grads.T, vectors) if needs_keys else None,
            None,
        )


def _softmax_(logits, packed):
    """Apply a softmax over the nodes of each session in place. Node 0 has logit 0.

    Sessions of two nodes come last in the first slot and need a sigmoid only.
    """
    if packed.log_ratio is not None:
        logits += packed.log_ratio
    n, n_more, *_ = [*packed.sizes, 0]
    logits[n_more:n].sigmoid_()
    if not n_more:
        return
    slots = [logits[:n_more], *logits[n:].split(packed.sizes[1:])]
    of_first = 1.0
    if max(float(logits[:n_more].amax()), float(logits[n:].amax())) > _LARGEST_LOGIT:
        top = slots[0].clamp_min(0.0)
        for slot in slots[1:]:
            torch.maximum(top[: len(slot)], slot, out=top[: len(slot)])
        for slot in slots:
            slot -= top[: len(slot)]
        of_first = top.neg_().exp_()
    logits[:n_more].exp_()
    logits[n:].exp_()
    total = slots[0] + of_first
    for slot in slots[1:]:
        total[: len(slot)] += slot
    total.reciprocal_()
    for slot in slots:
        slot *= total[: len(slot)]


def _sum_over_slots(beta, value, packed):
    """Sum the products over the nodes of each session with two or more nodes."""
    sizes = packed.sizes
    first, *others = zip(beta.split(sizes), value.split(sizes), strict=True)
    total = torch.mul(*first, out=packed.empty(sizes[0], beta.shape[1]))
    for b, v in others:
        total[: len(b)].addcmul_(b, v)
    return total
