"""The loss over the whole catalog.

A loss is called as ``loss(queries, targets, keys, scale=, bias=)``, where ``keys()``
gives the candidate vectors of all items and ``keys(items)`` those of some positions.
For scores that are no dot product `queries` is a state and ``scorer=`` computes them.
"""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch.utils.checkpoint import checkpoint

from skclip._training._sampled_losses import (
    SAMPLED_LOSSES,
    SampledLoss,
    SampledSoftmax,
    Sampler,
    check_sample_fits,
)

_FULL_SOFTMAX_BYTES = 2**29  # loss="auto" samples beyond this many bytes of scores


_SMALL_CATALOG = 8192  # four times the automatic sample


_MOST_SCORES_ON_CPU = 10**10  # and beyond this many scores, about 3 minutes of a core


_WORKSPACE_BYTES = 2**27  # exponentials that one block of rows may keep


_CHUNK = 2**20  # scores worked on at a time, so that they stay in the cache


_SMALLEST_CHUNK = 256  # items


_LARGEST_SUM = 1e30  # beyond it the cheap shift was too small


class CrossEntropy(BaseEstimator):
    """The softmax over the whole catalog, with its exact cross-entropy.

    What ``loss="cross_entropy"`` of `CLIPSessionRecommender` stands for. It has no
    parameters; `SampledSoftmax` and its like are for catalogs that are too large.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.losses import CrossEntropy
    >>> CLIPSessionRecommender(loss=CrossEntropy()).loss
    CrossEntropy()
    """

    _parameter_constraints: dict = {}
    name = "cross_entropy"


class FullSoftmax:
    r"""Mean cross-entropy of the softmax over all items, products and all.

    .. math::
        \frac{1}{n} \sum_i \Big( \log \sum_j e^{s_{ij}} - s_{i t_i} \Big), \qquad
        s = \mathrm{scale} \cdot Q K^\top + b

    Value and gradients come from one sweep over chunks of items: three matrix products
    and one exponential per score. The exponentials live in a workspace of at most 128
    MiB that is reused from step to step; scores are never kept.

    With ``precision="bf16"`` the products are taken in bfloat16 with float32
    accumulation; sums, logarithms and gradients stay in float32. The scores are rounded
    to 8 bits, so that errors grow with them: gradients are off by 0.3 %, 1 % and 2 %
    (relative norm) where the largest scores are 14, 28 and 57.
    """

    def __init__(self, precision="float32"):
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._workspace = torch.empty(0)

    def __call__(self, queries, targets, keys, *, scale=1.0, bias=None, scorer=None):
        """Return the loss, a scalar tensor.

        `queries` is (n, d), or a state for `scorer`; `targets` (n,) are positions
        0..n_items-1; ``keys()`` gives the candidate vectors (n_items, d); `bias` is
        (n_items,) or None. `scorer`, a `SessionModel`, has ``score_chunk`` and
        ``chunk_width``; `scale` is then its own affair.
        """
        if scorer is not None:
            return _scorer_cross_entropy(scorer, queries, targets, keys(), bias)
        return _LinearCrossEntropy.apply(queries * scale, keys(), targets, bias, self)

    def workspace(self, size, like):
        """`size` numbers to write to, on the device of `like`."""
        dtype = self._dtype if like.dtype == torch.float32 else like.dtype
        space = self._workspace
        if space.numel() < size or space.device != like.device or space.dtype != dtype:
            self._workspace = space = torch.empty(size, dtype=dtype, device=like.device)
        return space[:size]


class _LinearCrossEntropy(torch.autograd.Function):
    """Leaves the gradient of a leaf of keys in its ``.grad``; made for `backward`."""

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
    """Sum of the losses of some rows; writes or adds `share` times the gradients.

    The gradients of a softmax are its exponentials times queries or keys. They are
    taken while the exponentials still stand in the workspace, chunk by chunk, so that
    scores are computed once and never all exist as an autograd graph. Dividing by the
    sums is left to the smaller side of each product.
    """
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
    sums, shift = _stable_sums(scores_of, chunks, own, space)
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


