"""Transformer layers of CORE, GC-SAN and SASRec."""

import torch
from torch import nn
from torch.nn import functional as F

from skclip.backbones._base import Dropout


class AttentionLayer(nn.Module):
    """Multi-head attention and the layers of the feed-forward network behind it.

    The keys have no bias, because it cancels in the softmax.
    """

    eps = 1e-12  # of the layer norms
    projects = True  # whether a matrix follows the heads

    def __init__(self, dim, inner_dim, n_heads, *, dropout, attention_dropout):
        super().__init__()
        if dim % n_heads:
            raise ValueError(
                f"n_heads={n_heads} does not divide embedding_dim={dim}. Pass a "
                "divisor of embedding_dim as n_heads."
            )
        self.n_heads, self.attention_dropout = n_heads, Dropout(attention_dropout)
        self.q, self.k = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim) if self.projects else nn.Identity()
        self.ff1, self.ff2 = nn.Linear(dim, inner_dim), nn.Linear(inner_dim, dim)
        self.ln1, self.ln2 = (nn.LayerNorm(dim, eps=self.eps) for _ in range(2))
        self.dropout = Dropout(dropout)

    def attend(self, asking, x, allowed):
        """Attend from the places `asking` (n, m, d) to `x` (n, length, d): (n, m, d).

        `allowed` is a mask (n, m, length) or (1, m, length).
        """

        def heads(y):
            return y.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

        q, k, v = heads(self.q(asking)), heads(self.k(x)), heads(self.v(x))
        allowed = allowed[:, None]
        # torch's own attention would draw its dropout from the process's generator.
        if self.training and self.attention_dropout.p:
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            weights = scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
            attended = self.attention_dropout(weights) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.o(attended.transpose(1, 2).flatten(2))


class TransformerLayer(AttentionLayer):
    r"""Attention and a feed-forward part, each followed by a layer norm.

    .. math::
        y &= \mathrm{LN}_1(x + \mathrm{dropout}(W_o\, \mathrm{attention}(x))) \\
        x' &= \mathrm{LN}_2(y + \mathrm{dropout}(F_2\, \mathrm{gelu}(F_1 y)))
    """

    def forward(self, x, allowed, asking=None):
        """Transform the places `asking` (n, m, d), which attend to `x`.

        `x` is (n, length, d), `allowed` a mask (n, m, length) or (1, m, length). By
        default, all places of `x` are transformed.
        """
        asking = x if asking is None else asking
        y = self.ln1(asking + self.dropout(self.attend(asking, x, allowed)))
        return self.ln2(y + self.dropout(self.ff2(F.gelu(self.ff1(y)))))


class PreNormLayer(AttentionLayer):
    r"""The block of SASRec, in which residual sums start from normalized vectors.

    .. math::
        q &= \mathrm{LN}_1(x), \qquad
        y = \mathrm{LN}_2(q + \mathrm{attention}(q, x)) \\
        x' &= y + \mathrm{dropout}(F_2\, \mathrm{dropout}(\mathrm{relu}(F_1 y)))

    Keys and values come from x itself, and no matrix multiplies the output of the
    heads.
    """

    eps = 1e-8
    projects = False

    def forward(self, x, allowed):
        """Transform all places of `x` (n, length, d); see `attend` for the mask."""
        q = self.ln1(x)
        y = self.ln2(q + self.attend(q, x, allowed))
        return y + self.dropout(self.ff2(self.dropout(F.relu(self.ff1(y)))))


def transformer_layers(dim, spec, dropout, attention_dropout):
    """Build the transformer layers of a spec."""
    sizes = dim, spec.inner_dim, spec.n_heads
    rates = {"dropout": dropout, "attention_dropout": attention_dropout}
    return nn.ModuleList(
        TransformerLayer(*sizes, **rates) for _ in range(spec.n_layers)
    )


def causal_mask(length, device):
    """Return whether place t may attend to place j, (1, length, length): j <= t.

    Padding is on the right, so events attend to events only.
    """
    ones = torch.ones(1, length, length, dtype=torch.bool, device=device)
    return ones.tril_()


def init_normal_(module, std):
    """Draw weights from a normal distribution; biases 0, norms the identity."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
