"""Exact top k and exact rank of the target from scores, with one tie rule."""

import numpy as np
import torch

from skclip._base import check_finite, refuse_not_finite
from skclip._data import FEW

_CHUNK_FLOATS = 2**24  # 64 MiB of float32 scores at a time


_CACHED_FLOATS = 2**21  # 8 MiB of scores, which stay in the cache


_FEWEST_ROWS = 48  # with which a product is efficient


_GROUP = 16  # columns of a group, whose maximum is read first


_ROW_GROUP = 64  # the same for few rows


_SMALL = 2**16  # scores up to which one call of topk is as fast as several


_COLUMNS = 4096  # columns compared with the target's score at a time


_TARGETS = 512  # targets of equal prefixes that are ranked at a time


def rows_per_chunk(n_items):
    """Number of rows of scores that are held at a time."""
    return max(1, _CHUNK_FLOATS // n_items)


def rows_per_product(n_items, device):
    """Number of rows of scores that a thread computes and reads from its cache."""
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
    if scores.dtype == torch.float64:  # so that ties are those of the returned scores
        scores = scores.float()
    if len(scores) <= FEW and scores.dtype == torch.float32 and scores.is_cpu:
        return few_topk(scores.numpy(), k)
    values, columns = _largest(scores, min(k + 1, n_items))
    values, columns = values.float().cpu().numpy(), columns.cpu().numpy()
    tied = np.empty(0, dtype=np.int64)
    if k < n_items:  # a tie across the cut, where topk chose arbitrarily
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
    """Ascending columns that hold the best `k` values, and all values tied with them.

    The maxima of groups of columns are values of the row. So `k` values reach the
    `k`-th largest of these maxima.
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

    Only the `k` groups of columns with the largest maxima can hold any of them. For a
    value of another group there are `k` maxima that are as large.
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

    With `rows`, which is ascending, target i belongs to row ``rows[i]``.
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

    Ranks are those of the worst list that the scores allow: among equal scores the
    targets come last. `n_reaching` counts the items that score at least as much as each
    target. `of_query`, ascending, is the query of each target. Tied targets have equal
    counts, and get the last of these places. Number the targets of a query by count,
    ``i = 1, 2, ...``. The rank is ``i`` plus the smallest ``n_reaching - i`` from there
    on, which is the number of other items before the target. Ranks of a query are
    always distinct.
    """
    order = np.lexsort((n_reaching, of_query))
    first = np.searchsorted(of_query, of_query)
    place = np.arange(len(order)) - first + 1
    # One running minimum for all queries, from the last. Each query has lower numbers
    # than those after it, so that its minimum starts anew.
    shift = of_query * (2 * n_items)
    others = (n_reaching[order] - place + shift)[::-1]
    others = np.minimum.accumulate(others)[::-1] - shift
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = place + np.maximum(others, 0)
    return ranks
