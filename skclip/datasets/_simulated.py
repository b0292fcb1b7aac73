"""Simulated sessions with a known truth."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._data import Sessions
from skclip._typing import RandomState

DAY = 86_400.0  # seconds


def make_sessions(
    n_sessions: int = 2000,
    n_items: int = 200,
    *,
    n_communities: int = 8,
    mean_length: float = 5.0,
    max_length: int = 50,
    popularity_exponent: float = 0.8,
    n_habits: int = 3,
    p_habit: float = 0.6,
    p_return: float = 0.1,
    p_stray: float = 0.02,
    late_share: float = 0.05,
    late_from: float = 0.8,
    n_days: float = 30.0,
    random_state: RandomState = None,
) -> tuple[Sessions, Bunch]:
    """Simulate the clicks of a shop with communities of items.

    Each session starts in a random community, with one of its items drawn by
    popularity. Each further click does one of the following:

    - It returns to an earlier item of the session, with probability `p_return`.
    - It strays into another community, with probability `p_stray`.
    - It follows a habitual successor of the current item, with probability `p_habit`.
    - Otherwise, it draws an item of the current community by popularity.

    Parameters
    ----------
    n_sessions, n_items, n_communities : int, default=2000, 200, 8
        Numbers of sessions, items and communities of items. The sizes of communities
        differ by at most one item. Each community needs at least 2 items.
    mean_length, max_length : float, default=5.0, 50
        Mean number of clicks, at least 2, and largest number of clicks. Lengths follow
        a geometric distribution and are cut at `max_length`.
    popularity_exponent : float, default=0.8
        Exponent of the popularity, which is proportional to
        ``rank ** -popularity_exponent`` (Zipf's law).
    n_habits : int, default=3
        Number of habitual successors per item. They have weights 1, 1/2, 1/3, ...
    p_habit, p_return, p_stray : float, default=0.6, 0.1, 0.02
        Probabilities of habitual clicks, returns and strays. Their sum is at most 1.
    late_share, late_from : float, default=0.05, 0.8
        Share of items that go on sale late, and share of the time that passes before.
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
        ``communities`` (counted from 0), ``popularity`` (shares) and ``late`` (bool).
        ``habits`` of shape (n_items, n_habits) has the positions of successors.

    Examples
    --------
    >>> from skclip.datasets import make_sessions
    >>> make_sessions(n_sessions=100, n_items=40, random_state=0)[0]
    Sessions(n_sessions=100, n_events=491, n_items=39)
    """
    _check_arguments(locals())
    return _simulated(**locals())


def _simulated(n_sessions, n_items, n_days, random_state, **options):
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    truth, draw = _shop(n_items, rng, options)
    begins = np.sort(rng.uniform(0, n_days * DAY, n_sessions))
    lengths = draw_lengths(n_sessions, rng, options)
    everything = begins >= options["late_from"] * n_days * DAY  # late items are on sale
    clicks = _clicks(lengths, everything, truth, draw, rng, options)
    gaps = rng.exponential(40.0, clicks.shape)
    gaps[:, 0] = 0
    times = begins[:, None] + np.cumsum(gaps, axis=1)
    return sessions_of_rows(clicks, lengths, times, truth.item_ids)[0], truth


def _shop(n_items, rng, options):
    """Return the truth about the items, and a function that draws items."""
    communities = np.sort(np.arange(n_items) % options["n_communities"])
    rank = np.empty(n_items)
    rank[rng.permutation(n_items)] = np.arange(1, n_items + 1)
    weights = rank ** -options["popularity_exponent"]
    late = np.zeros(n_items, dtype=bool)
    late[rng.choice(n_items, round(options["late_share"] * n_items), False)] = True
    draw = _Draw(communities, weights, late, rng)
    all_on_sale = np.ones(n_items, dtype=bool)
    habits = [draw(communities, all_on_sale) for _ in range(options["n_habits"])]
    truth = Bunch(
        item_ids=item_ids(n_items),
        communities=communities,
        popularity=weights / weights.sum(),
        habits=np.stack(habits, axis=1),
        late=late,
    )
    return truth, draw


def _clicks(lengths, everything, truth, draw, rng, options):
    """Draw the items of all sessions, padded at the end with zeros."""
    p_return, p_stray = options["p_return"], options["p_stray"]
    shares = np.cumsum(1 / np.arange(1, options["n_habits"] + 1))
    shares /= shares[-1]
    home = rng.integers(options["n_communities"], size=len(lengths))
    clicks = np.zeros((len(lengths), lengths.max()), dtype=np.int64)
    clicks[:, 0] = draw(home, everything)
    for step in range(1, lengths.max()):
        on = np.flatnonzero(lengths > step)  # sessions that go on
        current, shop = clicks[on, step - 1], everything[on]
        choice = rng.uniform(size=len(on))
        stray = (choice >= p_return) & (choice < p_return + p_stray)
        home[on[stray]] = rng.integers(options["n_communities"], size=int(stray.sum()))
        item = draw(home[on], shop)
        which = np.searchsorted(shares, rng.uniform(size=len(on)))
        habit = truth.habits[current, np.minimum(which, len(shares) - 1)]
        usual = choice >= 1 - options["p_habit"]
        usual &= (shop | ~truth.late[habit]) & (habit != current)
        usual &= truth.communities[habit] == home[on]
        item = np.where(usual, habit, item)
        earlier = clicks[on, (rng.uniform(size=len(on)) * step).astype(np.int64)]
        clicks[on, step] = np.where(choice < p_return, earlier, item)
    return clicks


class _Draw:
    """Draw items of given communities by popularity, late items only if on sale.

    Items are sorted by community, so each community is an interval of the cumulative
    weights. A uniform random number in this interval picks one of its items.
    """

    def __init__(self, communities, weights, late, rng):
        self._borders = np.searchsorted(communities, np.arange(communities.max() + 2))
        self._sums = [
            np.concatenate([[0], np.cumsum(w)])
            for w in (np.where(late, 1e-9 * weights, weights), weights)
        ]
        self._rng = rng

    def __call__(self, communities, everything):
        u = self._rng.uniform(size=len(communities))
        items = np.empty(len(communities), dtype=np.int64)
        for sums, here in ((self._sums[0], ~everything), (self._sums[1], everything)):
            low = sums[self._borders[communities[here]]]
            high = sums[self._borders[communities[here] + 1]]
            at = np.searchsorted(sums, low + u[here] * (high - low), side="right") - 1
            items[here] = np.minimum(at, len(sums) - 2)
        return items


def item_ids(n_items):
    """Return ids such as "item-007", in order."""
    width = max(3, len(str(n_items - 1)))
    return np.array([f"item-{i:0{width}d}" for i in range(n_items)])


def draw_lengths(n_sessions, rng, options):
    """Draw lengths of sessions from a geometric distribution."""
    lengths = 1 + rng.geometric(1 / (options["mean_length"] - 1), n_sessions)
    return np.minimum(lengths, options["max_length"])


def sessions_of_rows(clicks, lengths, times, item_ids):
    """Make sessions of the first `lengths` columns of each row.

    They are sorted by the time of their last event. The order of the rows is returned,
    too.
    """
    ends = times[np.arange(len(lengths)), lengths - 1]
    order = np.argsort(ends, kind="stable")
    clicks, lengths, times = clicks[order], lengths[order], times[order]
    kept = np.arange(clicks.shape[1]) < lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times, ids = times[kept], np.arange(len(lengths))
    return Sessions(clicks[kept], offsets, item_ids, times=times, ids=ids), order


def check_at_least(least, values, *names):
    """Refuse arguments below a minimum."""
    for name in names:
        if values[name] < least:
            raise ValueError(f"{name} must be at least {least}, got {values[name]!r}.")


def check_two_items_each(values, groups, one):
    """Refuse fewer than two items per group."""
    if values["n_items"] < 2 * values[groups]:
        raise ValueError(
            f"n_items={values['n_items']} is too few for {groups}={values[groups]}. "
            f"Pass at least 2 items per {one}."
        )


def _check_arguments(values):
    names = ("n_sessions", "n_items", "n_communities", "n_habits", "max_length")
    check_at_least(1, values, *names)
    check_two_items_each(values, "n_communities", "community")
    check_at_least(2, values, "mean_length")
    for name in ("p_habit", "p_return", "p_stray", "late_share", "late_from"):
        if not 0 <= values[name] <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {values[name]!r}.")
    total = values["p_habit"] + values["p_return"] + values["p_stray"]
    if total > 1:
        raise ValueError(
            f"p_habit + p_return + p_stray must not exceed 1, got {total}."
        )
