"""The parts of LESSR that have a gradient of their own, against plain autograd."""

import pytest
import torch
from torch import nn

from skclip.backbones._lessr import EOPA, SGAT, PReLU

SIZES = [4, 3, 1, 1]  # of five nodes four have a source, three a second one, ...
SOURCES = torch.tensor([0, 1, 2, 1, 3, 0, 4, 4, 2])
TARGETS = torch.tensor([0, 1, 2, 2, 3, 3, 3, 4, 4])


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def gradients(function, inputs, seed=0):
    out = function()
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
    grads = torch.autograd.grad((out * weights).sum(), inputs)
    return [out.detach(), *grads]


@pytest.mark.parametrize("sizes", [SIZES, [3], [2, 2, 2]])
def test_read_equals_the_cell_step_by_step(sizes):
    layer = EOPA(3, 2, 0.0).double()
    x, gru = draw(sum(sizes), 3), layer.gru

    def naive():
        states = []
        begins = [sum(sizes[:k]) for k in range(len(sizes))]
        for run in range(sizes[0]):
            h = torch.zeros(1, 3, dtype=x.dtype)
            for begin, size in zip(begins, sizes, strict=True):
                if run < size:
                    h = gru(x[begin + run][None], h)
            states.append(h)
        return torch.cat(states)

    inputs = [x, *gru.parameters()]
    found = gradients(lambda: layer.read(x, sizes), inputs)
    torch.testing.assert_close(found, gradients(naive, inputs))


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_attention_equals_a_loop_over_nodes(spread):
    """Also where exponentials of the logits would overflow."""
    layer = SGAT(3, 2, 0.0).double().eval()
    nn.init.normal_(layer.w.weight, std=spread)
    nn.init.normal_(layer.W_q.bias)
    f = draw(5, 3)

    def naive():
        b, rows = layer.bn(f), []
        q, k, v = layer.W_q(b), layer.W_k(b), layer.W_v(b)
        for node in range(5):
            sources = SOURCES[node == TARGETS]
            e = layer.w(torch.sigmoid(q[sources] + k[node])).squeeze(1)
            rows.append(e.softmax(dim=0) @ v[sources])
        return nn.functional.prelu(torch.stack(rows), layer.prelu.weight)

    inputs = [f, *layer.parameters()]
    found = gradients(lambda: layer(f, (SOURCES, TARGETS)), inputs)
    torch.testing.assert_close(found, gradients(naive, inputs))


def test_prelu_equals_torchs():
    module = PReLU(3).double()
    x = draw(6, 3)
    with torch.no_grad():
        x[0, 0] = 0.0
        module.weight.copy_(torch.tensor([0.3, -1.0, 2.0]))
    inputs = [x, module.weight]
    found = gradients(lambda: module(x), inputs)
    plain = gradients(lambda: nn.functional.prelu(x, module.weight), inputs)
    torch.testing.assert_close(found, plain)
