"""Columns of any data frame as arrays of codes and seconds."""

import warnings
from datetime import datetime, timezone

import narwhals.stable.v2 as nw
import numpy as np

from skclip._ids import factorize


def column(frame, name, role):
    """Dictionary-encode the column `name`; missing values raise a ValueError."""
    series = frame[name]
    _refuse_missing(series, name, role)
    if series.dtype == nw.String or series.dtype == nw.Categorical:
        return _encode_text(series.cast(nw.String))
    return factorize(np.asarray(series.to_numpy()))


def parse_times(frame, name):
    """Return the column `name` in seconds (since the epoch for dates), float64."""
    series = frame[name]
    _refuse_missing(series, name, "time")
    if series.dtype.is_numeric():
        seconds = np.asarray(series.to_numpy(), dtype=np.float64)
        if not np.isfinite(seconds).all():
            row = first_row(~np.isfinite(seconds))
            raise ValueError(
                f"Row {row} of events has time {seconds[row]} in column {name!r}. "
                "Expected finite seconds; drop or repair such rows."
            )
        return seconds
    if series.dtype == nw.Date or series.dtype == nw.Datetime:
        return series.dt.timestamp("us").to_numpy().astype(np.float64) / 1e6
    values = series.to_list()
    try:
        with warnings.catch_warnings():  # numpy converts time zones to UTC, and says so
            warnings.filterwarnings("ignore", "no explicit representation of timezones")
            plain = np.array(values, dtype="datetime64[us]")
        return plain.astype(np.int64) / 1e6
    except (ValueError, TypeError):
        return np.array([_seconds(v, row, name) for row, v in enumerate(values)])


def first_row(mask):
    """Number of the first row that is True."""
    return int(np.flatnonzero(mask)[0])


def _seconds(value, row, name):
    try:
        text = value.isoformat() if hasattr(value, "isoformat") else value
        when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except (ValueError, TypeError, AttributeError):
        raise ValueError(
            f"Row {row} of events has time {value!r} in column {name!r}, which does "
            "not parse. Expected seconds as numbers, dates, or ISO 8601 text such as "
            "'2014-04-07T10:51:09'. Convert the column first, for instance with "
            "pandas.to_datetime."
        ) from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return when.timestamp()


def _refuse_missing(series, name, role):
    missing = np.asarray(series.is_null().to_numpy(), dtype=bool)
    if series.dtype.is_float():
        missing = missing | np.asarray(series.is_nan().fill_null(True).to_numpy(), bool)
    if missing.any():
        raise ValueError(
            f"Row {first_row(missing)} of events has no {role}: column {name!r} holds "
            f"{series[first_row(missing)]!r} there ({int(missing.sum())} such rows in "
            "all). Drop them before building sessions."
        )


def _encode_text(series):
    """Use the frame library's own hashing: Python strings are never touched twice."""
    native, library = series.to_native(), series.implementation
    if library.is_polars():
        vocabulary = native.unique().sort()
        codes = native.rank("dense").to_numpy() - 1
        return _text_array(vocabulary.to_list()), codes.astype(np.int32)
    if library.is_pandas():
        codes, vocabulary = native.factorize(sort=True)
        return _text_array(list(vocabulary)), codes.astype(np.int32)
    return factorize(np.asarray(native.to_numpy(), dtype=object))


def _text_array(words):
    return factorize(np.array(words, dtype=object))[0]
