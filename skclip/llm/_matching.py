"""Titles of items, their vectors, and matching of written titles to items."""

from __future__ import annotations

import unicodedata
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import make_union
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import safe_sparse_dot

from skclip._data import is_nan
from skclip._sklearn import BaseEstimator, HasMethods, Interval
from skclip.text import ItemTextEncoder


class TitleMatching(BaseEstimator):
    """Match a title that the language model wrote to an item.

    The first of these rules that finds an item decides:

    1. The item has the same title, ignoring case and punctuation.
    2. All words of one title occur in the other, and these are at least two words. The
       nearest such item is taken.
    3. The item is the nearest one, with a similarity of at least `min_similarity`.

    The similarity of two titles is the cosine of their vectors.

    Parameters
    ----------
    encoder : object, default=None
        Encoder that turns titles into vectors. It is a transformer, an object with
        ``encode(list of str) -> array``, or a callable. None means TF-IDF of words and
        characters.
    min_similarity : float, default=0.55
        Smallest similarity of the third rule, between 0 and 1.

    Notes
    -----
    Differences from the paper and its code:

    - **Mapping of written titles.** The part of the SemSR paper that describes the
      mapping was not available, and no code was found. skclip tries an equal title
      first, then the nearest title that holds all the words, and then the nearest title
      by cosine. It uses TF-IDF vectors for this, so it needs no library for fuzzy
      matching.

    Examples
    --------
    >>> from skclip import LLMReranker, PopularityRecommender
    >>> llm = LLMReranker(PopularityRecommender(), str)
    >>> llm.set_params(matching__min_similarity=0.7).matching
    TitleMatching(min_similarity=0.7)
    """

    _parameter_constraints: dict = {
        "encoder": [HasMethods("encode"), HasMethods("transform"), callable, None],
        "min_similarity": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, encoder: Any = None, *, min_similarity: float = 0.55) -> None:
        self.encoder = encoder
        self.min_similarity = min_similarity


def titles_of(item_titles, ids):
    """Return the title of each id, or an empty text if it has none."""
    index = getattr(item_titles, "index", None)
    if getattr(index, "has_duplicates", False):
        twice = index[index.duplicated()][0]
        raise ValueError(
            f"item_titles has two titles for the id {twice!r}. Pass one title per id, "
            "for example item_titles.groupby(level=0).first()."
        )
    titles = list(map(getattr(item_titles, "get", item_titles), ids))
    for i, title in enumerate(titles):
        if title is None or type(title).__name__ == "NAType" or is_nan(title):
            titles[i] = ""
        elif not isinstance(title, str):
            raise TypeError(
                f"item_titles has {title!r:.60} for the id {ids[i]!r:.40}. Expected "
                "text, or None for items without a title."
            )
    return [title.strip() for title in titles]


def normal_form(title):
    """Normalize a title by NFKC and case, and replace punctuation by single blanks."""
    kept = []
    for c in unicodedata.normalize("NFKC", title).casefold():
        kind = unicodedata.category(c)
        if kind != "Cf":  # drop marks of direction and joiners
            kept.append(" " if kind[0] in "PCZ" else c)
    return " ".join("".join(kept).split())


def encoded(encoder, titles):
    """Fit an encoder to the titles of a catalog. Return it and their unit vectors."""
    if encoder is None:
        form = {"preprocessor": normal_form, "sublinear_tf": True, "dtype": np.float32}
        encoder = make_union(
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", **form),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **form),
        )
    elif hasattr(encoder, "transform") and not hasattr(encoder, "encode"):
        encoder = clone(encoder)
    else:
        encoder = ItemTextEncoder(encoder, whiten=None)
    return encoder, unit_rows(encoder.fit_transform(titles), titles)


def unit_rows(vectors, titles):
    """Scale rows to length 1, or to 0 for empty titles. Sparse rows stay sparse."""
    kind = sparse.csr_array if sparse.issparse(vectors) else np.asarray
    vectors = normalize(kind(vectors, dtype=np.float32))
    filled = np.array([bool(title) for title in titles], dtype=np.float32)
    return sparse.diags_array(filled) @ vectors


class TitleIndex:
    """Find the item of a written title by the rules of `TitleMatching`.

    Ties go to the most popular item, then to the first of the catalog. `encoder` and
    `vectors` come from `encoded`.
    """

    def __init__(self, titles, counts, encoder, vectors):
        self._places, items = {}, []  # distinct titles, the most popular first
        for i in np.argsort(-np.asarray(counts), kind="stable").tolist():
            form = normal_form(titles[i])
            if form and form not in self._places:
                self._places[form] = len(items)
                items.append(i)
        self._items, self._encoder, self._vectors = items, encoder, vectors[items]
        self._words = CountVectorizer(token_pattern=r"\S+", binary=True)
        self._members = self._words.fit_transform(self._places)
        self._sizes = self._members.sum(axis=1).A1

    def match(self, titles, min_similarity=0.55):
        """Return the position in the catalog of the item of each title, or None."""
        forms = [normal_form(title) for title in titles]
        places = [self._places.get(form) for form in forms]
        left = [i for i, form in enumerate(forms) if form and places[i] is None]
        some = [titles[i] for i in left]
        vectors = unit_rows(self._encoder.transform(some), some) if left else []
        for row, i in enumerate(left):
            vector = vectors[[row]].T
            near = safe_sparse_dot(self._vectors, vector, dense_output=True).ravel()
            shared = (self._members @ self._words.transform([forms[i]]).T).toarray()
            size = np.minimum(self._sizes, len(set(forms[i].split())))
            held = (shared.ravel() == size) & (
                size > 1
            )  # all words of one in the other
            best = (near + held).argmax()  # the first one among ties
            if held[best] or near[best] >= max(min_similarity, 1e-6):
                places[i] = best
        return [None if place is None else self._items[place] for place in places]
