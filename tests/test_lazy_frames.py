"""Lazy frames of several engines against their eager twins."""

from functools import partial

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import SessionClusterer, Sessions
from skclip.preprocessing import (
    drop_duplicates,
    drop_rare_items,
    drop_rare_users,
    drop_repeats,
    drop_short_sessions,
    item_pairs,
    keep_top_items,
    sessionize,
    truncate_sessions,
    until_stable,
)

ENGINES = ["polars", "duckdb", "dask", pytest.param("spark", marks=pytest.mark.engines)]


@pytest.fixture(scope="module")
def log():
    """Text ids, many equal times, users that are missing, clicks on one item twice."""
    rng = np.random.default_rng(0)
    n = 600
    sessions = rng.integers(120, size=n)
    users = np.array([f"user {s % 30}" for s in sessions], dtype=object)
    users[sessions % 7 == 0] = None
    items = np.minimum(rng.integers(25, size=n), rng.integers(25, size=n))
    minutes = rng.integers(40, size=n)
    kinds = rng.choice(np.array(["view", "buy", None], dtype=object), size=n)
    return pl.DataFrame(
        {
            "who": users.tolist(),
            "sid": [f"s{s}" for s in sessions],
            "sku": [f"item {i}" for i in items],
            "ts": minutes * 60,
            "at": pl.Series(minutes * 60_000_000 + 1_700_000_000_000_000).cast(
                pl.Datetime("us")
            ),
            "kind": kinds.tolist(),
            "value": rng.integers(4, size=n) / 2,
            "row": rng.permutation(n),
        }
    ).sort("row")


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]")
    options = {"spark.sql.shuffle.partitions": 2, "spark.ui.enabled": "false"}
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def lazily(request, tmp_path):
    """A function that makes a lazy frame of an engine from a polars frame."""

    def dask_frame(frame):
        import dask.dataframe as dd

        return dd.from_pandas(frame.to_pandas(), npartitions=3, sort=False)

    def duckdb_relation(frame):
        import duckdb

        return duckdb.connect().from_arrow(frame.to_arrow())

    def spark_frame(frame):
        frame.write_parquet(tmp_path / "log.parquet")
        session = request.getfixturevalue("spark")
        return session.read.parquet(str(tmp_path / "log.parquet"))

    makers = {
        "polars": pl.DataFrame.lazy,
        "duckdb": duckdb_relation,
        "dask": dask_frame,
        "spark": spark_frame,
    }
    pytest.importorskip("pyspark" if request.param == "spark" else request.param)
    if request.param == "dask":
        import dask

        with dask.config.set(scheduler="synchronous"):
            yield makers["dask"]
    else:
        yield makers[request.param]


def rows(native, sort=("row",)):
    """Rows of any frame, in order, with None for what is missing."""
    frame = nw.from_native(native)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    found = [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.rows(named=True)
    ]
    return sorted(found, key=lambda row: tuple(row[name] for name in sort))


FILTERS = {
    "short": partial(drop_short_sessions, session="sid", min_length=5),
    "users": partial(drop_rare_users, user="who", session="sid", min_sessions=4),
    "items": partial(drop_rare_items, item="sku", min_count=20),
    "top": partial(keep_top_items, item="sku", n_items=9),
    "duplicates": partial(
        drop_duplicates, session="sid", item="sku", time="at", event="kind", by="row"
    ),
    "repeats": partial(
        drop_repeats,
        session="sid",
        item="sku",
        time="at",
        event="kind",
        by=("value", "row"),
    ),
    "by rows": partial(drop_repeats, session="sid", item="sku", by="row"),
    "cut": partial(
        truncate_sessions, session="sid", max_length=3, time="ts", by=["sku", "row"]
    ),
}


@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_filters_equal_their_eager_twins(lazily, log):
    lazy = lazily(log)
    for name, function in FILTERS.items():
        expected, found = function(log), function(lazy)
        assert type(found) is type(lazy), name
        assert 0 < len(expected) < len(log), name
        assert rows(found) == rows(expected), name


