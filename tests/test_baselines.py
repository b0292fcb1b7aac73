import pickle

import numpy as np
import pytest

from skclip import PopularityRecommender


def test_counts_and_ties():
    model = PopularityRecommender().fit([["b", "a"], ["c", "a"], ["d"]])
    assert model.item_counts_.tolist() == [2, 1, 1, 1]
    assert model.predict_topk([["x"], []], k=3).tolist() == [["a", "b", "c"]] * 2
    assert model.rank_targets([["a"]] * 4, list("abcd")).tolist() == [1, 4, 4, 4]


def test_targets_count():
    assert PopularityRecommender().fit([["a"]], ["b"]).item_counts_.tolist() == [1, 1]


def test_score_and_pickle():
    model = PopularityRecommender(scoring="recall@1").fit([["a", "b", "a"]])
    assert model.score([["b", "a", "b"]]) == 0.5
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.decision_function([[]]), model.decision_function([[]])
    )


def test_scoring_is_checked():
    with pytest.raises(ValueError, match="Unknown metric 'hits'"):
        PopularityRecommender(scoring="hits").fit([["a", "b"]]).score([["a", "b"]])
