"""Settings of a fit: objects for names, and values for "auto"."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.base import clone

from skclip._base import plain_number, with_plain_numbers
from skclip._model import Fusion, Prompt, as_fusion, as_prompt, kinds_of
from skclip._sklearn import validate_parameter_constraints
from skclip._training import (
    GBCE,
    LOSSES,
    as_loss,
    resolve_device,
    resolve_loss,
    resolve_precision,
)
from skclip.backbones import BackboneSpec, backbone_spec
from skclip.metrics import parse_metric

# Values for "auto" where no preset, no backbone and no data decide. They were chosen on
# the validation parts of eight logs.
_DEFAULTS = {
    "prompt__gate": "elementwise",
    "prompt__normalization": "unit",
    "prompt__candidates": "prompted",
    "similarity": "cosine",
    "scoring": "mrr@20",
    "embedding_dim": 64,
    "optimizer": "adam",
    "weight_decay": 0.0,
    "lr_schedule": "cosine",
    "unseen_items": "drop",
    "n_iter_no_change": 3,
    "loss__shared": True,
}
_CALIBRATION = 0.75  # for gBCE, the only loss with this parameter
_SIZES = ("batch_size", "max_epochs", "loss", "loss__n_negatives")
# Parameters whose "auto" depends on the data or on other parameters.
_LEFT_OPEN = (
    *_SIZES,
    "loss__t",
    "temperature",
    "learning_rate",
    "early_stopping",
    "repeats",
)
_FEWEST_STEPS = 400
_MOST_PREFIXES = 4_000_000  # read by a fit with max_epochs="auto", all epochs together
_TRAINING = (  # keys that `training` of a backbone may set
    "embedding_dim",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "lr_schedule",
    "early_stopping",
    "n_iter_no_change",
    "loss__shared",
    "loss__t",
    *_SIZES,
)
# Parameters that define a model -> argument of `SessionModel`.
MODEL_PARAMS = {
    "embedding_dim": "embedding_dim",
    "prompt__normalization": "normalization",
    "prompt__gate": "gate",
    "prompt__candidates": "candidates",
    "similarity": "similarity",
    "temperature": "temperature",
}
PRESETS = {
    "paper": {
        "prompt__gate": "elementwise",
        "prompt__normalization": "unit",
        "prompt__candidates": "raw",
        "similarity": None,
        "scoring": "mrr@5",
        "embedding_dim": 64,
        "optimizer": "adam",
        "loss": "cross_entropy",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "lr_schedule": "constant",
        "unseen_items": "vote",
        "repeats": False,
        "n_iter_no_change": 10,
        "batch_size": 256,
        "max_epochs": 50,
    },
}


@dataclass(frozen=True)
class Settings:
    """Resolved parameters of a fit.

    `given_loss` is the object for the parameter ``loss`` before the data are known.
    `values` holds the parameters that may be "auto", with their resolved values. Those
    that depend on the data stay "auto" until `with_sizes`.
    """

    spec: BackboneSpec
    prompt: Prompt
    fusion: Fusion
    given_loss: object
    device: torch.device
    values: dict

    @property
    def kinds(self):
        """Kinds of prompts."""
        return kinds_of(self.prompt)

    @property
    def table_kinds(self):
        """Kinds of owners that have a learned vector each: users, sessions."""
        pooled = {"session"} if self.prompt and self.prompt.session == "pooled" else ()
        return set(self.kinds) - {"cluster", *pooled}

    @property
    def loss(self):
        """The loss object of the resolved name."""
        name = self.values["loss"]
        return self.given_loss if self.given_loss.name == name else LOSSES[name]()

    def with_values(self, **values):
        """The same with other values."""
        return replace(self, values=self.values | values)

    def with_model(self, model):
        """The same for a model. Scores that are no dot product stay in float32."""
        if model.network.dot_product or self.values["loss"] != "cross_entropy":
            return self
        return self.with_values(precision="float32")

    def _precision(self, precision, loss):
        """The precision for a loss. Sampled losses have no products in bfloat16."""
        if precision == "auto" and loss != "cross_entropy":
            return "float32"
        return resolve_precision(precision, self.device)

    def with_sizes(self, estimator, n_instances, n_items, before=None):
        """The same with the values that depend on the data and the device.

        `before` are the values of an earlier fit that is continued with its loss.
        """
        values = dict(self.values)
        batch_size, max_epochs = values["batch_size"], values["max_epochs"]
        if is_auto(batch_size):  # about 100 steps an epoch, if there are enough
            batch_size = 2 ** int(np.log2(max(1, n_instances / 100)))
            batch_size = min(512, max(64, batch_size))
        batch_size = min(batch_size, max(1, n_instances))
        # Ten epochs, or more of few prefixes, or fewer of many.
        steps = -(-n_instances // batch_size)
        n_epochs = min(100, max(10, -(-_FEWEST_STEPS // steps)))
        n_epochs = min(n_epochs, max(3, _MOST_PREFIXES // n_instances))
        if is_auto(max_epochs):
            max_epochs = n_epochs
        loss, n_negatives = values["loss"], values["loss__n_negatives"]
        if is_auto(loss) and before is not None:
            loss = before["loss"]
        if is_auto(n_negatives):
            n_negatives = min(2048, n_items)
        n_scores = n_instances * n_epochs * n_items
        loss = resolve_loss(loss, batch_size, n_items, n_scores, self.device)
        temperature = values["temperature"]
        if is_auto(temperature):
            temperature = 0.1 if loss == "cross_entropy" else 0.07
            temperature = getattr(self.spec, "temperature", temperature)
        resolved = {
            "batch_size": batch_size,
            "max_epochs": max_epochs,
            "loss": loss,
            "temperature": temperature,
            "loss__n_negatives": n_negatives,
            "precision": self._precision(estimator.precision, loss),
            "device": str(self.device),
        }
        t = values.pop("loss__t", "auto")
        if loss == "gbce":
            resolved["loss__t"] = _CALIBRATION if is_auto(t) else t
        return replace(self, values=values | resolved)


def settings_of(estimator, config=None):
    """Read the parameters of a recommender and refuse wrong or contradicting ones.

    `config` holds the arguments of an existing model. They then take precedence.
    """
    prompt, fusion = as_prompt(estimator.prompt), as_fusion(estimator.item_features)
    loss = as_loss(estimator.loss)
    spec = (
        clone(backbone_spec(estimator.backbone)) if config is None else config["spec"]
    )
    for part in (spec, prompt, fusion, loss):
        if part is not None:
            part._validate_params()
    if config is None:
        spec = with_plain_numbers(spec)
    if fusion is not None and fusion.features is None:
        fusion = None
    settings = Settings(
        spec,
        prompt,
        fusion,
        loss,
        resolve_device(estimator.device),
        _chosen(estimator, spec, prompt, fusion, loss, config),
    )
    settings.kinds  # noqa: B018  refuses unknown kinds
    scoring = settings.values["scoring"]
    if not callable(scoring):
        parse_metric(scoring)
    if fusion is not None and fusion.kind == "late" and estimator.similarity == "dot":
        raise ValueError(
            "Fusion(kind='late') adds two cosine scores, but similarity='dot'. Leave "
            "similarity at 'auto', or choose another kind of Fusion."
        )
    return settings


def _chosen(estimator, spec, prompt, fusion, loss, config):
    """Values for "auto" with this preset and backbone, before the data are known."""
    given = estimator.get_params(deep=False)
    for name, part in (("prompt", prompt or Prompt()), ("loss", loss)):
        given |= {f"{name}__{k}": v for k, v in part.get_params(deep=False).items()}
    given["loss"] = estimator.loss if isinstance(estimator.loss, str) else loss.name
    if given.get("loss__n_negatives") is None:
        given["loss__n_negatives"] = "auto"
    given = {"loss__shared": "auto", "loss__t": "auto"} | given
    if config is not None:
        given |= {name: config[key] for name, key in MODEL_PARAMS.items()}
    training = spec.training or {}
    _check_training(estimator, "training", training)
    preset = _preset(estimator.preset)
    chosen = {key: given[key] for key in (*_DEFAULTS, *_LEFT_OPEN)}
    for source in (training, preset, spec.default_training):
        chosen = {
            key: source.get(key, "auto") if is_auto(value) else value
            for key, value in chosen.items()
        }
    if spec.scores_repeats and chosen["repeats"] not in (False, "auto"):
        name = type(spec).__name__
        raise ValueError(
            f"repeats=True, but {name} has its own score for items that are in the "
            "session. Leave repeats at 'auto', or choose another backbone."
        )
    if spec.scores_repeats:
        chosen["repeats"] = False
    if is_auto(chosen["early_stopping"]):
        chosen["early_stopping"] = not is_auto(chosen["n_iter_no_change"])
    chosen = {
        key: _DEFAULTS.get(key, "auto") if is_auto(value) else plain_number(value)
        for key, value in chosen.items()
    }
    if is_auto(chosen["learning_rate"]):
        late = fusion is not None and fusion.kind == "late"
        cosine = late or chosen["similarity"] == "cosine"
        chosen["learning_rate"] = 0.005 if cosine else 0.01
    return chosen


def _preset(name):
    """The values of a preset."""
    if name == "strong":
        raise ValueError(
            "preset='strong' was removed, because it is the default now. Leave preset "
            "at None, or pass 'paper' for the recipe of the paper."
        )
    if name is not None and not (isinstance(name, str) and name in PRESETS):
        raise ValueError(
            f"preset={name!r} is unknown. Pass None for the default recipe, or 'paper' "
            "for the recipe of the paper."
        )
    return PRESETS.get(name, {})


def _check_training(estimator, name, training):
    """Refuse settings of a backbone that the recommender would refuse as parameters."""
    for key in training:
        if key not in _TRAINING:
            raise ValueError(
                f"`{name}` of the backbone sets {key!r}. It may set "
                f"{sorted(_TRAINING)}."
            )
    of_loss = GBCE._parameter_constraints.items()  # gBCE has every parameter of a loss
    constraints = estimator._parameter_constraints | {
        f"loss__{key}": value for key, value in of_loss
    }
    validate_parameter_constraints(constraints, training, type(estimator).__name__)


def is_auto(value):
    return isinstance(value, str) and value == "auto"
