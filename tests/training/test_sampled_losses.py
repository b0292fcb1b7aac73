import math
from functools import partial

import numpy as np
import pytest
import torch
from common import same, small
from sklearn.base import clone
from test_losses import assert_close, case, gradients, plain

from skclip._training._sampled_losses import SAMPLED_LOSSES, Sampler, check_sample_fits
from skclip._training._trainer import _RowAdam
from skclip.backbones import BACKBONES
from skclip.losses import BPR, GBCE, SampledSoftmax

every_loss = pytest.mark.parametrize("kind", SAMPLED_LOSSES)


def sampler(kind, n_negatives, weights, **options):
    return Sampler(SAMPLED_LOSSES[kind](), n_negatives, weights, **options)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def naive(kind, positive, negatives, log_expected, m, n_items, v, t=0.75):
    """One row, from the formulas; lists without the hits; `v` weighs negatives."""
    if kind == "sampled_softmax":
        rest = sum(
            math.exp(s - q) for s, q in zip(negatives, log_expected, strict=True)
        )
        return -positive + math.log(math.exp(positive) + rest)
    if kind == "bpr":
        terms = [
            -w * math.log(sigmoid(positive - s))
            for w, s in zip(v, negatives, strict=True)
        ]
        return sum(terms) / max(1, len(terms))
    if kind in ("bpr-max", "bpr-softmax"):
        weights = [w * math.exp(s) for w, s in zip(v, negatives, strict=True)]
        weights = [w / sum(weights) for w in weights]
        pairs = list(zip(weights, negatives, strict=True))
        better = sum(w * sigmoid(positive - s) for w, s in pairs)
        penalty = sum(w * s * s for w, s in pairs) if kind == "bpr-max" else 0.0
        return -math.log(better) + penalty
    r = m / (n_items - 1)
    beta = r * (t * (1 - 1 / r) + 1 / r)
    rest = sum(w * math.log(1 - sigmoid(s)) for w, s in zip(v, negatives, strict=True))
    return -(beta * math.log(sigmoid(positive)) + rest) / (m + 1)


class Scorer:
    """A scorer that happens to be a product, in blocks."""

    score_chunk = staticmethod(lambda state, keys: 0.7 * state @ keys.T)
    scorer = staticmethod(lambda state: partial(Scorer.score_chunk, state))
    chunk_width = staticmethod(lambda state: 4)


# Losses take a weight for each negative, but for the softmax, where it is a bias.
WEIGHED = sorted(set(SAMPLED_LOSSES) - {"sampled_softmax"})


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    ("kind", "weighed"),
    [(kind, False) for kind in SAMPLED_LOSSES] + [(kind, True) for kind in WEIGHED],
)
def test_losses_equal_naive_loops(kind, weighed, with_bias, shared):
    queries, table, targets, bias = case(6, 12, 4, 0.5, with_bias)
    weights, m, asked = torch.arange(1.0, 13.0), 8 if shared else 5, []
    v = torch.where(torch.arange(12) < 6, 0.1, 1.0) if weighed else None

    def keys(items):
        asked.append(items)
        return table[items]

    loss = sampler(kind, m, weights, shared=shared, item_weights=v)
    torch.manual_seed(0)
    value = loss(queries, targets, keys, scale=0.7, bias=bias)
    torch.manual_seed(0)
    by_scorer = loss(queries, targets, keys, bias=bias, scorer=Scorer())
    assert asked[0][: len(targets)].equal(targets)
    samples = asked[0][len(targets) :]
    samples = (samples.expand(6, m) if shared else samples.view(6, m)).tolist()
    assert len({tuple(sample) for sample in samples}) == (1 if shared else 6)
    pairs = list(zip(samples, targets.tolist(), strict=True))
    assert any(target in sample for sample, target in pairs)  # hits are covered
    scores = 0.7 * queries @ table.T + (0 if bias is None else bias)
    expected = []
    for row, (sample, target) in zip(scores.tolist(), pairs, strict=True):
        kept = [j for j in sample if j != target]
        log_expected = [math.log(m * float(weights[j] / weights.sum())) for j in kept]
        of_items = [1.0 if v is None else float(v[j]) for j in kept]
        negatives = [row[j] for j in kept]
        arguments = (kind, row[target], negatives, log_expected, m, 12, of_items)
        expected.append(naive(*arguments))
    assert float(value) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(by_scorer) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.75, 1.0])
def test_calibration_of_gbce(t):
    weights, negatives, n_items = torch.ones(30), [0.3, -1.2], 30
    loss = sampler("gbce", 2, weights, t=t)
    hit, sample = torch.zeros(1, 2, dtype=torch.bool), torch.tensor([1, 2])
    found = loss.loss._of(
        torch.tensor([0.4]), torch.tensor([negatives]), hit, loss, sample
    )
    expected = naive("gbce", 0.4, negatives, None, 2, n_items, [1.0, 1.0], t)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    model = small(loss=GBCE(2, t=t), max_epochs=1).fit([["a", "b", "c"]] * 4)
    assert model.resolved_params_["loss__t"] == t
    with pytest.raises(ValueError, match="'t' parameter of GBCE"):
        clone(model).set_params(loss__t=1.5).fit([["a", "b", "c"]] * 4)


@pytest.mark.parametrize("kind", WEIGHED)
def test_a_negative_of_weight_w_is_pushed_down_w_times_as_hard(kind):
    """Of scores that are all equal; never up."""
    v = torch.tensor([1.0, 1.0, 0.1])  # the target, and two negatives
    loss = sampler(kind, 2, torch.ones(3), item_weights=v)
    negative = torch.zeros(1, 2, requires_grad=True)
    sample, hit = torch.tensor([1, 2]), torch.zeros(1, 2, dtype=torch.bool)
    loss.loss._of(torch.zeros(1), negative, hit, loss, sample).backward()
    plain_one, weighed = negative.grad[0].tolist()
    assert plain_one > 0
    assert weighed == pytest.approx(0.1 * plain_one, rel=1e-5)


