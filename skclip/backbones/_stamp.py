"""STAMP: attention with the last item and the mean of the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec
from skclip.backbones._parameters import parameter


class STAMPNetwork(Backbone):
    r"""Short-term attention and memory priority.

    .. math::
        m_s &= \tfrac{1}{n} \sum_t x_t, \qquad m_t = x_n \\
        \alpha_i &= w_0^\top \sigma(W_1 x_i + W_2 m_t + W_3 m_s + b_a), \qquad
        m_a = \sum_i \alpha_i x_i \; [+ m_s] \\
        s &= \tanh(W_a m_a + b) \odot \tanh(W_b m_t + b')
    """

    shares_prefixes = True

    def __init__(self, embedding_dim, spec):
        super().__init__()
        dim = embedding_dim
        self.W1 = nn.Linear(dim, dim)  # its bias is b_a
        self.W2, self.W3 = (nn.Linear(dim, dim, bias=False) for _ in range(2))
        self.w0 = nn.Linear(dim, 1, bias=False)
        self.Wa, self.Wb = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.add_mean = spec.add_mean
        for linear in (self.W1, self.W2, self.W3, self.w0, self.Wa, self.Wb):
            nn.init.normal_(linear.weight, std=0.05)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def encode(self, x, batch):
        m_t = batch.last(x)  # (n_queries, d)
        m_s = batch.last(x.cumsum(dim=1)) / batch.ends[:, None]
        asking = self.W2(m_t) + self.W3(m_s)
        gate = torch.sigmoid(batch.of_rows(self.W1(x)) + asking[:, None])
        alpha = self.w0(gate).squeeze(-1) * batch.mask  # (n_queries, length)
        m_a = torch.bmm(alpha[:, None], batch.of_rows(x)).squeeze(1)
        if self.add_mean:
            m_a = m_a + m_s
        return torch.tanh(self.Wa(m_a)) * torch.tanh(self.Wb(m_t))

    def init_table_(self, table, n_items):
        nn.init.normal_(table, std=0.002)


@dataclass(kw_only=True, eq=False, repr=False)
class STAMP(BackboneSpec):
    """Short-term attention/memory priority model [1]_.

    Parameters
    ----------
    add_mean : bool, default=True
        Whether to add the mean of the session to the attended sum, as the authors'
        program does. False follows the paper's formula, which has the sum only.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    Differences from the paper and its code:

    - **Sum of attended items.** The paper's formula uses the attended sum alone, and
      the authors' program adds the mean of the session. skclip adds the mean;
      ``STAMP(add_mean=False)`` follows the formula.
    - **Sigmoid of the scores.** The paper puts a sigmoid around the scores, and no
      program does. skclip has none.

    References
    ----------
    .. [1] Q. Liu, Y. Zeng, R. Mokhosi, H. Zhang, "STAMP: short-term attention/memory
           priority model for session-based recommendation", KDD 2018,
           doi:10.1145/3219819.3219950.

    Examples
    --------
    >>> from skclip.backbones import STAMP
    >>> STAMP(add_mean=False)
    STAMP(add_mean=False)
    """

    add_mean: bool = parameter(True, "boolean")
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the configuration of the authors' program, without its clipping."""
        training = {
            "loss": "cross_entropy",
            "embedding_dim": 100,
            "learning_rate": 3e-3,
            "batch_size": 512,
        }
        training |= {"max_epochs": 10, "lr_schedule": "constant", "weight_decay": 0.0}
        training |= {"n_iter_no_change": 10}
        return cls(training=training)

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return STAMPNetwork(embedding_dim, self)
