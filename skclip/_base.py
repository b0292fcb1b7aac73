"""Base class of all estimators: fitted attributes, nested parameters, versions."""

from __future__ import annotations

import copy
import difflib
import sys
from importlib.metadata import version
from typing import Any

import numpy as np

from skclip._sklearn import BaseEstimator
from skclip._typing import Self
from skclip._warnings import warn_user

VERSION: str = version("skclip")


class SessionEstimator(BaseEstimator):
    """Base class of the estimators of skclip.

    `fit` computes everything first and calls `_adopt` last, so that a fit that fails or
    is interrupted changes nothing. `_parts` lists the parameters that accept a name or
    an object, so that ``part__parameter`` also works for a part given by its name. The
    pickled state includes the version of skclip.
    """

    def _adopt(self, X: Any = None, **fitted: Any) -> Self:
        """Set all fitted attributes at once and return the estimator.

        `X` is the argument of `fit`. scikit-learn expects the width of 2-D arrays.
        """
        if getattr(X, "ndim", None) == 2:
            fitted["n_features_in_"] = X.shape[1]
        kept = {k: v for k, v in vars(self).items() if k != "n_features_in_"}
        self.__dict__ = kept | fitted  # one assignment, which no interrupt can split
        return self

    def _parts(self):
        """Return the parts by name: the object for the value of a parameter, or None.

        Parts are the parameters that accept a name or an object.
        """
        return {}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, nested ones as ``part__name``.

        Parameters
        ----------
        deep : bool, default=True
            Whether to list the parameters of parts too. Parts given by name are
            included.

        Returns
        -------
        params : dict
            Values by name.
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, part in self._parts().items():
                if part is not None:
                    nested = part.get_params(deep=True).items()
                    params |= {f"{name}__{key}": value for key, value in nested}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters. A nested key replaces a name by its object first.

        Parts are set before their nested keys, in whatever order you pass them.

        Parameters
        ----------
        **params : dict
            Values by name. Nested names have the form ``part__name``.

        Returns
        -------
        self : object
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no such parameter. The message suggests the nearest name.
        """
        nested = {}
        for key, value in params.items():
            name, separator, rest = key.partition("__")
            if name not in self._get_param_names():
                raise ValueError(self._unknown_parameter(key))
            if separator:
                nested.setdefault(name, {})[rest] = value
            else:
                setattr(self, key, value)
        for name, values in nested.items():
            part = self._parts().get(name)
            part = getattr(self, name) if part is None else part
            if not hasattr(part, "set_params"):
                key = f"{name}__{next(iter(values))}"
                raise ValueError(
                    f"{key} cannot be set, because {name}={getattr(self, name)!r} has "
                    f"no parameters. Set {name} to an object that has some first."
                )
            for key in values:
                if key.partition("__")[0] not in part.get_params(deep=False):
                    raise ValueError(self._unknown_parameter(f"{name}__{key}"))
            setattr(self, name, part.set_params(**values))
        return self

    def _unknown_parameter(self, key):
        names = list(self.get_params())
        part, _, last = key.rpartition("__")
        inside = [n for n in names if n.startswith(f"{part}__")] if part else names
        lasts = {name.rpartition("__")[2]: name for name in reversed(inside)}
        near = difflib.get_close_matches(last, lasts, n=1)
        hint = f" Did you mean {lasts[near[0]]!r}?" if near else ""
        return (
            f"Invalid parameter {key!r} for {type(self).__name__}.{hint} "
            f"{type(self).__name__}().get_params() lists all of them."
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_skclip_version": VERSION}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved_by = state.pop("_skclip_version", "unknown")
        if saved_by != VERSION:
            warn_user(
                f"This {type(self).__name__} was saved by skclip {saved_by} and opened "
                f"by skclip {VERSION}. It may fail or rank differently. Fit it again, "
                "or open it with the version that saved it."
            )
        super().__setstate__(state)


def shows_bars():
    """Whether progress is drawn: in a terminal or a notebook, not in a log."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def plain_number(value):
    """Convert a NumPy number to a Python number, which torch and JSON accept."""
    return value.item() if isinstance(value, np.generic) else value


def with_plain_numbers(part):
    """Return a copy of an object whose parameters are Python numbers, not NumPy's."""
    part = copy.copy(part)
    for name, value in part.get_params(deep=False).items():
        setattr(part, name, plain_number(value))
    return part


def check_finite(numbers):
    """Raise an error if vectors or scores (a tensor) are not finite."""
    if not bool(numbers.isfinite().all()):
        refuse_not_finite()


def refuse_not_finite():
    raise ValueError(
        "The model has vectors or scores that are not finite, so it cannot rank. Fit "
        "it again with a smaller learning_rate or weight_decay, or with a higher "
        "temperature."
    )
