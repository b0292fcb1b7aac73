"""Simulated sessions with a known truth, and public data sets.

`read_*` read the files of a publisher into `Sessions`, as they lie on the publisher's
page or gzipped. They need polars (``pip install 'skclip[datasets]'``). A column that is
missing or a value that is wrong is a ValueError that names line and column. The readers
of the CLIP-SBR experiments (Last.fm, Xing, Reddit) filter as these did: compare the
counts of `Sessions.describe` with the paper's. The others filter nothing, so that the
steps of a paper can be taken one by one with `skclip.preprocessing`.

`fetch_*` download first, into scikit-learn's data home. There is none for data that a
login, an agreement or a form protects, or whose address is no longer published.
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
