"""Simulated sessions with a known number of interests."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._data import Sessions
from skclip._typing import RandomState
from skclip.datasets._simulated import (
    DAY,
    check_at_least,
    check_two_items_each,
    draw_lengths,
    item_ids,
    sessions_of_rows,
)


def make_multi_interest_sessions(
    n_sessions: int = 2000,
    n_items: int = 300,
    *,
    n_clusters: int = 15,
    n_interests: int = 2,
    mean_length: float = 8.0,
    max_length: int = 50,
    popularity_exponent: float = 1.0,
    recency: float = 0.7,
    n_days: float = 30.0,
    random_state: RandomState = None,
) -> tuple[Sessions, Bunch]:
    """Simulate sessions that jump between a known number of interests.

    Each session draws `n_interests` different clusters of items. Each click first picks
    one of these clusters. Its probability is proportional to `recency` raised to the
    number of clicks since the cluster was last picked. Before the first click, all
    clusters count as just picked. The click then picks an item of the cluster by
    popularity, which is proportional to ``rank ** -popularity_exponent``.

    Parameters
    ----------
    n_sessions, n_items, n_clusters : int, default=2000, 300, 15
        Numbers of sessions, items and clusters of items. The sizes of clusters differ
        by at most one item. Each cluster needs at least 2 items.
    n_interests : int, default=2
        Number of clusters per session, at most `n_clusters`.
    mean_length, max_length : float, default=8.0, 50
        Mean number of clicks, at least 2, and largest number of clicks. Lengths follow
        a geometric distribution and are cut at `max_length`.
    popularity_exponent : float, default=1.0
        Exponent of the popularity within a cluster. With 0, all items of a cluster are
        equally popular.
    recency : float, default=0.7
        Factor in (0, 1] by which an interest loses weight with each click since it was
        last picked. With lower values, sessions stay with one interest longer. With 1,
        all interests are equally likely.
    n_days : float, default=30.0
        Length of the period in which sessions start, in days.
    random_state : int, RandomState instance or None, default=None
        Seed of all random draws.

    Returns
    -------
    sessions : Sessions
        Simulated sessions with times, sorted by the time of their last event.
    truth : Bunch
        Truth behind the sessions. Arrays of shape (n_items,): ``item_ids`` in order,
        ``clusters`` (counted from 0) and ``popularity`` (share within the cluster).
        ``session_interests`` of shape (n_sessions, n_interests) has the sorted clusters
        of each session. ``interests`` of shape (n_events,) has the cluster of each
        click.

    Examples
    --------
    >>> from skclip.datasets import make_multi_interest_sessions
    >>> X, truth = make_multi_interest_sessions(100, 60, n_clusters=5, random_state=0)
    >>> len(X), truth.session_interests.shape
    (100, (100, 2))
    """
    _check_arguments(locals())
    return _simulated(**locals())


def _simulated(n_sessions, n_items, n_clusters, n_interests, random_state, **options):
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    clusters = np.sort(np.arange(n_items) % n_clusters)
    begins = np.searchsorted(clusters, np.arange(n_clusters + 1))
    popularity = np.empty(n_items)
    for begin, end in zip(begins, begins[1:], strict=False):
        rank = rng.permutation(end - begin) + 1.0
        weights = rank ** -options["popularity_exponent"]
        popularity[begin:end] = weights / weights.sum()
    own = rng.uniform(size=(n_sessions, n_clusters)).argsort(axis=1)[:, :n_interests]
    own.sort(axis=1)
    lengths = draw_lengths(n_sessions, rng, options)
    recency = options["recency"]
    clicks, chosen = _clicks(own, lengths.max(), recency, begins, popularity, rng)
    gaps = rng.exponential(40.0, clicks.shape)
    gaps[:, 0] = np.sort(rng.uniform(0, options["n_days"] * DAY, n_sessions))
    ids, times = item_ids(n_items), np.cumsum(gaps, axis=1)
    sessions, order = sessions_of_rows(clicks, lengths, times, ids)
    happened = np.arange(chosen.shape[1]) < lengths[order, None]
    return sessions, Bunch(
        item_ids=ids,
        clusters=clusters,
        popularity=popularity,
        session_interests=own[order],
        interests=chosen[order][happened],
    )


def _clicks(own, n_steps, recency, begins, popularity, rng):
    """Draw items and their clusters, each of shape (n_sessions, n_steps).

    `popularity` is sorted by cluster. `begins` has the position of each cluster in it.
    """
    upto = np.concatenate([[0], np.cumsum(popularity)])
    everyone = np.arange(len(own))
    clicks = np.zeros((len(own), n_steps), dtype=np.int64)
    chosen = np.zeros_like(clicks)
    last = np.zeros(own.shape)  # click at which each interest was picked, from 1
    for step in range(1, n_steps + 1):
        sums = (recency ** (step - last)).cumsum(axis=1)
        u = rng.uniform(size=(len(own), 1)) * sums[:, -1:]
        which = np.minimum((sums <= u).sum(axis=1), own.shape[1] - 1)
        last[everyone, which] = step
        cluster = own[everyone, which]
        low, high = upto[begins[cluster]], upto[begins[cluster + 1]]
        at = np.searchsorted(upto, low + rng.uniform(size=len(own)) * (high - low))
        at = np.clip(at - 1, begins[cluster], begins[cluster + 1] - 1)
        clicks[:, step - 1], chosen[:, step - 1] = at, cluster
    return clicks, chosen


def _check_arguments(values):
    names = ("n_sessions", "n_clusters", "n_interests", "max_length")
    check_at_least(1, values, *names)
    check_two_items_each(values, "n_clusters", "cluster")
    if values["n_interests"] > values["n_clusters"]:
        raise ValueError(
            f"n_interests={values['n_interests']} exceeds n_clusters="
            f"{values['n_clusters']}. Pass n_interests <= {values['n_clusters']}."
        )
    check_at_least(2, values, "mean_length")
    if not 0 < values["recency"] <= 1:
        raise ValueError(f"recency must be in (0, 1], got {values['recency']!r}.")
    check_at_least(0, values, "popularity_exponent", "n_days")