@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_visits_equal_their_eager_twins(lazily, log):
    lazy = lazily(log)
    spans = {"gap": "7min"}, {"window": "7min"}
    for time in ("ts", "at"):
        for span in spans:
            expected = rows(sessionize(log, user="who", time=time, **span))
            found = rows(sessionize(lazy, user="who", time=time, **span))
            pairs = {
                (a["session"], b["session"])
                for a, b in zip(expected, found, strict=True)
            }
            numbers, names = zip(*pairs, strict=True)
            assert len(pairs) == len(set(numbers)) == len(set(names))
            for row in found:
                end = row["session"].rpartition("/")[2]
                assert end == "guest" if row["who"] is None else end.isdigit()


@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_pairs_equal_the_item_graph(lazily, log):
    names = {"session": "sid", "item": "sku", "time": "ts"}
    by = {"by": ["value", "row"]}
    X = log.sort("value", "row")  # equal times keep the order of their rows
    for options in (
        {},
        {"self_loops": True, "weight": "value"},
        {"per_session_binary": True},
        {"self_loops": True, "weight": "value", "per_session_binary": True},
    ):
        weight = {k: v for k, v in options.items() if k == "weight"}
        kind = {k: v for k, v in options.items() if k != "weight"}
        clusterer = SessionClusterer(random_state=0, **kind)
        clusterer.fit(Sessions.from_events(X, **names, **weight))
        expected = entries(clusterer)
        for frame in (lazily(log), log, log.to_pandas(), log.to_arrow()):
            found = rows(item_pairs(frame, **names, **by, **options), ("low", "high"))
            assert [tuple(row.values()) for row in found] == expected


def entries(clusterer):
    """Edges of the item graph by ids."""
    graph = clusterer.graph_.tocoo()
    ids = clusterer.item_ids_
    return sorted(
        (str(ids[i]), str(ids[j]), float(weight))
        for i, j, weight in zip(*graph.coords, graph.data, strict=True)
        if i <= j
    )


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 6)), max_size=25
)


@settings(max_examples=30)
@given(events=EVENTS, loops=st.booleans(), once=st.booleans())
def test_pairs_equal_a_loop(events, loops, once):
    counts, last, seen = {}, {}, set()
    for session, item, _ in sorted(events, key=lambda e: e[2]):
        pair = tuple(sorted((last.get(session, item), item)))
        new = session in last and (session, pair) not in seen
        if (new if once else session in last) and (loops or pair[0] != pair[1]):
            counts[pair] = counts.get(pair, 0) + 1
            seen.add((session, pair))
        last[session] = item
    columns = dict(zip("sit", zip(*events, strict=True), strict=False))
    log = pl.DataFrame(columns, schema=dict.fromkeys("sit", pl.Int64)).with_row_index()
    options = {"self_loops": loops, "per_session_binary": once, "by": "index"}
    for frame in (log, log.lazy(), log.to_pandas()):
        found = item_pairs(frame, session="s", item="i", time="t", **options)
        found = rows(found, ("low", "high"))
        assert [tuple(row.values()) for row in found] == [
            (*pair, count) for pair, count in sorted(counts.items())
        ]


COLUMNS = {"session": "sid", "item": "sku", "time": "ts"}
ORDERED = {
    "drop_repeats": partial(drop_repeats, **COLUMNS),
    "truncate_sessions": partial(
        truncate_sessions, session="sid", max_length=2, time="ts"
    ),
    "item_pairs": partial(item_pairs, **COLUMNS),
}
RUNNING = ENGINES[:3]  # those of the default run


@pytest.mark.parametrize("lazily", RUNNING, indirect=True)
def test_nothing_collects_the_log(lazily, log, monkeypatch):
    dask = pytest.importorskip("dask")

    def refuse(*args, **kwargs):
        raise AssertionError("collected")

    lazy = lazily(log)
    functions = [*FILTERS.values(), *(partial(f, by="row") for f in ORDERED.values())]
    functions.append(partial(sessionize, user="who", time="ts", gap="7min"))
    functions.append(partial(sessionize, user="who", time="at", window="day"))
    monkeypatch.setattr(nw.LazyFrame, "collect", refuse)
    with dask.config.set(scheduler=refuse):
        for function in functions:
            assert type(function(lazy)) is type(lazy)


