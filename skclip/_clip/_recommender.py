"""CLIPSessionRecommender: parameters, docstrings, delegation."""

import os
from numbers import Integral, Real

import torch
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional as F

from skclip._base import SessionEstimator
from skclip._clip._chunks import each_chunk
from skclip._clip._fitted import Fitted
from skclip._clip._fitting import fit_steps, snapshot
from skclip._clip._new_features import with_item_features
from skclip._clusters import SessionClusterer
from skclip._model import KINDS, Prompt, as_fusion, as_prompt
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
from skclip._training import LOSSES, FitCallbacks, as_loss, device_or_auto
from skclip.backbones import BACKBONES, BackboneSpec

_AUTO = StrOptions({"auto"})


class CLIPSessionRecommender(
    CallbackSupportMixin, SimilarItemsMixin, RankingMixin, SessionEstimator
):
    r"""Rank the catalog for the next item of a session, with cluster prompts.

    CLIP-SBR [1]_: cluster the items that follow each other in sessions, give each
    cluster a learned prompt, gate the prompt into the item vectors, and let a
    backbone read the session:

    .. math::
        T_i = \sigma(W_x \hat{x}_i + b_x) \odot \hat{x}_i
            + \sigma(W_p \hat{p}_{c(i)} + b_p) \odot \hat{p}_{c(i)}, \qquad
        s = \mathrm{backbone}(T_{i_1}, \dots, T_{i_t}), \qquad
        \mathrm{score}_j = s^\top x_j

    trained by the cross-entropy of the softmax over the whole catalog. Use
    `PopularityRecommender` as the baseline: with few sessions per item a simple
    model may be as good.

    Parameters
    ----------
    backbone : str or BackboneSpec, default="gru4rec"
        Name in ``skclip.backbones.BACKBONES`` or a spec object with hyperparameters
        of its own, such as ``GRU4Rec(hidden_dim=64)``. ``set_params(backbone__x=...)``
        replaces a name by its spec object.
    clusterer : SessionClusterer or compatible object, default=None
        Anything with ``fit(X, y)`` and ``membership_`` (and ``levels_``, if it has
        clusters at several resolutions). None is a default `SessionClusterer`. Not
        used for sessions that carry clusters already, or without a prompt. Its
        `random_state`, where None, is drawn from this one's. A clusterer that is
        fitted already stays as it is inside ``sklearn.frozen.FrozenEstimator``.
    preset : "paper" or None, default=None
        Values of the parameters below that are left at "auto". None is the recipe that
        was chosen on the validation parts of eight click logs: prompted candidates, a
        cosine score, a fixed number of epochs on all sessions. "paper" is the form and
        the training of [1]_: raw candidates, the backbone's own score, early stopping
        by MRR@5 with patience 10, at most 50 epochs at a constant learning rate of
        0.01, batches of 256. Explicit values win over the backbone's `training`, which
        wins over the preset. `resolved_params_` shows the outcome.
    prompt : str, tuple of str, Prompt or None, default="cluster"
        Learned vectors that join those of the items (section 4.3 of [1]_): of the
        item's cluster, of the user, of the session. `Prompt` has their parameters,
        such as the gate. None is the bare backbone, on the same code path.
    similarity : {"dot", "cosine"} or None, default="auto"
        How sessions are compared with items. None is the backbone's own score.
        "cosine" normalizes session and item vectors and divides by `temperature`.
        "auto" is "cosine", unless a preset says otherwise, as for every "auto" below.
    temperature : float, default="auto"
        Temperature of the cosine score. "auto" is the `temperature` of the backbone
        (CORE, NISER), else 0.1, or 0.07 with a sampled loss.
    item_features : ItemFeatures, data frame, mapping or Fusion, default=None
        Vectors of items, such as prices, categories or titles, one for each item of
        the sessions. `ItemFeatures.from_frame` makes them of a data frame by any
        transformer of scikit-learn. A pandas data frame of numbers has the item ids as
        its index. `Fusion` says how they join the learned vectors. Further items that
        have features join the catalog: nobody has clicked them yet, but they can be
        recommended at once. `set_item_features` changes them after `fit`.
    click_features : str, tuple of str or None, default="auto"
        What is read of each click beside its item. Each feature has learned vectors
        that are added to the item's vector.

        - "event": its type, see ``event=`` of `Sessions.from_events`;
        - "gap": time since the click before, in powers of two from a second;
        - "dwell": time until the click after, unknown for the newest click;
        - "position": clicks up to the newest one;
        - "hour" and "weekday": in UTC.

        "auto" is "event" where the training sessions have two types or more, else
        nothing. "dwell" and "position" change with each further click, so that each
        prefix is read on its own, which takes longer. All but "event" and "position"
        need times. What is missing or new in prediction is read as unknown.
    embedding_dim : int, default="auto"
        Width of item vectors and prompts. "auto" is 64 [1]_, unless the backbone's
        `training` says otherwise, as for every "auto" of training below.
    loss : str or object of `skclip.losses`, default="auto"
        "cross_entropy" is the softmax over the whole catalog. For large ones
        "sampled_softmax" (with the logQ correction), "bpr", "bpr-max", "bpr-softmax"
        (that without its penalty) and "gbce" compare each target with a sample of
        items; only the item vectors that a step touches are then updated, and
        `weight_decay` spares them. `SampledSoftmax` and its like have their
        parameters. "auto" is the full softmax while a batch of its scores fits
        512 MiB and, on a CPU, `fit` computes at most 10 billion scores: prefixes times
        items times the epochs of ``max_epochs="auto"``, or the catalog has at most
        8,192 items. Else it is the sampled softmax.
    optimizer : {"adam", "adamw"}, default="auto"
        "auto" is "adam".
    learning_rate : float, default="auto"
        "auto" is 0.005 with ``similarity="cosine"``, else 0.01.
    batch_size : int, default="auto"
        Prefixes per step, approximately: all prefixes of a session that share a
        pass stay together. More than there are means all of them. "auto" is 512, or on
        small data the power of two from 64 that makes about 100 steps an epoch.
    max_epochs : int, default="auto"
        "auto" is 10. Small data get as many epochs as make 400 steps, at most 100.
        Large data get as many as read 4 million prefixes, at least 3.
    weight_decay : float, default="auto"
        Added to the gradient by "adam", taken off the weights by "adamw". "auto" is 0.
    lr_schedule : {"constant", "cosine", "step"}, default="auto"
        "cosine" lets the learning rate fall to 0 over `max_epochs`, "step" takes a
        tenth of it after every 3 epochs. "auto" is "cosine".
    max_session_length : int, default=50
        Prefixes keep their latest items.
    early_stopping : bool, default="auto"
        Whether to hold out a validation part (or use `eval_set`), stop when `scoring`
        does not improve, and keep the best weights. False trains `max_epochs` epochs on
        all rows. "auto" is False, unless `n_iter_no_change` is given, by you, by the
        backbone's `training` or by ``preset="paper"``.
    validation_fraction : float, default=0.1
        Share of the sessions held out by early stopping: the latest ones by the time
        of their last event where times are known, else a seeded draw. Graph, clusters
        and catalog use all rows; the model is not refitted on them.
    n_iter_no_change : int, default="auto"
        Epochs without improvement before early stopping. "auto" is 3.
    max_time : float, default=None
        Seconds after which training stops; None means no limit. A first fit for the
        bias of `repeats` takes at most half of them.
    checkpoint : path-like, default=None
        File to leave the state of training in after each epoch. A `fit` with the same
        parameters, data and versions that finds it goes on from there and ends with
        the same model as one that was never interrupted; other parameters or data are
        refused. The file is removed when training has ended, kept when it was
        interrupted or `max_time` was over. In a search each candidate has a file of
        its own beside it; the fit on all data after the search removes them. Needs an
        integer `random_state`.
    min_item_count : int, default=1
        Items with fewer events are taken out of the training sessions, whose other
        items then follow each other, and are unseen items in prediction.
    unseen_items : {"drop", "vote"}, default="auto"
        What prediction does with items that were not seen in `fit`. "drop" ignores
        them. "vote" reads each as the prompt of a cluster: the one that the items
        beside it in the observed prefix vote for. Without cluster prompts they are
        always dropped. Sessions without a known item get the most popular items.
        "auto" is "drop", and "vote" with ``preset="paper"``. Takes effect in `fit`.
    repeats : bool, default="auto"
        Whether items that are in the session already get a learned bias, by how
        recently and how often they were clicked (`repeat_bias_`). It is learned after
        training, from held-out sessions. "auto" has one if it improves their `scoring`
        by 2 %, and if at least 1 % of the training targets are items of their session.
        With early stopping it is learned from the validation part (or `eval_set`).
        Without it, from about 5,000 prefixes, at most `validation_fraction` of the
        sessions: the latest ones where times are known, else a seeded draw. Where they
        are more than 3 % of the prefixes, the model is then fitted again on all
        sessions, so that `fit` takes about twice as long. A backbone that scores items
        of the session in a way of its own (TAGNN) has no bias. `partial_fit` leaves it
        as it is.
    n_rehearsed : int, default=100_000
        Number of training sessions that the model keeps and that `partial_fit` learns
        again with further ones: the latest, or without times a sample. More sessions
        bring more and take more time. They take 4 bytes a click. Files of the model
        contain them, so that whoever has the file can read them. 0 keeps none.
    scoring : str or callable, default="auto"
        ``"recall@k"``, ``"mrr@k"``, ``"ndcg@k"``, or ``callable(estimator, X, y)``.
        "auto" is "mrr@20".
    precision : {"auto", "float32", "bf16"}, default="auto"
        Precision of the products in the full softmax: "bf16" multiplies in bfloat16 and
        sums in float32. "auto" is "bf16" where that is clearly faster, else "float32".
        On a CPU small products are timed once in a process, for less than a tenth of a
        second; bfloat16 must be 1.3 times as fast. On CUDA it needs compute capability
        8. Sampled losses, and a scorer that is no dot product (TAGNN), have "float32".
    device : str, default="auto"
        "auto" is CUDA where available, else the CPU.
    n_threads : int, default=None
        Largest number of threads in all methods, 1 or more. There are never more than
        the cores that the process may use, by its affinity and the limits of its
        container. None takes as many as torch has, and one in a worker of joblib.
        Several threads share large products and rankings, and steps of the network over
        very many events; all else runs on one. Same seed, `n_threads` and `precision`
        give the same bits on the same kind of CPU; other numbers agree up to rounding.
        A GPU is fed by one thread; there some sums are taken in an order of chance.
    warm_start : bool, default=False
        `fit` begins with the vectors and weights of the model before, for all items,
        users and sessions that are in both; a cluster takes over the prompt of the one
        that it overlaps most. Backbone and sizes must be the same.
    random_state : int, RandomState instance or None, default=None
        Seeds everything: clusters, split, weights, order of batches, dropout.
    verbose : bool, default=False
        Show loss and validation score: a progress bar in a terminal or notebook, a
        line for each epoch elsewhere.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalog, the items seen in `fit` and those that have
        `item_features`, sorted.
    n_items_ : int
        Size of the catalog.
    item_counts_ : ndarray of shape (n_items,)
        Training events of each item, or the sums of their weights.
    repeat_bias_ : ndarray of shape (12, 4), or None
        What is added to the score of an item that is in the session already, by its
        recency and its number of clicks; None without `repeats`.
    fusion_weight_ : float or None
        What the item's own vector weighs on average over the clicked items that have
        features ("gate"), or the features do ("add", "late"); None otherwise.
    clusterer_ : object or None
        The fitted clusterer; None without cluster prompts or if the sessions carried
        clusters.
    membership_ : ndarray of shape (n_items,), int32, or None
        Cluster of each item, 0-based, -1 = none; None without cluster prompts. Of
        several resolutions the first.
    user_ids_ : ndarray of shape (n_users,) or None
        Users that have a prompt, those trained on, sorted; None without user prompts.
    resolved_params_ : dict
        What was used for parameters that leave a choice: those that may be "auto",
        ``loss__n_negatives``, ``device`` and ``n_threads`` (that of the last fit).
    history_ : list of dict
        Per epoch: ``epoch``, ``train_loss``, ``seconds`` and, where there is a
        validation part, ``validation_score``.
    n_iter_ : int
        Number of epochs run.
    best_validation_score_ : float or None
        `scoring` of the kept weights on the validation part, before a bias of `repeats`
        is added; None without one.

    See Also
    --------
    SessionClusterer : The clusters, also as a Pipeline step.
    PopularityRecommender : The simplest baseline.
    skclip.predict_topk : Ranks through a Pipeline or a search.

    Notes
    -----
    Scores for a chunk of rows take 64 MiB at a time in ranking, the full softmax at
    most 128 MiB in a training step. Sessions of users that were not trained on, or
    without users, have no user prompt (see `Prompt`).

    Where a process group of ``torch.distributed`` is open, `fit` and `partial_fit` are
    data parallel: each process calls them with the same sessions and parameters, the
    rows of a batch are shared out, and all processes end with the same model. The first
    one clusters, shows progress, keeps the time of `max_time` and writes `checkpoint`.
    LESSR is refused there, as it normalizes over a batch. Fits of a search stay alone.
    The page "Scale out" of the documentation says how to begin.

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
      gains in MRR@5 and Recall@5, so its 45.30 for NARM is no gain in either metric.
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

    _parameter_constraints: dict = {
        "backbone": [str, BackboneSpec],
        "clusterer": [HasMethods(["fit"]), None],
        "preset": "no_validation",  # the message names the two that exist
        "prompt": [StrOptions(set(KINDS)), tuple, list, Prompt, None],
        "similarity": [StrOptions({"auto", "dot", "cosine"}), None],
        "temperature": [Interval(Real, 0, None, closed="neither"), _AUTO],
        "item_features": "no_validation",  # `as_item_features` says more
        "click_features": "no_validation",  # `as_click_features` says more
        "embedding_dim": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "loss": [StrOptions({"auto", *LOSSES}), *LOSSES.values()],
        "optimizer": [StrOptions({"auto", "adam", "adamw"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), _AUTO],
        "batch_size": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "weight_decay": [Interval(Real, 0, None, closed="left"), _AUTO],
        "lr_schedule": [StrOptions({"auto", "constant", "cosine", "step"})],
        "max_session_length": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean", _AUTO],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "checkpoint": [str, os.PathLike, None],
        "min_item_count": [Interval(Integral, 1, None, closed="left")],
        "unseen_items": [StrOptions({"auto", "drop", "vote"})],
        "repeats": ["boolean", _AUTO],
        "n_rehearsed": [Interval(Integral, 0, None, closed="left")],
        "scoring": [str, callable],
        "precision": [StrOptions({"auto", "float32", "bf16"})],
        "device": [str],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone="gru4rec",
        *,
        clusterer=None,
        preset=None,
        prompt="cluster",
        similarity="auto",
        temperature="auto",
        item_features=None,
        click_features="auto",
        embedding_dim="auto",
        loss="auto",
        optimizer="auto",
        learning_rate="auto",
        batch_size="auto",
        max_epochs="auto",
        weight_decay="auto",
        lr_schedule="auto",
        max_session_length=50,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change="auto",
        max_time=None,
        checkpoint=None,
        min_item_count=1,
        unseen_items="auto",
        repeats="auto",
        n_rehearsed=100_000,
        scoring="auto",
        precision="auto",
        device="auto",
        n_threads=None,
        warm_start=False,
        random_state=None,
        verbose=False,
    ):
        self.backbone = backbone
        self.clusterer = clusterer
        self.preset = preset
        self.prompt = prompt
        self.similarity = similarity
        self.temperature = temperature
        self.item_features = item_features
        self.click_features = click_features
        self.embedding_dim = embedding_dim
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.max_session_length = max_session_length
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.max_time = max_time
        self.checkpoint = checkpoint
        self.min_item_count = min_item_count
        self.unseen_items = unseen_items
        self.repeats = repeats
        self.n_rehearsed = n_rehearsed
        self.scoring = scoring
        self.precision = precision
        self.device = device
        self.n_threads = n_threads
        self.warm_start = warm_start
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
    def fit(self, X, y=None, eval_set=None, sample_weight=None):
        """Cluster the items of `X` and train the model.

        Parameters
        ----------
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,). Their order is of no
            consequence. Whole sessions are the recommended input.
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. Without it every prefix of every session is
            learned; with it row i is one instance, ``X[i] -> y[i]``, and only the
            transition from the last item of ``X[i]`` to ``y[i]`` enters the graph.
            Sessions that carry clusters tell none for an item that is in `y` alone.
        eval_set : tuple (X, y), default=None
            Validation sessions and targets (or None), instead of a part of `X`. They
            are scored after each epoch. With ``early_stopping=True`` they stop the
            training, and the bias of `repeats` is learned from them.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, 0 or more. They multiply the weights of the events and
            of the target. The loss of a batch is the mean by these weights, and the
            item graph counts by them. A row of weight 0 is left out. None is 1 for all.
            Validation scores, and the bias of `repeats`, ignore all weights.

        Returns
        -------
        self : CLIPSessionRecommender
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            A parameter is out of range, an item id is missing, no session has two
            items, a weight is negative, missing or infinite, or the loss stops being
            finite.
        TypeError
            `X` is a data frame, or a session is no sequence.
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

    def partial_fit(self, X, y=None, sample_weight=None):
        """Go on learning from further sessions, with their new items.

        New items, users and sessions are appended. The clusterer goes on from its
        clusters (`SessionClusterer.partial_fit`); a new cluster begins with the mean
        of the prompts that its members had, a new item with the mean of the vectors in
        its cluster. Then the model learns `X` together with the sessions that it kept
        (`n_rehearsed`), if they are at least as many as those of `X`, without a
        validation part, for a fifth of the epochs of a `fit` on as much data. An epoch
        reads the sessions of `X` twice. Vectors of known
        items that none of these sessions has stay as they are. Of all these sessions
        the latest are kept for the next update.

        A model that kept fewer or no sessions learns `X` alone, for a third of the
        epochs and at three tenths of the learning rate. The vectors of all known items
        stay as they are, or the old sessions would be forgotten. The page on production
        compares both with a refit. Parameters of training, and `n_rehearsed`, may be
        set to others before. Those of the model are those of `fit`.

        New items of `item_features` that nobody has clicked come in along with the
        sessions. `set_item_features` takes them in without sessions.

        Parameters
        ----------
        X : Sessions or list of lists
            Further training sessions, shape (n_sessions,), one or more of them with
            two items.
        y : array-like of shape (n_sessions,), default=None
            Next item of each row, as in `fit`.
        sample_weight : array-like of shape (n_sessions,), default=None
            Weights of the rows, as in `fit`. Sessions that are learned again keep the
            weights that they had.

        Returns
        -------
        self : CLIPSessionRecommender
            Unfitted before, it is fitted. ``history_`` and ``n_iter_`` go on,
            ``best_validation_score_`` is None.

        Raises
        ------
        TypeError
            The clusterer has no ``partial_fit``.
        ValueError
            As in `fit`.
        """
        if not hasattr(self, "_fitted"):
            return self.fit(X, y, sample_weight=sample_weight)
        self._validate_params()
        before = self._fitted
        fitted = fit_steps(
            self, X, y, before=before, grow=True, sample_weight=sample_weight
        )
        return self._adopt_fit(fitted, X)

    def set_item_features(self, features):
        """Replace features of items and take new items in, without training.

        For features that change, such as a price or whether an item is in stock, and
        for new items, which can be recommended at once. All weights stay as they are.
        Items that have no row keep the features that they had. New items come behind
        the others in `item_ids_`. They have no cluster until a later `partial_fit`.

        The parameter `item_features` is updated too, so that `partial_fit` and `fit`
        go on with the new features. If anything fails, nothing has changed.

        Parameters
        ----------
        features : ItemFeatures, data frame or mapping
            Rows of the items that change and of new ones, as for `item_features`. They
            must come from the same encoder as those of `fit`: see
            `ItemFeatures.encode`. A row of zeros says that nothing is known, so that a
            clicked item is its learned vector alone; a new item stays outside.

        Returns
        -------
        self : CLIPSessionRecommender
            The estimator itself, which ranks by the new features.

        Raises
        ------
        ValueError
            The recommender was fitted without features or with another number of
            columns, ids are of another type than those of `fit`, an item that nobody
            has clicked would be left with neither features nor clicks, or
            ``Fusion(kind="init")`` is given features of a clicked item, whose vector
            does not depend on them any more.
        """
        self._check_fitted()
        fitted, item_features = with_item_features(self, features, self._fitted)
        return self._adopt_fit(fitted, item_features=item_features, **self._width())

    def _adopt_fit(self, fitted, X=None, **others):
        attributes = fitted.attributes() | others
        return self._adopt(X, _fitted=fitted, _index=fitted.index, **attributes)

    def _width(self):
        """What scikit-learn knows of the arrays given to fit."""
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
            "Each is read as the prompt of the cluster that the other items of its "
            "session vote for; sessions without a known item get the most popular "
            "items."
        )

    @property
    def _scoring(self):
        """The metric of `score`."""
        if isinstance(self.scoring, str) and self.scoring == "auto":
            return self.resolved_params_["scoring"]
        return self.scoring

    # -- what was learned ------------------------------------------------------

    def session_vectors(self, X):
        """Return the vectors that sessions are compared with items by.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        vectors : ndarray of shape (n_sessions, n_dims), float32
            ``vectors @ item_vectors_.T`` are the scores, without the bias that items of
            the session may have (`repeat_bias_`). Where the backbone has a bias
            for each item, a last column of ones meets it. Rows of NaN stand for
            sessions of which nothing could be read; they rank by popularity.

        Raises
        ------
        ValueError
            The backbone's scores are no product of a session and an item vector.
        """
        self._check_product(ValueError)
        model = self._fitted.model

        def rows(batch):
            vectors = model.states(batch) * model.scale
            return (vectors if model.bias is None else F.pad(vectors, (0, 1), value=1),)

        (vectors,) = self._fitted.read(X, rows)
        return vectors

    @property
    def item_vectors_(self):
        """Vectors of the items, ndarray of shape (n_items, n_dims), float32.

        In the order of ``item_ids_``; see `session_vectors`. `similar_items` compares
        them by their cosine.
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
                f"{name} scores each item by a vector of its own making, so there is "
                "no session vector whose products with item vectors give the order. "
                "Use predict_topk or decision_function, or another backbone"
                + (" or aggregation='weighted'." if name == "PoMRec" else ".")
            )

    @property
    def fusion_weight_(self):
        """Mean weight of learned vectors ("gate") or of features ("add", "late").

        None for other kinds of `Fusion`.
        """
        if not hasattr(self, "_fitted"):
            raise AttributeError("fusion_weight_ is there after fit.")
        model = self._fitted.model
        return None if model.fusion is None else model.fusion.weight(model.item_table)

    @property
    def repeat_bias_(self):
        """Bias of items of the session, ndarray of shape (12, 4), or None.

        Row p is for items whose last click is p clicks before the newest one, the last
        row for 11 or more. Column n is for items with n + 1 clicks, the last column for
        4 or more. It is added to the scores.
        """
        if not hasattr(self, "_fitted"):
            raise AttributeError("repeat_bias_ is there after fit.")
        repeats = self._fitted.repeats
        return None if repeats is None else repeats.table()

    def parameter_report(self):
        """Return how many numbers are learned, by component.

        Returns
        -------
        counts : dict of str to int
            "item table"; "cluster prompts", "user prompts", "session prompts" and
            "prompt gates" where there are such;
            "feature fusion" with `item_features`; "backbone.<component>" for each part
            of the network; "total". Rows that stand for padding or for no prompt are
            zeros by construction, hold nothing and do not count in the item table and
            the prompts: published totals often have one row of items more. Columns
            that features fill ("nullspace", "init_frozen") do not count either.
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

    def __getstate__(self):
        state = super().__getstate__()
        fitted = state.get("_fitted")
        if fitted is not None:
            state = {k: v for k, v in state.items() if k not in fitted.attributes()}
            state["_fitted"] = fitted.to_state()
        return state

    def __setstate__(self, state):
        for part, key in (("prompt", "gate"), ("loss", "n_negatives")):
            if key in state:
                raise ValueError(f"the parameter {key!r} is one of {part!r} now")
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
