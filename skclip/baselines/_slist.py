"""SLIST: item-to-item weights of sessions in closed form."""

from numbers import Integral, Real

import numpy as np
from scipy import linalg, sparse

from skclip._data import flat_positions
from skclip._sklearn import Interval, StrOptions, _fit_context
from skclip.baselines._base import SECONDS_PER_DAY, BaselineRecommender

_EXACT_ITEMS = 10_000  # up to here the system is solved in float64
_OLDEST = 30  # older sessions than so many `delta_time` would be lost in rounding
_BLOCK = 1024  # rows of the inverse that are multiplied at a time


class SLIST(BaselineRecommender):
    r"""Rank by a linear map from the observed items to the next ones [1]_.

    One matrix answers two questions at once: which items share a session
    (similarity, weight :math:`\alpha`), and which come after which (transition,
    weight :math:`1 - \alpha`). The rows of :math:`S` are observations, those of
    :math:`T` what is to be told from them, :math:`\Omega` weighs the rows:

    .. math::
        B = (S^\top \Omega S + \lambda I)^{-1} S^\top \Omega T, \qquad
        \mathrm{score}(j) = \sum_{i} e^{-p_i / \delta_{inf}} B_{ij}

    with :math:`p_i` the clicks from an observed item to the newest one. A similarity
    row holds the distinct items of a session, in :math:`S` and :math:`T`. A transition
    row stands for a click of a session: :math:`T` has the later items, by
    :math:`e^{-g/\delta_{pos}}` with :math:`g` = 0 for the next one, :math:`S` those up
    to that click (see `direction`). Rows of :math:`S` sum to 1; a row of a session that
    ended :math:`a` days before the last one counts :math:`e^{-a/\delta_{time}}`.

    Parameters
    ----------
    alpha : float, default=0.5
        Between 0 (transitions alone) and 1 (similarity alone).
    reg : float, default=10.0
        :math:`\lambda`.
    delta_pos, delta_inf : float, default=1.0, 1.0
        In clicks.
    delta_time : float, None or "auto", default="auto"
        In days. None is without. "auto" is 128 where the sessions have times, else
        None. A session counts no less than one 30 `delta_time` old.
    direction : {"part", "sr"}, default="part"
        What a transition row observes: "part" all clicks so far, by
        :math:`e^{-p/\delta_{pos}}`, "sr" the last one alone.
    max_items : int, default=20_000
        Largest catalogue: the matrix is dense, takes ``4 * n_items ** 2`` bytes, and
        time that grows with the cube.
    scoring : str or callable, default="mrr@20"
        What `score` returns.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted.
    item_counts_ : ndarray of shape (n_items,)
        Training events of each item.
    weights_ : ndarray of shape (n_items, n_items), float32
        :math:`B`.

    Notes
    -----
    The system is solved in float64 up to 10,000 items and in float32 beyond. With
    ``alpha=1`` [1]_ bounds the diagonal of :math:`B`; here it stays as it is.

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

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "reg": [Interval(Real, 0, None, closed="neither")],
        "delta_pos": [Interval(Real, 0, None, closed="neither")],
        "delta_inf": [Interval(Real, 0, None, closed="neither")],
        "delta_time": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
            None,
        ],
        "direction": [StrOptions({"part", "sr"})],
        "max_items": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable],
    }
    backoff = "popularity"  # where nothing is observed; else every item has a score

    def __init__(
        self,
        *,
        alpha=0.5,
        reg=10.0,
        delta_pos=1.0,
        delta_inf=1.0,
        delta_time="auto",
        direction="part",
        max_items=20_000,
        scoring="mrr@20",
    ):
        self.alpha = alpha
        self.reg = reg
        self.delta_pos = delta_pos
        self.delta_inf = delta_inf
        self.delta_time = delta_time
        self.direction = direction
        self.max_items = max_items
        self.scoring = scoring

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Solve for the weights.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Whole sessions are the recommended
            input.
        y : array-like of shape (n_sessions,), default=None
            Next items; row i is then the session ``X[i] + [y[i]]``.

        Returns
        -------
        self : SLIST
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            The catalogue has more than `max_items` items, `delta_time` is given and
            the sessions have no times, or `reg` is too small for the system to have a
            solution in floating point.
        """
        data = self._fit_data(X, y)
        n = data.n_items
        if n > self.max_items:
            raise ValueError(
                f"The catalogue has {n} items, more than max_items={self.max_items}. "
                f"The weights would take {4 * n**2 / 2**30:.1f} GiB and fit more: "
                f"pass max_items={n} if you have that, drop rare items "
                "(skclip.preprocessing.drop_rare_items), or use SessionKNN."
            )
        gram, cross = self._normal_equations(data, self._row_weights(data))
        self.weights_ = _solve(gram, cross, self.reg)
        return self

    def _row_weights(self, data):
        delta = self.delta_time
        if isinstance(delta, str):
            delta = None if data.end_times is None else 128.0
        if delta is None:
            return np.ones(len(data.offsets) - 1)
        if data.end_times is None:
            raise ValueError(
                f"delta_time={delta} needs sessions with times. Pass time= to "
                "Sessions.from_events, or delta_time=None."
            )
        ages = (data.end_times.max() - data.end_times) / SECONDS_PER_DAY
        return np.exp(-np.minimum(ages / delta, _OLDEST))

    def _normal_equations(self, data, weights):
        """Sparse S' Omega S and S' Omega T."""
        ones = np.ones(len(data.codes))
        whole = _rows(ones, data.codes, data.offsets, data.n_items)
        whole.data[:] = 1
        whole_in = _summing_to_one(whole)
        weighted = whole_in.T @ sparse.diags_array(self.alpha * weights)
        gram, cross = weighted @ whole_in, weighted @ whole

        lengths = np.diff(data.offsets)
        session = np.repeat(np.arange(len(lengths)), lengths)
        last = np.repeat(data.offsets[1:], lengths) - 1
        t = np.flatnonzero(np.arange(len(session)) < last)  # a click before others
        if data.graph_ends is not None:  # with targets: the one before each
            t = data.graph_ends - 1
        after, offsets = flat_positions(t + 1, last[t] - t)
        gap = after - np.repeat(t + 1, np.diff(offsets))
        future = _rows(
            np.exp(-gap / self.delta_pos), data.codes[after], offsets, data.n_items
        )
        n_before = np.ones(len(t), dtype=np.int64)
        if self.direction == "part":
            n_before = t - data.offsets[:-1][session[t]] + 1
        before, offsets = flat_positions(t - n_before + 1, n_before)
        gap = np.repeat(t, n_before) - before
        past = _rows(
            np.exp(-gap / self.delta_pos), data.codes[before], offsets, data.n_items
        )
        past = _summing_to_one(past)
        weighted = past.T @ sparse.diags_array((1 - self.alpha) * weights[session[t]])
        return gram + weighted @ past, cross + weighted @ future

    def _add_scores(self, scores, observed):
        weights = np.exp(-observed.steps / self.delta_inf).astype(np.float32)
        at = observed.rows, observed.codes
        query = sparse.csr_array((weights, at), shape=scores.shape)
        scores += query @ self.weights_


