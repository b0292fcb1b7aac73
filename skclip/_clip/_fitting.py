"""The steps of fit and partial_fit, one call for each stage."""

import copy
import time
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state

from skclip._base import VERSION
from skclip._clip._fitted import Fitted, candidate_vectors
from skclip._clip._settings import MODEL_PARAMS, is_auto, settings_of
from skclip._clusters import Assignment, assign_clusters, extend_clusters
from skclip._data import (
    NoTargets,
    as_click_features,
    check_click_columns,
    check_further,
    checked_eval_set,
    click_feature_sizes,
    codes_of_owners,
    few_held_out,
    first_fit_data,
    further_fit_data,
    grown_catalog,
    latest_part,
    query_data,
    thinned,
    training_data,
    types_with,
    warn_further_types,
    warn_unknown,
)
from skclip._model import (
    Batches,
    Draws,
    Holders,
    grown_model,
    new_model,
    used_features,
)
from skclip._training import (
    Alone,
    Checkpoint,
    HeldOut,
    Plan,
    generator_on,
    learned_bias,
    make_loss,
    private_draws,
    processes,
    torch_session,
    train,
    workers_for,
)
from skclip._warnings import told_already, warn_user
from skclip.exceptions import TrainingWarning
from skclip.metrics import parse_metric

_FEWEST_REPEATS = 0.01  # share of targets below which repeats="auto" is False
_HELD_OUT = 5000  # approximate number of targets to learn a bias for repeats from
_FEWEST_TARGETS = 20  # needed in each half of the held-out part to decide
_CLEARLY = 0.02  # relative improvement of the score that counts as clear
_ENOUGH = 0.97  # share of the prefixes from which no second fit on all is needed


def fit_steps(
    params,
    X,
    y,
    eval_set=None,
    *,
    before=None,
    grow=False,
    callbacks=None,
    sample_weight=None,
):
    """Fit a recommender without changing it, and return `Fitted`.

    `params` is the recommender, whose parameters are read. `X`, `y`, `eval_set` and
    `sample_weight` are those of its `fit`. `before` is the `Fitted` of an earlier fit.
    With `grow` (``partial_fit``) `X` holds further sessions, and the model continues
    from `before`. Without it (``warm_start``) the model is new and only starts from the
    weights of `before`.
    """
    group, known = processes(), before if grow else None
    running = {
        "skclip": VERSION,
        "torch": torch.__version__,
        "fit or partial_fit": grow,
    }
    group.check_same("what they run", lambda: running)
    with group.fail_together():
        settings = settings_of(params, known and known.config)
    seeds = group.call_on_first(lambda: _drawn_seeds(params.random_state, grow))
    with group.fail_together():
        coded = training_data(
            X,
            y,
            min_item_count=params.min_item_count,
            known=None if known is None else known.index,
            sample_weight=sample_weight,
        )
        if grow:
            data = _further_data(params, coded, settings, before)
        else:
            data = _first_data(params, coded, eval_set, settings, seeds["split"])
    kind = settings.device.type
    group.check_same(
        "what they fit", lambda: _facts(params, data, eval_set, before, kind)
    )
    clusters = group.call_on_first(
        lambda: _clusters(params, settings, coded, data, seeds["cluster"], known)
    )
    n_instances, n_items = len(data.instances), data.coded.n_items
    with group.fail_together():
        values = known and known.settings
        settings = settings.with_sizes(params, n_instances, n_items, values)
    precision = group.call_on_first(lambda: settings.values["precision"])
    settings = settings.with_values(precision=precision)
    group.check_same("what 'auto' stands for", lambda: _plain(settings.values))
    plan = _plan(params, settings.values, _pace(data) if grow else (1, 1))
    path = group.call_on_first(lambda: params.checkpoint)

    def learn(data, plan, before=before):
        """Train on these data. A model to be kept may have callbacks and checkpoint."""
        checkpoint = None
        if path is not None and plan.kept and not grow:
            values = settings.values
            checkpoint = Checkpoint(
                path, lambda: _bound_to(params, data, eval_set, before, values), group
            )
        return _learned(
            params,
            settings,
            data,
            clusters,
            plan,
            seeds["torch"],
            group,
            before=before,
            grow=grow,
            checkpoint=checkpoint,
            callbacks=callbacks if plan.kept else None,
        )

    settings = settings.with_values(click_features=data.coded.click_features)
    workers = workers_for(params.n_threads, settings.device)
    with torch_session(workers, settings.device.type) as workers:
        settings = settings.with_values(n_threads=workers.n_threads)
        if grow:
            fitted = learn(data, plan).with_repeats(before.repeats)
        elif _learns_repeats(settings, data):
            seed = seeds["split"]
            fitted = _with_repeats(params, data, plan, learn, seed, before, group)
        else:
            fitted = learn(data, plan).with_repeats(None)
    fitted.model.release()
    history, score = fitted.history, fitted.best_score
    if grow:
        history, score = _continued(before.history, history), None
    keys = candidate_vectors(fitted.model)
    return replace(fitted, keys=keys, history=history, best_score=score)


