"""Features of sessions and candidates for a classifier."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from skclip._data import flat_positions, newest_first, rows_of_items
from skclip._ranking import clusters_of

_SECONDS_PER_DAY = 86_400.0
_OF_LISTS = ("score", "relative_score", "rank")
_OF_SESSIONS = ("session_recency", "session_clicks", "session_length")
_OF_PAIRS = ("followed_last", "same_cluster", "similarity_to_last")
_OF_ITEMS = ("log_popularity", "days_since_click", "cluster")


@dataclass(frozen=True)
class ItemFacts:
    """Facts about the items of a catalog, from training sessions and other sources.

    `columns` (n_items, n_columns) are features of an item alone, with `names`.
    `followers` is sparse, (n_items, n_items): the share of the clicks after an item
    that went to each other item. `clusters` (n_items,) are -1 for items without one.
    `vectors` (n_items, n_dims) have length 1 or 0, and are None if the base has none.
    """

    names: tuple
    columns: np.ndarray
    followers: sparse.csr_array
    clusters: np.ndarray
    vectors: np.ndarray = None

    @property
    def timed(self):
        """Whether the training sessions had times."""
        return "days_since_click" in self.names

    @property
    def feature_names(self):
        """Names of the columns of `candidate_features`."""
        of_pairs = _OF_PAIRS if self.vectors is not None else _OF_PAIRS[:2]
        names = [*_OF_LISTS, *_OF_SESSIONS, *of_pairs, *self.names]
        return np.array(names, dtype=object)


def column_names(item_columns, n_columns):
    """Names of further features. Raises an error for names that are taken."""
    own = getattr(item_columns, "columns", None)
    own = [f"item_{i}" for i in range(n_columns)] if own is None else map(str, own)
    names, taken = list(own), [*_OF_LISTS, *_OF_SESSIONS, *_OF_PAIRS, *_OF_ITEMS]
    twice = [name for i, name in enumerate(names) if name in taken + names[:i]]
    if twice:
        raise ValueError(
            f"item_columns has a column {twice[0]!r}, but another feature has this "
            "name. Rename the column."
        )
    return names


def item_facts(data, base, clusterer, own_columns, timed):
    """`ItemFacts` for the catalog of a base, from `TrainingData` of any items.

    `own_columns` are `ItemFeatures` and the names of their columns, or None.
    """
    codes = base._index.codes_of(data.index.item_ids)[data.codes - 1]
    n_items = len(base.item_ids_)
    counts = np.bincount(codes, minlength=n_items + 1)[1:]
    shares = (counts + 1) / (counts.sum() + n_items)
    names, columns = ["log_popularity"], [np.log(shares)]
    if timed:
        names.append("days_since_click")
        columns.append(_days_since_click(codes, data, n_items))
    clusters = clusters_of(clusterer, base._index)
    names.append("cluster")
    columns.append(clusters)
    if own_columns is not None:
        features, own = own_columns
        names += own
        columns += list(rows_of_items(features, base.item_ids_, "item_columns").T)
    vectors = getattr(base, "item_vectors_", None)
    return ItemFacts(
        tuple(names),
        np.stack(columns, axis=1).astype(np.float32),
        _followers(codes, data, n_items),
        clusters,
        None if vectors is None else normalize(vectors),
    )


def _days_since_click(codes, data, n_items):
    """Days from the last session with an item to the end of the training sessions.

    Items without a session get the maximum. Days are not counted from the time of the
    query, because sessions need no times at prediction.
    """
    ends = np.repeat(data.end_times, np.diff(data.offsets))
    known = ~np.isnan(ends)
    last = np.full(n_items + 1, np.nanmin(data.end_times))
    np.maximum.at(last, codes[known], ends[known])
    return (np.nanmax(data.end_times) - last[1:]) / _SECONDS_PER_DAY


def _followers(codes, data, n_items):
    """Shares of the transitions from each item, including those to itself."""
    before, after = (codes[at] for at in data.pairs(1))
    known = (before > 0) & (after > 0)
    pairs = before[known] - 1, after[known] - 1
    ones = np.ones(len(pairs[0]), dtype=np.float32)
    counts = sparse.coo_array((ones, pairs), shape=(n_items, n_items)).tocsr()
    totals = np.maximum(counts.sum(axis=1), 1)
    counts.data /= np.repeat(totals, np.diff(counts.indptr))
    return counts


def candidate_features(facts, queries, candidates):
    """Features of each candidate of each query, (n, n_candidates, n_features)."""
    columns, shape = candidates.columns, candidates.columns.shape
    seen = _Observed(queries, len(facts.columns))
    recency, clicks = seen.of(columns)
    last = seen.last
    own, others = facts.clusters[last][:, None], facts.clusters[columns]
    parts = [
        np.where(candidates.valid, candidates.values, 0),
        candidates.relative_scores(),
        candidates.ranks(),
        recency,
        clicks,
        np.broadcast_to(queries.ends[:, None], shape),
        _pairs_of(facts.followers, last, columns),
        (own == others) & (others >= 0) & (last >= 0)[:, None],
    ]
    if facts.vectors is not None:
        of_last = np.where((last >= 0)[:, None], facts.vectors[last], 0)
        parts.append(np.einsum("nmd,nd->nm", facts.vectors[columns], of_last))
    features = [np.asarray(part, dtype=np.float32)[..., None] for part in parts]
    return np.concatenate([*features, facts.columns[columns]], axis=2)


def _pairs_of(matrix, rows, columns):
    """Entries (rows[i], columns[i, j]) of a sparse matrix, and 0 for rows of -1."""
    if matrix.nnz == 0:
        return np.zeros(columns.shape, dtype=np.float32)
    n = matrix.shape[1]
    lengths = np.diff(matrix.indptr)[rows] * (rows >= 0)
    at, offsets = flat_positions(matrix.indptr[:-1][rows].astype(np.int64), lengths)
    place = np.repeat(np.arange(len(rows)), lengths)
    keys = place * n + matrix.indices[at]
    wanted = np.arange(len(rows))[:, None] * n + columns
    return _looked_up(keys, matrix.data[at], wanted)


def _looked_up(keys, values, wanted):
    """Value of each wanted key, and 0 if it is not among the sorted keys."""
    if len(keys) == 0:
        return np.zeros(wanted.shape, dtype=np.float32)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


class _Observed:
    """Known items of queries: how recently and how often each was clicked."""

    def __init__(self, queries, n_items):
        rows, codes, steps = newest_first(queries)
        known = codes < n_items
        rows, codes, steps = rows[known], codes[known], steps[known]
        self._n_items = n_items
        self._keys, newest, self._counts = np.unique(
            rows * n_items + codes, return_index=True, return_counts=True
        )
        self._recency = 1 / (1 + steps[newest])
        self.last = np.full(len(queries), -1)  # the newest known item, -1 = none
        self.last[rows[::-1]] = codes[::-1]

    def of(self, columns):
        """1 / (1 + clicks since the last one on a candidate), and clicks on it."""
        wanted = np.arange(len(columns))[:, None] * self._n_items + columns
        return [
            _looked_up(self._keys, values, wanted)
            for values in (self._recency, self._counts)
        ]
