"""ClusterMapDisplay: the item communities as a map."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skclip._inside import clusterer_inside, estimators_inside
from skclip.inspection._circles import pack_circles, sunflower
from skclip.inspection._figure import Display, namer


@dataclass(kw_only=True, eq=False, repr=False)
class ClusterMapDisplay(Display):
    """Map of the item clusters: their sizes, links, cohesion and leading items.

    Each circle is a cluster, its area the number of its items. Clusters whose items
    follow each other lie close together, the strongest links are lines. Dots are items,
    a sample of them in a large catalog, with those that have most transitions in the
    middle; their color is the share of the item's transitions that stay inside its
    cluster. The list names the items with most transitions.

    Parameters
    ----------
    sizes, clusters : ndarray of shape (n_drawn,)
        Sizes and numbers (as in ``membership_``) of the drawn clusters, largest first.
    centers : ndarray of shape (n_drawn, 2)
        Centers of the circles.
    radii : ndarray of shape (n_drawn,)
        Square roots of the sizes. No two circles overlap.
    links : csr_array of shape (n_drawn, n_drawn)
        Transitions between the clusters.
    inside_share : ndarray of shape (n_drawn,)
        Share of each cluster's transitions that stay inside.
    item_ids : ndarray of shape (n_items,)
        Raw ids of the catalog.
    item_strength, item_inside_share : ndarray of shape (n_items,)
        Transitions of each item, and the share of them inside the item's cluster, NaN
        without any.
    members : list of ndarray
        Positions in `item_ids` of each drawn cluster's items, by decreasing strength.
    n_left_out : tuple of int
        Numbers of clusters that are not drawn, and of their items.
    item_names : dict, default=None
        Labels of items by id, where they differ from the id.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The map and, unless ``n_labels=0``, the list.

    See Also
    --------
    skclip.SessionClusterer : Finds the clusters.

    Notes
    -----
    Springs, repulsion and gravity place the clusters [1]_. Then circles grow around
    them and push each other apart, in some 1,000 steps over n_drawn squared numbers.
    Distances between clusters that are not linked mean nothing.

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
    members: list
    n_left_out: tuple = (0, 0)
    item_names: dict | None = None

    @classmethod
    def from_estimator(cls, estimator, **options):
        """Lay out the clusters of a fitted estimator and plot them.

        Parameters
        ----------
        estimator : SessionClusterer, recommender, Pipeline or search
            Fitted estimator. Of a Pipeline the clusterer step is taken where the
            recommender has no clusterer of its own.
        **options : dict
            Options of `from_membership`.

        Returns
        -------
        display : ClusterMapDisplay
            With the numbers, drawn.

        Raises
        ------
        ValueError
            There is no fitted clusterer in it, or one without a ``graph_``.
        """
        clusterer = clusterer_inside(estimator)
        if clusterer is None:
            *_, inner = estimators_inside(estimator)
            raise ValueError(
                f"{type(estimator).__name__} holds no fitted clusterer (innermost: "
                f"{type(inner).__name__}). Fit it first; pass a SessionClusterer, a "
                "recommender that has clusterer_, or the Pipeline whose step it is."
            )
        if not hasattr(clusterer, "graph_"):
            raise ValueError(
                f"{type(clusterer).__name__} has no graph_ to draw. Pass the graph of "
                "a SessionClusterer to ClusterMapDisplay.from_membership(graph, "
                "membership)."
            )
        return cls.from_membership(
            clusterer.graph_,
            clusterer.membership_,
            item_ids=clusterer.item_ids_,
            **options,
        )

    @classmethod
    def from_membership(
        cls,
        graph,
        membership,
        *,
        item_ids=None,
        item_names=None,
        max_clusters=300,
        random_state=0,
        **options,
    ):
        """Lay out any partition of an item graph and plot it.

        Parameters
        ----------
        graph : sparse array of shape (n_items, n_items)
            Symmetric edge weights, as ``SessionClusterer.graph_``.
        membership : ndarray of shape (n_items,)
            Cluster 0, 1, ... of each item, -1 = none.
        item_ids : ndarray of shape (n_items,), default=None
            Raw ids; None numbers the items from 0.
        item_names : dict, default=None
            Labels of items by id, where they differ from the id.
        max_clusters : int, default=300
            Number of clusters to draw, the largest ones; the title counts the rest.
        random_state : int, RandomState instance or None, default=0
            Seed of the layout. The same number gives the same map.
        **options : dict
            Options of `plot`.

        Returns
        -------
        display : ClusterMapDisplay
            With the numbers, drawn.
        """
        numbers = _numbers(graph, np.asarray(membership), max_clusters)
        links, radii = numbers["links"].toarray(), np.sqrt(numbers["sizes"])
        return cls(
            **numbers,
            centers=pack_circles(links, radii, check_random_state(random_state)),
            radii=radii,
            item_ids=np.arange(graph.shape[0]) if item_ids is None else item_ids,
            item_names=item_names,
        ).plot(**options)

    def plot(self, ax=None, *, max_items=5000, n_labels=12, n_top_items=3):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw map and list; with ``n_labels=0`` the map alone. None makes a
            figure.
        max_items : int, default=5000
            Approximate number of dots. If there are more items, the same share of each
            cluster is drawn, evenly from the most to the least connected items.
        n_labels : int, default=12
            Number of clusters in the list, the largest ones, as far as there is room; 0
            leaves it out. Every circle that is large enough bears its number.
        n_top_items : int, default=3
            Number of items named for each.

        Returns
        -------
        display : ClusterMapDisplay
            With the numbers, drawn.
        """
        self._make_axes(self._pyplot(), ax, n_labels > 0)
        panel = self.axes_[0]
        low = (self.centers - self.radii[:, None]).min(axis=0)
        high = (self.centers + self.radii[:, None]).max(axis=0)
        middle, half = (low + high) / 2, 0.52 * (high - low).max()
        panel.set_xlim(middle[0] - half, middle[0] + half)
        panel.set_ylim(middle[1] - half, middle[1] + half)
        panel.set_aspect("equal")
        panel.set_axis_off()
        self._draw_circles(panel)
        n_dots = self._draw_dots(panel, max_items)
        self._write_numbers(panel, 2 * half)
        if n_labels:
            self._write_list(n_labels, n_top_items)
        self._write_title(panel, n_dots)
        return self

    def _make_axes(self, plt, ax, with_list):
        if ax is None and with_list:
            shape = {"width_ratios": [7, 3.4], "figsize": (10.8, 7.2)}
            self.axes_ = list(plt.subplots(1, 2, layout="constrained", **shape)[1])
        elif ax is None:
            self.axes_ = [plt.subplots(figsize=(7.2, 7.2), layout="constrained")[1]]
        elif with_list:
            ax.set_axis_off()
            bounds = [0, 0.08, 0.68, 0.92], [0.7, 0.08, 0.3, 0.92]
            self.axes_ = [ax.inset_axes(place) for place in bounds]
        else:
            self.axes_ = [ax]
        self.ax_ = self.axes_[0] if ax is None else ax
        self.figure_ = self.ax_.figure

    def _draw_circles(self, panel):
        from matplotlib.collections import LineCollection, PatchCollection
        from matplotlib.patches import Circle

        pairs, widths = self._strongest_links()
        style = {"linewidths": widths, "colors": "0.5", "zorder": 1}
        panel.add_collection(LineCollection(self.centers[pairs], **style))
        circles = [Circle(c, r) for c, r in zip(self.centers, self.radii, strict=True)]
        style = {"facecolor": "0.96", "edgecolor": "0.25", "linewidth": 0.8}
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
        shown = panel.scatter(
            *dots.T,
            c=np.ma.masked_invalid(self.item_inside_share[items]),
            cmap=colormap.with_extremes(bad="0.6"),
            vmin=0,
            vmax=1,
            s=float(np.clip(9000 / max(1, len(items)), 3.5, 24)),
            linewidths=0,
            zorder=3,
            plotnonfinite=True,
        )
        where = panel.inset_axes([0.2, -0.04, 0.6, 0.025])
        bar = self.figure_.colorbar(shown, cax=where, orientation="horizontal")
        bar.set_label("share of an item's transitions inside its cluster")
        return len(items)

    def _dots(self, max_items):
        """Places of the items that are drawn (n, 2), and which they are."""
        share = min(1.0, max_items / max(1, self.sizes.sum()))
        places, items = [], []
        for center, radius, members in zip(
            self.centers, self.radii, self.members, strict=True
        ):
            n = max(1, round(share * len(members)))
            places.append(center + 0.93 * radius * sunflower(n))
            items.append(members[(np.arange(n) + 0.5).astype(int) * len(members) // n])
        return np.concatenate(places), np.concatenate(items)

    def _write_numbers(self, panel, extent):
        """Write numbers into the circles that are large enough for 5.5 points."""
        box = self.ax_.get_window_extent()
        if panel is not self.ax_:  # an inset of it, placed when it is drawn
            box = box.shrunk(0.68, 0.92)
        points = min(box.width, box.height) / extent * 72 / self.figure_.dpi
        label = {"boxstyle": "round,pad=0.15", "facecolor": "0.96", "alpha": 0.85}
        style = {"ha": "center", "va": "center", "zorder": 4}
        style["bbox"] = label | {"edgecolor": "none"}
        for number, center, radius in zip(
            self.clusters, self.centers, self.radii, strict=True
        ):
            size = min(11.0, 0.75 * radius * points)
            if size >= 5.5:
                panel.text(*center, str(number), fontsize=size, **style)

    def _write_list(self, n_labels, n_top_items):
        panel, label = self.axes_[1], namer(self.item_names)
        panel.set_axis_off()
        inches = self.ax_.get_window_extent().height / self.figure_.dpi
        room = max(1, int(inches / (0.36 if n_top_items else 0.2)))
        rows = min(n_labels, len(self.sizes), room)
        style = {"xycoords": "axes fraction", "va": "center", "fontsize": "small"}
        for i in range(rows):
            y = 1 - (i + 0.5) / max(rows, min(room, 12))
            number, text = str(self.clusters[i]), self._described(i, n_top_items, label)
            panel.annotate(number, (0.08, y), ha="right", fontweight="bold", **style)
            panel.annotate(text, (0.12, y), ha="left", **style)

    def _described(self, i, n_top_items, label):
        ids = self.item_ids[self.members[i][:n_top_items]].tolist()
        inside = self.inside_share[i]
        tight = "" if np.isnan(inside) else f", {inside:.0%} inside"
        names = ", ".join(label(item, 12) for item in ids)
        return f"{self.sizes[i]:,} items{tight}" + (f"\n{names}" if names else "")

    def _write_title(self, panel, n_dots):
        n_items, (n_clusters, n_others) = int(self.sizes.sum()), self.n_left_out
        title = f"{n_items:,} items in {len(self.sizes)} clusters"
        if n_dots < n_items:
            title += f" ({n_dots:,} items drawn)"
        if n_clusters:
            title += f"\n{n_clusters:,} smaller clusters with {n_others:,} items are"
            title += " left out"
        panel.set_title(title)


def _numbers(graph, membership, max_clusters):
    """What the map shows of items and clusters, but for the places of the circles."""
    n_items = graph.shape[0]
    if membership.shape != (n_items,) or membership.max(initial=-1) < 0:
        raise ValueError(
            f"membership has shape {membership.shape} and reaches up to "
            f"{membership.max(initial=-1)}. Expected a cluster 0, 1, ... for each of "
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
    return {
        "sizes": sizes,
        "clusters": clusters,
        "links": links.tocsr(),
        "inside_share": _share(*totals),
        "item_strength": strength,
        "item_inside_share": _share(inside, strength),
        "members": np.split(order, np.cumsum(sizes)[:-1]),
        "n_left_out": (n_others, int(all_sizes.sum() - sizes.sum())),
    }


def _share(part, whole):
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
