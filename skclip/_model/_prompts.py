"""Prompts: learned vectors of clusters, users and sessions, gated into item vectors."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skclip._model._item_table import gate_rows, unit_rows
from skclip._sklearn import BaseEstimator, StrOptions
from skclip.backbones import is_exporting

Kind: TypeAlias = Literal["cluster", "user", "session"]
KINDS = get_args(Kind)


class Prompt(BaseEstimator):
    """Prompts: learned vectors of clusters, users or sessions, added to item vectors.

    Pass it as ``prompt`` of `CLIPSessionRecommender` to set more than the kind of
    prompt. Its parameters can be searched as ``prompt__gate`` and so on, even if
    ``prompt`` is a name.

    Parameters
    ----------
    kinds : {"cluster", "user", "session"} or tuple of them, default="cluster"
        Kinds of prompts (section 4.3 of [1]_): of the item's cluster, of the user or of
        the session. Several kinds are added. "user" needs sessions with users.
    gate : {"auto", "elementwise", "scalar", "add"}, default="auto"
        Combination of item vector and prompt. "elementwise" has a gate for each feature
        of both vectors, "scalar" has one weight, and "add" adds them without a gate.
        "auto" is "elementwise", unless a preset sets it.
    normalization : {"auto", "unit", "none"}, default="auto"
        Normalization of both vectors before the gate. "unit" scales them to length 1.
        "auto" is "unit".
    candidates : {"auto", "raw", "prompted"}, default="auto"
        Item vectors in the scores. "raw" uses the item table, "prompted" adds the
        prompt of each item's cluster. "auto" is "prompted", unless a preset sets it.
    session : {"table", "pooled"}, default="table"
        Kind of session prompt. "table" learns a vector for each training session and
        uses it for sessions with the same id only, as in a split within sessions.
        "pooled" computes the prompt from the mean of the observed items, also for new
        sessions. It takes longer, because each prefix is read on its own.
    unknown_user : {"zero", "mean"}, default="zero"
        Prompt of users who were not trained on. "zero" means none, "mean" is the mean
        of all user prompts.

    Notes
    -----
    Differences from the paper and its code:

    - **Normalization.** The paper balances item vector and prompt, and five of eight
      published models normalize over the positions of the padded sequence. skclip
      scales each vector to length 1 over its own features, because otherwise a vector
      depends on the padding; ``normalization="none"`` leaves the vectors as they are.
    - **Gate.** The text of the paper has one scalar gate, and its code has two
      independent gates per feature. skclip follows the code; ``gate="scalar"`` is our
      reading of the text, and ``gate="add"`` has no gate.
    - **Candidate vectors.** The paper scores "updated item embeddings", and its code
      scores the raw item table. skclip adds prompts to the candidates too, because
      prompts did not improve results with raw ones; ``candidates="raw"`` or
      ``preset="paper"`` uses the raw table.
    - **Place of the prompt.** The paper adds prompts before the model, but its code
      differs by model. CLIP-SR-GNN and CLIP-GC-SAN add the prompt of the k-th click to
      the k-th item by id. CLIP-TAGNN adds prompts behind its graph network,
      CLIP-GCE-GNN in the session's graph only. skclip adds them wherever a backbone
      looks up an item, which is one rule for all backbones.
    - **Input of the gates.** In the paper gates read the vectors that they multiply;
      CLIP-GCE-GNN and CLIP-LESSR compute them from vectors before normalization, and
      CLIP-GC-SAN from another tensor. skclip follows the paper in all backbones and
      uses normalized vectors.
    - **First values.** The paper does not say how prompts and gates begin, and its code
      leaves that to the backbone. skclip draws prompts like the item table; gates begin
      with Xavier uniform weights and biases of 0, so that they start near one half.
    - **User and session prompts.** The paper names them in an ablation without a
      formula, and no code is public. In skclip the gated prompts of all kinds add up,
      and all items of a session get the same user and session prompt:
      ``prompt=("cluster", "user")``.
    - **Scalar gate with several prompts.** The paper and its code have no such form. In
      skclip the item has the weight g and the sum of the prompts has 1 - g, which is
      our reading.
    - **Unknown users and sessions.** The paper does not mention them. In skclip only
      users and sessions that were trained on have a prompt, and others have a zero
      vector; ``unknown_user="mean"`` uses the mean of all user prompts instead.
    - **New sessions.** The published code looks up session prompts by id, which its
      split within sessions makes possible. A table has nothing for new sessions, which
      all are in deployment; ``session="pooled"`` computes the prompt from the observed
      items instead.
    - **Items outside the session.** The paper does not mention prompts of users and
      sessions there, and no code is public. In skclip, candidates and the neighbors in
      the global graph of GCE-GNN get their cluster's prompt only, because they do not
      belong to the session.

    References
    ----------
    .. [1] W. Yang, C. Wang, Z. Song, W. Zhang, P. S. Yu, "Item Cluster-aware Prompt
           Learning for Session-based Recommendation", arXiv:2410.04756.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender, Prompt
    >>> rec = CLIPSessionRecommender(prompt=Prompt(("cluster", "user"), gate="scalar"))
    >>> rec.set_params(prompt__gate="add").prompt
    Prompt(gate='add', kinds=('cluster', 'user'))
    """

    _parameter_constraints: dict = {
        "kinds": [StrOptions(set(KINDS)), tuple, list],
        "gate": [StrOptions({"auto", "elementwise", "scalar", "add"})],
        "normalization": [StrOptions({"auto", "unit", "none"})],
        "candidates": [StrOptions({"auto", "raw", "prompted"})],
        "session": [StrOptions({"table", "pooled"})],
        "unknown_user": [StrOptions({"zero", "mean"})],
    }

    def __init__(
        self,
        kinds: Kind | tuple[Kind, ...] = "cluster",
        *,
        gate: Literal["auto", "elementwise", "scalar", "add"] = "auto",
        normalization: Literal["auto", "unit", "none"] = "auto",
        candidates: Literal["auto", "raw", "prompted"] = "auto",
        session: Literal["table", "pooled"] = "table",
        unknown_user: Literal["zero", "mean"] = "zero",
    ) -> None:
        self.kinds = kinds
        self.gate = gate
        self.normalization = normalization
        self.candidates = candidates
        self.session = session
        self.unknown_user = unknown_user


def kinds_of(prompt):
    """Return the kinds of a `Prompt` or None as a tuple, after checks."""
    given = () if prompt is None else prompt.kinds
    kinds = (given,) if isinstance(given, str) else tuple(given)
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(
                f"prompt={given!r} has the unknown kind {kind!r}. Pass one of {KINDS}, "
                "a tuple of them, or None."
            )
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"prompt={given!r} has a kind twice. Pass each kind once.")
    return kinds


def as_prompt(prompt):
    """Return the `Prompt` for a value of ``prompt=``. None stays None.

    An empty tuple means no prompt.
    """
    if prompt is None or isinstance(prompt, Prompt):
        return prompt
    return Prompt(prompt) if prompt else None


class Prompts(nn.Module):
    r"""Gate item vectors with prompts, section 3.3 of CLIP-SBR and its ablation.

    :math:`\hat{v}` is :math:`v / \max(\lVert v \rVert, 10^{-12})` with
    ``normalization="unit"``, and :math:`v` with ``"none"``. Sums run over the kinds k
    of prompts:

    .. math::
        \mathrm{elementwise:}\quad & \sigma(W_x \hat{x} + b_x) \odot \hat{x}
            + \sum_k \sigma(W_k \hat{p}_k + b_k) \odot \hat{p}_k \\
        \mathrm{scalar:}\quad & g \hat{x} + (1 - g) \sum_k \hat{p}_k, \quad
            g = \sigma\Big(w_x^\top \hat{x} + \sum_k w_k^\top \hat{p}_k + b\Big) \\
        \mathrm{add:}\quad & \hat{x} + \sum_k \hat{p}_k

    Parameters
    ----------
    dim : int
        Width of the vectors.
    sizes : dict
        Number of prompts of each kind. For sessions it may be "pooled": the prompt is
        then :math:`W_s` times the mean of the session's :math:`\hat{x}`. For clusters
        it is an array of cells (see `cluster_cells`), and :math:`p` is the mean of the
        prompts of all clusters of a cell.
    normalization : {"unit", "none"}, default="unit"
        Normalization of item vectors and prompts.
    gate : {"elementwise", "scalar", "add"}, default="elementwise"
        Gate, as in the equations.
    unknown_user : {"zero", "mean"}, default="zero"
        Prompt of a user without one: zero, or the mean of all prompts.
    """

    def __init__(
        self,
        dim,
        sizes,
        *,
        normalization="unit",
        gate="elementwise",
        unknown_user="zero",
    ):
        super().__init__()
        self.normalization = normalization
        self.gate = gate
        self.unknown_user = unknown_user
        self.gate_item = _gate(gate, dim, bias=True)
        self.kinds = nn.ModuleDict(
            {kind: _learned(n, dim, gate) for kind, n in sizes.items()}
        )

    def forward(self, x, cells=None, **given):
        """Add prompts to item vectors `x` (..., dim).

        Kinds of prompts without codes are left out.

        Parameters
        ----------
        cells : LongTensor of shape (...), default=None
            Cell of each item, 0 for none.
        clusters : LongTensor of shape (..., n_levels), default=None
            Clusters of each item, used instead of its cell, 0 for none.
        users, sessions : LongTensor of shape (n_sessions,), default=None
            Codes along the first axis of `x`, 0 if unknown.
        mask : BoolTensor of shape (n_sessions, length), default=None
            Events to pool over.
        """
        items, prompts = self.parts(x, cells, **given)
        return items + prompts

    def parts(
        self, x, cells=None, *, clusters=None, users=None, sessions=None, mask=None
    ):
        """Return the two terms of the sum: that of the items and that of the prompts.

        Parameters are those of `forward`. The second term may need broadcasting.
        """
        if self.normalization == "unit":
            x = F.normalize(x, dim=-1)
        terms = []  # for each kind: its term in the sum, and its logit in a scalar gate
        if "cluster" in self.kinds and clusters is not None:
            kind = self.kinds["cluster"]
            terms.append(self._gated(kind, kind.mixed(clusters)))
        elif "cluster" in self.kinds and cells is not None:
            terms.append(self._looked_up("cluster", cells))
        if "user" in self.kinds and users is not None:
            terms.append(self._looked_up("user", users, self.unknown_user == "mean"))
        if "session" in self.kinds and self.pooled and mask is not None:
            mean = (x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            pooled = self.kinds["session"]
            terms.append(self._gated(pooled, pooled.W_s(mean)))
        elif "session" in self.kinds and not self.pooled and sessions is not None:
            terms.append(self._looked_up("session", sessions))

        def along(term):  # (n_sessions, ...) beside (n_sessions, length, ...)
            return term.unsqueeze(1) if term.dim() < x.dim() else term

        prompt = sum(along(term) for term, _ in terms)
        if self.gate == "elementwise":
            return torch.sigmoid(self.gate_item(x)) * x, prompt
        if self.gate == "scalar":
            g = self.gate_item(x) + sum(along(logit) for _, logit in terms)
            g = torch.sigmoid(g)
            return g * x, (1 - g) * prompt
        return x, prompt

    @property
    def pooled(self):
        """Whether the prompt of a session is computed from its items."""
        return "session" in self.kinds and isinstance(self.kinds["session"], _Pooled)

    def _looked_up(self, kind, codes, mean_of_unknown=False):
        """Return gated prompts of codes (...), and logits of a scalar gate."""
        kind = self.kinds[kind]
        few = is_exporting() or codes.numel() < len(kind)
        if few and not mean_of_unknown:
            return self._gated(kind, kind.rows(codes))
        table = kind.table
        if mean_of_unknown:  # row 0 is then a prompt like the others
            table = torch.cat([table[1:].mean(dim=0, keepdim=True), table[1:]])

        def rows(table):
            padding = None if mean_of_unknown else 0
            return F.embedding(codes, table, padding_idx=padding)

        if few:
            return self._gated(kind, rows(table))
        p, logit = self._gated(kind, table)  # gate each prompt once
        return rows(p), None if logit is None else rows(logit)

    def _gated(self, kind, p):
        """Return the term of prompts `p` (..., dim), and the logit of a scalar gate."""
        if self.normalization == "unit":
            p = F.normalize(p, dim=-1)
        if self.gate == "elementwise":
            return torch.sigmoid(kind.gate(p)) * p, None
        return p, kind.gate(p) if self.gate == "scalar" else None

    def of_table(self, table, cells=None):
        """Add prompts to a whole item table (n_items, dim), given the items' cells."""
        if self.gate != "elementwise" or cells is None:
            return self(table, cells)
        x = unit_rows(table) if self.normalization == "unit" else table
        cluster, item = self.kinds["cluster"], self.gate_item
        p, _ = self._gated(cluster, cluster.table)
        return gate_rows(x, p, cells, item.weight, item.bias)


