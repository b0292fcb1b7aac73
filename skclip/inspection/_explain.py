"""explain: the clicks and clusters that raised a recommendation, by occlusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import narwhals.stable.v2 as nw
import numpy as np
from scipy.special import logsumexp

from skclip._clusters import vote_clusters
from skclip._data import (
    ItemIndex,
    Sessions,
    as_sessions,
    columns_at,
    flat_positions,
    query_data,
)
from skclip._inside import fitted_of, recommender_inside, unwrap
from skclip._ranking import rows_per_chunk
from skclip._typing import (
    Backend,
    Estimator,
    FloatArray,
    Frame,
    Ids,
    Labels,
    Lists,
    Params,
    Self,
    SessionsLike,
)
from skclip._warnings import told_already
from skclip.inspection._figure import DARK, LIGHT, SMALL, AxesLike, Display, namer

_Measure: TypeAlias = Literal["score", "log_probability"]
_MEASURES = get_args(_Measure)
_ROWS = ("items", "clicks")
_ROUNDING = 1e-5  # relative to the score: a smaller drop is none

# Reasons of missing values, in the column `note`.
_EMPTY = "The session is empty."
_UNKNOWN = "No item of the session was seen in fit."
_ONLY_ITEM = "Without this item the session has no known item."
_ONLY_CLICK = "Without this click the session has no known item."
_ONLY_CLUSTER = "Without this cluster the session has no known item."
_NONE_RAISED = "No clicked item raised this score."
_NEW_ITEM = "This item was not seen in fit."


def explain(
    estimator: Estimator,
    X: SessionsLike,
    k: int | None = None,
    *,
    rows: Literal["items", "clicks"] = "items",
    measure: _Measure = "score",
    exclude_seen: bool = True,
    allow: Ids | Lists | None = None,
    deny: Ids | Lists | None = None,
    backend: Backend = "pandas",
) -> Frame:
    """Explain recommendations by the clicks that raised them.

    The method is occlusion: leave a click out of the session and measure how far the
    score of a recommendation drops. A positive drop means that the click raised the
    recommendation, a negative one that it lowered it. Drops of several clicks do not
    add up to the score.

    The model reads each session once without each click, once without each item, and
    once without each cluster. Each time it scores the whole catalog, 64 MiB at a time.
    Use it for tens to thousands of sessions.

    Parameters
    ----------
    estimator : fitted recommender, Pipeline or search
        Fitted estimator of this library, or another one with ``predict_topk``,
        ``decision_function`` and ``item_ids_``. Shortened sessions pass through all
        steps of a pipeline.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,).
    k : int, default=None
        Number of recommendations per session. None is the smaller of 5 and the number
        of items in the catalog.
    rows : {"items", "clicks"}, default="items"
        Rows of the frame. "items" has one row per recommended item and names the
        clicked item that raised it most. "clicks" has one row per recommended item and
        click.
    measure : {"score", "log_probability"}, default="score"
        Number whose drop is measured. "log_probability" is the logarithm of the softmax
        over the catalog. It ignores a click that raises all items by the same amount;
        "score" counts it.
    exclude_seen : bool, default=True
        Whether to leave the items of a session out of its recommendations. Pass False
        to explain the lists that ``predict_topk`` returns by default. They may begin
        with the item just clicked.
    allow, deny : list or None, default=None
        Items that may, and that may not, be recommended. See
        ``CLIPSessionRecommender.predict_topk``.
    backend : {"pandas", "polars", "pyarrow"}, default="pandas"
        Library of the frame. It must be installed.

    Returns
    -------
    frame : data frame
        One row per recommended item, in the order of ``session`` (id or row number) and
        ``rank`` (1 = best). Filters may leave fewer than `k` rows of a session. The
        other columns are:

        - ``item``, ``item_cluster``, ``score``: the recommendation.
        - ``click``, ``click_cluster``: the clicked item that raised the score most, and
          its cluster. Missing and -1 if no single item did.
        - ``drop``: drop of the measure without all clicks on that item.
        - ``cluster_drop``: drop without all clicks of its cluster.
        - ``note``: reason why ``click``, ``drop`` or ``cluster_drop`` is missing, else
          an empty string.

        With ``rows="clicks"`` a row is one click: ``position`` (0 = first) comes before
        ``click``, and ``drop`` leaves out this click only. An empty session then has no
        rows. The ``note`` also marks items that were not seen in `fit`.

        The columns of clusters exist if the recommender has ``membership_``. They hold
        its numbers, and -1 for an item without a cluster. An item that was not seen in
        `fit` has a cluster only with ``unseen_items="vote"``.

    Raises
    ------
    ValueError
        `rows` or `measure` is unknown, or `k` exceeds the catalog.
    TypeError
        `estimator` holds no recommender.
    NotFittedError
        The recommender is not fitted.

    See Also
    --------
    SessionExplanationDisplay : Figure of the clicks of one session.

    Examples
    --------
    >>> from skclip import SessionKNN
    >>> from skclip.inspection import explain
    >>> X = [["tea", "cup"], ["tea", "cup"], ["saw", "nail"]]
    >>> knn = SessionKNN("sknn").fit(X)
    >>> frame = explain(knn, [["saw", "tea"], ["tea"]], k=1)
    >>> frame[["item", "click", "drop"]].values.tolist()
    [['cup', 'tea', 1.0], ['cup', 'tea', nan]]
    >>> frame["note"].tolist()
    ['', 'Without this item the session has no known item.']
    """
    if rows not in _ROWS:
        raise ValueError(f"rows={rows!r}. Expected one of {_ROWS}.")
    filters = {"exclude_seen": exclude_seen, "allow": allow, "deny": deny}
    found = occlusion(estimator, X, k, measure, filters, by_item=rows == "items")
    columns = _rows_of_items(found) if rows == "items" else _rows_of_clicks(found)
    columns = {
        name: _plain(values, backend)
        for name, values in columns.items()
        if values is not None
    }
    return nw.from_dict(columns, backend=backend).to_native()


def _rows_of_items(found):
    """Columns of the frame, one row per recommendation."""
    sessions, scores = found["sessions"], found["scores"]
    row, rank = np.nonzero(np.isfinite(scores))
    columns = _recommendations(found, row, rank)
    drop, known = found["item_drop"], found["known"]
    n_known = np.bincount(_rows_of_events(sessions)[known], minlength=len(sessions))
    best = np.full(len(row), -1)  # the event that is named
    value, of_cluster = np.full((2, len(row)), np.nan)
    note = np.full(len(row), "", dtype=object)
    for i, (r, j) in enumerate(zip(row, rank, strict=True)):
        begin, end = sessions.offsets[r], sessions.offsets[r + 1]
        drops = drop[begin:end, j]
        if begin == end:
            note[i] = _EMPTY
        elif n_known[r] == 0:
            note[i] = _UNKNOWN
        elif np.isnan(drops).any():  # all known clicks are on one item
            best[i], note[i] = begin + np.flatnonzero(np.isnan(drops))[-1], _ONLY_ITEM
        elif drops.max() <= _ROUNDING * max(1.0, abs(scores[r, j])):
            note[i] = _NONE_RAISED
        else:
            best[i] = begin + np.flatnonzero(drops == drops.max())[-1]
            value[i] = drop[best[i], j]
            if found["cluster_drop"] is not None:
                of_cluster[i] = found["cluster_drop"][best[i], j]
                note[i] = _ONLY_CLUSTER if np.isnan(of_cluster[i]) else ""
    is_named = best >= 0
    clicks = np.full(len(row), None, dtype=object)
    clicks[is_named] = sessions.vocabulary[sessions.codes[best[is_named]]].tolist()
    clusters = found["click_clusters"]
    if clusters is not None:
        clusters = np.append(clusters, -1)[np.where(is_named, best, -1)]
    columns |= {"click": clicks, "click_cluster": clusters, "drop": value}
    of_cluster = None if clusters is None else of_cluster
    return columns | {"cluster_drop": of_cluster, "note": note}


def _rows_of_clicks(found):
    """Columns of the frame, one row per click of each recommendation."""
    sessions = found["sessions"]
    kept = np.isfinite(found["scores"])  # what filters left empty is no item
    row, rank = np.nonzero(kept & (sessions.lengths > 0)[:, None])
    event, offsets = flat_positions(sessions.offsets[row], sessions.lengths[row])
    of_event = np.repeat(np.arange(len(row)), np.diff(offsets))
    row, rank = row[of_event], rank[of_event]
    with_clusters = found["click_clusters"] is not None
    drop, known = found["drop"][event, rank], found["known"]
    of_cluster = found["cluster_drop"][event, rank] if with_clusters else None
    n_known = np.bincount(_rows_of_events(sessions)[known], minlength=len(sessions))
    note = np.full(len(event), "", dtype=object)
    if with_clusters:
        note[np.isnan(of_cluster)] = _ONLY_CLUSTER
    note[np.isnan(drop)] = _ONLY_CLICK
    note[~known[event]] = _NEW_ITEM
    note[n_known[row] == 0] = _UNKNOWN
    return _recommendations(found, row, rank) | {
        "position": event - sessions.offsets[row],
        "click": sessions.vocabulary[sessions.codes[event]],
        "click_cluster": found["click_clusters"][event] if with_clusters else None,
        "drop": drop,
        "cluster_drop": of_cluster,
        "note": note,
    }


def _recommendations(found, row, rank):
    sessions, clusters = found["sessions"], found["item_clusters"]
    return {
        "session": row if sessions.ids is None else sessions.ids[row],
        "rank": rank + 1,
        "item": found["items"][row, rank],
        "item_cluster": None if clusters is None else clusters[row, rank],
        "score": found["scores"][row, rank],
    }


def _plain(values, backend):
    """Lists of ids and texts; pandas keeps objects, so that None changes no integer."""
    if values.dtype.kind not in "OU":
        return values
    plain = values.tolist()
    return values if backend == "pandas" and None in plain else plain


@dataclass(kw_only=True, eq=False, repr=False)
class SessionExplanationDisplay(Display):
    """Influence of each click of one session on its recommendations.

    The bars are the mean drop of each click over the recommendations. The row below
    shows the clusters of the clicks, in order, each with the mean drop without all its
    clicks. The table has a row per recommendation. Each cell is the drop of its score
    without one click (see `explain`). A dash means that the session has no known item
    without that click or cluster, so that nothing can be measured.

    Parameters
    ----------
    clicks, click_clusters : ndarray of shape (n_clicks,)
        Items of the session, in order, and their clusters.
    items, scores, item_clusters : ndarray of shape (k,)
        Recommendations, best first, with their scores and clusters.
    drop, cluster_drop : ndarray of shape (n_clicks, k)
        Drop of each recommendation without the click, and without all clicks of its
        cluster. NaN if the session has no known item without them. A cluster is -1 for
        an item that has none. `cluster_drop` and both arrays of clusters are None if
        the recommender has no clusters.
    measure : {"score", "log_probability"}, default="score"
        Number whose drop was measured.
    item_names : mapping, default=None
        Labels of items by id. An item without a label is shown by its id.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Panels: bars, clusters if the recommender has any, table.

    See Also
    --------
    explain : Data frame of explanations for many sessions.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import SessionExplanationDisplay
    >>> X, _ = make_sessions(n_sessions=300, n_items=60, random_state=0)
    >>> rec = CLIPSessionRecommender("gru4rec", max_epochs=2, random_state=0).fit(X)
    >>> session = [["item-003", "item-011", "item-040"]]
    >>> display = SessionExplanationDisplay.from_estimator(rec, session, k=4)
    >>> display.drop.shape, display.weight.shape
    ((3, 4), (3,))
    """

    clicks: np.ndarray
    click_clusters: np.ndarray | None
    items: np.ndarray
    scores: np.ndarray
    item_clusters: np.ndarray | None
    drop: np.ndarray
    cluster_drop: np.ndarray | None
    measure: _Measure = "score"
    item_names: Labels | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: SessionsLike,
        k: int | None = None,
        *,
        measure: _Measure = "score",
        exclude_seen: bool = True,
        allow: Ids | Lists | None = None,
        deny: Ids | Lists | None = None,
        item_names: Labels | None = None,
        max_clicks: int = 12,
        ax: AxesLike | None = None,
    ) -> Self:
        """Explain the recommendations of one session and plot the result.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            Fitted recommender, or a pipeline or search that ends in one.
        X : Sessions or list of lists
            One session, such as ``X[[0]]`` or ``[["a", "b"]]``.
        k, measure, exclude_seen, allow, deny : object
            Parameters of `explain`.
        item_names : mapping, default=None
            Labels of items by id. An item without a label is shown by its id.
        max_clicks, ax : object
            Parameters of `plot`.

        Returns
        -------
        display : SessionExplanationDisplay
            Display with the numbers, already drawn.

        Raises
        ------
        ValueError
            `X` is not one session, the session is empty, or the filters leave no item.
        """
        sessions = as_sessions(X)
        if len(sessions) != 1 or sessions.n_events == 0:
            raise ValueError(
                f"X has {len(sessions)} sessions with {sessions.n_events} clicks. "
                "Expected one session with at least one click, such as X[[0]]."
            )
        filters = {"exclude_seen": exclude_seen, "allow": allow, "deny": deny}
        found = occlusion(estimator, sessions, k, measure, filters)
        kept = np.isfinite(found["scores"][0])
        if not kept.any():
            raise ValueError(
                "The filters leave no item to recommend. Pass a longer `allow` or a "
                "shorter `deny`."
            )
        for name in ("items", "scores", "item_clusters"):  # of the one session
            found[name] = None if found[name] is None else found[name][0][kept]
        for name in ("drop", "cluster_drop"):
            found[name] = None if found[name] is None else found[name][:, kept]
        del found["known"], found["item_drop"]  # columns of `explain`
        found |= {"clicks": found.pop("sessions")[0], "measure": measure}
        return cls(**found, item_names=item_names).plot(ax, max_clicks=max_clicks)

    @property
    def weight(self) -> FloatArray:
        """Mean drop of each click over the recommendations, shape (n_clicks,)."""
        return self.drop.mean(axis=1)

    def plot(self, ax: AxesLike | None = None, *, max_clicks: int = 12) -> Self:
        """Draw the bars, the clusters of the clicks, and the table.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            One Axes to divide into the panels, or one Axes per panel. None makes a
            figure.
        max_clicks : int, default=12
            Largest number of clicks to draw. A longer session shows its latest clicks,
            and the label of the axis counts the others.

        Returns
        -------
        display : SessionExplanationDisplay
            Display with the numbers, already drawn.
        """
        if max_clicks < 1:
            raise ValueError(f"max_clicks={max_clicks!r}. Expected at least 1.")
        shown = np.arange(len(self.clicks))[-max_clicks:]
        n, k, label = len(shown), len(self.items), namer(self.item_names)
        with_clusters = self.click_clusters is not None
        heights = [1.3, 0.5, 0.32 * k] if with_clusters else [1.3, 0.32 * k]
        size = max(6.0, 3.4 + 0.75 * n), 1.4 + sum(heights)
        bars, *path, table = self._make_panels(ax, heights, figsize=size)
        self._draw_weights(bars, self.weight[shown])
        for panel in path:
            self._draw_path(panel, shown)
        self._draw_table(table, self.drop[shown].T)
        self._write_items(table, label)
        names = [label(item, 16) for item in self.clicks[shown].tolist()]
        slanted = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        table.set_xticks(range(n), names, **slanted)
        left_out = len(self.clicks) - n
        note = f" ({left_out} earlier ones are not drawn)" if left_out else ""
        table.set_xlabel(f"clicks of the session, first to last{note}")
        bars.set_title("What each click adds to the recommendations")
        table.set_xlim(-0.5, n - 0.5)
        return self

    def _draw_weights(self, panel, weights):
        x, against = np.arange(len(weights)), weights < 0
        for which, color, hatch, name in (
            (~against, DARK, None, "raises the list"),
            (against, "white", "////", "lowers the list"),
        ):
            if np.isfinite(weights[which]).any():
                style = {"color": color, "hatch": hatch, "edgecolor": DARK}
                panel.bar(x[which], weights[which], width=0.7, label=name, **style)
        panel.set_ylabel(f"mean drop of\n{self._measure_name}")
        panel.margins(y=0.15)
        panel.tick_params(axis="x", length=0)
        if panel.containers:
            panel.legend(loc="best", fontsize="small")
        if np.isfinite(weights).any():
            panel.axhline(0, color="0.3", linewidth=0.8)
        else:
            where = panel.transAxes
            text = "not measured: without this item the session has no known item"
            panel.text(0.5, 0.5, text, transform=where, wrap=True, **SMALL)
            panel.set_yticks([])

    def _draw_path(self, panel, shown):
        clusters = self.click_clusters[shown]
        begins = np.flatnonzero(np.append(True, np.diff(clusters) != 0))
        ends = np.append(begins[1:], len(shown))
        means = self.cluster_drop[shown].mean(axis=1)
        text = _formatter(means)
        for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            shade = "0.88" if i % 2 else "0.96"
            panel.axvspan(begin - 0.46, end - 0.54, color=shade, zorder=0)
            number = "none" if clusters[begin] < 0 else f"{clusters[begin]}"
            words = f"{number}\n{text(means[begin])}"
            panel.text((begin + end - 1) / 2, 0.5, words, **SMALL)
        panel.set_ylim(0, 1)
        panel.set_yticks([0.5], ["cluster,\nmean drop"])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)

    @property
    def _measure_name(self):
        return self.measure.replace("_", " ")

    def _draw_table(self, panel, values):
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.patches import Rectangle

        finite = values[np.isfinite(values)]
        most = max(np.abs(finite).max(initial=0.0), 1e-12)
        colors = LinearSegmentedColormap.from_list("drops", [LIGHT, "white", DARK])
        scale = {"vmin": -1.25 * most, "vmax": 1.25 * most}  # white is no drop
        panel.imshow(values, aspect="auto", cmap=colors, **scale)
        text = _formatter(finite)
        for (rank, at), value in np.ndenumerate(values):
            color = "white" if value > 0.62 * most else "black"
            panel.text(at, rank, text(value), color=color, **SMALL)
            if value < -0.1 * most:  # tells it from a rise on a gray print
                style = {"fill": False, "linewidth": 0, "edgecolor": "0.55"}
                corner = at - 0.5, rank - 0.5
                panel.add_patch(Rectangle(corner, 1, 1, hatch="///", **style))
        panel.set_ylabel(f"drop of the\n{self._measure_name} of")

    def _write_items(self, panel, label):
        names = [
            f"{rank}. {label(item)}" for rank, item in enumerate(self.items.tolist(), 1)
        ]
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        beside = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        style = beside | {"xytext": (6, 0), "va": "center", "fontsize": "small"}
        for rank, score in enumerate(self.scores.tolist()):
            number = -1 if self.item_clusters is None else self.item_clusters[rank]
            where = f"cluster {number}, " if number >= 0 else ""
            panel.annotate(f"{where}score {score:.2f}", (1, rank), **style)


def _formatter(values):
    """Write numbers with as many decimals as tell the largest of them apart."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    decimals = 2
    if largest > 0:
        decimals = int(np.clip(1 - np.floor(np.log10(largest)), 0, 4))

    def text(value):
        if np.isnan(value):
            return "–"
        rounded = round(float(value), decimals)
        return f"{rounded:+.{decimals}f}" if rounded else "0"

    return text


