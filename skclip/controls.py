"""Clusterers that know nothing of sessions: what a gain of prompts is compared with.

They go through the same code as `SessionClusterer`. A gain that they give as well is a
gain of capacity, not of clusters.
"""

from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skclip._clusters import ItemClusterer, SessionClusterer, levels_of
from skclip._data import training_data
from skclip._sklearn import HasMethods, Interval, _fit_context

__all__ = ["OneCluster", "PopularityBuckets", "RandomClusters"]


class OneCluster(ItemClusterer):
    """All items in one cluster: one prompt for all.

    Attributes
    ----------
    item_ids_, membership_, levels_, n_clusters_, cluster_sizes_
        As those of `SessionClusterer`.

    Examples
    --------
    >>> from skclip.controls import OneCluster
    >>> OneCluster().fit([["a", "b"], ["c"]]).membership_.tolist()
    [0, 0, 0]
    """

    _parameter_constraints: dict = {}

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the items of `X` (and of `y`).

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Targets.

        Returns
        -------
        self : OneCluster
            The estimator itself, fitted.
        """
        data = training_data(X, y)
        return self._adopt_membership(
            X, data.index.item_ids, np.zeros(data.n_items, dtype=np.int32)
        )


class RandomClusters(ItemClusterer):
    """Random clusters of the same sizes as another clusterer's, at all its levels.

    Parameters
    ----------
    clusterer : SessionClusterer or compatible object, default=None
        Whose sizes; None is a default `SessionClusterer`.
    random_state : int, RandomState instance or None, default=None
        Draws which items go where, and seeds `clusterer` if that has no seed.

    Attributes
    ----------
    item_ids_, membership_, levels_, n_clusters_, cluster_sizes_
        As those of `SessionClusterer`.
    clusterer_ : object
        The fitted clusterer.

    Examples
    --------
    >>> from skclip.controls import RandomClusters
    >>> X = [["a", "b", "c"], ["b", "a"], ["x", "y"], ["y", "x"]]
    >>> RandomClusters(random_state=0).fit(X).cluster_sizes_.tolist()
    [3, 2]
    """

    _parameter_constraints: dict = {
        "clusterer": [HasMethods(["fit"]), None],
        "random_state": ["random_state"],
    }

    def __init__(self, clusterer=None, *, random_state=None):
        self.clusterer = clusterer
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Cluster the items of `X`, then shuffle them.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Targets.

        Returns
        -------
        self : RandomClusters
            The estimator itself, fitted.
        """
        data = training_data(X, y)
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(2**31 - 1))
        known = SessionClusterer() if self.clusterer is None else clone(self.clusterer)
        if getattr(known, "random_state", 0) is None:
            known.random_state = seed
        self.clusterer_ = known.fit(X, y)
        ids = getattr(self.clusterer_, "item_ids_", data.index.item_ids)
        if len(ids) > data.n_items:  # it knows features of items that no session has
            data = data.with_items(ids)
        clicked = data.item_counts() > 0
        levels = levels_of(self.clusterer_, data.index.item_ids, clicked)
        return self._adopt_membership(
            X, data.index.item_ids, random_state.permutation(levels)
        )


class PopularityBuckets(ItemClusterer):
    """Items of similar popularity in one cluster, clusters of about equal size.

    Parameters
    ----------
    n_clusters : int, default=20
        At most; fewer where there are fewer items.

    Attributes
    ----------
    item_ids_, membership_, levels_, n_clusters_, cluster_sizes_
        As those of `SessionClusterer`.

    Examples
    --------
    >>> from skclip.controls import PopularityBuckets
    >>> PopularityBuckets(2).fit([["a", "b", "a"], ["a", "b", "c"], ["d"]]).membership_
    array([0, 0, 1, 1], dtype=int32)
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_clusters=20):
        self.n_clusters = n_clusters

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Count the events of each item of `X` (and `y`).

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Targets.

        Returns
        -------
        self : PopularityBuckets
            The estimator itself, fitted.
        """
        data = training_data(X, y)
        order = np.argsort(-data.item_counts(), kind="stable")
        membership = np.empty(data.n_items, dtype=np.int64)
        membership[order] = np.arange(data.n_items) * self.n_clusters // data.n_items
        return self._adopt_membership(X, data.index.item_ids, membership)
