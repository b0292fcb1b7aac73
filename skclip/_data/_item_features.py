"""Feature vectors of items, by raw id."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse

from skclip._data._id_types import check_own_types, other_type, refuse_other_type
from skclip._data._ids import (
    as_list,
    factorize_list,
    is_id,
    is_missing,
    parts_to_join,
    unmasked,
)
from skclip._data._index import ItemIndex, append_ids
from skclip._data._item_rows import Recipe, refuse_columns_without_numbers
from skclip._typing import FloatArray, Frame, Ids, ItemIds

_HOW_TO_NAME_IDS = (
    "If it holds the item ids, name it: ItemFeatures.from_frame(frame, item={0}). "
    "If not, set the ids as the index, and encode the column: ItemFeatures.from_frame("
    "frame.reset_index(), item=..., transformer=make_column_transformer(...))."
)
_NUMBERS = (Real, np.bool_, Decimal)


class ItemFeatures:
    """Feature vectors of items, aligned by id, for the parameter ``item_features``.

    `from_frame` makes them from the columns of a data frame, and `from_mapping` from a
    mapping. Both accept any transformer of scikit-learn. Objects are immutable: copies
    and clones of an estimator share one matrix.

    Parameters
    ----------
    item_ids : array-like of shape (n_items,)
        Raw ids, each once, in any order.
    vectors : array-like, sparse matrix or data frame of shape (n_items, n_features)
        Finite numbers, kept as a dense array of float32. Pass a row of zeros for an
        item without features, such as one without a title.

    Attributes
    ----------
    item_ids : ndarray of shape (n_items,)
        Raw ids.
    vectors : ndarray of shape (n_items, n_features), float32
        Feature vectors, read-only.
    missing : ndarray
        Ids of the items whose row is zero.
    transformer : object or None
        The fitted transformer of `from_frame` or `from_mapping`.

    Raises
    ------
    ValueError
        If an id occurs twice or is missing, if the shapes do not match, or if a row
        holds NaN or infinity.

    Examples
    --------
    >>> from skclip.features import ItemFeatures
    >>> features = ItemFeatures(["tea", "cup"], [[1.0, 0.0], [0.0, 0.0]])
    >>> features.missing.tolist()
    ['cup']
    >>> features.covering(["saw"]).vectors.shape
    (3, 2)
    """

    item_ids: ItemIds
    vectors: FloatArray
    _recipe = None  # set for features made by a transformer or from a frame

    def __init__(self, item_ids: Ids, vectors: Any) -> None:
        self.item_ids, self._place = _checked_ids(item_ids)
        check_own_types(self._place, "item_ids", portable=False)
        self.vectors = _checked_vectors(vectors, self.item_ids, "vectors")
        self.vectors.flags.writeable = False

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        item: str,
        *,
        columns: Sequence[str] | None = None,
        transformer: Any = None,
    ) -> ItemFeatures:
        """Make features from the columns of a data frame.

        Parameters
        ----------
        frame : data frame
            Table with a row for each item: pandas, polars or pyarrow.
        item : str
            Column of the item ids.
        columns : list of str, default=None
            Columns to use as features. None uses all other columns.
        transformer : transformer of scikit-learn, default=None
            Transformer that turns these columns into numbers, such as
            ``make_column_transformer(...)``. It gets a data frame without the ids, and
            may return an array, a sparse matrix or a data frame. A transformer that is
            not fitted is cloned, and the clone is fitted on these rows. None uses the
            columns as they are, which must hold numbers.

        Returns
        -------
        features : ItemFeatures
            Features with the fitted `transformer`. `encode` uses it for further items.

        Raises
        ------
        ValueError
            If there is no such column, an id occurs twice or is missing, a number is
            missing, or a column holds no numbers and there is no transformer.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn.compose import make_column_transformer
        >>> from sklearn.preprocessing import OneHotEncoder, StandardScaler
        >>> from skclip.features import ItemFeatures
        >>> frame = pd.DataFrame(
        ...     {"id": ["tea", "cup"], "price": [3.0, 5.0], "brand": ["Leaf", "Clay"]}
        ... )
        >>> encoder = make_column_transformer(
        ...     (StandardScaler(), ["price"]),
        ...     (OneHotEncoder(handle_unknown="ignore"), ["brand"]),
        ... )
        >>> features = ItemFeatures.from_frame(frame, "id", transformer=encoder)
        >>> features.vectors.tolist()
        [[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
        >>> new = pd.DataFrame({"id": ["pot"], "price": [6.0], "brand": ["Clay"]})
        >>> features.encode(new).vectors.tolist()
        [[2.0, 1.0, 0.0]]
        """
        recipe, ids, vectors = Recipe.of_frame(frame, item, columns, transformer)
        return _encoded(recipe, ids, vectors, f"frame[{item!r}]")

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[Any, Any], *, transformer: Any = None
    ) -> ItemFeatures:
        """Make features from a mapping of item ids.

        Parameters
        ----------
        mapping : mapping
            Vectors or numbers by item id. With a transformer the values may be anything
            that it reads, such as titles.
        transformer : transformer of scikit-learn, default=None
            Transformer that turns a list of the values into numbers, such as a
            `TfidfVectorizer`, an `ItemTextEncoder`, or a `DictVectorizer` for dicts. As
            in `from_frame`, a clone is fitted unless it is fitted already.

        Returns
        -------
        features : ItemFeatures
            Features with the fitted `transformer`. `encode` uses it for further items.

        Raises
        ------
        TypeError
            If `mapping` is not a mapping.
        ValueError
            If vectors differ in length, or a number is missing.

        Examples
        --------
        >>> from skclip.features import ItemFeatures
        >>> ItemFeatures.from_mapping({"tea": 3.0, "cup": 5.0}).vectors.tolist()
        [[3.0], [5.0]]
        """
        if not isinstance(mapping, Mapping):
            raise TypeError(
                f"mapping is a {type(mapping).__name__}. Expected a mapping of item "
                "ids to vectors, such as a dict."
            )
        recipe, ids, vectors = Recipe.of_mapping(mapping, transformer)
        return _encoded(recipe, ids, vectors, "mapping")

    @property
    def transformer(self) -> Any:
        """The fitted transformer that made the vectors, or None."""
        return None if self._recipe is None else self._recipe.transformer

    def encode(self, rows: Frame | Mapping[Any, Any]) -> ItemFeatures:
        """Make features of further or changed items in the same way.

        Parameters
        ----------
        rows : data frame or mapping
            Rows of these items, in the form that you passed to `from_frame` or
            `from_mapping`, with the same columns. The fitted transformer transforms
            them.

        Returns
        -------
        features : ItemFeatures
            Features of these items only.

        Raises
        ------
        ValueError
            If these features were made from arrays or come from a file of
            `skclip.save`, which hold no transformer. Also if `rows` lacks a column.
        """
        if self._recipe is None:
            raise ValueError(
                "These features hold no transformer, because they were made by "
                "ItemFeatures(item_ids, vectors) or loaded from a file of skclip.save. "
                "Encode the rows with the transformer that you used, and pass "
                "ItemFeatures(item_ids, transformer.transform(rows))."
            )
        ids, vectors = self._recipe.encode(rows)
        of_frame = self._recipe.item is not None
        ids_name = f"frame[{self._recipe.item!r}]" if of_frame else "mapping"
        return _encoded(self._recipe, ids, vectors, ids_name)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the vectors: (n_items, n_features)."""
        return self.vectors.shape

    @property
    def missing(self) -> ItemIds:
        """Ids of the items whose row is zero."""
        return self.item_ids[~self.vectors.any(axis=1)]

    def rows_of(self, item_ids: ItemIds) -> FloatArray:
        """Return the vectors of some items.

        Parameters
        ----------
        item_ids : ndarray of shape (n,)
            Raw ids.

        Returns
        -------
        vectors : ndarray of shape (n, n_features), float32
            Vectors in the order of `item_ids`.

        Raises
        ------
        ValueError
            If an id is not among the features.
        """
        return rows_of_items(self, item_ids, "item_features")

    def concat(*parts: ItemFeatures | Sequence[ItemFeatures]) -> ItemFeatures:
        """Join features of different items, such as known and new ones.

        Parameters
        ----------
        *parts : ItemFeatures, or one list of them
            Features of the same encoder, so that their columns agree. No id may occur
            in two of them.

        Returns
        -------
        features : ItemFeatures
            Rows of all parts, in the given order.

        Examples
        --------
        >>> from skclip.features import ItemFeatures
        >>> known, new = ItemFeatures(["tea"], [[1.0]]), ItemFeatures(["saw"], [[2.0]])
        >>> ItemFeatures.concat([known, new]).item_ids.tolist()
        ['tea', 'saw']
        >>> known.concat(new).item_ids.tolist()
        ['tea', 'saw']
        """
        parts = parts_to_join(parts, ItemFeatures)
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) != 1:
            raise ValueError(
                f"parts have {widths} columns. Join features of the same encoder only."
            )
        ids = parts[0].item_ids
        for part in parts[1:]:
            ids = append_ids(ids, part.item_ids)
        features = ItemFeatures(ids, np.concatenate([part.vectors for part in parts]))
        return _with_recipe_of(features, *parts)

    def covering(self, item_ids: Ids) -> ItemFeatures:
        """Return features that also have rows for these items, with zeros for new ones.

        Parameters
        ----------
        item_ids : array-like of shape (n,)
            Raw ids, each once.

        Returns
        -------
        features : ItemFeatures
            The rows of these features, followed by new ones.
        """
        ids, _ = _checked_ids(item_ids)
        new = ids[self._place.codes_of(ids) == 0]
        refuse_other_type(new, self._place, "item_ids")
        zeros = np.zeros((len(new), self.vectors.shape[1]), dtype=np.float32)
        features = ItemFeatures(
            append_ids(self.item_ids, new), np.concatenate([self.vectors, zeros])
        )
        return _with_recipe_of(features, self)

    def known_ids(self) -> ItemIds:
        """Return the ids of the items whose row is not zero, in order.

        Returns
        -------
        item_ids : ndarray
            Raw ids.
        """
        return self.item_ids[self.vectors.any(axis=1)]

    @functools.cached_property
    def _digest(self):
        digest = hashlib.sha256(self.vectors.tobytes())
        digest.update(repr(self.item_ids.tolist()).encode())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.item_ids)

    def __repr__(self) -> str:  # identifies the content, for checkpoints
        n_items, n_features = self.shape
        return f"ItemFeatures({n_items} x {n_features}, {self._digest})"

    def __copy__(self) -> ItemFeatures:
        return self

    def __deepcopy__(self, memo: Any) -> ItemFeatures:
        return self

    def __reduce__(self) -> Any:
        made = type(self), (self.item_ids, self.vectors)
        return made if self._recipe is None else (*made, {"_recipe": self._recipe})


