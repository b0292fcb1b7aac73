"""Base classes of a backbone: a spec with hyperparameters, and a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from skclip._sklearn import BaseEstimator
from skclip._typing import IntArray

State: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """Sessions of a mini-batch, padded on the right, and the prefixes to encode.

    Query ``i`` is the prefix ``codes[rows[i], :ends[i]]``. Networks with
    ``shares_prefixes = True`` get several queries for each session. All others get one
    query, the whole session.

    Parameters
    ----------
    codes : LongTensor of shape (n_sessions, length)
        Item codes, 0 for padding. Codes above n_items are unseen items, which occur in
        prediction only. Equal codes are the same item.
    rows, ends : LongTensor of shape (n_queries,)
        Session of each query and length of its prefix.
    targets : LongTensor of shape (n_queries,)
        Item code of each query's target, 0 if it has none.
    clusters : LongTensor of shape (n_sessions, length, n_levels), default=None
        Clusters of each event. None means the clusters of its item.
    users, sessions : LongTensor of shape (n_sessions,), default=None
        Codes of users and sessions with a prompt, 0 if unknown.
    click_codes : LongTensor of shape (n_sessions, length, n_click_features), \
            default=None
        Codes of the features of each click, 0 if unknown. The vectors given to `encode`
        contain them already.
    weights : Tensor of shape (n_queries,), default=None
        Weight of each target in the loss. None means 1 for all.
    lookup : callable, default=None
        Function that returns prompted vectors (..., d) for item codes (...). Code 0 and
        unseen items get zeros.
    candidates : callable, default=None
        Function that returns candidate vectors (n, d) of catalog items (n,), as the
        scores use them.

    Examples
    --------
    >>> import torch
    >>> from skclip.backbones import Batch
    >>> batch = Batch(
    ...     codes=torch.tensor([[3, 1, 2], [2, 0, 0]]),
    ...     rows=torch.tensor([0, 0, 1]),
    ...     ends=torch.tensor([1, 3, 1]),
    ...     targets=torch.tensor([1, 0, 3]),
    ... )
    >>> batch.mask.int().tolist()
    [[1, 0, 0], [1, 1, 1], [1, 0, 0]]
    >>> batch.last(batch.codes[..., None]).ravel().tolist()
    [3, 2, 2]
    """

    codes: torch.Tensor
    rows: torch.Tensor
    ends: torch.Tensor
    targets: torch.Tensor
    clusters: torch.Tensor | None = None
    users: torch.Tensor | None = None
    sessions: torch.Tensor | None = None
    click_codes: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    lookup: Callable[[torch.Tensor], torch.Tensor] | None = None
    candidates: Callable[[torch.Tensor], torch.Tensor] | None = None

    def last(self, h: torch.Tensor) -> torch.Tensor:
        """Return the entry at the last event of each query.

        Parameters
        ----------
        h : Tensor of shape (n_sessions, length, ...)
            One vector per event.

        Returns
        -------
        last : Tensor of shape (n_queries, ...)
            ``h[rows, ends - 1]``.
        """
        return h[self.rows, self.ends - 1]

    def of_rows(self, h: torch.Tensor) -> torch.Tensor:
        """Return the entry of its session for each query.

        Parameters
        ----------
        h : Tensor of shape (n_sessions, ...)
            One entry per session.

        Returns
        -------
        parts : Tensor of shape (n_queries, ...)
            ``h[rows]``.
        """
        return h.index_select(0, self.rows)  # its gradient adds up in a fixed order

    @property
    def mask(self) -> torch.Tensor:
        """True where an event belongs to the query, (n_queries, length)."""
        positions = torch.arange(self.codes.shape[1], device=self.codes.device)
        return positions < self.ends[:, None]


class Backbone(nn.Module):
    """Network that maps the item vectors of a prefix to scores of the catalog.

    A subclass defines `encode`. The scores are
    ``scale * query(state) @ keys(item_table).T + bias``. For other scores, set
    ``dot_product = False`` and define `score_chunk`.

    Attributes
    ----------
    shares_prefixes : bool
        Whether one pass over a session encodes all its prefixes. Set it for causal
        networks only; ``encode`` then gets several queries per session.
    similarity : {"dot", "cosine"}
        Similarity of the published scorer. "cosine" normalizes queries and keys.
    scale : float
        Factor of all scores.
    normalize_items : bool
        Whether item vectors are scaled to length 1 wherever they are read or scored,
        after any prompt.
    merges_equal_items : bool
        Whether all clicks on an item in a session are one node of a graph. They then
        share the mean vector of their click features.
    bias : Tensor of shape (n_items,) or None
        Bias added to the score of each item.
    dot_product : bool
        Whether scores are dot products of `query` and `keys`.

    Examples
    --------
    A mean of the item vectors:

    >>> import torch
    >>> from skclip.backbones import Backbone, Batch
    >>> class Mean(Backbone):
    ...     def encode(self, x, batch):
    ...         weights = batch.mask / batch.ends[:, None]
    ...         return torch.bmm(weights[:, None], batch.of_rows(x)).squeeze(1)
    >>> one = torch.tensor([1])
    >>> batch = Batch(torch.tensor([[2, 1]]), rows=one - 1, ends=one + 1, targets=one)
    >>> Mean().encode(torch.tensor([[[1.0, 0.0], [0.0, 3.0]]]), batch)
    tensor([[0.5000, 1.5000]])
    """

    shares_prefixes: bool = False
    similarity: str = "dot"
    scale: float = 1.0
    normalize_items: bool = False
    merges_equal_items: bool = False
    dot_product: bool = True
    bias: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("bias", None)

    def encode(self, x: torch.Tensor, batch: Batch) -> State:
        """Return a state for each query, given the item vectors of the sessions.

        Parameters
        ----------
        x : Tensor of shape (n_sessions, length, d)
            Prompted item vectors, zeros where there is no event.
        batch : Batch
            The sessions and the prefixes to encode.

        Returns
        -------
        state : Tensor of shape (n_queries, ...), or a tuple of such tensors
            Input of `query` or `score_chunk`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define encode(x, batch)")

    def query(self, state: Any) -> torch.Tensor:
        """Return session vectors.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            State that `encode` returned.

        Returns
        -------
        vectors : Tensor of shape (n_queries, d)
            The states themselves by default.
        """
        return state

    def keys(self, item_table: torch.Tensor) -> torch.Tensor:
        """Return candidate vectors.

        Parameters
        ----------
        item_table : Tensor of shape (n_items, d)
            Item vectors.

        Returns
        -------
        vectors : Tensor of shape (n_items, d)
            The item vectors themselves by default.
        """
        return item_table

    def score_chunk(self, state: Any, keys: torch.Tensor) -> torch.Tensor:
        """Score some candidates, for ``dot_product = False`` only.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            Some rows of what `encode` returned.
        keys : Tensor of shape (n_keys, d)
            Some rows of ``keys(item_table)``.

        Returns
        -------
        scores : Tensor of shape (n_queries, n_keys)
            Without `scale` and `bias`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define score_chunk(state, keys)"
        )

    def scorer(
        self, state: Any, empty: Callable[..., torch.Tensor] | None = None
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a function that scores candidates, for ``dot_product = False`` only.

        Override it to compute once what the scores of all candidates share.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            Some rows of what `encode` returned.
        empty : callable, default=None
            In training, ``empty(*shape)`` returns memory for tensors that gradients
            need. The next step uses the same memory, which saves the allocation.

        Returns
        -------
        score : callable
            ``score(keys)`` must equal ``score_chunk(state, keys)``, which is also the
            default.
        """
        return partial(self.score_chunk, state)

    def normalize(self, state: Any) -> Any:
        """Scale the session vectors to length 1, for cosine scores.

        Define it if the state is a tuple of tensors.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            Queries, or states if ``dot_product = False``.

        Returns
        -------
        state : Tensor or tuple of Tensor
            The same with vectors of length 1.
        """
        if isinstance(state, tuple):
            raise TypeError(
                f"{type(self).__name__} returns several tensors as its state and does "
                "not define normalize(state), so it cannot score by cosine "
                "similarity. Define it, or pass similarity=None for its own score."
            )
        return F.normalize(state, dim=-1)

    def floats_per_query(self, length: int, dim: int) -> int:
        """Estimate how many numbers `encode` holds in memory for each query.

        Parameters
        ----------
        length : int
            Number of events of the query.
        dim : int
            Width of the item vectors.

        Returns
        -------
        count : int
            Estimate, which limits the number of prefixes per batch in prediction.
        """
        return 16 * length * dim

    def floats_per_score(self, state: Any) -> int:
        """Estimate how many numbers `score_chunk` holds in memory for each score.

        Include those that gradients need.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            State that `encode` returned.

        Returns
        -------
        count : int
            Estimate, which limits the size of chunks and the number kept in training.
        """
        return 1

    def init_table_(self, table: torch.Tensor, n_items: int) -> None:
        """Draw the first rows of an item or prompt table, as published for items.

        Parameters
        ----------
        table : Tensor of shape (n_rows, d)
            Table to fill in place.
        n_items : int
            Size of the catalog.
        """
        nn.init.normal_(table, std=(2.0 / (n_items + 1 + table.shape[1])) ** 0.5)

    def init_beside_unit_items_(self) -> None:
        """Draw parameters again that are added to item vectors of length 1.

        Called once, if the vectors given to `encode` begin with length 1. Does nothing
        by default.
        """

    def init_for_cosine_(self) -> None:
        """Change parameters that must not begin with the wrong sign.

        Called when a network with cosine scores is built, before weights are copied or
        loaded. Cosines ignore the length of the session vector, so a factor of the
        whole vector cannot change its sign in training. Does nothing by default.
        """

    def prepare(
        self, codes: IntArray, offsets: IntArray, ends: IntArray | None
    ) -> None:
        """Fill buffers from the training sessions, before training.

        Does nothing by default.

        Parameters
        ----------
        codes : ndarray of shape (n_events,)
            Item codes 1..n_items.
        offsets : ndarray of shape (n_sessions + 1,)
            Session ``i`` is ``codes[offsets[i]:offsets[i + 1]]``.
        ends : ndarray or None
            Flat positions of the targets if each session has one target. Sessions may
            then overlap, and only the steps to these positions are new. None means that
            all events count.
        """

    def update(self, codes: IntArray, offsets: IntArray, ends: IntArray | None) -> None:
        """Add further training sessions to the buffers that `prepare` filled.

        New items may have been appended to the catalog. The rows of old items in the
        buffers are unchanged. Does nothing by default.

        Parameters
        ----------
        codes, offsets, ends : ndarray
            New sessions, as in `prepare`.
        """

    def constrain_(self, item_table: torch.Tensor) -> None:
        """Change the item table in place, before training and after each step.

        Does nothing by default.

        Parameters
        ----------
        item_table : Tensor of shape (n_items, d)
            Item vectors without a padding row.
        """

    def param_groups(self) -> list[dict[str, Any]]:
        """Return the parameters in groups, as torch's optimizers expect them.

        Returns
        -------
        groups : list of dict
            One group with all parameters by default.
        """
        return [{"params": list(self.parameters())}]


