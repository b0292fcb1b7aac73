"""Axes, line styles and labels of the displays.

Line styles and markers tell curves apart without color. The colors differ in lightness,
so that a figure can be printed in gray.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skclip._data import ItemIndex, factorize_list, is_missing, other_type
from skclip._typing import Self
from skclip._warnings import warn_user
from skclip.exceptions import IdTypeWarning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
else:  # matplotlib is optional
    Axes = Figure = SubFigure = Any

AxesLike: TypeAlias = Axes | Iterable[Axes]

# Blue, orange, green, purple, yellow, black: all differ in lightness.
COLORS = ("#0b4f8a", "#d4622a", "#52c285", "#7a46a8", "#e3b341", "#1c1c1c")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
DARK, LIGHT = COLORS[:2]
SMALL = {"ha": "center", "va": "center", "fontsize": "small"}


class Display:
    """What the displays share: they draw panels below each other.

    A display without drawing options sets the heights of its panels (`_HEIGHTS`, in any
    unit) and draws on them in `_draw`.
    """

    ax_: Axes
    axes_: list[Axes]
    figure_: Figure | SubFigure

    def plot(self, ax: AxesLike | None = None) -> Self:
        """Draw the panels, one below the other.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            One Axes to divide into the panels, or one Axes per panel. None makes a
            figure.

        Returns
        -------
        display : Display
            Display with the numbers, already drawn.
        """
        self._draw(*self._make_panels(ax, self._HEIGHTS, self._FIGSIZE))
        return self

    def _pyplot(self):
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} needs matplotlib, which is not installed. "
                "Install it with pip install skclip[plot]."
            ) from error
        return plt

    def _make_panels(self, ax, heights, figsize):
        """Set `ax_`, `axes_` and `figure_`, and return the panels on one x axis.

        One Axes is divided, several are used as they are, and None makes a figure.
        """
        plt, n = self._pyplot(), len(heights)
        if ax is None:
            options = {"figsize": figsize, "layout": "constrained", "squeeze": False}
            _, grid = plt.subplots(n, sharex=True, height_ratios=heights, **options)
            ax, panels = grid[0, 0], list(grid[:, 0])
        elif not hasattr(ax, "plot"):  # a list or an array of Axes
            panels = list(getattr(ax, "flat", ax))
            if len(panels) != n:
                raise ValueError(
                    f"ax holds {len(panels)} Axes, but {type(self).__name__} draws {n} "
                    f"panels. Pass {n} Axes, or one Axes to divide."
                )
            ax = panels[0]
        else:
            panels = [ax] if n == 1 else _divided(ax, heights)
        self._set_axes(ax, panels)
        return panels

    def _set_axes(self, ax, panels):
        self.ax_, self.axes_, self.figure_ = ax, panels, ax.figure


def _divided(ax, heights, gap=0.07):
    """Insets of `ax`, the upper one first, that share their x axis."""
    ax.set_axis_off()
    room, top = (1 - gap * (len(heights) - 1)) / sum(heights), 1.0
    panels = []
    for height in heights:
        bounds = [0, top - room * height, 1, room * height]
        panels.append(ax.inset_axes(bounds, sharex=panels[0] if panels else None))
        top -= room * height + gap
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    return panels


def style_of(i):
    """Line style of the i-th of several curves."""
    return {
        "color": COLORS[i % len(COLORS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[i % len(DASHES)],
        "markersize": 5,
        "linewidth": 1.6,
    }


def light_grid(panel):
    panel.grid(True, color="0.88", linewidth=0.6)
    panel.set_axisbelow(True)


def whole_numbers(axis, *, on_log=False):
    """Ticks at whole numbers only; on a logarithmic axis at 1, 2, 5, 10, ..."""
    from matplotlib import ticker

    if on_log:
        axis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5)))
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_major_formatter(ticker.FuncFormatter(_plain))
    else:
        options = {"integer": True, "min_n_ticks": 1, "steps": [1, 2, 5, 10]}
        axis.set_major_locator(ticker.MaxNLocator(**options))


def _plain(value, position):  # a function of the module, so that figures pickle
    return f"{value:,g}"


def check_labels(labels, name, column, item_ids=None):
    """Require a mapping of item ids, and warn of ids that are not on the map.

    Parameters
    ----------
    labels : mapping or None
        Labels by item id: a dict, or a pandas Series indexed by id.
    name : str
        Name of the argument, for messages.
    column : str
        Typical column of a data frame with such labels, for messages.
    item_ids : ndarray, default=None
        Ids that the labels are for. None means that they are not compared.
    """
    if labels is None:
        return
    if hasattr(labels, "columns") or not (
        hasattr(labels, "get") and hasattr(labels, "items")
    ):
        raise TypeError(
            f"{name} is a {type(labels).__name__}. Expected a mapping of item ids to "
            "labels: a dict, or a pandas Series by item id, such as "
            f"df.set_index('item')['{column}']."
        )
    if not getattr(getattr(labels, "index", None), "is_unique", True):
        raise ValueError(f"{name} names an item more than once. Pass one label.")
    if item_ids is None:
        return
    ids = [item for item, _ in labels.items() if not is_missing(item)]
    vocabulary, _ = factorize_list(ids)
    index = ItemIndex(np.asarray(item_ids))
    known = index.codes_of(vocabulary) > 0
    hint = other_type(
        vocabulary[~known], index, kinds=not known.any(), where="an item of the map"
    )
    if hint:
        warn_user(f"{name} has ids of another type. {hint}", IdTypeWarning)
    elif len(ids) and not known.any():
        warn_user(
            f"None of the {len(ids):,} ids of {name} is an item of the map, so the map "
            f"shows none of these labels. Check the ids: {name} has {ids[0]!r:.60}, "
            f"and the map has {index.item_ids[:1].tolist()[0]!r:.60}."
        )


def namer(item_names):
    """A function from an item id to its short label."""
    check_labels(item_names, "item_names", "title")
    names = {} if item_names is None else item_names

    def label(item, width=20):
        return shortened(names.get(item, item), width).replace("$", r"\$")

    return label


def shortened(name, width=20):
    """A name of at most `width` characters, the middle left out."""
    name = str(name)
    if len(name) <= width:
        return name
    return f"{name[: width - 1 - (width - 1) // 3]}…{name[-((width - 1) // 3) :]}"
