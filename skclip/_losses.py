"""Losses over the catalogue, or over a sample of it.

A loss is called as ``loss(queries, targets, keys, scale=, bias=)``, where ``keys()``
gives the candidate vectors of all items and ``keys(items)`` those of some positions.
"""

import torch
from torch.nn import functional as F

SAMPLED_LOSSES = ("sampled_softmax", "bpr", "bpr-max", "gbce")
_MOST_SAMPLED_BYTES = 2**31
_FULL_SOFTMAX_BYTES = 2**29  # loss="auto" samples beyond this many bytes of scores

_WORKSPACE_BYTES = 2**27  # exponentials that one block of rows may keep
_CHUNK = 2**20  # scores worked on at a time, so that they stay in the cache
_SMALLEST_CHUNK = 256  # items
_LARGEST_SUM = 1e30  # beyond it the cheap shift was too small


class CrossEntropy:
    r"""Mean cross-entropy of the softmax over all items, products and all.

    .. math::
        \frac{1}{n} \sum_i \Big( \log \sum_j e^{s_{ij}} - s_{i t_i} \Big), \qquad
        s = \mathrm{scale} \cdot Q K^\top + b

    Value and gradients come from one sweep over chunks of items: three matrix
    products and one exponential per score. The exponentials live in a workspace
    that is reused from step to step; scores are never kept.

    Parameters
    ----------
    precision : {"float32", "bf16"}, default="float32"
        "bf16" takes the products in bfloat16 with float32 accumulation; sums,
        logarithms and gradients stay in float32.

    Notes
    -----
    A row's exponentials are shifted by its largest score among the first chunk of
    items and the target, which cannot underflow; if a sum overflows all the same,
    the rows are done again with their true maximum. So any finite scores are safe.
    Memory: at most 128 MiB of exponentials, or one row of them.
    """

    def __init__(self, precision="float32"):
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._workspace = torch.empty(0)

    def __call__(self, queries, targets, keys, *, scale=1.0, bias=None):
        """Return the loss.

        Parameters
        ----------
        queries : Tensor of shape (n, d)
        targets : LongTensor of shape (n,)
            Positions 0..n_items-1.
        keys : callable
            ``keys()`` -> candidate vectors of all items, (n_items, d).
        scale : float, default=1.0
        bias : Tensor of shape (n_items,), default=None

        Returns
        -------
        loss : Tensor of shape ()
        """
        return _LinearCrossEntropy.apply(queries * scale, keys(), targets, bias, self)

    def workspace(self, size, like):
        """`size` numbers to write to, on the device of `like`."""
        dtype = self._dtype if like.dtype == torch.float32 else like.dtype
        space = self._workspace
        if space.numel() < size or space.device != like.device or space.dtype != dtype:
            self._workspace = space = torch.empty(size, dtype=dtype, device=like.device)
        return space[:size]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, keys, targets, bias, loss):
        n, n_items = len(queries), len(keys)
        grad_queries = torch.empty_like(queries)
        grad_keys = torch.empty_like(keys)
        grad_bias = None if bias is None else torch.empty_like(bias)
        total = queries.new_zeros(())
        itemsize = 2 if loss._dtype == torch.bfloat16 else 4
        rows = max(1, min(n, _WORKSPACE_BYTES // (itemsize * n_items)))
        for start in range(0, n, rows):
            block = slice(start, start + rows)
            total += _sweep(
                queries[block],
                keys,
                targets[block],
                bias,
                loss,
                1.0 / n,
                grad_queries[block],
                grad_keys,
                grad_bias,
                add=start > 0,
            )
        ctx.keys = keys
        ctx.save_for_backward(grad_queries, grad_keys, grad_bias)
        return total / n

    @staticmethod
    def backward(ctx, grad):
        queries, keys, bias = ctx.saved_tensors
        if not bool(grad == 1):
            queries, keys = queries * grad, keys * grad
            bias = None if bias is None else bias * grad
        if ctx.keys.is_leaf and ctx.keys.grad is None:
            ctx.keys.grad = keys  # so that look-ups can add to it in place
            keys = None
        return queries, keys, None, bias, None


def _sweep(
    queries,
    keys,
    targets,
    bias,
    loss,
    share,
    grad_queries,
    grad_keys,
    grad_bias,
    *,
    add,
):
    """Sum of the losses of some rows; writes or adds `share` times the gradients."""
    n, n_items = len(queries), len(keys)
    space = loss.workspace(n * n_items, queries)
    low_queries, low_keys = queries.to(space.dtype), keys.to(space.dtype)
    width = max(_SMALLEST_CHUNK, _CHUNK // n)
    chunks = [
        (slice(a, min(a + width, n_items)), space[n * a : n * min(a + width, n_items)])
        for a in range(0, n_items, width)
    ]

    def scores_of(items, out):
        scores = torch.mm(low_queries, low_keys[items].T, out=out.view(n, -1))
        return scores if bias is None else scores.add_(bias[items])

    own = (queries * keys[targets]).sum(dim=1)
    if bias is not None:
        own = own + bias[targets]
    first = scores_of(*chunks[0]).amax(dim=1).to(own.dtype)
    shift = _as_stored(torch.maximum(first, own), space)
    sums = _exponentiate(scores_of, chunks, shift)
    if not bool((sums < _LARGEST_SUM).all()):  # also true for NaN
        shift = own
        for items, out in chunks:
            shift = torch.maximum(
                shift, scores_of(items, out).amax(dim=1).to(own.dtype)
            )
        shift = _as_stored(shift, space)
        sums = _exponentiate(scores_of, chunks, shift)

    weights = (share / sums)[:, None]
    weighted = (queries * weights).to(space.dtype)
    grad_queries.zero_()
    for items, out in chunks:
        exponentials = out.view(n, -1)
        if space.dtype == queries.dtype:
            grad_queries.addmm_(exponentials, low_keys[items])
            if add:
                grad_keys[items].addmm_(exponentials.T, weighted)
            else:
                torch.mm(exponentials.T, weighted, out=grad_keys[items])
        else:
            grad_queries += exponentials @ low_keys[items]
            part = exponentials.T @ weighted
            grad_keys[items] = grad_keys[items] + part if add else part.to(keys.dtype)
        if bias is not None:
            part = (exponentials.T @ weights.to(space.dtype)).squeeze(1)
            grad_bias[items] = grad_bias[items] + part if add else part.to(bias.dtype)
    grad_queries.mul_(weights).sub_(keys[targets], alpha=share)
    grad_keys.index_add_(0, targets, queries, alpha=-share)
    if bias is not None:
        grad_bias.index_add_(0, targets, torch.full_like(own, -share))
    return (sums.log() + shift - own).sum()


def _as_stored(shift, space):
    """Round as the scores are, so that what is taken off can be put back."""
    return shift.to(space.dtype).to(shift.dtype)


def _exponentiate(scores_of, chunks, shift):
    """Write exp(scores - shift) into the chunks; return their sums over items."""
    sums = torch.zeros_like(shift)
    for items, out in chunks:
        scores = scores_of(items, out)
        scores.sub_(shift[:, None].to(scores.dtype)).exp_()
        sums += scores.sum(dim=1, dtype=shift.dtype)
    return sums


class SampledLoss:
    r"""A loss on each target and a sample of items that all rows share.

    With target score :math:`s^+`, scores :math:`s_j` of the m sampled items and
    :math:`Q_j` their probability in one draw; samples that hit the target are left
    out:

    .. math::
        \mathrm{sampled\_softmax} &: -s^+ + \log\Big(e^{s^+}
            + \sum_j e^{s_j - \log(m Q_j)}\Big) \\
        \mathrm{bpr} &: -\tfrac{1}{m} \sum_j \log \sigma(s^+ - s_j) \\
        \mathrm{bpr\text{-}max} &: -\log \sum_j w_j \sigma(s^+ - s_j)
            + \sum_j w_j s_j^2, \qquad w = \mathrm{softmax}(s_1, \dots, s_m) \\
        \mathrm{gbce} &: -\tfrac{1}{m + 1} \Big(\beta \log \sigma(s^+)
            + \sum_j \log(1 - \sigma(s_j))\Big)

    with :math:`\beta = r (0.75 (1 - 1/r) + 1/r)`, :math:`r = m / (n_{items} - 1)` [3]_.

    Parameters
    ----------
    kind : {"sampled_softmax", "bpr", "bpr-max", "gbce"}
    n_negatives : int
    weights : Tensor of shape (n_items,)
        Items are drawn with replacement in proportion to these.

    References
    ----------
    .. [1] S. Rendle, C. Freudenthaler, Z. Gantner, L. Schmidt-Thieme, "BPR: Bayesian
           personalized ranking from implicit feedback", UAI 2009, arXiv:1205.2618.
    .. [2] B. Hidasi, A. Karatzoglou, "Recurrent neural networks with top-k gains for
           session-based recommendations", CIKM 2018, arXiv:1706.03847.
    .. [3] A. Petrov, C. Macdonald, "gSASRec: reducing overconfidence in sequential
           recommendation trained with negative sampling", RecSys 2023,
           arXiv:2308.07192.
    """

    def __init__(self, kind, n_negatives, weights):
        self.kind = kind
        self.n_negatives = n_negatives
        shares = weights.double() / weights.double().sum()
        self._upto = shares.cumsum(0)
        self._log_expected = (n_negatives * shares).log().to(torch.float32)
        ratio = n_negatives / max(1, len(weights) - 1)
        self._beta = 0.75 * (ratio - 1) + 1

    def __call__(self, queries, targets, keys, *, scale=1.0, bias=None):
        """Return the loss; see `CrossEntropy` for the arguments."""
        u = torch.rand(self.n_negatives, dtype=torch.float64, device=queries.device)
        sample = torch.searchsorted(self._upto, u).clamp_(max=len(self._upto) - 1)
        vectors = keys(torch.cat([targets, sample]))
        queries = queries * scale
        positive = (queries * vectors[: len(targets)]).sum(dim=1)
        negative = queries @ vectors[len(targets) :].T
        if bias is not None:
            positive, negative = positive + bias[targets], negative + bias[sample]
        hit = sample == targets[:, None]
        if self.kind == "sampled_softmax":
            negative = (negative - self._log_expected[sample]).masked_fill(
                hit, -torch.inf
            )
            both = torch.cat([positive[:, None], negative], dim=1)
            return (torch.logsumexp(both, dim=1) - positive).mean()
        if self.kind == "bpr":
            losses = F.softplus(negative - positive[:, None]).masked_fill(hit, 0.0)
            return (losses.sum(dim=1) / (~hit).sum(dim=1).clamp_min(1)).mean()
        if self.kind == "bpr-max":
            weights = negative.masked_fill(hit, -1e9).softmax(dim=1)
            better = (weights * torch.sigmoid(positive[:, None] - negative)).sum(dim=1)
            penalty = (weights * negative.square()).sum(dim=1)
            return (penalty - (better + 1e-24).log()).mean()
        losses = F.softplus(negative).masked_fill(hit, 0.0).sum(dim=1)
        losses = losses + self._beta * F.softplus(-positive)
        return (losses / (self.n_negatives + 1)).mean()


def resolve_loss(loss, batch_size, n_items):
    """``"auto"`` is the full softmax while a batch of its scores fits 512 MiB."""
    if loss != "auto":
        return loss
    fits = 4 * batch_size * n_items <= _FULL_SOFTMAX_BYTES
    return "cross_entropy" if fits else "sampled_softmax"


def check_sample_fits(batch_size, n_negatives):
    """Refuse scores of a batch against its sample that take more than 2 GiB."""
    size = 4 * batch_size * n_negatives
    if size > _MOST_SAMPLED_BYTES:
        raise ValueError(
            f"batch_size={batch_size} times n_negatives={n_negatives} scores take "
            f"{size / 2**30:.1f} GiB a step, the limit is "
            f"{_MOST_SAMPLED_BYTES / 2**30:.0f} GiB. Pass a smaller batch_size, or "
            f"n_negatives <= {_MOST_SAMPLED_BYTES // (4 * batch_size)}."
        )


def resolve_precision(precision, device):
    """``"auto"`` is bf16 where the device multiplies it in hardware."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:  # AVX-512 alone makes bf16 no faster
        fast = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    return "bf16" if fast else "float32"
