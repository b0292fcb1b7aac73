import pickle
import sys
import weakref
from datetime import date, datetime

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from dask.sizeof import sizeof
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import PopularityRecommender, Sessions
from skclip._data import as_sessions, check_targets

LISTS = [["b", "a"], [], ["c", "c", "a"], ["d"]]
EVENTS = {
    "s": [1, 2, 1, 2, 3, 3],
    "i": ["b", "c", "a", "c", "d", "a"],
    "t": [10.0, 20.0, 5.0, 20.0, 1.0, 2.0],
    "who": ["u", "v", "u", "v", "u", "u"],
}
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


def read(columns, library="pandas", **names):
    """Sessions of the events of a data frame, by the usual names of its columns."""
    usual = {"session": "s", "item": "i", "time": "t"}
    usual = {k: v for k, v in usual.items() if v in columns}
    return Sessions.from_events(FRAMES[library](columns), **usual | names)


@pytest.fixture
def X():
    return Sessions.from_lists(LISTS, ids=[7, 8, 9, 10])


def test_rows_and_shape(X):
    assert X.shape == (4,)
    assert len(X) == 4
    assert [row.tolist() for row in (X[0], X[1], X[-1])] == [["b", "a"], [], ["d"]]
    with pytest.raises(IndexError):
        X[4]


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 3),
        [2, 0],
        np.array([-1, -1]),
        np.array([True, False, True, False]),
        [],
        (np.array([3, 1]), Ellipsis),
    ],
)
def test_indexing_gathers_every_column(X, key):
    plain = key[0] if isinstance(key, tuple) else key
    rows = np.arange(4)[
        np.array(plain, dtype=int) if isinstance(plain, list) else plain
    ]
    picked = X[key]
    assert isinstance(picked, Sessions)
    assert picked.to_lists() == [LISTS[i] for i in rows]
    assert picked.ids.tolist() == [X.ids[i] for i in rows]


def test_wrong_keys_raise(X):
    with pytest.raises(IndexError, match=r"mask for 4 sessions"):
        X[np.array([True, False])]
    with pytest.raises(IndexError, match="cannot be indexed by"):
        X[[0.5]]
    with pytest.raises(IndexError):
        X[[0, 9]]
    for key in (np.array([[0, 1]]), np.ones((2, 2), bool), [[]], np.array(0), (0, 1)):
        with pytest.raises(IndexError, match="Sessions have one dimension. Pass"):
            X[key]


@pytest.mark.parametrize("item", [["b", "a"], "b", 7])
def test_in_says_what_to_ask_instead(X, item):
    with pytest.raises(TypeError, match=r"`in` is ambiguous.*X.to_lists\(\)"):
        item in X  # noqa: B015


def test_immutable(X):
    with pytest.raises(AttributeError, match="immutable"):
        X.codes = X.codes
    with pytest.raises(ValueError, match="read-only"):
        X.codes[0] = 1


def test_pickle_is_stable_by_content(X):
    again = pickle.loads(pickle.dumps(X))
    assert again.to_lists() == LISTS
    assert joblib.hash(again) == joblib.hash(X) == joblib.hash(X[:4])
    assert joblib.hash(X[:3]) != joblib.hash(X)


def test_weak_references_leave_no_trace_in_pickles(X):
    """By them joblib's dask backend keeps track of what it has shipped."""
    before = pickle.dumps(X)
    reference = weakref.ref(X)
    assert reference() is X
    assert pickle.dumps(X) == before
    assert "__weakref__" not in X.__getstate__()
    again = pickle.loads(before)
    assert weakref.ref(again)() is again
    del again


def test_size_is_that_of_all_arrays():
    X = Sessions.from_lists(
        [[1, 2], [3]] * 500, ids=range(1000), users=["u"] * 1000,
        times=[[1.0, 2.0], [1.0]] * 500, events=[["view", "cart"], ["view"]] * 500,
    ).with_clusters(np.ones((1500, 2)))  # fmt: skip
    parts = X.__getstate__().values()
    assert X.nbytes == sum(part.nbytes for part in parts if part is not None)
    assert sys.getsizeof(X) > X.nbytes > X.codes.nbytes
    assert sizeof(X) == sys.getsizeof(X)
    again = pickle.loads(pickle.dumps(X))
    assert sys.getsizeof(again) == sys.getsizeof(X)


