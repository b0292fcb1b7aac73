"""Losses over a sample of the items, for catalogs too large for the full softmax."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar, Literal

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from skclip._model import take_rows
from skclip._sklearn import BaseEstimator, Interval, StrOptions
from skclip._threads import map_shared
from skclip._typing import Auto

_MOST_SAMPLED_BYTES = 2**31


_ROWS = 256  # rows that the sampled softmax processes at a time


class SampledLoss(BaseEstimator):
    """Base class of the losses on a sample of the catalog."""

    _parameter_constraints: dict = {
        "n_negatives": [Interval(Integral, 1, None, closed="left"), None],
        "sampling": [StrOptions({"uniform", "popularity"})],
        "shared": ["boolean", StrOptions({"auto"})],
    }
    name: ClassVar[str]
    arrays: ClassVar[int] = 1  # of scores (n, n_negatives), held at the peak

    def __init__(
        self,
        n_negatives: int | None = None,
        *,
        sampling: Literal["uniform", "popularity"] = "uniform",
        shared: bool | Auto = "auto",
    ) -> None:
        self.n_negatives = n_negatives
        self.sampling = sampling
        self.shared = shared

    def _of(self, positive, negative, hit, sampler, sample):
        """Losses (n,) from target scores (n,) and sampled ones (n, m) without `hit`."""
        raise NotImplementedError


_PARAMETERS = """
    with the score :math:`s^+` of the target and scores :math:`s_j` of the m sampled
    items. Samples that hit the target are left out.

    Parameters
    ----------
    n_negatives : int, default=None
        Number of items sampled for each step, 1 or more, or for each prefix if
        `shared` is False. None means 2048, or the size of a smaller catalog. The
        `training` of the backbone may replace None by another number.
    sampling : {"uniform", "popularity"}, default="uniform"
        Distribution of the sampled items: all are equally likely, or in proportion to
        their number of training events.
    shared : bool, default="auto"
        Whether all prefixes of a step share one sample. This is fast. Without it each
        prefix has its own sample. "auto" is True, unless the `training` of the backbone
        sets another value.
"""


class SampledSoftmax(SampledLoss):
    __doc__ = (
        r"""Softmax over the target and a sample, with the logQ correction.

    .. math::
        -s^+ + \log\Big(e^{s^+} + \sum_j e^{s_j - \log(m Q_j)}\Big)

    where :math:`Q_j` is the probability of an item in one draw,
"""
        + _PARAMETERS
        + """
    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.losses import SampledSoftmax
    >>> CLIPSessionRecommender(loss=SampledSoftmax(512)).loss
    SampledSoftmax(n_negatives=512)
    """
    )

    name = "sampled_softmax"

    def _of(self, positive, negative, hit, sampler, sample):
        negative = negative - sampler.log_expected[sample]
        negative = negative.masked_fill(hit, -torch.inf)
        both = torch.cat([positive[:, None], negative], dim=1)
        return torch.logsumexp(both, dim=1) - positive


class GBCE(SampledLoss):
    __doc__ = (
        r"""Binary cross-entropy, calibrated against overconfidence [1]_.

    .. math::
        -\tfrac{1}{m + 1} \Big(\beta \log \sigma(s^+)
            + \sum_j \log(1 - \sigma(s_j))\Big), \qquad
        \beta = r (t (1 - 1/r) + 1/r), \quad r = m / (n_{items} - 1)
