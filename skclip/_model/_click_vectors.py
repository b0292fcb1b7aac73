"""Learned vectors of what is known of a click beside its item."""

import torch
from torch import nn
from torch.nn import functional as F

from skclip._data import OF_PREFIX


class ClickVectors(nn.Module):
    """A vector for each value of each feature of a click; their sum joins the item's.

    All begin at zero, so that a model begins as it would without them. Row 0 of a table
    stands for an unknown value and stays zero.

    Parameters
    ----------
    dim : int
    sizes : dict of str to int
        Number of values of each feature, in the order of the columns of `click_codes`.
    """

    def __init__(self, dim, sizes):
        super().__init__()
        self.names = tuple(sizes)  # a ParameterDict has an order of its own
        self.tables = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(n + 1, dim)) for name, n in sizes.items()}
        )

    @property
    def depend_on_prefix(self):
        """Whether a click has other features once a later one is known."""
        return bool(OF_PREFIX & set(self.names))

    def forward(self, batch, merged):
        """Vectors to add to those of the events of a batch, (n_sessions, length, d).

        With `merged` all events of an item in a session get the mean of theirs, for
        networks that read such events as one node.
        """
        total = 0.0
        for name, column in zip(self.names, batch.click_codes.unbind(-1), strict=True):
            table = self.tables[name]
            if name in OF_PREFIX:
                column = _of_prefix(name, column, batch.ends, len(table) - 1)
            total = total + F.embedding(column, table, padding_idx=0)
        return _mean_of_items(batch.codes, total) if merged else total


def _of_prefix(name, codes, ends, n_values):
    """What is known of the clicks (n, length) once `ends` of them have been read."""
    places = torch.arange(codes.shape[1], device=codes.device)
    left = ends[:, None] - places  # 1 for the newest click, 0 and less for padding
    if name == "position":
        return left.clamp(0, n_values)
    return codes.masked_fill(left <= 1, 0)  # the newest click still goes on


def _mean_of_items(codes, vectors):
    same = (codes[:, :, None] == codes[:, None, :]).to(vectors.dtype)
    return torch.bmm(same / same.sum(dim=2, keepdim=True), vectors)
