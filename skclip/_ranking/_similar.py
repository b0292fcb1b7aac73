"""Similar items, for recommenders that compare items."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
import torch

from skclip._data import (
    Sessions,
    as_list,
    check_hashable,
    factorize_list,
    warn_other_type,
)
from skclip._ranking._filters import Filters
from skclip._ranking._topk import rows_per_product, topk_codes
from skclip._threads import Workers
from skclip._typing import Ids, ItemIds, Lists, SimilarOptions, TopK, Unpack
from skclip._warnings import warn_once
from skclip.exceptions import UnseenItemWarning

_SELECTION = 64  # multiplications that take as long as computing and reading a score


class SimilarItemsMixin:
    """`similar_items` for a recommender that compares items with each other.

    It comes before `RankingMixin` among the bases of a class. The class defines
    ``_item_similarities()``, which returns a function and the device that it computes
    on. Given columns (n,), int64, the function returns their similarities with all
    items: a tensor (n, n_items), -inf where there is none. The caller overwrites the
    tensor. Threads call the function at the same time.
    """

    @overload
    def similar_items(
        self,
        ids: Ids,
        k: int | None = None,
        *,
        return_scores: Literal[False] = False,
        **options: Unpack[SimilarOptions],
    ) -> ItemIds: ...
    @overload
    def similar_items(
        self,
        ids: Ids,
        k: int | None = None,
        *,
        return_scores: Literal[True],
        **options: Unpack[SimilarOptions],
    ) -> TopK: ...
    def similar_items(
        self,
        ids: Ids,
        k: int | None = None,
        *,
        return_scores: bool = False,
        allow: Ids | Lists | None = None,
        deny: Ids | Lists | None = None,
        fill_value: object = None,
    ) -> ItemIds | TopK:
        """Rank the other items of the catalog by their similarity to each item.

        An item is never in its own list. The meaning of "similar" depends on the model,
        see Notes.

        Parameters
        ----------
        ids : array-like of shape (n_ids,)
            Raw item ids. The row of an id that was not seen in `fit` holds only fill
            values.
        k : int, default=None
            Number of items per row, 1 or more. None means 20, or the size of a smaller
            catalog.
        return_scores : bool, default=False
            Whether to return the similarities too.
        allow, deny : array-like of ids, or list of n_ids lists, default=None
            Items to rank exclusively (`allow`), or not at all (`deny`). Pass one list
            for all rows, or one for each. Ids outside the catalog are ignored. A
            warning appears if `allow` has no id of the catalog. If ids are tuples, each
            tuple is an id.
        fill_value : object, default=None
            Value of the places that remain if there are fewer than `k` similar items.
            None means ``-1`` for numbers, NaN for floats, ``""`` for text, and None for
            other ids.

        Returns
        -------
        items : ndarray of shape (n_ids, k)
            Raw item ids, best first. Equal similarities keep the order of the catalog.
        scores : ndarray of shape (n_ids, k), float32
            Similarities of the items, ``-inf`` where `items` is filled. Only returned
            with `return_scores`.

        Raises
        ------
        TypeError
            If `ids` is a single id, or holds lists.
        ValueError
            If `k` is less than 1, `fill_value` is an id, or `allow` or `deny` has a
            missing value.

        Warns
        -----
        UnseenItemWarning
            If some ids were not seen in `fit`. It appears once for each fitted model.

        Notes
        -----
        `CLIPSessionRecommender` compares ``item_vectors_``, without a bias, by their
        cosine. If candidates are prompted, these vectors hold prompts, and items of a
        cluster are closer. With ``Fusion(kind="late")`` there are two cosines, one of
        learned vectors and one of features. They have the same weights as in the scores
        (``fusion_weight_``).

        Other models read the row of the item in their table of counts, and leave out
        items with a weight of 0 or less. For `MarkovRecommender`, similar items are
        those that came directly after the item. For `SequentialRules` they came later,
        and for `AssociationRules` they shared a session with it. `SLIST` counts both.
        With ``tie_break="first"`` the score is the place in the ranking, counted from
        its end. Remaining places are not filled with popular items.

        A reranker returns the similar items of its base.

        The cost is that of a product of the vectors of `ids` with those of the catalog,
        in blocks of rows.
        """
        self._check_fitted()
        n_items = len(self.item_ids_)
        k = self._checked_k(k)
        codes = _codes_of(ids, self._index)
        filters = Filters(self._index, len(codes), allow, deny, rows="items")
        self._check_fill_value(fill_value)
        columns = np.zeros((len(codes), min(k, n_items)), dtype=np.int64)
        values = np.full(columns.shape, -np.inf, dtype=np.float32)
        similarities, device = self._item_similarities()

        def rank(at):
            own = torch.from_numpy(codes[at].astype(np.int64) - 1).to(device)
            scores = similarities(own)
            scores.scatter_(1, own[:, None], -torch.inf)
            filters.apply(scores, at)
            columns[at], values[at] = topk_codes(scores, columns.shape[1])

        known = np.flatnonzero(codes)
        step = rows_per_product(n_items, device)
        parts = [known[start : start + step] for start in range(0, len(known), step)]
        size = _SELECTION * len(known) * n_items if device.type == "cpu" else 0
        with Workers(self._most_threads()) as workers:
            workers.map(rank, parts, size)
        return self._with_ids(columns, values, k, fill_value, return_scores)


class _NoSimilarItemsError(AttributeError, TypeError):
    """An AttributeError, so that `hasattr` is False, and a TypeError for callers."""


class NoSimilarItems:
    """Replacement of the method for recommenders that do not compare items."""

    def __get__(self, instance: object, owner: type) -> Any:
        raise _NoSimilarItemsError(
            f"{owner.__name__} has no vectors or weights of items, so it has no "
            "similar_items. Use a fitted CLIPSessionRecommender, MarkovRecommender, "
            "SequentialRules, AssociationRules or SLIST. To rank the items that come "
            "after an item, use predict_topk([[item]])."
        )


def _codes_of(ids, index):
    """Codes of a list of raw ids, 0 = not in the catalog; warns once about these."""
    if isinstance(ids, Sessions):
        raise TypeError(
            "ids are Sessions. Expected a list of item ids. To rank the next items of "
            "sessions, use predict_topk."
        )
    ids = as_list(ids, "ids", ordered=True)
    check_hashable(ids, "ids")
    vocabulary, positions = factorize_list(ids)
    codes = index.codes_of(vocabulary)
    unknown, codes = vocabulary[codes == 0], codes[positions]
    if len(unknown):
        warn_once(
            index,
            "unseen ids of similar_items",
            f"{int((codes == 0).sum()):,} of {len(codes):,} ids were not seen in fit. "
            "They have no similar items, and their rows hold only fill values.",
            UnseenItemWarning,
        )
        warn_other_type(index, "The list", unknown)
    return codes
