import pytest
import torch

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
        pairs = kept[:, 1:] & kept[:, :-1]  # neighbours share a random number
        assert abs(pairs.double().mean() - (1 - p) ** 2) < 0.003
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert torch.equal(module.eval()(x), x)


def test_dropout_follows_the_seed():
    x, module = torch.ones(100), Dropout(0.5)
    torch.manual_seed(1)
    first = module(x)
    second = module(x)
    torch.manual_seed(1)
    assert torch.equal(module(x), first)
    assert not torch.equal(first, second)
