"""Vectors of items, by raw id."""

import functools
import hashlib
from collections.abc import Mapping

import numpy as np

from skclip._data._id_types import check_own_types, other_type, refuse_other_type
from skclip._data._ids import as_list, factorize_list, is_id, parts_to_join, unmasked
from skclip._data._index import ItemIndex, append_ids


class ItemFeatures:
    """Vectors of items, aligned by id; what ``item_features=`` takes.

    Immutable: copies and clones of an estimator share one matrix.

    Parameters
    ----------
    item_ids : array-like of shape (n_items,)
        Raw ids, each once, in any order.
    vectors : array-like of shape (n_items, n_features)
        Finite numbers, kept as float32. A row of zeros stands for an item of which
        nothing is known, such as one without a title.

    Attributes
    ----------
    item_ids : ndarray of shape (n_items,)
    vectors : ndarray of shape (n_items, n_features), float32
        Read-only.
    missing : ndarray
        Ids whose row is zero.

    Raises
    ------
    ValueError
        An id stands twice or is missing, the shapes do not match, or a row holds NaN
        or infinity.

    Examples
    --------
    >>> from skclip.features import ItemFeatures
    >>> features = ItemFeatures(["tea", "cup"], [[1.0, 0.0], [0.0, 0.0]])
    >>> features.missing.tolist()
    ['cup']
    >>> features.covering(["saw"]).vectors.shape
    (3, 2)
    """

    def __init__(self, item_ids, vectors):
        self.item_ids, self._place = _checked_ids(item_ids)
        check_own_types(self._place, "item_ids", portable=False)
        self.vectors = _checked_vectors(vectors, self.item_ids, "vectors")
        self.vectors.flags.writeable = False

    @property
    def shape(self):
        """Shape of the vectors: (n_items, n_features)."""
        return self.vectors.shape

    @property
    def missing(self):
        """Ids whose row is zero."""
        return self.item_ids[~self.vectors.any(axis=1)]

    def rows_of(self, item_ids):
        """Return the vectors of some items.

        Parameters
        ----------
        item_ids : ndarray of shape (n,)
            Raw ids.

        Returns
        -------
        vectors : ndarray of shape (n, n_features), float32
            In the order of `item_ids`.

        Raises
        ------
        ValueError
            An id is not among the features.
        """
        return rows_of_items(self, item_ids, "item_features")

    def concat(*parts):
        """Join features of different items, such as known and new ones.

        Parameters
        ----------
        *parts : ItemFeatures, or one list of them
            Of one encoder, so that their columns mean the same; no id twice.

        Returns
        -------
        features : ItemFeatures
            Rows of all parts, in the order given.

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
                f"parts have {widths} columns. Join features of one encoder only."
            )
        ids = parts[0].item_ids
        for part in parts[1:]:
            ids = append_ids(ids, part.item_ids)
        return ItemFeatures(ids, np.concatenate([part.vectors for part in parts]))

    def covering(self, item_ids):
        """Return features that also have rows for these items, zeros where new.

        Parameters
        ----------
        item_ids : array-like of shape (n,)
            Raw ids, each once.

        Returns
        -------
        features : ItemFeatures
            These rows first, then the new ones.
        """
        ids, _ = _checked_ids(item_ids)
        new = ids[self._place.codes_of(ids) == 0]
        refuse_other_type(new, self._place, "item_ids")
        zeros = np.zeros((len(new), self.vectors.shape[1]), dtype=np.float32)
        return ItemFeatures(
            append_ids(self.item_ids, new), np.concatenate([self.vectors, zeros])
        )

    def known_ids(self):
        """Return the ids whose row is not zero, in order.

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

    def __len__(self):
        return len(self.item_ids)

    def __repr__(self):  # names the content: checkpoints know a run by it
        n_items, n_features = self.shape
        return f"ItemFeatures({n_items} x {n_features}, {self._digest})"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return type(self), (self.item_ids, self.vectors)


def rows_of_items(features, item_ids, name):
    """Vectors of some items, as `ItemFeatures.rows_of`; `name` is for the message."""
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
            "Its ids are the numbers of the rows, from 0. If it is a data frame, set "
            "the item ids as its index."
        )
    return other_type(lacking, features._place, where="which has features") or (
        "Join features of known and new items by ItemFeatures.concat([known, new]); "
        "covering(item_ids) adds rows of zeros for items that have no title."
    )


def as_item_features(features, name="item_features"):
    """What a caller passes for features of items; None stays None.

    `name` is that of the parameter, for messages.

    Raises
    ------
    TypeError
        It is neither `ItemFeatures`, a data frame by item id, nor a mapping.
    """
    if features is None or isinstance(features, ItemFeatures):
        return features
    if isinstance(features, Mapping):
        return _named_features(list(features), list(features.values()), name, name)
    if hasattr(features, "index") and hasattr(features, "columns"):  # pandas
        ids, vectors = features.index.tolist(), features.to_numpy()
        return _named_features(ids, vectors, f"{name}.index", name)
    shape = getattr(features, "shape", None)
    what = f"{type(features).__name__}" + (f" of shape {shape}" if shape else "")
    raise TypeError(
        f"{name} is a {what}. Expected skclip.features.ItemFeatures, which "
        "knows whose each row is: ItemFeatures(item_ids, vectors). A pandas data frame "
        "with the item ids as its index will do, or a mapping of ids to vectors."
    )


def _named_features(item_ids, vectors, ids_name, name):
    """`ItemFeatures` of what a parameter holds, refused under its name."""
    ids, _ = _checked_ids(item_ids, ids_name)
    return ItemFeatures(item_ids, _checked_vectors(vectors, ids, name))


def _checked_vectors(vectors, item_ids, name):
    """A new array, float32, of one row for each id."""
    try:
        vectors = unmasked(vectors, name)
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
        raise ValueError(f"{name} has no column. Pass at least one feature.")
    with np.errstate(over="ignore"):
        vectors = np.array(vectors, dtype=np.float32, order="C")
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} rows of {name} hold NaN or infinity, such as that of "
            f"{item_ids.tolist()[int(np.argmax(bad))]!r}. Pass a row of zeros for an "
            "item of which nothing is known. Fill single missing values, and add a "
            "column that says which are missing."
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
