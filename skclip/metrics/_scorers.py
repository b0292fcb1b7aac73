"""SessionScorer: ranking metrics as a scikit-learn scorer."""

from __future__ import annotations

from skclip._data import check_protocol
from skclip._inside import unwrap
from skclip._typing import Estimator, Ids, SessionsLike, Targets
from skclip.metrics._accuracy import GAINS, RankRows, split_metric


class SessionScorer:
    """Score a fitted recommender by one or more ranking metrics.

    Pass it as ``scoring=`` to ``cross_validate``, ``GridSearchCV`` and others, on a
    recommender or a Pipeline that ends in one. All metrics share one forward pass.

    Parameters
    ----------
    *names : str
        ``"recall@k"``, ``"precision@k"``, ``"mrr@k"``, ``"ndcg@k"``, ``"map@k"`` or
        ``"hit_rate@k"`` with a number for k. One name gives a float, several a
        dictionary.
    targets : {"next", "remaining"}, default="next"
        Targets of a prefix: the next item, or the set of distinct items in the rest
        of its session.
    event : object or list, default=None
        Event type of the targets to score, such as "purchase", or a list of types.
        Sessions must have event types, and `y` must be None. None scores all targets.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> from skclip.metrics import SessionScorer
    >>> X = [["a", "b"], ["a", "b"], ["a", "c"]]
    >>> popular = PopularityRecommender().fit(X)
    >>> SessionScorer("recall@1", "recall@2")(popular, [["c", "a"], ["a", "b"]])
    {'recall@1': 0.5, 'recall@2': 1.0}
    >>> SessionScorer("map@2", targets="remaining")(popular, [["c", "a", "b"]])
    0.75
    """

    def __init__(
        self, *names: str, targets: Targets = "next", event: object = None
    ) -> None:
        if not names:
            raise ValueError("SessionScorer needs at least one metric, like 'mrr@20'.")
        for name in names:
            split_metric(name, GAINS)
        check_protocol(targets)
        self.names: tuple[str, ...] = names
        self.targets = targets
        self.event = event

    def __call__(
        self, estimator: Estimator, X: SessionsLike, y: Ids | SessionsLike | None = None
    ) -> float | dict[str, float]:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            A recommender, or an estimator that ends in one.
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None scores every prefix of every session. With
            ``targets="remaining"``, one or more items per row: Sessions, or a list
            of lists or sets.

        Returns
        -------
        values : float or dict
            The metric, or a dictionary of metrics if there are several.
        """
        estimator, X = unwrap(estimator, X)
        rows = rank_rows(estimator, X, y, self.targets, self.event)
        values = {}
        for name in self.names:
            values[name] = float(rows.gains(*split_metric(name, GAINS)).mean())
        return values if len(self.names) > 1 else values[self.names[0]]

    def __repr__(self) -> str:
        options = "" if self.targets == "next" else f", targets={self.targets!r}"
        options += "" if self.event is None else f", event={self.event!r}"
        return f"SessionScorer({', '.join(map(repr, self.names))}{options})"


def rank_rows(recommender, X, y, targets, event=None):
    """Ranks of the targets by a fitted recommender, as `RankRows`."""
    options = {} if event is None else {"event": event}
    if targets == "next":
        return RankRows(recommender.rank_targets(X, y, **options))
    return RankRows(*recommender.rank_targets(X, y, targets=targets, **options))
