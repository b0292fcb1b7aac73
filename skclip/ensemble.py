"""Several recommenders, one ranking."""

from numbers import Integral

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skclip._data import ItemIndex, factorize_list
from skclip._inside import unwrap
from skclip._ranking import rows_per_chunk
from skclip._sklearn import Composition, Interval, StrOptions, _fit_context
from skclip.baselines._base import BaselineRecommender

__all__ = ["VotingRecommender"]

_RRF = 60  # "k" of [1]_ below


class VotingRecommender(Composition, BaselineRecommender):
    r"""Rank by the votes of several recommenders.

    "rrf" is reciprocal rank fusion [1]_: only places count, so that members whose
    scores have nothing in common can vote together. "score" adds the scores, each
    member's scaled to 0..1 within a session:

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
    weights : array-like of shape (n_estimators,), default=None
        :math:`w_m`, at least 0. None is 1 for all.
    n_candidates : int, default=200
        Of "rrf": the places of a member that count; items behind them get nothing from
        it. The vote of the last of 200 places is 1 / 260, that of the first 1 / 61.
    prefit : bool, default=False
        Whether the members are fitted already; they are then taken as they are.
    scoring : str or callable, default="mrr@20"
        What `score` returns.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted members.
    named_estimators_ : Bunch
        The same by name.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit` and of those that a member knows otherwise,
        sorted.
    item_counts_ : ndarray of shape (n_items,)
        Training events of each item; items that no member votes for are ranked by
        them.

    Notes
    -----
    Costs what the members cost; "score" looks at whole catalogues, "rrf" at the first
    `n_candidates` places.

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
        """Return the parameters, those of the members by ``name__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Whether the members, and their parameters, are there too.

        Returns
        -------
        params : dict
            Name -> value.
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters, whole members by their name.

        Parameters
        ----------
        **params : dict
            Such as ``weights=[1, 2]``, ``knn__n_neighbors=100`` or ``knn=SLIST()``.

        Returns
        -------
        self : VotingRecommender
            The estimator itself.
        """
        self._set_params("estimators", **params)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit every member on the same sessions.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next items.

        Returns
        -------
        self : VotingRecommender
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            There are no members, two have one name, or the weights are not theirs.
        TypeError
            A member holds no recommender.
        NotFittedError
            `prefit` is set and a member is not fitted.
        """
        self._weights = self._checked_weights()
        for _, member in self.estimators:
            unwrap(member, None)
            if self.prefit:
                check_is_fitted(member)
        self._fit_data(X, y)
        if self.prefit:
            members = [member for _, member in self.estimators]
        else:
            members = [clone(member).fit(X, y) for _, member in self.estimators]
        self.estimators_ = members
        self._take_in([unwrap(member, None)[0].item_ids_ for member in members])
        names = [name for name, _ in self.estimators]
        self.named_estimators_ = Bunch(**dict(zip(names, members, strict=True)))
        return self

    def _take_in(self, catalogues):
        """Items that members know without a click, such as by their features."""
        ids = self.item_ids_.tolist()
        n_clicked = len(ids)
        known = set(ids)
        for catalogue in catalogues:
            new = [item for item in catalogue.tolist() if item not in known]
            ids += new
            known.update(new)
        if len(ids) > n_clicked:
            self.item_ids_, places = factorize_list(ids)
            counts = np.zeros(len(ids), dtype=self.item_counts_.dtype)
            counts[places[:n_clicked]] = self.item_counts_
            self.item_counts_, self._index = counts, ItemIndex(self.item_ids_)

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
        weights = np.asarray(self.weights, dtype=np.float64)
        fine = np.isfinite(weights) & (weights >= 0)
        if weights.shape != (len(members),) or not fine.all():
            raise ValueError(
                f"weights={self.weights!r:.80}. Expected one finite number of at least "
                f"0 for each of the {len(members)} estimators."
            )
        return weights

    def _score_chunks(self, queries):
        base = self._base_scores()
        step = rows_per_chunk(len(base))
        for start in range(0, len(queries), step):
            at = np.arange(start, min(start + step, len(queries)))
            sessions = queries.take(at).as_sessions(self.item_ids_)
            scores = np.tile(base, (len(at), 1))
            for weight, member in zip(self._weights, self.estimators_, strict=True):
                if weight > 0:
                    scores += weight * self._votes(*unwrap(member, sessions))
            yield at, torch.from_numpy(scores)

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
