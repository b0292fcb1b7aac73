"""PoMRec: several interests per session, from attention with prompt tokens."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from skclip._sklearn import Interval, StrOptions
from skclip._typing import Self
from skclip.backbones._base import Backbone, BackboneSpec, Dropout, spare_biases
from skclip.backbones._parameters import AT_LEAST_1, parameter

_STD = 0.01  # standard deviation of all first weights, as in the authors' program


class Interests(NamedTuple):
    """Interests of n prefixes, and how PoMRec computed them."""

    vectors: torch.Tensor  # (n, K, d): sum of centers and dispersions
    weights: torch.Tensor | None  # (n, K)
    assignments: torch.Tensor  # (n, length, K): attention weights of the events
    prompt_share: torch.Tensor  # (n, K): attention weight of the prompt tokens
    centers: torch.Tensor  # (n, K, d)
    dispersions: torch.Tensor  # (n, K, d), multiplied by their weight


class PoMRecNetwork(Backbone):
    r"""Extractor and aggregator with their prompt tokens.

    :math:`r_1` is the position of the newest event, :math:`r_2` of the one before:

    .. math::
        h_t &= x_t + r_{T - t + 1}, \qquad
        H^F = [P_F ; H], \qquad H^G = [P_G ; H] \\
        A &= \mathrm{softmax}_{tokens}\big(\tanh(H^F W_1 + b_1) W_2 + b_2\big) \\
        \mu_k &= \sum_j A_{jk} h^F_j, \qquad
        \sigma_k = \sqrt{\sum_j A_{jk} (h^F_j - \mu_k)^2 + \epsilon}, \qquad
        v_k = \mu_k + \lambda \sigma_k \\
        c &= \sum_j \mathrm{softmax}_j\big(
            \tanh(H^G W_3 + b_3) W_4 + b_4\big) h^G_j, \qquad
        w = \mathrm{softmax}(\mathrm{MLP}(c)) \\
        s &= \sum_k w_k v_k
    """

    shares_prefixes = True
    eps = 1e-8  # the root has no gradient at 0, which one token alone would give

    def __init__(self, embedding_dim, max_length, spec):
        super().__init__()
        self.aggregation = spec.aggregation
        self.dot_product = spec.aggregation != "max"
        self.dispersion = spec.dispersion
        self.dispersion_weight = spec.dispersion_weight
        self.n_rows = max(spec.n_prompt_tokens, spec.legacy_ones_padding)
        self.n_interests = spec.n_interests
        shape = (spec.n_prompt_tokens, embedding_dim)
        self.positions = nn.Parameter(torch.empty(max_length + 1, embedding_dim))
        self._add_prompts("extractor_prompts", shape, spec.use_extractor_prompts, spec)
        self.extractor = _Attention(embedding_dim, spec.attention_dim, spec.n_interests)
        if self.aggregation == "weighted":
            used = spec.use_aggregator_prompts
            self._add_prompts("aggregator_prompts", shape, used, spec)
            self.aggregator = _Attention(embedding_dim, spec.attention_dim, 1)
            layers = []
            for _ in range(spec.weight_layers - 1):
                layers += [nn.Linear(embedding_dim, embedding_dim)]
                layers += [Dropout(0.5), nn.ReLU()]
            layers.append(nn.Linear(embedding_dim, spec.n_interests))
            self.weight_mlp = nn.Sequential(*layers)
        for tensor in (*self.parameters(), *self.buffers()):
            nn.init.normal_(tensor, std=_STD)

    def _add_prompts(self, name, shape, used, spec):
        """Add prompt tokens: learned ones, frozen random ones, or none."""
        if not used or (shape[0] == 0 and not spec.legacy_ones_padding):
            self.register_buffer(name, None)
        elif spec.frozen_prompts or shape[0] == 0:
            self.register_buffer(name, torch.empty(shape))
        else:
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def init_beside_unit_items_(self):
        """Draw prompt tokens with a length of about 1, like the items."""
        for name in ("extractor_prompts", "aggregator_prompts"):
            prompts = getattr(self, name, None)
            if prompts is not None:
                nn.init.normal_(prompts, std=self.positions.shape[1] ** -0.5)

    def tokens(self, x, batch):
        """Return the events of each query plus positions: (n_queries, length, d)."""
        place = torch.arange(x.shape[1], device=x.device)
        age = (batch.ends[:, None] - place).clamp_min(0)  # T - t + 1, 0 for padding
        # index_select, whose gradient adds up in a fixed order
        r = self.positions.index_select(0, age.flatten()).view(*age.shape, -1)
        return batch.of_rows(x) + r

    def prompted(self, h, mask, prompts):
        """Put prompt tokens before the events. They are never masked."""
        if prompts is None:
            return h, mask
        n, d = h.shape[0], h.shape[2]
        ones = prompts.new_ones(self.n_rows - len(prompts), d)
        rows = torch.cat([prompts, ones])
        h = torch.cat([rows.expand(n, -1, -1), h], dim=1)
        return h, F.pad(mask, (len(rows), 0), value=True)

    def extract(self, tokens, mask):
        """Return attention (n, n_tokens, K), centers and dispersions (n, K, d)."""
        A = self.extractor(tokens, mask)
        mu = A.transpose(1, 2) @ tokens
        off = (tokens[:, None] - mu[:, :, None]).square()  # (n, K, n_tokens, d)
        q = (A.transpose(1, 2)[:, :, None] @ off).squeeze(2)
        sigma = q if self.dispersion == "var" else (q + self.eps).sqrt()
        return A, mu, self.dispersion_weight * sigma

    def weigh(self, tokens, mask):
        """Return the weights of the interests (n, K)."""
        g = self.aggregator(tokens, mask)  # (n, n_tokens, 1)
        c = (g.transpose(1, 2) @ tokens).squeeze(1)
        return self.weight_mlp(c).softmax(dim=1)

    def interests(self, x, batch):
        """Return the `Interests` of each query."""
        h, mask = self.tokens(x, batch), batch.mask
        tokens, is_token = self.prompted(h, mask, self.extractor_prompts)
        A, mu, spread = self.extract(tokens, is_token)
        n_prompts = tokens.shape[1] - h.shape[1]
        w = None
        if self.aggregation == "weighted":
            w = self.weigh(*self.prompted(h, mask, self.aggregator_prompts))
        elif self.aggregation == "mean":
            w = torch.full_like(mu[:, :, 0], 1.0 / self.n_interests)
        share = A[:, :n_prompts].sum(dim=1)
        return Interests(mu + spread, w, A[:, n_prompts:], share, mu, spread)

    def encode(self, x, batch):
        found = self.interests(x, batch)
        if found.weights is not None:
            return (found.weights[:, None] @ found.vectors).squeeze(1)
        if self.training and bool((batch.targets > 0).all()):
            with torch.no_grad():  # targets only choose an interest
                return found.vectors, batch.candidates(batch.targets)
        return found.vectors

    def normalize(self, state):
        if isinstance(state, tuple):
            return F.normalize(state[0], dim=-1), state[1]
        return F.normalize(state, dim=-1)

    def score_chunk(self, state, keys):
        """Score each candidate by the interest nearest to it.

        In training, the interest nearest to the target scores all candidates, as in
        ComiRec.
        """
        v = state
        if isinstance(state, tuple):
            v, target = state
            nearest = (v @ target[:, :, None]).squeeze(2).argmax(dim=1)
            v = v[torch.arange(v.shape[0], device=v.device), nearest][:, None]
        return (v.flatten(0, 1) @ keys.T).view(*v.shape[:2], -1).amax(dim=1)

    def floats_per_score(self, state):
        return self.n_interests

    def floats_per_query(self, length, dim):
        return (3 * self.n_interests + 8) * (length + self.n_rows) * dim

    def init_table_(self, table, n_items):
        nn.init.normal_(table, std=_STD)

    def param_groups(self):
        return spare_biases(self)  # as in the authors' program


class _Attention(nn.Module):
    """Additive self-attention with a softmax over the tokens for each column."""

    def __init__(self, dim, attention_dim, n_columns):
        super().__init__()
        self.inner = nn.Linear(dim, attention_dim)
        self.outer = nn.Linear(attention_dim, n_columns)

    def forward(self, tokens, mask):
        logits = self.outer(torch.tanh(self.inner(tokens)))  # (n, n_tokens, columns)
        return logits.masked_fill(~mask[:, :, None], -torch.inf).softmax(dim=1)


@dataclass(kw_only=True, eq=False, repr=False)
class PoMRec(BackboneSpec):
    """Prompt-based multi-interest recommendation [1]_.

    Additive attention extracts several interests from a session. Each is the center
    plus the dispersion of the events that it attends to. A second attention weights
    the interests. Both attentions also read prompt tokens, which are learned and the
    same for all sessions.

    Parameters
    ----------
    n_interests : int, default=3
        Number of interests of a session, K.
    n_prompt_tokens : int, default=4
        Number of prompt tokens of the extractor, and of the aggregator. 0 means none.
    dispersion : {"std", "var"}, default="std"
        Dispersion of an interest. "std" is the standard deviation of its events, as in
        the authors' program. "var" is their variance, as in the paper.
    dispersion_weight : float, default=3.0
        Factor of the dispersion, lambda. 0 uses the centers only.
    attention_dim : int, default=8
        Width of the hidden layer of both attentions.
    weight_layers : int, default=1
        Number of layers of the perceptron that computes the weights of the interests.
        Dropout of 0.5 and a ReLU follow each layer but the last.
    use_extractor_prompts, use_aggregator_prompts : bool, default=True
        Whether the extractor and the aggregator have prompt tokens.
    aggregation : {"weighted", "mean", "max"}, default="weighted"
        Rule that turns interests into scores. "weighted" is PoMRec. "mean" weights all
        interests equally. "max" scores each item by its nearest interest, as ComiRec
        [2]_; there is then no session vector.
    legacy_ones_padding : int, default=0
        Smallest number of prompt tokens. Constant ones fill them up to this number.
        5 reproduces the authors' program; 0 adds none.
    frozen_prompts : bool, default=False
        Whether prompt tokens keep their random first values. Use it as a control, to
        measure the effect of learning them.
    training : dict, default=None
        Values for parameters of the recommender that are left at "auto", such as
        ``{"learning_rate": 0.001}``. None changes nothing.

    Notes
    -----
    `skclip.inspection` has functions to look at the interests: `interest_vectors`,
    `interest_weights`, `interest_assignments` and `interest_report`.

    Differences from the paper and its code:

    - **Dispersion of an interest.** The paper adds the variance to the center, and the
      authors' program adds its square root. skclip follows the program;
      ``PoMRec(dispersion="var")`` follows the paper. A constant of 1e-8 under the root
      gives it a gradient where one token stands alone.
    - **Rows of ones.** The authors' program fills the prompt tokens up to five rows
      with constant ones and does not mask them. skclip has no such rows, which would be
      a hundred times longer than an item vector at first;
      ``PoMRec(legacy_ones_padding=5)`` adds them.
    - **Batches of one session.** The authors' program fails on a batch of one session
      and needs CUDA. skclip treats it as any other batch and runs on any device.
    - **Loss.** The paper uses BPR. The authors' program draws one negative for each
      prefix, and with more negatives it uses BPR-max without its penalty. skclip uses
      the loss of the recommender, so that backbones can be compared; `published` has
      the authors' loss, and ``loss="bpr-softmax"`` is the other one.
    - **Negatives.** The authors draw negatives from items that the user never touched.
      skclip draws them from all items but the target.
    - **Evaluation and stopping.** The authors' program ranks the target among 99
      sampled negatives and stops by NDCG@5. skclip ranks the whole catalog, so results
      cannot be compared with theirs; `published` has 200 epochs with patience 20, and
      ``scoring="ndcg@5"`` of the recommender does the rest.
    - **Length of prompt tokens.** The authors' program draws them from N(0, 0.01), as
      all weights. skclip does the same, but uses N(0, 1/d) if item vectors begin with
      length 1: behind a prompt's gate, with cosine scores or with features. Tokens a
      hundred times shorter would have no effect there.
    - **Biases before the softmax.** The authors' program has biases that cancel in the
      softmax over tokens. skclip keeps them, so that the numbers of parameters agree.
    - **Number of parameters.** The authors count the padding row of the item table. In
      skclip it is not one, so with 64 dimensions there are 64 fewer.
    - **Largest interest.** ``aggregation="max"`` is the rule of ComiRec and not of the
      paper. In training the interest nearest to the target scores all items, and in
      prediction each item is scored by the interest nearest to it.
    - **Cluster prompts.** The paper has no clusters. In skclip cluster prompts act on
      the items that PoMRec reads, as with every backbone, and are no further tokens.

    References
    ----------
    .. [1] X. Dong et al., "Prompt-based multi-interest learning method for sequential
           recommendation", TPAMI 2025, arXiv:2401.04312.
    .. [2] Y. Cen, J. Zhang, X. Zou, C. Zhou, H. Yang, J. Tang, "Controllable
           multi-interest framework for recommendation", KDD 2020, arXiv:2005.09347.

    Examples
    --------
    >>> from skclip.backbones import PoMRec
    >>> PoMRec(n_interests=2)
    PoMRec(n_interests=2)
    """

    n_interests: int = parameter(3, AT_LEAST_1)
    n_prompt_tokens: int = parameter(4, Interval(Integral, 0, None, closed="left"))
    dispersion: Literal["std", "var"] = parameter("std", StrOptions({"std", "var"}))
    dispersion_weight: float = parameter(3.0, Interval(Real, 0, None, closed="left"))
    attention_dim: int = parameter(8, AT_LEAST_1)
    weight_layers: int = parameter(1, AT_LEAST_1)
    use_extractor_prompts: bool = parameter(True, "boolean")
    use_aggregator_prompts: bool = parameter(True, "boolean")
    aggregation: Literal["weighted", "mean", "max"] = parameter(
        "weighted", StrOptions({"weighted", "mean", "max"})
    )
    legacy_ones_padding: int = parameter(0, Interval(Integral, 0, None, closed="left"))
    frozen_prompts: bool = parameter(False, "boolean")
    training: dict[str, Any] | None = parameter(None, dict, None)

    @classmethod
    def published(cls) -> Self:
        """Return the authors' configuration, with the one-negative BPR loss.

        The authors also read the latest 20 items only and stop by NDCG@5. Pass
        ``max_session_length=20, scoring="ndcg@5"`` to the recommender for this.
        """
        training = {"loss": "bpr", "loss__n_negatives": 1, "loss__shared": False}
        training |= {"embedding_dim": 64, "learning_rate": 1e-3, "batch_size": 256}
        training |= {"max_epochs": 200, "lr_schedule": "constant"}
        training |= {"weight_decay": 1e-6, "n_iter_no_change": 20}
        return cls(training=training)

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        return PoMRecNetwork(embedding_dim, max_length, self)
