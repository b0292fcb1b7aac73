"""Training data of a model: rows of training sessions, owners, prefixes, features."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skclip._data._as_sessions import as_sessions, check_targets
from skclip._data._index import append_ids
from skclip._data._instances import Instances
from skclip._data._owners import Owners
from skclip._data._rehearsal import Rehearsal
from skclip._data._training_data import TrainingData
from skclip._warnings import warn_user
from skclip.exceptions import ShortSessionWarning


@dataclass(frozen=True)
class FitData:
    """Training data of a model.

    `coded` holds all sessions in codes of the catalog, `rows` the numbers of those that
    are trained on, and `instances` the prefixes to learn. `held_out` are the sessions
    and targets (X, y) of the validation. `features` is (n_items, n_features) or None.
    `rehearsal` holds `n_rehearsed` sessions of earlier fits, whose prefixes are among
    the `instances`, followed by the rows.
    """

    coded: TrainingData
    rows: np.ndarray
    owners: Owners
    instances: Instances
    held_out: tuple = None
    features: np.ndarray = None
    rehearsal: Rehearsal = None
    n_rehearsed: int = 0

    @cached_property
    def sequences(self):
        """Codes, offsets and ends of the rows, as `Backbone.prepare` takes them."""
        return self.coded.as_sequences(self.rows)

    @property
    def clicks(self):
        """Events of each item in the rows, (n_items,)."""
        return np.bincount(self.sequences[0], minlength=self.coded.n_items + 1)[1:]

    @property
    def rehearsed(self):
        """Whether an item is in sessions of an update with kept ones, (n_items,)."""
        found = np.zeros(self.coded.n_items + 1, dtype=bool)
        if self.n_rehearsed:
            found[self.rehearsal.codes] = True
        return found[1:]

    @property
    def repeat_share(self):
        """Share of the targets that occur earlier in their session."""
        codes, offsets = self.coded.codes.astype(np.int64), self.coded.offsets
        session = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        _, first = np.unique(session * (codes.max() + 1) + codes, return_index=True)
        again = np.ones(len(codes), dtype=bool)
        again[first] = False
        return np.average(again[self.instances.stops], weights=self.instances.weights)


def first_fit_data(coded, features, kinds, split, max_length):
    """Return the `FitData` of a first fit.

    `kinds` are the kinds of prompts with a table: "user", "session".
    ``split(coded, rows)`` returns the rows to train on, and the validation data.
    Prefixes keep their latest `max_length` items.
    """
    _check_users(coded, kinds, "prompt='user' needs")
    if features is not None:
        coded = _with_features(coded, features)
    rows, held_out = split(coded, rows_to_learn(coded))
    if len(rows) == 0:
        raise ValueError(
            f"All {coded.n_sessions} sessions have fewer than 2 items (n_features = 1 "
            "for an array), so there is no next item to learn. Pass sessions of 2 "
            "items or more, and check the session column given to Sessions.from_events."
        )
    n_short = int((np.diff(coded.offsets) < 2).sum())
    if n_short:
        warn_user(
            f"{n_short} of {coded.n_sessions} sessions have fewer than 2 items and "
            "give nothing to learn. Their items stay in the catalog.",
            ShortSessionWarning,
        )
    return _fit_data(coded, rows, Owners(), kinds, features, max_length, held_out)


def further_fit_data(coded, features, owners, max_length, kept):
    """Return the `FitData` of an update. The arguments are those of `first_fit_data`.

    `owners` are those of the fit before, and `coded` uses codes of the extended
    catalog. The `kept` sessions, a `Rehearsal`, are learned again. Each further session
    is learned twice as often.
    """
    rows = rows_to_learn(coded)
    data = _fit_data(coded, rows, owners, owners.kinds, features, max_length)
    if len(kept) == 0:
        return data
    rehearsal = kept.followed_by(data.rehearsal)
    if len(kept) < len(rows):  # too few to keep the model from forgetting
        return replace(data, rehearsal=rehearsal)
    return replace(
        data,
        instances=rehearsal.followed_by(data.rehearsal).instances(max_length),
        rehearsal=rehearsal,
        n_rehearsed=len(kept),
    )


def check_further(data, kinds):
    """Refuse further sessions with nothing to learn, or without users if needed."""
    if len(rows_to_learn(data)) == 0:
        raise ValueError(
            f"All {data.n_sessions} sessions have fewer than 2 items, so there is no "
            "next item to learn. Pass sessions of 2 items or more."
        )
    _check_users(data, kinds, "The model has user prompts, so it needs")


def rows_to_learn(coded):
    """Sessions that have a next item."""
    return np.flatnonzero(np.diff(coded.offsets) > 1)


def latest_part(coded, rows, fraction, seed):
    """Split rows into those to train on and a share (X, y) for validation.

    The latest sessions validate if times are known, else a random draw with a seed. The
    second is None if nothing would be left to learn.
    """
    n_held_out = max(1, round(fraction * len(rows)))
    if len(rows) <= n_held_out:
        return rows, None
    if coded.end_times is None:
        rows = np.random.default_rng(int(seed)).permutation(rows)
    held_out = coded.as_fit_arguments(np.sort(rows[-n_held_out:]))
    return np.sort(rows[:-n_held_out]), held_out


def few_held_out(data, fraction, max_length, seed, n_targets):
    """Return `FitData` without some sessions, and these as (X, y), or None if empty.

    They are the latest sessions if times are known, else a random draw with a seed.
    Together they have about `n_targets` targets, and they are at most a share of all.
    Sessions with an item that no other session has are not held out.
    """
    coded, rows = data.coded, data.rows
    n = int(min(fraction, n_targets / len(data.instances)) * len(rows) + 0.5)
    order = np.random.default_rng(seed).permutation(rows)
    if coded.end_times is not None:
        ends = np.nan_to_num(coded.end_times[rows], nan=-np.inf)
        order = rows[np.argsort(-ends, kind="stable")]
    drawn = np.zeros(coded.n_sessions, dtype=bool)
    drawn[order[:n]] = True
    of_event = np.repeat(np.arange(coded.n_sessions), np.diff(coded.offsets))
    out = drawn[of_event]
    left = np.bincount(coded.codes[~out], minlength=coded.n_items + 1)
    drawn[of_event[out & (left[coded.codes] == 0)]] = False
    held_out = rows[drawn[rows]]
    left = rows[~drawn[rows]]
    if len(held_out) == 0 or not len(coded.instances(left, max_length)):
        return data, None
    part = _fit_data(coded, left, Owners(), data.owners.kinds, None, max_length)
    part = replace(part, features=data.features, held_out=data.held_out)
    return part, coded.as_fit_arguments(held_out)


def thinned(X, y, n_targets):
    """Thin sessions out to about `n_targets` targets, evenly spread."""
    n = len(X) if y is not None else np.maximum(X.lengths - 1, 0).sum()
    some = slice(None, None, max(1, round(n / n_targets)))
    return X[some], None if y is None else y[some]


def checked_eval_set(eval_set):
    """Return the sessions and targets of an ``eval_set``."""
    if not isinstance(eval_set, tuple) or len(eval_set) != 2:
        raise TypeError(
            f"eval_set is a {type(eval_set).__name__}. Expected a tuple (X, y), where "
            "y may be None."
        )
    X, y = eval_set
    X = as_sessions(X)
    return X, None if y is None else check_targets(y, len(X))


def grown_catalog(data, index, features):
    """Return further sessions in codes of a catalog extended by their new items.

    `features` needs a row for each old and new item. Its other items are added too.
    """
    if features is None:
        return data.appended_to(index.item_ids)
    features.rows_of(append_ids(index.item_ids, data.index.item_ids))
    return data.appended_to(index.item_ids, features.known_ids())


def _fit_data(coded, rows, owners, kinds, features, max_length, held_out=None):
    owners, users, sessions = owners.with_rows(coded, rows, kinds)
    instances = coded.instances(rows, max_length, users, sessions)
    if len(instances) == 0:
        raise ValueError(
            f"All targets of the {len(rows)} training sessions have weight 0. Pass "
            "weights above 0 for events that are not the first of their session."
        )
    return FitData(
        coded,
        rows,
        owners,
        instances,
        held_out,
        None if features is None else features.rows_of(coded.index.item_ids),
        Rehearsal.of_rows(coded, rows, users, sessions),
    )


def _check_users(data, kinds, what):
    missing = data.users is None or all(user is None for user in data.users.tolist())
    if "user" in kinds and missing:
        raise ValueError(
            f"{what} sessions with users. Pass user= to Sessions.from_events, or "
            "users= to Sessions.from_lists, or choose another prompt."
        )


def _with_features(coded, features):
    features.rows_of(coded.index.item_ids)  # refuses items without a row
    n_lost = int((coded.index.codes_of(features.missing) == 0).sum())
    if n_lost:
        warn_user(
            f"{n_lost} of {len(features)} items of item_features have neither features "
            "nor clicks. They do not join the catalog. Give them features, or leave "
            "them out."
        )
    return coded.with_items(features.known_ids(), "item_features")
