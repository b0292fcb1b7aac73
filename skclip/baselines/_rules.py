"""Rules of the last item: its direct or later followers, or items seen with it."""

from __future__ import annotations

from numbers import Integral
from typing import Literal

import numpy as np
from scipy import sparse

from skclip._sklearn import Interval, StrOptions
from skclip._typing import Backoff, Scoring, SparseMatrix, Weighting
from skclip.baselines._base import (
    CountingRecommender,
    ItemWeightsMixin,
    add_rows,
    observed,
    rows_of,
    widened,
)


class _LastItemRules(ItemWeightsMixin, CountingRecommender):
    """Rank by the row of the last known item in the sparse matrix ``rules_``."""

    rules_: SparseMatrix

    _item_weights = "rules_"

    def _grow(self, data, item_counts):
        before = widened(self.rules_, data.n_items, data.n_items)
        return {"rules_": before + self._learn(data)["rules_"]}

    def _add_scores(self, scores, queries):
        clicks = observed(queries, scores.shape[1])
        newest = np.flatnonzero(clicks.steps == 0)
        add_rows(scores, self.rules_, clicks.rows[newest], clicks.codes[newest])


class MarkovRecommender(_LastItemRules):
    r"""Rank by how often an item directly followed the last one, as a Markov chain.

    .. math:: \mathrm{score}(j) = \#\{\text{transitions } i_t \to j\}

    If events have weights, a transition counts the weight of its second event.

    Parameters
    ----------
    tie_break : {"first"} or None, default=None
        Order of items that followed equally often. "first" prefers the item that
        followed first, by the end times of the sessions, or by the order of the rows
        without times. None leaves them tied, and ties count against the target.
    backoff : {"popularity"} or None, default="popularity"
        Ranking of the items that never followed, after those that did. None leaves
        them tied.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    item_ids_, item_counts_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted, then new items of `partial_fit`, and
        their numbers of training events, or sums of event weights.
    rules_ : csr_array of shape (n_items, n_items), float32
        Number of transitions from the item of the row to the item of the column. With
        ``tie_break="first"``, the rank within the row, counted from its last item.

    See Also
    --------
    SequentialRules : Also count later followers.

    Notes
    -----
    `fit` sorts the events. With ``tie_break="first"``, `partial_fit` also sorts the old
    transitions. Sessions of earlier calls then come before others with equal or missing
    times.

    Differences from the paper and its code:

    - **Items that never followed.** Published code leaves them tied, or in the order of
      a dictionary. skclip ranks them by popularity behind the others, which gave 30.75
      instead of 30.69 Recall@20 (in percent) on Diginetica; ``backoff=None`` leaves
      them tied.

    Examples
    --------
    >>> from skclip import MarkovRecommender
    >>> chain = MarkovRecommender().fit([["a", "b", "c"], ["a", "b"], ["a", "c"]])
    >>> chain.predict_topk([["a"], ["b", "a"]], k=2).tolist()
    [['b', 'c'], ['b', 'c']]
    """

    _parameter_constraints: dict = {
        "tie_break": [StrOptions({"first"}), None],
        **CountingRecommender._parameter_constraints,
    }

    def __init__(
        self,
        *,
        tie_break: Literal["first"] | None = None,
        backoff: Backoff | None = "popularity",
        scoring: Scoring = "mrr@20",
    ) -> None:
        self.tie_break = tie_break
        self.backoff = backoff
        self.scoring = scoring

    def _learn(self, data):
        before, after = data.pairs(1)
        rows, columns = data.codes[before] - 1, data.codes[after] - 1
        if self.tie_break == "first":
            seen = _seen(data, after)
            return _ranked(rows, columns, seen, data)
        counts = data.weights_at(after), (rows, columns)
        counts = sparse.csr_array(counts, shape=(data.n_items, data.n_items))
        return {"rules_": counts.astype(np.float32)}

    def _grow(self, data, item_counts):
        if self.tie_break is None:
            return super()._grow(data, item_counts)
        self._check_times(self._has_times, data)
        before, after = data.pairs(1)
        rules = self.rules_.tocoo()
        rows = np.concatenate([rules.row, data.codes[before] - 1])
        columns = np.concatenate([rules.col, data.codes[after] - 1])
        seen = _seen(data, after, 1 + self._seen[2].max(initial=-1))
        return _ranked(rows, columns, np.hstack([self._seen, seen]), data)


