"""Learned vectors of the features of clicks."""

import torch
from torch import nn
from torch.nn import functional as F

from skclip._data import OF_PREFIX


class ClickVectors(nn.Module):
    """A learned vector for each value of each click feature.

    The sum of the vectors of a click is added to the vector of its item. All vectors
    begin at zero, so at first the model is the same as without them. Row 0 of a table
    stands for unknown values and stays zero.

    Parameters
    ----------
    dim : int
        Width of the vectors.
    sizes : dict of str to int
        Number of values of each feature, in the order of the columns of `click_codes`.
    """

    def __init__(self, dim, sizes):
        super().__init__()
        self.names = tuple(sizes)  # a ParameterDict has another order
        self.tables = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(n + 1, dim)) for name, n in sizes.items()}
        )

    @property
    def depend_on_prefix(self):
        """Whether a later click can change the features of an earlier one."""
        return bool(OF_PREFIX & set(self.names))

    def forward(self, batch, merged):
        """Return vectors (n_sessions, length, d) to add to the events of a batch.

        With `merged`, all events of an item in a session get their mean vector. This is
        for networks that read these events as one node.
        """
        total = 0.0
        for name, column in zip(self.names, batch.click_codes.unbind(-1), strict=True):
            table = self.tables[name]
            if name in OF_PREFIX:
                column = _of_prefix(name, column, batch.ends, len(table) - 1)
            total = total + F.embedding(column, table, padding_idx=0)
        return _mean_of_items(batch.codes, total) if merged else total


def _of_prefix(name, codes, ends, n_values):
    """Return codes of the clicks (n, length) as of the first `ends` clicks."""
    places = torch.arange(codes.shape[1], device=codes.device)
    left = ends[:, None] - places  # 1 for the newest click, 0 or less for padding
    if name == "position":
        return left.clamp(0, n_values)
    return codes.masked_fill(left <= 1, 0)  # the newest click has not ended


def _mean_of_items(codes, vectors):
    same = (codes[:, :, None] == codes[:, None, :]).to(vectors.dtype)
    return torch.bmm(same / same.sum(dim=2, keepdim=True), vectors)
