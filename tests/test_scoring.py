"""`TopK`: the lists of predict_topk on any frame, from a file that is opened once."""

import os
import pickle
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from common import small
from sklearn.pipeline import make_pipeline

import skclip
from skclip import scoring
from skclip.exceptions import UnseenItemWarning
from skclip.scoring import TopK

COLUMNS = ["session", "rank", "item", "score"]
FRAMES = {
    "pandas": pd.DataFrame,
    "pandas with Arrow's types": lambda d: pd.DataFrame(
        {name: pd.Series(pa.array(v), dtype=pd.ArrowDtype(pa.array(v).type))
         for name, v in d.items()}
    ),
    "pandas with arrays": lambda d: pd.DataFrame(
        d | {"items": [None if v is None else np.array(v) for v in d["items"]]}
    ),
    "polars": pl.DataFrame,
    "polars, large lists of categories": lambda d: pl.DataFrame(d).with_columns(
        pl.col("items").cast(pl.List(pl.String)).cast(pl.List(pl.Categorical))
    ),
    "pyarrow": pa.table,
    "pyarrow in chunks": lambda d: pa.concat_tables([pa.table(d)[:9], pa.table(d)[9:]]),
    "record batch": pa.RecordBatch.from_pydict,
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_open():
    scoring._open.clear()


@pytest.fixture(scope="module", params=["text", "whole numbers"])
def model(request, tmp_path_factory):
    """A fitted model, its file, and sessions in the ids that it knows."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(40, size=rng.integers(1, 7)).tolist() for _ in range(60)]
    if request.param == "text":
        rows = [[f"sku-{i}" for i in row] for row in rows]
    recommender = skclip.SessionKNN().fit(rows)
    path = tmp_path_factory.mktemp("model") / "model.skclip"
    skclip.save(recommender, path)
    return recommender, path, rows


@pytest.fixture
def popular(tmp_path):
    path = tmp_path / "model.skclip"
    skclip.save(skclip.PopularityRecommender().fit([["a", "b"], ["b", "c"]]), path)
    return path


def columns_of(frame):
    """The columns of any frame as lists."""
    if hasattr(frame, "to_pydict"):
        return frame.to_pydict()
    return {name: list(frame[name]) for name in frame.columns}


def expected(recommender, ids, rows, k, **options):
    """The same from predict_topk, in a plain loop."""
    items, scores = recommender.predict_topk(
        skclip.Sessions.from_lists(rows), k, return_scores=True, **options
    )
    found = {name: [] for name in COLUMNS}
    for i, session in enumerate(ids):
        for place in range(k):
            if scores[i, place] > -np.inf:
                row = session, place + 1, items[i, place], scores[i, place]
                for name, value in zip(COLUMNS, row, strict=True):
                    found[name].append(value)
    return found


@pytest.mark.parametrize("kind", FRAMES)
def test_lists_of_predict_topk_in_the_same_library(model, kind):
    recommender, path, rows = model
    if kind.endswith("categories") and isinstance(rows[0][0], int):
        pytest.skip("categories are text")
    ids = [f"visit {i}" for i in range(len(rows))]
    batch = FRAMES[kind]({"session": ids, "items": rows})
    lists = TopK(path, k=5, exclude_seen=True)(batch)
    assert type(lists) is type(batch)
    found = columns_of(lists)
    assert list(found) == COLUMNS
    assert found == expected(recommender, ids, rows, 5, exclude_seen=True)


@pytest.mark.parametrize("kind", FRAMES)
def test_missing_and_empty_lists_get_what_is_popular(model, kind):
    recommender, path, rows = model
    if kind.endswith("categories") and isinstance(rows[0][0], int):
        pytest.skip("categories are text")
    asked = [rows[0], None, [], rows[1]] * 4
    batch = FRAMES[kind]({"session": list(range(16)), "items": asked})
    with pytest.warns(UnseenItemWarning, match="8 of 16 sessions are empty"):
        found = columns_of(TopK(path, k=3)(batch))
    filled = [row or [] for row in asked]
    assert found == expected(recommender, range(16), filled, 3)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_an_empty_frame_has_the_types_of_others(model, library):
    _, path, rows = model
    batch = FRAMES[library]({"session": [1, 2], "items": rows[:2]})
    top = TopK(path, k=3)
    lists, empty = top(batch), top(batch[:0])
    assert len(empty) == 0
    types = "dtypes" if library == "pandas" else "schema"
    schema = top.schema(library)
    given = schema.dtypes if library == "pandas" else schema
    for other in (getattr(lists, types), given):
        assert all(np.asarray(getattr(empty, types) == other).ravel())


def test_lists_of_any_batch_size_are_the_same(fitted, test, tmp_path):
    path = tmp_path / "model.skclip"
    skclip.save(fitted, path)
    frame = pl.DataFrame({"session": range(len(test)), "items": test.to_lists()})
    top = TopK(path, k=10)
    whole = top(frame)
    assert columns_of(whole) == expected(fitted, range(len(test)), test.to_lists(), 10)
    parts = pl.concat(list(top.iterate(frame.iter_slices(7))))
    assert parts.drop("score").equals(whole.drop("score"))
    np.testing.assert_allclose(parts["score"], whole["score"], rtol=1e-5, atol=1e-6)


def test_a_pickle_is_small_and_opens_the_same_file(model):
    _, path, rows = model
    batch = pl.DataFrame({"session": range(3), "items": rows[:3]})
    top = TopK(path, k=4, exclude_seen=True)
    top(batch)  # what is open does not travel
    assert len(pickle.dumps(top)) < 1000
    assert pickle.loads(pickle.dumps(top))(batch).equals(top(batch))
    assert os.path.isabs(TopK("model.skclip").path)
    assert repr(TopK("/m", k=3)) == "TopK('/m', k=3)"


def test_a_file_is_opened_once_until_it_is_replaced(popular, monkeypatch):
    opened = []
    load = scoring.load
    monkeypatch.setattr(
        scoring, "load", lambda *args, **kw: opened.append(1) or load(*args, **kw)
    )
    batch = pl.DataFrame({"session": [1], "items": [["a"]]})
    top = TopK(popular, k=1)
    begin = threading.Barrier(4)

    def score():
        begin.wait()
        assert top(batch)["item"].to_list() == ["b"]

    threads = [threading.Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    skclip.save(skclip.PopularityRecommender().fit([["c", "c"]]), popular)
    assert top(batch)["item"].to_list() == ["c"]
    assert len(opened) == 2
    assert len(scoring._open) == 1
    for name in ("second", "third"):  # no more than two models stay open
        other = popular.with_name(name)
        other.write_bytes(popular.read_bytes())
        TopK(other, k=1)(batch)
    assert [os.path.basename(path) for path, _ in scoring._open] == ["second", "third"]


def test_unseen_items_are_told_once(popular):
    top = TopK(popular, k=1)
    batch = pl.DataFrame({"session": [1, 2], "items": [["a", "new"], ["b"]]})
    with pytest.warns(UnseenItemWarning, match="1 of 3 clicks"):
        top(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        top(batch)


def test_columns_that_models_read(tmp_path):
    rows = [["a", "b"], ["b", "c", "a"], ["c", "a"]] * 20
    times = [[10.0 * i for i in range(len(row))] for row in rows]
    events = [["view", "buy", "view"][: len(row)] for row in rows]
    users = [f"u{i % 4}" for i in range(len(rows))]
    columns = {"times": times, "events": events, "users": users}
    X = skclip.Sessions.from_lists(rows, **columns)
    model = small(prompt=("user",), click_features=("event", "gap")).fit(X)
    path = tmp_path / "model.skclip"
    skclip.save(model, path)
    top = TopK(path, 2, session=None, items="i", users="u", times="t", events="e")
    data = {"i": rows, "u": users, "t": times, "e": events}
    items, scores = model.predict_topk(X, 2, return_scores=True)
    for kind in ("pandas", "polars", "pyarrow"):
        found = columns_of(top(FRAMES[kind](data)))
        assert found["session"] == np.repeat(range(60), 2).tolist()
        assert found["item"] == items.ravel().tolist()
        assert found["score"] == scores.ravel().tolist()
    data["t"] = [[1.0], *times[1:]]
    for kind in ("pandas", "polars", "pyarrow"):
        with pytest.raises(ValueError, match=r"times\[0\] has 1 values, but session 0"):
            top(FRAMES[kind](data))


def test_filters_leave_out_places(popular):
    batch = pd.DataFrame({"session": [1], "items": [["a"]]})
    assert list(TopK(popular, 3, deny=["b"])(batch)["item"]) == ["a", "c"]
    assert list(TopK(popular, None, allow=["c"])(batch)["item"]) == ["c"]


def test_pipelines_rank_behind_their_steps(model, tmp_path):
    _, _, rows = model
    pipeline = make_pipeline(skclip.SessionClusterer(random_state=0), small())
    pipeline.fit(rows)
    path = tmp_path / "pipeline.skclip"
    skclip.save(pipeline, path)
    found = TopK(path, 3)(pl.DataFrame({"session": range(9), "items": rows[:9]}))
    X = skclip.Sessions.from_lists(rows[:9])
    items = skclip.predict_topk(pipeline, X, k=3)
    assert found["item"].to_list() == items.ravel().tolist()


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        ("pandas", "events.sort_values"),
        ("polars", "maintain_order=True"),
        ("pyarrow", "use_threads=False"),
        ("record batch", "collect_list"),
    ],
)
def test_clicks_in_the_rows_are_refused_with_a_recipe(popular, kind, recipe):
    clicks = {"sid": [1, 1, 2], "time": [1, 2, 3], "items": ["a", "b", "a"]}
    top = TopK(popular, 1, session="sid")
    # An empty column of pandas may be of anything.
    for batch in (FRAMES[kind](clicks), FRAMES[kind](clicks)[: int(kind == "pandas")]):
        with pytest.raises(TypeError, match="one row per click.*'sid'") as caught:
            top(batch)
        assert recipe in str(caught.value)


def test_recipes_of_the_messages_make_sessions(popular):
    """What the messages say to type; that of Spark is run with Spark."""
    events = pd.DataFrame(
        {"sid": [2, 1, 2], "time": [2, 1, 1], "items": ["a", "b", "c"]}
    )
    names = {"session": "sid", "items": "items"}
    frames = {"pandas": events, "polars": pl.DataFrame(events)}
    for library, frame in frames.items():
        recipe = scoring._GROUPED[library].format(**names)
        sessions = eval(recipe, {"events": frame})
        found = dict(zip(sessions["sid"], map(list, sessions["items"]), strict=True))
        assert found == {1: ["b"], 2: ["c", "a"]}
        assert len(TopK(popular, 1, session="sid")(sessions)) == 2
    recipe = scoring._GROUPED["pyarrow"].format(**names).partition(", and")[0]
    sessions = eval(recipe, {"table": pa.Table.from_pandas(events)}).to_pydict()
    assert sorted(sessions["items_list"]) == [["b"], ["c", "a"]]


def test_a_path_may_be_of_any_kind(popular, tmp_path):
    path = tmp_path / "model.skclip"
    paths = {TopK(given).path for given in (path, str(path), bytes(path))}
    assert paths == {str(path)}


def test_bad_input_says_what_to_do(popular, tmp_path):
    batch = pl.DataFrame({"session": [1], "items": [["a"]]})
    with pytest.raises(ValueError, match="no column .sku.*Group a frame of clicks by"):
        TopK(popular, 1, items="sku")(batch)
    with pytest.raises(ValueError, match="catalog of 3 items.*Pass k=3 or less"):
        TopK(popular)(batch)
    with pytest.raises(ValueError, match="n_threads=0. Pass 1 or more, or None"):
        TopK(popular, 1, n_threads=0)
    with pytest.raises(ValueError, match="k=0 is less than 1"):
        TopK(popular, 0)
    with pytest.raises(TypeError, match="whole number"):
        TopK(popular, 2.0)
    with pytest.raises(ValueError, match="copy the file to a folder"):
        TopK("s3://models/model.skclip")
    with pytest.raises(TypeError, match="lazy frame of polars.*map_batches"):
        TopK(popular, 1)(batch.lazy())
    with pytest.raises(TypeError, match="batch is a list.*one session per row"):
        TopK(popular, 1)([["a"]])
    with pytest.raises(TypeError, match="Dask makes text of lists.*convert-string"):
        TopK(popular, 1)(pd.DataFrame({"session": [1], "items": ["['a', 'b']"]}))
    missing = tmp_path / "gone.skclip"
    with pytest.raises(FileNotFoundError, match="gone.skclip on the host .*every work"):
        TopK(missing, 1)(batch)
    missing.write_text("no model")
    with pytest.raises(ValueError, match="is not a skclip model file"):
        TopK(missing, 1)(batch)
    skclip.save(skclip.SessionClusterer().fit([["a", "b"]]), missing)
    with pytest.raises(TypeError, match="holds a SessionClusterer, which is not"):
        TopK(missing, 1)(batch)
    mixed = skclip.PopularityRecommender().fit([["a", 1]])
    skclip.save(mixed, missing)
    with pytest.raises(TypeError, match="all text or all whole numbers"):
        TopK(missing, 1)(batch)
    with pytest.raises(ValueError, match="position 1: the item id is None"):
        TopK(popular, 1)(pl.DataFrame({"session": [1], "items": [["a", None]]}))


def test_schema_takes_the_type_of_sessions(popular, monkeypatch):
    top = TopK(popular, session="sid")
    frame = pl.LazyFrame({"sid": ["x"], "items": [["a"]]})
    assert top.schema("polars")["session"] == pl.Int64
    assert top.schema("polars", frame)["session"] == pl.String
    assert top.schema("pyarrow", frame).field("session").type == pa.string()
    pandas = pd.DataFrame({"sid": pd.array([1], dtype="Int16")})
    assert top.schema("pandas", pandas)["session"].dtype == "Int16"
    with pytest.raises(ValueError, match="frame has no column 'sid'"):
        top.schema("polars", frame.rename({"sid": "session"}))
    with pytest.raises(TypeError, match="frame is a list"):
        top.schema("polars", [])
    with pytest.raises(ValueError, match="library is 'dask'"):
        top.schema("dask")
    monkeypatch.setitem(sys.modules, "pyspark.sql.pandas.types", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[spark\]'"):
        top.schema("spark")
