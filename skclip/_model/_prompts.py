"""Prompts: gate an item's vector with those of its cluster, its user, its session."""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn
from torch.nn import functional as F

from skclip._model._item_table import gate_rows, unit_rows
from skclip._sklearn import StrOptions
from skclip.backbones import is_exporting

KINDS = ("cluster", "user", "session")


class Prompt(BaseEstimator):
    """Learned vectors of clusters, users or sessions that join the item vectors.

    What ``prompt=`` of `CLIPSessionRecommender` takes, where a name does not say
    enough. Its parameters can be searched as ``prompt__gate`` and so on, also when
    ``prompt`` is a name.

    Parameters
    ----------
    kinds : {"cluster", "user", "session"} or tuple of them, default="cluster"
        What has a learned vector (section 4.3 of [1]_): the item's cluster, the user,
        the session. Several kinds add up. "user" needs sessions with users.
    gate : {"auto", "elementwise", "scalar", "add"}, default="auto"
        How item vector and prompt are joined. "auto" is "elementwise", unless a preset
        says otherwise.
    normalization : {"auto", "unit", "none"}, default="auto"
        Whether both are scaled to length 1 before the gate. "auto" is "unit".
    candidates : {"auto", "raw", "prompted"}, default="auto"
        Item vectors that sessions are compared with: the raw ones, or those with the
        prompt of their cluster. "auto" is "prompted", unless a preset says otherwise.
    session : {"table", "pooled"}, default="table"
        Kind of session prompt. "table" learns a vector for each training session,
        which is used again only for sessions of the same id, as in the within-session
        protocol; others have none. "pooled" is a map of the mean of the observed
        items, defined for new sessions; each prefix is then read on its own.
    unknown_user : {"zero", "mean"}, default="zero"
        Prompt of a user who was not trained on: none, or the mean of all user prompts.

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
      the k-th item by id, CLIP-TAGNN adds prompts behind its graph network, and
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
    - **Items outside the session.** The paper and its code do not apply user and
      session prompts to other items. In skclip, candidates and the neighbors in the
      global graph of GCE-GNN get their cluster's prompt only, because they do not
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
        kinds="cluster",
        *,
        gate="auto",
        normalization="auto",
        candidates="auto",
        session="table",
        unknown_user="zero",
    ):
        self.kinds = kinds
        self.gate = gate
        self.normalization = normalization
        self.candidates = candidates
        self.session = session
        self.unknown_user = unknown_user


def kinds_of(prompt):
    """The kinds of a `Prompt` or None as a tuple; refuses unknown and repeated ones."""
    given = () if prompt is None else prompt.kinds
    kinds = (given,) if isinstance(given, str) else tuple(given)
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(
                f"prompt={given!r} has the kind {kind!r}. Pass one of {KINDS}, a tuple "
                "of them, or None."
            )
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"prompt={given!r} names a kind twice. Name each once.")
    return kinds


def as_prompt(prompt):
    """The `Prompt` that a value of ``prompt=`` stands for; None stays None.

    An empty tuple is no prompt.
    """
    if prompt is None or isinstance(prompt, Prompt):
        return prompt
    return Prompt(prompt) if prompt else None


class Prompts(nn.Module):
    r"""Gate item vectors with prompts, section 3.3 of CLIP-SBR and its ablation.

    With :math:`\hat{v} = v / \max(\lVert v \rVert, 10^{-12})` for
    ``normalization="unit"`` and :math:`\hat{v} = v` for ``"none"``, and a sum over the
    kinds k of prompts:

    .. math::
        \mathrm{elementwise:}\quad & \sigma(W_x \hat{x} + b_x) \odot \hat{x}
            + \sum_k \sigma(W_k \hat{p}_k + b_k) \odot \hat{p}_k \\
        \mathrm{scalar:}\quad & g \hat{x} + (1 - g) \sum_k \hat{p}_k, \quad
            g = \sigma\Big(w_x^\top \hat{x} + \sum_k w_k^\top \hat{p}_k + b\Big) \\
        \mathrm{add:}\quad & \hat{x} + \sum_k \hat{p}_k

    Parameters
    ----------
    dim : int
    sizes : dict
        Kind -> number of prompts. The session's may be "pooled": its prompt is then
        :math:`W_s` times the mean of the session's :math:`\hat{x}`. The clusters' are
        cells (see `cluster_cells`): :math:`p` is the mean of the prompts of all
        clusters of a cell.
    normalization : {"unit", "none"}, default="unit"
    gate : {"elementwise", "scalar", "add"}, default="elementwise"
    unknown_user : {"zero", "mean"}, default="zero"
        What stands for a user without a prompt: nothing, or the mean of all prompts.
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
        """Prompt item vectors `x` (..., dim).

        Parameters
        ----------
        cells : LongTensor of shape (...), default=None
            Cell of each item, 0 = none.
        clusters : LongTensor of shape (..., n_levels), default=None
            Clusters of each item, instead of its cell, 0 = none.
        users, sessions : LongTensor of shape (n_sessions,), default=None
            Of the first axis of `x`, 0 = unknown.
        mask : BoolTensor of shape (n_sessions, length), default=None
            Events to pool over.

        A kind of prompt whose codes are not given does not take part.
        """
        items, prompts = self.parts(x, cells, **given)
        return items + prompts

    def parts(
        self, x, cells=None, *, clusters=None, users=None, sessions=None, mask=None
    ):
        """The two terms of the sum: what the items bring, and what the prompts bring.

        Parameters are those of `forward`; the prompts' term may be broadcast.
        """
        if self.normalization == "unit":
            x = F.normalize(x, dim=-1)
        terms = []  # of each kind: its part, and its part in a scalar gate
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
        """Whether a session's prompt is made of its own items."""
        return "session" in self.kinds and isinstance(self.kinds["session"], _Pooled)

    def _looked_up(self, kind, codes, mean_of_unknown=False):
        """Gated prompts of codes (...), and logits of a scalar gate."""
        kind = self.kinds[kind]
        few = is_exporting() or codes.numel() < len(kind)
        if few and not mean_of_unknown:
            return self._gated(kind, kind.rows(codes))
        table = kind.table
        if mean_of_unknown:  # row 0 is then a prompt like others
            table = torch.cat([table[1:].mean(dim=0, keepdim=True), table[1:]])

        def rows(table):
            padding = None if mean_of_unknown else 0
            return F.embedding(codes, table, padding_idx=padding)

        if few:
            return self._gated(kind, rows(table))
        p, logit = self._gated(kind, table)  # each prompt once
        return rows(p), None if logit is None else rows(logit)

    def _gated(self, kind, p):
        """Part of prompts `p` (..., dim) in the sum, and in a scalar gate."""
        if self.normalization == "unit":
            p = F.normalize(p, dim=-1)
        if self.gate == "elementwise":
            return torch.sigmoid(kind.gate(p)) * p, None
        return p, kind.gate(p) if self.gate == "scalar" else None

    def of_table(self, table, cells=None):
        """Prompt a whole item table (n_items, dim) with the items' cells."""
        if self.gate != "elementwise" or cells is None:
            return self(table, cells)
        x = unit_rows(table) if self.normalization == "unit" else table
        cluster, item = self.kinds["cluster"], self.gate_item
        p, _ = self._gated(cluster, cluster.table)
        return gate_rows(x, p, cells, item.weight, item.bias)


