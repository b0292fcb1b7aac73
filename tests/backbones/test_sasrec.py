"""SASRec against the equations, one event at a time."""

import numpy as np
import pytest
import torch
from common import small
from golden import OPTIONS, session_vectors

from skclip._model import SessionModel
from skclip.backbones import SASRec
from skclip.losses import GBCE, CrossEntropy, SampledSoftmax

SESSIONS = [[1, 2, 3, 1], [9], [5, 5, 4, 8, 7, 6]]


def new_model(spec, dim=4):
    """A model whose parameters are all random, so that none of them can be left out."""
    torch.manual_seed(1)
    model = SessionModel(spec, None, n_items=9, embedding_dim=dim, max_length=6,
                         **OPTIONS)  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.double().eval()


def norm(p, name, x):
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-8)
    return p[f"{name}.weight"] * x + p[f"{name}.bias"]


def linear(p, name, x):
    return p[f"{name}.weight"] @ x + p.get(f"{name}.bias", 0.0)


def attention(p, name, queries, xs, n_heads):
    """What each place finds at those up to itself, all heads side by side."""
    found = []
    for t, query in enumerate(queries):
        seen, q = xs[: t + 1], np.split(linear(p, f"{name}.q", query), n_heads)
        keys = [np.split(linear(p, f"{name}.k", x), n_heads) for x in seen]
        values = [np.split(linear(p, f"{name}.v", x), n_heads) for x in seen]
        heads = []
        for h in range(n_heads):
            own = [q[h] @ key[h] / np.sqrt(len(q[h])) for key in keys]
            weights = np.exp(own) / np.exp(own).sum()
            heads.append(sum(w * v[h] for w, v in zip(weights, values, strict=True)))
        found.append(np.concatenate(heads))
    return found


def expected_vector(p, spec, session):
    rows = [p["item_table"][item - 1] for item in session]
    xs = [np.sqrt(len(e)) * e + p["positions"][t] for t, e in enumerate(rows)]
    for k in range(spec.n_layers):
        name = f"layers.{k}"
        queries = [norm(p, f"{name}.ln1", x) for x in xs]
        found = attention(p, name, queries, xs, spec.n_heads)
        ys = [
            norm(p, f"{name}.ln2", q + a) for q, a in zip(queries, found, strict=True)
        ]
        xs = [
            y + linear(p, f"{name}.ff2", np.maximum(0, linear(p, f"{name}.ff1", y)))
            for y in ys
        ]
    return norm(p, "ln_out", xs[-1])


@pytest.mark.parametrize("spec", [SASRec(), SASRec(n_layers=3, n_heads=2)], ids=repr)
@torch.no_grad()
def test_equals_a_naive_loop(spec):
    model = new_model(spec)
    p = {n.removeprefix("network."): v.numpy() for n, v in model.named_parameters()}
    found = session_vectors(model, SESSIONS)
    for session, vector in zip(SESSIONS, found, strict=True):
        expected = expected_vector(p, spec, session)
        np.testing.assert_allclose(vector, expected, atol=1e-11, rtol=0)


@torch.no_grad()
def test_order_counts_and_what_comes_later_does_not():
    model = new_model(SASRec())
    long, other, turned = [1, 2, 3, 4], [1, 2, 3, 9], [2, 1, 3, 4]
    vectors = session_vectors(model, [long, other, turned], every_prefix=True)
    first, second, third = vectors.unflatten(0, (3, 4))
    torch.testing.assert_close(first[:3], second[:3], rtol=0, atol=1e-12)
    assert ((first[3] - second[3]).abs() > 1e-3).any()
    assert ((first[1:] - third[1:]).abs() > 1e-3).any(dim=1).all()


def test_long_sessions_are_those_of_their_latest_events(train):
    """In training a prefix that is cut begins at the first position as well."""
    model = small(SASRec(), max_session_length=3, max_epochs=1).fit(train)
    row = model.item_ids_[:6].tolist()
    scores = model.decision_function([row, row[-3:]])
    np.testing.assert_array_equal(*scores)
    assert model._fitted.model.network.positions.shape == (3, 16)


def test_published_configuration():
    spec = SASRec.published()
    assert (spec.n_layers, spec.n_heads, spec.dropout) == (2, 1, 0.5)
    rec = small(spec, max_epochs=1).fit([[1, 2, 3], [2, 3], [3, 1, 2, 4]] * 5)
    chosen = rec.resolved_params_
    assert chosen["loss"] == "gbce"
    assert (chosen["loss__n_negatives"], chosen["loss__shared"]) == (1, False)
    assert chosen["loss__t"] == 0.0
    rec.set_params(loss=GBCE(2, t=1.0)).fit([[1, 2, 3], [2, 3], [3, 1, 2, 4]] * 5)
    assert rec.resolved_params_["loss__t"] == 1.0  # what is given wins


LOSSES = [CrossEntropy(), GBCE(30), GBCE(30, t=1.0), SampledSoftmax(30)]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_each_loss_trains(loss, train, test):
    model = small(SASRec(), loss=loss, learning_rate=0.03, batch_size=128)
    n_epochs = 14 if isinstance(loss, GBCE) else 4  # it learns slowly
    model.set_params(max_epochs=n_epochs).fit(train)
    assert model.score(test) > 0.25  # popularity has 0.14


def test_it_learns_by_heart():
    """32 sessions whose next item follows from all that was seen."""
    rng = np.random.default_rng(0)
    X = [rng.choice(40, size=4, replace=False).tolist() for _ in range(32)]
    y = np.arange(40, 72)
    model = small("sasrec", prompt=None, embedding_dim=32, batch_size=32)
    model.set_params(max_epochs=60).fit(X, y)
    assert (model.predict(X) == y).mean() > 0.95
