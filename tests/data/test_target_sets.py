"""Sets of targets equal loops over plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip import Sessions
from skclip._data import ItemIndex, check_target_sets, query_data, target_sets

KNOWN = ItemIndex(np.arange(6))  # 6..8 are outside the catalog
ITEMS = st.lists(st.integers(0, 8), min_size=1, max_size=9)


def distinct(items):
    """Codes of distinct items in order, 0 for those that are unknown."""
    return [item + 1 if item < 6 else 0 for item in dict.fromkeys(items)]


def as_lists(codes, offsets):
    return [part.tolist() for part in np.split(codes, offsets[1:-1])]


@given(st.lists(ITEMS, min_size=1, max_size=6).filter(lambda X: max(map(len, X)) > 1))
def test_what_a_session_goes_on_with(sessions):
    queries = query_data(Sessions.from_lists(sessions), KNOWN, every_prefix=True)
    expected = [distinct(s[t:]) for s in sessions for t in range(1, len(s))]
    assert as_lists(*target_sets(queries, KNOWN)) == expected


@given(st.lists(ITEMS, min_size=1, max_size=6), st.booleans())
def test_given_sets(y, as_sessions):
    queries = query_data([[0]] * len(y), KNOWN)
    given_y = Sessions.from_lists(y) if as_sessions else y
    expected = [distinct(items) for items in y]
    assert as_lists(*target_sets(queries, KNOWN, given_y)) == expected
    sets = as_lists(*target_sets(queries, KNOWN, list(map(set, y))))
    assert list(map(sorted, sets)) == list(map(sorted, expected))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (["a", "b"], TypeError, r"y\[0\] is 'a'.*several items for each row"),
        ([["a"], 3], TypeError, r"y\[1\] is 3"),
        ([["a"]], ValueError, "y has 1 rows, expected 2"),
        ([["a"], []], ValueError, r"y\[1\] is empty"),
        (Sessions.from_lists([[], ["a"]]), ValueError, r"y\[0\] is empty"),
    ],
)
def test_what_is_no_list_of_sets(y, error, message):
    with pytest.raises(error, match=message):
        check_target_sets(y, 2)
