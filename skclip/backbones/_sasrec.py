"""SASRec: causal self-attention over the events of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout
from skclip.backbones._parameters import AT_LEAST_1, RATE, parameter
from skclip.backbones._transformer import PreNormLayer, causal_mask


class SASRecNetwork(Backbone):
    r"""The state of the last event after some layers of causal self-attention.

    .. math::
        u_t &= \mathrm{dropout}(\sqrt{d}\, x_t + p_t) \\
        s &= \mathrm{LN}(\mathrm{PreNormLayers}(u)_{last})

    The layers are causal, so one pass gives s for all prefixes, and no event attends to
    the padding behind it.
    """

    shares_prefixes = True

    def __init__(self, embedding_dim, max_length, spec):
        super().__init__()
        self.positions = nn.Parameter(torch.empty(max_length, embedding_dim))
        self.dropout = Dropout(spec.dropout)
        sizes = embedding_dim, embedding_dim, spec.n_heads
        rates = {"dropout": spec.dropout, "attention_dropout": spec.dropout}
        self.layers = nn.ModuleList(
            PreNormLayer(*sizes, **rates) for _ in range(spec.n_layers)
        )
        self.ln_out = nn.LayerNorm(embedding_dim, eps=PreNormLayer.eps)
        nn.init.xavier_uniform_(self.positions)
        for part in self.layers.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def encode(self, x, batch):
        x = x * x.shape[-1] ** 0.5 + self.positions[: x.shape[1]]
        x = self.dropout(x)  # (n_sessions, length, d)
        allowed = causal_mask(x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, allowed)
        return self.ln_out(batch.last(x))

    def init_table_(self, table, n_items):
        bound = (6.0 / (n_items + 1 + table.shape[1])) ** 0.5
        nn.init.uniform_(table, -bound, bound)


@dataclass(kw_only=True, eq=False, repr=False)
class SASRec(BackboneSpec):
    """Self-attentive sequential recommendation [1]_.

    Parameters
    ----------
    n_layers : int, default=2
        Number of blocks, each of self-attention and a feed-forward part.
    n_heads : int, default=1
        Number of attention heads. It must divide the recommender's `embedding_dim`.
    dropout : float, default=0.2
        Dropout rate of the inputs, the attention weights and the feed-forward parts, in
        [0, 1).
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    You can train this network with any loss: the softmax over the whole catalog,
    ``"sampled_softmax"``, or ``GBCE(256)``. With the last one it is called gSASRec
    [2]_. gBCE needs many more epochs than the others. `published` uses the binary
    cross-entropy of [1]_, which is gBCE with ``t=0`` and one negative for each prefix.

    Differences from the paper and its code:

    - **Block.** In the paper, residual sums start from the input of a block, and
      queries, keys and values come from normalized vectors. In the authors' program,
      sums start from the normalized vectors and only the queries are normalized. skclip
      follows the program, with dropout on the attention weights, no matrix after the
      heads and a last norm. RecBole has another block: norms after the sums and on the
      input, GELU and a wider inner layer.
    - **Positions.** The paper and its code pad on the left, so that the last event
      always has the last position. skclip counts positions from the first event that is
      read, as RecBole does, so that one pass answers all prefixes of a session.
    - **Loss and negatives.** The paper and its code use binary cross-entropy with one
      negative that the user has not clicked. skclip uses the loss of the recommender;
      `published` draws one negative from the whole catalog except the target, because
      the other clicks of an anonymous visitor are unknown.
    - **Second moment of Adam.** The authors' program sets it to 0.98. skclip uses
      0.999, because the recommender has no parameter for it.
    - **Long histories.** The paper and its code read the latest 50 actions of a user
      (200 on MovieLens-1M) and drop earlier ones. skclip trains on all prefixes, each
      cut to its latest ``max_session_length`` clicks, so that no click is lost.
    - **Length of item vectors.** The paper adds positions to item vectors. The program
      first multiplies these vectors by the square root of their dimension. skclip
      follows the program when it reads items and leaves them as they are in the scores.
      Without the factor, positions would outweigh the short first vectors of a large
      catalog.
    - **Batches and stopping.** The paper trains batches of 128 sequences and stops
      after 20 epochs without a gain. The program draws 128 users at random for each of
      201 epochs and validates against 100 sampled negatives. `published` has about 128
      prefixes per batch, at most 200 epochs, patience 20 and the whole catalog.

    References
    ----------
    .. [1] W.-C. Kang, J. McAuley, "Self-attentive sequential recommendation", ICDM
           2018, arXiv:1808.09781.
    .. [2] A. Petrov, C. Macdonald, "gSASRec: reducing overconfidence in sequential
           recommendation trained with negative sampling", RecSys 2023,
           arXiv:2308.07192.

    Examples
    --------
    >>> from skclip.backbones import SASRec
    >>> SASRec(n_heads=2)
    SASRec(n_heads=2)
    """

    n_layers: int = parameter(2, AT_LEAST_1)
    n_heads: int = parameter(1, AT_LEAST_1)
    dropout: float = parameter(0.2, RATE)
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the configuration of the authors' program for sparse data.

        The authors score by the dot product. Pass ``similarity=None`` or
        ``preset="paper"`` to the recommender for this. On MovieLens-1M they use
        ``dropout=0.2`` and read 200 events, which is ``max_session_length=200``. Their
        batches have 128 sequences, while ``batch_size=128`` counts prefixes.
        """
        training = {"loss": "gbce", "loss__n_negatives": 1, "loss__shared": False}
        training |= {"loss__t": 0.0, "embedding_dim": 50, "learning_rate": 1e-3}
        training |= {"batch_size": 128, "max_epochs": 200, "lr_schedule": "constant"}
        training |= {"weight_decay": 0.0, "n_iter_no_change": 20}
        return cls(dropout=0.5, training=training)

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return SASRecNetwork(embedding_dim, max_length, self)
