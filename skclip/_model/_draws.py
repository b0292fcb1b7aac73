"""Random weights from a private generator, or no random weights at all."""

import inspect

import torch
from torch.overrides import TorchFunctionMode

_CREATE = {
    getattr(torch, name)
    for name in (
        "rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial",
        "poisson",
    )
} | {torch.Tensor.bernoulli, torch.Tensor.multinomial}  # fmt: skip
_FILL = {
    getattr(torch.Tensor, f"{name}_")
    for name in (
        "uniform", "normal", "random", "bernoulli", "exponential", "cauchy",
        "log_normal", "geometric",
    )
}  # fmt: skip
_LIKE = {  # functions without a generator argument
    torch.rand_like: torch.rand,
    torch.randn_like: torch.randn,
    torch.randint_like: torch.randint,
}
_FLOATS = {
    getattr(torch, name)
    for name in (
        "empty", "zeros", "ones", "rand", "randn", "eye", "linspace", "logspace",
    )
}  # fmt: skip
_BY_VALUE = {torch.full, torch.tensor, torch.arange}  # return floats if given floats


class Draws(TorchFunctionMode):
    """Context in which the calling thread builds networks without global state.

    Layers of torch draw their weights from the generator of the process and use its
    default type. This mode intercepts all calls of its thread. It passes a private
    generator to functions that draw, and float32 to functions that create tensors.
    Without a generator no weights are drawn, for networks that load their weights.
    """

    def __init__(self, generator=None):
        super().__init__()
        self.fills = generator is not None
        self.generator = generator if self.fills else torch.Generator()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        by_value = func in _BY_VALUE and _makes_floats(args, kwargs)
        untyped = (by_value or func in _FLOATS) and kwargs.get("dtype") is None
        if untyped and torch.get_default_dtype() != torch.float32:
            kwargs["dtype"] = torch.float32
        if func in _LIKE:
            like, *args = args
            kwargs.pop("memory_format", None)
            kwargs = {"dtype": like.dtype, "device": like.device} | kwargs
            func, args = _LIKE[func], (*args, like.shape)
        if func in _FILL or _draws_weights(func):
            if not self.fills:
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
        elif func not in _CREATE:
            return func(*args, **kwargs)
        if kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


def _makes_floats(args, kwargs):
    """Whether the values contain Python floats, also in lists."""
    values = [*args, *kwargs.values()]
    return any(
        isinstance(value, float)
        or (isinstance(value, (list, tuple)) and _makes_floats(value, {}))
        for value in values
    )


def _draws_weights(func):
    """Whether a function is a random one of ``torch.nn.init``."""
    if getattr(func, "__module__", None) != "torch.nn.init":
        return False
    return "generator" in inspect.signature(func).parameters
