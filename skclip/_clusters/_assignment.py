"""Clusters of the items of a recommender's catalog, and where they come from."""

import copy
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import has_fit_parameter

from skclip._clusters._clusterer import SessionClusterer
from skclip._clusters._membership import levels_of
from skclip._warnings import told_already, warn_user


@dataclass(frozen=True)
class Assignment:
    """Clusters of the items, and the clusterer that found them.

    `of_items` (n_items, n_levels) has clusters 1..K and 0 for none. It is None if
    clusters are not used. `clusterer` is None if the sessions carried the clusters.
    """

    of_items: np.ndarray = None
    clusterer: object = None


def assign_clusters(data, clusterer, seed):
    """Cluster the items of `TrainingData`, unless its sessions carry clusters.

    If `clusterer` is None, a default `SessionClusterer` is used. It gets `seed` if its
    `random_state` is None.
    """
    if data.clusters is not None:
        if clusterer is not None:
            warn_user(
                "The sessions already carry clusters, so `clusterer` is not used. "
                "Leave clusterer=None in a recommender behind a SessionClusterer step."
            )
        clusters = data.item_clusters()
        if not clusters.any():
            raise ValueError(
                "The sessions carry clusters, but no item has one. The clusterer was "
                "fitted on other items or on ids of another type. Fit it on these "
                "sessions."
            )
        return Assignment(clusters)
    if clusterer is None:
        clusterer = SessionClusterer()
    if not isinstance(clusterer, FrozenEstimator):  # its clone is itself
        clusterer = _seeded(clone(clusterer, safe=False), seed)
    with told_already():
        clusterer = clusterer.fit(*data.as_fit_arguments(), **_weights(clusterer, data))
    levels = levels_of(clusterer, data.index.item_ids, data.has_events())
    return Assignment((levels + 1).astype(np.int32), clusterer)


def extend_clusters(before, data, grown, seed):
    """Update the clusters of an `Assignment` with further sessions.

    `data` has the sessions in their own codes, `grown` in the codes of the grown
    catalog. A ValueError is raised if the sessions carry clusters and the ones of fit
    did not, or the other way round. A clusterer without ``partial_fit`` raises a
    TypeError.
    """
    if before.of_items is None:
        return before
    if before.clusterer is None:
        return Assignment(_carried(before.of_items, grown))
    if data.clusters is not None:
        raise ValueError(
            "The sessions carry clusters, but the model has its own clusterer with "
            "other cluster numbers. Pass the sessions as they were before the "
            "clusterer step."
        )
    if not hasattr(before.clusterer, "partial_fit"):
        raise TypeError(
            f"{type(before.clusterer).__name__} has no partial_fit, so its clusters "
            "cannot be updated. Use SessionClusterer, or call fit with all sessions."
        )
    clusterer = copy.deepcopy(before.clusterer)
    frozen = isinstance(clusterer, FrozenEstimator)  # its partial_fit is the inner one
    _seeded(clusterer.estimator if frozen else clusterer, seed)
    with told_already():
        X, y = data.as_fit_arguments()
        clusterer = clusterer.partial_fit(X, y, **_weights(clusterer, data))
    levels = levels_of(clusterer, grown.index.item_ids)
    return Assignment((levels + 1).astype(np.int32), clusterer)


def with_new_items(of_items, n_items):
    """Return the clusters of a grown catalog, in which new items have none."""
    return np.pad(of_items, ((0, n_items - len(of_items)), (0, 0)))


def _carried(of_items, grown):
    if grown.clusters is None:
        raise ValueError(
            "The model was fitted on sessions that carried clusters, but these carry "
            "none. Transform them with the same clusterer, after its partial_fit."
        )
    found = grown.item_clusters()
    if found.shape[1] != of_items.shape[1]:
        raise ValueError(
            f"The sessions carry {found.shape[1]} level(s) of clusters, those of fit "
            f"had {of_items.shape[1]}. Transform them with the same clusterer."
        )
    has_one = (found > 0).any(axis=1, keepdims=True)
    return np.where(has_one, found, with_new_items(of_items, grown.n_items))


def _weights(clusterer, data):
    """Weights of targets as fit arguments, if the clusterer accepts them."""
    weights = data.target_weights()
    if weights is None or not has_fit_parameter(clusterer, "sample_weight"):
        return {}
    return {"sample_weight": weights}


def _seeded(clusterer, seed):
    if getattr(clusterer, "random_state", 0) is None:
        clusterer.random_state = int(seed)
    return clusterer
