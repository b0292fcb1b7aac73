"""Repeat filters until none of them drops a row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import narwhals.stable.v2 as nw

from skclip._typing import FrameT, PathLike
from skclip.preprocessing import _lazy
from skclip.preprocessing._reading import read


def until_stable(
    events: FrameT, *filters: Callable[[Any], Any], scratch: PathLike | None = None
) -> FrameT:
    """Apply filters in turn, again and again, until none of them drops a row.

    Parameters
    ----------
    events : data frame
        One row per click.
    *filters : callable
        Functions from a frame of events to a frame of events, for example a
        `functools.partial` of a function in this module.
    scratch : str or path, default=None
        Folder for the remaining rows after each round. Lazy frames need it. It needs
        space for two such files, and all workers must be able to access it. Earlier
        files are removed, and the returned frame reads the last one.

    Returns
    -------
    events : data frame
        The remaining rows, in their original order.

    Raises
    ------
    ValueError
        If there is no filter, or if a filter adds rows. If `scratch` is missing for a
        lazy frame, or is not a folder in a file system.
    TypeError
        If a filter collects a lazy frame.

    Notes
    -----
    For a lazy frame, each round runs the engine once, writes Parquet files and counts
    their rows. Without these files, every round would repeat all rounds before it.

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
            "until_stable on a lazy frame writes the remaining rows after each round. "
            "Pass scratch= with a folder that has space for two such files."
        )
    if "://" in str(scratch):
        raise ValueError(
            f"scratch is {scratch!r}. Pass a folder in a file system that every worker "
            "can access, such as a mounted bucket."
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
            raise ValueError(
                "A filter of until_stable added rows. Pass filters that only drop rows."
            )
        if n == left or n == 0:
            return events
        left = n


class _Store:
    """Write lazy frames into a folder, and keep only the last one.

    A call returns the same rows as a frame that reads the file.
    """

    def __init__(self, folder, log):
        self._folder, self._log = folder, log.to_native()
        self._file, self._round = None, 0

    def __call__(self, events):
        frame, earlier = read(events), self._file
        if not _lazy.is_lazy(frame):
            raise TypeError(
                f"A filter of until_stable turned a lazy frame into a "
                f"{type(events).__name__}. Pass filters that return a lazy frame, or "
                "collect events first."
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
            native.to_parquet(path, write_index=False)  # it would add a column
        else:
            frame.sink_parquet(path)
        if library.is_duckdb():
            # On the connection of the log, which keeps its memory limit. The query only
            # reads the file.
            quoted = path.replace("'", "''")
            query = f"SELECT * FROM read_parquet('{quoted}')"
            return self._log.query("skclip_log", query)
        session = {"session": native.sparkSession} if library.is_pyspark() else {}
        return nw.scan_parquet(path, backend=library, **session).to_native()
