"""Session-based nearest neighbours, four published variants, by sparse products."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse

from skclip._data import flat_positions
from skclip._sklearn import Interval, StrOptions, _fit_context
from skclip.baselines._base import (
    SECONDS_PER_DAY,
    WHISPER,
    BaselineRecommender,
    add_at,
)

# Weight of the click `steps` before the newest of `n`, newest: steps = 0.
_WEIGHTINGS = {
    "same": lambda steps, n: np.ones(len(steps)),
    "linear": lambda steps, n: np.maximum(0, 1 - 0.1 * steps),
    "div": lambda steps, n: (n - steps) / n,
    "quadratic": lambda steps, n: ((n - steps) / n) ** 2,
    "log": lambda steps, n: 1 / np.log10(steps + 1.7),
}
# Factor of a neighbour whose newest shared click is `steps` before the newest.
_DECAYS = {
    "same": lambda steps: np.ones(len(steps)),
    "linear": lambda steps: np.maximum(0, 1 - 0.1 * (steps + 1)),
    "div": lambda steps: 1 / (steps + 1),
    "quadratic": lambda steps: 1 / (steps + 1) ** 2,
    "log": lambda steps: 1 / np.log10(steps + 2.7),
}
# What "auto" stands for; a variant has no other parameters.
_VARIANTS = {
    "sknn": {},
    "vsknn": {"weighting": "quadratic", "decay": "quadratic", "idf_weight": 5.0},
    "stan": {"lambda1": 1.0, "lambda2": 20.0, "lambda3": 2.0},
    "vstan": {
        "lambda1": 1.0,
        "lambda2": 20.0,
        "lambda3": 2.0,
        "lambda4": 2.0,
        "idf_weight": 2.0,
    },
}
_OWN = ("weighting", "decay", "idf_weight", "lambda1", "lambda2", "lambda3", "lambda4")
_LEAST = 10 * WHISPER  # what a neighbour holds is before what none holds
_FAINT = 1e-9  # scores of sessions with nothing but old or far neighbours are scaled up
_LONGEST = 50  # distinct items of a query; their order is kept in the bits of a float
_FEW = 8  # met sessions are sorted where the training part has so many times more


class SessionKNN(BaselineRecommender):
    r"""Rank by what the most similar training sessions hold.

    Candidates are the `sample_size` most recent training sessions that share an item
    with the observed one; the `n_neighbors` most similar of them vote. With
    :math:`A` the distinct items of the observed session of :math:`T` clicks,
    :math:`B` those of a training session and :math:`p_i` the clicks from item
    :math:`i` to the newest (0 is the newest):

    .. math::
        \mathrm{sim}(B) &= \frac{|A \cap B|}{\sqrt{|A| |B|}} &
            \mathrm{score}(j) &= \sum_{B \ni j} \mathrm{sim}(B) && \text{sknn} \\
        \mathrm{sim}(B) &= \sum_{i \in A \cap B} w(p_i) &
            \mathrm{score}(j) &= \sum_{B \ni j} \mathrm{sim}(B)\,
            d(p^*)(1 + a\, \mathrm{idf}_j) && \text{vsknn} \\
        \mathrm{sim}(B) &= \frac{\sum_{i \in A \cap B} e^{-p_i / \lambda_1}}{
            \sqrt{|B| \sum_{i \in A} e^{-2 p_i / \lambda_1}}}
            e^{-\mathrm{age}/\lambda_2} &
            \mathrm{score}(j) &= \sum_{B \ni j} \mathrm{sim}(B)\,
            e^{-\Delta_j/\lambda_3} && \text{stan}

    and "vstan" multiplies the terms of stan by
    :math:`e^{-p^*/\lambda_4}(1 + a\, \mathrm{idf}_j)`.

    :math:`p^*` belongs to the newest shared item, :math:`\Delta_j` are the clicks
    between it and :math:`j` in the neighbour, :math:`\mathrm{idf}_j = \log(n / n_j)`
    with :math:`n` training sessions and :math:`n_j` events of :math:`j`, at least 0,
    and :math:`a` is `idf_weight`. Where all neighbours of a session are old or far,
    with factors below 1e-9, its scores are in units of the largest factor.

    Parameters
    ----------
    variant : {"sknn", "vsknn", "stan", "vstan"}, default="vsknn"
        S-KNN [1]_, V-SKNN [2]_, STAN [3]_ or VSTAN [2]_.
    n_neighbors : int, default=500
        Neighbours that vote. Among equally similar ones the most recent.
    sample_size : int or None, default=5000
        Most recent candidates that are compared; None compares all. Recency is that of
        the sessions' last times, or the order of the rows where there are none.
    weighting : {"same", "linear", "div", "quadratic", "log"}, default="auto"
        Of vsknn, :math:`w(p)`: 1, ``max(0, 1 - p / 10)``, ``(T - p) / T``, its square,
        or ``1 / log10(p + 1.7)``. "auto" is "quadratic", as for `decay`.
    decay : {"same", "linear", "div", "quadratic", "log"}, default="auto"
        Of vsknn, :math:`d(p)` with ``s = p + 1``: 1, ``max(0, 1 - s / 10)``, ``1 / s``,
        ``1 / s ** 2``, or ``1 / log10(s + 1.7)``.
    idf_weight : float or "auto", default="auto"
        Of vsknn and vstan. 0 is without. "auto" is 5 and 2.
    lambda1 : float or "auto", default="auto"
        In clicks; of stan and vstan. "auto" is 1.
    lambda2 : float, None or "auto", default="auto"
        In days; of stan and vstan. None is without. "auto" is 20 where the sessions
        have times, else None.
    lambda3, lambda4 : float or "auto", default="auto"
        In clicks; of stan and vstan, the last of vstan alone. "auto" is 2.
    backoff : {"popularity"} or None, default="popularity"
        What ranks the items that no neighbour holds, behind the others. None leaves
        them tied.
    scoring : str or callable, default="mrr@20"
        What `score` returns.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted.
    item_counts_ : ndarray of shape (n_items,)
        Training events of each item.
    sessions_ : csr_array of shape (n_sessions, n_items), float32
        Distinct items of the training sessions, oldest session first; the value is the
        place of the item's last click, from 1.
    resolved_params_ : dict
        What "auto" stood for.

    Notes
    -----
    A query costs the number of sessions that hold one of its items, plus `n_neighbors`
    times their length. Of a query the newest 50 distinct items are read. In [3]_
    the newest shared item is that of the observed session; a widely used program takes
    the last place in the neighbour that holds any observed item.

    References
    ----------
    .. [1] D. Jannach, M. Ludewig, "When recurrent neural networks meet the
           neighborhood for session-based recommendation", RecSys 2017.
    .. [2] M. Ludewig, N. Mauro, S. Latifi, D. Jannach, "Empirical analysis of
           session-based recommendation algorithms", User Modeling and User-Adapted
           Interaction 31, 2021.
    .. [3] D. Garg, P. Gupta, P. Malhotra, L. Vig, G. Shroff, "Sequence and time aware
           neighborhood for session-based recommendations: STAN", SIGIR 2019.

    Examples
    --------
    >>> from skclip import SessionKNN
    >>> X = [["a", "b", "c"], ["a", "b", "d"], ["b", "c"], ["e", "f"]]
    >>> knn = SessionKNN("sknn", n_neighbors=2).fit(X)
    >>> knn.predict_topk([["a", "b"]], k=3, exclude_seen=True).tolist()
    [['c', 'd', 'e']]
    """

    _parameter_constraints: dict = {
        "variant": [StrOptions(set(_VARIANTS))],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "sample_size": [Interval(Integral, 1, None, closed="left"), None],
        "weighting": [StrOptions({"auto", *_WEIGHTINGS})],
        "decay": [StrOptions({"auto", *_DECAYS})],
        "idf_weight": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        **{
            name: [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})]
            for name in ("lambda1", "lambda3", "lambda4")
        },
        "lambda2": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
            None,
        ],
        **BaselineRecommender._backoff_constraint,
        "scoring": [str, callable],
    }

    def __init__(
        self,
        variant="vsknn",
        *,
        n_neighbors=500,
        sample_size=5000,
        weighting="auto",
        decay="auto",
        idf_weight="auto",
        lambda1="auto",
        lambda2="auto",
        lambda3="auto",
        lambda4="auto",
        backoff="popularity",
        scoring="mrr@20",
    ):
        self.variant = variant
        self.n_neighbors = n_neighbors
        self.sample_size = sample_size
        self.weighting = weighting
        self.decay = decay
        self.idf_weight = idf_weight
        self.lambda1 = lambda1
        self.lambda2 = lambda2
        self.lambda3 = lambda3
        self.lambda4 = lambda4
        self.backoff = backoff
        self.scoring = scoring

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Store the training sessions by item.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Whole sessions are the recommended
            input.
        y : array-like of shape (n_sessions,), default=None
            Next items; row i is then the session ``X[i] + [y[i]]``.

        Returns
        -------
        self : SessionKNN
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            A parameter is given that the variant does not have, or `lambda2` without
            times.
        """
        data = self._fit_data(X, y)
        self.resolved_params_ = self._resolved(data.end_times is not None)
        lengths = np.diff(data.offsets)
        kept = np.flatnonzero(lengths > 0)
        session = np.repeat(np.arange(len(lengths)), lengths)
        places = np.arange(len(session)) - np.repeat(data.offsets[:-1], lengths) + 1
        keys = session * data.n_items + data.codes - 1
        keys, last = np.unique(keys[::-1], return_index=True)
        places = places[::-1][last].astype(np.float32)
        at = keys // data.n_items, keys % data.n_items
        shape = len(lengths), data.n_items
        self.sessions_ = sparse.csr_array((places, at), shape=shape)[kept]
        self._times = None if data.end_times is None else data.end_times[kept]
        idf = np.maximum(0, np.log(len(kept) / self.item_counts_))
        self._item_weights = 1 + self.resolved_params_.get("idf_weight", 0) * idf
        self._index_items()
        return self

    def _resolved(self, has_times):
        own = _VARIANTS[self.variant]
        resolved = {}
        for name in _OWN:
            value = getattr(self, name)
            auto = isinstance(value, str) and value == "auto"
            if name in own:
                resolved[name] = own[name] if auto else value
            elif not auto:
                raise ValueError(
                    f"{name}={value!r} is no parameter of variant={self.variant!r}, "
                    f"which has {sorted(own) or 'none of this kind'}. Leave it at "
                    "'auto'."
                )
        if "lambda2" in resolved and not has_times:
            if self.lambda2 not in ("auto", None):
                raise ValueError(
                    f"lambda2={self.lambda2} needs sessions with times. Pass time= to "
                    "Sessions.from_events, or lambda2=None."
                )
            resolved["lambda2"] = None
        return resolved

    def _index_items(self):
        """Sessions that hold each item, oldest first."""
        self._held = sparse.csr_array(self.sessions_.T, dtype=np.complex128)
        self._held.sort_indices()
        self._held.data[:] = 1

    # -- scoring ---------------------------------------------------------------

    def _add_scores(self, scores, observed):
        params = self.resolved_params_
        clicks = observed.distinct()
        rank = _rank_in_row(clicks.rows)
        newest = rank < _LONGEST
        clicks, rank = clicks.take(newest), rank[newest]
        rows, neighbours, similarity, shared = self._neighbours(
            clicks, rank, len(scores), observed.times
        )
        if "decay" in params:
            similarity = similarity * _DECAYS[params["decay"]](clicks.steps[shared])
        if "lambda4" in params:
            similarity = similarity * _fading(clicks.steps[shared], params["lambda4"])
        largest = _largest_of_row(similarity, rows)
        faint = (largest > 0) & (largest < _FAINT)
        similarity = similarity / np.where(faint, largest, 1)
        starts = self.sessions_.indptr[neighbours]
        lengths = self.sessions_.indptr[neighbours + 1] - starts
        at, _ = flat_positions(starts.astype(np.int64), lengths)
        items = self.sessions_.indices[at]
        values = np.repeat(similarity, lengths)
        if "lambda3" in params:
            places = self.sessions_.data[at]
            common = np.flatnonzero(items == np.repeat(clicks.codes[shared], lengths))
            distance = np.abs(places - np.repeat(places[common], lengths))
            values = values * _fading(distance, params["lambda3"])
        if params.get("idf_weight"):
            values = values * self._item_weights[items]
        values = np.where(values > 0, np.maximum(values, _LEAST), 0)
        add_at(scores, np.repeat(rows, lengths), items, values)

    def _neighbours(self, clicks, rank, n_queries, times):
        """Row, session, similarity and newest shared click of each neighbour."""
        params = self.resolved_params_
        if self.variant == "vsknn":
            lengths = clicks.lengths[clicks.rows]
            weights = _WEIGHTINGS[params["weighting"]](clicks.steps, lengths)
        elif self.variant == "sknn":
            weights = np.ones(len(clicks.rows))
        else:
            weights = _fading(clicks.steps, params["lambda1"])
        starts = np.searchsorted(clicks.rows, np.arange(n_queries + 1))
        # Powers of two, summed beside the weights, have the newest shared click in
        # their exponent.
        weights = weights + 1j * 0.5**rank
        rows, sessions, sums = self._shared(weights, clicks, starts)
        similarity, bits = sums.real, sums.imag
        if self.sample_size is not None:
            indptr = np.searchsorted(rows, np.arange(n_queries + 1))
            kept = _largest(sessions, None, indptr, self.sample_size)
            rows, sessions = rows[kept], sessions[kept]
            similarity, bits = similarity[kept], bits[kept]
        if self.variant != "vsknn":
            ends = self.sessions_.indptr
            held = ends[sessions + 1] - ends[sessions]
            squares = np.bincount(clicks.rows, weights.real**2, n_queries)
            similarity = similarity / np.sqrt(held * squares[rows])
        if params.get("lambda2") is not None:
            now = np.full(n_queries, self._times[-1])
            if times is not None:
                now = np.where(np.isfinite(times), times, now)
            age = np.maximum(0, now[rows] - self._times[sessions]) / SECONDS_PER_DAY
            similarity = similarity * _fading(age, params["lambda2"], least=-400)
        indptr = np.searchsorted(rows, np.arange(n_queries + 1))
        kept = _largest(similarity, sessions, indptr, self.n_neighbors)
        rows, sessions, similarity = rows[kept], sessions[kept], similarity[kept]
        shared = starts[rows] + 1 - np.frexp(bits[kept])[1]
        return rows, sessions, similarity, shared

    def _shared(self, weights, clicks, starts):
        """Rows, sessions that share a click with them, and sums of its weights.

        The sparse product clears a workspace of one number a training session. Where
        few are met, sorting them is faster; order and sums are those of the product.
        """
        held, n_queries = self._held, len(starts) - 1
        firsts = held.indptr[clicks.codes]
        lengths = held.indptr[clicks.codes + 1] - firsts
        if _FEW * lengths.sum() > held.shape[1]:
            shape = n_queries, held.shape[0]
            query = sparse.csr_array((weights, clicks.codes, starts), shape=shape)
            shares = query @ held
            rows = np.repeat(np.arange(n_queries), np.diff(shares.indptr))
            return rows, shares.indices, shares.data
        at, _ = flat_positions(firsts.astype(np.int64), lengths)
        keys = np.repeat(clicks.rows * held.shape[1], lengths) + held.indices[at]
        keys, first, place = np.unique(keys, return_index=True, return_inverse=True)
        weights = np.repeat(weights, lengths)
        sums = np.bincount(place, weights.real) + 1j * np.bincount(place, weights.imag)
        rows, sessions = np.divmod(keys, held.shape[1])
        order = np.lexsort((-first, rows))  # the session met last comes first
        return rows, sessions[order], sums[order]

    # -- state -----------------------------------------------------------------

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_held", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "sessions_" in state:
            self._index_items()