def cluster_cells(levels):
    """Give a code to each combination of clusters that an item has.

    `levels` (n_items, n_levels) are clusters 1..K, or 0 for none. Returns the clusters
    of the codes, (n_cells + 1, n_levels), and the code of each item. Code 0 has no
    clusters.
    """
    sizes = levels.max(axis=0, initial=0).astype(np.int64) + 1
    if np.prod(sizes, dtype=float) < 2**62:  # ten times as fast to sort
        joined = np.ravel_multi_index(tuple(levels.T), sizes)
        found, inverse = np.unique(joined, return_inverse=True)
        found = np.column_stack(np.unravel_index(found, sizes))
    else:
        found, inverse = np.unique(levels, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    if len(found) and not found[0].any():  # sorted: items without a cluster come first
        return found.astype(np.int64), inverse
    none = np.zeros((1, levels.shape[1]), dtype=np.int64)
    return np.concatenate([none, found]), inverse + 1


def _learned(n, dim, gate):
    """Build the module of a kind of prompt: `n` is a number, cells, or "pooled"."""
    if isinstance(n, str):
        return _Pooled(dim, gate)
    return _Table(n, dim, gate) if np.ndim(n) == 0 else _Clusters(n, dim, gate)


class _Table(nn.Module):
    """A learned vector for each code 1..n, zeros for code 0, and the gate."""

    def __init__(self, n, dim, gate):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(n + 1, dim))
        self.gate = _gate(gate, dim, bias=gate == "elementwise")

    def __len__(self):
        return len(self.table)

    def rows(self, codes):
        """Return the prompts (..., dim) of codes (...)."""
        return F.embedding(codes, self.table, padding_idx=0)

    @property
    def tables(self):
        """Learned tables, each with a row 0 that stays zero."""
        return [self.table]


