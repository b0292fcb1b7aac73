"""What several test files share beside fixtures."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from skclip import CLIPSessionRecommender

GOLDEN = Path(__file__).parent / "golden"
# Engines of SessionClusterer that are extras, and what they import.
EXTRA_ENGINES = {
    engine: pytest.param(
        engine,
        marks=pytest.mark.skipif(
            find_spec(package) is None, reason=f"needs the package {package}"
        ),
    )
    for engine, package in {
        "networkit": "networkit",
        "graspologic": "graspologic_native",
    }.items()
}


def small(backbone="gru4rec", **params):
    """A recommender that trains in a moment, to the same bits each time."""
    model = CLIPSessionRecommender(
        backbone, embedding_dim=16, max_epochs=2, batch_size=256, random_state=0,
        n_threads=1, device="cpu", precision="float32", repeats=False,
    )  # fmt: skip
    return model.set_params(**params)


def same(model, other, X):
    """Both give sessions the same scores, bit for bit."""
    scores = model.decision_function(X)
    np.testing.assert_array_equal(scores, other.decision_function(X))


def unit(v):
    """A vector of length 1, or zeros."""
    return v / max(np.linalg.norm(v), 1e-12)


def sigmoid(x):
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def fused(kind, e, t, n, p):
    """Vector of one item by the equations of a `Fusion`, p being its state.

    e is the learned vector, t the features, n the training events.
    """
    if kind in ("init", "init_frozen"):
        return e
    if kind == "late":
        return e if n else 0 * e
    phi = t @ p["phi.weight"].T + p["phi.bias"] if t.any() else np.zeros(len(e))
    text = unit(phi)
    if kind == "add":
        return (unit(e) if n else 0) + p["gamma"] * text
    if kind == "concat":
        return p["W_c.weight"] @ np.concatenate([e if n else 0 * e, phi])
    g = sigmoid(p["w_e"] @ unit(e) + p["w_t"] @ text + p["c"] * np.log(1 + n) + p["b"])
    g = 0.0 if n == 0 else g if t.any() else 1.0
    return g * unit(e) + (1 - g) * text
