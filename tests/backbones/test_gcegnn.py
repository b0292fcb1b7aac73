import numpy as np
import pytest
from common import small
from golden import load
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip.backbones import GCEGNN
from skclip.backbones._global_graph import neighbor_table


def flat(sessions):
    codes = np.concatenate([np.asarray(s, dtype=np.int32) for s in sessions])
    return codes, np.cumsum([0] + [len(s) for s in sessions])


def test_golden_neighbor_table():
    golden = load("gcegnn")
    expected = golden["global_table_built_from_sessions_eps3_top4"]
    found = neighbor_table(*flat(golden["sessions"]), None, n_items=12, window=3, top=4)
    np.testing.assert_array_equal(found[0], expected["neighbors"])
    np.testing.assert_array_equal(found[1], expected["weights"])


@settings(max_examples=100, deadline=None)
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
    model = small(GCEGNN(n_hops=n_hops, n_neighbors=4), max_epochs=8, batch_size=64)
    model.fit(train)
    assert model.score(test) > 0.25  # popularity has 0.14