class _Clusters(nn.Module):
    """A learned vector for each cluster at each level, averaged by cell."""

    def __init__(self, cells, dim, gate):
        super().__init__()
        self.levels = nn.ParameterList(
            torch.zeros(int(n) + 1, dim) for n in cells.max(axis=0)
        )
        cells = torch.from_numpy(cells.astype(np.int64))
        self.register_buffer("cells", cells, persistent=False)
        self.gate = _gate(gate, dim, bias=gate == "elementwise")

    def __len__(self):
        return len(self.cells)

    @property
    def table(self):
        """The prompts of all cells."""
        return self.rows(slice(None))

    def rows(self, codes):
        """Return the mean prompt (..., dim) of the clusters of cells (...)."""
        return self.mixed(self.cells[codes])

    def mixed(self, clusters):
        """Return the mean prompt (..., dim) of clusters (..., n_levels)."""
        if len(self.levels) == 1:
            return F.embedding(clusters[..., 0], self.levels[0], padding_idx=0)
        parts = (
            F.embedding(clusters[..., i], level, padding_idx=0)
            for i, level in enumerate(self.levels)
        )
        return sum(parts) / (clusters > 0).sum(dim=-1, keepdim=True).clamp_min(1)

    @property
    def tables(self):
        """Learned tables, each with a row 0 that stays zero."""
        return list(self.levels)


class _Pooled(nn.Module):
    """A linear map of the mean of a session's items, and the gate."""

    def __init__(self, dim, gate):
        super().__init__()
        self.W_s = nn.Linear(dim, dim, bias=False)
        nn.init.xavier_uniform_(self.W_s.weight)
        self.gate = _gate(gate, dim, bias=gate == "elementwise")

    @property
    def tables(self):
        """No tables."""
        return []


def _gate(gate, dim, *, bias):
    """Build the linear map of a gate: one output per feature, or one, or no map."""
    if gate == "add":
        return None
    linear = nn.Linear(dim, dim if gate == "elementwise" else 1, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
