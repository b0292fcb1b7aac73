"""Which clusters the items of a recommender's catalog have, and who says so."""

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
    """Clusters 1..K of the items, (n_items, n_levels), 0 = none; and who found them.

    `of_items` is None where clusters are not used, `clusterer` where the sessions
    carried them.
    """

    of_items: np.ndarray = None
    clusterer: object = None


def assign_clusters(data, clusterer, seed):
    """Cluster the items of `TrainingData`, unless its sessions carry clusters.

    `clusterer` None is a default `SessionClusterer`; `seed` is for one without a
    `random_state` of its own.
    """
    if data.clusters is not None:
        if clusterer is not None:
            warn_user(
                "The sessions carry clusters already, so `clusterer` is not used. "
                "Leave clusterer=None behind a SessionClusterer step."
            )
        clusters = data.item_clusters()
        if not clusters.any():
            raise ValueError(
                "The sessions carry clusters, but no item has one: the clusterer was "
                "fitted on other items, or on ids of another type. Fit it on these "
                "sessions."
            )
        return Assignment(clusters)
    if clusterer is None:
        clusterer = SessionClusterer()
    if not isinstance(clusterer, FrozenEstimator):  # a clone of that is itself
        clusterer = _seeded(clone(clusterer, safe=False), seed)
    with told_already():
        clusterer = clusterer.fit(*data.as_fit_arguments(), **_weights(clusterer, data))
    levels = levels_of(clusterer, data.index.item_ids, data.has_events())
    return Assignment((levels + 1).astype(np.int32), clusterer)


def extend_clusters(before, data, grown, seed):
    """Let the clusters of an `Assignment` go on with further sessions.

    `data` and `grown` are the sessions in codes of their own, and in those of the
    catalog that has grown. Sessions that carry clusters and should not, or do not and
    should, are refused with a ValueError, a clusterer without ``partial_fit`` with a
    TypeError.
    """
    if before.of_items is None:
        return before
    if before.clusterer is None:
        return Assignment(_carried(before.of_items, grown))
    if data.clusters is not None:
        raise ValueError(
            "The sessions carry clusters, but the model has a clusterer of its own, "
            "whose numbers are others. Pass the sessions as they were before the "
            "clusterer step."
        )
    if not hasattr(before.clusterer, "partial_fit"):
        raise TypeError(
            f"{type(before.clusterer).__name__} has no partial_fit, so its clusters "
            "cannot take new sessions in. Use SessionClusterer, or fit on all sessions."
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
    """Clusters of a catalog that has grown: the new items have none."""
    return np.pad(of_items, ((0, n_items - len(of_items)), (0, 0)))


def _carried(of_items, grown):
    if grown.clusters is None:
        raise ValueError(
            "The model was fitted on sessions that carried clusters; these carry "
            "none. Pass them through the same clusterer, after its partial_fit."
        )
    found = grown.item_clusters()
    if found.shape[1] != of_items.shape[1]:
        raise ValueError(
            f"The sessions carry {found.shape[1]} level(s) of clusters, those of fit "
            f"had {of_items.shape[1]}. Pass them through the same clusterer."
        )
    has_one = (found > 0).any(axis=1, keepdims=True)
    return np.where(has_one, found, with_new_items(of_items, grown.n_items))


def _weights(clusterer, data):
    """Weights of targets, for a clusterer that takes them; sessions carry the rest."""
    weights = data.target_weights()
    if weights is None or not has_fit_parameter(clusterer, "sample_weight"):
        return {}
    return {"sample_weight": weights}


def _seeded(clusterer, seed):
    if getattr(clusterer, "random_state", 0) is None:
        clusterer.random_state = int(seed)
    return clusterer
