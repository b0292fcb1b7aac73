"""Find the recommender and the clusterer inside pipelines and searches."""

from sklearn.utils.validation import check_is_fitted


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


def shortened(name, width=20):
    """A name of at most `width` characters, the middle left out."""
    name = str(name)
    if len(name) <= width:
        return name
    return f"{name[: width - 1 - (width - 1) // 3]}…{name[-((width - 1) // 3) :]}"
