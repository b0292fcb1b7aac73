"""Items of the session: the bias by recency and count, against dense computations."""

import numpy as np
import pytest
import torch

from skclip._data import Instances
from skclip._model import seen_in_instances
from skclip._model._repeats import RepeatBias, seen_in_batch
from skclip._training import _losses
from skclip._training._losses import FullSoftmax
from skclip._training._sampled_losses import SAMPLED_LOSSES, Sampler
from skclip.backbones import Batch

N_ITEMS, DIM = 400, 5


def random_sessions(rng, n=30, longest=20, n_items=N_ITEMS):
    lengths = rng.integers(1, longest, n)
    largest = rng.choice(
        [max(1, n_items // 20), n_items], n
    )  # so that items come again
    pairs = zip(lengths, largest, strict=True)
    return [rng.integers(1, most + 1, length).tolist() for length, most in pairs]


def batch_of(sessions, *, every_prefix=False):
    codes = torch.zeros(len(sessions), max(map(len, sessions)), dtype=torch.int64)
    for row, session in enumerate(sessions):
        codes[row, : len(session)] = torch.tensor(session)
    pairs = [
        (row, end)
        for row, session in enumerate(sessions)
        for end in (range(1, len(session) + 1) if every_prefix else [len(session)])
    ]
    rows, ends = torch.tensor(pairs).T
    return Batch(codes, rows=rows, ends=ends, targets=torch.ones_like(rows))


def drawn_bias(rng):
    bias = RepeatBias()
    with torch.no_grad():
        bias.recency.copy_(torch.from_numpy(rng.normal(size=12) / 10))
        bias.count.copy_(torch.from_numpy(rng.normal(size=4) / 10))
    return bias


def dense_bias(bias, prefixes, n_items=N_ITEMS):
    """The bias as a matrix, by a loop over the items of each prefix."""
    found = torch.zeros(len(prefixes), n_items)
    for row, prefix in enumerate(prefixes):
        for item in set(prefix):
            if item > n_items:
                continue
            step = prefix[::-1].index(item)
            count = prefix.count(item)
            found[row, item - 1] = bias.table()[min(step, 11), min(count, 4) - 1]
    return found


@pytest.mark.parametrize("every_prefix", [False, True])
def test_entries_equal_a_loop_over_the_prefix(every_prefix):
    rng = np.random.default_rng(0)
    sessions, bias = random_sessions(rng), drawn_bias(rng)
    sessions[3] = [5, N_ITEMS + 2, 5]  # an unseen item has no bias
    batch = batch_of(sessions, every_prefix=every_prefix)
    seen = bias(seen_in_batch(batch, N_ITEMS))
    pairs = zip(batch.rows.tolist(), batch.ends.tolist(), strict=True)
    prefixes = [sessions[row][:end] for row, end in pairs]
    expected = dense_bias(bias, prefixes)
    torch.testing.assert_close(seen.add_to(torch.zeros_like(expected)), expected)
    flat = np.concatenate(prefixes).astype(np.int32)
    stops = np.cumsum([len(prefix) for prefix in prefixes])
    starts = stops - [len(prefix) for prefix in prefixes]
    instances = Instances(flat, starts, stops, np.zeros(len(stops), np.int32))
    seen = bias(seen_in_instances(instances, N_ITEMS, "cpu"))
    torch.testing.assert_close(seen.add_to(torch.zeros_like(expected)), expected)
    rows = torch.arange(len(prefixes))[:, None]
    items = torch.arange(N_ITEMS)[None]
    torch.testing.assert_close(seen.of(rows, items.expand(len(rows), -1)), expected)


def loss_and_gradients(loss, queries, keys, bias, parameters):
    value = loss(queries, keys, bias)
    value.backward()
    leaves = [queries, keys, bias, *parameters]
    found = [leaf.grad.clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return [value.detach(), *found]


def compare(sparse, dense, *, scale=1.0, seed=0, atol=1e-6):
    """Value and gradients of two losses of drawn sessions; half the targets are seen.

    ``sparse(queries, targets, keys, bias, seen)`` and
    ``dense(queries, targets, keys, bias, matrix)``.
    """
    rng = np.random.default_rng(seed)
    sessions = random_sessions(rng)
    repeats, batch = drawn_bias(rng), batch_of(sessions)
    targets = torch.from_numpy(rng.integers(0, N_ITEMS, len(sessions)))
    for row in range(0, len(sessions), 2):
        targets[row] = int(rng.choice(sessions[row])) - 1
    queries, keys, bias = (
        torch.from_numpy(rng.normal(size=size) * scale).float().requires_grad_()
        for size in ((len(sessions), DIM), (N_ITEMS, DIM), (N_ITEMS,))
    )

    def by_entries(queries, keys, bias):
        seen = repeats(seen_in_batch(batch, N_ITEMS))
        return sparse(queries, targets, keys, bias, seen)

    def by_matrix(queries, keys, bias):
        matrix = dense_bias(repeats, sessions)
        return dense(queries, targets, keys, bias, matrix)

    arguments = queries, keys, bias, list(repeats.parameters())
    for ours, theirs in zip(
        loss_and_gradients(by_entries, *arguments),
        loss_and_gradients(by_matrix, *arguments),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-4)


def dense_softmax(queries, targets, keys, bias, matrix):
    scores = queries @ keys.T + bias + matrix
    return torch.nn.functional.cross_entropy(scores, targets)


def full_softmax(queries, targets, keys, bias, seen):
    return FullSoftmax()(queries, targets, lambda: keys, bias=bias, seen=seen)


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_full_softmax_equals_a_dense_computation(scale, monkeypatch):
    monkeypatch.setattr(_losses, "_CHUNK", 2**10)  # several chunks of items
    monkeypatch.setattr(_losses, "_SMALLEST_CHUNK", 32)
    compare(full_softmax, dense_softmax, scale=scale, atol=1e-5)


def test_full_softmax_in_blocks_of_rows(monkeypatch):
    monkeypatch.setattr(_losses, "_WORKSPACE_BYTES", 4 * N_ITEMS * 7)
    compare(full_softmax, dense_softmax)


class Scorer:
    """A scorer that is no dot product for the loss: it computes one."""

    def score_chunk(self, state, keys):
        return state @ keys.T

    def chunk_width(self, state):
        return 37


def test_a_scorer_that_is_no_dot_product(monkeypatch):
    def by_scorer(queries, targets, keys, bias, seen):
        arguments = {"bias": bias, "scorer": Scorer(), "seen": seen}
        return FullSoftmax()(queries, targets, lambda: keys, **arguments)

    compare(by_scorer, dense_softmax)


@pytest.mark.parametrize("scorer", [None, Scorer()])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", SAMPLED_LOSSES)
def test_sampled_losses_equal_dense_scores_of_the_sample(name, shared, scorer):
    def sampler():
        return Sampler(
            SAMPLED_LOSSES[name](),
            60,
            torch.ones(N_ITEMS),
            shared=shared,
            generator=torch.Generator().manual_seed(3),
        )

    def sparse(queries, targets, keys, bias, seen):
        def some(items):
            return keys[items]

        arguments = {"bias": bias, "scorer": scorer, "seen": seen}
        return sampler()(queries, targets, some, **arguments)

    def dense(queries, targets, keys, bias, matrix):
        draws = sampler()
        n = len(targets)
        sample = draws._drawn(n, "cpu").view(1 if shared else n, -1).expand(n, -1)
        scores = queries @ keys.T + bias + matrix
        positive = scores.gather(1, targets[:, None]).squeeze(1)
        hit = sample == targets[:, None]
        negative = scores.gather(1, sample)
        rows = sample[0] if shared else sample
        return draws.loss._of(positive, negative, hit, draws, rows)

    compare(sparse, dense)