@pytest.mark.parametrize("n", [0, 1, 999, 1500, 20_000])
def test_objects_count_in_the_size(n):
    ids = [("visit", i) for i in range(n)]
    plain = Sessions.from_lists([["a"]] * n)
    X = plain.with_ids(ids)
    assert X.nbytes - plain.nbytes == n * (8 + sys.getsizeof(("visit", 1)))


def test_no_array_by_accident(X):
    with pytest.raises(ValueError, match="inhomogeneous"):
        np.asarray(X)


# -- from_events ------------------------------------------------------------------

every_library = pytest.mark.parametrize("library", FRAMES)


@every_library
def test_from_events_orders_by_time_and_end(library):
    X = read(EVENTS, library, user="who")
    assert X.to_lists() == [["d", "a"], ["a", "b"], ["c", "c"]]
    assert X.ids.tolist() == [3, 1, 2]
    assert X.users.tolist() == ["u", "u", "v"]
    assert X.times.tolist() == [1, 2, 5, 10, 20, 20]
    assert X.end_times.tolist() == [2, 10, 20]
    X = read(EVENTS, library, time=None)  # without times in the order of the rows
    assert X.to_lists() == [["b", "a"], ["c", "c"], ["d", "a"]]
    assert X.times is X.users is None


def test_ties_in_time_keep_the_order_of_rows():
    n = 1000
    times = np.where(np.arange(n) == n - 1, -1, 0)  # forces a sort
    X = read({"s": np.arange(n) % 3, "i": np.arange(n), "t": times})
    for row in X:
        assert (np.diff(row[row != n - 1]) > 0).all()


@every_library
@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([datetime(1970, 1, 1, 0, 0, 30), datetime(1970, 1, 2)], [30, 86400]),
        ([date(1970, 1, 1), date(1970, 1, 2)], [0, 86400]),
        (["1970-01-01T00:00:30", "1970-01-02"], [30, 86400]),
        (["1970-01-01T00:00:30Z", "1970-01-01T02:00:30+01:00"], [30, 3630]),
        ([30, 3630], [30, 3630]),
    ],
)
def test_times_become_seconds(library, times, seconds):
    X = read({"s": [1, 1], "i": [5, 6], "t": times}, library)
    assert X.times.tolist() == seconds


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (pd.to_datetime(["1970-01-01T01:00+01:00", "1970-01-01T00:01Z"], utc=True),
         [0, 60]),
        (pd.Series([10, 20.5], dtype=object), [10, 20.5]),
        (pd.array([10, 20], dtype="Int64"), [10, 20]),
    ],
)  # fmt: skip
def test_times_of_pandas(times, seconds):
    assert read({"s": 1, "i": [1, 2], "t": times}).times.tolist() == seconds


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(-3, 3), st.integers(0, 5)),
        min_size=1,
        max_size=30,
    )
)
def test_from_events_equals_a_naive_loop(rows):
    X = read(dict(zip("sit", zip(*rows, strict=True), strict=True)))
    naive = {}
    for s, i, t in sorted(rows, key=lambda row: row[2]):
        naive.setdefault(s, []).append((t, i))
    order = sorted(naive, key=lambda s: (naive[s][-1][0], s))
    assert X.ids.tolist() == order
    assert X.to_lists() == [[i for _, i in naive[s]] for s in order]


@every_library
def test_missing_column_lists_the_others(library):
    with pytest.raises(ValueError, match=r"no column 'sess' .*session=.*'s', 'i', 't'"):
        read(EVENTS, library, session="sess")


@every_library
@pytest.mark.parametrize("column", ["s", "i", "t"])
def test_missing_value_names_the_row(library, column):
    values = list(EVENTS[column])
    values[2] = None
    with pytest.raises(ValueError, match=rf"Row 2 of events .*'{column}'"):
        read(EVENTS | {column: values}, library)


@pytest.mark.parametrize(
    ("columns", "options", "error", "message"),
    [
        ({"i": pl.Series([1.0, np.nan])}, {}, ValueError, "Row 1 of .* no item"),
        ({"i": [1.0, np.inf]}, {}, ValueError, "Row 1 of events has item inf"),
        ({"i": [[1], [2]]}, {}, TypeError, "Row 0 of events has a list as item"),
        ({"t": [False, True]}, {}, ValueError, "Row 0 of events has time False"),
        ({"who": ["u", "v"]}, {"user": "who"}, ValueError,
         "Session 1 has events of more than one user"),
    ],
)  # fmt: skip
def test_bad_columns(columns, options, error, message):
    library = "polars" if isinstance(columns.get("i"), pl.Series) else "pandas"
    with pytest.raises(error, match=message):
        read({"s": [1, 1], "i": [1, 2]} | columns, library, **options)


