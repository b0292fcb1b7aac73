"""Training losses: the full softmax, and losses on a sample of the catalog.

Pass a loss object as ``loss=`` to `CLIPSessionRecommender` to set its parameters. In
a search they have names such as ``loss__n_negatives``.
"""

from skclip._training import (
    BPR,
    GBCE,
    BPRMax,
    BPRSoftmax,
    CrossEntropy,
    SampledSoftmax,
)

__all__ = ["BPR", "GBCE", "BPRMax", "BPRSoftmax", "CrossEntropy", "SampledSoftmax"]
