"""SessionModel: item table, prompt and backbone; codes in, scores out."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skclip._model._fusion import UNIT_FUSIONS, Fusion
from skclip._model._item_table import look_up, unit_rows
from skclip._model._prompts import Prompts, cluster_cells
from skclip.backbones import Backbone

_FIRST_LOG_SCALE = 2.659260  # -log 0.07


_SCORER_FLOATS = 2**20  # that a scorer which is no dot product may hold at a time


class SessionModel(nn.Module):
    """An item table, prompts and a backbone network.

    Every item look-up of the encoder goes through the prompts (docs/deviations);
    without any the backbone sees the bare table, on the same path.

    Parameters
    ----------
    spec : BackboneSpec
    item_clusters : ndarray of shape (n_items,) or (n_items, n_levels), default=None
        Cluster 1..K of each item, 0 = none, at one resolution or several, whose prompts
        are then mixed. None builds no cluster prompts.
    n_users, n_sessions : int, default=None
        Number of user and session prompts, "pooled" for a session prompt that is made
        of the session's own items. None builds none.
    n_items, embedding_dim, max_length : int
    normalization, gate, unknown_user : str
        See `Prompts`.
    candidates : {"raw", "prompted"}
        Whether the scores use the item table or the prompted one.
    similarity : {None, "dot", "cosine"}
        None is the backbone's own; "cosine" normalises session and item vectors.
    normalize_items : bool, default=None
        Whether item vectors have length 1 wherever they are read or scored, prompts
        and all; None is the backbone's own.
    temperature : float or "learned"
        Divides cosine scores that `similarity` asks for; "learned" begins at 0.07.
    fusion : dict, default=None
        ``kind``, ``n_features`` and ``cold_weight`` of a `Fusion` of the item table
        with features, which `fill_features` then takes in. "late" compares by cosine.
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
        normalize_items=None,
        fusion=None,
    ):
        super().__init__()
        self.n_items = n_items
        self.item_table = nn.Parameter(torch.zeros(n_items, embedding_dim))
        self.network = _build(spec, embedding_dim, n_items, max_length)
        self.network.init_table_(self.item_table.data, n_items)
        sizes = {"user": n_users, "session": n_sessions}
        self.clusters = None
        if item_clusters is not None:
            clusters = np.array(item_clusters, dtype=np.int64)
            n_clusters = int(np.max(clusters, initial=0))
            if clusters.ndim > 1:
                n_clusters, clusters = cluster_cells(clusters)
            sizes = {"cluster": n_clusters} | sizes
            clusters = torch.from_numpy(clusters)
            del self.clusters
            self.register_buffer("clusters", F.pad(clusters, (1, 0)))
        sizes = {kind: n for kind, n in sizes.items() if n is not None}
        self.prompt = None
        if sizes:
            self.prompt = Prompts(
                embedding_dim,
                sizes,
                normalization=normalization,
                gate=gate,
                unknown_user=unknown_user,
            )
            for kind in self.prompt.kinds.values():
                for table in kind.tables:
                    self.network.init_table_(table.data[1:], n_items)
        self.prompted_candidates = candidates == "prompted" and self.prompt is not None
        own = self.network.similarity
        self.late = fusion is not None and fusion["kind"] == "late"
        if self.late and own != "cosine":
            similarity = "cosine"
        self.cosine = (similarity or own) == "cosine"
        self._scale = self.network.scale if similarity in (None, own) else 1.0
        if normalize_items is None:
            normalize_items = self.network.normalize_items
        self.normalize_items = normalize_items
        self.register_parameter("log_scale", None)
        if similarity == "cosine" and temperature == "learned":
            self.log_scale = nn.Parameter(torch.tensor(_FIRST_LOG_SCALE))
        elif similarity == "cosine":
            self._scale = 1.0 / temperature
        if similarity == "cosine":  # their length sets how fast they turn, no more
            with torch.no_grad():
                tables = [self.item_table]
                if self.prompt is not None:
                    kinds = self.prompt.kinds.values()
                    tables += [table[1:] for kind in kinds for table in kind.tables]
                for table in tables:
                    table.div_(table.norm(dim=1).mean().clamp_min(1e-12))
        gated_units = self.prompt is not None and normalization == "unit"
        units = gated_units or normalize_items or similarity == "cosine"
        if units or (fusion is not None and fusion["kind"] in UNIT_FUSIONS):
            self.network.init_beside_unit_items_()
        if self.cosine:
            self.network.init_for_cosine_()
        self.fusion = None
        if fusion is not None:  # last, so that it draws after all others
            self.fusion = Fusion(n_items=n_items, dim=embedding_dim, **fusion)
            if fusion["kind"] in ("gate", "add"):
                with torch.no_grad():  # only directions count, as for the cosine
                    self.item_table /= self.item_table.norm(dim=1).mean()
        # Whether gradients of the item table hold touched rows only.
        self.sparse = False
        # Positions and rows of the item table that training leaves as they are.
        self.kept_rows = None
        self.constrain_()

    @property
    def bias(self):
        """Item bias of the backbone, (n_items,) or None."""
        bias = self.network.bias
        if self.training and self.fusion is not None:
            return self.fusion.training_bias(bias)
        return bias

    @property
    def scale(self):
        """What scores are multiplied by: a number, or a learned one."""
        return self._scale if self.log_scale is None else self.log_scale.exp()

    @torch.no_grad()
    def constrain_(self):
        """Bring the item table back to where the backbone wants it."""
        self.network.constrain_(self.item_table)
        if self.kept_rows is not None:
            at, rows = self.kept_rows
            self.item_table[at] = rows
        if self.fusion is not None:
            self.fusion.hold_(self.item_table)

    def fill_features(self, vectors, counts, is_new=None):
        """Hand features and training events of the items on; see `Fusion.fill_`."""
        self.fusion.fill_(vectors, counts, self.item_table.data, is_new)

    def train(self, mode=True):
        """As of `nn.Module`; what was made of the parameters is made again."""
        if self.fusion is not None:
            self.fusion.forget()
        return super().train(mode)

    def param_groups(self):
        """All parameters in groups for the optimiser; first the item table alone."""
        groups = [{"params": [self.item_table]}]
        if self.prompt is not None:
            groups.append({"params": list(self.prompt.parameters())})
        if self.log_scale is not None:
            groups.append({"params": [self.log_scale], "weight_decay": 0.0})
        if self.fusion is not None and any(True for _ in self.fusion.parameters()):
            groups.append({"params": list(self.fusion.parameters())})
        return groups + self.network.param_groups()

    @property
    def shares_prefixes(self):
        """Whether one pass over a session answers all its prefixes."""
        pooled = self.prompt is not None and self.prompt.pooled
        return self.network.shares_prefixes and not pooled

    def vectors(self, codes, clusters=None, **of_sessions):
        """What the encoder sees for item codes (...), 0 = padding: (..., d).

        Items above n_items, unseen in training, are the prompt of `clusters` alone, or
        zeros without `clusters`: codes as in ``self.clusters``, or of several levels
        the clusters themselves, (..., n_levels). `of_sessions` are the arguments of
        `Prompts` for the sessions that are read.
        """
        codes = codes.masked_fill(codes > self.n_items, 0)  # unseen in training
        x = self._item_vectors(codes)
        if self.prompt is not None:
            if clusters is None and self.clusters is not None:
                clusters = self.clusters[codes]
            x = self.prompt(x, clusters, **of_sessions)
        return F.normalize(x, dim=-1) if self.normalize_items else x

    def inputs(self, batch):
        """What the network is given for a batch: vectors, and the batch itself."""
        of_sessions = {"users": batch.users, "sessions": batch.sessions}
        if not self.shares_prefixes:
            of_sessions["mask"] = batch.codes > 0
        x = self.vectors(batch.codes, batch.clusters, **of_sessions)

        def candidates(codes):  # "late": without the features' score, not the network's
            return self.keys(codes - 1)[:, : self.item_table.shape[1]]

        return x, replace(batch, lookup=self.vectors, candidates=candidates)

    def _item_vectors(self, codes):
        """Learned vectors, or what they become with features; zeros for code 0."""
        if self.fusion is None:
            return look_up(self.item_table, codes, self.sparse)
        if not self.training and not torch.is_grad_enabled():
            return look_up(self.fusion.cached(self.item_table), codes)
        e = look_up(self.item_table, codes, self.sparse)
        z = self.fusion(e, (codes - 1).clamp_min(0))
        return z.masked_fill((codes == 0)[..., None], 0.0)

    def states(self, batch):
        """What is compared with the candidates for each prefix of a batch.

        Session vectors (n_queries, d), or for a scorer that is no dot product a tensor
        or a tuple of tensors of its own, (n_queries, ...).
        """
        network = self.network
        state = network.encode(*self.inputs(batch))
        if network.dot_product:
            state = network.query(state)
            expected = (len(batch.ends), self.item_table.shape[1])
            self._check_shape(state, expected, "query(encode(x, batch))", "n_queries")
        state = network.normalize(state) if self.cosine else state
        if not self.late:
            return state
        u = self.fusion.session_text(batch, self.n_items)
        if network.dot_product:
            omega = self.fusion.omega
            return torch.cat([(1 - omega) * state, omega * u], dim=1)
        return (*state, u) if isinstance(state, tuple) else (state, u)

    def keys(self, items=None):
        """Candidate vectors of all items, or of positions 0..n_items-1: (n, d)."""
        table = self.item_table
        if items is not None:
            table = F.embedding(items, table, sparse=self.sparse)
        if self.fusion is not None:
            if items is None and not self.training and not torch.is_grad_enabled():
                table = self.fusion.cached(table)
            else:
                table = self.fusion(table, slice(None) if items is None else items)
        if self.prompted_candidates:
            clusters = self.clusters
            if clusters is not None:
                clusters = clusters[1:] if items is None else clusters[items + 1]
            prompt = self.prompt.of_table if items is None else self.prompt
            table = prompt(table, clusters)
        shape = table.shape
        table = self.network.keys(table)
        self._check_shape(table, shape, "keys(item_table)", "n_items")
        unit = self.cosine or self.normalize_items
        table = unit_rows(table) if unit else table
        if not self.late:
            return table
        text, _ = self.fusion.text(slice(None) if items is None else items)
        return torch.cat([table, text], dim=1)

    def scores(self, state, keys, out=None):
        """Scores (n_queries, n_items), written to `out` if given."""
        if self.network.dot_product:
            scores = torch.mm(state * self.scale, keys.T, out=out)
        else:
            n = n_rows(state)
            scores = keys.new_empty(n, len(keys)) if out is None else out
            width = self.chunk_width(state)
            for begin in range(0, len(keys), width):
                part = slice(begin, begin + width)
                scores[:, part] = self.score_chunk(state, keys[part])
        return scores if self.bias is None else scores.add_(self.bias)

    def score_chunk(self, state, keys):
        """Scores of some candidates by a scorer that is no dot product; no bias."""
        text = None
        if self.late:
            *state, u = state
            state = tuple(state) if len(state) > 1 else state[0]
            keys, text = keys.split(self.item_table.shape[1], dim=1)
        scores = self.network.score_chunk(state, keys)
        expected = (n_rows(state), len(keys))
        self._check_shape(scores, expected, "score_chunk(state, keys)", "n_queries")
        if self.late:
            omega = self.fusion.omega
            scores = (1 - omega) * scores + omega * (u @ text.T)
        return scores * self.scale

    def chunk_width(self, state):
        """How many candidates such a scorer compares with the states at a time."""
        floats = n_rows(state) * max(1, self.network.floats_per_score(state))
        return max(1, _SCORER_FLOATS // floats)

    def _check_shape(self, found, expected, what, first):
        if getattr(found, "shape", None) == expected:
            return
        shape = getattr(found, "shape", None)
        has = f"shape {tuple(shape)}" if shape is not None else f"{found!r:.40}"
        raise ValueError(
            f"{type(self.network).__name__}: {what} has {has}, expected "
            f"{tuple(expected)}: ({first}, {'n_keys' if 'chunk' in what else 'd'})."
        )


def _build(spec, embedding_dim, n_items, max_length):
    network = spec.build(embedding_dim, n_items, max_length)
    if not isinstance(network, Backbone):
        raise TypeError(
            f"{type(spec).__name__}.build returned a {type(network).__name__}, not "
            "a network that derives from skclip.backbones.Backbone."
        )
    return network


def n_rows(state):
    """Number of queries that a state, a tensor or a tuple of tensors, stands for."""
    return len(state[0]) if isinstance(state, tuple) else len(state)


def take_rows(state, rows):
    """The states of some queries."""
    if isinstance(state, tuple):
        return tuple(part[rows] for part in state)
    return state[rows]