def test_from_events_wants_a_frame():
    with pytest.raises(TypeError, match="events is a list.*from_lists"):
        Sessions.from_events(LISTS, session="s", item="i")


@every_library
@pytest.mark.parametrize(
    "text", ["soon", "1396860669", "20140407", "", "NaT", "now", "2014-13-45"]
)
def test_time_that_does_not_parse(library, text):
    with pytest.raises(ValueError, match=f"Row 1 of events has time '{text}'.*ISO"):
        read({"s": [1, 1], "i": [1, 2], "t": ["2014-04-07", text]}, library)


def test_milliseconds_are_noticed():
    with pytest.warns(UserWarning, match="1700000000000 seconds is .* milliseconds by"):
        read({"s": [1, 1], "i": ["a", "b"], "t": [1.7e12, 1.7e12 + 5]})


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (pd.Categorical([30, 4, 30]), [30, 4, 30]),
        (pd.Categorical(["b", "a", "b"]), ["b", "a", "b"]),
        (pd.array([3, 1, 3], dtype="Int64"), [3, 1, 3]),
        (pd.array(["x", "y", "x"], dtype="string"), ["x", "y", "x"]),
        (pd.Series([3, "a", 3], dtype=object), [3, "a", 3]),
        (pd.Series([(1, 2), (3, 4), (1, 2)]), [(1, 2), (3, 4), (1, 2)]),
        (np.array([2**63 + 1, 2**63, 5], dtype=np.uint64), [2**63 + 1, 2**63, 5]),
        (pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-02"]), None),
    ],
    ids=lambda x: str(getattr(x, "dtype", "")),
)
def test_item_columns_of_any_type_come_back(column, ids):
    X = read({"s": 1, "i": column})
    assert X[0].tolist() == (list(column) if ids is None else ids)
    if ids is not None:
        model = PopularityRecommender().fit(X)
        assert model.rank_targets([ids, ids[:2]]).max() < np.inf


def test_columns_named_by_numbers():
    frame = pd.DataFrame([[1, 5, 0.0], [1, 6, 1.0]])
    X = Sessions.from_events(frame, session=0, item=1, time=2)
    assert X.to_lists() == [[5, 6]]


# -- as_sessions ------------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        [[1, 2], [3]],
        ([1, 2], (3,)),
        [np.array([1, 2]), np.array([3])],
        np.array([[1, 2], [3, np.nan]]),
        np.array([np.array([1, 2]), np.array([3])], dtype=object),
        np.array([[1, 2], [3, np.nan]], dtype=object),
        [torch.tensor([1, 2]), pd.Series([3])],
        [range(1, 3), pa.array([3])],
        pd.Series([[1, 2], [3]]),
        pl.Series([[1, 2], [3]]),
        pa.array([[1, 2], [3]]),
        pa.chunked_array([[[1, 2]], [[3]]]),
    ],
    ids=lambda X: type(X).__name__,
)
def test_accepted_forms(X):
    assert as_sessions(X).to_lists() == [[1, 2], [3]]


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_read_like_an_array():
    assert as_sessions(np.matrix([[1, 2], [3, np.nan]])).to_lists() == [[1, 2], [3]]


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2**40, -5],
        ["ä", "b", "日本"],
        [b"x", b"y", b"z"],
        [(1, "a"), (2, "b"), (0, "c")],
        [1, "1", 2.5],
        [2**80, 1, -(2**70)],
        [datetime(2020, 1, 1), datetime(2021, 1, 1), datetime(2019, 1, 1)],
        [np.int32(4), np.int64(5), 6],
        ["a\0", "a", "b"],
        ["x" * 10_000, "y", "z"],
        [0.5, 1.5, -2.0],
        [True, False, True],
    ],
    ids=repr,
)
def test_ids_of_any_hashable_type_come_back(ids):
    X = Sessions.from_lists([ids, ids[:1]])
    assert [list(row) for row in X] == [ids, ids[:1]]


