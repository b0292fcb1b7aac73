"""The only file that uses private or unstable names of scikit-learn.

Base classes and decorators come from here too: `_sklearn.pyi` gives them types.
"""

import sys

from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.metaestimators import _BaseComposition as Composition

try:  # experimental in scikit-learn 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Replacement for versions of scikit-learn without callbacks."""

    def with_callbacks(method):
        return method


CALLBACKS = "_skl_callbacks"  # the attribute of an estimator that holds its callbacks

__all__ = [
    "CALLBACKS",
    "BaseEstimator",
    "CallbackSupportMixin",
    "ClassNamePrefixFeaturesOutMixin",
    "Composition",
    "HasMethods",
    "Interval",
    "MetaEstimatorMixin",
    "StrOptions",
    "TransformerMixin",
    "_fit_context",
    "inside_search",
    "on_behalf_of_search",
    "validate_parameter_constraints",
    "with_callbacks",
]


def inside_search():
    """Whether a cross-validation or search of scikit-learn is among the callers."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "_fit_and_score":
            return True
        frame = frame.f_back
    return False


def on_behalf_of_search():
    """Whether a search, or its refit of the best candidate, is among the callers."""
    from sklearn.model_selection._search import BaseSearchCV  # slow to import

    frame = sys._getframe(1)
    while frame is not None:
        is_fit = frame.f_code.co_name == "fit"
        if is_fit and isinstance(frame.f_locals.get("self"), BaseSearchCV):
            return True
        frame = frame.f_back
    return inside_search()
