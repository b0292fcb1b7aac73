"""Short names for what public functions take and return."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from skclip._data import Sessions

ItemId: TypeAlias = Hashable
"""A raw item id: text, a number, a tuple."""

ItemIds: TypeAlias = NDArray[Any]
"""An array of raw item ids."""

SessionsLike: TypeAlias = Union[
    "Sessions", Sequence[Sequence[Hashable]], Sequence[NDArray[Any]], NDArray[Any]
]
"""Sessions, a list with one list of item ids per session, or a padded array."""

Frame: TypeAlias = Any
"""A data frame or table that narwhals supports: pandas, polars, pyarrow and others."""

Ids: TypeAlias = Sequence[Hashable] | NDArray[Any]
"""One raw id per row or a set of raw ids, as a list or an array."""

IntArray: TypeAlias = NDArray[np.integer[Any]]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
ArrayLike: TypeAlias = Sequence[Any] | NDArray[Any]
RandomState: TypeAlias = int | np.random.RandomState | None
Params: TypeAlias = Mapping[str, Any]
