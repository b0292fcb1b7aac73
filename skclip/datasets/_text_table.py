"""Read columns of text files of events, with errors that name line and column.

Polars reads the whole file as text. If it fails, or if a value is wrong, the lines are
read again one by one to name the first wrong line.
"""

import gzip
import io
import itertools
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from skclip._data import Sessions, as_frame, factorize_list, parse_times

_WHOLE = r"^(?:0|-?[1-9][0-9]{0,17})$"  # fits int64, and has one spelling only
_PLAIN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
_KINDS = {  # pattern, and name in a message
    "id": ("", "an id"),
    "text": ("", "an id"),
    "number": (f"^{_PLAIN}$", "a number"),
    "milliseconds": (f"^{_PLAIN}$", "a number"),
    "numbers": (
        f"^{_PLAIN}(?: {_PLAIN})*$",
        "a list of numbers with single spaces between them",
    ),
    "date": (f"^{_DATE}$", "a date such as 2016-05-09"),
    "time": (f"^{_DATE}[T ]{_CLOCK}$", "a time such as 2014-04-07T10:51:09.277Z"),
}
_OTHER_FILES = {  # first bytes of files that are not text
    "a pickle": (b"\x80", b"(lp", b"(dp"),
    "a zip archive": (b"PK\x03\x04",),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c",),
    "an xz archive": (b"\xfd7zXZ",),
    "a bzip2 archive": (b"BZh",),
    "a zstd file": (b"\x28\xb5\x2f\xfd",),
    "a parquet file": (b"PAR1",),
    "a text in UTF-16": (b"\xff\xfe", b"\xfe\xff"),
    "a web page, perhaps of a login or an error": (b"<!doctype", b"<html"),
}


@dataclass(frozen=True)
class Field:
    """One wanted column.

    `names` are its spellings in headers, best first. `kind` is "id" (whole numbers if
    all ids are, text otherwise), "number" (float64), "milliseconds", "time" or "date"
    (all three are read as seconds), "numbers" (kept as text) or "text". An `optional`
    column may be absent. `missing` is the text of a missing value, besides empty text.
    With None, each event needs a value.
    """

    role: str
    names: tuple
    kind: str
    optional: bool = False
    missing: str = None

    @property
    def expected(self):
        return _KINDS[self.kind][1]

    def accepts(self, text):
        if text in ("", self.missing):
            return self.missing is not None
        if re.match(_KINDS[self.kind][0], text) is None:
            return False
        if self.kind in ("date", "time"):
            try:
                _datetime(text)
            except ValueError:
                return False
        return True