"""
        + _PARAMETERS
        + """
    t : float, default="auto"
        Strength of the calibration, from 0 to 1. 0 is the usual binary cross-entropy.
        With 1 the scores become log-odds of a click. "auto" is 0.75, unless the
        `training` of the backbone sets another value.

    Notes
    -----
    Differences from the paper and its code:

    - **Network of gSASRec.** The authors' program adds a second item table for scores
      to SASRec and does not scale the item vectors that it reads. skclip trains its
      `SASRec` with this loss, so that losses can be compared on one network.
    - **Samples of gSASRec.** The authors' program draws 256 negatives for each
      position, and targets can be among them. In skclip a step shares its negatives and
      leaves targets out; ``GBCE(256, shared=False)`` draws them for each prefix.

    References
    ----------
    .. [1] A. Petrov, C. Macdonald, "gSASRec: reducing overconfidence in sequential
           recommendation trained with negative sampling", RecSys 2023,
           arXiv:2308.07192.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.losses import GBCE
    >>> CLIPSessionRecommender(loss=GBCE(256, sampling="popularity")).loss
    GBCE(n_negatives=256, sampling='popularity')
    """
    )

    name = "gbce"
    arrays = 4
    _parameter_constraints = SampledLoss._parameter_constraints | {
        "t": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})]
    }

    def __init__(
        self,
        n_negatives: int | None = None,
        *,
        sampling: Literal["uniform", "popularity"] = "uniform",
        shared: bool | Auto = "auto",
        t: float | Auto = "auto",
    ) -> None:
        super().__init__(n_negatives, sampling=sampling, shared=shared)
        self.t = t

    def _of(self, positive, negative, hit, sampler, sample):
        losses = F.softplus(negative).masked_fill(hit, 0.0)
        losses = sampler.weighted(losses, sample).sum(dim=1)
        losses = losses + sampler.beta * F.softplus(-positive)
        return losses / (sampler.n_negatives + 1)


class BPR(SampledLoss):
    __doc__ = (
        r"""Bayesian personalized ranking, averaged over the sample [1]_.

    .. math:: -\tfrac{1}{m} \sum_j \log \sigma(s^+ - s_j)
"""
        + _PARAMETERS
        + """
    References
    ----------
    .. [1] S. Rendle, C. Freudenthaler, Z. Gantner, L. Schmidt-Thieme, "BPR: Bayesian
           personalized ranking from implicit feedback", UAI 2009, arXiv:1205.2618.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.losses import BPR
    >>> CLIPSessionRecommender(loss="bpr").set_params(loss__n_negatives=1).loss
    BPR(n_negatives=1)
    """
    )

    name = "bpr"
    arrays = 6

    def _of(self, positive, negative, hit, sampler, sample):
        losses = F.softplus(negative - positive[:, None]).masked_fill(hit, 0.0)
        losses = sampler.weighted(losses, sample).sum(dim=1)
        return losses / (~hit).sum(dim=1).clamp_min(1)


class _BPRMaximum(SampledLoss):
    """BPR that weights each sampled item by its softmax within the sample."""

    def _logits(self, negative, hit, sampler, sample):
        if sampler.item_weights is not None:
            negative = negative + sampler.item_weights[sample].log()
        return negative.masked_fill(hit, -1e9)


class BPRMax(_BPRMaximum):
    __doc__ = (
        r"""BPR against the maximum of the sample, with a penalty on its scores [1]_.

    .. math::
        -\log \sum_j w_j \sigma(s^+ - s_j) + \sum_j w_j s_j^2, \qquad
        w = \mathrm{softmax}(s_1, \dots, s_m)
"""
        + _PARAMETERS
        + """
    References
    ----------
    .. [1] B. Hidasi, A. Karatzoglou, "Recurrent neural networks with top-k gains for
           session-based recommendations", CIKM 2018, arXiv:1706.03847.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.losses import BPRMax
    >>> CLIPSessionRecommender(loss=BPRMax(512, shared=True)).loss
    BPRMax(n_negatives=512, shared=True)
    """
    )

    name = "bpr-max"
    arrays = 9

    def _of(self, positive, negative, hit, sampler, sample):
        weights = self._logits(negative, hit, sampler, sample).softmax(dim=1)
        better = (weights * torch.sigmoid(positive[:, None] - negative)).sum(dim=1)
        penalty = (weights * negative.square()).sum(dim=1)
        return penalty - (better + 1e-24).log()


class BPRSoftmax(_BPRMaximum):
    __doc__ = (
        r"""`BPRMax` without its penalty on the scores.

    .. math::
        -\log \sum_j w_j \sigma(s^+ - s_j), \qquad
        w = \mathrm{softmax}(s_1, \dots, s_m)
