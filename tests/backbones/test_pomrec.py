"""PoMRec: its worked example, its equations one session at a time, its limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from common import small
from golden import OPTIONS, instances_of, session_vectors, states

from skclip import CLIPSessionRecommender
from skclip._model import Batches, SessionModel
from skclip._training._losses import FullSoftmax
from skclip._training._sampled_losses import Sampler
from skclip.backbones import PoMRec
from skclip.losses import BPR, BPRSoftmax


def phi(rows, columns, c):
    """sin(n c) for n = 1, 2, ..., row by row."""
    return torch.sin(c * torch.arange(1.0, rows * columns + 1)).view(rows, columns)


def new_model(spec, n_items, max_length):
    sizes = {"n_items": n_items, "max_length": max_length, "embedding_dim": 4}
    return SessionModel(spec, **sizes, **OPTIONS)


def worked_example(**params):
    """Five items, d = 4, a = 3, P = 1, at most 3 events, no biases."""
    defaults = {"n_interests": 2, "n_prompt_tokens": 1, "attention_dim": 3}
    spec = PoMRec(**(defaults | params))
    model = new_model(spec, 5, 3)
    network, K = model.network, spec.n_interests
    network.eps = 0.0
    values = {
        "item_table": phi(6, 4, 0.7)[1:],
        "network.positions": 0.1 * phi(4, 4, 0.3),
        "network.extractor_prompts": phi(1, 4, 1.1),
        "network.aggregator_prompts": phi(1, 4, 1.3),
        "network.extractor.inner.weight": phi(4, 3, 0.9).T,
        "network.extractor.outer.weight": phi(3, 2, 0.5).T[:K],
        "network.aggregator.inner.weight": phi(4, 3, 0.4).T,
        "network.aggregator.outer.weight": phi(3, 1, 0.6).T,
        "network.weight_mlp.0.weight": phi(4, 2, 0.8).T[:K],
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.copy_(values[name])
    return model.eval()


def batch_of(sessions, padding=0):
    batches = Batches(instances_of(sessions), torch.device("cpu"), True)
    batch = batches.batch(np.arange(len(sessions)))
    codes = torch.nn.functional.pad(batch.codes, (0, padding))
    return replace(batch, codes=codes)


@torch.no_grad()
def interests_of(model, sessions, padding=0):
    return model.network.interests(*model.inputs(batch_of(sessions, padding)))


def close(found, expected, atol=1e-5):
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    torch.testing.assert_close(found, expected.to(found.dtype), atol=atol, rtol=0)


@torch.no_grad()
def test_worked_example():
    model = worked_example()
    batch = batch_of([[2, 5, 3]])
    x, batch = model.inputs(batch)
    network = model.network
    h = network.tokens(x, batch)
    close(h[0, 0], [-0.051963, 0.569829, 0.890415, 0.754982])
    tokens, mask = network.prompted(h, batch.mask, network.extractor_prompts)
    A, mu, spread = network.extract(tokens, mask)
    close(A[0, :, 0], [0.256215, 0.089071, 0.371076, 0.283638])
    close(A[0, :, 1], [0.239026, 0.131562, 0.352834, 0.276578])
    close(mu[0, 0], [0.672209, 0.299295, -0.333770, -0.780917])
    close(spread[0, 0] / 3, [0.307512, 0.405839, 0.450401, 0.480497])
    found = network.interests(x, batch)
    close(found.vectors[0, 1], [1.645629, 1.509581, 1.254006, 1.000981])
    tokens, mask = network.prompted(h, batch.mask, network.aggregator_prompts)
    g = network.aggregator(tokens, mask)
    close(g[0, :, 0], [0.391916, 0.017428, 0.376305, 0.214351])
    close(found.weights[0], [0.621259, 0.378741])
    norms = found.dispersions.norm(dim=2)
    dominance = norms / (norms + found.centers.norm(dim=2))
    close(dominance[0], [0.689683, 0.728266])
    u = model.states(batch)
    close(u[0], [1.614016, 1.514074, 1.107032, 0.789499])
    close(
        model.scores(u, model.keys())[0],
        [-3.471791, 2.790503, -1.786758, 0.576543, 0.700294],
    )


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"dispersion_weight": 0}, [0.658313, 0.301730, -0.313543, -0.753697]),
        ({"dispersion_weight": 1}, [0.976881, 0.705844, 0.159982, -0.239298]),
        ({"dispersion_weight": 5}, [2.251152, 2.322303, 2.054083, 1.818296]),
        ({"n_interests": 1}, [1.594744, 1.516812, 1.017432, 0.660572]),
        ({"n_prompt_tokens": 0}, [1.582169, 1.099291, 1.246555, 1.054162]),
        ({"legacy_ones_padding": 2}, [1.676773, 1.818555, 1.987501, 2.134509]),
    ],
)
def test_worked_example_with_other_settings(params, expected):
    close(session_vectors(worked_example(**params), [[2, 5, 3]])[0].detach(), expected)


@torch.no_grad()
def test_worked_example_without_prompts_weighs():
    found = interests_of(worked_example(n_prompt_tokens=0), [[2, 5, 3]])
    close(found.weights[0], [0.604825, 0.395175])
    switched_off = worked_example(
        use_extractor_prompts=False, use_aggregator_prompts=False
    )
    close(interests_of(switched_off, [[2, 5, 3]]).weights, found.weights)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("kept", "expected"), [([0, 1], 2.300717), ([1], 2.317659)])
def test_worked_losses(shared, kept, expected, monkeypatch):
    model = worked_example()
    drawn = torch.tensor(kept)
    shares = torch.zeros(5, dtype=torch.float64)
    shares[drawn] = 1.0
    upto = (shares / shares.sum()).cumsum(0)
    draws = torch.tensor([float(upto[i]) for i in kept], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda size, **_: draws)
    loss = Sampler(BPRSoftmax(), len(kept), shares, shared=shared)
    state, targets = states(model, [[2, 5, 3]]), torch.tensor([3])
    close(loss(state, targets, lambda items: model.keys(items)), torch.tensor(expected))
    if len(kept) == 1:  # the plain loss
        loss = Sampler(BPR(), 1, shares, shared=shared)
        found = loss(state, targets, lambda items: model.keys(items))
        close(found, torch.tensor(expected))


def test_worked_cross_entropy():
    model = worked_example()
    loss = FullSoftmax()(states(model, [[2, 5, 3]]), torch.tensor([3]), model.keys)
    close(loss, torch.tensor(2.433190))


def test_equals_a_naive_loop(rng):
    """From the equations, one session, one interest and one token at a time."""
    spec = PoMRec(n_interests=3, n_prompt_tokens=2, weight_layers=2)
    model = new_model(spec, 9, 6).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.eval()
    p = {n.removeprefix("network."): v.detach().numpy()
         for n, v in model.named_parameters()}  # fmt: skip
    sessions = [[1, 2, 3, 1], [9], [5, 5, 4, 8, 7, 6]]
    found = interests_of(model, sessions)
    for i, session in enumerate(sessions):
        T = len(session)
        H = [
            p["item_table"][item - 1] + p["positions"][T - t]
            for t, item in enumerate(session)
        ]

        def attention(tokens, name, k):
            logits = [
                p[f"{name}.outer.weight"][k]
                @ np.tanh(p[f"{name}.inner.weight"] @ h + p[f"{name}.inner.bias"])
                for h in tokens
            ]
            shares = np.exp(np.array(logits) - max(logits))
            return shares / shares.sum()

        tokens = [*p["extractor_prompts"], *H]
        interests = []
        for k in range(3):
            a = attention(tokens, "extractor", k)
            mu = sum(w * h for w, h in zip(a, tokens, strict=True))
            q = sum(w * (h - mu) ** 2 for w, h in zip(a, tokens, strict=True))
            interests.append(mu + 3.0 * np.sqrt(q + 1e-8))
            np.testing.assert_allclose(
                found.assignments[i, :T, k], a[2:], rtol=0, atol=1e-12
            )
            assert (found.assignments[i, T:, k] == 0).all()
            np.testing.assert_allclose(found.prompt_share[i, k], a[:2].sum())
        np.testing.assert_allclose(found.vectors[i], interests, atol=1e-12, rtol=0)
        tokens = [*p["aggregator_prompts"], *H]
        g = attention(tokens, "aggregator", 0)
        c = sum(w * h for w, h in zip(g, tokens, strict=True))
        c = np.maximum(p["weight_mlp.0.weight"] @ c + p["weight_mlp.0.bias"], 0)
        logits = p["weight_mlp.3.weight"] @ c + p["weight_mlp.3.bias"]
        w = np.exp(logits - logits.max())
        w /= w.sum()
        np.testing.assert_allclose(found.weights[i], w, atol=1e-12, rtol=0)
        u = sum(wk * vk for wk, vk in zip(w, interests, strict=True))
        np.testing.assert_allclose(
            session_vectors(model, sessions)[i].detach(), u, atol=1e-12, rtol=0
        )


@torch.no_grad()
def test_prompts_behind_or_in_front_are_the_same():
    model = worked_example()
    network = model.network
    x, batch = model.inputs(batch_of([[2, 5, 3], [4]]))
    h = network.tokens(x, batch)
    front, mask = network.prompted(h, batch.mask, network.extractor_prompts)
    turned = [torch.roll(part, -1, dims=1) for part in (front, mask)]
    assert turned[0][0, -1].equal(network.extractor_prompts[0])
    A, mu, spread = network.extract(front, mask)
    A_behind, mu_behind, spread_behind = network.extract(*turned)
    close(torch.roll(A_behind, 1, dims=1), A, 1e-6)
    close(mu_behind, mu, 1e-6)
    close(spread_behind, spread, 1e-6)
    front, mask = network.prompted(h, batch.mask, network.aggregator_prompts)
    turned = [torch.roll(part, -1, dims=1) for part in (front, mask)]
    close(network.weigh(*turned), network.weigh(front, mask), 1e-6)


@torch.no_grad()
def test_padding_and_company_change_nothing():
    model = worked_example()
    alone = states(model, [[2, 5]])
    close(states(model, [[2, 5]], padding=1), alone, 1e-6)
    close(states(model, [[1, 2, 3], [2, 5]])[1:], alone, 1e-6)
    found = interests_of(model, [[1, 2, 3], [2, 5]])
    total = found.assignments.sum(dim=1) + found.prompt_share
    close(total, torch.ones(2, 2), 1e-6)
    close(found.weights.sum(dim=1), torch.ones(2), 1e-6)
    assert (found.assignments[1, 2:] == 0).all()


@torch.no_grad()
def test_the_newest_event_keeps_its_position():
    model = worked_example()
    network = model.network
    long, short = (
        network.tokens(*model.inputs(batch_of([session])))
        for session in ([2, 5, 3], [5, 3])
    )
    assert long[:, 1:].equal(short)


@pytest.mark.parametrize("dispersion", ["std", "var"])
def test_gradients_are_finite_where_one_token_stands_alone(dispersion):
    model = new_model(PoMRec(n_prompt_tokens=0, dispersion=dispersion), 5, 3)
    states(model, [[2]]).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


def test_one_interest_needs_no_weights():
    model = worked_example(n_interests=1)
    with torch.no_grad():
        assert (interests_of(model, [[2, 5, 3]]).weights == 1).all()
    states(model, [[2, 5, 3]]).square().sum().backward()
    for name, parameter in model.network.named_parameters():
        weighs = name.startswith(("aggregator", "weight_mlp"))
        assert bool(parameter.grad.abs().sum() < 1e-5) == (
            weighs or name.endswith("outer.bias")
        ), name


@torch.no_grad()
def test_other_aggregations():
    weighted, mean = worked_example(), worked_example(aggregation="mean")
    v = interests_of(weighted, [[2, 5, 3]]).vectors
    close(states(mean, [[2, 5, 3]]), v.mean(dim=1), 1e-6)
    nearest = worked_example(aggregation="max")
    state, keys = states(nearest, [[2, 5, 3]]), nearest.keys()
    products = v[0] @ keys.T
    close(nearest.scores(state, keys)[0], products.amax(dim=0), 1e-6)
    # In training the interest nearest to the target scores everything.
    nearest.train()
    for target in range(1, 6):
        batch = replace(batch_of([[2, 5, 3]]), targets=torch.tensor([target]))
        found = nearest.scores(nearest.states(batch), keys)
        chosen = products[:, target - 1].argmax()
        close(found[0], products[chosen], 1e-6)


def test_max_trains_and_has_no_session_vector(train, test):
    model = small(PoMRec(aggregation="max"), max_epochs=1).fit(train[:80])
    assert np.isfinite(model.decision_function(test[:5])).all()
    with pytest.raises(ValueError, match="aggregation='weighted'"):
        model.session_vectors(test[:2])


def test_ones_padding_up_to_the_number_of_prompts_is_none():
    one, padded = (
        PoMRec(n_prompt_tokens=5, legacy_ones_padding=n).build(4, 5, 3) for n in (0, 5)
    )
    one, padded = one.eval(), padded.eval()
    padded.load_state_dict(one.state_dict())
    fewer = PoMRec(legacy_ones_padding=5).build(4, 5, 3).eval()  # 4, and one of ones
    state = dict(one.state_dict())
    for name in ("extractor_prompts", "aggregator_prompts"):
        state[name] = state[name][:4]
    fewer.load_state_dict(state)
    x, batch = torch.randn(2, 3, 4), batch_of([[2, 5, 3], [1, 4]])
    u = one.encode(x, batch)
    assert padded.encode(x, batch).equal(u)
    assert not torch.allclose(fewer.encode(x, batch), u, atol=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_prompts_are_no_parameters(frozen):
    network = PoMRec(frozen_prompts=frozen).build(16, 5, 3)
    names = {name for name, _ in network.named_parameters()}
    prompts = {"extractor_prompts", "aggregator_prompts"}
    assert (prompts & names == set()) == frozen
    assert prompts <= set(network.state_dict())
    assert network.extractor_prompts.abs().sum() > 0


ONES = np.ones((5, 1), dtype=int)


@pytest.mark.parametrize(
    ("clusters", "options", "std"),
    [
        (None, {}, 0.01),
        (ONES, {}, 0.125),
        (ONES, {"normalization": "none"}, 0.01),
        (None, {"similarity": "cosine"}, 0.125),
        (None, {"fusion": {"kind": "gate", "n_features": 3}}, 0.125),
        (None, {"fusion": {"kind": "init", "n_features": 3}}, 0.01),
    ],
)
def test_prompt_tokens_begin_as_long_as_the_items(clusters, options, std):
    torch.manual_seed(0)
    spec, options = PoMRec(n_prompt_tokens=64), OPTIONS | options
    model = SessionModel(
        spec, clusters, n_items=5, embedding_dim=64, max_length=3, **options
    )
    for prompts in (model.network.extractor_prompts, model.network.aggregator_prompts):
        assert float(prompts.detach().std()) == pytest.approx(std, rel=0.1)
    assert float(model.network.extractor.inner.weight.detach().std()) < 0.02


def test_biases_are_spared_from_decay():
    network = PoMRec().build(8, 5, 3)
    weights, biases = network.param_groups()
    assert biases["weight_decay"] == 0.0
    assert "weight_decay" not in weights
    assert {p.dim() for p in biases["params"]} == {1}
    assert {p.dim() for p in weights["params"]} == {2}


def test_published_trains_by_one_negative_each():
    rows = [[1, 2, 3], [2, 3], [3, 1, 2, 4]] * 5
    model = CLIPSessionRecommender(PoMRec.published(), max_epochs=1, random_state=0)
    expected = {"loss": "bpr", "loss__n_negatives": 1, "loss__shared": False}
    assert expected.items() <= model.fit(rows).resolved_params_.items()
    for loss, name in (("cross_entropy",) * 2, (BPR(2, shared=True), "bpr")):
        model.set_params(loss=loss).fit(rows)  # what is given wins
        assert model.resolved_params_["loss"] == name
    assert model.resolved_params_["loss__n_negatives"] == 2
    assert model.resolved_params_["loss__shared"] is True


def test_it_learns_by_heart():
    """32 sessions whose next item follows from all that was seen."""
    rng = np.random.default_rng(0)
    X = [rng.choice(40, size=4, replace=False).tolist() for _ in range(32)]
    y = np.arange(40, 72)
    model = small("pomrec", prompt=None, embedding_dim=32, early_stopping=False)
    model.set_params(max_epochs=150, batch_size=32).fit(X, y)
    assert (model.predict(X) == y).mean() > 0.95
