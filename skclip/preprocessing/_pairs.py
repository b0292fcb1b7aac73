"""Pairs of items that follow each other: the item graph as a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import check_weight_type, column, read_weights
from skclip._typing import FrameT
from skclip.preprocessing import _lazy
from skclip.preprocessing._eager import codes_of, in_order
from skclip.preprocessing._reading import read, tie_breakers


def item_pairs(
    events: FrameT,
    *,
    session: str,
    item: str,
    time: str | None,
    by: str | Sequence[str] | None = None,
    check: bool = False,
    self_loops: bool = False,
    per_session_binary: bool = False,
    weight: str | None = None,
) -> FrameT:
    """Count how often two items follow each other, in either direction.

    These pairs are the edges of the item graph that `SessionClusterer` builds. The
    engine of a lazy frame counts them, so the log may be larger than memory. The
    result is usually much smaller.

    Parameters
    ----------
    events : data frame
        One row per click.
    session, item : str
        Names of the session and item columns.
    time : str or None
        Name of the time column, which sorts the events. Events with equal times keep
        the order of their rows. None uses the order of the rows, which must be sorted.
    by : str or sequence of str, default=None
        Columns that break ties: among clicks of a session at the same time, the one
        with the smaller value comes first. Lazy frames need `by` or `check`. Clicks
        with equal values in these columns come in arbitrary order. The item column
        itself is sufficient.
    check : bool, default=False
        Whether the engine of a lazy frame counts ties first. A tie between different
        items raises an error.
    self_loops : bool, default=False
        Whether to count transitions from an item to itself.
    per_session_binary : bool, default=False
        Whether to count each pair of items only once per session.
    weight : str, default=None
        Name of a column of weights, 0 or more. A transition counts the weight of its
        second event, and with `per_session_binary` the largest such weight of the
        session. A negative weight in a frame in memory raises an error. Lazy frames are
        not checked, so drop these rows first.

    Returns
    -------
    pairs : data frame
        One row for each pair of items that follow each other. The columns ``low`` and
        ``high`` are raw ids, the smaller one first, and ``weight`` is the count.
        Categories become text. Pairs of a frame in memory are sorted.

    Raises
    ------
    ValueError
        If a column is missing. If the order of clicks in a lazy frame is undefined,
        because neither `by` nor `check` is given or because `check` finds ties.

    See Also
    --------
    skclip.SessionClusterer : Build and cluster the same graph, as ``graph_``.

    Notes
    -----
    Items without a neighbor in any session are in no pair. A lazy frame is sorted
    within sessions by one window function, and grouped by pair. On Dask, the rows are
    first shuffled by session. Each partition then counts its pairs, and the counts are
    summed.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip.preprocessing import item_pairs
    >>> clicks = pd.DataFrame({"sid": [1, 1, 1, 2, 2], "sku": list("abaca")})
    >>> item_pairs(clicks, session="sid", item="sku", time=None)
      low high  weight
    0   a    b       2
    1   a    c       1
    """
    by = tie_breakers(by)
    columns = {"session": session, "item": item, "time": time}
    frame = read(events, **columns, weight=weight, by=by)
    if frame.collect_schema()[item] in (nw.Categorical, nw.Enum):
        frame = frame.with_columns(nw.col(item).cast(nw.String))
    kinds = {
        "self_loops": self_loops,
        "per_session_binary": per_session_binary,
        "weight": weight,
    }
    eager = partial(_of_eager, **columns, by=by, **kinds)
    if not _lazy.is_lazy(frame):
        return eager(frame).to_native()
    if weight is not None:
        check_weight_type(frame.collect_schema()[weight], weight)
    frame = _lazy.with_ids(frame, session, item, time, weight)
    differ = (item,) if weight is None else (item, weight)
    order = _lazy.order_of(frame, session, time, by, check, differ=differ)
    if frame.implementation.is_dask():
        pairs = _lazy.in_partitions(frame, session, eager)
        total = nw.col("weight").sum()
    else:
        pairs = _transitions(frame, session, item, order, **kinds)
        total = nw.len() if weight is None else nw.col("weight").sum()
    pairs = pairs.group_by("low", "high").agg(total.alias("weight"))
    if weight is None:
        return pairs.with_columns(nw.col("weight").cast(nw.Int64)).to_native()
    return pairs.filter(nw.col("weight") > 0).to_native()


def _transitions(
    frame, session, item, order, *, self_loops, per_session_binary, weight
):
    """Pairs of items that follow each other in a session, before counting."""
    places = {f"place_{i}": _lazy.sort_key(frame, n) for i, n in enumerate(order)}
    counts = {} if weight is None else {"weight": nw.col(weight).cast(nw.Float64)}
    clicks = frame.select(
        session=nw.col(session), item=nw.col(item), **counts, **places
    )
    before = nw.col("item").shift(1).over("session", order_by=list(places))
    clicks = clicks.with_columns(before=before)
    item, before = nw.col("item"), nw.col("before")
    clicks = clicks.filter(~before.is_null() if self_loops else item != before)
    pairs = clicks.select(
        "session",
        *counts,
        low=nw.when(item < before).then(item).otherwise(before),
        high=nw.when(item < before).then(before).otherwise(item),
    )
    if not per_session_binary:
        return pairs
    if weight is None:
        return pairs.unique()
    return pairs.group_by("session", "low", "high").agg(nw.col("weight").max())


def _of_eager(
    frame, session, item, time, by, *, self_loops, per_session_binary, weight
):
    """Pairs of a frame in memory, counted and sorted."""
    (rows,) = codes_of(frame, session=session)
    ids, codes = column(frame, item, "item")
    order = in_order(frame, rows, time, by)
    second = order[1:][np.diff(rows[order]) == 0]
    first = order[:-1][np.diff(rows[order]) == 0]
    if not self_loops:
        differ = codes[first] != codes[second]
        first, second = first[differ], second[differ]
    low = np.minimum(codes[first], codes[second])
    high = np.maximum(codes[first], codes[second])
    counts = np.ones(len(low), dtype=np.int64)
    if weight is not None:
        counts = read_weights(frame, weight)[second]
    if per_session_binary:
        (low, high, _), counts = _grouped(np.maximum, counts, low, high, rows[second])
    (low, high), counts = _grouped(np.add, counts, low, high)
    low, high, counts = (values[counts > 0] for values in (low, high, counts))
    row_of = np.zeros(len(ids), dtype=np.int64)  # some row of each item
    row_of[codes] = np.arange(len(codes))
    parts = [
        nw.maybe_reset_index(frame.select(nw.col(item).alias(name))[row_of[codes]])
        for name, codes in (("low", low), ("high", high))
    ]
    pairs = nw.concat(parts, how="horizontal")
    weights = nw.new_series("weight", counts, backend=frame.implementation)
    return pairs.with_columns(weights)


def _grouped(function, values, *keys):
    """Sorted distinct keys, with values of equal keys combined by a ufunc."""
    order = np.lexsort(keys[::-1])
    keys = [key[order] for key in keys]
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([np.diff(key) != 0 for key in keys], axis=0)
    firsts = np.flatnonzero(new)
    grouped = function.reduceat(values[order], firsts) if len(firsts) else values
    return [key[firsts] for key in keys], grouped
