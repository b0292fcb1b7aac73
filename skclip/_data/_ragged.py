"""Runs in flat arrays: positions, prefixes, hashes, the order of times."""

import numpy as np


def check_times_rise(X, *, missing=True):
    """Refuse sessions whose events are not in order of time, or (`missing`) have none.

    Raises
    ------
    ValueError
        Names the first session and event.
    """
    bad = np.flatnonzero(times_fall(X.times, X.offsets))
    if missing and not len(bad):
        bad = np.flatnonzero(np.isnan(X.times))
    if len(bad):
        row = int(np.searchsorted(X.offsets, bad[0], side="right")) - 1
        at = int(bad[0] - X.offsets[row])
        before = f" after {X.times[bad[0] - 1]:g}" if at else ""
        raise ValueError(
            f"The times of session {row} are not in order: event {at} is at "
            f"{X.times[bad[0]]:g}{before}. Sort the events by time, as "
            "Sessions.from_events does."
        )


def times_fall(times, offsets):
    """Whether an event is earlier than the one before it in its session."""
    falls = np.zeros(len(times), dtype=bool)
    falls[1:] = times[1:] < times[:-1]
    starts = offsets[:-1]
    falls[starts[starts < len(times)]] = False
    return falls


def flat_positions(starts, lengths):
    """Positions of several runs in a flat array, and the offsets of the runs."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shift = np.repeat(starts - offsets[:-1], lengths)
    return np.arange(offsets[-1]) + shift, offsets


def prefix_ends(lengths):
    """Row and end of every prefix that has a next item, rows in order."""
    counts = np.maximum(lengths - 1, 0)
    rows = np.repeat(np.arange(len(lengths)), counts)
    firsts = np.cumsum(counts) - counts
    return rows, np.arange(len(rows)) - firsts[rows] + 1


def content_hashes(values, starts, stops):
    """64-bit hashes of ``values[starts[i]:stops[i]]``, order and content.

    Two different runs collide with probability 2 ** -64.
    """
    mixed = _mixed(values)
    base = 0xC2B2AE3D27D4EB4F  # odd, so that it has an inverse modulo 2 ** 64
    powers = _powers(base, len(values))
    running = np.concatenate([[np.uint64(0)], np.cumsum(mixed * powers[:-1])])
    back = _powers(pow(base, -1, 2**64), len(values))
    return (running[stops] - running[starts]) * back[starts]


def _mixed(values):
    """64 well mixed bits of each value, by the finaliser of SplitMix64."""
    mixed = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _powers(base, n):
    steps = np.full(n + 1, base, dtype=np.uint64)
    steps[0] = 1
    return np.cumprod(steps)


def picked(owner, names, rows):
    """Rows of some attributes, None where they are None."""
    values = {name: getattr(owner, name) for name in names}
    return {k: None if v is None else v[rows] for k, v in values.items()}
