"""Random weights drawn from a private generator, or not drawn at all."""

import inspect

import torch
from torch.overrides import TorchFunctionMode

_DRAWS = {
    *(getattr(torch, name) for name in ("rand", "randn", "randint", "randperm")),
    *(
        getattr(torch.Tensor, name)
        for name in ("uniform_", "normal_", "random_", "bernoulli_", "exponential_")
    ),
}
_FACTORIES = {
    getattr(torch, name) for name in ("empty", "zeros", "ones", "rand", "randn", "full")
}


class Draws(TorchFunctionMode):
    """Inside the block, the calling thread builds networks without global state.

    Layers of torch draw their weights from the generator of the process, and take its
    default type. A mode sees all calls of its own thread: it hands a private generator
    to those that draw, and float32 to those that make tensors. Without a generator
    nothing is drawn, for networks whose weights are loaded.
    """

    def __init__(self, generator=None):
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in _FACTORIES and kwargs.get("dtype") is None:
            kwargs["dtype"] = self._default_type(func, args, kwargs)
        if func in _DRAWS or _draws_weights(func):
            if self.generator is not None:
                kwargs["generator"] = self.generator
            elif args or "tensor" in kwargs:  # in place: leave it as it is
                first = kwargs.get("tensor", args[0] if args else None)
                if isinstance(first, torch.Tensor):
                    return first
        return func(*args, **kwargs)

    @staticmethod
    def _default_type(func, args, kwargs):
        if func is torch.full:
            value = args[1] if len(args) > 1 else kwargs["fill_value"]
            return torch.float32 if isinstance(value, float) else None
        return torch.float32


def _draws_weights(func):
    """Whether a function of ``torch.nn.init`` draws."""
    if getattr(func, "__module__", None) != "torch.nn.init":
        return False
    return "generator" in inspect.signature(func).parameters