@pytest.mark.parametrize(
    ("lazily", "function"),
    [
        *(("polars", function) for function in ORDERED.values()),
        *((engine, ORDERED["item_pairs"]) for engine in ("duckdb", "dask")),
    ],
    indirect=["lazily"],
)
def test_an_open_order_is_refused(lazily, log, function):
    lazy = lazily(log)
    with pytest.raises(ValueError, match=r"no order, so clicks.*Pass by=.*check=True"):
        function(lazy)
    with pytest.raises(ValueError, match=r"have several.*such as the \d+ of sid="):
        function(lazy, check=True)
    with pytest.raises(ValueError, match=r"several clicks.*of sid=.*ts=.*kind="):
        function(lazy, by="kind", check=True)
    once = lazily(log.unique(["sid", "ts"], keep="first", maintain_order=True))
    found, expected = function(once, check=True), function(once, by="row")
    assert sorted(map(str, rows(found, ()))) == sorted(map(str, rows(expected, ())))


@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_ties_are_broken_as_in_memory(lazily):
    """Also by categories, and by what is missing or no number."""
    kinds = pl.Enum(["z", "y", "w", "x"])
    log = pl.DataFrame(
        {
            "sid": [1] * 4,
            "sku": ["a", "b", "c", "d"],
            "ts": [0] * 4,
            "kind": pl.Series(["x", "z", "w", "y"], dtype=kinds),
            "value": [1.0, float("nan"), None, 0.5],
            "row": range(4),
        }
    )
    lazy = lazily(log)
    for by in ("kind", ["value", "row"]):
        found, expected = (
            rows(item_pairs(frame, **COLUMNS, by=by), ("low", "high"))
            for frame in (lazy, log)
        )
        assert found == expected
        cut = partial(truncate_sessions, session="sid", max_length=2, time="ts", by=by)
        assert rows(cut(lazy)) == rows(cut(log))
    top = partial(keep_top_items, item="kind", n_items=2)
    assert rows(top(lazy)) == rows(top(log))


def test_ties_are_counted():
    log = pl.LazyFrame(
        {
            "sid": [1, 1, 1, 1, 2, 2, 3],
            "sku": ["a", "b", "c", "c", "d", "d", "a"],
            "ts": [0, 0, 5, 5, 5, 5, 0],
        }
    )
    with pytest.raises(ValueError, match=r"1 times .* 2 of sid=1, ts=0\. .*Pass by="):
        item_pairs(log, **COLUMNS, check=True)
    with pytest.raises(ValueError, match="3 times have several clicks of the same"):
        drop_repeats(log, **COLUMNS, check=True)
    same = log.filter(pl.col("sku") > "b")  # equal clicks come in one order
    assert len(item_pairs(same, **COLUMNS, check=True).collect()) == 0


def test_bad_input():
    log = pl.LazyFrame({"sid": [1], "sku": ["a"], "ts": ["2024-01-01"]})
    for function in (
        partial(drop_duplicates, **COLUMNS),
        partial(item_pairs, **COLUMNS, by="sku"),
        partial(sessionize, user="sid", time="ts", gap=1),
    ):
        with pytest.raises(ValueError, match="'ts'.*lazy frame holds String.*Cast"):
            function(log)
    with pytest.raises(ValueError, match="no column 'what'.*given as by=.*'sid'"):
        item_pairs(log, session="sid", item="sku", time=None, by=["sku", "what"])
    with pytest.raises(TypeError, match="by=3. Expected the name of a column"):
        item_pairs(log, session="sid", item="sku", time=None, by=3)
    with pytest.raises(ValueError, match="whose rows have no order. Pass time="):
        item_pairs(log, session="sid", item="sku", time=None, check=True)
    with pytest.raises(TypeError, match="'sku' .given as weight=. holds String"):
        item_pairs(log, session="sid", item="sku", time=None, by="ts", weight="sku")
    with pytest.raises(ValueError, match="writes the remaining.*Pass scratch="):
        until_stable(log, FILTERS["items"])
    with pytest.raises(ValueError, match="scratch is 's3://logs/tmp'. Pass a folder"):
        until_stable(log, FILTERS["items"], scratch="s3://logs/tmp")
    with pytest.raises(ValueError, match="already has a column 'sku'"):
        sessionize(log, user="sid", time="ts", gap=1, session="sku")


