"""Simulated sessions with a known truth, and public data sets.

`make_*` simulate sessions and return the truth behind them.

`read_*` read the files of a publisher into `Sessions`. They accept the files as they
are on the publisher's page, or gzipped. They need polars
(``pip install 'skclip[datasets]'``). A missing column or a wrong value raises a
ValueError that names line and column. The readers for the CLIP-SBR experiments
(Last.fm, Xing, Reddit) apply the filters of these experiments. Compare the counts of
`Sessions.describe` with those of the paper. The other readers filter nothing, so you
can take the steps of a paper one by one with `skclip.preprocessing`.

`fetch_*` download a file first and keep it in scikit-learn's data home. They do not
cover data behind a login, an agreement or a form, or data without a public address.
"""

from skclip.datasets._diginetica import read_diginetica
from skclip.datasets._interests import make_multi_interest_sessions
from skclip.datasets._lastfm import fetch_lastfm_1k, read_lastfm_1k
from skclip.datasets._recbole import read_recbole, read_recbole_prefixes
from skclip.datasets._reddit import read_reddit
from skclip.datasets._retailrocket import read_retailrocket
from skclip.datasets._session_rec import fetch_rsc15_100k, read_session_rec
from skclip.datasets._simulated import make_sessions
from skclip.datasets._srgnn import read_srgnn, read_srgnn_sessions
from skclip.datasets._titled import make_titled_sessions
from skclip.datasets._xing import read_xing
from skclip.datasets._yoochoose import read_yoochoose

__all__ = [
    "fetch_lastfm_1k",
    "fetch_rsc15_100k",
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
