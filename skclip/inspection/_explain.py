"""explain: which clicks and clusters drove a recommendation, by leaving them out."""

import warnings

import narwhals.stable.v2 as nw
import numpy as np
from scipy.special import logsumexp

from skclip._clusters import vote_clusters
from skclip._data import ItemIndex, Sessions, as_sessions, flat_positions, query_data
from skclip._inside import recommender_inside, unwrap
from skclip._ranking import rows_per_chunk
from skclip.inspection._figure import COLORS, make_panels, namer

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
    r"""Tell which clicks and which clusters drove each recommendation.

    By occlusion: the drop of a recommendation's score when a click is left out of the
    session, and when all clicks of its cluster are. A positive drop speaks for the
    recommendation, a negative one against it. Drops of several clicks do not add up to
    the score.

    Parameters
    ----------
    estimator : fitted recommender, Pipeline or search
        Any of this library, or one with ``predict_topk``, ``decision_function`` and
        ``item_ids_``. A session goes through the earlier steps of a pipeline again
        without the click.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,).
    k : int, default=None
        Recommendations per session; None is the smaller of 5 and the catalog.
    measure : {"score", "log_probability"}, default="score"
        What drops. Scores of two sessions are comparable only as far as the model
        makes them so: a click that lifts all items alike drops all scores.
        "log_probability" takes the logarithm of the softmax over the catalog, which
        such a lift leaves alone.
    exclude_seen, allow, deny : bool, list or None
        What may be recommended, see ``CLIPSessionRecommender.predict_topk``.
    backend : {"pandas", "polars", "pyarrow"}, default="pandas"
        The library of the frame, as in ``Sessions.to_frame``; it must be installed.

    Returns
    -------
    frame : data frame
        A row for each click of each recommendation, in order of session, rank and
        position. Columns:

        - ``session``: its id, or the row number where ids are unknown;
        - ``rank``: of the recommendation, 1 = best;
        - ``item``, ``item_cluster``, ``score``: the recommendation;
        - ``position``: of the click in the session, 0 = first;
        - ``click``, ``click_cluster``: its item;
        - ``drop``: of the measure when this click is left out. NaN where nothing is
          left that the model could read;
        - ``cluster_drop``: when all clicks of its cluster are left out.

        The cluster columns are there if the recommender has ``membership_``, whose
        numbers they hold; -1 = none. Items not seen in `fit` are in the cluster that
        their neighbors in the session vote for. An empty session has no rows.

    Raises
    ------
    ValueError
        `measure` is unknown, or `k` exceeds the catalog.
    TypeError
        There is no recommender in `estimator`.
    NotFittedError
        It is not fitted.

    See Also
    --------
    SessionExplanationDisplay : The same for one session, as a figure.

    Notes
    -----
    All shortened sessions are read as one batch: a run of the model for every event and
    every cluster of every session, and scores over the whole catalog, 64 MiB at a
    time. Meant for tens to thousands of sessions.

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
    found = _occlusion(
        estimator,
        X,
        k,
        measure,
        {"exclude_seen": exclude_seen, "allow": allow, "deny": deny},
    )
    sessions = found["sessions"]
    kept = np.isfinite(found["scores"])  # what filters left empty is no item
    row, rank = np.nonzero(kept & (sessions.lengths > 0)[:, None])
    event, offsets = flat_positions(sessions.offsets[:-1][row], sessions.lengths[row])
    of_event = np.repeat(np.arange(len(row)), np.diff(offsets))
    row, rank = row[of_event], rank[of_event]
    data = {
        "session": row if sessions.ids is None else sessions.ids[row],
        "rank": rank + 1,
        "item": found["items"][row, rank],
        "item_cluster": None,
        "score": found["scores"][row, rank],
        "position": event - sessions.offsets[:-1][row],
        "click": sessions.vocabulary[sessions.codes[event]],
        "click_cluster": None,
        "drop": found["drop"][event, rank],
        "cluster_drop": None,
    }
    if found["item_clusters"] is not None:
        data["item_cluster"] = found["item_clusters"][row, rank]
        data["click_cluster"] = found["click_clusters"][event]
        data["cluster_drop"] = found["cluster_drop"][event, rank]
    data = {
        name: v.tolist() if v.dtype.kind in "OU" else v
        for name, v in data.items()
        if v is not None
    }
    return nw.from_dict(data, backend=backend).to_native()


class SessionExplanationDisplay:
    """Why one session was recommended what: clicks, clusters and recommendations.

    The bars are the weight of each click, below them stands the path through the
    clusters with the mean drop when all clicks of a cluster are left out, and the table
    holds how far each recommendation falls when a click is left out (see `explain`). A
    dash stands where nothing would be left of the session.

    Parameters
    ----------
    clicks : ndarray of shape (n_clicks,)
        Items of the session, in order.
    click_clusters : ndarray of shape (n_clicks,) or None
        Their clusters, -1 = none; None where the recommender knows no clusters.
    items, scores : ndarray of shape (k,)
        The recommendations, best first.
    item_clusters : ndarray of shape (k,) or None
        Their clusters.
    drop : ndarray of shape (n_clicks, k)
        Drop of each recommendation without the click; NaN where nothing would be left.
    cluster_drop : ndarray of shape (n_clicks, k) or None
        The same without all clicks of the click's cluster.
    measure : {"score", "log_probability"}, default="score"
        What drops.
    item_names : dict, default=None
        Item id -> what to show for it.

    Attributes
    ----------
    weight : ndarray of shape (n_clicks,)
        Mean drop over the recommendations.
    ax_ : matplotlib Axes
        The Axes that was given, or the upper panel.
    axes_ : list of matplotlib Axes
        The panels: weights, path (where there are clusters), table.
    figure_ : matplotlib Figure

    See Also
    --------
    explain : The same for many sessions, as a frame.

    Notes
    -----
    Costs a run of the model for every click and every cluster of the session.

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

    def __init__(
        self,
        *,
        clicks,
        click_clusters,
        items,
        scores,
        item_clusters,
        drop,
        cluster_drop,
        measure="score",
        item_names=None,
    ):
        self.clicks = clicks
        self.click_clusters = click_clusters
        self.items = items
        self.scores = scores
        self.item_clusters = item_clusters
        self.drop = drop
        self.cluster_drop = cluster_drop
        self.measure = measure
        self.item_names = item_names

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        k=None,
        *,
        measure="score",
        exclude_seen=False,
        allow=None,
        deny=None,
        item_names=None,
        max_clicks=12,
        ax=None,
    ):
        """Explain the recommendations of one session and plot it.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            What holds a recommender as its last step or best estimator.
        X : Sessions or list of lists
            One session: ``X[[0]]``, ``[["a", "b"]]``.
        k, measure, exclude_seen, allow, deny : object
            See `explain`.
        item_names : dict, default=None
            Item id -> what to show for it.
        max_clicks : int, default=12
            See `plot`.
        ax : matplotlib Axes, sequence of Axes or None, default=None
            See `plot`.

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
        filters = {"exclude_seen": exclude_seen, "allow": allow, "deny": deny}
        found = _occlusion(estimator, sessions, k, measure, filters)
        kept = np.isfinite(found["scores"][0])
        if not kept.any():
            raise ValueError(
                "The filters leave no item to recommend. Pass a longer `allow`, or a "
                "shorter `deny`."
            )
        with_clusters = found["item_clusters"] is not None
        return cls(
            clicks=sessions[0],
            click_clusters=found["click_clusters"],
            items=found["items"][0][kept],
            scores=found["scores"][0][kept],
            item_clusters=found["item_clusters"][0][kept] if with_clusters else None,
            drop=found["drop"][:, kept],
            cluster_drop=found["cluster_drop"][:, kept] if with_clusters else None,
            measure=measure,
            item_names=item_names,
        ).plot(ax, max_clicks=max_clicks)

    @property
    def weight(self):
        """Mean drop of each click over the recommendations, (n_clicks,)."""
        return self.drop.mean(axis=1)

    def plot(self, ax=None, *, max_clicks=12):
        """Draw the weights, the path through the clusters, and the table.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw: one Axes is divided into the panels, several take one each.
            None makes a figure.
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
        self.ax_, self.axes_ = make_panels(
            ax,
            heights,
            type(self).__name__,
            figsize=(max(6.0, 3.4 + 0.75 * n), 1.4 + sum(heights)),
        )
        self.figure_ = self.ax_.figure
        bars, table = self.axes_[0], self.axes_[-1]
        self._draw_weights(bars, self.weight[shown])
        if with_clusters:
            self._draw_path(self.axes_[1], shown)
        self._draw_table(table, shown, label)
        table.set_xticks(
            range(n),
            [label(item, 16) for item in self.clicks[shown].tolist()],
            rotation=35,
            ha="right",
            rotation_mode="anchor",
        )
        left_out = len(self.clicks) - n
        note = f"; {left_out} earlier ones are not drawn" if left_out else ""
        table.set_xlabel(f"clicks of the session, in order{note}")
        table.set_xlim(-0.5, n - 0.5)
        return self

    def _draw_weights(self, panel, weights):
        x = np.arange(len(weights))
        against = weights < 0
        for which, color, hatch, name in (
            (~against, COLORS[0], None, "for"),
            (against, "white", "////", "against"),
        ):
            if which.any() and np.isfinite(weights[which]).any():
                panel.bar(
                    x[which],
                    weights[which],
                    width=0.7,
                    color=color,
                    hatch=hatch,
                    edgecolor=COLORS[0],
                    label=name,
                )
        if not np.isnan(weights).all():
            panel.axhline(0, color="0.3", linewidth=0.8)
        panel.set_ylabel("weight\n(mean drop)")
        panel.margins(y=0.15)
        panel.tick_params(axis="x", length=0)
        if against.any():
            panel.legend(loc="best", fontsize="small")
        if np.isnan(weights).all():
            panel.text(
                0.5,
                0.5,
                "nothing is left without it",
                transform=panel.transAxes,
                ha="center",
                va="center",
                fontsize="small",
            )
            panel.set_yticks([])

    def _draw_path(self, panel, shown):
        clusters = self.click_clusters[shown]
        begins = np.flatnonzero(np.append(True, np.diff(clusters) != 0))
        ends = np.append(begins[1:], len(shown))
        means = self.cluster_drop[shown].mean(axis=1)
        text = _formatter(means)
        for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            panel.axvspan(
                begin - 0.46, end - 0.54, color="0.88" if i % 2 else "0.96", zorder=0
            )
            number = "none" if clusters[begin] < 0 else f"{clusters[begin]}"
            panel.text(
                (begin + end - 1) / 2,
                0.5,
                f"{number}\n({text(means[begin])})",
                ha="center",
                va="center",
                fontsize="small",
            )
        panel.set_ylim(0, 1)
        panel.set_yticks([0.5], ["cluster\n(mean drop)"])
        panel.tick_params(length=0)
        for side in panel.spines.values():
            side.set_visible(False)

    def _draw_table(self, panel, shown, label):
        values = self.drop[shown].T
        finite = values[np.isfinite(values)]
        low = min(0.0, finite.min(initial=0.0))
        high = max(finite.max(initial=0.0), low + 1e-12)
        panel.imshow(
            values,
            aspect="auto",
            cmap="Blues",
            vmin=low,
            vmax=high + 0.25 * (high - low),
        )
        text = _formatter(finite)
        for (rank, at), value in np.ndenumerate(values):
            dark = (value - low) > 0.72 * (high - low)
            panel.text(
                at,
                rank,
                text(value),
                ha="center",
                va="center",
                fontsize="small",
                color="white" if dark else "black",
            )
        names = [
            f"{label(item)}  {rank}"
            for rank, item in enumerate(self.items.tolist(), start=1)
        ]
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.set_ylabel(f"drop of\n{self.measure.replace('_', ' ')}")
        for rank, score in enumerate(self.scores.tolist()):
            number = "" if self.item_clusters is None else self.item_clusters[rank]
            where = f"cluster {number}, " if number != "" and number >= 0 else ""
            panel.annotate(
                f"{where}score {score:.2f}",
                (1, rank),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )


def _formatter(values):
    """Write numbers with as many decimals as tell the largest of them apart."""
    values = np.abs(values[np.isfinite(values)])
    largest = values.max(initial=0.0)
    decimals = (
        2 if largest == 0 else int(np.clip(1 - np.floor(np.log10(largest)), 0, 4))
    )

    def text(value):
        if np.isnan(value):
            return "–"
        rounded = round(float(value), decimals)
        return f"{rounded:+.{decimals}f}" if rounded else "0"

    return text


def _occlusion(estimator, X, k, measure, filters):
    """Recommendations (n, k), and drops of each event (n_events, k), as arrays."""
    if measure not in _MEASURES:
        raise ValueError(f"measure={measure!r}. Expected one of {_MEASURES}.")
    item_ids = recommender_inside(estimator).item_ids_
    sessions, index = as_sessions(X), ItemIndex(item_ids)
    recommender, transformed = unwrap(estimator, sessions)
    items, scores = recommender.predict_topk(
        transformed,
        min(5, len(item_ids)) if k is None else k,
        return_scores=True,
        **filters,
    )
    columns = index.codes_of(items.reshape(-1)).reshape(items.shape) - 1
    columns = np.where(np.isfinite(scores), columns, 0)  # what filters left empty

    queries = query_data(sessions, index)
    rows = np.repeat(np.arange(len(sessions)), sessions.lengths)
    membership = getattr(recommender, "membership_", None)
    known = queries.codes <= len(item_ids)
    item_clusters = click_clusters = group = None
    of_group = rows[:0]
    if membership is not None:
        item_clusters = membership[columns]
        click_clusters = _clusters_of_events(queries, membership)
        known[:] = True  # unseen items speak through a cluster's prompt
        pairs = np.stack([rows, click_clusters])
        pairs, group = np.unique(pairs, axis=1, return_inverse=True)
        of_group, group = pairs[0], group.reshape(-1)

    # All sessions as they are, then without each event, then without each cluster.
    n, n_events = len(sessions), len(rows)
    source = np.concatenate([np.arange(n), rows, of_group])
    lengths = sessions.lengths[source]
    event, _ = flat_positions(sessions.offsets[:-1][source], lengths)
    variant = np.repeat(np.arange(len(source)), lengths)
    keep = event != variant - n
    if group is not None:
        keep &= group[event] != variant - n - n_events
    event, variant = event[keep], variant[keep]
    read = np.bincount(variant[known[event]], minlength=len(source)) > 0
    values = np.full((len(source), items.shape[1]), np.nan)
    if read.any():
        event = event[read[variant]]
        lengths = np.bincount(variant, minlength=len(source))[read]
        variants = _gathered(sessions, source[read], event, lengths)
        values[read] = _measured(estimator, variants, columns[source[read]], measure)
    drop = values[:n][source] - values
    return {
        "sessions": sessions,
        "items": items,
        "scores": scores,
        "item_clusters": item_clusters,
        "click_clusters": click_clusters,
        "drop": drop[n : n + n_events],
        "cluster_drop": None if group is None else drop[n + n_events :][group],
    }