def _with_recipe_of(features, *parts):
    """Return the features with the recipe of a part, to encode further rows."""
    recipes = [part._recipe for part in parts if part._recipe is not None]
    features._recipe = recipes[0] if recipes else None
    return features


def updated_features(features, new):
    """`ItemFeatures` in which rows of `new` replace old ones or come after them."""
    codes = features._place.codes_of(new.item_ids)
    vectors, known = features.vectors.copy(), codes > 0
    vectors[codes[known] - 1] = new.vectors[known]
    ids = append_ids(features.item_ids, new.item_ids[~known])
    vectors = np.concatenate([vectors, new.vectors[~known]])
    return _with_recipe_of(ItemFeatures(ids, vectors), features, new)


def rows_of_items(features, item_ids, name):
    """Vectors of some items, see `ItemFeatures.rows_of`. Messages use `name`."""
    codes = features._place.codes_of(item_ids)
    if (codes == 0).any():
        lacking = item_ids[codes == 0]
        raise ValueError(
            f"{name} has no row for {len(lacking)} of {len(codes)} items of the "
            f"sessions, such as {lacking.tolist()[0]!r:.60}. "
            + _how_to_add_rows(features, lacking)
        )
    return features.vectors[codes - 1]


def _how_to_add_rows(features, lacking):
    own = features.item_ids
    if own.dtype.kind == "i" and np.array_equal(own, np.arange(len(own))):
        return (
            "Its ids are row numbers from 0. If it is a data frame, set the item ids "
            "as its index, or name their column: ItemFeatures.from_frame(frame, "
            "item=...)."
        )
    return other_type(lacking, features._place, where="which has features") or (
        "Join features of known and new items with ItemFeatures.concat([known, new]). "
        "Use covering(item_ids) to add rows of zeros for items without features."
    )


