from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import Sessions
from skclip._data import (
    content_hashes,
    distinct_prefixes,
    session_instances,
    training_data,
)

sessions_of_3 = st.lists(
    st.lists(st.integers(1, 3), max_size=6), min_size=1, max_size=12
)


def encode(lists):
    X = Sessions.from_lists(lists)
    return X, X.vocabulary[X.codes].astype(np.int32) if X.n_events else X.codes


@settings(max_examples=100)
@given(sessions_of_3)
def test_hashes_tell_contents_apart_wherever_they_stand(lists):
    X, codes = encode(lists)
    hashes = content_hashes(codes, X.offsets[:-1], X.offsets[1:]).tolist()
    for a, left in zip(hashes, lists, strict=True):
        for b, right in zip(hashes, lists, strict=True):
            assert (a == b) == (left == right)


@settings(max_examples=100)
@given(sessions_of_3.filter(lambda x: any(len(s) > 1 for s in x)), st.booleans())
def test_distinct_prefixes(lists, with_clusters):
    X, codes = encode(lists)
    views, _ = session_instances(codes, X.offsets, np.arange(len(X)), 4)
    instances, clusters = views, np.arange(len(codes))
    clusters = np.column_stack([clusters % 2, clusters % 3])
    if with_clusters:
        instances = replace(views, clusters=clusters)
    first, inverse = distinct_prefixes(instances)

    def content(i):
        view = slice(instances.starts[i], instances.stops[i])
        return str((codes[view].tolist(), with_clusters and clusters[view].tolist()))

    contents = [content(i) for i in range(len(instances))]
    assert len(first) == len(set(contents))
    assert [contents[first[j]] for j in inverse] == contents
    assert (np.diff(first) > 0).all()


@given(sessions_of_3, st.integers(1, 4))
def test_instances_equal_a_naive_loop(lists, longest):
    X, codes = encode(lists)
    instances, _ = session_instances(codes, X.offsets, np.arange(len(X)), longest)
    views = zip(instances.starts, instances.stops, instances.targets, strict=True)
    found = [(codes[a:b].tolist(), int(t)) for a, b, t in views]
    assert found == [
        (s[max(0, t - longest) : t], s[t]) for s in lists for t in range(1, len(s))
    ]


def rows_of(data):
    return [tuple(data.codes[a:b].tolist()) for a, b in pairwise(data.offsets.tolist())]


def test_training_data_is_independent_of_the_order_of_rows():
    lists = [["b", "a"], ["c", "a", "b"], ["b", "a"], [], ["c"]]
    data = training_data(lists)
    assert rows_of(data) == rows_of(training_data(lists[::-1]))
    assert sorted(rows_of(data)) == sorted([(2, 1), (3, 1, 2), (2, 1), (), (3,)])


def test_targets_are_appended():
    data = training_data([["a", "b"], [], ["c"]], ["c", "a", "b"])
    assert set(rows_of(data)) == {(1, 2, 3), (1,), (3, 2)}
    ends = data.graph_ends
    transitions = set(zip(data.codes[ends - 1], data.codes[ends], strict=True))
    assert transitions == {(2, 3), (3, 2)}
    X, y = data.as_fit_arguments()
    pairs = zip(map(tuple, X.to_lists()), y.tolist(), strict=True)
    assert set(pairs) == {(("a", "b"), "c"), ((), "a"), (("c",), "b")}
