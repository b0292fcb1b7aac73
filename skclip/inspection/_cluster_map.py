"""ClusterMapDisplay: the item communities as a map."""

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state

from skclip._inside import clusterer_inside, estimators_inside
from skclip.inspection._figure import import_pyplot, namer

_STEPS = 300  # of the layout, and at most of removing overlaps
_GAP = 0.25  # between two circles, in mean radii


class ClusterMapDisplay:
    """Item clusters as circles: how large, how tight, next to whom, around what.

    Each circle is a cluster, its area the number of its items. Clusters whose items
    follow each other lie close together, the strongest links are lines. Dots are items,
    a sample of them in a large catalog, with those that have most transitions in the
    middle; their color is the share of the item's transitions that stay inside its
    cluster. The list names the items with most transitions.

    Parameters
    ----------
    sizes : ndarray of shape (n_drawn,)
        Items in each drawn cluster, decreasing.
    clusters : ndarray of shape (n_drawn,)
        Their numbers, as in ``membership_``.
    centers : ndarray of shape (n_drawn, 2)
        Of the circles.
    radii : ndarray of shape (n_drawn,)
        The square root of the sizes. No two circles overlap.
    links : csr_array of shape (n_drawn, n_drawn)
        Transitions between the clusters.
    inside_share : ndarray of shape (n_drawn,)
        Share of the cluster's transitions that stay inside.
    item_ids : ndarray of shape (n_items,)
        The catalog.
    item_strength : ndarray of shape (n_items,)
        Transitions of each item.
    item_inside_share : ndarray of shape (n_items,)
        Share of them inside the item's cluster, NaN without any.
    members : list of ndarray
        Positions in `item_ids` of each drawn cluster's items, by decreasing strength.
    n_left_out : tuple of int
        Clusters that are not drawn, and their items.
    item_names : dict, default=None
        Item id -> what to show for it.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that was given, or that of the map.
    axes_ : list of matplotlib Axes
        The map and, unless ``n_labels=0``, the list.
    figure_ : matplotlib Figure

    See Also
    --------
    skclip.SessionClusterer : Finds the clusters.

    Notes
    -----
    The layout moves clusters, not items: it costs some 1,000 steps over n_drawn squared
    numbers, the rest one pass over the edges of the item graph; 43,097 items in 76
    clusters take one to three seconds. Points begin at the leading eigenvectors of the
    links (each divided by the root of both clusters' links), springs, repulsion and
    gravity place them [1]_, then circles grow around them and push each other apart.
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

    def __init__(
        self,
        *,
        sizes,
        clusters,
        centers,
        radii,
        links,
        inside_share,
        item_ids,
        item_strength,
        item_inside_share,
        members,
        n_left_out=(0, 0),
        item_names=None,
    ):
        self.sizes = sizes
        self.clusters = clusters
        self.centers = centers
        self.radii = radii
        self.links = links
        self.inside_share = inside_share
        self.item_ids = item_ids
        self.item_strength = item_strength
        self.item_inside_share = item_inside_share
        self.members = members
        self.n_left_out = n_left_out
        self.item_names = item_names

    @classmethod
    def from_estimator(cls, estimator, **options):
        """Lay out the clusters of a fitted estimator and plot them.

        Parameters
        ----------
        estimator : SessionClusterer, recommender, Pipeline or search
            Fitted. Of a Pipeline the clusterer step is taken where the recommender has
            no clusterer of its own.
        **options : dict
            See `from_membership`.

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
        max_items=5000,
        n_labels=12,
        n_top_items=3,
        ax=None,
    ):
        """Lay out any partition of an item graph and plot it.

        Parameters
        ----------
        graph : sparse array of shape (n_items, n_items)
            Symmetric edge weights, as ``SessionClusterer.graph_``.
        membership : ndarray of shape (n_items,)
            Cluster 0, 1, ... of each item, -1 = none.
        item_ids : ndarray of shape (n_items,), default=None
            None numbers the items from 0.
        item_names : dict, default=None
            Item id -> what to show for it.
        max_clusters : int, default=300
            The largest ones are drawn; the title counts the rest.
        random_state : int, RandomState instance or None, default=0
            Of the layout. The same number gives the same map.
        max_items, n_labels, n_top_items : int
            See `plot`.
        ax : matplotlib Axes, default=None
            See `plot`.

        Returns
        -------
        display : ClusterMapDisplay
            With the numbers, drawn.
        """
        membership = np.asarray(membership)
        n_items = graph.shape[0]
        if membership.shape != (n_items,) or membership.max(initial=-1) < 0:
            raise ValueError(
                f"membership has shape {membership.shape} and reaches up to "
                f"{membership.max(initial=-1)}. Expected a cluster 0, 1, ... for each "
                f"of the {n_items} items of the graph."
            )
        if max_clusters < 1:
            raise ValueError(f"max_clusters={max_clusters!r}. Expected at least 1.")
        edges = sparse.coo_array(graph)
        strength = np.bincount(edges.row, weights=edges.data, minlength=n_items)
        same = membership[edges.row] == membership[edges.col]
        inside = np.bincount(edges.row[same], edges.data[same], minlength=n_items)
        share = np.divide(
            inside, strength, out=np.full(n_items, np.nan), where=strength > 0
        )
        all_sizes = np.bincount(membership[membership >= 0])
        clusters = np.argsort(-all_sizes, kind="stable")[:max_clusters]
        clusters = clusters[all_sizes[clusters] > 0]
        sizes = all_sizes[clusters]
        place = np.full(len(all_sizes) + 1, -1)  # the last one for -1
        place[clusters] = np.arange(len(clusters))
        row, column = place[membership[edges.row]], place[membership[edges.col]]
        drawn = (row >= 0) & (column >= 0) & (row != column)
        links = sparse.coo_array(
            (edges.data[drawn], (row[drawn], column[drawn])), shape=(len(sizes),) * 2
        ).tocsr()
        own = place[membership]
        order = np.lexsort((np.arange(n_items), -strength, own))
        order = order[own[order] >= 0]
        total = np.bincount(own[order], strength[order])
        within = np.bincount(own[order], inside[order])
        radii = np.sqrt(sizes)
        return cls(
            sizes=sizes,
            clusters=clusters,
            centers=_pack(links.toarray(), radii, check_random_state(random_state)),
            radii=radii,
            links=links,
            inside_share=np.divide(
                within, total, out=np.full(len(sizes), np.nan), where=total > 0
            ),
            item_ids=np.arange(n_items) if item_ids is None else np.asarray(item_ids),
            item_strength=strength,
            item_inside_share=share,
            members=np.split(order, np.cumsum(sizes)[:-1]),
            n_left_out=(
                int((all_sizes > 0).sum() - len(sizes)),
                int(all_sizes.sum() - sizes.sum()),
            ),
            item_names=item_names,
        ).plot(ax, max_items=max_items, n_labels=n_labels, n_top_items=n_top_items)

    def plot(self, ax=None, *, max_items=5000, n_labels=12, n_top_items=3):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw map and list; with ``n_labels=0`` the map alone. None makes a
            figure.
        max_items : int, default=5000
            Dots, about: above, the same share of each cluster is drawn, evenly from the
            most to the least connected items.
        n_labels : int, default=12
            Clusters in the list, the largest ones, as far as there is room; 0 leaves it
            out. Every circle that is large enough bears its number.
        n_top_items : int, default=3
            Items named for each.

        Returns
        -------
        display : ClusterMapDisplay
            With the numbers, drawn.
        """
        plt = import_pyplot(type(self).__name__)
        from matplotlib.collections import LineCollection, PatchCollection
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.patches import Circle

        if ax is None and n_labels:
            _, axes = plt.subplots(
                1, 2, width_ratios=[7, 3.4], figsize=(10.8, 7.2), layout="constrained"
            )
            self.axes_ = list(axes)
        elif ax is None:
            self.axes_ = [plt.subplots(figsize=(7.2, 7.2), layout="constrained")[1]]
        elif n_labels:
            ax.set_axis_off()
            bounds = [0, 0.08, 0.68, 0.92], [0.7, 0.08, 0.3, 0.92]
            self.axes_ = [ax.inset_axes(place) for place in bounds]
        else:
            self.axes_ = [ax]
        self.ax_ = self.axes_[0] if ax is None else ax
        self.figure_, outer, ax = self.ax_.figure, self.ax_, self.axes_[0]

        pairs, widths = self._strongest_links()
        ax.add_collection(
            LineCollection(
                self.centers[pairs], linewidths=widths, colors="0.5", zorder=1
            )
        )
        circles = [Circle(c, r) for c, r in zip(self.centers, self.radii, strict=True)]
        ax.add_collection(
            PatchCollection(
                circles, facecolor="0.96", edgecolor="0.25", linewidth=0.8, zorder=2
            )
        )
        dots, items = self._dots(max_items)
        # The light end of the map would vanish on the circles.
        colors = plt.get_cmap("viridis")(np.linspace(0.88, 0, 256))
        colormap = LinearSegmentedColormap.from_list("viridis_dark", colors)
        colormap = colormap.with_extremes(bad="0.6")
        shown = ax.scatter(
            *dots.T,
            c=np.ma.masked_invalid(self.item_inside_share[items]),
            cmap=colormap,
            vmin=0,
            vmax=1,
            s=float(np.clip(9000 / max(1, len(items)), 3.5, 24)),
            linewidths=0,
            zorder=3,
            plotnonfinite=True,
        )
        low = (self.centers - self.radii[:, None]).min(axis=0)
        high = (self.centers + self.radii[:, None]).max(axis=0)
        middle, half = (low + high) / 2, 0.52 * (high - low).max()
        ax.set_xlim(middle[0] - half, middle[0] + half)
        ax.set_ylim(middle[1] - half, middle[1] + half)
        ax.set_aspect("equal")
        ax.set_axis_off()
        bar = self.figure_.colorbar(
            shown,
            cax=ax.inset_axes([0.2, -0.04, 0.6, 0.025]),
            orientation="horizontal",
        )
        bar.set_label("share of an item's transitions inside its cluster")
        self._write_numbers(ax, outer, 2 * half)
        if n_labels:
            self._write_list(outer, n_labels, n_top_items)
        self._write_title(ax, len(items))
        return self

    def _strongest_links(self):
        """Ends of the lines, and their widths: three for two clusters at most."""
        upper = sparse.triu(self.links, k=1).tocoo()
        strength = np.asarray(self.links.sum(axis=1)).reshape(-1)
        weight = upper.data / np.sqrt(strength[upper.row] * strength[upper.col])
        best = np.argsort(-weight, kind="stable")[: int(1.5 * len(self.sizes))]
        pairs = np.column_stack([upper.row, upper.col])[best]
        thickest = np.clip(100 / len(self.sizes), 1.2, 4)
        return pairs, 0.6 + thickest * weight[best] / weight.max(initial=1e-12)

    def _dots(self, max_items):
        """Places of the items that are drawn (n, 2), and which they are."""
        share = min(1.0, max_items / max(1, self.sizes.sum()))
        places, items = [], []
        for center, radius, members in zip(
            self.centers, self.radii, self.members, strict=True
        ):
            n = max(1, round(share * len(members)))
            at = np.arange(n)
            # Points of a sunflower lie evenly on a disc.
            angle, distance = at * np.pi * (3 - 5**0.5), np.sqrt((at + 0.5) / n)
            around = np.column_stack([np.cos(angle), np.sin(angle)])
            places.append(center + 0.93 * radius * distance[:, None] * around)
            items.append(members[(at + 0.5).astype(int) * len(members) // n])
        return np.concatenate(places), np.concatenate(items)

    def _write_numbers(self, ax, outer, extent):
        box = outer.get_window_extent()
        if ax is not outer:  # an inset of it, placed when it is drawn
            box = box.shrunk(0.68, 0.92)
        points = min(box.width, box.height) / extent
        points *= 72 / self.figure_.dpi
        for number, center, radius in zip(
            self.clusters, self.centers, self.radii, strict=True
        ):
            size = min(11.0, 0.75 * radius * points)
            if size >= 5.5:
                ax.text(
                    *center,
                    str(number),
                    ha="center",
                    va="center",
                    fontsize=size,
                    zorder=4,
                    bbox={
                        "boxstyle": "round,pad=0.15",
                        "facecolor": "0.96",
                        "edgecolor": "none",
                        "alpha": 0.85,
                    },
                )

    def _write_list(self, outer, n_labels, n_top_items):
        panel, label = self.axes_[1], namer(self.item_names)
        panel.set_axis_off()
        inches = outer.get_window_extent().height / self.figure_.dpi
        room = max(1, int(inches / (0.36 if n_top_items else 0.2)))
        rows = min(n_labels, len(self.sizes), room)
        for i in range(rows):
            y = 1 - (i + 0.5) / max(rows, min(room, 12))
            for x, text, align, weight in (
                (0.08, str(self.clusters[i]), "right", "bold"),
                (0.12, self._described(i, n_top_items, label), "left", "normal"),
            ):
                panel.annotate(
                    text,
                    (x, y),
                    xycoords="axes fraction",
                    ha=align,
                    va="center",
                    fontsize="small",
                    fontweight=weight,
                )

    def _described(self, i, n_top_items, label):
        ids = self.item_ids[self.members[i][:n_top_items]].tolist()
        inside = self.inside_share[i]
        tight = "" if np.isnan(inside) else f", {inside:.0%} inside"
        names = ", ".join(label(item, 12) for item in ids)
        return f"{self.sizes[i]:,} items{tight}" + (f"\n{names}" if names else "")

    def _write_title(self, ax, n_dots):
        n, n_items = len(self.sizes), int(self.sizes.sum())
        title = f"{n_items:,} items in {n} clusters"
        if n_dots < n_items:
            title += f" ({n_dots:,} items drawn)"
        if self.n_left_out[0]:
            title += "\n{:,} smaller clusters with {:,} items are left out".format(
                *self.n_left_out
            )
        ax.set_title(title)


def _pack(links, radii, random_state):
    """Centers (n, 2) of circles that do not overlap, linked ones near each other."""
    n = len(radii)
    if n == 1:
        return np.zeros((1, 2))
    strength = links.sum(axis=1)
    scale = np.sqrt(np.outer(strength, strength))
    pull = np.divide(links, scale, out=np.zeros_like(links), where=scale > 0)
    size = np.sqrt((radii**2).sum())  # about the radius of the whole map
    at = size * _place_points(pull, random_state)

    touch = radii[:, None] + radii[None, :] + _GAP * radii.mean()
    mass = radii**2
    yields = mass[None, :] / (mass[:, None] + mass[None, :])  # the lighter one more
    towards = pull / np.maximum(pull.sum(axis=1, keepdims=True), 1e-12)
    linked = strength > 0
    for grown in np.linspace(0.1, 1, _STEPS):  # circles grow, held together meanwhile
        calm = 1 - grown
        at[linked] += 0.1 * calm * (towards @ at - at)[linked]
        at *= 1 - 0.01 - 0.04 * calm
        for _ in range(3):
            at, _ = _pushed_apart(at, grown * touch, yields, random_state)
    for _ in range(2 * _STEPS):
        at, overlap = _pushed_apart(at, touch, yields, random_state)
        if overlap < 1e-3:
            break
    distance = cdist(at, at)
    np.fill_diagonal(distance, np.inf)
    return at * max(1.0, (touch / distance).max())  # what little is left


def _place_points(pull, random_state):
    """Points (n, 2) of about the unit disc, by springs and repulsion."""
    n = len(pull)
    _, vectors = np.linalg.eigh(pull)
    start = vectors[:, -3:-1] if n > 2 else vectors
    # Signs of eigenvectors are chance; ranks spread what they crowd.
    start = start * np.sign(start[np.abs(start).argmax(axis=0), [0, 1]])
    at = start.argsort(axis=0, kind="stable").argsort(axis=0) * 2 / (n - 1) - 1.0
    at += 0.02 * random_state.normal(size=(n, 2))
    rest = 1 / np.sqrt(n)
    spring = pull / max(pull.sum(axis=1).mean(), 1e-12) / rest
    for heat in np.linspace(0.2, 0, _STEPS, endpoint=False):
        distance = np.maximum(cdist(at, at), 1e-9)
        force = rest**2 / distance**2 - spring * distance  # along what lies between
        np.fill_diagonal(force, 0)
        move = force.sum(axis=1)[:, None] * at - force @ at - 0.5 * at
        length = np.maximum(np.sqrt((move**2).sum(axis=1, keepdims=True)), 1e-12)
        at = at + move / length * np.minimum(length, heat)
    at = at - at.mean(axis=0)
    return at / np.quantile(np.sqrt((at**2).sum(axis=1)), 0.9)


def _pushed_apart(at, touch, yields, random_state):
    """Move circles half way out of each other; and the largest overlap before."""
    distance = cdist(at, at)
    np.fill_diagonal(distance, np.inf)
    overlap = np.maximum(touch - distance, 0)
    if not overlap.any():
        return at, 0.0
    move = 0.5 * yields * overlap / np.maximum(distance, 1e-9 * touch)
    at = at + move.sum(axis=1)[:, None] * at - move @ at
    at += 1e-6 * touch.min() * random_state.normal(size=at.shape)  # parts equal centers
    return at, float((overlap / touch).max())
