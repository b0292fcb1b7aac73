"""NISER against the equations, one session at a time."""

import numpy as np
import pytest
import torch
from golden import OPTIONS, scores, session_vectors

from skclip._model import SessionModel
from skclip.backbones import NISER, SRGNN


def new_model(spec, **options):
    torch.manual_seed(1)
    model = SessionModel(
        spec, None, n_items=9, embedding_dim=4, max_length=6, **(OPTIONS | options)
    )
    return model.double().eval()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit(x):
    return x / np.linalg.norm(x)


@pytest.mark.parametrize("positions", [True, False])
@torch.no_grad()
def test_equals_a_naive_loop(positions):
    model = new_model(NISER(positions=positions))
    p = {n.removeprefix("network."): v.numpy() for n, v in model.named_parameters()}
    e = [unit(row) for row in p["item_table"]]
    sessions = [[1, 2, 3, 1], [9], [5, 5, 4, 8, 7, 6]]
    found, vectors = scores(model, sessions), session_vectors(model, sessions)
    for i, session in enumerate(sessions):
        nodes = sorted(set(session))
        steps = set(zip(session, session[1:], strict=False))
        h = {v: e[v - 1] for v in nodes}
        after = {}
        for v in nodes:
            before = [u for u in nodes if (u, v) in steps]
            behind = [u for u in nodes if (v, u) in steps]
            messages = []
            for way, others in (("in", before), ("out", behind)):
                W, b = p[f"gnn.edge_{way}.weight"], p[f"gnn.edge_{way}.bias"]
                mean = sum((W @ h[u] + b for u in others), np.zeros(4))
                messages.append(mean / max(1, len(others)) + p[f"gnn.post_{way}"])
            a = np.concatenate(messages)
            gi = p["gnn.w_ih.weight"] @ a + p["gnn.w_ih.bias"]
            gh = p["gnn.w_hh.weight"] @ h[v] + p["gnn.w_hh.bias"]
            r, z = sigmoid(gi[:4] + gh[:4]), sigmoid(gi[4:8] + gh[4:8])
            after[v] = (1 - z) * h[v] + z * np.tanh(gi[8:] + r * gh[8:])
        H = [after[v] for v in session]
        if positions:
            H = [h + p["positions"][t] for t, h in enumerate(H)]
        A = {k: v for k, v in p.items() if k.startswith("attention")}
        total = np.zeros(4)
        for h in H:
            of_last = A["attention.W1.weight"] @ H[-1] + A["attention.W1.bias"]
            own = A["attention.W2.weight"] @ h + A["attention.W2.bias"]
            total += (A["attention.v.weight"] @ sigmoid(of_last + own)) * h
        both = np.concatenate([total, H[-1]])
        s = unit(A["attention.W3.weight"] @ both + A["attention.W3.bias"])
        np.testing.assert_allclose(vectors[i], s, atol=1e-12, rtol=0)
        expected = [16 * s @ row for row in e]
        np.testing.assert_allclose(found[i], expected, atol=1e-11, rtol=0)


@torch.no_grad()
def test_it_is_srgnn_on_shared_options():
    niser = new_model(NISER(positions=False, item_dropout=0.0))
    srgnn = new_model(SRGNN(), similarity="cosine", temperature=1 / 16)
    srgnn.network.normalize_items = True
    srgnn.load_state_dict(niser.state_dict())
    sessions = [[1, 2, 3, 1], [9], [5, 5, 4]]
    torch.testing.assert_close(scores(niser, sessions), scores(srgnn, sessions))


def test_dropout_keeps_the_length_of_a_vector():
    seen = []
    model = new_model(NISER(item_dropout=0.5))
    model.network.gnn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.train()
    torch.manual_seed(3)
    scores(model, [[1, 2, 3, 4, 5, 6]])
    lengths = seen[0].norm(dim=-1)
    alive = lengths > 0  # all four numbers of a vector may be dropped
    assert alive.any()
    torch.testing.assert_close(lengths[alive], torch.ones_like(lengths[alive]))
    assert (seen[0] == 0).any()


@torch.no_grad()
def test_the_recommenders_similarity_replaces_its_own():
    model = new_model(NISER(), similarity="dot")
    assert model.scale == 1.0
    assert not model.cosine
    assert new_model(NISER(temperature=0.1)).scale == pytest.approx(10)
