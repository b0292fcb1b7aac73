"""Read columns of any data frame as arrays of codes and seconds."""

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from numbers import Real

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data._ids import as_table, factorize, factorize_list, is_hashable, plain
from skclip._data._ragged import blocks, gathered
from skclip._warnings import warn_user
from skclip.exceptions import IdTypeWarning, TimeWarning

_LATEST = 1e11  # seconds: the year 5138
_DAY = 86_400
_TICKS = {"us": 10**6, "ns": 10**9}
_ISO_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}(\D|$)")
_ZONED = re.compile(r"(\s*\d{4}-\d{2}-\d{2}\D.*?)(Z|[+-]\d{2}(:?\d{2})?(:?\d{2})?)\s*")
_ZONE = re.compile(r"\s*(?:[Zz]|([+-])(\d{2})(?::?(\d{2}))?(?::?(\d{2}))?)$")


@dataclass(frozen=True)
class Times:
    """Times of events.

    Parameters
    ----------
    order : ndarray of shape (n_events,)
        Numbers that sort like the column itself. Seconds since 1970 in float64 cannot
        resolve a microsecond.
    ticks : int, default=1
        Number of steps of `order` per second.
    """

    order: np.ndarray
    ticks: int = 1

    @property
    def seconds(self):
        """Seconds, since the epoch for dates: ndarray of shape (n_events,), float64."""
        seconds = self.order.astype(np.float64)
        seconds /= self.ticks
        return seconds

    def take(self, rows):
        """Times of some events."""
        return Times(gathered(self.order, rows), self.ticks)

    def windows(self, seconds):
        """Number of the window that each time is in; windows last `seconds`.

        Windows begin at the epoch. Windows of whole weeks begin on a Monday.
        """
        width = seconds * self.ticks
        if self.order.dtype.kind in "iu" and width.is_integer() and width < 2**62:
            width = int(width)  # exact to the nanosecond
        monday = 3 * _DAY * self.ticks if seconds % (7 * _DAY) == 0 else 0
        return (self.order + monday) // width


def column(frame, name, role, what="events"):
    """Dictionary-encode the column `name`; missing values raise a ValueError."""
    series = frame.get_column(name)
    _refuse_missing(series, name, role, what)
    return encoded(series, name, role, what)


def column_with_gaps(frame, name, role):
    """Dictionary-encode the column `name`; missing values get the code -1."""
    series = frame.get_column(name)
    known = ~_missing(series)
    codes = np.full(len(known), -1, dtype=np.int32)
    if not known.all():
        mask = nw.new_series("", known, nw.Boolean, backend=series.implementation)
        series = _whole_again(series.filter(mask))
    vocabulary, codes[known] = encoded(series, name, role)
    return vocabulary, codes


def _whole_again(series):
    """Restore whole numbers that missing values turned into floats, if exact."""
    if not series.dtype.is_float():
        return series
    values = np.asarray(series.to_numpy())
    exact = (values == np.floor(values)) & (np.abs(values) < 2**53)
    return series.cast(nw.Int64) if exact.all() else series


def encoded(series, name, role, what="events"):
    """Dictionary-encode a Series without missing values.

    Messages use `name`, `role` and `what` to identify the column and the frame.
    """
    if series.dtype in (nw.Categorical, nw.Enum):
        return _encode_categories(series)
    if series.dtype == nw.String:
        return _encode_text(series)
    if series.dtype in (nw.Int128, nw.UInt128):
        return factorize_list(series.to_list())
    if series.dtype.is_numeric() or series.dtype == nw.Boolean:
        values = np.asarray(series.to_numpy())
        if values.dtype.kind == "f":
            _refuse_infinite(values, name, role, what)
        return factorize(values)
    values = series.to_list()  # dates, objects: exact Python values
    if series.dtype in (nw.List, nw.Array):  # such a library turns tuples into these
        values = list(map(tuple, values))
    try:
        return factorize_list(values)
    except TypeError:
        row = next(i for i, v in enumerate(values) if not is_hashable(v))
        raise TypeError(
            f"Row {row} of {what} has a {type(values[row]).__name__} as {role} in "
            f"column {name!r}: {values[row]!r:.40}. Expected a hashable id, such as a "
            "string or a number."
        ) from None


