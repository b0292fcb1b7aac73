"""explain: which clicks and clusters drove a recommendation, by leaving them out."""

from dataclasses import dataclass

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
from skclip._warnings import told_already
from skclip.inspection._figure import DARK, SMALL, Display, namer

_MEASURES = ("score", "log_probability")


def explain(
    estimator,
    X,
    k=None,
    *,
    measure="score",
    exclude_seen=False,
    allow=None,
    deny=None,
    backend="pandas",
):
    """Measure how each click and each cluster changed each recommendation.

    The method is occlusion: how far the score of a recommendation drops when a click is
    left out of the session, and when all clicks of its cluster are. A click with a
    positive drop raised the recommendation, one with a negative drop lowered it. Drops
    of several clicks do not add up to the score.

    The model reads every session once without each click and once without each cluster,
    and scores the whole catalog, 64 MiB at a time: for tens to thousands of sessions.

    Parameters
    ----------
    estimator : fitted recommender, Pipeline or search
        Any of this library, or one with ``predict_topk``, ``decision_function`` and
        ``item_ids_``. Shortened sessions go through all steps of a pipeline.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,).
    k : int, default=None
        Recommendations per session; None is the smaller of 5 and the catalog.
    measure : {"score", "log_probability"}, default="score"
        Number whose drop is measured. A click that lifts all items alike counts in
        "score", not in "log_probability" (log of the softmax over the catalog).
    exclude_seen, allow, deny : bool, list or None
        Filters of the lists, see ``CLIPSessionRecommender.predict_topk``.
    backend : {"pandas", "polars", "pyarrow"}, default="pandas"
        Library of the frame; it must be installed.

    Returns
    -------
    frame : data frame
        A row for each click of each recommendation, in order of ``session`` (its id,
        or row number), ``rank`` (1 = best) and ``position`` of the click (0 = first).
        ``item``, ``item_cluster`` and ``score`` are the recommendation, ``click`` and
        ``click_cluster`` the item clicked. ``drop`` is that of the measure without this
        click, ``cluster_drop`` without all clicks of its cluster; NaN where nothing is
        left that the model could read. Empty sessions have no rows.

        The columns of clusters are there if the recommender has ``membership_``, whose
        numbers they hold; -1 = none. An item that was not seen in `fit` has none,
        unless the recommender reads it as the prompt of a cluster
        (``unseen_items="vote"``).

    Raises
    ------
    ValueError
        `measure` is unknown, or `k` exceeds the catalog.
    TypeError, NotFittedError
        There is no recommender in `estimator`; it is not fitted.

    See Also
    --------
    SessionExplanationDisplay : The same for one session, as a figure.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import explain
    >>> X, _ = make_sessions(n_sessions=300, n_items=60, random_state=0)
    >>> rec = CLIPSessionRecommender("gru4rec", max_epochs=2, random_state=0).fit(X)
    >>> frame = explain(rec, [["item-003", "item-011", "item-040"]], k=2)
    >>> frame[["rank", "position", "click"]].values.tolist()[:3]
    [[1, 0, 'item-003'], [1, 1, 'item-011'], [1, 2, 'item-040']]
    """
    filters = {"exclude_seen": exclude_seen, "allow": allow, "deny": deny}
    columns = _columns(occlusion(estimator, X, k, measure, filters))
    return nw.from_dict(columns, backend=backend).to_native()


def _columns(found):
    """Columns of the frame, a row for each click of each recommendation."""
    sessions = found["sessions"]
    kept = np.isfinite(found["scores"])  # what filters left empty is no item
    row, rank = np.nonzero(kept & (sessions.lengths > 0)[:, None])
    event, offsets = flat_positions(sessions.offsets[row], sessions.lengths[row])
    of_event = np.repeat(np.arange(len(row)), np.diff(offsets))
    row, rank = row[of_event], rank[of_event]
    named = found["item_clusters"] is not None
    columns = {
        "session": row if sessions.ids is None else sessions.ids[row],
        "rank": rank + 1,
        "item": found["items"][row, rank],
        "item_cluster": found["item_clusters"][row, rank] if named else None,
        "score": found["scores"][row, rank],
        "position": event - sessions.offsets[row],
        "click": sessions.vocabulary[sessions.codes[event]],
        "click_cluster": found["click_clusters"][event] if named else None,
        "drop": found["drop"][event, rank],
        "cluster_drop": found["cluster_drop"][event, rank] if named else None,
    }
    return {
        name: values.tolist() if values.dtype.kind in "OU" else values
        for name, values in columns.items()
        if values is not None
    }


