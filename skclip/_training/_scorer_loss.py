"""The loss over the whole catalog for scores that are no dot product."""

import math

import torch

from skclip._model import take_rows

_CHUNKS_KEPT = 32  # chunks of a block of rows, 4 MiB each


_LARGEST_SUM = 1e30  # beyond this sum the largest score of chunk 1 was too small


def scorer_cross_entropy(scorer, state, targets, keys, bias, arena, shares=None):
    """Mean cross-entropy of a scorer, whose own parameters get gradients too.

    `shares` (n,) are the weights of the rows in the mean; None means equal weights.
    """
    is_tuple = isinstance(state, tuple)
    parts = state if is_tuple else (state,)
    learned = [p for p in scorer.parameters() if p.requires_grad]
    head = scorer, targets, shares, arena, is_tuple, len(parts)
    return _ScorerCrossEntropy.apply(*head, keys, bias, *parts, *learned)


class Arena:
    """Memory that is reused from block to block and from step to step.

    New memory costs a page fault for every 4 KiB. The needed size is found in use: a
    tensor that does not fit gets new memory, and the next `begin` makes enough room.
    """

    def __init__(self):
        self._space, self._taken = torch.empty(0), 0

    def begin(self, like):
        """Take all memory back, for tensors like `like`."""
        space = self._space
        if space.device != like.device or space.dtype != like.dtype:
            self._space = space = like.new_empty(0)
        if self._taken > len(space):
            self._space = like.new_empty(self._taken)
        self._taken = 0

    def empty(self, *shape):
        """Return an uninitialized tensor."""
        size = math.prod(shape)
        part = self._space[self._taken : self._taken + size]
        self._taken += -(-size // 16) * 16  # as torch aligns memory
        if len(part) < size:
            return self._space.new_empty(shape)
        return part.view(shape).data  # writing to one part does not change the others


class _ScorerCrossEntropy(torch.autograd.Function):
    """Writes the gradient of a leaf of keys to its ``.grad``; only for `backward`.

    The gradient of a softmax needs the scores of all items. The graphs of a block of
    rows are kept until then, so that scores are computed once. Rows are independent, so
    each block gets its gradients before the next is scored, which saves memory.
    """

    @staticmethod
    def forward(ctx, scorer, targets, shares, arena, is_tuple, n_parts, *inputs):
        needed = ctx.needs_input_grad[6:]
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
                share = 1.0 / len(targets)
                if shares is not None:
                    share = shares if rows is None else shares[rows]
                found = _softmax_of_chunks(scores, of_rows, share, arena)
            losses, scores, of_scores = found
            total += losses.sum() if shares is None else (losses * share).sum()
            if wanted:
                found = torch.autograd.grad(
                    scores, wanted, of_scores, allow_unused=True
                )
                grads = [_sum_of(*pair) for pair in zip(grads, found, strict=True)]
        found = iter(grads)
        grads = [next(found) if g else None for g in needed]
        ctx.keys = inputs[0]
        ctx.save_for_backward(*grads)
        return total / len(targets) if shares is None else total

    @staticmethod
    def backward(ctx, grad):
        grads = ctx.saved_tensors
        if not bool(grad == 1):
            grads = [None if x is None else x * grad for x in grads]
        keys, *others = grads
        if ctx.keys.is_leaf and ctx.keys.grad is None:
            ctx.keys.grad = keys  # so that look-ups can add to it in place
            keys = None
        return None, None, None, None, None, None, keys, *others


def _blocks(scorer, state, n, n_items):
    """Slices of rows whose scores can all be kept; None for all rows."""
    n_chunks = -(-n_items // scorer.chunk_width(state))
    n_blocks = min(n, -(-n_chunks // _CHUNKS_KEPT))
    if n_blocks == 1:
        return [None]
    step = -(-n // n_blocks)
    return [slice(a, a + step) for a in range(0, n, step)]


def _scores_in_chunks(scorer, state, keys, bias, arena):
    """Scores, one chunk of items after the other."""
    width, score = scorer.chunk_width(state), scorer.scorer(state, arena.empty)
    parts = keys.split(width)
    biases = [None] * len(parts) if bias is None else bias.split(width)
    for part, b in zip(parts, biases, strict=True):
        yield score(part) if b is None else score(part) + b


def _softmax_of_chunks(chunks, targets, share, arena):
    """The losses of some rows, the scores, and `share` times their gradients.

    `share` is a number, or one for each row. Exponentials are computed while a chunk is
    in the cache. The largest score of the first chunk is subtracted before. If that was
    too small, they are computed again.
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
        g[rows, at] -= share[rows] if isinstance(share, torch.Tensor) else share
        begin += s.shape[1]
    return sums.log() + shift.squeeze(1) - own, scores, grads


def _sum_of(a, b):
    if a is None or b is None:
        return b if a is None else a
    return a + b  # one tensor may be the gradient of two inputs
