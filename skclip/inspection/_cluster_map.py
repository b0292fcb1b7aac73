"""ClusterMapDisplay: the item clusters as a map."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.utils import check_random_state

from skclip._inside import clusterer_inside, estimators_inside
from skclip._typing import (
    ArrayLike,
    Estimator,
    ItemIds,
    Labels,
    RandomState,
    Self,
    SparseMatrix,
)
from skclip.inspection._circles import pack_circles, sunflower
from skclip.inspection._figure import Display, check_labels, namer, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:  # matplotlib is optional
    Axes = Any

_KEY = 0.22  # height of the legend below the map, in widths of the map
_LIST = 0.6, 0.4  # left edge and width of the list in given Axes
_TEXT, _SIZE = 0.11, 0.83  # left and right edges of columns of the list


@dataclass(kw_only=True, eq=False, repr=False)
class ClusterMapDisplay(Display):
    """Map of the item clusters: their sizes, links and most clicked items.

    A transition is a click on one item right after a click on another one in the same
    session. The map shows:

    - a circle for each cluster. Its area is the number of items, and the number in it
      is the cluster in ``membership_``.
    - a line between clusters with many transitions between them. A thicker line means a
      larger share of their transitions. Linked clusters lie close together. The
      distance between clusters without a line means nothing.
    - a dot for each item, or for a sample of the items of a large catalog. The items
      with most transitions are in the middle. The color is the share of the item's
      transitions that stay in its cluster.

    The list beside the map has a row for each of the largest clusters, and a row that
    sums up the others. It names the items with most transitions. With titles or
    categories of the items it also describes the cluster.

    Parameters
    ----------
    sizes, clusters : ndarray of shape (n_drawn,)
        Number of items of each drawn cluster, and its number in ``membership_``,
        largest cluster first.
    centers, radii : ndarray of shape (n_drawn, 2) and (n_drawn,)
        Circles that do not overlap. Radii are the square roots of the sizes.
    links : csr_array of shape (n_drawn, n_drawn)
        Number of transitions between the clusters.
    inside_share : ndarray of shape (n_drawn,)
        Share of each cluster's transitions that stay inside it.
    item_ids, item_strength, item_inside_share : ndarray of shape (n_items,)
        Ids of the catalog, number of transitions of each item, and the share of them
        that stay in the item's cluster. The share is NaN without any transition.
    members : list of ndarray
        Positions in `item_ids` of each drawn cluster's items, by decreasing number of
        transitions.
    n_left_out : tuple of int
        Number of clusters that are not drawn, and number of their items.
    inside_share_left_out : float, default=nan
        Share of the transitions of the clusters not drawn that stay inside a cluster.
    item_names : mapping, default=None
        Labels of items by id. An item without a label is shown by its id.
    cluster_labels : list of str, default=None
        Short description of each drawn cluster.
    label_kind : str, default="description"
        Kind of the descriptions, for the heading of the list.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Map and list. With ``n_labels=0`` only the map.

    See Also
    --------
    skclip.SessionClusterer : Finds the clusters.

    Notes
    -----
    Springs, repulsion and gravity place the clusters [1]_. Then circles grow around
    them and push each other apart. The layout takes about 1,000 steps, each over
    n_drawn squared distances.

    References
    ----------
    .. [1] T. M. J. Fruchterman, E. M. Reingold, "Graph drawing by force-directed
           placement", Software: Practice and Experience 21, 1129-1164 (1991),
           doi:10.1002/spe.4380211102.

    Examples
    --------
    >>> from skclip import SessionClusterer
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import ClusterMapDisplay
    >>> X, _ = make_sessions(n_sessions=800, n_items=80, random_state=0)
    >>> clusterer = SessionClusterer(random_state=0).fit(X)
    >>> display = ClusterMapDisplay.from_estimator(clusterer)
    >>> display.sizes.tolist() == clusterer.cluster_sizes_.tolist()
    True
    """

    sizes: np.ndarray
    clusters: np.ndarray
    centers: np.ndarray
    radii: np.ndarray
    links: sparse.csr_array
    inside_share: np.ndarray
    item_ids: np.ndarray
    item_strength: np.ndarray
    item_inside_share: np.ndarray
    members: list[np.ndarray]
    n_left_out: tuple[int, int] = (0, 0)
    inside_share_left_out: float = np.nan
    item_names: Labels | None = None
    cluster_labels: list[str] | None = None
    label_kind: str = "description"

    @classmethod
    def from_estimator(cls, estimator: Estimator, **options: Any) -> Self:
        """Lay out the clusters of a fitted estimator and plot them.

        Parameters
        ----------
        estimator : SessionClusterer, recommender, Pipeline or search
            Fitted estimator. The clusterer step of a Pipeline is used if the
            recommender has no clusterer of its own.
        **options : dict
            Options of `from_membership`, such as `item_names`.

        Returns
        -------
        display : ClusterMapDisplay
            Display with the numbers, already drawn.

        Raises
        ------
        ValueError
            `estimator` holds no fitted clusterer, or one without a ``graph_``.
        """
        clusterer = clusterer_inside(estimator)
        if clusterer is None:
            *_, inner = estimators_inside(estimator)
            raise ValueError(
                f"{type(estimator).__name__} holds no fitted clusterer (innermost "
                f"estimator: {type(inner).__name__}). Pass a fitted SessionClusterer, "
                "a fitted recommender that has clusterer_, or the Pipeline with the "
                "clusterer."
            )
        if not hasattr(clusterer, "graph_"):
            raise ValueError(
                f"{type(clusterer).__name__} has no graph_ to draw. Pass the graph of "
                "a SessionClusterer to ClusterMapDisplay.from_membership(graph, "
                "membership)."
            )
        parts = clusterer.graph_, clusterer.membership_
        return cls.from_membership(*parts, item_ids=clusterer.item_ids_, **options)

    @classmethod
    def from_membership(
        cls,
        graph: SparseMatrix,
        membership: ArrayLike,
        *,
        item_ids: ItemIds | None = None,
        item_names: Labels | None = None,
        item_categories: Labels | None = None,
        max_clusters: int = 60,
        random_state: RandomState = 0,
        **options: Any,
    ) -> Self:
        """Lay out any partition of an item graph and plot it.

        Parameters
        ----------
        graph : sparse array of shape (n_items, n_items)
            Symmetric edge weights, as ``SessionClusterer.graph_``.
        membership : ndarray of shape (n_items,)
            Cluster 0, 1, ... of each item. -1 means none.
        item_ids : ndarray of shape (n_items,), default=None
            Raw ids. None numbers the items from 0.
        item_names : mapping, default=None
            Titles of items by id: a dict, or a pandas Series indexed by id. The words
            that are typical of a cluster's titles describe it, unless there are
            categories.
        item_categories : mapping, default=None
            Categories of items by id, in the same form. The most frequent category
            among a cluster's items describes it.
        max_clusters : int, default=60
            Number of clusters to draw, the largest ones. The title and the list sum up
            the others. More than 100 circles are hard to read.
        random_state : int, RandomState instance or None, default=0
            Seed of the layout. The same number gives the same map.
        **options : dict
            Options of `plot`.

        Returns
        -------
        display : ClusterMapDisplay
            Display with the numbers, already drawn.

        Raises
        ------
        TypeError
            If `item_names` or `item_categories` is not a mapping, such as a data
            frame.

        Warns
        -----
        IdTypeWarning
            If ids of `item_names` or `item_categories` look like items of another type.
        UserWarning
            If none of their ids is an item.
        """
        numbers = _numbers(graph, np.asarray(membership), max_clusters)
        links, radii = numbers["links"].toarray(), np.sqrt(numbers["sizes"])
        item_ids = np.arange(graph.shape[0]) if item_ids is None else item_ids
        check_labels(item_names, "item_names", "title", item_ids)
        check_labels(item_categories, "item_categories", "category", item_ids)
        labels, kind = None, "description"
        if item_categories is not None:
            kind = "most frequent category"
            labels = _by_categories(numbers["members"], item_ids, item_categories)
        if item_names is not None and not any(labels or []):
            kind = "typical words of the titles"
            labels = _by_words(numbers["members"], item_ids, item_names)
        if not any(labels or []):  # then there is nothing to announce
            labels, kind = None, "description"
        return cls(
            **numbers,
            centers=pack_circles(links, radii, check_random_state(random_state)),
            radii=radii,
            item_ids=item_ids,
            item_names=item_names,
            cluster_labels=labels,
            label_kind=kind,
        ).plot(**options)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        max_items: int = 5000,
        n_labels: int = 15,
        n_top_items: int = 3,
    ) -> Self:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes for map and list. None makes a figure.
        max_items : int, default=5000
            Approximate number of dots. If there are more items, the same share of each
            cluster is drawn, evenly from its most to its least connected items.
        n_labels : int, default=15
            Number of clusters in the list, the largest ones. Fewer are listed if they
            do not fit. 0 omits the list.
        n_top_items : int, default=3
            Number of items to name for each cluster in the list.

        Returns
        -------
        display : ClusterMapDisplay
            Display with the numbers, already drawn.
        """
        self._make_axes(self._pyplot(), ax, n_labels > 0)
        panel = self.axes_[0]
        low = (self.centers - self.radii[:, None]).min(axis=0)
        high = (self.centers + self.radii[:, None]).max(axis=0)
        middle, half = (low + high) / 2, 0.52 * (high - low).max()
        left, bottom = middle - half
        width = 2 * half
        panel.set_xlim(left, left + width)
        panel.set_ylim(bottom - _KEY * width, bottom + width)
        panel.set_aspect("equal")
        panel.set_axis_off()
        points = self._points(panel, width)
        self._draw_lines(panel)
        self._draw_circles(panel, self.centers, self.radii)
        shown, n_dots = self._draw_dots(panel, max_items)
        self._write_numbers(panel, points)
        self._draw_key(panel, shown, np.array([left, bottom]), width)
        if n_labels:
            self._write_list(n_labels, n_top_items)
        self._write_title(panel, n_dots)
        return self

    def _make_axes(self, plt, ax, with_list):
        if ax is None:
            place = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.93}
            options = {"gridspec_kw": place, "figsize": (6.2, 7.9)}
            if with_list:
                place |= {"width_ratios": [6.1, 4.7], "wspace": 0.03}
                options["figsize"] = (11, 7.9)
            figure, grid = plt.subplots(1, 1 + with_list, squeeze=False, **options)
            figure.patch.set_facecolor("white")
            self._set_axes(grid[0, 0], list(grid[0]))
        elif with_list:
            ax.set_axis_off()
            left, width = _LIST
            bounds = [0, 0, left - 0.02, 1], [left, 0, width, 1]
            self._set_axes(ax, [ax.inset_axes(place) for place in bounds])
        else:
            self._set_axes(ax, [ax])

    def _points(self, panel, width):
        """Points (of 1/72 inch) per unit of the map."""
        box = self.ax_.get_window_extent()
        if panel is not self.ax_:  # an inset of it, placed when it is drawn
            box = box.shrunk(_LIST[0] - 0.02, 1)
        pixels = min(box.width, box.height / (1 + _KEY))
        return pixels / width * 72 / self.figure_.dpi

    def _draw_lines(self, panel):
        from matplotlib.collections import LineCollection

        pairs, widths = self._strongest_links()
        style = {"linewidths": widths, "colors": "0.45", "zorder": 1}
        panel.add_collection(LineCollection(self.centers[pairs], **style))

    def _draw_circles(self, panel, centers, radii):
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Circle

        circles = [Circle(c, r) for c, r in zip(centers, radii, strict=True)]
        style = {"facecolor": "#eef2f7", "edgecolor": "0.25", "linewidth": 0.8}
        panel.add_collection(PatchCollection(circles, zorder=2, **style))

    def _strongest_links(self):
        """Ends of the lines, and their widths: three for two clusters at most."""
        upper = sparse.triu(self.links, k=1).tocoo()
        strength = np.asarray(self.links.sum(axis=1)).reshape(-1)
        weight = upper.data / np.sqrt(strength[upper.row] * strength[upper.col])
        best = np.argsort(-weight, kind="stable")[: int(1.5 * len(self.sizes))]
        pairs = np.column_stack([upper.row, upper.col])[best]
        thickest = np.clip(100 / len(self.sizes), 1.2, 4)
        return pairs, 0.6 + thickest * weight[best] / weight.max(initial=1e-12)

    def _draw_dots(self, panel, max_items):
        from matplotlib import colormaps, colors

        dots, items = self._dots(max_items)
        # The light end of viridis would vanish on the circles.
        dark = colormaps["viridis"](np.linspace(0.88, 0, 256))
        colormap = colors.LinearSegmentedColormap.from_list("viridis_dark", dark)
        shares = self.item_inside_share[items]
        shown = panel.scatter(
            *dots.T,
            c=np.ma.masked_invalid(shares),
            cmap=colormap.with_extremes(bad="0.6"),
            vmin=_lowest_color(shares),
            vmax=1,
            s=float(np.clip(9000 / max(1, len(items)), 3.5, 36)),
            linewidths=0,
            zorder=3,
            plotnonfinite=True,
        )
        return shown, len(items)

    def _dots(self, max_items):
        """Places of the items that are drawn (n, 2), and which they are."""
        share = min(1.0, max_items / max(1, self.sizes.sum()))
        places, items = [], []
        circles = zip(self.centers, self.radii, self.members, strict=True)
        for center, radius, members in circles:
            n = max(1, round(share * len(members)))
            places.append(center + 0.93 * radius * sunflower(n))
            items.append(members[(np.arange(n) + 0.5).astype(int) * len(members) // n])
        return np.concatenate(places), np.concatenate(items)

    def _write_numbers(self, panel, points):
        """Write numbers, and labels that fit, into the circles with room for them."""
        box = {"boxstyle": "round,pad=0.12", "facecolor": "#eef2f7", "alpha": 0.85}
        style = {"ha": "center", "va": "center", "zorder": 4, "linespacing": 1.0}
        style["bbox"] = box | {"edgecolor": "none"}
        for i, (center, radius) in enumerate(
            zip(self.centers, self.radii, strict=True)
        ):
            room, number = points * radius, str(self.clusters[i])
            label = self.cluster_labels[i] if self.cluster_labels else ""
            largest = 9.0 if self.cluster_labels else 11.0
            words = _lines_that_fit(label.split(" (")[0].replace(",", ""), room)
            if words:
                small = style | {"fontsize": 7, "va": "top"}
                panel.text(center[0], center[1] - 2 / points, words, **small)
                up = center + [0, 5 / points]
                panel.text(*up, number, fontsize=9, fontweight="bold", **style)
            elif 0.75 * room >= 5.5:
                panel.text(*center, number, fontsize=min(largest, 0.75 * room), **style)

    def _draw_key(self, panel, shown, corner, width):
        """The legend below the map; its circles have the scale of the map."""
        from matplotlib.ticker import MaxNLocator

        small = {"fontsize": 7.5, "va": "center", "zorder": 4}

        def at(x, y):  # in shares of the width of the map
            return corner + width * np.array([x, y])

        x, sizes = 0.01, _nice_sizes(self.sizes, (0.06 * width) ** 2)
        panel.text(*at(x, -0.025), "circle: a cluster; area: number of items", **small)
        for size in sizes:
            r = np.sqrt(size) / width
            self._draw_circles(panel, [at(x + r, -0.105)], [width * r])
            unit = "item" if size == 1 else "items"
            panel.text(*at(x + 2 * r + 0.01, -0.105), f"{size:,} {unit}", **small)
            x += 2 * r + 0.15
        ends = np.array([at(0.01, -0.19), at(0.06, -0.19)])
        panel.plot(*ends.T, color="0.45", linewidth=2.5)
        text = (
            "line: transitions between two clusters;\nthicker: a larger share of theirs"
        )
        panel.text(*at(0.075, -0.19), text, **small, linespacing=1.2)
        text = "dot: an item; color: share of its transitions\nthat stay in its cluster"
        panel.text(*at(0.53, -0.045), text, **small, linespacing=1.2)
        where = [0.54, 0.09 / (1 + _KEY), 0.44, 0.02]
        bar = self.figure_.colorbar(
            shown,
            cax=panel.inset_axes(where),
            orientation="horizontal",
            extend="min" if shown.norm.vmin > 0 else "neither",
        )
        bar.locator = MaxNLocator(6, steps=[1, 2, 5, 10])
        bar.formatter = "{x:.0%}"
        bar.update_ticks()
        bar.ax.tick_params(labelsize=7.5)

    def _write_list(self, n_labels, n_top_items):
        panel, name = self.axes_[1], namer(self.item_names)
        panel.set_axis_off()
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
        inches = self.ax_.get_window_extent().height / self.figure_.dpi
        per_row = (
            0.2 + 0.13 * (n_top_items > 0) + 0.13 * (self.cluster_labels is not None)
        )
        n_below = (len(self.sizes) > 1) + (self.n_left_out[0] > 0)
        room = max(1, int((inches - 0.55 - 0.3 * n_below) / per_row))
        n = min(n_labels, len(self.sizes), room)
        step = min(0.5, (inches - 0.55 - 0.3 * n_below) / n) / inches
        small = {"fontsize": 8, "va": "center"}
        top = 1 - 0.18 / inches
        for x, text, side in (
            (0.05, "cluster", "center"),
            (_TEXT, self._heading(n_top_items), "left"),
            (_SIZE, "number\nof items", "right"),
            (1.0, "transitions\nthat stay\ninside", "right"),
        ):
            style = small | {"fontsize": 7.5, "color": "0.35", "linespacing": 1.1}
            panel.text(x, top, text, ha=side, **style)
        panel.axhline(1 - 0.4 / inches, color="0.6", linewidth=0.8)
        y = 1 - 0.44 / inches
        for i in range(n):
            y -= step
            middle = y + step / 2
            number = str(self.clusters[i])
            panel.text(0.05, middle, number, ha="center", fontweight="bold", **small)
            self._write_lines(panel, middle, self._described(i, n_top_items, name))
            self._write_row(panel, middle, self.sizes[i], self.inside_share[i])
        self._write_others(panel, n, y, inches)

    def _write_others(self, panel, n, y, inches):
        """Rows that sum up the clusters that the list does not name."""
        rows = []
        if n < len(self.sizes):
            inside = self._inside_share_of(np.arange(n, len(self.sizes)))
            text = f"{len(self.sizes) - n} more on the map, {_range(self.sizes[n:])}"
            rows.append((text, self.sizes[n:].sum(), inside))
        if self.n_left_out[0]:
            text = f"{self.n_left_out[0]:,} smaller clusters, not drawn"
            rows.append((text, self.n_left_out[1], self.inside_share_left_out))
        for text, n_items, inside in rows:
            y -= 0.28 / inches
            middle = y + 0.1 / inches
            panel.axhline(y + 0.25 / inches, color="0.8", linewidth=0.8)
            text = shortened(text, self._columns())
            panel.text(_TEXT, middle, text, color="0.35", fontsize=8, va="center")
            self._write_row(panel, middle, n_items, inside, color="0.35")

    def _write_row(self, panel, y, n_items, inside, **style):
        style |= {"fontsize": 8, "va": "center", "ha": "right"}
        panel.text(_SIZE, y, f"{n_items:,}", **style)
        panel.text(1.0, y, "none" if np.isnan(inside) else f"{inside:.0%}", **style)

    def _inside_share_of(self, which):
        """Share of the transitions of several clusters that stay inside each."""
        strength = [self.item_strength[self.members[i]].sum() for i in which]
        shares = np.nan_to_num(self.inside_share[which])
        whole = np.sum(strength)
        return np.dot(shares, strength) / whole if whole > 0 else np.nan

    def _described(self, i, n_top_items, name):
        ids = self.item_ids[self.members[i][:n_top_items]].tolist()
        label = self.cluster_labels[i] if self.cluster_labels else ""
        width = 14 if self.cluster_labels is None else 26
        names = ", ".join(name(item, width) for item in ids)
        lines = textwrap.wrap(names, self._columns(), break_long_words=False)[:2]
        lines = [label.replace("$", r"\$")] * bool(label) + lines
        return [shortened(line, self._columns()) for line in lines]

    def _columns(self):
        """Number of letters of 8 points in a line of the list."""
        inches = self.ax_.get_window_extent().width / self.figure_.dpi
        panel = self.axes_[1]
        if panel.figure.axes.count(panel):  # else an inset of given Axes
            inches = panel.get_window_extent().width / self.figure_.dpi
        else:
            inches *= _LIST[1]
        return max(10, int((_SIZE - _TEXT - 0.1) * inches * 72 / 4.5))

    def _write_lines(self, panel, middle, lines):
        inches = self.ax_.get_window_extent().height / self.figure_.dpi
        for j, line in enumerate(lines):
            y = middle + ((len(lines) - 1) / 2 - j) * 0.14 / inches
            style = {"fontsize": 8, "va": "center"}
            if self.cluster_labels and j == 0:
                style["fontweight"] = "bold"
            panel.text(_TEXT, y, line, **style)

    def _heading(self, n_top_items):
        lines = [self.label_kind] * (self.cluster_labels is not None)
        lines += ["items with most transitions"] * (n_top_items > 0)
        return "\n".join(lines)

    def _write_title(self, panel, n_dots):
        n_items, (n_clusters, n_others) = int(self.sizes.sum()), self.n_left_out
        title = f"{n_items:,} items in {len(self.sizes)} clusters"
        if n_clusters:
            title = (
                f"The {len(self.sizes)} largest of {len(self.sizes) + n_clusters:,} "
                f"clusters: {n_items:,} of {n_items + n_others:,} items"
            )
        if n_dots < n_items:
            title += f"\n{n_dots:,} items are drawn as dots"
        panel.set_title(title, fontsize=11)


def _lowest_color(shares):
    """Low end of the color scale, a multiple of a tenth: few items lie below it."""
    shares = shares[np.isfinite(shares)]
    low = np.quantile(shares, 0.05) if len(shares) else 0.0
    return min(0.8, np.floor(10 * low) / 10)


def _nice_sizes(sizes, largest):
    """Two numbers of items, such as 20 and 100, whose circles make a scale."""
    steps = np.outer(10 ** np.arange(9), [1, 2, 5]).reshape(-1)
    upper = steps[steps <= max(1, min(largest, sizes.max()))][-1]
    lower = steps[steps <= upper / 4]
    return [int(size) for size in [*lower[-1:], upper]]


def _range(sizes):
    low, high = sizes.min(), sizes.max()
    return f"{high:,} items each" if low == high else f"{low:,} to {high:,} items each"


def _lines_that_fit(label, room):
    """The words of a label in lines of a circle of radius `room`, or nothing."""
    width = int(1.7 * room / 4.0)  # a letter of 7 points is about 4 points wide
    if not label or width < 7 or room < 20:
        return ""
    lines = []
    for word in label.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        elif len(word) <= width:
            lines.append(word)
        else:
            break
    return "\n".join(lines[: 1 + (room > 26)]).replace("$", r"\$")


def _by_categories(members, item_ids, categories):
    """The most frequent category of each cluster's items, and its share of them."""
    labels = []
    for rows in members:
        found = [categories.get(item) for item in item_ids[rows].tolist()]
        counts = Counter(str(value) for value in found if _is_known(value))
        label = ""
        if counts:
            best, n = max(counts.items(), key=lambda pair: (pair[1], pair[0]))
            label = f"{best} ({n / len(rows):.0%} of its items)"
        labels.append(label)
    return labels


def _by_words(members, item_ids, names, n_words=3):
    """Words that are more frequent in a cluster's titles than in those of all drawn."""
    found = []
    for rows in members:
        titles = [names.get(item) for item in item_ids[rows].tolist()]
        titles = [str(title).lower() for title in titles if _is_known(title)]
        words = [set(re.findall(r"[^\W\d_]{3,}", title)) for title in titles]
        found.append((Counter(word for row in words for word in row), len(titles)))
    n_titles = sum(n for _, n in found)
    total = sum((counts for counts, _ in found), Counter())
    labels = []
    for counts, n in found:
        gain = {
            word: count / n * np.log(count * n_titles / (n * total[word]))
            for word, count in counts.items()
            if count > 1
            and count * n_titles > n * total[word]
            and word not in ENGLISH_STOP_WORDS
        }
        best = sorted(gain, key=lambda word: (-gain[word], word))[:n_words]
        labels.append(", ".join(best))
    return labels


def _is_known(value):
    return value is not None and value == value  # NaN differs from itself


def _numbers(graph, membership, max_clusters):
    """Numbers of the items and clusters, without the places of the circles."""
    n_items = graph.shape[0]
    if membership.shape != (n_items,) or membership.max(initial=-1) < 0:
        raise ValueError(
            f"membership has shape {membership.shape} and its largest value is "
            f"{membership.max(initial=-1)}. Expected one cluster 0, 1, ... for each of "
            f"the {n_items} items of the graph."
        )
    if max_clusters < 1:
        raise ValueError(f"max_clusters={max_clusters!r}. Expected at least 1.")
    all_sizes = np.bincount(membership[membership >= 0])
    clusters = np.argsort(-all_sizes, kind="stable")[:max_clusters]
    clusters = clusters[all_sizes[clusters] > 0]
    sizes = all_sizes[clusters]
    place = np.full(len(all_sizes) + 1, -1)  # among those drawn; the last one is for -1
    place[clusters] = np.arange(len(clusters))

    edges = sparse.coo_array(graph)
    strength = np.bincount(edges.row, edges.data, minlength=n_items)
    same = membership[edges.row] == membership[edges.col]
    inside = np.bincount(edges.row[same], edges.data[same], minlength=n_items)
    row, column = place[membership[edges.row]], place[membership[edges.col]]
    between = (row >= 0) & (column >= 0) & (row != column)
    ends = row[between], column[between]
    links = sparse.coo_array((edges.data[between], ends), shape=(len(sizes),) * 2)

    own = place[membership]
    order = np.lexsort((np.arange(n_items), -strength, own))
    order = order[own[order] >= 0]
    totals = [np.bincount(own[order], part[order]) for part in (inside, strength)]
    n_others = int((all_sizes > 0).sum()) - len(sizes)
    others = (own < 0) & (membership >= 0)
    left_out = [np.array([part[others].sum()]) for part in (inside, strength)]
    return {
        "sizes": sizes,
        "clusters": clusters,
        "links": links.tocsr(),
        "inside_share": _share(*totals),
        "item_strength": strength,
        "item_inside_share": _share(inside, strength),
        "members": np.split(order, np.cumsum(sizes)[:-1]),
        "n_left_out": (n_others, int(all_sizes.sum() - sizes.sum())),
        "inside_share_left_out": float(_share(*left_out)[0]),
    }


def _share(part, whole):
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
