"""The one place that touches names scikit-learn does not promise to keep."""

from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

__all__ = ["HasMethods", "Interval", "Options", "StrOptions", "_fit_context", "accept_ragged"]


def accept_ragged(estimator, X):
    """Note the width of a 2-D array as scikit-learn asks; sessions have none."""
    if getattr(X, "ndim", None) == 2:
        estimator.n_features_in_ = X.shape[1]
    elif hasattr(estimator, "n_features_in_"):
        del estimator.n_features_in_
