"""`ItemTextEncoder`: turn titles of items into vectors."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache, partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._cache import FileCache
from skclip._data import as_frame, is_id
from skclip._sklearn import (
    ClassNamePrefixFeaturesOutMixin,
    HasMethods,
    Interval,
    StrOptions,
    TransformerMixin,
    _fit_context,
)
from skclip._typing import FloatArray, Frame, PathLike, RandomState, Self

__all__ = ["ItemTextEncoder"]

_MOST_CHARACTERS = 512  # number of characters of a title that are used
_TERMS = {  # kinds of terms; words may have one letter or digit
    "word": {"ngram_range": (1, 2), "max_features": 20_000, "token_pattern": r"\w+"},
    "char_wb": {"ngram_range": (3, 5), "max_features": 30_000},
}
_VECTORIZER = partial(TfidfVectorizer, sublinear_tf=True, dtype=np.float32)
_POWERS = {"pca": 0.0, "relaxed": 0.5, "zca": 1.0}  # power of the standard deviation
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")


class ItemTextEncoder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, SessionEstimator
):
    """Turn titles of items into vectors of equal length.

    Pass the vectors to ``CLIPSessionRecommender(item_features=...)`` in an
    `ItemFeatures`. The model can then rank items that were never clicked, and learns
    which rare items are similar. The vectors are useless if titles carry no meaning,
    such as model numbers, and they help little if every item has many clicks.

    Parameters
    ----------
    encoder : str, object with ``encode`` or callable, default="tfidf"
        Encoder of the titles. "tfidf" is scikit-learn's sublinear TF-IDF of words,
        pairs of words and runs of 3 to 5 characters, followed by a truncated SVD. Any
        other text is the path or name of a sentence-transformers model, which needs the
        extra ``skclip[text]``. An object with ``encode(list of str)`` or a callable
        must return an array with one row per title.
    n_components : int, default=128
        Number of columns to keep. It is limited by the number of distinct titles and
        by the columns of the encoder. It only has an effect with "tfidf" or with a
        `whiten` that rotates.
    whiten : {"pca", "zca", "relaxed", "center"} or None, default="pca"
        Transformation of the vectors. "center" subtracts the mean. "pca" also rotates
        to the `n_components` directions of largest variance. "zca" divides these by
        their standard deviation, and "relaxed" by its square root [1]_. Vectors are
        never rotated back.
    normalize : bool, default=True
        Whether to scale rows to length 1.
    text_columns : list of str, default=None
        Columns of a data frame to join into one text. None uses the only column.
    batch_size : int, default=64
        Number of titles to pass to the encoder at a time.
    cache_dir : path-like, default=None
        Folder that keeps the vectors of an encoder between runs. Objects and callables
        need an attribute ``cache_id``, a text that identifies them. "tfidf" is fitted
        and therefore not cached.
    random_state : int, RandomState instance or None, default=0
        Seed of the truncated SVD.

    Attributes
    ----------
    missing_ : list
        Row numbers of `fit` without a title, or keys if titles were given as a dict.
    n_features_out_ : int
        Number of columns that `transform` returns.
    mean_, projection_ : ndarray of shape (n_raw,) and (n_raw, n_features_out) or None
        Mean that is subtracted, and matrix that "pca", "zca" and "relaxed" multiply by.

    Notes
    -----
    Control characters and white space become one space. Text after 512 characters is
    ignored. Missing titles (None, NaN) and empty titles become rows of zeros, and so
    do titles without a term of a fitted "tfidf". Equal titles count once.

    Differences from the paper and its code:

    - **Rotation after whitening.** ZCA whitening rotates the whitened vectors back to
      the original axes. skclip does not, because cosines and learned linear maps give
      the same results without it, and because columns can then be dropped.
    - **Number of terms.** "tfidf" keeps the most frequent terms only: 20,000 words and
      pairs of words, and 30,000 runs of characters. The limits bound memory.

    References
    ----------
    .. [1] L. Zhang et al., "Are ID embeddings necessary? Whitening pre-trained text
           embeddings for effective sequential recommendation", arXiv:2402.10602.

    Examples
    --------
    >>> from skclip.text import ItemTextEncoder
    >>> titles = {"t1": "green tea", "t2": "black tea", "s1": "steel saw", "x": None}
    >>> vectors = ItemTextEncoder(n_components=2).fit_transform(titles)
    >>> (vectors @ vectors[0] > 0).tolist()  # cosines with "green tea"
    [True, True, False, False]
    """

    missing_: list[Any]
    n_features_out_: int
    mean_: FloatArray | None
    projection_: FloatArray | None

    _parameter_constraints: dict = {
        "encoder": [str, HasMethods(["encode"]), callable],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "whiten": [StrOptions({"pca", "zca", "relaxed", "center"}), None],
        "normalize": ["boolean"],
        "text_columns": [list, tuple, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "cache_dir": [str, Path, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        encoder: Any = "tfidf",
        *,
        n_components: int = 128,
        whiten: Literal["pca", "zca", "relaxed", "center"] | None = "pca",
        normalize: bool = True,
        text_columns: Sequence[str] | None = None,
        batch_size: int = 64,
        cache_dir: PathLike | None = None,
        random_state: RandomState = 0,
    ) -> None:
        self.encoder = encoder
        self.n_components = n_components
        self.whiten = whiten
        self.normalize = normalize
        self.text_columns = text_columns
        self.batch_size = batch_size
        self.cache_dir = cache_dir
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Collection[Any] | Frame, y: object = None) -> Self:
        """Learn terms and directions from the titles of a catalog.

        Parameters
        ----------
        X : sequence of str, dict or data frame, of shape (n_items,)
            One title per item, for example the values of a dict. None and NaN are
            missing titles.
        y : object
            Ignored.

        Returns
        -------
        self : ItemTextEncoder
            The estimator itself, fitted.

        Raises
        ------
        ImportError, TypeError, ValueError
            If the encoder needs an extra that is not installed. If a title is not text,
            or if all titles are missing. If the encoder does not return a row of finite
            numbers for each title.
        """
        fitted, _, _ = self._learned(X)
        return self._adopt(**fitted)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Collection[Any] | Frame, y: object = None) -> FloatArray:
        """Fit to titles and return their vectors. Each title is encoded once.

        Parameters
        ----------
        X : sequence of str, dict or data frame, of shape (n_items,)
            One title per item, as in `fit`.
        y : object
            Ignored.

        Returns
        -------
        vectors : ndarray of shape (n_items, n_features_out), float32
            Vectors of the titles, with zeros for missing titles.
        """
        fitted, raw, of_row = self._learned(X)
        return self._adopt(**fitted)._finished(raw, of_row)

    def transform(self, X: Collection[Any] | Frame) -> FloatArray:
        """Return the vectors of titles, including titles that were not in `fit`.

        Parameters
        ----------
        X : sequence of str, dict or data frame, of shape (n_items,)
            One title per item, as in `fit`.

        Returns
        -------
        vectors : ndarray of shape (n_items, n_features_out), float32
            Vectors of the titles, with zeros for missing titles.
        """
        check_is_fitted(self, "n_features_out_")
        texts, of_row = _distinct(_texts(X, self.text_columns)[1])
        raw = self._raw(texts, vars(self)) if texts else None
        return self._finished(raw, of_row)

    def _learned(self, X):
        """Fitted attributes, rows of the encoder, and the row of each item."""
        keys, texts = _texts(X, self.text_columns)
        missing = [key for key, text in zip(keys, texts, strict=True) if not text]
        texts, of_row = _distinct(texts)
        if not texts:
            raise ValueError(
                f"All {len(of_row)} titles are missing or empty. Pass titles, or leave "
                "item_features=None."
            )
        fitted = {"missing_": missing, "mean_": None, "projection_": None}
        if isinstance(self.encoder, str) and self.encoder == "tfidf":
            fitted |= _fit_tfidf(texts, self.n_components, self.random_state)
        raw = self._raw(texts, fitted)
        known = (raw[raw.any(axis=1)] if raw.any() else raw).astype(np.float64)
        if self.whiten is not None:
            fitted["mean_"] = known.mean(axis=0).astype(np.float32)
        if self.whiten in _POWERS:
            fitted["projection_"] = _directions(known, self.n_components, self.whiten)
        last = raw if fitted["projection_"] is None else fitted["projection_"]
        fitted["n_features_out_"] = fitted["_n_features_out"] = last.shape[1]
        return fitted, raw, of_row

    def _finished(self, raw, of_row):
        """Whiten rows of distinct titles and repeat them per item; -1 means zeros."""
        if raw is None:
            return np.zeros((len(of_row), self.n_features_out_), dtype=np.float32)
        rows = raw if self.mean_ is None else raw - self.mean_
        if self.projection_ is not None:
            rows = rows @ self.projection_
        if self.normalize:
            rows = normalize(rows)
        rows = np.where(raw.any(axis=1)[:, None], rows, 0.0).astype(np.float32)
        return np.concatenate([rows, np.zeros_like(rows[:1])])[of_row]

    def _raw(self, texts, fitted):
        """Rows of the encoder for distinct titles, before whitening."""
        if isinstance(self.encoder, str) and self.encoder == "tfidf":
            return np.asarray(_weights(texts, fitted) @ fitted["components_"].T)
        rows = self._encode(texts) if self.cache_dir is None else self._recall(texts)
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1:
            raise ValueError(
                f"encoder={self.encoder!r:.60} returned rows of {lengths} numbers. "
                "Expected rows of one length for all titles. If the encoder has "
                "changed, give it another cache_id."
            )
        return np.stack(rows)

    def _recall(self, texts):
        """Rows of the encoder, read from the cache if they were computed before."""
        Path(self.cache_dir).mkdir(parents=True, exist_ok=True)
        known_by = self._known_by()
        keys = {text: f"{known_by}\0{text}" for text in texts}
        with FileCache(Path(self.cache_dir, "vectors.sqlite")) as cache:
            kept = {text: cache.get(key) for text, key in keys.items()}
            new = [text for text in texts if kept[text] is None]
            size = self.batch_size * 64  # finished parts are kept if the rest fails
            for start in range(0, len(new), size):
                part = new[start : start + size]
                rows = [row.tobytes() for row in self._encode(part)]
                cache.put({keys[t]: row for t, row in zip(part, rows, strict=True)})
                kept |= zip(part, rows, strict=True)
        return [np.frombuffer(kept[text], dtype=np.float32) for text in texts]

    def _known_by(self):
        """Text that identifies the encoder in another run."""
        if isinstance(self.encoder, str):
            folder = Path(self.encoder)
            files = sorted(folder.rglob("*")) if folder.is_dir() else []
            stats = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files]
            return repr((self.encoder, list(map(str, files)), stats))
        name = getattr(self.encoder, "cache_id", None)
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"cache_dir={str(self.cache_dir)!r} needs an encoder with a cache_id, "
                f"but {self.encoder!r:.60} has none. Set cache_id to a text that you "
                "change when its vectors change, or pass cache_dir=None."
            )
        return name

    def _encode(self, texts):
        """Encode texts, and return a list of rows of finite numbers."""
        encode, size = getattr(self.encoder, "encode", self.encoder), self.batch_size
        if isinstance(self.encoder, str):  # the model batches texts of similar length
            model, size = _sentence_model(self.encoder), len(texts)
            options = {"convert_to_numpy": True, "show_progress_bar": False}
            encode = partial(model.encode, batch_size=self.batch_size, **options)
        rows = []
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            rows += list(_checked_rows(encode(part), part, self.encoder))
        return rows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _texts(X, text_columns):
    """Keys (dict keys or row numbers) and cleaned texts, empty for missing titles."""
    if isinstance(X, (str, bytes)):
        raise TypeError(
            f"titles is a {type(X).__name__}: {X!r:.40}. Expected a sequence of texts. "
            f"Wrap a single one: [{X!r:.40}]."
        )
    values = X if isinstance(X, dict) else dict(enumerate(_values(X, text_columns)))
    return list(values), [_clean(value, key) for key, value in values.items()]


def _values(X, text_columns):
    """Titles of anything but a dict. Several columns are joined."""
    frame = nw.from_native(X, allow_series=True, pass_through=True)
    if isinstance(frame, (nw.DataFrame, nw.LazyFrame)):
        frame = as_frame(X)
        columns = frame.columns if text_columns is None else list(text_columns)
        alone = text_columns is not None or len(columns) == 1
        if not alone or not set(columns) <= set(frame.columns):
            raise ValueError(
                f"text_columns={text_columns!r}, but the frame has the columns "
                f"{frame.columns}. Pass the columns that contain text, such as "
                f"text_columns=[{frame.columns[0]!r}]."
            )
        rows = zip(*(frame.get_column(name).to_list() for name in columns), strict=True)
        cleaned = ([_clean(v, i) for v in row] for i, row in enumerate(rows))
        return [" ".join(filter(None, row)) for row in cleaned]
    if isinstance(frame, nw.Series):
        return frame.to_list()
    if getattr(X, "ndim", 1) != 1:
        raise ValueError(
            f"titles has shape {X.shape}. Expected a sequence with one text per item, "
            "or a data frame with text_columns."
        )
    return X.tolist() if hasattr(X, "tolist") else list(X)


def _clean(value, key):
    if isinstance(value, str):
        return " ".join(_CONTROL.sub(" ", value).split())[:_MOST_CHARACTERS].rstrip()
    if value is None or not is_id(value):
        return ""
    raise TypeError(
        f"The title of {key!r} is a {type(value).__name__}: {value!r:.40}. Expected "
        "text, or None for a missing title."
    )


def _distinct(texts):
    """Sorted distinct texts, and the position of each row's text, -1 for none."""
    found = sorted({text for text in texts if text})
    place = {text: i for i, text in enumerate(found)} | {"": -1}
    return found, np.array([place[text] for text in texts], dtype=np.int64)


