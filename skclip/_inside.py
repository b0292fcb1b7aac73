"""Find the recommender and the clusterer inside pipelines and searches.

This is the only file that searches inside estimators that hold others. It is also the
only one outside an estimator's own package that reads its private attributes.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeVar, overload

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skclip._typing import (
    Estimator,
    Ids,
    ItemIds,
    SessionsLike,
    TopK,
    TopKOptions,
    Unpack,
    Weights,
)

_Fitted = TypeVar("_Fitted")

# Attributes that hold one estimator, best first: the winner of a search, the fitted
# copy of a wrapper, and the estimator passed to one that is not fitted.
_WRAPPED = ("best_estimator_", "estimator_", "estimator")


def held_by(estimator):
    """Return the estimators that `estimator` holds, the last step of a pipeline first.

    Steps come before a wrapped estimator. A frozen pipeline has both.
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
    """Find the recommender inside searches and pipelines, fitted or not.

    Returns
    -------
    recommender : object with ``predict_topk``
    X : object
        `X` after the earlier steps of the pipelines. None stays None, for estimators
        that are not fitted.

    Raises
    ------
    TypeError
        If `estimator` holds no recommender.
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
        If there is none.
    NotFittedError
        If it is not fitted.
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


@overload
def predict_topk(
    estimator: Estimator,
    X: SessionsLike,
    k: int | None = None,
    *,
    return_scores: Literal[False] = False,
    **options: Unpack[TopKOptions],
) -> ItemIds: ...
@overload
def predict_topk(
    estimator: Estimator,
    X: SessionsLike,
    k: int | None = None,
    *,
    return_scores: Literal[True],
    **options: Unpack[TopKOptions],
) -> TopK: ...
def predict_topk(
    estimator: Estimator, X: SessionsLike, k: int | None = None, **options: Any
) -> ItemIds | TopK:
    """Rank the catalog with a recommender inside a Pipeline or a search.

    scikit-learn's Pipeline and GridSearchCV do not forward ``predict_topk``.

    Parameters
    ----------
    estimator : fitted recommender, Pipeline or search
        Recommender, or an object that holds one as its last step or best estimator.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,). The earlier steps of a Pipeline
        transform them.
    k : int, default=None
        Number of items per session. None means 20, or the size of a smaller catalog.
    **options : dict
        Further arguments of ``CLIPSessionRecommender.predict_topk``.

    Returns
    -------
    items : ndarray of shape (n_sessions, k)
        Raw item ids, best first.

    Raises
    ------
    TypeError
        If there is no recommender inside `estimator`.

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
    groups = options.get("groups")
    if isinstance(groups, str) and groups == "cluster":
        options = options | {"groups": clusters_for(recommender, estimator)}
    return recommender.predict_topk(X, k, **options)


def clusters_for(recommender, estimator):
    """Return the clusters of an earlier step if the recommender itself has none."""
    inner = estimators_inside(recommender)
    if any(getattr(part, "membership_", None) is not None for part in inner):
        return "cluster"
    clusterer = clusterer_inside(estimator)
    if clusterer is None:
        return "cluster"
    clusters = zip(clusterer.item_ids_.tolist(), clusterer.membership_, strict=True)
    return {item: cluster for item, cluster in clusters if cluster >= 0}


def weight_argument(estimator, sample_weight):
    """Return the argument ``sample_weight`` of `fit` as a dict; {} without weights.

    Raises
    ------
    TypeError
        If there are weights, but `fit` does not accept any.
    """
    if sample_weight is None:
        return {}
    if hasattr(estimator, "steps") and _weights_of_steps(estimator, sample_weight):
        return _weights_of_steps(estimator, sample_weight)
    if not has_fit_parameter(estimator, "sample_weight"):
        raise TypeError(
            f"fit of {type(estimator).__name__} takes no sample_weight. Pass the "
            "weights with the sessions instead: weight= in Sessions.from_events, or "
            "weights= in Sessions.from_lists."
        )
    return {"sample_weight": sample_weight}


