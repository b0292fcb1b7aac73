"""CORE: a weighted mean of the session's item vectors, scored by cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from skclip._sklearn import StrOptions
from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout, init_uniform_
from skclip.backbones._parameters import AT_LEAST_1, POSITIVE, RATE, parameter
from skclip.backbones._published import RECBOLE
from skclip.backbones._transformer import causal_mask, init_normal_, transformer_layers


class CORENetwork(Backbone):
    r"""Session vector in the span of the item vectors.

    .. math::
        x_t &= \mathrm{dropout}(x_t), \qquad
        u_t = \mathrm{dropout}(\mathrm{LN}(x_t + p_t)) \\
        a_t &= w_f^\top \mathrm{TransformerLayers}(u)_t, \qquad
        \alpha = \mathrm{softmax}(a_1, \dots, a_n) \\
        s &= \sum_t \alpha_t x_t, \qquad
        score_j = \cos(s, \mathrm{dropout}(e_j)) / \tau

    The average encoder has :math:`\alpha_t = 1/n`. The layers are causal, so one pass
    gives :math:`a_t` for all prefixes.
    """

    shares_prefixes = True
    similarity = "cosine"

    def __init__(self, embedding_dim, max_length, spec):
        super().__init__()
        self.scale = 1.0 / spec.temperature
        self.dropout = Dropout(spec.dropout)
        self.item_dropout = Dropout(spec.item_dropout)
        self.layers = None
        if spec.encoder == "transformer":
            self.positions = nn.Parameter(torch.empty(max_length, embedding_dim))
            self.ln_in = nn.LayerNorm(embedding_dim, eps=1e-12)
            self.hidden_dropout = Dropout(spec.hidden_dropout)
            self.layers = transformer_layers(
                embedding_dim, spec, spec.hidden_dropout, spec.attention_dropout
            )
            self.w_f = nn.Linear(embedding_dim, 1, bias=False)
            init_normal_(self, 0.02)
            nn.init.normal_(self.positions, std=0.02)

    def encode(self, x, batch):
        x = self.dropout(x)  # (n_sessions, length, d)
        a = x.new_zeros(x.shape[:2])
        if self.layers is not None:
            u = self.hidden_dropout(self.ln_in(x + self.positions[: x.shape[1]]))
            allowed = causal_mask(x.shape[1], x.device)
            for layer in self.layers:
                u = layer(u, allowed)
            a = self.w_f(u).squeeze(-1)
        a = batch.of_rows(a).masked_fill(~batch.mask, -torch.inf)  # (n_queries, length)
        return torch.bmm(a.softmax(dim=1)[:, None], batch.of_rows(x)).squeeze(1)

    def keys(self, item_table):
        return self.item_dropout(item_table)

    def init_table_(self, table, n_items):
        init_uniform_([table], table.shape[1])


@dataclass(kw_only=True, eq=False, repr=False)
class CORE(BackboneSpec):
    """Consistent representation space [1]_: sessions as weighted means of items.

    Parameters
    ----------
    encoder : {"transformer", "average"}, default="transformer"
        Weights of the items in the mean. "transformer" learns them, "average" weights
        all items equally.
    n_layers : int, default=2
        Number of transformer layers.
    n_heads : int, default=2
        Number of attention heads. It must divide the recommender's `embedding_dim`.
    inner_dim : int, default=256
        Width of the feed-forward layers.
    dropout : float, default=0.2
        Dropout rate of the item vectors of the session, in [0, 1).
    item_dropout : float, default=0.2
        Dropout rate of the candidate vectors, in [0, 1).
    hidden_dropout, attention_dropout : float, default=0.5
        Dropout rates in the transformer, in [0, 1).
    temperature : float, default=0.07
        Temperature of the cosine score, used if the recommender's `temperature` is
        "auto".
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Differences from the paper and its code:

    - **First weights.** RecBole, and CLIP-SBR's copy of it, draw the gains of layer
      norms at random around 0. skclip begins with gains of 1 and weights from N(0,
      0.02), as the authors' program does. Random gains of both signs may explain weak
      results of CORE elsewhere.
    - **Prompted candidates.** The CLIP-SBR paper scores "updated item embeddings", and
      its code scores raw ones. skclip prompts the candidates, because the session
      vector lies in the span of prompted vectors; ``preset="paper"`` uses raw ones.

    References
    ----------
    .. [1] Y. Hou, B. Hu, Z. Zhang, W. X. Zhao, "CORE: simple and effective
           session-based recommendation within consistent representation space",
           SIGIR 2022, arXiv:2204.11067.

    Examples
    --------
    >>> from skclip.backbones import CORE
    >>> CORE(encoder="average")
    CORE(encoder='average')
    """

    encoder: Literal["transformer", "average"] = parameter(
        "transformer", StrOptions({"transformer", "average"})
    )
    n_layers: int = parameter(2, AT_LEAST_1)
    n_heads: int = parameter(2, AT_LEAST_1)
    inner_dim: int = parameter(256, AT_LEAST_1)
    dropout: float = parameter(0.2, RATE)
    item_dropout: float = parameter(0.2, RATE)
    hidden_dropout: float = parameter(0.5, RATE)
    attention_dropout: float = parameter(0.5, RATE)
    temperature: float = parameter(0.07, POSITIVE)
    training: dict[str, Any] | None = parameter(None, dict, None)

    default_training: ClassVar[dict[str, Any]] = {"learning_rate": 0.005}

    @classmethod
    def published(cls) -> Self:
        """Return the configuration of the authors' program."""
        return cls(training=RECBOLE | {"embedding_dim": 100, "n_iter_no_change": 5})

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return CORENetwork(embedding_dim, max_length, self)
