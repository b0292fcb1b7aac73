"""Report the epochs of a fit to the callbacks of scikit-learn."""

from skclip._sklearn import CALLBACKS


class FitCallbacks:
    """Report the epochs of a fit to the callbacks of scikit-learn.

    `owner` is the user's estimator. `fitted` is a function of the history and the
    score so far that returns the present fitted attributes. The fit sets it before the
    first epoch. It is called only for callbacks that need the attributes.
    """

    def __init__(self, owner, X, y):
        self.owner, self.data, self.fitted = owner, {"X": X, "y": y}, None
        self.root = owner._init_callback_context(max_subtasks=None)
        self.root.call_on_fit_task_begin(estimator=owner, **self.data)
        self.epoch = None

    @classmethod
    def of(cls, owner, X, y):
        """Return None without callbacks, or if scikit-learn does not support them."""
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
        """End the fit. `fitted` is a function that returns the final attributes."""
        self.root.call_on_fit_task_end(
            estimator=self.owner, reconstruction_attributes=fitted, **self.data
        )
