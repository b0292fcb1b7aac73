"""Code that the baselines share: training data sorted by time, scores in chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from skclip._base import SessionEstimator
from skclip._data import flat_positions, newest_first, training_data
from skclip._ranking import RankingMixin, SimilarItemsMixin, rows_per_chunk
from skclip._sklearn import Interval, StrOptions, _fit_context
from skclip._typing import (
    FloatArray,
    Ids,
    IntArray,
    Self,
    SessionsLike,
    Weights,
)
from skclip.metrics import parse_metric

POSITIVE = Interval(Real, 0, None, closed="neither")
SECONDS_PER_DAY = 86_400.0
# The popularity scores of a backoff add up to this. They order the items without any
# other score, and vanish in float32 beside other scores.
BACKOFF_TOTAL = 1e-30


@dataclass(frozen=True)
class Observed:
    """Known items of queries, newest first, one query after the other."""

    rows: np.ndarray  # (n_events,): query of each event, sorted
    codes: np.ndarray  # (n_events,): 0..n_items - 1
    steps: np.ndarray  # (n_events,): number of known events after this one
    lengths: np.ndarray  # (n_queries,): number of known events
    times: np.ndarray = None  # (n_queries,): seconds, at the newest event

    def distinct(self):
        """Keep the newest event of each item in each query."""
        n_items = self.codes.max(initial=0) + 1
        _, first = np.unique(self.rows * n_items + self.codes, return_index=True)
        first.sort()
        return self.take(first)

    def take(self, events):
        """Return the same queries with a selection of their events."""
        rows, codes, steps = self.rows[events], self.codes[events], self.steps[events]
        return replace(self, rows=rows, codes=codes, steps=steps)


def observed(queries, n_items):
    """Flatten the queries and leave out unseen items."""
    rows, codes, _ = newest_first(queries)
    known = codes < n_items
    rows, codes = rows[known], codes[known]
    lengths = np.bincount(rows, minlength=len(queries))
    firsts = np.cumsum(lengths) - lengths
    times = None
    if queries.times is not None and len(queries.times):
        starts = queries.offsets[:-1][queries.rows]
        newest = np.maximum(starts + queries.ends - 1, 0)
        times = np.where(queries.ends > 0, queries.times[newest], np.nan)
    return Observed(rows, codes, np.arange(len(rows)) - firsts[rows], lengths, times)


class BaselineRecommender(RankingMixin, SessionEstimator):
    """A recommender that scores by counts.

    ``_learn(data)`` of a subclass returns its fitted attributes by name.
    ``_add_scores(scores, queries)`` adds its scores to those of `backoff`, in an array
    of shape (n_queries, n_items).
    """

    item_counts_: IntArray | FloatArray

    _parameter_constraints: dict = {
        "backoff": [StrOptions({"popularity"}), None],
        "scoring": [str, callable],
    }
    _scores_are = "weights"

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Learn from training sessions.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Pass whole sessions if you have
            them.
        y : array-like of shape (n_sessions,), default=None
            Next items. Row i then stands for the session ``X[i] + [y[i]]``. Rules and
            the transitions of SLIST only learn from the targets and the items before
            them.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more. They multiply the weights of the events and
            of the target. Rows with weight 0 are left out. None gives each row the
            weight 1.

        Returns
        -------
        self : object
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            If a parameter does not fit the sessions, such as one that needs times. If a
            weight is negative, missing or infinite.
        """
        data = self._training_data(X, y, sample_weight)
        return self._adopt(X, **fitted_catalog(data), **self._learn(data))

    @property
    def _what_happens(self):
        if getattr(self, "backoff", "popularity") is not None:
            return super()._what_happens
        return "They are ignored."

    def _training_data(self, X, y, sample_weight=None, known=None):
        """Encode the arguments of `fit`, with sessions sorted by their end times.

        Sessions without a time (NaN) come last. If no session has a time, `end_times`
        is None.
        """
        if not callable(self.scoring):
            parse_metric(self.scoring)
        data = training_data(
            X, y, known=known, in_order=True, sample_weight=sample_weight
        )
        if data.end_times is not None and np.isnan(data.end_times).all():
            data = replace(data, end_times=None)
        return data

    def _base_scores(self):
        """Scores of a session without known items, (n_items,), float32."""
        if self.backoff is None:
            return np.zeros(len(self.item_ids_), dtype=np.float32)
        scale = BACKOFF_TOTAL / self.item_counts_.sum()
        return np.multiply(self.item_counts_, scale, dtype=np.float32)

    def _score_chunks(self, queries):
        base = self._base_scores()
        step = min(self._rows_per_chunk(), max(1, len(queries)))
        buffer = np.empty((step, len(base)), dtype=np.float32)
        for start in range(0, len(queries), step):
            at = np.arange(start, min(start + step, len(queries)))
            scores = buffer[: len(at)]
            scores[:] = base
            self._add_scores(scores, queries.take(at))
            yield at, torch.from_numpy(scores)

    def _rows_per_chunk(self):
        return rows_per_chunk(len(self.item_ids_))

    def _check_fitted(self):
        check_is_fitted(self, "item_ids_")


class ItemWeightsMixin(SimilarItemsMixin):
    """Items with a weight above 0 in an item's row of a matrix are similar to it.

    A subclass names the fitted matrix (n_items, n_items), sparse or dense.
    """

    def _item_similarities(self):
        weights = getattr(self, self._item_weights)

        def similarities(columns):
            rows = weights[columns.numpy()]
            rows = rows.toarray() if sparse.issparse(rows) else rows
            return torch.from_numpy(np.where(rows > 0, rows, np.float32(-np.inf)))

        return similarities, torch.device("cpu")


