"""Columns as logs have them: times, missing values, masks, dictionaries, long ids."""

import pickle
import time
import tracemalloc
import warnings
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from common import small

from skclip import CLIPSessionRecommender, MarkovRecommender, Sessions
from skclip._data import as_sessions
from skclip.exceptions import IdTypeWarning, TimeWarning
from skclip.metrics import length_groups
from skclip.model_selection import LeaveLastOut, evaluate, leakage_check

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


def read(columns, library="pandas", **names):
    """Sessions of columns s, i and, where they are there, t and u."""
    usual = {"session": "s", "item": "i", "time": "t", "user": "u"}
    usual = {role: name for role, name in usual.items() if name in columns}
    return Sessions.from_events(FRAMES[library](columns), **usual | names)


def log(times, items="abc"):
    return {"s": [1] * len(items), "i": list(items), "t": times}


# -- times -----------------------------------------------------------------------------

NOW = 1_700_000_000_000_000_000
BURST = [NOW + 900, NOW + 100, NOW + 500]  # nanoseconds in one microsecond


def digits(nanoseconds):
    second = datetime.fromtimestamp(nanoseconds // 10**9, timezone.utc)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09}"


@pytest.mark.parametrize(
    "times",
    [
        pd.to_datetime(BURST),
        pd.to_datetime(BURST).tz_localize("Europe/Berlin"),
        pd.array(pd.to_datetime(BURST)),
        pd.Series(BURST, dtype=pd.ArrowDtype(pa.timestamp("ns"))),
        pd.Series(list(pd.to_datetime(BURST)), dtype=object),
        pd.Series(list(pd.to_datetime(BURST).tz_localize("Asia/Tokyo")), dtype=object),
        pd.Series(map(digits, BURST)),
        pd.Series([f"{digits(t)}Z" for t in BURST]),
        pd.Series([f"{digits(t)}+02:00" for t in BURST]),
        pl.Series(BURST).cast(pl.Datetime("ns")),
        pl.Series(list(map(digits, BURST))),
        pa.array(BURST, pa.timestamp("ns")),
        pa.array(BURST, pa.timestamp("ns", tz="UTC")),
        pa.chunked_array([pa.array(BURST[:1], pa.timestamp("ns")), BURST[1:]]),
        pa.array(list(map(digits, BURST))),
        np.array(BURST),
        np.array(BURST, dtype="datetime64[ns]"),
    ],
    ids=lambda times: f"{type(times)} {getattr(times, 'dtype', '')}",
)
@pytest.mark.filterwarnings("ignore:Times in column:skclip.exceptions.TimeWarning")
def test_nanoseconds_keep_their_order(times):
    library = {"polars": "polars", "pyarrow": "pyarrow"}.get(
        type(times).__module__.split(".")[0], "pandas"
    )
    assert read(log(times), library)[0].tolist() == ["b", "c", "a"]


def test_whole_numbers_keep_their_order_where_floats_have_no_room():
    late = [2**53 + 3, 2**53 + 1, 2**53 + 2]
    with pytest.warns(TimeWarning, match="a date after the year 5000"):
        assert read(log(late))[0].tolist() == ["b", "c", "a"]


@pytest.mark.parametrize("library", FRAMES)
def test_float32_times_are_told_with_their_step(library):
    times = np.array([1.7e9, 1.7e9 + 10, 1.7e9 + 20], dtype=np.float32)
    with pytest.warns(TimeWarning, match="float32, .* 128 seconds") as caught:
        read(log(times), library)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(log(np.array([0.5, 10.25, 3.0], dtype=np.float32)), library)
        read(log(times.astype(float)), library)


@pytest.mark.parametrize("library", FRAMES)
def test_seconds_and_milliseconds_in_one_column_are_refused(library):
    for few in ([1.7e9, 1.7e12, 1.7e9 + 5], [1_700_000_000, 1, 1_700_000_000_000]):
        with pytest.raises(ValueError, match="mixes seconds and smaller units: row"):
            read(log(few), library)
    with pytest.warns(TimeWarning, match="Divide milliseconds by 1000"):
        read(log([1.7e12, 1.7e12 + 1, 1.7e12 + 2]), library)


AWARE = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-01T12:00:00Z", "2024-01-01T12:00:01", "2024-01-01T12:00:02Z"],
        ["2024-01-01T12:00:00", "2024-01-01T12:00:01", "2024-01-01T12:00:02+05:30"],
        ["2024-01-01T12:00:00+0100", "2024-01-01", "2024-01-01T12:00:02+01"],
        [AWARE, AWARE.replace(tzinfo=None), AWARE],
        [AWARE, "2024-01-01T12:00:01", AWARE],
    ],
    ids=["one without", "one with", "dates", "objects", "text and objects"],
)
def test_times_with_and_without_a_zone_are_refused(times):
    frame = pd.DataFrame(log(pd.Series(times, dtype=object)))
    with pytest.raises(ValueError, match=r"mixes times with a time zone \(row \d\)"):
        Sessions.from_events(frame, session="s", item="i", time="t")


