"""SessionClusterer: item graph and Leiden clusters of the items."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.metrics import adjusted_rand_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._clusters._item_graph import build_item_graph, grown_graph, text_graph
from skclip._clusters._leiden import (
    align_clusters,
    check_engine,
    engine_for,
    leiden_membership,
    modularity,
)
from skclip._clusters._pairs import read_pairs
from skclip._clusters._votes import vote_clusters
from skclip._data import (
    CatalogMixin,
    ItemIndex,
    append_ids,
    as_item_features,
    as_sessions,
    query_data,
    training_data,
    warn_other_type,
)
from skclip._sklearn import Interval, StrOptions, _fit_context


class ItemClusterer(
    TransformerMixin, CatalogMixin, SessionEstimator, auto_wrap_output_keys=None
):
    """What every clusterer of items can do once it has ``membership_``."""

    def transform(self, X):
        """Return the sessions carrying a cluster per event.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).

        Returns
        -------
        sessions : Sessions
            The rows of `X` with ``clusters``, of shape (n_events, n_levels):
            ``levels_ + 1``, 0 for items not seen in `fit`.
        """
        check_is_fitted(self)
        sessions = as_sessions(X, self._index)
        codes = self._index.codes_of(sessions.vocabulary)
        warn_other_type(self._index, "X", sessions.vocabulary[codes == 0])
        clusters = np.pad(self.levels_ + 1, ((1, 0), (0, 0)))[codes]
        return sessions.with_clusters(clusters[sessions.codes])

    def predict(self, X):
        """Return the cluster of each event, items not seen in `fit` resolved.

        An unseen item is voted into a cluster by its neighbors in the session,
        over the whole session that is given; a session of unseen items only gets
        the largest cluster.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).

        Returns
        -------
        clusters : ndarray of shape (n_sessions, longest session), int32
            0..n_clusters_-1 as in ``membership_``; -1 behind the end of a session.
        """
        check_is_fitted(self)
        queries = query_data(X, self._index)
        warn_other_type(self._index, "X", queries.unseen_ids)
        codes, offsets = queries.codes, queries.offsets
        known = codes <= len(self.item_ids_)
        clusters = np.zeros(len(codes), dtype=np.int32)
        clusters[known] = self.membership_[codes[known] - 1] + 1
        clusters = vote_clusters(codes, clusters, offsets, self.cluster_sizes_)
        lengths = np.diff(offsets)
        padded = np.full((len(lengths), lengths.max()), -1, dtype=np.int32)
        padded[np.arange(lengths.max()) < lengths[:, None]] = clusters - 1
        return padded

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # Sessions have none
        return tags

    def __setstate__(self, state):
        if "membership_" in state and "levels_" not in state:
            raise ValueError("clusters are kept in another form now")
        super().__setstate__(state)

    def _adopt_membership(self, X, item_ids, levels, **fitted):
        """Become fitted: clusters 0, 1, ... of the items (n_items, n_levels)."""
        membership = np.ascontiguousarray(levels[:, 0])
        sizes = np.bincount(membership)
        derived = {"n_clusters_": len(sizes), "cluster_sizes_": sizes}
        return self._adopt(
            X,
            item_ids_=item_ids,
            _index=ItemIndex(item_ids),
            levels_=levels,
            membership_=membership,
            **derived | fitted,
        )


class SessionClusterer(ItemClusterer):
    """Cluster items that follow each other in sessions.

    Builds the item graph of the training sessions (an edge weighs how often its two
    items follow each other, in either direction) and partitions it with the Leiden
    algorithm [2]_. This is the item relationship mining of CLIP-SBR, section 3.2 of
    [1]_. `transform` returns the same sessions carrying a cluster per event, which
    `CLIPSessionRecommender` turns into prompts.

    Parameters
    ----------
    resolution : float or sequence of float, default=1.0
        Higher gives more and smaller clusters. 1 was best throughout [1]_. Of several,
        each partitions the same graph, and an item's prompt is the mean of those of
        its clusters: (1, 16, 256) brought more hits where clicks per item are few,
        not always a better MRR (``docs/reproduction.md``). ``membership_`` are the
        clusters of the first.
    n_iterations : int, default=2
        Passes of the Leiden algorithm; a negative number means until nothing
        changes. 2 is the default of leidenalg.
    engine : {"auto", "leidenalg", "igraph", "networkit"}, default="auto"
        leidenalg's ``RBConfigurationVertexPartition``, the C implementation in igraph,
        or the ``ParallelLeiden`` of NetworKit (``pip install 'skclip[networkit]'``),
        the fastest, with least memory on large graphs. All maximize modularity with the
        configuration null model; partitions may differ. "auto" is leidenalg for graphs
        of up to a million edges, igraph for larger ones. NetworKit runs on one thread,
        since clusters differ from run to run on several. It cannot begin with given
        clusters, so `partial_fit` takes igraph in its place.
    self_loops : bool, default=False
        Keep transitions from an item to itself as weighted loops.
    per_session_binary : bool, default=False
        Count each pair of items once per session, as the text of [1]_ reads,
        instead of every transition.
    graph_edges : {"cooccurrence", "text", "both"}, default="cooccurrence"
        What links items: that they follow each other, that their `item_features` are
        alike, or both. With features, items that no session has get a cluster too, and
        so a prompt. An edge by features weighs `text_weight` times the mean weight of
        the edges by sessions times the cosine (for "text" alone, the cosine). Items
        that no session has get a prompt where this is the recommender's `clusterer`;
        as a step of a Pipeline it can tell the clusters of clicked items alone.
    item_features : ItemFeatures, default=None
        Vectors of the items (`skclip.text`), needed for edges by features. Items of
        the sessions must all have a row; further ones whose row is not zero join.
    n_neighbors : int, default=10
        An item is linked to so many of its nearest ones, and to those it is near to.
    text_weight : float, default=0.2
        See `graph_edges`.
    random_state : int, RandomState instance or None, default=None
        Seed of the Leiden algorithm.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, and with edges by features those of
        `item_features`, sorted.
    graph_ : csr_array of shape (n_items, n_items)
        Symmetric edge weights, in transitions.
    membership_ : ndarray of shape (n_items,), int32
        Cluster 0..n_clusters_-1 of each item. Clusters are numbered by decreasing
        number of items, equal ones by their smallest item. Items without an edge
        belong to the largest cluster, 0.
    levels_ : ndarray of shape (n_items, n_levels), int32
        Clusters at each resolution; the first column is ``membership_``.
    n_clusters_ : int
        Number of clusters among the items with an edge; 1 if there is no edge. This and
        what follows is of the first resolution.
    cluster_sizes_ : ndarray of shape (n_clusters,)
        Number of items in each cluster, items without an edge included.
    modularity_ : float
        Newman's modularity of the partition (at resolution 1 whatever `resolution`
        is, so that partitions can be compared).
    engine_ : {"leidenalg", "igraph", "networkit"}
        What found the clusters in the last `fit` or `partial_fit`.
    cluster_drift_ : float
        How much the last `partial_fit` moved the items that were there: 1 minus the
        adjusted Rand index of their clusters before and after. 0 after `fit`.

    See Also
    --------
    CLIPSessionRecommender : Learns a prompt per cluster.
    skclip.controls : Clusters without knowledge, to compare with.

    Notes
    -----
    The graph costs one sort of the transitions; it holds at most two entries per
    distinct pair of items. Leiden takes most of the time.

    Differences from the paper and its code:

    - **Sessions in the graph.** The paper builds the graph from training sessions, but
      its code also links the targets of training, validation and test rows and leaves
      out the first transition of each session. skclip uses all adjacent pairs of the
      sessions given to `fit` and no others, because clusters learned from test targets
      would leak.
    - **Self transitions.** The published code keeps transitions from an item to itself
      as loops. skclip drops them, because a loop links nothing and only raises the
      item's strength in the null model; ``self_loops=True`` keeps them.
    - **Edge weights.** The text of the paper can be read as counting pairs per session,
      and its code counts every transition. skclip counts every transition;
      ``per_session_binary=True`` counts a pair once per session.
    - **Seed and passes.** The published code sets no seed, makes two passes and reuses
      an old partition. skclip makes two passes at resolution 1 by default, takes the
      seed from `random_state` and stores no partition, so that clusters do not change
      from run to run.
    - **Cluster numbers.** The published code numbers clusters in the order of its
      library. skclip numbers them by decreasing size and then by their smallest item,
      so that equal partitions have equal numbers.
    - **Several resolutions.** The paper and its code use one partition at resolution 1.
      skclip also accepts a sequence of resolutions: an item's prompt is then the mean
      of its clusters' prompts, and voting for unseen items runs at each resolution.
      This brought more hits where clicks per item are few, and random clusters of the
      same sizes did so too.

    References
    ----------
    .. [1] W. Yang, C. Wang, Z. Song, W. Zhang, P. S. Yu, "Item Cluster-aware Prompt
           Learning for Session-based Recommendation", arXiv:2410.04756, section 3.2.
    .. [2] V. A. Traag, L. Waltman, N. J. van Eck, "From Louvain to Leiden:
           guaranteeing well-connected communities", Scientific Reports 9, 5233
           (2019), doi:10.1038/s41598-019-41695-z.

    Examples
    --------
    >>> from skclip import SessionClusterer
    >>> X = [["tea", "cup", "milk"], ["cup", "tea"], ["saw", "nail"], ["nail", "saw"]]
    >>> clusterer = SessionClusterer(random_state=0).fit(X)
    >>> dict(zip(clusterer.item_ids_.tolist(), clusterer.membership_.tolist()))
    {'cup': 0, 'milk': 0, 'nail': 1, 'saw': 1, 'tea': 0}
    >>> clusterer.transform(X).clusters.ravel().tolist()
    [1, 1, 1, 1, 1, 2, 2, 2, 2]
    """

    _parameter_constraints: dict = {
        "resolution": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "n_iterations": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Integral, None, -1, closed="right"),
        ],
        "engine": [StrOptions({"auto", "leidenalg", "igraph", "networkit"})],
        "self_loops": ["boolean"],
        "per_session_binary": ["boolean"],
        "graph_edges": [StrOptions({"cooccurrence", "text", "both"})],
        "item_features": "no_validation",  # `as_item_features` says more
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "text_weight": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        resolution=1.0,
        *,
        n_iterations=2,
        engine="auto",
        self_loops=False,
        per_session_binary=False,
        graph_edges="cooccurrence",
        item_features=None,
        n_neighbors=10,
        text_weight=0.2,
        random_state=None,
    ):
        self.resolution = resolution
        self.n_iterations = n_iterations
        self.engine = engine
        self.self_loops = self_loops
        self.per_session_binary = per_session_binary
        self.graph_edges = graph_edges
        self.item_features = item_features
        self.n_neighbors = n_neighbors
        self.text_weight = text_weight
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Build the item graph of `X` and find its clusters.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            With targets, each row is one instance: only the transition from the
            last item of ``X[i]`` to ``y[i]`` enters the graph. Without, all do.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more. They multiply the weights of the events and
            of the target. A row of weight 0 is left out. None is 1 for all.

        Returns
        -------
        self : SessionClusterer
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            No session has two items, an item id is missing, or `resolution` is no
            number above 0 and no sequence of such. A weight is negative, missing or
            infinite.
        """
        check_engine(self.engine)
        resolutions = self._resolutions()
        data = training_data(X, y, sample_weight=sample_weight)
        if (np.diff(data.offsets) < 2).all():
            raise ValueError(
                f"All {len(data.offsets) - 1} sessions have fewer than 2 items "
                "(n_features = 1 for an array), so no item follows another. Pass "
                "sessions of 2 items or more; check the session column given to "
                "Sessions.from_events."
            )
        features = self._used_features(data.index.item_ids)
        if features is not None:
            data = data.with_items(features.known_ids(), "item_features")
        followed = self._transitions(data)
        return self._fit_graph(X, data.index.item_ids, followed, features, resolutions)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_pairs(self, pairs, *, items=None):
        """Build the item graph of pairs that were counted already.

        The clusters are those of `fit` on the sessions that the pairs were counted in.
        `skclip.preprocessing.item_pairs` counts them in a log of any size.

        Parameters
        ----------
        pairs : data frame
            The columns ``low`` and ``high``, two raw item ids, and ``weight``, a number
            of 0 or more. Either may be the smaller id, and equal pairs are added up.
            Weights are taken as they are, whatever `per_session_binary` is. Pairs of an
            item with itself count with `self_loops` only. A lazy frame is collected.
        items : array-like of shape (n_further_items,), default=None
            Raw ids of further items of the catalog. Items that no pair has, such as
            those of sessions of one click, are not known otherwise.

        Returns
        -------
        self : SessionClusterer
            The estimator itself, fitted.

        Raises
        ------
        TypeError
            `pairs` is no data frame, or its weights are no numbers.
        ValueError
            A column or a value is missing, a weight is negative or infinite, or no pair
            has a weight above 0.

        Examples
        --------
        >>> import pandas as pd
        >>> from skclip import SessionClusterer
        >>> pairs = [("cup", "tea", 2), ("milk", "cup", 1), ("nail", "saw", 2)]
        >>> pairs = pd.DataFrame(pairs, columns=["low", "high", "weight"])
        >>> clusterer = SessionClusterer(random_state=0).fit_pairs(pairs)
        >>> dict(zip(clusterer.item_ids_.tolist(), clusterer.membership_.tolist()))
        {'cup': 0, 'milk': 0, 'nail': 1, 'saw': 1, 'tea': 0}
        """
        check_engine(self.engine)
        resolutions = self._resolutions()
        pairs = read_pairs(pairs, items)
        features = self._used_features(pairs.item_ids)
        if features is not None:
            pairs = pairs.with_items(features.known_ids(), "item_features")
        followed = pairs.graph(self_loops=self.self_loops)
        return self._fit_graph(None, pairs.item_ids, followed, features, resolutions)

    def _fit_graph(self, X, item_ids, followed, features, resolutions):
        """Become fitted on the graph of what follows each other in `X`."""
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        graph = self._with_text(followed, features, item_ids)
        engine = engine_for(self.engine, graph)
        levels, n_clusters = self._partitions(graph, resolutions, seed, engine)
        return self._adopt_membership(
            X,
            item_ids,
            levels,
            n_clusters_=n_clusters,
            graph_=graph,
            modularity_=modularity(graph, levels[:, 0]),
            cluster_drift_=0.0,
            engine_=engine,
            _followed=None if features is None else followed,
        )

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Add sessions to the graph and let the clusters follow.

        New items are appended to `item_ids_`. Leiden begins with the clusters that
        there are; a cluster keeps its number as long as it overlaps most with what it
        was, and numbers of clusters that are gone stay empty.

        Parameters
        ----------
        X : Sessions or list of lists
            Further training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            As in `fit`.
        sample_weight : array-like of shape (n_sessions,), default=None
            As in `fit`.

        Returns
        -------
        self : SessionClusterer
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            As in `fit`, or `resolution` has another number of resolutions than then.
        """
        if not hasattr(self, "membership_"):
            return self.fit(X, y, sample_weight)
        check_engine(self.engine)
        resolutions = self._resolutions()
        if len(resolutions) != self.levels_.shape[1]:
            raise ValueError(
                f"resolution={self.resolution!r}, but fit had {self.levels_.shape[1]} "
                "of them. Pass as many, or fit again."
            )
        data = training_data(X, y, known=self._index, sample_weight=sample_weight)
        features = self._used_features(append_ids(self.item_ids_, data.index.item_ids))
        data = data.appended_to(self.item_ids_, features and features.known_ids())
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        before = self.graph_ if self._followed is None else self._followed
        followed = grown_graph(before, data.n_items) + self._transitions(data)
        graph = self._with_text(followed, features, data.index.item_ids)
        engine = engine_for(self.engine, graph, begun=True)
        levels, n_clusters = self._moved_partitions(graph, resolutions, seed, engine)
        was, now = self.membership_, levels[: len(self.membership_), 0]
        return self._adopt_membership(
            X,
            data.index.item_ids,
            levels,
            n_clusters_=n_clusters,
            graph_=graph,
            modularity_=modularity(graph, levels[:, 0]),
            cluster_drift_=1.0 - adjusted_rand_score(was, now),
            engine_=engine,
            _followed=None if features is None else followed,
        )

    def _resolutions(self):
        """The resolutions as a list."""
        if isinstance(self.resolution, Real):
            return [self.resolution]
        given = self.resolution
        ordered = np.ndim(given) == 1 and not isinstance(given, str | bytes)
        given = list(given) if ordered else []
        if not given or not all(isinstance(r, Real) and 0 < r < np.inf for r in given):
            raise ValueError(
                f"resolution={self.resolution!r}. Expected a number above 0, or a "
                "sequence of such numbers."
            )
        return given

    def _transitions(self, data):
        return build_item_graph(
            data.codes,
            data.offsets,
            data.n_items,
            ends=data.graph_ends,
            self_loops=self.self_loops,
            per_session_binary=self.per_session_binary,
            weights=data.weights,
        )

    def _partitions(self, graph, resolutions, seed, engine):
        """Clusters (n_items, n_levels), and their number at the first level."""
        found = [self._partition(graph, r, seed, engine) for r in resolutions]
        return np.column_stack([clusters for clusters, _ in found]), found[0][1]

    def _moved_partitions(self, graph, resolutions, seed, engine):
        """The same, begun with the present clusters, whose numbers are kept.

        Items without an edge go to the cluster with most items.
        """
        n_known, n_items = len(self.levels_), graph.shape[0]
        had_edge = np.diff(self.graph_.indptr) > 0
        linked = np.diff(graph.indptr) > 0
        levels = np.zeros((n_items, len(resolutions)), dtype=np.int32)
        counts = []
        for level, resolution in enumerate(resolutions):
            start = np.full(n_items, -1, dtype=np.int64)
            start[:n_known][had_edge] = self.levels_[had_edge, level]
            labels, n_found = self._partition(
                graph, resolution, seed, engine, start.copy()
            )
            counts.append(n_found)
            if linked.any():
                clusters = align_clusters(labels[linked], start[linked])
                levels[linked, level] = clusters
                levels[~linked, level] = np.bincount(clusters).argmax()
        return levels, counts[0]

    def _partition(self, graph, resolution, seed, engine, start=None):
        return leiden_membership(
            graph,
            resolution=resolution,
            n_iterations=self.n_iterations,
            seed=seed,
            engine=engine,
            start=start,
        )

    def _used_features(self, item_ids):
        """The features that make edges, which must have a row for these items."""
        features = as_item_features(self.item_features)
        if self.graph_edges == "cooccurrence":
            return None
        if features is None:
            raise ValueError(
                f"graph_edges={self.graph_edges!r} needs item_features. Pass "
                "ItemFeatures (skclip.text), or graph_edges='cooccurrence'."
            )
        features.rows_of(item_ids)
        return features

    def _with_text(self, followed, features, item_ids):
        """The graph of transitions, joined with or replaced by that of features."""
        if features is None:
            return followed
        vectors = features.rows_of(item_ids)
        alike = text_graph(vectors, n_neighbors=self.n_neighbors)
        if self.graph_edges == "text":
            return alike
        mean = followed.data.mean() if followed.nnz else 1.0
        return (followed + self.text_weight * mean * alike).tocsr()
