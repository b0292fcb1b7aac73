"""Devices, threads, seeds and precision of a training run."""

import threading
from contextlib import contextmanager

import torch
from torch import nn

from skclip._fork import after_fork, has_lost_threads
from skclip._warnings import warn_user
from skclip.backbones import Dropout
from skclip.exceptions import TrainingWarning

_GLOBAL_DRAWS = threading.RLock()


def resolve_precision(precision, device):
    """``"auto"`` is bf16 where the device multiplies it in hardware."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:  # AVX-512 alone makes bf16 no faster; torch may not tell of AMX one day
        has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
        fast = has_amx is not None and has_amx()
    return "bf16" if fast else "float32"


@contextmanager
def torch_session(n_threads, device_type="cpu"):
    """Switch gradients on, autocast off, and set torch's threads inside the block.

    A number of threads that torch is given holds for threads that begin later as well.
    So what it was is read while no other session runs, and put back by each. A session
    without a number of its own has that one, whatever others have set meanwhile.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device_type, enabled=False),
        _Threads(n_threads),
    ):
        yield


class _Threads:
    """Set torch's number of threads inside the block."""

    _lock, _active, _outside = threading.Lock(), 0, None

    def __init__(self, n_threads):
        if n_threads not in (None, 1) and has_lost_threads():
            warn_user(
                "This process was forked from one that had loaded torch, whose threads "
                f"do not live on here. It trains with one thread, not n_threads="
                f"{n_threads}. Start processes by spawn, or by joblib's loky.",
                TrainingWarning,
            )
            n_threads = 1
        self.n_threads = n_threads

    def __enter__(self):
        with self._lock:
            if _Threads._active == 0:
                _Threads._outside = torch.get_num_threads()
            _Threads._active += 1
        torch.set_num_threads(self.n_threads or _Threads._outside)

    def __exit__(self, *error):
        with self._lock:
            _Threads._active -= 1
            torch.set_num_threads(_Threads._outside)


@after_fork
def _new_locks():
    """Threads of the parent may have held these when the child was forked."""
    global _GLOBAL_DRAWS
    _GLOBAL_DRAWS = threading.RLock()
    _Threads._lock, _Threads._active = threading.Lock(), 0


@contextmanager
def private_draws(model, generator):
    """Let a model draw from a generator on its own device inside the block.

    The library's networks draw by `Dropout` alone. Others may draw from torch's
    process-wide generator: for them it is seeded, put back afterwards, and other such
    networks wait, as two of them cannot be told apart there.
    """
    layers = [part for part in model.modules() if isinstance(part, Dropout)]
    for layer in layers:
        layer.generator = generator
    try:
        if own_draws_only(model):
            yield
            return
        device = model.item_table.device
        devices = [device] if device.type == "cuda" else []
        with _GLOBAL_DRAWS, torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator.initial_seed())
            yield
    finally:
        for layer in layers:
            layer.generator = None


def own_draws_only(model):
    """Whether all parts are of the library, or of torch's that draw nothing."""
    drawing = (nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention)
    for part in model.network.modules():
        home = type(part).__module__.split(".")[0]
        draws = isinstance(part, drawing) and not isinstance(part, Dropout)
        draws = draws and getattr(part, "p", getattr(part, "dropout", 0)) > 0
        if home not in ("skclip", "torch") or draws:
            return False
    return True


def generator_on(device, seed):
    """A generator on a device, seeded."""
    return torch.Generator(device=device).manual_seed(seed)


def resolve_device(device):
    """``"auto"`` is CUDA where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is unknown to torch. Pass 'auto', 'cpu' or 'cuda'."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device='cuda' was asked for, but torch sees no CUDA device. "
            "Pass device='auto' or 'cpu'."
        )
    return device
