"""Vectors aligned by id."""

import copy
import pickle
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skclip._data import as_item_features
from skclip.features import ItemFeatures
from skclip.text import ItemTextEncoder


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.randoms())
@settings(max_examples=30)
def test_rows_are_found_by_id_whatever_their_order(ids, random):
    rows = np.array([[i, i * i] for i in ids], dtype=float)
    asked = random.sample(ids, len(ids))
    found = ItemFeatures(ids, rows).rows_of(np.array(asked))
    np.testing.assert_array_equal(found, [[i, i * i] for i in asked])


def test_features_are_one_object_for_all_copies():
    features = ItemFeatures(["a", ("b", 1)], [[1, 2], [0, 0]])
    assert copy.deepcopy(features) is features
    assert copy.copy(features) is features
    assert len(features) == 2
    again = pickle.loads(pickle.dumps(features))
    assert repr(again) == repr(features)
    assert again.missing.tolist() == [("b", 1)]
    assert repr(ItemFeatures(["a", ("b", 1)], [[1, 2], [0, 1]])) != repr(features)
    with pytest.raises(ValueError, match="read-only"):
        features.vectors[0, 0] = 5


def test_covering_adds_zeros():
    features = ItemFeatures([3, 1], [[1.0], [2.0]]).covering([1, 7])
    assert features.item_ids.tolist() == [3, 1, 7]
    assert features.vectors.ravel().tolist() == [1, 2, 0]
    assert features.known_ids().tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"no row for 1 of 2 items .* such as 9"):
        features.rows_of(np.array([3, 9]))


@pytest.mark.parametrize(
    ("ids", "rows", "error", "match"),
    [
        (["a", "a"], np.ones((2, 1)), ValueError, "more than once, such as 'a'"),
        ([1, 1.0], np.ones((2, 1)), ValueError, "more than once, such as 1"),
        (["a", None], np.ones((2, 1)), ValueError, r"item_ids\[1\] is None"),
        (["a", np.nan], np.ones((2, 1)), ValueError, r"item_ids\[1\] is nan"),
        ("ab", np.ones((2, 1)), TypeError, "item_ids is a str"),
        (["a", "b"], np.ones((3, 1)), ValueError, "3 rows for 2 item_ids"),
        (["a", "b"], np.ones(2), ValueError, r"shape \(2,\)"),
        (["a", "b"], np.ones((2, 0)), ValueError, "has no column"),
        (["a", "b"], [["x"], ["y"]], ValueError, "Expected numbers"),
        (["a", "b"], [[1.0], [np.nan]], ValueError, "1 rows .* such as that of 'b'"),
        (["a"], [[1e300]], ValueError, "infinity"),
    ],
)
def test_bad_features(ids, rows, error, match):
    with pytest.raises(error, match=match):
        ItemFeatures(ids, rows)


