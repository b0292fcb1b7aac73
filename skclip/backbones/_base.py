"""What a backbone is: a spec with hyper-parameters, and a network."""

from collections.abc import Callable
from dataclasses import Field, dataclass
from functools import partial

import torch
from sklearn.base import BaseEstimator
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Batch:
    """Sessions of a mini-batch, right-padded, and the prefixes asked for.

    Query ``i`` is the prefix ``codes[rows[i], :ends[i]]``. Networks that share a
    pass get several queries per session, all others one, of the whole session.

    Parameters
    ----------
    codes : LongTensor of shape (n_sessions, length)
        Item codes, 0 = padding. Codes above n_items are unseen items, which occur at
        prediction only; equal codes are the same item.
    rows, ends : LongTensor of shape (n_queries,)
        Whose prefix each query is, and how long.
    targets : LongTensor of shape (n_queries,)
        Item codes, 0 = none.
    clusters : LongTensor of shape (n_sessions, length, n_levels), default=None
        None where every item's own clusters hold.
    users, sessions : LongTensor of shape (n_sessions,), default=None
        Codes of those that have a prompt, 0 = unknown.
    click_codes : LongTensor of shape (n_sessions, length, n_click_features), \
            default=None
        Codes of the features of each click, 0 = unknown. Their vectors are in what
        `encode` is given already.
    weights : Tensor of shape (n_queries,), default=None
        How much each target counts in the loss. None means 1.
    lookup : callable, default=None
        Vectors (..., d) of any item codes (...), prompted by their clusters; zeros
        for 0 and for unseen items.
    candidates : callable, default=None
        Vectors (n, d) of catalog items (n,), as scores compare them.

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
    clusters: torch.Tensor = None
    users: torch.Tensor = None
    sessions: torch.Tensor = None
    click_codes: torch.Tensor = None
    weights: torch.Tensor = None
    lookup: Callable = None
    candidates: Callable = None

    def last(self, h):
        """Return what stands at the last event of each query.

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

    def of_rows(self, h):
        """Return the session's part for each query.

        Parameters
        ----------
        h : Tensor of shape (n_sessions, ...)
            One part per session.

        Returns
        -------
        parts : Tensor of shape (n_queries, ...)
            ``h[rows]``.
        """
        return h.index_select(0, self.rows)  # its gradient adds up in a fixed order

    @property
    def mask(self):
        """True where an event belongs to the query, (n_queries, length)."""
        positions = torch.arange(self.codes.shape[1], device=self.codes.device)
        return positions < self.ends[:, None]


