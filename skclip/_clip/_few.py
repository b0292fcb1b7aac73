"""Scores for a few sessions at a time, as in a server, without detours.

`Fitted.score_chunks` serves any number of prefixes. It reads equal ones once and those
of similar lengths together, in chunks that fit the memory. For a single session the
arrays needed for that take most of the time. Here the batch is made directly. The
network, the product and what is added to it are the same, in the same order.
"""

from contextlib import nullcontext

import numpy as np
import torch

from skclip._base import refuse_not_finite
from skclip._data import FEW
from skclip._model import most_read
from skclip._ranking import rows_per_chunk
from skclip.backbones import Batch


def few_scores(fitted, queries):
    """Return (positions, scores) for a few sessions, as `Fitted.score_chunks` does.

    Return None if the general path is needed: for many queries or equal ones, on a GPU,
    and with prompts of users or sessions or with features of clicks. Also if a session
    has no known item, or an unseen item that gets a cluster.
    """
    model, keys, n_items = fitted.model, fitted.keys, len(fitted.index)
    if not 0 < len(queries) <= min(FEW, rows_per_chunk(n_items)):
        return None
    if keys is None or not keys.is_cpu or fitted.owners != (None, None):
        return None
    if model.click_vectors is not None:
        return None
    rows = _observed(queries, n_items, fitted.config["max_length"], fitted.votes)
    if rows is None:
        return None
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # shortest first
    rows = [rows[i] for i in order]
    if len(rows) > 1 and len(rows) > most_read(model, len(rows[-1])):
        return None
    autocast = torch.is_autocast_enabled("cpu")  # by the caller
    with torch.autocast("cpu", enabled=False) if autocast else nullcontext():
        state = model.states(_batch(rows))
        first = state[0] if isinstance(state, tuple) else state
        if not np.isfinite(first.numpy()).all():
            refuse_not_finite()
        scores = model.scores(state, keys, out=keys.new_empty(len(rows), n_items))
    if fitted.repeats is not None:
        fitted.repeats.add_to_rows(scores.numpy(), rows)
    return np.array(order), scores


def _observed(queries, n_items, max_length, votes):
    """Lists of the latest known codes, or None where the general way differs."""
    starts = queries.offsets[queries.rows]
    codes, starts, ends = queries.codes.tolist(), starts.tolist(), queries.ends.tolist()
    rows = [codes[a : a + n] for a, n in zip(starts, ends, strict=True)]
    if max(codes, default=0) > n_items:
        if votes:
            return None
        rows = [[code for code in row if code <= n_items] for row in rows]
    rows = [row[-max_length:] for row in rows]
    # Prefixes of one session, or equal ones, share a row of the batch elsewhere.
    distinct = len(set(starts)) == len(set(map(tuple, rows))) == len(rows)
    return rows if distinct and all(rows) else None


def _batch(rows):
    """The `Batch` of lists of codes, the longest one last."""
    width, n = len(rows[-1]), len(rows)

    def put(values):  # through NumPy, which reads lists faster
        return torch.from_numpy(np.array(values, dtype=np.int64))

    return Batch(
        codes=put([row + [0] * (width - len(row)) for row in rows]),
        rows=put(range(n)),
        ends=put([len(row) for row in rows]),
        targets=put([0] * n),
    )
