"""The first items of a base, in another order: who they are, and what they score."""

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
    """First items of some sessions in the base: arrays of shape (n, n_candidates).

    Their columns, best first, and their scores. Only the first places of a row are
    `valid`: those above the first score that is left out. So what ties with an item
    outside is no candidate either, and the order of the catalog decides nothing.
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
        """Scores, 1 for the best candidate of a session and 0 for the last."""
        last = np.maximum(self.lengths - 1, 0)[:, None]
        low = np.take_along_axis(self.values, last, axis=1)
        low = np.where(self.valid[:, :1], low, 0)  # -inf where there is no candidate
        values = np.where(self.valid, self.values, low)
        spread = values[:, :1] - low
        relative = np.zeros_like(values)
        return np.divide(values - low, spread, out=relative, where=spread > 0)

    def take(self, rows):
        return Candidates(self.columns[rows], self.values[rows], self.valid[rows])


def first_candidates(scores, n):
    """The first `n` items of each row of scores, a tensor, as `Candidates`."""
    n_items = scores.shape[1]
    if n >= n_items:
        columns, values = topk_codes(scores, n_items)
        return Candidates(columns, values, values > -np.inf)
    columns, values = topk_codes(scores, n + 1)
    valid = values[:, :n] > values[:, n:]
    return Candidates(columns[:, :n], values[:, :n], valid)


def put_in_order(scores, candidates, places):
    """Give the scores of the candidates out again: `places` (n, n_candidates), from 0.

    Candidates with equal places stay equal. All others keep their scores, so that the
    candidates stay before them.
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
    """Values that do not rise along a row, where equal the later one the smaller.

    Floats are looked at as integers, which have their order, so that the next larger
    float is one more. Each becomes as small as it can, and none smaller.
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
    """Put the first `n_candidates` of a base in another order.

    ``_places(candidates, queries)`` of a subclass returns the place of each candidate,
    from 0; those that share one, the first of theirs. What the base ranks by popularity
    stays as it is.
    """

    _keeps_base = False  # the list of the base, bit for bit

    def _check_rows(self, features, data, name):
        """Refuse features without rows for the training items, before a fit.

        Only where these are the catalog for sure. Steps of a pipeline, say, and
        ``min_item_count`` leave items out, which need no row.
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
    """Whether the catalog of a base has any of some items."""
    return base._index.codes_of(item_ids).any()


def blocks(n_rows, n_candidates):
    """Slices of rows, so few that what is made for each pair has room."""
    step = max(1, _PAIRS // n_candidates)
    return [slice(start, start + step) for start in range(0, n_rows, step)]