def _learned(
    params,
    settings,
    data,
    clusters,
    plan,
    seed,
    group,
    *,
    before=None,
    grow=False,
    checkpoint=None,
    callbacks=None,
):
    """Build and train a model; return `Fitted` without candidate vectors."""
    coded = data.coded
    holders = Holders(coded.index, clusters.of_items, data.owners, coded.type_index)
    config = _model_config(params, settings, data, holders, before if grow else None)
    draws = generator_on("cpu", seed)
    build = grown_model if grow else new_model
    with Draws(draws):
        model = build(config, data, settings.device, holders, before)
    if settings.device.type != "cpu":
        draws = generator_on(settings.device, seed)
    group.check_model(model)
    group.broadcast_weights(model)
    fitted = Fitted(
        holders,
        popularity=_popularity(data, before if grow else None),
        clusterer=clusters.clusterer,
        settings=settings.with_model(model).values,
        config=config,
        model=model,
        rehearsal=data.rehearsal.latest(params.n_rehearsed),
    )
    if callbacks is not None:
        callbacks.fitted = lambda history, score: snapshot(
            params, replace(fitted, history=history, best_score=score)
        )
    values, popularity = fitted.settings, fitted.popularity
    # Random draws for single rows, such as dropout, differ between processes.
    own = draws
    if group.size > 1:
        own = generator_on(settings.device, (seed + group.rank + 1) % 2**31)
    samples = draws if values["loss__shared"] else own
    with private_draws(model, own):
        history, score = train(
            model,
            Batches(data.instances, settings.device, model.shares_prefixes),
            make_loss(values, settings.loss, model, popularity, samples),
            plan,
            rngs=(np.random.default_rng(seed), draws, own),
            validate=_validator(params, fitted, data.held_out, group),
            checkpoint=checkpoint,
            callbacks=callbacks,
            group=group,
        )
    return replace(fitted, history=history, best_score=score)


# -- bias of repeated items ------------------------------------------------------------


def _learns_repeats(settings, data):
    repeats = settings.values["repeats"]
    if is_auto(repeats):
        return data.repeat_share >= _FEWEST_REPEATS
    return repeats


def _with_repeats(params, data, plan, learn, seed, before, group):
    """Train a model, and learn a bias for repeated items from sessions it has not seen.

    With early stopping these are the validation part. Otherwise a few sessions are
    held out, and the model does without them. A second model is trained on all sessions
    if the held-out ones are many, or if the model starts from one that has seen them.
    The bias is then learned with the first model.
    """
    begun, held_out, part = time.perf_counter(), data.held_out, data

    def bias_of(fitted):
        return group.call_on_first(lambda: _repeat_bias(params, fitted, *held_out))

    if plan.n_iter_no_change is None or held_out is None:
        fraction, max_length = params.validation_fraction, params.max_session_length
        part, held_out = few_held_out(data, fraction, max_length, seed, _HELD_OUT)
    if held_out is None:
        return learn(data, plan).with_repeats(_no_bias(params, 0, 0))
    enough = len(part.instances) >= _ENOUGH * len(data.instances)
    if enough and before is None:
        fitted = learn(part, plan)
        return fitted.with_repeats(bias_of(fitted))
    shows = params.verbose and group.rank == 0
    if shows:
        print("First fit, to learn the bias of repeated items:", flush=True)
    first = learn(replace(part, held_out=None), plan.of_a_trial(), None)
    bias = bias_of(first)
    plan = plan.later(time.perf_counter() - begun)
    if shows:
        print("Second fit, on all sessions:", flush=True)
    return learn(data, plan).with_repeats(bias)