def test_zones_of_several_kinds_meet_in_utc():
    texts = [
        "2024-01-01T14:00:00+02:00",
        "2024-01-01 12:00:01Z",
        " 2024-01-01T07:00:02 -05",
    ]
    noon = datetime(2024, 1, 1, 12, tzinfo=timezone.utc).timestamp()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X = read(log(texts))
    assert X.times.tolist() == [noon, noon + 1, noon + 2]


@pytest.mark.parametrize("library", FRAMES)
def test_one_time_zone_of_the_column_is_fine(library):
    hours = [AWARE + timedelta(hours=h) for h in (2, 0, 1)]
    assert read(log(hours), library)[0].tolist() == ["b", "c", "a"]


# -- dictionary-encoded columns --------------------------------------------------------

WORDS = ["sku-7", "sku-10", "sku-7", "é", "", "sku-1", "sku-10", "é"]
SPARE = ["never used", "zzz", *dict.fromkeys(WORDS), "aaa"]


def encoded():
    """The same column, dictionary-encoded in several ways; some words do not occur."""
    enum = pl.Enum(SPARE)
    halves = [pa.array(part).dictionary_encode() for part in (WORDS[:3], WORDS[3:])]
    return {
        "pandas": pd.Series(pd.Categorical(WORDS, categories=SPARE)),
        "pandas ordered": pd.Series(pd.Categorical(WORDS, SPARE, ordered=True)),
        "pandas, of arrow": pd.Series(
            pa.array(WORDS).dictionary_encode(),
            dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string())),
        ),
        "polars": pl.Series(WORDS, dtype=pl.Categorical),
        "polars enum": pl.Series(WORDS, dtype=enum),
        "polars slice": pl.Series(SPARE + WORDS, dtype=pl.Categorical)[len(SPARE) :],
        "pyarrow": pa.array(WORDS).dictionary_encode(),
        "pyarrow chunks with dictionaries of their own": pa.chunked_array(halves),
        "pyarrow with spare words": pa.DictionaryArray.from_arrays(
            [SPARE.index(word) for word in WORDS], SPARE
        ),
    }