def partial_fit(
    estimator: _Fitted,
    X: SessionsLike,
    y: Ids | None = None,
    sample_weight: Weights = None,
) -> _Fitted:
    """Update a recommender inside a Pipeline or a search with further sessions.

    scikit-learn's Pipeline and GridSearchCV have no ``partial_fit``. This function
    updates each step of a Pipeline by its own ``partial_fit``, in order, and transforms
    the sessions for the next step. Steps without ``partial_fit``, or inside a
    FrozenEstimator, transform the sessions unchanged. An error changes nothing.

    Parameters
    ----------
    estimator : recommender, Pipeline or fitted search
        Recommender with ``partial_fit``, or an object that holds one as its last step
        or best estimator. A Pipeline that is not fitted is fitted. A search keeps its
        scores and parameters, and its best estimator is updated.
    X : Sessions or list of lists
        Further training sessions, shape (n_sessions,), before the first step transforms
        them.
    y : array-like of shape (n_sessions,), default=None
        Next items, as in ``fit``.
    sample_weight : array-like of shape (n_sessions,), default=None
        Weights of the rows. Each step that accepts weights gets them.

    Returns
    -------
    estimator : object
        The object that you passed. Updated steps are copies that replace the old ones.

    Raises
    ------
    TypeError
        If `estimator` holds no recommender, if the recommender or a clusterer before it
        has no ``partial_fit``, or if the recommender is frozen.
    NotFittedError
        If a search is not fitted, or keeps no estimator because of ``refit=False``.

    See Also
    --------
    predict_topk : Ranks with a recommender inside a Pipeline or a search.

    Notes
    -----
    Clusters keep their numbers, see `SessionClusterer.partial_fit`. If a clusterer
    comes before a `CLIPSessionRecommender`, the recommender reads clusters from the
    sessions. Items that are not in `X` then keep their clusters. With a clusterer of
    its own, the recommender updates the clusters of all items.

    Examples
    --------
    >>> import skclip
    >>> from sklearn.pipeline import make_pipeline
    >>> shop = make_pipeline(
    ...     skclip.SessionClusterer(random_state=0), skclip.PopularityRecommender()
    ... )
    >>> shop = shop.fit([["a", "b"], ["b", "c"], ["b"]])
    >>> shop = skclip.partial_fit(shop, [["c", "d"], ["d", "c"], ["d", "d"]])
    >>> skclip.predict_topk(shop, [["a"]], k=3).tolist()
    [['d', 'b', 'c']]
    """
    recommender, _ = unwrap(estimator, None)
    if not hasattr(recommender, "partial_fit"):
        raise TypeError(
            f"{type(recommender).__name__} has no partial_fit. Fit it again on the old "
            "and the further sessions together."
        )
    if hasattr(estimator, "predict_topk"):
        _refuse_frozen(estimator)
        return estimator.partial_fit(X, y, **_given(sample_weight))
    vars(estimator).update(_updated_parts(estimator, X, y, sample_weight))
    return estimator


def _given(sample_weight):
    """Return the argument ``sample_weight`` as a dict; {} without weights."""
    return {} if sample_weight is None else {"sample_weight": sample_weight}


def _updated(estimator, X, y, sample_weight):
    """Return a copy of an estimator, updated with further sessions."""
    _refuse_frozen(estimator)
    if hasattr(estimator, "predict_topk"):
        return copy.deepcopy(estimator).partial_fit(X, y, **_given(sample_weight))
    other = copy.copy(estimator)
    vars(other).update(_updated_parts(estimator, X, y, sample_weight))
    return other


