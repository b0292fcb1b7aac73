"""Special forms of network parts for the export to ONNX."""

import torch
from torch import nn


def is_exporting():
    """Whether torch is tracing a graph for an export.

    The sizes in such a graph may depend on the sizes of its inputs only.
    """
    return torch.compiler.is_exporting()


class ExportedGRU(nn.GRU):
    """A GRU that is exported as the GRU operator of ONNX.

    It reads batches and sessions of any size. torch exports its own GRU with fixed
    sizes, or as a slow loop.
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
    """Reorder the gates as in ONNX: update, reset, candidate."""
    size = weight.shape[0] // 3  # torch has reset, update, candidate
    return torch.cat([weight[size : 2 * size], weight[:size], weight[2 * size :]])