def test_numbers_are_never_objects_and_text_stays_apart():
    assert Sessions.from_lists([[3, 1]]).vocabulary.dtype == np.int64
    assert Sessions.from_lists([[3.5, 1]]).vocabulary.dtype == np.float64
    mixed = Sessions.from_lists([[1, "1"]])
    assert mixed[0].tolist() == [1, "1"]


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (["abc", [1]], TypeError, r"Session 0 of X is a str: 'abc'.*Wrap.*\['abc'\]"),
        ([np.int64(3), [1]], TypeError, r"Session 0 of X is a int: 3\..*Wrap.*\[3\]"),
        ([[1.0, np.float64("nan")]], ValueError, "the item id is nan"),
        ([[1], 5], TypeError, "Session 1 of X is a int: 5"),
        ([{1, 2}], TypeError, "Session 0 of X is a set"),
        ("abc", TypeError, "X is a str"),
        (7, TypeError, "X is a int"),
        ({1: [2]}, TypeError, "X is a dict"),
        ([[1, None]], ValueError, "Session 0 of X, position 1: the item id is None"),
        ([[1], [2, float("nan")]], ValueError, "Session 1 of X, position 1.*nan"),
        ([[1.0, float("inf")]], ValueError, "position 1.*inf"),
        ([[1, {}]], TypeError, "Session 0 of X, position 1: the item is a dict"),
        ([np.array([1.0, np.nan])], ValueError, "Session 0 of X, position 1"),
        ([], ValueError, r"0 sample\(s\)"),
        (np.empty((0, 3)), ValueError, r"0 sample\(s\)"),
        (np.empty((3, 0)), ValueError, r"0 feature\(s\)"),
        (np.arange(3), ValueError, "Reshape your data"),
        (np.array([[1, np.inf]]), ValueError, "row 0 has an item id of inf"),
        (np.array([[1j]]), ValueError, "Complex data not supported"),
        (pd.DataFrame(EVENTS), TypeError, "data frame.*Sessions.from_events"),
        (pl.DataFrame(EVENTS), TypeError, "data frame.*Sessions.from_events"),
        (pa.table(EVENTS), TypeError, "data frame.*Sessions.from_events"),
    ],
)
def test_bad_input_says_what_to_do(X, error, message):
    with pytest.raises(error, match=message):
        as_sessions(X)


