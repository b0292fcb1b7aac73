"""GateDisplay: shares of item and prompt, by how often the item is clicked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from skclip._inside import fitted_of, recommender_inside
from skclip._typing import Estimator, FloatArray, IntArray, Self
from skclip.inspection._figure import DARK, AxesLike, Display, light_grid, whole_numbers

_CHUNK = 2**16  # items gated at a time


@dataclass(kw_only=True, eq=False, repr=False)
class GateDisplay(Display):
    r"""Shares of an item's own vector and its cluster's prompt, by frequency.

    The backbone reads the sum of two parts, one of the item and one of the prompt. For
    the elementwise gate of CLIP-SBR (section 3.3 of [1]_) they are
    :math:`\sigma(W_x \hat{x} + b_x) \odot \hat{x}` and
    :math:`\sigma(W_p \hat{p} + b_p) \odot \hat{p}`. For the scalar gate they are
    :math:`g \hat{x}` and :math:`(1 - g) \hat{p}`. The share of a part is its Euclidean
    length divided by the sum of both lengths.

    If rare items depend on their cluster, the share of the prompt falls as an item gets
    more clicks. With ``gate="add"`` and unit vectors both shares are one half. Prompts
    of users and sessions are left out. A share measures length, not influence on the
    ranking. Use `explain` to measure influence.

    Parameters
    ----------
    item_ids, frequency : ndarray of shape (n_items,)
        Ids of the catalog, and the number of clicks of each item in training.
    item_share, prompt_share : ndarray of shape (n_items,)
        Shares of the item's own vector and of the prompt. They add up to 1.
    gate : str
        Kind of gate: "elementwise", "scalar" or "add".

    Attributes
    ----------
    bin_edges_ : ndarray of shape (n_bins + 1,)
        Edges of the bins, powers of two. Bin i holds the items with at least
        ``bin_edges_[i]`` and fewer than ``bin_edges_[i + 1]`` clicks. An empty bin is
        merged into the one below.
    bin_sizes_ : ndarray of shape (n_bins,)
        Number of items in each bin.
    bin_quartiles_ : ndarray of shape (3, n_bins)
        Lower quartile, median and upper quartile of `prompt_share`.
    axes_ : list of matplotlib Axes
        Panels: share of the prompt, with the median and the middle half of each bin,
        and number of items. Both are drawn over the frequency.

    References
    ----------
    .. [1] W. Yang, C. Wang, Z. Song, W. Zhang, P. S. Yu, "Item Cluster-aware Prompt
           Learning for Session-based Recommendation", arXiv:2410.04756.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import GateDisplay
    >>> X, _ = make_sessions(n_sessions=300, n_items=60, random_state=0)
    >>> rec = CLIPSessionRecommender("gru4rec", max_epochs=2, random_state=0).fit(X)
    >>> display = GateDisplay.from_estimator(rec)
    >>> bool(np.allclose(display.item_share + display.prompt_share, 1))
    True
    """

    _HEIGHTS, _FIGSIZE = (3, 1), (6.4, 5.2)
    item_ids: np.ndarray
    frequency: np.ndarray
    item_share: np.ndarray
    prompt_share: np.ndarray
    gate: str

    def __post_init__(self) -> None:
        top = max(1, int(self.frequency.max()))
        edges = 2 ** np.arange(int(np.log2(top)) + 2)
        which = np.searchsorted(edges, np.maximum(self.frequency, 1), side="right") - 1
        sizes = np.bincount(which)
        filled = np.flatnonzero(sizes)
        # A bin reaches to the next one that holds items, so that no gap is drawn.
        self.bin_edges_: FloatArray = np.append(edges[filled], edges[-1]).astype(float)
        self.bin_sizes_: IntArray = sizes[filled]
        shares = (self.prompt_share[which == i] for i in filled)
        self.bin_quartiles_: FloatArray = np.array(
            [np.quantile(share, [0.25, 0.5, 0.75]) for share in shares]
        ).T

    @classmethod
    def from_estimator(
        cls, estimator: Estimator, *, ax: AxesLike | None = None
    ) -> Self:
        """Compute the shares of a fitted recommender and plot them.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            Fitted recommender with cluster prompts, or a pipeline or search that ends
            in one.
        ax : object
            Parameter of `plot`.

        Returns
        -------
        display : GateDisplay
            Display with the numbers, already drawn.

        Raises
        ------
        ValueError
            The recommender has no cluster prompts.
        NotFittedError
            The recommender is not fitted.
        """
        recommender = recommender_inside(estimator)
        model = getattr(fitted_of(recommender), "model", None)
        prompts = getattr(model, "prompt", None)
        if prompts is None or "cluster" not in prompts.kinds:
            given = getattr(recommender, "prompt", None)
            raise ValueError(
                f"{type(recommender).__name__} (prompt={given!r}) has no cluster "
                "prompts and therefore no gate. Fit a CLIPSessionRecommender with "
                "prompt='cluster'."
            )
        item, prompt = _lengths(model, prompts)
        total = item + prompt
        item_share = np.full(len(total), 0.5)
        np.divide(item, total, out=item_share, where=total > 0)
        return cls(
            item_ids=recommender.item_ids_,
            frequency=recommender.item_counts_,
            item_share=item_share,
            prompt_share=1.0 - item_share,
            gate=prompts.gate,
        ).plot(ax)

    def _draw(self, upper, lower):
        edges, (low, median, high) = self.bin_edges_, self.bin_quartiles_
        centers = np.sqrt(edges[:-1] * edges[1:])
        band = {"color": DARK, "alpha": 0.25, "linewidth": 0}
        upper.fill_between(centers, low, high, label="middle half of the items", **band)
        upper.plot(centers, median, color=DARK, marker="o", label="median item")
        line = {"color": "0.3", "linestyle": "--", "linewidth": 1}
        upper.axhline(0.5, label="equal shares", **line)
        least, most = min(0.48, low.min()), max(0.52, high.max())
        margin = 0.15 * (most - least)
        upper.set_ylim(max(0, least - margin), min(1, most + margin))
        upper.set_ylabel("share of the prompt (0 to 1)")
        upper.set_title("How much of an item's vector is its cluster prompt")
        upper.legend(loc="best", title=f"{self.gate} gate")
        light_grid(upper)
        style = {"align": "edge", "color": "0.75", "edgecolor": "0.35"}
        lower.bar(edges[:-1], self.bin_sizes_, width=np.diff(edges), **style)
        lower.set_ylabel("number of\nitems")
        lower.set_xscale("log")
        whole_numbers(lower.xaxis, on_log=True)
        lower.set_xlabel("clicks of the item in training")


def _lengths(model, prompts):
    """Lengths of the item's and the prompt's part of each item, (2, n_items)."""
    lengths = []
    tables = model.item_table, model.item_cells[1:]
    with torch.no_grad():
        for x, cells in zip(*(t.split(_CHUNK) for t in tables), strict=True):
            parts = prompts.parts(x, cells)
            lengths.append(torch.stack([part.norm(dim=-1) for part in parts]).cpu())
    return torch.cat(lengths, dim=1).double().numpy()
