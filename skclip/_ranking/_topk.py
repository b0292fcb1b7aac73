"""Scores to the top k or the rank of the target, exactly, with one tie rule."""

import numpy as np
import torch

from skclip._base import check_finite, refuse_not_finite
from skclip._data import FEW

_CHUNK_FLOATS = 2**24  # 64 MiB of float32 scores at a time


_CACHED_FLOATS = 2**21  # 8 MiB of them, which stay near the core


_FEWEST_ROWS = 48  # that a product is efficient with


_GROUP = 16  # columns whose maximum is looked at first


_ROW_GROUP = 64  # the same where rows are few


_SMALL = 2**16  # scores that one call finds as soon as several


_COLUMNS = 4096  # compared with the target's score at a time


_TARGETS = 512  # of equal prefixes that are ranked at a time


def rows_per_chunk(n_items):
    """How many rows of scores are held at a time."""
    return max(1, _CHUNK_FLOATS // n_items)


def rows_per_product(n_items, device):
    """How many rows of scores a thread makes and looks at, so that they are at hand."""
    if device.type != "cpu":
        return rows_per_chunk(n_items)
    rows = max(_CACHED_FLOATS // n_items, _FEWEST_ROWS)
    return min(rows, rows_per_chunk(n_items))


def topk_codes(scores, k):
    """Best `k` columns of each row: score descending, then column ascending.

    `scores` is a tensor (n, n_items). Returns columns (n, k), int64, and their values,
    float32.
    """
    n_items = scores.shape[1]
    if scores.dtype == torch.float64:  # ties are those of the scores that are returned
        scores = scores.float()
    if len(scores) <= FEW and scores.dtype == torch.float32 and scores.is_cpu:
        return few_topk(scores.numpy(), k)
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


def few_topk(scores, k):
    """`topk_codes` of a few rows in memory, one by one: an array (n, n_items)."""
    columns = np.empty((len(scores), k), dtype=np.int64)
    values = np.empty((len(scores), k), dtype=scores.dtype)
    for i, row in enumerate(scores):
        at = _reaching(row, k)
        order = (-row[at]).argsort(kind="stable")[:k]
        columns[i], values[i] = at[order], row[at][order]
    return columns, values


def _reaching(row, k):
    """Columns, ascending, among which the best `k` are, with all that tie with them.

    The maxima of groups of columns are values of the row. So what the `k`-th largest
    of them is, `k` values reach.
    """
    best = row
    n_groups = len(row) // _ROW_GROUP
    if n_groups >= 4 * k:
        n_grouped = n_groups * _ROW_GROUP  # column = step * n_groups + group
        best = np.empty(n_groups + 1, dtype=row.dtype)
        np.max(row[:n_grouped].reshape(_ROW_GROUP, -1), axis=0, out=best[:-1])
        best[-1] = row[n_grouped:].max(initial=-np.inf)
    if not best.max() < np.inf:  # not NaN either; -inf: left out by a filter
        refuse_not_finite()
    cut = len(best) - k
    return (row >= np.partition(best, cut)[cut]).nonzero()[0]


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


def target_rank(scores, targets, rows=None):
    """Rank of column `targets` in each row, ties counted against it; no sort.

    With `rows` target i is looked for in row ``rows[i]``, and they are ascending.
    """
    if rows is None:
        return _rank(scores, targets, lambda part: part)
    rows = torch.from_numpy(rows).to(scores.device)
    return torch.cat(
        [
            _rank(scores, some, lambda part, which=which: part[which], which)
            for some, which in zip(
                targets.split(_TARGETS), rows.split(_TARGETS), strict=True
            )
        ]
    )


def _rank(scores, targets, rows_of, rows=None):
    if rows is None:
        rows = torch.arange(len(targets), device=scores.device)
    own = scores[rows, targets][:, None]
    check_finite(own)
    ranks = torch.zeros(len(targets), dtype=torch.int64, device=scores.device)
    hits = scores.new_empty(len(targets), min(_COLUMNS, scores.shape[1]))
    for part in scores.split(_COLUMNS, dim=1):  # sums of floats, exact, in the cache
        reached = torch.ge(rows_of(part), own, out=hits[:, : part.shape[1]])
        ranks += reached.sum(dim=1).long()
    return ranks


def ranks_in_sets(n_reaching, of_query, n_items):
    """Ranks of several targets of each query among all items, ties against them.

    They are those of the worst list that the scores allow: among equal scores the
    targets come last. `n_reaching` counts the items that score at least as much as each
    target; `of_query`, ascending, says whose target it is. Targets that tie have equal
    counts, and share out the last of these places: with ``i = 1, 2, ...`` by count, the
    rank is ``i`` and the smallest ``n_reaching - i`` from there on, which is the number
    of other items before it. Ranks of a query are always distinct.
    """
    order = np.lexsort((n_reaching, of_query))
    first = np.searchsorted(of_query, of_query)
    place = np.arange(len(order)) - first + 1
    # One running minimum for all queries, from the last: each has lower numbers than
    # those behind it, so that it starts anew.
    shift = of_query * (2 * n_items)
    others = (n_reaching[order] - place + shift)[::-1]
    others = np.minimum.accumulate(others)[::-1] - shift
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = place + np.maximum(others, 0)
    return ranks