def _refuse_infinite(values, name, role, what):
    if not np.isfinite(values).all():
        row = first_row(~np.isfinite(values))
        raise ValueError(
            f"Row {row} of {what} has {role} {values[row]} in column {name!r}. "
            "Expected finite ids. Drop or repair such rows."
        )


def warn_float_ids(frame, **named):
    """Warn about ids that are whole numbers in a column of floats."""
    for role, name in named.items():
        if name is None or not frame.get_column(name).dtype.is_float():
            continue
        values = np.asarray(frame.get_column(name).to_numpy())
        if role == "user" and np.isnan(values).any():
            continue  # for guests: `column_with_gaps` reads the rest as whole numbers
        values = values[np.isfinite(values)]
        if len(values) and (values == np.floor(values)).all():
            warn_user(
                f"Column {name!r} holds {role} ids as floats, such as {values[0]}, "
                f"so {role} ids come back as floats. Data frames turn whole numbers "
                "into floats if a value is missing. Convert the column to whole "
                "numbers, for instance with astype('Int64') in pandas.",
                IdTypeWarning,
            )


def parse_times(frame, name):
    """Return the column `name` in seconds (since the epoch for dates), float64."""
    return read_times(frame, name).seconds


def read_times(frame, name):
    """Return the column `name` as `Times`; refuse missing or mixed values."""
    series = frame.get_column(name)
    _refuse_missing(series, name, "time")
    if series.dtype.is_numeric():
        return _numeric_times(np.asarray(series.to_numpy()), name)
    if series.dtype in (nw.Date, nw.Datetime):
        return _dated_times(series)
    return _listed_times(series.to_list(), name)


def read_weights(frame, name, what="events"):
    """Return the column `name` as float64; refuse values that cannot be weights."""
    otherwise = "Events of weight 0 are not learned."
    if what != "events":
        otherwise = "Drop or repair such rows."
    series = frame.get_column(name)
    check_weight_type(series.dtype, name)
    _refuse_missing(series, name, "weight", what)
    weights = np.asarray(series.to_numpy(), dtype=np.float64)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = first_row(bad)
        raise ValueError(
            f"Row {row} of {what} has weight {weights[row]} in column {name!r}. "
            f"Expected a finite number of 0 or more. {otherwise}"
        )
    return weights


def check_weight_type(dtype, name):
    """Refuse a column of weights that does not hold numbers."""
    if not dtype.is_numeric() and dtype != nw.Boolean:
        raise TypeError(
            f"Column {name!r} (given as weight=) holds {dtype}. Expected "
            "numbers of 0 or more. For a column of event types pass event=, and map "
            "them to numbers for weight=."
        )


def wall_times(frame, name, times):
    """The same `times` in the local time of the column's or text's time zone."""
    series = frame.get_column(name)
    if series.dtype == nw.Datetime and series.dtype.time_zone is not None:
        return _dated_times(series.dt.replace_time_zone(None))
    if series.dtype.is_numeric() or series.dtype in (nw.Date, nw.Datetime):
        return times
    return _listed_times([_without_zone(value) for value in series.to_list()], name)


def _without_zone(value):
    if isinstance(value, str):
        zoned = _ZONED.fullmatch(value)
        return zoned[1] if zoned else value
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _dated_times(series):
    if series.dtype == nw.Date:
        series = series.cast(nw.Datetime("us"))
    unit = "ns" if series.dtype.time_unit == "ns" else "us"
    return Times(series.dt.timestamp(unit).to_numpy(), _TICKS[unit])


