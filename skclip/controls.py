"""Control conditions: clusters that do not depend on the sessions.

Use them instead of `SessionClusterer` in a comparison. If they bring the same gain, it
comes from the additional parameters and not from the clusters.
"""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skclip._clusters import (
    ItemClusterer,
    SessionClusterer,
    canonical_levels,
    known_ids_of,
    levels_of,
)
from skclip._data import training_data
from skclip._inside import weight_argument
from skclip._sklearn import HasMethods, _fit_context
from skclip._typing import (
    Estimator,
    Ids,
    RandomState,
    Self,
    SessionsLike,
    Weights,
)
from skclip._warnings import told_already

__all__ = ["OneCluster", "RandomClusters"]


class _Control(ItemClusterer):
    """A clusterer that is defined by ``_draw(X, y, data, sample_weight)``.

    The method returns item ids, their clusters (n_items, n_levels) and further fitted
    attributes.
    """

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Put the items of `X` and `y` into clusters.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next items.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more. Rows with weight 0 are left out.

        Returns
        -------
        self : object
            The estimator itself, fitted.
        """
        data = training_data(X, y, sample_weight=sample_weight)
        item_ids, levels, fitted = self._draw(X, y, data, sample_weight)
        return self._adopt_membership(X, item_ids, levels, **fitted)


class OneCluster(_Control):
    """Put all items into one cluster, so that they share one prompt.

    Attributes
    ----------
    item_ids_, membership_, levels_, n_clusters_, cluster_sizes_
        See `SessionClusterer`.

    Examples
    --------
    >>> from skclip.controls import OneCluster
    >>> OneCluster().fit([["a", "b"], ["c"]]).membership_.tolist()
    [0, 0, 0]
    """

    _parameter_constraints: dict = {}

    def _draw(self, X, y, data, sample_weight):
        return data.index.item_ids, np.zeros((data.n_items, 1), dtype=np.int32), {}


class RandomClusters(_Control):
    """Shuffle the clusters of another clusterer, and keep their sizes.

    Parameters
    ----------
    clusterer : SessionClusterer or compatible object, default=None
        Clusterer that determines the cluster sizes, at all its levels. None means a
        default `SessionClusterer`.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffle, and of `clusterer` if it has no seed.

    Attributes
    ----------
    item_ids_, membership_, levels_, n_clusters_, cluster_sizes_
        See `SessionClusterer`.
    clusterer_ : object
        The fitted clusterer.

    Examples
    --------
    >>> from skclip.controls import RandomClusters
    >>> X = [["a", "b", "c"], ["b", "a"], ["x", "y"], ["y", "x"]]
    >>> RandomClusters(random_state=0).fit(X).cluster_sizes_.tolist()
    [3, 2]
    """

    clusterer_: Estimator

    _parameter_constraints: dict = {
        "clusterer": [HasMethods(["fit"]), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self, clusterer: Estimator | None = None, *, random_state: RandomState = None
    ) -> None:
        self.clusterer = clusterer
        self.random_state = random_state

    def _draw(self, X, y, data, sample_weight):
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(2**31 - 1))
        known = SessionClusterer() if self.clusterer is None else clone(self.clusterer)
        if getattr(known, "random_state", 0) is None:
            known.random_state = seed
        with told_already():
            known = known.fit(X, y, **weight_argument(known, sample_weight))
        item_ids = known_ids_of(known)
        if item_ids is not None:
            data = data.with_items(item_ids, "The clusterer")
        item_ids = data.index.item_ids
        levels = levels_of(known, item_ids, data.has_events())
        levels = canonical_levels(random_state.permutation(levels))
        return item_ids, levels, {"clusterer_": known}
