"""Training sessions as examples."""

import numpy as np
import pytest

from skclip.llm._examples import Shots, seed_of

# Items 1..6; sessions with the target last.
ROWS = [[1, 2, 3], [1, 3], [4, 5, 6], [2, 1], [4], [5, 6]]
VECTORS = np.eye(6, dtype=np.float32)
VECTORS[1] = VECTORS[0]  # items 1 and 2 read alike


def make(rows=ROWS, ids=None):
    codes = np.concatenate([np.array(row, dtype=np.int32) for row in rows])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Shots(codes, offsets, ids)


def pick(shots, selection, query, n, **options):
    options = {"vectors": VECTORS} | options
    picked = shots.pick(selection, np.array(query), n, **options)
    return [(row[:-1].tolist(), int(row[-1])) for row in picked]


def test_nearest_last_and_one_for_each_target():
    # cosines with [2, 2]: [1, 2] -> 3 is 1, [1] -> 3 is 1 (same target), [2] -> 1 is 1
    assert pick(make(), "knn", [2, 2], 2) == [([2], 1), ([1, 2], 3)]
    assert pick(make(), "knn", [4, 4], 1) == [([4, 5], 6)]


def test_knn_equals_the_cosine_of_mean_vectors(rng):
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [rng.integers(1, 31, rng.integers(2, 6)).tolist() for _ in range(40)]
    query = [3, 9, 9, 12]
    mean = vectors[np.array(query) - 1].mean(axis=0)
    cosines = []
    for row in rows:
        own = vectors[np.array(row[:-1]) - 1].mean(axis=0)
        cosines.append(own @ mean / np.linalg.norm(own) / np.linalg.norm(mean))
    expected = {}
    for i in np.argsort(-np.array(cosines), kind="stable"):
        expected.setdefault(rows[i][-1], (rows[i][:-1], rows[i][-1]))
    nearest = list(expected.values())[:4][::-1]
    assert pick(make(rows), "knn", query, 4, vectors=vectors) == nearest


@pytest.mark.parametrize("selection", ["knn", "random", "recent"])
def test_never_the_session_itself(selection):
    shots = make(ids=np.arange(len(ROWS)))
    for query in ([1, 2], [1, 2, 3]):  # the observed part, or all of it
        found = pick(shots, selection, query, 9)
        assert ([1, 2], 3) not in found
        assert found
    found = pick(shots, selection, [6], 9, own_id=2)
    assert ([4, 5], 6) not in found
    assert ([5], 6) in found
    assert pick(shots, selection, [6], 0) == []


def test_recent_and_random():
    assert pick(make(), "recent", [6], 2) == [([2], 1), ([5], 6)]
    assert pick(make(), "random", [6], 3) == pick(make(), "random", [6], 3)
    others = {str(pick(make(), "random", [6], 3, seed=seed)) for seed in range(9)}
    assert len(others) > 1


def test_without_sessions():
    assert pick(make([[1], [2]]), "knn", [1], 3) == []


def test_a_seed_depends_on_its_parts_alone():
    assert seed_of(0, ["a", 1]) == seed_of(0, ["a", 1])
    parts = {seed_of(0, ["a"]), seed_of(1, ["a"]), seed_of(0, ["b"]), seed_of(0, "a")}
    assert len(parts) == 4
