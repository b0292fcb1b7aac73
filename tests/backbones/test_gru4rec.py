import numpy as np
import torch
from golden import OPTIONS, session_vectors

from skclip._model import SessionModel
from skclip.backbones import GRU4Rec


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_equals_a_naive_loop():
    torch.manual_seed(1)
    model = SessionModel(
        GRU4Rec(hidden_dim=7), n_items=9, embedding_dim=4, max_length=20, **OPTIONS
    )
    model.double().eval()
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    for session in ([1, 2, 3, 1], [9], [5, 5, 4]):
        h = np.zeros(7)
        for item in session:
            gi = p["network.gru.weight_ih_l0"] @ p["item_table"][item - 1]
            gh = p["network.gru.weight_hh_l0"] @ h
            r, z = sigmoid(gi[:7] + gh[:7]), sigmoid(gi[7:14] + gh[7:14])
            c = np.tanh(gi[14:] + r * gh[14:])
            h = (1 - z) * c + z * h
        s = p["network.dense.weight"] @ h + p["network.dense.bias"]
        with torch.no_grad():
            found = session_vectors(model, [session])[0]
        np.testing.assert_allclose(found, s, atol=1e-12)


def test_dropout_reaches_the_network():
    model = GRU4Rec(dropout=0.9).build(4, 5, 50)
    assert model.dropout.p == 0.9
