"""Devices, seeds and precision of a training run."""

import os
import threading
import time
from contextlib import contextmanager
from functools import cache

import torch
from torch import distributed, nn

from skclip._fork import after_fork
from skclip._threads import Workers
from skclip.backbones import Dropout

_GLOBAL_DRAWS = threading.RLock()
_TIMING = threading.Lock()
_CLEAR_GAIN = 1.3  # smaller gains may be noise, which should not change the choice


def resolve_precision(precision, device):
    """Resolve ``"auto"`` to bf16 if the device multiplies clearly faster in it.

    Raises
    ------
    ValueError
        If bf16 is requested and the device has none.
    """
    if precision == "float32":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        if precision == "bf16" and not fast:
            name = torch.cuda.get_device_name(device)
            raise ValueError(
                f"precision='bf16', but {name} has no bfloat16. Pass precision='auto' "
                "or 'float32'."
            )
    else:
        fast = precision == "auto" and cpu_is_fast_in_bf16()
    return "bf16" if fast or precision == "bf16" else "float32"


def cpu_is_fast_in_bf16():
    """Whether the CPU multiplies clearly faster in bfloat16 than in float32."""
    return _gain_of_bf16() >= _CLEAR_GAIN


def _gain_of_bf16():
    """Ratio of the speeds of products in bfloat16 and in float32 on the CPU.

    Flags of the CPU are not enough: some CPUs have bfloat16, but multiply slower in it.
    So the three products of the loss are timed on a chunk of items, once per process,
    in less than a tenth of a second. The fastest of some rounds excludes the influence
    of other programs. If bfloat16 is emulated, one round is enough.
    """
    with _TIMING, Workers(1), torch.no_grad():
        return _timed_gain()


@cache
def _timed_gain():
    single, low = _products(torch.float32), _products(torch.bfloat16)
    for products in (single, low):  # the first call of each is a warm-up
        _seconds_of(products)
    rounds = [(_seconds_of(single), _seconds_of(low))]
    while len(rounds) < 6 and rounds[0][1] < 2 * rounds[0][0]:
        rounds.append((_seconds_of(single), _seconds_of(low)))
    of_single, of_low = zip(*rounds, strict=True)
    return min(of_single) / min(of_low)


def _products(dtype):
    """Return a function that computes the products of a loss."""
    queries, keys = torch.ones(512, 64, dtype=dtype), torch.ones(1024, 64, dtype=dtype)
    scores = torch.empty(len(queries), len(keys), dtype=dtype)

    def take():
        torch.mm(queries, keys.T, out=scores)
        scores @ keys
        scores.T @ queries

    return take


def _seconds_of(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def workers_for(n_threads, device):
    """The `Workers` of a fit or a ranking on a device; one thread feeds a GPU."""
    return Workers(n_threads if device.type == "cpu" else 1)


@contextmanager
def torch_session(workers, device_type="cpu"):
    """Open `Workers`, with gradients on and autocast off inside the block."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device_type, enabled=False),
        workers as workers,
    ):
        yield workers


@after_fork
def _new_lock():
    """A thread of the parent may have held the lock when the child was forked."""
    global _GLOBAL_DRAWS, _TIMING
    _GLOBAL_DRAWS, _TIMING = threading.RLock(), threading.Lock()


@contextmanager
def private_draws(model, generator):
    """Let a model draw from a generator on its own device inside the block.

    The library's networks draw random numbers only in `Dropout`. Other networks may use
    torch's process-wide generator. It is then seeded, and restored afterwards. Only one
    such network runs at a time, because they share this generator.
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
            seed = generator.initial_seed()
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            yield
    finally:
        for layer in layers:
            layer.generator = None


def own_draws_only(model):
    """Whether all parts are the library's own, or parts of torch without randomness."""
    drawing = (nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention)
    for part in model.network.modules():
        home = type(part).__module__.split(".")[0]
        draws = isinstance(part, drawing) and not isinstance(part, Dropout)
        draws = draws and getattr(part, "p", getattr(part, "dropout", 0)) > 0
        if home not in ("skclip", "torch") or draws:
            return False
    return True


def generator_on(device, seed):
    """Return a seeded generator on a device."""
    return torch.Generator(device=device).manual_seed(seed)


def device_or_auto(device):
    """Return the name of a device, or "auto" if it does not exist here."""
    if not device.startswith("cuda"):
        return device
    number = torch.device(device).index or 0
    return device if number < torch.cuda.device_count() else "auto"


def resolve_device(device):
    """Resolve ``"auto"`` to CUDA if available, else to the CPU.

    "cuda" is the current GPU, or in a group of processes the GPU of ``LOCAL_RANK``.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = _own_gpu()
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is unknown to torch. Pass 'auto', 'cpu' or 'cuda'."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device='cuda', but torch finds no CUDA device. Pass device='auto' or "
            "'cpu'."
        )
    return device


def _own_gpu():
    in_group = distributed.is_available() and distributed.is_initialized()
    number = os.environ.get("LOCAL_RANK", "") if in_group else ""
    if number.isdigit() and int(number) < torch.cuda.device_count():
        return f"cuda:{number}"
    return "cuda"
