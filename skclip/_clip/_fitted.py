"""The result of a fit: a value that computes scores."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import torch

from skclip._base import check_finite
from skclip._clip._chunks import score_chunks
from skclip._data import (
    Instances,
    ItemIndex,
    Owners,
    Rehearsal,
    check_times_rise,
    click_codes,
    codes_of_owners,
    codes_of_types,
    query_data,
    warn_unknown,
    warn_unknown_clicks,
)
from skclip._model import (
    Draws,
    Holders,
    RepeatBias,
    SessionModel,
    observed_prefixes,
    read_states,
    seen_items,
)
from skclip._threads import Workers
from skclip._training import own_draws_only, resolve_device


@dataclass(frozen=True)
class Fitted:
    """Catalog, owners, clusters, model, history and settings of a fit.

    `popularity` counts the training events of each item. `settings` holds the resolved
    parameters, `config` the arguments of the `SessionModel`. `rehearsal` holds the
    sessions that a further fit learns again. `repeats` is added to the scores of items
    that are in the session. `keys` are the candidate vectors (n_items, d), None while
    the model is trained.
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
        """Whether unseen items get the cluster that the items beside them vote for."""
        return (
            self.settings["unseen_items"] == "vote" and self.item_clusters is not None
        )

    def candidates(self):
        """Candidate vectors in the present state of the model."""
        return candidate_vectors(self.model) if self.keys is None else self.keys

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

    # -- scores ----------------------------------------------------------------

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
            click_codes=self._click_codes(queries),
        )

    def _click_codes(self, queries):
        """Codes of the features of the clicks of `Queries`; None if none are read."""
        names = tuple(self.config["click_features"])
        if not names:
            return None
        if queries.times is not None:
            check_times_rise(queries, missing=False)
        types = codes_of_types(self.holders.types, queries)
        warn_unknown_clicks(self.index, names, queries, types)
        return click_codes(names, queries.offsets, queries.times, types)

    def score_chunks(self, queries):
        """Yield (positions, scores) of chunks of queries; see `RankingMixin`."""
        return score_chunks(self, queries)

    @cached_property
    def _norms(self):
        """Lengths of the candidate vectors, (n_items, 1)."""
        return torch.linalg.vector_norm(self.keys, dim=1, keepdim=True).clamp_min(1e-12)

    def similarities(self, columns):
        """Similarities of some items with all, (n, n_items). See `similar_items`."""
        keys, rows = self.keys, self.keys[columns]
        with torch.autocast(keys.device.type, enabled=False):
            if self.model.late:  # two unit vectors side by side
                both = rows.split(rows.shape[1] // 2, dim=1)
                return torch.mm(self.model.weigh_late(*both), keys.T)
            return torch.mm(rows / self._norms[columns], keys.T).div_(self._norms.T)

    @cached_property
    def is_own(self):
        """Whether the network is the library's own, which several threads may read."""
        return own_draws_only(self.model)

    def known_targets(self, X, y):
        """Yield scores, target positions and `Seen` of chunks.

        Only rows with a target in the catalog and a known item before it are scored.
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
        """Mask of the prefixes that have nothing the model can read."""
        instances = self.observed(queries)
        return instances.stops <= instances.starts

    @torch.no_grad()
    def read(self, X, rows):
        """Return the tensors of `rows`, a function of a batch, as arrays, by row of X.

        Sessions with nothing that the model can read get rows of NaN.
        """
        queries = query_data(X, self.index)
        warn_unknown(queries, self.index, "They are left out.")
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
        """Return plain values and NumPy arrays, which open on any device."""
        owners, types = self.holders.owners, self.holders.types
        return {
            "item_ids": self.index.item_ids,
            "user_ids": None if owners.users is None else owners.users.item_ids,
            "session_ids": None
            if owners.sessions is None
            else owners.sessions.item_ids,
            "n_sessions": owners.n_sessions,
            "type_names": None if types is None else types.item_ids,
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
        """Return the value that `to_state` took apart, with its model on `device`."""
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
        users, sessions, types = (
            None if state[name] is None else ItemIndex(state[name])
            for name in ("user_ids", "session_ids", "type_names")
        )
        return cls(
            Holders(
                ItemIndex(state["item_ids"]),
                state["config"]["item_clusters"],
                Owners(users, sessions, state["n_sessions"]),
                types,
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
    """Return candidate vectors of all items, in a layout that is fast for one query.

    Raises
    ------
    ValueError
        If they are not finite.
    """
    with Workers(1), torch.autocast(model.item_table.device.type, enabled=False):
        keys = model.keys()
    check_finite(keys)
    return keys.T.contiguous().T


def _unknown(n, state):
    """Arrays of NaN with `n` rows, shaped like the tensors of other rows."""
    return [np.full((n, *part.shape[1:]), np.nan, np.float32) for part in state]