@pytest.mark.parametrize("name", encoded())
@pytest.mark.parametrize("role", ["item", "session", "user"])
def test_dictionary_encoded_columns_are_equal_to_plain_ones(name, role):
    library = name.split(",")[0].split(" ")[0]
    n = len(WORDS)
    columns = {"s": list(range(n)), "i": list("abcdefgh"), "u": list(range(n))}
    column = {"item": "i", "session": "s", "user": "u"}[role]
    if role == "session":
        del columns["u"]
    expected = read(columns | {column: WORDS}, library)
    found = read(columns | {column: encoded()[name]}, library)
    assert found.to_lists() == expected.to_lists()
    for part in ("vocabulary", "codes", "ids", "users"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        np.testing.assert_array_equal(ours, theirs, part)
        assert ours is None or ours.dtype == theirs.dtype, part


def test_dictionaries_of_numbers_and_dates_keep_their_types():
    for words in ([30, 7, 30, 100], [datetime(2024, 1, d) for d in (3, 1, 3, 2)]):
        columns = {"s": [1, 1, 2, 2], "i": pd.Series(words, dtype="category")}
        assert read(columns).to_lists() == [words[:2], words[2:]]


@pytest.mark.parametrize("library", FRAMES)
def test_missing_categories_are_missing(library):
    values = ["a", None, "b"]
    columns = {
        "pandas": lambda: pd.Series(values, dtype="category"),
        "polars": lambda: pl.Series(values, dtype=pl.Categorical),
        "pyarrow": lambda: pa.array(values).dictionary_encode(),
    }
    column = columns[library]()
    with pytest.raises(ValueError, match="Row 1 of events has no item"):
        read({"s": [1, 1, 1], "i": column}, library)
    X = read({"s": [1, 2, 3], "i": list("xyz"), "u": column}, library)
    assert X.users.tolist() == values


@pytest.mark.slow
def test_text_ids_of_polars_and_arrow_are_as_fast_as_of_pandas():
    rng = np.random.default_rng(0)
    n = 1_000_000
    words = np.array([f"item-{i:06}" for i in range(50_000)])
    items = words[rng.integers(0, len(words), n)].tolist()
    sessions = rng.integers(0, n // 5, n)

    def seconds(frame):
        begun = time.process_time()
        Sessions.from_events(frame, session="s", item="i")
        return time.process_time() - begun

    plain = {name: make({"s": sessions, "i": items}) for name, make in FRAMES.items()}
    coded = {
        "pandas": plain["pandas"].astype({"i": "category"}),
        "polars": plain["polars"].with_columns(pl.col("i").cast(pl.Categorical)),
        "pyarrow": plain["pyarrow"].set_column(
            1, "i", plain["pyarrow"]["i"].dictionary_encode()
        ),
    }
    for frames in (plain, coded):
        best = {k: min(seconds(f) for _ in range(3)) for k, f in frames.items()}
        assert best["polars"] <= 1.5 * best["pandas"], best
        assert best["pyarrow"] <= 1.5 * best["pandas"], best


def test_wide_integers_of_polars_are_ids():
    wide = pl.Series([2**70, 3, 2**70], dtype=pl.Int128)
    X = read({"s": [1, 1, 2], "i": wide, "u": wide}, "polars", user=None)
    assert X.to_lists() == [[2**70, 3], [2**70]]
    back = Sessions.from_events(X.to_frame("polars"), session="session", item="item")
    assert back.to_lists() == X.to_lists()


# -- missing users and ids, masks, floats ----------------------------------------------

GUESTS = [None, "u1", np.nan, pd.NA, "u2", float("nan"), "u1", None]


@pytest.mark.parametrize(
    "users",
    [
        GUESTS,
        np.array(GUESTS, dtype=object),
        pd.Series(GUESTS, dtype=object),
        pd.Series(GUESTS, dtype="string"),
        np.ma.array(
            ["", "u1", "", "", "u2", "", "u1", ""], mask=[1, 0, 1, 1, 0, 1, 0, 1]
        ),
        pl.Series([u if isinstance(u, str) else None for u in GUESTS]),
        pa.array([u if isinstance(u, str) else None for u in GUESTS]),
    ],
    ids=lambda users: type(users).__module__ + type(users).__name__,
)
def test_a_missing_user_is_no_user(users):
    rows = [["a", "b"], ["b", "c"], ["c", "a"], ["a", "c"]] * 2
    known = [None, "u1", None, None, "u2", None, "u1", None]
    X = Sessions.from_lists(rows, users=users, ids=users)
    assert X.users.tolist() == X.ids.tolist() == known
    made = Sessions(X.codes, X.offsets, X.vocabulary, users=np.array(GUESTS, object))
    assert made.users.tolist() == known
    model = small(prompt="user", embedding_dim=4, max_epochs=1).fit(X)
    assert model.user_ids_.tolist() == ["u1", "u2"]
    scores = model.decision_function(Sessions.from_lists(rows[:1] * 8, users=users))
    without = model.decision_function(rows[:1])[0]
    for user, row in zip(known, scores, strict=True):
        is_same = np.allclose(row, without, atol=1e-5)
        assert is_same == (user is None)  # as in training, so later


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_a_log_with_guests_is_welcome(library, kind):
    users = [None, "u1", None, "u2", "u1"] if kind == "text" else [None, 7, None, 8, 7]
    columns = {"s": [1, 2, 3, 4, 5], "i": list("abcab"), "u": users}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X = read(columns, library)
    assert X.users.tolist() == users
    assert all(type(u) in (str, int, type(None)) for u in X.users.tolist())
    visit = {"s": [1, 1], "i": ["a", "b"], "u": [None, users[1]]}
    with pytest.raises(ValueError, match="Session 1 has events of more than one user"):
        read(visit, library)


def test_users_that_are_tuples_have_guests_beside_them():
    users = [("shop", 1), None, ("shop", 2)]
    assert Sessions.from_lists([["a"]] * 3, users=users).users.tolist() == users
    columns = {"s": [1, 2, 3], "i": list("abc"), "u": users}
    assert read(columns).users.tolist() == users


def test_guests_are_nobody_in_whatever_counts_users_and_sessions():
    rows = [["a", "b"], ["b", "c", "a"], ["a", "c"], ["c", "a", "b"]]
    users = [None, "u", None, "v"]
    X = Sessions.from_lists(rows, users=users, ids=users)
    report = leakage_check(X[:2], X[2:], on_leak="ignore")
    assert report["session_ids"].count == report["users"].count == 0
    assert report["users"].message == "0 of 1 test users are in both parts."
    assert X.describe()["n_users"] == 2
    frame = evaluate({"m": MarkovRecommender()}, X, X, metrics="mrr@5", n_boot=0)
    assert frame["n_sessions"].tolist() == [4]  # guests are not one session
    prefixes, targets = X.to_prefixes()
    groups, names = length_groups(prefixes, targets)
    # An unknown session is as long as what is known of it.
    assert [names[g] for g in groups] == ["2", "3-4", "3-4", "2", "3-4", "3-4"]
    with pytest.raises(ValueError, match="Some prefixes have no session id"):
        next(LeaveLastOut().split(prefixes))


def test_user_prompts_need_somebody():
    X = Sessions.from_lists([["a", "b"], ["b", "a"]], users=[None, np.nan])
    with pytest.raises(ValueError, match="prompt='user' needs sessions with users"):
        small(prompt="user").fit(X)


MASKED = np.ma.masked_equal([[1, 2, -1], [2, 1, 3], [3, -1, -1]], -1)


@pytest.mark.parametrize(
    "X",
    [
        MASKED,
        MASKED.astype(float),
        np.ma.array(MASKED.astype(object)),
        [row for row in MASKED],
        tuple(MASKED),
        pd.Series([row for row in MASKED]),
    ],
    ids=["int", "float", "object", "rows", "tuple", "Series"],
)
def test_masked_cells_are_padding(X):
    assert as_sessions(X).to_lists() == [[1, 2], [2, 1, 3], [3]]
    assert Sessions.from_lists(X).to_lists() == [[1, 2], [2, 1, 3], [3]]
    model = MarkovRecommender().fit(X)
    assert model.item_ids_.tolist() == [1, 2, 3]
    asked = [[1, 2], [2, 1, 3], [3]]
    np.testing.assert_array_equal(model.predict_topk(X), model.predict_topk(asked))


def test_masked_text_is_padding_and_masked_targets_are_refused():
    X = np.ma.array([["a", "b"], ["b", "x"]], mask=[[0, 0], [0, 1]])
    assert as_sessions(X).to_lists() == [["a", "b"], ["b"]]
    y = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    for call in (MarkovRecommender().fit, MarkovRecommender().fit(MASKED).score):
        with pytest.raises(ValueError, match="y has masked cells"):
            call(MASKED, y)
    fine = np.ma.array([1, 2, 3])
    assert MarkovRecommender().fit(MASKED, fine).item_counts_.sum() == 9
    with pytest.raises(ValueError, match="times has masked cells"):
        Sessions([0, 0], [0, 2], ["a"], times=np.ma.array([1.0, 2.0], mask=[0, 1]))
    with pytest.raises(TypeError, match="MaskedConstant"):
        Sessions.from_lists([[1, np.ma.masked]])


@pytest.mark.parametrize("library", FRAMES)
def test_float_ids_of_a_log_are_told_with_the_remedy(library):
    columns = {"s": [1, 1, 2], "i": [4890.0, 6290.0, 4890.0]}
    with pytest.warns(
        IdTypeWarning, match=r"'i' holds item ids as floats, such as 489"
    ) as (caught):
        X = read(columns, library)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "astype('Int64')" in str(caught[0].message)
    assert X.to_lists() == [[4890.0, 6290.0], [4890.0]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read({"s": [1, 1, 2], "i": [0.5, 1.5, 0.5]}, library)
        read({"s": [1, 1, 2], "i": [4890, 6290, 4890]}, library)


def test_zero_padding_is_asked_for():
    rows = np.array([[0, 5, 0], [5, 0, 0], [0, 0, 0]])
    X = Sessions.from_lists(rows, padding=0)
    assert X.to_lists() == [[0, 5], [5], []]  # 0 is an item where something follows
    assert Sessions.from_lists([[1, 9, 9], [9]], padding=9).to_lists() == [[1], []]


def test_numpys_numbers_meet_those_of_python_that_they_cannot_compare_with():
    rows = [[np.uint64(2**63), np.True_, 2**70], [np.int64(3), Decimal(3), 3.0, True]]
    X = Sessions.from_lists(rows)
    assert X.to_lists() == [[2**63, True, 2**70], [3, 3, 3, True]]


def test_decimals_without_a_value_are_missing():
    for bad in (Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(ValueError, match="the item id is Decimal"):
            Sessions.from_lists([[Decimal(1), bad]])
    X = Sessions.from_lists([[Decimal(1)], [np.int64(1), Decimal(2)]])
    assert X.to_lists() == [[1], [1, 2]]


# -- what arrays cost, and to whom they belong -----------------------------------------


def test_one_long_id_does_not_multiply_every_array():
    rng = np.random.default_rng(0)
    names = [f"sku-{i}" for i in range(2000)]
    rows = [[names[i] for i in row] for row in rng.integers(0, 2000, (4000, 5))]
    rows[7][2] = "https://shop.example/?" + "x" * 230
    X = Sessions.from_lists(rows)
    assert X.to_lists() == rows
    tracemalloc.start()
    prefixes, targets = X.to_prefixes()
    model = MarkovRecommender().fit(X)
    top = model.predict_topk(X[:1000], k=20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert targets.nbytes <= 8 * len(targets)
    assert top.nbytes <= 8 * top.size
    assert peak < 60e6  # 16,000 targets alone would take 16 MB, the lists 20 MB
    assert pickle.loads(pickle.dumps(X)).to_lists() == rows
    assert model.rank_targets([rows[7][:2]], [rows[7][2]])[0] < np.inf


def test_one_long_new_id_does_not_multiply_the_catalog():
    names = [f"sku-{i}" for i in range(400)]
    model = small(embedding_dim=4, max_epochs=1).fit([names[i::4] for i in range(4)])
    model.partial_fit([[names[0], "x" * 250], ["x" * 250, names[1]]])
    assert model.item_ids_.tolist() == [*sorted(names), "x" * 250]
    assert model.item_ids_.nbytes < 20_000


def test_long_ids_that_are_all_long_stay_text():
    names = [f"https://shop.example/item/{i:060}" for i in range(100)]
    assert Sessions.from_lists([names]).vocabulary.dtype.kind == "U"


def test_a_slice_costs_what_it_holds():
    n = 20_000
    X = Sessions.from_lists(
        [[f"item-{i}", f"item-{(i * 7) % n}"] for i in range(n)], ids=np.arange(n)
    )
    few = X[5:7]
    assert few.to_lists() == X.to_lists()[5:7]
    assert len(pickle.dumps(few)) < 2000
    assert len(few.vocabulary) == 4
    for part in (X[np.array([3])], X[[True] + [False] * (n - 1)], X[-1:]):
        assert len(part.vocabulary) <= 2
    assert X[: n // 2].vocabulary is X.vocabulary  # most of it: nothing is copied
    assert repr(few) == "Sessions(n_sessions=2, n_events=4, n_items=4)"


def test_sessions_do_not_change_with_the_arrays_of_the_caller():
    codes, offsets, times = np.array([0, 1, 0]), np.array([0, 2, 3]), np.arange(3.0)
    words, users = np.array(["a", "b"]), np.array([7, 8])
    ids, clusters = np.array(["x", "y"], dtype=object), np.array([1, 2, 1])
    X = Sessions(
        codes, offsets, words, times=times, users=users, ids=ids, clusters=clusters
    )
    rows = np.array([[1, 2], [3, 4]])
    Y = Sessions.from_lists(rows, users=users)
    Z = as_sessions(rows)
    frame = pd.DataFrame({"s": [1, 1, 2], "i": [5, 6, 5], "t": [1.0, 2.0, 3.0]})
    V = Sessions.from_events(frame, session="s", item="i", time="t")
    W = Y.with_users(users).with_ids(users).with_clusters(clusters4 := np.ones(4, int))
    before = [pickle.dumps(S) for S in (X, Y, Z, V, W)]
    for array in (codes, offsets, times, words, users, ids, clusters, rows, clusters4):
        array[:] = array[::-1].copy()
    users[:], clusters4[:], times[:] = 0, 3, -1
    frame.loc[:, "i"] = 99
    assert [pickle.dumps(S) for S in (X, Y, Z, V, W)] == before
    for S in (X, Y, Z, V, W):
        for name in Sessions._COLUMNS:
            part = getattr(S, name)
            assert part is None or not part.flags.writeable


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize(
    ("ids", "fails"),
    [
        (["a", "b"], ()),
        ([1, 2], ()),
        ([b"a", b"b"], ()),
        ([Decimal(1), Decimal(2)], ()),
        ([("a", "b"), ("c", "d")], ()),
        ([("a",), ("b", "c")], ()),
        ([2**70, 1], ("pyarrow",)),
        ([("a", 1), ("b", 2)], ("polars", "pyarrow")),
        ([1, "a"], ("polars", "pyarrow")),
    ],
    ids=str,
)
def test_ids_come_back_through_a_frame_of_each_library(library, ids, fails):
    X = Sessions.from_lists([ids, ids[:1]], ids=[10, 11], users=["u", None])
    if library in fails:
        with pytest.raises(
            TypeError, match=f"{library} cannot hold .*backend='pandas'"
        ):
            X.to_frame(library)
        return
    names = {"session": "session", "item": "item", "user": "user"}
    back = Sessions.from_events(X.to_frame(library), **names)
    assert back.to_lists() == X.to_lists()
    assert back.ids.tolist() == [10, 11]
    assert back.users.tolist() == ["u", None]


def test_lazy_frames_and_record_batches_are_logs_too():
    columns = {"s": [1, 1, 2], "i": ["a", "b", "a"]}
    expected = read(columns).to_lists()
    batch = pa.RecordBatch.from_pydict(columns)
    for frame in (pl.LazyFrame(columns), batch, nw.from_native(pd.DataFrame(columns))):
        X = Sessions.from_events(frame, session="s", item="i")
        assert X.to_lists() == expected


def test_the_models_of_both_sides_of_a_frame_agree():
    """A dictionary-encoded log and a plain one give the same model."""
    rng = np.random.default_rng(0)
    items = [f"item-{i}" for i in rng.integers(0, 15, 200)]
    columns = {"s": np.repeat(np.arange(50), 4), "t": np.arange(200.0)}
    model = CLIPSessionRecommender(
        "gru4rec", embedding_dim=4, max_epochs=1, random_state=0, n_threads=1
    )
    plain = read(columns | {"i": items})
    coded = read(columns | {"i": pd.Series(items, dtype="category")})
    np.testing.assert_array_equal(
        model.fit(plain).decision_function(plain[:5]),
        model.fit(coded).decision_function(coded[:5]),
    )


@pytest.mark.parametrize(
    ("column", "of"),
    [("events", "event types"), ("times", "times"), ("weights", "weights")],
)
def test_rows_of_a_column_are_lists_of_its_values(column, of):
    for row in ("view", None, {"view"}):
        with pytest.raises(TypeError, match=rf"{column}\[0\] .* list of {of}[.,]"):
            Sessions.from_lists([["a"]], **{column: [row]})
    with pytest.raises(TypeError, match=f"{column} is a str.* list of lists of {of}"):
        Sessions.from_lists([["a"]], **{column: "view"})
