"""Short names for what public functions take and return."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    ForwardRef,
    Literal,
    TypeAlias,
    TypedDict,
    TypeVar,
    Union,
)

import numpy as np
from numpy.typing import NDArray

if sys.version_info >= (3, 11):
    from typing import Self as Self
    from typing import Unpack as Unpack
else:
    from typing_extensions import Self as Self
    from typing_extensions import Unpack as Unpack

if TYPE_CHECKING:
    from skclip._data import Sessions
else:
    # `get_type_hints` evaluates it where it is used, which knows no `Sessions`. It is
    # not imported here, because `_data` imports this file.
    Sessions = ForwardRef("__import__('skclip').Sessions")

ItemId: TypeAlias = Hashable
"""A raw item id: text, a number, a tuple."""

ItemIds: TypeAlias = NDArray[Any]
"""An array of raw item ids."""

Ids: TypeAlias = Collection[Hashable]
"""One raw id per row or a set of raw ids, as a list or an array."""

Lists: TypeAlias = Collection[Collection[Hashable]]
"""A list with one list of ids per session, a column of lists or a padded array."""

SessionsLike: TypeAlias = Union[Sessions, Lists]  # noqa: UP007 (a ForwardRef in 3.10)
"""Sessions, or what they can be made of."""

Frame: TypeAlias = Any
"""A data frame or table that narwhals supports: pandas, polars, pyarrow and others."""

FeaturesLike: TypeAlias = Any
"""ItemFeatures, or a data frame or mapping by item id."""

Estimator: TypeAlias = Any
"""An estimator, or a pipeline or search around one."""

Scoring: TypeAlias = str | Callable[..., Any]
"""Name of a metric, or a function of an estimator, sessions and targets."""

Weights: TypeAlias = Sequence[float] | NDArray[Any] | None
TopK: TypeAlias = tuple[ItemIds, NDArray[np.float32]]
Auto: TypeAlias = Literal["auto"]
Backend: TypeAlias = Literal["pandas", "polars", "pyarrow"]
Backoff: TypeAlias = Literal["popularity"]
Targets: TypeAlias = Literal["next", "remaining"]
Weighting: TypeAlias = Literal["same", "linear", "div", "quadratic", "log"]
IntArray: TypeAlias = NDArray[np.integer[Any]]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
SparseMatrix: TypeAlias = Any
ArrayLike: TypeAlias = Sequence[Any] | NDArray[Any]
RandomState: TypeAlias = int | np.random.RandomState | None
Params: TypeAlias = Mapping[str, Any]


class SimilarOptions(TypedDict, total=False):
    """What `similar_items` takes besides ids, `k` and `return_scores`."""

    allow: Ids | Lists | None
    deny: Ids | Lists | None
    fill_value: object


class TopKOptions(SimilarOptions, total=False):
    """What `predict_topk` takes besides sessions, `k` and `return_scores`."""

    exclude_seen: bool
    boost: Mapping[Any, float] | Sequence[Mapping[Any, float]] | None
    boost_seen: float | None
    max_per_group: int | None
    groups: str | Mapping[Any, Any] | None


Labels: TypeAlias = Any
"""Values by item id: a mapping, or a pandas Series indexed by id."""

PathLike: TypeAlias = str | os.PathLike[str]
Span: TypeAlias = float | timedelta | str
FrameT = TypeVar("FrameT")
