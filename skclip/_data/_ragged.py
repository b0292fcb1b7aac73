"""Runs in flat arrays: positions, prefixes, hashes, the order of times.

Long arrays are processed in blocks, so that temporary arrays stay small.
"""

import numpy as np

_BLOCK = 2**17


def blocks(n):
    """Slices that cut ``range(n)`` into blocks."""
    return [slice(a, min(a + _BLOCK, n)) for a in range(0, n, _BLOCK)]


def gathered(values, at):
    """``values[at]``, without the int64 copy of all of `at` that NumPy makes."""
    out = np.empty((len(at), *values.shape[1:]), dtype=values.dtype)
    for block in blocks(len(at)):
        out[block] = values[at[block]]
    return out


def check_times_rise(X, *, missing=True):
    """Refuse sessions whose events are not in order of time.

    With `missing`, sessions without times are refused too.

    Raises
    ------
    ValueError
        If there is such a session. The message names the first session and event.
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
            f"{X.times[bad[0]]:g}{before}. Sort the events by time, or build the "
            "sessions with Sessions.from_events, which sorts them."
        )


def times_fall(times, offsets):
    """Mask of the events that are earlier than the one before in their session."""
    falls = np.zeros(len(times), dtype=bool)
    falls[1:] = times[1:] < times[:-1]
    starts = offsets[:-1]
    falls[starts[starts < len(times)]] = False
    return falls


def flat_positions(starts, lengths):
    """Positions of several runs in a flat array, and the offsets of the runs."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    at = np.repeat(starts - offsets[:-1], lengths)
    for block in blocks(len(at)):
        at[block] += np.arange(block.start, block.stop)
    return at, offsets


def prefix_ends(lengths):
    """Row and end of every prefix that has a next item, in order of rows."""
    counts = np.maximum(lengths - 1, 0)
    rows = np.repeat(np.arange(len(lengths)), counts)
    firsts = np.cumsum(counts) - counts
    return rows, np.arange(len(rows)) - firsts[rows] + 1


def content_hashes(values, starts, stops):
    """64-bit hashes of the content and order of ``values[starts[i]:stops[i]]``.

    Two different runs have the same hash with probability 2 ** -64.
    """
    base = 0xC2B2AE3D27D4EB4F  # odd, so that it has an inverse modulo 2 ** 64
    running = np.zeros(len(values) + 1, dtype=np.uint64)
    for block in blocks(len(values)):
        terms = _mixed(values[block]) * _powers(base, block.start, block.stop)
        np.cumsum(terms, out=running[block.start + 1 : block.stop + 1])
        running[block.start + 1 : block.stop + 1] += running[block.start]
    hashes = running[stops]
    hashes -= running[starts]
    del running
    back = _powers(pow(base, -1, 2**64), 0, len(values) + 1)
    hashes *= back[starts]
    return hashes


def _mixed(values):
    """Mix each value to 64 bits with the finalizer of SplitMix64."""
    mixed = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _powers(base, start, stop):
    """``base ** i`` for i from `start` to `stop`, modulo 2 ** 64."""
    steps = np.full(stop - start, base, dtype=np.uint64)
    steps[:1] = pow(base, start, 2**64)
    return np.cumprod(steps, out=steps)


def picked(owner, names, rows):
    """Rows of some attributes; None for attributes that are None."""
    values = {name: getattr(owner, name) for name in names}
    return {k: None if v is None else v[rows] for k, v in values.items()}