def _seen(data, after, n_before=0):
    """Weight of each transition, end time of its session, and its position, (3, n).

    The position is the number of events before it, starting at `n_before` to follow
    the sessions that were learned before. The earliest of several transitions has the
    smallest end time, then the smallest position.
    """
    session = np.searchsorted(data.offsets, after, side="right") - 1
    times = np.zeros(data.n_sessions) if data.end_times is None else data.end_times
    times = np.where(np.isnan(times), np.inf, times)
    return np.stack([data.weights_at(after), times[session], n_before + after])


def _ranked(rows, columns, seen, data):
    """Fitted attributes of ``tie_break="first"``. Equal transitions are merged."""
    order = np.lexsort((seen[2], seen[1], columns, rows))
    rows, columns, seen = rows[order], columns[order], seen[:, order]
    new = (np.diff(rows, prepend=-1) != 0) | (np.diff(columns, prepend=-1) != 0)
    firsts = np.flatnonzero(new)
    counts = np.bincount(np.cumsum(new) - 1, seen[0], len(firsts))
    rows, columns = rows[firsts], columns[firsts]
    seen = np.stack([counts, *seen[1:, firsts]])
    order = np.lexsort((-seen[2], -seen[1], counts, rows))  # worst first
    starts = np.searchsorted(rows, rows)  # of the row of each rule
    places = np.empty(len(rows), dtype=np.float32)
    places[order] = np.arange(len(rows)) - starts[order] + 1
    shape = data.n_items, data.n_items
    return {
        "rules_": sparse.csr_array((places, (rows, columns)), shape=shape),
        "_seen": seen,
        "_has_times": data.end_times is not None,
    }


_GAP_WEIGHTS = {
    "div": lambda gap: 1 / gap,
    "same": lambda gap: 1.0,
    "linear": lambda gap: max(0.0, 1 - 0.1 * (gap - 1)),
    "quadratic": lambda gap: 1 / gap**2,
    "log": lambda gap: 1 / np.log10(gap + 1.7),
}