class CountingRecommender(BaselineRecommender):
    """A baseline that can add the counts of further sessions to those of `fit`.

    ``_grow(data, item_counts)`` of a subclass returns its fitted attributes for the old
    sessions and `data`, which is encoded with the extended catalog.
    """

    set_partial_fit_request: Callable[..., Self]
    _read_at_prediction = ("backoff", "scoring")

    def partial_fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Add further sessions to the counts, as if `fit` had read all sessions.

        Scores equal those of a `fit` on the old sessions followed by the further ones,
        up to the rounding of sums of fractions. New items are appended to `item_ids_`.
        Old sessions are not counted again, but the fitted arrays are copied.
        `SessionKNN` and ``MarkovRecommender(tie_break="first")`` also rebuild their
        index of all sessions.

        Parameters
        ----------
        X : Sessions or list of lists
            Further training sessions, shape (n_sessions,). They may be earlier than the
            others. If the model uses times, pass times if the sessions of `fit` had
            them, and none otherwise.
        y : array-like of shape (n_sessions,), default=None
            Next items, as in `fit`.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, as in `fit`.

        Returns
        -------
        self : object
            The estimator itself. If it was not fitted, this is the same as `fit`.

        Raises
        ------
        ValueError
            As in `fit`. Also if a parameter that takes effect in `fit` has changed, or
            if the ids have another type than in `fit`. If the model uses times, and
            only the old or only the further sessions have them.
        """
        if not hasattr(self, "item_ids_"):
            return self.fit(X, y, sample_weight)
        self._validate_params()
        self._check_fit_params()
        data = self._training_data(X, y, sample_weight, self._index)
        data = data.appended_to(self.item_ids_)
        counts = data.item_counts(self.item_counts_)
        fitted = fitted_catalog(data) | {"item_counts_": counts}
        return self._adopt(X, **fitted, **self._grow(data, counts))

    def _adopt(self, X=None, **fitted):
        return super()._adopt(X, **fitted, _fit_params=self._params_of_fit())

    def _params_of_fit(self):
        params = self.get_params(deep=False).items()
        return {k: v for k, v in params if k not in self._read_at_prediction}

    def _check_fit_params(self):
        if not hasattr(self, "_fit_params"):
            raise ValueError(
                f"This {type(self).__name__} was saved by a version of skclip without "
                "partial_fit. Call fit with all sessions."
            )
        for name, value in self._params_of_fit().items():
            before = self._fit_params[name]
            if value != before:
                raise ValueError(
                    f"{name}={value!r}, but the model was fitted with {before!r} and "
                    f"its counts depend on it. Set {name}={before!r}, or call fit with "
                    "all sessions."
                )

    def _check_times(self, had_times, data):
        """Raise an error if only the old or only the further sessions have times."""
        if had_times and data.end_times is None:
            raise ValueError(
                f"This {type(self).__name__} was fitted on sessions with times, and "
                "these sessions have none. Pass time= to Sessions.from_events."
            )
        if data.end_times is not None and not had_times:
            raise ValueError(
                f"This {type(self).__name__} was fitted on sessions without times, and "
                "these sessions have times, so their order is unknown. Pass "
                "X.to_lists() to count them as the latest, or call fit with all "
                "sessions and their times."
            )


def fitted_catalog(data):
    """Fitted attributes that every baseline has."""
    return {
        "item_ids_": data.index.item_ids,
        "item_counts_": data.item_counts(),
        "_index": data.index,
    }


def ages_in_days(data, name, value):
    """Days from the end of each session to the last end, needed by parameter `name`."""
    if data.end_times is None:
        raise needs_times(name, value)
    end_times = without_gaps(data.end_times)
    return (end_times.max() - end_times) / SECONDS_PER_DAY


def needs_times(name, value):
    return ValueError(
        f"{name}={value} needs sessions with times. Pass time= to "
        f"Sessions.from_events, or {name}=None."
    )


def without_gaps(end_times):
    """End times, with the latest one for sessions without a time."""
    return np.where(np.isnan(end_times), np.nanmax(end_times), end_times)


def rows_of(values, codes, offsets, n_items):
    """Sparse rows of (code, value) pairs. Pairs with the same code are summed."""
    shape = len(offsets) - 1, n_items
    rows = sparse.csr_array((values, codes - 1, offsets.copy()), shape=shape)
    rows.sum_duplicates()  # in place, offsets included
    return rows


def widened(matrix, n_rows, n_columns):
    """Append empty rows and columns to a sparse matrix."""
    more = np.full(n_rows - matrix.shape[0], matrix.indptr[-1], matrix.indptr.dtype)
    parts = matrix.data, matrix.indices, np.concatenate([matrix.indptr, more])
    return sparse.csr_array(parts, shape=(n_rows, n_columns))


def add_at(scores, rows, columns, values):
    """``scores[rows, columns] += values``, also if a position occurs several times."""
    flat = scores.reshape(-1)
    np.add.at(flat, rows * scores.shape[1] + columns, values.astype(np.float32))


def add_rows(scores, matrix, rows, items):
    """Add row ``items[i]`` of a sparse matrix to ``scores[rows[i]]``, for all i."""
    starts, lengths = matrix.indptr[items], np.diff(matrix.indptr)[items]
    at, _ = flat_positions(starts.astype(np.int64), lengths)
    add_at(scores, np.repeat(rows, lengths), matrix.indices[at], matrix.data[at])
