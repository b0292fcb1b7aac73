"""Yardsticks: simple recommenders with the same public contract."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skclip._encoding import training_data
from skclip._ranking import RankingMixin, rows_per_chunk
from skclip._state import StampedEstimator
from skclip._validation import _fit_context, accept_ragged

__all__ = ["PopularityRecommender"]


class PopularityRecommender(RankingMixin, StampedEstimator):
    """Rank the items by their number of training events, whatever the session.

    The first yardstick: a model that does not beat it has learned nothing about
    sessions.

    Parameters
    ----------
    scoring : str or callable, default="mrr@20"
        What `score` returns.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted.
    item_counts_ : ndarray of shape (n_items,)
        Training events of each item.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> popular = PopularityRecommender().fit([["a", "b"], ["b", "c"], ["b"]])
    >>> popular.predict_topk([["c"]], k=2).tolist()
    [['b', 'a']]
    """

    _parameter_constraints: dict = {"scoring": [str, callable]}

    def __init__(self, *, scoring="mrr@20"):
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
        """
        data = training_data(X, y)
        accept_ragged(self, X)
        self.item_ids_ = data.index.item_ids
        self.item_counts_ = data.item_counts()
        self._index = data.index
        return self

    def _score_chunks(self, queries):
        counts = torch.from_numpy(self.item_counts_.astype(np.float32))
        step = rows_per_chunk(len(counts))
        for start in range(0, len(queries), step):
            at = np.arange(start, min(start + step, len(queries)))
            yield at, counts.repeat(len(at), 1)

    def _check_fitted(self):
        check_is_fitted(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        return tags
