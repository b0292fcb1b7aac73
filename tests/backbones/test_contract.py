"""What holds for every backbone in the table."""

import copy

import numpy as np
import pytest
import torch
from golden import OPTIONS, instances_of, scores, session_vectors, states
from sklearn.base import clone
from torch.nn import functional as F

from skclip import CLIPSessionRecommender
from skclip._model import SessionModel, read_states
from skclip.backbones import BACKBONES

SESSIONS = [[3, 5, 3, 7, 5], [2], [4, 4, 9, 1, 9, 4, 11], [12, 6, 8, 10]]
# Biases that shift all logits of a softmax alike: in PoMRec's attention, and in CORE
# before its weights of events. Published counts have them.
NO_EFFECT = {
    "PoMRecNetwork": {"network.extractor.outer.bias", "network.aggregator.outer.bias"},
    "CORENetwork": {"network.layers.1.ln2.bias"},
}
CLUSTERS = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 0])[:, None]


@pytest.fixture(params=sorted(BACKBONES))
def spec(request):
    return BACKBONES[request.param]()


def prepare(model, sessions):
    offsets = np.cumsum([0] + [len(session) for session in sessions])
    model.network.prepare(np.concatenate(sessions), offsets, None)


def new_model(spec, clusters, **options):
    torch.manual_seed(0)
    options = OPTIONS | options
    model = SessionModel(
        spec, clusters, n_items=12, embedding_dim=6, max_length=20, **options
    )
    prepare(model, SESSIONS)
    with torch.no_grad():  # a tiny table would hide errors
        model.item_table.normal_()
    model.constrain_()
    return model.double().eval()


@pytest.fixture(params=["bare", "prompted"])
def model(spec, request):
    return new_model(spec, CLUSTERS if request.param == "prompted" else None)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@torch.no_grad()
def test_reading_in_small_parts_changes_nothing(model, monkeypatch):
    instances = instances_of(SESSIONS * 3, every_prefix=True)

    def read():
        parts = list(read_states(model, instances))
        found = torch.empty(len(instances), 12, dtype=torch.float64)
        for positions, state in parts:
            found[positions] = model.scores(state, model.keys())
        return found, len(parts)

    expected, one = read()
    monkeypatch.setattr("skclip._model._reading._READ_FLOATS", 3000)
    found, several = read()
    assert one == 1
    assert several > 2
    close(expected, found)


@torch.no_grad()
def test_shapes(model):
    assert session_vectors(model, SESSIONS).shape == (4, 6)
    assert model.keys().shape == (12, 6)
    assert scores(model, SESSIONS).shape == (4, 12)


@torch.no_grad()
def test_more_padding_changes_nothing(model):
    close(scores(model, SESSIONS), scores(model, SESSIONS, padding=4))


@torch.no_grad()
def test_a_batch_equals_its_rows(model):
    alone = [scores(model, [session]) for session in SESSIONS]
    close(scores(model, SESSIONS), torch.cat(alone))


@torch.no_grad()
def test_a_permuted_batch_gives_permuted_scores(model):
    order = [2, 0, 3, 1]
    permuted = scores(model, [SESSIONS[i] for i in order])
    close(scores(model, SESSIONS)[order], permuted)


@torch.no_grad()
def test_other_names_of_items_change_nothing(model):
    """Nodes are ordered by code, so this renumbers the nodes of every session."""
    renamed = np.array([0, 9, 12, 1, 8, 2, 10, 5, 7, 3, 11, 4, 6])
    before = scores(model, SESSIONS)
    order = torch.from_numpy(renamed[1:] - 1)
    model.item_table[order] = model.item_table.clone()
    if model.prompt is not None:
        model.item_cells[renamed[1:]] = model.item_cells[1:].clone()
    sessions = [renamed[session] for session in SESSIONS]
    prepare(model, sessions)
    if model.bias is not None:
        model.bias[order] = model.bias.clone()
    close(before, scores(model, sessions)[:, order])


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("candidates", ["raw", "prompted"])
@torch.no_grad()
def test_similarity_of_any_backbone(spec, similarity, candidates):
    model = new_model(spec, CLUSTERS, similarity=similarity, candidates=candidates)
    keys, found = model.keys(), scores(model, SESSIONS)
    if similarity == "cosine":  # TAGNN adds two of them
        close(keys.norm(dim=1), torch.ones(12, dtype=keys.dtype))
        most = 1.0 if model.network.dot_product else 2.0
        assert 0.01 < found.abs().max() <= most + 1e-12
    elif candidates == "raw":
        table, unit = model.item_table, model.network.normalize_items
        close(keys, F.normalize(table, dim=1) if unit else table)
    if model.network.dot_product:
        bias = 0 if model.bias is None else model.bias
        close(found, states(model, SESSIONS) @ keys.T + bias)


@torch.no_grad()
def test_chunks_of_candidates_change_nothing(model, monkeypatch):
    everything = scores(model, SESSIONS)
    monkeypatch.setattr("skclip._model._session_model._SCORER_FLOATS", 40)
    close(everything, scores(model, SESSIONS))


