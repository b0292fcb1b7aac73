"""`CandidateRanker`: a classifier that reorders the candidates of a recommender."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import has_fit_parameter

from skclip._clusters import SessionClusterer
from skclip._data import (
    ItemFeatures,
    as_item_features,
    as_sessions,
    check_targets,
    checked_sample_weight,
    latest_rows,
    query_data,
    taken,
    training_data,
)
from skclip._inside import estimators_inside, weight_argument, without_checkpoint
from skclip._ranking import base_of, queries_of_base
from skclip._sklearn import HasMethods, Interval, _fit_context
from skclip._typing import (
    Estimator,
    FeaturesLike,
    FloatArray,
    Ids,
    IntArray,
    RandomState,
    Self,
    SessionsLike,
    Weights,
)
from skclip._warnings import told_already, warn_user
from skclip.exceptions import TrainingWarning
from skclip.rerank._features import candidate_features, column_names, item_facts
from skclip.rerank._lists import ListReranker, blocks, first_candidates, shares_items
from skclip.rerank._similarity import check_clusters_items


class CandidateRanker(ListReranker):
    """Reorder the first items of a recommender by a classifier.

    This makes two stages, as in large shops. The recommender finds candidates, and a
    classifier with more features of each candidate orders them. The classifier learns
    from the latest training sessions, which are held out from the recommender until
    then. On its own training sessions, the scores of a recommender look far too good.

    Parameters
    ----------
    estimator : recommender, or Pipeline or search that ends in one
        Base recommender. `fit` clones and fits it, unless `prefit` is True.
    classifier : classifier of scikit-learn, default=None
        Classifier that learns which candidate is the next item. It needs
        ``predict_proba`` or ``decision_function``, and is cloned. None means
        ``HistGradientBoostingClassifier(learning_rate=0.05, max_leaf_nodes=15)``.
    n_candidates : int, default=100
        Number of first items of the base to reorder. The rest follows in the order of
        the base. Items that tie with the first item of the rest belong to the rest.
    held_out_fraction : float, default=0.2
        Share of the sessions that the classifier learns from. These are the latest
        sessions, or the last rows if there are no times.
    n_negatives : int or None, default=20
        Number of other candidates to draw for each target. None uses all.
    max_targets : int or None, default=20_000
        Largest number of held-out targets to learn from, evenly spread. None sets no
        limit.
    clusterer : clusterer or None, default=None
        Clusterer of the items. It is cloned. None means ``SessionClusterer()``. To turn
        clusters off, pass `skclip.controls.OneCluster`.
    item_columns : ItemFeatures, data frame or mapping, default=None
        Further features of the items, by item id. Every item of the catalog needs a
        row. Fill missing values, and add a column that marks them.
    refit : bool, default=True
        Whether to fit the base a second time, on all sessions. False saves time, but
        items that only occur in the latest sessions are then missing.
    prefit : bool, default=False
        Whether `estimator` is already fitted. `fit` and clones then use it unchanged.
        It must not have seen the latest `held_out_fraction` of the sessions that you
        pass to `fit`. skclip cannot check this.
    random_state : int, RandomState instance or None, default=None
        Seed for drawing the negatives. It also seeds the classifier and the clusterer
        if they have no seed.

    Attributes
    ----------
    estimator_ : recommender
        The fitted base.
    classifier_ : classifier or None
        The fitted classifier, or None if there was nothing to learn. Lists are then
        those of the base.
    feature_names_ : ndarray of shape (n_features,)
        Names of the features that the classifier gets.
    candidate_recall_ : float
        Share of the held-out targets that are among the candidates. This is an upper
        bound for every reordering.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog, which is that of the base.

    See Also
    --------
    MMRReranker : Make lists more diverse.
    VotingRecommender : Combine several recommenders.

    Notes
    -----
    Features of the list of the base are ``score`` and ``rank``, and ``relative_score``,
    which is 1 for the best candidate and 0 for the last. Features of the session are
    ``session_length``, the number of its clicks, ``session_clicks``, the number of
    clicks on the candidate, and ``session_recency``. The latter is 1 / (1 + clicks
    since the last one on the candidate), or 0 if there is none.

    Features of the last item and the candidate are ``followed_last``, the share of the
    clicks after the last item that went to the candidate, and ``same_cluster``. If the
    base has ``item_vectors_``, ``similarity_to_last`` is the cosine of their vectors.

    Features of the candidate alone are ``log_popularity``, ``cluster`` and
    `item_columns`. ``cluster`` is its number, or -1 for no cluster. With times,
    ``days_since_click`` is added: the days from the last session with the candidate
    to the end of the training sessions. No feature is ever NaN.

    To train the classifier, all of these are computed without the held-out sessions.
    Afterwards the base and the features are computed from all sessions. The clusters
    stay as they are, because the classifier has learned their numbers.

    Bases that count, such as `SessionKNN` and rules, give higher scores after a second
    fit on more sessions. A classifier that splits on ``score`` then sees another
    scale, while ``relative_score`` and ``rank`` keep theirs. If the second fit makes
    lists worse, compare with ``refit=False``, or pass a Pipeline that drops the first
    column as `classifier`.

    If the classifier gives two candidates the same value, they keep the order of the
    base, and stay tied if the base ties them. The scores of the candidates are those of
    the base, assigned in the new order. You can change `n_candidates` after `fit`.

    `skclip.save` cannot store a fitted classifier of scikit-learn. Use joblib for files
    that only you open.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skclip import CandidateRanker, PopularityRecommender
    >>> X = [["tea", "cup"], ["saw", "nail"], ["tea", "cup"], ["saw", "nail"]] * 5
    >>> ranker = CandidateRanker(
    ...     PopularityRecommender(), DecisionTreeClassifier(max_depth=3), random_state=0
    ... )
    >>> ranker.fit(X).predict_topk([["tea"], ["saw"]], k=1).tolist()
    [['cup'], ['nail']]
    >>> ranker.feature_names_[:3].tolist()
    ['score', 'relative_score', 'rank']
    """

    classifier_: Estimator
    feature_names_: NDArray[Any]
    candidate_recall_: float

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "classifier": [HasMethods(["fit"]), None],
        "n_candidates": [Interval(Integral, 2, None, closed="left")],
        "held_out_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_negatives": [Interval(Integral, 1, None, closed="left"), None],
        "max_targets": [Interval(Integral, 1, None, closed="left"), None],
        "clusterer": [HasMethods(["fit"]), None],
        "item_columns": [ItemFeatures, Mapping, HasMethods(["to_numpy"]), None],
        "refit": ["boolean"],
        "prefit": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Estimator,
        classifier: Estimator | None = None,
        *,
        n_candidates: int = 100,
        held_out_fraction: float = 0.2,
        n_negatives: int | None = 20,
        max_targets: int | None = 20_000,
        clusterer: Estimator | None = None,
        item_columns: FeaturesLike | None = None,
        refit: bool = True,
        prefit: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.classifier = classifier
        self.n_candidates = n_candidates
        self.held_out_fraction = held_out_fraction
        self.n_negatives = n_negatives
        self.max_targets = max_targets
        self.clusterer = clusterer
        self.item_columns = item_columns
        self.refit = refit
        self.prefit = prefit
        self.random_state = random_state

    def _parts(self):
        classifier, clusterer = self.classifier, self.clusterer
        if classifier is None:  # imported here: a baseline needs none
            from sklearn.ensemble import HistGradientBoostingClassifier

            classifier = HistGradientBoostingClassifier(
                learning_rate=0.05, max_leaf_nodes=15
            )
        if clusterer is None:
            clusterer = SessionClusterer()
        return {"classifier": classifier, "clusterer": clusterer}

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Fit the base, the classifier on its candidates, and the base again.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Pass whole sessions if you have
            them: with prefixes, a session may be held out only in part.
        y : array-like of shape (n_sessions,), default=None
            Next items.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more, for the base and the clusterer. The
            classifier gets them if its `fit` takes `sample_weight`. Rows with weight 0
            are left out. None gives each row the weight 1.

        Returns
        -------
        self : CandidateRanker
            The estimator itself, fitted.

        Raises
        ------
        TypeError
            If the base is not a recommender of skclip, or if the classifier has neither
            ``predict_proba`` nor ``decision_function``. Also if you pass
            `sample_weight`, and `fit` of the base or of the clusterer does not take it.
        ValueError
            If an item of the catalog has no row in `item_columns`.

        Warns
        -----
        TrainingWarning
            If there is nothing to learn, because no held-out target is among the
            candidates or because all candidates are targets. Lists are then those of
            the base.
        """
        rng = check_random_state(self.random_state)
        self._check_base()
        classifier, clusterer = self._new_parts(rng)
        sessions = as_sessions(X)
        y = None if y is None else check_targets(y, len(sessions))
        data = training_data(sessions, y, sample_weight=sample_weight)
        weights = checked_sample_weight(sample_weight, len(sessions))
        if weights is not None:
            kept = np.flatnonzero(weights)
            (sessions, y), weights = taken(sessions, y, kept), weights[kept]
        columns = self._own_columns(data)
        early, late = latest_rows(sessions, self.held_out_fraction)
        if len(early) == 0:
            early, late = late, early
        of_early, of_late = (
            None if weights is None else weights[rows] for rows in (early, late)
        )
        early, late = taken(sessions, y, early), taken(sessions, y, late)
        _check_lengths(*early, len(sessions))
        with told_already():
            clusterer.fit(*early, **weight_argument(clusterer, of_early))
            check_clusters_items(clusterer)
            estimator = self.estimator
            if not self.prefit:
                of_base = weight_argument(estimator, of_early)
                estimator = without_checkpoint(estimator).fit(*early, **of_base)
            base, _ = base_of(estimator, None)
            of_early = training_data(*early, sample_weight=of_early)
            facts = _facts_of(base, clusterer, of_early, columns)
            classifier, recall = self._learned(
                classifier, estimator, facts, late, rng, of_late
            )
            if self.refit and not self.prefit:
                of_base = weight_argument(estimator, weights)
                estimator = clone(self.estimator).fit(sessions, y, **of_base)
                base, _ = base_of(estimator, None)
            if self.refit:
                facts = _facts_of(base, clusterer, data, columns, facts)
        return self._adopt(
            X,
            estimator_=estimator,
            classifier_=classifier,
            feature_names_=facts.feature_names,
            candidate_recall_=recall,
            item_ids_=base.item_ids_,
            _index=base._index,
            _facts=facts,
        )

    def _new_parts(self, rng):
        """Classifier and clusterer to fit, seeded if they have no seed."""
        parts = self._parts()
        inside = estimators_inside(parts["classifier"])
        if any(hasattr(part, "predict_topk") for part in inside):
            raise TypeError(
                f"classifier is a {type(parts['classifier']).__name__}, which is or "
                "contains a recommender. Pass a classifier of scikit-learn, such as "
                "HistGradientBoostingClassifier()."
            )
        if _method_of(parts["classifier"]) is None:
            raise TypeError(
                f"classifier is a {type(parts['classifier']).__name__}, which has "
                "neither predict_proba nor decision_function. Pass a classifier with "
                "one of them, such as HistGradientBoostingClassifier()."
            )
        return [_seeded(clone(part), rng) for part in parts.values()]

    def _own_columns(self, data):
        """`item_columns` as `ItemFeatures` and checked names, or None."""
        features = as_item_features(self.item_columns, "item_columns")
        if features is None:
            return None
        self._check_rows(features, data, "item_columns")
        return features, column_names(self.item_columns, features.shape[1])

    def _learned(self, classifier, estimator, facts, held_out, rng, weights):
        """The fitted classifier, or None if it cannot learn, and candidate recall."""
        sessions, y = held_out
        seed, n_targets, n_hits, labels = rng.randint(2**31 - 1), 0, 0, np.empty(0)
        if len(sessions):
            base, _ = base_of(estimator, None)
            queries = query_data(sessions, base._index, y, every_prefix=y is None)
            weights = _target_weights(sessions, queries, y, weights)
            if weights is not None:  # events of weight 0 are no targets
                queries = queries.take(np.flatnonzero(weights > 0))
                weights = weights[weights > 0]
            some = _evenly(len(queries), self.max_targets)
            queries = queries.take(some)
            weights = None if weights is None else weights[some]
            n_targets = len(queries)
            features, labels, of_query = _pairs(
                estimator, facts, queries, self.n_candidates, self.n_negatives, seed
            )
            n_hits = int(labels.sum())
        recall = n_hits / n_targets if n_targets else 0.0
        if n_hits in (0, len(labels)):
            base, _ = base_of(estimator, None)
            why = self._why_nothing(base, sessions, n_targets, n_hits)
            warn_user(
                "The classifier has nothing to learn, so lists are those of the base. "
                f"{why}",
                TrainingWarning,
            )
            return None, recall
        of_pairs = {}
        if weights is not None and has_fit_parameter(classifier, "sample_weight"):
            of_pairs["sample_weight"] = weights[of_query]
        return classifier.fit(features, labels, **of_pairs), recall

    def _why_nothing(self, base, held_out, n_targets, n_hits):
        """Reason why there is nothing to learn, and what to do about it."""
        of_latest = f"of the latest {len(held_out)} sessions"
        if len(held_out) == 0:
            fraction = self.held_out_fraction
            size = "larger" if fraction <= 0.5 else "smaller"
            return (
                f"held_out_fraction={fraction} cannot split so few sessions in two. "
                f"Pass more sessions, or a {size} held_out_fraction."
            )
        if not shares_items(base, held_out.vocabulary):
            what = "sessions with items of the base" if self.prefit else "more sessions"
            return (
                f"None of the items {of_latest} is in the catalog of the base. Pass "
                f"{what}."
            )
        if n_targets == 0:
            return f"None {of_latest} has 2 items. Pass more sessions with 2 items."
        if n_hits == 0:
            return (
                f"None of the {n_targets} targets {of_latest} is among the first "
                f"{self.n_candidates} items of the base. Pass more sessions, or a "
                "larger n_candidates."
            )
        return (
            f"All candidates {of_latest} are targets, so there are no other items to "
            "compare them with. Pass more sessions, or a larger n_candidates."
        )

    def candidate_features(
        self, X: SessionsLike, y: Ids | None = None
    ) -> tuple[FloatArray, IntArray, IntArray]:
        """Return the features that the classifier gets, for the candidates of targets.

        Use it for inspection, for example with
        ``sklearn.inspection.permutation_importance`` of `classifier_`.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None takes every prefix of every session.

        Returns
        -------
        features : ndarray of shape (n_pairs, n_features), float32
            Features of all candidates, best first in the base, for the targets that
            are among their candidates. The columns are `feature_names_`.
        labels : ndarray of shape (n_pairs,), int64
            1 for the target, 0 for other candidates.
        rows : ndarray of shape (n_pairs,)
            Position of the target among all targets.
        """
        self._check_fitted()
        self._validate_params()
        queries = self._queries(X, y, every_prefix=True)
        return _pairs(self.estimator_, self._facts, queries, self.n_candidates)

    # -- ranking ---------------------------------------------------------------

    @property
    def _keeps_base(self):
        return self.classifier_ is None

    def _places(self, candidates, queries):
        features = candidate_features(self._facts, queries, candidates)
        values = np.full(candidates.valid.shape, -np.inf)
        if candidates.valid.any():
            some = features[candidates.valid]
            values[candidates.valid] = _values_of(self.classifier_, some)
        return places_by(values, candidates.values)


