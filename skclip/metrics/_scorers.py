"""Scorers for scikit-learn, and the way through pipelines and searches."""

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


def unwrap(estimator, X):
    """Reach the recommender inside fitted searches and pipelines.

    Returns
    -------
    estimator : object with ``predict_topk``
    X : object
        `X` after the pipeline's earlier steps; None stays None, so that what is not
        fitted can be looked into.
    """
    while not hasattr(estimator, "predict_topk"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            if len(estimator.steps) > 1 and X is not None:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif hasattr(estimator, "estimator"):
            estimator = estimator.estimator
        else:
            raise TypeError(
                f"{type(estimator).__name__} holds no recommender with predict_topk. "
                "Pass a fitted CLIPSessionRecommender, a Pipeline that ends in one, "
                "or a fitted search over one."
            )
    return estimator, X


def predict_topk(estimator, X, k=None, **options):
    """Rank the catalogue with a recommender inside a Pipeline or a search.

    scikit-learn's Pipeline and GridSearchCV do not forward ``predict_topk``.

    Parameters
    ----------
    estimator : fitted recommender, Pipeline or search
        What holds a recommender as its last step or best estimator.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,); earlier steps transform them.
    k : int, default=None
        Number of items per session; None is the smaller of 20 and the size of the
        catalogue.
    **options : dict
        Passed on, see ``CLIPSessionRecommender.predict_topk``.

    Returns
    -------
    items : ndarray of shape (n_sessions, k)
        Raw item ids, best first.

    Raises
    ------
    TypeError
        There is no recommender inside `estimator`.

    Examples
    --------
    >>> import skclip
    >>> from sklearn.pipeline import make_pipeline
    >>> shop = make_pipeline(
    ...     skclip.SessionClusterer(random_state=0), skclip.PopularityRecommender()
    ... )
    >>> shop = shop.fit([["a", "b"], ["b", "c"], ["b"]])
    >>> skclip.predict_topk(shop, [["c"]], k=2).tolist()
    [['b', 'a']]
    """
    estimator, X = unwrap(estimator, X)
    return estimator.predict_topk(X, k, **options)
