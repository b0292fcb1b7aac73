"""CLIPSessionRecommender: parameters, docstrings, delegation."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import torch
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional as F

from skclip._base import SessionEstimator
from skclip._clip._chunks import each_chunk
from skclip._clip._fitted import Fitted
from skclip._clip._fitting import fit_steps, snapshot
from skclip._clip._new_features import with_item_features
from skclip._clusters import SessionClusterer
from skclip._model import KINDS, Fusion, Kind, Prompt, as_fusion, as_prompt
from skclip._ranking import (
    Preselected,
    RankingMixin,
    SimilarItemsMixin,
    rows_apart,
)
from skclip._sklearn import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    with_callbacks,
)
from skclip._training import (
    LOSSES,
    CrossEntropy,
    FitCallbacks,
    SampledLoss,
    as_loss,
    device_or_auto,
)
from skclip._typing import (
    Auto,
    FeaturesLike,
    FloatArray,
    Ids,
    IntArray,
    ItemIds,
    PathLike,
    RandomState,
    Scoring,
    Self,
    SessionsLike,
    Weights,
)
from skclip.backbones import BACKBONES, BackboneSpec

_AUTO = StrOptions({"auto"})
_Loss: TypeAlias = Literal[
    "auto", "cross_entropy", "sampled_softmax", "gbce", "bpr", "bpr-max", "bpr-softmax"
]


class CLIPSessionRecommender(
    CallbackSupportMixin, SimilarItemsMixin, RankingMixin, SessionEstimator
):
    r"""Rank the catalog for the next item of a session, with cluster prompts.

    This is CLIP-SBR [1]_. `fit` clusters the items that follow each other in sessions
    and learns one prompt, a vector, for each cluster. A gate adds the prompt to the
    vector of the item, and a backbone reads the session:

    .. math::
        T_i = \sigma(W_x \hat{x}_i + b_x) \odot \hat{x}_i
            + \sigma(W_p \hat{p}_{c(i)} + b_p) \odot \hat{p}_{c(i)}, \qquad
        s = \mathrm{backbone}(T_{i_1}, \dots, T_{i_t}), \qquad
        \mathrm{score}_j = s^\top x_j

    The network is trained with the cross-entropy of the softmax over the whole catalog,
    or over a sample of a large one. Always compare it with `PopularityRecommender` and
    `SessionKNN`: with few sessions per item a simple model may be as good or better.

    The parameters come in groups:

    - **Model**: `backbone`, `preset`, `embedding_dim`, `similarity`, `temperature`,
      `max_session_length`, `min_item_count`, `unseen_items`, `repeats`.
    - **Prompt**: `prompt`, `clusterer`.
    - **Features**: `item_features`, `click_features`.
    - **Loss**: `loss`.
    - **Training**: `optimizer`, `learning_rate`, `lr_schedule`, `weight_decay`,
      `batch_size`, `max_epochs`, `early_stopping`, `validation_fraction`,
      `n_iter_no_change`, `scoring`, `warm_start`, `n_rehearsed`.
    - **Run**: `precision`, `device`, `n_threads`, `max_time`, `checkpoint`,
      `random_state`, `verbose`.

    A parameter at "auto" takes its value from the `training` of the backbone, else from
    `preset`, else the default named below. `resolved_params_` shows the values used.

    Parameters
    ----------
    backbone : str or BackboneSpec, default="gru4rec"
        Network that reads the session: a name in ``skclip.backbones.BACKBONES``, or a
        spec object with hyperparameters of its own, such as
        ``GRU4Rec(hidden_dim=64)``. ``set_params(backbone__hidden_dim=64)`` replaces a
        name by its spec object.
    preset : "paper" or None, default=None
        Recipe for the parameters that are left at "auto". None is the recipe chosen on
        the validation parts of eight click logs: prompted candidates, a cosine score
        and a fixed number of epochs on all sessions. Choose "paper" to reproduce [1]_:

        - raw candidates, and the backbone's own score;
        - at most 50 epochs in batches of 256, at a constant learning rate of 0.01;
        - early stopping by MRR@5, with a patience of 10 epochs;
        - votes for the clusters of unseen items, and no bias for repeated items.

    embedding_dim : int, default="auto"
        Width of item vectors and prompts, 1 or more. The item table holds
        ``n_items * embedding_dim`` numbers. "auto" is 64, as in [1]_.
    similarity : {"dot", "cosine"} or None, default="auto"
        Score by which sessions are compared with items. "dot" is the inner product.
        "cosine" normalizes session and item vectors, and divides their product by
        `temperature`. None is the backbone's own score. "auto" is "cosine", or None
        with ``preset="paper"``.
    temperature : float, default="auto"
        Temperature of the cosine score, greater than 0. Lower values give a sharper
        softmax. "auto" is the `temperature` of the backbone where it has one, as CORE
        and NISER do. For other backbones it is 0.1, or 0.07 with a sampled loss.
    max_session_length : int, default=50
        Number of clicks that the model reads of a session, 1 or more. Of longer
        prefixes it reads the latest clicks.
    min_item_count : int, default=1
        Smallest number of training events of an item in the catalog, 1 or more. Events
        of rarer items are removed from the training sessions, so that their neighbors
        follow each other. In prediction these items are unseen.
    unseen_items : {"drop", "vote"}, default="auto"
        Treatment of items in prediction that were not seen in `fit`. "drop" ignores
        them. "vote" reads each of them as the prompt of a cluster. The items beside it
        in the observed prefix vote for that cluster. Without cluster prompts unseen
        items are always ignored. Sessions without a known item get the most popular
        items. "auto" is "drop", or "vote" with ``preset="paper"``. The value at the
        time of `fit` counts.
    repeats : bool, default="auto"
        Whether items that are in the session already get a learned bias. It depends on
        how recently and how often they were clicked, see `repeat_bias_`. It is learned
        from held-out sessions, after training:

        - with early stopping, from the validation part or `eval_set`;
        - else from about 5,000 prefixes, at most `validation_fraction` of the
          sessions. These are the latest sessions where times are known, else a random
          draw. If they hold more than 3% of all prefixes, the model is then fitted
          again on all sessions, so that `fit` takes about twice as long.

        "auto" keeps the bias only if it improves the `scoring` of the held-out sessions
        by 2%. It does not try one if fewer than 1% of the training targets are items of
        their session. Backbones that score repeated items in their own way, such as
        TAGNN, have no bias. `partial_fit` keeps the bias as it is.
    prompt : str, tuple of str, Prompt or None, default="cluster"
        Kinds of learned vectors that join the vectors of items, see section 4.3 of
        [1]_: "cluster" for the cluster of an item, "user" and "session" for the user
        and the session. Pass a tuple for several kinds, and a `Prompt` to set the gate
        and other parameters. None trains the bare backbone, on the same code path.
    clusterer : SessionClusterer or compatible object, default=None
        Estimator of the item clusters: any object with ``fit(X, y)`` and
        ``membership_``. With several resolutions it has ``levels_`` too. None is a
        default `SessionClusterer`. It is not used without cluster prompts, or if the
        sessions carry clusters already. If its `random_state` is None, it is drawn from
        the `random_state` of the recommender. To keep a clusterer that is fitted
        already, pass it inside ``sklearn.frozen.FrozenEstimator``.
    item_features : ItemFeatures, data frame, mapping or Fusion, default=None
        Vectors that describe the items, such as prices, categories or titles. Each item
        of the sessions needs one. `ItemFeatures.from_frame` makes them from a data
        frame with any transformer of scikit-learn. A pandas data frame of numbers needs
        the item ids as its index. Pass a `Fusion` to choose how features join the
        learned vectors. Cold items that have features join the catalog and can be
        recommended at once, before their first click. Use `set_item_features`
        to change features after `fit`.
    click_features : str, tuple of str or None, default="auto"
        Properties of each click that are read beside its item. Each property has
        learned vectors, which are added to the vector of the item.

        - "event": type of the event, see ``event=`` of `Sessions.from_events`;
        - "gap": time since the click before, in powers of two from one second;
        - "dwell": time until the click after, unknown for the newest click;
        - "position": number of clicks up to the newest one;
        - "hour" and "weekday": hour and day of the week, in UTC.

        "auto" is "event" if the training sessions have two types or more, else None.
        All but "event" and "position" need times. Values that are missing, or new in
        prediction, are read as unknown. With "dwell" or "position" training takes
        longer, because each prefix is read on its own.
    loss : str or object of `skclip.losses`, default="auto"
        Training loss, by name or as an object with parameters of its own.

        - "cross_entropy" is the softmax over the whole catalog.
        - "sampled_softmax", "bpr", "bpr-max", "bpr-softmax" and "gbce" compare each
          target with a sample of items, for large catalogs. "sampled_softmax" has the
          logQ correction; "bpr-softmax" is "bpr-max" without its penalty. A step
          updates only the item vectors that it touches, and `weight_decay` leaves
          item vectors alone.

        "auto" is "cross_entropy" while the scores of a batch fit in 512 MiB, else
        "sampled_softmax". On a CPU a catalog of more than 8,192 items also gets
        "sampled_softmax" if a fit would compute more than 10 billion scores. That is
        the number of prefixes times items times epochs of ``max_epochs="auto"``.
    optimizer : {"adam", "adamw"}, default="auto"
        Optimizer of all weights. They differ in `weight_decay`. "auto" is "adam".
    learning_rate : float, default="auto"
        Step size of the optimizer at the start, greater than 0. Tune it on a log scale.
        "auto" is 0.005 with the cosine score, else 0.01.
    lr_schedule : {"constant", "cosine", "step"}, default="auto"
        Course of the learning rate. "cosine" lowers it to 0 over `max_epochs`. "step"
        divides it by 10 after every 3 epochs. "auto" is "cosine", or "constant" with
        ``preset="paper"``.
    weight_decay : float, default="auto"
        Strength of the L2 penalty, 0 or more. "adam" adds it to the gradient, "adamw"
        subtracts it from the weights. "auto" is 0.
    batch_size : int, default="auto"
        Approximate number of prefixes in a training step, 1 or more. The prefixes of a
        session that are computed in one pass stay together. A number greater than that
        of all prefixes means all of them. "auto" is 512. On small data it is a smaller
        power of two, at least 64, that makes about 100 steps per epoch.
    max_epochs : int, default="auto"
        Largest number of passes over the training data, 1 or more. "auto" is 10. Small
        data get more epochs, until they make 400 steps, at most 100 epochs. Large data
        get fewer epochs, so that a fit reads 4 million prefixes, at least 3 epochs.
    early_stopping : bool, default="auto"
        Whether to stop when the `scoring` of a validation part does not improve, and to
        keep the best weights. The validation part is held out from `X`, unless you pass
        `eval_set`. False trains on all rows for `max_epochs` epochs. "auto" is False,
        and True if `n_iter_no_change` is set by you, by the backbone or by the preset.
    validation_fraction : float, default=0.1
        Share of the sessions that early stopping holds out, between 0 and 1. These are
        the sessions with the latest last events where times are known, else a random
        draw. Graph, clusters and catalog use all rows. The model is not fitted again on
        the held-out rows.
    n_iter_no_change : int, default="auto"
        Patience of early stopping: number of epochs without improvement, 1 or more.
        "auto" is 3, or 10 with ``preset="paper"``.
    scoring : str or callable, default="auto"
        Metric of `score` and of early stopping: ``"recall@k"``, ``"mrr@k"``,
        ``"ndcg@k"``, or a function ``callable(estimator, X, y)``. "auto" is "mrr@20",
        or "mrr@5" with ``preset="paper"``.
    warm_start : bool, default=False
        Whether `fit` starts from the vectors and weights of the previous fit. They are
        kept for all items, users and sessions that are in both. A cluster takes over
        the prompt of the old cluster that it overlaps most. The backbone and all sizes
        must be the same.
    n_rehearsed : int, default=100_000
        Number of training sessions that the model keeps, 0 or more. `partial_fit`
        learns them again together with new sessions. They are the latest sessions, or a
        sample if times are unknown. More sessions give better updates and take more
        time, and 4 bytes per click. Model files contain them: anyone who has the file
        can read them. 0 keeps none.
    precision : {"auto", "float32", "bf16"}, default="auto"
        Precision of the products in the full softmax. "bf16" multiplies in bfloat16 and
        sums in float32. "auto" is "bf16" where that is clearly faster, else "float32".
        On a CPU this is measured once per process, in less than a tenth of a second,
        and bfloat16 must be 1.3 times as fast. On CUDA it needs compute capability 8.
        Sampled losses and TAGNN, whose score is not a dot product, use "float32".
    device : str, default="auto"
        Device of PyTorch that trains and ranks, such as "cpu" or "cuda:1". "auto" is
        CUDA where available, else the CPU.
    n_threads : int, default=None
        Largest number of CPU threads in all methods, 1 or more. It is never higher than
        the number of cores that the process may use. None takes the number that PyTorch
        is set to, and one in a worker of joblib. Pass 1 if other programs use the
        cores. Threads share large products, rankings, and the steps of the network over
        very many events.
    max_time : float, default=None
        Time limit of training in seconds, greater than 0. None means no limit. If
        `repeats` needs a first fit, that takes at most half of the time.
    checkpoint : path-like, default=None
        File that gets the state of training after each epoch. Call `fit` again with the
        same parameters, data and versions to go on from this file. The result is the
        model that an uninterrupted fit gives. A file of other parameters or data is
        refused. The file is removed after training, and stays if training was
        interrupted or `max_time` was reached. In a search each candidate has its own
        file beside it, which the last fit on all data removes. It needs an integer
        `random_state`.
    random_state : int, RandomState instance or None, default=None
        Seed of all randomness: clusters, split, weights, order of batches and dropout.
        Pass an integer for reproducible results.
    verbose : bool, default=False
        Whether to show the loss and the validation score. They appear as a progress bar
        in a terminal or notebook, elsewhere as one line per epoch.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog, sorted: the items seen in `fit`, and those that have
        `item_features`.
    n_items_ : int
        Size of the catalog.
    item_counts_ : ndarray of shape (n_items,)
        Number of training events of each item, or the sum of their weights.
    repeat_bias_ : ndarray of shape (12, 4), or None
        Bias that is added to the score of an item that is in the session already, by
        its recency and its number of clicks. None without `repeats`.
    fusion_weight_ : float or None
        Mean weight of the learned vectors ("gate") or of the features ("add", "late"),
        over the clicked items that have features. None for other kinds of `Fusion`.
    clusterer_ : object or None
        The fitted clusterer. None without cluster prompts, or if the sessions carried
        clusters.
    membership_ : ndarray of shape (n_items,), int32, or None
        Cluster of each item, counted from 0; -1 means none. With several resolutions
        these are the clusters of the first. None without cluster prompts.
    user_ids_ : ndarray of shape (n_users,) or None
        Users that have a prompt, sorted: those of the training sessions. None without
        user prompts.
    resolved_params_ : dict
        Values that `fit` used for parameters that may be "auto", and for
        ``loss__n_negatives``, ``device`` and ``n_threads``.
    history_ : list of dict
        One entry per epoch with ``epoch``, ``train_loss`` and ``seconds``, and with
        ``validation_score`` if there is a validation part.
    n_iter_ : int
        Number of epochs run.
    best_validation_score_ : float or None
        `scoring` of the kept weights on the validation part, before the bias of
        `repeats` is added. None without a validation part.

    See Also
    --------
    SessionClusterer : The clusters, also as a Pipeline step.
    PopularityRecommender : The simplest baseline.
    skclip.predict_topk : Ranks through a Pipeline or a search.

    Notes
    -----
    Ranking takes 64 MiB for the scores of a chunk of rows. The full softmax takes at
    most 128 MiB in a training step. Sessions without a user, or whose user was not in
    the training sessions, have no user prompt (see `Prompt`).

    The same seed, `n_threads` and `precision` give the same bits on the same kind of
    CPU. With other numbers of threads results agree up to rounding. The number of
    threads is limited by the affinity of the process and by its container. One thread
    feeds a GPU, where the order of some sums is random.

    `fit` and `partial_fit` are data parallel inside a process group of
    ``torch.distributed``. Each process calls them with the same sessions and
    parameters, learns its share of the rows of each batch, and ends with the same
    model. The first process clusters, shows progress, measures `max_time` and writes
    `checkpoint`. LESSR is refused there, because it normalizes over a batch. Fits
    inside a search are not shared out. The page "Scale out" of the documentation shows
    how to start.

    Differences from the paper and its code:

    - **Unseen items.** The paper links a session to its known items to find clusters
      for the others. Its code clusters unseen items jointly with the test rows, and
      gives some of them the last cluster or the prompt of the padding. skclip drops
      them by default, which ranked better in our benchmarks. ``unseen_items="vote"``
      finds a cluster from the observed prefix and nothing after it.
    - **Items of the session.** The paper recommends items that the session has "not
      interacted with", but its code does not leave them out. skclip ranks them too,
      because returning to an item is a real click. With ``exclude_seen=True``,
      `predict_topk` leaves them out.
    - **Early stopping.** The paper stops by MRR@5 with patience 50, its code by MRR@10
      with patience 10 within 50 epochs. skclip trains a fixed number of epochs on all
      sessions, because holding out the latest ones lost 2 to 4 % of MRR@20 on three
      validation parts. ``early_stopping=True`` stops by MRR@20 with patience 3;
      ``preset="paper"`` combines MRR@5, patience 10 and 50 epochs at a constant rate.
    - **Epoch that is kept.** Programs of the SR-GNN family report the epoch that was
      best on the test part, which makes their results too high. skclip keeps the last
      epoch, or with early stopping the best one on the validation part; `fit` never
      sees a test part.
    - **Optimizer settings.** The paper and its code use Adam without weight decay, and
      choose learning rate and batch size from grids. skclip uses the same optimizer and
      sets both by rules (see `resolved_params_`). ``preset="paper"`` takes 0.01 and 256
      from the grids; a search can try the rest, 0.001 to 0.05 and 64 to 1024.
    - **Padding row.** The published code trains the padding row of the item table as a
      candidate. In skclip this row is zero, is not trained and is never recommended,
      because it would leak into sums that are not masked.
    - **Influence of padding.** Some published networks attend to padding, fill
      neighbors up with item 0 or add a padding node, so that scores depend on the other
      rows of a batch. skclip masks padding in every backbone and has no option for the
      other behavior, which is an accident.
    - **Bias of attention keys.** Published transformer layers have a bias for the keys.
      skclip leaves it out, because it cancels in the softmax.
    - **Prefixes per pass.** Published programs read one row for each prefix. skclip
      reads a session once for all its prefixes if the backbone only looks back.
      Predictions are the same; in training, the prefixes of a session share a batch and
      a dropout mask.
    - **First vectors with cosine scores.** The paper does not score by cosine, so it
      has no rule for first vectors. With ``similarity="cosine"``, skclip draws vectors
      as the backbone does and scales them to a mean length of 1. Only directions count
      then, but the length decides how fast Adam turns them. The usual short vectors
      trained slower and ranked worse on sparse data.
    - **Device.** Two published models run only on the device "cuda:0". skclip runs on
      any device; ``device="auto"`` uses CUDA if it is available, and the CPU otherwise.
    - **Published gains.** The paper's column "Imp. (%)" is the mean of the relative
      gains in MRR@5 and Recall@5, so its 45.30 for NARM is the gain in neither metric.
      Its rows for CLIP-GC-SAN and CLIP-LESSR share two numbers on Reddit, probably by a
      copying mistake. skclip reports each metric on its own and takes neither row as a
      target.

    References
    ----------
    .. [1] W. Yang, C. Wang, Z. Song, W. Zhang, P. S. Yu, "Item Cluster-aware Prompt
           Learning for Session-based Recommendation", arXiv:2410.04756.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.datasets import make_sessions
    >>> X, _ = make_sessions(n_sessions=500, n_items=60, random_state=0)
    >>> rec = CLIPSessionRecommender(max_epochs=3, random_state=0).fit(X)
    >>> rec.predict_topk([["item-007", "item-021"], []], k=3).shape
    (2, 3)
    """

    n_items_: int
    item_counts_: FloatArray
    clusterer_: Any
    membership_: IntArray | None
    user_ids_: ItemIds | None
    resolved_params_: dict[str, Any]
    history_: list[dict[str, Any]]
    n_iter_: int
    best_validation_score_: float | None
    set_partial_fit_request: Callable[..., Self]

    _parameter_constraints: dict = {
        "backbone": [str, BackboneSpec],
        "preset": "no_validation",  # the message names the two that exist
        "embedding_dim": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "similarity": [StrOptions({"auto", "dot", "cosine"}), None],
        "temperature": [Interval(Real, 0, None, closed="neither"), _AUTO],
        "max_session_length": [Interval(Integral, 1, None, closed="left")],
        "min_item_count": [Interval(Integral, 1, None, closed="left")],
        "unseen_items": [StrOptions({"auto", "drop", "vote"})],
        "repeats": ["boolean", _AUTO],
        "prompt": [StrOptions(set(KINDS)), tuple, list, Prompt, None],
        "clusterer": [HasMethods(["fit"]), None],
        "item_features": "no_validation",  # checked by `as_item_features`
        "click_features": "no_validation",  # checked by `as_click_features`
        "loss": [StrOptions({"auto", *LOSSES}), *LOSSES.values()],
        "optimizer": [StrOptions({"auto", "adam", "adamw"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), _AUTO],
        "lr_schedule": [StrOptions({"auto", "constant", "cosine", "step"})],
        "weight_decay": [Interval(Real, 0, None, closed="left"), _AUTO],
        "batch_size": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "early_stopping": ["boolean", _AUTO],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "scoring": [str, callable],
        "warm_start": ["boolean"],
        "n_rehearsed": [Interval(Integral, 0, None, closed="left")],
        "precision": [StrOptions({"auto", "float32", "bf16"})],
        "device": [str],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "checkpoint": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone: str | BackboneSpec = "gru4rec",
        *,
        preset: Literal["paper"] | None = None,
        embedding_dim: int | Auto = "auto",
        similarity: Literal["auto", "dot", "cosine"] | None = "auto",
        temperature: float | Auto = "auto",
        max_session_length: int = 50,
        min_item_count: int = 1,
        unseen_items: Literal["auto", "drop", "vote"] = "auto",
        repeats: bool | Auto = "auto",
        prompt: Kind | tuple[Kind, ...] | Prompt | None = "cluster",
        clusterer: Any = None,
        item_features: FeaturesLike | Fusion | None = None,
        click_features: str | tuple[str, ...] | None = "auto",
        loss: _Loss | CrossEntropy | SampledLoss = "auto",
        optimizer: Literal["auto", "adam", "adamw"] = "auto",
        learning_rate: float | Auto = "auto",
        lr_schedule: Literal["auto", "constant", "cosine", "step"] = "auto",
        weight_decay: float | Auto = "auto",
        batch_size: int | Auto = "auto",
        max_epochs: int | Auto = "auto",
        early_stopping: bool | Auto = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int | Auto = "auto",
        scoring: Scoring = "auto",
        warm_start: bool = False,
        n_rehearsed: int = 100_000,
        precision: Literal["auto", "float32", "bf16"] = "auto",
        device: str = "auto",
        n_threads: int | None = None,
        max_time: float | None = None,
        checkpoint: PathLike | None = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.preset = preset
        self.embedding_dim = embedding_dim
        self.similarity = similarity
        self.temperature = temperature
        self.max_session_length = max_session_length
        self.min_item_count = min_item_count
        self.unseen_items = unseen_items
        self.repeats = repeats
        self.prompt = prompt
        self.clusterer = clusterer
        self.item_features = item_features
        self.click_features = click_features
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.scoring = scoring
        self.warm_start = warm_start
        self.n_rehearsed = n_rehearsed
        self.precision = precision
        self.device = device
        self.n_threads = n_threads
        self.max_time = max_time
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def _parts(self):
        backbone, clusterer = self.backbone, self.clusterer
        if isinstance(backbone, str):
            backbone = BACKBONES[backbone]() if backbone in BACKBONES else None
        known = not isinstance(self.loss, str) or self.loss in ("auto", *LOSSES)
        parts = {
            "backbone": backbone,
            "clusterer": SessionClusterer() if clusterer is None else clusterer,
            "prompt": as_prompt(self.prompt),
            "item_features": as_fusion(self.item_features),
            "loss": as_loss(self.loss) if known else None,
        }
        return {
            name: part
            for name, part in parts.items()
            if hasattr(part, "get_params") and not isinstance(part, type)
        }

    # -- fitting ---------------------------------------------------------------

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        eval_set: tuple[SessionsLike, Ids | None] | None = None,
        sample_weight: Weights = None,
    ) -> Self:
        """Cluster the items of `X` and train the model.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Pass whole sessions. Their order
            does not matter.
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. Without `y` the model learns every prefix of every
            session. With `y` row i is one instance, ``X[i] -> y[i]``, and the item
            graph counts only the transition from the last item of ``X[i]`` to ``y[i]``.
            If the sessions carry clusters, items that occur only in `y` have none.
        eval_set : tuple (X, y), default=None
            Validation sessions and their targets, which may be None. They replace the
            validation part of `X` and are scored after each epoch. With
            ``early_stopping=True`` they stop the training, and the bias of `repeats` is
            learned from them.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weight of each row, 0 or more. It multiplies the weights of the events and
            of the target. The loss of a batch is the weighted mean, and the item graph
            counts with these weights. Rows of weight 0 are left out. None means 1 for
            all rows. Validation scores and the bias of `repeats` ignore all weights.

        Returns
        -------
        self : CLIPSessionRecommender
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            If a parameter is out of range, an item id is missing, or no session has two
            items. Also if a weight is negative, missing or infinite, or if the loss
            becomes infinite or NaN.
        TypeError
            If `X` is a data frame, or a session is not a sequence.
        ImportError
            If the engine of the clusterer is not installed.
        """
        before = getattr(self, "_fitted", None) if self.warm_start else None
        callbacks = FitCallbacks.of(self, X, y)
        fitted = fit_steps(
            self,
            X,
            y,
            eval_set,
            before=before,
            callbacks=callbacks,
            sample_weight=sample_weight,
        )
        if callbacks is not None:
            callbacks.close(lambda: snapshot(self, fitted))
        return self._adopt_fit(fitted, X)

    def partial_fit(
        self, X: SessionsLike, y: Ids | None = None, sample_weight: Weights = None
    ) -> Self:
        """Update the model with further sessions and their new items.

        New items, users and sessions are appended. The clusterer extends its clusters
        (`SessionClusterer.partial_fit`). A new cluster starts with the mean of the
        prompts that its members had. A new item starts with the mean of the vectors in
        its cluster.

        The model then learns `X` together with the sessions that it kept, see
        `n_rehearsed`. It trains for a fifth of the epochs of a `fit` on as much data,
        without a validation part, and reads the sessions of `X` twice in each epoch.
        Vectors of known items that occur in none of these sessions stay as they are.
        Afterwards the latest of all these sessions are kept for the next update.

        If the model kept fewer sessions than `X` has, it learns `X` alone. It then
        trains for a third of the epochs, at three tenths of the learning rate. The
        vectors of all known items stay as they are, so that the old sessions are not
        forgotten. The guide to deployment compares both ways with a refit.

        You may change `n_rehearsed` and parameters of training before the call.
        Parameters of the model keep their values of `fit`. Cold items of
        `item_features` join the catalog too. Use `set_item_features` to add them
        without sessions.

        Parameters
        ----------
        X : Sessions or list of lists
            Further training sessions, shape (n_sessions,). At least one of them needs
            two items.
        y : array-like of shape (n_sessions,), default=None
            Next item of each row, as in `fit`.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, as in `fit`. Kept sessions keep their weights.

        Returns
        -------
        self : CLIPSessionRecommender
            The estimator itself. ``history_`` and ``n_iter_`` are continued, and
            ``best_validation_score_`` is None. An unfitted estimator is fitted.

        Raises
        ------
        TypeError
            If the clusterer has no ``partial_fit``.
        ValueError
            For the same reasons as in `fit`.
        """
        if not hasattr(self, "_fitted"):
            return self.fit(X, y, sample_weight=sample_weight)
        self._validate_params()
        before = self._fitted
        fitted = fit_steps(
            self, X, y, before=before, grow=True, sample_weight=sample_weight
        )
        return self._adopt_fit(fitted, X)

    def set_item_features(self, features: FeaturesLike) -> Self:
        """Replace features of items and add new items, without training.

        Use it for features that change, such as a price or whether an item is in stock.
        Use it also for new items, which can be recommended at once. All weights stay as
        they are. Items without a row keep their features. New items come after the
        others in `item_ids_`, and have no cluster until a later `partial_fit`.

        The parameter `item_features` is updated too, so that later calls of
        `partial_fit` and `fit` use the new features. An error changes nothing.

        Parameters
        ----------
        features : ItemFeatures, data frame or mapping
            Features of new items and of items that change, in the form of the parameter
            `item_features`. Make them with the same encoder as those of `fit`, see
            `ItemFeatures.encode`. A row of zeros means that nothing is known about an
            item. Items that were clicked are then ranked by their learned vector alone.
            New items with a row of zeros do not join the catalog.

        Returns
        -------
        self : CLIPSessionRecommender
            The estimator itself, which ranks by the new features.

        Raises
        ------
        ValueError
            If the recommender was fitted without features or with another number of
            columns, or if ids have another type than those of `fit`. Also if an item
            would be left with neither features nor clicks, or if
            ``Fusion(kind="init")`` gets features of a clicked item, because its vector
            no longer depends on them.
        """
        self._check_fitted()
        fitted, item_features = with_item_features(self, features, self._fitted)
        return self._adopt_fit(fitted, item_features=item_features, **self._width())

    def _adopt_fit(self, fitted, X=None, **others):
        attributes = fitted.attributes() | others
        return self._adopt(X, _fitted=fitted, _index=fitted.index, **attributes)

    def _width(self):
        """The width of the arrays given to fit, where scikit-learn has recorded it."""
        return {k: v for k, v in vars(self).items() if k == "n_features_in_"}

    # -- ranking ---------------------------------------------------------------

    _scores_are = "logits"

    def _score_chunks(self, queries):
        return self._fitted.score_chunks(queries)

    def _each_chunk(self, queries, use, mask=None, preselect=False):
        def use_masked(*chunk):
            if isinstance(chunk[1], Preselected):  # masked already
                use(*chunk)
                return
            for at, scores in rows_apart(*chunk):
                mask(scores, at)
                use(at, scores, None)

        each_chunk(
            self._fitted,
            queries,
            use if mask is None else use_masked,
            self.n_threads,
            mask,
            preselect and (mask is None or mask.only_seen),
        )

    def _item_similarities(self):
        return self._fitted.similarities, self._fitted.keys.device

    def _by_popularity(self, queries):
        return self._fitted.by_popularity(queries)

    @property
    def _what_happens(self):
        if not self._fitted.votes:
            return super()._what_happens
        return (
            "Each of them is read as the prompt of a cluster. The other items of its "
            "session vote for that cluster. Sessions without a known item get the most "
            "popular items."
        )

    @property
    def _scoring(self):
        """The metric of `score`."""
        if isinstance(self.scoring, str) and self.scoring == "auto":
            return self.resolved_params_["scoring"]
        return self.scoring

    # -- what was learned ------------------------------------------------------

    def session_vectors(self, X: SessionsLike) -> FloatArray:
        """Return the vectors of sessions, whose products with item vectors are scores.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        vectors : ndarray of shape (n_sessions, n_dims), float32
            One vector per session. ``vectors @ item_vectors_.T`` are the scores,
            without the bias of repeated items (`repeat_bias_`). If the backbone has a
            bias for each item, the last column of `vectors` is 1. Rows of NaN are
            sessions without a known item, which get the most popular items.

        Raises
        ------
        ValueError
            If the scores of the backbone are not products of a session vector and item
            vectors.
        """
        self._check_product(ValueError)
        model = self._fitted.model

        def rows(batch):
            vectors = model.states(batch) * model.scale
            return (vectors if model.bias is None else F.pad(vectors, (0, 1), value=1),)

        (vectors,) = self._fitted.read(X, rows)
        return vectors

    @property
    def item_vectors_(self) -> FloatArray:
        """Vectors of the items, ndarray of shape (n_items, n_dims), float32.

        Row i belongs to ``item_ids_[i]``. Their products with `session_vectors` are the
        scores. `similar_items` compares them by their cosine.
        """
        self._check_product(AttributeError)
        bias, keys = self._fitted.model.bias, self._fitted.keys.detach()
        if bias is not None:
            keys = torch.cat([keys, bias.detach()[:, None]], dim=1)
        return keys.cpu().numpy().copy()

    def _check_product(self, error):
        self._check_fitted()
        if not self._fitted.model.network.dot_product:
            name = type(self._fitted.config["spec"]).__name__
            raise error(
                f"{name} has no session vectors: its scores are not products of a "
                "session vector and item vectors. Use predict_topk or "
                "decision_function, or another backbone"
                + (" or aggregation='weighted'." if name == "PoMRec" else ".")
            )

    @property
    def fusion_weight_(self) -> float | None:
        """Mean weight of learned vectors ("gate") or of features ("add", "late").

        None for other kinds of `Fusion`.
        """
        if not hasattr(self, "_fitted"):
            raise AttributeError("fusion_weight_ exists after fit. Call fit first.")
        model = self._fitted.model
        return None if model.fusion is None else model.fusion.weight(model.item_table)

    @property
    def repeat_bias_(self) -> FloatArray | None:
        """Bias of items that are in the session, ndarray of shape (12, 4), or None.

        It is added to the scores. Row p is for items whose last click is p clicks
        before the newest one. The last row is for 11 clicks or more. Column n is for
        items with n + 1 clicks. The last column is for 4 clicks or more. None without
        `repeats`.
        """
        if not hasattr(self, "_fitted"):
            raise AttributeError("repeat_bias_ exists after fit. Call fit first.")
        repeats = self._fitted.repeats
        return None if repeats is None else repeats.table()

    def parameter_report(self) -> dict[str, int]:
        """Return the number of learned values of each component.

        Returns
        -------
        counts : dict of str to int
            Number of values by component: "item table", "cluster prompts", "user
            prompts", "session prompts", "prompt gates", "feature fusion",
            "backbone.<component>" for each part of the network, "repeats", and
            "total". Components that the model does not have are left out.

        Notes
        -----
        Rows for padding or for no prompt are always zero and do not count. Published
        totals often count one more row of items. Columns that features fill
        ("nullspace", "init_frozen") do not count either.
        """
        self._check_fitted()
        counts = self._fitted.model.parameter_counts()
        if self._fitted.repeats is not None:
            total = counts.pop("total")
            n = sum(len(part) for part in vars(self._fitted.repeats).values())
            counts |= {"repeats": n, "total": total + n}
        return counts

    # -- state -----------------------------------------------------------------

    def _check_fitted(self):
        check_is_fitted(self, "item_ids_")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        fitted = state.get("_fitted")
        if fitted is not None:
            state = {k: v for k, v in state.items() if k not in fitted.attributes()}
            state["_fitted"] = fitted.to_state()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for part, key in (("prompt", "gate"), ("loss", "n_negatives")):
            if key in state:
                raise ValueError(
                    f"The recommender was saved when {key!r} was one of its "
                    f"parameters. It is a parameter of {part!r} now. Fit it again."
                )
        for key in ("unseen_items", "repeats", "n_rehearsed", "click_features"):
            if key not in state:
                raise ValueError(
                    f"The recommender was saved before {key!r} was a parameter. Fit it "
                    "again."
                )
        super().__setstate__(state)
        if "_fitted" in state:
            device = device_or_auto(self.device)
            self._adopt_fit(Fitted.from_state(state["_fitted"], device))