def _check_lengths(early, y, n_sessions):
    """Raise an error if no early session has two items."""
    if (early.lengths + (y is not None) < 2).all():
        raise ValueError(
            f"{len(early)} of {n_sessions} sessions are not held out, and none of "
            "these has 2 items, so no item follows another. Pass more sessions with 2 "
            "or more items."
        )


def _facts_of(base, clusterer, data, columns, before=None):
    """`ItemFacts` from training sessions, with the same columns as `before`."""
    timed = data.end_times is not None and not np.isnan(data.end_times).all()
    if before is not None:
        timed = before.timed
    return item_facts(data, base, clusterer, columns, timed)


def places_by(values, base_values):
    """Rank of each candidate by value, then by the base. Equal ones share the first.

    Both have shape (n, m). `base_values` do not increase along a row.
    """
    order = np.argsort(-values, axis=1, kind="stable")
    keys = [np.take_along_axis(part, order, axis=1) for part in (values, base_values)]
    firsts = np.zeros(order.shape, dtype=np.int64)
    differs = np.any([key[:, 1:] != key[:, :-1] for key in keys], axis=0)
    firsts[:, 1:] = differs * np.arange(1, order.shape[1])
    places = np.empty_like(firsts)
    np.put_along_axis(places, order, np.maximum.accumulate(firsts, axis=1), axis=1)
    return places


