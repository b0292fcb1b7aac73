"""Base of the recommenders that reorder the lists of another recommender."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skclip._data import query_data
from skclip._inside import unwrap, weight_argument
from skclip._ranking._base import RankingMixin
from skclip._sklearn import MetaEstimatorMixin
from skclip._warnings import told_already


class RerankingMixin(MetaEstimatorMixin, RankingMixin):
    """A recommender over a base, with the parameters ``estimator`` and ``prefit``.

    `fit` of a subclass sets ``estimator_``, and takes ``item_ids_`` and ``_index`` from
    the base. The subclass overrides ``_masked_chunks``. Filters apply to the base,
    before reordering.
    """

    estimator: Any
    estimator_: Any
    prefit: bool

    _shared_by_clones = ()  # parameters that are not copied

    @property
    def similar_items(self) -> Any:
        """Method of the base; missing if the base does not compare items."""
        base, _ = unwrap(getattr(self, "estimator_", self.estimator), None)
        return base.similar_items

    def _fitted_base(self, X, y, sample_weight=None):
        """The fitted estimator, its recommender, and `X` as that one reads it."""
        self._check_base()
        estimator = self.estimator
        if not self.prefit:
            with told_already():  # the subclass reads the sessions and warns itself
                weights = weight_argument(estimator, sample_weight)
                estimator = clone(estimator).fit(X, y, **weights)
        return estimator, *base_of(estimator, X)

    def _check_base(self):
        """Refuse an estimator without a recommender, before a fit takes time."""
        unwrap(self.estimator, None)

    def _by_popularity(self, queries):
        base, queries = self._base_queries(queries)
        return base._by_popularity(queries)

    def _base_queries(self, queries):
        """The base and its queries, transformed by the earlier steps of a pipeline."""
        base, _ = unwrap(self.estimator_, None)
        if len(base.item_ids_) != len(self.item_ids_):
            name = type(self).__name__
            raise ValueError(
                f"The base has {len(base.item_ids_)} items now, but had "
                f"{len(self.item_ids_)} when {name} was fitted. Fit it again. With "
                "prefit=True the base stays as it is."
            )
        return base, queries_of_base(self.estimator_, base, queries)

    @property
    def _scoring(self):
        return unwrap(self.estimator_, None)[0]._scoring

    def _check_fitted(self):
        check_is_fitted(self, "estimator_")

    def __sklearn_clone__(self) -> Any:
        """Copy the parameters; clones share a fitted base (`prefit`)."""
        shared = {*self._shared_by_clones, *(["estimator"] if self.prefit else [])}
        params = self.get_params(deep=False)
        for name in params.keys() - shared:
            params[name] = clone(params[name], safe=False)
        return type(self)(**params)


def base_of(estimator, X):
    """The fitted recommender inside `estimator`, and `X` as that one reads it.

    Raises
    ------
    TypeError
        If it is not a recommender of skclip.
    """
    base, sessions = unwrap(estimator, X)
    if not hasattr(base, "_masked_chunks"):
        raise TypeError(
            f"estimator ends in a {type(base).__name__}, which is not a recommender "
            "of skclip. Pass CLIPSessionRecommender, PopularityRecommender, or a "
            "Pipeline that ends in one."
        )
    base._check_fitted()
    return base, sessions


def queries_of_base(estimator, base, queries):
    """The queries after the earlier steps of a pipeline that ends in `base`."""
    if base is estimator:
        return queries
    _, X = unwrap(estimator, queries.as_sessions(base.item_ids_))
    return replace(query_data(X, base._index), targets=queries.targets)
