"""A backbone from outside: what may go wrong."""

import joblib
import numpy as np
import pytest
import torch
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skclip import CLIPSessionRecommender
from skclip.backbones import NARM, SRGNN, Backbone, BackboneSpec

ROWS = [["a", "b", "c"], ["b", "c", "d"], ["c", "d"]] * 8


class Network(Backbone):
    def __init__(self, broken, dim):
        super().__init__()
        self.broken, self.linear = broken, torch.nn.Linear(dim, dim)
        self.dot_product = broken != "score_chunk"

    def encode(self, x, batch):
        h = self.linear(batch.last(x))
        if self.broken == "encode":
            return h[:, 1:]
        if self.broken == "dropout":  # of torch, by the generator of the process
            return torch.nn.functional.dropout(h, 0.5, self.training)
        return x if self.broken == "sequence" else h

    def keys(self, item_table):
        return item_table[1:] if self.broken == "keys" else item_table

    def score_chunk(self, state, keys):
        return state @ state.T


class Own(BackboneSpec):
    def __init__(self, broken=None):
        self.broken = broken

    def build(self, embedding_dim, n_items, max_length):
        if self.broken == "build":
            return torch.nn.Linear(2, 2)
        if self.broken == "nothing":
            return super().build(embedding_dim, n_items, max_length)
        return Network(self.broken, embedding_dim)


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ("encode", ValueError, r"Network: query.* shape \(\d+, 7\)\. Expected .*8\b"),
        ("sequence", ValueError, r"has shape \(\d+, \d, 8\)\. Expected \(\d+, 8\)"),
        ("keys", ValueError, r"item_table\) has shape \(3, 8\)\. Expected \(4, 8"),
        ("score_chunk", ValueError, r"score_chunk.*Expected \(\d+, 4\): \(n_quer"),
        ("build", TypeError, r"Own.build returned a Linear.*skclip.backbones.Backbone"),
        ("nothing", NotImplementedError, r"Own must define build\(embedding_dim, n_it"),
    ],
)
def test_a_wrong_shape_is_told_the_right_one(broken, error, message):
    with pytest.raises(error, match=message):
        small(Own(broken), embedding_dim=8).fit(ROWS)


def test_a_network_may_draw_by_the_generator_of_the_process():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = small(Own("dropout")).fit(ROWS)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(6)
    same(model, small(Own("dropout")).fit(ROWS), ROWS)
    plain = small(Own()).fit(ROWS).decision_function(ROWS)
    assert (model.decision_function(ROWS) != plain).any()


def test_an_own_backbone_is_saved_and_loaded(tmp_path):
    model = small(Own()).fit(ROWS)
    joblib.dump(model, tmp_path / "own.joblib")
    same(joblib.load(tmp_path / "own.joblib"), model, ROWS)


def test_backbones_are_searched_beside_each_other():
    model = small(embedding_dim=8)
    grid = {"backbone": [NARM(hidden_dim=8), SRGNN(), Own()]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(ROWS)
    assert len(search.cv_results_["params"]) == 3
    nested = clone(model).set_params(backbone="gcsan", backbone__dropout=0.4)
    assert nested.backbone.dropout == 0.4
    with pytest.raises(ValueError, match="'weight' parameter of GCSAN"):
        nested.set_params(backbone__weight=1.5).fit(ROWS)
    with pytest.raises(ValueError, match="n_heads=3 does not divide embedding_dim=8"):
        nested.set_params(backbone__weight=0.5, backbone__n_heads=3).fit(ROWS)


@pytest.mark.parametrize(
    ("typed", "meant"), [("sr-gnn", "srgnn"), ("nram", "narm"), ("GCE_GNN", "gcegnn")]
)
def test_unknown_names_suggest_the_nearest(typed, meant):
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        CLIPSessionRecommender(typed).fit(ROWS)


def test_training_settings_of_a_backbone():
    """Explicit values win, then the backbone's, then the defaults."""
    backbone = SRGNN(training={"learning_rate": 0.002, "optimizer": "adamw"})
    model = small(backbone, learning_rate=0.003, weight_decay=0.1).fit(ROWS)
    expected = {"learning_rate": 0.003, "optimizer": "adamw", "lr_schedule": "cosine"}
    assert expected.items() <= model.resolved_params_.items()

    class Slow(SRGNN):
        default_training = {"learning_rate": 0.002}

    for backbone, similarity, rate in (
        ("narm", None, 0.01),
        ("narm", "cosine", 0.005),
        (Slow(), None, 0.002),
        (Slow(), "cosine", 0.002),
    ):
        plain = small(backbone, similarity=similarity).fit(ROWS)
        assert plain.resolved_params_["learning_rate"] == rate
    for training, message in (
        ({"learning_rat": 1}, "'learning_rat'. It may set"),
        ({"learning_rate": -1}, "'learning_rate' parameter"),
        ({"scoring": "mrr@5"}, "'scoring'. It may set"),
    ):
        with pytest.raises(ValueError, match=message):
            model.set_params(backbone=SRGNN(training=training)).fit(ROWS)


class PairNetwork(Backbone):
    """A state of two tensors, and look-ups of whatever was clicked."""

    dot_product = False

    def encode(self, x, batch):
        again = batch.lookup(batch.codes)
        return batch.last(x), batch.last(again)

    def score_chunk(self, state, keys):
        return (state[0] + state[1]) @ keys.T


class Pair(BackboneSpec):
    def build(self, embedding_dim, n_items, max_length):
        return PairNetwork()


def test_a_state_of_two_tensors():
    model = small(Pair(), similarity=None, unseen_items="vote").fit(ROWS)
    with pytest.warns(UserWarning, match="not seen in fit"):
        assert model.predict([["zz", "a"], ["zz"]]).shape == (2,)
    with pytest.raises(TypeError, match=r"does not define normalize\(state\)"):
        model.set_params(similarity="cosine").fit(ROWS)


def test_what_is_no_spec_is_refused():
    class Duck:
        def build(self, embedding_dim, n_items, max_length): ...
        def get_params(self, deep=True):
            return {}

    for backbone in (Duck(), NARM, None):
        with pytest.raises(ValueError, match="'backbone' parameter.*BackboneSpec"):
            CLIPSessionRecommender(backbone).fit(ROWS)


@pytest.mark.parametrize("backbone", ["srgnn", "gcegnn", "lessr", "tagnn", "gcsan"])
def test_unseen_items_are_nodes_of_their_own(backbone):
    model = small(backbone, unseen_items="vote").fit(ROWS)
    with pytest.warns(UserWarning, match="not seen in fit"):
        two, same, again = model.decision_function(
            [["x", "a", "y"], ["x", "a", "x"], ["q", "a", "q"]]
        )
    np.testing.assert_allclose(same, again, atol=1e-6)
    assert abs(two - same).max() > 1e-6
