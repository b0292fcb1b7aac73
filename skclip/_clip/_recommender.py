"""CLIPSessionRecommender: wires clusterer, model, training and ranking."""

import os
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skclip._base import VERSION, SessionEstimator, check_finite
from skclip._clip._settings import (
    MODEL_PARAMS,
    PRESETS,
    chosen_params,
    is_auto,
    resolve_params,
)
from skclip._clip._updating import UpdatingMixin
from skclip._clip._vectors import VectorsMixin
from skclip._clusters import SessionClusterer, first_level, levels_of, match_clusters
from skclip._data import (
    ItemIndex,
    Sessions,
    as_sessions,
    check_targets,
    checked_features,
    each_level,
    factorize,
    training_data,
)
from skclip._model import (
    FUSIONS,
    KINDS,
    Batches,
    SessionModel,
    carry_over,
    observed_prefixes,
    read_states,
    rows_of_table,
    take_rows,
)
from skclip._ranking import RankingMixin, rows_per_chunk
from skclip._sklearn import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    accept_ragged,
    warn_user,
    with_callbacks,
)
from skclip._training import (
    SAMPLED_LOSSES,
    Checkpoint,
    CrossEntropy,
    FitCallbacks,
    SampledLoss,
    check_sample_fits,
    resolve_device,
    torch_session,
    train,
)
from skclip.backbones import BackboneSpec, backbone_spec
from skclip.metrics import parse_metric

_AUTO = StrOptions({"auto"})