def test_features_of_known_and_new_items_are_joined():
    known = ItemFeatures([1, 2], [[1.0, 0.0], [0.0, 1.0]])
    new = ItemFeatures([7], [[0.5, 0.5]])
    for both in (ItemFeatures.concat([known, new]), known.concat(new)):
        assert both.rows_of(np.array([7, 1])).tolist() == [[0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"columns. Join features of the same"):
        ItemFeatures.concat([known, ItemFeatures([7], [[0.5]])])
    with pytest.raises(ValueError, match="twice|more than once|repeat"):
        ItemFeatures.concat([known, known])


# -- data frames -----------------------------------------------------------------------

GOODS = {
    "item": ["tea", "cup", "saw"],
    "price": [3.0, 5.0, 10.0],
    "brand": ["Leaf", "Clay", "Edge"],
    "title": ["green tea", "tea cup", "steel saw"],
}
NEW = {"item": ["pot"], "price": [6.0], "brand": ["Clay"], "title": ["tea pot"]}


@pytest.fixture(params=["pandas", "polars", "polars lazy", "pyarrow", "record batch"])
def frame_of(request):
    """A function that makes a frame of a dict."""
    name = request.param
    if name in ("pandas", "polars"):
        return pytest.importorskip(name).DataFrame
    if name == "polars lazy":
        return pytest.importorskip("polars").LazyFrame
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table if name == "pyarrow" else pyarrow.RecordBatch.from_pydict


def goods_encoder(**options):
    """Price 1 column, brand 3, words of the title 5."""
    return make_column_transformer(
        (StandardScaler(), ["price"]),
        (OneHotEncoder(handle_unknown="ignore", **options), ["brand"]),
        (CountVectorizer(), "title"),
    )


def goods_by_hand(goods):
    """The same numbers without scikit-learn."""
    rows = []
    for price, brand, title in zip(
        goods["price"], goods["brand"], goods["title"], strict=True
    ):
        words = ["cup", "green", "saw", "steel", "tea"]
        rows.append(
            [(price - 6) / np.std([3, 5, 10])]
            + [brand == name for name in ("Clay", "Edge", "Leaf")]
            + [word in title.split() for word in words]
        )
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("is_fitted", [False, True])
def test_columns_go_through_a_transformer(frame_of, is_fitted):
    encoder = goods_encoder()
    if is_fitted:
        pandas = pytest.importorskip("pandas")
        encoder.fit(pandas.DataFrame(GOODS))
    features = ItemFeatures.from_frame(frame_of(GOODS), "item", transformer=encoder)
    np.testing.assert_allclose(features.vectors, goods_by_hand(GOODS), rtol=1e-6)
    assert features.item_ids.tolist() == GOODS["item"]
    assert (features.transformer is encoder) == is_fitted  # a clone was fitted
    assert hasattr(encoder, "transformers_") == is_fitted
    new = features.encode(frame_of(NEW))
    np.testing.assert_allclose(new.vectors, goods_by_hand(NEW), rtol=1e-6)
    assert new.item_ids.tolist() == ["pot"]


def test_numbers_are_taken_as_they_are(frame_of):
    frame = frame_of(
        {"id": [7, 8], "n": [1, 2], "x": [0.5, 1.5], "on": [True, False]}
        | {"euro": [Decimal("1.25"), Decimal("3")]}
    )
    features = ItemFeatures.from_frame(frame, "id")
    assert features.vectors.tolist() == [[1, 0.5, 1, 1.25], [2, 1.5, 0, 3]]
    chosen = ItemFeatures.from_frame(frame, "id", columns=["x", "n"])
    assert chosen.vectors.tolist() == [[0.5, 1], [1.5, 2]]
    assert chosen.encode(frame).vectors.tolist() == chosen.vectors.tolist()


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_whatever_a_transformer_returns(output):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("polars")
    encoder = make_column_transformer(
        (StandardScaler(), ["price"]),
        (OneHotEncoder(sparse_output=False), ["brand"]),
        ("drop", ["title"]),
    ).set_output(transform=output)
    features = ItemFeatures.from_frame(
        pandas.DataFrame(GOODS), "item", transformer=encoder
    )
    expected = goods_by_hand(GOODS)[:, :4]
    np.testing.assert_allclose(features.vectors, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "encoder",
    [
        make_pipeline(StandardScaler(), FunctionTransformer()),  # the last needs no fit
        make_pipeline(FunctionTransformer(), StandardScaler()),
        FunctionTransformer(lambda rows: (rows - 6) / np.std([3, 5, 10])),
    ],
)
def test_steps_that_need_no_fit(encoder):
    frame = pytest.importorskip("pandas").DataFrame(GOODS)
    features = ItemFeatures.from_frame(
        frame, "item", columns=["price"], transformer=encoder
    )
    np.testing.assert_allclose(features.vectors, goods_by_hand(GOODS)[:, :1], rtol=1e-6)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, list, np.array])
def test_vectors_in_any_form(kind):
    rows = np.array([[0.0, 2.0], [1.0, 0.0]])
    assert ItemFeatures(["a", "b"], kind(rows)).vectors.tolist() == rows.tolist()


def test_frames_with_gaps_and_several_types():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"n": pandas.array([1, 2], dtype="Int64"), "x": [0.5, 1.5], "on": [True, False]}
    )
    assert ItemFeatures(["a", "b"], frame).vectors.tolist() == [
        [1, 0.5, 1],
        [2, 1.5, 0],
    ]
    frame.loc[1, "n"] = pandas.NA
    with pytest.raises(
        ValueError, match=r"1 rows of vectors hold NaN.* such as .* 'b'"
    ):
        ItemFeatures(["a", "b"], frame)


# -- mappings --------------------------------------------------------------------------


def test_mappings_of_numbers_vectors_titles_and_dicts():
    assert ItemFeatures.from_mapping({"a": 1, "b": 2.5}).vectors.tolist() == [
        [1],
        [2.5],
    ]
    pairs = {"a": [1, 2], "b": (3, 4)}
    assert ItemFeatures.from_mapping(pairs).vectors.tolist() == [[1, 2], [3, 4]]
    assert as_item_features({"a": 1, "b": 2.5}).vectors.tolist() == [[1], [2.5]]
    titles = dict(zip(GOODS["item"], GOODS["title"], strict=True))
    features = ItemFeatures.from_mapping(titles, transformer=CountVectorizer())
    assert features.encode({"pot": "tea pot"}).vectors.tolist() == [[0, 0, 0, 0, 1]]
    encoder = ItemTextEncoder(n_components=2).fit(titles)
    features = ItemFeatures.from_mapping(titles, transformer=encoder)
    np.testing.assert_array_equal(features.vectors, encoder.transform(titles))
    dicts = {"a": {"price": 2.0, "brand": "x"}, "b": {"price": 3.0}}
    features = ItemFeatures.from_mapping(dicts, transformer=DictVectorizer())
    assert features.vectors.tolist() == [[1, 2], [0, 3]]