class SequentialRules(_LastItemRules):
    r"""Rank by the items that followed the last one, weighted by distance [1]_.

    .. math:: \mathrm{score}(j) = \sum_{g=1}^{G} w(g)\,
        \#\{\text{training events of } j \text{ that come } g
        \text{ clicks after } i_t\}

    If followers have weights, the sum counts their weights.

    Parameters
    ----------
    max_gap : int, default=10
        Largest distance :math:`G` of a follower, in clicks.
    weighting : {"div", "same", "linear", "quadratic", "log"}, default="div"
        Weight :math:`w(g)` of a follower: ``1 / g``, 1, ``max(0, 1 - (g - 1) / 10)``,
        ``1 / g ** 2`` or ``1 / log10(g + 1.7)``.
    backoff : {"popularity"} or None, default="popularity"
        Ranking of the items that never followed, after those that did. None leaves
        them tied.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    item_ids_, item_counts_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted, then new items of `partial_fit`, and
        their numbers of training events, or sums of event weights.
    rules_ : csr_array of shape (n_items, n_items), float32
        Weight of each follower (column) of an item (row).

    Notes
    -----
    Differences from the paper and its code:

    - **Linear weights.** The published ``"linear"`` weight of a gap is ``1 - gap /
      10``. skclip uses ``1 - (gap - 1) / 10``, so that a gap of one has weight 1, as in
      the other weightings.
    - **Number of rules.** The paper does not limit the rules of an item, and published
      code keeps 20 of them. skclip keeps all.

    References
    ----------
    .. [1] M. Ludewig, D. Jannach, "Evaluation of session-based recommendation
           algorithms", User Modeling and User-Adapted Interaction 28, 2018.

    Examples
    --------
    >>> from skclip import SequentialRules
    >>> rules = SequentialRules().fit([["a", "b", "c"], ["a", "c"]])
    >>> rules.rules_.toarray()[0].tolist()  # after "a": "b" directly, "c" 1 + 1/2
    [0.0, 1.0, 1.5]
    """

    _parameter_constraints: dict = {
        "max_gap": [Interval(Integral, 1, None, closed="left")],
        "weighting": [StrOptions(set(_GAP_WEIGHTS))],
        **CountingRecommender._parameter_constraints,
    }

    def __init__(
        self,
        *,
        max_gap: int = 10,
        weighting: Weighting = "div",
        backoff: Backoff | None = "popularity",
        scoring: Scoring = "mrr@20",
    ) -> None:
        self.max_gap = max_gap
        self.weighting = weighting
        self.backoff = backoff
        self.scoring = scoring

    def _learn(self, data):
        n = data.n_items
        rules = sparse.csr_array((n, n), dtype=np.float32)
        for gap in range(1, self.max_gap + 1):
            before, after = data.pairs(gap)
            if len(before) == 0:
                break
            weight = _GAP_WEIGHTS[self.weighting](gap) * data.weights_at(after)
            weight = weight.astype(np.float32)
            at = data.codes[before] - 1, data.codes[after] - 1
            rules = rules + sparse.csr_array((weight, at), shape=(n, n))
        rules.eliminate_zeros()
        return {"rules_": rules}


class AssociationRules(_LastItemRules):
    r"""Rank by the items of sessions with the last item, in any order [1]_.

    .. math:: \mathrm{score}(j) = \sum_{s} n_s(i_t)\, n_s(j), \qquad j \ne i_t

    with :math:`n_s(j)` the number of events of item :math:`j` in training session
    :math:`s`. If events have weights, the second factor is the sum of their weights.

    Parameters
    ----------
    backoff : {"popularity"} or None, default="popularity"
        Ranking of the items that never occurred with the last one, after the others.
        None leaves them tied.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    item_ids_, item_counts_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted, then new items of `partial_fit`, and
        their numbers of training events, or sums of event weights.
    rules_ : csr_array of shape (n_items, n_items), float32
        Counts of pairs. The matrix is symmetric if events have no weights.

    Notes
    -----
    The cost of `fit` is the sum of the squared session lengths.

    References
    ----------
    .. [1] M. Ludewig, D. Jannach, "Evaluation of session-based recommendation
           algorithms", User Modeling and User-Adapted Interaction 28, 2018.

    Examples
    --------
    >>> from skclip import AssociationRules
    >>> rules = AssociationRules().fit([["a", "b"], ["b", "a", "c"]])
    >>> rules.predict_topk([["a"]], k=2).tolist()
    [['b', 'c']]
    """

    def __init__(
        self, *, backoff: Backoff | None = "popularity", scoring: Scoring = "mrr@20"
    ) -> None:
        self.backoff = backoff
        self.scoring = scoring

    def _learn(self, data):
        def rows(values):
            values = values.astype(np.float32)
            return rows_of(values, data.codes, data.offsets, data.n_items)

        ones, weights = np.ones(len(data.codes)), data.weights_at(slice(None))
        if data.graph_ends is None:
            rules = sparse.csr_array(rows(ones).T @ rows(weights))
        else:  # pairs of a target with the items before it
            at = np.zeros(len(data.codes))
            at[data.graph_ends] = 1
            rules = rows(ones - at).T @ rows(at * weights)
            rules = rules + rows(at).T @ rows((ones - at) * weights)
            rules = sparse.csr_array(rules)
        rules.setdiag(0)
        rules.eliminate_zeros()
        return {"rules_": rules}
