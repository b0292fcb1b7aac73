"""Popularity ranking, the same for every session."""

from __future__ import annotations

import numpy as np

from skclip._typing import FloatArray, Scoring
from skclip.baselines._base import (
    POSITIVE,
    SECONDS_PER_DAY,
    CountingRecommender,
    needs_times,
)


class PopularityRecommender(CountingRecommender):
    r"""Rank the items by their number of training events, the same for every session.

    This is the simplest baseline. A model that does not beat it has learned nothing
    about sessions. With a half-life, events count less with age: an event of a session
    that ended :math:`a` days before the last one counts
    :math:`2^{-a / \mathrm{half\_life}}`. Event weights multiply the counts.

    Parameters
    ----------
    half_life : float, default=None
        Number of days after which an event counts half. It requires sessions with
        times. Events of sessions without a time always count fully. None counts all
        events equally.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    item_ids_, item_counts_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted, then new items of `partial_fit`, and
        their numbers of training events, or sums of event weights.
    item_scores_ : ndarray of shape (n_items,), float32
        Score of each item, the same for all sessions.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> popular = PopularityRecommender().fit([["a", "b"], ["b", "c"], ["b"]])
    >>> popular.predict_topk([["c"]], k=2).tolist()
    [['b', 'a']]
    """

    item_scores_: FloatArray

    _parameter_constraints: dict = {
        "half_life": [POSITIVE, None],
        "scoring": [str, callable],
    }

    def __init__(
        self, *, half_life: float | None = None, scoring: Scoring = "mrr@20"
    ) -> None:
        self.half_life = half_life
        self.scoring = scoring

    def _learn(self, data):
        if self.half_life is None:
            return {"item_scores_": data.item_counts().astype(np.float32)}
        if data.end_times is None:
            raise needs_times("half_life", self.half_life)
        latest = np.nanmax(data.end_times)
        return _fading_scores(*self._weights(data, latest), latest)

    def _grow(self, data, item_counts):
        if self.half_life is None:
            return {"item_scores_": item_counts.astype(np.float32)}
        self._check_times(True, data)
        latest = max(self._latest, np.nanmax(data.end_times))
        dated, undated = self._weights(data, latest)
        n_before = len(self.item_scores_)
        fading = self._dated * self._factor(latest - self._latest)
        dated = dated + np.pad(fading, (0, len(dated) - n_before))
        undated = undated + np.pad(self._undated, (0, len(undated) - n_before))
        return _fading_scores(dated, undated, latest)

    def _factor(self, seconds):
        """Factor of an event of this age."""
        return 0.5 ** (seconds / SECONDS_PER_DAY / self.half_life)

    def _weights(self, data, latest):
        """Sums of the event factors of each item, with and without a time.

        Sessions without a time are treated as if they were the latest.
        """
        factors = self._factor(latest - data.end_times)
        factors = np.repeat(factors, np.diff(data.offsets))
        dated, n = ~np.isnan(factors), data.n_items + 1
        weights = data.weights_at(slice(None))
        undated = np.bincount(data.codes[~dated], weights[~dated], n)[1:]
        factors = factors * weights
        return np.bincount(data.codes[dated], factors[dated], n)[1:], undated

    def _base_scores(self):
        return self.item_scores_

    def _add_scores(self, scores, queries):
        """Add nothing: the scores do not depend on the session."""


def _fading_scores(dated, undated, latest):
    """Fitted attributes: scores at the latest end time, and the sums behind them."""
    return {
        "item_scores_": (dated + undated).astype(np.float32),
        "_dated": dated,
        "_undated": undated,
        "_latest": float(latest),
    }
