"""Parameters of specs: dataclass fields with scikit-learn's constraints."""

from dataclasses import field
from numbers import Integral, Real
from typing import Any

from skclip._sklearn import Interval

AT_LEAST_1 = Interval(Integral, 1, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
RATE = Interval(Real, 0, 1, closed="left")


def parameter(default: Any, *constraints: Any) -> Any:
    """Return a field with a default. `BackboneSpec` collects the constraints."""
    return field(default=default, metadata={"constraints": list(constraints)})
