"""The loss over the whole catalog.

A loss is called as ``loss(queries, targets, keys, scale=, bias=)``, where ``keys()``
gives the candidate vectors of all items and ``keys(items)`` those of some positions.
For scores that are no dot product `queries` is a state and ``scorer=`` computes them.
"""

import math

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skclip._model import take_rows
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


_CHUNKS_KEPT = 32  # chunks of a scorer's block of rows, 4 MiB each


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
        self._arena = _Arena()

    def __call__(self, queries, targets, keys, *, scale=1.0, bias=None, scorer=None):
        """Return the loss, a scalar tensor.

        `queries` is (n, d), or a state for `scorer`; `targets` (n,) are positions
        0..n_items-1; ``keys()`` gives the candidate vectors (n_items, d); `bias` is
        (n_items,) or None. `scorer`, a `SessionModel`, has ``scorer`` and
        ``chunk_width``; `scale` is then its own affair.
        """
        if scorer is not None:
            return _scorer_cross_entropy(
                scorer, queries, targets, keys(), bias, self._arena
            )
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


def _scorer_cross_entropy(scorer, state, targets, keys, bias, arena):
    """Mean cross-entropy of a scorer, whose own parameters get gradients, too."""
    is_tuple = isinstance(state, tuple)
    parts = state if is_tuple else (state,)
    learned = [p for p in scorer.parameters() if p.requires_grad]
    head = scorer, targets, arena, is_tuple, len(parts)
    return _ScorerCrossEntropy.apply(*head, keys, bias, *parts, *learned)


class _Arena:
    """Memory that is used again from block to block and from step to step.

    New memory costs a page fault for every 4 KiB. How much is needed shows in use: what
    does not fit is new, and `begin` makes room for as much.
    """

    def __init__(self):
        self._space, self._taken = torch.empty(0), 0

    def begin(self, like):
        """Take all back, for tensors such as `like`."""
        space = self._space
        if space.device != like.device or space.dtype != like.dtype:
            self._space = space = like.new_empty(0)
        if self._taken > len(space):
            self._space = like.new_empty(self._taken)
        self._taken = 0

    def empty(self, *shape):
        """A tensor that is not filled."""
        size = math.prod(shape)
        part = self._space[self._taken : self._taken + size]
        self._taken += -(-size // 16) * 16  # as torch aligns memory
        if len(part) < size:
            return self._space.new_empty(shape)
        return part.view(shape).data  # writing to one part does not change the others


class _ScorerCrossEntropy(torch.autograd.Function):
    """Leaves the gradient of a leaf of keys in its ``.grad``; made for `backward`.

    The gradient of a softmax waits for the scores of all items. The graphs of a block
    of rows are kept until then, so that scores are computed once. Rows do not meet:
    each block has its gradients before the next is scored, and little memory will do.
    """

    @staticmethod
    def forward(ctx, scorer, targets, arena, is_tuple, n_parts, *inputs):
        needed = ctx.needs_input_grad[5:]
        given = [
            None if x is None else x.detach().requires_grad_(g)
            for x, g in zip(inputs[: 2 + n_parts], needed, strict=False)
        ]
        leaves = [*given, *inputs[2 + n_parts :]]  # the rest are parameters
        wanted = [x for x, g in zip(leaves, needed, strict=True) if g]
        keys, bias, *parts = given
        state = tuple(parts) if is_tuple else parts[0]
        total, grads = 0.0, [None] * len(wanted)
        for rows in _blocks(scorer, state, len(targets), len(keys)):
            arena.begin(keys)
            with torch.set_grad_enabled(bool(wanted)):
                block = state if rows is None else take_rows(state, rows)
                scores = _scores_in_chunks(scorer, block, keys, bias, arena)
                of_rows = targets if rows is None else targets[rows]
                found = _softmax_of_chunks(scores, of_rows, 1.0 / len(targets), arena)
            loss, scores, of_scores = found
            total += loss
            if wanted:
                found = torch.autograd.grad(
                    scores, wanted, of_scores, allow_unused=True
                )
                grads = [_sum_of(*pair) for pair in zip(grads, found, strict=True)]
        found = iter(grads)
        grads = [next(found) if g else None for g in needed]
        ctx.keys = inputs[0]
        ctx.save_for_backward(*grads)
        return total / len(targets)

    @staticmethod
    def backward(ctx, grad):
        grads = ctx.saved_tensors
        if not bool(grad == 1):
            grads = [None if x is None else x * grad for x in grads]
        keys, *others = grads
        if ctx.keys.is_leaf and ctx.keys.grad is None:
            ctx.keys.grad = keys  # so that look-ups can add to it in place
            keys = None
        return None, None, None, None, None, keys, *others


def _blocks(scorer, state, n, n_items):
    """Slices of rows whose scores may all be kept; None for all rows."""
    n_chunks = -(-n_items // scorer.chunk_width(state))
    n_blocks = min(n, -(-n_chunks // _CHUNKS_KEPT))
    if n_blocks == 1:
        return [None]
    step = -(-n // n_blocks)
    return [slice(a, a + step) for a in range(0, n, step)]


def _scores_in_chunks(scorer, state, keys, bias, arena):
    """Scores of one chunk of items after the other."""
    width, score = scorer.chunk_width(state), scorer.scorer(state, arena.empty)
    parts = keys.split(width)
    biases = [None] * len(parts) if bias is None else bias.split(width)
    for part, b in zip(parts, biases, strict=True):
        yield score(part) if b is None else score(part) + b


def _softmax_of_chunks(chunks, targets, share, arena):
    """Sum of the losses of some rows, the scores, and `share` times their gradients.

    Exponentials are taken while a chunk stands in the cache, of what is above the
    largest score of the first one; if that was too small, again.
    """
    scores, grads, shift = [], [], None

    def exponentials(s, out):
        torch.sub(s.detach(), shift, out=out)
        return out.exp_().sum(dim=1)

    sums = 0.0
    for s in chunks:
        if shift is None:
            shift = s.detach().amax(dim=1, keepdim=True)
        scores.append(s)
        grads.append(arena.empty(*s.shape))
        sums = sums + exponentials(s, grads[-1])
    if not bool((sums < _LARGEST_SUM).all()):
        for s in scores:
            shift = torch.maximum(shift, s.detach().amax(dim=1, keepdim=True))
        pairs = zip(scores, grads, strict=True)
        sums = sum(exponentials(s, out) for s, out in pairs)
    weights, own, begin = (share / sums)[:, None], torch.zeros_like(sums), 0
    for s, g in zip(scores, grads, strict=True):
        at = targets - begin
        (rows,) = torch.nonzero((at >= 0) & (at < s.shape[1]), as_tuple=True)
        at = at[rows]
        own[rows] = s.detach()[rows, at]
        g *= weights
        g[rows, at] -= share
        begin += s.shape[1]
    return (sums.log() + shift.squeeze(1) - own).sum(), scores, grads


def _sum_of(a, b):
    if a is None or b is None:
        return b if a is None else a
    return a + b  # one tensor may be the gradient of two inputs


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
