"""Steps that the readers for the CLIP-SBR experiments share."""

from skclip._data import Sessions
from skclip.preprocessing import (
    drop_rare_users,
    drop_repeats,
    drop_short_sessions,
    sessionize,
)


def visits_of(events, gap):
    """Split events into visits by idle gap, and drop immediate repeats."""
    visits = sessionize(events, user="user", time="time", gap=gap)
    return drop_repeats(visits, session="session", item="item")


def clip_sessions(visits, min_session_length, min_user_sessions):
    """Apply the last two filters of CLIP-SBR, each once."""
    visits = drop_short_sessions(
        visits, session="session", min_length=min_session_length
    )
    visits = drop_rare_users(
        visits, user="user", session="session", min_sessions=min_user_sessions
    )
    if len(visits) == 0:
        raise ValueError(
            f"No user has at least {min_user_sessions} sessions with at least "
            f"{min_session_length} events. Pass a smaller min_user_sessions or "
            "min_session_length."
        )
    return Sessions.from_events(
        visits, session="session", item="item", time="time", user="user"
    )