def _pairs(estimator, facts, queries, n_candidates, n_negatives=None, seed=0):
    """Features, labels and queries of candidates, for targets that are among them.

    `n_negatives` of the other candidates are drawn for each target. None uses all.
    """
    base, _ = base_of(estimator, None)
    asked = np.flatnonzero(queries.targets > 0)
    queries = queries.take(asked)
    found = [(np.empty((0, len(facts.feature_names)), np.float32), *np.empty((2, 0)))]
    n = min(n_candidates, len(base.item_ids_))
    shape = len(queries), 0 if n_negatives is None else n
    keys = np.random.default_rng(seed).random(shape, dtype=np.float32)
    for at, scores in base._masked_chunks(queries_of_base(estimator, base, queries)):
        candidates = first_candidates(scores, n)
        hits = candidates.columns == queries.targets[at][:, None] - 1
        hits &= candidates.valid
        reached = np.flatnonzero(hits.any(axis=1))
        for rows in blocks(len(reached), n):
            rows = reached[rows]
            part, hit = candidates.take(rows), hits[rows]
            kept = hit | _drawn(keys[at[rows]], part.valid & ~hit, n_negatives)
            features = candidate_features(facts, queries.take(at[rows]), part)
            of_row = np.repeat(asked[at[rows]], kept.sum(axis=1))
            found.append((features[kept], hit[kept], of_row))
    features, labels, rows = map(np.concatenate, zip(*found, strict=True))
    order = np.argsort(rows, kind="stable")  # chunks come in any order
    return features[order], labels[order].astype(np.int64), rows[order].astype(np.int64)


