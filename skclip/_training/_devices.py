"""Devices, seeds and precision of a training run."""

import threading
import time
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from skclip._fork import after_fork
from skclip._threads import Workers
from skclip.backbones import Dropout

_GLOBAL_DRAWS = threading.RLock()
_CLEAR_GAIN = 1.3  # smaller ones may be chance, and the choice should not flip


def resolve_precision(precision, device):
    """``"auto"`` is bf16 where the device multiplies clearly faster in it.

    Raises
    ------
    ValueError
        The device has no bf16.
    """
    if precision == "float32":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        if precision == "bf16" and not fast:
            name = torch.cuda.get_device_name(device)
            raise ValueError(
                f"precision='bf16' was asked for, but {name} has no bfloat16. Pass "
                "precision='auto' or 'float32'."
            )
    else:
        fast = precision == "auto" and cpu_is_fast_in_bf16()
    return "bf16" if fast or precision == "bf16" else "float32"


def cpu_is_fast_in_bf16():
    """Whether the CPU multiplies clearly faster in bfloat16 than in float32."""
    return _gain_of_bf16() >= _CLEAR_GAIN


@cache
def _gain_of_bf16():
    """How many times faster than in float32 a CPU multiplies in bfloat16.

    Flags of the CPU do not tell: some have bfloat16 and multiply slower in it. So the
    three products of the loss are timed on a chunk of items, once in a process, some
    milliseconds. The fastest of several rounds is that without other programs.
    """
    n, d, width, seconds = 512, 64, 2048, {}
    for dtype in (torch.float32, torch.bfloat16):
        queries, keys = torch.ones(n, d, dtype=dtype), torch.ones(width, d, dtype=dtype)
        scores, rounds = torch.empty(n, width, dtype=dtype), []
        with Workers(1), torch.no_grad():
            for _ in range(6):
                begun = time.perf_counter()
                torch.mm(queries, keys.T, out=scores)
                scores @ keys
                scores.T @ queries
                rounds.append(time.perf_counter() - begun)
        seconds[dtype] = min(rounds)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def workers_for(n_threads, device):
    """The `Workers` of a fit or a ranking on a device; a GPU is fed by one thread."""
    return Workers(n_threads if device.type == "cpu" else 1)


@contextmanager
def torch_session(workers, device_type="cpu"):
    """Switch gradients on and autocast off inside the block, and open `Workers`."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device_type, enabled=False),
        workers as workers,
    ):
        yield workers


@after_fork
def _new_lock():
    """A thread of the parent may have held it when the child was forked."""
    global _GLOBAL_DRAWS
    _GLOBAL_DRAWS = threading.RLock()


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
