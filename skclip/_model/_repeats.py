"""A score bias for items that are in the session, by recency and count."""

from dataclasses import dataclass

import numpy as np
import torch

from skclip._data import flat_positions

N_STEPS, N_COUNTS = 12, 4


@dataclass(frozen=True)
class Seen:
    """The observed items of queries, with one entry for each query and item.

    `rows` are the queries, `items` are positions 0..n_items-1. `steps` (clicks since
    the last one on the item) and `counts` (clicks on it) are indices in `RepeatBias`.
    """

    rows: torch.Tensor
    items: torch.Tensor
    steps: torch.Tensor
    counts: torch.Tensor


@dataclass(frozen=True)
class RepeatBias:
    r"""Bias :math:`a_{\min(p, 11)} + b_{\min(n, 4)}` of an item of the session.

    The item was last clicked :math:`p` clicks before the newest click, and has
    :math:`n` clicks. `recency` (12,) and `count` (4,) are float32 arrays.
    """

    recency: np.ndarray
    count: np.ndarray

    def add_to(self, scores, seen):
        """Add the bias to scores (n_queries, n_items), in place."""
        table = torch.from_numpy(self.table()).to(scores.device)
        scores[seen.rows, seen.items] += table[seen.steps, seen.counts]
        return scores

    def add_to_rows(self, scores, rows):
        """Add the bias to an array of scores, for a few lists of known codes."""
        table = self.table()
        for own, row in zip(scores, rows, strict=True):
            steps = {code: len(row) - 1 - at for at, code in enumerate(row)}  # latest
            for code, step in steps.items():
                count = min(row.count(code), N_COUNTS)
                own[code - 1] += table[min(step, N_STEPS - 1), count - 1]

    def table(self):
        """Return the bias for each recency and count, (12, 4)."""
        return self.recency[:, None] + self.count


def seen_items(instances, n_items, device):
    """Return the observed items of `Instances` as `Seen`, without unseen items."""
    lengths = instances.stops - instances.starts
    at, _ = flat_positions(instances.starts, lengths)
    codes = torch.from_numpy(instances.codes[at]).to(device).long()
    lengths = torch.from_numpy(lengths).to(device)
    rows = torch.repeat_interleave(lengths)
    steps = lengths.cumsum(0)[rows] - 1 - torch.arange(len(rows), device=device)
    known = codes <= n_items
    keys = rows[known] * n_items + codes[known] - 1
    keys, which, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    newest = torch.full_like(keys, N_STEPS - 1)
    newest.scatter_reduce_(0, which, steps[known], "amin")
    rows = torch.div(keys, n_items, rounding_mode="floor")
    return Seen(rows, keys - rows * n_items, newest, counts.clamp_(max=N_COUNTS) - 1)
