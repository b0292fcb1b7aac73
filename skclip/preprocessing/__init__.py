"""Functions on data frames that turn a raw click log into sessions.

Each function takes a frame of events, with one row per click, and returns a frame of
the same library. Pandas and polars frames and pyarrow tables keep the order of their
rows. Chain the functions, then call `Sessions.from_events`.

You can also pass a log that is larger than memory, as a polars LazyFrame, a DuckDB
relation, or a Spark or Dask frame. The functions then return another lazy frame, and
its engine runs when you ask for the result. Three rules hold for lazy frames.

- Their rows have no order. Functions that depend on the order of clicks need times, and
  columns ``by=`` that break ties among equal times.
- Times are numbers, dates or datetimes, not text.
- Rows with a missing id, time or weight are left out. Frames in memory with such rows
  raise an error.
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
