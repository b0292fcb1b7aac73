"""The items that a session goes on with, as a set of targets for each prefix."""

import numpy as np

from skclip._data._ids import as_list
from skclip._data._index import ItemIndex
from skclip._data._queries import warn_other_type
from skclip._data._ragged import flat_positions
from skclip._data._sessions import Sessions


def check_protocol(targets):
    """Refuse a value of the parameter `targets` that is unknown."""
    if not isinstance(targets, str) or targets not in ("next", "remaining"):
        raise ValueError(
            f"targets={targets!r} is unknown. Expected 'next' (the next item of each "
            "row) or 'remaining' (all items that its session goes on with)."
        )


def check_target_sets(y, n_sessions):
    """Return the remaining items `y` of each row as `Sessions`."""
    if not isinstance(y, Sessions):
        rows = as_list(y, "y", ordered=True)
        for i, row in enumerate(rows):
            if not isinstance(row, (list, tuple, set, frozenset, np.ndarray)):
                raise TypeError(
                    f"y[{i}] is {row!r:.60}. With targets='remaining' y holds several "
                    "items for each row: a list of lists or sets, or Sessions."
                )
        y = Sessions.from_lists(
            [list(row) if isinstance(row, (set, frozenset)) else row for row in rows]
        )
    if len(y) != n_sessions:
        raise ValueError(
            f"y has {len(y)} rows, expected {n_sessions}: the remaining items of each "
            "session of X."
        )
    empty = np.flatnonzero(y.lengths == 0)
    if len(empty):
        raise ValueError(
            f"y[{empty[0]}] is empty. Expected at least one item for each row; drop "
            "sessions without a target."
        )
    return y


def target_sets(queries, index: ItemIndex, y=None):
    """Codes of the distinct targets of each query, one query after the other.

    Parameters
    ----------
    queries : Queries
    index : ItemIndex
    y : Sessions or list of lists or sets, default=None
        Remaining items of each query; None takes what its session goes on with.

    Returns
    -------
    codes : ndarray of shape (n_targets,), int32
        In order of their first click; 0 = outside the catalog.
    offsets : ndarray of shape (n_queries + 1,)
    """
    if y is None:
        codes, offsets = _distinct_rest(
            queries.codes, queries.offsets, queries.rows, queries.ends
        )
        return np.where(codes > len(index), 0, codes), offsets
    y = check_target_sets(y, len(queries))
    rows = np.arange(len(y))
    used, offsets = _distinct_rest(y.codes, y.offsets, rows, np.zeros_like(rows))
    of_id = index.codes_of(y.vocabulary)
    warn_other_type(index, "y", y.vocabulary[of_id == 0])
    return of_id[used], offsets


def _distinct_rest(codes, offsets, rows, ends):
    """Distinct codes of each run ``rows[i]`` from its event ``ends[i]`` on.

    An event counts for a prefix if its item was not clicked between the two.
    """
    starts = offsets[:-1][rows] + ends
    at, cuts = flat_positions(starts, offsets[1:][rows] - starts)
    of_query = np.repeat(np.arange(len(rows)), np.diff(cuts))
    first = _previous(codes, offsets)[at] < starts[of_query]
    sizes = np.bincount(of_query[first], minlength=len(rows))
    return codes[at[first]], np.concatenate([[0], np.cumsum(sizes)])


def _previous(codes, offsets):
    """Position of the last event of the same run with the same code, or -1."""
    runs = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((codes, runs))  # stable
    again = (np.diff(codes[order]) == 0) & (np.diff(runs[order]) == 0)
    previous = np.full(len(codes), -1)
    previous[order[1:][again]] = order[:-1][again]
    return previous
