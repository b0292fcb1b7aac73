"""Interrupted runs: taken up again, refused, raised inside a search."""

from types import SimpleNamespace

import pytest
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from test_own_backbone import Own

from skclip import CLIPSessionRecommender, Fusion
from skclip._data import ItemFeatures
from skclip._training import _trainer
from skclip.losses import SampledSoftmax


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


def features(shift=0.0):
    rows = [[i % 7 + shift, i % 5, 1.0] for i in range(80)]
    return ItemFeatures([f"item-{i:03}" for i in range(80)], rows)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"backbone": "narm", "optimizer": "adamw", "lr_schedule": "step"},
        {"backbone": "lessr"},
        {"backbone": Own("dropout")},  # which draws by the generator of the process
        {"loss": SampledSoftmax(20)},
        {"item_features": Fusion(features(), kind="init")},
        {"n_iter_no_change": 1, "learning_rate": 0.5},
        {"early_stopping": False},
    ],
    ids=str,
)
def test_resumed_is_as_never_interrupted(params, train, test, tmp_path):
    train, eval_set, path = train[:200], (test[:50], None), tmp_path / "run"
    given = {"early_stopping": True, "max_epochs": 5, "n_iter_no_change": 5} | params
    model = small(**given)
    whole = clone(model).set_params(scoring=Stop(-1)).fit(train, eval_set=eval_set)
    cut = clone(model).set_params(scoring=Stop(3), checkpoint=path)
    if whole.n_iter_ >= 3:
        with pytest.raises(RuntimeError, match="power cut"):
            cut.fit(train, eval_set=eval_set)
        assert path.exists()
    later = CLIPSessionRecommender(**cut.get_params(deep=False))
    later.set_params(scoring=Stop(-1), verbose=False).fit(train, eval_set=eval_set)
    assert not path.exists()
    same(later, whole, test)
    plain, again = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in model.history_]
        for model in (whole, later)
    )
    assert again == plain


def test_what_auto_stands_for_belongs_to_a_run(train, tmp_path, monkeypatch):
    """It may be something else on another device: here, the loss."""
    model = small(early_stopping=True, checkpoint=tmp_path / "run", scoring=Stop(2))
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(train[:200])
    monkeypatch.setattr("skclip._training._losses._FULL_SOFTMAX_BYTES", 1)
    with pytest.raises(ValueError, match="checkpoint of another run.*delete"):
        clone(model).fit(train[:200])


def test_another_run_is_refused(train, tmp_path):
    train, path = train[:200], tmp_path / "run"
    model = small(
        early_stopping=True, checkpoint=path, scoring=Stop(2), item_features=features()
    )
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(train)
    for change in (
        {"learning_rate": 0.5},
        {"random_state": 1},
        {"prompt__gate": "add"},
        {"item_features": features(0.1)},
    ):
        with pytest.raises(ValueError, match="checkpoint of another run.*delete"):
            clone(model).set_params(**change).fit(train)
    with pytest.raises(ValueError, match="checkpoint of another run"):
        clone(model).fit(train[:199])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated"):
        clone(model).fit(train)
    path.write_bytes(b"something else" * 9)
    with pytest.raises(ValueError, match="is not a skclip checkpoint"):
        clone(model).fit(train)
    for change, message in (
        ({"random_state": None}, "integer random_state"),
        ({"checkpoint": tmp_path / "no" / "run"}, "does not exist"),
        ({"checkpoint": str(tmp_path)}, "is a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            clone(model).set_params(**change).fit(train)


def test_a_function_is_known_by_its_code(train, tmp_path):
    calls = []

    def cut(value):
        def scoring(estimator, X, y=None):
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("power cut")
            return value

        return scoring

    model = small(early_stopping=True, checkpoint=tmp_path / "run", scoring=cut(1.0))
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(train[:200])
    model.set_params(scoring=lambda estimator, X, y=None: -1.0)
    with pytest.raises(ValueError, match="checkpoint of another run"):
        model.fit(train[:200])
    model.set_params(scoring=cut(1.0)).fit(train[:200])  # another object
    assert model.n_iter_ == 2


def test_the_keyboard_keeps_the_checkpoint(train, tmp_path):
    path = tmp_path / "run"
    scoring = Stop(3, KeyboardInterrupt())
    model = small(early_stopping=True, checkpoint=path, max_epochs=4, scoring=scoring)
    with pytest.warns(UserWarning, match="interrupted in epoch 3"):
        model.fit(train[:200])
    assert model.n_iter_ == 2
    assert path.exists()
    model.set_params(scoring=Stop(-1)).fit(train[:200])
    assert model.n_iter_ == 4


def test_inside_a_search_the_keyboard_stops_the_search(train):
    scoring = Stop(3, KeyboardInterrupt())
    model = small(early_stopping=True, max_epochs=4, scoring=scoring)
    search = GridSearchCV(model, {"learning_rate": [0.01, 0.02]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(train)


def test_a_run_that_is_out_of_time_goes_on_later(train, test, tmp_path, monkeypatch):
    train, path, clock = train[:200], tmp_path / "run", [0.0]
    time = SimpleNamespace(perf_counter=lambda: clock[0])
    monkeypatch.setattr(_trainer, "time", time)

    class Slow(Stop):
        def __call__(self, estimator, X, y=None):
            clock[0] += 0.4
            return super().__call__(estimator, X, y)

    model = small(checkpoint=path, scoring=Slow(-1), max_epochs=4, n_iter_no_change=4)
    model.set_params(early_stopping=True, max_time=0.7).fit(train)
    assert model.n_iter_ == 2
    assert path.exists()
    model.set_params(max_time=None).fit(train)
    assert not path.exists()
    same(model, clone(model).set_params(checkpoint=None).fit(train), test)
