"""The arguments `allow`, `deny`, `exclude_seen` and `fill_value` of a ranking."""

import numpy as np
import torch

from skclip._data import (
    FEW,
    Sessions,
    as_list,
    check_hashable,
    factorize_list,
    flat_positions,
    is_missing,
    needs_care,
    other_type,
    plain_row,
    warn_other_type,
    warn_trailing_zeros,
)
from skclip._warnings import warn_once, was_told
from skclip.exceptions import UnseenItemWarning


class Filters:
    """`allow` and `deny` as columns of the scores; messages call the rows `rows`."""

    def __init__(self, index, n_rows, allow, deny, rows="sessions"):
        self._parts = [
            (_columns_of(ids, name, index, n_rows, rows), name == "allow")
            for ids, name in ((allow, "allow"), (deny, "deny"))
            if ids is not None
        ]

    def __bool__(self):
        return bool(self._parts)

    def apply(self, scores, at):
        for columns, allowed in self._parts:
            if isinstance(columns, np.ndarray):
                keep = torch.zeros(scores.shape[1], dtype=torch.bool)
                keep[torch.from_numpy(columns)] = True
                keep = keep if allowed else ~keep
                scores[:, ~keep.to(scores.device)] = -torch.inf
                continue
            mask = torch.zeros(scores.shape, dtype=torch.bool)
            for row, i in enumerate(at):
                mask[row, torch.from_numpy(columns[i])] = True
            mask = ~mask if allowed else mask
            scores.masked_fill_(mask.to(scores.device), -torch.inf)


class Mask:
    """Apply `exclude_seen`, `Filters` and `Boosts` to the scores of `Queries`."""

    def __init__(self, queries, exclude_seen, filters, boosts=None):
        self._of_sessions = queries.codes, queries.offsets
        self._exclude_seen, self._filters = exclude_seen, filters
        self._boosts = boosts

    def __bool__(self):
        return self._exclude_seen or bool(self._filters) or bool(self._boosts)

    @property
    def only_seen(self):
        """Whether only `exclude_seen` leaves items out, and nothing is boosted."""
        return not self._filters and not self._boosts

    def pairs(self, at, n_items):
        """Distinct rows and columns that `exclude_seen` leaves out, in order."""
        rows, columns = seen_pairs(at, *self._of_sessions, n_items)
        return np.divmod(np.unique(rows * n_items + columns), n_items)

    def __call__(self, scores, at):
        if self._boosts:
            self._boosts.apply(scores, at)
        if self._exclude_seen:
            mask_seen(scores, at, *self._of_sessions)
        self._filters.apply(scores, at)


def _columns_of(ids, name, index, n_rows, rows):
    padded = isinstance(ids, np.ndarray) and ids.ndim == 2
    if padded and ids.dtype.kind in "iu":
        warn_trailing_zeros(ids, name, index)
    ids = ids.to_lists() if isinstance(ids, Sessions) else as_list(ids, name)
    per_row = [_is_row(i, index) for i in ids] if needs_care(ids) else [False]
    if not any(per_row):
        _check_ids(ids, name)
        columns = _known_columns(ids, name, index)
        if name == "allow":
            _warn_none_known([ids], [columns], index, rows)
        return columns
    if not all(per_row):
        at = per_row.index(False)
        raise TypeError(
            f"{name}[{at}] is a {type(ids[at]).__name__}: {ids[at]!r:.40}, but other "
            f"elements are lists. Pass a list of ids for each of {n_rows} {rows}, or a "
            "flat list of ids."
        )
    if len(ids) != n_rows:
        raise ValueError(
            f"{name} has {len(ids)} lists, expected one for each of {n_rows} {rows}, "
            f"or a flat list of ids for all of them. Its first element is "
            f"{ids[0]!r:.60}. An id of the catalog is "
            f"{index.item_ids[:1].tolist()[0]!r:.60}."
        )
    lists = [as_list(plain_row(row), f"{name}[{i}]") for i, row in enumerate(ids)]
    for i, row in enumerate(lists):
        if padded and needs_care(row):  # such as earlier lists with fill values
            lists[i] = row = [value for value in row if not is_missing(value)]
        _check_ids(row, f"{name}[{i}]")
    columns = [_known_columns(row, name, index) for row in lists]
    if name == "allow":
        _warn_none_known(lists, columns, index, rows)
    return columns


