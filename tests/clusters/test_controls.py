import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline

from skclip import CLIPSessionRecommender, SessionClusterer
from skclip.controls import OneCluster, RandomClusters

CONTROLS = [OneCluster(), RandomClusters(random_state=0)]


def test_random_clusters_have_the_same_sizes_and_nothing_else(shop):
    X, _ = shop
    known = SessionClusterer(random_state=0).fit(X)
    control = RandomClusters(known, random_state=1).fit(X)
    assert control.cluster_sizes_.tolist() == sorted(known.cluster_sizes_)[::-1]
    assert abs(adjusted_rand_score(known.membership_, control.membership_)) < 0.1
    again = clone(control).fit(X)
    np.testing.assert_array_equal(control.membership_, again.membership_)
    other = clone(control).set_params(random_state=2).fit(X)
    assert (other.membership_ != control.membership_).any()
    with pytest.raises(AttributeError):
        clone(control).membership_  # noqa: B018


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: type(c).__name__)
def test_controls_stand_in_for_the_clusterer(control, small_recommender, shop_split):
    train, test = shop_split
    inside = clone(small_recommender).set_params(clusterer=control).fit(train)
    assert inside.membership_.max() + 1 == inside.clusterer_.n_clusters_
    piped = make_pipeline(clone(control), clone(small_recommender)).fit(train)
    np.testing.assert_array_equal(
        piped[-1].membership_, clone(control).fit(train).membership_
    )
    with_target = clone(control).fit([["a", "b"], ["c"]], ["c", "d"])
    assert with_target.item_ids_.tolist() == ["a", "b", "c", "d"]
    assert np.isfinite(inside.score(test))
    assert clone(control).fit(train).predict([["new"]]).tolist() == [[0]]


def test_controls_are_saved(tmp_path, shop):
    for control in CONTROLS:
        fitted = clone(control).fit(shop[0])
        joblib.dump(fitted, tmp_path / "control.joblib")
        again = joblib.load(tmp_path / "control.joblib")
        np.testing.assert_array_equal(fitted.membership_, again.membership_)


def test_recommender_takes_any_membership():
    class ByLetter:
        def get_params(self, deep=True):
            return {}

        def fit(self, X, y=None):
            self.membership_ = np.array([0, 0, 1])
            return self

    rows = [["a1", "a2", "b1"]] * 5
    model = CLIPSessionRecommender(clusterer=ByLetter(), max_epochs=1).fit(rows)
    assert model.membership_.tolist() == [0, 0, 1]
