"""Items that are similar to items, for recommenders that compare items at all."""

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
from skclip._warnings import warn_once
from skclip.exceptions import UnseenItemWarning

_SELECTION = 64  # multiplications that take as long as to make and look at a score


class SimilarItemsMixin:
    """`similar_items` for a recommender that compares items with each other.

    It comes before `RankingMixin` among the bases of a class. The class defines
    ``_item_similarities()``, which returns a function and the device that it computes
    on. Given columns (n,), int64, the function returns their similarities with all
    items: a tensor (n, n_items), -inf where there is none. The caller overwrites the
    tensor. Threads call the function at the same time.
    """

    def similar_items(
        self,
        ids,
        k=None,
        *,
        return_scores=False,
        allow=None,
        deny=None,
        fill_value=None,
    ):
        """Rank the other items of the catalog by their similarity to each item.

        An item is never in its own list. What "similar" means depends on the model, see
        Notes.

        Parameters
        ----------
        ids : array-like of shape (n_ids,)
            Raw item ids. The row of an id that was not seen in `fit` is filled.
        k : int, default=None
            Number of items per row; None is the smaller of 20 and the size of the
            catalog.
        return_scores : bool, default=False
            Also return the similarities.
        allow, deny : array-like of ids, or list of n_ids lists, default=None
            Rank only, or rank not, these items; one list for all rows or one for each.
            Ids that are not in the catalog are ignored. Where ids are tuples, a tuple
            is an id.
        fill_value : object, default=None
            What stands behind the last similar item where there are fewer than `k`.
            None is ``-1`` for numbers (NaN for floats), ``""`` for text, and None
            for other ids.

        Returns
        -------
        items : ndarray of shape (n_ids, k)
            Raw item ids, best first; equal similarities in the order of the catalog.
        scores : ndarray of shape (n_ids, k), float32
            Only if `return_scores`; ``-inf`` where `items` is filled.

        Raises
        ------
        TypeError
            `ids` is a single id, or holds lists.
        ValueError
            `k` is less than 1, or `fill_value` is an id.

        Warns
        -----
        UnseenItemWarning
            Some ids were not seen in `fit`. It comes once for each fitted model.

        Notes
        -----
        `CLIPSessionRecommender` compares the vectors that sessions are compared with
        (``item_vectors_``, without a bias) by their cosine. These are prompted where
        the candidates are, so that items of a cluster are closer. With
        ``Fusion(kind="late")`` there are two cosines, of learned vectors and of
        features, which count as much as in the scores (``fusion_weight_``).

        Other models read the row of the item in what they have counted, and leave out
        items with a weight of 0 or less. For `MarkovRecommender`, "similar" is what
        came directly after the item, for `SequentialRules` what came later. For
        `AssociationRules` it is what shared a session with the item. `SLIST` counts
        both. With ``tie_break="first"`` the score is the place in the ranking, counted
        from its end. Popular items take no places that are left.

        A reranker answers as its base does: the order of its lists plays no part.

        The cost is a product of `ids` and the catalog, in blocks of rows.
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
    """So `hasattr` is False, and who asks all the same reads a TypeError."""


class NoSimilarItems:
    """In the place of the method where a recommender does not compare items."""

    def __get__(self, instance, owner):
        raise _NoSimilarItemsError(
            f"{owner.__name__} has no vectors or weights of items, so it has no "
            "similar_items. Ask a fitted CLIPSessionRecommender, MarkovRecommender, "
            "SequentialRules, AssociationRules or SLIST. predict_topk([[item]]) ranks "
            "what comes after an item."
        )


def _codes_of(ids, index):
    """Codes of a list of raw ids, 0 = not in the catalog; warns once of these."""
    if isinstance(ids, Sessions):
        raise TypeError(
            "ids are Sessions. Pass a list of item ids. predict_topk ranks what comes "
            "after sessions."
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
            "Nothing is known to be similar to them, and their rows are filled.",
            UnseenItemWarning,
        )
        warn_other_type(index, "The list", unknown)
    return codes