def test_further_rows_are_encoded_wherever_features_went():
    features = ItemFeatures.from_mapping({"a": "xx yy"}, transformer=CountVectorizer())
    other = ItemFeatures(["b"], [[1.0, 2.0]])
    for kept in (
        pickle.loads(pickle.dumps(features)),
        features.covering(["b"]),
        other.concat(features),
    ):
        assert kept.encode({"c": "yy yy"}).vectors.tolist() == [[0, 2]]
    assert other.transformer is None


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"item": "id"}, ValueError, r"frame has no column 'id' \(given as item=\)"),
        ({"columns": ["cost"]}, ValueError, "no column 'cost' .*columns=.*'price'"),
        ({"columns": "price"}, TypeError, r"'price' is one name. Pass a list: \['pri"),
        ({"columns": []}, ValueError, "no column besides 'item'"),
        (
            {},
            ValueError,
            r"'brand' of frame holds no numbers .*make_column_transformer",
        ),
        (
            {"transformer": StandardScaler},
            TypeError,
            "Expected a transformer of scikit",
        ),
        ({"transformer": "onehot"}, TypeError, "transformer is 'onehot'"),
        (
            {"transformer": FunctionTransformer()},
            ValueError,
            r"the output of FunctionTransformer has shape \(3, 3\) and type object",
        ),
        (
            {"transformer": FunctionTransformer(lambda rows: np.ones((2, 1)))},
            ValueError,
            "output of FunctionTransformer has 2 rows for 3 item_ids",
        ),
    ],
)
def test_bad_calls_of_from_frame(options, error, match):
    frame = pytest.importorskip("pandas").DataFrame(GOODS)
    with pytest.raises(error, match=match):
        ItemFeatures.from_frame(frame, **{"item": "item"} | options)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"item": ["a", "a", "b"]}, r"frame\['item'\] has 1 ids more than once.* 'a'"),
        ({"item": ["a", None, "b"]}, r"frame\['item'\]\[1\] is .*Expected an item id"),
        ({"price": [1, None, 2]}, "1 rows of frame hold NaN .* 'cup'.*SimpleImputer"),
    ],
)
def test_bad_frames(changes, match):
    frame = pytest.importorskip("pandas").DataFrame(GOODS | changes)
    with pytest.raises(ValueError, match=match):
        ItemFeatures.from_frame(frame, "item", columns=["price"])


def test_what_is_no_frame_and_what_is_no_mapping():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(
        TypeError, match="frame is a dict. .*Pass arrays by ItemFeatures"
    ):
        ItemFeatures.from_frame(GOODS, "item")
    with pytest.raises(
        ValueError, match=r"an index of that name. Pass frame.reset_ind"
    ):
        ItemFeatures.from_frame(pandas.DataFrame(GOODS).set_index("item"), "item")
    with pytest.raises(TypeError, match="mapping is a list. Expected a mapping"):
        ItemFeatures.from_mapping([1, 2])
    with pytest.raises(ValueError, match="rows of mapping have different lengths"):
        ItemFeatures.from_mapping({"a": [1], "b": [1, 2]})
    features = ItemFeatures.from_mapping({"a": [1.0]})
    with pytest.raises(TypeError, match="rows is a list. .*made from a mapping"):
        features.encode(["b"])
    with pytest.raises(ValueError, match="hold no transformer"):
        ItemFeatures(["a"], [[1.0]]).encode({"b": [1.0]})


def test_a_frame_in_the_place_of_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(GOODS)
    with pytest.raises(ValueError, match=r"'item' of item_features .*item='item'\)"):
        as_item_features(frame)
    with pytest.raises(
        ValueError, match="'brand' of item_features .*set the ids as the"
    ):
        as_item_features(frame.set_index("item")[["price", "brand"]])
    found = as_item_features(frame.set_index("item")[["price"]])
    assert found.vectors.ravel().tolist() == GOODS["price"]
    polars = pytest.importorskip("polars")
    with pytest.raises(
        TypeError, match=r"is a DataFrame .*from_frame\(frame, item=...\)"
    ):
        as_item_features(polars.DataFrame(GOODS))
