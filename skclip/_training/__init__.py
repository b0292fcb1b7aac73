"""Losses and the training loop, without knowledge of estimators."""

from skclip._training._callbacks import FitCallbacks
from skclip._training._checkpoint import Checkpoint
from skclip._training._devices import (
    cpu_is_fast_in_bf16,
    device_or_auto,
    generator_on,
    own_draws_only,
    private_draws,
    resolve_device,
    resolve_precision,
    torch_session,
    workers_for,
)
from skclip._training._losses import (
    LOSSES,
    CrossEntropy,
    as_loss,
    make_loss,
    resolve_loss,
)
from skclip._training._parallel import Alone, processes
from skclip._training._repeats import HeldOut, learned_bias
from skclip._training._sampled_losses import (
    BPR,
    GBCE,
    BPRMax,
    BPRSoftmax,
    SampledLoss,
    SampledSoftmax,
)
from skclip._training._trainer import Plan, train