def _stable_sums(scores_of, chunks, own, space):
    """Sums of exp(scores - shift), which stay in the chunks, and the shift of each row.

    The true maximum would need a pass of its own. The largest score among the first
    chunk and the target is cheap and cannot underflow; only if a sum is too large are
    the rows done again with their true maximum.
    """
    first = scores_of(*chunks[0]).amax(dim=1).to(own.dtype)
    shift = _as_stored(torch.maximum(first, own), space)
    sums = _exponentiate(scores_of, chunks, shift)
    if bool((sums < _LARGEST_SUM).all()):  # false for NaN as well
        return sums, shift
    shift = own
    for items, out in chunks:
        largest = scores_of(items, out).amax(dim=1).to(own.dtype)
        shift = torch.maximum(shift, largest)
    shift = _as_stored(shift, space)
    return _exponentiate(scores_of, chunks, shift), shift


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


def _scorer_cross_entropy(scorer, state, targets, keys, bias):
    """Cross-entropy by chunks of items, whose scores gradients compute again."""

    def part(state, keys, bias, begin):
        scores = scorer.score_chunk(state, keys)
        scores = scores if bias is None else scores + bias
        inside = (targets >= begin) & (targets < begin + len(keys))
        at = (targets - begin).clamp(0, len(keys) - 1)
        own = scores.gather(1, at[:, None]).squeeze(1)
        return scores.logsumexp(dim=1), own.where(inside, 0.0)

    width = scorer.chunk_width(state)
    parts = keys.split(width)
    biases = [None] * len(parts) if bias is None else bias.split(width)
    sums, owns = zip(
        *(
            checkpoint(part, state, some, b, i * width, use_reentrant=False)
            for i, (some, b) in enumerate(zip(parts, biases, strict=True))
        ),
        strict=True,
    )
    return (torch.stack(sums).logsumexp(dim=0) - sum(owns)).mean()


def resolve_loss(loss, batch_size, n_items, n_scores, device):
    """``"auto"`` is the full softmax while it can be afforded.

    A batch of scores fits 512 MiB, and all of a fit, `n_scores`, are few enough for a
    CPU, or a sample would save little. The limit is a number and not a measured time,
    so that two runs decide alike.
    """
    if loss != "auto":
        return loss
    fits = 4 * batch_size * n_items <= _FULL_SOFTMAX_BYTES
    fast = n_scores <= _MOST_SCORES_ON_CPU or n_items <= _SMALL_CATALOG
    fast = fast or device.type != "cpu"
    return "cross_entropy" if fits and fast else "sampled_softmax"


LOSSES = {"cross_entropy": CrossEntropy, **SAMPLED_LOSSES}


def as_loss(loss):
    """The object that a value of ``loss=`` stands for; "auto" as if it were sampled."""
    if isinstance(loss, str):
        return SampledSoftmax() if loss == "auto" else LOSSES[loss]()
    return loss


def make_loss(settings, loss, model, popularity, generator=None):
    """Make what a model is trained by, and tell the model if few items are touched.

    `settings` are resolved parameters, `loss` an object of `LOSSES`, `popularity` the
    training events of each item; samples are drawn by `generator`. The result is
    called as `FullSoftmax` is.
    """
    model.sparse = isinstance(loss, SampledLoss)
    if not model.sparse:
        return FullSoftmax(settings["precision"])
    n_items, n_negatives = len(popularity), settings["loss__n_negatives"]
    if n_negatives > n_items:
        raise ValueError(
            f"n_negatives={n_negatives} exceeds the catalog of {n_items} items. Pass "
            "fewer, or loss='cross_entropy' to use all items."
        )
    shared = settings["loss__shared"]
    width = 0 if shared else settings["embedding_dim"]
    check_sample_fits(loss, settings["batch_size"], n_negatives, vectors_of=width)
    weights = popularity if loss.sampling == "popularity" else np.ones(n_items)
    item_weights = None
    if model.fusion is not None:
        if model.fusion.cold_weight == 0:
            weights = weights * (model.fusion.counts.cpu().numpy() > 0)
        if not isinstance(loss, SampledSoftmax):
            item_weights = model.fusion.take_cold_weights()
    weights = torch.from_numpy(np.asarray(weights, dtype=np.float64))
    return Sampler(
        loss,
        n_negatives,
        weights.to(model.item_table.device),
        shared=shared,
        item_weights=item_weights,
        generator=generator,
    )
