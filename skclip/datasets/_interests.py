"""Simulated sessions of which it is known how many interests each has."""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._data import Sessions

_DAY = 86_400.0


def make_multi_interest_sessions(
    n_sessions=2000,
    n_items=300,
    *,
    n_clusters=15,
    n_interests=2,
    mean_length=8.0,
    max_length=50,
    popularity_exponent=1.0,
    recency=0.7,
    n_days=30.0,
    random_state=None,
):
    """Simulate sessions that jump between a known number of interests.

    A session draws `n_interests` different clusters of items. Each click picks one of
    them, in proportion to `recency` to the power of the clicks since it was last
    picked (all count as picked just before the first), and in it an item by
    popularity, which falls off as rank ** -`popularity_exponent`. What comes next is
    more of the same, so a session is known by its interests and by how long ago it
    had each.

    Parameters
    ----------
    n_sessions, n_items : int, default=2000, 300
        At least 2 items for each cluster.
    n_clusters : int, default=15
        Of items, of equal sizes up to one item.
    n_interests : int, default=2
        Of each session, at most `n_clusters`.
    mean_length : float, default=8.0
        Mean number of clicks of a session, at least 2; lengths are geometric.
    max_length : int, default=50
        Longest session.
    popularity_exponent : float, default=1.0
        0 makes all items of a cluster equally popular.
    recency : float, default=0.7
        In (0, 1]; 1 forgets which interest was the last.
    n_days : float, default=30.0
        Time from the first to the last session.
    random_state : int, RandomState instance or None, default=None
        Draws everything; the same number gives the same sessions.

    Returns
    -------
    sessions : Sessions
        With times, in order of the time of their last event. Ids are text such as
        ``"item-007"``.
    truth : Bunch
        ``item_ids`` (n_items,) in order, ``clusters`` (n_items,) 0-based,
        ``popularity`` (n_items,) shares within the item's cluster,
        ``session_interests`` (n_sessions, n_interests) clusters, sorted, and
        ``interests`` (n_events,): the cluster that each click was drawn for, in the
        order of the events of `sessions`.

    Raises
    ------
    ValueError
        An argument is out of its range.

    Examples
    --------
    >>> from skclip.datasets import make_multi_interest_sessions
    >>> X, truth = make_multi_interest_sessions(100, 60, n_clusters=5, random_state=0)
    >>> len(X), truth.session_interests.shape
    (100, (100, 2))
    >>> bool(len(truth.interests) == X.offsets[-1])
    True
    """
    _check_arguments(locals())
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    clusters = np.sort(np.arange(n_items) % n_clusters)
    begins = np.searchsorted(clusters, np.arange(n_clusters + 1))
    popularity = np.empty(n_items)
    for begin, end in zip(begins, begins[1:], strict=False):
        rank = rng.permutation(end - begin) + 1.0
        popularity[begin:end] = rank**-popularity_exponent
        popularity[begin:end] /= popularity[begin:end].sum()
    upto = np.concatenate([[0], np.cumsum(popularity)])

    own = rng.uniform(size=(n_sessions, n_clusters)).argsort(axis=1)[:, :n_interests]
    own.sort(axis=1)
    lengths = np.minimum(
        1 + rng.geometric(1 / (mean_length - 1), n_sessions), max_length
    )
    clicks = np.zeros((n_sessions, lengths.max()), dtype=np.int64)
    chosen = np.zeros_like(clicks)
    last = np.zeros(own.shape)  # click at which each interest was picked, from 1
    everyone = np.arange(n_sessions)
    for step in range(1, clicks.shape[1] + 1):
        weights = recency ** (step - last)
        sums = weights.cumsum(axis=1)
        u = rng.uniform(size=(n_sessions, 1)) * sums[:, -1:]
        which = np.minimum((sums <= u).sum(axis=1), n_interests - 1)
        last[everyone, which] = step
        cluster = own[everyone, which]
        low, high = upto[begins[cluster]], upto[begins[cluster + 1]]
        at = np.searchsorted(upto, low + rng.uniform(size=n_sessions) * (high - low))
        at = np.clip(at - 1, begins[cluster], begins[cluster + 1] - 1)
        clicks[:, step - 1], chosen[:, step - 1] = at, cluster
    kept = np.arange(clicks.shape[1]) < lengths[:, None]
    gaps = rng.exponential(40.0, clicks.shape)
    gaps[:, 0] = np.sort(rng.uniform(0, n_days * _DAY, n_sessions))
    times = np.cumsum(gaps, axis=1)
    order = np.argsort(times[everyone, lengths - 1], kind="stable")
    width = max(3, len(str(n_items - 1)))
    item_ids = np.array([f"item-{i:0{width}d}" for i in range(n_items)])
    sessions = Sessions(
        clicks[order][kept[order]],
        np.concatenate([[0], np.cumsum(lengths[order])]),
        item_ids,
        times=times[order][kept[order]],
        ids=everyone,
    )
    truth = Bunch(
        item_ids=item_ids,
        clusters=clusters,
        popularity=popularity,
        session_interests=own[order],
        interests=chosen[order][kept[order]],
    )
    return sessions, truth


def _check_arguments(values):
    for name in ("n_sessions", "n_clusters", "n_interests", "max_length"):
        if values[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {values[name]!r}.")
    if values["n_items"] < 2 * values["n_clusters"]:
        raise ValueError(
            f"n_items={values['n_items']} is too few for n_clusters="
            f"{values['n_clusters']}. Pass at least 2 items per cluster."
        )
    if values["n_interests"] > values["n_clusters"]:
        raise ValueError(
            f"n_interests={values['n_interests']} exceeds n_clusters="
            f"{values['n_clusters']}. Pass n_interests <= {values['n_clusters']}."
        )
    if values["mean_length"] < 2:
        raise ValueError(f"mean_length must be >= 2, got {values['mean_length']!r}.")
    if not 0 < values["recency"] <= 1:
        raise ValueError(f"recency must be in (0, 1], got {values['recency']!r}.")
    for name in ("popularity_exponent", "n_days"):
        if values[name] < 0:
            raise ValueError(f"{name} must not be negative, got {values[name]!r}.")
