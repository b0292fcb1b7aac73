"""Text files of events: the wanted columns, or the line and column that are wrong.

A table library reads the file as text in one go. Where it stumbles, or a value is not
what it should be, the lines are read again one by one to name the first wrong one.
"""

import gzip
import io
import itertools
import re
import zlib
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import narwhals.stable.v2 as nw
import numpy as np

from skclip._data import factorize, parse_times

_WHOLE = r"^(?:0|-?[1-9][0-9]{0,17})$"  # fits int64, and has one spelling only
_PLAIN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
_NUMBER = f"^{_PLAIN}$"
_NUMBERS = f"^{_PLAIN}(?: {_PLAIN})*$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})?$"
)
_KINDS = {  # pattern, and what it is called in a message
    "number": (_NUMBER, "a number"),
    "numbers": (_NUMBERS, "a list of numbers with single spaces between them"),
    "date": (_DATE, "a date such as 2016-05-09"),
    "time": (_TIME, "a time such as 2014-04-07T10:51:09.277Z"),
}
_OTHER_FILES = [  # first bytes of files that are no text
    (b"\x80", "a pickle"),
    (b"(lp", "a pickle"),
    (b"(dp", "a pickle"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"PAR1", "a parquet file"),
    (b"\xff\xfe", "a text in UTF-16"),
    (b"\xfe\xff", "a text in UTF-16"),
    (b"<!doctype html", "a web page (of a login or an error, perhaps)"),
    (b"<html", "a web page (of a login or an error, perhaps)"),
]
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Field:
    """One wanted column.

    `names` are its spellings in headers, best first. `kind` is "id" (whole numbers
    where all are, else text), "number" (float64), or text of a form: "numbers",
    "date", "time" or any "text". An `optional` column may be absent. Where there are
    values of `missing`, an event may be without one.
    """

    role: str
    names: tuple
    kind: str
    optional: bool = False
    missing: tuple = ()

    def fault(self, text):
        """What is expected instead of this text; None if it is right."""
        if self.kind in ("id", "text"):
            return None
        pattern, expected = _KINDS[self.kind]
        if re.match(pattern, text) is None:
            return expected
        if self.kind in ("date", "time"):
            try:
                _datetime(text)
            except ValueError:
                return expected
        return None


def read_table(path, fields, *, sep, names=None, header=str, free_end=False):
    """Read the columns of a text file as a data frame of roles.

    Parameters
    ----------
    path : path-like
        UTF-8, with or without a byte order mark, lines ended by LF or CRLF; gzip is
        recognised by its content. Quotes have no meaning; lines without any value are
        skipped.
    fields : list of Field
    sep : str
        One character.
    names : list of str, default=None
        Columns of a file without a header; a first line that holds them is one.
    header : callable, default=str
        Column name of what stands in the header.
    free_end : bool, default=False
        The last column is free text, in which the separator may stand.

    Returns
    -------
    frame : narwhals.DataFrame
        One column for each field that the file has.

    Raises
    ------
    ValueError
        The file is empty or has another format; the message names line and column.
    ImportError
        Neither polars nor pandas is installed.
    """
    has_header, columns = _columns(path, sep, names, header)
    places = _places(fields, columns)
    for field in fields:
        if field not in places and (not field.optional or not places):
            expected = [f.names[0] for f in fields if not f.optional or not places]
            raise ValueError(
                f"{path}, line 1: no column {field.names[0]!r}. Expected a header with "
                f"{expected}, separated by {sep!r}; found {_shortened(columns)}."
            )
    try:
        frame = _read_text(path, sep, len(columns), has_header, free_end)
        if frame.get_column(str(min(places.values()))).is_null().any():
            blank = nw.all_horizontal(nw.all().is_null(), ignore_nulls=True)
            frame = frame.filter(~blank)
        frame = frame.select(
            nw.col(str(place)).alias(field.role) for field, place in places.items()
        )
        frame = frame.with_columns(
            _converted(frame.get_column(field.role), field) for field in places
        )
    except (OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # each library has its own; the lines tell which it is
        _name_first_fault(path, places, sep, columns, has_header, free_end)
        raise ValueError(f"{path}: {error}") from error
    if len(frame) == 0:
        raise ValueError(f"{path} holds no events.")
    return frame


def read_text(path):
    """The whole text of a file, which may be gzipped."""
    try:
        with _opened(path) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}.") from None


