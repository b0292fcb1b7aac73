"""Weights of targets in each loss: values and gradients."""

import numpy as np
import pytest
import torch
from test_losses import assert_close, case
from torch import nn
from torch.nn import functional as F

from skclip._data import session_instances
from skclip._model import Batches
from skclip._training import _losses, _scorer_loss
from skclip._training._losses import FullSoftmax
from skclip._training._sampled_losses import SAMPLED_LOSSES, Sampler

N, N_ITEMS, D = 6, 12, 4
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0, 1.5])
DOUBLED = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 1.0])
REPEATED = torch.tensor([0, 1, 2, 3, 4, 5, 1, 3])


class Bilinear(nn.Module):
    """A scorer with a parameter of its own."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(9)
        self.map = nn.Parameter(torch.randn(D, D, generator=generator))

    def chunk_width(self, state):
        return 4

    def score_chunk(self, state, keys):
        return state @ self.map @ keys.T

    def scorer(self, state, empty=None):
        return lambda keys: self.score_chunk(state, keys)


class OwnSample(Sampler):
    """Draws the sample of each row anew from the seed of that row."""

    rows = range(N)

    def _drawn(self, n_rows, device):
        seeds = [0] if self.shared else self.rows
        drawn = [
            torch.randint(
                N_ITEMS,
                (self.n_negatives,),
                generator=torch.Generator().manual_seed(int(seed)),
            )
            for seed in seeds
        ]
        sample = torch.cat(drawn)
        return sample.sort().values if self.shared else sample


def gradients(loss, targets, inputs, scorer=None, **options):
    """Loss and gradients of queries, keys, bias, and the scorer."""
    queries, table, bias = (x.clone().requires_grad_() for x in inputs)
    learned = [] if scorer is None else list(scorer.parameters())
    scorer and scorer.zero_grad()

    def keys(items=None):
        return table if items is None else table[items]

    value = loss(queries, targets, keys, bias=bias, scorer=scorer, **options)
    (3.0 * value).backward()
    return [value.detach(), *(x.grad.clone() for x in (queries, table, bias, *learned))]


def inputs_and_targets():
    queries, table, targets, bias = case(N, N_ITEMS, D, 0.8, True)
    return (queries, table, bias), targets


def sampler(kind, shared):
    weights = torch.arange(1.0, N_ITEMS + 1)
    return OwnSample(SAMPLED_LOSSES[kind](), 5, weights, shared=shared)


SAMPLED = [(kind, shared) for kind in SAMPLED_LOSSES for shared in (True, False)]
LOSSES = [pytest.param(FullSoftmax, (), id="full")]
LOSSES += [pytest.param(sampler, pair, id=f"{pair[0]}-{pair[1]}") for pair in SAMPLED]
scorers = pytest.mark.parametrize("scorer", [None, Bilinear()], ids=["dot", "own"])


@scorers
@pytest.mark.parametrize("blocks", [1, 3])
def test_full_softmax_equals_the_formula(scorer, blocks, monkeypatch):
    if blocks > 1:
        monkeypatch.setattr(_losses, "_WORKSPACE_BYTES", 4 * N_ITEMS * N // blocks)
        monkeypatch.setattr(_scorer_loss, "_CHUNKS_KEPT", 1)
    inputs, targets = inputs_and_targets()

    def formula(queries, targets, keys, bias, scorer):
        logits = queries @ keys().T
        if scorer is not None:
            logits = scorer.score_chunk(queries, keys())
        losses = F.cross_entropy(logits + bias, targets, reduction="none")
        return (WEIGHTS * losses).sum() / WEIGHTS.sum()

    found = gradients(FullSoftmax(), targets, inputs, scorer, weights=WEIGHTS)
    assert_close(found, gradients(formula, targets, inputs, scorer))


@scorers
@pytest.mark.parametrize(("kind", "shared"), SAMPLED)
def test_sampled_losses_equal_the_mean_over_rows(kind, shared, scorer):
    inputs, targets = inputs_and_targets()

    def over_rows(queries, targets, keys, **options):
        losses = []
        for row in range(N):
            loss, one = sampler(kind, shared), slice(row, row + 1)
            loss.rows = [row]
            losses.append(loss(queries[one], targets[one], keys, **options))
        return (WEIGHTS * torch.stack(losses)).sum() / WEIGHTS.sum()

    found = gradients(sampler(kind, shared), targets, inputs, scorer, weights=WEIGHTS)
    assert_close(found, gradients(over_rows, targets, inputs, scorer))


@scorers
@pytest.mark.parametrize(("make", "arguments"), LOSSES)
def test_a_row_twice_is_a_row_of_weight_2(make, arguments, scorer):
    (queries, table, bias), targets = inputs_and_targets()
    found = gradients(
        make(*arguments), targets, (queries, table, bias), scorer, weights=DOUBLED
    )
    loss = make(*arguments)
    loss.rows = REPEATED
    twice = (queries[REPEATED], table, bias)
    expected = gradients(loss, targets[REPEATED], twice, scorer)
    of_queries = torch.zeros_like(queries).index_add(0, REPEATED, expected[1])
    assert_close(found, [expected[0], of_queries, *expected[2:]])


@scorers
@pytest.mark.parametrize(("make", "arguments"), LOSSES)
def test_equal_weights_are_none(make, arguments, scorer):
    inputs, targets = inputs_and_targets()
    plain = gradients(make(*arguments), targets, inputs, scorer)
    equal = torch.full((N,), 0.25)
    assert_close(
        gradients(make(*arguments), targets, inputs, scorer, weights=equal), plain
    )


def test_bfloat16_is_weighted_as_float32():
    (queries, table, bias), targets = inputs_and_targets()
    found, expected = (
        gradients(FullSoftmax(precision), targets, (queries, table, bias), weights=w)
        for precision, w in (("bf16", WEIGHTS), ("float32", WEIGHTS))
    )
    assert_close(found, expected, 2e-2)


@pytest.mark.parametrize("spread", [1e-300, 1.0, 1e300])
def test_batches_carry_weights_of_any_size(spread):
    codes, offsets = np.array([1, 2, 3, 1, 2]), np.array([0, 3, 5])
    instances, _ = session_instances(codes, offsets, np.arange(2), 9)
    weights = spread * np.array([0, 1.0, 2.0, 0, 1e-4])
    batches = Batches(instances.weighted(weights), "cpu", shared=True)
    batch = batches.batch(np.arange(2))
    shares = _losses.shares_of(batch.weights).tolist()
    assert shares == pytest.approx(np.array([1, 2, 1e-4]) / 3.0001, rel=1e-5)
    tiny = instances.weighted(np.array([0, 1e300, 1e300, 0, 1e-300]))
    batch = Batches(tiny, "cpu", shared=True).batch(np.array([1]))
    assert _losses.shares_of(batch.weights).tolist() == [1.0]