def as_item_features(features, name="item_features"):
    """Convert what a caller passes as item features; None stays None.

    `name` is the name of the parameter, for messages.

    Raises
    ------
    TypeError
        If it is neither `ItemFeatures`, a data frame by item id, nor a mapping.
    """
    if features is None or isinstance(features, ItemFeatures):
        return features
    if isinstance(features, Mapping):
        vectors = _one_column(list(features.values()))
        return _named_features(list(features), vectors, name, name)
    if hasattr(features, "index") and hasattr(features, "columns"):  # pandas
        if features.columns.is_unique:
            refuse_columns_without_numbers(features, name, _HOW_TO_NAME_IDS)
        return _named_features(features.index.tolist(), features, f"{name}.index", name)
    shape = getattr(features, "shape", None)
    what = f"{type(features).__name__}" + (f" of shape {shape}" if shape else "")
    raise TypeError(
        f"{name} is a {what}. Expected skclip.features.ItemFeatures. Use "
        "ItemFeatures.from_frame(frame, item=...) for a data frame with a column of "
        "ids, or ItemFeatures(item_ids, vectors) for arrays. A pandas data frame with "
        "the item ids as its index works too, and so does a mapping of ids to vectors."
    )


def _encoded(recipe, item_ids, vectors, ids_name):
    """`ItemFeatures` from the result of a recipe."""
    if recipe.transformer is None and recipe.item is None:
        vectors = _one_column(vectors)
    features = _named_features(item_ids, vectors, ids_name, recipe.source)
    features._recipe = recipe
    return features


