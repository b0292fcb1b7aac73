"""`MMRReranker`: lists that trade relevance against similarity within."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from skclip._data import ItemFeatures, training_data
from skclip._sklearn import HasMethods, Interval, StrOptions, _fit_context
from skclip._warnings import told_already, warn_user
from skclip.exceptions import UnseenItemWarning
from skclip.rerank._lists import ListReranker, shares_items
from skclip.rerank._similarity import item_table, read_similarity, similarities

_ROOM = 2**22  # similarities, or numbers of vectors, at a time
_LEFT_OUT = np.float32(-1e30)  # places behind the candidates


class MMRReranker(ListReranker):
    r"""Make the lists of a recommender more diverse, by maximal marginal relevance.

    Of the first `n_candidates` of the base, one item after the other is chosen: the
    one that is relevant and unlike those chosen before it [1]_,

    .. math::
        \operatorname*{arg\,max}_{i \notin S} \;
        (1 - \lambda)\, \mathrm{rel}(i) - \lambda \max_{j \in S} \mathrm{sim}(i, j)

    with :math:`\lambda` the `diversity`. The first place stays. Lists get more diverse
    and, as a rule, less accurate: use it where a page needs variety.

    Parameters
    ----------
    estimator : recommender, or Pipeline or search that ends in one
        The base. `fit` clones and fits it, unless `prefit`.
    diversity : float, default=0.1
        Weight :math:`\lambda` of dissimilarity, from 0 to 1. 0 is the list of the base,
        bit for bit. Clusters are alike or not, with nothing between, and need a
        smaller one than vectors.
    n_candidates : int, default=100
        Number of first items of the base that are put in order. The rest follows in
        the order of the base. What ties with the first item of the rest belongs to it.
    similarity : str, clusterer or item features, default="auto"
        What :math:`\mathrm{sim}` is. "vectors": the cosine of ``item_vectors_`` of the
        base. "clusters": 1 for items of one cluster, else 0; the clusters are those of
        the base or of its pipeline if there are any, else those of a
        `SessionClusterer`. "auto": vectors if the base has them, else clusters. A
        clusterer is cloned, fitted, and its clusters are compared.
        `skclip.features.ItemFeatures`, a data frame or a mapping by item id: the cosine
        of their rows.
    relevance : {"scores", "ranks"}, default="scores"
        What :math:`\mathrm{rel}` is. "scores": scores of the base, scaled to 0..1
        within the candidates of a session. "ranks": the same of minus the place, for
        bases whose first scores are far above the others.
    prefit : bool, default=False
        Whether `estimator` is fitted and taken as it is, also by clones. `fit` then
        only reads the sessions for clusters.
    random_state : int, RandomState instance or None, default=None
        Seed of a `SessionClusterer` that `fit` makes.

    Attributes
    ----------
    estimator_ : recommender
        The fitted base.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog: that of the base.
    similarity_ : {"vectors", "clusters", "features"}
        What "auto" has become.

    See Also
    --------
    CandidateRanker : Puts candidates in order by a classifier.
    skclip.metrics.cluster_diversity : Measures how diverse lists are.

    Notes
    -----
    A candidate is chosen with every place, so `n_candidates` is the number of steps.
    Equal values stand in the order of the base. Scores of the candidates are those that
    the base gave them, in the new order; equal ones are raised to the next larger
    number. `diversity`, `n_candidates` and `relevance` are read at prediction, so they
    can be changed without a new `fit`.

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
        estimator,
        *,
        diversity=0.1,
        n_candidates=100,
        similarity="auto",
        relevance="scores",
        prefit=False,
        random_state=None,
    ):
        self.estimator = estimator
        self.diversity = diversity
        self.n_candidates = n_candidates
        self.similarity = similarity
        self.relevance = relevance
        self.prefit = prefit
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the base, and learn what is similar.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). With `prefit` those that the base
            was fitted on.
        y : array-like of shape (n_sessions,), default=None
            Next items.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more, for the base and the clusterer. A row of
            weight 0 is left out. None is 1 for all.

        Returns
        -------
        self : MMRReranker
            The estimator itself, fitted.

        Raises
        ------
        TypeError
            The base is no recommender of skclip, or has no vectors where
            ``similarity="vectors"``. `fit` of the base or of the clusterer takes no
            `sample_weight`.
        ValueError
            An item of the catalog has no row of the item features.

        Warns
        -----
        UnseenItemWarning
            With `prefit`, the base knows none of the items.
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
                    "None of the items of the sessions is in the catalog of the base "
                    "(prefit=True). Pass the sessions that the base was fitted on.",
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

    `relevance` and `valid` (n, m), `similarity` (n, m, m). What is not valid is last.
    Equal values stand in the order of the columns.
    """
    n, m = relevance.shape
    rows = np.arange(n)
    gain = np.float32(1 - diversity) * relevance
    gain[~valid] = _LEFT_OUT
    places = np.empty((n, m), dtype=np.int64)
    nearest = np.zeros((n, m), dtype=np.float32)  # of those chosen, none yet
    for place in range(m):
        best = (gain - np.float32(diversity) * nearest).argmax(axis=1)
        places[rows, best] = place
        gain[rows, best] = -np.inf
        near = similarity[rows, best]
        nearest = np.maximum(nearest, near) if place else near
    return places
