"""Scores -> top k or rank of the target, exactly, in chunks; one tie rule."""

from numbers import Integral

import numpy as np
import torch

from skclip._encoding import query_data
from skclip._ids import ItemIndex, factorize_list
from skclip._reading import check_finite, refuse_not_finite
from skclip._sessions import flat_positions
from skclip.metrics import parse_metric

_CHUNK_FLOATS = 2**24  # 64 MiB of float32 scores at a time
_GROUP = 16  # columns whose maximum is looked at first
_SMALL = 2**16  # scores that one call finds as soon as several
_COLUMNS = 4096  # compared with the target's score at a time


def rows_per_chunk(n_items):
    """How many rows of scores are held at a time."""
    return max(1, _CHUNK_FLOATS // n_items)


def topk_codes(scores, k):
    """Best `k` columns of each row: score descending, then column ascending.

    Parameters
    ----------
    scores : Tensor of shape (n, n_items)
    k : int
        At most n_items.

    Returns
    -------
    columns : ndarray of shape (n, k), int64
    values : ndarray of shape (n, k), float32
    """
    n_items = scores.shape[1]
    if scores.dtype == torch.float64:  # ties are those of the scores that are returned
        scores = scores.float()
    values, columns = _largest(scores, min(k + 1, n_items))
    values, columns = values.float().cpu().numpy(), columns.cpu().numpy()
    tied = np.empty(0, dtype=np.int64)
    if k < n_items:  # a tie across the cut: topk chose among equals as it liked
        tied = np.flatnonzero(values[:, k] == values[:, k - 1])
    columns, values = columns[:, :k], values[:, :k]
    if not (values < np.inf).all():  # not NaN either; -inf: left out by a filter
        refuse_not_finite()
    order = np.lexsort((columns, -values), axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    if len(tied):
        last = values[tied, -1:]
        n_better = (values[tied] > last).sum(axis=1)
        part = scores[torch.from_numpy(tied).to(scores.device)]
        equal = (part == torch.from_numpy(last).to(part)).nonzero()  # from the left
        row, column = equal.cpu().numpy().T
        place = np.arange(len(row)) - np.searchsorted(row, np.arange(len(tied)))[row]
        place += n_better[row]
        inside = place < k
        columns[tied[row[inside]], place[inside]] = column[inside]
    return columns, values


def _largest(scores, k):
    """Largest `k` values of each row and columns that hold them.

    Of groups of columns only the `k` with the largest maxima can hold any: a value of
    another group has `k` values before it that are as large.
    """
    n_groups = scores.shape[1] // _GROUP
    if n_groups < 8 * k or scores.numel() < _SMALL:
        return torch.topk(scores, k, dim=1)
    n_grouped = n_groups * _GROUP  # column = step * n_groups + group
    best = scores[:, :n_grouped].unflatten(1, (_GROUP, n_groups)).amax(dim=1)
    groups = torch.topk(best, k, dim=1, sorted=False).indices
    steps = torch.arange(0, n_grouped, n_groups, device=scores.device)
    rest = torch.arange(n_grouped, scores.shape[1], device=scores.device)
    inside = (groups[:, :, None] + steps).flatten(1)
    columns = torch.cat([inside, rest.expand(len(scores), -1)], dim=1)
    values, at = torch.topk(scores.gather(1, columns), k, dim=1)
    return values, columns.gather(1, at)


def target_rank(scores, targets):
    """Rank of column `targets` in each row, ties counted against it; no sort."""
    own = scores.gather(1, targets[:, None])
    check_finite(own)
    ranks = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    hits = scores.new_empty(len(scores), min(_COLUMNS, scores.shape[1]))
    for part in scores.split(_COLUMNS, dim=1):  # sums of floats, exact, in the cache
        reached = torch.ge(part, own, out=hits[:, : part.shape[1]])
        ranks += reached.sum(dim=1).long()
    return ranks


class RankingMixin:
    """Ranking methods shared by all recommenders.

    A subclass has ``item_ids_`` and ``_index`` (an `ItemIndex`) after `fit`, a
    ``scoring`` parameter, and defines ``_score_chunks(queries)``,
    a generator of ``(positions, scores)``: which of the prefixes, and their scores as
    a tensor of shape (len(positions), n_items). The caller may overwrite it, and must
    not keep it: the next chunk may stand in the same memory.
    """

    def predict_topk(
        self,
        X,
        k=None,
        *,
        return_scores=False,
        exclude_seen=False,
        allow=None,
        deny=None,
        fill_value=None,
    ):
        """Rank the catalogue for the next item of each session.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,). Unknown items and empty sessions
            are fine; what knows nothing about a session ranks by popularity.
        k : int, default=None
            Number of items per session; None is the smaller of 20 and the size of
            the catalogue.
        return_scores : bool, default=False
            Also return the scores.
        exclude_seen : bool, default=False
            Leave out the items of the session itself.
        allow, deny : array-like of ids, or list of n_sessions lists, default=None
            Rank only, or rank not, these items; one list for all sessions or one
            for each. Ids that are not in the catalogue are ignored. Where ids are
            tuples, a tuple is an id.
        fill_value : object, default=None
            What stands behind the last item where filters leave fewer than `k`.
            None is ``-1`` for numbers (NaN for floats), ``""`` for text, and None
            for other ids.

        Returns
        -------
        items : ndarray of shape (n_sessions, k)
            Raw item ids, best first; equal scores in the order of the catalogue.
        scores : ndarray of shape (n_sessions, k), float32
            Only if `return_scores`; ``-inf`` where `items` is filled.

        Raises
        ------
        ValueError
            `k` exceeds the catalogue or is less than 1, or `fill_value` is an id.
        """
        self._check_fitted()
        n_items = len(self.item_ids_)
        k = _check_k(k, n_items)
        queries = query_data(X, self._index)
        filters = _Filters(self._index, len(queries), allow, deny)
        if fill_value is not None:
            _check_fill_value(fill_value, self._index)
        columns = np.empty((len(queries), k), dtype=np.int64)
        values = np.empty((len(queries), k), dtype=np.float32)

        def mask(scores, at):
            if exclude_seen:
                _mask_seen(scores, at, queries.codes, queries.offsets)
            filters.apply(scores, at)

        for at, scores in self._masked_chunks(queries, mask):
            columns[at], values[at] = topk_codes(scores, k)
        items, filled = self.item_ids_[columns], np.isneginf(values)
        if filled.any():
            if fill_value is None:
                fills = {"f": np.nan, "U": "", "O": None}
                fill_value = fills.get(items.dtype.kind, -1)
                _check_fill_value(fill_value, self._index)
            items = _filled(items, filled, fill_value)
        return (items, values) if return_scores else items

    def predict(self, X):
        """Return the best next item of each session.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        items : ndarray of shape (n_sessions,)
            Raw item ids.
        """
        return self.predict_topk(X, k=1)[:, 0]

    def decision_function(self, X):
        """Return the scores of all items. For small inputs: the result is dense.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        scores : ndarray of shape (n_sessions, n_items), float32
            Columns in the order of ``item_ids_``; higher is better. Comparable
            within a row only.
        """
        self._check_fitted()
        queries = query_data(X, self._index)
        result = np.empty((len(queries), len(self.item_ids_)), dtype=np.float32)
        for at, scores in self._masked_chunks(queries):
            result[at] = scores.cpu().numpy()
        return result

    def rank_targets(self, X, y=None):
        """Return the rank of each target in the full catalogue.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None takes every prefix of every session, each
            scored from what it has observed alone, in order.

        Returns
        -------
        ranks : ndarray of shape (n_sessions,) or (n_prefixes,), float64
            1 = best; equal scores count against the target; ``inf`` for a target
            that is not in the catalogue.

        Raises
        ------
        ValueError
            ``y`` is None and no session has two items.
        """
        self._check_fitted()
        queries = query_data(X, self._index, y, every_prefix=True)
        if len(queries) == 0:
            raise ValueError(
                f"All {len(queries.offsets) - 1} sessions have fewer than 2 items, so "
                "there is no next item to rank. Pass sessions of 2 items or more, or y."
            )
        ranks = np.full(len(queries), np.inf)
        known = np.flatnonzero(queries.targets > 0)
        queries = queries.take(known)
        for at, scores in self._masked_chunks(queries):
            columns = torch.from_numpy(queries.targets[at] - 1).to(scores.device)
            ranks[known[at]] = target_rank(scores, columns.long()).cpu().numpy()
        return ranks

    def score(self, X, y=None):
        """Return the ``scoring`` metric over every prefix, or over given targets.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row; None scores every prefix of every session.

        Returns
        -------
        score : float
            Over the full catalogue; a target outside it is a miss, ties count
            against the target.
        """
        self._check_fitted()
        scoring = self._scoring
        if callable(scoring):
            return scoring(self, X, y)
        metric, k = parse_metric(scoring)
        return metric(self.rank_targets(X, y), k)

    def _masked_chunks(self, queries, mask=None):
        """Chunks of scores after ``mask(scores, positions)`` has set some to -inf.

        One that ranks by the lists of another recommender overrides this.
        """
        for at, scores in self._score_chunks(queries):
            if mask is not None:
                mask(scores, at)
            yield at, scores

    @property
    def _scoring(self):
        return self.scoring

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_index", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "item_ids_" in state:
            self._index = ItemIndex(self.item_ids_)


def _check_k(k, n_items):
    if k is None:
        return min(20, n_items)
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise TypeError(f"k must be a whole number or None, got {k!r}.")
    if k < 1:
        raise ValueError(f"k={k} is less than 1. Pass 1 <= k <= {n_items}, or None.")
    if k > n_items:
        raise ValueError(
            f"k={k} exceeds the catalogue of {n_items} items. Pass k <= {n_items}, or "
            "k=None for the default."
        )
    return int(k)


class _Filters:
    """`allow` and `deny` of `predict_topk` as columns of the scores."""

    def __init__(self, index, n_rows, allow, deny):
        self._parts = [
            (_columns_of(ids, name, index, n_rows), name == "allow")
            for ids, name in ((allow, "allow"), (deny, "deny"))
            if ids is not None
        ]

    def apply(self, scores, at):
        for columns, allowed in self._parts:
            if isinstance(columns, np.ndarray):
                keep = torch.zeros(scores.shape[1], dtype=torch.bool)
                keep[torch.from_numpy(columns)] = True
                keep = keep if allowed else ~keep
                scores[:, ~keep.to(scores.device)] = -torch.inf
                continue
            mask = torch.zeros(scores.shape, dtype=torch.bool)
            for row, i in enumerate(at):
                mask[row, torch.from_numpy(columns[i])] = True
            mask = ~mask if allowed else mask
            scores.masked_fill_(mask.to(scores.device), -torch.inf)


def _columns_of(ids, name, index, n_rows):
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__iter__"):
        raise TypeError(
            f"{name} is a {type(ids).__name__}: {ids!r:.40}. Expected a list of item "
            f"ids, or one list for each session. Wrap a single item: [{ids!r:.40}]."
        )
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    per_row = [_is_row(i, index) for i in ids]
    if not any(per_row):
        return _known_columns(ids, index)
    if not all(per_row):
        at = per_row.index(False)
        raise TypeError(
            f"{name}[{at}] is a {type(ids[at]).__name__}: {ids[at]!r:.40}, others are "
            "lists. Expected a list of ids for every session, or ids only."
        )
    if len(ids) != n_rows:
        raise ValueError(
            f"{name} has {len(ids)} lists, expected one for each of {n_rows} sessions, "
            "or a flat list of ids for all of them."
        )
    return [_known_columns(list(row), index) for row in ids]


def _is_row(value, index):
    """Whether an element of a filter is a list of ids, and no id itself."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return False
    hashable = isinstance(value, (tuple, frozenset))
    return not (hashable and index.item_ids.dtype.kind == "O")


def _known_columns(ids, index):
    vocabulary, _ = factorize_list(ids)
    codes = index.codes_of(vocabulary)
    return codes[codes > 0].astype(np.int64) - 1


def _mask_seen(scores, at, codes, offsets):
    lengths = np.diff(offsets)[at]
    row = np.repeat(np.arange(len(at)), lengths)
    events, _ = flat_positions(offsets[at], lengths)
    seen = codes[events]
    known = seen <= scores.shape[1]
    rows = torch.from_numpy(row[known]).to(scores.device)
    columns = torch.from_numpy(seen[known].astype(np.int64) - 1).to(scores.device)
    scores[rows, columns] = -torch.inf


def _check_fill_value(value, index):
    vocabulary, _ = factorize_list([value])
    if index.codes_of(vocabulary)[0]:
        raise ValueError(
            f"fill_value={value!r} is an item of the catalogue. Pass a fill_value that "
            "is no item id."
        )


def _filled(items, empty, value):
    try:
        fill = np.array([value], dtype=items.dtype)
        exact = bool(fill[0] == value) or value != value
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        items = items.astype(object)
    items[empty] = value
    return items
