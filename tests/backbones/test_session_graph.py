"""Session graphs against loops over sessions, steps and nodes."""

import numpy as np
import torch
from golden import instances_of, load
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip._model import Batches
from skclip.backbones._session_graph import masked_softmax, session_graph

session_lists = st.lists(
    st.lists(st.integers(1, 6), min_size=1, max_size=9), min_size=1, max_size=5
)


def graph_of(sessions):
    batches = Batches(instances_of(sessions), torch.device("cpu"), shared=False)
    return session_graph(batches.batch(np.arange(len(sessions))))


def naive(session):
    """Nodes, and the relations between them, one step at a time."""
    nodes = sorted(set(session))
    steps = list(zip(session, session[1:], strict=False))
    size = len(nodes)
    adjacency, shortcut = np.zeros((size, size)), np.zeros((size, size), dtype=bool)
    relation = np.zeros((size, size), dtype=int)
    for u, a in enumerate(nodes):
        for v, b in enumerate(nodes):
            adjacency[u, v] = (a, b) in steps
            if u == v:
                relation[u, v] = 1
            elif (b, a) in steps and (a, b) in steps:
                relation[u, v] = 4
            elif (b, a) in steps:
                relation[u, v] = 2
            elif (a, b) in steps:
                relation[u, v] = 3
            shortcut[u, v] = any(
                session[i] == a and session[j] == b
                for i in range(len(session))
                for j in range(i, len(session))
            )
    return nodes, adjacency, relation, shortcut


@settings(max_examples=150)
@given(session_lists)
def test_graphs_equal_loops(sessions):
    graph = graph_of(sessions)
    incoming, outgoing = graph.mean_edges(torch.float64)
    adjacency = graph.adjacency(torch.float64)
    relations, shortcuts = graph.relations(), graph.shortcuts()
    for row, session in enumerate(sessions):
        nodes, expected, relation, shortcut = naive(session)
        size = len(nodes)
        assert graph.mask[row].sum() == size
        assert [session[i] for i in graph.first[row, :size]] == nodes
        assert [session.index(a) for a in nodes] == graph.first[row, :size].tolist()
        found = [nodes[v] for v in graph.node[row, : len(session)]]
        assert found == session
        assert nodes[graph.last[row]] == session[-1]
        assert graph.counts[row, :size].tolist() == [session.count(a) for a in nodes]
        inside = (row, slice(0, size), slice(0, size))
        np.testing.assert_array_equal(adjacency[inside], expected)
        np.testing.assert_array_equal(relations[inside], relation)
        np.testing.assert_array_equal(shortcuts[inside], shortcut)
        predecessors = expected / np.maximum(1, expected.sum(axis=0))
        np.testing.assert_allclose(incoming[inside], predecessors.T)
        successors = expected / np.maximum(1, expected.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(outgoing[inside], successors)
        for matrix in (adjacency, relations, shortcuts):  # padding is no node
            assert not matrix[row, size:].any()
            assert not matrix[row, :, size:].any()


@settings(max_examples=100)
@given(session_lists)
def test_in_edges_are_packed_in_order_of_time(sessions):
    graph = graph_of(sessions)
    row, place = torch.nonzero(graph.mask, as_tuple=True)
    number = torch.zeros_like(graph.first)
    number[row, place] = torch.arange(len(row))
    targets, sources, sizes = graph.in_edges(number)
    expected = {}
    for r, session in enumerate(sessions):
        nodes = sorted(set(session))
        for a, b in zip(session, session[1:], strict=False):
            source = int(number[r, nodes.index(a)])
            expected.setdefault(int(number[r, nodes.index(b)]), []).append(source)
    found = {int(t): [] for t in targets}
    begin = 0
    for size in sizes:
        for rank in range(size):
            found[int(targets[rank])].append(int(sources[begin + rank]))
        begin += size
    assert found == expected
    assert sorted(sizes, reverse=True) == sizes


def test_golden_graphs():
    for name in ("srgnn", "gcsan", "tagnn"):
        golden = load(name)
        graph = graph_of(golden["sessions"])
        incoming, outgoing = graph.mean_edges(torch.float64)
        for row, nodes in enumerate(golden["graphs"]["nodes"]):
            size = len(nodes)
            for ours, theirs in ((incoming, "A_in"), (outgoing, "A_out")):
                np.testing.assert_allclose(
                    ours[row, :size, :size], golden["graphs"][theirs][row]
                )
    golden = load("gcegnn")
    graph = graph_of(golden["sessions"])
    for row, relation in enumerate(golden["graphs"]["relation_type"]):
        size = len(relation)
        np.testing.assert_array_equal(graph.relations()[row, :size, :size], relation)


def test_masked_softmax_of_nothing_is_zero_with_a_zero_gradient():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [False, False]])
    weights = masked_softmax(logits, mask)
    np.testing.assert_allclose(weights[0].detach(), [0.268941, 0.731059], rtol=1e-5)
    assert weights[1].tolist() == [0, 0]
    weights[:, 0].sum().backward()
    assert torch.isfinite(logits.grad).all()
