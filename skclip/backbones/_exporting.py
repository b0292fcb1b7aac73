"""What networks do otherwise while they are exported to ONNX."""

import torch
from torch import nn


def is_exporting():
    """Whether a graph is being traced, whose sizes are those of its inputs alone."""
    ask = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7
    return ask is not None and ask()


class ExportedGRU(nn.GRU):
    """A GRU as the operator of ONNX, which reads batches and sessions of any size.

    What torch makes of its own GRU has sizes that are fixed, or a slow loop.
    """

    def forward(self, x):
        for weights in self.all_weights:
            x = gru_operator(x, *weights)
        return x, None


def gru_operator(x, W, U, b_ih=None, b_hh=None):
    """States (n, length, hidden) of one layer for inputs (n, length, d)."""
    n, length, hidden = x.shape[0], x.shape[1], U.shape[1]
    bias = None
    if b_ih is not None:
        bias = torch.cat([_in_order(b_ih), _in_order(b_hh)])[None]
    states = torch.onnx.ops.symbolic(
        "GRU",
        [x.transpose(0, 1), _in_order(W)[None], _in_order(U)[None], bias],
        {"hidden_size": hidden, "linear_before_reset": 1},
        dtype=x.dtype,
        shape=(length, 1, n, hidden),
        version=14,
    )
    return states.squeeze(1).transpose(0, 1)


def _in_order(weight):
    """Gates in the order of ONNX: update, reset, candidate."""
    size = weight.shape[0] // 3  # torch has reset, update, candidate
    return torch.cat([weight[size : 2 * size], weight[:size], weight[2 * size :]])