def _fit_tfidf(texts, n_components, seed):
    """Terms, weights and directions, as arrays from scikit-learn's objects."""
    terms, idf = {}, {}
    for kind, options in _TERMS.items():
        tfidf = _VECTORIZER(analyzer=kind, min_df=1 + (len(texts) >= 50), **options)
        try:
            tfidf.fit(texts)
        except ValueError:  # no term is left, for example if titles are signs only
            continue
        terms[kind] = tfidf.get_feature_names_out().astype(np.str_)
        idf[kind] = tfidf.idf_.astype(np.float32)
    if not terms:
        raise ValueError(
            f"{len(texts)} titles have no word or part of a word in common, such as "
            f"{texts[0]!r:.40}. Pass another encoder."
        )
    weights = _weights(texts, {"terms_": terms, "idf_": idf})
    svd = TruncatedSVD(min(n_components, *weights.shape), n_iter=7, random_state=seed)
    with np.errstate(invalid="ignore"):  # ratios to a total variance of 0
        components = svd.fit(weights).components_.astype(np.float32)
    return {"terms_": terms, "idf_": idf, "components_": components}


def _weights(texts, fitted):
    """Sublinear TF-IDF, rows of length 1 in each kind of terms."""
    parts = []
    for kind, words in fitted["terms_"].items():
        if len(words) == 0:  # in files of earlier versions
            continue
        tfidf = _VECTORIZER(analyzer=kind, vocabulary=words, **_TERMS[kind])
        tfidf.idf_ = fitted["idf_"][kind]
        parts.append(tfidf.transform(texts))
    return sparse.hstack(parts, format="csr")