def test_a_target_that_is_missing():
    for y, message in (
        (pd.Series(["a", pd.NA], dtype="string"), r"y\[1\] is <NA>"),
        ([1.0, float("nan")], r"y\[1\] is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            check_targets(y, 2)


def test_trailing_zeros_of_an_integer_array_warn():
    with pytest.warns(UserWarning, match="2 rows of X end in zeros"):
        X = as_sessions(np.array([[1, 2, 0], [3, 0, 0]]))
    assert X.lengths.tolist() == [3, 3]


# -- conversions ------------------------------------------------------------------


def test_to_prefixes_equals_a_naive_loop(X):
    prefixes, targets = X.to_prefixes()
    naive = [(s[:t], s[t]) for s in LISTS for t in range(1, len(s))]
    assert list(zip(prefixes.to_lists(), targets.tolist(), strict=True)) == naive
    assert prefixes.ids.tolist() == [7, 9, 9]


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_to_frame_and_back(backend):
    X = read(EVENTS, user="who")
    again = Sessions.from_events(
        X.to_frame(backend), session="session", item="item", time="time", user="user"
    )
    assert again.to_lists() == X.to_lists()
    assert again.users.tolist() == X.users.tolist()


def test_to_frame_says_that_pandas_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas. Or .* backend"):
        Sessions.from_lists([["a"]]).to_frame()


def test_concat_joins_vocabularies():
    joined = Sessions.concat([[["b", "a"]], [["c", "a"], []]])
    assert joined.to_lists() == [["b", "a"], ["c", "a"], []]
    assert joined.vocabulary.tolist() == ["a", "b", "c"]


def test_ways_to_call_concat(X):
    day = Sessions.from_lists([["e"]], ids=[11])
    for joined in (
        Sessions.concat([X, day]),
        Sessions.concat((X, day)),
        Sessions.concat(part for part in (X, day)),
        Sessions.concat(X, day),
        X.concat(day),
        X.concat([day]),
    ):
        assert joined.to_lists() == [*LISTS, ["e"]]
        assert joined.ids.tolist() == [7, 8, 9, 10, 11]
    assert X.concat([["e"]], [["f"]]).to_lists() == [*LISTS, ["e"], ["f"]]
    assert X.concat(day, day).ids.tolist() == [7, 8, 9, 10, 11, 11]
    assert Sessions.concat([X]).to_lists() == LISTS
    for call, error, message in (
        (X.concat, TypeError, "nothing to join.*first.concat"),
        (lambda: Sessions.concat(X), TypeError, "nothing to join.*first, second"),
        (lambda: Sessions.concat([]), ValueError, "Pass at least one"),
        (lambda: Sessions.concat(pd.DataFrame(EVENTS)), TypeError, "given a DataFrame"),
        (lambda: X.concat(pd.DataFrame(EVENTS)), TypeError, "X is a data frame"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_concat_keeps_ids_apart_and_takes_empty_parts():
    one = Sessions.from_lists([[1], [2**60 + 1]], ids=[1, 2])
    two = Sessions.from_lists([["a"], [0.5]], ids=["1", 2.5])
    joined = Sessions.concat([one, two, one[:0]])
    assert joined.ids.tolist() == [1, 2, "1", 2.5]
    assert joined.to_lists() == [[1], [2**60 + 1], ["a"], [0.5]]


def test_dates_as_ids_meet_everywhere():
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="M8[ns]")
    model = PopularityRecommender().fit([days[:1], days[:1]], days[1:])
    assert len(model.item_ids_) == 3
    assert model.rank_targets([days[:1]], days[1:2]).max() < np.inf
    assert model.rank_targets([[]], pd.Series(days[:1])).tolist() == [1]


def test_describe():
    summary = Sessions.from_lists(LISTS).describe()
    assert summary["n_sessions"] == 4
    assert summary["n_prefixes"] == 3
    assert summary["share_of_length_1"] == 0.25
    assert summary["max_length"] == 3
    assert summary["n_users"] is summary["n_duplicates"] is None
    users = ["ann", None, "ann", None]
    assert Sessions.from_lists(LISTS, users=users).describe()["n_users"] == 1
    X = read({"s": [1, 1, 1, 1, 2], "i": list("ababa"), "t": [5.0] * 5})
    assert X.describe()["n_duplicates"] == 2


@pytest.mark.parametrize(
    ("codes", "offsets", "message"),
    [
        ([0], [1, 2], "offsets must rise from 0"),
        ([0, 0], [0, 5, 2], "offsets must rise from 0"),
        ([0], [0, 2], "offsets must rise from 0"),
        ([3], [0, 1], "codes must be positions in the vocabulary of 2 ids"),
        ([-1], [0, 1], "codes must be positions"),
    ],
)
def test_constructor_checks_its_parts(codes, offsets, message):
    with pytest.raises(ValueError, match=message):
        Sessions(codes, offsets, ["a", "b"])
    with pytest.raises(ValueError, match="times has 2 values, expected 1"):
        Sessions([0], [0, 1], ["a", "b"], times=[1, 2])


def test_labels_keep_their_types():
    assert Sessions.from_lists([[1], [2]], ids=[1, "a"]).ids.tolist() == [1, "a"]


@pytest.mark.parametrize("X", [["tea", "cup"], ["tea"], pd.Series(["tea", "cup"])])
def test_items_instead_of_sessions(X):
    for_one = r"For one session of these items pass \[X\]\."
    for_many = r"Wrap each item if it is a session of its own: \[\['tea'\], \.\.\.\]\."
    with pytest.raises(TypeError, match=f"{for_one} {for_many}$"):
        PopularityRecommender().fit(X)


def test_a_missing_value_reads_as_in_the_frame():
    nan = np.float64("nan")
    for items in ([2.5, nan], pd.Series(["a", nan], dtype=object)):
        with pytest.raises(ValueError, match="'i' holds nan"):
            read({"s": [1, 1], "i": items})
    with pytest.raises(ValueError, match=r"y\[1\] is nan"):
        check_targets(np.array(["a", nan], dtype=object), 2)


def test_zones_of_hours_alone_are_zones():
    events = {"s": [1, 1], "i": ["a", "b"]}
    X = read(events | {"t": ["2024-05-01 10:00:00+02", "2024-05-01 09:30:00+01"]})
    assert X.to_lists() == [["a", "b"]]
    assert np.diff(X.times).tolist() == [1_800]
    with pytest.raises(ValueError, match="mixes times with a time zone"):
        read(events | {"t": ["2024-05-01 10:00:00+02", "2024-05-01 09:30:00"]})


@pytest.mark.parametrize("code", [0.7, 2**32, -(2**40), np.nan])
def test_codes_are_not_cut_to_what_fits(code):
    with pytest.raises(ValueError, match="codes must hold whole numbers of type int32"):
        Sessions([0, code], [0, 2], ["a", "b"])
    assert Sessions([0.0, 1.0], [0, 2], ["a", "b"]).codes.tolist() == [0, 1]
