import pytest
import torch
from golden import OPTIONS, scores

from skclip._model import SessionModel
from skclip.backbones import GCEGNN, SRGNN
from skclip.backbones._base import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("shape", [(1000, 333), (3, 5, 7), (1,), (0, 4)])
def test_dropout_draws_and_scales_as_torch_says(p, shape):
    torch.manual_seed(0)
    x = torch.ones(shape, requires_grad=True)
    module = Dropout(p)
    out = module(x)
    kept = out != 0
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - p)))
    if x.numel() > 10**5:
        share = kept.double().mean()
        assert abs(share - (1 - p)) < 4 * (p * (1 - p) / x.numel()) ** 0.5
        pairs = kept[:, 1:] & kept[:, :-1]  # neighbors share a random number
        assert abs(pairs.double().mean() - (1 - p) ** 2) < 0.003
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert torch.equal(module.eval()(x), x)


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_dropout_follows_the_seed(generator):
    """Of its own generator, where it has one."""
    x, module = torch.ones(100), Dropout(0.5)
    module.generator = generator
    seed = torch.manual_seed if generator is None else generator.manual_seed
    seed(1)
    first, second = module(x), module(x)
    seed(1)
    if generator is not None:
        torch.manual_seed(2)
    assert torch.equal(module(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("spec", [GCEGNN(), GCEGNN(n_hops=2), SRGNN(hybrid=False)])
@pytest.mark.parametrize("late", [False, True])
@torch.no_grad()
def test_cosines_begin_with_the_right_sign(spec, late):
    """One click begins near its own item: no gradient would lead there through zero."""

    def begun(seed, similarity, fusion):
        torch.manual_seed(seed)
        model = SessionModel(
            spec,
            n_items=9,
            embedding_dim=32,
            max_length=6,
            fusion=fusion,
            **(OPTIONS | {"similarity": similarity}),
        )
        return model.eval()

    fusion = {"kind": "late", "n_features": 3, "cold_weight": 1.0} if late else None
    for seed in range(8):
        model = begun(seed, None if late else "cosine", fusion)
        parameters = dict(model.network.named_parameters())
        name = "w_p.weight" if "w_p.weight" in parameters else "attention.v.weight"
        drawn = dict(begun(seed, None, None).network.named_parameters())[name]
        assert (drawn < 0).any()  # as published, where scores are dot products
        torch.testing.assert_close(parameters[name], drawn.abs(), rtol=0, atol=0)
        if not late:
            own = scores(model, [[i] for i in range(1, 10)]).diagonal()
            assert (own > 0).all()
