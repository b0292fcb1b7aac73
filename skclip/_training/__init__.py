"""Losses and the training loop. Knows no estimator."""

from skclip._training._callbacks import FitCallbacks
from skclip._training._checkpoint import Checkpoint
from skclip._training._devices import resolve_device, resolve_precision, torch_session
from skclip._training._losses import CrossEntropy, resolve_loss
from skclip._training._sampled_losses import (
    SAMPLED_LOSSES,
    SampledLoss,
    check_sample_fits,
)
from skclip._training._trainer import _SCHEDULES, train

__all__ = [
    "Checkpoint",
    "CrossEntropy",
    "FitCallbacks",
    "SAMPLED_LOSSES",
    "SampledLoss",
    "_SCHEDULES",
    "check_sample_fits",
    "resolve_device",
    "resolve_loss",
    "resolve_precision",
    "torch_session",
    "train",
]