@dataclass(kw_only=True, eq=False, repr=False)
class SessionExplanationDisplay(Display):
    """Weights of the clicks and clusters of one session for its recommendations.

    The bars are the weight of each click. Below them are the clusters in order of the
    session, each with the mean drop when all its clicks are left out. The table says
    how far each recommendation drops without each click (see `explain`). A dash means
    that nothing would be left of the session.

    Parameters
    ----------
    clicks, click_clusters : ndarray of shape (n_clicks,)
        Items of the session, in order, and their clusters.
    items, scores, item_clusters : ndarray of shape (k,)
        The recommendations, best first, and their clusters.
    drop, cluster_drop : ndarray of shape (n_clicks, k)
        Drop of each recommendation without the click, and without all clicks of its
        cluster; NaN where nothing would be left. Clusters are -1 where an item has
        none, and None where the recommender knows none.
    measure : {"score", "log_probability"}, default="score"
        Number whose drop was measured.
    item_names : dict, default=None
        Labels of items by id, where they differ from the id.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels: weights, clusters where they are known, table.

    See Also
    --------
    explain : The same for many sessions, as a frame.

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
    measure: str = "score"
    item_names: dict | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        k=None,
        *,
        measure="score",
        item_names=None,
        max_clicks=12,
        ax=None,
        **filters,
    ):
        """Explain the recommendations of one session and plot it.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            What holds a recommender as its last step or best estimator.
        X : Sessions or list of lists
            One session: ``X[[0]]``, ``[["a", "b"]]``.
        k, measure : object
            See `explain`.
        item_names : dict, default=None
            Labels of items by id, where they differ from the id.
        max_clicks, ax : object
            See `plot`.
        **filters : dict
            `exclude_seen`, `allow` and `deny`, see `explain`.

        Returns
        -------
        display : SessionExplanationDisplay
            With the numbers, drawn.

        Raises
        ------
        ValueError
            `X` is not one session, or it is empty.
        """
        sessions = as_sessions(X)
        if len(sessions) != 1 or sessions.n_events == 0:
            raise ValueError(
                f"X has {len(sessions)} sessions with {sessions.n_events} clicks. "
                "Expected one session that is not empty, such as X[[0]]."
            )
        found = occlusion(estimator, sessions, k, measure, filters)
        kept = np.isfinite(found["scores"][0])
        if not kept.any():
            raise ValueError(
                "The filters leave no item to recommend. Pass a longer `allow`, or a "
                "shorter `deny`."
            )
        for name in ("items", "scores", "item_clusters"):  # of the one session
            found[name] = None if found[name] is None else found[name][0][kept]
        for name in ("drop", "cluster_drop"):
            found[name] = None if found[name] is None else found[name][:, kept]
        found |= {"clicks": found.pop("sessions")[0], "measure": measure}
        return cls(**found, item_names=item_names).plot(ax, max_clicks=max_clicks)

    @property
    def weight(self):
        """Mean drop of each click over the recommendations, (n_clicks,)."""
        return self.drop.mean(axis=1)

    def plot(self, ax=None, *, max_clicks=12):
        """Draw the weights, the path through the clusters, and the table.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Axes to divide into the panels, or one for each. None makes a figure.
        max_clicks : int, default=12
            Of a longer session only the latest ones are drawn.

        Returns
        -------
        display : SessionExplanationDisplay
            With the numbers, drawn.
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
        note = f"; {left_out} earlier ones are not drawn" if left_out else ""
        table.set_xlabel(f"clicks of the session, in order{note}")
        table.set_xlim(-0.5, n - 0.5)
        return self

    def _draw_weights(self, panel, weights):
        x, against = np.arange(len(weights)), weights < 0
        for which, color, hatch, name in (
            (~against, DARK, None, "for"),
            (against, "white", "////", "against"),
        ):
            if np.isfinite(weights[which]).any():
                style = {"color": color, "hatch": hatch, "edgecolor": DARK}
                panel.bar(x[which], weights[which], width=0.7, label=name, **style)
        panel.set_ylabel("weight\n(mean drop)")
        panel.margins(y=0.15)
        panel.tick_params(axis="x", length=0)
        if against.any():
            panel.legend(loc="best", fontsize="small")
        if np.isfinite(weights).any():
            panel.axhline(0, color="0.3", linewidth=0.8)
        else:
            where = panel.transAxes
            panel.text(0.5, 0.5, "nothing is left without it", transform=where, **SMALL)
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
            words = f"{number}\n({text(means[begin])})"
            panel.text((begin + end - 1) / 2, 0.5, words, **SMALL)
        panel.set_ylim(0, 1)
        panel.set_yticks([0.5], ["cluster\n(mean drop)"])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)

    def _draw_table(self, panel, values):
        finite = values[np.isfinite(values)]
        low = min(0.0, finite.min(initial=0.0))
        high = max(finite.max(initial=0.0), low + 1e-12)
        lightest = {"vmin": low, "vmax": high + 0.25 * (high - low)}
        panel.imshow(values, aspect="auto", cmap="Blues", **lightest)
        text = _formatter(finite)
        for (rank, at), value in np.ndenumerate(values):
            dark = (value - low) > 0.72 * (high - low)
            color = "white" if dark else "black"
            panel.text(at, rank, text(value), color=color, **SMALL)
        panel.set_ylabel(f"drop of\n{self.measure.replace('_', ' ')}")

    def _write_items(self, panel, label):
        names = [
            f"{label(item)}  {rank}" for rank, item in enumerate(self.items.tolist(), 1)
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


def occlusion(estimator, X, k, measure, filters):
    """Recommendations (n, k), and drops of each event (n_events, k), as arrays."""
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
    return {
        "sessions": sessions,
        "items": items,
        "scores": scores,
        "item_clusters": None if clusters is None else membership[columns],
        "click_clusters": clusters,
        "drop": drop(np.arange(n_events)),
        "cluster_drop": cluster_drop,
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
