"""Session-based nearest neighbors in four published variants, by sparse products."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from scipy import sparse

from skclip._data import flat_positions
from skclip._sklearn import Interval, StrOptions
from skclip._typing import Auto, Backoff, Scoring, Weighting
from skclip.baselines._base import (
    BACKOFF_TOTAL,
    POSITIVE,
    SECONDS_PER_DAY,
    CountingRecommender,
    add_at,
    needs_times,
    observed,
    widened,
    without_gaps,
)

# Weight of the click that is `steps` before the newest of `n` clicks.
_WEIGHTINGS = {
    "same": lambda steps, n: np.ones(len(steps)),
    "linear": lambda steps, n: np.maximum(0, 1 - 0.1 * steps),
    "div": lambda steps, n: (n - steps) / n,
    "quadratic": lambda steps, n: ((n - steps) / n) ** 2,
    "log": lambda steps, n: 1 / np.log10(steps + 1.7),
}
# Factor of a neighbor whose newest shared click is `steps` before the newest one.
_DECAYS = {
    "same": lambda steps: np.ones(len(steps)),
    "linear": lambda steps: np.maximum(0, 1 - 0.1 * (steps + 1)),
    "div": lambda steps: 1 / (steps + 1),
    "quadratic": lambda steps: 1 / (steps + 1) ** 2,
    "log": lambda steps: 1 / np.log10(steps + 2.7),
}
# Values of "auto". These are also the only parameters that a variant has of its own.
_STAN = {"lambda1": 1.0, "lambda2": 20.0, "lambda3": 2.0}
_VARIANTS = {
    "sknn": {},
    "vsknn": {"weighting": "quadratic", "decay": "quadratic", "idf_weight": 5.0},
    "stan": _STAN,
    "vstan": _STAN | {"lambda4": 2.0, "idf_weight": 2.0},
}
_OWN = ("weighting", "decay", "idf_weight", "lambda1", "lambda2", "lambda3", "lambda4")
_AUTO = StrOptions({"auto"})
_LOWEST = 10 * BACKOFF_TOTAL  # items of neighbors rank before all other items
_TINY = 1e-9  # if the factors of all neighbors are smaller, they are scaled up
_LONGEST = 50  # most distinct items that are read per query; a float64 has 53 bits
_MOST_ITEMS = 2**22  # in the sessions of all neighbors of a chunk of queries
_SORT_RATIO = 8  # sort if there are more sessions per candidate than this


class SessionKNN(CountingRecommender):
    r"""Rank by the items of the most similar training sessions.

    Candidates are the `sample_size` most recent training sessions that share an item
    with the observed session. The `n_neighbors` most similar candidates are the
    neighbors, and the score of an item sums over the neighbors that have it.
    :math:`A` holds the distinct items of the observed session of :math:`T` clicks,
    and :math:`B` those of a training session. :math:`p_i` is the number of clicks from
    item :math:`i` to the newest click, which has 0:

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

    "vstan" multiplies the terms of stan by
    :math:`e^{-p^*/\lambda_4}(1 + a\, \mathrm{idf}_j)`.

    :math:`p^*` belongs to the newest shared item. :math:`\Delta_j` is the number of
    clicks between that item and :math:`j` in the neighbor.
    :math:`\mathrm{idf}_j = \log(n / n_j)`, at least 0, for :math:`n` training sessions
    and :math:`n_j` events of :math:`j`. :math:`a` is `idf_weight`.

    If events have weights, a neighbor's term for :math:`j` is multiplied by the largest
    weight of :math:`j` in it. :math:`n_j` is then a sum of weights, and :math:`n` sums
    the mean event weights of the sessions. If all neighbors of a session are so old or
    far that their factors are below 1e-9, its scores are divided by the largest factor.

    Parameters
    ----------
    variant : {"sknn", "vsknn", "stan", "vstan"}, default="vsknn"
        Published method: S-KNN [1]_, V-SKNN [2]_, STAN [3]_ or VSTAN [2]_. `fit` raises
        an error if you set a parameter that the variant does not have.
    n_neighbors : int, default=500
        Number of neighbors. Among equally similar sessions, the most recent ones are
        used.
    sample_size : int or None, default=5000
        Number of most recent candidates to compare. None compares all. Recency is the
        end time of a session, or the order of the rows if there are no times.
    weighting : {"auto", "same", "linear", "div", "quadratic", "log"}, default="auto"
        Weight :math:`w(p)` of a click in "vsknn": 1, ``max(0, 1 - p / 10)``,
        ``(T - p) / T``, its square, or ``1 / log10(p + 1.7)``. "auto" is "quadratic".
    decay : {"auto", "same", "linear", "div", "quadratic", "log"}, default="auto"
        Factor :math:`d(p)` of a neighbor in "vsknn", with ``s = p + 1``: 1,
        ``max(0, 1 - s / 10)``, ``1 / s``, ``1 / s ** 2``, or ``1 / log10(s + 1.7)``.
        "auto" is "quadratic".
    idf_weight : float or "auto", default="auto"
        Weight of the idf factor, which favors rare items, in "vsknn" and "vstan". 0
        turns it off. "auto" is 5 in "vsknn" and 2 in "vstan".
    lambda1 : float or "auto", default="auto"
        Decay of the observed clicks in "stan" and "vstan", in clicks. "auto" is 1.
    lambda2 : float, None or "auto", default="auto"
        Decay of old neighbors in "stan" and "vstan", in days. None ignores their age.
        "auto" is 20 if the sessions have times, and None otherwise. A number requires
        times.
    lambda3 : float or "auto", default="auto"
        Decay within a neighbor in "stan" and "vstan", in clicks. "auto" is 2.
    lambda4 : float or "auto", default="auto"
        Decay by the position of the newest shared item in "vstan", in clicks. "auto" is
        2.
    backoff : {"popularity"} or None, default="popularity"
        Ranking of the items that no neighbor has, after all other items. None leaves
        them tied.
    scoring : str or callable, default="mrr@20"
        Metric that `score` returns.

    Attributes
    ----------
    item_ids_, item_counts_ : ndarray of shape (n_items,)
        Raw ids of the items seen in `fit`, sorted, then new items of `partial_fit`, and
        their numbers of training events, or sums of event weights.
    sessions_ : csr_array of shape (n_sessions, n_items), float32
        Distinct items of the training sessions, oldest session first. The value is the
        position of the last click on the item, counted from 1.
    resolved_params_ : dict
        Parameters of the fitted variant, with "auto" replaced by its value.

    Notes
    -----
    `n_neighbors`, `sample_size` and `backoff` are read at prediction, so you can change
    them without a new `fit`. All other parameters take effect in `fit`, and
    `partial_fit` raises an error if they have changed. It sorts further sessions among
    the old ones by their end times. If times are equal or missing, old ones come first.

    A query costs the number of sessions that have one of its items, plus `n_neighbors`
    times their length. The newest 50 distinct items of a query are read.

    Differences from the paper and its code:

    - **Newest shared item.** STAN measures distances in a neighbor from the newest
      observed item that both sessions have; published code takes the last place in the
      neighbor with any observed item. skclip follows the paper. Most neighbors share
      one item, where both rules agree.
    - **Equal neighbors.** Papers do not say which neighbors of equal similarity to
      keep, and published code keeps those that its sort leaves first. skclip keeps the
      most recent ones, because with one observed item all candidates are equally
      similar.
    - **Negative idf.** The idf of published code is negative for an item with more
      events than there are sessions. skclip uses 0 instead, so that no factor is below
      1.
    - **Items of no neighbor.** Published code leaves items without a score tied, or in
      the order of a dictionary. skclip ranks them by popularity behind the others;
      ``backoff=None`` leaves them tied.
    - **Normalization of V-SKNN.** The paper divides the sum over shared items by the
      number of distinct items of the observed session. skclip does not: the factor is
      the same for all neighbors, so scores differ and rankings do not.
    - **Linear weights.** The published ``"linear"`` decay is negative from the eleventh
      click on, and its weighting counts the last ten clicks. In skclip both are at
      least 0, so that no neighbor votes against its own items.
    - **Long observed sessions.** The papers use all observed items. skclip uses the
      newest 50 distinct ones, because older ones hardly count in V-SKNN, STAN and
      VSTAN.
    - **Most recent candidates.** Published code collects recent candidates click by
      click. skclip orders them by the time of their last event, which is the same if
      sessions do not overlap.

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

    resolved_params_: dict[str, Any]

    _parameter_constraints: dict = {
        "variant": [StrOptions(set(_VARIANTS))],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "sample_size": [Interval(Integral, 1, None, closed="left"), None],
        "weighting": [StrOptions({"auto", *_WEIGHTINGS})],
        "decay": [StrOptions({"auto", *_DECAYS})],
        "idf_weight": [Interval(Real, 0, None, closed="left"), _AUTO],
        "lambda1": [POSITIVE, _AUTO],
        "lambda2": [POSITIVE, _AUTO, None],
        "lambda3": [POSITIVE, _AUTO],
        "lambda4": [POSITIVE, _AUTO],
        **CountingRecommender._parameter_constraints,
    }
    _read_at_prediction = ("n_neighbors", "sample_size", "backoff", "scoring")

    def __init__(
        self,
        variant: Literal["sknn", "vsknn", "stan", "vstan"] = "vsknn",
        *,
        n_neighbors: int = 500,
        sample_size: int | None = 5000,
        weighting: Weighting | Auto = "auto",
        decay: Weighting | Auto = "auto",
        idf_weight: float | Auto = "auto",
        lambda1: float | Auto = "auto",
        lambda2: float | Auto | None = "auto",
        lambda3: float | Auto = "auto",
        lambda4: float | Auto = "auto",
        backoff: Backoff | None = "popularity",
        scoring: Scoring = "mrr@20",
    ) -> None:
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

    def _learn(self, data):
        params = self._resolved(data.end_times is not None)
        sessions, votes, times = _sessions_and_times(data)
        weight = data.session_weights().sum()
        learned = _learned(sessions, votes, times, weight, data.item_counts(), params)
        return learned | {"resolved_params_": params}

    def _grow(self, data, item_counts):
        self._check_times(self._times is not None, data)
        further, votes, times = _sessions_and_times(data)
        before = widened(self.sessions_, self.sessions_.shape[0], data.n_items)
        sessions = sparse.vstack([before, further], format="csr")
        if votes is not None or self._votes is not None:
            votes = [_ones_for(self._votes, before), _ones_for(votes, further)]
            votes[0] = widened(votes[0], *before.shape)
            votes = sparse.vstack(votes, format="csr")
        if times is not None:
            known = self._times.copy()
            known[len(known) - self._n_undated :] = np.nan
            times = np.concatenate([known, times])
            order = np.argsort(times, kind="stable")  # NaN is last
            if (np.diff(order) < 0).any():
                sessions, times = sessions[order], times[order]
                votes = None if votes is None else votes[order]
        weight, params = data.session_weights().sum(), self.resolved_params_
        weight = self._total_weight + weight
        return _learned(sessions, votes, times, weight, item_counts, params)

    def _resolved(self, has_times):
        """The parameters of the variant, with "auto" replaced."""
        own = _VARIANTS[self.variant]
        resolved = {}
        for name in _OWN:
            value = getattr(self, name)
            auto = isinstance(value, str) and value == "auto"
            if name in own:
                resolved[name] = own[name] if auto else value
            elif not auto:
                raise ValueError(
                    f"{name}={value!r} is not a parameter of variant={self.variant!r}, "
                    f"which has {sorted(own) or 'no parameters of this kind'}. Leave "
                    f"{name}='auto'."
                )
        if "lambda2" in resolved and not has_times:
            if self.lambda2 not in ("auto", None):
                raise needs_times("lambda2", self.lambda2)
            resolved["lambda2"] = None
        return resolved

    def _rows_per_chunk(self):
        """Number of queries whose neighbors have about 4 million items in total."""
        n_sessions = self.sessions_.shape[0]
        n_neighbors = min(self.n_neighbors, n_sessions)
        of_query = n_neighbors * self.sessions_.nnz / n_sessions
        return max(1, min(super()._rows_per_chunk(), int(_MOST_ITEMS // of_query)))

    def _add_scores(self, scores, queries):
        params = self.resolved_params_
        clicks = observed(queries, scores.shape[1]).distinct()
        place = np.arange(len(clicks.rows)) - np.searchsorted(clicks.rows, clicks.rows)
        clicks = clicks.take(place < _LONGEST)
        rows, neighbors, similarity, shared = self._neighbors(clicks, len(scores))
        if "decay" in params:
            similarity = similarity * _DECAYS[params["decay"]](clicks.steps[shared])
        if "lambda4" in params:
            similarity = similarity * _fading(clicks.steps[shared], params["lambda4"])
        largest = _largest_of_row(similarity, rows)
        tiny = (largest > 0) & (largest < _TINY)
        similarity = similarity / np.where(tiny, largest, 1)
        starts = self.sessions_.indptr[neighbors]
        lengths = self.sessions_.indptr[neighbors + 1] - starts
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
        if self._votes is not None:
            values = values * self._votes.data[at]
        values = np.where(values > 0, np.maximum(values, _LOWEST), 0)
        add_at(scores, np.repeat(rows, lengths), items, values)

    def _neighbors(self, clicks, n_queries):
        """Row, session, similarity and newest shared click of each neighbor.

        A neighbor needs two facts about the clicks that it shares with the query: the
        sum of their weights, and the newest of them. One sparse product over complex
        numbers finds both. The real part is the weight. The imaginary part is
        ``2 ** -rank``, and the newest click has rank 0. A sum of distinct powers of two
        is exact in a float64 (53 bits) for up to 50 clicks. Its exponent is that of the
        largest power, which belongs to the newest click.
        """
        params = self.resolved_params_
        if "weighting" in params:
            lengths = clicks.lengths[clicks.rows]
            weights = _WEIGHTINGS[params["weighting"]](clicks.steps, lengths)
        elif "lambda1" in params:
            weights = _fading(clicks.steps, params["lambda1"])
        else:
            weights = np.ones(len(clicks.rows))
        starts = np.searchsorted(clicks.rows, np.arange(n_queries + 1))
        rank = np.arange(len(clicks.rows)) - starts[clicks.rows]
        weights = weights + 1j * 0.5**rank
        rows, sessions, sums = self._shared(weights, clicks, starts)
        similarity, bits = sums.real, sums.imag
        if self.sample_size is not None:
            indptr = np.searchsorted(rows, np.arange(n_queries + 1))
            kept = _largest(sessions, None, indptr, self.sample_size)
            rows, sessions = rows[kept], sessions[kept]
            similarity, bits = similarity[kept], bits[kept]
        if "weighting" not in params:
            ends = self.sessions_.indptr
            sizes = ends[sessions + 1] - ends[sessions]
            squares = np.bincount(clicks.rows, weights.real**2, n_queries)
            similarity = similarity / np.sqrt(sizes * squares[rows])
        if params.get("lambda2") is not None:
            now = np.full(n_queries, self._times[-1])
            if clicks.times is not None:
                now = np.where(np.isfinite(clicks.times), clicks.times, now)
            age = np.maximum(0, now[rows] - self._times[sessions]) / SECONDS_PER_DAY
            similarity = similarity * _fading(age, params["lambda2"], least=-400)
        indptr = np.searchsorted(rows, np.arange(n_queries + 1))
        kept = _largest(similarity, sessions, indptr, self.n_neighbors)
        rows, sessions, similarity = rows[kept], sessions[kept], similarity[kept]
        shared = starts[rows] + 1 - np.frexp(bits[kept])[1]
        return rows, sessions, similarity, shared

    def _shared(self, weights, clicks, starts):
        """Rows, the sessions that share clicks with each, and sums of click weights.

        The sparse product clears a workspace of one number per training session. If
        few sessions share a click, sorting them is faster. Both ways return the same
        sums in the same order, bit for bit.
        """
        having, n_queries = self._sessions_of_item, len(starts) - 1
        n_items, n_sessions = having.shape
        firsts = having.indptr[clicks.codes]
        lengths = having.indptr[clicks.codes + 1] - firsts
        if _SORT_RATIO * lengths.sum() > n_sessions:
            shape = n_queries, n_items
            query = sparse.csr_array((weights, clicks.codes, starts), shape=shape)
            shares = query @ having
            rows = np.repeat(np.arange(n_queries), np.diff(shares.indptr))
            return rows, shares.indices, shares.data
        at, _ = flat_positions(firsts.astype(np.int64), lengths)
        keys = np.repeat(clicks.rows * n_sessions, lengths) + having.indices[at]
        keys, first, place = np.unique(keys, return_index=True, return_inverse=True)
        weights = np.repeat(weights, lengths)
        sums = np.bincount(place, weights.real) + 1j * np.bincount(place, weights.imag)
        rows, sessions = np.divmod(keys, n_sessions)
        order = np.lexsort((-first, rows))  # as the product: the last one found first
        return rows, sessions[order], sums[order]

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_sessions_of_item", None)  # __setstate__ builds it again
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "sessions_" in state:
            if "_votes" not in state:  # saved by a version without event weights
                self._votes, self._total_weight = None, self.sessions_.shape[0]
            self._sessions_of_item = _sessions_of_item(self.sessions_)


def _sessions_and_times(data):
    """Non-empty sessions, their largest item weights, and end times.

    Weights are stored at the same positions as the items of the sessions. Weights and
    end times may be None.
    """
    kept = np.flatnonzero(np.diff(data.offsets) > 0)
    times = None if data.end_times is None else data.end_times[kept]
    places, votes = _places_and_votes(data)
    return places[kept], None if votes is None else votes[kept], times


def _ones_for(votes, sessions):
    """Weights of the items of sessions, with 1 for each item if there are none."""
    if votes is not None:
        return votes
    votes = sessions.copy()
    votes.data = np.ones(votes.nnz)
    return votes


def _learned(sessions, votes, times, total_weight, item_counts, params):
    """Fitted attributes. `times` are sorted, with NaN last."""
    counted = np.where(item_counts > 0, item_counts, total_weight)  # 0 has no vote
    idf = np.maximum(0, np.log(total_weight / counted))
    return {
        "sessions_": sessions,
        "_votes": votes,
        "_total_weight": total_weight,
        "_times": None if times is None else without_gaps(times),
        "_n_undated": 0 if times is None else int(np.isnan(times).sum()),
        "_item_weights": 1 + params.get("idf_weight", 0) * idf,
        "_sessions_of_item": _sessions_of_item(sessions),
    }


def _places_and_votes(data):
    """Position, from 1, of the last click on each item, and its largest weight.

    Weights are None if each is 1.
    """
    lengths = np.diff(data.offsets)
    session = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(session)) - np.repeat(data.offsets[:-1], lengths) + 1
    keys = session * data.n_items + data.codes - 1
    keys, last, at = np.unique(keys[::-1], return_index=True, return_inverse=True)
    places = places[::-1][last].astype(np.float32)  # the first from the end
    shape, pairs = (len(lengths), data.n_items), np.divmod(keys, data.n_items)
    votes = None
    if data.weights is not None:
        largest = np.zeros(len(keys))
        np.maximum.at(largest, at, data.weights[::-1])
        votes = sparse.csr_array((largest, pairs), shape=shape)
    return sparse.csr_array((places, pairs), shape=shape), votes


def _sessions_of_item(sessions):
    """Ones for each item (row) that is in a session (column), oldest session first.

    The ones are complex, for the product of `SessionKNN._neighbors`.
    """
    having = sparse.csr_array(sessions.T, dtype=np.complex128)
    having.sort_indices()
    having.data[:] = 1
    return having


def _fading(distance, scale, least=-90):
    """exp(-distance / scale), bounded so that a product of such factors is never 0."""
    return np.exp(np.maximum(-distance / scale, least), dtype=np.float64)


def _largest_of_row(values, rows):
    """The largest value in each run of equal rows, repeated for each of its members."""
    if len(rows) == 0:
        return values
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    return np.repeat(np.maximum.reduceat(values, starts), lengths)


def _largest(values, tie_break, indptr, k):
    """Positions of the largest `k` values of each row, sorted by position.

    Among values equal to the k-th, those with the largest `tie_break` are kept.
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
