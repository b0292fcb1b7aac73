"""The loss over the whole catalog.

A loss is called as ``loss(queries, targets, keys, scale=, bias=)``. ``keys()`` returns
the candidate vectors of all items, and ``keys(items)`` those of some positions. For
scores that are no dot product, `queries` is a state and ``scorer=`` computes the
scores. ``weights=`` of the targets make the mean of their losses a weighted one.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch

from skclip._sklearn import BaseEstimator
from skclip._threads import map_shared
from skclip._training._sampled_losses import (
    SAMPLED_LOSSES,
    SampledLoss,
    SampledSoftmax,
    Sampler,
    check_sample_fits,
    shares_of,
)
from skclip._training._scorer_loss import Arena, scorer_cross_entropy

_FULL_SOFTMAX_BYTES = 2**29  # loss="auto" samples beyond this many bytes of scores


_SMALL_CATALOG = 8192  # four times the default sample


_MOST_SCORES_ON_CPU = 10**10  # or this many scores, about 3 minutes of one core


_WORKSPACE_BYTES = 2**27  # exponentials that one block of rows may keep


_CHUNK = 2**20  # scores processed at a time, so that they stay in the cache


_CHUNKS = 4  # smallest number of chunks, for threads to share


_SMALLEST_CHUNK = 256  # items


_SAFE_SCORE = 50.0  # exponentials of scores up to this, and of its negative, are safe


_FEW = 64  # items whose scores show how large others may be


_LARGEST_SUM = 1e30  # beyond this sum the cheap shift was too small


class CrossEntropy(BaseEstimator):
    """The exact cross-entropy of the softmax over the whole catalog.

    ``loss="cross_entropy"`` of `CLIPSessionRecommender` is the same. It has no
    parameters. For very large catalogs use `SampledSoftmax` or another sampled loss.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.losses import CrossEntropy
    >>> CLIPSessionRecommender(loss=CrossEntropy()).loss
    CrossEntropy()
    """

    _parameter_constraints: dict = {}
    name: ClassVar[str] = "cross_entropy"


class FullSoftmax:
    r"""Mean cross-entropy of the softmax over all items, including the products.

    .. math::
        \frac{1}{n} \sum_i \Big( \log \sum_j e^{s_{ij}} - s_{i t_i} \Big), \qquad
        s = \mathrm{scale} \cdot Q K^\top + b

    Value and gradients come from two sweeps over chunks of items, which threads share.
    They take three matrix products and one exponential per score. A workspace of at
    most 128 MiB, reused in each step, holds the exponentials. Scores are not kept.

    With ``precision="bf16"`` the products are computed in bfloat16 and accumulated in
    float32. Logarithms, weights and gradients stay in float32. Scores are rounded to 8
    bits, so errors grow with them. The relative error of the gradients is 0.3% if the
    largest scores are 14, 1% at 28 and 2% at 57.
    """

    def __init__(self, precision="float32"):
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._workspace = torch.empty(0)
        self._arena = Arena()

    def __call__(
        self,
        queries,
        targets,
        keys,
        *,
        scale=1.0,
        bias=None,
        scorer=None,
        weights=None,
    ):
        """Return the loss, a scalar tensor.

        `queries` is (n, d), or a state for `scorer`. `targets` (n,) are positions
        0..n_items-1. ``keys()`` returns the candidate vectors (n_items, d). `bias` is
        (n_items,) or None. `scorer`, a `SessionModel`, has ``scorer`` and
        ``chunk_width``, and applies `scale` itself. `weights` (n,) are those of the
        targets; None means 1.
        """
        shares = shares_of(weights)
        if scorer is not None:
            return scorer_cross_entropy(
                scorer, queries, targets, keys(), bias, self._arena, shares
            )
        return _LinearCrossEntropy.apply(
            queries * scale, keys(), targets, bias, self, shares
        )

    def dtype(self, like):
        """Data type in which products of a tensor are computed."""
        return self._dtype if like.dtype == torch.float32 else like.dtype

    def workspace(self, size, like):
        """Memory for `size` numbers on the device of `like`."""
        space, dtype = self._workspace, self.dtype(like)
        if space.numel() < size or space.device != like.device or space.dtype != dtype:
            self._workspace = space = torch.empty(size, dtype=dtype, device=like.device)
        return space[:size]


class _LinearCrossEntropy(torch.autograd.Function):
    """Writes the gradient of a leaf of keys to its ``.grad``; only for `backward`."""

    @staticmethod
    def forward(ctx, queries, keys, targets, bias, loss, shares):
        n, n_items = len(queries), len(keys)
        grad_queries, grad_keys = torch.empty_like(queries), torch.empty_like(keys)
        grad_bias = None if bias is None else torch.zeros_like(bias)
        itemsize = loss.dtype(queries).itemsize
        rows = max(1, min(n, _WORKSPACE_BYTES // (itemsize * n_items)))
        total = 0.0
        for start in range(0, n, rows):
            block = slice(start, start + rows)
            sweep = _Sweep(queries[block], keys, targets[block], bias, loss)
            share = 1.0 / n if shares is None else shares[block]
            losses = sweep.losses()
            total += losses.sum() if shares is None else (losses * share).sum()
            grad_queries[block] = sweep.gradients(
                share, grad_keys, grad_bias, first=start == 0
            )
        ctx.keys = keys
        ctx.save_for_backward(grad_queries, grad_keys, grad_bias)
        return total / n if shares is None else total

    @staticmethod
    def backward(ctx, grad):
        queries, keys, bias = ctx.saved_tensors
        if not bool(grad == 1):
            queries, keys = queries * grad, keys * grad
            bias = None if bias is None else bias * grad
        if ctx.keys.is_leaf and ctx.keys.grad is None:
            ctx.keys.grad = keys  # so that look-ups can add to it in place
            keys = None
        return queries, keys, None, bias, None, None


class _Sweep:
    """Losses and gradients of some rows, in two passes over chunks of items.

    The gradients of a softmax are its exponentials times queries or keys. The first
    pass computes scores, exponentials and their product with the keys while a chunk is
    in the cache. It leaves the exponentials in the workspace. The second pass computes
    their product with the queries, which needs the sums of the first pass. The sums
    divide the smaller side of each product.
    """

    def __init__(self, queries, keys, targets, bias, loss):
        self.queries, self.keys, self.targets = queries, keys, targets
        self.bias = bias
        n, n_items = len(queries), len(keys)
        self.size = n * n_items * queries.shape[1]
        self.space = loss.workspace(n * n_items, queries)
        self.low_queries = queries.to(self.space.dtype)
        self.of_targets = keys.index_select(0, targets)
        self.own = (queries * self.of_targets).sum(dim=1)
        if bias is not None:
            self.own += bias[targets]
        width = n_items  # a GPU processes all of them at once
        if queries.device.type == "cpu":
            width = max(_SMALLEST_CHUNK, min(_CHUNK // n, -(-n_items // _CHUNKS)))
        self.chunks = [
            slice(a, min(a + width, n_items)) for a in range(0, n_items, width)
        ]

    def losses(self):
        """Return the losses of the rows, and leave exponentials in the workspace.

        A shift is subtracted from the scores to keep exponentials in range. It is 0 if
        the lengths of the vectors allow that. The true maximum would need a pass of its
        own. The largest score among a few items and the target is cheap and cannot
        underflow. Only if a sum is too large, the rows are computed again with their
        true maximum.
        """
        if self._largest_possible() <= _SAFE_SCORE:
            shift = self._exponentiate(None)
        else:
            few = self._scores(slice(0, _FEW))
            shift = torch.maximum(few.amax(dim=1).to(self.own.dtype), self.own)
            shift = self._exponentiate(shift)
        if not bool((self.sums < _LARGEST_SUM).all()):  # also for NaN
            shift = self.own
            for items in self.chunks:
                scores = self._scores(items, self._space_of(items))
                shift = torch.maximum(shift, scores.amax(dim=1).to(shift.dtype))
            shift = self._exponentiate(shift)
        return self.sums.log() + shift - self.own

    def gradients(self, share, grad_keys, grad_bias, *, first):
        """Return `share` times the gradient of queries; add those of keys and bias.

        `share` is a number, or one for each row. In the `first` sweep `grad_keys` is
        still empty.
        """
        weights = (share / self.sums)[:, None]
        weighted = (self.queries * weights).to(self.space.dtype)
        low_weights = weights.to(self.space.dtype)

        def add(items):
            exponentials, grad = self._space_of(items), grad_keys[items]
            if weighted.dtype == grad.dtype:
                grad.addmm_(exponentials.T, weighted, beta=0.0 if first else 1.0)
            else:
                part = exponentials.T @ weighted
                grad_keys[items] = part if first else grad + part
            if grad_bias is not None:
                grad_bias[items] += (exponentials.T @ low_weights).squeeze(1)

        map_shared(add, self.chunks, self.size)
        queries, of_targets, ones = self.queries, self.of_targets, 1.0
        if isinstance(share, torch.Tensor):
            queries, of_targets = (share[:, None] * x for x in (queries, of_targets))
            ones, share = share, 1.0
        grad_keys.index_add_(0, self.targets, queries, alpha=-share)
        if grad_bias is not None:
            ones = torch.ones_like(self.own) * ones
            grad_bias.index_add_(0, self.targets, ones, alpha=-share)
        return (self.towards * weights).sub_(of_targets, alpha=share)

    def _largest_possible(self):
        """Upper bound of the scores; its negative is a lower bound."""
        lengths = (
            torch.linalg.vector_norm(x, dim=1) for x in (self.queries, self.keys)
        )
        bound = math.prod(float(length.max()) for length in lengths)
        return bound if self.bias is None else bound + float(self.bias.abs().max())

    def _exponentiate(self, shift):
        """Write exp(scores - shift) to the workspace; sum it, and keys weighted by it.

        Returns the shift, rounded like the scores, so that it can be added back.
        """
        if shift is not None:
            shift = shift.to(self.space.dtype)

        def part(items):
            keys = self.keys[items].to(self.space.dtype)
            scores = self._scores(items, self._space_of(items), keys)
            if shift is not None:
                scores.sub_(shift[:, None])
            exponentials = scores.exp_()
            return exponentials @ keys, exponentials.sum(dim=1)

        parts = zip(*map_shared(part, self.chunks, self.size), strict=True)
        self.towards, self.sums = (
            torch.stack(part).sum(dim=0, dtype=self.own.dtype) for part in parts
        )
        return 0.0 if shift is None else shift.to(self.own.dtype)

    def _scores(self, items, out=None, keys=None):
        if keys is None:
            keys = self.keys[items].to(self.space.dtype)
        scores = torch.mm(self.low_queries, keys.T, out=out)
        return scores if self.bias is None else scores.add_(self.bias[items])

    def _space_of(self, items):
        n = len(self.queries)
        return self.space[n * items.start : n * items.stop].view(n, -1)


def resolve_loss(loss, batch_size, n_items, n_scores, device):
    """Resolve ``"auto"`` to the full softmax if it is affordable.

    It is if a batch of scores fits 512 MiB, and if a CPU can compute all scores of a
    fit, `n_scores`, or if a sample would save little. The limit is a fixed number and
    not a measured time, so that all runs make the same choice.
    """
    if loss != "auto":
        return loss
    fits = 4 * batch_size * n_items <= _FULL_SOFTMAX_BYTES
    fast = n_scores <= _MOST_SCORES_ON_CPU or n_items <= _SMALL_CATALOG
    fast = fast or device.type != "cpu"
    return "cross_entropy" if fits and fast else "sampled_softmax"


LOSSES = {"cross_entropy": CrossEntropy, **SAMPLED_LOSSES}


def as_loss(loss):
    """The object for a value of ``loss=``; "auto" gives that of a sampled loss."""
    if isinstance(loss, str):
        return SampledSoftmax() if loss == "auto" else LOSSES[loss]()
    return loss


def make_loss(settings, loss, model, popularity, generator=None):
    """Return the loss function, and set whether the model is updated sparsely.

    `settings` are resolved parameters, and `loss` is an object of `LOSSES`.
    `popularity` counts the training events of each item. `generator` draws samples. The
    result is called like `FullSoftmax`.
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
    options = {"t": settings["loss__t"]} if "loss__t" in settings else {}
    return Sampler(
        loss,
        n_negatives,
        weights.to(model.item_table.device),
        shared=shared,
        item_weights=item_weights,
        generator=generator,
        **options,
    )
