"""Time spans in seconds."""

import datetime
import re
from numbers import Real

import numpy as np

_UNITS = {
    ("s", "second", "seconds"): 1.0,
    ("min", "minute", "minutes"): 60.0,
    ("h", "hour", "hours"): 3_600.0,
    ("d", "day", "days"): 86_400.0,
    ("w", "week", "weeks"): 604_800.0,
}
_SECONDS = {name: seconds for names, seconds in _UNITS.items() for name in names}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)?\s*([a-zA-Z]+)\s*")
_NOT_NUMBERS = bool, np.timedelta64  # although Python counts them as numbers


def is_number(value):
    """Whether a size or span is a plain number."""
    return isinstance(value, Real) and not isinstance(value, _NOT_NUMBERS)


def span_seconds(span, name, *, zero=False, numbers=False):
    """Return a time span in seconds.

    Parameters
    ----------
    span : timedelta, numpy.timedelta64, pandas.Timedelta, str or number
        Text is a number and a unit, such as "7D", or only a unit.
    name : str
        Name of the parameter, for messages.
    zero : bool, default=False
        Whether 0 is allowed.
    numbers : bool, default=False
        Whether a plain number is read as seconds. If not, it is refused.

    Returns
    -------
    seconds : float
    """
    seconds = None
    if isinstance(span, datetime.timedelta):
        seconds = span.total_seconds()
    elif isinstance(span, np.timedelta64):
        if np.datetime_data(span)[0] not in ("Y", "M", "generic"):
            seconds = float(span / np.timedelta64(1, "s"))
    elif isinstance(span, str):
        match = _TEXT.fullmatch(span)
        if match and match[2].lower() in _SECONDS:
            seconds = float(match[1] or 1) * _SECONDS[match[2].lower()]
    elif numbers and is_number(span):
        seconds = float(span)
    if seconds is None:
        raise (ValueError if isinstance(span, str) else TypeError)(
            f"{name}={span!r} is not a time span. Expected a timedelta, or a number "
            "followed by W, D, h, min or s, such as '7D' or '30min'"
            + (". A number alone is seconds." if numbers else ".")
        )
    if not (seconds > 0 or (zero and seconds == 0)):
        kind = "number of seconds" if is_number(span) else "time span"
        raise ValueError(f"{name}={span!r} must be a positive {kind}.")
    return seconds
