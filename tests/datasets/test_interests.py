"""`make_multi_interest_sessions` keeps what it promises."""

import numpy as np
import pytest

from skclip.datasets import make_multi_interest_sessions


@pytest.mark.parametrize("m", [1, 2, 4])
def test_truth_is_true(m):
    X, truth = make_multi_interest_sessions(
        300, 90, n_clusters=9, n_interests=m, random_state=m
    )
    codes = np.searchsorted(truth.item_ids, X.vocabulary[X.codes])
    np.testing.assert_array_equal(truth.clusters[codes], truth.interests)
    assert truth.session_interests.shape == (300, m)
    for i in range(300):
        own = truth.session_interests[i]
        assert len(set(own)) == m
        seen = truth.interests[X.offsets[i] : X.offsets[i + 1]]
        assert set(seen) <= set(own)
    assert (np.diff(X.end_times) >= 0).all()


def test_shares_follow_recency_and_popularity():
    X, truth = make_multi_interest_sessions(
        4000,
        40,
        n_clusters=4,
        n_interests=2,
        recency=0.5,
        mean_length=20,
        random_state=0,
    )
    # After the first click the other interest was last picked two clicks ago, the
    # same one a click ago: 0.5 against 0.25.
    first = X.offsets[:-1]
    again = truth.interests[first] == truth.interests[first + 1]
    assert again.mean() == pytest.approx(2 / 3, abs=0.03)
    codes = np.searchsorted(truth.item_ids, X.vocabulary[X.codes])
    found = np.bincount(codes, minlength=40).astype(float)
    of_cluster = np.bincount(truth.interests, minlength=4)
    np.testing.assert_allclose(
        found / of_cluster[truth.clusters], truth.popularity, atol=0.02
    )
    assert X.lengths.mean() == pytest.approx(19, abs=1)  # some are cut at 50


def test_same_seed_same_sessions():
    one, other = (
        make_multi_interest_sessions(50, random_state=3)[0].__getstate__()
        for _ in range(2)
    )
    assert str(one) == str(other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_interests": 16}, "n_interests=16 exceeds n_clusters=15"),
        ({"n_interests": 0}, "n_interests must be at least 1, got 0"),
        ({"n_items": 29}, "n_items=29 is too few for n_clusters=15"),
        ({"recency": 0}, r"recency must be in \(0, 1\], got 0"),
        ({"mean_length": 1.5}, "mean_length must be >= 2, got 1.5"),
        ({"popularity_exponent": -1}, "popularity_exponent must not be negative"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_multi_interest_sessions(**arguments)