def _directions(rows, n_components, whiten):
    """Directions of largest variance (n_raw, n), scaled by `whiten`."""
    if len(rows) == 1:  # PCA needs two rows
        rows = np.repeat(rows, 2, axis=0)
    size = min(n_components, len(rows), rows.shape[1])
    with np.errstate(invalid="ignore"):  # ratios to a total variance of 0
        pca = PCA(size, svd_solver="covariance_eigh").fit(rows)
    variances = pca.explained_variance_
    variances = variances + 1e-6 * max(variances[0], 1e-12)  # to avoid zeros
    return (pca.components_.T / variances ** (_POWERS[whiten] / 2)).astype(np.float32)


@lru_cache(maxsize=2)
def _sentence_model(name):
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"encoder={name!r} is a model of sentence-transformers, which is not "
            "installed. Run: pip install 'skclip[text]'. Or use encoder='tfidf', which "
            "needs no further package."
        ) from error
    return SentenceTransformer(name)


def _checked_rows(rows, texts, encoder):
    rows = np.asarray(rows)
    if rows.ndim != 2 or len(rows) != len(texts) or rows.dtype.kind not in "iuf":
        raise ValueError(
            f"encoder={encoder!r:.60} returned {rows.dtype} of shape {rows.shape} for "
            f"{len(texts)} titles. Expected numbers of shape ({len(texts)}, n)."
        )
    rows = rows.astype(np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(
            f"encoder={encoder!r:.60} returned NaN or infinity for "
            f"{texts[int(np.argmax(bad))]!r:.60}. Expected finite numbers."
        )
    return rows
