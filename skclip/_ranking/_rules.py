"""Business rules of a ranking: boosts of items, and a cap for each group."""

from collections.abc import Mapping
from functools import cached_property
from numbers import Integral, Real

import numpy as np
import torch

from skclip._data import (
    check_hashable,
    factorize_list,
    is_missing,
    warn_other_type,
)
from skclip._inside import estimators_inside
from skclip._ranking._filters import seen_pairs
from skclip._ranking._topk import topk_codes

_LARGEST = 1e9  # factor; products with scores stay well inside the range of float32
_MORE = 4  # times as many items are read if caps left places free


class Boosts:
    """Factors of items, for all sessions or for each, and of items of the session.

    Scores that are logits get the logarithm of a factor, so that it multiplies the
    probability of the item. Weights are multiplied directly. So are the counts that
    rank sessions without a known item.
    """

    def __init__(self, recommender, queries, boost, boost_seen):
        index, self._queries = recommender._index, queries
        self._of_seen = 1.0 if boost_seen is None else _factor(boost_seen, "boost_seen")
        self._for_each = isinstance(boost, (list, tuple))
        if self._for_each and len(boost) != len(queries):
            raise ValueError(
                f"boost has {len(boost)} mappings, expected one for each of "
                f"{len(queries)} sessions, or a single mapping for all."
            )
        given = boost if self._for_each else [{} if boost is None else boost]
        self._factors = [_columns_and_factors(part, index) for part in given]
        self._multiplied = np.ones(len(queries), dtype=bool)
        if self and recommender._scores_are == "logits":
            self._multiplied = recommender._by_popularity(queries)

    def __bool__(self):
        return self._of_seen != 1.0 or any(len(at) for at, _ in self._factors)

    def apply(self, scores, at):
        """Boost rows of scores that belong to the queries `at`."""
        if self._for_each:
            for row, i in enumerate(at):
                columns, factors = self._factors[i]
                rows = np.full(len(columns), row)
                self._boost(scores, at, rows, columns, factors)
        elif len(self._factors[0][0]):
            self._boost_columns(scores, at, *self._factors[0])
        if self._of_seen != 1.0:
            codes, offsets = self._queries.codes, self._queries.offsets
            of_query = self._queries.rows[at]
            rows, columns = seen_pairs(of_query, codes, offsets, scores.shape[1])
            pairs = np.unique(rows * scores.shape[1] + columns)  # each item once
            pairs = np.divmod(pairs, scores.shape[1])
            factors = np.full(len(pairs[0]), self._of_seen, dtype=np.float32)
            self._boost(scores, at, *pairs, factors)

    def _boost_columns(self, scores, at, columns, factors):
        """Boost some columns of all rows."""
        columns = torch.from_numpy(columns).to(scores.device)
        factors = torch.from_numpy(factors).to(scores)
        multiplied = torch.from_numpy(self._multiplied[at]).to(scores.device)
        own = scores[:, columns]
        boosted = own * factors if multiplied.any() else own + factors.log()
        if multiplied.any() and not multiplied.all():
            boosted = torch.where(multiplied[:, None], boosted, own + factors.log())
        scores[:, columns] = boosted

    def _boost(self, scores, at, rows, columns, factors):
        """Boost single scores, none of them twice."""
        multiplied = torch.from_numpy(self._multiplied[at[rows]]).to(scores.device)
        place = torch.from_numpy(rows), torch.from_numpy(columns)
        place = tuple(part.to(scores.device) for part in place)
        factors, own = torch.from_numpy(factors).to(scores), scores[place]
        scores[place] = torch.where(multiplied, own * factors, own + factors.log())


def _columns_and_factors(boost, index):
    if hasattr(boost, "to_dict") and getattr(boost, "ndim", None) == 1:  # a Series
        if not boost.index.is_unique:
            raise ValueError("boost names an item more than once. Pass one factor.")
        boost = boost.to_dict()
    if not isinstance(boost, Mapping):
        raise TypeError(
            f"boost is a {type(boost).__name__}: {boost!r:.60}. Expected a mapping of "
            "item ids to factors, such as {'sku-1': 2.0}, or one for each session."
        )
    ids = list(boost)
    check_hashable(ids, "boost")
    factors = [_factor(value, f"boost[{i!r:.40}]") for i, value in boost.items()]
    vocabulary, at = factorize_list(ids)
    codes = index.codes_of(vocabulary)
    warn_other_type(index, "boost", vocabulary[codes == 0])
    codes = codes[at].astype(np.int64)
    return codes[codes > 0] - 1, np.array(factors, dtype=np.float32)[codes > 0]


def _factor(value, name):
    number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    if not number or not 1 / _LARGEST <= value <= _LARGEST:
        raise ValueError(
            f"{name} is {value!r:.40}. Expected a factor from {1 / _LARGEST:g} to "
            f"{_LARGEST:g}: 2 doubles the weight of the item, 0.5 halves it. To leave "
            "an item out pass deny=."
        )
    return float(value)


def check_boosts(recommender, boost_seen, exclude_seen):
    """Refuse boosts of items that are left out, or of scores that are only ordered."""
    if boost_seen is not None and exclude_seen:
        raise ValueError(
            "boost_seen boosts the items of the session, but exclude_seen=True leaves "
            "them out. Pass one of the two."
        )
    if recommender._scores_are is None:
        raise ValueError(
            f"The scores of {type(recommender).__name__} only define an order, so they "
            "cannot be multiplied by a factor. Boost the recommender inside, such as "
            "estimator_.predict_topk(X, boost=...)."
        )


