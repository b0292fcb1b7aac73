"""Several recommenders, one ranking."""

from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skclip._data import unmasked
from skclip._inside import unwrap
from skclip._sklearn import Composition, Interval, StrOptions, _fit_context
from skclip._warnings import told_already
from skclip.baselines import BaselineRecommender, fitted_catalog

__all__ = ["VotingRecommender"]

_RRF = 60  # "k" of [1]_ below


class VotingRecommender(BaselineRecommender, Composition):
    r"""Rank by the votes of several recommenders.

    "rrf" is reciprocal rank fusion [1]_. Only ranks count, so that members with
    incomparable scores can vote together. "score" adds the scores of the members, each
    scaled to 0..1 within a session:

    .. math::
        \mathrm{rrf}(j) = \sum_m \frac{w_m}{60 + \mathrm{rank}_m(j)}, \qquad
        \mathrm{score}(j) = \sum_m w_m
        \frac{s_m(j) - \min s_m}{\max s_m - \min s_m}

    Parameters
    ----------
    estimators : list of (str, estimator)
        Recommenders of skclip, or Pipelines that end in one. ``set_params`` sets a
        member by its name, and ``name__parameter`` within it.
    method : {"rrf", "score"}, default="rrf"
        Fusion of ranks, or sum of scaled scores.
    weights : array-like of shape (n_estimators,), default=None
        Weights :math:`w_m` of the members, at least 0. None is 1 for all.
    n_candidates : int, default=200
        Number of best items of each member that get votes with "rrf". The vote for
        rank 200 is 1 / 260, that for rank 1 is 1 / 61.
    prefit : bool, default=False
        Whether the members are fitted already. They are then used as they are.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted members.
    named_estimators_ : Bunch
        The fitted members by name.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, and of further items that a member knows,
        such as by their features, sorted.
    item_counts_ : ndarray of shape (n_items,)
        Training events of each item; they rank the items that no member votes for.

    Notes
    -----
    The cost is that of the members. "score" reads the scores of the whole catalog,
    "rrf" the best `n_candidates` items only.

    `method` and `n_candidates` are read at prediction, so they can be changed without a
    new `fit`. `estimators` and `weights` take effect in `fit`.

    References
    ----------
    .. [1] G. V. Cormack, C. L. A. Clarke, S. Buettcher, "Reciprocal rank fusion
           outperforms Condorcet and individual rank learning methods", SIGIR 2009.

    Examples
    --------
    >>> from skclip import MarkovRecommender, SessionKNN, VotingRecommender
    >>> vote = VotingRecommender([("markov", MarkovRecommender()),
    ...                           ("knn", SessionKNN())])
    >>> vote = vote.fit([["a", "b", "c"], ["a", "b"], ["b", "c"]])
    >>> vote.predict_topk([["a"]], k=1, exclude_seen=True).tolist()
    [['b']]
    """

    _parameter_constraints: dict = {
        "estimators": [list],
        "method": [StrOptions({"rrf", "score"})],
        "weights": ["array-like", None],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "prefit": ["boolean"],
        "scoring": [str, callable],
    }
    backoff = "popularity"

    def __init__(
        self,
        estimators,
        *,
        method="rrf",
        weights=None,
        n_candidates=200,
        prefit=False,
        scoring="mrr@20",
    ):
        self.estimators = estimators
        self.method = method
        self.weights = weights
        self.n_candidates = n_candidates
        self.prefit = prefit
        self.scoring = scoring

    def get_params(self, deep=True):
        """Return the parameters, those of the members by ``name__parameter``."""
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters, whole members by their name, such as ``knn=SLIST()``."""
        self._set_params("estimators", **params)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit every member on the same sessions and next items.

        Raises
        ------
        ValueError
            There are no members, two have one name, or the weights do not match.
        TypeError
            A member holds no recommender.
        NotFittedError
            `prefit` is set and a member is not fitted.
        """
        weights = self._checked_weights()
        for _, member in self.estimators:
            unwrap(member, None)
            if self.prefit:
                check_is_fitted(member)
        data = self._training_data(X, y)
        members = dict(self.estimators)
        if not self.prefit:
            with told_already():
                members = {name: clone(m).fit(X, y) for name, m in members.items()}
        for name, member in members.items():  # it may know items that no session has
            item_ids = unwrap(member, None)[0].item_ids_
            data = data.with_items(item_ids, f"The member {name!r}")
        return self._adopt(
            X,
            **fitted_catalog(data),
            estimators_=list(members.values()),
            named_estimators_=Bunch(**members),
            _weights=weights,
        )

    def _checked_weights(self):
        members = self.estimators
        if not members or not all(
            isinstance(m, tuple) and len(m) == 2 and isinstance(m[0], str)
            for m in members
        ):
            raise ValueError(
                f"estimators is {members!r:.80}. Expected at least one (name, "
                "recommender), such as [('knn', SessionKNN())]."
            )
        self._validate_names([name for name, _ in members])
        if self.weights is None:
            return np.ones(len(members))
        weights = unmasked(self.weights, "weights").astype(np.float64)
        fine = np.isfinite(weights) & (weights >= 0)
        if weights.shape != (len(members),) or not fine.all():
            raise ValueError(
                f"weights={self.weights!r:.80}. Expected one finite number of at least "
                f"0 for each of the {len(members)} estimators."
            )
        return weights

    def _add_scores(self, scores, queries):
        sessions = queries.as_sessions(self.item_ids_)
        for weight, member in zip(self._weights, self.estimators_, strict=True):
            if weight > 0:
                with told_already():
                    scores += weight * self._votes(*unwrap(member, sessions))

    def _votes(self, member, sessions):
        votes = np.zeros((len(sessions), len(self.item_ids_)), dtype=np.float32)
        if self.method == "score":
            scores = member.decision_function(sessions)
            scores = scores - scores.min(axis=1, keepdims=True)
            spread = scores.max(axis=1, keepdims=True)
            scores /= np.where(spread > 0, spread, 1)  # scores by popularity are tiny
            columns = self._index.codes_of(member.item_ids_)
            votes[:, columns[columns > 0] - 1] = scores[:, columns > 0]
            return votes
        k = min(self.n_candidates, len(member.item_ids_))
        ranked = self._index.codes_of(member.predict_topk(sessions, k).reshape(-1))
        row, rank = np.divmod(np.arange(len(ranked)), k)
        known = ranked > 0
        votes[row[known], ranked[known] - 1] = 1 / (_RRF + 1 + rank[known])
        return votes
