"""The bias of items of the session: against dense computations, and recovered."""

import numpy as np
import pytest
import torch

from skclip._data import Instances
from skclip._model import RepeatBias, seen_items
from skclip._training._repeats import _TEMPERATURES, HeldOut, learned_bias

N_ITEMS = 300


def random_sessions(rng, n=40, longest=25):
    lengths = rng.integers(1, longest, n)
    largest = rng.choice([max(1, N_ITEMS // 20), N_ITEMS], n)  # few items come again
    pairs = zip(lengths, largest, strict=True)
    return [rng.integers(1, most + 1, length).tolist() for length, most in pairs]


def instances_of(sessions):
    stops = np.cumsum([len(session) for session in sessions])
    starts = stops - [len(session) for session in sessions]
    codes = np.concatenate(sessions).astype(np.int32)
    return Instances(codes, starts, stops, np.zeros(len(stops), np.int32))


def drawn_bias(rng):
    return RepeatBias(*(rng.normal(size=n).astype(np.float32) for n in (12, 4)))


def dense_bias(bias, sessions):
    """The bias as a matrix, by a loop over the items of each session."""
    found = torch.zeros(len(sessions), N_ITEMS)
    recency, of_count = torch.as_tensor(bias.recency), torch.as_tensor(bias.count)
    for row, session in enumerate(sessions):
        for item in set(session):
            if item <= N_ITEMS:
                step = min(session[::-1].index(item), 11)
                count = min(session.count(item), 4)
                found[row, item - 1] = recency[step] + of_count[count - 1]
    return found


def test_scores_equal_a_loop_over_the_sessions():
    rng = np.random.default_rng(0)
    sessions, bias = random_sessions(rng), drawn_bias(rng)
    sessions[3] = [5, N_ITEMS + 2, 5]  # an unseen item has no bias
    seen = seen_items(instances_of(sessions), N_ITEMS, "cpu")
    scores = torch.from_numpy(rng.normal(size=(len(sessions), N_ITEMS))).float()
    expected = scores + dense_bias(bias, sessions)
    torch.testing.assert_close(bias.add_to(scores.clone(), seen), expected)


@pytest.mark.parametrize("spread", [1.0, 8.0])
@pytest.mark.parametrize("temperature", _TEMPERATURES[::2].tolist())
def test_likelihood_equals_that_of_the_dense_softmax(spread, temperature):
    rng = np.random.default_rng(1)
    sessions, bias = random_sessions(rng), drawn_bias(rng)
    scores = torch.from_numpy(spread * rng.normal(size=(40, N_ITEMS))).float()
    targets = torch.from_numpy(rng.integers(0, N_ITEMS, 40))
    for row in range(0, 40, 2):
        targets[row] = int(rng.choice(sessions[row])) - 1
    chunks = [
        (
            scores[rows].clone(),
            targets[rows],
            seen_items(instances_of(sessions[rows]), N_ITEMS, "cpu"),
        )
        for rows in (slice(0, 15), slice(15, 40))
    ]
    parts = [torch.tensor(part).double() for part in (bias.recency, bias.count)]
    parts = [part.requires_grad_() for part in parts]
    found = HeldOut(chunks).losses(*parts, temperature)
    dense_parts = [p.detach().clone().requires_grad_() for p in parts]
    logits = scores.double() + dense_bias(RepeatBias(*dense_parts), sessions)
    logits = logits / temperature
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.sum().backward()
    expected.sum().backward()
    for ours, theirs in zip(parts, dense_parts, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_simulated_bias_is_recovered(temperature):
    """Targets are drawn from (scores + bias) / temperature."""
    rng = np.random.default_rng(2)
    sessions = [rng.integers(1, 31, rng.integers(2, 16)).tolist() for _ in range(8000)]
    seen = seen_items(instances_of(sessions), N_ITEMS, "cpu")
    recency = temperature * np.linspace(4.0, 1.0, 12, dtype=np.float32)
    count = temperature * np.array([0.0, 1.0, 1.5, 1.5], dtype=np.float32)
    bias = RepeatBias(recency, count)
    scores = torch.from_numpy(2 * rng.normal(size=(8000, N_ITEMS))).float()
    chances = (bias.add_to(scores.clone(), seen) / temperature).softmax(dim=1)
    generator = torch.Generator().manual_seed(0)
    targets = torch.multinomial(chances, 1, generator=generator).squeeze(1)
    held_out = HeldOut([(scores, targets, seen)])
    found, expected = learned_bias(held_out).table(), bias.table()
    difference = abs(found - expected)[:, :2] / temperature
    assert difference.max() < 0.5
    assert difference.mean() < 0.15


def test_two_parts_count_as_one():
    rng = np.random.default_rng(3)
    sessions = random_sessions(rng, n=60, longest=8)
    scores = torch.from_numpy(rng.normal(size=(60, N_ITEMS))).float()
    targets = torch.tensor([session[0] - 1 for session in sessions])

    def part(rows):
        seen = seen_items(instances_of(sessions[rows]), N_ITEMS, "cpu")
        return scores[rows], targets[rows], seen

    first, second = part(slice(0, 20)), part(slice(20, 60))
    apart = learned_bias(HeldOut([first]), HeldOut([second]))
    together = learned_bias(HeldOut([first, second]))
    np.testing.assert_allclose(apart.table(), together.table(), rtol=1e-2, atol=1e-2)


def test_nothing_held_out():
    assert HeldOut([]).n_targets == 0