class Backbone(nn.Module):
    """Network from the vectors of a prefix to scores of the catalog.

    A subclass defines `encode`. Scores are
    ``scale * query(state) @ keys(item_table).T + bias``; a scorer that is no dot
    product sets ``dot_product = False`` and defines `score_chunk`.

    Attributes
    ----------
    shares_prefixes : bool
        Whether one pass over a session serves all its prefixes (causal networks).
        Then ``encode`` answers several queries per session.
    similarity : {"dot", "cosine"}
        What the published scorer compares by; "cosine" normalizes queries and keys.
    scale : float
    normalize_items : bool
        Whether item vectors have length 1 wherever they are read or scored, after
        any prompt.
    merges_equal_items : bool
        Whether all clicks on an item in a session are one node of a graph. They then
        share one vector of their click features.
    bias : Tensor of shape (n_items,) or None
        What is added to each item's scores.
    dot_product : bool
        Whether scores are products of `query` and `keys`.

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

    shares_prefixes = False
    similarity = "dot"
    scale = 1.0
    normalize_items = False
    merges_equal_items = False
    dot_product = True

    def __init__(self):
        super().__init__()
        self.register_parameter("bias", None)

    def encode(self, x, batch):
        """Map the item vectors of sessions to a state of each query.

        Parameters
        ----------
        x : Tensor of shape (n_sessions, length, d)
            Prompted item vectors, zeros where there is no event.
        batch : Batch
            The sessions, and the prefixes asked for.

        Returns
        -------
        state : Tensor of shape (n_queries, ...), or a tuple of such
            What `query` or `score_chunk` takes.
        """
        raise NotImplementedError(f"{type(self).__name__} must define encode(x, batch)")

    def query(self, state):
        """Return session vectors.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            From `encode`.

        Returns
        -------
        vectors : Tensor of shape (n_queries, d)
            The states themselves by default.
        """
        return state

    def keys(self, item_table):
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

    def score_chunk(self, state, keys):
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

    def scorer(self, state, empty=None):
        """Prepare what the scores of all candidates share, for ``dot_product = False``.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            Some rows of what `encode` returned.
        empty : callable, default=None
            In training ``empty(*shape)`` gives memory for what gradients need. It is
            used again in the next step, which saves the cost of new memory.

        Returns
        -------
        score : callable
            ``score(keys)`` is ``score_chunk(state, keys)``, as it is by default.
        """
        return partial(self.score_chunk, state)

    def normalize(self, state):
        """Normalize what is compared with the keys, for cosine scores.

        Must be defined for states of several tensors.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            Queries, or the states of a scorer that is no dot product.

        Returns
        -------
        state : Tensor or tuple of Tensor
            With vectors of length 1.
        """
        if isinstance(state, tuple):
            raise TypeError(
                f"{type(self).__name__} has states of several tensors, so it must "
                "define normalize(state) before it can score by cosine similarity. "
                "Pass similarity=None for its own score."
            )
        return F.normalize(state, dim=-1)

    def floats_per_query(self, length, dim):
        """Estimate how many numbers `encode` holds for a query.

        Parameters
        ----------
        length : int
            Events of the query.
        dim : int
            Width of the item vectors.

        Returns
        -------
        count : int
            It bounds how many prefixes are read at a time in prediction.
        """
        return 16 * length * dim

    def floats_per_score(self, state):
        """Estimate how many numbers `score_chunk` holds for each score.

        Those that gradients need are among them.

        Parameters
        ----------
        state : Tensor or tuple of Tensor
            From `encode`.

        Returns
        -------
        count : int
            It bounds the chunks, and how many are kept in training.
        """
        return 1

    def init_table_(self, table, n_items):
        """Draw the rows of an item or prompt table as published for the items.

        Parameters
        ----------
        table : Tensor of shape (n_rows, d)
            Changed in place.
        n_items : int
            Size of the catalog.
        """
        nn.init.normal_(table, std=(2.0 / (n_items + 1 + table.shape[1])) ** 0.5)

    def init_beside_unit_items_(self):
        """Draw again what stands beside item vectors that have length 1, if anything.

        Called once, where `encode` is given vectors that begin with that length.
        """

    def init_for_cosine_(self):
        """Change what must not begin with the wrong sign, if anything.

        Called when a network is made whose scores are cosines; weights that are taken
        over or loaded come after. Cosines forget the length of the session vector: what
        multiplies all of it gets no gradient that leads through zero.
        """

    def prepare(self, codes, offsets, ends):
        """Fill buffers from the training sessions, before training.

        Parameters
        ----------
        codes : ndarray of shape (n_events,)
            1..n_items.
        offsets : ndarray of shape (n_sessions + 1,)
            Session ``i`` holds ``codes[offsets[i]:offsets[i + 1]]``.
        ends : ndarray or None
            Flat positions of the targets where each session has one (then sessions
            may overlap, and only what leads to these is new); None: all events count.
        """

    def update(self, codes, offsets, ends):
        """Take further training sessions into the buffers that `prepare` filled.

        The catalog may have grown at its end; buffers hold what they held before for
        the items that were there. Does nothing by default.

        Parameters
        ----------
        codes, offsets, ends : ndarray
            As for `prepare`.
        """

    def constrain_(self, item_table):
        """Change the item table in place, at first and after each step.

        Parameters
        ----------
        item_table : Tensor of shape (n_items, d)
            Without the row of padding.
        """

    def param_groups(self):
        """Return the network's parameters in groups, as torch's optimizers take them.

        Returns
        -------
        groups : list of dict
            One group with all parameters by default.
        """
        return [{"params": list(self.parameters())}]


class Dropout(nn.Dropout):
    """Dropout that draws from a generator of its own.

    On a CPU its masks cost a quarter of torch's: four numbers are compared with 16
    random bits each, so that `p` is kept to 1/65536.

    Attributes
    ----------
    generator : torch.Generator or None
        A fit sets its own while it trains; None is torch's process-wide one.
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
        # 1 from `drawn` on, 0 below. Whole numbers are exact, and comparisons that
        # give bool are several times slower than arithmetic on floats.
        drawn = round(self.p * 2**16) - 2**15
        kept = bits.to(x.dtype).sub_(drawn - 1).clamp_(0.0, 1.0)
        return x * kept.mul_(1.0 / (1.0 - self.p))


class BackboneSpec(BaseEstimator):
    """Hyperparameters of a backbone, as scikit-learn parameters.

    A subclass stores them in ``__init__`` (that of a dataclass will do), names their
    ranges in ``_parameter_constraints`` and builds the network. A parameter `training`
    holds settings for those parameters of the recommender that are left at "auto".

    Attributes
    ----------
    default_training : dict
        Such settings where neither `training` nor a preset has one.
    scores_repeats : bool
        Whether the network scores items of the session in a way of its own, so that
        the recommender learns no bias for them (its parameter `repeats`).

    Examples
    --------
    >>> from skclip.backbones import BACKBONES, BackboneSpec
    >>> isinstance(BACKBONES["narm"](hidden_dim=32), BackboneSpec)
    True
    """

    _parameter_constraints: dict = {}
    training = None
    default_training: dict = {}
    scores_repeats = False

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        declared = {
            name: field.metadata.get("constraints", "no_validation")
            for name, field in vars(cls).items()
            if isinstance(field, Field)
        }
        cls._parameter_constraints = cls._parameter_constraints | declared

    def build(self, embedding_dim, n_items, max_length):
        """Return a new, randomly initialized network.

        Parameters
        ----------
        embedding_dim : int
            Width of the item vectors.
        n_items : int
            Size of the catalog.
        max_length : int
            No session that it will see is longer.

        Returns
        -------
        network : Backbone
            On the CPU, in training mode.
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
    """Groups of parameters: biases, batch norms and rectifiers have no weight decay."""
    decayed, spared = [], []
    for module in network.modules():
        special = isinstance(module, (nn.BatchNorm1d, nn.PReLU))
        for name, parameter in module.named_parameters(recurse=False):
            group = spared if special or name.startswith("bias") else decayed
            group.append(parameter)
    return [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
