"""Popularity, whatever the session."""

from numbers import Real

import numpy as np

from skclip._sklearn import Interval, _fit_context
from skclip.baselines._base import (
    SECONDS_PER_DAY,
    BaselineRecommender,
    fitted_catalog,
)


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
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted.
    item_counts_ : ndarray of shape (n_items,)
        Training events of each item.
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
        "half_life": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [str, callable],
    }

    def __init__(self, *, half_life=None, scoring="mrr@20"):
        self.half_life = half_life
        self.scoring = scoring

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Count the events of each item, targets included.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next items.

        Returns
        -------
        self : PopularityRecommender
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            `half_life` is given and the sessions have no times.
        """
        data = self._training_data(X, y)
        scores = _faded_counts(data, self.half_life)
        return self._adopt(X, **fitted_catalog(data), item_scores_=scores)

    _reads_sessions = False

    def _base_scores(self):
        return self.item_scores_

    def _add_scores(self, scores, observed):
        """Add nothing: the scores do not depend on the session."""


def _faded_counts(data, half_life):
    """Number of events of each item, older ones counting less, float32."""
    if half_life is None:
        return data.item_counts().astype(np.float32)
    if data.end_times is None:
        raise ValueError(
            f"half_life={half_life} needs sessions with times. Pass time= "
            "to Sessions.from_events, or half_life=None."
        )
    ages = (data.end_times.max() - data.end_times) / SECONDS_PER_DAY
    weights = np.repeat(0.5 ** (ages / half_life), np.diff(data.offsets))
    counts = np.bincount(data.codes, weights, data.n_items + 1)[1:]
    return counts.astype(np.float32)