def _clusters_of_events(queries, membership):
    """Cluster of each event, 0-based, -1 = none; unseen items are voted into one."""
    unseen = queries.codes > len(membership)
    table = np.concatenate([[0], membership + 1]).astype(np.int32)
    clusters = table[np.where(unseen, 0, queries.codes)]
    sizes = np.bincount(membership[membership >= 0])
    voted = vote_clusters(queries.codes, clusters, queries.offsets, sizes)
    return np.where(unseen, voted, clusters) - 1


def _gathered(sessions, rows, events, lengths):
    """Sessions made of some events of each of the `rows`, with all their columns."""

    def picked(values, at):
        return None if values is None else values[at]

    return Sessions(
        sessions.codes[events],
        np.concatenate([[0], np.cumsum(lengths)]),
        sessions.vocabulary,
        times=picked(sessions.times, events),
        clusters=picked(sessions.clusters, events),
        ids=picked(sessions.ids, rows),
        users=picked(sessions.users, rows),
    )


def _measured(estimator, sessions, columns, measure):
    """The measure of some columns (n, k) for each session, float64."""
    recommender, X = unwrap(estimator, sessions)
    values = np.empty(columns.shape)
    step = rows_per_chunk(len(recommender.item_ids_))
    with warnings.catch_warnings():  # of the sessions themselves it was warned before
        warnings.filterwarnings("ignore", message=".* not seen in fit")
        for start in range(0, len(sessions), step):
            at = slice(start, start + step)
            scores = recommender.decision_function(X[at]).astype(np.float64)
            if measure == "log_probability":
                scores -= logsumexp(scores, axis=1, keepdims=True)
            values[at] = np.take_along_axis(scores, columns[at], axis=1)
    return values