class TextTable:
    """Text file with one line per event.

    The file is UTF-8, with or without a byte order mark, and may be gzipped. Its lines
    end with LF or CRLF. Quotes have no meaning. Lines without any value are skipped.

    `fields` are the wanted columns. `names` are the columns of a file without a header.
    If the first line holds these names, it is a header all the same. `header` is a
    function that makes a name of a header's entry. With `free_end`, the last column is
    text that may contain `sep`. The table holds the bytes of the file, so drop it once
    the frame is read.
    """

    def __init__(self, path, fields, *, sep, names=None, header=str, free_end=False):
        self.path, self.sep, self.free_end = path, sep, free_end
        self.content = read_bytes(path)
        self.has_header, self.columns = self._columns(names, header)
        self.places = {}
        for field in fields:
            known = [name for name in field.names if name in self.columns]
            if known:
                self.places[field] = self.columns.index(known[0])
        for field in fields:
            if field in self.places or (field.optional and self.places):
                continue
            any_of = [f for f in fields if not f.optional or not self.places]
            raise ValueError(
                f"{path}, line 1: no column {field.names[0]!r}. Expected a header with "
                f"{[f.names[0] for f in any_of]}, separated by {sep!r}. Found "
                f"{_shortened(self.columns)}."
            )

    def _columns(self, names, header):
        """Return whether the file has a header, and the names of its columns."""
        _, line = next(self._lines(), (1, None))
        if line is None:
            raise ValueError(f"{self.path} is empty.")
        found = [header(name.strip()) for name in line.split(self.sep)]
        twice = [name for name in found if found.count(name) > 1]
        if names is None and twice:
            raise ValueError(f"{self.path}, line 1: column {twice[0]!r} appears twice.")
        if names is None or set(names) <= set(found):
            return True, found
        if len(found) != len(names):
            raise ValueError(
                f"{self.path}, line 1: expected {len(names)} fields separated by "
                f"{self.sep!r} ({', '.join(names)}), found {len(found)}: {line[:60]!r}."
            )
        return False, list(names)

    def read(self):
        """Read a polars frame with a column for each field that the file has."""
        pl = import_polars()
        names = [str(i) for i in range(len(self.columns))]
        try:
            frame = pl.read_csv(
                self.content,
                separator=self.sep,
                has_header=False,  # read as a line like any other, with all columns
                schema=dict.fromkeys(names, pl.String),
                quote_char=None,
                truncate_ragged_lines=self.free_end,
            )
            frame = frame[int(self.has_header) :]
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
            columns = [_converted(frame[names[p]], f) for f, p in self.places.items()]
        except (OSError, MemoryError):
            raise
        except Exception as error:  # the search for the first wrong line says more
            self._name_first_fault()
            raise ValueError(f"{self.path}: {error}") from error
        if len(frame) == 0:
            raise ValueError(f"{self.path} holds no events.")
        return pl.DataFrame(columns)

    def line_of(self, row):
        """Return the number of the line of an event. The first event is row 0."""
        lines = (number for number, line in self._lines() if line.strip())
        return next(itertools.islice(lines, row + self.has_header, None))

    def _name_first_fault(self):
        """Raise a ValueError for the first wrong line, if there is one."""
        columns = ", ".join(_shortened(self.columns))
        asked = f"{len(self.columns)} fields separated by {self.sep!r} ({columns})"
        for number, line in self._lines():
            texts = line.split(self.sep)
            if (number == 1 and self.has_header) or not any(texts):
                continue
            where, n = f"{self.path}, line {number}", len(texts)
            if n > len(self.columns) and not self.free_end:
                raise ValueError(f"{where}: expected {asked}, found {n}.")
            for field, place in self.places.items():
                text = texts[place] if place < n else ""
                if field.accepts(text):
                    continue
                if place >= n:
                    fault = f"the line has only {n} fields. Expected {asked}."
                elif text == "":
                    fault = f"the value is missing. Expected {field.expected}."
                else:
                    fault = (
                        f"{text[:60]!r} is not {field.expected}. Repair or drop such "
                        "lines, or check that the file has the format of this reader."
                    )
                raise ValueError(f"{where}, column {self.columns[place]!r}: {fault}")

    def _lines(self):
        """Yield number and text of each line, without its end."""
        for number, line in enumerate(io.BytesIO(self.content), 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{self.path}, line {number}: not UTF-8 text ({error.reason} at "
                    f"byte {error.start + 1})."
                ) from None
            yield number, text.rstrip("\r\n")


def import_polars():
    """Return polars, or raise an error that names the extra to install."""
    try:
        import polars
    except ImportError as error:
        raise ImportError(
            "Reading this file needs polars. Install it with: pip install "
            "'skclip[datasets]'"
        ) from error
    return polars


def read_events(path, fields, **options):
    """Read sessions from a file with one line per event."""
    return sessions_of(path, TextTable(path, fields, **options).read())


def sessions_of(path, frame):
    """Make sessions of a frame whose columns are named by their roles."""
    roles = ("time", "user", "event")
    roles = {role: role for role in roles if role in frame.columns}
    try:
        return Sessions.from_events(frame, session="session", item="item", **roles)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def are_whole(texts):
    """Whether all texts are whole numbers, and so can be ids as numbers."""
    return all(map(re.compile(_WHOLE).match, texts))


def prefixes_and_targets(rows, targets, **columns):
    """Make sessions of lists of ids, and an array of targets of the same type."""
    flat = [item for row in rows for item in row]
    vocabulary, codes = factorize_list(flat + targets)
    offsets = np.cumsum([0, *map(len, rows)])
    X = Sessions(codes[: len(flat)], offsets, vocabulary, **columns)
    return X, vocabulary[codes[len(flat) :]]


# -- values ----------------------------------------------------------------------------


def _converted(series, field):
    """Convert the values of a column to their kind. A wrong value raises."""
    pl = import_polars()
    if field.missing:
        series = series.replace(field.missing, None)
    pattern, expected = _KINDS[field.kind]
    holes = field.missing is None and series.has_nulls()
    if holes or not series.str.contains(pattern).all():
        raise ValueError(f"column {field.names[0]!r} does not hold {expected}")
    series = series.alias(field.role)
    if field.kind == "id":
        whole = series.str.contains(_WHOLE)
        return series.cast(pl.Int64) if whole.any() and whole.all() else series
    if field.kind in ("date", "time"):
        return pl.Series(field.role, _seconds(series))
    if field.kind == "milliseconds":  # numpy divides, polars would multiply
        return pl.Series(field.role, series.cast(pl.Float64).to_numpy() / 1000)
    return series.cast(pl.Float64) if field.kind == "number" else series


def _seconds(series):
    """Convert ISO times to seconds since the epoch, mixed forms by `parse_times`."""
    try:
        return series.str.to_datetime().dt.timestamp("us").to_numpy() / 1e6
    except Exception:  # a polars error, and polars is not imported here
        return parse_times(as_frame(series.to_frame()), series.name)


def _datetime(text):
    """Parse a time. Python 3.10 accepts only fractions of 3 or 6 digits."""
    text = re.sub(r"\.([0-9]+)", lambda m: f".{m[1]:0<6}", text)
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _shortened(columns):
    return columns if len(columns) <= 8 else [*columns[:8], "..."]


# -- bytes -----------------------------------------------------------------------------


def read_text(path):
    """Read the whole text of a file, which may be gzipped."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}.") from None


def read_bytes(path):
    """Read the bytes of a text, unpacked if gzipped. Refuse other binary files."""
    path = Path(path)
    with open(path, "rb") as file:
        first = file.peek(16)[:16]
        if not first:
            raise ValueError(f"{path} is empty.")
        for what, starts in _OTHER_FILES.items():
            if first.startswith(starts) or first.lower().startswith(starts):
                raise ValueError(
                    f"{path} is {what}. Expected a text file, plain or gzipped."
                )
        if not first.startswith(b"\x1f\x8b"):
            return file.read()
        try:
            return gzip.GzipFile(fileobj=file).read()
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged: {error}. Download it again."
            ) from error