def test_equally_frequent_categories_are_ranked_by_their_text():
    kinds = pl.Enum(["z", "b", "a"]), pl.Categorical, pl.String
    for kind in kinds:
        log = pl.DataFrame({"sku": ["z", "b", "a"]}, schema={"sku": kind})
        for events in (log, log.lazy()):
            top = keep_top_items(events, item="sku", n_items=2)
            assert top.lazy().collect()["sku"].to_list() == ["b", "a"]


# Dask reads Parquet files with what pandas 3.1 deprecates.
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
@pytest.mark.parametrize("lazily", ENGINES, indirect=True)
def test_rounds_are_kept_on_disk(lazily, log, tmp_path):
    filters = (
        partial(drop_rare_items, item="sku", min_count=18),
        partial(drop_short_sessions, session="sid", min_length=4),
    )
    expected = until_stable(log, *filters)
    assert 0 < len(expected) < len(filters[1](filters[0](log)))  # several rounds
    lazy = lazily(log)
    wrapped = nw.from_native(lazy)  # is one of the engine as well
    found = until_stable(wrapped, *filters, scratch=tmp_path / "it's")
    assert type(found) is type(lazy)
    (folder,) = (tmp_path / "it's").iterdir()
    assert len(list(folder.iterdir())) == 1  # earlier rounds are removed
    assert rows(found) == rows(expected)


def test_a_filter_that_fails_leaves_no_files(tmp_path):
    log = pl.LazyFrame({"sid": [1, 1]})
    with pytest.raises(ValueError, match="added rows"):
        until_stable(log, lambda e: pl.concat([e, e]), scratch=tmp_path)
    with pytest.raises(TypeError, match="turned a lazy frame into a DataFrame"):
        until_stable(log, pl.LazyFrame.collect, scratch=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lazily", RUNNING, indirect=True)
def test_rows_without_ids_are_left_out(lazily):
    log = pl.DataFrame(
        {
            "sid": ["a", "a", None, "a", "b", "b"],
            "sku": ["x", None, "y", "y", "x", "y"],
            "ts": [0.0, 1.0, 1.0, 2.0, 0.0, None],
            "row": range(6),
        }
    )
    lazy = lazily(log)
    assert rows(item_pairs(lazy, **COLUMNS, by="row"), ()) == [
        {"low": "x", "high": "y", "weight": 1}
    ]
    kept = {
        "repeats": drop_repeats(lazy, **COLUMNS, by="row"),
        "duplicates": drop_duplicates(lazy, **COLUMNS),
        "cut": truncate_sessions(
            lazy, session="sid", time="ts", max_length=9, by="row"
        ),
        "top": keep_top_items(lazy, item="sku", n_items=1),
    }
    found = {name: [row["row"] for row in rows(part)] for name, part in kept.items()}
    assert found == {
        "repeats": [0, 3, 4],
        "duplicates": [0, 3, 4],
        "cut": [0, 1, 3, 4],
        "top": [2, 3, 5],
    }


@pytest.mark.parametrize("lazily", RUNNING, indirect=True)
def test_sessions_collect_a_lazy_frame(lazily, log):
    log = log.unique(["sid", "ts"], keep="first", maintain_order=True)
    names = COLUMNS | {"user": "who", "event": "kind"}
    expected = Sessions.from_events(log, **names)
    found = Sessions.from_events(lazily(log), **names)
    assert found.to_lists() == expected.to_lists()
    assert found.users.tolist() == expected.users.tolist()


def test_a_night_in_berlin_is_one_day():
    """Windows of a lazy frame are those of its time zone, leap years included."""
    days = pd.date_range("1968-01-01", "2101-01-01", freq="31h", tz="Europe/Berlin")
    log = pl.DataFrame({"who": 1, "at": pl.Series(days).dt.cast_time_unit("us")})
    for window in ("day", "3h", "week", 86_401):
        expected = sessionize(log, user="who", time="at", window=window)
        found = sessionize(log.lazy(), user="who", time="at", window=window).collect()
        numbers = found["session"].str.strip_prefix("1/").cast(pl.Int64)
        changes = expected["session"].diff().fill_null(0)
        assert ((numbers.diff().fill_null(0) != 0) == (changes != 0)).all()
