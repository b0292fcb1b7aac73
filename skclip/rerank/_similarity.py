"""How alike items are: cosine of vectors, or whether clusters are the same."""

import numpy as np
from sklearn.base import clone
from sklearn.preprocessing import normalize

from skclip._clusters import SessionClusterer
from skclip._data import ItemFeatures, as_item_features, rows_of_items
from skclip._inside import clusterer_inside, weight_argument


def read_similarity(similarity, X, y, sample_weight=None):
    """A similarity as text, a fitted clusterer or `ItemFeatures`; refuses wrong ones.

    It needs no base, so it comes before time goes into fitting one.
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
    """Kind of a similarity of `read_similarity`, and what it is computed from.

    The second is an array (n_items, n_dims) of vectors of length 1 or 0, float32, or
    (n_items, 1) of clusters, int32, -1 = none.
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


def clusters_of(clusterer, index):
    """Cluster of each item of a catalog, 0-based, -1 = none, (n_items,), int32."""
    clusters = np.full(len(index) + 1, -1, dtype=np.int32)
    clusters[index.codes_of(clusterer.item_ids_)] = clusterer.membership_
    clusters[0] = -1  # where items that are not in the catalog went
    return clusters[1:]


def check_clusters_items(clusterer):
    """Refuse a fitted estimator that clusters no items."""
    if not hasattr(clusterer, "membership_"):
        raise TypeError(
            f"{type(clusterer).__name__} has no membership_ after fit. Pass a "
            "clusterer of items, such as SessionClusterer()."
        )


def similarities(table, columns):
    """Similarity of the items of each row, (n, m, m), float32; `columns` (n, m)."""
    values = table[columns]
    if values.dtype == np.float32:
        return values @ values.transpose(0, 2, 1)
    clusters = values[..., 0]
    same = (clusters[:, :, None] == clusters[:, None]) & (clusters >= 0)[:, None]
    return same.astype(np.float32)
