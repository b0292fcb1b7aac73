"""Simulated sessions with a known truth, and the data sets of the papers.

The readers take files as they were published and make the sessions of the CLIP-SBR
experiments. The files themselves are not shipped and were not at hand: the readers are
tested on small files in these formats, so check the counts of `Sessions.describe`
against the paper's table.
"""

from functools import partial

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._sessions import Sessions
from skclip.preprocessing import (
    drop_rare_items,
    drop_rare_users,
    drop_repeats,
    drop_short_sessions,
    keep_top_items,
    sessionize,
    truncate_sessions,
    until_stable,
)

__all__ = ["make_sessions", "read_lastfm_1k", "read_reddit", "read_xing"]

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


def read_lastfm_1k(
    path,
    *,
    gap=8 * 3600,
    max_length=20,
    n_items=40_000,
    min_session_length=3,
    min_user_sessions=5,
):
    """Read Last.fm-1K as sessions of artists, as in the CLIP-SBR experiments.

    In this order: rows without an artist are dropped; a visit ends after an idle gap
    of more than 8 hours; immediate repeats are dropped; the first 20 events of a visit
    and the 40,000 artists with most events are kept; sessions of one event and artists
    with fewer than 5 events are dropped until there are none (all as HG-GNN's program);
    then sessions of fewer than 3 events and, once, users with fewer than 5 sessions
    (as CLIP-SBR's). The paper counts 966 users, 38,784 artists and 294,402 sessions of
    12.86 artists on average.

    Parameters
    ----------
    path : path-like
        ``userid-timestamp-artid-artname-traid-traname.tsv``, tab-separated without a
        header: user, ISO 8601 time, artist id, artist, track id, track.
    gap : float, default=28800
        Idle seconds.
    max_length, n_items : int, default=20, 40000
    min_session_length, min_user_sessions : int, default=3, 5

    Returns
    -------
    X : Sessions
        Items are artist names (1,000 users, 19 million events: some minutes, and
        about 10 GB); with times and users.

    Raises
    ------
    ValueError
        A line does not have six fields; the message names the line.
    ImportError
        pandas is not installed.
    """
    names = ["user", "time", "artist_id", "item", "track_id", "track"]
    events = _read_table(path, names=names, columns=["user", "time", "item"])
    visits = _visits(events.dropna(), gap)
    visits = truncate_sessions(visits, session="session", max_length=max_length)
    visits = keep_top_items(visits, item="item", n_items=n_items)
    visits = until_stable(
        visits,
        partial(drop_short_sessions, session="session", min_length=2),
        partial(drop_rare_items, item="item", min_count=5),
    )
    return _clip_sessions(visits, min_session_length, min_user_sessions)


def read_xing(path, *, gap=1800, min_session_length=3, min_user_sessions=5):
    """Read the interactions of the RecSys Challenge 2016 (Xing) as sessions of jobs.

    A visit ends after an idle gap of more than 30 minutes, as Quadrana et al. (2017)
    did; deletions (type 4) and repeats of a job within its run of events are dropped;
    then sessions of fewer than 3 events and users with fewer than 5 sessions. The
    program that made the paper's file is not public; its table counts 11,399 users,
    59,039 jobs and 90,286 sessions of 5.82 jobs on average.

    Parameters
    ----------
    path : path-like
        ``interactions.csv``: tab-separated with the header ``user_id item_id
        interaction_type created_at``, times in seconds.
    gap : float, default=1800
        Idle seconds.
    min_session_length, min_user_sessions : int, default=3, 5

    Returns
    -------
    X : Sessions
        With times and users.

    Raises
    ------
    ValueError
        A column is missing, or a line has too many fields.
    ImportError
        pandas is not installed.
    """
    columns = ["user_id", "item_id", "interaction_type", "created_at"]
    events = _read_table(path, columns=columns)
    events = events[events.interaction_type != 4]
    renamed = {"user_id": "user", "item_id": "item", "created_at": "time"}
    events = events.rename(columns=renamed)
    return _clip_sessions(_visits(events, gap), min_session_length, min_user_sessions)


def read_reddit(path, *, gap=3600, min_session_length=3, min_user_sessions=5):
    """Read comments as sessions of the subreddits that a user visits.

    A visit ends after an idle gap of more than 60 minutes; immediate repeats are
    dropped; then sessions of fewer than 3 events and users with fewer than 5 sessions.
    The program that made the paper's file is not public; its table counts 13,850 users,
    21,790 subreddits and 458,292 sessions of 4.49 subreddits on average.

    Parameters
    ----------
    path : path-like
        ``reddit_data.csv``: comma-separated with the header ``username,subreddit,utc``,
        times in seconds.
    gap : float, default=3600
        Idle seconds.
    min_session_length, min_user_sessions : int, default=3, 5

    Returns
    -------
    X : Sessions
        With times and users.

    Raises
    ------
    ValueError
        A column is missing, or a line has too many fields.
    ImportError
        pandas is not installed.
    """
    columns = ["username", "subreddit", "utc"]
    events = _read_table(path, columns=columns, sep=",")
    events.columns = ["user", "item", "time"]
    return _clip_sessions(_visits(events, gap), min_session_length, min_user_sessions)


def _visits(events, gap):
    """Visits by idle gap, immediate repeats dropped."""
    visits = sessionize(events, user="user", time="time", gap=gap)
    return drop_repeats(visits, session="session", item="item")


def _clip_sessions(visits, min_session_length, min_user_sessions):
    """The last two filters of CLIP-SBR, each once."""
    visits = drop_short_sessions(
        visits, session="session", min_length=min_session_length
    )
    visits = drop_rare_users(
        visits, user="user", session="session", min_sessions=min_user_sessions
    )
    if len(visits) == 0:
        raise ValueError(
            f"No user has {min_user_sessions} sessions of {min_session_length} events. "
            "Pass a smaller min_user_sessions or min_session_length."
        )
    return Sessions.from_events(
        visits, session="session", item="item", time="time", user="user"
    )


def _read_table(path, *, columns, names=None, sep="\t"):
    """Columns of a text file without quotes, by pandas; `names` where no header is."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "Reading this data set needs pandas: pip install pandas."
        ) from error
    try:
        table = pd.read_csv(
            path,
            sep=sep,
            names=names,
            header=None if names else 0,
            quoting=3,
            encoding="utf-8",
        )
    except pd.errors.ParserError as error:
        raise ValueError(f"{path}: {error}") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path}, line 1: no column {missing[0]!r}. Expected the header "
            f"{columns}, found {list(table.columns)[:8]}."
        )
    if names and table[names[-1]].isna().all():
        row = int(table[columns[-1]].isna().to_numpy().argmax())
        raise ValueError(
            f"{path}, line {row + 1}: expected {len(names)} fields separated by "
            f"{sep!r} ({', '.join(names)}), found fewer."
        )
    return table[columns]
