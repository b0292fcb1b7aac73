"""The item table: look-ups, their gradients, rows of length 1."""

import pytest
import torch
from torch.nn import functional as F

from skclip._model._item_table import _in_chunks, look_up, unit_rows
from skclip._training._losses import FullSoftmax


@pytest.mark.parametrize("sparse", [False, True])
def test_look_up_equals_an_embedding_with_a_padding_row(sparse):
    torch.manual_seed(0)
    table = torch.randn(5, 3)
    codes = torch.tensor([[1, 5, 0], [5, 0, 0]])
    grad = torch.randn(2, 3, 3)
    ours = table.clone().requires_grad_()
    out = look_up(ours, codes, sparse)
    out.backward(grad)
    padded = torch.cat([torch.zeros(1, 3), table]).requires_grad_()
    expected = F.embedding(codes, padded, padding_idx=0)
    expected.backward(grad)
    assert torch.equal(out, expected)
    dense = ours.grad.to_dense() if sparse else ours.grad
    torch.testing.assert_close(dense, padded.grad[1:])


def test_look_ups_and_loss_add_up_to_one_gradient():
    """Two look-ups and a full loss on one table, against plain autograd."""
    torch.manual_seed(0)
    table, codes = torch.randn(7, 4), torch.tensor([1, 7, 0, 7])
    targets = torch.tensor([0, 1, 6, 6])
    ours, plain = table.clone().requires_grad_(), table.clone().requires_grad_()
    for _ in range(2):  # a second round must not see the first
        ours.grad = None
        queries = look_up(ours, codes) + 2 * look_up(ours, codes.flip(0))
        FullSoftmax()(queries, targets, lambda: ours).backward()
    padded = torch.cat([torch.zeros(1, 4), plain])
    queries = padded[codes] + 2 * padded[codes.flip(0)]
    F.cross_entropy(queries @ plain.T, targets).backward()
    torch.testing.assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize("chunk", [10, 10_000])
def test_unit_rows_equal_torch(chunk, monkeypatch):
    monkeypatch.setattr("skclip._model._item_table._CHUNK_FLOATS", chunk)
    torch.manual_seed(0)
    table, grad = torch.randn(2, 9, 4, dtype=torch.float64)
    table[3] = 0.0
    results = []
    for function in (unit_rows, F.normalize):
        x = table.clone().requires_grad_()
        out = function(x)
        out.backward(grad)
        results.append([out.detach(), x.grad])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_other_devices_take_a_table_as_a_whole():
    def rows(table):
        return _in_chunks(lambda chunk: (chunk.start, chunk.stop), table)

    assert len(rows(torch.empty(2**16, 16))) == 4
    assert rows(torch.empty(2**16, 16, device="meta")) == [(0, 2**16)]