def _repeat_bias(params, fitted, X, y):
    """Return the bias that makes held-out targets most likely, or None.

    "auto" keeps it only if it ranks the targets clearly better. To decide, each half of
    the targets is scored with the bias learned from the other half.
    """
    X, y = thinned(X, y, _HELD_OUT)
    halves = [(X[i::2], None if y is None else y[i::2]) for i in range(min(2, len(X)))]
    read = [HeldOut(fitted.known_targets(*half)) for half in halves]
    counts = [half.n_targets for half in read]
    if not is_auto(params.repeats):
        read = [half for half in read if half.n_targets]
        return learned_bias(*read) if read else _no_bias(params, len(X), 0)
    if len(read) < 2 or min(counts) < _FEWEST_TARGETS:
        return None
    without = with_bias = 0.0
    try:
        for half, other in zip(halves, reversed(read), strict=True):
            biased = fitted.with_repeats(learned_bias(other))
            without += _validator(params, fitted.with_repeats(None), half, Alone())()
            with_bias += _validator(params, biased, half, Alone())()
    except NoTargets:  # too few targets of the type that `scoring` needs
        return None
    if with_bias <= without + _CLEARLY * abs(without):
        return None
    return learned_bias(*read)


def _no_bias(params, n_sessions, n_targets):
    """Return None, with a warning if the user requested a bias."""
    if not is_auto(params.repeats):
        warn_user(
            "repeats=True learns a bias from held-out sessions, but "
            f"{n_sessions} sessions with {n_targets} known targets could be held out. "
            "The model has no bias. Pass more sessions, or repeats='auto'.",
            TrainingWarning,
        )


def as_estimator(params, fitted):
    """Return a recommender with these parameters that ranks by `fitted`."""
    estimator = type(params)(**params.get_params(deep=False))
    return estimator._adopt_fit(fitted)


def _drawn_seeds(random_state, grow):
    names = ("cluster", "torch") if grow else ("cluster", "split", "torch")
    drawn = check_random_state(random_state).randint(2**31 - 1, size=len(names))
    return {name: int(seed) for name, seed in zip(names, drawn, strict=True)}


# -- sessions and clusters -------------------------------------------------------------


def _first_data(params, coded, eval_set, settings, seed):
    """The data that a first fit learns from."""

    def split(coded, rows):
        if eval_set is not None:
            return rows, checked_eval_set(eval_set)
        if not settings.values["early_stopping"]:
            return rows, None
        return latest_part(coded, rows, params.validation_fraction, seed)

    names = as_click_features(params.click_features, coded)
    types = types_with(None, coded) if "event" in names else None
    return first_fit_data(
        coded.with_click_features(names, types),
        used_features(settings.fusion),
        settings.table_kinds,
        split,
        params.max_session_length,
    )


def _further_data(params, data, settings, before):
    """The data that an update learns from, in codes of the extended catalog."""
    owners, known = before.holders.owners, before.index
    check_further(data, owners.kinds)
    features = None
    if before.config["fusion"] is not None:
        features = _same_features(params, settings, before.config["fusion"])
    names = tuple(before.config["click_features"])
    check_click_columns(names, data)
    warn_further_types(names, params.click_features, data)
    types = before.holders.types
    if types is not None and data.types is not None:
        types = types_with(types, data)
    grown = grown_catalog(data, known, features).with_click_features(names, types)
    max_length, kept = before.config["max_length"], before.rehearsal
    kept = kept.latest(params.n_rehearsed)
    return further_fit_data(grown, features, owners, max_length, kept)


