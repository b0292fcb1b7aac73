"""Mini-batches from flat codes, padded to the longest session of each batch."""

import numpy as np
import torch

from skclip.backbones import Batch

_BUCKET = 64  # number of batches that are drawn together and sorted by length
_LEAST = 1e-30  # smallest weight relative to the largest, so that none is 0 in float32


class Batches:
    """Cut instances into batches on a device. No instance may be empty.

    Instances with the same start are prefixes of one sequence of events. With `shared`
    the network encodes all of them in one pass, and they form a single row of a batch.
    Otherwise each instance is a row. Rows of a batch have similar lengths. Stored codes
    are int32 if possible. A `Batch` is int64, which torch's look-ups need.
    """

    def __init__(self, instances, device, shared):
        n = len(instances)
        first = np.arange(n)
        if shared:
            new = np.ones(n, dtype=bool)
            new[1:] = np.diff(instances.starts) != 0
            first = np.flatnonzero(new)
        lengths = _short(instances.stops - instances.starts)
        self.lengths = np.maximum.reduceat(lengths, first) if n else lengths
        self.counts, self.first = _short(np.diff(np.append(first, n))), _short(first)
        self.n_instances = n

        def put(array):
            return torch.from_numpy(_short(array)).to(device)

        self._codes = put(instances.codes)
        self._clusters = None
        if instances.clusters is not None:
            self._clusters = put(instances.clusters)
        self._click_codes = None
        if instances.click_codes is not None:
            self._click_codes = put(instances.click_codes)
        self._weights = None
        if instances.weights is not None:
            weights = instances.weights / instances.weights.max(initial=0.0)
            weights = np.maximum(weights, _LEAST).astype(np.float32)
            self._weights = torch.from_numpy(weights).to(device)
        self._of_rows = {  # one for each session
            name: put(values[first])
            for name in ("users", "sessions")
            if (values := getattr(instances, name)) is not None
        }
        self._row_starts, self._row_lengths = (
            put(instances.starts[first]),
            put(self.lengths),
        )
        self._row_first, self._row_counts = put(self.first), put(self.counts)
        self._ends, self._targets = put(lengths), put(instances.targets)
        self._device = device

    def epoch(self, batch_size, rng):
        """Return the rows of each batch of an epoch, of about `batch_size` instances.

        Rows are shuffled, then sorted by length inside buckets of many batches. The
        batches are then shuffled.
        """
        order = rng.permutation(len(self.first))
        bucket = np.cumsum(self.counts[order]) // (_BUCKET * batch_size)
        order = order[np.lexsort((self.lengths[order], bucket))]
        plan = self._cut(order, batch_size)
        return [plan[i] for i in rng.permutation(len(plan))]

    def in_order_of_length(self, batch_size, most):
        """Return the rows of each batch, shortest first.

        A batch has about `batch_size` instances at most. If its longest session has
        `length` events, it has about ``most(length)`` at most.
        """
        plan = self._cut(np.argsort(self.lengths, kind="stable"), batch_size)
        return [
            part
            for rows in plan
            for part in self._cut(rows, max(1, most(int(self.lengths[rows].max()))))
        ]

    def _cut(self, order, batch_size):
        reached = np.cumsum(self.counts[order])
        if reached[-1] <= batch_size:
            return [order]
        borders = np.arange(batch_size, reached[-1], batch_size)
        cuts = np.unique(np.searchsorted(reached, borders, "left") + 1)
        return np.split(order, cuts[cuts < len(order)])

    def instances_of(self, rows):
        """Return the numbers of the instances in some rows, in order."""
        counts = self.counts[rows]
        firsts = np.cumsum(counts) - counts
        steps = np.arange(counts.sum()) - np.repeat(firsts, counts)
        return np.repeat(self.first[rows], counts) + steps

    def weight_of(self, rows):
        """Return the total weight of the instances in some rows."""
        if self._weights is None:
            return int(self.counts[rows].sum())
        at = torch.from_numpy(self.instances_of(rows)).to(self._device)
        return float(self._weights[at].sum())

    def batch(self, rows):
        """Build the `Batch` of the given rows."""
        width, n_queries = int(self.lengths[rows].max()), int(self.counts[rows].sum())
        rows = torch.from_numpy(rows).to(self._device)
        steps = torch.arange(width, device=self._device)
        padding = steps >= self._row_lengths[rows][:, None]
        at = (self._row_starts[rows][:, None] + steps).masked_fill_(padding, 0)
        codes = self._codes[at].masked_fill_(padding, 0).long()
        clusters = None
        if self._clusters is not None:
            clusters = self._clusters[at].long()
            clusters[padding] = 0
        click_codes = None
        if self._click_codes is not None:
            click_codes = self._click_codes[at].long()
            click_codes[padding] = 0

        counts = self._row_counts[rows].long()
        of_row = torch.repeat_interleave(counts, output_size=n_queries)
        firsts = counts.cumsum(0) - counts
        within = torch.arange(len(of_row), device=self._device) - firsts[of_row]
        query = self._row_first[rows][of_row] + within
        return Batch(
            codes=codes,
            rows=of_row,
            ends=self._ends[query].long(),
            targets=self._targets[query].long(),
            clusters=clusters,
            click_codes=click_codes,
            weights=None if self._weights is None else self._weights[query],
            **{name: values[rows].long() for name, values in self._of_rows.items()},
        )


def _short(array):
    """Copy an array of numbers that are not negative, as int32 if possible."""
    fits = array.max(initial=0) <= np.iinfo(np.int32).max
    return array.astype(np.int32 if fits else np.int64)
