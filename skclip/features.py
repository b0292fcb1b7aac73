"""Features of items, and sessions as shares of item clusters."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._clusters import SessionClusterer, known_ids_of, levels_of
from skclip._data import (
    CatalogMixin,
    ItemFeatures,
    ItemIndex,
    query_data,
    training_data,
    warn_other_type,
)
from skclip._sklearn import (
    ClassNamePrefixFeaturesOutMixin,
    HasMethods,
    StrOptions,
    TransformerMixin,
    _fit_context,
)
from skclip._typing import Estimator, FloatArray, Self, SessionsLike
from skclip._warnings import told_already

__all__ = ["ClusterFeatures", "ItemFeatures"]


class ClusterFeatures(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CatalogMixin, SessionEstimator
):
    """Turn sessions into a matrix with one column per item cluster.

    Use it for classifiers, regressors and plots of sessions. It works in a
    `FeatureUnion` and supports ``set_output``. Recommenders do not need it: put a
    `SessionClusterer` before them.

    Parameters
    ----------
    clusterer : SessionClusterer or compatible object, default=None
        Clusterer of the items. None means a default `SessionClusterer`. Of several
        resolutions, the first is used.
    values : {"share", "count"}, default="share"
        Share or number of the events of the session in each cluster. "share" divides by
        the number of all events. Unknown items count as well, but are in no cluster.

    Attributes
    ----------
    clusterer_ : object
        The fitted clusterer.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the clustered items, sorted.
    n_features_out_ : int
        Number of clusters.

    Examples
    --------
    >>> from skclip import SessionClusterer
    >>> from skclip.features import ClusterFeatures
    >>> X = [["tea", "cup", "milk"], ["cup", "tea"], ["saw", "nail"], ["nail", "saw"]]
    >>> features = ClusterFeatures(SessionClusterer(random_state=0)).fit(X)
    >>> features.transform([["tea", "saw", "new", "new"], []])
    array([[0.25, 0.25],
           [0.  , 0.  ]])
    """

    clusterer_: Estimator
    n_features_out_: int

    _parameter_constraints: dict = {
        "clusterer": [HasMethods(["fit"]), None],
        "values": [StrOptions({"share", "count"})],
    }

    def __init__(
        self,
        clusterer: Estimator | None = None,
        *,
        values: Literal["share", "count"] = "share",
    ) -> None:
        self.clusterer = clusterer
        self.values = values

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: SessionsLike, y: object = None) -> Self:
        """Find the clusters of the items.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : object
            Ignored, because labels of sessions are not next items.

        Returns
        -------
        self : ClusterFeatures
            The estimator itself, fitted.
        """
        clusterer = SessionClusterer() if self.clusterer is None else self.clusterer
        item_ids = training_data(X).index.item_ids
        with told_already():
            clusterer = clone(clusterer, safe=False).fit(X)
        levels_of(clusterer, item_ids, np.ones(len(item_ids), dtype=bool))  # raises
        known = known_ids_of(clusterer)  # it may have further items
        item_ids = item_ids if known is None else known
        return self._adopt(
            X,
            clusterer_=clusterer,
            item_ids_=item_ids,
            _index=ItemIndex(item_ids),
            n_features_out_=int(np.max(clusterer.membership_)) + 1,
        )

    def transform(self, X: SessionsLike) -> FloatArray:
        """Count the events of each session in each cluster.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).

        Returns
        -------
        features : ndarray of shape (n_sessions, n_clusters), float64
            Shares or counts. Rows are 0 for sessions without a known item.
        """
        check_is_fitted(self)
        queries = query_data(X, self._index)
        warn_other_type(self._index, "X", queries.unseen_ids)
        lengths = np.diff(queries.offsets)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        clusters = np.append(self.clusterer_.membership_, -1)  # -1 for unseen items
        columns = clusters[np.minimum(queries.codes, len(self.item_ids_) + 1) - 1]
        known = columns >= 0
        counts = np.zeros((len(lengths), self.n_features_out_))
        np.add.at(counts, (rows[known], columns[known]), 1)
        if self.values == "count":
            return counts
        return counts / np.maximum(lengths, 1)[:, None]

    @property
    def _n_features_out(self):  # for `get_feature_names_out`
        return self.n_features_out_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
