"""A learned bias for the items that a session has already, by recency and count.

It is learned from sessions that the network was not trained on. On its training
sessions the network knows the next item better than it ever will again, so there the
bias would say that nobody comes back.
"""

from dataclasses import dataclass

import numpy as np
import torch

from skclip._data import flat_positions

N_STEPS, N_COUNTS = 12, 4
_SPREAD = 2.0  # of the normal prior of both parts of the bias
_TEMPERATURES = 2.0 ** np.arange(-1, 2.5, 0.5)


@dataclass(frozen=True)
class Seen:
    """The items that queries have observed: an entry for each query and item.

    `rows` are the queries, `items` positions 0..n_items-1. `steps` (clicks since the
    last one on the item) and `counts` (clicks on it) are places in `RepeatBias`.
    """

    rows: torch.Tensor
    items: torch.Tensor
    steps: torch.Tensor
    counts: torch.Tensor


@dataclass(frozen=True)
class RepeatBias:
    r"""Bias :math:`a_{\min(p, 11)} + b_{\min(n, 4)}` of an item of the session.

    The last click on it is :math:`p` clicks before the newest one, and there are
    :math:`n` clicks on it. `recency` (12,) and `count` (4,) are arrays, float32.
    """

    recency: np.ndarray
    count: np.ndarray

    def add_to(self, scores, seen):
        """Add the bias to scores (n_queries, n_items), in place."""
        table = torch.from_numpy(self.table()).to(scores.device)
        scores[seen.rows, seen.items] += table[seen.steps, seen.counts]
        return scores

    def table(self):
        """The bias for each recency and count, (12, 4)."""
        return self.recency[:, None] + self.count


def seen_items(instances, n_items, device):
    """The items that `Instances` have observed, `Seen`; unseen ones are none."""
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


class HeldOut:
    """Scores of held-out targets, and all that a bias changes of their likelihood.

    A bias changes a few scores of a row, so the sum over the catalog is kept, and
    corrected for these: the likelihood is that of the softmax over the whole catalog.
    """

    def __init__(self, chunks):
        """Read chunks (scores, targets, seen); targets are positions of items."""
        parts = [self._read(*chunk) for chunk in chunks]
        sizes = [len(part["own"]) for part in parts]
        for part, first in zip(parts, np.cumsum([0, *sizes]), strict=False):
            part["rows"] += int(first)
        self.n_targets = sum(sizes)
        names = parts[0] if parts else ()
        self._parts = {k: torch.cat([part[k] for part in parts]) for k in names}

    @staticmethod
    def _read(scores, targets, seen):
        sums = [torch.logsumexp(scores / t, dim=1) for t in _TEMPERATURES.tolist()]
        part = {
            "own": scores.gather(1, targets[:, None]).squeeze(1),  # of each query
            "log_sums": torch.stack(sums, dim=1),
            "rows": seen.rows,  # of each item that a query has observed
            "scores": scores[seen.rows, seen.items],
            "hits": seen.items == targets[seen.rows],
            "steps": seen.steps,
            "counts": seen.counts,
        }
        return {name: values.cpu() for name, values in part.items()}

    def losses(self, recency, count, temperature):
        """Negative log likelihood of the targets, (n,), float64.

        It is that of (scores + bias) / temperature.
        """
        parts, at = self._parts, _TEMPERATURES.tolist().index(temperature)
        log_sums, own = parts["log_sums"][:, at].double(), parts["own"].double()
        rows, hits = parts["rows"], parts["hits"]
        bias = recency[parts["steps"]] + count[parts["counts"]]
        shares = (parts["scores"].double() / temperature - log_sums[rows]).exp()
        more = torch.zeros_like(own)
        more = more.index_add(0, rows, shares * torch.expm1(bias / temperature))
        own = own.index_add(0, rows[hits], bias[hits])
        more = more.clamp_min(1e-6 - 1)  # scores are rounded
        return log_sums + torch.log1p(more) - own / temperature


def learned_bias(*held_out):
    """The `RepeatBias` that makes the targets of several `HeldOut` most likely.

    The temperature is learned along: a network that is too sure of itself needs a
    larger bias to be contradicted. It changes no ranking, so it is not kept.
    """
    parts = [torch.zeros(n, dtype=torch.float64) for n in (N_STEPS, N_COUNTS)]
    best, bias = np.inf, None
    for temperature in _TEMPERATURES.tolist():
        loss, parts = _most_likely(held_out, temperature, parts)
        if loss < best:
            found = [(temperature * part).float().numpy() for part in parts]
            best, bias = loss, RepeatBias(*found)
    return bias


def _most_likely(held_out, temperature, parts):
    """Smallest loss, and bias / temperature, from that of another temperature."""
    parts = [part.clone().requires_grad_() for part in parts]
    optimizer = torch.optim.LBFGS(parts, max_iter=50, line_search_fn="strong_wolfe")

    def objective():
        optimizer.zero_grad()
        recency, count = (temperature * part for part in parts)
        prior = sum(part.square().sum() for part in parts) / (2 * _SPREAD**2)
        losses = [part.losses(recency, count, temperature) for part in held_out]
        loss = prior + sum(part.sum() for part in losses)
        loss.backward()
        return loss

    optimizer.step(objective)
    return float(objective().detach()), [part.detach() for part in parts]