def _listed_times(values, name):
    texts = [v.isoformat() if hasattr(v, "isoformat") else v for v in values]
    if values and all(isinstance(v, str) and _ISO_DATE.match(v) for v in texts):
        dates = _iso_times(texts)
        if dates is not None:
            unit, _ = np.datetime_data(dates.dtype)
            return Times(dates.astype(np.int64), _TICKS[unit])
    seconds, zones = [], {}
    for row, value in enumerate(values):
        second, has_zone = _seconds(value, row, name)
        seconds.append(second)
        zones.setdefault(has_zone, row)
    if True in zones and False in zones:
        raise ValueError(
            f"Column {name!r} mixes times with a time zone (row {zones[True]}) and "
            f"without (row {zones[False]}). Give all of them a zone, or none."
        )
    return Times(np.array(seconds, dtype=np.float64))


def _numeric_times(values, name):
    if values.dtype.kind in "iu" and values.dtype.itemsize < 8:
        values = values.astype(np.int64)
    seconds = values.astype(np.float64, copy=False)
    if not np.isfinite(seconds).all():
        row = first_row(~np.isfinite(seconds))
        raise ValueError(
            f"Row {row} of events has time {seconds[row]} in column {name!r}. "
            "Expected finite seconds. Drop or repair such rows."
        )
    late = seconds > _LATEST
    if late.all() and len(late):
        warn_user(
            f"Times in column {name!r} are read as seconds, but {seconds[0]:.16g} "
            "seconds is a date after the year 5000. Divide milliseconds by 1000, or "
            "pass dates.",
            TimeWarning,
        )
    elif late.any():
        raise ValueError(
            f"Column {name!r} mixes seconds and smaller units: row {first_row(late)} "
            f"has {seconds[late][0]:.16g}, row {first_row(~late)} has "
            f"{seconds[~late][0]:.16g}. Convert all times to one unit first."
        )
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        step = float(np.spacing(np.abs(values).max(initial=0)))
        if step > 0.5:
            warn_user(
                f"Times in column {name!r} are {values.dtype}, where the smallest "
                f"difference is {step:g} seconds here. Read the column as float64 or "
                "as whole numbers.",
                TimeWarning,
            )
    return Times(values)


def _iso_times(values):
    """ISO 8601 texts without mixed zones as datetime64, or None."""
    values = [value.strip() for value in values]
    zones = [_ZONE.search(value, 10) for value in values]  # after the date
    offsets = np.zeros(len(values), dtype="timedelta64[s]")
    if all(zones):  # numpy would warn about each
        values = [v[: zone.start()] for v, zone in zip(values, zones, strict=True)]
        offsets += np.array([_ahead(*zone.groups("0")) for zone in zones])
    elif any(zones):
        return None
    try:
        coarse = np.array(values, dtype="datetime64[us]")
        years = coarse.astype("datetime64[Y]").astype(int) + 1970
        if years.min() > 1678 and years.max() < 2261:  # the range of nanoseconds
            return np.array(values, dtype="datetime64[ns]") - offsets
        return coarse - offsets
    except ValueError:
        return None


def _ahead(sign, hours, minutes, seconds):
    """Number of seconds that a time zone is ahead of UTC."""
    ahead = 3600 * int(hours) + 60 * int(minutes) + int(seconds)
    return -ahead if sign == "-" else ahead


def first_row(mask):
    """Number of the first row that is True."""
    return int(np.flatnonzero(mask)[0])


def _seconds(value, row, name):
    """Seconds of a date, a number or ISO 8601 text, and whether it has a time zone."""
    try:
        if isinstance(value, Real) and not isinstance(value, bool):
            return float(value), None
        if isinstance(value, str) and not _ISO_DATE.match(value):
            raise ValueError
        text = value if isinstance(value, str) else value.isoformat()
        when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except (ValueError, TypeError, AttributeError):
        raise ValueError(
            f"Row {row} of events has time {plain(value)!r} in column {name!r}, which "
            "does not parse. Expected seconds as numbers, dates, or ISO 8601 text such "
            "as '2014-04-07T10:51:09'. Convert the column first, for instance with "
            "pandas.to_datetime or pandas.to_numeric."
        ) from None
    has_zone = when.tzinfo is not None
    if not has_zone:
        when = when.replace(tzinfo=timezone.utc)
    return when.timestamp(), has_zone


