"""`CandidateRanker`: a classifier puts the candidates of a recommender in order."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
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
from skclip._warnings import told_already, warn_user
from skclip.exceptions import TrainingWarning
from skclip.rerank._features import candidate_features, column_names, item_facts
from skclip.rerank._lists import ListReranker, blocks, first_candidates, shares_items
from skclip.rerank._similarity import check_clusters_items


class CandidateRanker(ListReranker):
    """Let a classifier put the first items of a recommender in order.

    A recommender finds candidates, and a classifier that knows more about each of them
    orders them: two stages, as in large shops. The classifier learns from the latest
    training sessions. The recommender has not seen these at that time: on sessions
    that it was trained on, its scores would look far too good.

    Parameters
    ----------
    estimator : recommender, or Pipeline or search that ends in one
        The base. `fit` clones and fits it, unless `prefit`.
    classifier : classifier of scikit-learn, default=None
        What learns which candidate is the next item: any classifier with
        ``predict_proba`` or ``decision_function``. It is cloned. None is
        ``HistGradientBoostingClassifier(learning_rate=0.05, max_leaf_nodes=15)``.
    n_candidates : int, default=100
        Number of first items of the base that are put in order. The rest follows in
        the order of the base. What ties with the first item of the rest belongs to it.
    held_out_fraction : float, default=0.2
        Share of the sessions that the classifier learns from. They are the latest
        sessions where times are known, else the last rows.
    n_negatives : int or None, default=20
        Number of other candidates that are drawn for each target. None takes all.
    max_targets : int or None, default=20_000
        Number of held-out targets that are learned from at most, evenly spread. None
        sets no limit.
    clusterer : clusterer or None, default=None
        What finds the clusters of items. It is cloned. None is
        ``SessionClusterer()``. `skclip.controls.OneCluster` switches clusters off.
    item_columns : ItemFeatures, data frame or mapping, default=None
        Further features of the items, by item id. Every item of the catalog needs a
        row. Fill missing values, and add a column that says which are missing.
    refit : bool, default=True
        Whether the base is fitted a second time, on all sessions. False saves time;
        items that only the latest sessions have are then missing.
    prefit : bool, default=False
        Whether `estimator` is fitted and taken as it is, also by clones. It must not
        have seen the latest `held_out_fraction` of the sessions given to `fit`. This
        cannot be checked.
    random_state : int, RandomState instance or None, default=None
        Seed of the negatives, and of the classifier and the clusterer where they have
        none.

    Attributes
    ----------
    estimator_ : recommender
        The fitted base.
    classifier_ : classifier or None
        The fitted classifier; None if there was nothing to learn. Lists are then those
        of the base.
    feature_names_ : ndarray of shape (n_features,)
        Names of the columns that the classifier gets.
    candidate_recall_ : float
        Share of the held-out targets that were among the candidates. No order of them
        can find more.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog: that of the base.

    See Also
    --------
    MMRReranker : Makes lists more diverse.
    VotingRecommender : Adds up the probabilities of several recommenders.

    Notes
    -----
    Features of a session and a candidate: ``score`` and ``rank`` in the base, and
    ``relative_score``, which is 1 for the best candidate and 0 for the last;
    ``session_recency`` is 1 / (1 + clicks since the last one on the candidate) or 0,
    ``session_clicks`` the number of clicks on it, ``session_length`` that of all;
    ``followed_last`` is the share of the clicks after the last item that went to the
    candidate, and ``same_cluster`` whether it is in its cluster. If the base has
    ``item_vectors_``, ``similarity_to_last`` is their cosine. Of the candidate alone:
    ``log_popularity``; with times ``days_since_click``, the days from the last session
    that has it to the end of the training sessions; ``cluster``, its number, -1 for
    none; and `item_columns`. None is ever NaN.

    For the classifier all of these come from the other sessions, none of which is held
    out. Then the base and the features are those of all sessions, but the clusters stay
    as they are, since the classifier knows their numbers.

    Bases that count, such as `SessionKNN` and rules, give higher scores when they are
    fitted again on more sessions. A classifier that splits on ``score`` then meets
    another scale, while ``relative_score`` and ``rank`` keep theirs. Where a second fit
    makes lists worse, compare with ``refit=False``, or pass a Pipeline that drops the
    first column as `classifier`.

    Candidates to which the classifier gives the same value are in the order of the
    base, and equal if they are equal there. Scores of the candidates are those that the
    base gave them, in the new order. `n_candidates` is read at prediction too.

    `skclip.save` cannot carry a fitted classifier of scikit-learn. Use joblib for files
    that you alone open.

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
        estimator,
        classifier=None,
        *,
        n_candidates=100,
        held_out_fraction=0.2,
        n_negatives=20,
        max_targets=20_000,
        clusterer=None,
        item_columns=None,
        refit=True,
        prefit=False,
        random_state=None,
    ):
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
    def fit(self, X, y=None, sample_weight=None):
        """Fit the base, the classifier on its candidates, and the base again.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Whole sessions are the recommended
            input: of prefixes of one session, only some might be held out.
        y : array-like of shape (n_sessions,), default=None
            Next items.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more, for the base, the clusterer and, where its
            `fit` takes them, the classifier. A row of weight 0 is left out. None is 1
            for all.

        Returns
        -------
        self : CandidateRanker
            The estimator itself, fitted.

        Raises
        ------
        TypeError
            The base is no recommender of skclip, or the classifier has neither
            ``predict_proba`` nor ``decision_function``. `fit` of the base or of the
            clusterer takes no `sample_weight`.
        ValueError
            An item of the catalog has no row in `item_columns`.

        Warns
        -----
        TrainingWarning
            There was nothing to learn: no held-out target is among the candidates, or
            no candidate is another item. Lists are then those of the base.
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
        """Classifier and clusterer to fit, with seeds where they have none."""
        parts = self._parts()
        inside = estimators_inside(parts["classifier"])
        if any(hasattr(part, "predict_topk") for part in inside):
            raise TypeError(
                f"classifier is a {type(parts['classifier']).__name__}, which is or "
                "holds a recommender. Pass a classifier of scikit-learn, such as "
                "HistGradientBoostingClassifier()."
            )
        if _method_of(parts["classifier"]) is None:
            raise TypeError(
                f"classifier is a {type(parts['classifier']).__name__}, which has "
                "neither predict_proba nor decision_function. Pass a classifier that "
                "has, such as HistGradientBoostingClassifier()."
            )
        return [_seeded(clone(part), rng) for part in parts.values()]

    def _own_columns(self, data):
        """`item_columns` as `ItemFeatures` and names, or None; refuses wrong ones."""
        features = as_item_features(self.item_columns, "item_columns")
        if features is None:
            return None
        self._check_rows(features, data, "item_columns")
        return features, column_names(self.item_columns, features.shape[1])

    def _learned(self, classifier, estimator, facts, held_out, rng, weights):
        """The fitted classifier, None if nothing can be learned; candidate recall."""
        sessions, y = held_out
        seed, n_targets, n_hits, labels = rng.randint(2**31 - 1), 0, 0, np.empty(0)
        if len(sessions):
            base, _ = base_of(estimator, None)
            queries = query_data(sessions, base._index, y, every_prefix=y is None)
            weights = _target_weights(sessions, queries, y, weights)
            if weights is not None:  # what counts nothing is no target
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
                "The classifier has nothing to learn, and lists are those of the "
                f"base. {why}",
                TrainingWarning,
            )
            return None, recall
        of_pairs = {}
        if weights is not None and has_fit_parameter(classifier, "sample_weight"):
            of_pairs["sample_weight"] = weights[of_query]
        return classifier.fit(features, labels, **of_pairs), recall

    def _why_nothing(self, base, held_out, n_targets, n_hits):
        """Why there is nothing to learn, and what to do about it."""
        of_latest = f"of the latest {len(held_out)} sessions"
        if len(held_out) == 0:
            fraction = self.held_out_fraction
            size = "larger" if fraction <= 0.5 else "smaller"
            return (
                f"held_out_fraction={fraction} does not divide so few sessions in two. "
                f"Pass more sessions, or a {size} held_out_fraction."
            )
        if not shares_items(base, held_out.vocabulary):
            what = "sessions of items that it knows" if self.prefit else "more sessions"
            return (
                f"None of the items {of_latest} is in the catalog of the base. Pass "
                f"{what}."
            )
        if n_targets == 0:
            return f"None {of_latest} has 2 items. Pass more sessions of 2 items."
        if n_hits == 0:
            return (
                f"None of the {n_targets} targets {of_latest} is among the first "
                f"{self.n_candidates} items of the base. Pass more sessions, or a "
                "larger n_candidates."
            )
        return (
            f"Each of the candidates {of_latest} is a target, and no other item is "
            "beside it. Pass more sessions, or a larger n_candidates."
        )

    def candidate_features(self, X, y=None):
        """Return what the classifier is told about the candidates of some targets.

        For a look inside, such as ``sklearn.inspection.permutation_importance`` of
        `classifier_`.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None takes every prefix of every session.

        Returns
        -------
        features : ndarray of shape (n_pairs, n_features), float32
            Columns are `feature_names_`; all candidates of the targets that are among
            them, best first in the base.
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
    """Refuse to fit on early sessions none of which has two items."""
    if (early.lengths + (y is not None) < 2).all():
        raise ValueError(
            f"Of {n_sessions} sessions {len(early)} are not held out, and none of "
            "these has 2 items, so no item follows another. Pass more sessions of 2 "
            "items or more."
        )


