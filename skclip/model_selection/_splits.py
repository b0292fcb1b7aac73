"""Splits between sessions, in time."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Literal, TypeAlias, get_args, overload

import numpy as np

from skclip._data import (
    Sessions,
    check_times_rise,
    is_number,
    own_codes,
    span_seconds,
)
from skclip._typing import IntArray, Span
from skclip._warnings import warn_user

_Straddling: TypeAlias = Literal["warn", "keep", "drop", "raise"]
_STRADDLING = get_args(_Straddling)


class Splitter:
    """Base of the splitters: number of splits and representation."""

    n_splits: int = 1

    def get_n_splits(
        self, X: object = None, y: object = None, groups: object = None
    ) -> int:
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        n_splits : int
            Number of splits.
        """
        return self.n_splits

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({params})"


class _TimeSplitter(Splitter):
    """Base of splits in time. `_parts` yields parts of rows in order of time."""

    def split(
        self, X: Sessions, y: object = None, groups: object = None
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the training and test rows of each split.

        Parameters
        ----------
        X : Sessions
            With times.
        y, groups : object
            Ignored.

        Yields
        ------
        train, test : ndarray of int
            Rows in order of time. The earliest test part comes first.

        Raises
        ------
        TypeError
            `X` is not `Sessions`, or a size has the wrong type.
        ValueError
            `X` has no times, or times decrease within a session. There are too few
            sessions, or too little time. A part has no session. Or test sessions
            straddle the split and `straddling` is "raise".

        Warns
        -----
        UserWarning
            Test sessions straddle a split. One warning covers all splits.
        """
        order, ends = _time_order(X, type(self).__name__, self.n_splits)
        splits = [(order[train], order[test]) for train, test in self._parts(X, ends)]
        yield from _without_straddlers(X, splits, self.straddling)


class TemporalSplit(_TimeSplitter):
    """Split sessions in time: train on earlier sessions, test on later ones.

    Sessions are sorted by the time of their last event, and by session id if times are
    equal. The latest sessions form the test parts, one after the other. Each split
    trains on everything before its test part, except for `gap`. Pass the splitter as
    ``cv=`` to scikit-learn.

    Parameters
    ----------
    n_splits : int, default=5
        Number of test parts.
    test_size : int, float, timedelta or str, default=None
        Size of each test part. An int is a number of sessions, and a float is a share
        of all sessions. A timedelta or a text such as ``"7D"``, ``"12h"``, ``"30min"``,
        ``"90s"`` or ``"2W"`` is a span of time, counted back from the last event. A
        session belongs to the span in which it ends. None gives all test parts and
        the first training part the same number of sessions.
    gap : int, float, timedelta or str, default=0
        Size of the gap between training and test part, in the same units. An int leaves
        out that number of sessions before the test part. A span leaves out training
        sessions that end within this span before the test part. The test part begins
        with its span of time, or with the end of its first session if `test_size` is
        not a span.
    straddling : {"warn", "keep", "drop", "raise"}, default="warn"
        What to do with test sessions that begin before the last training event. The
        model may have learned from their future. "warn" and "keep" keep them, with
        and without a warning. "drop" removes them from the test part. "raise" raises
        an error.

    See Also
    --------
    SlidingWindowSplit : A training window of fixed length.
    leakage_check : Find other leaks from the test part into training.
    sklearn.model_selection.TimeSeriesSplit : Split by the order of rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from skclip import Sessions
    >>> from skclip.model_selection import TemporalSplit
    >>> clicks = pd.DataFrame({"sid": [2, 2, 1, 1, 3, 3], "sku": list("abcabc"),
    ...                        "ts": [5, 6, 1, 2, 8, 9]})
    >>> X = Sessions.from_events(clicks, session="sid", item="sku", time="ts")
    >>> train, test = next(TemporalSplit(1, test_size=1).split(X))
    >>> X[train].ids.tolist(), X[test].ids.tolist()
    ([1, 2], [3])
    >>> train, test = next(TemporalSplit(1, test_size="2s", gap="2s").split(X))
    >>> X[train].ids.tolist(), X[test].ids.tolist()
    ([1], [3])
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        test_size: Span | None = None,
        gap: Span = 0,
        straddling: _Straddling = "warn",
    ) -> None:
        self.n_splits = n_splits
        self.test_size = test_size
        self.gap = gap
        self.straddling = straddling

    def _parts(self, X, ends):
        for i in range(self.n_splits):
            last, start, stop = self._bounds(i, ends)
            yield slice(last), slice(start, stop)

    def _bounds(self, i, ends):
        """End of the training part, start and end of test part i, in sorted rows."""
        n, size = len(ends), self.test_size
        size, in_time = _size(
            n // (self.n_splits + 1) if size is None else size, n, "test_size"
        )
        later = self.n_splits - i  # this test part and those behind it
        start, stop = n - later * size, n - (later - 1) * size
        if in_time and n:
            cut = ends[-1] - later * size
            start, stop = np.searchsorted(ends, [cut, cut + size], side="right")
            stop = n if later == 1 else stop  # whatever rounding does
        if start >= stop or start < 1:
            words = repr(self.test_size) if isinstance(size, float) else size
            raise ValueError(
                f"{n} sessions are too few for n_splits={self.n_splits} test parts of "
                f"{words}. Pass fewer splits or another test_size."
            )
        gap, gap_in_time = _size(self.gap, n, "gap", zero=True)
        if gap_in_time:
            begin = cut if in_time else ends[start]
            last = np.searchsorted(ends[:start], begin - gap, side="right")
        else:
            last = start - gap
        if last < 1:
            raise ValueError(
                f"gap={self.gap!r} leaves no session to train on before test part {i}. "
                "Pass a smaller gap or fewer splits."
            )
        return last, start, stop