def _missing(series):
    missing = np.asarray(series.is_null().to_numpy(), dtype=bool)
    if series.dtype.is_float():
        missing = missing | np.asarray(series.is_nan().fill_null(True).to_numpy(), bool)
    return missing


def _refuse_missing(series, name, role, what="events"):
    missing = _missing(series)
    if missing.any():
        row = first_row(missing)
        raise ValueError(
            f"Row {row} of {what} has no {role}: column {name!r} holds "
            f"{plain(series[row])!r}. {int(missing.sum())} of {len(missing)} rows have "
            f"no {role}. Drop them first."
        )


def _encode_text(series):
    """Encode text with the hashing of the frame library, without Python strings."""
    native, library = series.to_native(), series.implementation
    if library.is_polars():
        import polars

        words = native.unique().sort()
        codes = native.cast(polars.Enum(words)).to_physical().to_numpy()
        return _sorted(words.to_list(), codes)
    if library.is_pandas():
        codes, vocabulary = native.factorize()
        return _sorted(list(vocabulary), codes)
    if library.is_pyarrow():
        return _from_arrow(native.dictionary_encode())
    return factorize(np.asarray(native.to_numpy(), dtype=object))


def _encode_categories(series):
    """Read a dictionary-encoded column through its codes."""
    native, library = series.to_native(), series.implementation
    if library.is_pandas() and hasattr(native.dtype, "pyarrow_dtype"):
        return _from_arrow(native.array.__arrow_array__())
    if library.is_pandas():
        return _sorted(native.cat.categories.tolist(), native.cat.codes.to_numpy())
    if library.is_polars():
        codes = native.to_physical().to_numpy().astype(np.int64)
        row_of = np.full(codes.max(initial=-1) + 1, -1, dtype=np.int64)
        row_of[codes] = np.arange(len(codes))
        used = np.flatnonzero(row_of >= 0)
        words = native.gather(row_of[used]).cast(str)
        order = words.arg_sort().to_numpy()  # Python sorts ordered values fast
        place_of = row_of  # no longer needed
        place_of[used[order]] = np.arange(len(used))
        return _sorted(words.gather(order).to_list(), place_of[codes])
    if library.is_pyarrow():
        return _from_arrow(native.combine_chunks())
    return factorize_list(series.to_list())


def _from_arrow(array):
    """Read a pyarrow DictionaryArray, or chunks of one."""
    if hasattr(array, "chunks"):
        array = array.unify_dictionaries().combine_chunks()
    return _sorted(array.dictionary.to_pylist(), array.indices.to_numpy())


def _sorted(words, codes):
    """Sorted vocabulary of the words that occur, and codes in it."""
    used = np.zeros(len(words), dtype=bool)
    for block in blocks(len(codes)):
        used[codes[block]] = True
    places = np.flatnonzero(used)
    vocabulary, order = factorize_list([words[i] for i in places])
    renamed = np.zeros(len(words), dtype=np.int32)
    renamed[places] = order
    return vocabulary, gathered(renamed, codes)


def as_frame(
    events,
    what="events",
    otherwise="Use Sessions.from_lists for lists.",
    *,
    lazy=False,
):
    """Return any data frame as one of narwhals.

    `what` is the name of the parameter, and `otherwise` the advice if it is not a
    frame. A lazy frame is collected, unless `lazy` is True.
    """
    frame = nw.from_native(as_table(events), pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        return frame if lazy else frame.collect()
    if not isinstance(frame, nw.DataFrame):
        raise TypeError(
            f"{what} is a {type(events).__name__}. Expected a pandas or polars "
            f"DataFrame or a pyarrow Table. {otherwise}"
        )
    return frame


def check_columns(frame, *, what="events", **named):
    """Refuse names, passed by parameter, that are not columns; None is skipped."""
    names = frame.collect_schema().names()  # of a lazy frame too
    for role, name in named.items():
        if name is not None and name not in names:
            raise ValueError(
                f"{what} has no column {name!r} (given as {role}=). Its columns are "
                f"{names}."
            )
