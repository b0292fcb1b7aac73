"""`MMRReranker`: lists that trade relevance against similarity of their items."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Literal

import numpy as np

from skclip._data import ItemFeatures, training_data
from skclip._sklearn import HasMethods, Interval, StrOptions, _fit_context
from skclip._typing import (
    Estimator,
    FeaturesLike,
    Ids,
    RandomState,
    Self,
    SessionsLike,
    Weights,
)
from skclip._warnings import told_already, warn_user
from skclip.exceptions import UnseenItemWarning
from skclip.rerank._lists import ListReranker, shares_items
from skclip.rerank._similarity import item_table, read_similarity, similarities

_ROOM = 2**22  # number of similarities, or of values of vectors, computed at a time
_LEFT_OUT = np.float32(-1e30)  # sorts behind all candidates


class MMRReranker(ListReranker):
    r"""Make the lists of a recommender more diverse, by maximal marginal relevance.

    Items are chosen one by one from the first `n_candidates` of the base. Each choice
    is relevant and dissimilar to the items chosen before it [1]_:

    .. math::
        \operatorname*{arg\,max}_{i \notin S} \;
        (1 - \lambda)\, \mathrm{rel}(i) - \lambda \max_{j \in S} \mathrm{sim}(i, j)

    with :math:`\lambda` the `diversity`. The first place stays the same. Lists get more
    diverse and usually less accurate. Use it for pages that need variety.

    Parameters
    ----------
    estimator : recommender, or Pipeline or search that ends in one
        Base recommender. `fit` clones and fits it, unless `prefit` is True.
    diversity : float, default=0.1
        Weight :math:`\lambda` of dissimilarity, from 0 to 1. With 0, you get exactly
        the list of the base. Similarity of clusters is only 0 or 1 and needs a smaller
        weight than similarity of vectors.
    n_candidates : int, default=100
        Number of first items of the base to reorder. The rest follows in the order of
        the base. Items that tie with the first item of the rest belong to the rest.
    similarity : str, clusterer or item features, default="auto"
        Similarity :math:`\mathrm{sim}` of two items. "vectors" is the cosine of
        ``item_vectors_`` of the base. "clusters" is 1 for items of the same cluster,
        else 0. It uses the clusters of the base or of its pipeline, or fits a
        `SessionClusterer` if there are none. "auto" uses vectors if the base has them,
        else clusters. A clusterer is cloned and fitted to get the clusters. For
        `skclip.features.ItemFeatures`, a data frame or a mapping by item id,
        similarity is the cosine of the rows.
    relevance : {"scores", "ranks"}, default="scores"
        Relevance :math:`\mathrm{rel}` of an item. "scores" are the scores of the base,
        scaled to 0..1 within the candidates of a session. "ranks" scales ranks in the
        same way. Use it if the first scores of the base are far above the others.
    prefit : bool, default=False
        Whether `estimator` is already fitted. `fit` and clones then use it unchanged,
        and `fit` only reads the sessions to find clusters.
    random_state : int, RandomState instance or None, default=None
        Seed of the `SessionClusterer` that `fit` makes if there is no other.

    Attributes
    ----------
    estimator_ : recommender
        The fitted base.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog, which is that of the base.
    similarity_ : {"vectors", "clusters", "features"}
        Kind of similarity that is used.

    See Also
    --------
    CandidateRanker : Reorder candidates by a classifier.
    skclip.metrics.cluster_diversity : Measure how diverse lists are.

    Notes
    -----
    The number of steps is `n_candidates`, because each step chooses one item. Items
    with equal values stay in the order of the base. The scores of the candidates are
    those of the base, assigned in the new order. Equal scores are raised to the next
    larger number. `diversity`, `n_candidates` and `relevance` are read at prediction,
    so you can change them without a new `fit`.

    References
    ----------
    .. [1] J. Carbonell, J. Goldstein, "The use of MMR, diversity-based reranking for
           reordering documents and producing summaries", SIGIR 1998,
           doi:10.1145/290941.291025.

    Examples
    --------
    >>> from skclip import MMRReranker, PopularityRecommender
    >>> kinds = {"tea": [1, 0], "mint tea": [1, 0], "cup": [0, 1]}
    >>> X = [["tea", "mint tea"], ["tea", "mint tea", "cup"], ["tea"]]
    >>> mmr = MMRReranker(PopularityRecommender(), diversity=0.5, similarity=kinds)
    >>> mmr.fit(X).predict_topk([["tea"]], k=3).tolist()
    [['tea', 'cup', 'mint tea']]
    >>> mmr.set_params(diversity=0.0).predict_topk([["tea"]], k=3).tolist()
    [['tea', 'mint tea', 'cup']]
    """

    similarity_: str

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "diversity": [Interval(Real, 0, 1, closed="both")],
        "n_candidates": [Interval(Integral, 2, None, closed="left")],
        "similarity": [
            StrOptions({"auto", "vectors", "clusters"}),
            HasMethods(["fit"]),
            ItemFeatures,
            Mapping,
            HasMethods(["to_numpy"]),
        ],
        "relevance": [StrOptions({"scores", "ranks"})],
        "prefit": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Estimator,
        *,
        diversity: float = 0.1,
        n_candidates: int = 100,
        similarity: str | Estimator | FeaturesLike = "auto",
        relevance: Literal["scores", "ranks"] = "scores",
        prefit: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.diversity = diversity
        self.n_candidates = n_candidates
        self.similarity = similarity
        self.relevance = relevance
        self.prefit = prefit
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Fit the base, and prepare the similarity of its items.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). With ``prefit=True``, pass the
            sessions that the base was fitted on.
        y : array-like of shape (n_sessions,), default=None
            Next items.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more, for the base and the clusterer. Rows with
            weight 0 are left out. None gives each row the weight 1.

        Returns
        -------
        self : MMRReranker
            The estimator itself, fitted.

        Raises
        ------
        TypeError
            If the base is not a recommender of skclip, or if it has no vectors with
            ``similarity="vectors"``. Also if you pass `sample_weight`, and `fit` of the
            base or of the clusterer does not take it.
        ValueError
            If an item of the catalog has no row of item features.

        Warns
        -----
        UnseenItemWarning
            If none of the items is in the catalog of a base with ``prefit=True``.
        """
        self._check_base()
        data = training_data(X, y, sample_weight=sample_weight)
        with told_already():
            similarity = read_similarity(self.similarity, X, y, sample_weight)
            if isinstance(similarity, ItemFeatures):
                self._check_rows(similarity, data, "similarity")
            estimator, base, _ = self._fitted_base(X, y, sample_weight)
            if not shares_items(base, data.index.item_ids):
                warn_user(
                    "None of the items in X is in the catalog of the base, which was "
                    "fitted before (prefit=True). Clusters learned from X have no "
                    "effect. Pass the sessions that the base was fitted on.",
                    UnseenItemWarning,
                )
            kind, table = item_table(
                similarity, estimator, base, X, y, self.random_state, sample_weight
            )
        return self._adopt(
            X,
            estimator_=estimator,
            item_ids_=base.item_ids_,
            similarity_=kind,
            _index=base._index,
            _table=table,
        )

    # -- ranking ---------------------------------------------------------------

    @property
    def _keeps_base(self):
        return self.diversity == 0

    def _places(self, candidates, queries):
        relevance = candidates.relative_scores()
        if self.relevance == "ranks":
            relevance = relative_places(candidates.lengths, relevance.shape[1])
        places = np.empty(relevance.shape, dtype=np.int64)
        m = relevance.shape[1]
        width = self._table.shape[1]
        step = max(1, _ROOM // (m * max(m, width)))
        for start in range(0, len(places), step):
            part = slice(start, start + step)
            similarity = similarities(self._table, candidates.columns[part])
            places[part] = mmr_places(
                relevance[part], similarity, candidates.valid[part], self.diversity
            )
        return places


def relative_places(lengths, n):
    """1 for the first place of a session and 0 for its last one, (n_sessions, n)."""
    steps = np.maximum(lengths[:, None] - 1, 1)
    return np.clip(1 - np.arange(n) / steps, 0, 1).astype(np.float32)


def mmr_places(relevance, similarity, valid, diversity):
    """Place of each candidate by maximal marginal relevance, (n, m), from 0.

    Shapes are (n, m) for `relevance` and `valid`, and (n, m, m) for `similarity`.
    Candidates that are not valid come last. Equal values stay in the order of the
    columns.
    """
    n, m = relevance.shape
    rows = np.arange(n)
    gain = np.float32(1 - diversity) * relevance
    gain[~valid] = _LEFT_OUT
    places = np.empty((n, m), dtype=np.int64)
    nearest = np.zeros((n, m), dtype=np.float32)  # similarity to the chosen items
    for place in range(m):
        best = (gain - np.float32(diversity) * nearest).argmax(axis=1)
        places[rows, best] = place
        gain[rows, best] = -np.inf
        near = similarity[rows, best]
        nearest = np.maximum(nearest, near) if place else near
    return places
