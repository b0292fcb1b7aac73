import pickle

import numpy as np
import pytest
import torch

from skclip import CLIPSessionRecommender
from skclip._model import look_up


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
    expected = torch.nn.functional.embedding(codes, padded, padding_idx=0)
    expected.backward(grad)
    assert torch.equal(out, expected)
    dense = ours.grad.to_dense() if sparse else ours.grad
    torch.testing.assert_close(dense, padded.grad[1:])


def test_look_ups_and_loss_add_up_to_one_gradient():
    """Two look-ups and a full loss on one table, against plain autograd."""
    from skclip._training import CrossEntropy

    torch.manual_seed(0)
    table, codes = torch.randn(7, 4), torch.tensor([1, 7, 0, 7])
    targets = torch.tensor([0, 1, 6, 6])
    ours, plain = table.clone().requires_grad_(), table.clone().requires_grad_()
    for _ in range(2):  # a second round must not see the first
        ours.grad = None
        queries = look_up(ours, codes) + 2 * look_up(ours, codes.flip(0))
        CrossEntropy()(queries, targets, lambda: ours).backward()
    padded = torch.cat([torch.zeros(1, 4), plain])
    queries = padded[codes] + 2 * padded[codes.flip(0)]
    torch.nn.functional.cross_entropy(queries @ plain.T, targets).backward()
    torch.testing.assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax"])
@pytest.mark.parametrize("backbone", ["gru4rec", "tagnn", "core"])
def test_a_learned_temperature_moves_and_is_saved(backbone, loss, shop_split):
    train, test = shop_split
    model = CLIPSessionRecommender(
        backbone,
        similarity="cosine",
        temperature="learned",
        loss=loss,
        n_negatives=20,
        weight_decay=1.0,  # spares it
        embedding_dim=8,
        max_epochs=2,
        random_state=0,
        n_threads=1,
    ).fit(train[:200])
    learned = float(model._model.scale.detach())
    assert abs(learned - 1 / 0.07) > 1e-3
    assert learned > 5
    again = pickle.loads(pickle.dumps(model))
    assert float(again._model.scale.detach()) == learned
    scores = again.decision_function(test[:9])
    np.testing.assert_array_equal(scores, model.decision_function(test[:9]))


def test_bad_temperature():
    with pytest.raises(ValueError, match="'temperature' parameter"):
        CLIPSessionRecommender(temperature="learn").fit([["a", "b"]])
