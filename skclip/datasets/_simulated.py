"""Simulated sessions with a known truth."""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._data import Sessions

_DAY = 86_400.0


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
    returns to an earlier item of the session (with probability `p_return`), strays
    into another community (`p_stray`), follows one of the current item's habitual
    successors in its community (`p_habit`), or else is drawn from the community by
    popularity. Popularity falls off as rank ** -`popularity_exponent`. Some items
    are on sale only from late on.

    Parameters
    ----------
    n_sessions, n_items : int, default=2000, 200
        More than `n_communities` items.
    n_communities : int, default=8
        Planted communities, of equal sizes up to one item.
    mean_length : float, default=5.0
        Mean number of clicks of a session, at least 2; lengths are geometric.
    max_length : int, default=50
        Longest session.
    popularity_exponent : float, default=0.8
        0 makes all items equally popular.
    n_habits : int, default=3
        Habitual successors of each item, taken with shares 1, 1/2, 1/3, ...
    p_habit, p_return, p_stray : float, default=0.6, 0.1, 0.02
        See above.
    late_share : float, default=0.05
        Share of the items that appear only late.
    late_from : float, default=0.8
        Share of the time after which they do.
    n_days : float, default=30.0
        Time from the first to the last session.
    random_state : int, RandomState instance or None, default=None
        Seeds everything that is drawn.

    Returns
    -------
    sessions : Sessions
        With times, in order of the time of their last event. Ids are text such as
        ``"item-007"``.
    truth : Bunch
        ``item_ids`` (n_items,) in order, ``communities`` (n_items,) 0-based,
        ``popularity`` (n_items,) shares, ``habits`` (n_items, n_habits) positions
        in ``item_ids``, and ``late`` (n_items,) bool.

    Examples
    --------
    >>> from skclip.datasets import make_sessions
    >>> X, truth = make_sessions(n_sessions=100, n_items=40, random_state=0)
    >>> X
    Sessions(n_sessions=100, n_events=491, n_items=39)
    >>> truth.communities[:8].tolist()
    [0, 0, 0, 0, 0, 1, 1, 1]
    """
    _check_arguments(locals())
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    communities = np.sort(np.arange(n_items) % n_communities)
    rank = np.empty(n_items)
    rank[rng.permutation(n_items)] = np.arange(1, n_items + 1)
    weights = rank**-popularity_exponent
    late = np.zeros(n_items, dtype=bool)
    late[rng.choice(n_items, round(late_share * n_items), replace=False)] = True
    draw = _Draw(communities, weights, late, rng)
    habits = np.stack(
        [draw(communities, np.ones(n_items, bool)) for _ in range(n_habits)], axis=1
    )
    habit_shares = np.cumsum(1 / np.arange(1, n_habits + 1))
    habit_shares /= habit_shares[-1]

    begins = np.sort(rng.uniform(0, n_days * _DAY, n_sessions))
    everything = begins >= late_from * n_days * _DAY  # late items are on sale
    lengths = 1 + rng.geometric(1 / (mean_length - 1), n_sessions)
    lengths = np.minimum(lengths, max_length)
    home = rng.integers(n_communities, size=n_sessions)
    clicks = np.zeros((n_sessions, lengths.max()), dtype=np.int64)
    clicks[:, 0] = draw(home, everything)
    for step in range(1, lengths.max()):
        on = np.flatnonzero(lengths > step)  # sessions that go on
        current, shop = clicks[on, step - 1], everything[on]
        choice = rng.uniform(size=len(on))
        stray = (choice >= p_return) & (choice < p_return + p_stray)
        home[on[stray]] = rng.integers(n_communities, size=int(stray.sum()))
        item = draw(home[on], shop)
        which = np.searchsorted(habit_shares, rng.uniform(size=len(on)))
        habit = habits[current, np.minimum(which, n_habits - 1)]
        usual = (choice >= 1 - p_habit) & (shop | ~late[habit]) & (habit != current)
        usual &= communities[habit] == home[on]
        item = np.where(usual, habit, item)
        earlier = clicks[on, (rng.uniform(size=len(on)) * step).astype(np.int64)]
        item = np.where(choice < p_return, earlier, item)
        clicks[on, step] = item
    kept = np.arange(clicks.shape[1]) < lengths[:, None]
    gaps = rng.exponential(40.0, clicks.shape)
    gaps[:, 0] = 0
    times = begins[:, None] + np.cumsum(gaps, axis=1)
    ends = times[np.arange(n_sessions), lengths - 1]
    order = np.argsort(ends, kind="stable")
    width = len(str(n_items - 1))
    item_ids = np.array([f"item-{i:0{max(3, width)}d}" for i in range(n_items)])
    sessions = Sessions(
        clicks[order][kept[order]],
        np.concatenate([[0], np.cumsum(lengths[order])]),
        item_ids,
        times=times[order][kept[order]],
        ids=np.arange(n_sessions),
    )
    truth = Bunch(
        item_ids=item_ids,
        communities=communities,
        popularity=weights / weights.sum(),
        habits=habits,
        late=late,
    )
    return sessions, truth


class _Draw:
    """Draw items of given communities by popularity, late ones only if on sale."""

    def __init__(self, communities, weights, late, rng):
        self._borders = np.searchsorted(
            communities, np.arange(communities.max() + 2)
        )  # items stand in order of their community
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


def _check_arguments(values):
    counts = ("n_sessions", "n_items", "n_communities", "n_habits", "max_length")
    for name in counts:
        if values[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {values[name]!r}.")
    if values["n_items"] < 2 * values["n_communities"]:
        raise ValueError(
            f"n_items={values['n_items']} is too few for n_communities="
            f"{values['n_communities']}. Pass at least 2 items per community."
        )
    if values["mean_length"] < 2:
        raise ValueError(f"mean_length must be >= 2, got {values['mean_length']!r}.")
    shares = ("p_habit", "p_return", "p_stray", "late_share", "late_from")
    for name in shares:
        if not 0 <= values[name] <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {values[name]!r}.")
    if values["p_habit"] + values["p_return"] + values["p_stray"] > 1:
        raise ValueError("p_habit + p_return + p_stray must not exceed 1.")