class SlidingWindowSplit(_TimeSplitter):
    """Split sessions into windows of fixed length that slide through time.

    Each split trains on the sessions that end in a window of `train_size`, and tests on
    the sessions that end in the following `test_size`. The last window ends with the
    last event. By default, the windows of two splits do not overlap. With five splits,
    this is the protocol of the session-rec comparison [1]_, which averages over the
    slices. ``step=test_size`` simulates a refit every `test_size`. Pass the splitter
    as ``cv=`` to scikit-learn.

    Parameters
    ----------
    n_splits : int, default=5
        Number of test parts.
    train_size, test_size : timedelta or str
        Lengths of the two windows: a timedelta, or text such as ``"30D"`` or ``"12h"``.
    gap, step : timedelta or str, default=None
        Span left out between the two windows, and span from one split to the next. The
        default is no gap, and a step of training window, gap and test window
        together.
    straddling : {"warn", "keep", "drop", "raise"}, default="warn"
        As in `TemporalSplit`.

    See Also
    --------
    TemporalSplit : Train on everything before the test part.

    References
    ----------
    .. [1] M. Ludewig, D. Jannach, "Evaluation of Session-based Recommendation
           Algorithms", User Modeling and User-Adapted Interaction 28 (2018),
           doi:10.1007/s11257-018-9209-6.

    Examples
    --------
    >>> from skclip.datasets import make_sessions
    >>> from skclip.model_selection import SlidingWindowSplit
    >>> X, _ = make_sessions(1000, n_days=30, random_state=0)
    >>> cv = SlidingWindowSplit(3, train_size="8D", test_size="1D", straddling="keep")
    >>> [round((X.end_times[test].min() - X.end_times.min()) / 86400)
    ...  for train, test in cv.split(X)]
    [11, 20, 29]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        train_size: Span,
        test_size: Span,
        gap: Span | None = None,
        step: Span | None = None,
        straddling: _Straddling = "warn",
    ) -> None:
        self.n_splits = n_splits
        self.train_size = train_size
        self.test_size = test_size
        self.gap = gap
        self.step = step
        self.straddling = straddling

    def _parts(self, X, ends):
        spans, step = self._spans(X.times.max() - X.times.min() if X.n_events else 0.0)
        for i in range(self.n_splits):
            last = ends[-1] - (self.n_splits - 1 - i) * step
            bounds = np.subtract.accumulate([last, *reversed(spans)])  # back in time
            d, c, b, a = np.searchsorted(ends, bounds, side="right")
            if a == b or c == d:
                window, size = ("training", "train") if a == b else ("test", "test")
                raise ValueError(
                    f"The {window} window of split {i} has no session. Pass a larger "
                    f"{size}_size or fewer splits."
                )
            yield slice(a, b), slice(c, d)

    def _spans(self, available):
        """Seconds of training window, gap and test window; and of a step."""
        gap = 0.0 if self.gap is None else span_seconds(self.gap, "gap", zero=True)
        train = span_seconds(self.train_size, "train_size")
        spans = train, gap, span_seconds(self.test_size, "test_size")
        step = sum(spans) if self.step is None else span_seconds(self.step, "step")
        needed = sum(spans) + (self.n_splits - 1) * step
        if needed > available:
            raise ValueError(
                f"{self.n_splits} windows need {needed / 86400:g} days, the events "
                f"span {available / 86400:g}. Pass fewer splits, a smaller train_size "
                "or a smaller step."
            )
        return spans, step


@overload
def temporal_split(
    X: Sessions,
    *,
    test_size: Span = 0.1,
    validation_size: Span = 0.1,
    straddling: _Straddling = "warn",
) -> tuple[Sessions, Sessions, Sessions]: ...
@overload
def temporal_split(
    X: Sessions,
    *,
    test_size: Span = 0.1,
    validation_size: None,
    straddling: _Straddling = "warn",
) -> tuple[Sessions, Sessions]: ...
def temporal_split(
    X: Sessions,
    *,
    test_size: Span = 0.1,
    validation_size: Span | None = 0.1,
    straddling: _Straddling = "warn",
) -> tuple[Sessions, ...]:
    """Split sessions in time into training, validation and test part.

    By default, the latest tenth of the sessions is the test part, and the tenth before
    it is the validation part. The paper of CLIP-SBR describes this protocol.

    Parameters
    ----------
    X : Sessions
        Sessions with times.
    test_size, validation_size : int, float, timedelta or str, default=0.1
        Size of each part: a number of sessions, a share of all sessions, or a span of
        time such as ``"7D"`` (see `TemporalSplit`). ``validation_size=None`` returns
        two parts, training and test.
    straddling : {"warn", "keep", "drop", "raise"}, default="warn"
        What to do with sessions that begin before the last event of the part before
        them, see `TemporalSplit`.

    Returns
    -------
    X_train, X_validation, X_test : Sessions
        The parts, sorted by the time of the last event, and by session id if times are
        equal. `X_validation` is left out if `validation_size` is None.

    Notes
    -----
    Differences from the paper and its code:

    - **Sessions open at the split.** Published code assigns a session by its last event
      and keeps sessions that began before the split. skclip does the same with a
      warning, because such a test session asks about the past; ``straddling="drop"``
      leaves it out.

    Examples
    --------
    >>> from skclip.datasets import make_sessions
    >>> from skclip.model_selection import temporal_split
    >>> X, _ = make_sessions(100, random_state=0)
    >>> train, validation, test = temporal_split(X)
    >>> len(train), len(validation), len(test)
    (80, 10, 10)
    >>> train, test = temporal_split(X, validation_size=None)
    >>> len(train), len(test)
    (90, 10)
    """
    order, ends = _time_order(X, "temporal_split")
    sizes = {"test_size": test_size, "validation_size": validation_size}
    if validation_size is None:
        del sizes["validation_size"]
    starts, n = [], len(X)
    for name, size in sizes.items():  # from the last part to the first
        n = max(0, _last_part(size, len(X), ends[:n], name))
        starts.insert(0, n)
    if n < 1:
        raise ValueError(
            f"{len(X)} sessions are too few for validation_size={validation_size} and "
            f"test_size={test_size}. Pass smaller parts."
        )
    parts = np.split(order, starts)
    splits = [
        (order[:start], part) for start, part in zip(starts, parts[1:], strict=True)
    ]
    several = len(splits) > 1
    splits = _without_straddlers(X, splits, straddling, parts_in_a_row=several)
    return tuple(X[rows] for rows in (parts[0], *(part for _, part in splits)))


def _last_part(size, n, ends, name):
    """Position at which the last part of sorted sessions begins."""
    size, in_time = _size(size, n, name, zero=True)
    if in_time and len(ends):
        return int(np.searchsorted(ends, ends[-1] - size, side="right"))
    return 0 if in_time else len(ends) - size


def _without_straddlers(X, splits, straddling, *, parts_in_a_row=False):
    """Apply `straddling` to the splits.

    `parts_in_a_row` means that these are validation and test part, for messages.
    """
    if straddling not in _STRADDLING:
        raise ValueError(
            f"straddling must be one of {sorted(_STRADDLING)}, got {straddling!r}."
        )
    if straddling == "keep":
        return splits
    later, parts, end = "test", "the test part", "the last training event"
    if parts_in_a_row:
        later, parts = "held-out", "the validation and test parts"
        end = "the last event of the parts before them"
    ends = _end_times(X)
    starts = np.full(len(X), np.inf)  # empty sessions never straddle
    filled = np.flatnonzero(X.lengths)
    starts[filled] = X.times[X.offsets[filled]]
    early = [starts[test] < ends[train].max(initial=-np.inf) for train, test in splits]
    count, total = sum(e.sum() for e in early), sum(map(len, early))
    if straddling == "drop":
        for e in early:
            if len(e) and e.all():
                raise ValueError(
                    f"straddling='drop' leaves no session: all {len(e)} {later} "
                    f"sessions begin before {end}. Split whole sessions, not "
                    "prefixes, or pass a gap."
                )
        return [(a, b[~e]) for (a, b), e in zip(splits, early, strict=True)]
    if count:
        message = (
            f"{count} of {total} {later} sessions straddle the split: they begin "
            f"before {end}. Pass straddling='drop' to leave them out of {parts}, or "
            "straddling='keep' if a few do not matter."
        )
        if straddling == "raise":
            raise ValueError(message)
        warn_user(message)
    return splits


def _time_order(X, name, n_splits=1):
    """Rows sorted by time of the last event and id, empty ones first, and the times."""
    if not isinstance(n_splits, Integral) or n_splits < 1:
        raise ValueError(f"n_splits must be at least 1, got {n_splits!r}.")
    if not isinstance(X, Sessions):
        raise TypeError(
            f"X is a {type(X).__name__}. {name} needs Sessions with times: "
            "Sessions.from_events(df, session=..., item=..., time=...)."
        )
    if X.times is None:
        raise ValueError(
            "The sessions have no times. Pass time= to Sessions.from_events, or "
            "use sklearn's TimeSeriesSplit if the rows are in order of time."
        )
    check_times_rise(X)
    ends = _end_times(X)
    ids = own_codes(X.ids, len(X))
    order = np.lexsort((ids, ends))
    return order, ends[order]


def _end_times(X):
    return np.nan_to_num(X.end_times, nan=-np.inf)


def _size(size, n, name, zero=False):
    """A number of sessions and False, or a number of seconds and True."""
    if not is_number(size):
        return span_seconds(size, name, zero=zero), True
    if isinstance(size, Integral):
        if size < 0:
            raise ValueError(f"{name} must not be negative, got {size!r}.")
        return int(size), False
    if not 0 <= size < 1:
        raise ValueError(
            f"{name}={size!r} is a float, a share of the sessions: expected 0 <= "
            f"{name} < 1. Pass a whole number of sessions or a span such as '7D'."
        )
    return round(size * n), False
