import numpy as np
import pytest
import torch
from common import small
from golden import load
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skclip.backbones import GCEGNN, _gcegnn
from skclip.backbones._global_graph import neighbor_table
from skclip.backbones._session_graph import masked_softmax


def flat(sessions):
    codes = np.concatenate([np.asarray(s, dtype=np.int32) for s in sessions])
    return codes, np.cumsum([0] + [len(s) for s in sessions])


def test_golden_neighbor_table():
    golden = load("gcegnn")
    expected = golden["global_table_built_from_sessions_eps3_top4"]
    found = neighbor_table(*flat(golden["sessions"]), None, n_items=12, window=3, top=4)
    np.testing.assert_array_equal(found[0], expected["neighbors"])
    np.testing.assert_array_equal(found[1], expected["weights"])


@settings(max_examples=100)
@given(
    st.lists(
        st.lists(st.integers(1, 5), min_size=1, max_size=7), min_size=1, max_size=6
    ),
    st.integers(1, 4),
    st.booleans(),
)
def test_neighbor_table_equals_a_loop(sessions, window, targets_only):
    codes, offsets = flat(sessions)
    ends = None
    if targets_only:
        ends = offsets[1:][np.diff(offsets) > 1] - 1
    counts = np.zeros((6, 6))
    for session in sessions:
        for i, a in enumerate(session):
            for step in range(1, window + 1):
                j = i + step
                if j >= len(session) or (targets_only and j != len(session) - 1):
                    continue
                counts[a, session[j]] += 1
                counts[session[j], a] += 1
    neighbors, weights = neighbor_table(
        codes, offsets, ends, n_items=5, window=window, top=3
    )
    for item in range(6):
        order = sorted(range(1, 6), key=lambda j: (-counts[item, j], j))
        order = [j for j in order if counts[item, j] > 0][:3]
        assert neighbors[item].tolist() == order + [0] * (3 - len(order))
        assert weights[item][: len(order)].tolist() == [counts[item, j] for j in order]


def test_neighbors_come_from_the_training_part_alone():
    """A pair that only the validation sessions hold is in no neighbor list."""
    rows = [["a", "b", "c"], ["b", "c", "a"]] * 20
    held_out = ([["x", "a"], ["a", "x"], ["x", "x"]] * 3, None)
    model = small("gcegnn").fit([*rows, ["x", "b"]], eval_set=held_out)
    network, ids = model._fitted.model.network, ["", *model.item_ids_]
    near = {
        ids[i]: {ids[j] for j in network.neighbors[i].tolist() if j}
        for i in range(1, len(ids))
    }
    assert near["x"] == {"b"}
    assert near["a"] == {"b", "c"}


@pytest.mark.parametrize("n_hops", [1, 2])
def test_hops_learn(n_hops, train, test):
    model = small(GCEGNN(n_hops=n_hops, n_neighbors=4), max_epochs=3, batch_size=64)
    model.set_params(learning_rate=0.03).fit(train)
    assert model.score(test) > 0.25  # popularity has 0.14


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_attention_over_neighbors_equals_plain_autograd(chunk, monkeypatch):
    """In chunks of nodes, one of which has no neighbor."""
    monkeypatch.setattr(_gcegnn, "_CHUNK_FLOATS", chunk * 4 * 3)
    torch.manual_seed(0)
    shapes = ((5, 3), (5, 4, 3), (3, 4), (1, 3))  # m, q, W1, w2
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    w = torch.rand(5, 4, dtype=torch.float64)
    known = torch.arange(4) < torch.tensor([4, 2, 0, 1, 3])[:, None]

    def plain(m, q, W1, w2):
        mixed = torch.cat([m[:, None] * q, w[..., None]], dim=-1)
        logits = (nn.functional.leaky_relu(mixed @ W1.T, 0.2) @ w2.T).squeeze(-1)
        return torch.bmm(masked_softmax(logits, known)[:, None], q).squeeze(1)

    def ours(m, q, W1, w2):
        return _gcegnn._Neighbors.apply(m, q, w, known, W1, w2)

    weights = torch.randn(5, 3, dtype=torch.float64)
    results = []
    for function in (plain, ours):
        out = function(*inputs)
        grads = torch.autograd.grad((out * weights).sum(), inputs)
        results.append([out.detach(), *grads])
    torch.testing.assert_close(*results)
