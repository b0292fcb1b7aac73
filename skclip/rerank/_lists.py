"""Reorder the first items of a base recommender, and assign their scores."""

from dataclasses import dataclass

import numpy as np
import torch

from skclip._base import SessionEstimator
from skclip._data import rows_of_items
from skclip._inside import held_by
from skclip._ranking import RankingMixin, RerankingMixin, topk_codes

_LOWEST = -(2**40)  # below each float32 as an integer
_PAIRS = 2**18  # of sessions and candidates at a time


@dataclass(frozen=True)
class Candidates:
    """First items of sessions in the base, as arrays of shape (n, n_candidates).

    `columns` holds the items, best first, and `values` their scores. `valid` marks the
    items above the first score that is left out. Items that tie with an item outside
    are therefore no candidates, and the order of the catalog has no effect.
    """

    columns: np.ndarray
    values: np.ndarray
    valid: np.ndarray

    @property
    def lengths(self):
        """Number of candidates of each session."""
        return self.valid.sum(axis=1)

    def ranks(self):
        """Number of items that score as much or more, (n, n_candidates)."""
        n, m = self.values.shape
        is_last = np.ones((n, m), dtype=bool)
        is_last[:, :-1] = self.values[:, :-1] != self.values[:, 1:]
        ends = np.where(is_last, np.arange(1, m + 1), m)
        return np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]

    def relative_scores(self):
        """Scores scaled to 1 for the best candidate of a session, 0 for the last."""
        last = np.maximum(self.lengths - 1, 0)[:, None]
        low = np.take_along_axis(self.values, last, axis=1)
        low = np.where(self.valid[:, :1], low, 0)  # -inf if there is no candidate
        values = np.where(self.valid, self.values, low)
        spread = values[:, :1] - low
        relative = np.zeros_like(values)
        return np.divide(values - low, spread, out=relative, where=spread > 0)

    def take(self, rows):
        return Candidates(self.columns[rows], self.values[rows], self.valid[rows])


def first_candidates(scores, n):
    """The first `n` items of each row of a tensor of scores, as `Candidates`."""
    n_items = scores.shape[1]
    if n >= n_items:
        columns, values = topk_codes(scores, n_items)
        return Candidates(columns, values, values > -np.inf)
    columns, values = topk_codes(scores, n + 1)
    valid = values[:, :n] > values[:, n:]
    return Candidates(columns[:, :n], values[:, :n], valid)


def put_in_order(scores, candidates, places):
    """Assign the scores of the candidates by `places` (n, n_candidates), from 0.

    Candidates with equal places stay equal. All other items keep their scores, so they
    stay behind the candidates.
    """
    values = _falling(candidates.values, candidates.valid)
    values = np.take_along_axis(values, places, axis=1)[candidates.valid]
    rows, _ = np.nonzero(candidates.valid)
    columns = candidates.columns[candidates.valid].astype(np.int64)
    rows, columns = (
        torch.from_numpy(part).to(scores.device) for part in (rows, columns)
    )
    scores[rows, columns] = torch.from_numpy(values).to(scores)


def _falling(values, valid):
    """Make scores decrease strictly along a row, with the smallest possible changes.

    `values` do not increase along a row. Among equal values, the earlier one is raised.
    The integers with the same bits are sorted as the floats are, and the next larger
    float is the next integer. No value gets smaller.
    """
    bits = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    whole = np.where(bits < 0, (bits ^ 0x7FFFFFFF) + 1, bits)  # -0.0 is 0.0
    whole[~valid] = _LOWEST
    places = np.arange(values.shape[1])
    steps = np.maximum.accumulate((whole + places)[:, ::-1], axis=1)[:, ::-1]
    whole = np.where(valid, steps - places, 0)
    bits = np.where(whole < 0, (whole - 1) ^ 0x7FFFFFFF, whole)
    return bits.astype(np.int32).view(np.float32)


class ListReranker(RerankingMixin, SessionEstimator):
    """Reorder the first `n_candidates` of a base.

    ``_places(candidates, queries)`` of a subclass returns the place of each candidate,
    from 0. Candidates that share places get the first of them. Sessions that the base
    ranks by popularity are not reordered.
    """

    _keeps_base = False  # True returns the list of the base, bit for bit

    def _check_rows(self, features, data, name):
        """Raise an error before a fit if a training item has no row of features.

        This is only done if the training items are certainly the catalog. Steps of a
        pipeline or ``min_item_count`` may leave out items, which then need no row.
        """
        base = self.estimator
        alone = isinstance(base, RankingMixin) and not held_by(base)
        if alone and getattr(base, "min_item_count", 1) == 1 and not self.prefit:
            rows_of_items(features, data.index.item_ids, name)

    def _masked_chunks(self, queries, mask=None):
        self._validate_params()  # `set_params` may have come after `fit`
        base, base_queries = self._base_queries(queries)
        chunks = base._masked_chunks(base_queries, mask)
        if self._keeps_base:
            yield from chunks
            return
        unread = base._by_popularity(base_queries)
        for at, scores in chunks:
            candidates = first_candidates(scores, self.n_candidates)
            candidates.valid[unread[at]] = False
            places = np.empty(candidates.columns.shape, dtype=np.int64)
            for rows in blocks(len(at), self.n_candidates):
                part = queries.take(at[rows])
                places[rows] = self._places(candidates.take(rows), part)
            put_in_order(scores, candidates, places)
            yield at, scores


def shares_items(base, item_ids):
    """Whether any of the items is in the catalog of a base."""
    return base._index.codes_of(item_ids).any()


def blocks(n_rows, n_candidates):
    """Slices of rows, small enough to hold an array of all their pairs."""
    step = max(1, _PAIRS // n_candidates)
    return [slice(start, start + step) for start in range(0, n_rows, step)]
