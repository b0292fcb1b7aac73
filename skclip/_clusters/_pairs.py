"""Pairs of items with weights from a data frame, as edges of an item graph."""

from dataclasses import dataclass, replace

import numpy as np

from skclip._clusters._item_graph import pair_graph
from skclip._data import (
    ItemIndex,
    as_frame,
    as_list,
    check_hashable,
    check_own_types,
    column,
    factorize_list,
    is_id,
    joined_ids,
    read_weights,
    refuse_other_type,
    warn_float_ids,
)


@dataclass(frozen=True)
class Pairs:
    """Pairs of items as positions 0, 1, ... in sorted raw ids, and their weights."""

    item_ids: np.ndarray
    first: np.ndarray
    second: np.ndarray
    weights: np.ndarray

    def with_items(self, item_ids, what):
        """Return the same pairs for a catalog that has these items too.

        `what` names the source of the items in messages.
        """
        index = ItemIndex(self.item_ids)
        new = item_ids[index.codes_of(item_ids) == 0]
        refuse_other_type(new, index, what)
        vocabulary, codes, _ = joined_ids(self.item_ids, new)
        first, second = codes[self.first], codes[self.second]
        return replace(self, item_ids=vocabulary, first=first, second=second)

    def graph(self, *, self_loops):
        """Build the item graph. With `self_loops` an item can be linked to itself."""
        low = np.minimum(self.first, self.second)
        high = np.maximum(self.first, self.second)
        weights = self.weights
        if not self_loops:
            other = low != high
            low, high, weights = low[other], high[other], weights[other]
        return pair_graph(low, high, weights, len(self.item_ids))


def read_pairs(pairs, items=None):
    """Read a data frame with the columns low, high and weight.

    `items` are further ids of the catalog.

    Raises
    ------
    TypeError
        If `pairs` is not a data frame, a weight is not a number, or an id cannot be
        hashed.
    ValueError
        A column or a value is missing, a weight is negative or infinite, or no pair
        has a weight above 0.
    """
    frame = as_frame(
        pairs,
        "pairs",
        "It needs the columns low, high and weight: two item ids and a number.",
    )
    missing = [n for n in ("low", "high", "weight") if n not in frame.columns]
    if missing:
        raise ValueError(
            f"pairs has no column {missing[0]!r}. Expected the columns low, high and "
            "weight, as skclip.preprocessing.item_pairs makes them. Its columns are "
            f"{list(frame.columns)}."
        )
    weights = read_weights(frame, "weight", "pairs")
    if not weights.any():
        raise ValueError(
            f"None of {len(weights)} pairs has a weight above 0, so no items are "
            "linked. Pass pairs of items that follow each other."
        )
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        raise ValueError(
            "The sum of the weights of all pairs is infinite. Divide the weights by "
            "their largest value."
        )
    (low_ids, low), (high_ids, high) = (
        column(frame, name, "item", "pairs") for name in ("low", "high")
    )
    warn_float_ids(frame, item="low")
    item_ids, of_low, of_high = joined_ids(low_ids, high_ids)
    check_own_types(ItemIndex(item_ids), "pairs")
    found = Pairs(item_ids, of_low[low], of_high[high], weights)
    return found if items is None else found.with_items(_catalog(items), "items")


def _catalog(items):
    """Return distinct raw ids, sorted."""
    values = as_list(items, "items")
    check_hashable(values, "items")
    bad = [value for value in values if not is_id(value)]
    if bad:
        raise ValueError(
            f"items has {bad[0]!r}, which is not an item id. Leave it out."
        )
    return factorize_list(values)[0]
