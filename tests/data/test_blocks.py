"""Long logs are read in blocks: the same result, and little memory beside it."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import Sessions
from skclip._data import (
    _grouping,
    _ragged,
    content_hashes,
    flat_positions,
    training_data,
)
from skclip._data._grouping import group_events
from skclip._data._ids import factorize

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
LOGS = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from([0.0, 1.0, 1.5, 7.0])),
    min_size=1,
    max_size=60,
)


sizes = st.sampled_from([1, 2, 5, 10**6])


@contextmanager
def blocks_of(n_events):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ragged, "_BLOCK", n_events)
        patch.setattr(_grouping, "_EVENTS", n_events)
        yield


@settings(max_examples=100)
@given(sizes, LOGS, st.booleans(), st.sampled_from([np.float64, np.int64, np.uint64]))
def test_grouping_equals_a_naive_loop(block, log, has_times, dtype):
    names, codes = np.unique([session for session, _ in log], return_inverse=True)
    times = np.array([time for _, time in log]).astype(dtype)
    runs = {}
    for row, code in enumerate(codes.tolist()):
        runs.setdefault(code, []).append(row)
    expected = sorted(runs.items(), key=lambda run: run[1][0])
    if has_times:
        runs = {c: sorted(rows, key=times.__getitem__) for c, rows in runs.items()}
        expected = sorted(runs.items(), key=lambda run: (times[run[1][-1]], run[0]))
    codes = codes.astype(np.int32)
    with blocks_of(block):
        found = group_events(codes, len(names), times if has_times else None)
    order, offsets, rank = (part.tolist() for part in found)
    assert rank == [code for code, _ in expected]
    assert order == [row for _, rows in expected for row in rows]
    assert offsets == [0, *np.cumsum([len(rows) for _, rows in expected])]


@settings(max_examples=100)
@given(
    sizes,
    st.lists(st.integers(0, 2**64 - 1), max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8),
)
def test_hashes_equal_a_naive_loop(block, values, runs):
    n, word = len(values), 2**64
    starts, stops = (
        np.array([sorted((min(a, n), min(b, n))) for a, b in runs], dtype=np.int64)
        .reshape(-1, 2)
        .T
    )
    expected = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        total, power = 0, 1
        for value in values[start:stop]:
            x = (value + 1) * 0x9E3779B97F4A7C15 % word
            x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % word
            x = (x ^ x >> 27) * 0x94D049BB133111EB % word
            total = (total + (x ^ x >> 31) * power) % word
            power = power * 0xC2B2AE3D27D4EB4F % word
        expected.append(total)
    values = np.array(values, dtype=np.uint64)
    with blocks_of(block):
        assert content_hashes(values, starts, stops).tolist() == expected


@settings(max_examples=40)
@given(sizes, st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=9))
def test_positions_equal_a_naive_loop(block, runs):
    starts, lengths = np.array(runs, dtype=np.int64).reshape(-1, 2).T
    with blocks_of(block):
        at, offsets = flat_positions(starts, lengths)
    assert at.tolist() == [start + i for start, n in runs for i in range(n)]
    assert offsets.tolist() == [0, *np.cumsum(lengths)]


@settings(max_examples=40)
@given(
    sizes,
    st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 5), min_size=1),
    st.sampled_from([np.int64, np.float64, np.bool_]),
)
def test_codes_equal_those_of_numpy(block, values, dtype):
    values = np.array(values).astype(dtype)
    with blocks_of(block):
        vocabulary, codes = factorize(values)
    expected = np.unique(values, return_inverse=True)
    np.testing.assert_array_equal(vocabulary, expected[0])
    np.testing.assert_array_equal(codes, expected[1])
    assert vocabulary.dtype == dtype
    assert codes.dtype == np.int32


# -- memory ----------------------------------------------------------------------------

N_CLICKS = 300_000


def clicks(ids, in_order):
    """A log of 300,000 clicks in 50,000 sessions on 10,000 items."""
    rng = np.random.default_rng(0)
    sessions = rng.integers(N_CLICKS // 6, size=N_CLICKS)
    times = rng.integers(10**9, 10**9 + 10**7, size=N_CLICKS)
    if ids == "scattered":
        sessions = rng.integers(2**60, size=N_CLICKS // 6)[sessions]
    if in_order:
        times.sort()
    return {"s": sessions, "i": rng.integers(10_000, size=N_CLICKS), "t": times}


def peak_of(function):
    """Bytes a click that a call takes at its peak, and what it returns."""
    tracemalloc.start()
    try:
        result = function()
        return tracemalloc.get_traced_memory()[1] / N_CLICKS, result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("ids", ["dense", "scattered"])
def test_reading_takes_45_bytes_a_click(library, ids):
    for in_order in (True, False):
        frame = FRAMES[library](clicks(ids, in_order))
        names = {"session": "s", "item": "i", "time": "t"}
        peak, X = peak_of(lambda f=frame, n=names: Sessions.from_events(f, **n))
        assert peak <= 45
        assert X.nbytes <= 16 * N_CLICKS


def test_what_fit_makes_of_sessions_takes_45_bytes_a_click():
    frame = pd.DataFrame(clicks("dense", False))
    X = Sessions.from_events(frame, session="s", item="i", time="t")
    peak, data = peak_of(lambda: training_data(X))
    assert peak <= 45
    rows = np.arange(data.n_sessions)
    peak, _ = peak_of(lambda: data.instances(rows, max_length=50))
    assert peak <= 45
