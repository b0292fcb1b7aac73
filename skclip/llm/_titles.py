"""Titles as vectors, and from titles that a model wrote to items of the catalogue."""

import unicodedata
from difflib import SequenceMatcher

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

MIN_TOKEN_SET_RATIO = 0.90
_SHORTLIST = 50  # items that are compared letter by letter
_BLOCK_FLOATS = 2**24  # of similarities held at a time


def normal_form(title):
    """NFKC, case folded, punctuation to blanks, blanks collapsed."""
    text = unicodedata.normalize("NFKC", title).casefold()
    kept = []
    for c in text:
        kind = unicodedata.category(c)
        if kind == "Cf":  # marks of direction and joiners have no width
            continue
        kept.append(" " if kind[0] in "PCZ" else c)
    return " ".join("".join(kept).split())


class TfidfEncoder:
    """Word 1-2-grams and character 3-5-grams of scikit-learn, unit rows, sparse."""

    def fit(self, titles):
        self._parts = []
        for options in (
            {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\S+"},
            {"analyzer": "char_wb", "ngram_range": (3, 5)},
        ):
            vectorizer = TfidfVectorizer(
                sublinear_tf=True, lowercase=False, dtype=np.float32, **options
            )
            if any(titles):
                self._parts.append(vectorizer.fit(titles))
        return self

    def encode(self, titles):
        if not self._parts:
            return sparse.csr_array((len(titles), 1), dtype=np.float32)
        return sparse.csr_array(
            sparse.hstack([part.transform(titles) for part in self._parts]).tocsr()
        )


class TitleVectors:
    """Unit vectors of titles, by TF-IDF or by an encoder that was handed in.

    Parameters
    ----------
    encoder : object
        None, an object with ``encode(list of str) -> array (n, d)``, a transformer
        (cloned, and fitted on the titles), or a callable.
    titles : list of str
        Of the catalogue; empty where there is none.
    vectors : ndarray of shape (n_items, d), default=None
        Those of `titles` where they are known already.

    Attributes
    ----------
    items : array or sparse array of shape (n_items, d)
        Unit rows; zeros for titles that are empty.
    """

    def __init__(self, encoder, titles, vectors=None):
        self._normal = encoder is None
        if encoder is None:
            fitted = TfidfEncoder().fit([normal_form(title) for title in titles])
            self._encode = fitted.encode
        elif hasattr(encoder, "encode"):
            self._encode = encoder.encode
        elif hasattr(encoder, "transform"):
            fitted = clone(encoder).fit([title for title in titles if title])
            self._encode = fitted.transform
        else:
            self._encode = encoder
        self.items = self(titles) if vectors is None else vectors

    def __call__(self, titles):
        """Unit vectors of any titles."""
        if self._normal:
            vectors = self._encode([normal_form(title) for title in titles])
            return normalize(vectors)
        filled = [i for i, title in enumerate(titles) if title]
        vectors = self._encode([titles[i] for i in filled]) if filled else []
        vectors = vectors.toarray() if sparse.issparse(vectors) else vectors
        vectors = np.asarray(vectors, dtype=np.float32)
        if filled and (vectors.ndim != 2 or len(vectors) != len(filled)):
            raise ValueError(
                f"text_encoder returned an array of shape {vectors.shape} for "
                f"{len(filled)} titles. Expected ({len(filled)}, d): one row for each."
            )
        if not np.isfinite(vectors).all():
            raise ValueError(
                "text_encoder returned vectors that are not finite. Check the model, "
                "or leave text_encoder=None for TF-IDF."
            )
        width = vectors.shape[1] if filled else self.items.shape[1]
        full = np.zeros((len(titles), width), dtype=np.float32)
        full[filled] = normalize(vectors) if filled else 0
        return full


class TitleIndex:
    """Find the item that a written title means.

    In this order, first hit wins: the same normal form (the most popular such item);
    a token set ratio of 0.90 or more among the items that share two rare words; the
    nearest by cosine, if that is at least `min_similarity`.

    Parameters
    ----------
    titles : list of str
        Of the catalogue; empty where there is none.
    counts : ndarray of shape (n_items,)
        Popularity, which decides between equals; then the order of the catalogue.
    vectors : TitleVectors
    min_similarity : float
        In [0, 1].
    spread : int
        How many items the last step may name for one title.
    """

    def __init__(self, titles, counts, vectors, *, min_similarity=0.55, spread=1):
        self._counts = np.asarray(counts)
        self._vectors, self._min = vectors, min_similarity
        self._spread = min(spread, len(titles))
        self._normal = [normal_form(title) for title in titles]
        order = np.lexsort((np.arange(len(titles)), -self._counts))
        self._popular_first = order
        self._exact = {}
        postings = {}
        for i in order.tolist():
            if self._normal[i]:
                self._exact.setdefault(self._normal[i], i)
        for i, title in enumerate(self._normal):
            for token in set(title.split()):
                postings.setdefault(token, []).append(i)
        rare = max(20, len(titles) // 100)
        self._postings = {t: p for t, p in postings.items() if len(p) <= rare}

    def match(self, titles):
        """Items that each title means.

        Parameters
        ----------
        titles : list of str

        Returns
        -------
        matches : list of list of (int, float)
            For each title items (positions in the catalogue) and a share in (0, 1]: 1
            for the first, less for the others that `spread` allows; empty where the
            title means nothing in the catalogue.
        """
        matches, left = [], []
        for i, title in enumerate(titles):
            normal = normal_form(title)
            item = self._exact.get(normal)
            if item is None:
                item = self._similar_words(normal)
            matches.append([] if item is None else [(item, 1.0)])
            if item is None and normal:
                left.append(i)
        if left:
            nearest = self._nearest([titles[i] for i in left])
            for i, found in zip(left, nearest, strict=True):
                matches[i] = found
        return matches

    def _similar_words(self, normal):
        tokens = set(normal.split())
        shared = {}
        for token in tokens:
            for item in self._postings.get(token, ()):
                shared[item] = shared.get(item, 0) + 1
        shortlist = [item for item, n in shared.items() if n >= 2]
        shortlist.sort(key=lambda i: (-shared[i], -self._counts[i], i))
        best = None
        for item in shortlist[:_SHORTLIST]:
            other = self._normal[item]
            ratio = token_set_ratio(tokens, set(other.split()))
            if ratio < MIN_TOKEN_SET_RATIO:
                continue
            # A title within a longer one has ratio 1: the most alike as a whole wins.
            whole = SequenceMatcher(None, normal, other, autojunk=False).ratio()
            key = (ratio, whole, self._counts[item], -item)
            if best is None or key > best[0]:
                best = key, item
        return None if best is None else best[1]

    def _nearest(self, titles):
        queries, items = self._vectors(titles), self._vectors.items
        found = []
        block = max(1, _BLOCK_FLOATS // items.shape[0])
        for start in range(0, len(titles), block):
            near = queries[start : start + block] @ items.T
            near = near.toarray() if sparse.issparse(near) else near
            for row in near:
                row = row[self._popular_first]  # so that ties go to the popular
                best = np.argsort(-row, kind="stable")[: self._spread]
                best = [b for b in best if row[b] >= self._min and row[b] > 0]
                found.append(
                    [
                        (int(self._popular_first[b]), float(row[b] / row[best[0]] / j))
                        for j, b in enumerate(best, 1)
                    ]
                )
        return found


def token_set_ratio(a, b):
    """Similarity of two sets of words in [0, 1]; 1 if one holds the other."""
    common = " ".join(sorted(a & b))
    if common and (a <= b or b <= a):
        return 1.0
    one = f"{common} {' '.join(sorted(a - b))}".strip()
    two = f"{common} {' '.join(sorted(b - a))}".strip()
    pairs = ((common, one), (common, two), (one, two)) if common else ((one, two),)
    return max(SequenceMatcher(None, x, y, autojunk=False).ratio() for x, y in pairs)


def merged_items(matches):
    """One ranking of items from the items that each title of an answer means.

    An item counts share / place of the title, its best one; without `spread` that is
    the order of the titles.
    """
    values = {}
    for place, items in enumerate(matches, 1):
        for item, share in items:
            values[item] = max(values.get(item, 0.0), share / place)
    return sorted(values, key=lambda item: -values[item])  # stable: first come
