"""The catalog of an estimator: raw ids to codes 1..n_items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skclip._data._ids import (
    as_id_array,
    factorize,
    factorize_list,
    python_numbers,
)
from skclip._typing import ItemIds


def append_ids(ids, new):
    """Ids followed by new ones, in one type if that is exact, else as objects."""
    kinds = {ids.dtype.kind, new.dtype.kind}
    if len(kinds) == 1 and kinds <= set("iufb"):
        return np.concatenate([ids, new])
    return as_id_array(ids.tolist() + new.tolist())


def joined_ids(first, second):
    """Distinct ids of two arrays in native order, and int32 codes of both arrays."""
    if first.dtype.kind == second.dtype.kind and first.dtype.kind in "iufb":
        vocabulary, codes = factorize(np.concatenate([first, second]))
    else:
        vocabulary, codes = factorize_list(first.tolist() + second.tolist())
    return vocabulary, codes[: len(first)], codes[len(first) :]


class CatalogMixin:
    """Keep the index of ``item_ids_`` as ``_index``, outside the pickled state."""

    item_ids_: ItemIds

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_index", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "item_ids_" in state:
            self._index = ItemIndex(self.item_ids_)


@dataclass(frozen=True)
class Digits:
    """Lengths of ids that are text of digits, and whether any has a leading zero."""

    widths: frozenset = frozenset()
    zeros: bool = False


class ItemIndex:
    """Codes 1..n_items of raw ids, in the order of ``item_ids``; 0 = not in it.

    The ids are those of the catalog: sorted after ``fit``, append-only afterwards.
    """

    def __init__(self, item_ids):
        self.item_ids = item_ids
        if (
            item_ids.dtype.kind in "bif"
            or item_ids.dtype.kind == "u"
            and (
                item_ids.dtype.itemsize < 8  # uint64 and int64 are compared as floats
            )
        ):
            self._sorter = np.argsort(item_ids, kind="stable")
            self._sorted = item_ids[self._sorter]
            self._codes = None
        else:
            self._codes = {item: i for i, item in enumerate(item_ids.tolist(), 1)}

    def __len__(self):
        return len(self.item_ids)

    @cached_property
    def has_tuples(self):
        """Whether some ids are tuples or sets."""
        if self.item_ids.dtype.kind != "O":
            return False
        kinds = set(map(type, self.item_ids.tolist()))
        return any(issubclass(kind, (tuple, frozenset)) for kind in kinds)

    @cached_property
    def digits(self):
        """The format of ids that are text of digits, from a sample of them."""
        if self.item_ids.dtype.kind not in "UOST":
            return Digits()
        ids = self.item_ids[:: max(1, len(self) // 1000)].tolist()
        ids = [i for i in ids if isinstance(i, (str, bytes)) and i.isdigit()]
        zeros = any(len(i) > 1 and i[:1] in ("0", b"0") for i in ids)
        return Digits(frozenset(map(len, ids)), zeros)

    def codes_of(self, ids):
        """Codes of an array of raw ids, int32; 0 for unknown ids."""
        if self._codes is not None:
            get = self._codes.get
            values = (
                python_numbers(ids.tolist()) if ids.dtype == object else ids.tolist()
            )
            return np.fromiter((get(i, 0) for i in values), np.int32, len(ids))
        codes = np.zeros(len(ids), dtype=np.int32)
        if len(self) == 0 or ids.dtype.kind not in "biufO":
            return codes
        values, exact = self._as_own_type(ids)
        at = np.searchsorted(self._sorted, values)
        at[at == len(self)] = 0
        exact &= self._sorted[at] == values
        codes[exact] = self._sorter[at[exact]] + 1
        return codes

    def codes_of_known(self, ids):
        """Codes of a list of plain ids; None if some are unknown or not plain.

        Plain ids are whole numbers, text and tuples of Python.
        """
        kinds = set(map(type, ids))
        try:
            if self._codes is None:
                if kinds != {int} or self._sorted.dtype.kind not in "iu":
                    return None
                values = np.array(ids, dtype=np.int64)
                at = self._sorted.searchsorted(values)
                if at.max() == len(self) or (self._sorted[at] != values).any():
                    return None
                return (self._sorter[at] + 1).astype(np.int32)
            if not kinds <= {int, str, tuple}:
                return None
            codes = [self._codes[i] for i in ids]
        except (KeyError, OverflowError, TypeError):  # TypeError: a tuple of lists
            return None
        return np.array(codes, dtype=np.int32)

    def _as_own_type(self, ids):
        """Numbers in the type of the catalog, and a mask of those that stay exact."""
        kind = "f" if self._sorted.dtype.kind == "f" else "i"
        own = np.float64 if kind == "f" else np.int64
        if ids.dtype.kind in ("b", "i") and kind == "i":
            return ids.astype(np.int64), np.ones(len(ids), dtype=bool)
        if ids.dtype.kind == "f" and kind == "f":
            return ids.astype(np.float64), np.ones(len(ids), dtype=bool)
        if ids.dtype.kind == "f":
            exact = (abs(ids) < 2.0**63) & (np.floor(ids) == ids)
            return np.where(exact, ids, 0).astype(np.int64), exact
        values, exact = np.zeros(len(ids), dtype=own), np.zeros(len(ids), dtype=bool)
        for i, value in enumerate(ids.tolist()):
            value = value.item() if isinstance(value, np.generic) else value
            try:  # Python compares whole numbers and floats exactly
                values[i] = value
                exact[i] = values[i].item() == value
            except (TypeError, ValueError, OverflowError):
                continue
        return values, exact
