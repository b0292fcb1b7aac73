import numpy as np
import pandas as pd
import pytest

from skclip import Sessions
from skclip.model_selection import TemporalSplit


@pytest.fixture
def X():
    n = 10
    events = pd.DataFrame(
        {"s": np.repeat(np.arange(n), 2), "i": 1, "t": np.repeat(np.arange(n), 2)}
    )
    X = Sessions.from_events(events, session="s", item="i", time="t")
    return X[np.random.default_rng(0).permutation(n)]


@pytest.mark.parametrize(
    ("n_splits", "test_size", "expected"),
    [
        (1, 3, [(7, 3)]),
        (2, 2, [(6, 2), (8, 2)]),
        (2, 0.2, [(6, 2), (8, 2)]),
        (4, None, [(2, 2), (4, 2), (6, 2), (8, 2)]),
    ],
)
def test_sizes_and_order(X, n_splits, test_size, expected):
    splits = list(TemporalSplit(n_splits, test_size=test_size).split(X))
    assert [(len(a), len(b)) for a, b in splits] == expected
    for train, test in splits:
        assert X.end_times[train].max() < X.end_times[test].min()
    ends = np.concatenate([X.end_times[test] for _, test in splits])
    assert (np.diff(ends) == 1).all()
    assert ends[-1] == 9


def test_bad_input(X):
    with pytest.raises(TypeError, match="X is a list.*from_events"):
        next(TemporalSplit(2).split([[1, 2]]))
    with pytest.raises(ValueError, match="no times.*TimeSeriesSplit"):
        next(TemporalSplit(2).split(Sessions.from_lists([[1, 2]])))
    with pytest.raises(ValueError, match="10 sessions are too few"):
        next(TemporalSplit(5, test_size=2).split(X))
    with pytest.raises(ValueError, match="n_splits must be at least 1"):
        next(TemporalSplit(0).split(X))


def test_empty_sessions_are_never_tested():
    X = Sessions([0, 0], [0, 1, 1, 2], ["a"], times=[1.0, 2.0])
    (_, test), *_ = TemporalSplit(1, test_size=1).split(X)
    assert test.tolist() == [2]