def _clusters(params, settings, coded, data, seed, before):
    """Clusters of the items. With `before`, its clusters are extended."""
    if before is not None:
        known = Assignment(before.item_clusters, before.clusterer)
        return extend_clusters(known, coded, data.coded, seed)
    if "cluster" not in settings.kinds:
        return Assignment()
    return assign_clusters(data.coded, params.clusterer, seed)


def _same_features(params, settings, fusion):
    """Features of old and new items, which must have as many columns as before."""
    features = used_features(settings.fusion)
    if features is None or features.shape[1] != fusion["n_features"]:
        raise ValueError(
            f"The model was fitted with item_features of {fusion['n_features']} "
            f"columns, but item_features={params.item_features!r:.60}. Encode old and "
            "new items with the same transformer and pass their features: "
            "set_params(item_features=...)."
        )
    return features


# -- the model -------------------------------------------------------------------------


def _model_config(params, settings, data, holders, before):
    """Arguments of the `SessionModel`. With `before`, only its sizes change."""
    owners = data.owners
    sizes = {
        "item_clusters": holders.clusters,
        "n_items": len(holders.items),
        "n_users": owners.n_users,
        "n_sessions": owners.n_sessions,
    }
    max_length = params.max_session_length
    if before is not None:
        max_length = before.config["max_length"]
    sizes["click_features"] = click_feature_sizes(
        data.coded.click_features, holders.types, max_length
    )
    if before is not None:
        if before.config["n_sessions"] == "pooled":
            sizes["n_sessions"] = "pooled"
        return before.config | sizes
    prompt, fusion = settings.prompt, settings.fusion
    if "session" in settings.kinds and prompt.session == "pooled":
        sizes["n_sessions"] = "pooled"
    return sizes | {
        "spec": settings.spec,
        **{key: settings.values[name] for name, key in MODEL_PARAMS.items()},
        "unknown_user": "zero" if prompt is None else prompt.unknown_user,
        "max_length": max_length,
        "fusion": fusion
        and {
            "kind": fusion.kind,
            "n_features": data.features.shape[1],
            "cold_weight": fusion.cold_item_weight,
        },
    }


def _popularity(data, before):
    """Training events of each item or their weights, including those of `before`."""
    return data.coded.item_counts(None if before is None else before.popularity)


# -- training --------------------------------------------------------------------------


def _pace(data):
    """Return a factor for the learning rate and a divisor of the epochs of an update.

    Without kept sessions an update uses a lower learning rate, so that the model does
    not forget the old sessions.
    """
    return (1, 5) if data.n_rehearsed else (0.3, 3)


