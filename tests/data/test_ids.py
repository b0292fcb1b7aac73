import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip._data import ItemIndex, factorize_list

some_id = st.one_of(
    st.integers(-3, 3),
    st.integers(2**53 - 2, 2**53 + 2),
    st.integers(2**63 - 2, 2**64),
    st.sampled_from([0.5, 2.0, -1.0, 1e300, float(2**60)]),
    st.text("ab", max_size=2),
    st.tuples(st.integers(0, 1), st.text("a", max_size=1)),
    st.binary(max_size=1),
)


@given(st.lists(some_id, max_size=8), st.lists(some_id, max_size=8))
def test_lookup_equals_python(catalog, queries):
    """Whatever the types, ids are found exactly as a dictionary finds them."""
    vocabulary, _ = factorize_list(catalog)
    words, codes = factorize_list(queries)
    stored = vocabulary.tolist()
    found = ItemIndex(vocabulary).codes_of(words)[codes]
    expected = [stored.index(q) + 1 if q in stored else 0 for q in queries]
    assert found.tolist() == expected
    assert set(stored) == set(catalog)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, np.float32])
@pytest.mark.parametrize("other", [np.int64, np.uint64, np.float64, object])
def test_numeric_types_meet(kind, other):
    index = ItemIndex(np.array([1, 3, 7], dtype=kind))
    queries = np.array([7, 2, 1, 100], dtype=other)
    assert index.codes_of(queries).tolist() == [3, 0, 1, 0]


def test_large_whole_numbers_are_not_rounded():
    index = ItemIndex(np.array([7, 2**60, 2**60 + 1]))
    queries = np.array([2**60 + 1, "x", 2**2000, np.int64(7)], dtype=object)
    assert index.codes_of(queries).tolist() == [3, 0, 0, 1]
    assert index.codes_of(np.array([2**60 + 1], dtype=np.uint64)).tolist() == [3]
    assert index.codes_of(np.array([np.nan, np.inf, 7.5, 7.0])).tolist() == [0, 0, 0, 1]


def test_appended_ids_keep_their_place():
    index = ItemIndex(np.array([5, 9, 2]))
    assert index.codes_of(np.array([2, 5, 9, 1])).tolist() == [3, 1, 2, 0]
