"""Intervals of metrics and of their differences, by draws of whole sessions."""

import numpy as np


def gain(ranks, metric):
    """What each target adds to the mean of a metric."""
    hits = ranks <= 20
    return hits.astype(float) if metric == "recall@20" else hits / ranks


def draws(sums, sizes, n_draws=10_000):
    """Mean over targets, and its 95 % interval over sessions."""
    rng = np.random.default_rng(0)
    drawn = np.empty(n_draws)
    for i in range(n_draws):
        at = rng.integers(len(sums), size=len(sums))
        drawn[i] = sums[at].sum() / sizes[at].sum()
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [float(sums.sum() / sizes.sum()), float(low), float(high)]


def of_targets(gains, sessions):
    """The same for the mean of some gains; `sessions` has the one of each target."""
    _, codes = np.unique(sessions, return_inverse=True)
    return draws(np.bincount(codes, gains), np.bincount(codes))


def interval(values):
    """A mean difference and its interval as a text."""
    mean, low, high = values
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
