"""From written titles to items."""

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skclip.llm._titles import (
    TitleIndex,
    TitleVectors,
    merged_items,
    normal_form,
    token_set_ratio,
)

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


def index(**options):
    return TitleIndex(TITLES, COUNTS, TitleVectors(None, TITLES), **options)


def only(matches):
    (match,) = matches
    return [item for item, _ in match]


def test_normal_form():
    assert normal_form("  ＵＳＢ-C,\tCable\u200f!! ") == "usb c cable"
    assert normal_form("STRASSE") == normal_form("Straße")
    assert normal_form("?!") == ""


def test_exact_titles_mean_the_most_popular_item():
    assert index().match(["Usb-C Charging Cable 1M"]) == [[(4, 1.0)]]
    assert only(index().match(["CAFE\u0301 CRÈME — cup"])) == [5]
    equal = TitleIndex(["a b", "A b"], [1, 1], TitleVectors(None, ["a b", "A b"]))
    assert only(equal.match(["a b"])) == [0]  # then the order of the catalogue


def test_similar_words():
    found = index(min_similarity=1.0).match(
        ["pan frying stainless steel 28cm", "frying pan", "stainless pan of gold"]
    )
    assert [[item for item, _ in match] for match in found] == [[1], [1], []]


def test_of_titles_that_hold_all_words_the_most_alike_wins():
    titles = ["red leather shoe with laces and box", "red leather shoe brown"]
    vectors = TitleVectors(None, titles)
    found = TitleIndex(titles, [9, 1], vectors).match(["red leather shoe"])
    assert only(found) == [1]


@pytest.mark.parametrize(
    ("a", "b", "ratio"),
    [
        ("a b", "b a", 1.0),
        ("a b", "a b c", 1.0),
        ("a", "b", 0.0),
        # common "ab", "ab cd" against "ab ce": 2 * 4 letters of 10
        ("ab cd", "ab ce", 0.8),
    ],
)
def test_token_set_ratio(a, b, ratio):
    assert token_set_ratio(set(a.split()), set(b.split())) == pytest.approx(ratio)


def test_nearest_by_cosine_and_nothing_below():
    assert only(index().match(["steel bottles"])) == [6]
    assert index(min_similarity=0.99).match(["steel bottles"]) == [[]]
    assert index(min_similarity=0.0).match(["qqq zzz", "?", ""]) == [[], [], []]


def test_nearest_equals_a_plain_matrix_product():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]
    titles = [" ".join(rng.choice(words, 4, replace=False)) for _ in range(60)]
    asked = [f"{a}x {b}y" for a, b in rng.choice(words, (20, 2))]
    vectors = TitleVectors(None, titles)
    index = TitleIndex(titles, np.zeros(60), vectors, min_similarity=0.05, spread=3)
    near = (vectors(asked) @ vectors.items.T).toarray()
    for row, match in zip(near, index._nearest(asked), strict=True):
        order = [i for i in np.argsort(-row, kind="stable")[:3] if row[i] >= 0.05]
        assert [item for item, _ in match] == order
        if order:
            shares = [row[i] / row[order[0]] / j for j, i in enumerate(order, 1)]
            np.testing.assert_allclose([s for _, s in match], shares, rtol=1e-5)


def test_merged_items():
    """By share / place, the first of equals; an item once."""
    assert merged_items([[(7, 1.0)], [(5, 1.0)], [(7, 1.0)]]) == [7, 5]
    # 7: 1, 8: .45, 9: .3; 5: 1/2; 6: 1/3
    spread = [[(7, 1.0), (8, 0.45), (9, 0.3)], [(5, 1.0)], [(6, 1.0)]]
    assert merged_items(spread) == [7, 5, 8, 6, 9]
    assert merged_items([[], []]) == []


class Letters:
    def encode(self, titles):
        assert all(titles), "empty titles are not encoded"
        return [[title.lower().count(c) for c in "abcdefghij"] for title in titles]


@pytest.mark.parametrize(
    "encoder",
    [
        Letters(),
        Letters().encode,
        make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0)),
        TfidfVectorizer(),
    ],
)
def test_other_encoders(encoder):
    vectors = TitleVectors(encoder, TITLES)
    norms = np.linalg.norm(vectors.items, axis=1)
    np.testing.assert_allclose(norms, [1, 1, 1, 0, 1, 1, 1], rtol=1e-5)
    assert vectors([""]).shape == (1, vectors.items.shape[1])
    found = TitleIndex(TITLES, COUNTS, vectors, min_similarity=0.9).match(["a steel"])
    assert len(found) == 1


def test_encoders_that_return_something_else():
    with pytest.raises(ValueError, match=r"shape \(2, 3\) for 6 titles"):
        TitleVectors(lambda titles: np.ones((2, 3)), TITLES)
    with pytest.raises(ValueError, match="not finite"):
        TitleVectors(lambda titles: np.full((len(titles), 3), np.nan), TITLES)
