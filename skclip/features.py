"""Sessions as numeric features: how much of a session lies in each cluster."""

import numpy as np
from scipy import sparse
from sklearn.base import TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._clusters import SessionClusterer
from skclip._data import ItemIndex, query_data, training_data
from skclip._sklearn import HasMethods, StrOptions, _fit_context, accept_ragged

__all__ = ["ClusterFeatures"]


class ClusterFeatures(TransformerMixin, SessionEstimator):
    """Turn sessions into a matrix with one column per item cluster.

    For classifiers, regressors and plots over sessions; it stands in a `FeatureUnion`
    and knows ``set_output``. The recommender itself takes clusters from
    `SessionClusterer`.

    Parameters
    ----------
    clusterer : SessionClusterer or compatible object, default=None
        None is a default `SessionClusterer`. Of several resolutions the first is used.
    values : {"share", "count"}, default="share"
        Of the session's events in each cluster. Items not seen in `fit` are in none;
        "share" divides by all events, so that it says how much is known.

    Attributes
    ----------
    clusterer_ : object
        The fitted clusterer.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted.
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

    _parameter_constraints: dict = {
        "clusterer": [HasMethods(["fit"]), None],
        "values": [StrOptions({"share", "count"})],
    }

    def __init__(self, clusterer=None, *, values="share"):
        self.clusterer = clusterer
        self.values = values

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Find the clusters of the items.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : object
            Ignored: labels of sessions are no next items.

        Returns
        -------
        self : ClusterFeatures
            The estimator itself, fitted.
        """
        clusterer = SessionClusterer() if self.clusterer is None else self.clusterer
        self.clusterer_ = clone(clusterer, safe=False).fit(X)
        self.item_ids_ = training_data(X).index.item_ids
        self.n_features_out_ = int(self.clusterer_.membership_.max()) + 1
        accept_ragged(self, X)
        return self

    def transform(self, X):
        """Count the events of each session in each cluster.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).

        Returns
        -------
        features : ndarray of shape (n_sessions, n_clusters), float64
            Shares or counts; rows of zeros for sessions of unknown items only.
        """
        check_is_fitted(self)
        queries = query_data(X, ItemIndex(self.item_ids_))
        lengths = np.diff(queries.offsets)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        clusters = np.append(self.clusterer_.membership_, -1)  # the last for unseen
        columns = clusters[np.minimum(queries.codes, len(self.item_ids_) + 1) - 1]
        known = columns >= 0
        columns = columns[known]
        shape = (len(lengths), self.n_features_out_)
        counts = sparse.coo_array(
            (np.ones(len(columns)), (rows[known], columns)), shape=shape
        ).toarray()
        if self.values == "count":
            return counts
        return counts / np.maximum(lengths, 1)[:, None]

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns.

        Parameters
        ----------
        input_features : object
            Ignored.

        Returns
        -------
        names : ndarray of shape (n_clusters,), object
            ``clusterfeatures0``, ``clusterfeatures1``, ...
        """
        check_is_fitted(self)
        names = [f"clusterfeatures{i}" for i in range(self.n_features_out_)]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags
