"""NARM: a GRU, and attention from its last state to all states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from skclip._sklearn import StrOptions
from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout
from skclip.backbones._parameters import AT_LEAST_1, RATE, parameter


class NARMNetwork(Backbone):
    r"""Local and global session encoder.

    .. math::
        h_1, \dots, h_t &= \mathrm{GRU}(\mathrm{dropout}(x_1, \dots, x_t)) \\
        \alpha_j &= v^\top \sigma(A_1 h_j + A_2 h_t) \\
        c &= \mathrm{dropout}\Big(\big[\textstyle\sum_j \alpha_j h_j ; h_t\big]\Big)
            , \qquad s = B c
    """

    shares_prefixes = True

    def __init__(self, embedding_dim, spec):
        super().__init__()
        hidden_dim = spec.hidden_dim
        self.dropout = Dropout(spec.dropout)
        self.gru = nn.GRU(embedding_dim, hidden_dim, bias=False, batch_first=True)
        self.A1 = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.A2 = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.v = nn.Linear(hidden_dim, 1, bias=False)
        self.context_dropout = Dropout(spec.context_dropout)
        self.B = nn.Linear(2 * hidden_dim, embedding_dim, bias=False)
        self.softmax = spec.attention == "softmax"
        for linear in (self.A1, self.A2, self.v, self.B):
            nn.init.xavier_normal_(linear.weight)

    def encode(self, x, batch):
        h, _ = self.gru(self.dropout(x))  # (n_sessions, length, hidden)
        last = batch.last(h)  # (n_queries, hidden)
        gate = torch.sigmoid(batch.of_rows(self.A1(h)) + self.A2(last)[:, None])
        alpha = self.v(gate).squeeze(-1)  # (n_queries, length)
        if self.softmax:
            alpha = alpha.masked_fill(~batch.mask, -torch.inf).softmax(dim=1)
        alpha = alpha * batch.mask
        local = torch.bmm(alpha[:, None], batch.of_rows(h)).squeeze(1)
        return self.B(self.context_dropout(torch.cat([local, last], dim=1)))


@dataclass(kw_only=True, eq=False, repr=False)
class NARM(BackboneSpec):
    """Neural attentive recommendation machine [1]_.

    Parameters
    ----------
    hidden_dim : int, default=128
        Width of the GRU.
    dropout : float, default=0.25
        Dropout rate of the item vectors, in [0, 1).
    context_dropout : float, default=0.5
        Dropout rate of the joined local and global encodings, in [0, 1).
    attention : {"plain", "softmax"}, default="plain"
        Normalization of the attention weights. "plain" has none, as in the paper's
        equations. "softmax" normalizes over the session, as in the authors' program.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Differences from the paper and its code:

    - **Input dropout.** The authors apply dropout to the item vectors, and the
      published CLIP-NARM computes it without using it. skclip applies it, as the
      authors do.
    - **Attention weights.** The paper's equations do not normalize attention weights,
      and the authors' program applies a softmax. skclip follows the equations;
      ``NARM(attention="softmax")`` has the other form.
    - **Order of both parts.** The paper puts the global encoding before the local one,
      and the code has the local one first. skclip follows the code; the function is the
      same with columns swapped.
    - **Long sessions.** The authors cut sessions to 19 events, and a port keeps the
      first 19. skclip keeps the latest ``max_session_length`` events, because the
      latest clicks say most about the next one.

    References
    ----------
    .. [1] J. Li, P. Ren, Z. Chen, Z. Ren, T. Lian, J. Ma, "Neural attentive
           session-based recommendation", CIKM 2017, arXiv:1711.04725.

    Examples
    --------
    >>> from skclip.backbones import NARM
    >>> NARM(hidden_dim=64)
    NARM(hidden_dim=64)
    """

    hidden_dim: int = parameter(128, AT_LEAST_1)
    dropout: float = parameter(0.25, RATE)
    context_dropout: float = parameter(0.5, RATE)
    attention: Literal["plain", "softmax"] = parameter(
        "plain", StrOptions({"plain", "softmax"})
    )
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the authors' configuration.

        They also cut sessions to 19 items, which is ``max_session_length=19`` of the
        recommender.
        """
        training = {
            "loss": "cross_entropy",
            "embedding_dim": 50,
            "learning_rate": 1e-3,
            "batch_size": 512,
        }
        training |= {"max_epochs": 30, "lr_schedule": "constant", "weight_decay": 0.0}
        training |= {"n_iter_no_change": 30}
        return cls(hidden_dim=100, training=training)

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return NARMNetwork(embedding_dim, self)
