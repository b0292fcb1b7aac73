"""Similarity of items: cosine of vectors, or 1 for the same cluster."""

import numpy as np
from sklearn.base import clone
from sklearn.preprocessing import normalize

from skclip._clusters import SessionClusterer
from skclip._data import ItemFeatures, as_item_features, rows_of_items
from skclip._inside import clusterer_inside, weight_argument
from skclip._ranking import clusters_of


def read_similarity(similarity, X, y, sample_weight=None):
    """Check a similarity and return it as text, a fitted clusterer or `ItemFeatures`.

    It needs no base, so errors are raised before the base is fitted.
    """
    if isinstance(similarity, str):
        return similarity
    if hasattr(similarity, "fit"):
        weights = weight_argument(similarity, sample_weight)
        clusterer = clone(similarity).fit(X, y, **weights)
        check_clusters_items(clusterer)
        return clusterer
    return as_item_features(similarity, "similarity")


def item_table(similarity, estimator, base, X, y, random_state, sample_weight=None):
    """Return the kind of a similarity, and the table to compute it from.

    `similarity` comes from `read_similarity`. The table has vectors of length 1 or 0,
    (n_items, n_dims), float32, or clusters, (n_items, 1), int32, -1 for none.
    """
    if not isinstance(similarity, str):
        if not isinstance(similarity, ItemFeatures):
            return "clusters", _clusters(similarity, base)
        rows = rows_of_items(similarity, base.item_ids_, "similarity")
        return "features", normalize(rows)
    has_vectors = hasattr(base, "item_vectors_")
    if similarity == "vectors" and not has_vectors:
        raise TypeError(
            f"similarity='vectors' needs item_vectors_, and {type(base).__name__} has "
            "none. Pass similarity='clusters', or item features."
        )
    if has_vectors and similarity != "clusters":
        return "vectors", normalize(base.item_vectors_)
    clusterer = clusterer_inside(estimator)
    if clusterer is None:
        clusterer = SessionClusterer(random_state=random_state)
        clusterer.fit(X, y, sample_weight)
    return "clusters", _clusters(clusterer, base)


def _clusters(clusterer, base):
    return clusters_of(clusterer, base._index)[:, None]


def check_clusters_items(clusterer):
    """Raise an error for a fitted estimator that does not cluster items."""
    if not hasattr(clusterer, "membership_"):
        raise TypeError(
            f"{type(clusterer).__name__} has no membership_ after fit. Pass a "
            "clusterer of items, such as SessionClusterer()."
        )


def similarities(table, columns):
    """Similarity of the items of each row of `columns` (n, m): (n, m, m), float32."""
    values = table[columns]
    if values.dtype == np.float32:
        return values @ values.transpose(0, 2, 1)
    clusters = values[..., 0]
    same = (clusters[:, :, None] == clusters[:, None]) & (clusters >= 0)[:, None]
    return same.astype(np.float32)
