"""From written titles to items."""

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.utils.extmath import row_norms

from skclip.llm._matching import TitleIndex, encoded, normal_form, unit_rows

TITLES = [
    "USB-C charging cable 1m",  # 0
    "Stainless steel frying pan 28cm",  # 1
    "Non-stick skillet 11 inch",  # 2
    "",  # 3: no title
    "usb c charging CABLE 1m!",  # 4: as 0
    "Café crème cup",  # 5
    "Steel water bottle",  # 6
]
COUNTS = [3, 5, 1, 9, 8, 2, 2]


def match(asked, min_similarity=0.55, titles=TITLES, counts=COUNTS, encoder=None):
    index = TitleIndex(titles, counts, *encoded(encoder, titles))
    return index.match(asked, min_similarity)


def test_normal_form():
    assert normal_form("  ＵＳＢ-C,\tCable\u200f!! ") == "usb c cable"
    assert normal_form("STRASSE") == normal_form("Straße")
    assert normal_form("?!") == ""


def test_exact_titles_mean_the_most_popular_item():
    assert match(["Usb-C Charging Cable 1M", "CAFE\u0301 CRÈME — cup"]) == [4, 5]
    # then the order of the catalog
    assert match(["a b"], titles=["a b", "A b"], counts=[1, 1]) == [0]


def test_titles_with_all_the_words():
    asked = ["pan frying stainless steel 28cm", "frying pan", "stainless pan of gold"]
    assert match(asked, 1.0) == [1, 1, None]
    assert match(["the Steel water bottle by the sea"], 1.0) == [6]
    assert match(["steel"], 1.0) == [None]  # one word is too little


def test_of_titles_that_hold_all_words_the_most_alike_wins():
    titles = ["red leather shoe with laces and box", "red leather shoe brown"]
    assert match(["red leather shoe"], titles=titles, counts=[9, 1]) == [1]


def test_nearest_by_cosine_and_nothing_below():
    assert match(["steel bottles"]) == [6]
    assert match(["steel bottles"], 0.99) == [None]
    assert match(["qqq zzz", "?", ""], 0.0) == [None, None, None]


def test_nearest_equals_a_plain_matrix_product(rng):
    words = [f"w{i}" for i in range(30)]
    titles = [" ".join(rng.choice(words, 4, replace=False)) for _ in range(60)]
    asked = [f"{a}x {b}y" for a, b in rng.choice(words, (20, 2))]
    encoder, vectors = encoded(None, titles)
    near = (unit_rows(encoder.transform(asked), asked) @ vectors.T).toarray()
    expected = [row.argmax() if row.max() >= 0.2 else None for row in near]
    assert match(asked, 0.2, titles, np.zeros(60)) == expected
    assert None in expected
    assert len(set(expected)) > 2


class Letters:
    def encode(self, titles):
        assert all(titles), "empty titles are not encoded"
        return [[title.lower().count(c) for c in "abcdefghij"] for title in titles]


@pytest.mark.parametrize(
    "encoder",
    [
        Letters(),
        Letters().encode,
        make_pipeline(TfidfVectorizer(), TruncatedSVD(4, random_state=0)),
        TfidfVectorizer(),
    ],
)
def test_other_encoders(encoder):
    fitted, vectors = encoded(encoder, TITLES)
    np.testing.assert_allclose(row_norms(vectors), [1, 1, 1, 0, 1, 1, 1], rtol=1e-5)
    assert fitted.transform(["x"]).shape == (1, vectors.shape[1])
    assert fitted is not encoder
    assert match(["Steel bottle of water"], encoder=encoder) == [6]


def test_encoders_that_return_something_else():
    with pytest.raises(ValueError, match=r"shape \(2, 3\).*Expected"):
        encoded(lambda titles: np.ones((2, 3)), TITLES)
    with pytest.raises(ValueError, match="NaN or infinity"):
        encoded(lambda titles: np.full((len(titles), 3), np.nan), TITLES)
