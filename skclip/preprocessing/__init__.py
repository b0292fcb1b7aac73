"""From a raw click log to the sessions of a paper: functions on data frames.

Each takes a frame of events, one row per click, and returns one of the same library.
A pandas or polars frame or a pyarrow table keeps the order of its rows. Chain the
functions, then build `Sessions.from_events`.

Logs that are larger than memory stay where they are: of a polars LazyFrame, a DuckDB
relation, a Spark or a Dask frame, the functions make another lazy frame. The engine
runs it when its result is asked for. Three rules hold for lazy frames.

- Their rows have no order. A function that depends on the order of clicks needs times,
  and columns ``by=`` that break ties among equal times.
- Times are numbers, dates or datetimes, not text.
- Rows that miss an id, a time or a weight are left out. An eager frame with such rows
  is refused.
"""

from skclip.preprocessing._filters import (
    drop_duplicates,
    drop_rare_items,
    drop_rare_users,
    drop_repeats,
    drop_short_sessions,
    keep_top_items,
    truncate_sessions,
)
from skclip.preprocessing._pairs import item_pairs
from skclip.preprocessing._stable import until_stable
from skclip.preprocessing._visits import sessionize

__all__ = [
    "drop_duplicates",
    "drop_rare_items",
    "drop_rare_users",
    "drop_repeats",
    "drop_short_sessions",
    "item_pairs",
    "keep_top_items",
    "sessionize",
    "truncate_sessions",
    "until_stable",
]
