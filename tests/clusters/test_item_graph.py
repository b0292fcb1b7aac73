import json
import random
from itertools import pairwise

import igraph
import numpy as np
import pytest
from common import EXTRA_ENGINES, GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import Sessions
from skclip._clusters import (
    align_clusters,
    build_item_graph,
    canonical_clusters,
    leiden_membership,
    modularity,
    text_graph,
    vote_clusters,
)

CLIP = json.loads((GOLDEN / "CLIP.json").read_text("utf-8"))
sessions_of_5 = st.lists(
    st.lists(st.integers(1, 5), max_size=7), min_size=1, max_size=8
)


def graph_of(lists, n_items, **options):
    X = Sessions.from_lists(lists)
    codes = X.vocabulary.astype(np.int32)[X.codes] if X.n_events else X.codes
    return build_item_graph(codes, X.offsets, n_items, **options)


def clusters_of(graph, engine="leidenalg", seed=0):
    return leiden_membership(
        graph, resolution=1.0, n_iterations=2, seed=seed, engine=engine
    )


def naive_edges(lists, *, self_loops, per_session_binary):
    weights = {}
    for session in lists:
        pairs = [tuple(sorted(pair)) for pair in pairwise(session)]
        if per_session_binary:
            pairs = set(pairs)
        for pair in pairs:
            if self_loops or pair[0] != pair[1]:
                weights[pair] = weights.get(pair, 0) + 1
    return weights


def test_golden_graph():
    golden = CLIP["graph"]
    graph = graph_of(golden["sessions"], 12)
    dense = np.zeros((12, 12))
    for u, v, weight in golden["edges_u_v_weight"]:
        dense[u - 1, v - 1] = dense[v - 1, u - 1] = weight
    np.testing.assert_array_equal(graph.toarray(), dense)
    loops = graph_of(golden["sessions"], 12, self_loops=True).diagonal()
    (item, count), *rest = golden["self_transitions_dropped_by_default"]
    assert not rest
    assert loops.nonzero()[0].tolist() == [item - 1]
    assert loops[item - 1] == count


@settings(max_examples=100)
@given(sessions_of_5, st.booleans(), st.booleans())
def test_graph_equals_a_naive_loop(lists, self_loops, binary):
    options = {"self_loops": self_loops, "per_session_binary": binary}
    dense = graph_of(lists, 5, **options).toarray()
    expected = np.zeros((5, 5))
    for (u, v), weight in naive_edges(lists, **options).items():
        expected[u - 1, v - 1] = expected[v - 1, u - 1] = weight
    np.testing.assert_array_equal(dense, expected)


@pytest.mark.parametrize(
    "engine", ["leidenalg", "igraph", EXTRA_ENGINES["graspologic"]]
)
@pytest.mark.parametrize("seed", range(5))
def test_golden_partition_is_the_optimum(engine, seed):
    golden = CLIP["graph"]
    graph = graph_of(golden["sessions"], 12)
    membership, n_clusters = clusters_of(graph, engine, seed)
    assert n_clusters == 3
    assert (membership + 1).tolist() == golden["optimal_partition_canonical_ids"][1:]
    expected = golden["modularity_of_that_partition"]
    assert modularity(graph, membership) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=50)
