"""Mini-batches: index views on flat codes, padded to their own longest session."""

import numpy as np
import torch

from skclip.backbones import Batch

_BUCKET = 64  # batches that are drawn together and sorted by length
_LEAST = 1e-30  # share of the largest weight, so that none is 0 in float32


class Batches:
    """Cut instances, none of them empty, into batches on a device.

    Instances that share a start are prefixes of one run of events. If the network
    answers all of them in one pass (`shared`) they make a single row of a batch;
    otherwise each instance is a row. Rows of a batch have similar lengths. What is
    kept is int32 where that is enough; a `Batch` is int64, as torch's look-ups want it.
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
        """Rows of each batch of an epoch, about `batch_size` instances each.

        Rows are shuffled, sorted by length inside buckets of many batches, and the
        batches shuffled again.
        """
        order = rng.permutation(len(self.first))
        bucket = np.cumsum(self.counts[order]) // (_BUCKET * batch_size)
        order = order[np.lexsort((self.lengths[order], bucket))]
        plan = self._cut(order, batch_size)
        return [plan[i] for i in rng.permutation(len(plan))]

    def in_order_of_length(self, batch_size, most):
        """Rows of each batch, shortest first.

        A batch has at most about `batch_size` instances, and about ``most(length)``
        if its longest session has so many events.
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
        """Numbers of the instances that the rows of a batch answer, in order."""
        counts = self.counts[rows]
        firsts = np.cumsum(counts) - counts
        steps = np.arange(counts.sum()) - np.repeat(firsts, counts)
        return np.repeat(self.first[rows], counts) + steps

    def weight_of(self, rows):
        """Weight of the instances that the rows of a batch answer, 1 each if alike."""
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
    """A copy of what is never negative, in int32 if that is enough."""
    fits = array.max(initial=0) <= np.iinfo(np.int32).max
    return array.astype(np.int32 if fits else np.int64)