# -- occlusion -------------------------------------------------------------------------


def occlusion(
    estimator: Estimator,
    X: SessionsLike,
    k: int | None,
    measure: _Measure,
    filters: Params,
    by_item: bool = False,
) -> dict[str, Any]:
    """Recommendations (n, k), and drops of each event (n_events, k), as arrays.

    With `by_item` all clicks on the item of an event are left out, too ("item_drop").
    """
    if measure not in _MEASURES:
        raise ValueError(f"measure={measure!r}. Expected one of {_MEASURES}.")
    item_ids = recommender_inside(estimator).item_ids_
    sessions, index = as_sessions(X), ItemIndex(item_ids)
    recommender, read = unwrap(estimator, sessions)
    k = min(5, len(item_ids)) if k is None else k
    items, scores = recommender.predict_topk(read, k, return_scores=True, **filters)
    columns = index.codes_of(items.reshape(-1)).reshape(items.shape) - 1
    columns = np.where(np.isfinite(scores), columns, 0)  # what filters left empty

    full = _measured(estimator, sessions, columns, measure)
    queries, n_events = query_data(sessions, index), sessions.n_events
    known, clusters, cluster_drop = queries.codes <= len(item_ids), None, None
    membership = getattr(recommender, "membership_", None)
    if membership is not None:
        votes = getattr(fitted_of(recommender), "votes", False)
        clusters = _clusters_of_events(queries, membership, votes)

    def drop(group):
        variants, read, source = _without_each(sessions, group, known)
        values = np.full((len(source), items.shape[1]), np.nan)
        if read.any():
            there = columns[source[read]]
            values[read] = _measured(estimator, variants, there, measure)
        return (full[source] - values)[group]

    if clusters is not None:
        pairs = np.stack([_rows_of_events(sessions), clusters])
        _, group = np.unique(pairs, axis=1, return_inverse=True)
        cluster_drop = drop(group.reshape(-1))
    alone, item_drop = drop(np.arange(n_events)), None
    if by_item:
        pairs = np.stack([_rows_of_events(sessions), sessions.codes])
        of_items, group = np.unique(pairs, axis=1, return_inverse=True)
        repeated = of_items.shape[1] < n_events
        item_drop = drop(group.reshape(-1)) if repeated else alone
    return {
        "sessions": sessions,
        "items": items,
        "scores": scores,
        "item_clusters": None if clusters is None else membership[columns],
        "click_clusters": clusters,
        "drop": alone,
        "item_drop": item_drop,
        "cluster_drop": cluster_drop,
        "known": known,
    }


