"""Columns of lists are read by values and offsets, as the same lists of Python are."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import Sessions
from skclip._data import _list_columns, as_sessions

COLUMNS = {
    "pyarrow": pa.array,
    "pyarrow, large": lambda rows: pa.array(
        rows, pa.large_list(pa.array(rows).type.value_type)
    ),
    "pyarrow, in chunks": lambda rows: pa.chunked_array(
        [pa.array(rows)[:1], pa.array(rows)[1:]]
    ),
    "pyarrow, part of a column": lambda rows: pa.array([*rows[:2], *rows])[2:],
    "polars": pl.Series,
    "polars, part of a column": lambda rows: pl.Series([*rows[:2], *rows])[2:],
    "pandas with Arrow's types": lambda rows: pd.Series(
        pa.array(rows), dtype=pd.ArrowDtype(pa.array(rows).type)
    ),
}  # fmt: skip


def same_sessions(found, rows):
    expected = Sessions.from_lists(rows)
    for name in ("codes", "offsets", "vocabulary"):
        part = getattr(found, name)
        np.testing.assert_array_equal(part, getattr(expected, name))
        assert part.dtype == getattr(expected, name).dtype


@pytest.mark.parametrize("kind", COLUMNS)
@settings(max_examples=20)
@given(
    rows=st.one_of(
        st.lists(st.lists(st.integers(-(2**62), 2**62), max_size=4), min_size=2),
        st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=2),
        st.lists(st.lists(st.text(max_size=3), max_size=4), min_size=2),
        st.lists(st.lists(st.floats(-9, 9), max_size=4), min_size=2),
    ).filter(any)
)
def test_columns_of_lists(kind, rows):
    try:
        column = COLUMNS[kind](rows)
    except UnicodeEncodeError:  # half of a pair is no text for Arrow
        return
    same_sessions(as_sessions(column), rows)


@pytest.mark.parametrize(
    "dtype", [pl.Int8, pl.UInt32, pl.UInt64, pl.Float32, pl.Boolean, pl.Categorical]
)
def test_types_of_values(dtype):
    values = pl.Series(["1", "0", "1"] if dtype == pl.Categorical else [1, 0, 1])
    values = values.cast(dtype).to_list()
    column = pl.Series([values, [], values[:1]], dtype=pl.List(dtype))
    same_sessions(as_sessions(column), column.to_list())
    if dtype in (pl.Int8, pl.UInt32):
        arrow = column.to_arrow()
        same_sessions(as_sessions(arrow), column.to_list())
        fixed = pa.FixedSizeListArray.from_arrays(arrow.values, 2)
        same_sessions(as_sessions(fixed), fixed.to_pylist())


def test_no_list_of_python_is_made(monkeypatch):
    monkeypatch.setattr(_list_columns, "encode_rows", None)
    for kind in COLUMNS:
        for rows in ([[3, 1], [1], []], [["c", "a"], ["a"], []]):
            column = COLUMNS[kind](rows)
            assert as_sessions(column).lengths.tolist() == [2, 1, 0]


@pytest.mark.parametrize("column", [pl.Series, pa.array])
def test_what_is_no_session_is_refused(column):
    with pytest.raises(TypeError, match="Session 1 of X is a NoneType.*Pass \\[\\]"):
        as_sessions(column([["a"], None]))
    with pytest.raises(ValueError, match="Session 0 of X, position 1.*None"):
        as_sessions(column([["a", None]]))
    with pytest.raises(ValueError, match="Session 0 of X, position 0.*nan"):
        as_sessions(column([[float("nan")]]))
    with pytest.raises(TypeError, match="Session 0 of X is a str"):
        as_sessions(column(["a", "b"]))
    with pytest.raises(TypeError, match="the item is a list"):
        as_sessions(column([[["a"]]]))