class CLIPSessionRecommender(
    CallbackSupportMixin, RankingMixin, UpdatingMixin, VectorsMixin, SessionEstimator
):
    r"""Rank the catalogue for the next item of a session, with cluster prompts.

    CLIP-SBR [1]_: cluster the items that follow each other in sessions, give each
    cluster a learned prompt, gate the prompt into the item vectors, and let a
    backbone read the session:

    .. math::
        T_i = \sigma(W_x \hat{x}_i + b_x) \odot \hat{x}_i
            + \sigma(W_p \hat{p}_{c(i)} + b_p) \odot \hat{p}_{c(i)}, \qquad
        s = \mathrm{backbone}(T_{i_1}, \dots, T_{i_t}), \qquad
        \mathrm{score}_j = s^\top x_j

    trained by the cross-entropy of the softmax over the whole catalogue. Use
    `PopularityRecommender` as the yardstick: with few sessions per item a simple
    model may be as good.

    Parameters
    ----------
    backbone : str or BackboneSpec, default="narm"
        Name in ``skclip.backbones.BACKBONES`` or a spec object with hyper-parameters
        of its own, such as ``NARM(hidden_dim=64)``. ``set_params(backbone__x=...)``
        replaces a name by its spec object.
    clusterer : SessionClusterer or compatible object, default=None
        Anything with ``fit(X, y)`` and ``membership_`` (and ``levels_``, if it has
        clusters at several resolutions); None is a default `SessionClusterer`. Not
        used for sessions that carry clusters already, or without a prompt. Its
        `random_state`, where None, is drawn from this one's.
    preset : {"paper", "strong"} or None, default=None
        What the parameters below that are left at "auto" become. "paper" is the form
        and the training of [1]_: raw candidates, the backbone's own score, MRR@5 with
        patience 10, at most 50 epochs at a constant learning rate of 0.01, batches of
        256. "strong" prompts the candidates as well and compares by cosine with a
        temperature of 0.1, for six epochs (NARM: 12, CORE: 20);
        ``benchmarks/README.md`` says where that helps and where not. Explicit values
        win, and `training` of the backbone before a preset; `resolved_params_` shows
        the outcome.
    prompt : {"cluster", "user", "session"}, tuple of them or None, default="cluster"
        What has a learned vector that joins the items' (section 4.3 of [1]_): the
        item's cluster, the user, the session; several add up. "user" needs sessions
        with users. None is the bare backbone, on the same code path.
    session_prompt : {"table", "pooled"}, default="table"
        "table" learns a vector for each training session, which speaks again only
        where sessions of the same id are ranked for (as in the within-session
        protocol); others have none. "pooled" is a map of the mean of the observed
        items, defined for new sessions; each prefix is then read on its own.
    unknown_user : {"zero", "mean"}, default="zero"
        What a user without a prompt gets: none, or the mean of all user prompts.
    gate : {"elementwise", "scalar", "add"}, default="auto"
        How item vector and prompt are joined. "auto" is "elementwise", unless a preset
        says otherwise, as for every "auto" below.
    normalization : {"unit", "none"}, default="auto"
        Whether both are scaled to length 1 before the gate. "auto" is "unit".
    candidates : {"raw", "prompted"}, default="auto"
        Score against the item vectors :math:`x_j`, or against those with their
        cluster's prompt, :math:`T_j`. "auto" is "raw".
    similarity : {"dot", "cosine"} or None, default="auto"
        None is the backbone's own score. "cosine" normalises session and item
        vectors and divides by `temperature`. "auto" is None.
    temperature : float or "learned", default="auto"
        Of the cosine score. "auto" is 0.07 as in CORE. "learned" begins there.
    normalize_items : bool or None, default="auto"
        Whether the vectors of items have length 1 wherever they are read or scored,
        after any prompt (NISER), so that popular items gain nothing by their length.
        None is the backbone's own habit. "auto" is None.
    item_features : ItemFeatures, default=None
        Vectors of items, such as those of their titles (`skclip.text`), one for each
        item of the sessions. Further items that it holds join the catalogue: nobody
        has clicked them yet, but they can be recommended at once. Those whose row
        is zero, too, stay outside.
    feature_fusion : str, default="gate"
        How features and learned vectors are joined [2]_, before the prompts. "gate" is
        a mixture whose weight depends on both and on an item's clicks, "add" a sum,
        "concat" a map of both; "nullspace" keeps half of the dimensions for features
        and learns the rest; "init" begins with the features, and "init_frozen" stays
        there; "late" adds a second score by features alone, and compares by cosine.
        "none" ignores the features. ``docs/semantics.md`` compares them.
    cold_item_weight : float, default=0.1
        Weight of items that nobody has clicked as negatives in the loss, from 0 to 1.
        At 1 they are negatives of every session, as all others, and the model learns
        to put them down; at 0 they take no part, and nothing keeps them from crowding
        others out.
    embedding_dim : int, default="auto"
        Width of item vectors and prompts. "auto" is 64 [1]_, unless the backbone's
        `training` says otherwise, as for every "auto" of training below.
    loss : str, default="auto"
        "cross_entropy" is the softmax over the whole catalogue. For large ones
        "sampled_softmax" (with the logQ correction), "bpr", "bpr-max", "bpr-softmax"
        (that without its penalty) and "gbce" compare each target with a sample of
        items; only the item vectors that a step touches are then updated, and
        `weight_decay` spares them. "auto" is the full softmax while a batch of its
        scores fits 512 MiB, else the sampled one.
    n_negatives : int, default=None
        Items sampled for sampled losses. None is 2048, or the catalogue if that is
        smaller, unless the backbone's `training` says otherwise.
    share_negatives : bool, default="auto"
        Whether all prefixes of a step share one sample, which is fast, or each has
        its own. "auto" is True, unless the backbone's `training` says otherwise.
    negative_sampling : {"uniform", "popularity"}, default="uniform"
        What they are drawn by.
    optimizer : {"adam", "adamw"}, default="auto"
        "auto" is "adam".
    learning_rate : float, default="auto"
        "auto" is 0.01, 0.005 with ``similarity="cosine"``, and 0.0025 for CORE, chosen
        with `lr_schedule` and `max_epochs` on validation parts
        (``benchmarks/tune.py``).
    batch_size : int, default="auto"
        Prefixes per step, approximately: all prefixes of a session that share a
        pass stay together. "auto" is 512, or on small data the power of two from 64
        that makes about 100 steps an epoch.
    max_epochs : int, default="auto"
        "auto" is 10, or on small data as many as make 1,000 steps, at most 100.
    weight_decay : float, default="auto"
        Added to the gradient by "adam", taken off the weights by "adamw". "auto" is 0.
    lr_schedule : {"constant", "cosine", "step"}, default="auto"
        "cosine" lets the learning rate fall to 0 over `max_epochs`, "step" takes a
        tenth of it after every 3 epochs. "auto" is "cosine".
    max_session_length : int, default=50
        Prefixes keep their latest items.
    early_stopping : bool, default=True
        Hold out a validation part (or use `eval_set`), stop when `scoring` does not
        improve, keep the best weights. False trains `max_epochs` on all rows.
    validation_fraction : float, default=0.1
        Share of the sessions held out: the latest ones by the time of their last
        event where times are known, else a seeded draw. Graph, clusters and
        catalogue use all rows; the model is not refitted on them.
    n_iter_no_change : int, default="auto"
        Epochs without improvement before stopping. "auto" is 3.
    max_time : float, default=None
        Seconds after which training stops; None means no limit.
    checkpoint : path-like, default=None
        File to leave the state of training in after each epoch. A `fit` with the same
        parameters, data and versions that finds it goes on from there and ends with
        the same model as one that was never interrupted; other parameters or data are
        refused. The file is removed when training has ended, kept when it was
        interrupted or `max_time` was over. Needs an integer `random_state`.
    min_item_count : int, default=1
        Items with fewer events are taken out of the training sessions, whose other
        items then follow each other, and are unseen items in prediction.
    scoring : str or callable, default="auto"
        ``"recall@k"``, ``"mrr@k"``, ``"ndcg@k"``, or ``callable(estimator, X, y)``.
        "auto" is "mrr@20".
    precision : {"auto", "float32", "bf16"}, default="auto"
        Of the products in the full softmax: "bf16" multiplies in bfloat16 and sums
        in float32. "auto" is "bf16" where the device does that in hardware (AMX, or
        CUDA of compute capability 8), else "float32". A scorer that is no dot product
        (TAGNN) always has "float32".
    device : str, default="auto"
        "auto" is CUDA where available, else the CPU.
    n_threads : int, default=None
        Threads of torch during `fit`; None leaves them as they are. Same seed and
        same number of threads give the same bits on a CPU; on CUDA some sums are
        taken in an order of chance.
    warm_start : bool, default=False
        `fit` begins with the vectors and weights of the model before, for all items,
        users and sessions that are in both; a cluster takes over the prompt of the one
        that it overlaps most. Backbone and sizes must be the same.
    random_state : int, RandomState instance or None, default=None
        Seeds everything: clusters, split, weights, order of batches, dropout.
    verbose : bool, default=False
        Show a progress bar with loss and validation score.

    Attributes
    ----------
    item_ids_ : ndarray of shape (n_items,)
        Raw ids of the catalogue, the items seen in `fit` and those that have
        `item_features`, sorted.
    n_items_ : int
        Size of the catalogue.
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
        ``n_negatives`` and ``device``.
    history_ : list of dict
        Per epoch: ``epoch``, ``train_loss``, ``seconds`` and, where there is a
        validation part, ``validation_score``.
    n_iter_ : int
        Number of epochs run.
    best_validation_score_ : float or None
        `scoring` of the kept weights on the validation part; None without one.

    See Also
    --------
    SessionClusterer : The clusters, also as a Pipeline step.
    PopularityRecommender : The simplest yardstick.
    skclip.predict_topk : Ranks through a Pipeline or a search.

    Notes
    -----
    Scores for a chunk of rows take 64 MiB at a time in ranking, the full softmax at
    most 128 MiB in a training step. An unseen item is voted into a cluster by
    its neighbours in the observed prefix and speaks through its prompt; without
    cluster prompts it is dropped from the input. What is then empty ranks by
    popularity. Sessions of users that were not trained on, or without users, have no
    user prompt (see `unknown_user`).

    References
    ----------
    .. [1] W. Yang, C. Wang, Z. Song, W. Zhang, P. S. Yu, "Item Cluster-aware Prompt
           Learning for Session-based Recommendation", arXiv:2410.04756.
    .. [2] J. Narwariya, M. Gupta, P. Gupta, H. Khatri, L. Vig, arXiv:2508.20587
           (SemSR), whose idea it is; the equations are ours, see `docs/deviations.md`.

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
        "preset": [StrOptions(set(PRESETS)), None],
        "prompt": [StrOptions(set(KINDS)), tuple, list, None],
        "session_prompt": [StrOptions({"table", "pooled"})],
        "unknown_user": [StrOptions({"zero", "mean"})],
        "gate": [StrOptions({"auto", "elementwise", "scalar", "add"})],
        "normalization": [StrOptions({"auto", "unit", "none"})],
        "candidates": [StrOptions({"auto", "raw", "prompted"})],
        "similarity": [StrOptions({"auto", "dot", "cosine"}), None],
        "temperature": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto", "learned"}),
        ],
        "normalize_items": ["boolean", None, _AUTO],
        "item_features": "no_validation",  # `checked_features` says more
        "feature_fusion": [StrOptions(set(FUSIONS)), None],
        "cold_item_weight": [Interval(Real, 0, 1, closed="both")],
        "embedding_dim": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "loss": [StrOptions({"auto", "cross_entropy", *SAMPLED_LOSSES})],
        "n_negatives": [Interval(Integral, 1, None, closed="left"), None],
        "share_negatives": ["boolean", _AUTO],
        "negative_sampling": [StrOptions({"uniform", "popularity"})],
        "optimizer": [StrOptions({"auto", "adam", "adamw"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), _AUTO],
        "batch_size": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "weight_decay": [Interval(Real, 0, None, closed="left"), _AUTO],
        "lr_schedule": [StrOptions({"auto", "constant", "cosine", "step"})],
        "max_session_length": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "checkpoint": [str, os.PathLike, None],
        "min_item_count": [Interval(Integral, 1, None, closed="left")],
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
        backbone="narm",
        *,
        clusterer=None,
        preset=None,
        prompt="cluster",
        session_prompt="table",
        unknown_user="zero",
        gate="auto",
        normalization="auto",
        candidates="auto",
        similarity="auto",
        temperature="auto",
        normalize_items="auto",
        item_features=None,
        feature_fusion="gate",
        cold_item_weight=0.1,
        embedding_dim="auto",
        loss="auto",
        n_negatives=None,
        share_negatives="auto",
        negative_sampling="uniform",
        optimizer="auto",
        learning_rate="auto",
        batch_size="auto",
        max_epochs="auto",
        weight_decay="auto",
        lr_schedule="auto",
        max_session_length=50,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change="auto",
        max_time=None,
        checkpoint=None,
        min_item_count=1,
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
        self.session_prompt = session_prompt
        self.unknown_user = unknown_user
        self.gate = gate
        self.normalization = normalization
        self.candidates = candidates
        self.similarity = similarity
        self.temperature = temperature
        self.normalize_items = normalize_items
        self.item_features = item_features
        self.feature_fusion = feature_fusion
        self.cold_item_weight = cold_item_weight
        self.embedding_dim = embedding_dim
        self.loss = loss
        self.n_negatives = n_negatives
        self.share_negatives = share_negatives
        self.negative_sampling = negative_sampling
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
        self.scoring = scoring
        self.precision = precision
        self.device = device
        self.n_threads = n_threads
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params):
        """Set parameters; a nested key turns a name or None into its object first.

        ``set_params(backbone__hidden_dim=64)`` works while ``backbone`` is a name,
        ``set_params(clusterer__resolution=2.0)`` while ``clusterer`` is None, so
        both can be searched from the defaults.

        Parameters
        ----------
        **params : dict
            Parameters by name, nested ones as ``part__name``.

        Returns
        -------
        self : CLIPSessionRecommender
            The estimator itself.
        """
        nested = {key: value for key, value in params.items() if "__" in key}
        super().set_params(**{k: v for k, v in params.items() if k not in nested})
        touched = {key.split("__", 1)[0] for key in nested}
        if "backbone" in touched and isinstance(self.backbone, str):
            self.backbone = backbone_spec(self.backbone)
        if "clusterer" in touched and self.clusterer is None:
            self.clusterer = SessionClusterer()
        return super().set_params(**nested)

    # -- fitting ---------------------------------------------------------------

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, eval_set=None):
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
            Validation sessions and targets (or None), instead of a part of `X`.

        Returns
        -------
        self : CLIPSessionRecommender
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            A parameter is out of range, an item id is missing, no session has two
            items, or the loss stops being finite.
        TypeError
            `X` is a data frame, or a session is no sequence.
        """
        before = self if self.warm_start and hasattr(self, "_model") else None
        worker = type(self)(**self.get_params(deep=False))
        callbacks = FitCallbacks.of(self, worker, X, y)
        worker._fit(X, y, eval_set, before, callbacks)
        if callbacks is not None:
            callbacks.close()
        vars(self).pop("n_features_in_", None)  # not every fit sets it
        vars(self).update(vars(worker))  # all at once: a failed fit changes nothing
        return self

    def _fit(self, X, y, eval_set, before, callbacks=None):
        spec = clone(backbone_spec(self.backbone))
        spec._validate_params()
        device = resolve_device(self.device)
        kinds = _prompt_kinds(self.prompt)
        chosen = chosen_params(self, spec)
        self.resolved_params_ = chosen  # of these, `scoring` is needed at once
        if not callable(chosen["scoring"]):
            parse_metric(chosen["scoring"])
        accept_ragged(self, X)
        data = training_data(X, y, min_item_count=self.min_item_count)
        if "user" in kinds and data.users is None:
            raise ValueError(
                f"prompt={self.prompt!r} needs sessions with users. Pass user= to "
                "Sessions.from_events, users= to Sessions.from_lists, or prompt="
                "'cluster'."
            )
        features = self._used_features()
        if features is not None:
            features.rows_of(data.index.item_ids)  # refuses items without a row
            n_lost = int((data.index.codes_of(features.missing) == 0).sum())
            if n_lost:
                warn_user(
                    f"{n_lost} of {len(features)} items of item_features have neither "
                    "features nor clicks. They stay outside the catalogue."
                )
            data = data.with_items(features.known_ids())
        random_state = check_random_state(self.random_state)
        cluster_seed, split_seed, torch_seed = random_state.randint(2**31 - 1, size=3)

        self.item_ids_ = data.index.item_ids
        self.n_items_ = data.n_items
        self._index = data.index
        self._popularity = data.item_counts()
        rows, validation = self._split(data, eval_set, split_seed)
        users, sessions = self._owners(data, rows, kinds)
        instances = data.instances(rows, self.max_session_length, users, sessions)
        if len(instances) == 0:
            raise ValueError(
                f"All {len(data.offsets) - 1} sessions have fewer than 2 items "
                "(n_features = 1 for an array), so there is no next item to learn. "
                "Pass sessions of 2 items or more; check the session column given "
                "to Sessions.from_events."
            )
        n_short = int((np.diff(data.offsets) < 2).sum())
        if n_short:
            warn_user(
                f"{n_short} of {len(data.offsets) - 1} sessions have fewer than 2 "
                "items and give nothing to learn; their items stay in the catalogue."
            )
        item_clusters = self._item_clusters(data, cluster_seed, kinds)
        resolved = resolve_params(self, chosen, len(instances), self.n_items_, device)
        self.resolved_params_ = resolved
        n_sessions = None if sessions is None else len(rows)
        if "session" in kinds and self.session_prompt == "pooled":
            n_sessions = "pooled"
        self._model_config = {
            "spec": spec,
            "item_clusters": item_clusters,
            "n_users": None if users is None else len(self.user_ids_),
            "n_sessions": n_sessions,
            "n_items": data.n_items,
            **{name: resolved[name] for name in MODEL_PARAMS},
            "unknown_user": self.unknown_user,
            "max_length": self.max_session_length,
            "fusion": features
            and {
                "kind": self.feature_fusion,
                "n_features": features.shape[1],
                "cold_weight": self.cold_item_weight,
            },
        }
        with torch_session(int(torch_seed), self.n_threads, device):
            self._model, self._keys = self._new_model(), None
            if features is not None:
                vectors = features.rows_of(self.item_ids_)
                trained, _, _ = data.as_sequences(rows)
                clicks = np.bincount(trained, minlength=data.n_items + 1)[1:]
                self._model.fill_features(vectors, clicks)
            if before is not None:
                rows_before = self._rows_of(before)
                carry_over(self._model, before._model.state_dict(), rows_before)
                if features is not None:
                    is_new = rows_before["items"] < 0
                    self._model.fill_features(vectors, clicks, is_new)
            self._model.network.prepare(*data.as_sequences(rows))
            self._model.to(device)
            self.history_, self.best_validation_score_ = train(
                self._model,
                Batches(instances, device, self._model.shares_prefixes),
                self._loss(device, resolved),
                batch_size=resolved["batch_size"],
                learning_rate=resolved["learning_rate"],
                optimizer=resolved["optimizer"],
                weight_decay=resolved["weight_decay"],
                lr_schedule=resolved["lr_schedule"],
                max_epochs=resolved["max_epochs"],
                n_iter_no_change=(
                    resolved["n_iter_no_change"] if self.early_stopping else None
                ),
                max_time=self.max_time,
                validate=validation,
                rng=np.random.default_rng(int(torch_seed)),
                verbose=self.verbose,
                checkpoint=self._checkpoint(data, instances, eval_set, before),
                callbacks=callbacks,
            )
        self.n_iter_ = len(self.history_)
        self._keep_keys()

    def _rows_of(self, before):
        """Row of each item, cluster, user and session in the model before, or -1."""
        rows = {"items": before._index.codes_of(self.item_ids_) - 1}
        for name, table in self._model.state_dict().items():
            kind, _ = rows_of_table(name)  # nothing in common, unless seen below
            if kind is not None and kind != "items":
                rows[kind] = np.full(len(table) - 1, -1)
        if self.membership_ is not None and before.membership_ is not None:
            pairs = zip(
                each_level(self._model_config["item_clusters"]),
                each_level(before._model_config["item_clusters"]),
                strict=False,
            )
            for level, (clusters, were) in enumerate(pairs):
                known = np.concatenate([[0], were])[rows["items"] + 1] - 1
                linked = clusters > 0
                matched = match_clusters(clusters[linked] - 1, known[linked])
                rows[f"clusters {level}"][: len(matched)] = matched
        if self._users is not None and before._users is not None:
            rows["users"] = before._users.codes_of(self.user_ids_) - 1
        if self._sessions is not None and before._sessions is not None:
            rows["sessions"] = before._sessions.codes_of(self._session_ids) - 1
        return rows

    @torch.no_grad()
    def _keep_keys(self):
        if self._model.fusion is not None:
            self._model.fusion.release()
        keys = self._model.keys()
        check_finite(keys)
        self._keys = keys.T.contiguous().T  # a single query reads it twice as fast so

    def _owners(self, data, rows, kinds):
        """Codes of user and session of each of the rows that are trained on, or None.

        They alone have a prompt that was trained.
        """
        self.user_ids_ = self._session_ids = self._users = self._sessions = None
        users = sessions = None
        if "user" in kinds:
            self.user_ids_, users = factorize(data.users[rows])
            users = users + 1
        if "session" in kinds and self.session_prompt == "table":
            sessions = np.arange(1, len(rows) + 1)
            if data.ids is not None:
                self._session_ids, sessions = factorize(data.ids[rows])
                sessions = sessions + 1
        self._index_owners()
        return users, sessions

    def _index_owners(self):
        if self.user_ids_ is not None:
            self._users = ItemIndex(self.user_ids_)
        if self._session_ids is not None:
            self._sessions = ItemIndex(self._session_ids)

    def _checkpoint(self, data, instances, eval_set, before):
        """Where this run leaves its state, known by its parameters and data."""
        if self.checkpoint is None:
            return None
        if not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint needs an integer random_state, got {self.random_state!r}: "
                "without it no later fit is the same run. Pass random_state=0."
            )
        ignored = ("checkpoint", "verbose", "max_time")
        params = {
            key: _known_by(value)
            for key, value in self.get_params().items()
            if key not in ignored
        }
        state = None
        if before is not None:
            state = [v.cpu().numpy() for v in before._model.state_dict().values()]
        if eval_set is not None:
            eval_set = [
                part.__getstate__() if isinstance(part, Sessions) else part
                for part in (as_sessions(eval_set[0]), eval_set[1])
            ]
        return Checkpoint(
            self.checkpoint,
            params,
            (data.codes, data.offsets, data.clusters, data.index.item_ids.tolist()),
            (instances.starts, instances.stops, instances.users, instances.sessions),
            eval_set,
            state,
            (VERSION, torch.__version__, torch.get_num_threads()),
        )

    def _item_clusters(self, data, seed, kinds):
        """Cluster 1..K of each item, 0 = none; None without cluster prompts.

        Of shape (n_items,), or (n_items, n_levels) where there are several levels.
        """
        self.clusterer_ = self.membership_ = None
        if "cluster" not in kinds:
            return None
        if data.clusters is not None:
            if self.clusterer is not None:
                warn_user(
                    "The sessions carry clusters already, so `clusterer` is not used. "
                    "Leave clusterer=None behind a SessionClusterer step."
                )
            clusters = data.item_clusters()
        else:
            clusterer = (
                SessionClusterer()
                if self.clusterer is None
                else clone(self.clusterer, safe=False)
            )
            if getattr(clusterer, "random_state", 0) is None:
                clusterer.random_state = int(seed)
            self.clusterer_ = clusterer.fit(*data.as_fit_arguments())
            clicked = data.item_counts() > 0
            clusters = levels_of(clusterer, data.index.item_ids, clicked) + 1
        clusters = clusters.astype(np.int32)
        self.membership_ = first_level(clusters) - 1
        return clusters

    def _split(self, data, eval_set, seed):
        """Rows to train on, and a function that scores the validation part."""
        rows = np.flatnonzero(np.diff(data.offsets) > 1)
        if eval_set is not None:
            if not isinstance(eval_set, tuple) or len(eval_set) != 2:
                raise TypeError(
                    f"eval_set is a {type(eval_set).__name__}. Expected a tuple "
                    "(X, y); y may be None."
                )
            return rows, self._validator(*eval_set)
        n_validation = max(1, round(self.validation_fraction * len(rows)))
        if not self.early_stopping or len(rows) <= n_validation:
            return rows, None
        if data.end_times is None:
            rows = np.random.default_rng(int(seed)).permutation(rows)
        held_out = np.sort(rows[-n_validation:])
        return np.sort(rows[:-n_validation]), self._validator(
            *data.as_fit_arguments(held_out)
        )

    def _loss(self, device, resolved):
        """The loss to train by; tells the model whether it touches few items."""
        self._model.sparse = resolved["loss"] in SAMPLED_LOSSES
        if not self._model.sparse:
            if not self._model.network.dot_product:
                resolved["precision"] = "float32"
            return CrossEntropy(resolved["precision"])
        n_negatives = resolved["n_negatives"]
        if n_negatives > self.n_items_:
            raise ValueError(
                f"n_negatives={n_negatives} exceeds the catalogue of {self.n_items_} "
                "items. Pass fewer, or loss='cross_entropy' to use all items."
            )
        shared = resolved["share_negatives"]
        check_sample_fits(
            resolved["loss"],
            resolved["batch_size"],
            n_negatives,
            vectors_of=0 if shared else resolved["embedding_dim"],
        )
        weights = np.ones(self.n_items_)
        if self.negative_sampling == "popularity":
            weights = self._popularity
        if self._model.fusion is not None and self.cold_item_weight == 0:
            weights = weights * (self._model.fusion.counts.cpu().numpy() > 0)
        weights = torch.from_numpy(np.asarray(weights, dtype=np.float64)).to(device)
        item_weights = None
        if self._model.fusion is not None and resolved["loss"] != "sampled_softmax":
            item_weights = self._model.fusion.take_cold_weights()
        return SampledLoss(
            resolved["loss"],
            n_negatives,
            weights,
            shared=shared,
            item_weights=item_weights,
        )

    def _validator(self, X, y):
        """A function that scores the model as it stands on these sessions."""
        X = as_sessions(X)
        y = None if y is None else check_targets(y, len(X))
        scoring = self._scoring
        if not callable(scoring):
            metric, k = parse_metric(scoring)
            return lambda: metric(self.rank_targets(X, y), k)

        def validate():
            score = scoring(self, X, y)
            if not isinstance(score, Real) or score != score:
                raise ValueError(
                    f"scoring returned {score!r:.60}. Expected one number that is not "
                    "NaN; for several metrics pass one to stop by and score the others "
                    "with SessionScorer."
                )
            return float(score)

        return validate

    def _new_model(self):
        return SessionModel(**self._model_config)

    def _used_features(self):
        """The features that take part, or None."""
        features = checked_features(self.item_features)
        if features is None or self.feature_fusion in (None, "none"):
            return None
        if len(features.missing) == len(features):
            raise ValueError(
                f"All {len(features)} rows of item_features are zero. Pass features of "
                "some items, or item_features=None."
            )
        if self.feature_fusion == "late" and self.similarity == "dot":
            raise ValueError(
                "feature_fusion='late' adds two cosines, but similarity='dot'. Leave "
                "similarity at 'auto', or pass another feature_fusion."
            )
        return features

    @property
    def fusion_weight_(self):
        """Mean weight of learned vectors ("gate") or of features ("add", "late").

        None for other kinds of `feature_fusion`.
        """
        if getattr(self, "_model", None) is None:
            raise AttributeError("fusion_weight_ is there after fit.")
        fusion = self._model.fusion
        weight = None if fusion is None else fusion.weight(self._model.item_table)
        if isinstance(weight, np.ndarray):
            told = (fusion.counts > 0) & fusion.table.any(dim=1)
            weight = weight[told.cpu().numpy()]
            return float(weight.mean()) if len(weight) else None
        return weight

    # -- ranking ---------------------------------------------------------------

    def _observed(self, queries):
        return observed_prefixes(
            queries,
            item_clusters=self._model_config["item_clusters"],
            n_items=self.n_items_,
            max_length=self._model_config["max_length"],
            users=_codes_of(self._users, queries.users, queries.offsets),
            sessions=_codes_of(self._sessions, queries.ids, queries.offsets),
        )

    @torch.no_grad()
    def _score_chunks(self, queries):
        instances = self._observed(queries)
        read = instances.stops > instances.starts
        device = self._model.item_table.device
        where = np.flatnonzero(read)
        keys = self._keys
        if keys is None:  # in training
            keys = self._model.keys()
            check_finite(keys)
        step = max(1, min(rows_per_chunk(self.n_items_), len(where)))
        buffer = keys.new_empty(step, self.n_items_)  # one for all chunks
        for positions, state in read_states(self._model, instances.take(where)):
            for start in range(0, len(positions), step):
                at = positions[start : start + step]
                part = take_rows(state, slice(start, start + step))
                yield where[at], self._model.scores(part, keys, out=buffer[: len(at)])
        popular = torch.from_numpy(self._popularity.astype(np.float32)).to(device)
        where = np.flatnonzero(~read)
        step = rows_per_chunk(self.n_items_)
        for start in range(0, len(where), step):
            at = where[start : start + step]
            yield at, popular.repeat(len(at), 1)

    @property
    def _scoring(self):
        """The metric of `score`."""
        return (
            self.resolved_params_["scoring"] if is_auto(self.scoring) else self.scoring
        )

    # -- state -----------------------------------------------------------------

    def _check_fitted(self):
        check_is_fitted(self, "item_ids_")

    def __getstate__(self):
        state = super().__getstate__()
        if "_model" in state:  # NumPy arrays open on any device
            state["_model"] = {
                name: tensor.detach().cpu().numpy()
                for name, tensor in state["_model"].state_dict().items()
            }
            for name in ("_keys", "_users", "_sessions"):
                del state[name]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_model" in state:
            self._users = self._sessions = None
            self._index_owners()
            weights = {
                name: torch.from_numpy(np.array(array))
                for name, array in state["_model"].items()
            }
            with torch.random.fork_rng(devices=[]):
                self._model = self._new_model()
            self._model.load_state_dict(weights)
            device = "auto" if self.device != "cpu" else "cpu"
            self._model.to(resolve_device(device)).eval()
            self._keep_keys()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        return tags


def _known_by(value):
    """What a parameter is known by in another process: functions by their code."""
    kind = type(value)
    code = getattr(value, "__code__", None)
    if code is not None:
        return value.__module__, value.__qualname__, code.co_code, repr(code.co_consts)
    if kind.__repr__ is object.__repr__:  # it would name an address
        return kind.__module__, kind.__qualname__
    return kind.__module__, kind.__qualname__, repr(value)


def _prompt_kinds(prompt):
    """The kinds of prompts asked for, as a tuple."""
    kinds = (prompt,) if isinstance(prompt, str) else tuple(prompt or ())
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(
                f"prompt={prompt!r} has the kind {kind!r}. Pass one of {KINDS}, a "
                "tuple of them, or None."
            )
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"prompt={prompt!r} names a kind twice. Name each once.")
    return kinds


def _codes_of(index, ids, offsets):
    """Codes of the users or ids of sessions, 0 = unknown; None without prompts."""
    if index is None:
        return None
    if ids is None:
        return np.zeros(len(offsets) - 1, dtype=np.int32)
    return index.codes_of(ids)
