"""Epochs of a fit as scikit-learn's callbacks see them."""

from skclip._sklearn import CALLBACKS


class FitCallbacks:
    """Tell scikit-learn's callbacks of the epochs of a fit.

    `owner` is the estimator that the user holds. `fitted` is a function of the history
    and the score so far that gives the fitted attributes as they stand; the fit sets it
    before the first epoch. They are made only for callbacks that ask for them.
    """

    def __init__(self, owner, X, y):
        self.owner, self.data, self.fitted = owner, {"X": X, "y": y}, None
        self.root = owner._init_callback_context(max_subtasks=None)
        self.root.call_on_fit_task_begin(estimator=owner, **self.data)
        self.epoch = None

    @classmethod
    def of(cls, owner, X, y):
        """None where there are no callbacks, or scikit-learn has none."""
        wanted = hasattr(owner, CALLBACKS) or hasattr(owner, "_parent_callback_ctx")
        return cls(owner, X, y) if wanted else None

    def begin(self):
        self.epoch = self.root.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.owner, **self.data)

    def end(self, history, score):
        return self.epoch.call_on_fit_task_end(
            estimator=self.owner,
            reconstruction_attributes=lambda: self.fitted(history, score),
            **self.data,
        )

    def close(self, fitted):
        """`fitted` is a function that gives the fitted attributes at the end."""
        self.root.call_on_fit_task_end(
            estimator=self.owner, reconstruction_attributes=fitted, **self.data
        )
