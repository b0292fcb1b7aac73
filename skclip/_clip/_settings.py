"""What "auto" stands for: presets, general defaults, and rules that read the data."""

import numpy as np

from skclip._training import resolve_loss, resolve_precision

# What "auto" stands for where no preset, no backbone and no data decide. Backbones may
# set those of `_TRAINING` in their `training`.
_DEFAULTS = {
    "gate": "elementwise",
    "normalization": "unit",
    "candidates": "raw",
    "similarity": None,
    "temperature": 0.07,
    "normalize_items": None,
    "scoring": "mrr@20",
    "embedding_dim": 64,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "lr_schedule": "cosine",
    "n_iter_no_change": 3,
    "share_negatives": True,
}


_READ_FROM_DATA = ("batch_size", "max_epochs", "loss", "n_negatives")


_TRAINING = (
    "embedding_dim",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "lr_schedule",
    "n_iter_no_change",
    "share_negatives",
    *_READ_FROM_DATA,
)


MODEL_PARAMS = (
    "embedding_dim",
    "normalization",
    "gate",
    "candidates",
    "similarity",
    "temperature",
    "normalize_items",
)


PRESETS = {
    "paper": {
        "gate": "elementwise",
        "normalization": "unit",
        "candidates": "raw",
        "similarity": None,
        "scoring": "mrr@5",
        "embedding_dim": 64,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "lr_schedule": "constant",
        "n_iter_no_change": 10,
        "batch_size": 256,
        "max_epochs": 50,
    },
    "strong": {
        "gate": "elementwise",
        "normalization": "unit",
        "candidates": "prompted",
        "similarity": "cosine",
        "temperature": 0.1,
        "max_epochs": 6,
    },
}


def chosen_params(estimator, spec, fixed=None):
    """What "auto" stands for with this preset and backbone, before any data.

    `fixed` are parameters that a model has already.
    """
    params, training = estimator.get_params(deep=False), spec.training or {}
    params |= fixed or {}
    _check_keys("training", training)
    type(estimator)(**params | training)._validate_params()
    preset = PRESETS.get(estimator.preset, {})
    if estimator.preset == "strong":
        _check_keys("strong_training", spec.strong_training)
        preset = preset | spec.strong_training
    if params["n_negatives"] is None:
        params["n_negatives"] = "auto"
    chosen = {key: params[key] for key in (*_DEFAULTS, *_READ_FROM_DATA)}
    for source in (training, preset, spec.default_training):
        chosen = {
            key: source.get(key, "auto") if is_auto(value) else value
            for key, value in chosen.items()
        }
    late = estimator.item_features is not None and estimator.feature_fusion == "late"
    if is_auto(chosen["learning_rate"]) and (late or chosen["similarity"] == "cosine"):
        chosen["learning_rate"] = 0.005
    return {
        key: _DEFAULTS.get(key, "auto") if is_auto(value) else value
        for key, value in chosen.items()
    }


def _check_keys(name, settings):
    for key in settings:
        if key not in _TRAINING:
            raise ValueError(
                f"`{name}` of the backbone sets {key!r}. It may set "
                f"{sorted(_TRAINING)}."
            )


def resolve_params(estimator, chosen, n_instances, n_items, device):
    """What "auto" and None stand for with this data and device."""
    batch_size, max_epochs = chosen["batch_size"], chosen["max_epochs"]
    if is_auto(batch_size):  # about 100 steps an epoch, if there are enough
        batch_size = 2 ** int(np.log2(max(1, n_instances / 100)))
        batch_size = min(512, max(64, batch_size))
    if is_auto(max_epochs):
        steps = -(-n_instances // batch_size)
        max_epochs = min(100, max(10, -(-1000 // steps)))
    n_negatives = chosen["n_negatives"]
    if is_auto(n_negatives):
        n_negatives = min(2048, n_items)
    return chosen | {
        "batch_size": batch_size,
        "max_epochs": max_epochs,
        "loss": resolve_loss(chosen["loss"], batch_size, n_items),
        "n_negatives": n_negatives,
        "precision": resolve_precision(estimator.precision, device),
        "device": str(device),
    }


def is_auto(value):
    return isinstance(value, str) and value == "auto"
