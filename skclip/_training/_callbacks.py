"""Epochs of a fit as scikit-learn's callbacks see them."""

import copy


class FitCallbacks:
    """Tell scikit-learn's callbacks of the epochs of a fit.

    `owner` is the estimator that the user holds, `worker` the one that is trained.
    """

    def __init__(self, owner, worker, X, y):
        self.owner, self.worker, self.data = owner, worker, {"X": X, "y": y}
        self.root = owner._init_callback_context(max_subtasks=None)
        self.root.call_on_fit_task_begin(estimator=owner, **self.data)
        self.epoch = None

    @classmethod
    def of(cls, owner, worker, X, y):
        """None where there are no callbacks, or scikit-learn has none."""
        wanted = hasattr(owner, "_skl_callbacks") or hasattr(
            owner, "_parent_callback_ctx"
        )
        return cls(owner, worker, X, y) if wanted else None

    def begin(self):
        self.epoch = self.root.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.owner, **self.data)

    def end(self):
        return self.epoch.call_on_fit_task_end(
            estimator=self.owner, reconstruction_attributes=self._fitted, **self.data
        )

    def close(self):
        self.root.call_on_fit_task_end(
            estimator=self.owner, reconstruction_attributes=self._fitted, **self.data
        )

    def _fitted(self):
        """Fitted attributes as they stand, on their own."""
        names = set(self.worker._get_param_names())
        state = {k: v for k, v in vars(self.worker).items() if k not in names}
        return state | {"_model": copy.deepcopy(self.worker._model)}
