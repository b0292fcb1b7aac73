import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from skclip import CLIPSessionRecommender
from skclip._training import CrossEntropy, _losses, resolve_loss, resolve_precision


def plain(queries, keys, targets, scale, bias):
    scores = (queries * scale) @ keys.T
    return F.cross_entropy(scores if bias is None else scores + bias, targets)


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


def relative(found, expected):
    expected = expected.double()
    return float((found.double() - expected).norm() / expected.norm().clamp_min(1e-30))


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
    options = {"scale": scale}
    found = gradients(
        lambda q, k, b: CrossEntropy(precision)(
            q, targets, lambda: k, bias=b, **options
        ),
        queries,
        keys,
        bias,
    )
    double = [None if x is None else x.double() for x in (queries, keys, bias)]
    expected = gradients(lambda q, k, b: plain(q, k, targets, scale, b), *double)
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < tolerance


@settings(max_examples=60, deadline=None)
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
        found = gradients(
            lambda q, k, b: CrossEntropy()(q, targets, lambda: k, bias=b),
            queries,
            keys,
            bias,
        )
    expected = gradients(
        lambda q, k, b: plain(q, k, targets, 1.0, b), queries, keys, bias
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [30.0, 1e3, 1e8, 1e18])
def test_scores_of_any_size_are_safe(size):
    """The largest score stands far behind the first chunk, and far above it."""
    queries = torch.ones(3, 1)
    keys = torch.zeros(9000, 1)
    keys[8000], keys[10] = size, -size
    targets = torch.tensor([8000, 0, 10])
    found = gradients(
        lambda q, k, b: CrossEntropy()(q, targets, lambda: k), queries, keys, None
    )
    expected = gradients(
        lambda q, k, b: plain(q, k, targets, 1.0, None),
        queries.double(),
        keys.double(),
        None,
    )
    for one, other in zip(found, expected, strict=True):
        assert torch.isfinite(one).all()
        assert relative(one, other) < 1e-5


def test_scorers_that_are_no_product_give_the_same_loss():
    """In chunks, with a bias, and with a random part that must come twice the same."""
    queries, table, targets, bias = case(20, 30, 5, 1.0, True)

    class Scorer:
        chunk_width = staticmethod(lambda state: 7)

        @staticmethod
        def score_chunk(state, keys):
            return state @ keys.T * Scorer.factor(len(keys))

        factor = staticmethod(lambda n: 1.0)

    def scored(q, k, b):
        return CrossEntropy()(q, targets, lambda: k, bias=b, scorer=Scorer())

    expected = gradients(
        lambda q, k, b: plain(q, k, targets, 1.0, b), queries, table, bias
    )
    for one, other in zip(
        gradients(scored, queries, table, bias), expected, strict=True
    ):
        assert relative(one, other) < 1e-5

    Scorer.factor = staticmethod(lambda n: 1.0 + (torch.rand(n) > 0.5))
    torch.manual_seed(0)
    found = gradients(scored, queries, table, bias)
    torch.manual_seed(0)
    factors = torch.cat([1.0 + (torch.rand(n) > 0.5) for n in (7, 7, 7, 7, 2)])
    expected = gradients(
        lambda q, k, b: F.cross_entropy(q @ k.T * factors + b, targets),
        queries,
        table,
        bias,
    )
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < 1e-5


def test_nan_stays_nan():
    loss = CrossEntropy()(
        torch.tensor([[float("nan")]]), torch.tensor([1]), lambda: torch.ones(4, 1)
    )
    assert torch.isnan(loss)


def test_workspace_is_reused():
    queries, keys, targets, _ = case(8, 100, 4, 1.0, False)
    loss = CrossEntropy()
    first = gradients(lambda q, k, b: loss(q, targets, lambda: k), queries, keys, None)
    space = loss._workspace.data_ptr()
    kept = [x.clone() for x in first]
    gradients(lambda q, k, b: loss(2 * q, targets, lambda: k), queries, keys, None)
    assert loss._workspace.data_ptr() == space
    for one, other in zip(first, kept, strict=True):  # earlier results do not change
        assert torch.equal(one, other)


def test_bad_loss_settings():
    rows = [["a", "b", "c"]] * 4
    with pytest.raises(ValueError, match="'loss' parameter of CLIPSessionRecommender"):
        CLIPSessionRecommender(loss="hinge").fit(rows)
    with pytest.raises(ValueError, match="'precision' parameter"):
        CLIPSessionRecommender(precision="float16").fit(rows)


def test_automatic_choices():
    assert resolve_loss("auto", 512, 43_097) == "cross_entropy"
    assert resolve_loss("auto", 512, 1_000_000) == "sampled_softmax"
    assert resolve_loss("bpr", 512, 10) == "bpr"
    cpu = torch.device("cpu")
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("auto", cpu) in ("float32", "bf16")


def test_bf16_learns_as_float32_does(shop_split):
    train, test = shop_split
    scores = [
        CLIPSessionRecommender(
            "gru4rec",
            precision=precision,
            max_epochs=6,
            random_state=0,
            learning_rate=0.01,
        )
        .fit(train)
        .score(test)
        for precision in ("float32", "bf16")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.02)