def with_seconds(frame, path, fields, **options):
    """The frame with its column "time", texts of times so far, in seconds."""
    texts = frame.get_column("time")
    times = seconds(texts)
    if times is None:
        try:
            times = parse_times(frame, "time")
        except ValueError as error:  # the form was right, but not the 13th month
            name_first_fault(path, fields, **options)
            raise ValueError(f"{path}: {error}") from error
    series = nw.new_series("time", times, backend=frame.implementation)
    return frame.with_columns(series)


def seconds(series):
    """Seconds since the epoch of a column of times, all of one form.

    None if they are not, or one is no time that there is: then `parse_times` is slower
    but knows them all.
    """
    texts = np.array(series.to_list(), dtype="S")
    width = texts.dtype.itemsize
    places = np.ascontiguousarray(texts.view(np.uint8).reshape(-1, width).T)
    end = width - int((places[-1] == ord("Z")).all())
    form = b"0000-00-00T00:00:00.000000"[:end]
    if end < 19 or end == 20 or end != len(form):
        return None
    for place, character in zip(places[:end], form, strict=True):
        low, high = (48, 57) if character == ord("0") else (character, character)
        if place.min() < low or place.max() > high:  # a shorter text ends in zeros
            return None

    def number(start, stop):
        value = np.zeros(len(texts), dtype=np.int64)
        for place in places[start:stop]:
            value = value * 10 + (place - ord("0"))
        return value

    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    if max(hour.max() - 23, minute.max() - 59, second.max() - 59) > 0:
        return None
    dates, codes = factorize(number(0, 4) * 10_000 + number(5, 7) * 100 + number(8, 10))
    try:
        days = [date(d // 10_000, d // 100 % 100, d % 100) for d in dates.tolist()]
    except ValueError:
        return None
    days = np.array(days, dtype="datetime64[D]").astype(np.int64)
    whole = days[codes] * 86_400 + hour * 3600 + minute * 60 + second
    parts = 10 ** max(end - 20, 0)  # of a second; one division, so rounded once
    return (whole * parts + number(20, end)) / parts


def is_pickle(path):
    """Whether a file begins and ends as pickles do, and texts of lists do not."""
    with open(path, "rb") as file:
        first = file.read(1)
        file.seek(-1, io.SEEK_END) if first else None
        last = file.read(1)
    return first == b"\x80" or (first in (b"(", b"]", b"}", b"c") and last == b".")


def as_ids(words):
    """Ids of an array of distinct texts: whole numbers where all are, else as it is."""
    whole = re.compile(_WHOLE)
    if all(whole.match(word) for word in words.tolist()):
        return words.astype(np.int64)
    return words


# -- bytes -----------------------------------------------------------------------------


class _Gzip(gzip.GzipFile):
    """A gzip file that says which file it is when it is damaged."""

    def read(self, size=-1):
        try:
            return super().read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{self.name} is damaged: {error}. Download it again."
            ) from error

    read1 = read


def _opened(path):
    """The file as bytes, unpacked if it is gzipped; other binary files are refused."""
    path = Path(path)
    with open(path, "rb") as file:
        first = file.read(16)
    if not first:
        raise ValueError(f"{path} is empty.")
    for start, what in _OTHER_FILES:
        if first.lower().startswith(start.lower()):
            raise ValueError(f"{path} is {what}, not the text file that was expected.")
    return _Gzip(path, "rb") if first.startswith(b"\x1f\x8b") else open(path, "rb")


def _lines(path):
    """Number and text of each line, without its end."""
    with _opened(path) as file, io.BufferedReader(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: no UTF-8 text ({error.reason} at byte "
                    f"{error.start + 1})."
                ) from None
            yield number, text.rstrip("\r\n")


# -- columns ---------------------------------------------------------------------------


def _columns(path, sep, names, header):
    """Whether the file has a header, and the names of its columns."""
    lines = _lines(path)
    _, line = next(lines, (1, None))
    lines.close()  # and the file with it
    if line is None:
        raise ValueError(f"{path} is empty.")
    found = [header(name.strip()) for name in line.split(sep)]
    twice = [name for name in found if found.count(name) > 1]
    if names is None:
        if twice:
            raise ValueError(f"{path}, line 1: column {twice[0]!r} is there twice.")
        return True, found
    if set(names) <= set(found):
        return True, found
    if len(found) != len(names):
        raise ValueError(
            f"{path}, line 1: expected {len(names)} fields separated by {sep!r} "
            f"({', '.join(names)}), found {len(found)}: {line[:60]!r}."
        )
    return False, list(names)


def _places(fields, columns):
    """Where each field stands that the file has, by the best of its spellings."""
    found = {
        field: [columns.index(name) for name in field.names if name in columns]
        for field in fields
    }
    return {field: places[0] for field, places in found.items() if places}


def _read_text(path, sep, n_columns, has_header, free_end):
    """A frame of text columns named "0", "1", ..., by polars, or else by pandas."""
    names = [str(i) for i in range(n_columns)]
    try:
        import polars as pl
    except ImportError:
        return _read_with_pandas(path, sep, names, has_header, free_end)
    with _opened(path) as file:  # bytes, since polars would unpack and glob by itself
        source = file.read()
    table = pl.read_csv(
        source,
        separator=sep,
        has_header=False,  # it is a line as any other, and has all columns
        schema=dict.fromkeys(names, pl.String),
        quote_char=None,
        truncate_ragged_lines=free_end,
    )
    return nw.from_native(table[int(has_header) :])


def _read_with_pandas(path, sep, names, has_header, free_end):
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "Reading this file needs polars or pandas: pip install polars."
        ) from error
    more = [f"more {i}" for i in range(32 if free_end else 1)]  # what is too much
    with _opened(path) as file:
        table = pd.read_csv(
            file,
            sep=sep,
            header=None,
            skiprows=int(has_header),
            names=names + more,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            quoting=3,
            encoding="utf-8",
        )
    if not free_end and table["more 0"].notna().any():
        raise ValueError("a line has too many fields")
    return nw.from_native(table[names])


def _converted(series, field):
    """The values of one column as their kind; any wrong one raises."""
    if field.missing:
        series = _without(series, field.missing)
    present = series.drop_nulls()
    if len(present) < len(series) and not field.missing:
        raise ValueError(f"column {field.names[0]!r} has missing values")
    if field.kind == "id":
        whole = len(present) > 0 and bool(present.str.contains(_WHOLE).all())
        if whole and len(present) == len(series):
            series = series.cast(nw.Int64)
        return series.alias(field.role)
    if field.kind == "text":
        return series.alias(field.role)
    pattern, expected = _KINDS[field.kind]
    if not present.str.contains(pattern).all():
        raise ValueError(f"column {field.names[0]!r} does not hold {expected}")
    if field.kind == "number":
        series = series.cast(nw.Float64)
    return series.alias(field.role)


def _without(series, missing):
    values = series.to_frame().select(
        nw.when(~nw.col(series.name).is_in(list(missing))).then(nw.col(series.name))
    )
    return values.get_column(series.name)


# -- what is wrong ---------------------------------------------------------------------


def name_first_fault(path, fields, *, sep, names=None, header=str, free_end=False):
    """Raise a ValueError for the first wrong line; return if all are right."""
    has_header, columns = _columns(path, sep, names, header)
    places = _places(fields, columns)
    _name_first_fault(path, places, sep, columns, has_header, free_end)


def line_of(path, row, *, has_header=True):
    """Number of the line of an event, the first of which is row 0."""
    lines = (number for number, line in _lines(path) if line.strip())
    return next(itertools.islice(lines, row + has_header, None))


def _name_first_fault(path, places, sep, columns, has_header, free_end):
    for number, line in _lines(path):
        if number == 1 and has_header:
            continue
        texts = line.split(sep)
        if not any(texts):
            continue
        if len(texts) > len(columns) and not free_end:
            raise ValueError(
                f"{path}, line {number}: expected {len(columns)} fields separated by "
                f"{sep!r} ({', '.join(_shortened(columns))}), found {len(texts)}."
            )
        for field, place in places.items():
            where = f"{path}, line {number}, column {columns[place]!r}"
            text = texts[place] if place < len(texts) else ""
            if text in ("", *field.missing):
                if field.missing:
                    continue
                if place >= len(texts):
                    raise ValueError(
                        f"{where}: the line has {len(texts)} fields only. Expected "
                        f"{len(columns)} fields separated by {sep!r} "
                        f"({', '.join(_shortened(columns))})."
                    )
                raise ValueError(f"{where}: no value. Expected {_expected(field)}.")
            expected = field.fault(text)
            if expected is not None:
                raise ValueError(
                    f"{where}: {text[:60]!r} is not {expected}. Repair or drop such "
                    "lines, or check that the file has the format of this reader."
                )


def _expected(field):
    return "an id" if field.kind in ("id", "text") else _KINDS[field.kind][1]


def _datetime(text):
    """The time that a text names; Python 3.10 knows fractions of 3 or 6 digits only."""
    text = re.sub(r"\.([0-9]+)", lambda m: f".{m[1]:0<6}", text)
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _shortened(columns):
    return columns if len(columns) <= 8 else [*columns[:8], "..."]