@pytest.mark.parametrize(
    "spec",
    [n for n in BACKBONES if new_model(BACKBONES[n](), None).network.shares_prefixes],
    indirect=True,
)
@torch.no_grad()
def test_one_pass_equals_one_per_prefix(model):
    shared = session_vectors(model, SESSIONS, every_prefix=True, shared=True)
    apart = session_vectors(model, SESSIONS, every_prefix=True, shared=False)
    close(shared, apart)


def test_every_parameter_gets_a_gradient_and_padding_none(model):
    model.train()
    found = scores(model, SESSIONS)
    F.cross_entropy(found, torch.tensor([0, 3, 5, 7])).backward()
    no_effect = NO_EFFECT.get(type(model.network).__name__, set())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name in no_effect:
            assert parameter.grad.abs().sum() < 1e-12, name
        else:
            assert parameter.grad.abs().sum() > 0, name
    if model.prompt is not None:
        (table,) = model.prompt.kinds["cluster"].tables
        assert table.grad[0].abs().sum() == 0


def test_padding_stays_zero_after_steps(model):
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        scores(model, SESSIONS).square().sum().backward()
        optimizer.step()
        model.constrain_()
    assert model.vectors(torch.tensor([0])).abs().sum() == 0


@torch.no_grad()
def test_state_round_trip(model):
    again = copy.deepcopy(model)
    for parameter in again.parameters():
        parameter.zero_()
    again.load_state_dict(model.state_dict())
    close(scores(model, SESSIONS), scores(again, SESSIONS))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_gpu_equals_cpu(model):
    expected = scores(model, SESSIONS)
    torch.testing.assert_close(
        scores(model.cuda(), SESSIONS).cpu(), expected, atol=1e-8, rtol=0
    )


def test_training_on_a_single_short_session_works(model):
    """Statistics over the rows of a batch have one row here."""
    model.train()
    scores(model, [[3]]).sum().backward()
    assert torch.isfinite(model.item_table.grad).all()


@torch.no_grad()
def test_each_dropout_acts_in_training_only(spec):
    names = [name for name in spec.get_params() if "dropout" in name]
    off = clone(spec).set_params(**dict.fromkeys(names, 0.0))
    for name in [None, *names]:
        one = clone(off)
        if name is not None:
            one.set_params(**{name: 0.5})
        if name == "state_dropout":
            one.set_params(tied=True)
        model = new_model(one, CLUSTERS)
        expected = scores(model, SESSIONS)
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.eval()
        differs = (scores(model, SESSIONS) - expected).abs().max() > 1e-6
        assert differs == (name is not None), name


def test_groups_hold_every_parameter_once(model):
    grouped = [id(p) for group in model.param_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_lessr_spares_biases_norms_and_rectifiers_from_decay():
    network = new_model(BACKBONES["lessr"](), None).network
    _, spared = network.param_groups()
    assert spared["weight_decay"] == 0.0
    ids = {id(p) for p in spared["params"]}
    for name, parameter in network.named_parameters():
        special = any(part in name for part in ("bias", "bn", "prelu"))
        assert (id(parameter) in ids) == special, name


def test_spec_is_an_estimator(spec):
    assert clone(spec).get_params() == spec.get_params()
    assert set(spec._parameter_constraints) == set(spec.get_params())
    for name in spec.get_params():
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            clone(spec).set_params(**{name: -1.5})._validate_params()


@pytest.mark.parametrize("similarity", [None, "dot", "cosine"])
@pytest.mark.parametrize("candidates", ["raw", "prompted"])
@torch.no_grad()
def test_a_backbone_may_ask_for_items_of_length_one(spec, similarity, candidates):
    model = new_model(spec, CLUSTERS, similarity=similarity, candidates=candidates)
    model.network.normalize_items = True
    ones = torch.ones(12, dtype=torch.float64)
    close(model.keys().norm(dim=1), ones)
    close(model.vectors(torch.arange(1, 13)).norm(dim=1), ones)
    before = scores(model, SESSIONS)
    assert torch.isfinite(before).all()
    model.item_table.mul_(torch.arange(1.0, 13.0)[:, None])
    if spec.__class__.__name__ != "LESSR":  # it bounds the table's own norms
        close(before, scores(model, SESSIONS))  # the lengths say nothing


def test_published_configuration(spec):
    published = type(spec).published()
    published._validate_params()
    assert clone(published).get_params() == published.get_params()
    recommender = CLIPSessionRecommender(
        published, max_epochs=1, early_stopping=False, random_state=0
    ).fit([[1, 2, 3], [2, 3], [3, 1, 2, 4]] * 5)
    expected = dict(published.training) | {"max_epochs": 1}  # explicit values win
    expected["batch_size"] = 30  # there are no more prefixes
    found = recommender.resolved_params_
    assert {key: found[key] for key in expected} == expected
