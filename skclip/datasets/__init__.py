"""Simulated sessions with a known truth, and the data sets of the papers."""

from skclip.datasets._interests import make_multi_interest_sessions
from skclip.datasets._papers import read_lastfm_1k, read_reddit, read_xing
from skclip.datasets._simulated import make_sessions

__all__ = [
    "make_multi_interest_sessions",
    "make_sessions",
    "read_lastfm_1k",
    "read_reddit",
    "read_xing",
]
