"""Clusters that a fitted clusterer found for the items of a catalog."""

import numpy as np

from skclip._data import ItemIndex, labels, other_type, unmasked


def levels_of(clusterer, item_ids, clicked=None):
    """Return the clusters of each item of a catalog, (n_items, n_levels).

    Clusters are 0, 1, ..., or -1 for items without one. They come from ``levels_`` if
    the clusterer has it, and from ``membership_`` if not. `clicked` marks the items
    that the clusterer was fitted on, for a clusterer without ``item_ids_``. A
    ValueError is raised if clusters are missing or have a wrong shape or number.
    """
    ids = known_ids_of(clusterer)
    if ids is None and clicked is None:
        raise ValueError(
            f"{type(clusterer).__name__} has no item_ids_ beside membership_, so after "
            "partial_fit its clusters cannot be assigned to items. Set item_ids_ to "
            "the raw ids, in the order of membership_."
        )
    if ids is None:
        ids = item_ids[clicked]
    levels = _checked(clusterer, len(ids))
    if ids.tolist() == item_ids.tolist():
        return levels
    known = ItemIndex(ids)
    codes = known.codes_of(item_ids)
    check_known(item_ids[codes == 0], known, clusterer)
    if not codes.any():
        raise ValueError(
            f"{type(clusterer).__name__} was fitted on none of the {len(item_ids)} "
            f"items, such as {item_ids.tolist()[0]!r:.60}. Its item_ids_ are "
            f"{ids.tolist()[:3]!r:.60}... Fit it on these sessions, and set item_ids_ "
            "to raw ids."
        )
    none = np.full((1, levels.shape[1]), -1)
    return np.concatenate([none, levels])[codes]


def known_ids_of(clusterer):
    """Return the raw ids of a fitted clusterer, in its order, or None."""
    ids = getattr(clusterer, "item_ids_", None)
    native = isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype != object
    if ids is None or native:
        return ids
    return labels(ids, "clusterer.item_ids_")


def check_known(unknown, known, clusterer):
    """Refuse items that the clusterer probably has as ids of another type."""
    hint = other_type(unknown, known)
    if hint:
        raise ValueError(
            f"The clusterer, {type(clusterer).__name__}, has ids of another type than "
            f"the sessions. {hint}"
        )


def _checked(clusterer, n_items):
    """Return the clusters (n_items, n_levels) of a clusterer, after checks."""
    found = getattr(clusterer, "membership_", None)
    if found is None:
        raise ValueError(
            f"{type(clusterer).__name__} has no membership_ after fit. Set it to the "
            "cluster (0, 1, ...) of each item, in the order of the sorted item ids."
        )
    found = unmasked(found, "clusterer.membership_")
    if found.shape != (n_items,):
        raise ValueError(
            f"clusterer.membership_ has shape {found.shape}. Expected ({n_items},): "
            "the cluster of each item of the catalog, in the order of the sorted item "
            "ids, and -1 for items without a cluster. Fit the clusterer on these "
            "sessions."
        )
    _check_numbers(found, "membership_")
    if not hasattr(clusterer, "levels_"):
        return found[:, None]
    levels = unmasked(clusterer.levels_, "clusterer.levels_")
    if levels.ndim != 2 or len(levels) != n_items or levels.shape[1] == 0:
        raise ValueError(
            f"clusterer.levels_ has shape {levels.shape}. Expected ({n_items}, "
            "n_levels): the clusters of each item at each resolution."
        )
    _check_numbers(levels, "levels_")
    if (levels[:, 0] != found).any():
        raise ValueError(
            "The first column of clusterer.levels_ differs from clusterer.membership_. "
            "They must be equal."
        )
    return levels


def _check_numbers(clusters, name):
    whole = clusters.dtype.kind in "iu"
    if not whole or (clusters.size and clusters.min() < -1):
        raise ValueError(
            f"clusterer.{name} has the type {clusters.dtype} and the minimum "
            f"{clusters.min()}. Expected whole numbers 0, 1, ..., or -1 for none."
        )
