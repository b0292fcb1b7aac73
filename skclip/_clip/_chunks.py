"""The scores of any number of queries, in chunks that threads share."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from skclip._clip._few import few_scores
from skclip._data import Instances
from skclip._model import reading_tasks, seen_items, take_rows
from skclip._ranking import (
    PRESELECTED_ROWS,
    Preselected,
    Preselector,
    rows_apart,
    rows_per_chunk,
    rows_per_product,
    worth_preselecting,
)
from skclip._threads import map_shared
from skclip._training import cpu_is_fast_in_bf16, workers_for


def score_chunks(fitted, queries):
    """Yield (positions, scores); each position has a row of its own."""
    step, buffers = rows_per_chunk(len(fitted.index)), []
    with _workers(fitted):  # not while the caller has the chunk
        tasks = _tasks(fitted, queries, step)
    for task in tasks:
        chunks = task(buffers)
        while True:
            with _workers(fitted), torch.no_grad():
                chunk = next(chunks, None)
            if chunk is None:
                break
            yield from rows_apart(*chunk)


def each_chunk(fitted, queries, use, n_threads, mask=None, preselect=False):
    """Call ``use(positions, scores, rows)`` for chunks, several at a time.

    Equal prefixes share a row: `rows` holds the row of scores for each position. None
    means that each position has its own. With `preselect` the scores may be
    `Preselected`, without the items that the `Mask` leaves out.
    """
    buffers, table = [], fitted.model.item_table
    step = rows_per_product(len(fitted.index), table.device)

    def work(task):
        for chunk in task(buffers):
            use(*chunk)

    with _workers(fitted, n_threads) as workers:
        tasks = _tasks(fitted, queries, step, mask, preselect)
        workers.map(work, tasks, len(queries) * table.numel())


def _workers(fitted, n_threads=None):
    """The `Workers` of a ranking: one thread for networks of other authors."""
    n_threads = n_threads if fitted.is_own else 1
    return workers_for(n_threads, fitted.model.item_table.device)


@torch.no_grad()
def _tasks(fitted, queries, step, mask=None, preselect=False):
    """Return functions that yield (positions, scores, rows) for parts of the queries.

    Each function takes memory for `step` rows of scores from a list, and puts it back.
    """
    few = few_scores(fitted, queries)
    if few is not None:
        return [lambda buffers: iter([(*few, None)])]
    instances = fitted.observed(queries)
    read = instances.stops > instances.starts
    chunks = _Chunks(fitted, instances, np.flatnonzero(read), fitted.candidates(), step)
    ways = chunks.scores
    if preselect and chunks.may_preselect():
        preselector = Preselector(chunks.keys, fitted.model.bias)
        ways = partial(chunks.preselected, preselector, mask)
    readings = reading_tasks(fitted.model, instances.take(chunks.where))
    tasks = [partial(ways, reading) for reading in readings]
    unread = np.flatnonzero(~read)
    for start in range(0, len(unread), step):
        tasks.append(partial(chunks.popular, unread[start : start + step]))
    return tasks


@dataclass(frozen=True)
class _Chunks:
    """Prefixes, the positions `where` of those with known items, candidate vectors."""

    fitted: object
    instances: Instances
    where: np.ndarray
    keys: torch.Tensor
    step: int

    def scores(self, reading, buffers):
        """Yield the chunks of a reading task."""
        positions, counts, state = reading()
        begins, repeats = np.concatenate([[0], np.cumsum(counts)]), self.fitted.repeats
        try:
            buffer = buffers.pop()
        except IndexError:
            n_rows = min(self.step, len(self.where))
            buffer = self.keys.new_empty(n_rows, len(self.keys))
        for start in range(0, len(counts), self.step):
            part = slice(start, min(start + self.step, len(counts)))
            scores = buffer[: part.stop - start]
            self._multiply(take_rows(state, part), scores)
            if repeats is not None:
                repeats.add_to(scores, self._seen(positions[begins[part]]))
            at = positions[begins[start] : begins[part.stop]]
            yield self.where[at], scores, _rows_of(counts[part])
        buffers.append(buffer)

    def _multiply(self, state, out):
        """Write the scores of some states, in pieces that free threads share."""
        device, step = self.keys.device, rows_per_product(len(self.keys), out.device)

        def piece(rows):
            with torch.autocast(device.type, enabled=False):
                some = take_rows(state, rows)
                self.fitted.model.scores(some, self.keys, out=out[rows])

        pieces = [slice(a, a + step) for a in range(0, len(out), step)]
        map_shared(piece, pieces, len(out) * self.keys.numel())

    def _seen(self, positions):
        """The items that some prefixes have observed, `Seen`."""
        instances = self.instances.take(self.where[positions])
        return seen_items(instances, len(self.keys), self.keys.device)

    def may_preselect(self):
        """Whether a bfloat16 product can find the items that matter, and saves time."""
        model, n_queries = self.fitted.model, len(self.where)
        if not (model.network.dot_product and self.keys.is_cpu):
            return False
        return worth_preselecting(n_queries, len(self.keys)) and cpu_is_fast_in_bf16()

    def preselected(self, preselector, mask, reading, _):
        """Yield the chunks of a reading task, `Preselected`."""
        positions, counts, state = reading()
        state = state * self.fitted.model.scale
        if mask is not None:  # it may differ between sessions that are read as equal
            state = state[torch.from_numpy(_rows_of(counts, always=True))]
            counts = np.ones(len(state), dtype=np.int64)
        begins, repeats = np.concatenate([[0], np.cumsum(counts)]), self.fitted.repeats
        n_parts = -(-len(counts) // PRESELECTED_ROWS)
        cuts = np.linspace(0, len(counts), n_parts + 1, dtype=int).tolist()
        for part in map(slice, cuts[:-1], cuts[1:]):
            at = self.where[positions[begins[part.start] : begins[part.stop]]]
            special, bonus = (np.empty(0, np.int64),) * 2, np.empty(0, np.float32)
            if mask is not None:
                special = mask.pairs(at, len(self.keys))
                bonus = np.full(len(special[0]), -np.inf, np.float32)
            elif repeats is not None:
                seen = self._seen(positions[begins[part]])
                special = seen.rows.numpy(), seen.items.numpy()
                bonus = repeats.table()[seen.steps, seen.counts]
            scores = Preselected(preselector, state[part], special, bonus)
            yield at, scores, _rows_of(counts[part])

    def popular(self, at, _):
        """Yield the scores of prefixes without a known item: the popularity."""
        counts = torch.from_numpy(self.fitted.popularity.astype(np.float32))
        yield at, counts.to(self.keys.device).repeat(len(at), 1), None


def _rows_of(counts, always=False):
    """Row of each position, if ``counts[i]`` positions share row i; None if none do."""
    if not always and (counts == 1).all():
        return None
    return np.repeat(np.arange(len(counts)), counts)