class Groups:
    """Group of each item of a catalog, computed once: 0.., and -1 = none."""

    def __init__(self, recommender, groups):
        self.of_items = _group_codes(groups, recommender)


class Caps:
    """At most `max_per_group` items of a group in a list.

    `groups` is "cluster", or a mapping of item ids to labels. Items without a label or
    a cluster are in no group.
    """

    def __init__(self, recommender, max_per_group, groups):
        if not isinstance(max_per_group, Integral) or isinstance(max_per_group, bool):
            raise TypeError(
                f"max_per_group must be a whole number, got {max_per_group!r}."
            )
        if max_per_group < 1:
            raise ValueError(
                f"max_per_group={max_per_group} is less than 1. To leave groups out "
                "pass deny=."
            )
        self.cap = int(max_per_group)
        groups = groups if isinstance(groups, Groups) else Groups(recommender, groups)
        self.group_of = groups.of_items

    @cached_property
    def _most(self):
        """Number of places that the whole catalog can fill."""
        sizes = np.bincount(self.group_of[self.group_of >= 0])
        n_free = (self.group_of < 0).sum() + np.minimum(sizes, self.cap).sum()
        return int(n_free)

    def topk(self, scores, k):
        """Best `k` columns of each row that the caps allow, and their values.

        They are taken from the whole ranking, best first, and items of a full group are
        skipped. Only the necessary part of the ranking is computed. Free places have a
        value of minus infinity.
        """
        n, n_items = scores.shape
        columns = np.zeros((n, k), dtype=np.int64)
        values = np.full((n, k), -np.inf, dtype=np.float32)
        left, size, most = np.arange(n), min(n_items, _MORE * k), min(k, self._most)
        while len(left):
            part = scores if len(left) == n else scores[torch.from_numpy(left)]
            best, reached = topk_codes(part, size)
            kept = self._within(best) & (reached > -np.inf)
            place = kept.cumsum(axis=1) - 1
            full = (place[:, -1] >= most - 1) | np.isneginf(reached[:, -1])
            full |= size == n_items
            row, at = np.nonzero(kept & (place < k) & full[:, None])
            columns[left[row], place[row, at]] = best[row, at]
            values[left[row], place[row, at]] = reached[row, at]
            left, size = left[~full], min(n_items, _MORE * size)
        return columns, values

    def _within(self, ranked):
        """Whether each item of lists (n, size) is among the first of its group."""
        groups = self.group_of[ranked]
        order = np.argsort(groups, axis=1, kind="stable")
        sorted_groups = np.take_along_axis(groups, order, axis=1)
        place = np.broadcast_to(np.arange(groups.shape[1]), groups.shape)
        new = np.ones(groups.shape, dtype=bool)
        new[:, 1:] = sorted_groups[:, 1:] != sorted_groups[:, :-1]
        first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
        within = (place - first < self.cap) | (sorted_groups < 0)
        found = np.empty_like(within)
        np.put_along_axis(found, order, within, axis=1)
        return found


def as_caps(recommender, max_per_group, groups):
    """Return `Caps`, or None if there are none."""
    if (max_per_group is None) != (groups is None):
        given, other = "max_per_group", "groups='cluster' or a mapping of ids to groups"
        if max_per_group is None:
            given, other = "groups", "max_per_group="
        raise ValueError(f"{given} is given alone. Pass {other} too.")
    return None if groups is None else Caps(recommender, max_per_group, groups)


def _group_codes(groups, recommender):
    """Group of each item of the catalog, 0.., -1 = none."""
    index = recommender._index
    if isinstance(groups, str):
        if groups != "cluster":
            raise ValueError(
                f"groups={groups!r} is unknown. Pass 'cluster', or a mapping of item "
                "ids to groups, such as the column of a data frame by id."
            )
        return _clusters_of(recommender)
    if not hasattr(groups, "items") or hasattr(groups, "columns"):
        raise TypeError(
            f"groups is a {type(groups).__name__}. Expected 'cluster', or a mapping of "
            "item ids to groups: a dict, or a pandas Series by item id, such as "
            "frame.set_index('id')['brand']."
        )
    pairs = [(i, label) for i, label in groups.items() if not is_missing(label)]
    ids, labels = ([pair[side] for pair in pairs] for side in (0, 1))
    check_hashable(ids, "groups")
    check_hashable(labels, "groups")
    vocabulary, at = factorize_list(ids)
    if len(vocabulary) < len(ids):
        raise ValueError("groups names an item more than once. Pass one group.")
    codes = index.codes_of(vocabulary)
    warn_other_type(index, "groups", vocabulary[codes == 0])
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    codes = codes[at]
    group_of = np.full(len(index) + 1, -1, dtype=np.int64)
    group_of[codes] = [numbers[label] for label in labels]
    return group_of[1:]


def _clusters_of(recommender):
    """First cluster of each item, from the recommender or the estimators in it."""
    for part in estimators_inside(recommender):
        if getattr(part, "membership_", None) is not None:
            return clusters_of(part, recommender._index)
    raise ValueError(
        f"groups='cluster', but this {type(recommender).__name__} has no clusters. "
        "Pass a mapping: dict(zip(clusterer.item_ids_, clusterer.membership_))."
    )


def clusters_of(clusterer, index):
    """Cluster of each item of a catalog, 0-based, -1 = none, (n_items,), int32."""
    clusters = np.full(len(index) + 1, -1, dtype=np.int32)
    clusters[index.codes_of(clusterer.item_ids_)] = clusterer.membership_
    clusters[0] = -1  # which items outside the catalog were assigned to
    return clusters[1:]
