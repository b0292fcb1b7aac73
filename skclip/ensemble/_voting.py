"""`VotingRecommender`: combine rankings or probabilities of several recommenders."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skclip._data import (
    as_sessions,
    check_targets,
    checked_sample_weight,
    latest_rows,
    taken,
    unmasked,
)
from skclip._inside import (
    partial_fit,
    unwrap,
    weight_argument,
    without_checkpoint,
)
from skclip._sklearn import Composition, Interval, StrOptions, _fit_context
from skclip._typing import (
    ArrayLike,
    Auto,
    Estimator,
    FloatArray,
    Ids,
    Scoring,
    Self,
    SessionsLike,
    Weights,
)
from skclip._warnings import told_already, warn_user
from skclip.baselines import BaselineRecommender, fitted_catalog
from skclip.ensemble._mixture import (
    check_probabilities,
    learn_mixture,
    prefixes_with_targets,
    probability_chunks,
    target_probabilities,
)
from skclip.exceptions import TrainingWarning

_RRF = 60  # "k" of [1]_ below
_HELD_OUT = 0.1  # share of the sessions used to learn weights
_FEWEST = 50  # minimum number of targets to learn weights


class VotingRecommender(BaselineRecommender, Composition):
    r"""Combine the rankings or probabilities of several recommenders.

    "blend" mixes the probabilities of the members. It is the most accurate method if
    you let it learn the weights. "rrf" is reciprocal rank fusion [1]_. It only uses
    ranks, so it can combine members with incomparable scores. "score" adds the scores
    of the members, after scaling them to 0..1 within each session:

    .. math::
        \mathrm{blend}(j) &= \sum_m w_m\, p_m(j), \qquad
        p_m = \mathrm{softmax}(l_m / T_m) \\
        \mathrm{rrf}(j) &= \sum_m \frac{w_m}{60 + \mathrm{rank}_m(j)} \\
        \mathrm{score}(j) &= \sum_m w_m
        \frac{s_m(j) - \min s_m}{\max s_m - \min s_m}

    For `CLIPSessionRecommender` and `SLIST`, :math:`l_m` are the scores. For all other
    members they are the logarithms of the scores, so a temperature of 1 divides their
    scores by the sum.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Recommenders of skclip, or Pipelines that end in one. ``set_params`` replaces a
        member by its name, and sets its parameters by ``name__parameter``.
    method : {"rrf", "score", "blend"}, default="rrf"
        Method of combination: fusion of ranks, sum of scaled scores, or mixture of
        probabilities.
    weights : array-like of shape (n_estimators,), "auto" or None, default=None
        Weights :math:`w_m` of the members, at least 0. None gives each member the
        weight 1. "blend" divides weights by their sum. "auto" learns weights and
        temperatures, and is only available for "blend". It fits the members on all but
        the latest tenth of the sessions, and maximizes the likelihood of the clicks in
        that tenth. Then it fits the members on all sessions. The latest sessions are
        those that end last, or the last rows if there are no times.
    n_candidates : int, default=200
        Number of top items of each member that count with "rrf". Rank 1 adds 1 / 61,
        and rank 200 adds 1 / 260.
    prefit : bool, default=False
        Whether the members are already fitted. `fit` then does not change them. With
        ``weights="auto"``, it learns from all sessions that you pass, so pass sessions
        that no member was trained on. skclip cannot check this. A member that was
        trained on them would get too large a weight.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted members.
    named_estimators_ : Bunch
        The fitted members by name.
    weights_ : ndarray of shape (n_estimators,)
        Weights of the members. They sum to 1 if `fit` was called with "blend".
    temperatures_ : ndarray of shape (n_estimators,)
        Temperatures :math:`T_m` of "blend". They are 1 unless they were learned.
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted. They include further items of the
        members, such as items with features only. `partial_fit` appends new items.
    item_counts_ : ndarray of shape (n_items,)
        Number of training events of each item, or the sum of their weights. They rank
        the items that no member ranks.

    Notes
    -----
    The cost is the sum of the costs of the members. "score" and "blend" read the scores
    of the whole catalog, "rrf" only the top `n_candidates` items. ``weights="auto"``
    doubles the time of `fit`. It reads at most 10,000 held-out clicks, evenly spread,
    at 17 temperatures from 1/64 to 4. Targets outside the catalogs of all members are
    left out.

    Scores of "blend" are probabilities. For a session without a known item,
    `CLIPSessionRecommender` and `SLIST` return each item's share of the training
    events. A member with ``backoff=None`` may give all items the score 0. It then adds
    nothing, and the probabilities sum to less than 1.

    `method` and `n_candidates` are read at prediction, so you can change them without a
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
    >>> print(vote.set_params(method="blend").decision_function([["a"]]).round(2))
    [[0.27 0.59 0.14]]
    """

    estimators_: list[Estimator]
    named_estimators_: Bunch
    weights_: FloatArray
    temperatures_: FloatArray
    set_partial_fit_request: Callable[..., Self]

    _parameter_constraints: dict = {
        "estimators": [list],
        "method": [StrOptions({"rrf", "score", "blend"})],
        "weights": ["array-like", StrOptions({"auto"}), None],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "prefit": ["boolean"],
        "scoring": [str, callable],
    }
    backoff: str = "popularity"

    def __init__(
        self,
        estimators: list[tuple[str, Estimator]],
        *,
        method: Literal["rrf", "score", "blend"] = "rrf",
        weights: ArrayLike | Auto | None = None,
        n_candidates: int = 200,
        prefit: bool = False,
        scoring: Scoring = "mrr@20",
    ) -> None:
        self.estimators = estimators
        self.method = method
        self.weights = weights
        self.n_candidates = n_candidates
        self.prefit = prefit
        self.scoring = scoring

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with ``name__parameter`` for those of the members."""
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, or replace members by name, such as ``knn=SLIST()``."""
        self._set_params("estimators", **params)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Fit every member on the same sessions and next items.

        Weights and temperatures of the members are learned from unweighted clicks.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Pass whole sessions if you have
            them.
        y : array-like of shape (n_sessions,), default=None
            Next items. Row i then stands for the session ``X[i] + [y[i]]``.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more. They are passed to the members. Rows with
            weight 0 are left out. None gives each row the weight 1.

        Returns
        -------
        self : VotingRecommender
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            If there are no members, if two members have the same name, or if the
            weights do not match the members.
        TypeError
            If a member is not a recommender, if the scores of a member cannot be
            blended, or if `fit` of a member takes no `sample_weight`.
        NotFittedError
            If `prefit` is True and a member is not fitted.

        Warns
        -----
        TrainingWarning
            If there are fewer than 50 clicks to learn weights from. All members then
            get the same weight.
        """
        weights = given = self._checked_weights()
        for _, member in self.estimators:
            unwrap(member, None)
            if self.prefit:
                check_is_fitted(member)
        if self.method == "blend":
            check_probabilities(self.estimators)
        data = self._training_data(X, y, sample_weight)
        temperatures = np.ones(len(self.estimators))
        with told_already():
            if weights is None:
                weights, temperatures = self._learned(X, y, sample_weight)
            members = self._fitted_members(X, y, sample_weight)
        for name, member in members.items():  # a member may have further items
            item_ids = unwrap(member, None)[0].item_ids_
            data = data.with_items(item_ids, f"The member {name!r}")
        return self._adopt(
            X,
            **fitted_catalog(data),
            estimators_=list(members.values()),
            named_estimators_=Bunch(**members),
            weights_=weights,
            temperatures_=temperatures,
            _given_weights=given,
        )

    def _fitted_members(self, X, y, sample_weight):
        if self.prefit:
            return dict(self.estimators)
        return {
            name: clone(member).fit(X, y, **weight_argument(member, sample_weight))
            for name, member in self.estimators
        }

    def _learned(self, X, y, sample_weight):
        """Weights and temperatures that make the latest targets most likely."""
        sessions = as_sessions(X)
        y = None if y is None else check_targets(y, len(sessions))
        sample_weight = checked_sample_weight(sample_weight, len(sessions))
        if sample_weight is not None:
            kept = np.flatnonzero(sample_weight)
            (sessions, y), sample_weight = taken(sessions, y, kept), sample_weight[kept]
        early, late = np.array([], dtype=int), np.arange(len(sessions))
        if not self.prefit:
            early, late = latest_rows(sessions, _HELD_OUT)
        asked, targets = prefixes_with_targets(*taken(sessions, y, late))
        n = len(targets)
        if n >= _FEWEST:
            members = [member for _, member in self.estimators]
            if not self.prefit:
                part = taken(sessions, y, early)
                weights = None if sample_weight is None else sample_weight[early]
                members = [
                    without_checkpoint(member).fit(
                        *part, **weight_argument(member, weights)
                    )
                    for member in members
                ]
            tables = [
                target_probabilities(*unwrap(member, asked), targets)
                for member in members
            ]
            known = np.any(tables, axis=(0, 1))
            n = int(known.sum())
        if n >= _FEWEST:
            return learn_mixture(np.stack(tables)[:, :, known])
        n_members = len(self.estimators)
        warn_user(
            f"weights='auto' needs {_FEWEST} targets that are in the catalog of a "
            f"member, but the {len(late)} {'' if self.prefit else 'latest '}sessions "
            f"have {n}. All members get equal weights and temperature 1. Pass more "
            "sessions, or pass weights.",
            TrainingWarning,
        )
        return np.full(n_members, 1 / n_members), np.ones(n_members)

    def partial_fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Update every member with further sessions, and keep the weights.

        Temperatures stay as well. The method updates copies of the members. Members
        passed with `prefit` do not change, and if an update fails, neither does the
        recommender.

        Parameters
        ----------
        X : Sessions or list of lists
            Further training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row, as in `fit`.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, as in `fit`.

        Returns
        -------
        self : VotingRecommender
            The estimator itself. If it was not fitted, this is the same as `fit`.

        Raises
        ------
        TypeError
            If a member has no ``partial_fit``. Nothing has been updated then.
        """
        if not hasattr(self, "estimators_"):
            return self.fit(X, y, sample_weight)
        for name, member in self.named_estimators_.items():
            recommender, _ = unwrap(member, None)
            if not hasattr(recommender, "partial_fit"):
                raise TypeError(
                    f"The member {name!r} is a {type(recommender).__name__}, which has "
                    "no partial_fit. Call fit with all sessions, or remove this member."
                )
        self._validate_params()
        if not np.array_equal(self._checked_weights(), self._given_weights):
            raise ValueError(
                f"weights={self.weights!r:.80} takes effect in fit, and the members "
                "were combined with other weights. Call fit, or set the old weights."
            )
        data = self._training_data(X, y, sample_weight, self._index)
        data = data.appended_to(self.item_ids_)
        members = {}
        with told_already():
            for name, member in self.named_estimators_.items():
                members[name] = partial_fit(copy.deepcopy(member), X, y, sample_weight)
                item_ids = unwrap(members[name], None)[0].item_ids_
                data = data.appended_to(data.index.item_ids, item_ids)
        catalog = fitted_catalog(data)
        catalog["item_counts_"] = data.item_counts(self.item_counts_)
        return self._adopt(
            X,
            **catalog,
            estimators_=list(members.values()),
            named_estimators_=Bunch(**members),
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
        blend = self.method == "blend"
        if isinstance(self.weights, str):
            if not blend:
                raise ValueError(
                    f"weights='auto' with method={self.method!r}. Only method='blend' "
                    "can learn weights. Use method='blend', or pass weights."
                )
            return None
        if self.weights is None:
            return np.full(len(members), 1 / len(members) if blend else 1.0)
        weights = unmasked(self.weights, "weights").astype(np.float64)
        fine = np.isfinite(weights) & (weights >= 0)
        if weights.shape != (len(members),) or not fine.all():
            raise ValueError(
                f"weights={self.weights!r:.80}. Expected {len(members)} finite numbers "
                "of at least 0, one for each estimator."
            )
        if blend and not weights.any():
            raise ValueError(
                f"weights={self.weights!r:.80}. method='blend' needs a weight above 0."
            )
        return weights / weights.sum() if blend else weights

    def _add_scores(self, scores, queries):
        sessions = queries.as_sessions(self.item_ids_)
        weights, add = self.weights_, self._add_votes
        if self.method == "blend":
            check_probabilities(self.named_estimators_.items())
            if not weights.any():
                raise ValueError(
                    f"weights_={weights!r}. method='blend' needs a weight above 0. Set "
                    "weights, and call fit again."
                )
            weights, add = weights / weights.sum(), self._add_probabilities
        members = zip(weights, self.temperatures_, self.estimators_, strict=True)
        for weight, temperature, member in members:
            if weight > 0:
                with told_already():
                    add(scores, weight, temperature, *unwrap(member, sessions))

    def _add_probabilities(self, scores, weight, temperature, member, sessions):
        same = np.array_equal(member.item_ids_, self.item_ids_)
        columns = None if same else self._index.codes_of(member.item_ids_) - 1
        scores = torch.from_numpy(scores)
        for at, found in probability_chunks(member, sessions, temperature):
            if not same:
                own = found.new_zeros(len(at), scores.shape[1])
                known = torch.from_numpy(np.flatnonzero(columns >= 0))
                own[:, torch.from_numpy(columns).long()[known]] = found[:, known]
                found = own
            scores.index_add_(0, torch.from_numpy(at), found, alpha=weight)

    def _add_votes(self, scores, weight, _, member, sessions):
        scores += weight * self._votes(member, sessions)

    def _votes(self, member, sessions):
        votes = np.zeros((len(sessions), len(self.item_ids_)), dtype=np.float32)
        if self.method == "score":
            scores = member.decision_function(sessions)
            scores = scores - scores.min(axis=1, keepdims=True)
            spread = scores.max(axis=1, keepdims=True)
            scores /= np.where(spread > 0, spread, 1)  # backoff scores are tiny
            columns = self._index.codes_of(member.item_ids_)
            votes[:, columns[columns > 0] - 1] = scores[:, columns > 0]
            return votes
        k = min(self.n_candidates, len(member.item_ids_))
        ranked = self._index.codes_of(member.predict_topk(sessions, k).reshape(-1))
        row, rank = np.divmod(np.arange(len(ranked)), k)
        known = ranked > 0
        votes[row[known], ranked[known] - 1] = 1 / (_RRF + 1 + rank[known])
        return votes

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_weights" in state:  # saved by a version without temperatures
            state["weights_"] = state.pop("_weights")
            state["temperatures_"] = np.ones(len(state["weights_"]))
        super().__setstate__(state)
