"""SessionClusterer: an item graph, and its Leiden clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.metrics import adjusted_rand_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._clusters._item_graph import build_item_graph, grown_graph, text_graph
from skclip._clusters._leiden import (
    PACKAGES,
    Engine,
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
    Sessions,
    append_ids,
    as_item_features,
    as_sessions,
    query_data,
    training_data,
    warn_other_type,
)
from skclip._sklearn import Interval, StrOptions, TransformerMixin, _fit_context
from skclip._typing import (
    FeaturesLike,
    Frame,
    Ids,
    IntArray,
    RandomState,
    Self,
    SessionsLike,
    SparseMatrix,
    Weights,
)


class ItemClusterer(
    TransformerMixin, CatalogMixin, SessionEstimator, auto_wrap_output_keys=None
):
    """Methods of a clusterer of items, all based on its ``membership_``."""

    membership_: IntArray
    levels_: IntArray
    n_clusters_: int
    cluster_sizes_: IntArray
    set_fit_request: Callable[..., Self]

    def transform(self, X: SessionsLike) -> Sessions:
        """Return the sessions with the cluster of each event.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).

        Returns
        -------
        sessions : Sessions
            The rows of `X` with ``clusters`` of shape (n_events, n_levels). These are
            ``levels_ + 1``, and 0 for items not seen in `fit`.
        """
        check_is_fitted(self)
        sessions = as_sessions(X, self._index)
        codes = self._index.codes_of(sessions.vocabulary)
        warn_other_type(self._index, "X", sessions.vocabulary[codes == 0])
        clusters = np.pad(self.levels_ + 1, ((1, 0), (0, 0)))[codes]
        return sessions.with_clusters(clusters[sessions.codes])

    def predict(self, X: SessionsLike) -> IntArray:
        """Return the cluster of each event, also of items not seen in `fit`.

        The neighbors of an unseen item in its session vote for its cluster. All events
        of the given session count. If a session has unseen items only, they get the
        largest cluster.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).

        Returns
        -------
        clusters : ndarray of shape (n_sessions, longest session), int32
            Clusters 0..n_clusters_-1 as in ``membership_``, and -1 behind the end of
            a session.
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # Sessions have none
        return tags

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "membership_" in state and "levels_" not in state:
            raise ValueError("this version stores clusters in another form")
        super().__setstate__(state)

    def _adopt_membership(self, X, item_ids, levels, **fitted):
        """Set the fitted attributes, with clusters `levels` (n_items, n_levels)."""
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

    `fit` builds the item graph of the training sessions. The weight of an edge counts
    how often its two items follow each other, in either direction. The Leiden
    algorithm [2]_ then partitions the graph. This is section 3.2 of CLIP-SBR [1]_,
    called item relationship mining. `transform` returns the same sessions with the
    cluster of each event, which `CLIPSessionRecommender` turns into prompts.

    Parameters
    ----------
    resolution : float or sequence of float, default=1.0
        Resolution of the partition, above 0. Higher values give more and smaller
        clusters. 1 was best in all experiments of [1]_. With a sequence, the graph is
        partitioned at each resolution, and an item's prompt is the mean of the prompts
        of its clusters. Try (1, 16, 256) if your items have few clicks; it brought more
        hits there, but not always a better MRR. The page "Benchmarks" of the
        documentation has results. ``membership_`` has the clusters of the first value.
    n_iterations : int, default=2
        Number of passes of the Leiden algorithm. A negative number runs it until
        nothing changes. The default is that of leidenalg.
    engine : str, default="auto"
        Implementation of the Leiden algorithm. All maximize modularity with the
        configuration null model, but their partitions may differ.

        - "leidenalg" is its ``RBConfigurationVertexPartition``;
        - "igraph" is the implementation in C;
        - "networkit" is ``ParallelLeiden``, the fastest one with least memory on large
          graphs. It needs ``pip install 'skclip[networkit]'``;
        - "graspologic" is ``leiden`` of graspologic-native [3]_. It needs
          ``pip install 'skclip[graspologic]'`` and loads no code under the GPL.

        "auto" is "leidenalg" for graphs of up to a million edges and "igraph" for
        larger ones. NetworKit runs on one thread, because with several threads clusters
        differ from run to run. It cannot start from given clusters, so `partial_fit`
        uses igraph instead. igraph and leidenalg are under the GPL. With "graspologic"
        you can remove both.
    self_loops : bool, default=False
        Whether to keep transitions from an item to itself as weighted loops.
    per_session_binary : bool, default=False
        Whether to count each pair of items once per session. False counts every
        transition.
    graph_edges : {"cooccurrence", "text", "both"}, default="cooccurrence"
        Origin of the edges. "cooccurrence" links items that follow each other, "text"
        links items with similar `item_features`, and "both" uses both kinds. With
        features, items without clicks get a cluster too. They also get a prompt if this
        object is the recommender's `clusterer`, but not if it is a step of a Pipeline.
        An edge from features has the cosine as its weight. With "both", this weight is
        multiplied by `text_weight` and by the mean weight of the edges from sessions.
    item_features : ItemFeatures, default=None
        Vectors of the items, needed for edges from features. Each item of the sessions
        must have a row. Further items join the graph if their row is not zero.
    n_neighbors : int, default=10
        Number of nearest items by features that each item is linked to. Links go both
        ways, so an item may have more.
    text_weight : float, default=0.2
        Weight of the edges from features with ``graph_edges="both"``, above 0, relative
        to the mean weight of the edges from sessions.
    random_state : int, RandomState instance or None, default=None
        Seed of the Leiden algorithm.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted. With edges from features, the items
        of `item_features` are included.
    graph_ : csr_array of shape (n_items, n_items)
        Symmetric edge weights, in transitions.
    membership_ : ndarray of shape (n_items,), int32
        Cluster 0..n_clusters_-1 of each item. Clusters are numbered by decreasing
        number of items, and equal ones by their smallest item. Items without an edge
        belong to the largest cluster, 0.
    levels_ : ndarray of shape (n_items, n_levels), int32
        Clusters at each resolution. The first column is ``membership_``.
    n_clusters_ : int
        Number of clusters among the items with an edge, or 1 without any edge. This
        and the following attributes belong to the first resolution.
    cluster_sizes_ : ndarray of shape (n_clusters,)
        Number of items in each cluster, including items without an edge.
    modularity_ : float
        Newman's modularity of the partition. It is always computed at resolution 1, so
        that partitions can be compared.
    engine_ : {"leidenalg", "igraph", "networkit", "graspologic"}
        Engine of the last `fit` or `partial_fit`.
    cluster_drift_ : float
        Change of the clusters of known items in the last `partial_fit`: 1 minus the
        adjusted Rand index of their clusters before and after. 0 after `fit`.

    See Also
    --------
    CLIPSessionRecommender : Learns a prompt per cluster.
    skclip.controls : Random and single clusters for comparison.

    Notes
    -----
    Building the graph takes one sort of the transitions. The graph has at most two
    entries per distinct pair of items. The Leiden algorithm takes most of the time.

    Differences from the paper and its code:

    - **Sessions in the graph.** The paper builds the graph from training sessions. Its
      code also links the targets of validation and test rows, and leaves out the first
      transition of each session. skclip uses all adjacent pairs of the sessions given
      to `fit` and no others, because clusters learned from test targets would leak.
    - **Self transitions.** The published code keeps transitions from an item to itself
      as loops. skclip drops them, because a loop links nothing and only raises the
      item's strength in the null model; ``self_loops=True`` keeps them.
    - **Edge weights.** The text of the paper can be read as counting pairs per session,
      and its code counts every transition. skclip counts every transition;
      ``per_session_binary=True`` counts a pair once per session.
    - **Seed and passes.** The published code sets no seed, makes two passes and reuses
      an old partition. By default, skclip also makes two passes at resolution 1. It
      takes the seed from `random_state` and stores no partition, so that clusters do
      not change from run to run.
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
    .. [3] `graspologic-native
           <https://github.com/graspologic-org/graspologic-native>`__, a package of the
           graspologic project under the MIT license.

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

    graph_: SparseMatrix
    modularity_: float
    cluster_drift_: float
    engine_: str
    set_partial_fit_request: Callable[..., Self]

    _parameter_constraints: dict = {
        "resolution": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "n_iterations": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Integral, None, -1, closed="right"),
        ],
        "engine": [StrOptions(set(PACKAGES))],
        "self_loops": ["boolean"],
        "per_session_binary": ["boolean"],
        "graph_edges": [StrOptions({"cooccurrence", "text", "both"})],
        "item_features": "no_validation",  # checked by `as_item_features`
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "text_weight": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        resolution: float | Sequence[float] = 1.0,
        *,
        n_iterations: int = 2,
        engine: Engine = "auto",
        self_loops: bool = False,
        per_session_binary: bool = False,
        graph_edges: Literal["cooccurrence", "text", "both"] = "cooccurrence",
        item_features: FeaturesLike | None = None,
        n_neighbors: int = 10,
        text_weight: float = 0.2,
        random_state: RandomState = None,
    ) -> None:
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
    def fit(
        self, X: SessionsLike, y: Ids | None = None, sample_weight: Weights = None
    ) -> Self:
        """Build the item graph of `X` and find its clusters.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Target of each row. With targets, only the transition from the last item of
            ``X[i]`` to ``y[i]`` enters the graph. None uses all transitions.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more. They multiply the weights of the events and
            of the target. Rows of weight 0 are left out. None means 1 for all.

        Returns
        -------
        self : SessionClusterer
            The estimator itself, fitted.

        Raises
        ------
        ImportError
            If a package of the `engine` is not installed.
        ValueError
            If no session has two items, an item id is missing, or a weight is negative,
            missing or infinite. If `resolution` is neither a number above 0 nor a
            sequence of them.
        """
        check_engine(self.engine)
        resolutions = self._resolutions()
        data = training_data(X, y, sample_weight=sample_weight)
        if (np.diff(data.offsets) < 2).all():
            raise ValueError(
                f"All {len(data.offsets) - 1} sessions have fewer than 2 items "
                "(n_features = 1 for an array), so no item follows another. Pass "
                "sessions of 2 items or more. If they come from Sessions.from_events, "
                "check its session column."
            )
        features = self._used_features(data.index.item_ids)
        if features is not None:
            data = data.with_items(features.known_ids(), "item_features")
        followed = self._transitions(data)
        return self._fit_graph(X, data.index.item_ids, followed, features, resolutions)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_pairs(self, pairs: Frame, *, items: Ids | None = None) -> Self:
        """Build the item graph from counted pairs and find its clusters.

        The clusters equal those of `fit` on the sessions in which the pairs were
        counted. `skclip.preprocessing.item_pairs` counts pairs in a log of any size.

        Parameters
        ----------
        pairs : data frame
            Pairs of items. The columns ``low`` and ``high`` have two raw item ids in
            any order, and ``weight`` has a number of 0 or more. The weights of equal
            pairs are added. `per_session_binary` has no effect. Pairs of an item with
            itself count with ``self_loops=True`` only. A lazy frame is collected.
        items : array-like of shape (n_further_items,), default=None
            Raw ids of further items of the catalog. Use it for items without a pair,
            such as items of sessions of one click.

        Returns
        -------
        self : SessionClusterer
            The estimator itself, fitted.

        Raises
        ------
        ImportError
            As in `fit`.
        TypeError
            If `pairs` is not a data frame, or a weight is not a number.
        ValueError
            If a column or a value is missing, a weight is negative or infinite, or no
            pair has a weight above 0.

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
        """Find the clusters of a graph of transitions, and set fitted attributes."""
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
    def partial_fit(
        self, X: SessionsLike, y: Ids | None = None, sample_weight: Weights = None
    ) -> Self:
        """Add sessions to the graph and update the clusters.

        New items are appended to `item_ids_`. Leiden starts from the present clusters.
        A new cluster takes the number of the old one that it overlaps most. Numbers of
        clusters that vanish stay empty.

        Parameters
        ----------
        X : Sessions or list of lists
            Further training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Targets, as in `fit`.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, as in `fit`.

        Returns
        -------
        self : SessionClusterer
            The estimator itself, fitted.

        Raises
        ------
        ImportError
            As in `fit`. With ``engine="networkit"``, igraph is needed.
        ValueError
            As in `fit`, or if the number of resolutions differs from that of `fit`.
        """
        if not hasattr(self, "membership_"):
            return self.fit(X, y, sample_weight)
        check_engine(self.engine, begun=True)
        resolutions = self._resolutions()
        if len(resolutions) != self.levels_.shape[1]:
            raise ValueError(
                f"resolution={self.resolution!r}, but fit had {self.levels_.shape[1]} "
                "of them. Pass the same number of resolutions, or call fit."
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
        """Return the resolutions as a list."""
        if isinstance(self.resolution, Real):
            return [self.resolution]
        given = self.resolution
        ordered = np.ndim(given) == 1 and not isinstance(given, str | bytes)
        given = list(given) if ordered else []
        if not given or not all(isinstance(r, Real) and 0 < r < np.inf for r in given):
            raise ValueError(
                f"resolution={self.resolution!r}. Expected a number above 0, or a "
                "sequence of them."
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
        """Return clusters (n_items, n_levels), and their number at the first level."""
        found = [self._partition(graph, r, seed, engine) for r in resolutions]
        return np.column_stack([clusters for clusters, _ in found]), found[0][1]

    def _moved_partitions(self, graph, resolutions, seed, engine):
        """Like `_partitions`, but start from the present clusters and their numbers.

        Items without an edge get the cluster with most items.
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
        """Return the features for edges, or None. Each item must have a row."""
        features = as_item_features(self.item_features)
        if self.graph_edges == "cooccurrence":
            return None
        if features is None:
            raise ValueError(
                f"graph_edges={self.graph_edges!r} needs item_features. Pass an "
                "ItemFeatures object, or graph_edges='cooccurrence'."
            )
        features.rows_of(item_ids)
        return features

    def _with_text(self, followed, features, item_ids):
        """Add the graph of features to that of transitions, or replace it."""
        if features is None:
            return followed
        vectors = features.rows_of(item_ids)
        alike = text_graph(vectors, n_neighbors=self.n_neighbors)
        if self.graph_edges == "text":
            return alike
        mean = followed.data.mean() if followed.nnz else 1.0
        return (followed + self.text_weight * mean * alike).tocsr()
