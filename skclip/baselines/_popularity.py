"""Popularity, whatever the session."""

import numpy as np

from skclip.baselines._base import POSITIVE, BaselineRecommender, ages_in_days


class PopularityRecommender(BaselineRecommender):
    r"""Rank the items by their number of training events, whatever the session.

    The simplest baseline: a model that does not beat it has learned nothing about
    sessions. With a half-life, an event of a session that ended :math:`a` days before
    the last one counts :math:`2^{-a / \mathrm{half\_life}}`.

    Parameters
    ----------
    half_life : float, default=None
        Days after which an event counts half; needs sessions with times. None counts
        all events equally.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    item_ids_, item_counts_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted, and the training events of each.
    item_scores_ : ndarray of shape (n_items,), float32
        Score of each item, the same for all sessions.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> popular = PopularityRecommender().fit([["a", "b"], ["b", "c"], ["b"]])
    >>> popular.predict_topk([["c"]], k=2).tolist()
    [['b', 'a']]
    """

    _parameter_constraints: dict = {
        "half_life": [POSITIVE, None],
        "scoring": [str, callable],
    }

    def __init__(self, *, half_life=None, scoring="mrr@20"):
        self.half_life = half_life
        self.scoring = scoring

    def _learn(self, data):
        scores = data.item_counts()
        if self.half_life is not None:
            ages = ages_in_days(data, "half_life", self.half_life)
            weights = np.repeat(0.5 ** (ages / self.half_life), np.diff(data.offsets))
            scores = np.bincount(data.codes, weights, data.n_items + 1)[1:]
        return {"item_scores_": scores.astype(np.float32)}

    def _base_scores(self):
        return self.item_scores_

    def _add_scores(self, scores, queries):
        """Add nothing: the scores do not depend on the session."""
