"""What every estimator shares."""

from importlib.metadata import version

import torch
from sklearn.base import BaseEstimator

from skclip._sklearn import warn_user

VERSION = version("skclip")


class StampedEstimator(BaseEstimator):
    """BaseEstimator whose state carries the version of skclip."""

    def __getstate__(self):
        return super().__getstate__() | {"_skclip_version": VERSION}

    def __setstate__(self, state):
        state = dict(state)
        saved_by = state.pop("_skclip_version", "unknown")
        if saved_by != VERSION:
            warn_user(
                f"This {type(self).__name__} was saved by skclip {saved_by}, and is "
                f"opened by {VERSION}: it may fail or rank differently. Fit it again, "
                "or open it with the version that saved it."
            )
        super().__setstate__(state)


def check_finite(numbers):
    """Refuse to rank by vectors or scores that are not finite."""
    if not bool(torch.isfinite(numbers).all()):
        refuse_not_finite()


def refuse_not_finite():
    raise ValueError(
        "The model has vectors or scores that are not finite, so there is no "
        "ranking. Fit it again with a smaller learning_rate."
    )
