"""Estimators that know which version of skclip saved them."""

from importlib.metadata import version

from sklearn.base import BaseEstimator

from skclip._validation import warn_user

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
