"""Numbers of NumPy, torch's default type and modes, sizes above the data."""

import contextlib
import copy
import pickle
from numbers import Number

import numpy as np
import pytest
import torch
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from test_failed_fits import ESTIMATORS, inputs
from test_recommender_contract import OF_SLIST

import skclip
from skclip import CLIPSessionRecommender, Prompt, SessionClusterer
from skclip.backbones import BACKBONES, NARM, Backbone, BackboneSpec
from skclip.datasets import make_sessions
from skclip.losses import BPRMax, SampledSoftmax

X, _ = make_sessions(n_sessions=120, n_items=20, random_state=0)
ASKED = X[:9]


def tiny(backbone="gru4rec", **params):
    return small(backbone, embedding_dim=8, max_epochs=1).set_params(**params)


# -- NumPy's numbers -------------------------------------------------------------------


def by_numpy(value):
    """The same in NumPy's types."""
    if isinstance(value, tuple):
        return tuple(map(by_numpy, value))
    kinds = {bool: np.bool_, int: np.int64, float: np.float64}
    return kinds.get(type(value), lambda value: value)(value)


def numbers_of(estimator):
    return {
        name: by_numpy(value)
        for name, value in estimator.get_params(deep=True).items()
        if isinstance(value, Number | tuple)
    }


def answers(estimator, data):
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(data[:9])
    found = estimator.transform(data[:9])
    return getattr(found, "clusters", getattr(found, "vectors", found))


# Every number that a recommender takes, apart from those that are None by default.
NUMBERS = tiny(
    temperature=0.2, similarity="cosine", learning_rate=0.01, weight_decay=0.01,
    max_session_length=20, early_stopping=True, validation_fraction=0.2,
    n_iter_no_change=3, max_time=1000.0, min_item_count=2, warm_start=True,
    verbose=False, random_state=3, clusterer=SessionClusterer((1.0, 4.0)),
)  # fmt: skip
OTHERS = {
    "all of the recommender": NUMBERS,
    "sampled": tiny(loss=SampledSoftmax(5, shared=False)),
    "bpr-max": tiny(loss=BPRMax(5)),
    "prompts": tiny(prompt=Prompt(("cluster", "session"))),
    "clusterer of several levels": SessionClusterer((1.0, 3.0), random_state=0),
    "igraph": SessionClusterer(2.0, engine="igraph", random_state=0),
}
SPECS = {f"{name} spec": tiny(spec()) for name, spec in BACKBONES.items()}


@pytest.mark.parametrize("name", [*ESTIMATORS, *OTHERS, *SPECS])
def test_numpy_scalars_are_numbers_for_every_parameter(name, tmp_path):
    plain = clone((ESTIMATORS | OTHERS | SPECS)[name])
    given = clone(plain).set_params(**numbers_of(plain))
    data, more = inputs(plain)
    expected = answers(plain.fit(data), data)
    np.testing.assert_array_equal(answers(given.fit(data), data), expected)
    if name == "candidates":
        return  # no file carries a classifier of scikit-learn
    skclip.save(given, tmp_path / "model")
    loaded = skclip.load(tmp_path / "model")
    if name != "llm":  # whose client stays behind
        np.testing.assert_array_equal(answers(loaded, data), expected)
    if hasattr(given, "partial_fit") and name not in OF_SLIST:
        expected = answers(plain.partial_fit(more), data)
        np.testing.assert_array_equal(answers(given.partial_fit(more), data), expected)


def test_grids_of_arrays_find_a_winner():
    grid = {
        "embedding_dim": np.array([4, 8]),
        "backbone": [NARM(hidden_dim=np.int64(8)), "stamp", "gru4rec"],
        "batch_size": np.arange(64, 65),
        "learning_rate": np.logspace(-3, -2, 2),
    }
    search = GridSearchCV(tiny(), grid, cv=2, error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert type(search.best_estimator_.resolved_params_["embedding_dim"]) is int


# -- sizes and modes -------------------------------------------------------------------


def test_a_batch_size_above_the_data_means_the_data():
    rows = X[:40]
    n_prefixes = int((rows.lengths - 1).sum())
    exact = tiny(early_stopping=False, batch_size=n_prefixes).fit(rows)
    for size in (n_prefixes + 1, 10**9, np.int64(2**62)):
        model = tiny(early_stopping=False, batch_size=size).fit(rows)
        same(model, exact, ASKED)
        assert model.resolved_params_["batch_size"] == n_prefixes
        assert model.resolved_params_["loss"] == exact.resolved_params_["loss"]
    model.partial_fit(rows)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def gradients_off():
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        torch.set_grad_enabled(True)


def published(network):
    return [*network.parameters(), *network.buffers()]


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_parameters_are_float32_whatever_torchs_default_type(backbone, dtype, tmp_path):
    usual = tiny(backbone).fit(X)
    updated = copy.deepcopy(usual).partial_fit(X)
    skclip.save(usual, tmp_path / "model")
    with default_dtype(dtype):
        model, loaded = tiny(backbone).fit(X), skclip.load(tmp_path / "model")
        copied = pickle.loads(pickle.dumps(usual))
        for other in (model, loaded, copied):
            same(other, usual, ASKED)
            tensors = published(other._fitted.model)
            assert not [t.dtype for t in tensors if t.dtype in (torch.float64, dtype)]
            assert (
                other.item_vectors_.dtype == np.float32
                if hasattr(other, "item_vectors_")
                else True
            )
        same(model.partial_fit(X), updated, ASKED)


class Scaled(Backbone):
    def __init__(self, dim):
        super().__init__()
        self.scales = torch.nn.Parameter(torch.tensor([0.1] * dim))
        self.register_buffer("steps", torch.linspace(0.1, 1, dim))
        self.linear = torch.nn.Linear(dim, dim)

    def encode(self, x, batch):
        return self.linear(batch.last(x)) * self.scales * self.steps


class ScaledSpec(BackboneSpec):
    def build(self, embedding_dim, n_items, max_length):
        return Scaled(embedding_dim)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_users_network_is_float32_too(dtype):
    usual = tiny(ScaledSpec()).fit(X)
    with default_dtype(dtype):
        same(tiny(ScaledSpec()).fit(X), usual, ASKED)


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize(
    "surrounding", [torch.no_grad, torch.inference_mode, gradients_off, autocast]
)
@pytest.mark.parametrize("backbone", ["gru4rec", "gcegnn"])
def test_surrounding_modes_do_not_matter(surrounding, backbone, tmp_path):
    usual = tiny(backbone).fit(X)
    skclip.save(usual, tmp_path / "model")
    updated = copy.deepcopy(usual).partial_fit(X)
    with surrounding():
        model, loaded = tiny(backbone).fit(X), skclip.load(tmp_path / "model")
        for other in (model, loaded, copy.deepcopy(usual)):
            same(other, usual, ASKED)
        same(copy.deepcopy(model).partial_fit(X), updated, ASKED)
    for other in (model, loaded):  # and outside again
        same(other.partial_fit(X), updated, ASKED)
    warm = tiny(backbone, warm_start=True).fit(X)
    with surrounding():
        assert warm.fit(X).n_iter_ == 1


def test_a_published_configuration_takes_the_data_as_one_batch():
    model = CLIPSessionRecommender(
        "gru4rec", embedding_dim=8, batch_size=10**9, max_epochs=1, random_state=0
    )
    assert model.fit(X[:30]).resolved_params_["loss"] == "cross_entropy"
