"""Filters over and over, until none drops a row."""

import shutil
from pathlib import Path
from uuid import uuid4

import narwhals.stable.v2 as nw

from skclip.preprocessing import _lazy
from skclip.preprocessing._reading import read


def until_stable(events, *filters, scratch=None):
    """Apply filters in turn, over and over, until none drops a row.

    Parameters
    ----------
    events : data frame
        One row per click.
    *filters : callable
        ``filter(events)`` -> events, for instance a `functools.partial` of a function
        of this module.
    scratch : str or path, default=None
        Folder for the rows that are left after each round, which a lazy frame needs.
        It must have room for two such files, and all workers must reach it. Earlier
        files are removed; the frame that is returned reads the last one.

    Returns
    -------
    events : data frame
        The rows that are kept, in their order.

    Raises
    ------
    ValueError
        There is no filter, one added rows, or a lazy frame comes without `scratch`, or
        with one that is no folder of a file system.
    TypeError
        A filter collected a lazy frame.

    Notes
    -----
    Of a lazy frame, each round is one run of the engine that ends in Parquet files, and
    a count of their rows. Without these files every round would repeat all before it.

    Examples
    --------
    >>> from functools import partial
    >>> import pandas as pd
    >>> from skclip.preprocessing import *
    >>> clicks = pd.DataFrame({"s": [1, 1, 2, 2, 3], "i": list("abaxa")})
    >>> until_stable(clicks, partial(drop_rare_items, item="i", min_count=2),
    ...              partial(drop_short_sessions, session="s", min_length=2)).empty
    True
    """
    if not filters:
        raise ValueError("until_stable needs at least one filter after the events.")
    frame = read(events)
    if not _lazy.is_lazy(frame):
        return _stable(events, filters, _n_rows)
    if scratch is None:
        raise ValueError(
            "until_stable on a lazy frame writes what is left after each round. Pass "
            "scratch= with a folder that has room for it."
        )
    if "://" in str(scratch):
        raise ValueError(
            f"scratch is {scratch!r}. Pass a folder of a file system that every worker "
            "sees, such as a mounted bucket."
        )
    folder = Path(scratch) / f"until_stable-{uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        return _stable(events, (*filters, _Store(folder, frame)), _n_lazy_rows)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _n_rows(events):
    return len(read(events))


def _n_lazy_rows(events):
    return _lazy.n_rows(read(events))


def _stable(events, filters, n_rows):
    left = n_rows(events)
    while True:
        for keep in filters:
            events = keep(events)
        n = n_rows(events)
        if n > left:
            raise ValueError("A filter of until_stable added rows; it may only drop.")
        if n == left or n == 0:
            return events
        left = n


class _Store:
    """Writes lazy frames into a folder; only the last one stays there.

    A call returns the same rows as a frame that reads the file.
    """

    def __init__(self, folder, log):
        self._folder, self._log = folder, log.to_native()
        self._file, self._round = None, 0

    def __call__(self, events):
        frame, earlier = read(events), self._file
        if not _lazy.is_lazy(frame):
            raise TypeError(
                f"A filter of until_stable made a {type(events).__name__} of a lazy "
                "frame. Pass filters that return a lazy frame, or collect events first."
            )
        self._round += 1
        self._file = self._folder / f"round-{self._round}.parquet"
        stored = self._stored(frame, str(self._file))
        if earlier is not None:
            shutil.rmtree(earlier) if earlier.is_dir() else earlier.unlink()
        return stored

    def _stored(self, frame, path):
        native, library = frame.to_native(), frame.implementation
        if library.is_dask():
            native.to_parquet(path, write_index=False)  # ours would be one column more
        else:
            frame.sink_parquet(path)
        if library.is_duckdb():
            # On the connection of the log, and so with its limit of memory. The query
            # reads the file alone.
            quoted = path.replace("'", "''")
            query = f"SELECT * FROM read_parquet('{quoted}')"
            return self._log.query("skclip_log", query)
        session = {"session": native.sparkSession} if library.is_pyspark() else {}
        return nw.scan_parquet(path, backend=library, **session).to_native()