def _is_row(value, index):
    """Whether an element of a filter is a list of ids and not an id itself."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return False
    return not (isinstance(value, (tuple, frozenset)) and index.has_tuples)


def _check_ids(ids, name):
    if not needs_care(ids):
        return
    for i, value in enumerate(ids):
        if is_missing(value):
            raise ValueError(
                f"{name}[{i}] is {value!r}, not an id. Drop missing values first."
            )
    check_hashable(ids, name)


def _warn_none_known(lists, columns, index, rows):
    """Warn once if lists of `allow` have ids, but none of the catalog."""
    pairs = zip(lists, columns, strict=True)
    empty = [ids for ids, known in pairs if len(ids) and not len(known)]
    if not empty or was_told(index, ("allow", "unknown")):
        return
    vocabulary, _ = factorize_list(empty[0])
    if other_type(vocabulary, index):  # `warn_other_type` has told the remedy
        return
    if len(lists) == 1:
        what = (
            f"None of the {len(vocabulary):,} ids of allow is in the catalog. All "
            "rankings"
        )
    else:
        what = (
            f"{len(empty):,} of {len(lists):,} lists of allow have no id of the "
            f"catalog. The rankings of these {rows}"
        )
    message = (
        f"{what} are empty and hold only fill values. Check the ids: allow has "
        f"{empty[0][0]!r:.60}, and the catalog has ids such as "
        f"{index.item_ids[:1].tolist()[0]!r:.60}."
    )
    warn_once(index, ("allow", "unknown"), message, UnseenItemWarning)


def _known_columns(ids, name, index):
    vocabulary, _ = factorize_list(ids)
    codes = index.codes_of(vocabulary)
    warn_other_type(index, name, vocabulary[codes == 0])
    return codes[codes > 0].astype(np.int64) - 1


def mask_seen(scores, at, codes, offsets):
    if len(at) <= FEW and scores.is_cpu:
        for row, i in zip(scores.numpy(), at, strict=True):
            seen = codes[offsets[i] : offsets[i + 1]]
            row[seen[seen <= len(row)] - 1] = -np.inf
        return
    rows, columns = seen_pairs(at, codes, offsets, scores.shape[1])
    rows, columns = (torch.from_numpy(part) for part in (rows, columns))
    scores[rows.to(scores.device), columns.to(scores.device)] = -torch.inf


def seen_pairs(at, codes, offsets, n_items):
    """Rows and columns of the known items of some sessions."""
    lengths = np.diff(offsets)[at]
    rows = np.repeat(np.arange(len(at)), lengths)
    events, _ = flat_positions(offsets[at], lengths)
    seen = codes[events]
    known = seen <= n_items
    return rows[known], seen[known].astype(np.int64) - 1


def check_fill_value(value, index):
    check_hashable([value], "fill_value")
    vocabulary, _ = factorize_list([value])
    if index.codes_of(vocabulary)[0]:
        raise ValueError(
            f"fill_value={value!r} is an item of the catalog. Pass a fill_value that "
            "is not an item id."
        )
    hint = other_type(vocabulary, index, kinds=False)
    if hint:
        raise ValueError(
            f"fill_value={value!r} could be taken for an item. {hint} Or pass a "
            "fill_value that does not resemble an item id."
        )


def with_fill(items, empty, value, index):
    """Put a value into the empty places of items; for None the type decides."""
    if value is None:
        value = {"f": np.nan, "U": "", "O": None}.get(items.dtype.kind, -1)
        check_fill_value(value, index)
    fill = np.empty((), dtype=object)
    fill[()] = value  # a tuple is one value
    try:
        own = fill.astype(items.dtype)
        exact = type(own.item()) is type(value) and own.item() == value
        exact = exact or (items.dtype.kind == "f" and value != value)
    except (TypeError, ValueError, OverflowError):
        exact = False
    items = items if exact else items.astype(object)
    places = np.flatnonzero(empty)
    flat = items.reshape(-1)
    if exact:
        flat[places] = own
    else:
        for place in places:
            flat[place] = value
    return flat.reshape(items.shape)
