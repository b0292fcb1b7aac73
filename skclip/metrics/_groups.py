"""Metrics by group: popularity of the target, length of the session, position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skclip._data import (
    as_sessions,
    check_targets,
    checked_codes,
    factorize,
    labels,
    own_codes,
    prefix_ends,
    unmasked,
)
from skclip._typing import ArrayLike, Ids, IntArray, SessionsLike
from skclip.metrics._accuracy import GAINS, RankRows, split_metric
from skclip.metrics._lists import item_counts


def by_group(
    ranks: ArrayLike,
    groups: ArrayLike,
    metrics: str | Sequence[str] = ("recall@20", "mrr@20"),
    *,
    names: Sequence[str] | None = None,
    offsets: ArrayLike | None = None,
) -> dict[str, list[Any]]:
    r"""Compute ranking metrics for each group of rows.

    .. math:: m_g = \frac{1}{n_g} \sum_{i: g_i = g} \mathrm{gain}_m(\mathrm{rank}_i)

    Parameters
    ----------
    ranks : array-like of shape (n,)
        Rank of each target, 1 = best; ``rank_targets`` returns them.
    groups : array-like of shape (n,)
        Group of each row. Labels of any kind, or positions in `names` if given.
    metrics : str or sequence of str, default=("recall@20", "mrr@20")
        ``"recall@k"``, ``"precision@k"``, ``"mrr@k"``, ``"ndcg@k"``, ``"map@k"``,
        ``"hit_rate@k"``.
    names : sequence of str, default=None
        Names of the groups in order, as `popularity_groups` and others return them.
        Groups without a row are kept, with the value NaN.
    offsets : array-like of shape (n_rows + 1,), default=None
        Boundaries of rows with several targets: row ``i`` has the ranks
        ``offsets[i]:offsets[i + 1]``. `groups` then has shape (n_rows,).

    Returns
    -------
    columns : dict of list
        Columns ``group``, ``metric``, ``value`` and ``n_queries``, with one entry for
        each group and metric. ``pandas.DataFrame(columns)`` makes a tidy frame.

    Raises
    ------
    ValueError
        A metric is unknown, `groups` and `ranks` differ in length, or a group is not
        in `names`.

    See Also
    --------
    popularity_groups, length_groups, position_groups : Groups of test rows.
    skclip.model_selection.evaluate : Compare models, with intervals and groups.

    Examples
    --------
    >>> from skclip.metrics import by_group
    >>> by_group([1, 2, float("inf"), 1], ["new", "old", "new", "old"], "recall@2")
    ... # doctest: +NORMALIZE_WHITESPACE
    {'group': ['new', 'old'], 'metric': ['recall@2', 'recall@2'],
     'value': [0.5, 1.0], 'n_queries': [2, 2]}
    """
    rows = RankRows(ranks, offsets)
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    gains = {name: rows.gains(*split_metric(name, GAINS)) for name in metrics}
    codes, names = group_codes(groups, len(rows), names)
    columns = {"group": [], "metric": [], "value": [], "n_queries": []}
    for g, group in enumerate(names):
        own = codes == g
        for name, values in gains.items():
            value = float(values[own].mean()) if own.any() else np.nan
            row = group, name, value, int(own.sum())
            for column, entry in zip(columns.values(), row, strict=True):
                column.append(entry)
    return columns


def popularity_groups(
    targets: Ids, X_train: SessionsLike, *, bins: Sequence[int] = (0, 5, 20)
) -> tuple[IntArray, list[str]]:
    r"""Group targets by their number of training events.

    .. math:: g_i = \#\{b \in \mathrm{bins}: b < \mathrm{count}(t_i)\}

    Parameters
    ----------
    targets : array-like of shape (n,)
        Raw ids of the targets.
    X_train : Sessions or list of lists
        Training sessions, whose events are counted.
    bins : sequence of int, default=(0, 5, 20)
        Largest count of each group except the last. The default makes the groups 0
        (unseen), 1-5, 6-20 and >20.

    Returns
    -------
    groups, names : ndarray of shape (n,), list of str
        Group of each row as a position in `names`, and the names in order.

    Examples
    --------
    >>> from skclip.metrics import popularity_groups
    >>> groups, names = popularity_groups(["a", "b", "c"], [["a"] * 6, ["b"]])
    >>> [names[g] for g in groups]
    ['6-20', '1-5', '0']
    """
    index, counts = item_counts(X_train)
    targets = check_targets(targets, len(targets), "targets")
    codes = checked_codes(targets, index, "targets")
    return _binned(np.concatenate([[0], counts])[codes], bins, 0)


def length_groups(
    X: SessionsLike, y: Ids | None = None, *, bins: Sequence[int] = (2, 4, 9)
) -> tuple[IntArray, list[str]]:
    r"""Group test rows by the length of the whole session, including targets.

    .. math:: g_i = \#\{b \in \mathrm{bins}: b < \mathrm{length}(\text{session of } i)\}

    Parameters
    ----------
    X : Sessions or list of lists
        Test sessions, shape (n_sessions,).
    y : array-like of shape (n_sessions,), default=None
        Next item of each row. None means every prefix of every session, in the order
        of ``rank_targets``. With `y`, rows of `X` with the same session id are
        prefixes of one session. Its length is that of the longest prefix plus one.
    bins : sequence of int, default=(2, 4, 9)
        Largest length of each group except the last. The default makes the groups 2,
        3-4, 5-9 and >9.

    Returns
    -------
    groups, names : ndarray of shape (n,), list of str
        Group of each row as a position in `names`, and the names in order.

    Examples
    --------
    >>> from skclip.metrics import length_groups
    >>> groups, names = length_groups([["a", "b"], ["a", "b", "c"]])
    >>> [names[g] for g in groups]
    ['2', '3-4', '3-4']
    """
    X = as_sessions(X)
    if y is None:
        rows, _ = prefix_ends(X.lengths)
        return _binned(X.lengths[rows], bins, 2)
    check_targets(y, len(X))
    lengths = X.lengths
    if X.ids is not None:
        of_session = own_codes(X.ids, len(X))
        longest = np.zeros(of_session.max(initial=0) + 1, dtype=np.int64)
        np.maximum.at(longest, of_session, lengths)
        lengths = longest[of_session]
    return _binned(lengths + 1, bins, 2)


def position_groups(
    X: SessionsLike, y: Ids | None = None, *, bins: Sequence[int] = (1, 2, 4, 9)
) -> tuple[IntArray, list[str]]:
    r"""Group test rows by the number of items before the target.

    .. math:: g_i = \#\{b \in \mathrm{bins}: b < \mathrm{length}(\text{prefix } i)\}

    Parameters
    ----------
    X, y : Sessions or list of lists, array-like of shape (n_sessions,)
        Test sessions and next items, as in `length_groups`.
    bins : sequence of int, default=(1, 2, 4, 9)
        Largest position of each group except the last. The default makes the groups
        1, 2, 3-4, 5-9 and >9.

    Returns
    -------
    groups, names : ndarray of shape (n,), list of str
        Group of each row as a position in `names`, and the names in order.

    Examples
    --------
    >>> from skclip.metrics import position_groups
    >>> groups, names = position_groups([["a", "b", "c", "d"]])
    >>> [names[g] for g in groups]
    ['1', '2', '3-4']
    """
    X = as_sessions(X)
    if y is None:
        return _binned(prefix_ends(X.lengths)[1], bins, 1)
    check_targets(y, len(X))
    return _binned(X.lengths, bins, 1)


def group_codes(groups, n, names=None):
    """Positions of each row's group in the list of names, and the names."""
    if names is None:
        vocabulary, codes = factorize(labels(groups))
        names = vocabulary.tolist()
    else:
        codes, names = unmasked(groups, "groups"), list(names)
    if codes.shape != (n,):
        raise ValueError(
            f"groups has shape {codes.shape}, expected ({n},): one for each rank."
        )
    if codes.dtype.kind not in "iu" or not ((codes >= 0) & (codes < len(names))).all():
        raise ValueError(
            f"groups must be positions in the {len(names)} names, got "
            f"{codes.tolist()[:5]}... Leave names out to group by labels."
        )
    return codes, names


def _binned(values, bins, low):
    """Bin of each whole number, and the names of the bins."""
    bins = [int(b) for b in bins]
    if not bins or bins != sorted(set(bins)) or bins[0] < low:
        raise ValueError(
            f"bins={bins} must be increasing whole numbers, the first at least {low}: "
            "the largest value of each group but the last."
        )
    low = min(low, int(values.min(initial=low)))  # a row may have observed nothing
    lows = [low, *(b + 1 for b in bins[:-1])]
    names = [str(b) if a == b else f"{a}-{b}" for a, b in zip(lows, bins, strict=True)]
    return np.searchsorted(bins, values), [*names, f">{bins[-1]}"]
