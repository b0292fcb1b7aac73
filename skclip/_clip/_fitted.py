"""What a fit leaves: a value that can be asked for scores."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch

from skclip._base import check_finite
from skclip._clip._few import few_scores
from skclip._data import (
    Instances,
    ItemIndex,
    Owners,
    Rehearsal,
    codes_of_owners,
    query_data,
    warn_unknown,
)
from skclip._model import (
    Draws,
    Holders,
    RepeatBias,
    SessionModel,
    observed_prefixes,
    read_states,
    reading_tasks,
    seen_items,
    take_rows,
)
from skclip._ranking import (
    PRESELECTED_ROWS,
    Preselected,
    Preselector,
    rows_apart,
    rows_per_chunk,
    rows_per_product,
    worth_preselecting,
)
from skclip._threads import Workers, map_shared
from skclip._training import (
    cpu_is_fast_in_bf16,
    own_draws_only,
    resolve_device,
    workers_for,
)


@dataclass(frozen=True)
class Fitted:
    """Catalog, owners, clusters, model, history and settings of a fit.

    `popularity` are the training events of each item, `settings` what was used for
    parameters that leave a choice, `config` the arguments of the `SessionModel`.
    `rehearsal` are the sessions that a further fit learns again. `repeats` is what
    ranking adds to the scores of items of the session. `keys` are the candidate vectors
    (n_items, d), None while the model is trained.
    """

    holders: Holders
    popularity: np.ndarray
    clusterer: object
    settings: dict
    config: dict
    model: SessionModel
    rehearsal: Rehearsal
    repeats: RepeatBias = None
    keys: torch.Tensor = None
    history: list = ()
    best_score: float = None

    @property
    def index(self):
        """The catalog."""
        return self.holders.items

    @property
    def owners(self):
        """Users and sessions that have a prompt: two indices, or None."""
        return self.holders.owners.users, self.holders.owners.sessions

    @property
    def item_clusters(self):
        """Clusters 1..K of the items, (n_items, n_levels), 0 = none; or None."""
        return self.holders.clusters

    @property
    def votes(self):
        """Whether unseen items get a cluster by the votes of those beside them."""
        return (
            self.settings["unseen_items"] == "vote" and self.item_clusters is not None
        )

    def attributes(self):
        """The fitted attributes that users see."""
        users, clusters = self.holders.owners.users, self.item_clusters
        return {
            "item_ids_": self.index.item_ids,
            "n_items_": len(self.index),
            "item_counts_": self.popularity,
            "clusterer_": self.clusterer,
            "membership_": None if clusters is None else clusters[:, 0] - 1,
            "user_ids_": None if users is None else users.item_ids,
            "resolved_params_": self.settings,
            "history_": list(self.history),
            "n_iter_": len(self.history),
            "best_validation_score_": self.best_score,
        }

    # -- asking ----------------------------------------------------------------

    def observed(self, queries):
        """The prefixes of `Queries` as the model reads them, `Instances`."""
        (users, sessions), n = self.owners, len(queries.offsets) - 1
        return observed_prefixes(
            queries,
            item_clusters=self.item_clusters if self.votes else None,
            n_items=len(self.index),
            max_length=self.config["max_length"],
            users=codes_of_owners(users, queries.users, n, "users"),
            sessions=codes_of_owners(sessions, queries.ids, n, "ids"),
        )

    def score_chunks(self, queries):
        """Yield (positions, scores) of chunks of queries; see `RankingMixin`."""
        step, buffers = rows_per_chunk(len(self.index)), []
        with self._workers():  # not while the caller has the chunk
            tasks = self._tasks(queries, step)
        for task in tasks:
            chunks = task(buffers)
            while True:
                with self._workers(), torch.no_grad():
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                yield from rows_apart(*chunk)

    def each_chunk(self, queries, use, n_threads, mask=None, preselect=False):
        """Call ``use(positions, scores, rows)`` for chunks, several at a time.

        `rows` says which row of the scores each position has, None: its own. With
        `preselect` the scores may be `Preselected`, without what the `Mask` leaves out.
        """
        buffers = []

        def work(task):
            for chunk in task(buffers):
                use(*chunk)

        device, size = self.model.item_table.device, self.model.item_table.numel()
        step = rows_per_product(len(self.index), device)
        with self._workers(n_threads) as workers:
            tasks = self._tasks(queries, step, mask, preselect)
            workers.map(work, tasks, len(queries) * size)

    @cached_property
    def _is_own(self):
        """Whether the network is the library's, which several threads may read."""
        return own_draws_only(self.model)

    def _workers(self, n_threads=None):
        """The `Workers` of a ranking; networks of others are read by one thread."""
        n_threads = n_threads if self._is_own else 1
        return workers_for(n_threads, self.model.item_table.device)

    @torch.no_grad()
    def _tasks(self, queries, step, mask=None, preselect=False):
        """Generators of (positions, scores, rows), each of some of the queries.

        They take memory for `step` rows of scores from a list, and put it back.
        """
        few = few_scores(self, queries)
        if few is not None:
            return [lambda buffers: iter([(*few, None)])]
        instances = self.observed(queries)
        read = instances.stops > instances.starts
        where, keys = np.flatnonzero(read), self.keys
        if keys is None:
            keys = candidate_vectors(self.model)
        scores_of = partial(self._scores_of, keys, step)
        if preselect and self._may_preselect(len(where)):
            preselector = Preselector(keys, self.model.bias)
            scores_of = partial(self._preselected, preselector, mask)
        tasks = [
            partial(scores_of, instances, where, reading)
            for reading in reading_tasks(self.model, instances.take(where))
        ]
        unread = np.flatnonzero(~read)
        for start in range(0, len(unread), step):
            tasks.append(partial(self._popular, unread[start : start + step], keys))
        return tasks

    def _may_preselect(self, n_queries):
        model = self.model
        if not (model.network.dot_product and model.item_table.is_cpu):
            return False
        return worth_preselecting(n_queries, len(self.index)) and cpu_is_fast_in_bf16()

    def _preselected(self, preselector, mask, instances, where, reading, _):
        """Yield the chunks of a reading task, `Preselected`."""
        positions, counts, state = reading()
        state, n_items = state * self.model.scale, len(self.index)
        if mask is not None:  # it may differ where what is read of sessions is equal
            state = state[torch.from_numpy(np.repeat(np.arange(len(counts)), counts))]
            counts = np.ones(len(state), dtype=np.int64)
        begins = np.concatenate([[0], np.cumsum(counts)])
        n_parts = -(-len(counts) // PRESELECTED_ROWS)
        cuts = np.linspace(0, len(counts), n_parts + 1, dtype=int).tolist()
        for part in map(slice, cuts[:-1], cuts[1:]):
            firsts, own = begins[part], counts[part]
            at = where[positions[firsts[0] : begins[part.stop]]]
            special, bonus = (np.empty(0, np.int64),) * 2, np.empty(0, np.float32)
            if mask is not None:
                special = mask.pairs(at, n_items)
                bonus = np.full(len(special[0]), -np.inf, np.float32)
            elif self.repeats is not None:
                of_rows = instances.take(where[positions[firsts]])
                seen = seen_items(of_rows, n_items, state.device)
                special = seen.rows.numpy(), seen.items.numpy()
                bonus = self.repeats.table()[seen.steps, seen.counts]
            rows = None
            if len(at) > len(own):
                rows = np.repeat(np.arange(len(own)), own)
            yield at, Preselected(preselector, state[part], special, bonus), rows

    def _scores_of(self, keys, step, instances, where, reading, buffers):
        """Yield the chunks of a reading task."""
        positions, counts, state = reading()
        n_items, begins = len(self.index), np.concatenate([[0], np.cumsum(counts)])
        try:
            buffer = buffers.pop()
        except IndexError:
            buffer = keys.new_empty(min(step, len(where)), n_items)
        for start in range(0, len(counts), step):
            part = slice(start, min(start + step, len(counts)))
            firsts, own = begins[part], counts[part]
            scores = self._product(take_rows(state, part), keys, buffer[: len(own)])
            if self.repeats is not None:
                of_rows = instances.take(where[positions[firsts]])
                self.repeats.add_to(scores, seen_items(of_rows, n_items, keys.device))
            at = where[positions[firsts[0] : begins[part.stop]]]
            rows = None
            if len(at) > len(own):
                rows = np.repeat(np.arange(len(own)), own)
            yield at, scores, rows
        buffers.append(buffer)

    def _product(self, state, keys, out):
        """Scores of some states, by pieces that threads share if nothing else is."""
        step = rows_per_product(len(keys), keys.device)

        def piece(rows):
            with torch.autocast(keys.device.type, enabled=False):
                self.model.scores(take_rows(state, rows), keys, out=out[rows])

        pieces = [slice(a, a + step) for a in range(0, len(out), step)]
        map_shared(piece, pieces, len(out) * keys.numel())
        return out

    def _popular(self, at, keys, buffers):
        """Yield scores of what nothing can be read of."""
        popular = torch.from_numpy(self.popularity.astype(np.float32)).to(keys.device)
        yield at, popular.expand(len(at), -1).clone(), None

    def known_targets(self, X, y):
        """Yield scores, target positions and `Seen` of chunks of what can be scored.

        That is what has a target in the catalog, and a known item before it.
        """
        queries = query_data(X, self.index, y, every_prefix=True)
        queries = queries.take(np.flatnonzero(queries.targets > 0))
        instances = self.observed(queries)
        read = np.flatnonzero(instances.stops > instances.starts)
        queries, instances = queries.take(read), instances.take(read)
        for at, scores in self.score_chunks(queries):
            seen = seen_items(instances.take(at), len(self.index), scores.device)
            targets = torch.from_numpy(queries.targets[at] - 1).to(scores.device)
            yield scores, targets.long(), seen

    def with_repeats(self, bias):
        """The same with a `RepeatBias`, or with none."""
        settings = self.settings | {"repeats": bias is not None}
        return replace(self, repeats=bias, settings=settings)

    def by_popularity(self, queries):
        """Mask of the prefixes of which nothing can be read."""
        instances = self.observed(queries)
        return instances.stops <= instances.starts

    @torch.no_grad()
    def read(self, X, rows):
        """Tensors of `rows`, a function of a batch, as arrays in the order of X.

        Rows of NaN stand for sessions of which nothing can be read.
        """
        queries = query_data(X, self.index)
        warn_unknown(queries, self.index, "What is not known of them is left out.")
        instances = self.observed(queries)
        where = np.flatnonzero(instances.stops > instances.starts)
        result = None
        for at, state in read_states(self.model, instances.take(where), rows):
            if result is None:
                result = _unknown(len(queries), state)
            for array, part in zip(result, state, strict=True):
                array[where[at]] = part.float().cpu().numpy()
        if result is None:  # the shapes are those of any item
            codes, zeros = np.ones(1, np.int32), np.zeros(1, np.int64)
            any_item = Instances(codes, zeros, zeros + 1, zeros)
            _, state = next(iter(read_states(self.model, any_item, rows)))
            result = _unknown(len(queries), state)
        return result

    # -- plain data ------------------------------------------------------------

    def to_state(self):
        """Plain values and NumPy arrays, which open on any device."""
        owners = self.holders.owners
        return {
            "item_ids": self.index.item_ids,
            "user_ids": None if owners.users is None else owners.users.item_ids,
            "session_ids": None
            if owners.sessions is None
            else owners.sessions.item_ids,
            "n_sessions": owners.n_sessions,
            "popularity": self.popularity,
            "clusterer": self.clusterer,
            "settings": self.settings,
            "config": self.config,
            "model": {
                name: tensor.detach().cpu().numpy()
                for name, tensor in self.model.state_dict().items()
            },
            "rehearsal": self.rehearsal.to_state(),
            "repeats": None if self.repeats is None else asdict(self.repeats),
            "history": list(self.history),
            "best_score": self.best_score,
        }

    @classmethod
    def from_state(cls, state, device):
        """The value that `to_state` took apart, its model on the device."""
        weights = {
            name: torch.from_numpy(np.array(array))
            for name, array in state["model"].items()
        }
        with Draws():  # nothing is drawn: the weights are loaded
            model = SessionModel(**state["config"])
        model.load_state_dict(weights)
        device = resolve_device(device)
        model.to(device).eval()
        settings = state["settings"] | {"device": str(device)}
        users, sessions = (
            None if state[name] is None else ItemIndex(state[name])
            for name in ("user_ids", "session_ids")
        )
        return cls(
            Holders(
                ItemIndex(state["item_ids"]),
                state["config"]["item_clusters"],
                Owners(users, sessions, state["n_sessions"]),
            ),
            model=model,
            rehearsal=Rehearsal(**state["rehearsal"]),
            repeats=state["repeats"] and RepeatBias(**state["repeats"]),
            keys=candidate_vectors(model),
            settings=settings,
            **{
                name: state[name]
                for name in (
                    "popularity",
                    "clusterer",
                    "config",
                    "history",
                    "best_score",
                )
            },
        )


@torch.no_grad()
def candidate_vectors(model):
    """Candidate vectors of all items, laid out so that a single query reads them fast.

    Raises
    ------
    ValueError
        They are not finite.
    """
    with Workers(1), torch.autocast(model.item_table.device.type, enabled=False):
        keys = model.keys()
    check_finite(keys)
    return keys.T.contiguous().T


def _unknown(n, state):
    """Arrays of NaN with `n` rows, for tensors with others."""
    return [np.full((n, *part.shape[1:]), np.nan, np.float32) for part in state]
