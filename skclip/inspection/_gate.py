"""GateDisplay: how much prompt and item bring, by how often the item is clicked."""

import numpy as np
import torch

from skclip._inside import recommender_inside
from skclip.inspection._figure import DARK, light_grid, make_panels, whole_numbers

_CHUNK = 2**16  # items gated at a time


class GateDisplay:
    r"""How much an item's own vector and its cluster's prompt bring, by frequency.

    The backbone sees the sum of an item's part and a prompt's part, as the gate lets
    them through: :math:`\sigma(W_x \hat{x} + b_x) \odot \hat{x}` and
    :math:`\sigma(W_p \hat{p} + b_p) \odot \hat{p}` for the elementwise gate of CLIP-SBR
    (section 3.3 of [1]_), :math:`g \hat{x}` and :math:`(1 - g) \hat{p}` for the scalar
    one. The share of each is its Euclidean length over the sum of both lengths. Do rare
    items lean on their cluster? Then the prompt's share falls as an item is clicked
    more. With ``gate="add"`` and unit vectors both shares are one half.

    Parameters
    ----------
    item_ids : ndarray of shape (n_items,)
        The catalogue.
    frequency : ndarray of shape (n_items,)
        Training events of each item.
    item_share, prompt_share : ndarray of shape (n_items,)
        In [0, 1]; they add up to 1.
    gate : str
        Kind of the gate.

    Attributes
    ----------
    bin_edges_ : ndarray of shape (n_bins + 1,)
        Bin i holds the items with ``bin_edges_[i] <= frequency < bin_edges_[i + 1]``.
        Bins grow by powers of two; empty ones are left out.
    bin_sizes_ : ndarray of shape (n_bins,)
        Items in each bin.
    bin_quartiles_ : ndarray of shape (3, n_bins)
        Lower quartile, median and upper quartile of `prompt_share`.
    ax_ : matplotlib Axes
        The Axes that was given, or the upper panel.
    axes_ : list of matplotlib Axes
        The panels: shares, number of items.
    figure_ : matplotlib Figure

    Notes
    -----
    Costs one pass of the gate over the item table, n_items x embedding_dim squared
    products. Prompts of users and sessions belong to no item; as for a session that
    has none, they take no part. Length is not influence: `explain` measures that.

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

    def __init__(self, *, item_ids, frequency, item_share, prompt_share, gate):
        self.item_ids = item_ids
        self.frequency = frequency
        self.item_share = item_share
        self.prompt_share = prompt_share
        self.gate = gate
        self._bin()

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Read the gate of a fitted recommender with cluster prompts and plot it.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            What holds a recommender as its last step or best estimator.
        ax : matplotlib Axes, sequence of Axes or None, default=None
            See `plot`.

        Returns
        -------
        display : GateDisplay
            With the numbers, drawn.

        Raises
        ------
        ValueError
            The recommender has no cluster prompts.
        NotFittedError
            It is not fitted.
        """
        recommender = recommender_inside(estimator)
        fitted = getattr(recommender, "_fitted", None)
        model = getattr(fitted, "model", None)
        prompts = getattr(model, "prompt", None)
        if prompts is None or "cluster" not in prompts.kinds:
            given = getattr(recommender, "prompt", None)
            raise ValueError(
                f"{type(recommender).__name__} (prompt={given!r}) has no cluster "
                "prompts, so there is no gate to look at. Fit a CLIPSessionRecommender "
                "with prompt='cluster'."
            )
        lengths = []
        with torch.no_grad():
            for x, cells in zip(
                model.item_table.split(_CHUNK),
                model.item_cells[1:].split(_CHUNK),
                strict=True,
            ):
                parts = prompts.parts(x, cells)
                lengths.append(torch.stack([p.norm(dim=-1) for p in parts]).cpu())
        item, prompt = torch.cat(lengths, dim=1).double().numpy()
        total = item + prompt
        item_share = np.divide(
            item, total, out=np.full(len(total), 0.5), where=total > 0
        )
        return cls(
            item_ids=recommender.item_ids_,
            frequency=recommender.item_counts_,
            item_share=item_share,
            prompt_share=1.0 - item_share,
            gate=prompts.gate,
        ).plot(ax)

    def plot(self, ax=None):
        """Draw the prompt's share over frequency and, below, the number of items.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw: one Axes is divided into two panels, two take one each.
            None makes a figure.

        Returns
        -------
        display : GateDisplay
            The line is the median of a bin of items, the band the middle half of it.
        """
        self.ax_, self.axes_ = make_panels(
            ax, [3, 1], type(self).__name__, figsize=(6.4, 5.2)
        )
        self.figure_ = self.ax_.figure
        upper, lower = self.axes_
        edges, (low, median, high) = self.bin_edges_, self.bin_quartiles_
        centres = np.sqrt(edges[:-1] * edges[1:])
        upper.fill_between(
            centres, low, high, color=DARK, alpha=0.25, linewidth=0, label="middle half"
        )
        upper.plot(centres, median, color=DARK, marker="o", label="median item")
        upper.axhline(
            0.5, color="0.3", linestyle="--", linewidth=1, label="equal parts"
        )
        least, most = min(0.48, low.min()), max(0.52, high.max())
        margin = 0.15 * (most - least)
        upper.set_ylim(max(0, least - margin), min(1, most + margin))
        upper.set_ylabel("share of the prompt")
        upper.legend(loc="best", title=f"{self.gate} gate")
        light_grid(upper)
        lower.bar(
            edges[:-1],
            self.bin_sizes_,
            width=np.diff(edges),
            align="edge",
            color="0.75",
            edgecolor="0.35",
        )
        lower.set_ylabel("items")
        lower.set_xscale("log")
        whole_numbers(lower.xaxis, on_log=True)
        lower.set_xlabel("training events of the item")
        return self

    def _bin(self):
        top = max(1, int(self.frequency.max()))
        edges = 2 ** np.arange(int(np.log2(top)) + 2)
        which = np.searchsorted(edges, np.maximum(self.frequency, 1), side="right") - 1
        sizes = np.bincount(which, minlength=len(edges) - 1)
        quartiles = [
            np.quantile(self.prompt_share[which == i], [0.25, 0.5, 0.75])
            for i in np.flatnonzero(sizes)
        ]
        # An empty bin is joined to the one below, so that no gap is drawn.
        filled = sizes > 0
        first = int(filled.argmax())
        self.bin_edges_ = np.append(edges[:-1][filled], edges[-1]).astype(float)
        self.bin_edges_[0] = edges[first]
        self.bin_sizes_ = sizes[filled]
        self.bin_quartiles_ = np.array(quartiles).T
