"""Simulated sessions with a known truth, and the data sets of the papers."""

from skclip.datasets._papers import read_lastfm_1k, read_reddit, read_xing
from skclip.datasets._simulated import make_sessions
from skclip.datasets._titled import make_titled_sessions

__all__ = [
    "make_sessions",
    "make_titled_sessions",
    "read_lastfm_1k",
    "read_reddit",
    "read_xing",
]
