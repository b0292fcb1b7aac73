"""Interrupted runs: taken up again, refused, raised inside a search."""

import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skclip import CLIPSessionRecommender


class Stop:
    """A scorer that interrupts its n-th call, by an error or by the keyboard."""

    def __init__(self, at, error=None):
        self.at, self.error, self.calls = at, error or RuntimeError("power cut"), 0
        self.__qualname__ = "Stop"  # one and the same to the checkpoint

    def __call__(self, estimator, X, y=None):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return float(1.0 / estimator.rank_targets(X, y).mean())


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"backbone": "narm", "optimizer": "adamw", "lr_schedule": "step"},
        {"backbone": "lessr"},
        {"loss": "sampled_softmax", "n_negatives": 20},
        {"n_iter_no_change": 1, "learning_rate": 0.5},
        {"early_stopping": False},
    ],
    ids=str,
)
def test_resumed_is_as_never_interrupted(
    params, small_recommender, shop_split, tmp_path
):
    train, test = shop_split
    train = train[:200]
    path = tmp_path / "run"
    model = clone(small_recommender).set_params(max_epochs=5, n_iter_no_change=5)
    model.set_params(**params)
    eval_set = (test[:50], None)
    whole = clone(model).set_params(scoring=Stop(-1)).fit(train, eval_set=eval_set)
    cut = clone(model).set_params(scoring=Stop(3), checkpoint=path)
    if whole.n_iter_ >= 3:
        with pytest.raises(RuntimeError, match="power cut"):
            cut.fit(train, eval_set=eval_set)
        assert path.exists()
    later = CLIPSessionRecommender(**cut.get_params(deep=False))
    later.set_params(scoring=Stop(-1), verbose=False)
    later.fit(train, eval_set=eval_set)
    assert not path.exists()
    np.testing.assert_array_equal(
        later.decision_function(test), whole.decision_function(test)
    )
    plain = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history_]
    again = [{k: v for k, v in row.items() if k != "seconds"} for row in later.history_]
    assert again == plain


def test_another_run_is_refused(small_recommender, shop_split, tmp_path):
    train, _ = shop_split
    path = tmp_path / "run"
    model = clone(small_recommender).set_params(checkpoint=path, scoring=Stop(2))
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(train[:200])
    for change in ({"learning_rate": 0.5}, {"random_state": 1}):
        other = clone(model).set_params(**change)
        with pytest.raises(ValueError, match="checkpoint of another run.*delete"):
            other.fit(train[:200])
    with pytest.raises(ValueError, match="checkpoint of another run"):
        clone(model).fit(train[:199])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated"):
        clone(model).fit(train[:200])
    path.write_bytes(b"something else" * 9)
    with pytest.raises(ValueError, match="is no skclip checkpoint"):
        clone(model).fit(train[:200])
    with pytest.raises(ValueError, match="integer random_state"):
        clone(model).set_params(random_state=None).fit(train[:200])
    with pytest.raises(ValueError, match="there is no folder"):
        clone(model).set_params(checkpoint=tmp_path / "no" / "run").fit(train[:200])


def test_the_keyboard_keeps_the_checkpoint(small_recommender, shop_split, tmp_path):
    train, _ = shop_split
    path = tmp_path / "run"
    model = clone(small_recommender).set_params(
        checkpoint=path, max_epochs=4, scoring=Stop(3, KeyboardInterrupt())
    )
    with pytest.warns(UserWarning, match="interrupted in epoch 3"):
        model.fit(train[:200])
    assert model.n_iter_ == 2
    assert path.exists()
    model.set_params(scoring=Stop(-1)).fit(train[:200])
    assert model.n_iter_ == 4


def test_inside_a_search_the_keyboard_stops_the_search(small_recommender, shop_split):
    model = clone(small_recommender).set_params(
        max_epochs=4, scoring=Stop(3, KeyboardInterrupt())
    )
    search = GridSearchCV(model, {"learning_rate": [0.01, 0.02]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(shop_split[0])


def test_a_changed_function_or_a_folder_is_refused(
    small_recommender, shop_split, tmp_path
):
    train, _ = shop_split
    path = tmp_path / "run"
    calls = []

    def cut(value):
        def scoring(estimator, X, y=None):
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("power cut")
            return value

        return scoring

    model = clone(small_recommender).set_params(checkpoint=path, scoring=cut(1.0))
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(train[:200])
    model.set_params(scoring=lambda estimator, X, y=None: -1.0)
    with pytest.raises(ValueError, match="checkpoint of another run"):
        model.fit(train[:200])
    model.set_params(checkpoint=str(tmp_path))
    with pytest.raises(ValueError, match="is a folder"):
        model.fit(train[:200])


def test_a_run_that_is_out_of_time_goes_on_later(
    small_recommender, shop_split, tmp_path
):
    train, test = shop_split
    path = tmp_path / "run"

    class Slow(Stop):
        def __call__(self, estimator, X, y=None):
            time.sleep(0.4)
            return super().__call__(estimator, X, y)

    model = clone(small_recommender).set_params(
        checkpoint=path, scoring=Slow(-1), max_epochs=4, n_iter_no_change=4
    )
    model.set_params(max_time=0.7).fit(train[:200])
    assert 1 <= model.n_iter_ < 4
    assert path.exists()
    model.set_params(max_time=None).fit(train[:200])
    assert not path.exists()
    whole = clone(model).set_params(checkpoint=None).fit(train[:200])
    np.testing.assert_array_equal(
        model.decision_function(test), whole.decision_function(test)
    )