def cluster_cells(levels):
    """Name each combination of clusters in which an item stands by one code.

    Of `levels` (n_items, n_levels), 1..K and 0 = none. Returns the clusters of the
    codes, (n_cells + 1, n_levels), where code 0 has none, and the code of each item.
    """
    sizes = levels.max(axis=0, initial=0).astype(np.int64) + 1
    if np.prod(sizes, dtype=float) < 2**62:  # one number each sorts ten times as fast
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
    """What learns the prompts of a kind: a number of them, cells, or "pooled"."""
    if isinstance(n, str):
        return _Pooled(dim, gate)
    return _Table(n, dim, gate) if np.ndim(n) == 0 else _Clusters(n, dim, gate)


class _Table(nn.Module):
    """A learned vector for each code 1..n, zeros for 0, and their gate."""

    def __init__(self, n, dim, gate):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(n + 1, dim))
        self.gate = _gate(gate, dim, bias=gate == "elementwise")

    def __len__(self):
        return len(self.table)

    def rows(self, codes):
        """Prompts of codes (...): (..., dim)."""
        return F.embedding(codes, self.table, padding_idx=0)

    @property
    def tables(self):
        """What is learned, each with a row 0 that stays zero."""
        return [self.table]


class _Clusters(nn.Module):
    """A learned vector for each cluster at each level, mixed by cells."""

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
        """Prompts of all cells."""
        return self.rows(slice(None))

    def rows(self, codes):
        """Mean of the prompts of a cell's clusters, for codes (...): (..., dim)."""
        return self.mixed(self.cells[codes])

    def mixed(self, clusters):
        """Mean of the prompts of clusters (..., n_levels): (..., dim)."""
        if len(self.levels) == 1:
            return F.embedding(clusters[..., 0], self.levels[0], padding_idx=0)
        parts = (
            F.embedding(clusters[..., i], level, padding_idx=0)
            for i, level in enumerate(self.levels)
        )
        return sum(parts) / (clusters > 0).sum(dim=-1, keepdim=True).clamp_min(1)

    @property
    def tables(self):
        """What is learned, each with a row 0 that stays zero."""
        return list(self.levels)


class _Pooled(nn.Module):
    """A map of the mean of a session's items, and its gate."""

    def __init__(self, dim, gate):
        super().__init__()
        self.W_s = nn.Linear(dim, dim, bias=False)
        nn.init.xavier_uniform_(self.W_s.weight)
        self.gate = _gate(gate, dim, bias=gate == "elementwise")

    @property
    def tables(self):
        """None: nothing is looked up."""
        return []


def _gate(gate, dim, *, bias):
    """The map inside a gate: one number per feature, or one for all, or none."""
    if gate == "add":
        return None
    linear = nn.Linear(dim, dim if gate == "elementwise" else 1, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
