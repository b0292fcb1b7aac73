"""Features of a click beside its item: type, gap, dwell time, position, hour, day.

Each is a whole number from 1 that has a learned vector in the model. 0 is unknown.
"""

import numpy as np

from skclip._data._index import ItemIndex, append_ids
from skclip._warnings import warn_once, warn_user
from skclip.exceptions import UnseenItemWarning

CLICK_FEATURES = ("event", "gap", "dwell", "position", "hour", "weekday")
OF_PREFIX = {"dwell", "position"}  # a later click changes these for earlier clicks
_TIMED = {"gap", "dwell", "hour", "weekday"}
_BOUNDS = 2.0 ** np.arange(21)  # seconds: 1, 2, 4, ... 12 days
_DAY, _HOUR = 86_400, 3_600
_THURSDAY = 3  # weekday of 1970-01-01, counted from Monday = 0


def as_click_features(click_features, data):
    """Return the names of the features to read, a tuple.

    "auto" reads event types if `TrainingData` has two types or more.

    Raises
    ------
    ValueError
        If a name is unknown or given twice, or the sessions lack a column it needs.
    """
    given = click_features
    if isinstance(given, str):
        given = (given,)
    if given is not None and not isinstance(given, (tuple, list)):
        raise ValueError(
            f"click_features={given!r:.60} is not a tuple of names. Pass some of "
            f"{CLICK_FEATURES}, 'auto' or None."
        )
    names = () if given is None else tuple(given)
    several = data.types is not None and len(np.unique(data.types)) > 1
    if names == ("auto",):
        return ("event",) if several else ()
    for name in names:
        if name not in CLICK_FEATURES:
            raise ValueError(
                f"click_features={click_features!r} has the unknown name {name!r}. "
                f"Pass some of {CLICK_FEATURES}, 'auto' or None."
            )
    if len(set(names)) < len(names):
        raise ValueError(
            f"click_features={click_features!r} has a name twice. Pass each name once."
        )
    _check_columns(names, data, "click_features", click_features)
    return tuple(name for name in names if name != "event" or several)


def check_click_columns(names, data):
    """Refuse further training sessions without the columns of the model's features."""
    timed = tuple(name for name in names if name in _TIMED)
    _check_columns(timed, data, "The model's click_features", names)


def warn_further_types(names, asked, data):
    """Warn if further sessions lack types, or have types that the model cannot read."""
    several = data.types is not None and len(np.unique(data.types)) > 1
    if "event" in names and data.types is None:
        warn_user(
            "The further sessions have no event types, but the model reads them. The "
            "clicks are learned as clicks of unknown type. Pass event= to "
            "Sessions.from_events.",
            UnseenItemWarning,
        )
    elif several and "event" not in names and asked is not None:
        asked = (asked,) if isinstance(asked, str) else tuple(asked)
        if {"auto", "event"} & set(asked):
            warn_user(
                "The further sessions have several event types, but the model reads "
                "none, because the sessions of fit had at most one. The types are "
                "ignored. Fit again on all sessions to read them.",
                UnseenItemWarning,
            )


def _check_columns(names, data, what, value):
    if data.times is None and _TIMED & set(names):
        raise ValueError(
            f"{what}={value!r} needs sessions with times. Pass time= to "
            "Sessions.from_events, or times= to Sessions.from_lists."
        )
    if data.types is None and "event" in names:
        raise ValueError(
            f"{what}={value!r} needs sessions with event types. Pass event= to "
            "Sessions.from_events, or events= to Sessions.from_lists."
        )


def types_with(known, data):
    """An index of the event types. New types come after those that are `known`."""
    names = data.type_names[np.unique(data.types[data.types >= 0])]
    if known is None:
        return ItemIndex(names)
    return ItemIndex(append_ids(known.item_ids, names[known.codes_of(names) == 0]))


def codes_of_types(index, data):
    """Types of events as codes 1.. of an index, 0 = unknown; None without types."""
    if index is None or data.types is None:
        return None
    return np.append(index.codes_of(data.type_names), 0)[data.types]  # -1 is the last


def warn_unknown_clicks(owner, names, queries, types):
    """Warn once about unknown types, and about times and types that are missing.

    `types` are the codes of the types of `queries`.
    """
    if len(queries.codes) == 0:
        return
    if types is not None:
        unknown = np.unique(queries.types[(types == 0) & (queries.types >= 0)])
        if len(unknown):
            found = queries.type_names[unknown].tolist()
            warn_once(
                owner,
                "unknown types",
                f"{int(np.isin(queries.types, unknown).sum()):,} of {len(types):,} "
                f"clicks have event types that were not seen in fit, such as "
                f"{found[0]!r}. Their items are read, and their types are ignored.",
                UnseenItemWarning,
            )
    elif "event" in names:
        warn_once(
            owner,
            "no types",
            "These sessions have no event types, but the model reads them. It reads "
            "the items alone. Pass event= to Sessions.from_events, or events= to "
            "Sessions.from_lists.",
            UnseenItemWarning,
        )
    if queries.times is None and _TIMED & set(names):
        timed = tuple(name for name in names if name in _TIMED)
        warn_once(
            owner,
            "no times",
            f"These sessions have no times, but the model reads {timed} of clicks. It "
            "reads them as unknown. Pass time= to Sessions.from_events, or times= to "
            "Sessions.from_lists.",
            UnseenItemWarning,
        )


def click_feature_sizes(names, types, max_length):
    """Number of values of each feature, by name. `types` is an index, or None."""
    sizes = {
        "event": 0 if types is None else len(types),
        "gap": len(_BOUNDS) + 1,
        "dwell": len(_BOUNDS) + 1,
        "position": max_length,
        "hour": 24,
        "weekday": 7,
    }
    return {name: int(sizes[name]) for name in names}


def click_codes(names, offsets, times, types):
    """Codes of the features of all events, (n_events, n_features), int32.

    `types` are codes 1..n_types, 0 = unknown, or None. `times` are seconds, or None.
    The column of the position stays empty, because it depends on the prefix.
    """
    n_events = int(offsets[-1])
    codes = np.zeros((n_events, len(names)), dtype=np.int32)
    gaps = None
    if times is not None:
        gaps = np.full(n_events, np.nan)  # time since the click before
        gaps[1:] = np.diff(times)
        gaps[offsets[:-1][offsets[:-1] < n_events]] = np.nan
    for column, name in zip(codes.T, names, strict=True):
        if name == "event" and types is not None:
            column[:] = types
        elif name == "gap" and times is not None:
            column[:] = _bucket(gaps)
        elif name == "dwell" and times is not None:
            column[:-1] = _bucket(gaps[1:])  # unknown for the last click of a session
        elif name in ("hour", "weekday") and times is not None:
            column[:] = _on_the_clock(name, times)
    return codes


def _bucket(seconds):
    """The lowest power of two above a gap, by its number from 1; 0 = unknown."""
    known = np.isfinite(seconds)
    buckets = 1 + np.searchsorted(_BOUNDS, np.where(known, seconds, 0.0), side="right")
    return np.where(known, buckets, 0)


def _on_the_clock(name, times):
    """Hour of the day or day of the week in UTC, from 1; 0 = unknown."""
    known = np.isfinite(times)
    seconds = np.where(known, times, 0.0)
    if name == "hour":
        value = seconds % _DAY // _HOUR
    else:
        value = (seconds // _DAY + _THURSDAY) % 7
    return np.where(known, 1 + value, 0)
