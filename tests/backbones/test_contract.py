"""What holds for every backbone in the table."""

import copy

import numpy as np
import pytest
import torch
from golden import session_vectors
from sklearn.base import clone

from skclip._model import SessionModel
from skclip.backbones import BACKBONES

SESSIONS = [[3, 5, 3, 7, 5], [2], [4, 4, 9, 1, 9, 4, 11], [12, 6, 8, 10]]
CLUSTERS = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 0])


@pytest.fixture(params=sorted(BACKBONES))
def spec(request):
    return BACKBONES[request.param]()


@pytest.fixture(params=["bare", "prompted"])
def model(spec, request):
    torch.manual_seed(0)
    model = SessionModel(
        spec,
        CLUSTERS if request.param == "prompted" else None,
        n_items=12,
        embedding_dim=6,
        normalization="unit",
        gate="elementwise",
        candidates="raw",
        similarity=None,
        temperature=1.0,
    )
    with torch.no_grad():  # a tiny table would hide errors
        model.item_table.normal_()
    return model.double().eval()


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@torch.no_grad()
def test_shapes(model):
    vectors = session_vectors(model, SESSIONS)
    assert vectors.shape == (4, 6)
    assert model.keys().shape == (12, 6)
    assert model.scores(vectors, model.keys()).shape == (4, 12)


@torch.no_grad()
def test_more_padding_changes_nothing(model):
    close(session_vectors(model, SESSIONS), session_vectors(model, SESSIONS, padding=4))


@torch.no_grad()
def test_a_batch_equals_its_rows(model):
    alone = [session_vectors(model, [session]) for session in SESSIONS]
    close(session_vectors(model, SESSIONS), torch.cat(alone))


@torch.no_grad()
def test_one_pass_equals_one_per_prefix(model):
    if not model.network.shares_prefixes:
        pytest.skip("this backbone has no shared pass")
    shared = session_vectors(model, SESSIONS, every_prefix=True, shared=True)
    apart = session_vectors(model, SESSIONS, every_prefix=True, shared=False)
    close(shared, apart)


def test_every_parameter_gets_a_gradient_and_padding_none(model):
    model.train()
    vectors = session_vectors(model, SESSIONS)
    scores = model.scores(vectors, model.keys())
    torch.nn.functional.cross_entropy(scores, torch.tensor([0, 3, 5, 7])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    if model.prompt is not None:
        assert model.prompt.table.grad[0].abs().sum() == 0


def test_padding_stays_zero_after_steps(model):
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        scores = model.scores(session_vectors(model, SESSIONS), model.keys())
        scores.square().sum().backward()
        optimizer.step()
    assert model.vectors(torch.tensor([0])).abs().sum() == 0


@torch.no_grad()
def test_state_round_trip(model):
    again = copy.deepcopy(model)
    for parameter in again.parameters():
        parameter.zero_()
    again.load_state_dict(model.state_dict())
    close(session_vectors(model, SESSIONS), session_vectors(again, SESSIONS))


def test_spec_is_an_estimator(spec):
    assert clone(spec).get_params() == spec.get_params()
    assert set(spec._parameter_constraints) == set(spec.get_params())
    with pytest.raises(ValueError, match="'dropout' parameter"):
        spec.set_params(dropout=1.5)._validate_params()
