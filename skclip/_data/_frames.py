"""Columns of any data frame as arrays of codes and seconds."""

import re
import warnings
from datetime import datetime, timezone
from numbers import Real

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data._ids import factorize, factorize_list, is_hashable
from skclip._sklearn import warn_user

_LATEST = 1e11  # seconds: the year 5138


_ISO_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}(\D|$)")


def column(frame, name, role):
    """Dictionary-encode the column `name`; missing values raise a ValueError."""
    series = frame.get_column(name)
    _refuse_missing(series, name, role)
    if series.dtype == nw.String:
        return _encode_text(series)
    if series.dtype.is_numeric() or series.dtype == nw.Boolean:
        values = np.asarray(series.to_numpy())
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = first_row(~np.isfinite(values))
            raise ValueError(
                f"Row {row} of events has {role} {values[row]} in column {name!r}. "
                "Expected finite ids; drop or repair such rows."
            )
        return factorize(values)
    values = series.to_list()  # categories, dates, objects: exact Python values
    try:
        return factorize_list(values)
    except TypeError:
        row = next(i for i, v in enumerate(values) if not is_hashable(v))
        raise TypeError(
            f"Row {row} of events has a {type(values[row]).__name__} as {role} in "
            f"column {name!r}: {values[row]!r:.40}. Expected a hashable id, such as a "
            "string or a number."
        ) from None


def parse_times(frame, name):
    """Return the column `name` in seconds (since the epoch for dates), float64."""
    series = frame.get_column(name)
    _refuse_missing(series, name, "time")
    if series.dtype.is_numeric():
        seconds = np.asarray(series.to_numpy(), dtype=np.float64)
        if not np.isfinite(seconds).all():
            row = first_row(~np.isfinite(seconds))
            raise ValueError(
                f"Row {row} of events has time {seconds[row]} in column {name!r}. "
                "Expected finite seconds; drop or repair such rows."
            )
        if np.median(seconds) > _LATEST:
            warn_user(
                f"Times in column {name!r} are taken as seconds, which makes "
                f"{seconds[0]:.16g} a date after the year 5000. Divide milliseconds by "
                "1000, or pass dates."
            )
        return seconds
    if series.dtype == nw.Date or series.dtype == nw.Datetime:
        return series.dt.timestamp("us").to_numpy().astype(np.float64) / 1e6
    values = series.to_list()
    if all(isinstance(v, str) and _ISO_DATE.match(v) for v in values):
        try:
            with warnings.catch_warnings():  # numpy converts time zones, and says so
                warnings.simplefilter("ignore", (UserWarning, DeprecationWarning))
                plain = np.array(values, dtype="datetime64[us]")
            return plain.astype(np.int64) / 1e6
        except ValueError:
            pass
    return np.array([_seconds(v, row, name) for row, v in enumerate(values)])


def first_row(mask):
    """Number of the first row that is True."""
    return int(np.flatnonzero(mask)[0])


def _seconds(value, row, name):
    """Seconds of one date, number or ISO 8601 text that is no bare number."""
    try:
        if isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str) and not _ISO_DATE.match(value):
            raise ValueError
        text = value if isinstance(value, str) else value.isoformat()
        when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except (ValueError, TypeError, AttributeError):
        raise ValueError(
            f"Row {row} of events has time {value!r} in column {name!r}, which does "
            "not parse. Expected seconds as numbers, dates, or ISO 8601 text such as "
            "'2014-04-07T10:51:09'. Convert the column first, for instance with "
            "pandas.to_datetime or pandas.to_numeric."
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


def as_frame(events):
    frame = nw.from_native(events, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, nw.DataFrame):
        raise TypeError(
            f"events is a {type(events).__name__}. Expected a pandas or polars "
            "DataFrame or a pyarrow Table; use Sessions.from_lists for lists."
        )
    return frame
