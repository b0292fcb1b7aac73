"""Choose the targets: items of a type, or all later items of a session."""

import numpy as np

from skclip._data._ids import as_list
from skclip._data._index import ItemIndex
from skclip._data._queries import warn_other_type
from skclip._data._ragged import flat_positions, prefix_ends
from skclip._data._sessions import Sessions


class NoTargets(ValueError):
    """No event has the type that targets should have."""


def events_of_type(X, event):
    """Mask of the events of `Sessions` or `Queries` that have one of the given types.

    `event` is a type or a list of types. None means any type, and returns None.

    Raises
    ------
    ValueError
        If the sessions have no types, or not this one.
    """
    if event is None:
        return None
    if X.types is None:
        raise ValueError(
            f"event={event!r} selects targets by type, but the sessions have no event "
            "types. Pass event= to Sessions.from_events, or events= to "
            "Sessions.from_lists."
        )
    names = X.type_names.tolist()
    several = isinstance(event, (list, set, np.ndarray))
    several = several or (isinstance(event, tuple) and event not in names)
    asked = event if several else [event]
    for name in asked:
        if name not in names:
            raise NoTargets(
                f"event={event!r}: the sessions have no event of type {name!r}. "
                f"Their types are {names!r:.200}."
            )
    return np.isin(X.types, [names.index(name) for name in asked])


def check_no_targets(event, y):
    """Refuse a type of targets together with `y`, whose items have no types."""
    if event is not None and y is not None:
        raise ValueError(
            f"event={event!r} selects targets by type, but the items of y have no "
            "types. Pass whole sessions without y, or only the rows to score."
        )


def check_protocol(targets):
    """Refuse a value of the parameter `targets` that is unknown."""
    if not isinstance(targets, str) or targets not in ("next", "remaining"):
        raise ValueError(
            f"targets={targets!r} is unknown. Expected 'next' for the next item of "
            "each row, or 'remaining' for all later items of its session."
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
            f"y has {len(y)} rows, expected {n_sessions}. Pass the remaining items of "
            "each session of X."
        )
    empty = np.flatnonzero(y.lengths == 0)
    if len(empty):
        raise ValueError(
            f"y[{empty[0]}] is empty. Expected at least one item for each row. Drop "
            "sessions without a target."
        )
    return y


def target_sets(queries, index: ItemIndex, y=None, of_type=None):
    """Codes of the distinct targets of each query, in order of the queries.

    Parameters
    ----------
    queries : Queries
    index : ItemIndex
    y : Sessions or list of lists or sets, default=None
        Remaining items of each query. None uses the later items of its session.
    of_type : ndarray of shape (n_events,), default=None
        Mask of the events that are targets without `y`. None uses all of them.

    Returns
    -------
    codes : ndarray of shape (n_targets,), int32
        Codes in order of the first click; 0 = outside the catalog.
    offsets : ndarray of shape (n_queries + 1,)
    """
    if y is None:
        codes, offsets, ends = queries.codes, queries.offsets, queries.ends
        if of_type is not None:
            before = np.concatenate([[0], np.cumsum(of_type)])
            starts = offsets[:-1][queries.rows]
            ends = before[starts + ends] - before[starts]
            codes, offsets = codes[of_type], before[offsets]
        codes, offsets = _distinct_rest(codes, offsets, queries.rows, ends)
        return np.where(codes > len(index), 0, codes), offsets
    y = check_target_sets(y, len(queries))
    rows = np.arange(len(y))
    used, offsets = _distinct_rest(y.codes, y.offsets, rows, np.zeros_like(rows))
    of_id = index.codes_of(y.vocabulary)
    warn_other_type(index, "y", y.vocabulary[of_id == 0])
    return of_id[used], offsets


def has_target(X, of_type, targets):
    """Whether each prefix of `Sessions` or `Queries` has a target of the types.

    `of_type` is a mask of the events. Prefixes are those of `prefix_ends`, or the
    queries.
    """
    if isinstance(X, Sessions):
        rows, ends = prefix_ends(X.lengths)
    else:
        rows, ends = X.rows, X.ends
    at = X.offsets[:-1][rows] + ends
    if targets == "next":
        return of_type[at]
    before = np.concatenate([[0], np.cumsum(of_type)])
    return before[X.offsets[1:][rows]] > before[at]


def _distinct_rest(codes, offsets, rows, ends):
    """Distinct codes of each run ``rows[i]`` from its event ``ends[i]`` on.

    An event counts for a prefix if its item was not clicked in between.
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
