"""Rows of items, in a data frame or a mapping, as numbers by a transformer."""

from collections.abc import Mapping
from dataclasses import dataclass

import narwhals.stable.v2 as nw
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skclip._data._frames import as_frame, check_columns

_HOW_TO_ENCODE = (
    "Leave it out of columns=[...], or pass a transformer of scikit-learn: "
    "transformer=make_column_transformer((OneHotEncoder(handle_unknown='ignore'), "
    "[{0}]), remainder='passthrough'), with a step for each such column."
)


@dataclass(frozen=True)
class Recipe:
    """How rows of items became numbers, so that further rows become the same ones.

    `transformer` is fitted, or None where columns are numbers as they are. `item` is
    the column of the ids and `columns` are those that were read; both are None where
    the rows were a mapping.
    """

    transformer: object
    item: str = None
    columns: tuple = None

    @classmethod
    def of_frame(cls, frame, item, columns, transformer):
        """The recipe for a frame and later ones, and what it makes of this one."""
        frame = _as_frame(frame, item)
        if isinstance(columns, str):
            raise TypeError(
                f"columns={columns!r} is one name. Pass a list: [{columns!r}]."
            )
        if columns is None:
            columns = [name for name in frame.columns if name != item]
        if len(columns) == 0:
            raise ValueError(
                f"frame has no column to take as a feature beside {item!r}. Pass at "
                "least one, in columns=[...]."
            )
        recipe = cls(_checked(transformer), item, tuple(columns))
        return recipe._fitted(*recipe._read(frame))

    @classmethod
    def of_mapping(cls, mapping, transformer):
        """The same for a mapping of ids to what the transformer reads."""
        recipe = cls(_checked(transformer))
        return recipe._fitted(*recipe._read(mapping))

    def encode(self, rows):
        """Ids and numbers of further rows."""
        return self._applied(*self._read(rows))

    def _read(self, rows):
        """Ids of rows, and what the transformer is given."""
        if self.item is None:
            if not isinstance(rows, Mapping):
                raise TypeError(
                    f"rows is a {type(rows).__name__}. The features were made from a "
                    "mapping, so pass a mapping of item ids to values of that kind."
                )
            return list(rows), list(rows.values())
        frame = _as_frame(rows, self.item)
        for name in self.columns:
            check_columns(frame, what="frame", columns=name)
        ids = frame.get_column(self.item).to_list()
        return ids, frame.select(self.columns)

    def _fitted(self, ids, rows):
        """The recipe with a fitted transformer; ids and numbers of the rows."""
        if self.transformer is None:
            return self, *self._applied(ids, rows)
        try:
            check_is_fitted(self.transformer)
        except NotFittedError:
            transformer = clone(self.transformer)
            # fit_transform is what scikit-learn's own Pipeline calls, too
            vectors = transformer.fit_transform(_native(rows))
            return Recipe(transformer, self.item, self.columns), ids, vectors
        return self, *self._applied(ids, rows)

    def _applied(self, ids, rows):
        if self.transformer is not None:
            return ids, self.transformer.transform(_native(rows))
        if isinstance(rows, nw.DataFrame):
            refuse_columns_without_numbers(rows, "frame", _HOW_TO_ENCODE)
            rows = rows.to_numpy()
        return ids, rows

    @property
    def source(self):
        """What the numbers are, for messages."""
        if self.transformer is not None:
            return f"the output of {type(self.transformer).__name__}"
        return "mapping" if self.item is None else "frame"


def _checked(transformer):
    """A transformer, or None; refuses a class and what cannot transform."""
    is_class = isinstance(transformer, type)
    if transformer is None or (hasattr(transformer, "transform") and not is_class):
        return transformer
    raise TypeError(
        f"transformer is {transformer!r:.60}. Expected a transformer of scikit-learn, "
        "such as StandardScaler() or make_column_transformer(...)."
    )


def _as_frame(frame, item):
    frame = as_frame(frame, "frame", "Pass arrays by ItemFeatures(item_ids, vectors).")
    index = getattr(frame.to_native(), "index", None)
    if item not in frame.columns and item == getattr(index, "name", None) is not None:
        raise ValueError(
            f"frame has no column {item!r}, but an index of that name. Pass "
            "frame.reset_index(), which makes it a column."
        )
    check_columns(frame, what="frame", item=item)
    return frame


def _native(rows):
    """What a transformer is given: a frame of its library, or a list.

    Not every version of scikit-learn selects columns of pyarrow tables, and none has to
    where pandas or polars can hold them.
    """
    if not isinstance(rows, nw.DataFrame):
        return rows
    if rows.implementation.is_pyarrow():
        try:
            return rows.to_pandas()
        except ModuleNotFoundError:
            return rows.to_polars()
    return rows.to_native()


def refuse_columns_without_numbers(frame, what, how):
    """Refuse text, dates and the like; `how` says what to do about a column {0}."""
    for name, dtype in nw.from_native(frame).schema.items():
        # objects may be numbers, as where a frame library keeps gaps between them
        if not (dtype.is_numeric() or dtype in (nw.Boolean, nw.Object)):
            raise ValueError(
                f"Column {name!r} of {what} holds no numbers ({dtype}), and features "
                f"are numbers. {how.format(repr(name))}"
            )