"""
        + _PARAMETERS
        + """
    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.losses import BPRSoftmax
    >>> CLIPSessionRecommender(loss=BPRSoftmax(512)).loss
    BPRSoftmax(n_negatives=512)
    """
    )

    name = "bpr-softmax"
    arrays = 8

    def _of(self, positive, negative, hit, sampler, sample):
        logits = self._logits(negative, hit, sampler, sample)
        better = F.logsigmoid(positive[:, None] - negative)
        losses = -torch.logsumexp(logits.log_softmax(dim=1) + better, dim=1)
        return losses.masked_fill(hit.all(dim=1), 0.0)


class Sampler:
    """Draws items and computes a `SampledLoss` on them.

    Items are drawn with replacement in proportion to `weights` (n_items,). With
    `shared` all rows of a step share one sample. With a single negative per row, own
    samples give a far better gradient. `generator` None is torch's; `t` belongs to
    gBCE.

    Items may have weights :math:`v_j` as negatives. In the sums of BPR and gBCE the
    term of j is then multiplied by :math:`v_j`. The w of the other two BPR losses is
    the softmax of :math:`s_j + \\log v_j`, so that a sample of one item has weight 1.
    For the sampled softmax the logarithm of a weight is a bias.
    """

    def __init__(
        self,
        loss,
        n_negatives,
        weights,
        *,
        shared=True,
        item_weights=None,
        generator=None,
        t=0.75,
    ):
        self.loss, self.generator = loss, generator
        self.item_weights = item_weights
        self.shared = shared
        self.n_negatives = n_negatives
        shares = weights.double() / weights.double().sum()
        self._upto = shares.cumsum(0)
        self.log_expected = (n_negatives * shares).log().to(torch.float32)
        ratio = n_negatives / max(1, len(weights) - 1)
        self.beta = t * (ratio - 1) + 1
        self._workspace = torch.empty(0)

    def weighted(self, losses, sample):
        """Terms of the sampled items, multiplied by their weights as negatives."""
        if self.item_weights is None:
            return losses
        return losses * self.item_weights[sample]

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
        """Return the loss. See `FullSoftmax` for the arguments."""
        shares = shares_of(weights)
        sample = self._drawn(len(targets), targets.device)
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
            sample = sample.view(len(targets), -1)
            negatives = negatives.view(len(targets), self.n_negatives, -1)
            negative = _scores_of_own_samples(scorer, queries, negatives)
            if bias is not None:
                negative = negative + bias[sample]
            hit = sample == targets[:, None]
            losses = self.loss._of(positive, negative, hit, self, sample)
            return _mean(losses, shares)
        hits = _hits(sample, targets)
        if isinstance(self.loss, SampledSoftmax) and scorer is None:
            offset = -self.log_expected[sample]
            if bias is not None:
                offset = offset + bias[sample]
            return _SampledSoftmax.apply(
                queries, positive, negatives, offset, hits, self, shares
            )
        if scorer is None:
            negative = queries @ negatives.T
        else:
            negative = _chunked_scores(scorer, queries, negatives)
        if bias is not None:
            negative = negative + bias[sample]
        hit = torch.zeros_like(negative, dtype=torch.bool)
        hit[hits] = True
        losses = self.loss._of(positive, negative, hit, self, sample)
        return _mean(losses, shares)

    def _drawn(self, n_rows, device):
        """Positions of the sampled items, sorted if all rows share them."""
        size = self.n_negatives if self.shared else n_rows * self.n_negatives
        u = torch.rand(
            size, dtype=torch.float64, device=device, generator=self.generator
        )
        sample = torch.searchsorted(self._upto, u).clamp_(max=len(self._upto) - 1)
        return sample.sort().values if self.shared else sample

    def workspace(self, n, like):
        """Memory for scores (n, n_negatives) on the device of `like`."""
        space, size = self._workspace, n * self.n_negatives
        if (space.device, space.dtype) != (like.device, like.dtype) or len(
            space
        ) < size:
            self._workspace = space = like.new_empty(size)
        return space[:size].view(n, -1)


def _scores_of_own_samples(scorer, queries, negatives):
    """Scores (n, m) of each query with its own sample (n, m, d)."""
    if scorer is None:
        return torch.bmm(negatives, queries[:, :, None]).squeeze(2)
    columns = [_own_scores(scorer, queries, keys) for keys in negatives.unbind(1)]
    return torch.stack(columns, dim=1)


def _own_scores(scorer, state, keys):
    """Score of each query with its own key, for scores that are no dot product."""
    step = 16  # a block of queries is scored with all keys of the block
    return torch.cat(
        [
            scorer.score_chunk(take_rows(state, slice(a, a + step)), part).diagonal()
            for a, part in zip(range(0, len(keys), step), keys.split(step), strict=True)
        ]
    )


def _chunked_scores(scorer, state, keys):
    """Scores in chunks, which are computed again for the gradients."""
    score = scorer.scorer(state)
    parts = [
        checkpoint(score, part, use_reentrant=False)
        for part in keys.split(scorer.chunk_width(state))
    ]
    return torch.cat(parts, dim=1)


def _hits(sample, targets):
    """Rows and columns where a sorted sample holds the target itself."""
    first = torch.searchsorted(sample, targets)
    counts = torch.searchsorted(sample, targets, right=True) - first
    rows = torch.repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return rows, first[rows] + torch.arange(len(rows), device=rows.device) - before[
        rows
    ]


class _SampledSoftmax(torch.autograd.Function):
    """Mean of log(e^positive + sum_j e^s_j) - positive, in one reused workspace.

    Gradients are computed in the forward pass, while the workspace holds the
    exponentials, in blocks of rows that threads share.
    """

    @staticmethod
    def forward(ctx, queries, positive, negatives, offset, hits, loss, shares):
        n = len(queries)
        space = loss.workspace(n, queries)
        hit_rows, hit_columns = hits
        blocks = [slice(a, min(a + _ROWS, n)) for a in range(0, n, _ROWS)]
        borders = torch.searchsorted(
            hit_rows, torch.arange(0, n + _ROWS, _ROWS, device=hit_rows.device)
        )
        borders = borders.tolist()

        def part(i):
            rows, inside = blocks[i], slice(borders[i], borders[i + 1])
            own, positives = queries[rows], positive[rows]
            scores = torch.mm(own, negatives.T, out=space[rows]).add_(offset)
            scores[hit_rows[inside] - rows.start, hit_columns[inside]] = -torch.inf
            shift = torch.maximum(scores.amax(dim=1), positives)
            exponentials = scores.sub_(shift[:, None]).exp_()
            of_target = (positives - shift).exp()
            sums = exponentials.sum(dim=1).add_(of_target)
            share = 1.0 / n if shares is None else shares[rows]
            weights = 1.0 / (n * sums) if shares is None else share / sums
            return (
                sums.log() + shift - positives,
                (exponentials @ negatives).mul_(weights[:, None]),
                of_target * weights - share,
                exponentials.T @ (own * weights[:, None]),
                exponentials.T @ weights,
            )

        size = n * negatives.numel()
        parts = zip(*map_shared(part, range(len(blocks)), size), strict=True)
        losses, of_queries, of_positive, of_negatives, of_offset = parts
        ctx.save_for_backward(
            torch.cat(of_queries),
            torch.cat(of_positive),
            sum(of_negatives),
            sum(of_offset),
        )
        return _mean(torch.cat(losses), shares)

    @staticmethod
    def backward(ctx, grad):
        parts = ctx.saved_tensors
        if not bool(grad == 1):
            parts = [grad * part for part in parts]
        return *parts, None, None, None


def shares_of(weights):
    """Share of each row in a weighted mean, (n,); None if all weights are 1."""
    return None if weights is None else weights / weights.sum()


def _mean(losses, shares):
    return losses.mean() if shares is None else (losses * shares).sum()


def check_sample_fits(loss, batch_size, n_negatives, vectors_of=0):
    """Refuse losses whose scores of a batch against its sample exceed 2 GiB.

    `vectors_of` is the width of the item vectors if each row has its own sample. The
    vectors and their gradients then count too.
    """
    size = 4 * (loss.arrays + 2 * vectors_of) * batch_size * n_negatives
    if size > _MOST_SAMPLED_BYTES:
        most = int(n_negatives * _MOST_SAMPLED_BYTES / size)
        raise ValueError(
            f"loss={loss.name!r} with batch_size={batch_size} and n_negatives="
            f"{n_negatives} takes {size / 2**30:.1f} GiB per step, but the limit is "
            f"{_MOST_SAMPLED_BYTES / 2**30:.0f} GiB. Pass a smaller batch_size, or "
            f"n_negatives <= {most}."
        )


SAMPLED_LOSSES = {
    loss.name: loss for loss in (SampledSoftmax, GBCE, BPR, BPRMax, BPRSoftmax)
}
