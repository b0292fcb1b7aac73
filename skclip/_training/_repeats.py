"""Learn the bias of repeated items from sessions that the network has not seen.

On its training sessions the network predicts the next item better than on any others. A
bias learned there would claim that nobody comes back to an item.
"""

import numpy as np
import torch

from skclip._model import N_COUNTS, N_STEPS, RepeatBias

_SPREAD = 2.0  # standard deviation of the normal prior of both parts of the bias
_TEMPERATURES = 2.0 ** np.arange(-1, 2.5, 0.5)


class HeldOut:
    """Scores of held-out targets, with all that a bias changes in their likelihood.

    A bias changes a few scores of a row. The sum over the catalog is kept and corrected
    for these, so the likelihood is that of the softmax over the whole catalog.
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
        """Negative log-likelihood of the targets, (n,), float64.

        The softmax is that of (scores + bias) / temperature.
        """
        parts, at = self._parts, _TEMPERATURES.tolist().index(temperature)
        log_sums, own = parts["log_sums"][:, at].double(), parts["own"].double()
        rows, hits = parts["rows"], parts["hits"]
        bias = recency[parts["steps"]] + count[parts["counts"]]
        shares = (parts["scores"].double() / temperature - log_sums[rows]).exp()
        more = torch.zeros_like(own)
        more = more.index_add(0, rows, shares * torch.expm1(bias / temperature))
        own = own.index_add(0, rows[hits], bias[hits])
        more = more.clamp_min(1e-6 - 1)  # because scores are rounded
        return log_sums + torch.log1p(more) - own / temperature


def learned_bias(*held_out):
    """Return the `RepeatBias` that makes the targets of several `HeldOut` most likely.

    A temperature is learned too, because an overconfident network needs a larger bias.
    The temperature changes no ranking, so it is not kept.
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
    """Smallest loss and its bias / temperature, starting from another temperature."""
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
