"""Simulated sessions whose items have titles."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._data import Sessions
from skclip._typing import RandomState
from skclip.datasets._simulated import check_at_least, make_sessions

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def make_titled_sessions(
    n_sessions: int = 2000,
    n_items: int = 200,
    *,
    n_community_words: int = 12,
    n_shared_words: int = 2,
    n_own_words: int = 1,
    cold_share: float = 0.1,
    cold_from: float = 0.8,
    random_state: RandomState = None,
    **options: Any,
) -> tuple[Sessions, Bunch]:
    """Simulate clicks like `make_sessions`, on items with titles.

    A title has `n_shared_words` words from the vocabulary of its community, where some
    words are more frequent than others. It also has `n_own_words` words that no other
    item has. So titles of a community are similar, even for items that were never
    clicked.

    Parameters
    ----------
    n_sessions, n_items : int, default=2000, 200
        Numbers of sessions and of items.
    n_community_words, n_shared_words : int, default=12, 2
        Number of words in the vocabulary of a community, and number of different words
        from it per title. Words are drawn in proportion to ``1 / rank``.
    n_own_words : int, default=1
        Number of words per title that no other item has. With 0, titles can repeat.
    cold_share, cold_from : float, default=0.1, 0.8
        Share of cold items, and share of the time that passes before they appear.
        Training sessions that end before then do not contain them.
    random_state : int, RandomState instance or None, default=None
        Seed of all random draws.
    **options : dict
        Further parameters of `make_sessions`, such as ``n_communities``.

    Returns
    -------
    sessions : Sessions
        Simulated sessions with times, sorted by the time of their last event.
    truth : Bunch
        Truth as from `make_sessions`, with three further entries. ``titles`` has shape
        (n_items,), and ``vocabularies`` has a list of words per community. ``cold`` is
        a boolean array of shape (n_items,) and equals ``late``.

    Examples
    --------
    >>> from skclip.datasets import make_titled_sessions
    >>> X, truth = make_titled_sessions(n_sessions=100, n_items=40, random_state=0)
    >>> truth.titles[:3].tolist()
    ['ruraba lode porove', 'meruga diku loti', 'ruraba meruga kitezo']
    """
    words = n_community_words, n_shared_words, n_own_words
    _check_words(*words)
    random_state = check_random_state(random_state)
    late = {"late_share": cold_share, "late_from": cold_from}
    sessions, truth = make_sessions(
        n_sessions, n_items, random_state=random_state, **late, **options
    )
    rng = np.random.default_rng(random_state.randint(2**31 - 1))
    truth.titles, truth.vocabularies = _titles(truth.communities, *words, rng)
    truth.cold = truth.late
    return sessions, truth


def _check_words(n_community_words, n_shared_words, n_own_words):
    check_at_least(1, {"n_community_words": n_community_words}, "n_community_words")
    numbers = {"n_shared_words": n_shared_words, "n_own_words": n_own_words}
    check_at_least(0, numbers, *numbers)
    if n_shared_words > n_community_words:
        raise ValueError(
            f"n_shared_words={n_shared_words} exceeds n_community_words="
            f"{n_community_words}, but the words of a title are distinct. Pass "
            f"n_shared_words <= {n_community_words}."
        )
    if n_shared_words + n_own_words == 0:
        raise ValueError(
            "n_shared_words and n_own_words are both 0, so titles would be empty. Pass "
            "at least 1 for one of them."
        )


def _titles(communities, n_community_words, n_shared_words, n_own_words, rng):
    """Make a title for each item, and the vocabularies of the communities."""
    n_shared = (communities.max() + 1) * n_community_words
    words = _words(n_shared + len(communities) * n_own_words, rng)
    vocabularies = np.reshape(words[:n_shared], (-1, n_community_words)).tolist()
    own = iter(words[n_shared:])
    shares = 1 / np.arange(1, n_community_words + 1)
    shares /= shares.sum()
    titles = []
    for community in communities:
        at = rng.choice(n_community_words, n_shared_words, replace=False, p=shares)
        title = [vocabularies[community][i] for i in np.sort(at)]
        titles.append(" ".join([*title, *(next(own) for _ in range(n_own_words))]))
    return np.array(titles), vocabularies


def _words(n, rng):
    """Make up distinct words of two or three syllables."""
    words = {}
    while len(words) < n:
        syllables = rng.integers(2, 4)
        letters = [
            _CONSONANTS[rng.integers(len(_CONSONANTS))]
            + _VOWELS[rng.integers(len(_VOWELS))]
            for _ in range(syllables if len(words) < 2000 else syllables + 2)
        ]
        words["".join(letters)] = None
    return list(words)
