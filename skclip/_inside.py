"""Find the recommender and the clusterer inside pipelines and searches.

This is the only file that looks through what holds other estimators, and the only one
outside an estimator's own package that reads its private attributes.
"""

from sklearn.utils.validation import check_is_fitted

# What holds one estimator, in the order of preference: of a search the winner, of a
# wrapper the fitted copy, and what was passed where nothing is fitted.
_WRAPPED = ("best_estimator_", "estimator_", "estimator")


def held_by(estimator):
    """Return the estimators that `estimator` holds, the last step of a pipeline first.

    Steps come before what is wrapped: a frozen pipeline shows both.
    """
    held = [step for _, step in reversed(getattr(estimator, "steps", []))]
    wrapped = [getattr(estimator, name, None) for name in _WRAPPED]
    held += [part for part in wrapped if part is not None][:1]
    held += getattr(estimator, "estimators_", [])
    held.append(getattr(estimator, "clusterer_", None))
    return [part for part in held if hasattr(part, "fit")]


def estimators_inside(estimator):
    """Yield `estimator` and everything in it, depth first."""
    yield estimator
    for part in held_by(estimator):
        yield from estimators_inside(part)


def unwrap(estimator, X):
    """Reach the recommender inside searches and pipelines, fitted or not.

    Returns
    -------
    recommender : object with ``predict_topk``
    X : object
        `X` after the pipelines' earlier steps; None stays None, so that what is not
        fitted can be looked into.

    Raises
    ------
    TypeError
        There is no recommender where lists would come from.
    """
    while not hasattr(estimator, "predict_topk"):
        held = held_by(estimator)
        if not held:
            raise TypeError(
                f"{type(estimator).__name__} holds no recommender with predict_topk. "
                "Pass a fitted recommender, a Pipeline that ends in one, or a fitted "
                "search over one."
            )
        if X is not None and len(getattr(estimator, "steps", [])) > 1:
            X = estimator[:-1].transform(X)
        estimator = held[0]
    return estimator, X


def recommender_inside(estimator):
    """Return the fitted recommender that `estimator` is or holds.

    Raises
    ------
    TypeError
        There is none.
    NotFittedError
        It is not fitted.
    """
    recommender, _ = unwrap(estimator, None)
    check_is_fitted(recommender, "item_ids_")
    return recommender


def clusterer_inside(estimator):
    """Return the fitted clusterer that `estimator` is or holds, or None."""
    for inner in estimators_inside(estimator):
        if hasattr(inner, "membership_") and not hasattr(inner, "predict_topk"):
            return inner
    return None


def predict_topk(estimator, X, k=None, **options):
    """Rank the catalog with a recommender inside a Pipeline or a search.

    scikit-learn's Pipeline and GridSearchCV do not forward ``predict_topk``.

    Parameters
    ----------
    estimator : fitted recommender, Pipeline or search
        What holds a recommender as its last step or best estimator.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,); earlier steps transform them.
    k : int, default=None
        Number of items per session; None is the smaller of 20 and the size of the
        catalog.
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
    recommender, X = unwrap(estimator, X)
    return recommender.predict_topk(X, k, **options)


# -- what fitted estimators keep to themselves -----------------------------------------


def fitted_of(recommender):
    """Return what a fit left, with ``model`` and ``config``, or None of a baseline."""
    return getattr(recommender, "_fitted", None)


def clicked_graph_of(clusterer):
    """Return the item graph without its edges by features, or None."""
    graph = getattr(clusterer, "_followed", None)
    return getattr(clusterer, "graph_", None) if graph is None else graph


def scoring_name_of(recommender):
    """Return the name of the metric of ``score``; "score" where it is a function."""
    scoring = recommender._scoring
    return scoring if isinstance(scoring, str) else "score"
