"""P-values of differences from bootstrap draws, and Holm's adjustment."""

import numpy as np

_ROUNDING = 1e-12  # differences that are smaller come from sums in another order


def bootstrap_p_values(draws):
    r"""Two-sided p-values of ``difference = 0``, over the first axis of the draws.

    .. math:: p = \min(1, 2 (1 + \min(\#\{d \le 0\}, \#\{d \ge 0\})) / (1 + n))

    The p-value inverts the percentile interval: it is below 0.05 if the 95 % interval
    excludes 0, up to one or two draws. Draws that are NaN are left out. The result is
    NaN if no draw is left.
    """
    n = (~np.isnan(draws)).sum(axis=0)
    low, high = (draws <= _ROUNDING).sum(axis=0), (draws >= -_ROUNDING).sum(axis=0)
    p_values = np.minimum(2.0 * (1 + np.minimum(low, high)) / (1 + n), 1.0)
    return np.where(n > 0, p_values, np.nan)


def holm(p_values):
    """Adjust p-values of one family by the step-down method of Holm.

    The i-th smallest of m values is multiplied by m - i + 1. Each result is at least as
    large as the one before it, and at most 1. NaN stays NaN and is not counted.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted, known = np.full(p_values.shape, np.nan), np.flatnonzero(p_values >= 0)
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
