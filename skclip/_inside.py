"""Find the recommender and the clusterer inside pipelines and searches."""

from sklearn.utils.validation import check_is_fitted


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


def estimators_inside(estimator):
    """Yield `estimator` and what is in it, the last step of a pipeline first."""
    yield estimator
    if hasattr(estimator, "best_estimator_"):
        yield from estimators_inside(estimator.best_estimator_)
    elif hasattr(estimator, "steps"):
        for _, step in reversed(estimator.steps):
            yield from estimators_inside(step)
    elif not hasattr(estimator, "predict_topk") and hasattr(estimator, "estimator"):
        yield from estimators_inside(estimator.estimator)


def recommender_inside(estimator):
    """The recommender that `estimator` is or holds.

    Raises
    ------
    TypeError
        There is none.
    NotFittedError
        It is not fitted.
    """
    for inner in estimators_inside(estimator):
        if hasattr(inner, "predict_topk"):
            check_is_fitted(inner, "item_ids_")
            return inner
    raise TypeError(
        f"{type(estimator).__name__} holds no recommender with predict_topk. Pass a "
        "fitted recommender, a Pipeline that ends in one, or a fitted search over one."
    )


def clusterer_inside(estimator):
    """The fitted clusterer that `estimator` is or holds, or None."""
    for inner in estimators_inside(estimator):
        if hasattr(inner, "membership_") and not hasattr(inner, "predict_topk"):
            return inner
        if hasattr(getattr(inner, "clusterer_", None), "membership_"):
            return inner.clusterer_
    return None
