"""Devices, threads, seeds and precision of a training run."""

from contextlib import contextmanager

import torch


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
def torch_session(seed, n_threads, device):
    """Seed torch and set its threads inside the block; leave no trace outside."""
    threads = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            if n_threads is not None:
                torch.set_num_threads(n_threads)
            yield
        finally:
            torch.set_num_threads(threads)


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
