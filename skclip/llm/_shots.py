"""Training sessions as examples in a prompt."""

import hashlib
import json

import numpy as np
from scipy import sparse

from skclip._data import flat_positions

_MAX_SESSIONS = 100_000  # latest training sessions that examples are taken from
_BLOCK_FLOATS = 2**22


def seed_of(seed, *parts):
    """A number that depends on what is asked alone, not on the order of requests."""
    text = json.dumps([seed, *parts], ensure_ascii=True, default=repr)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Shots:
    """Observed items and next item of training sessions, as flat arrays.

    Parameters
    ----------
    codes, offsets : ndarray
        Sessions in codes 1..n_items, in order of time, each with its target last.
    ids : ndarray of shape (n_sessions,) or None
        Raw ids of the sessions.
    """

    def __init__(self, codes, offsets, ids=None):
        self.codes, self.offsets, self.ids = codes, offsets, ids
        self._weights = None

    @classmethod
    def of_sessions(cls, codes, offsets, ids=None):
        """Those of two items or more, the latest 100,000."""
        kept = np.flatnonzero(np.diff(offsets) > 1)[-_MAX_SESSIONS:]
        at, cuts = flat_positions(offsets[:-1][kept], np.diff(offsets)[kept])
        return cls(codes[at], cuts, None if ids is None else ids[kept])

    def __len__(self):
        return len(self.offsets) - 1

    def example(self, i):
        """Codes of what was observed, and of the target."""
        codes = self.codes[self.offsets[i] : self.offsets[i + 1]]
        return codes[:-1], int(codes[-1])

    def pick(self, selection, queries, n, *, seed, vectors=None, keys=None, ids=None):
        """Choose examples for each query.

        Parameters
        ----------
        selection : {"knn", "random", "recent"}
        queries : list of ndarray
            Codes 1..n_items of what is observed.
        n : int
            Examples for each query, of different targets.
        seed : int
        vectors : array of shape (n_items, d), default=None
            Unit title vectors, for "knn".
        keys : list
            What the queries are, for the seed of "random".
        ids : list or None
            Session ids of the queries.

        Returns
        -------
        picked : list of list of int
            The nearest, or the latest, last. Never the session that is asked about:
            none of the same id, and none that observed exactly the same.
        """
        if len(self) == 0:
            return [[] for _ in queries]
        if selection != "knn":
            orders = (
                np.arange(len(self))[::-1]
                if selection == "recent"
                else np.random.default_rng(seed_of(seed, "shots", key)).permutation(
                    len(self)
                )
                for key in keys
            )
            return [
                self._distinct(order, query, n, None if ids is None else ids[i])
                for i, (order, query) in enumerate(zip(orders, queries, strict=True))
            ]
        if self._weights is None:
            self._weights = _mean_weights(self, vectors)
        picked = []
        block = max(1, _BLOCK_FLOATS // max(len(self), vectors.shape[0]))
        for start in range(0, len(queries), block):
            part = queries[start : start + block]
            near = _similarities(part, vectors) @ self._weights
            near = near.toarray() if sparse.issparse(near) else near
            for i, row in enumerate(near, start):
                order = np.argsort(-row, kind="stable")
                own = None if ids is None else ids[i]
                picked.append(self._distinct(order, queries[i], n, own))
        return picked

    def _distinct(self, order, query, n, own_id):
        """First examples in an order with targets of their own, reversed."""
        chosen, targets = [], set()
        for i in order:
            observed, target = self.example(i)
            if target in targets or (
                self.ids is not None and own_id is not None and self.ids[i] == own_id
            ):
                continue
            whole = self.codes[self.offsets[i] : self.offsets[i + 1]]
            if np.array_equal(observed, query) or np.array_equal(whole, query):
                continue
            chosen.append(int(i))
            targets.add(target)
            if len(chosen) == n:
                break
        return chosen[::-1]


def _mean_weights(shots, vectors):
    """Sparse (n_items, n_shots): what a sum over items' similarities weighs.

    The cosine with a mean of title vectors is a weighted sum of the cosines with the
    items; the weights hold 1 / norm of the mean.
    """
    lengths = np.diff(shots.offsets) - 1
    at, offsets = flat_positions(shots.offsets[:-1], lengths)
    members = sparse.csr_array(
        (np.ones(len(at), dtype=np.float32), shots.codes[at] - 1, offsets),
        shape=(len(shots), vectors.shape[0]),
    )
    norms = np.empty(len(shots), dtype=np.float32)
    for start in range(0, len(shots), 4096):
        sums = members[start : start + 4096] @ vectors
        if sparse.issparse(sums):
            norms[start : start + 4096] = np.sqrt(sums.multiply(sums).sum(axis=1))
        else:
            norms[start : start + 4096] = np.linalg.norm(sums, axis=1)
    scale = np.where(norms > 0, 1 / np.maximum(norms, 1e-12), 0).astype(np.float32)
    return sparse.csr_array(members.multiply(scale[:, None])).T.tocsr()


def _similarities(queries, vectors):
    """Dense (n_queries, n_items): sums of title vectors times those of the items."""
    codes = [query - 1 for query in queries]
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in codes])])
    flat = np.concatenate([*codes, np.empty(0, dtype=np.int64)]).astype(np.int64)
    members = sparse.csr_array(
        (np.ones(len(flat), dtype=np.float32), flat, offsets),
        shape=(len(queries), vectors.shape[0]),
    )
    near = (members @ vectors) @ vectors.T
    return near.toarray() if sparse.issparse(near) else near