def _rows(values, codes, offsets, n_items):
    shape = len(offsets) - 1, n_items
    rows = sparse.csr_array((values, codes - 1, offsets.copy()), shape=shape)
    rows.sum_duplicates()  # in place, offsets included
    return rows


def _summing_to_one(rows):
    sums = np.repeat(rows.sum(axis=1), np.diff(rows.indptr))
    return sparse.csr_array((rows.data / sums, rows.indices, rows.indptr), rows.shape)


def _solve(gram, cross, reg):
    """(gram + reg I)^-1 cross, float32, in little more than one dense matrix."""
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
            f"reg={reg} is too small: with items that occur alike the system has no "
            "solution up to rounding. Pass a larger reg, such as the default 10."
        )
    inverse, _ = potri(inverse, lower=True, overwrite_c=True)
    for i in range(0, n, _BLOCK):  # the lower triangle holds all there is
        block = slice(i, min(i + _BLOCK, n))
        inverse[: block.start, block] = inverse[block, : block.start].T
        corner = np.tril(inverse[block, block])
        inverse[block, block] = corner + np.tril(corner, -1).T
    result = inverse.T  # symmetric: rows in order of memory
    across = sparse.csr_array(cross.T, dtype=dtype)
    for i in range(0, n, _BLOCK):
        block = slice(i, min(i + _BLOCK, n))
        result[block] = (across @ result[block].T).T
    return result.astype(np.float32, copy=False)
