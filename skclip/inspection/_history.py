"""TrainingHistoryDisplay: loss and validation score over epochs."""

import numpy as np

from skclip._inside import recommender_inside, scoring_name_of
from skclip.inspection._figure import (
    DARK,
    LIGHT,
    light_grid,
    make_panels,
    whole_numbers,
)


class TrainingHistoryDisplay:
    """Training loss and validation score over epochs.

    Is it still learning, has it begun to overfit, did early stopping cut it off? Epochs
    of a later ``partial_fit`` go on in the same curve; they have no validation score.

    Parameters
    ----------
    epochs : ndarray of shape (n_epochs,)
        Numbers of the epochs.
    train_loss : ndarray of shape (n_epochs,)
        Mean loss of an epoch.
    validation_score : ndarray of shape (n_epochs,)
        NaN where there was no validation part.
    seconds : ndarray of shape (n_epochs,)
        Duration of each epoch.
    score_name : str
        What the validation score is.

    Attributes
    ----------
    best_epoch : int or None
        Epoch of the best validation score, the first of equal ones.
    ax_ : matplotlib Axes
        The Axes that was given, or the upper panel.
    axes_ : list of matplotlib Axes
        The panels: loss and, if there is one, validation score.
    figure_ : matplotlib Figure

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores over the number of sessions.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import TrainingHistoryDisplay
    >>> X, _ = make_sessions(n_sessions=300, n_items=60, random_state=0)
    >>> rec = CLIPSessionRecommender("gru4rec", max_epochs=3, random_state=0).fit(X)
    >>> display = TrainingHistoryDisplay.from_estimator(rec)
    >>> display.epochs.tolist(), [ax.get_ylabel() for ax in display.axes_]
    ([1, 2, 3], ['training loss', 'validation mrr@20'])
    """

    def __init__(
        self, *, epochs, train_loss, validation_score, seconds, score_name="score"
    ):
        self.epochs = epochs
        self.train_loss = train_loss
        self.validation_score = validation_score
        self.seconds = seconds
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, against="epoch"):
        """Read the history of a fitted recommender and plot it.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            With ``history_``.
        ax : matplotlib Axes, sequence of Axes or None, default=None
            See `plot`.
        against : {"epoch", "seconds"}, default="epoch"
            See `plot`.

        Returns
        -------
        display : TrainingHistoryDisplay
            With the numbers, drawn.

        Raises
        ------
        TypeError
            The recommender is not trained in epochs.
        NotFittedError
            It is not fitted.
        """
        recommender = recommender_inside(estimator)
        history = getattr(recommender, "history_", None)
        if not history:
            raise TypeError(
                f"{type(recommender).__name__} has no history_: it is not trained in "
                "epochs. Pass a fitted CLIPSessionRecommender, or what holds one."
            )

        def column(name):
            return np.array([row.get(name, np.nan) for row in history])

        display = cls(
            epochs=column("epoch"),
            train_loss=column("train_loss"),
            validation_score=column("validation_score"),
            seconds=column("seconds"),
            score_name=scoring_name_of(recommender),
        )
        return display.plot(ax, against=against)

    @property
    def best_epoch(self):
        """Epoch of the best validation score, or None without one."""
        if np.isnan(self.validation_score).all():
            return None
        return int(self.epochs[np.nanargmax(self.validation_score)])

    def plot(self, ax=None, *, against="epoch"):
        """Draw the loss and, below it, the validation score.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw: one Axes is divided into the panels, several take one each.
            None makes a figure.
        against : {"epoch", "seconds"}, default="epoch"
            The horizontal axis: number of the epoch, or seconds since the first began.

        Returns
        -------
        display : TrainingHistoryDisplay
            With the numbers, drawn.
        """
        if against not in {"epoch", "seconds"}:
            raise ValueError(f"against={against!r}. Pass 'epoch' or 'seconds'.")
        x = self.epochs if against == "epoch" else np.cumsum(self.seconds)
        best, n = self.best_epoch, 1 if self.best_epoch is None else 2
        self.ax_, self.axes_ = make_panels(
            ax, [1] * n, type(self).__name__, figsize=(6.4, 1.2 + 1.9 * n)
        )
        self.figure_ = self.ax_.figure
        upper, lower = self.axes_[0], self.axes_[-1]
        upper.plot(x, self.train_loss, color=DARK, marker="o", markersize=4)
        upper.set_ylabel("training loss")
        if best is not None:
            lower.plot(
                x,
                self.validation_score,
                color=LIGHT,
                marker="s",
                markersize=4,
                linestyle="--",
            )
            lower.set_ylabel(f"validation {self.score_name}")
            at = int(np.flatnonzero(self.epochs == best)[0])
            score = self.validation_score[at]
            for panel in self.axes_:
                panel.axvline(x[at], color="0.4", linewidth=1, linestyle=":")
            lower.plot(
                x[at],
                score,
                marker="o",
                markersize=11,
                markerfacecolor="none",
                markeredgecolor="black",
                linestyle="none",
                label=f"best: {score:.4f} in epoch {best}",
            )
            lower.legend(loc="lower right")
        lower.set_xlabel("epoch" if against == "epoch" else "seconds of training")
        if against == "epoch":
            whole_numbers(lower.xaxis)
        for panel in self.axes_:
            light_grid(panel)
        return self
