from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import instances_of
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip._model import Batches

CPU = torch.device("cpu")
sessions_strategy = st.lists(
    st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=20
)


def read(batch):
    """The prefixes of a batch as lists, in order."""
    return [
        batch.codes[row, :end].tolist()
        for row, end in zip(batch.rows.tolist(), batch.ends.tolist(), strict=True)
    ]


@settings(max_examples=60)
@given(sessions_strategy, st.booleans(), st.integers(1, 12))
def test_an_epoch_reads_every_prefix_once(sessions, shared, batch_size):
    batches = Batches(instances_of(sessions, every_prefix=True), CPU, shared)
    plan = batches.epoch(batch_size, np.random.default_rng(0))
    found, numbers = [], []
    for rows in plan:
        batch = batches.batch(rows)
        assert batch.codes.shape[1] == batches.lengths[rows].max()  # own longest
        found += read(batch)
        numbers += batches.instances_of(rows).tolist()
    expected = [s[:t] for s in sessions for t in range(1, len(s) + 1)]
    assert sorted(found) == sorted(expected)
    assert [expected[i] for i in numbers] == found
    in_order = batches.in_order_of_length(batch_size, lambda length: 6 // length)
    assert sorted(np.concatenate(in_order).tolist()) == list(range(len(batches.first)))


def test_batches_hold_about_batch_size_prefixes():
    sessions = [[1] * length for length in np.tile(np.arange(1, 9), 100)]
    batches = Batches(instances_of(sessions, every_prefix=True), CPU, True)
    sizes = [
        len(batches.batch(rows).ends)
        for rows in batches.epoch(64, np.random.default_rng(0))
    ]
    assert max(sizes) < 64 + 8 + 8
    assert np.median(sizes) == pytest.approx(64, abs=8)


def test_epochs_are_shuffled_by_the_generator():
    batches = Batches(instances_of([[i] for i in range(1, 100)]), CPU, False)
    one, two, again = (
        np.concatenate(batches.epoch(8, np.random.default_rng(seed))).tolist()
        for seed in (0, 1, 0)
    )
    assert one != two
    assert one == again


@pytest.mark.parametrize("shared", [True, False])
def test_batches_hold_numbers_of_four_bytes(shared):
    """The formula for memory in docs/guide/scaling.md."""
    sessions = [[1, 2, 3, 4, 5, 6]] * 50
    instances = instances_of(sessions, every_prefix=True)
    assert instances.starts.dtype == np.int64
    batches = Batches(instances, CPU, shared)
    held = vars(batches).values()
    tensors = sum(x.nbytes for x in held if isinstance(x, torch.Tensor))
    arrays = sum(x.nbytes for x in held if isinstance(x, np.ndarray))
    n_rows = 50 if shared else 300
    assert tensors == 4 * 300 + 8 * 300 + 16 * n_rows
    assert arrays == 12 * n_rows
    batch = batches.batch(np.arange(2))
    for name in ("codes", "rows", "ends", "targets"):
        assert getattr(batch, name).dtype == torch.int64


def test_positions_that_do_not_fit_keep_eight_bytes():
    """Without a log of 2 ** 31 clicks: codes without memory, and no look at them."""
    codes = np.broadcast_to(np.int32(7), 2**31 + 10)
    starts = np.array([3, 2**31 + 5])
    one = instances_of([[1]])
    instances = replace(
        one, codes=codes[:1], starts=starts, stops=starts + 2, targets=np.ones(2, int)
    )
    batches = Batches(instances, CPU, False)
    batches._codes = torch.tensor([7], dtype=torch.int32).expand(len(codes))
    assert batches.batch(np.array([1, 0])).codes.tolist() == [[7, 7], [7, 7]]
    assert batches._row_starts.tolist() == starts.tolist()
    assert batches._row_lengths.dtype == torch.int32