class Dropout(nn.Dropout):
    """Dropout that draws from its own generator.

    On a CPU its masks cost a quarter of torch's, because four masks share 64 random
    bits. `p` is therefore rounded to a multiple of 1/65536.

    Attributes
    ----------
    generator : torch.Generator or None
        Generator that `fit` sets while it trains. None uses the generator of the
        process.
    """

    generator = None

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
            return x * kept.mul_(1.0 / (1.0 - self.p))
        bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(
            -(2**63), None, generator=self.generator
        )
        bits = bits.view(torch.int16)[: x.numel()].view(x.shape)
        # 1 from `drawn` on, 0 below. Whole numbers are exact in floats, and arithmetic
        # on floats is several times faster than comparisons that return booleans.
        drawn = round(self.p * 2**16) - 2**15
        kept = bits.to(x.dtype).sub_(drawn - 1).clamp_(0.0, 1.0)
        return x * kept.mul_(1.0 / (1.0 - self.p))


class BackboneSpec(BaseEstimator):
    """Base class for the hyperparameters of a backbone, as scikit-learn parameters.

    A subclass stores the hyperparameters in ``__init__``, for example as a dataclass,
    gives their ranges in ``_parameter_constraints`` and builds the network in `build`.
    A parameter `training` may hold settings for parameters of the recommender. They are
    used if the recommender leaves a parameter at "auto".

    Attributes
    ----------
    default_training : dict
        Settings with lower priority than `training` and a preset.
    scores_repeats : bool
        Whether the network scores items of the session in a special way. If so, the
        recommender learns no bias for them and refuses ``repeats=True``.

    Examples
    --------
    >>> from skclip.backbones import BACKBONES, BackboneSpec
    >>> isinstance(BACKBONES["narm"](hidden_dim=32), BackboneSpec)
    True
    """

    _parameter_constraints: dict = {}
    training: dict[str, Any] | None = None
    default_training: ClassVar[dict[str, Any]] = {}
    scores_repeats: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declared = {
            name: field.metadata.get("constraints", "no_validation")
            for name, field in vars(cls).items()
            if isinstance(field, Field)
        }
        cls._parameter_constraints = cls._parameter_constraints | declared

    def build(self, embedding_dim: int, n_items: int, max_length: int) -> Backbone:
        """Return a new, randomly initialized network.

        Parameters
        ----------
        embedding_dim : int
            Width of the item vectors.
        n_items : int
            Size of the catalog.
        max_length : int
            Largest number of events of a session.

        Returns
        -------
        network : Backbone
            The network, on the CPU and in training mode.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define "
            "build(embedding_dim, n_items, max_length)"
        )


def init_uniform_(parameters, dim):
    """Draw parameters from the uniform distribution on +-1/sqrt(dim)."""
    for parameter in parameters:
        nn.init.uniform_(parameter, -(dim**-0.5), dim**-0.5)


def spare_biases(network):
    """Parameter groups without weight decay for biases, batch norms and PReLU."""
    decayed, spared = [], []
    for module in network.modules():
        special = isinstance(module, (nn.BatchNorm1d, nn.PReLU))
        for name, parameter in module.named_parameters(recurse=False):
            group = spared if special or name.startswith("bias") else decayed
            group.append(parameter)
    return [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
