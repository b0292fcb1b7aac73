"""Losses over a sample of the catalogue, for catalogues too large for all of it."""

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from skclip._model import take_rows

# Each with the arrays of scores, n x n_negatives, that a step holds at its peak.
SAMPLED_LOSSES = {
    "sampled_softmax": 1,
    "gbce": 4,
    "bpr": 6,
    "bpr-softmax": 8,
    "bpr-max": 9,
}


_MOST_SAMPLED_BYTES = 2**31


class SampledLoss:
    r"""A loss on each target and a sample of items.

    With target score :math:`s^+`, scores :math:`s_j` of the m sampled items and
    :math:`Q_j` their probability in one draw; samples that hit the target are left
    out:

    .. math::
        \mathrm{sampled\_softmax} &: -s^+ + \log\Big(e^{s^+}
            + \sum_j e^{s_j - \log(m Q_j)}\Big) \\
        \mathrm{bpr} &: -\tfrac{1}{m} \sum_j \log \sigma(s^+ - s_j) \\
        \mathrm{bpr\text{-}max} &: -\log \sum_j w_j \sigma(s^+ - s_j)
            + \sum_j w_j s_j^2, \qquad w = \mathrm{softmax}(s_1, \dots, s_m) \\
        \mathrm{bpr\text{-}softmax} &: -\log \sum_j w_j \sigma(s^+ - s_j) \\
        \mathrm{gbce} &: -\tfrac{1}{m + 1} \Big(\beta \log \sigma(s^+)
            + \sum_j \log(1 - \sigma(s_j))\Big)

    With item weights :math:`v_j`, the term of j in the sums of bpr and gbce is
    multiplied by :math:`v_j`, and the w of the other two is the softmax of
    :math:`s_j + \log v_j` (so that a sample of one item has weight 1 there). The
    factor of gbce is :math:`\beta = r (0.75 (1 - 1/r) + 1/r)`,
    :math:`r = m / (n_{items} - 1)` [3]_.

    Parameters
    ----------
    kind : {"sampled_softmax", "bpr", "bpr-max", "bpr-softmax", "gbce"}
    n_negatives : int
    weights : Tensor of shape (n_items,)
        Items are drawn with replacement in proportion to these.
    shared : bool, default=True
        Whether all rows of a step share one sample, or each has its own. One negative
        each, as in [1]_, is a far better gradient than one for all.
    item_weights : Tensor of shape (n_items,), default=None
        Weight of each item as a negative; None is 1 for all. Not for "sampled_softmax",
        where the logarithm of a weight is a bias.

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

    def __init__(self, kind, n_negatives, weights, *, shared=True, item_weights=None):
        self.kind = kind
        self.item_weights = item_weights
        self.shared = shared
        self.n_negatives = n_negatives
        shares = weights.double() / weights.double().sum()
        self._upto = shares.cumsum(0)
        self._log_expected = (n_negatives * shares).log().to(torch.float32)
        ratio = n_negatives / max(1, len(weights) - 1)
        self._beta = 0.75 * (ratio - 1) + 1
        self._workspace = torch.empty(0)

    def __call__(self, queries, targets, keys, *, scale=1.0, bias=None, scorer=None):
        """Return the loss; see `CrossEntropy` for the arguments."""
        size = self.n_negatives if self.shared else len(targets) * self.n_negatives
        u = torch.rand(size, dtype=torch.float64, device=targets.device)
        sample = torch.searchsorted(self._upto, u).clamp_(max=len(self._upto) - 1)
        if self.shared:
            sample = sample.sort().values
        vectors = keys(torch.cat([targets, sample]))
        own, negatives = vectors[: len(targets)], vectors[len(targets) :]
        if scorer is None:
            queries = queries * scale
            positive = (queries * own).sum(dim=1)
        else:
            positive = _own_scores(scorer, queries, own)
        if bias is not None:
            positive = positive + bias[targets]
        if not self.shared:
            negatives = negatives.view(len(targets), self.n_negatives, -1)
            sample = sample.view(len(targets), -1)
            if scorer is None:
                negative = torch.bmm(negatives, queries[:, :, None]).squeeze(2)
            else:
                columns = [_own_scores(scorer, queries, k) for k in negatives.unbind(1)]
                negative = torch.stack(columns, dim=1)
            if bias is not None:
                negative = negative + bias[sample]
            return self._of(positive, negative, sample, sample == targets[:, None])
        hits = _hits(sample, targets)
        if self.kind == "sampled_softmax" and scorer is None:
            offset = -self._log_expected[sample]
            if bias is not None:
                offset = offset + bias[sample]
            return _SampledSoftmax.apply(
                queries, positive, negatives, offset, hits, self
            )
        if scorer is None:
            negative = queries @ negatives.T
        else:
            negative = _chunked_scores(scorer, queries, negatives)
        if bias is not None:
            negative = negative + bias[sample]
        hit = torch.zeros_like(negative, dtype=torch.bool)
        hit[hits] = True
        return self._of(positive, negative, sample, hit)

    def _of(self, positive, negative, sample, hit):
        """The loss of target scores (n,) and sampled ones (n, m), `hit` left out."""
        if self.kind == "sampled_softmax":
            negative = (negative - self._log_expected[sample]).masked_fill(
                hit, -torch.inf
            )
            both = torch.cat([positive[:, None], negative], dim=1)
            return (torch.logsumexp(both, dim=1) - positive).mean()
        weight = None if self.item_weights is None else self.item_weights[sample]
        if self.kind == "bpr":
            losses = F.softplus(negative - positive[:, None]).masked_fill(hit, 0.0)
            losses = losses if weight is None else losses * weight
            return (losses.sum(dim=1) / (~hit).sum(dim=1).clamp_min(1)).mean()
        if self.kind in ("bpr-softmax", "bpr-max"):
            logits = negative if weight is None else negative + weight.log()
            logits = logits.masked_fill(hit, -1e9)
        if self.kind == "bpr-softmax":
            log_weights = logits.log_softmax(dim=1)
            better = F.logsigmoid(positive[:, None] - negative)
            losses = -torch.logsumexp(log_weights + better, dim=1)
            return losses.masked_fill(hit.all(dim=1), 0.0).mean()
        if self.kind == "bpr-max":
            weights = logits.softmax(dim=1)
            better = (weights * torch.sigmoid(positive[:, None] - negative)).sum(dim=1)
            penalty = (weights * negative.square()).sum(dim=1)
            return (penalty - (better + 1e-24).log()).mean()
        losses = F.softplus(negative).masked_fill(hit, 0.0)
        losses = (losses if weight is None else losses * weight).sum(dim=1)
        losses = losses + self._beta * F.softplus(-positive)
        return (losses / (self.n_negatives + 1)).mean()

    def workspace(self, n, like):
        """Scores (n, n_negatives) to write to, on the device of `like`."""
        space, size = self._workspace, n * self.n_negatives
        if (space.device, space.dtype) != (like.device, like.dtype) or len(
            space
        ) < size:
            self._workspace = space = like.new_empty(size)
        return space[:size].view(n, -1)


def _own_scores(scorer, state, keys):
    """Score of each query with the key of its own, by a scorer that is no product."""
    step = 16  # a block of queries meets all keys of the block
    return torch.cat(
        [
            scorer.score_chunk(take_rows(state, slice(a, a + step)), part).diagonal()
            for a, part in zip(range(0, len(keys), step), keys.split(step), strict=True)
        ]
    )


def _chunked_scores(scorer, state, keys):
    """Scores in chunks that are computed again for the gradients."""
    parts = [
        checkpoint(scorer.score_chunk, state, part, use_reentrant=False)
        for part in keys.split(scorer.chunk_width(state))
    ]
    return torch.cat(parts, dim=1)


def _hits(sample, targets):
    """Rows and columns at which a sorted sample holds the target itself."""
    first = torch.searchsorted(sample, targets)
    counts = torch.searchsorted(sample, targets, right=True) - first
    rows = torch.repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return rows, first[rows] + torch.arange(len(rows), device=rows.device) - before[
        rows
    ]


class _SampledSoftmax(torch.autograd.Function):
    """Mean of log(e^positive + sum_j e^s_j) - positive, in one reused workspace.

    Gradients are taken in the forward pass, as long as the exponentials stand there.
    """

    @staticmethod
    def forward(ctx, queries, positive, negatives, offset, hits, loss):
        scores = loss.workspace(len(queries), queries)
        torch.mm(queries, negatives.T, out=scores).add_(offset)
        scores[hits] = -torch.inf
        shift = torch.maximum(scores.amax(dim=1), positive)
        exponentials = scores.sub_(shift[:, None]).exp_()
        own = (positive - shift).exp()
        sums = exponentials.sum(dim=1).add_(own)
        weights = 1.0 / (len(queries) * sums)
        ctx.save_for_backward(
            (exponentials @ negatives).mul_(weights[:, None]),
            own * weights - 1.0 / len(queries),
            exponentials.T @ (queries * weights[:, None]),
            exponentials.T @ weights,
        )
        return (sums.log() + shift - positive).mean()

    @staticmethod
    def backward(ctx, grad):
        gradients = [grad * part for part in ctx.saved_tensors]
        return *gradients, None, None


def check_sample_fits(loss, batch_size, n_negatives, vectors_of=0):
    """Refuse scores of a batch against its sample that take more than 2 GiB.

    `vectors_of` is the width of the sampled items' vectors where each row has its own;
    they and their gradients count as well.
    """
    size = 4 * (SAMPLED_LOSSES[loss] + 2 * vectors_of) * batch_size * n_negatives
    if size > _MOST_SAMPLED_BYTES:
        most = int(n_negatives * _MOST_SAMPLED_BYTES / size)
        raise ValueError(
            f"loss={loss!r} with batch_size={batch_size} and n_negatives={n_negatives} "
            f"takes {size / 2**30:.1f} GiB a step, the limit is "
            f"{_MOST_SAMPLED_BYTES / 2**30:.0f} GiB. Pass a smaller batch_size, or "
            f"n_negatives <= {most}."
        )
