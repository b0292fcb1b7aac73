"""SessionModel: item table, prompts and backbone, from codes to scores."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skclip._model._click_vectors import ClickVectors
from skclip._model._fusion import FUSIONS
from skclip._model._item_table import look_up, unit_rows
from skclip._model._prompts import Prompts, cluster_cells
from skclip.backbones import Backbone, is_exporting

_SCORER_FLOATS = 2**20  # numbers in memory for a scorer without a dot product
_SCORER_FLOATS_OF_GPU = 2**24  # smaller chunks would leave a GPU idle


class SessionModel(nn.Module):
    """An item table, prompts and a backbone network.

    Every item that the encoder looks up goes through the prompts. Without prompts, the
    backbone reads the item table itself, on the same code path.

    `item_clusters` (n_items, n_levels) are 1..K, or 0 for none; the prompts of an
    item's levels are averaged. `n_users` and `n_sessions` are numbers of prompts, and
    None builds none. `n_sessions` is "pooled" for a prompt from the session's items.
    `candidates` says whether scores use the item table or prompted vectors. If
    `similarity` is None, the backbone's own is used. "cosine" normalizes session and
    item vectors and divides by `temperature`. `fusion` has the ``kind``, ``n_features``
    and ``cold_weight`` of a fusion; call `fill_features` afterwards. `click_features`
    are the sizes of `ClickVectors`, by name.
    """

    def __init__(
        self,
        spec,
        item_clusters=None,
        *,
        n_users=None,
        n_sessions=None,
        n_items,
        embedding_dim,
        max_length,
        normalization,
        gate,
        candidates,
        similarity,
        temperature,
        unknown_user="zero",
        fusion=None,
        click_features=None,
    ):
        super().__init__()
        self.n_items = n_items
        self.item_table = nn.Parameter(torch.zeros(n_items, embedding_dim))
        self.network = _build(spec, embedding_dim, n_items, max_length)
        self.network.init_table_(self.item_table.data, n_items)
        sizes = {"user": n_users, "session": n_sessions}
        self.register_buffer("item_cells", None, persistent=False)
        self.register_buffer("stored", None, persistent=False)
        if item_clusters is not None:
            cells, codes = cluster_cells(np.array(item_clusters, dtype=np.int64))
            sizes = {"cluster": cells} | sizes
            self.item_cells = F.pad(torch.from_numpy(codes), (1, 0))
        self.prompt = self._prompts(
            {kind: n for kind, n in sizes.items() if n is not None},
            normalization=normalization,
            gate=gate,
            unknown_user=unknown_user,
        )
        self.prompted_candidates = candidates == "prompted" and self.prompt is not None
        own = self.network.similarity
        kind = None if fusion is None else FUSIONS[fusion["kind"]]
        self.late = kind is not None and kind.scores_twice
        if self.late and own != "cosine":
            similarity = "cosine"
        self.cosine = (similarity or own) == "cosine"
        self.scale = self.network.scale if similarity in (None, own) else 1.0
        if similarity == "cosine":
            self.scale = 1.0 / temperature
            self._scale_tables_to_one()
        gated_units = self.prompt is not None and normalization == "unit"
        units = gated_units or similarity == "cosine" or self.network.normalize_items
        if units or (kind is not None and kind.makes_unit_vectors):
            self.network.init_beside_unit_items_()
        if self.cosine:
            self.network.init_for_cosine_()
        self.click_vectors = None
        if click_features:
            self.click_vectors = ClickVectors(embedding_dim, click_features)
        self.fusion = None
        if kind is not None:  # last, so that other weights do not depend on it
            options = {k: v for k, v in fusion.items() if k != "kind"}
            self.fusion = kind(n_items=n_items, dim=embedding_dim, **options)
            if kind.starts_as_directions:
                with torch.no_grad():
                    self.item_table /= self.item_table.norm(dim=1).mean()
        # Whether gradients of the item table are sparse.
        self.sparse = False
        # Positions and rows of the item table that training must not change.
        self.kept_rows = None
        self.constrain_()

    def _prompts(self, sizes, **options):
        """Build prompts of the kinds in `sizes`, drawn like the items, or None."""
        if not sizes:
            return None
        prompts = Prompts(self.item_table.shape[1], sizes, **options)
        for kind in prompts.kinds.values():
            for table in kind.tables:
                self.network.init_table_(table.data[1:], self.n_items)
        return prompts

    @torch.no_grad()
    def _scale_tables_to_one(self):
        """Scale the vectors to a mean length of 1, which sets how fast they turn."""
        tables = [self.item_table]
        if self.prompt is not None:
            kinds = self.prompt.kinds.values()
            tables += [table[1:] for kind in kinds for table in kind.tables]
        for table in tables:
            table.div_(table.norm(dim=1).mean().clamp_min(1e-12))

    @property
    def bias(self):
        """Item bias (n_items,) of the scores, or None."""
        bias = self.network.bias
        if self.training and self.fusion is not None:
            return self.fusion.training_bias(bias)
        return bias

    @torch.no_grad()
    def constrain_(self):
        """Apply the constraints of backbone and fusion to the item table."""
        self.network.constrain_(self.item_table)
        if self.kept_rows is not None:
            at, rows = self.kept_rows
            self.item_table[at] = rows
        if self.fusion is not None:
            self.fusion.hold_(self.item_table)

    def release(self):
        """Delete tensors that only training needs."""
        self.kept_rows = None
        if self.fusion is not None:
            self.fusion.release()

    def fill_features(self, vectors, counts, is_new=None):
        """Store features and training events of the items, see `ItemFusion.fill_`."""
        self.fusion.fill_(vectors, counts, self.item_table.data, is_new)

    def train(self, mode=True):
        """Set the mode as in `nn.Module`, and empty the cache of the fusion."""
        if self.fusion is not None:
            self.fusion.forget()
        return super().train(mode)

    def param_groups(self):
        """Return parameter groups for the optimizer. The first is the item table."""
        groups = [{"params": [self.item_table]}]
        if self.prompt is not None:
            groups.append({"params": list(self.prompt.parameters())})
        if self.click_vectors is not None:
            groups.append({"params": list(self.click_vectors.parameters())})
        if self.fusion is not None and any(True for _ in self.fusion.parameters()):
            groups.append({"params": list(self.fusion.parameters())})
        return groups + self.network.param_groups()

    def parameter_counts(self):
        """Count the learned numbers by component, without rows for "none"."""
        n_items, n_columns = self.item_table.shape
        if self.fusion is not None:
            n_columns = self.fusion.learned_columns
        counts = {"item table": n_items * n_columns}
        if self.prompt is not None:
            gates = sum(p.numel() for p in self.prompt.parameters())
            for kind, prompts in self.prompt.kinds.items():
                if prompts.tables:
                    gates -= sum(table.numel() for table in prompts.tables)
                    n = sum(table[1:].numel() for table in prompts.tables)
                else:
                    n = prompts.W_s.weight.numel()
                    gates -= n
                counts[f"{kind} prompts"] = n
            counts["prompt gates"] = gates
        if self.click_vectors is not None:
            tables = self.click_vectors.tables.values()
            counts["click features"] = sum(table[1:].numel() for table in tables)
        if self.fusion is not None:
            counts["feature fusion"] = sum(p.numel() for p in self.fusion.parameters())
        for name, parameter in self.network.named_parameters():
            part = f"backbone.{name.split('.')[0]}"
            counts[part] = counts.get(part, 0) + parameter.numel()
        return counts | {"total": sum(counts.values())}

    @property
    def shares_prefixes(self):
        """Whether one pass over a session encodes all its prefixes."""
        clicks = self.click_vectors
        depends = clicks is not None and clicks.depend_on_prefix
        return self.network.shares_prefixes and not self._pooled and not depends

    def vectors(self, codes, clusters=None, **of_sessions):
        """Return the encoder's input (..., d) for item codes (...), 0 = padding.

        Codes above n_items are unseen items. Their vector is the prompt of their
        `clusters` (..., n_levels) only, or zeros without clusters. `of_sessions` are
        arguments of `Prompts` for the sessions.
        """
        codes = codes.masked_fill(codes > self.n_items, 0)  # unseen in training
        x = self._item_vectors(codes)
        if self.prompt is not None and not self._stores_prompted:
            cells = None
            if clusters is None and self.item_cells is not None:
                cells = self.item_cells[codes]
            x = self.prompt(x, cells, clusters=clusters, **of_sessions)
        return F.normalize(x, dim=-1) if self.network.normalize_items else x

    def store_vectors_(self):
        """Store the vectors of known items in a table, for an export.

        The vectors include the prompts of clusters and of unknown users, unless there
        is a pooled prompt of the session.
        """
        codes = torch.arange(self.n_items + 1, device=self.item_table.device)
        if self._pooled:
            self.stored = self._item_vectors(codes)
        else:
            self.stored = self.vectors(codes, users=torch.zeros_like(codes))

    @property
    def _pooled(self):
        return self.prompt is not None and self.prompt.pooled

    @property
    def _stores_prompted(self):
        return self.stored is not None and not self._pooled

    def inputs(self, batch):
        """Return the arguments of the network's `encode`: vectors, and the batch."""
        of_sessions = {"users": batch.users, "sessions": batch.sessions}
        if not self.shares_prefixes:
            of_sessions["mask"] = batch.codes > 0
        x = self.vectors(batch.codes, batch.clusters, **of_sessions)
        if self.click_vectors is not None and batch.click_codes is not None:
            x = x + self.click_vectors(batch, self.network.merges_equal_items)

        def candidates(codes):  # without the columns of features in a "late" fusion
            return self.keys(codes - 1)[:, : self.item_table.shape[1]]

        return x, replace(batch, lookup=self.vectors, candidates=candidates)

    def _item_vectors(self, codes):
        """Return item vectors, joined with features if there are any; zeros for 0."""
        if self.stored is not None:
            return F.embedding(codes, self.stored)
        if self.fusion is None:
            return look_up(self.item_table, codes, self.sparse)
        if not self.training and not torch.is_grad_enabled():
            return look_up(self.fusion.cached(self.item_table), codes)
        e = look_up(self.item_table, codes, self.sparse)
        z = self.fusion(e, (codes - 1).clamp_min(0))
        return z.masked_fill((codes == 0)[..., None], 0.0)

    def states(self, batch):
        """Return the state of each prefix of a batch, as `scores` needs it.

        States are session vectors (n_queries, d). Without a dot product they are
        another tensor or a tuple of tensors (n_queries, ...).
        """
        network = self.network
        state = network.encode(*self.inputs(batch))
        if network.dot_product:
            state = network.query(state)
            expected = (batch.ends.shape[0], self.item_table.shape[1])
            self._check_shape(state, expected, "query(encode(x, batch))", "n_queries")
        state = network.normalize(state) if self.cosine else state
        if not self.late:
            return state
        u = self.fusion.session_text(batch, self.n_items)
        if network.dot_product:
            return self.weigh_late(state, u)
        return (*state, u) if isinstance(state, tuple) else (state, u)

    def weigh_late(self, learned, text):
        """Join both vectors, multiplied by the weights of their scores."""
        omega = self.fusion.omega
        return torch.cat([(1 - omega) * learned, omega * text], dim=1)

    def keys(self, items=None):
        """Return candidate vectors (n, d) of all items, or of some positions."""
        table = self.item_table
        if items is not None:
            table = F.embedding(items, table, sparse=self.sparse)
        if self.fusion is not None:
            if items is None and not self.training and not torch.is_grad_enabled():
                table = self.fusion.cached(table)
            else:
                table = self.fusion(table, slice(None) if items is None else items)
        if self.prompted_candidates:
            cells = self.item_cells
            if cells is not None:
                cells = cells[1:] if items is None else cells[items + 1]
            prompt = self.prompt.of_table if items is None else self.prompt
            table = prompt(table, cells)
        shape = table.shape
        table = self.network.keys(table)
        self._check_shape(table, shape, "keys(item_table)", "n_items")
        unit = self.cosine or self.network.normalize_items
        table = unit_rows(table) if unit else table
        if not self.late:
            return table
        text, _ = self.fusion.text(slice(None) if items is None else items)
        return torch.cat([table, text], dim=1)

    def scores(self, state, keys, out=None):
        """Return scores (n_queries, n_items), written to `out` if given."""
        if self.network.dot_product:
            scores = torch.mm(state * self.scale, keys.T, out=out)
        elif is_exporting():
            scores = self.score_chunk(state, keys)
        else:
            n = n_rows(state)
            scores = keys.new_empty(n, len(keys)) if out is None else out
            width, score = self.chunk_width(state), self.scorer(state)
            for begin in range(0, len(keys), width):
                part = slice(begin, begin + width)
                scores[:, part] = score(keys[part])
        return scores if self.bias is None else scores.add_(self.bias)

    def scorer(self, state, empty=None):
        """Return a function that scores candidates (n, d), without a dot product.

        Scores have no bias. The function may take memory for gradients from `empty`.
        """
        return self._scorer(state, lambda s: self.network.scorer(s, empty))

    def score_chunk(self, state, keys):
        """Score a few candidates, without the preparation of `scorer`."""
        network = self.network
        return self._scorer(state, lambda s: partial(network.score_chunk, s))(keys)

    def _scorer(self, state, of_network):
        n, u = n_rows(state), None
        if self.late:
            *state, u = state
            state = tuple(state) if len(state) > 1 else state[0]
        score = of_network(state)

        def scores_of(keys):
            if self.late:
                keys, text = keys.split(self.item_table.shape[1], dim=1)
            scores = score(keys)
            expected = (n, len(keys))
            self._check_shape(scores, expected, "score_chunk(state, keys)", "n_queries")
            if self.late:
                omega = self.fusion.omega
                scores = (1 - omega) * scores + omega * (u @ text.T)
            return scores if self.scale == 1 else scores * self.scale

        return scores_of

    def chunk_width(self, state):
        """Return the number of candidates that `scorer` should get at a time."""
        floats = n_rows(state) * max(1, self.network.floats_per_score(state))
        on_cpu = self.item_table.device.type == "cpu"
        most = _SCORER_FLOATS if on_cpu else _SCORER_FLOATS_OF_GPU
        return max(1, most // floats)

    def _check_shape(self, found, expected, what, first):
        if getattr(found, "shape", None) == expected:
            return
        shape = getattr(found, "shape", None)
        has = f"shape {tuple(shape)}" if shape is not None else f"{found!r:.40}"
        raise ValueError(
            f"{type(self.network).__name__}: {what} has {has}. Expected "
            f"{tuple(expected)}: ({first}, {'n_keys' if 'chunk' in what else 'd'})."
        )


def _build(spec, embedding_dim, n_items, max_length):
    network = spec.build(embedding_dim, n_items, max_length)
    if not isinstance(network, Backbone):
        raise TypeError(
            f"{type(spec).__name__}.build returned a {type(network).__name__}. It must "
            "return a network that derives from skclip.backbones.Backbone."
        )
    return network


def n_rows(state):
    """Return the number of queries of a state, a tensor or a tuple of tensors."""
    return state[0].shape[0] if isinstance(state, tuple) else state.shape[0]


def take_rows(state, rows):
    """Return the states of some queries."""
    if isinstance(state, tuple):
        return tuple(part[rows] for part in state)
    return state[rows]
