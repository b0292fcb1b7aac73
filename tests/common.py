"""What several test files share beside fixtures."""

from pathlib import Path

import numpy as np

from skclip import CLIPSessionRecommender

GOLDEN = Path(__file__).parent / "golden"


def small(backbone="gru4rec", **params):
    """A recommender that trains in a moment."""
    model = CLIPSessionRecommender(
        backbone, embedding_dim=16, max_epochs=2, batch_size=256, random_state=0,
        n_threads=1, device="cpu", repeats=False,
    )  # fmt: skip
    return model.set_params(**params)


def same(model, other, X):
    """Both give sessions the same scores, bit for bit."""
    scores = model.decision_function(X)
    np.testing.assert_array_equal(scores, other.decision_function(X))