def _rows_of_events(sessions):
    return np.repeat(np.arange(len(sessions)), sessions.lengths)


def _clusters_of_events(queries, membership, votes):
    """Cluster of each event, 0-based, -1 = none; `votes` give unseen items theirs."""
    unseen = queries.codes > len(membership)
    table = np.concatenate([[0], membership + 1]).astype(np.int32)
    clusters = table[np.where(unseen, 0, queries.codes)]
    if not votes:
        return clusters - 1
    sizes = np.bincount(membership[membership >= 0])
    voted = vote_clusters(queries.codes, clusters, queries.offsets, sizes)
    return np.where(unseen, voted, clusters) - 1


def _without_each(sessions, group, known):
    """Sessions without the events of each group, if a known event is left of them.

    Which groups these are (n_groups,), bool, and the row of the session that each group
    is of (n_groups,).
    """
    _, first = np.unique(group, return_index=True)
    source = _rows_of_events(sessions)[first]
    event, offsets = flat_positions(sessions.offsets[source], sessions.lengths[source])
    shortened = np.repeat(np.arange(len(source)), np.diff(offsets))
    kept = group[event] != shortened
    left = np.bincount(shortened[kept & known[event]], minlength=len(source)) > 0
    kept &= left[shortened]
    lengths = np.bincount(shortened[kept], minlength=len(source))[left]
    at, offsets = event[kept], np.append(0, np.cumsum(lengths))
    codes, columns = sessions.codes[at], columns_at(sessions, at, source[left])
    return Sessions(codes, offsets, sessions.vocabulary, **columns), left, source


def _measured(estimator, sessions, columns, measure):
    """The measure of some columns (n, k) for each session, float64."""
    recommender, X = unwrap(estimator, sessions)
    values = np.empty(columns.shape)
    step = rows_per_chunk(len(recommender.item_ids_))
    with told_already():  # of the sessions themselves it was warned before
        for start in range(0, len(sessions), step):
            at = slice(start, start + step)
            scores = recommender.decision_function(X[at]).astype(np.float64)
            if measure == "log_probability":
                scores -= logsumexp(scores, axis=1, keepdims=True)
            values[at] = np.take_along_axis(scores, columns[at], axis=1)
    return values