def _updated_parts(estimator, X, y, sample_weight):
    """Return the attribute that holds the recommender, updated, as a dict."""
    _refuse_frozen(estimator)
    if hasattr(estimator, "steps"):
        return {"steps": _updated_steps(estimator, X, y, sample_weight)}
    for name in ("best_estimator_", "estimator_"):
        if hasattr(estimator, name):
            return {name: _updated(getattr(estimator, name), X, y, sample_weight)}
    raise NotFittedError(
        f"This {type(estimator).__name__} has no best_estimator_ to update. Fit it "
        "first, with refit=True."
    )


def _updated_steps(pipeline, X, y, sample_weight):
    try:
        check_is_fitted(pipeline)
    except NotFittedError:
        weights = _weights_of_steps(pipeline, sample_weight)
        return copy.deepcopy(pipeline).fit(X, y, **weights).steps
    steps, X = _updated_transformers(pipeline.steps[:-1], X, y, sample_weight)
    name, last = pipeline.steps[-1]
    return [*steps, (name, _updated(last, X, y, sample_weight))]


def _weights_of_steps(pipeline, sample_weight):
    """Return the arguments of a pipeline's `fit` that pass weights to its steps."""
    if sample_weight is None:
        return {}
    takers = [n for n, e in pipeline.steps if has_fit_parameter(e, "sample_weight")]
    return {f"{name}__sample_weight": sample_weight for name in takers}


def _updated_transformers(steps, X, y, sample_weight):
    """Return updated steps, and the sessions as they transform them."""
    updated = []
    for name, step in steps:
        if step is not None and step != "passthrough":
            step = _updated_transformer(step, X, y, sample_weight)
            X = step.transform(X)
        updated.append((name, step))
    return updated, X


def _updated_transformer(step, X, y, sample_weight):
    if isinstance(step, FrozenEstimator):
        return step
    if hasattr(step, "steps"):
        other = copy.copy(step)
        other.steps, _ = _updated_transformers(step.steps, X, y, sample_weight)
        return other
    if hasattr(step, "partial_fit"):
        taken = sample_weight if has_fit_parameter(step, "sample_weight") else None
        return copy.deepcopy(step).partial_fit(X, y, **_given(taken))
    if hasattr(step, "membership_"):
        raise TypeError(
            f"{type(step).__name__} has no partial_fit, so its clusters cannot be "
            "updated with new sessions. Use SessionClusterer, or fit on all sessions. "
            "To keep the clusters as they are, put the fitted step into a "
            "FrozenEstimator."
        )
    return step


def _refuse_frozen(estimator):
    if isinstance(estimator, FrozenEstimator):
        raise TypeError(
            f"The {type(estimator.estimator).__name__} is frozen, so it cannot be "
            "updated. Pass the attribute `estimator` of the FrozenEstimator instead."
        )


def without_checkpoint(estimator):
    """Return a clone without checkpoint files, which other fits would continue from."""
    estimator = clone(estimator)
    names = [n for n in estimator.get_params() if n.split("__")[-1] == "checkpoint"]
    return estimator.set_params(**dict.fromkeys(names))


# -- private attributes of fitted estimators -------------------------------------------


def fitted_of(recommender):
    """Return the result of a fit, with ``model`` and ``config``; None for baselines."""
    return getattr(recommender, "_fitted", None)


def clicked_graph_of(clusterer):
    """Return the item graph without its edges by features, or None."""
    graph = getattr(clusterer, "_followed", None)
    return getattr(clusterer, "graph_", None) if graph is None else graph


def ranked_columns(estimator, X, k=None, **options):
    """The lists of `predict_topk` as positions in the catalog, and their scores.

    There are at most as many as items; those of score -inf stand for none.
    """
    recommender, X = unwrap(estimator, X)
    check_is_fitted(recommender, "item_ids_")
    return recommender._ranked(X, recommender._checked_k(k), **options)


def scoring_name_of(recommender):
    """Return the name of the metric of ``score``; "score" where it is a function."""
    scoring = recommender._scoring
    return scoring if isinstance(scoring, str) else "score"
