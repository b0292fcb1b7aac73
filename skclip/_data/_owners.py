"""Users and sessions that have a prompt."""

from dataclasses import dataclass

import numpy as np

from skclip._data._id_types import check_own_types, refuse_other_type
from skclip._data._ids import as_id_array, factorize, labels
from skclip._data._index import ItemIndex, append_ids
from skclip._data._queries import warn_other_type


@dataclass(frozen=True)
class Owners:
    """Users and sessions that have a prompt: those of the training sessions.

    An index is None if there are no such prompts, or no ids.
    """

    users: ItemIndex = None
    sessions: ItemIndex = None
    n_sessions: int = None

    @property
    def n_users(self):
        return None if self.users is None else len(self.users)

    @property
    def kinds(self):
        """The kinds of owners with learned prompts, a set of "user" and "session"."""
        found = {"user": self.users, "session": self.n_sessions}
        return {kind for kind, value in found.items() if value is not None}

    def with_rows(self, data, rows, kinds):
        """Add the owners of the training sessions `rows`.

        `kinds` are those of "user" and "session" that have learned prompts. Returns the
        owners, with new ones after the old, and the codes of users and sessions
        (n_rows,). A code of 0 is unknown. Codes are None without such prompts.
        """
        users = user_codes = sessions = session_codes = n_sessions = None
        if "user" in kinds:
            users, user_codes = _taken_in(self.users, data.users[rows])
        if "session" in kinds:
            begun = self.n_sessions is not None
            before = self.n_sessions or 0
            if begun and self.sessions is None:  # the earlier ones had no ids
                session_codes = before + 1 + np.arange(len(rows))
            elif data.ids is not None:
                sessions, session_codes = _taken_in(self.sessions, data.ids[rows])
            elif begun:
                sessions, session_codes = self.sessions, np.zeros(len(rows), np.int32)
            else:
                session_codes = 1 + np.arange(len(rows))
            n_sessions = int(max(before, session_codes.max()))
            if not begun:
                n_sessions = len(rows)
        return Owners(users, sessions, n_sessions), user_codes, session_codes


def codes_of_owners(index, ids, n_sessions, what):
    """Codes of the users or ids of sessions, 0 = unknown; None without an index."""
    if index is None:
        return None
    if ids is None:
        return np.zeros(n_sessions, dtype=np.int32)
    codes = index.codes_of(ids)
    unknown = [i for i in ids[codes == 0].tolist() if i is not None]
    warn_other_type(index, what, as_id_array(unknown))
    return codes


def _taken_in(index, ids):
    """An index extended by unknown ids, and the codes of all ids in it.

    A missing id has the code 0.
    """
    known = np.array([i is not None for i in ids.tolist()], dtype=bool)
    if not known.all():
        index, codes_of_known = _taken_in(index, labels(ids[known]))
        codes = np.zeros(len(ids), dtype=np.int32)
        codes[known] = codes_of_known
        return index, codes
    vocabulary, of_id = factorize(ids)
    if index is None:
        index = ItemIndex(vocabulary)
        check_own_types(index, "users or ids")
        return index, of_id + 1
    refuse_other_type(
        vocabulary[index.codes_of(vocabulary) == 0], index, "users or ids"
    )
    codes = index.codes_of(vocabulary)
    new = codes == 0
    codes[new] = len(index) + 1 + np.arange(new.sum(), dtype=np.int32)
    return ItemIndex(append_ids(index.item_ids, vocabulary[new])), codes[of_id]
