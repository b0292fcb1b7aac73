"""Epochs of a fit as scikit-learn's callbacks see them."""


class FitCallbacks:
    """Tell scikit-learn's callbacks of the epochs of a fit.

    `owner` is the estimator that the user holds. `fitted` is a function that gives the
    fitted attributes as they stand; the fit sets it before the first epoch.
    """

    def __init__(self, owner, X, y):
        self.owner, self.data, self.fitted = owner, {"X": X, "y": y}, dict
        self.root = owner._init_callback_context(max_subtasks=None)
        self.root.call_on_fit_task_begin(estimator=owner, **self.data)
        self.epoch = None

    @classmethod
    def of(cls, owner, X, y):
        """None where there are no callbacks, or scikit-learn has none."""
        wanted = hasattr(owner, "_skl_callbacks") or hasattr(
            owner, "_parent_callback_ctx"
        )
        return cls(owner, X, y) if wanted else None

    def begin(self):
        self.epoch = self.root.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.owner, **self.data)

    def end(self):
        return self.epoch.call_on_fit_task_end(
            estimator=self.owner, reconstruction_attributes=self.fitted, **self.data
        )

    def close(self):
        self.root.call_on_fit_task_end(
            estimator=self.owner, reconstruction_attributes=self.fitted, **self.data
        )
