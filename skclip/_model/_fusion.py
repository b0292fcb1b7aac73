"""Fusion of item features with learned item vectors, after section 4 of SemSR."""

from __future__ import annotations

from numbers import Real
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skclip._data import as_item_features
from skclip._sklearn import BaseEstimator, Interval, StrOptions
from skclip._typing import FeaturesLike

_NO_CANDIDATE = -1e30  # added to a score to make its exponential 0


class ItemFusion(nn.Module):
    r"""Item vectors :math:`z_i` from learned vectors and features.

    Each kind of fusion has a subclass. An item has features :math:`t_i` (m numbers), a
    learned vector :math:`e_i` (d numbers) and :math:`n_i` training events. There is a
    learned map :math:`\varphi(t) = W t + b`, without b if m = d, and N scales to
    length 1. Items without features have :math:`N(\varphi(t_i)) = 0`, items without
    training events have :math:`e_i = 0`. `cold_weight` is the weight of items without
    clicks as negatives in the loss, from 0 (left out) to 1 (like all others).
    """

    starts_as_directions = False  # only directions of learned vectors matter at first
    makes_unit_vectors = False  # vectors begin with length about 1
    scores_twice = False  # features have their own score
    only_starts = False  # features only give the first vectors of clicked items

    def __init__(self, n_items, n_features, dim, cold_weight=0.1):
        super().__init__()
        self.dim, self.cold_weight = dim, cold_weight
        self.register_buffer("table", torch.zeros(n_items, self._width(n_features)))
        self.register_buffer("counts", torch.zeros(n_items))
        for name in ("cold_bias", "held_at", "held_rows"):  # used in training only
            self.register_buffer(name, None, persistent=False)
        self._cached = None

    def _width(self, n_features):
        """Return the number of columns of features to store."""
        return n_features

    @torch.no_grad()
    def fill_(self, vectors, counts, item_table, is_new=None):
        """Store features and counts, and set first vectors for the "init" kinds.

        `vectors` is (n_items, n_features), `counts` (n_items,) are training events. The
        "init" kinds change `item_table` in place: for the items of the mask `is_new`
        with known directions, or for all items with new directions if it is None.
        """
        device = item_table.device
        vectors = torch.from_numpy(np.array(vectors, dtype=np.float32)).to(device)
        self.counts.copy_(torch.from_numpy(np.array(counts, dtype=np.float32)))
        self._take(vectors, vectors.any(dim=1), item_table, is_new)
        self.forget()
        cold = self.counts == 0
        log_weight = _NO_CANDIDATE
        if self.cold_weight > 0:
            log_weight = float(np.log(self.cold_weight))
        self.cold_bias = cold * log_weight if log_weight and cold.any() else None

    def _take(self, vectors, known, item_table, is_new):
        self.table.copy_(vectors)

    @torch.no_grad()
    def update_(self, rows, at, item_table):
        """Replace the features of items at positions `at`, after training.

        `rows` is (n, n_features). The directions found by `fill_` are kept.
        """
        device = item_table.device
        rows = torch.from_numpy(np.array(rows, dtype=np.float32)).to(device)
        self._replace(
            rows, torch.from_numpy(at.astype(np.int64)).to(device), item_table
        )
        self.forget()

    def _replace(self, rows, at, item_table):
        self.table[at] = rows

    def hold_(self, item_table):
        """Restore the vectors that training must not change."""
        if self.held_at is not None:
            item_table[self.held_at] = self.held_rows

    def release(self):
        """Delete buffers that only training needs."""
        self.cold_bias = self.held_at = self.held_rows = None

    def training_bias(self, bias):
        """Return an item bias (n_items,), or None, that weights items without clicks.

        As full negatives of every session, these items teach the map of the features to
        lower the scores of new items. Without them, nothing limits these scores.
        """
        if self.cold_bias is None:
            return bias
        return self.cold_bias if bias is None else bias + self.cold_bias

    def take_cold_weights(self):
        """Return the weight (n_items,) of each item as a negative, or None.

        The weights are then removed from the bias. This is for losses in which a bias
        does not act as a weight.
        """
        bias, self.cold_bias = self.cold_bias, None
        return None if bias is None else bias.exp()

    def forward(self, e, at=slice(None)):
        """Return item vectors z (..., d) for learned e (..., d) at positions (...)."""
        raise NotImplementedError

    def cached(self, e):
        """Return `forward` of a whole table, cached until `forget`."""
        if self._cached is None:
            self._cached = self(e).detach()  # not registered as a parameter
        return self._cached

    def forget(self):
        """Empty the cache, since parameters have changed or will change."""
        self._cached = None

    def _learned(self, e, at):
        """Return learned vectors, and zeros for items without training events."""
        return e.masked_fill(~self._clicked(at), 0.0)

    def _clicked(self, at=slice(None)):
        return (self.counts[at] > 0)[..., None]

    @property
    def learned_columns(self):
        """Number of columns of the item table that are trained and used in scores."""
        return self.dim

    def weight(self, item_table):
        """Return the weight of learned vectors or features, or None."""
        return None


