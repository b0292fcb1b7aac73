"""SLIST: item-to-item weights learned from sessions in closed form."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Literal

import numpy as np
from scipy import linalg, sparse

from skclip._data import flat_positions
from skclip._sklearn import Interval, StrOptions
from skclip._typing import Auto, FloatArray, Scoring
from skclip.baselines._base import (
    POSITIVE,
    BaselineRecommender,
    ItemWeightsMixin,
    ages_in_days,
    observed,
    rows_of,
)

_EXACT_ITEMS = 10_000  # the system is solved in float64 for up to this many items
_OLDEST = 30  # times `delta_time`; smaller weights would be lost in rounding
_BLOCK = 1024  # rows of the inverse that are multiplied at a time


class SLIST(ItemWeightsMixin, BaselineRecommender):
    r"""Rank by a linear map from the observed items to the next ones [1]_.

    One matrix learns which items share a session (similarity, weight :math:`\alpha`)
    and which items follow others (transition, weight :math:`1 - \alpha`). The rows of
    :math:`S` are the inputs, the rows of :math:`T` are the outputs, and :math:`\Omega`
    holds the weights of the rows:

    .. math::
        B = (S^\top \Omega S + \lambda I)^{-1} S^\top \Omega T, \qquad
        \mathrm{score}(j) = \sum_{i} e^{-p_i / \delta_{inf}} B_{ij}

    with :math:`p_i` the number of clicks from an observed item to the newest one.

    A similarity row holds the distinct items of a session, in :math:`S` and in
    :math:`T`. A transition row belongs to a click of a session. In :math:`T` it holds
    the later items, weighted :math:`e^{-g/\delta_{pos}}`, where :math:`g` is 0 for the
    next item. In :math:`S` it holds the items up to that click, see `direction`. Rows
    of :math:`S` sum to 1. If a session ended :math:`a` days before the last one, its
    rows have the weight :math:`e^{-a/\delta_{time}}`.

    If events have weights, a similarity row is multiplied by the mean weight of its
    session, and a transition row by the weight of the next click. Clicks of weight 0
    are left out of :math:`T`.

    Parameters
    ----------
    alpha : float, default=0.5
        Weight of the similarity rows, from 0 (transitions only) to 1 (similarity only).
    reg : float, default=10.0
        Strength :math:`\lambda` of the regularization. `fit` raises an error if it is
        too small to solve the system in floating point.
    delta_pos : float, default=1.0
        Decay of the weights within a transition row, in clicks.
    delta_inf : float, default=1.0
        Decay of the observed items at prediction, in clicks. You can change it without
        a new `fit`.
    delta_time : float, None or "auto", default="auto"
        Decay of the weights of sessions, in days. None weights all sessions equally.
        "auto" is 128 if the sessions have times, and None otherwise. A number requires
        times. Sessions older than 30 times `delta_time` get the weight of that age.
    direction : {"part", "sr"}, default="part"
        Input of a transition row. "part" takes all clicks so far, weighted
        :math:`e^{-p/\delta_{pos}}`. "sr" takes the last click only.
    max_items : int, default=20_000
        Largest catalog that `fit` accepts. The matrix is dense: it takes
        ``4 * n_items ** 2`` bytes, and the time grows with the cube of `n_items`.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    item_ids_, item_counts_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted, and their numbers of training
        events, or sums of event weights.
    weights_ : ndarray of shape (n_items, n_items), float32
        The matrix :math:`B`.

    Notes
    -----
    The system is solved in float64 up to 10,000 items and in float32 beyond.

    Differences from the paper and its code:

    - **Diagonal with alpha of 1.** The paper and its code bound the diagonal of
      :math:`B` if ``alpha=1``. skclip does not, so an item may recommend itself, as for
      any other `alpha`.
    - **Weight of old sessions.** The paper and its code weight a session by ``exp(-age
      / delta_time)``. skclip uses at least ``exp(-30)``, because smaller weights were
      lost in rounding and popular items outranked the items of old sessions.

    References
    ----------
    .. [1] M. Choi, J. Kim, J. Lee, H. Shim, J. Lee, "Session-aware linear item-item
           models for session-based recommendation", The Web Conference 2021, sections
           3.2 and 3.3.

    Examples
    --------
    >>> from skclip import SLIST
    >>> linear = SLIST(reg=1.0).fit([["a", "b", "c"], ["a", "b"], ["d", "c"]])
    >>> linear.predict_topk([["a"]], k=1).tolist()
    [['b']]
    """

    weights_: FloatArray

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "reg": [POSITIVE],
        "delta_pos": [POSITIVE],
        "delta_inf": [POSITIVE],
        "delta_time": [POSITIVE, StrOptions({"auto"}), None],
        "direction": [StrOptions({"part", "sr"})],
        "max_items": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable],
    }
    backoff: str = "popularity"  # for sessions without known items
    _scores_are = "logits"
    _item_weights = "weights_"

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        reg: float = 10.0,
        delta_pos: float = 1.0,
        delta_inf: float = 1.0,
        delta_time: float | Auto | None = "auto",
        direction: Literal["part", "sr"] = "part",
        max_items: int = 20_000,
        scoring: Scoring = "mrr@20",
    ) -> None:
        self.alpha = alpha
        self.reg = reg
        self.delta_pos = delta_pos
        self.delta_inf = delta_inf
        self.delta_time = delta_time
        self.direction = direction
        self.max_items = max_items
        self.scoring = scoring

    def _learn(self, data):
        n = data.n_items
        if n > self.max_items:
            raise ValueError(
                f"The catalog has {n} items, more than max_items={self.max_items}. "
                f"The weights would take {4 * n**2 / 2**30:.1f} GiB, and fit needs "
                f"more. Pass max_items={n} if you have enough memory, drop rare items "
                "(skclip.preprocessing.drop_rare_items), or use SessionKNN."
            )
        gram, cross = self._normal_equations(data, self._session_weights(data))
        return {"weights_": _solve(gram, cross, self.reg)}

    def _session_weights(self, data):
        """Weight of each session by its age."""
        delta = self.delta_time
        if isinstance(delta, str):
            delta = None if data.end_times is None else 128.0
        if delta is None:
            return np.ones(len(data.offsets) - 1)
        ages = ages_in_days(data, "delta_time", delta)
        return np.exp(-np.minimum(ages / delta, _OLDEST))

    def _normal_equations(self, data, weights):
        """Sparse S' Omega S and S' Omega T, each the sum over both kinds of rows."""
        counted = data.weights_at(slice(None)) > 0
        items, outputs = (
            rows_of(values, data.codes, data.offsets, data.n_items)
            for values in (np.ones(len(data.codes)), counted.astype(float))
        )
        items.data[:] = 1
        outputs.data[:] = outputs.data > 0
        inputs = _summing_to_one(items)
        of_rows = self.alpha * weights * data.session_weights()
        weighted = inputs.T @ sparse.diags_array(of_rows)
        gram, cross = weighted @ inputs, weighted @ outputs

        past, future, session, follower = self._transitions(data)
        of_rows = (1 - self.alpha) * weights[session] * data.weights_at(follower)
        weighted = past.T @ sparse.diags_array(of_rows)
        return gram + weighted @ past, cross + weighted @ future

    def _transitions(self, data):
        """Transition rows of S and of T, their sessions and their next clicks."""
        lengths = np.diff(data.offsets)
        session = np.repeat(np.arange(len(lengths)), lengths)
        last = np.repeat(data.offsets[1:], lengths) - 1
        if data.graph_ends is None:
            t = np.flatnonzero(np.arange(len(session)) < last)  # all but the last click
        else:  # with targets: the click before each of them
            t = data.graph_ends - 1

        after, offsets = flat_positions(t + 1, last[t] - t)
        gap = after - np.repeat(t + 1, np.diff(offsets))
        values = np.exp(-gap / self.delta_pos) * (data.weights_at(after) > 0)
        future = rows_of(values, data.codes[after], offsets, data.n_items)

        n_before = np.ones(len(t), dtype=np.int64)
        if self.direction == "part":
            n_before = t - data.offsets[:-1][session[t]] + 1
        before, offsets = flat_positions(t - n_before + 1, n_before)
        values = np.exp(-(np.repeat(t, n_before) - before) / self.delta_pos)
        past = rows_of(values, data.codes[before], offsets, data.n_items)
        return _summing_to_one(past), future, session[t], t + 1

    def _add_scores(self, scores, queries):
        clicks = observed(queries, scores.shape[1])
        weights = np.exp(-clicks.steps / self.delta_inf).astype(np.float32)
        at = clicks.rows, clicks.codes
        query = sparse.csr_array((weights, at), shape=scores.shape)
        scores += query @ self.weights_


def _summing_to_one(rows):
    """Scale each row so that it sums to 1."""
    sums = np.repeat(rows.sum(axis=1), np.diff(rows.indptr))
    return sparse.csr_array((rows.data / sums, rows.indices, rows.indptr), rows.shape)


def _solve(gram, cross, reg):
    """(gram + reg I)^-1 cross, float32, in little more memory than one dense matrix.

    LAPACK factorizes (potrf) and inverts (potri) the symmetric matrix in place, in its
    lower triangle. The triangle is then mirrored, and the product with `cross` replaces
    the inverse, both in blocks of rows. A general solver would need several matrices of
    this size.
    """
    n = gram.shape[0]
    dtype = np.float64 if n <= _EXACT_ITEMS else np.float32
    potrf, potri = linalg.get_lapack_funcs(("potrf", "potri"), dtype=dtype)
    inverse = np.zeros((n, n), dtype=dtype, order="F")
    gram = gram.tocoo()
    inverse[gram.coords] = gram.data
    inverse[np.arange(n), np.arange(n)] += reg
    inverse, failed_at = potrf(inverse, lower=True, overwrite_a=True, clean=False)
    if failed_at:
        raise ValueError(
            f"reg={reg} is too small to solve the system, because some items occur in "
            "nearly the same sessions. Pass a larger reg, such as the default 10."
        )
    inverse, _ = potri(inverse, lower=True, overwrite_c=True)
    for i in range(0, n, _BLOCK):  # mirror the lower triangle
        block = slice(i, min(i + _BLOCK, n))
        inverse[: block.start, block] = inverse[block, : block.start].T
        corner = np.tril(inverse[block, block])
        inverse[block, block] = corner + np.tril(corner, -1).T
    result = inverse.T  # symmetric; rows are contiguous in memory now
    across = sparse.csr_array(cross.T, dtype=dtype)
    for i in range(0, n, _BLOCK):
        block = slice(i, min(i + _BLOCK, n))
        result[block] = (across @ result[block].T).T
    return result.astype(np.float32, copy=False)