@given(sessions_of_5, st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_modularity_equals_igraph(lists, membership):
    graph = graph_of(lists, 5, self_loops=True)
    upper = np.triu(graph.toarray())
    u, v = upper.nonzero()
    network = igraph.Graph(n=5, edges=list(zip(u.tolist(), v.tolist(), strict=True)))
    expected = 0.0
    if len(u):
        expected = network.modularity(membership, weights=upper[u, v].tolist())
    assert modularity(graph, np.array(membership)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("lists", "n_items", "clusters"),
    [
        ([[1, 2], [1, 2], [3, 4, 5, 3], [6]], 6, [1, 1, 0, 0, 0, 0]),
        ([[1, 1], [2]], 2, [0, 0]),  # no edge at all
    ],
)
def test_unlinked_items_join_the_largest_cluster(lists, n_items, clusters):
    membership, n_clusters = clusters_of(graph_of(lists, n_items))
    assert membership.tolist() == clusters
    assert n_clusters == max(clusters) + 1


def test_igraph_engine_leaves_the_process_random_state_alone():
    random.seed(7)
    expected = random.random()
    random.seed(7)
    clusters_of(graph_of(CLIP["graph"]["sessions"], 12), engine="igraph")
    assert random.random() == expected


def test_align_clusters():
    known = np.array([0, 0, 0, 1, 1, 2, -1, -1])
    labels = np.array([1, 1, 0, 0, 0, 2, 3, 3])
    assert align_clusters(labels, known).tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    split = align_clusters(np.array([0, 0, 1, 2]), np.array([5, 5, 5, -1]))
    assert split.tolist() == [5, 5, 6, 7]


def test_canonical_clusters_by_size_then_first_item():
    ranks, n = canonical_clusters(np.array([9, 4, 4, 7, 9, 2]))
    assert ranks.tolist() == [0, 1, 1, 2, 0, 3]
    assert n == 4


# -- votes for unseen items -----------------------------------------------------------


def naive_votes(session, known, sizes):
    """The rule of the specification for one session, with dictionaries."""
    assigned = {i: known[i] for i in session if i in known}
    largest = min(range(1, len(sizes) + 1), key=lambda c: (-sizes[c - 1], c))
    if not assigned:
        return dict.fromkeys(session, largest)
    while True:
        ballots = {}
        for a, b in pairwise(session):
            for voter, other in ((a, b), (b, a)):
                if voter not in assigned and other in assigned:
                    box = ballots.setdefault(voter, {})
                    box[assigned[other]] = box.get(assigned[other], 0) + 1
        if not ballots:
            return assigned
        for voter, box in ballots.items():
            assigned[voter] = min(box, key=lambda c: (-box[c], -sizes[c - 1], c))


def vote(lists, known, sizes):
    X = Sessions.from_lists(lists)
    items = X.vocabulary[X.codes] if X.n_events else np.empty(0, int)
    clusters = np.array([known.get(i, 0) for i in items.tolist()], dtype=np.int32)
    voted = vote_clusters(items, clusters, X.offsets, np.array(sizes))
    return [
        dict(zip(row, voted[a:b].tolist(), strict=True))
        for row, (a, b) in zip(lists, pairwise(X.offsets.tolist()), strict=True)
    ]


def test_golden_unseen_rule():
    golden = CLIP["unseen_rule"]
    known = {int(i): c for i, c in golden["known_item_to_cluster"].items()}
    sizes = np.bincount(list(known.values()))[1:]
    result = vote(golden["sessions"], known, sizes)
    for found, expected in zip(result, golden["assigned"], strict=True):
        unseen = {str(i): c for i, c in found.items() if i not in known}
        assert unseen == expected


@settings(max_examples=200)
@given(
    st.lists(st.lists(st.integers(1, 9), max_size=9), min_size=1, max_size=6),
    st.dictionaries(st.integers(1, 9), st.integers(1, 3), max_size=6),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
)
def test_votes_equal_a_naive_loop(lists, known, sizes):
    for session, found in zip(lists, vote(lists, known, sizes), strict=True):
        assert found == naive_votes(session, known, sizes)


def test_text_graph_equals_a_naive_search(rng):
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    vectors[[3, 9]] = 0
    expected = np.zeros((30, 30))
    for i in range(30):
        cosines = np.full(30, -np.inf)
        for j in range(30):
            lengths = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
            if i != j and lengths > 0:
                cosines[j] = vectors[i] @ vectors[j] / lengths
        for j in np.argsort(-cosines)[:3]:
            if cosines[j] > 0:
                expected[i, j] = expected[j, i] = cosines[j]
    graph = text_graph(vectors, n_neighbors=3)
    np.testing.assert_allclose(graph.toarray(), expected, atol=1e-5)
    assert text_graph(vectors[:1], n_neighbors=3).nnz == 0
    assert text_graph(vectors[:4], n_neighbors=9).shape == (4, 4)
