"""Pairs that workers count are the edges of the item graph, entry by entry."""

import numpy as np
import pandas as pd
import pytest

from skclip import SessionClusterer, Sessions
from skclip.preprocessing import item_pairs


@pytest.fixture(scope="module")
def clicks():
    """Text ids, and times cut to minutes, so that many are equal."""
    rng = np.random.default_rng(0)
    n = 3000
    return pd.DataFrame(
        {
            "session": [f"visit {i}" for i in rng.integers(500, size=n)],
            "item": [f"sku {i}" for i in rng.integers(40, size=n)],
            "time": rng.integers(100, size=n) // 60 * 60,
            "row": rng.permutation(n),
        }
    )


def test_dask_in_two_processes(clicks, dask_workers):
    dd = pytest.importorskip("dask.dataframe")
    columns = {"session": "session", "item": "item", "time": "time", "by": "row"}
    log = dd.from_pandas(clicks, npartitions=5)
    pairs = dask_workers.compute(item_pairs(log, **columns)).result()
    X = Sessions.from_events(
        clicks.sort_values("row"), session="session", item="item", time="time"
    )
    expected = SessionClusterer(random_state=0).fit(X)
    counted = SessionClusterer(random_state=0).fit_pairs(pairs)
    np.testing.assert_array_equal(counted.item_ids_, expected.item_ids_)
    assert abs(counted.graph_ - expected.graph_).max() == 0
    np.testing.assert_array_equal(counted.membership_, expected.membership_)
    in_order_of_rows = Sessions.from_events(
        clicks, session="session", item="item", time="time"
    )
    other = SessionClusterer(random_state=0).fit(in_order_of_rows)
    assert abs(other.graph_ - expected.graph_).max() > 0  # ties count here
