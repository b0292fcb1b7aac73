"""Training sessions as examples in a prompt."""

from __future__ import annotations

import hashlib
import json
from numbers import Integral
from typing import Literal, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

from skclip._data import flat_positions
from skclip._sklearn import BaseEstimator, Interval, StrOptions

_MAX_SESSIONS = 100_000  # latest training sessions that examples are taken from


Selection: TypeAlias = Literal["knn", "random", "recent"]


class Examples(BaseEstimator):
    """Examples for the language model: training sessions, shown as titles.

    Parameters
    ----------
    selection : {"knn", "random", "recent"}, default="knn"
        Choice of sessions. "knn" takes the sessions whose mean title vector is nearest
        to that of the row. "random" draws sessions, and "recent" takes the latest ones.
    n_shots : int, default=3
        Number of examples. Each has a different next item.

    Examples
    --------
    >>> from skclip import LLMReranker, PopularityRecommender
    >>> llm = LLMReranker(PopularityRecommender(), str, examples="recent")
    >>> llm.set_params(examples__n_shots=5).examples
    Examples(n_shots=5, selection='recent')
    """

    _parameter_constraints: dict = {
        "selection": [StrOptions({"knn", "random", "recent"})],
        "n_shots": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, selection: Selection = "knn", *, n_shots: int = 3) -> None:
        self.selection = selection
        self.n_shots = n_shots


def seed_of(seed, *parts):
    """Make a seed that depends only on the request, not on the order of requests."""
    text = json.dumps([seed, *parts], default=repr)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Shots:
    """Latest training sessions with at least two items, in order of time.

    `codes` are 1..n_items, and the last code of a session is its target. `ids` are raw
    ids of sessions, or None.
    """

    def __init__(self, codes, offsets, ids=None):
        kept = np.flatnonzero(np.diff(offsets) > 1)[-_MAX_SESSIONS:]
        at, self.offsets = flat_positions(offsets[:-1][kept], np.diff(offsets)[kept])
        self.codes, self.ids = codes[at], None if ids is None else ids[kept]
        self._members = self._norms = None

    def pick(self, selection, query, n, *, seed=0, vectors=None, own_id=None):
        """Pick up to `n` sessions with different targets, nearest or latest last.

        The queried session itself is left out. It has the id `own_id` or the same codes
        as `query`. `vectors` of shape (n_items, d) are title vectors.
        """
        order, chosen = np.arange(len(self.offsets) - 1)[::-1], {}
        if selection == "random":
            order = np.random.default_rng(seed).permutation(len(order))
        elif selection == "knn" and len(order):
            order = np.argsort(-self._similarities(query, vectors), kind="stable")
        for i in order if n else ():
            whole = self.codes[self.offsets[i] : self.offsets[i + 1]]
            own = own_id is not None and self.ids is not None and self.ids[i] == own_id
            same = np.array_equal(whole[:-1], query) or np.array_equal(whole, query)
            if not (own or same or whole[-1] in chosen):
                chosen[whole[-1]] = whole
            if len(chosen) == n:
                break
        return list(chosen.values())[::-1]

    def _similarities(self, query, vectors):
        """Compute cosines of a row and each session by mean vectors, up to a factor.

        This is the sum of the row's similarities to the items of the session, divided
        by the norm of the session's own sum. So no vector of a session is stored.
        """
        if self._members is None:
            at, offsets = flat_positions(self.offsets[:-1], np.diff(self.offsets) - 1)
            ones = np.ones(len(at), dtype=np.float32)
            shape = (len(offsets) - 1, vectors.shape[0])
            items = self.codes[at].astype(np.int64) - 1
            self._members = sparse.csr_array((ones, items, offsets), shape=shape)
            blocks = gen_batches(shape[0], 4096)
            norms = [row_norms(self._members[block] @ vectors) for block in blocks]
            self._norms = np.maximum(np.concatenate(norms), 1e-12)
        near = vectors @ vectors[query - 1].sum(axis=0)
        return self._members @ near / self._norms
