"""A learned bias for the items that a session has already, by recency and count."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import nn

from skclip._data import flat_positions

_N_STEPS, _N_COUNTS = 12, 4
_SPEED = 10.0  # the steps of Adam are made for vectors, whose products add up


@dataclass(frozen=True)
class Seen:
    """What is added to the scores of the items that queries have observed.

    One entry for each query and item, in order of the items and then the queries.
    `rows` are the queries, `items` positions 0..n_items-1. `steps` (clicks since the
    last one on the item) and `counts` (clicks on it) are places in the tables of
    `RepeatBias`, `values` is its bias, `places` number the entries.
    """

    rows: torch.Tensor
    items: torch.Tensor
    steps: torch.Tensor
    counts: torch.Tensor
    places: torch.Tensor
    n_queries: int
    values: torch.Tensor = None

    def take(self, which):
        names = ("rows", "items", "steps", "counts", "places", "values")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def of_rows(self, start, stop):
        """The entries of some queries, which count from 0 then."""
        part = self.take((self.rows >= start) & (self.rows < stop))
        return replace(part, rows=part.rows - start)

    def between(self, borders):
        """The entries of each range of items, which count from 0 then; or None."""
        cuts = torch.tensor(borders, device=self.items.device)
        cuts = torch.searchsorted(self.items, cuts).tolist()
        parts = []
        for first, (start, stop) in zip(borders, pairwise(cuts), strict=False):
            part = self.take(slice(start, stop)) if stop > start else None
            parts.append(part and replace(part, items=part.items - first))
        return parts

    def of(self, rows, items):
        """The bias of items for queries, 0 where they are not observed."""
        if len(self.rows) == 0:
            return torch.zeros(items.shape, device=items.device)
        own = self.items * self.n_queries + self.rows
        keys = items * self.n_queries + rows
        at = torch.searchsorted(own, keys).clamp_(max=len(own) - 1)
        return self.values[at].where(own[at] == keys, 0.0)

    def add_to(self, scores):
        """Add the bias to scores (n_queries, n_items), in place."""
        scores[self.rows, self.items] += self.values.to(scores.dtype)
        return scores


class RepeatBias(nn.Module):
    r"""Bias :math:`a_{\min(p, 11)} + b_{\min(n, 4)}` of an item of the session.

    The last click on it is :math:`p` clicks before the newest one, and there are
    :math:`n` clicks on it.
    """

    def __init__(self):
        super().__init__()
        self.recency = nn.Parameter(torch.zeros(_N_STEPS))
        self.count = nn.Parameter(torch.zeros(_N_COUNTS))

    def forward(self, seen):
        """The same `Seen` with its values."""
        values = self.recency[seen.steps] + self.count[seen.counts]
        return replace(seen, values=_SPEED * values)

    def table(self):
        """The bias for each recency and count, (12, 4)."""
        return _SPEED * (self.recency[:, None] + self.count)


def seen_in_batch(batch, n_items):
    """The items that the queries of a `Batch` have observed."""
    rows, at = batch.mask.nonzero(as_tuple=True)
    codes = batch.codes[batch.rows[rows], at]
    return _seen(rows, codes, batch.ends[rows] - 1 - at, len(batch.ends), n_items)


def seen_in_instances(instances, n_items, device):
    """The same for `Instances`."""
    lengths = instances.stops - instances.starts
    at, _ = flat_positions(instances.starts, lengths)
    codes = torch.from_numpy(instances.codes[at]).to(device).long()
    lengths = torch.from_numpy(lengths).to(device)
    rows = torch.repeat_interleave(lengths)
    ends = lengths.cumsum(0)[rows]
    steps = ends - 1 - torch.arange(len(rows), device=device)
    return _seen(rows, codes, steps, len(lengths), n_items)


def _seen(rows, codes, steps, n_queries, n_items):
    """Entries of clicks `steps` before the newest; unseen items have none."""
    known = codes <= n_items
    keys = (codes[known] - 1) * n_queries + rows[known]
    keys, which, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    last = torch.full_like(keys, _N_STEPS - 1)
    last.scatter_reduce_(0, which, steps[known], "amin")
    items = torch.div(keys, n_queries, rounding_mode="floor")
    counts = counts.clamp_(max=_N_COUNTS) - 1
    places = torch.arange(len(keys), device=keys.device)
    return Seen(keys - items * n_queries, items, last, counts, places, n_queries)
