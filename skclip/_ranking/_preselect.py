"""Top k and ranks of large products: bfloat16 preselects, float32 decides.

The error of the product of rounded vectors is bounded, so it shows which items cannot
matter. By Cauchy-Schwarz ``q k - q' k' = (q - q') k' + q (k - k')`` is at most a sum of
products of norms, which are computed. A few items remain for each query, and dot
products in float32 decide between them. So lists and ranks are those of the product in
float32, up to its rounding: a matrix product and a dot product may differ in the last
bits. Items with equal vectors have equal scores.

A few thousand items are compared with a few hundred queries at a time, item by query.
The product is fastest in this order, and maxima over items run over long rows. Scores
are read as integers, the 16 bits of a bfloat16. For positive scores the order is the
same. For negative ones `_in_order` restores it.
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from skclip._data import flat_positions
from skclip._ranking._topk import (
    rows_per_chunk,
    rows_per_product,
    target_rank,
    topk_codes,
)

PRESELECTED_ROWS = 512  # queries of a block
_FEWEST_QUERIES, _FEWEST_ITEMS = 2**11, 2**13  # from which the preparation pays off
_TILE = 8192  # approximate number of items that queries are compared with at a time
_GROUP = 8  # items of a group, whose maximum is read first
_COARSER = 4  # groups that form a coarser one, whose maxima find the best k
_MOST_K = 64  # largest k for which these suffice
_DENSE = 4  # queries that reach more than 1 in 4 groups are scored as usual
_SHARE = 16  # and so are queries that reach more than 1 in 16 scores
_USUAL_ROWS = 64  # smallest number of such rows at a time
_PAIRS = 2**12  # pairs that are decided at a time
_NEVER = 2**15 - 1  # above the bits of every score
_OUT = -128  # bits of -inf
_LARGEST = 1e30  # larger errors may come from an overflow


def worth_preselecting(n_queries, n_items):
    """Whether a product is large enough for preselection to save time."""
    return n_queries >= _FEWEST_QUERIES and n_items >= _FEWEST_ITEMS


class Preselector:
    """Candidate vectors (n_items, d) and a bias (n_items,) or None, on a CPU."""

    def __init__(self, keys, bias=None):
        self._all, keys = keys.detach().T, keys.detach().contiguous()
        self.keys, self.bias, rough = keys.numpy(), None, keys.bfloat16()
        pairs = zip(keys.split(_TILE), rough.split(_TILE), strict=True)
        self._rest = max(float((a - b.float()).norm(dim=1).max()) for a, b in pairs)
        self._norm = float(keys.norm(dim=1).max()) + self._rest
        self._most_bias = 0.0
        if bias is not None:  # two more columns, multiplied by ones in the query
            bias = bias.detach()
            self.bias, high = bias.numpy(), bias.bfloat16()
            rough = torch.column_stack([rough, high, (bias - high.float()).bfloat16()])
            self._most_bias = float(bias.abs().max())
        n_tiles, step = -(-len(keys) // _TILE), _GROUP * _COARSER
        self.width = -(-len(keys) // (n_tiles * step)) * step
        self._tiles = rough.split(self.width)
        self._spare = {torch.bfloat16: [], torch.float32: []}

    def rounded(self, queries):
        """Queries (n, d) in bfloat16, and bounds of the errors of the scores, (n,)."""
        rough, n_terms = queries.bfloat16(), queries.shape[1] + 2
        norms, rest = queries.norm(dim=1), (queries - rough.float()).norm(dim=1)
        error = self._norm * rest + self._rest * norms
        # Errors of sums in float32, here and in `decide`, and of the rounded bias.
        error += n_terms * 2**-21 * (self._norm * norms + self._most_bias)
        error += 2**-15 * self._most_bias + 1e-30
        if self.bias is not None:
            rough = torch.cat([rough, rough.new_ones(len(rough), 2)], dim=1)
        return rough, error

    def tiles(self, rough, special):
        """Yield the number of the first item of a tile, and bits of scores (width, n).

        The `special` pairs of queries and items are -inf, and so are items past the
        last.
        """
        order = np.argsort(special[1])
        rows, items = (part[order] for part in special)
        with self._memory(torch.bfloat16, self.width, len(rough)) as scores:
            bits, rough = scores.view(torch.int16).numpy(), rough.T.contiguous()
            for i, keys in enumerate(self._tiles):
                begin, n_keys = i * self.width, len(keys)
                torch.mm(keys, rough, out=scores[:n_keys])
                bits[n_keys:] = _OUT
                here = slice(*np.searchsorted(items, [begin, begin + n_keys]))
                bits[items[here] - begin, rows[here]] = _OUT
                yield begin, bits

    def product(self, queries):
        """Yield positions of some queries, and their scores in float32."""
        n_items = len(self.keys)
        step = min(
            max(rows_per_product(n_items, queries.device), _USUAL_ROWS),
            rows_per_chunk(n_items),
        )
        n_parts = -(-len(queries) // step)
        for part in np.array_split(np.arange(len(queries)), max(n_parts, 1))[:n_parts]:
            with self._memory(torch.float32, len(part), n_items) as scores:
                torch.mm(queries[part], self._all, out=scores)
                if self.bias is not None:
                    scores += torch.from_numpy(self.bias)
                yield part, scores

    @contextmanager
    def _memory(self, dtype, *shape):
        """A tensor in reused memory, which nothing else uses in the meantime."""
        spare, size = self._spare[dtype], math.prod(shape)
        memory = spare.pop() if spare else None
        if memory is None or len(memory) < size:
            memory = torch.empty(size, dtype=dtype)
        try:
            yield memory[:size].view(shape)
        finally:
            spare.append(memory)

    def decide(self, queries, rows, items):
        """Scores of pairs in float32."""
        scores = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), _PAIRS):
            part = slice(start, start + _PAIRS)
            left = queries.take(rows[part], axis=0)
            right = self.keys.take(items[part], axis=0)
            np.einsum("ij,ij->i", left, right, out=scores[part])
        return scores if self.bias is None else scores + self.bias[items]


@dataclass(frozen=True)
class Preselected:
    """Scores of a block of queries (n, d) that are computed on demand.

    `special` are pairs that are always decided in float32: ascending rows, and
    ascending items of each. `bonus` is added to their scores; -inf leaves them out.
    """

    preselector: Preselector
    queries: torch.Tensor
    special: tuple
    bonus: np.ndarray

    def topk(self, k):
        """Best k items, see `topk_codes`."""
        n = len(self.queries)
        if k <= _MOST_K:
            usual, rows, items = self._reaching(k)
            columns, values = self._best_of(rows, items, k)
        else:
            usual = np.ones(n, dtype=bool)
            columns, values = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
        for rows, scores in self._as_usual(np.flatnonzero(usual)):
            columns[rows], values[rows] = topk_codes(scores, k)
        return columns, values

    def _reaching(self, k, turned=False):
        """Mask of the usual queries, and pairs with the best `k` items of the others.

        The maximum of a group of items is a score of the query. So `k` scores reach the
        `k`-th largest maximum, up to their error. If that is negative, all bits are
        `turned`.
        """
        n, width = len(self.queries), self.preselector.width
        rough, error = self.preselector.rounded(self.queries)
        usual, found = ~(error < _LARGEST).numpy(), []
        best = np.full((n, k), _in_order(np.int16(_OUT)), dtype=np.int16)
        for i, (begin, bits) in enumerate(self.preselector.tiles(rough, self.special)):
            if turned:
                bits[:] = _in_order(bits)
            maxima = _maxima(bits)
            if i & (i + 1) == 0:  # after 1, 2, 4, ... tiles, as it rises less and less
                best = _largest(best, maxima)
                # The true score is at least `cut`, less half a unit of the last place
                # and the error. An equal score may appear lower by another error.
                cut = _values_of(best[:, 0])
                least = _bits_of(cut - 2**-8 * cut.abs() - 2 * error)
                least[usual] = _NEVER
                if not turned and least.min() <= 0:
                    return self._reaching(k, turned=True)
            groups, rows = np.divmod(np.flatnonzero(maxima >= least), n)
            inside = _scores_of(bits, rows, groups)
            hits = np.flatnonzero(inside >= least[rows])
            steps, which = np.divmod(hits, max(len(rows), 1))
            rows, items = rows[which], begin + steps * len(maxima) + groups[which]
            found.append((rows, items, inside.reshape(-1)[hits]))
            usual |= np.bincount(rows, minlength=n) > width // _SHARE
            least[usual] = _NEVER
        rows, items, values = map(np.concatenate, zip(*found, strict=True))
        kept = values >= least[rows]
        return usual, rows[kept], items[kept]

    def _best_of(self, rows, items, k):
        """Best `k` of these pairs and the special ones, for each query."""
        n, n_items = len(self.queries), len(self.preselector.keys)
        scores = self.preselector.decide(self.queries.numpy(), rows, items)
        rows = np.concatenate([rows, self.special[0]])
        items = np.concatenate([items, self.special[1]])
        scores = np.concatenate([scores, self._special_scores()])
        order = np.argsort(rows * n_items + items)
        rows, items, scores = rows[order], items[order], scores[order]
        counts = np.bincount(rows, minlength=n)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = n, max(k, counts.max())
        values, columns = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64)
        values[rows, place], columns[rows, place] = scores, items
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        columns = np.take_along_axis(columns, order, axis=1)
        return columns, np.take_along_axis(values, order, axis=1)

    def ranks(self, targets, rows=None):
        """Ranks of targets as arrays, see `target_rank`."""
        if rows is None:
            return self._ranks(targets)
        # A product takes less time than copying the scores of shared rows.
        ranks = np.empty(len(rows), dtype=np.int64)
        for start in range(0, len(rows), PRESELECTED_ROWS):
            part = slice(start, start + PRESELECTED_ROWS)
            ranks[part] = self._take(rows[part])._ranks(targets[part])
        return ranks

    def _take(self, rows):
        """The same for some rows, which may repeat."""
        which, at = self._special_of(rows)
        special = which, self.special[1][at]
        queries = self.queries[rows]
        return Preselected(self.preselector, queries, special, self.bonus[at])

    def _ranks(self, targets):
        """Count the items surely above the target, and decide those close to it."""
        n, preselector = len(targets), self.preselector
        queries = self.queries.numpy()
        own = preselector.decide(queries, np.arange(n), targets)
        ranks = self._special_ranks(own, targets)
        rough, error = preselector.rounded(self.queries)
        low = _bits_of(torch.from_numpy(own) - error)
        high = _bits_of(torch.from_numpy(own) + error)
        usual = (low <= 0) | ~(error < _LARGEST).numpy()
        low[usual] = _NEVER
        for begin, bits in preselector.tiles(rough, self.special):
            maxima = _maxima(bits)
            reached = maxima >= low
            n_reached = reached.view(np.uint8).sum(axis=0, dtype=np.uint16)
            many = n_reached > len(maxima) // _DENSE
            if many.any():
                usual |= many
                low[usual] = _NEVER
                if usual.mean() > 0.75:  # the others are not worth a rounded product
                    usual[:] = True
                    break
                reached[:, many] = False
            groups, rows = np.divmod(np.flatnonzero(reached), n)
            inside = _scores_of(bits, rows, groups)
            over = inside > high[rows]
            n_over = over.view(np.uint8).sum(axis=0, dtype=np.uint8)
            ranks += np.bincount(rows, n_over, minlength=n).astype(np.int64)
            between = np.flatnonzero((inside >= low[rows]) != over)
            steps, which = np.divmod(between, max(len(rows), 1))
            rows, items = rows[which], begin + steps * len(maxima) + groups[which]
            scores = preselector.decide(queries, rows, items)
            ranks += np.bincount(rows[scores >= own[rows]], minlength=n)
        for rows, scores in self._as_usual(np.flatnonzero(usual)):
            ranks[rows] = target_rank(scores, torch.from_numpy(targets[rows])).numpy()
        return ranks

    def _special_ranks(self, own, targets):
        """Number of special pairs that reach each target, whose score is `own`.

        If a target is a special pair itself, its score is written to `own`.
        """
        rows, items = self.special
        scores, is_own = self._special_scores(), items == targets[rows]
        own[rows[is_own]] = scores[is_own]
        return np.bincount(rows[scores >= own[rows]], minlength=len(targets))

    def _special_scores(self):
        scores = self.preselector.decide(self.queries.numpy(), *self.special)
        return scores + self.bonus

    def _special_of(self, rows):
        """Special pairs of some rows: place in `rows`, and position of the pair."""
        starts = np.searchsorted(self.special[0], rows)
        lengths = np.searchsorted(self.special[0], rows, "right") - starts
        at, _ = flat_positions(starts, lengths)
        return np.repeat(np.arange(len(rows)), lengths), at

    def _as_usual(self, rows):
        """Yield some rows at a time, with all their scores in float32."""
        for part, scores in self.preselector.product(self.queries[rows]):
            which, at = self._special_of(rows[part])
            scores.numpy()[which, self.special[1][at]] += self.bonus[at]
            yield rows[part], scores


def _scores_of(bits, rows, groups):
    """Bits of the scores in some groups, (_GROUP, n)."""
    at = groups * bits.shape[1] + rows
    return bits.reshape(_GROUP, -1).take(at, axis=1)


def _maxima(bits):
    """Largest of each group of items, (n_groups, n): item = step * n_groups + group."""
    return bits.reshape(_GROUP, -1).max(axis=0).reshape(-1, bits.shape[1])


def _largest(best, maxima):
    """The largest values of both, as many as in `best`, with their minimum first."""
    maxima = maxima.reshape(_COARSER, -1).max(axis=0).reshape(-1, len(best))
    both = np.concatenate([best, maxima.T], axis=1)
    both.partition(len(maxima), axis=1)
    return both[:, len(maxima) :]


def _in_order(bits):
    """Bits of bfloat16 as integers in the same order, negative ones too; and back."""
    return bits ^ ((bits >> 15) & _NEVER)


def _bits_of(values):
    """Values in bfloat16, as integers in their order."""
    return _in_order(values.bfloat16().view(torch.int16).numpy())


def _values_of(bits):
    """The inverse of `_bits_of`."""
    return torch.from_numpy(_in_order(bits)).view(torch.bfloat16).float()