@pytest.mark.parametrize("popularity", [False, True])
def test_sampled_softmax_estimates_the_full_one(popularity):
    queries, table, targets, _ = case(50, 300, 8, 0.3, False)
    weights = torch.arange(1.0, 301.0) if popularity else torch.ones(300)
    torch.manual_seed(0)
    loss = sampler("sampled_softmax", 20_000, weights)
    value = float(loss(queries, targets, lambda items: table[items]))
    full = float(plain(queries, table, targets, 1.0, None))
    assert value == pytest.approx(full, rel=0.01)


@every_loss
@pytest.mark.parametrize("candidates", ["raw", "prompted"])
def test_sampled_losses_train(kind, candidates, train, test):
    model = small(
        loss=kind,
        loss__n_negatives=40,
        prompt__candidates=candidates,
        learning_rate=0.03,
        max_epochs=20 if kind in ("gbce", "bpr-max") else 8,  # they learn slowly
        batch_size=128,
    ).fit(train)
    assert model.score(test) > 0.25  # popularity has 0.14
    model.set_params(max_epochs=1)
    same(clone(model).fit(train), clone(model).fit(train), test)


@every_loss
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_takes_every_loss(backbone, kind, train, test):
    model = small(backbone, loss=kind, loss__n_negatives=20, max_epochs=1)
    model.fit(train[:100])
    assert np.isfinite(model.decision_function(test[:5])).all()
    assert np.isfinite(model.history_[0]["train_loss"])


@every_loss
def test_scorers_that_are_no_product_have_the_same_gradients(kind):
    queries, table, targets, _ = case(40, 30, 5, 1.0, False)
    found = []
    for options in ({"scale": 0.7}, {"scorer": Scorer()}):
        loss = sampler(kind, 25, torch.arange(1.0, 31.0))

        def function(q, k, b, loss=loss, options=options):
            return loss(q, targets, lambda items: k[items], **options)

        torch.manual_seed(0)
        found.append(gradients(function, queries, table, None))
    assert_close(*found)


def test_untouched_items_keep_their_vectors():
    rows = [["a", "b"]] * 30 + [["c"]]
    model = small(loss=SampledSoftmax(1, sampling="popularity"), early_stopping=False)
    model.set_params(random_state=1, learning_rate=0.1)
    one, three = (
        clone(model).set_params(max_epochs=n).fit(rows)._fitted.model.item_table
        for n in (1, 3)
    )
    changed = (one != three).any(dim=1).tolist()
    assert changed[0] or changed[1]
    assert not changed[2]


@pytest.mark.parametrize("with_bias", [False, True])
def test_gradients_of_sampled_softmax_equal_autograd(with_bias):
    """Scores far apart, hits, a sample with repetitions; two steps, one workspace."""
    queries, table, targets, bias = case(40, 30, 5, 4.0, with_bias)
    m, weights = 25, torch.arange(1.0, 31.0)
    loss = sampler("sampled_softmax", m, weights)

    def ours(q, k, b):
        torch.manual_seed(3)
        return loss(q, targets, lambda items: k[items], scale=0.7, bias=b)

    def expected(q, k, b):
        torch.manual_seed(3)
        seen = []
        loss(q, targets, lambda items: seen.append(items) or k[items])
        sample = seen[0][len(targets) :]
        scores = 0.7 * q @ k.T + (0 if b is None else b)
        negative = scores[:, sample] - (m * weights / weights.sum())[sample].log()
        negative = negative.masked_fill(sample == targets[:, None], -torch.inf)
        positive = scores.gather(1, targets[:, None])
        both = torch.cat([positive, negative], dim=1)
        return (both.logsumexp(dim=1) - positive[:, 0]).mean()

    first = gradients(ours, 0.1 * queries, table, bias)
    kept = [x.clone() for x in first]
    found = gradients(ours, queries, table, bias)
    assert_close(found, gradients(expected, queries, table, bias))
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


def test_bad_sample_sizes():
    with pytest.raises(ValueError, match="n_negatives=9 exceeds the catalog of 3"):
        small(loss=BPR(9)).fit([["a", "b", "c"]] * 4)
    for kind, sizes, message in (
        ("sampled_softmax", (1_000_000, 1000), r"3.7 GiB per step.*n_negatives <= 536"),
        ("bpr-max", (1_000_000, 1000), r"takes 33.5 GiB per step.*n_negatives <= 59"),
        ("bpr", (4096, 1900, 64), r"takes 3\.9 GiB per step"),  # samples of their own
    ):
        with pytest.raises(ValueError, match=message):
            check_sample_fits(SAMPLED_LOSSES[kind](), *sizes)


def test_rows_are_stepped_as_by_the_sparse_adam_of_torch():
    """Repeated rows count once with their sum; the others stay as they are."""
    generator = torch.Generator().manual_seed(0)
    begin = torch.randn(30, 4, generator=generator)
    tables = [begin.clone().requires_grad_() for _ in range(2)]
    optimizers = [
        kind([table], lr=0.01)
        for kind, table in zip((_RowAdam, torch.optim.SparseAdam), tables, strict=True)
    ]
    for step in range(5):
        rows = torch.randint(20, (12,), generator=generator)
        weights = torch.randn(12, 4, generator=generator)
        for table, optimizer in zip(tables, optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.01 / (step + 1)
            optimizer.zero_grad()
            read = torch.nn.functional.embedding(rows, table, sparse=True)
            (read * weights).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(*tables)
    assert torch.equal(tables[0][20:], begin[20:])