class _Mapped(ItemFusion):
    """Base of the kinds with a learned map of the features."""

    def __init__(self, n_items, n_features, dim, cold_weight=0.1):
        super().__init__(n_items, n_features, dim, cold_weight)
        self.phi = nn.Linear(n_features, dim, bias=n_features != dim)
        nn.init.xavier_uniform_(self.phi.weight)
        if self.phi.bias is not None:
            nn.init.zeros_(self.phi.bias)

    def _phi(self, at):
        rows = self.table[at]
        return self.phi(rows), rows.any(dim=-1, keepdim=True)

    def text(self, at=slice(None)):
        """Return N(phi(t)) at positions, and a mask of items with features."""
        phi, known = self._phi(at)
        return F.normalize(phi, dim=-1).masked_fill(~known, 0.0), known


class AddFusion(_Mapped):
    r"""A sum, :math:`z_i = N(e_i) + \gamma N(\varphi(t_i))`."""

    starts_as_directions = makes_unit_vectors = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, e, at=slice(None)):
        text, _ = self.text(at)
        return self._learned(F.normalize(e, dim=-1), at) + self.gamma * text

    @torch.no_grad()
    def weight(self, item_table):
        return float(self.gamma)


class ConcatFusion(_Mapped):
    r"""A map of both, :math:`z_i = W_c\,[e_i ; \varphi(t_i)]`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.W_c = nn.Linear(2 * self.dim, self.dim, bias=False)
        nn.init.xavier_uniform_(self.W_c.weight)

    def forward(self, e, at=slice(None)):
        phi, known = self._phi(at)
        phi = phi.masked_fill(~known, 0.0)
        return self.W_c(torch.cat([self._learned(e, at), phi], dim=-1))


class GateFusion(_Mapped):
    r"""A weighted mean. The weight depends on both vectors and the item's clicks.

    .. math::
        z_i = g_i N(e_i) + (1 - g_i) N(\varphi(t_i)), \quad
        g_i = \sigma(w_e^\top N(e_i) + w_t^\top N(\varphi(t_i)) + c \log(1 + n_i) + b)

    g is 1 without features and 0 without clicks.
    """

    starts_as_directions = makes_unit_vectors = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.w_e = nn.Parameter(torch.zeros(self.dim))
        self.w_t = nn.Parameter(torch.zeros(self.dim))
        self.c = nn.Parameter(torch.tensor(0.5))
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, e, at=slice(None)):
        e = F.normalize(e, dim=-1)
        text, known = self.text(at)
        g = self._gate(e, text, known, at)
        return g * e + (1 - g) * text

    def _gate(self, e, text, known, at):
        logit = (e @ self.w_e + text @ self.w_t + self.b)[..., None]
        g = torch.sigmoid(logit + self.c * torch.log1p(self.counts[at])[..., None])
        return g.masked_fill(~known, 1.0).masked_fill(~self._clicked(at), 0.0)

    @torch.no_grad()
    def weight(self, item_table):
        text, known = self.text()
        g = self._gate(F.normalize(item_table, dim=1), text, known, slice(None))
        both = (self.counts > 0) & self.table.any(dim=1)
        g = g.squeeze(1)[both].cpu().numpy()
        return float(g.mean()) if len(g) else None


class LateFusion(_Mapped):
    r"""A second score from features only. Both scores are cosines.

    .. math::
        \mathrm{score}_i &= \mathrm{scale}\, \big((1 - \omega) N(s)^\top N(e_i)
            + \omega\, u^\top N(\varphi(t_i))\big), \quad
            u = N\Big(\sum_t \beta_t N(\varphi(t_{v_t}))\Big) \\
        \beta &= \mathrm{softmax}_t(w_a^\top N(\varphi(t_{v_t})) - a\,
            \mathrm{(events\ behind\ } t))
    """

    scores_twice = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.omega_logit = nn.Parameter(torch.tensor(0.3).logit())
        self.w_a = nn.Parameter(torch.zeros(self.dim))
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, e, at=slice(None)):
        return self._learned(e, at)

    @property
    def omega(self):
        return torch.sigmoid(self.omega_logit)

    def session_text(self, batch, n_items):
        """Return unit vectors u (n_queries, d) from the features in the sessions."""
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

    @torch.no_grad()
    def weight(self, item_table):
        return float(self.omega)


class _Projected(ItemFusion):
    """Base of the kinds that project features on their principal directions."""

    def __init__(self, n_items, n_features, dim, cold_weight=0.1):
        self._n_directions = self._rank(n_features, dim)
        super().__init__(n_items, n_features, dim, cold_weight)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("basis", torch.zeros(n_features, self._n_directions))

    def _rank(self, n_features, dim):
        return min(dim, n_features)

    def _width(self, n_features):
        return 0

    def _projected(self, vectors, known, columns, length, is_new):
        if is_new is None:
            self._find_basis(vectors[known], length)
        projected = (vectors - self.mean) @ self.basis
        projected = F.pad(projected, (0, columns - projected.shape[1]))
        return projected.masked_fill_(~known[:, None], 0.0)

    def _projected_again(self, rows, at, columns):
        """Project some items on the known directions.

        The product has as many rows as in `fill_`, with each item in its place, because
        a product of another shape may round differently.
        """
        vectors = rows.new_zeros(len(self.counts), rows.shape[1])
        vectors[at] = rows
        return self._projected(vectors, vectors.any(dim=1), columns, None, at)[at]

    def _find_basis(self, known, length):
        """Find the mean and the principal directions, with positive largest entry."""
        self.mean.copy_(known.mean(dim=0))
        centered = (known - self.mean).double()
        values, vectors = torch.linalg.eigh(centered.T @ centered / len(known))
        r = self._n_directions
        values, basis = values.flip(0)[:r], vectors.flip(1)[:, :r]
        basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
        self.basis.copy_(self._scaled(basis, values, centered, length))

    def _scaled(self, basis, values, centered, length):
        """Scale the directions so that rows have this length on average."""
        mean_length = (centered @ basis).norm(dim=1).mean().clamp_min(1e-12)
        return basis * (length / mean_length)  # kappa


class InitFusion(_Projected):
    r"""Learned vectors with the first values :math:`\kappa\,PCA_d(t_i)`."""

    only_starts = True

    def forward(self, e, at=slice(None)):
        return e

    def _take(self, vectors, known, item_table, is_new):
        length = item_table.norm(dim=1).mean()
        projected = self._projected(vectors, known, self.dim, length, is_new)
        start, held = self._started_and_held(known)
        if is_new is not None:
            start = start & torch.from_numpy(np.asarray(is_new)).to(start.device)
        item_table[start] = projected[start]
        at = torch.nonzero(held).squeeze(1)
        self.held_at, self.held_rows = at, item_table[at].clone()

    def _replace(self, rows, at, item_table):
        item_table[at] = self._projected_again(rows, at, self.dim)

    def _started_and_held(self, known):
        return known, (self.counts == 0) & known


class FrozenInitFusion(InitFusion):
    """Item vectors that are the projected features and are not trained."""

    only_starts = False

    def _started_and_held(self, known):
        return torch.ones_like(known), torch.ones_like(known)

    @property
    def learned_columns(self):
        return 0


class NullspaceFusion(_Projected):
    r"""Half of the dimensions hold features, the others are learned.

    .. math::
        z_i = [N(\mathrm{PCA}_r(t_i)\ \mathrm{whitened}) ; e_{i,r+1}, \dots, e_{i,d}]
    """

    makes_unit_vectors = True

    def _rank(self, n_features, dim):
        return max(1, min(dim // 2, n_features))

    def _width(self, n_features):
        return self._n_directions

    def _take(self, vectors, known, item_table, is_new):
        projected = self._projected(vectors, known, self._n_directions, None, is_new)
        self.table.copy_(F.normalize(projected, dim=1))

    def _replace(self, rows, at, item_table):
        projected = self._projected_again(rows, at, self._n_directions)
        self.table[at] = F.normalize(projected, dim=1)

    def _scaled(self, basis, values, centered, length):
        floor = 1e-6 * values[0].clamp_min(1e-12)
        return basis / (values.clamp_min(0) + floor).sqrt()

    def forward(self, e, at=slice(None)):
        own = self._learned(e[..., self._n_directions :], at)
        return torch.cat([self.table[at], own], dim=-1)

    @property
    def learned_columns(self):
        return self.dim - self._n_directions


FUSIONS = {
    "gate": GateFusion,
    "add": AddFusion,
    "concat": ConcatFusion,
    "late": LateFusion,
    "nullspace": NullspaceFusion,
    "init": InitFusion,
    "init_frozen": FrozenInitFusion,
}


_Kind: TypeAlias = Literal[
    "gate", "add", "concat", "late", "nullspace", "init", "init_frozen"
]


class Fusion(BaseEstimator):
    """Item features, and the way they are combined with learned item vectors.

    Pass it as ``item_features`` of `CLIPSessionRecommender` to choose this way. Its
    parameters can be searched as ``item_features__kind`` and
    ``item_features__cold_item_weight``, even if ``item_features`` is an `ItemFeatures`.
    The page on item features in the documentation helps to choose a kind.

    Parameters
    ----------
    features : ItemFeatures, data frame or mapping
        Feature vectors, one for each item of the sessions. Pass an `ItemFeatures`, a
        pandas data frame of numbers with the item ids as its index, or a mapping of ids
        to vectors. Further items with features join the catalog as cold items. They can
        be recommended before their first click. Cold items with a row of zeros are left
        out.
    kind : str, default="gate"
        Combination of features and learned vectors [1]_, before the prompts:

        - "gate": a weighted mean, with a weight that depends on both and on the clicks
          of the item;
        - "add": a sum;
        - "concat": a learned map of both;
        - "nullspace": half of the dimensions hold features, the others are learned;
        - "init": learned vectors that begin with the features;
        - "init_frozen": the features themselves, which are not trained;
        - "late": a second score from features only; both scores are cosines.
    cold_item_weight : float, default=0.1
        Weight of cold items as negatives in the loss, from 0 to 1. At 1 they are
        negatives of every session like all other items, and the model learns to rank
        them low. At 0 they are left out, and nothing keeps them from pushing other
        items off the list.

    Notes
    -----
    Differences from the paper and its code:

    - **Equations.** The paper fuses "semantic and interaction-based embeddings", but
      its equations and code were not available. The kinds "gate" and "late" are our
      own, on the level of items and of scores, and "init" corresponds to SemSR-I. No
      number of that paper is comparable.
    - **Items without clicks.** The paper does not mention them. In skclip they are in
      the catalog, their learned vectors are 0 or the first ones of "init", and they are
      negatives of the weight `cold_item_weight`. At a weight of 0, the number of new
      items does not change what is learned.
    - **Clicks in the gate.** No published rule was available. The gate of skclip counts
      clicks of training sessions only. Clicks of the validation part do not count, so
      that early stopping meets new items as new.
    - **Items without clicks and features.** No published rule was available. skclip
      leaves them out of the catalog with a warning, because nothing is known to rank
      them by.
    - **First learned vectors.** The paper does not describe them. With "gate" and
      "add", skclip scales them to a mean length of 1, because only their direction
      counts.
    - **Length of first vectors.** No published rule was available. skclip scales them
      to the length of the item table that it replaces: the backbone's own with NISER,
      and 1 with ``similarity="cosine"``. Only directions count there, but the length
      decides how fast Adam turns them.
    - **Half of the dimensions.** The idea of "nullspace" comes from AlphaFuse. skclip
      freezes half of the dimensions as whitened features of length 1 and learns the
      other half; this split is our choice.
    - **Scale of the two scores.** No published rule was available for "late". skclip
      has one scale for both, so that omega alone weighs them and fewer numbers are
      learned.

    References
    ----------
    .. [1] J. Narwariya, M. Gupta, P. Gupta, H. Khatri, L. Vig, "SemSR",
           arXiv:2508.20587. The idea is theirs, the equations are skclip's own.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender, Fusion
    >>> prices = {"tea": [1.0, 0.0], "cup": [0.0, 2.0]}
    >>> rec = CLIPSessionRecommender(item_features=Fusion(prices, kind="concat"))
    >>> rec.set_params(item_features__kind="add").item_features.kind
    'add'
    """

    _parameter_constraints: dict = {
        "features": "no_validation",  # checked by `as_item_features`
        "kind": [StrOptions(set(FUSIONS))],
        "cold_item_weight": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        features: FeaturesLike,
        *,
        kind: _Kind = "gate",
        cold_item_weight: float = 0.1,
    ) -> None:
        self.features = features
        self.kind = kind
        self.cold_item_weight = cold_item_weight


def as_fusion(item_features):
    """Return the `Fusion` for a value of ``item_features=``. None stays None."""
    if item_features is None or isinstance(item_features, Fusion):
        return item_features
    return Fusion(item_features)


def used_features(fusion):
    """Return the `ItemFeatures` of a fusion, or None. Not all rows may be zero."""
    features = None if fusion is None else as_item_features(fusion.features)
    if features is not None and len(features.missing) == len(features):
        raise ValueError(
            f"All {len(features)} rows of item_features are zero. Pass features for "
            "some items, or item_features=None."
        )
    return features
