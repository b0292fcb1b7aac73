import pytest
import torch

from skclip._model import unit_rows


@pytest.mark.parametrize("chunk", [10, 10_000])
def test_unit_rows_equal_torch(chunk, monkeypatch):
    monkeypatch.setattr("skclip._model._item_table._CHUNK_FLOATS", chunk)
    torch.manual_seed(0)
    table, grad = torch.randn(2, 9, 4, dtype=torch.float64)
    table[3] = 0.0
    results = []
    for function in (unit_rows, torch.nn.functional.normalize):
        x = table.clone().requires_grad_()
        out = function(x)
        out.backward(grad)
        results.append([out.detach(), x.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