def _drawn(keys, able, n):
    """Draw `n` of the `able` candidates in each row at random, or take all of them."""
    if n is None or n >= able.shape[1]:
        return able
    keys = np.where(able, keys, 2)
    return able & (keys <= np.partition(keys, n - 1, axis=1)[:, n - 1 : n])


def _target_weights(sessions, queries, y, of_rows):
    """Weight of each target, by its event and its row, or None if each is 1."""
    own = getattr(sessions, "weights", None)
    if y is None and own is not None:
        own = own[sessions.offsets[:-1][queries.rows] + queries.ends]
    else:
        own = None
    rows = None if of_rows is None else of_rows[queries.rows]
    if own is None or rows is None:
        return rows if own is None else own
    return own * rows


def _evenly(n, most):
    """Positions of at most `most` of `n` things, evenly spread."""
    if most is None or n <= most:
        return np.arange(n)
    return np.linspace(0, n - 1, most).astype(np.int64)


def _method_of(classifier):
    """Name of the method that scores candidates by likelihood, or None."""
    methods = ("predict_proba", "decision_function")
    return next((name for name in methods if hasattr(classifier, name)), None)


def _values_of(classifier, features):
    values = getattr(classifier, _method_of(classifier))(features)
    return values if values.ndim == 1 else values[:, 1]


def _seeded(estimator, rng):
    """An estimator with a drawn seed for each `random_state` that is None."""
    params = estimator.get_params()
    names = [name for name in params if name.split("__")[-1] == "random_state"]
    seeds = {n: rng.randint(2**31 - 1) for n in names if params[n] is None}
    return estimator.set_params(**seeds)
