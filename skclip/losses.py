"""What a recommender is trained by: the full softmax, or losses on a sample.

Pass one as ``loss=`` to `CLIPSessionRecommender` where a name does not say enough. Its
parameters can be searched as ``loss__n_negatives`` and so on.
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
