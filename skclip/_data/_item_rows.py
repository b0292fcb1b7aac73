"""Convert rows of items, in a data frame or a mapping, to numbers."""

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
    """The conversion of rows of items to numbers, for use on further rows.

    `transformer` is fitted, or None if the columns are used as they are. `item` is the
    column of the ids, and `columns` are the columns that were read. Both are None for a
    mapping.
    """

    transformer: object
    item: str = None
    columns: tuple = None

    @classmethod
    def of_frame(cls, frame, item, columns, transformer):
        """Return the recipe for a frame, and the ids and numbers of its rows."""
        frame = _as_frame(frame, item)
        if isinstance(columns, str):
            raise TypeError(
                f"columns={columns!r} is one name. Pass a list: [{columns!r}]."
            )
        if columns is None:
            columns = [name for name in frame.columns if name != item]
        if len(columns) == 0:
            raise ValueError(
                f"frame has no column besides {item!r} to use as a feature. Pass at "
                "least one, in columns=[...]."
            )
        recipe = cls(_checked(transformer), item, tuple(columns))
        return recipe._fitted(*recipe._read(frame))

    @classmethod
    def of_mapping(cls, mapping, transformer):
        """The same for a mapping of ids to values that the transformer reads."""
        recipe = cls(_checked(transformer))
        return recipe._fitted(*recipe._read(mapping))

    def encode(self, rows):
        """Ids and numbers of further rows."""
        return self._applied(*self._read(rows))

    def _read(self, rows):
        """Ids of rows, and the input of the transformer."""
        if self.item is None:
            if not isinstance(rows, Mapping):
                raise TypeError(
                    f"rows is a {type(rows).__name__}. The features were made from a "
                    "mapping. Pass a mapping of item ids to values of the same kind."
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
        try:  # a pipeline checks only its last step, which may need no fit
            check_is_fitted(self.transformer)
            return self, *self._applied(ids, rows)
        except NotFittedError:
            transformer = clone(self.transformer)
            vectors = transformer.fit_transform(_native(rows))
        return Recipe(transformer, self.item, self.columns), ids, vectors

    def _applied(self, ids, rows):
        if self.transformer is not None:
            return ids, self.transformer.transform(_native(rows))
        if isinstance(rows, nw.DataFrame):
            refuse_columns_without_numbers(rows, "frame", _HOW_TO_ENCODE)
            rows = rows.to_numpy()
        return ids, rows

    @property
    def source(self):
        """Description of the source of the numbers, for messages."""
        if self.transformer is not None:
            return f"the output of {type(self.transformer).__name__}"
        return "mapping" if self.item is None else "frame"


def _checked(transformer):
    """Return a transformer or None; refuse a class and objects without transform."""
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
            "frame.reset_index(), which turns the index into a column."
        )
    check_columns(frame, what="frame", item=item)
    return frame


def _native(rows):
    """Return the input of a transformer: a frame of its library, or a list.

    Some versions of scikit-learn cannot select columns of pyarrow tables, so these
    become frames of pandas or polars where possible.
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
    """Refuse text, dates and the like. `how` is the advice for a column {0}."""
    for name, dtype in nw.from_native(frame).schema.items():
        # objects may be numbers, if a library keeps missing values between them
        if not (dtype.is_numeric() or dtype in (nw.Boolean, nw.Object)):
            raise ValueError(
                f"Column {name!r} of {what} holds no numbers but {dtype}, and features "
                f"are numbers. {how.format(repr(name))}"
            )
