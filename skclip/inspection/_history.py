"""TrainingHistoryDisplay: loss and validation score over epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from skclip._inside import recommender_inside, scoring_name_of
from skclip._typing import Estimator, Self
from skclip.inspection._figure import (
    DARK,
    LIGHT,
    AxesLike,
    Display,
    light_grid,
    whole_numbers,
)

_Against: TypeAlias = Literal["epoch", "seconds"]


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingHistoryDisplay(Display):
    """Training loss and validation score over epochs.

    Use it to see whether the model still improves, overfits, or stopped early. Epochs
    of a later ``partial_fit`` continue the curve and have no validation score.

    Parameters
    ----------
    epochs, train_loss, validation_score, seconds : ndarray of shape (n_epochs,)
        Number, mean loss, validation score and duration in seconds of each epoch. The
        score is NaN if there was no validation part.
    score_name : str, default="score"
        Name of the validation score.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Panels: loss, and validation score if there is one.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores by the number of sessions.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import TrainingHistoryDisplay
    >>> X, _ = make_sessions(n_sessions=300, n_items=60, random_state=0)
    >>> rec = CLIPSessionRecommender(
    ...     "gru4rec", max_epochs=3, early_stopping=True, random_state=0
    ... ).fit(X)
    >>> display = TrainingHistoryDisplay.from_estimator(rec)
    >>> display.epochs.tolist(), [ax.get_ylabel() for ax in display.axes_]
    ([1, 2, 3], ['training loss', 'validation mrr@20'])
    """

    epochs: np.ndarray
    train_loss: np.ndarray
    validation_score: np.ndarray
    seconds: np.ndarray
    score_name: str = "score"

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        *,
        ax: AxesLike | None = None,
        against: _Against = "epoch",
    ) -> Self:
        """Plot the training history of a fitted recommender.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            Fitted recommender with ``history_``, or a pipeline or search that ends in
            one.
        ax, against : object
            Parameters of `plot`.

        Returns
        -------
        display : TrainingHistoryDisplay
            Display with the numbers, already drawn.

        Raises
        ------
        TypeError
            The recommender is not trained in epochs.
        NotFittedError
            The recommender is not fitted.
        """
        recommender = recommender_inside(estimator)
        history = getattr(recommender, "history_", None)
        if not history:
            raise TypeError(
                f"{type(recommender).__name__} has no history_, because it is not "
                "trained in epochs. Pass a fitted CLIPSessionRecommender, or a "
                "pipeline or search that ends in one."
            )
        columns = {
            name: np.array([row.get(name, np.nan) for row in history])
            for name in ("epoch", "train_loss", "validation_score", "seconds")
        }
        return cls(
            epochs=columns.pop("epoch"),
            **columns,
            score_name=scoring_name_of(recommender),
        ).plot(ax, against=against)

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the best validation score, the first of equal scores, or None."""
        if np.isnan(self.validation_score).all():
            return None
        return int(self.epochs[np.nanargmax(self.validation_score)])

    def plot(self, ax: AxesLike | None = None, *, against: _Against = "epoch") -> Self:
        """Draw the loss and, below it, the validation score.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            One Axes to divide into the panels, or one Axes per panel. None makes a
            figure.
        against : {"epoch", "seconds"}, default="epoch"
            Horizontal axis: number of the epoch, or training time in seconds.

        Returns
        -------
        display : TrainingHistoryDisplay
            Display with the numbers, already drawn.
        """
        if against not in {"epoch", "seconds"}:
            raise ValueError(f"against={against!r}. Pass 'epoch' or 'seconds'.")
        x = self.epochs if against == "epoch" else np.cumsum(self.seconds)
        n = 1 if self.best_epoch is None else 2
        panels = self._make_panels(ax, [1] * n, figsize=(6.4, 1.2 + 1.9 * n))
        upper, lower = panels[0], panels[-1]
        upper.plot(x, self.train_loss, color=DARK, marker="o", markersize=4)
        upper.set_ylabel("training loss")
        upper.set_title("Training history")
        if n == 2:
            style = {"color": LIGHT, "marker": "s", "linestyle": "--"}
            lower.plot(x, self.validation_score, markersize=4, **style)
            lower.set_ylabel(f"validation {self.score_name}")
            self._mark_best(x, panels)
        lower.set_xlabel("epoch" if against == "epoch" else "training time (seconds)")
        if against == "epoch":
            whole_numbers(lower.xaxis)
        for panel in panels:
            light_grid(panel)
        return self

    def _mark_best(self, x, panels):
        at = int(np.flatnonzero(self.epochs == self.best_epoch)[0])
        score = self.validation_score[at]
        for panel in panels:
            panel.axvline(x[at], color="0.4", linewidth=1, linestyle=":")
        ring = {"marker": "o", "markersize": 11, "linestyle": "none"}
        ring |= {"markerfacecolor": "none", "markeredgecolor": "black"}
        label = f"best: {score:.4f} in epoch {self.best_epoch}"
        panels[-1].plot(x[at], score, label=label, **ring)
        panels[-1].legend(loc="lower right")
