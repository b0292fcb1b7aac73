"""Fusion: join the features of items with their learned vectors, section 4 of SemSR."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

FUSIONS = ("gate", "add", "concat", "late", "nullspace", "init", "init_frozen", "none")


UNIT_FUSIONS = ("gate", "add", "nullspace")  # their vectors begin with length about 1


_NO_CANDIDATE = -1e30  # added to a score whose exponential shall be 0


class Fusion(nn.Module):
    r"""Item vectors :math:`z_i` of learned ones and features.

    With features :math:`t_i` (m numbers), the learned vector :math:`e_i` (d numbers), a
    learned map :math:`\varphi(t) = W t + b` (no b if m = d), N the scaling to length 1,
    :math:`n_i` the number of training events of an item:

    .. math::
        \mathrm{init}:\quad & z_i = e_i, \quad e_i(0) = \kappa\,\mathrm{PCA}_d(t_i) \\
        \mathrm{add}:\quad & z_i = N(e_i) + \gamma N(\varphi(t_i)) \\
        \mathrm{concat}:\quad & z_i = W_c\,[e_i ; \varphi(t_i)] \\
        \mathrm{gate}:\quad & z_i = g_i N(e_i) + (1 - g_i) N(\varphi(t_i)), \quad
            g_i = \sigma(w_e^\top N(e_i) + w_t^\top N(\varphi(t_i))
            + c \log(1 + n_i) + b) \\
        \mathrm{nullspace}:\quad & z_i = [N(\mathrm{PCA}_r(t_i)\ \mathrm{whitened}) ;
            e_i\ \mathrm{from\ column}\ r] \\
        \mathrm{late}:\quad & z_i = e_i, \quad \mathrm{score}_i = \mathrm{scale}\,
            \big((1 - \omega) N(s)^\top N(z_i)
            + \omega\, u^\top N(\varphi(t_i))\big), \quad
            u = N\Big(\sum_t \beta_t N(\varphi(t_{v_t}))\Big), \\
            & \beta = \mathrm{softmax}_t(w_a^\top N(\varphi(t_{v_t})) - a\,
            \mathrm{(events\ behind\ } t))

    An item without features has :math:`N(\varphi(t_i)) = 0` and :math:`g_i = 1`. One
    without training events has :math:`g_i = 0` and :math:`e_i = 0` ("init": its start).

    Parameters
    ----------
    kind : str
        One of `FUSIONS` but "none".
    n_items, n_features, dim : int
    cold_weight : float
        Of never clicked items as negatives in the loss, from 0 (not there) to 1 (as
        all others).
    """

    def __init__(self, kind, n_items, n_features, dim, cold_weight=0.1):
        super().__init__()
        self.cold_weight = cold_weight
        self.kind, self.dim = kind, dim
        self.rank = max(1, min(dim // 2, n_features)) if kind == "nullspace" else None
        width = {"nullspace": self.rank, "init": 0, "init_frozen": 0}.get(
            kind, n_features
        )
        self.register_buffer("table", torch.zeros(n_items, width))
        self.register_buffer("counts", torch.zeros(n_items))
        if kind in ("init", "init_frozen", "nullspace"):
            r = self.rank or min(dim, n_features)
            self.register_buffer("mean", torch.zeros(n_features))
            self.register_buffer("basis", torch.zeros(n_features, r))
        else:
            self.phi = nn.Linear(n_features, dim, bias=n_features != dim)
            nn.init.xavier_uniform_(self.phi.weight)
            if self.phi.bias is not None:
                nn.init.zeros_(self.phi.bias)
        if kind == "add":
            self.gamma = nn.Parameter(torch.ones(()))
        elif kind == "concat":
            self.W_c = nn.Linear(2 * dim, dim, bias=False)
            nn.init.xavier_uniform_(self.W_c.weight)
        elif kind == "gate":
            self.w_e = nn.Parameter(torch.zeros(dim))
            self.w_t = nn.Parameter(torch.zeros(dim))
            self.c = nn.Parameter(torch.tensor(0.5))
            self.b = nn.Parameter(torch.zeros(()))
        elif kind == "late":
            self.omega_logit = nn.Parameter(torch.tensor(0.3).logit())
            self.w_a = nn.Parameter(torch.zeros(dim))
            self.a = nn.Parameter(torch.ones(()))
        for name in ("cold_bias", "held_at", "held_rows"):  # of a training alone
            self.register_buffer(name, None, persistent=False)
        self._cached = None

    # -- data ------------------------------------------------------------------

    @torch.no_grad()
    def fill_(self, vectors, counts, item_table, is_new=None):
        """Take features and counts in; start the vectors of items where asked.

        Parameters
        ----------
        vectors : ndarray of shape (n_items, n_features)
        counts : ndarray of shape (n_items,)
            Training events of each item.
        item_table : Tensor of shape (n_items, dim)
            Changed in place by the "init" kinds.
        is_new : ndarray of shape (n_items,), bool, default=None
            Items whose vectors start; the directions that are there are kept. None
            finds directions, and starts all.
        """
        device = item_table.device
        vectors = torch.from_numpy(np.array(vectors, dtype=np.float32)).to(device)
        self.counts.copy_(torch.from_numpy(np.array(counts, dtype=np.float32)))
        known = vectors.any(dim=1)
        projected = None
        if hasattr(self, "basis"):
            if is_new is None:
                self._find_basis(vectors[known], item_table.norm(dim=1).mean())
            projected = (vectors - self.mean) @ self.basis
            projected = F.pad(projected, (0, self._columns - projected.shape[1]))
            projected.masked_fill_(~known[:, None], 0.0)
        if self.kind == "nullspace":
            self.table.copy_(F.normalize(projected, dim=1))
        elif projected is None:
            self.table.copy_(vectors)
        else:
            start = known if self.kind == "init" else torch.ones_like(known)
            if is_new is not None:
                start = start & torch.from_numpy(np.asarray(is_new)).to(device)
            item_table[start] = projected[start]
            hold = self.kind == "init_frozen"
            at = torch.nonzero((self.counts == 0) & known | hold).squeeze(1)
            self.held_at, self.held_rows = at, item_table[at].clone()
        self.forget()
        cold = self.counts == 0
        log_weight = _NO_CANDIDATE
        if self.cold_weight > 0:
            log_weight = float(np.log(self.cold_weight))
        self.cold_bias = cold * log_weight if log_weight and cold.any() else None

    @property
    def _columns(self):
        return self.rank or self.dim

    def _find_basis(self, known, length):
        """Centre and directions; scaled so that rows have this length on average."""
        self.mean.copy_(known.mean(dim=0))
        centred = (known - self.mean).double()
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(known))
        r = self.basis.shape[1]
        values, basis = values.flip(0)[:r], vectors.flip(1)[:, :r]
        basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
        if self.kind == "nullspace":
            floor = 1e-6 * values[0].clamp_min(1e-12)
            basis = basis / (values.clamp_min(0) + floor).sqrt()
        else:
            mean_length = (centred @ basis).norm(dim=1).mean().clamp_min(1e-12)
            basis = basis * (length / mean_length)  # kappa
        self.basis.copy_(basis)

    def hold_(self, item_table):
        """Put vectors back that training shall leave as they are."""
        if self.held_at is not None:
            item_table[self.held_at] = self.held_rows

    def release(self):
        """Let go of what only training needs."""
        self.cold_bias = self.held_at = self.held_rows = None

    def training_bias(self, bias):
        """Item bias (n_items,) or None that weighs never clicked items in a loss.

        As negatives of every session they teach the map of the features to put down
        what looks new; left out, nothing holds their scores down.
        """
        if self.cold_bias is None:
            return bias
        return self.cold_bias if bias is None else bias + self.cold_bias

    def take_cold_weights(self):
        """Weight (n_items,) of each item as a negative, or None; out of the bias then.

        For losses in which a bias is no weight.
        """
        bias, self.cold_bias = self.cold_bias, None
        return None if bias is None else bias.exp()

    # -- vectors ---------------------------------------------------------------

    def forward(self, e, at=slice(None)):
        """Item vectors z (..., d) of learned ones e (..., d) at positions (...)."""
        if self.kind in ("init", "init_frozen"):
            return e
        clicked = (self.counts[at] > 0)[..., None]
        if self.kind == "late":
            return e.masked_fill(~clicked, 0.0)
        if self.kind == "nullspace":
            own = e[..., self.rank :].masked_fill(~clicked, 0.0)
            return torch.cat([self.table[at], own], dim=-1)
        if self.kind == "concat":
            phi, known = self._phi(at)
            phi = phi.masked_fill(~known, 0.0)
            return self.W_c(torch.cat([e.masked_fill(~clicked, 0.0), phi], dim=-1))
        e = F.normalize(e, dim=-1)
        text, known = self.text(at)
        if self.kind == "add":
            return e.masked_fill(~clicked, 0.0) + self.gamma * text
        g = self._gate(e, text, known, clicked, self.counts[at])
        return g * e + (1 - g) * text

    def _gate(self, e, text, known, clicked, counts):
        logit = (e @ self.w_e + text @ self.w_t + self.b)[..., None]
        g = torch.sigmoid(logit + self.c * torch.log1p(counts)[..., None])
        return g.masked_fill(~known, 1.0).masked_fill(~clicked, 0.0)

    def _phi(self, at):
        rows = self.table[at]
        return self.phi(rows), rows.any(dim=-1, keepdim=True)

    def text(self, at=slice(None)):
        """N(phi(t)) at positions, zeros without features; and which have some."""
        phi, known = self._phi(at)
        return F.normalize(phi, dim=-1).masked_fill(~known, 0.0), known

    def cached(self, e):
        """`forward` of a whole table, made once until `forget`."""
        if self._cached is None:
            self._cached = self(e).detach()  # a parameter would be registered
        return self._cached

    def forget(self):
        """Parameters have changed, or will."""
        self._cached = None

    # -- "late": a second score ------------------------------------------------

    @property
    def omega(self):
        return torch.sigmoid(self.omega_logit)

    def session_text(self, batch, n_items):
        """Unit vectors u (n_queries, d) of what the sessions' features say."""
        codes = batch.codes.masked_fill(batch.codes > n_items, 0)
        text, known = self.text((codes - 1).clamp_min(0))
        text = text.masked_fill((codes == 0)[..., None], 0.0)
        known = known.squeeze(-1) & (codes > 0)  # (n_sessions, length)
        positions = torch.arange(codes.shape[1], device=codes.device)
        logits = batch.of_rows(text @ self.w_a)  # (n_queries, length)
        logits = logits - self.a * (batch.ends[:, None] - 1 - positions)
        read = batch.mask & batch.of_rows(known)
        beta = logits.masked_fill(~read, -1e30).softmax(dim=1)
        beta = beta.masked_fill(~read, 0.0)
        u = torch.bmm(beta[:, None], batch.of_rows(text)).squeeze(1)
        return F.normalize(u, dim=-1)

    # -- what was learned ------------------------------------------------------

    @property
    def learned_columns(self):
        """Columns of the item table that training changes and scores read."""
        if self.kind == "init_frozen":
            return 0
        return self.dim - (self.rank or 0)

    @torch.no_grad()
    def weight(self, item_table):
        """g of each item ("gate"), gamma or omega; None for other kinds."""
        if self.kind == "add":
            return float(self.gamma.detach())
        if self.kind == "late":
            return float(self.omega)
        if self.kind != "gate":
            return None
        text, known = self.text()
        e = F.normalize(item_table, dim=1)
        g = self._gate(e, text, known, (self.counts > 0)[:, None], self.counts)
        return g.squeeze(1).cpu().numpy()
