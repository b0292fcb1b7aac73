"""Training sessions that a model keeps, to learn them again in updates."""

from dataclasses import dataclass, fields, replace

import numpy as np

from skclip._data._instances import session_instances
from skclip._data._ragged import flat_positions, picked


@dataclass(frozen=True)
class Rehearsal:
    """Sessions in codes of a catalog, which may be extended at its end.

    If a session has `one_target`, only its last item is a target. `users` and
    `sessions` (n,) are codes of those that have a prompt, or None without such prompts.
    `weights` and `click_codes` belong to the events, as in `TrainingData`.
    """

    codes: np.ndarray
    offsets: np.ndarray
    one_target: np.ndarray
    users: np.ndarray = None
    sessions: np.ndarray = None
    weights: np.ndarray = None
    click_codes: np.ndarray = None

    @classmethod
    def of_rows(cls, coded, rows, users=None, sessions=None):
        """Keep the given rows of `TrainingData`, with a user and a session for each."""
        starts, lengths = coded.offsets[:-1][rows], np.diff(coded.offsets)[rows]
        at, offsets = flat_positions(starts, lengths)
        one_target = np.full(len(rows), coded.one_target)
        found = cls(
            coded.codes[at],
            offsets,
            one_target,
            _int32(users),
            _int32(sessions),
            **picked(coded, ("weights", "click_codes"), at),
        )
        if coded.end_times is None:
            return found
        undated = np.isnan(coded.end_times[rows])  # these do not count as late
        return found.take(np.argsort(~undated, kind="stable"))

    def __len__(self):
        return len(self.one_target)

    def latest(self, n):
        """The last `n` sessions."""
        return self.take(np.arange(max(0, len(self) - n), len(self)))

    def take(self, rows):
        """Some sessions."""
        starts, lengths = self.offsets[:-1][rows], np.diff(self.offsets)[rows]
        at, offsets = flat_positions(starts, lengths)
        of_rows = picked(self, ("one_target", "users", "sessions"), rows)
        of_events = picked(self, ("weights", "click_codes"), at)
        return Rehearsal(self.codes[at], offsets, **of_rows, **of_events)

    def followed_by(self, other):
        """These sessions, followed by those of `other`."""
        offsets = np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]])
        if (self.weights is None) != (other.weights is None):
            both = [_with_weights(part) for part in (self, other)]
            return both[0].followed_by(both[1])
        mine, more = self.to_state(), other.to_state()
        joined = {
            name: None if values is None else np.concatenate([values, more[name]])
            for name, values in mine.items()
        }
        return Rehearsal(**joined | {"offsets": offsets})

    def instances(self, max_length):
        """The `Instances` to learn; each prefix keeps its latest items."""
        instances, of_row = session_instances(
            self.codes,
            self.offsets,
            np.arange(len(self)),
            max_length,
            last_only=self.one_target,
        )
        of_rows = picked(self, ("users", "sessions"), of_row)
        instances = replace(instances, click_codes=self.click_codes, **of_rows)
        return instances.weighted(self.weights)

    def to_state(self):
        """Plain arrays."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _with_weights(rehearsal):
    if rehearsal.weights is not None:
        return rehearsal
    return replace(rehearsal, weights=np.ones(len(rehearsal.codes)))


def _int32(codes):
    return None if codes is None else codes.astype(np.int32)
