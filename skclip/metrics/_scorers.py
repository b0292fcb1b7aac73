"""SessionScorer: ranking metrics as a scorer of scikit-learn."""

from skclip._inside import unwrap
from skclip.metrics._accuracy import parse_metric


class SessionScorer:
    """Score a fitted recommender by ranking metrics, as scikit-learn's scorers do.

    Pass it as ``scoring=`` to ``cross_validate``, ``GridSearchCV`` and others, on a
    recommender or a Pipeline that ends in one. All metrics share one forward pass.

    Parameters
    ----------
    *names : str
        ``"recall@k"``, ``"precision@k"``, ``"mrr@k"`` or ``"ndcg@k"`` with a number
        for k. One name gives a float, several a dictionary.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> from skclip.metrics import SessionScorer
    >>> X = [["a", "b"], ["a", "b"], ["a", "c"]]
    >>> popular = PopularityRecommender().fit(X)
    >>> SessionScorer("recall@1", "recall@2")(popular, [["c", "a"], ["a", "b"]])
    {'recall@1': 0.5, 'recall@2': 1.0}
    """

    def __init__(self, *names):
        if not names:
            raise ValueError("SessionScorer needs at least one metric, like 'mrr@20'.")
        for name in names:
            parse_metric(name)
        self.names = names

    def __call__(self, estimator, X, y=None):
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            What holds a recommender as its last step or best estimator.
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row; None scores every prefix of every session.

        Returns
        -------
        values : float or dict
            The metric, or a dictionary where there are several.
        """
        estimator, X = unwrap(estimator, X)
        ranks = estimator.rank_targets(X, y)
        values = {}
        for name in self.names:
            metric, k = parse_metric(name)
            values[name] = metric(ranks, k)
        return values if len(self.names) > 1 else values[self.names[0]]

    def __repr__(self):
        return f"SessionScorer({', '.join(map(repr, self.names))})"