def _fading(distance, scale, least=-90):
    """exp(-distance / scale), never so small that a product of such factors is 0."""
    return np.exp(np.maximum(-distance / scale, least), dtype=np.float64)


def _largest_of_row(values, rows):
    """The largest value in each run of equal rows, for each of its members."""
    if len(rows) == 0:
        return values
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    return np.repeat(np.maximum.reduceat(values, starts), lengths)


def _rank_in_row(rows):
    """0, 1, ... within each run of equal rows."""
    starts = np.searchsorted(rows, rows)
    return np.arange(len(rows)) - starts


def _largest(values, tie_break, indptr, k):
    """Positions of the largest `k` values of each row, in order of position.

    Among values equal to the k-th the largest of `tie_break` are kept.
    """
    lengths = np.diff(indptr)
    if lengths.max(initial=0) <= k:
        return slice(None)
    kept = np.ones(len(values), dtype=bool)
    for row in np.flatnonzero(lengths > k):
        of_row = slice(indptr[row], indptr[row + 1])
        inside = values[of_row]
        last = np.partition(inside, len(inside) - k)[len(inside) - k]
        keep = inside > last
        equal = np.flatnonzero(inside == last)
        missing = k - keep.sum()
        if missing < len(equal):
            newest = np.argpartition(tie_break[of_row][equal], len(equal) - missing)
            equal = equal[newest[len(equal) - missing :]]
        keep[equal] = True
        kept[of_row] = keep
    return np.flatnonzero(kept)
