"""TAGNN's packed scorer against a loop from the equations, and plain autograd."""

import math

import pytest
import torch
from torch.nn import functional as F

from skclip._model import SessionModel, take_rows
from skclip._training._losses import FullSoftmax
from skclip.backbones import TAGNN
from skclip.backbones._target_attention import TargetAttention

MIXED = [[3, 1, 2], [1], [2, 1], [1, 1, 1, 2, 1, 4, 1], [5]]  # events of each node
SINGLE, ALIKE = [[2]], [[1, 1, 1]] * 3


def states(sessions, d=6, size=None, spread=1.0, seed=0):
    """Random states of sessions whose nodes have so many events."""
    generator = torch.Generator().manual_seed(seed)
    n, size = len(sessions), size or max(map(len, sessions))
    log_counts = torch.full((n, size), -torch.inf, dtype=torch.float64)
    for row, counts in enumerate(sessions):
        log_counts[row, : len(counts)] = torch.tensor(counts).double().log()

    def draw(*shape):
        return spread * torch.randn(shape, generator=generator, dtype=torch.float64)

    return draw(n, d), draw(n, size, d), draw(n, size, d), log_counts


def drawn(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator, dtype=dtype)


def naive(state, keys):
    s, h, asked, log_counts = (part.tolist() for part in state)
    scores = []
    for row, own in enumerate(s):
        nodes = [v for v, c in enumerate(log_counts[row]) if c > -math.inf]
        scores.append([])
        for key in keys.tolist():

            def dot(x, key=key):
                return sum(a * b for a, b in zip(x, key, strict=True))

            logits = [dot(asked[row][v]) + log_counts[row][v] for v in nodes]
            weights = [math.exp(x - max(logits)) for x in logits]
            pairs = zip(weights, nodes, strict=True)
            read = sum(w * dot(h[row][v]) for w, v in pairs) / sum(weights)
            scores[-1].append(dot(own) + read)
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("sessions", [MIXED, SINGLE, ALIKE, [[1], [4]]])
def test_scores_equal_a_loop(sessions, spread):
    """Also where logits are in the thousands, and with places that hold no node."""
    keys = drawn(7, 6, dtype=torch.float64)
    network = TAGNN().build(6, 7, 9)
    for size in (None, 9):
        state = states(sessions, size=size, spread=spread)
        expected = naive(state, keys)
        for found in (TargetAttention(*state)(keys), network.score_chunk(state, keys)):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        in_float32 = TargetAttention(*(x.float() for x in state))(keys.float())
        error = (in_float32 - expected).abs().max()
        assert error < 1e-5 * spread**2 * 6


@pytest.mark.parametrize("sessions", [MIXED, SINGLE, ALIKE])
def test_gradients_equal_finite_differences(sessions):
    *parts, log_counts = states(sessions, d=3)
    keys = drawn(4, 3, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (*parts, keys)]

    def scores(s, h, asked, keys):
        return TargetAttention(s, h, asked, log_counts)(keys)

    assert torch.autograd.gradcheck(scores, inputs)


def test_gradients_of_large_logits_equal_plain_autograd():
    *parts, log_counts = states(MIXED, spread=9.0)
    keys = drawn(4, 6, dtype=torch.float64)
    weights = drawn(len(MIXED), 4, dtype=torch.float64)

    def gradients(of):
        inputs = [x.detach().requires_grad_() for x in (*parts, keys)]
        *some, k = inputs
        scores = of((*some, log_counts), k)
        return torch.autograd.grad((scores * weights).sum(), inputs)

    network = TAGNN().build(6, 4, 9)
    found = gradients(lambda state, keys: network.scorer(state)(keys))
    torch.testing.assert_close(found, gradients(network.score_chunk))


def test_rows_of_states_are_scored_as_they_are_in_all():
    state, keys = states(MIXED), drawn(7, 6, dtype=torch.float64)
    scores = TargetAttention(*state)(keys)
    for rows in (slice(1, 3), torch.tensor([3, 0, 3, 1])):
        found = TargetAttention(*take_rows(state, rows))(keys)
        torch.testing.assert_close(found, scores[rows])


def model_of(similarity, fusion=None):
    torch.manual_seed(0)
    model = SessionModel(
        TAGNN(),
        n_items=40,
        embedding_dim=6,
        max_length=9,
        normalization="unit",
        gate="elementwise",
        candidates="raw",
        similarity=similarity,
        temperature=0.2,
        fusion=fusion,
    ).double()
    if fusion is not None:
        counts = torch.arange(1, 41).numpy()
        model.fill_features(drawn(40, 6).numpy(), counts)
        model.double()
    return model


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("kept", [1, 3, 32])
@pytest.mark.parametrize("form", [None, "cosine", "late"])
def test_the_loss_equals_plain_autograd(form, kept, with_bias, monkeypatch):
    """By blocks of rows, in chunks, with a text that fusion adds to the state."""
    monkeypatch.setattr("skclip._model._session_model._SCORER_FLOATS", 300)
    monkeypatch.setattr("skclip._training._scorer_loss._CHUNKS_KEPT", kept)
    late = {"kind": "late", "n_features": 6, "cold_weight": 0.0}
    model = model_of(form and "cosine", late if form == "late" else None)
    state = states(MIXED)
    if form:
        state = model.network.normalize(state)
    if form == "late":
        u = F.normalize(drawn(len(MIXED), 6, dtype=torch.float64), dim=1)
        state = (*state, u)
    targets = torch.tensor([0, 39, 17, 17, 3])
    bias = drawn(40, dtype=torch.float64) if with_bias else None
    loss = FullSoftmax()

    def gradients(of):
        model.zero_grad()
        parts = [x.detach().requires_grad_() for x in state]
        b = None if bias is None else bias.clone().requires_grad_()
        value = of(tuple(parts), model.keys(), b)
        (2.0 * value).backward()
        parts.pop(3)  # logarithms of counts, which nothing learns
        learned = [*parts, *model.parameters(), *([] if b is None else [b])]
        return [value.detach(), *(x.grad for x in learned if x.grad is not None)]

    def plain(state, keys, b):
        scores = model.score_chunk(state, keys)
        return F.cross_entropy(scores if b is None else scores + b, targets)

    expected = gradients(plain)
    assert len(expected) == 5 + with_bias + 3 * (form == "late")
    for _ in range(2):  # memory of the first step is used again
        found = gradients(
            lambda state, keys, b: loss(
                state, targets, lambda: keys, bias=b, scorer=model
            )
        )
        torch.testing.assert_close(found, expected)


def test_scores_in_prediction_are_those_of_pairs():
    model = model_of("cosine").eval()
    state = model.network.normalize(states(MIXED))
    with torch.no_grad():
        found = model.scores(state, model.keys())
        expected = model.score_chunk(state, model.keys())
    torch.testing.assert_close(found, expected)