def _plan(params, values, pace=(1, 1)):
    rate, divisor = pace
    return Plan(
        batch_size=values["batch_size"],
        max_epochs=-(-values["max_epochs"] // divisor),
        learning_rate=rate * values["learning_rate"],
        optimizer=values["optimizer"],
        weight_decay=values["weight_decay"],
        lr_schedule=values["lr_schedule"],
        n_iter_no_change=values["n_iter_no_change"]
        if values["early_stopping"]
        else None,
        max_time=params.max_time,
        verbose=params.verbose,
    )


def _continued(before, history):
    done = len(before)
    return [*before, *(row | {"epoch": row["epoch"] + done} for row in history)]


def _validator(params, fitted, held_out, group):
    """Return a function that scores the present model; None without validation.

    The processes of a group share out the sessions. A `scoring` that is not the name of
    a metric is computed by the first process.
    """
    if held_out is None:
        return None
    X, y = held_out
    scoring = fitted.settings["scoring"]
    estimator = as_estimator(params, fitted)
    queries = query_data(X, fitted.index, y, every_prefix=True)
    warn_unknown(queries, fitted.index, estimator._what_happens, "eval_set")
    for index, ids in zip(fitted.owners, (queries.users, queries.ids), strict=True):
        codes_of_owners(index, ids, len(X), "users or ids of eval_set")

    def validate():
        with told_already():
            if not callable(scoring):
                metric, k = parse_metric(scoring)
                return metric(_ranks(estimator, X, y, group), k)
            try:
                score = group.call_on_first(lambda: scoring(estimator, X, y))
            except NoTargets as error:
                raise NoTargets(
                    f"The validation part cannot be scored. {error} Pass an eval_set "
                    "with such events, or a larger validation_fraction."
                ) from None
        if not isinstance(score, Real) or score != score:
            raise ValueError(
                f"scoring returned {score!r:.60}. Expected one number that is not NaN. "
                "Pass one metric for early stopping, and compute the others with "
                "SessionScorer."
            )
        return float(score)

    return validate


def _ranks(estimator, X, y, group):
    """Ranks of targets in order. Each process ranks those of its sessions."""
    if group.size == 1:
        return estimator.rank_targets(X, y)
    ranks, part = np.zeros(0), group.slice_of(len(X))
    mine, targets = X[part], None if y is None else y[part]
    with group.fail_together():
        if len(mine) and (y is not None or mine.lengths.max() > 1):
            ranks = estimator.rank_targets(mine, targets)
    return np.concatenate(group.gather(ranks))


def snapshot(params, fitted):
    """Fitted attributes of a recommender with a copy of the present model."""
    parameters = set(params._get_param_names())
    model = copy.deepcopy(fitted.model)
    model.to(model.item_table.device)  # on CUDA this joins the weights of a GRU again
    still = replace(fitted, model=model)
    estimator = as_estimator(params, still)
    return {k: v for k, v in vars(estimator).items() if k not in parameters}


def _facts(params, data, eval_set, before, kind_of_device):
    """Facts by name that must be equal in all processes of a fit."""
    given = _plain(params.get_params())
    given = {f"parameter {name}": value for name, value in given.items()}
    given["kind of device"] = kind_of_device
    return given | _known_data(data, eval_set, before)


def _plain(values):
    """Plain values by name, without those that may differ between processes."""
    own = ("checkpoint", "verbose", "max_time", "device", "n_threads")
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, str | int | float | None)
        and name not in own
        and not name.endswith("random_state")
    }


def _known_data(data, eval_set, before):
    """Everything that a fit learns from, by name: arrays and plain values."""
    coded, instances = data.coded, data.instances
    state = None
    if before is not None:
        state = [v.cpu().numpy() for v in before.model.state_dict().values()]
    if eval_set is not None:
        X, y = data.held_out
        eval_set = [X.__getstate__(), y]
    return {
        "sessions": (coded.codes, coded.offsets, coded.index.item_ids.tolist()),
        "clusters of the sessions": coded.clusters,
        "weights and types": (coded.weights, coded.click_codes),
        "prefixes to learn": (
            instances.starts,
            instances.stops,
            instances.users,
            instances.sessions,
        ),
        "item features": data.features,
        "eval_set": eval_set,
        "the model that they go on from": state,
    }


def _bound_to(params, data, eval_set, before, values):
    """Return what identifies the run of a checkpoint: parameters, data, versions.

    `values` are resolved parameters. Some of them depend on the device.
    """
    if not isinstance(params.random_state, Integral):
        raise ValueError(
            f"checkpoint needs an integer random_state, got {params.random_state!r}. "
            "Without one, a later fit cannot repeat the run. Pass random_state=0."
        )
    ignored = ("checkpoint", "verbose", "max_time")
    known_by = {
        key: _known_by(value)
        for key, value in params.get_params().items()
        if key not in ignored
    } | {f"{key} is": _known_by(value) for key, value in values.items()}
    versions = VERSION, torch.__version__
    return known_by, _known_data(data, eval_set, before), versions


def _known_by(value):
    """Return what identifies a parameter in another process; for functions the code."""
    kind = type(value)
    code = getattr(value, "__code__", None)
    if code is not None:
        return value.__module__, value.__qualname__, code.co_code, repr(code.co_consts)
    if kind.__repr__ is object.__repr__:  # its text would hold a memory address
        return kind.__module__, kind.__qualname__
    return kind.__module__, kind.__qualname__, repr(value)