def _facts_of(base, clusterer, data, columns, before=None):
    """`ItemFacts` from training sessions; of the same kinds as some before."""
    timed = data.end_times is not None and not np.isnan(data.end_times).all()
    if before is not None:
        timed = before.timed
    return item_facts(data, base, clusterer, columns, timed)


def places_by(values, base_values):
    """Place of each candidate by value, then by the base; equal ones share the first.

    Both have shape (n, m); `base_values` do not rise along a row.
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
    """Features, labels and queries of candidates, of the targets that are among them.

    `n_negatives` of the other candidates are drawn for each, or all taken.
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
    """`n` of those that are able to be drawn in each row, at random, or all of them."""
    if n is None or n >= able.shape[1]:
        return able
    keys = np.where(able, keys, 2)
    return able & (keys <= np.partition(keys, n - 1, axis=1)[:, n - 1 : n])


def _target_weights(sessions, queries, y, of_rows):
    """Weight of each target, of its event and its row; None where each is 1."""
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
    """Positions of at most so many of `n` things, evenly spread."""
    if most is None or n <= most:
        return np.arange(n)
    return np.linspace(0, n - 1, most).astype(np.int64)


def _method_of(classifier):
    """Name of the method that tells how likely a candidate is the target, or None."""
    methods = ("predict_proba", "decision_function")
    return next((name for name in methods if hasattr(classifier, name)), None)


def _values_of(classifier, features):
    values = getattr(classifier, _method_of(classifier))(features)
    return values if values.ndim == 1 else values[:, 1]


def _seeded(estimator, rng):
    """An estimator with a seed drawn for each random state that has none."""
    params = estimator.get_params()
    names = [name for name in params if name.split("__")[-1] == "random_state"]
    seeds = {n: rng.randint(2**31 - 1) for n in names if params[n] is None}
    return estimator.set_params(**seeds)