def _one_column(values):
    """Return plain numbers as rows of one feature, and anything else unchanged."""
    if values and all(isinstance(value, _NUMBERS) for value in values):
        return [[value] for value in values]
    return values


def _named_features(item_ids, vectors, ids_name, name):
    """`ItemFeatures` from the value of a parameter; errors use its name."""
    ids, _ = _checked_ids(item_ids, ids_name)
    return ItemFeatures(item_ids, _checked_vectors(vectors, ids, name))


def _as_matrix(vectors, name):
    """Return a sparse matrix, a data frame or objects as an array."""
    if sparse.issparse(vectors):
        return vectors.toarray()
    vectors = unmasked(vectors, name)
    if vectors.dtype != object:
        return vectors
    values = vectors.ravel().tolist()  # columns of several types, or missing values
    if not all(is_missing(v) or isinstance(v, _NUMBERS) for v in values):
        return vectors
    values = [np.nan if is_missing(value) else value for value in values]
    return np.array(values, dtype=np.float64).reshape(vectors.shape)


def _checked_vectors(vectors, item_ids, name):
    """Return a new array of float32 with one row for each id."""
    try:
        vectors = _as_matrix(vectors, name)
    except ValueError as error:
        if np.ma.is_masked(vectors):
            raise
        raise ValueError(
            f"The rows of {name} have different lengths. Pass the same number of "
            "features for each id."
        ) from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "buif":
        raise ValueError(
            f"{name} has shape {vectors.shape} and type {vectors.dtype}. Expected "
            "numbers of shape (n_items, n_features), one row for each id."
        )
    if len(vectors) != len(item_ids):
        raise ValueError(
            f"{name} has {len(vectors)} rows for {len(item_ids)} item_ids. Pass one "
            "row for each id."
        )
    if vectors.shape[1] == 0:
        raise ValueError(f"{name} has no columns. Pass at least one feature.")
    with np.errstate(over="ignore"):
        vectors = np.array(vectors, dtype=np.float32, order="C")
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} rows of {name} hold NaN or infinity, such as that of "
            f"{item_ids.tolist()[int(np.argmax(bad))]!r}. Fill single missing values, "
            "and add a column that marks them, for instance by scikit-learn's "
            "SimpleImputer(add_indicator=True). Pass a row of zeros for an item "
            "without any features."
        )
    return vectors


def _checked_ids(item_ids, name="item_ids"):
    values = as_list(item_ids, name, ordered=True)
    for i, value in enumerate(values):
        if isinstance(value, list) or not is_id(value):
            raise ValueError(
                f"{name}[{i}] is {value!r:.40}. Expected an item id, such as a "
                "string or a number."
            )
    vocabulary, codes = factorize_list(values)
    if len(vocabulary) < len(values):
        twice = vocabulary[np.bincount(codes) > 1].tolist()
        raise ValueError(
            f"{name} has {len(twice)} ids more than once, such as {twice[0]!r}. Pass "
            "each item once: drop duplicates, or average their vectors."
        )
    ids = vocabulary[codes]
    return ids, ItemIndex(ids)
