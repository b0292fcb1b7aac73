"""Losses over the catalogue."""

from torch.nn import functional as F


def cross_entropy(queries, keys, targets, *, scale=1.0, bias=None):
    """Mean cross-entropy of the softmax over all items.

    Parameters
    ----------
    queries : Tensor of shape (n, d)
    keys : Tensor of shape (n_items, d)
    targets : LongTensor of shape (n,)
        Positions 0..n_items-1.
    scale : float, default=1.0
        Multiplies the products.
    bias : Tensor of shape (n_items,), default=None

    Returns
    -------
    loss : Tensor of shape ()
    """
    scores = (queries * scale) @ keys.T
    if bias is not None:
        scores = scores + bias
    return F.cross_entropy(scores, targets)
