import pytest
import torch
from common import small
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from skclip._training import _losses, resolve_precision
from skclip._training._losses import FullSoftmax, resolve_loss


def plain(queries, keys, targets, scale, bias):
    scores = (queries * scale) @ keys.T
    return F.cross_entropy(scores if bias is None else scores + bias, targets)


def full(targets, loss=None, **options):
    """The loss as a function of queries, keys and bias."""
    loss = FullSoftmax() if loss is None else loss
    return lambda q, k, b: loss(q, targets, lambda: k, bias=b, **options)


def gradients(function, queries, keys, bias):
    """Loss and gradients; gradients of a loss that is used twice, weighted."""
    inputs = [
        None if x is None else x.clone().requires_grad_() for x in (queries, keys, bias)
    ]
    value = function(*inputs)
    (3.0 * value).backward()
    return [value.detach()] + [x.grad for x in inputs if x is not None]


def case(n, n_items, d, spread, with_bias, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries = spread * torch.randn(n, d, generator=generator)
    keys = torch.randn(n_items, d, generator=generator)
    bias = torch.randn(n_items, generator=generator) if with_bias else None
    return queries, keys, torch.randint(n_items, (n,), generator=generator), bias


def assert_close(found, expected, tolerance=1e-5):
    """Each tensor is finite and as expected, by the norm of the difference."""
    for one, other in zip(found, expected, strict=True):
        assert torch.isfinite(one).all()
        other = other.double()
        norm = other.norm().clamp_min(1e-30)
        assert float((one.double() - other).norm() / norm) < tolerance


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(
    ("precision", "spread", "tolerance"),
    [
        ("float32", 0.1, 1e-5),
        ("float32", 1.0, 1e-5),
        ("float32", 3.0, 1e-5),
        ("bf16", 0.1, 1e-2),
        ("bf16", 1.0, 1e-2),
        ("bf16", 3.0, 3e-2),  # scores near 50 round to 0.25
    ],
)
def test_equals_the_plain_formula(precision, spread, tolerance, scale, with_bias):
    queries, keys, targets, bias = case(64, 3000, 16, spread, with_bias)
    function = full(targets, FullSoftmax(precision), scale=scale)
    found = gradients(function, queries, keys, bias)
    double = [None if x is None else x.double() for x in (queries, keys, bias)]
    expected = gradients(lambda q, k, b: plain(q, k, targets, scale, b), *double)
    assert_close(found, expected, tolerance)


@settings(max_examples=60)
@given(
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_shape_chunk_and_block(n, n_items, d, with_bias, seed):
    queries, keys, targets, bias = case(n, n_items, d, 1.0, with_bias, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_losses, "_CHUNK", 7 * n)
        patch.setattr(_losses, "_SMALLEST_CHUNK", 1)
        patch.setattr(_losses, "_WORKSPACE_BYTES", 4 * n_items * 2)  # two rows a block
        found = gradients(full(targets), queries, keys, bias)
    expected = gradients(
        lambda q, k, b: plain(q, k, targets, 1.0, b), queries, keys, bias
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [30.0, 1e3, 1e8, 1e18])
def test_scores_of_any_size_are_safe(size):
    """The largest score stands far behind the first chunk, and far above it."""
    queries, keys = torch.ones(3, 1), torch.zeros(9000, 1)
    keys[8000], keys[10] = size, -size
    targets = torch.tensor([8000, 0, 10])
    expected = gradients(
        lambda q, k, b: plain(q, k, targets, 1.0, None),
        queries.double(),
        keys.double(),
        None,
    )
    assert_close(gradients(full(targets), queries, keys, None), expected)


def test_scorers_that_are_no_product_give_the_same_loss():
    """In chunks, with a bias, and with a random part that must come twice the same."""
    queries, table, targets, bias = case(20, 30, 5, 1.0, True)

    class Scorer:
        chunk_width = staticmethod(lambda state: 7)
        factor = staticmethod(lambda n: 1.0)

        parameters = staticmethod(lambda: [])

        @staticmethod
        def scorer(state, empty):
            return lambda keys: state @ keys.T * Scorer.factor(len(keys))

    def equals_product_times(factors):
        torch.manual_seed(0)
        found = gradients(full(targets, scorer=Scorer()), queries, table, bias)
        expected = gradients(
            lambda q, k, b: F.cross_entropy(q @ k.T * factors + b, targets),
            queries,
            table,
            bias,
        )
        assert_close(found, expected)

    equals_product_times(1.0)
    Scorer.factor = staticmethod(lambda n: 1.0 + (torch.rand(n) > 0.5))
    torch.manual_seed(0)
    factors = torch.cat([1.0 + (torch.rand(n) > 0.5) for n in (7, 7, 7, 7, 2)])
    equals_product_times(factors)


def test_nan_stays_nan():
    queries, targets = torch.tensor([[float("nan")]]), torch.tensor([1])
    assert torch.isnan(FullSoftmax()(queries, targets, lambda: torch.ones(4, 1)))


def test_workspace_is_reused():
    queries, keys, targets, _ = case(8, 100, 4, 1.0, False)
    loss = FullSoftmax()
    first = gradients(full(targets, loss), queries, keys, None)
    space, kept = loss._workspace.data_ptr(), [x.clone() for x in first]
    gradients(full(targets, loss), 2 * queries, keys, None)
    assert loss._workspace.data_ptr() == space
    torch.testing.assert_close(first, kept, rtol=0, atol=0)  # results do not change


def test_automatic_choices():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert resolve_loss("auto", 512, 43_097, 10**10, cpu) == "cross_entropy"
    assert resolve_loss("auto", 512, 43_097, 10**10 + 1, cpu) == "sampled_softmax"
    assert resolve_loss("auto", 512, 8_192, 10**12, cpu) == "cross_entropy"
    assert resolve_loss("auto", 512, 43_097, 10**12, cuda) == "cross_entropy"
    assert resolve_loss("auto", 512, 1_000_000, 10**8, cpu) == "sampled_softmax"
    assert resolve_loss("auto", 512, 1_000_000, 10**8, cuda) == "sampled_softmax"
    assert resolve_loss("bpr", 512, 10, 10**12, cpu) == "bpr"
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("auto", cpu) in ("float32", "bf16")


def test_bf16_learns_as_float32_does(train, test):
    scores = [
        small(precision=precision, max_epochs=6).fit(train).score(test)
        for precision in ("float32", "bf16")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.02)
