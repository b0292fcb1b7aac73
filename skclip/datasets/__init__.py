"""Simulated sessions with a known truth, and public data sets.

`read_*` read the files of a publisher into `Sessions`, `fetch_*` download them first.
There is no `fetch_*` where an address asks for a login, an agreement or a form
(RetailRocket, Xing, Reddit, Diginetica in full): get the file by hand and read it.
"""

from skclip.datasets._fetch import (
    clear_data_home,
    fetch_diginetica_sample,
    fetch_lastfm_1k,
    fetch_recbole_sessions,
    fetch_rsc15_100k,
    fetch_yoochoose,
    get_data_home,
)
from skclip.datasets._formats import (
    read_diginetica,
    read_recbole,
    read_recbole_prefixes,
    read_retailrocket,
    read_session_rec,
    read_srgnn,
    read_srgnn_sessions,
    read_yoochoose,
)
from skclip.datasets._interests import make_multi_interest_sessions
from skclip.datasets._papers import read_lastfm_1k, read_reddit, read_xing
from skclip.datasets._simulated import make_sessions
from skclip.datasets._titled import make_titled_sessions

__all__ = [
    "clear_data_home",
    "fetch_diginetica_sample",
    "fetch_lastfm_1k",
    "fetch_recbole_sessions",
    "fetch_rsc15_100k",
    "fetch_yoochoose",
    "get_data_home",
    "make_multi_interest_sessions",
    "make_sessions",
    "make_titled_sessions",
    "read_diginetica",
    "read_lastfm_1k",
    "read_recbole",
    "read_recbole_prefixes",
    "read_reddit",
    "read_retailrocket",
    "read_session_rec",
    "read_srgnn",
    "read_srgnn_sessions",
    "read_xing",
    "read_yoochoose",
]
