"""Simulated sessions with a known truth."""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._data import Sessions

DAY = 86_400.0  # seconds


def make_sessions(
    n_sessions=2000,
    n_items=200,
    *,
    n_communities=8,
    mean_length=5.0,
    max_length=50,
    popularity_exponent=0.8,
    n_habits=3,
    p_habit=0.6,
    p_return=0.1,
    p_stray=0.02,
    late_share=0.05,
    late_from=0.8,
    n_days=30.0,
    random_state=None,
):
    """Simulate the clicks of a shop with communities of items.

    A session starts in a community with one of its popular items. Each further click
    returns to an earlier item (with probability `p_return`), strays into another
    community (`p_stray`), follows a habitual successor of the current item (`p_habit`),
    or else is drawn from the community by popularity.

    Parameters
    ----------
    n_sessions, n_items, n_communities : int, default=2000, 200, 8
        Numbers of sessions, of items, and of planted communities, which have equal
        sizes up to one item and at least 2 items.
    mean_length, max_length : float, default=5.0, 50
        Mean (at least 2) and largest number of clicks; lengths are geometric.
    popularity_exponent : float, default=0.8
        Popularity falls off as rank ** -`popularity_exponent` (Zipf).
    n_habits : int, default=3
        Habitual successors of each item, taken with shares 1, 1/2, 1/3, ...
    p_habit, p_return, p_stray : float, default=0.6, 0.1, 0.02
        Probabilities of the kinds of clicks.
    late_share, late_from : float, default=0.05, 0.8
        Share of the items that are only on sale after a share of the time.
    n_days : float, default=30.0
        Time from the first to the last session.
    random_state : int, RandomState instance or None, default=None
        Seed of everything that is drawn.

    Returns
    -------
    sessions : Sessions
        With times, in order of the time of their last event.
    truth : Bunch
        ``item_ids`` in order, ``communities`` (0-based), ``popularity`` (shares) and
        ``late`` (bool), all (n_items,); ``habits`` (n_items, n_habits), positions.

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
    """The truth about the items, and how they are drawn."""
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
    """Items of all sessions, step by step, padded at the end with zeros."""
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
    """Draw items of given communities by popularity, late ones only if on sale.

    Items stand in order of their community. So a community is a stretch of the
    cumulated weights, and a uniform number in that stretch falls on one of its items.
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
    """Ids such as "item-007", in order."""
    width = max(3, len(str(n_items - 1)))
    return np.array([f"item-{i:0{width}d}" for i in range(n_items)])


def draw_lengths(n_sessions, rng, options):
    """Geometric lengths of sessions."""
    lengths = 1 + rng.geometric(1 / (options["mean_length"] - 1), n_sessions)
    return np.minimum(lengths, options["max_length"])


def sessions_of_rows(clicks, lengths, times, item_ids):
    """Sessions of rows whose first `lengths` columns count, and the rows in order.

    They are in order of the time of their last event.
    """
    ends = times[np.arange(len(lengths)), lengths - 1]
    order = np.argsort(ends, kind="stable")
    clicks, lengths, times = clicks[order], lengths[order], times[order]
    kept = np.arange(clicks.shape[1]) < lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times, ids = times[kept], np.arange(len(lengths))
    return Sessions(clicks[kept], offsets, item_ids, times=times, ids=ids), order


def check_at_least(least, values, *names):
    """Refuse arguments that are smaller."""
    for name in names:
        if values[name] < least:
            raise ValueError(f"{name} must be at least {least}, got {values[name]!r}.")


def check_two_items_each(values, groups, one):
    """Refuse less than two items for each group."""
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
    if values["p_habit"] + values["p_return"] + values["p_stray"] > 1:
        raise ValueError("p_habit + p_return + p_stray must not exceed 1.")
