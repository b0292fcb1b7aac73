"""Clusters of items at one resolution or several, as a clusterer found them."""

import numpy as np

from skclip._ids import ItemIndex


def first_level(clusters):
    """The clusters (n_items,) by which items are voted for, of one level or several."""
    return clusters if clusters.ndim == 1 else np.ascontiguousarray(clusters[:, 0])


def each_level(clusters):
    """The clusters (n_items,) of each level, in a list."""
    return [clusters] if clusters.ndim == 1 else list(clusters.T)


def levels_of(clusterer, item_ids, clicked=None):
    """What a fitted clusterer found for each item of a catalogue.

    Parameters
    ----------
    clusterer : object with membership_
        With ``levels_``, of more than one column, these are taken.
    item_ids : ndarray of shape (n_items,)
        The catalogue.
    clicked : ndarray of shape (n_items,), bool, default=None
        The items that the clusterer was fitted on, where it has no ``item_ids_`` to
        say so; where all are, it has them in order. None asks its ``item_ids_``.

    Returns
    -------
    levels : ndarray of shape (n_items,) or (n_items, n_levels)
        0, 1, ..., or -1 for items without a cluster.
    """
    ids = getattr(clusterer, "item_ids_", None)
    if ids is None:
        ids = item_ids if clicked is None else item_ids[clicked]
    levels = _checked(clusterer, len(ids))
    if clicked is not None and clicked.all() and len(ids) == len(item_ids):
        return levels
    none = np.full((1, *levels.shape[1:]), -1)
    return np.concatenate([none, levels])[ItemIndex(ids).codes_of(item_ids)]


def _checked(clusterer, n_items):
    """The clusters that a clusterer found, 0, 1, ... or -1 for each item."""
    found = getattr(clusterer, "membership_", None)
    if found is None:
        raise ValueError(
            f"{type(clusterer).__name__} has no membership_ after fit. Set it to one "
            "cluster (0, 1, ...) for each item, in the order of the sorted item ids."
        )
    found = _checked_column(np.asarray(found), "membership_", n_items)
    levels = np.asarray(getattr(clusterer, "levels_", found))
    if levels.ndim != 2 or levels.shape[1] < 2:
        return found
    columns = [_checked_column(column, "levels_", n_items) for column in levels.T]
    return np.column_stack([found, *columns[1:]])


def _checked_column(membership, name, n_items):
    if membership.shape != (n_items,):
        raise ValueError(
            f"clusterer.{name} has shape {membership.shape}, expected "
            f"({n_items},): one cluster for each item of the catalogue, in the order "
            "of the sorted item ids. Fit the clusterer on the sessions it is given; "
            "-1 stands for items without a cluster."
        )
    whole = membership.dtype.kind in "iu"
    if not whole or (len(membership) and membership.min() < -1):
        raise ValueError(
            f"clusterer.{name} holds {membership.dtype} down to "
            f"{membership.min()}. Expected whole numbers 0, 1, ..., or -1 for none."
        )
    return membership
