"""Lazy frames: rows with ids, counts of groups, ties, Dask's partitions."""

import narwhals.stable.v2 as nw

from skclip._data import plain

# Names of temporary columns, chosen so that no log has them.
COUNT, VALUES, BEFORE = "_skclip_count", "_skclip_values", "_skclip_before"
KEY = "_skclip_key"


def is_lazy(frame):
    return isinstance(frame, nw.LazyFrame)


def with_ids(frame, *names):
    """Rows with a value in each of these columns. Names of None are skipped."""
    return frame.filter(*(is_there(frame, n) for n in dict.fromkeys(names) if n))


def is_there(frame, name):
    """Whether a row has a value. NaN and infinity are none in a column of floats."""
    column = nw.col(name)
    if frame.collect_schema()[name].is_float():
        return column.is_finite().fill_null(False)
    return ~column.is_null()


def frequent(frame, name, least):
    """Rows whose value in a column occurs in at least `least` rows."""
    frame = with_ids(frame, name)
    return having(frame, _counts(frame, name).filter(nw.col(COUNT) >= least), name)


def frequent_users(frame, user, session, least):
    """Rows of users with at least `least` sessions."""
    frame = with_ids(frame, user, session)
    counts = _counts(_counts(frame, user, session), user)
    return having(frame, counts.filter(nw.col(COUNT) >= least), user)


def most_frequent(frame, name, n):
    """Rows with the `n` most frequent values, and smaller values among ties."""
    frame = with_ids(frame, name)
    counts = _counts(frame, name)
    counts = counts.with_columns(sort_key(frame, name).alias(VALUES))

    def top(counts):
        return counts.sort(COUNT, VALUES, descending=[True, False]).head(n)

    if frame.implementation.is_dask():  # a sort of Dask needs all data at once
        return having(frame, in_partitions(counts, None, top), name)
    return having(frame, top(counts), name)


def _counts(frame, *names):
    return frame.group_by(*names).agg(nw.len().alias(COUNT))


def having(frame, values, name):
    """Rows whose value in a column occurs in another frame."""
    return frame.join(values.select(name), on=name, how="semi")


def n_rows(frame):
    """Number of rows of a lazy frame, counted by its engine."""
    return int(collected(frame.select(nw.len())).item())


def collected(frame):
    """Collect a small result into memory."""
    streaming = {"engine": "streaming"} if frame.implementation.is_polars() else {}
    return frame.collect(**streaming)


# -- order -----------------------------------------------------------------------------


def check_times(frame, time):
    """Raise an error for times that an engine could only sort as text."""
    kind = frame.collect_schema()[time]
    if not (kind.is_numeric() or kind in (nw.Date, nw.Datetime)):
        raise ValueError(
            f"Column {time!r} (given as time=) of the lazy frame holds {kind}. "
            "Expected numbers, dates or datetimes. Cast the column in its engine "
            "first, for example with str.to_datetime in polars or CAST(... AS "
            "TIMESTAMP) in SQL."
        )


def order_of(frame, session, time, by, check, *, differ=()):
    """Columns that sort the clicks of a session. Raises a ValueError if undefined.

    Parameters
    ----------
    frame : LazyFrame
    session : str
    time : str or None
    by : tuple of str or None
        Tie-breakers, or None if the caller passed none.
    check : bool
        Whether to count the remaining ties. If False, tie-breakers are required.
    differ : tuple of str, default=()
        Ties only count between clicks that differ in one of these columns. Without
        columns, all ties count.
    """
    if time is not None:
        check_times(frame, time)
    elif not by:
        raise ValueError(
            "events is a lazy frame, whose rows have no order. Pass time=, and also "
            "by= if times may be equal."
        )
    if by is None and not check:
        raise ValueError(
            "events is a lazy frame, whose rows have no order, so clicks of a session "
            "at the same time could come in any order. Pass by= with a column that "
            "breaks such ties, such as the row number, or pass check=True to count "
            "the ties first."
        )
    order = [n for n in dict.fromkeys((time, *(by or ()))) if n is not None]
    if check:
        _refuse_ties(frame, list(dict.fromkeys((session, *order))), differ)
    return order


def _refuse_ties(frame, keys, differ):
    values = [nw.col(n).n_unique().alias(f"{VALUES}_{i}") for i, n in enumerate(differ)]
    tied = frame.group_by(keys).agg(nw.len().alias(COUNT), *values)
    tied = tied.filter(nw.col(COUNT) > 1)
    if differ:
        several = [nw.col(f"{VALUES}_{i}") > 1 for i in range(len(differ))]
        tied = tied.filter(nw.any_horizontal(*several, ignore_nulls=True))
    n_ties = n_rows(tied)
    if n_ties:
        first = collected(tied.head(1)).rows(named=True)[0]
        where = ", ".join(f"{key}={plain(first[key])!r}" for key in keys)
        raise ValueError(
            f"{n_ties:,} times have several clicks of the same session, such as the "
            f"{first[COUNT]} of {where}. The rows of a lazy frame have no order, so "
            "it is undefined which click comes first. Pass by= with a column that "
            "breaks ties, such as the row number, or call drop_duplicates first."
        )


def sort_key(frame, name):
    """A column in the form in which engines sort it like frames in memory.

    Categories sort as text, not in the order of their list. NaN sorts as a missing
    value.
    """
    kind, values = frame.collect_schema()[name], nw.col(name)
    if kind in (nw.Categorical, nw.Enum):
        return values.cast(nw.String)
    return nw.when(~values.is_nan()).then(values) if kind.is_float() else values


def _with_sort_keys(frame, order):
    """The frame with one column per sort key, and the names of these columns."""
    keys = {f"{KEY}_{i}": sort_key(frame, name) for i, name in enumerate(order)}
    return frame.with_columns(**keys), list(keys)


# -- rows of a session one after the other ---------------------------------------------


def without_repeats(frame, session, same, order):
    """Rows that differ from the row before in the session in one of the columns."""
    names, befores = frame.collect_schema().names(), []
    frame, order = _with_sort_keys(frame, order)
    for i, name in enumerate(same):
        before = f"{BEFORE}_{i}"
        shifted = nw.col(name).shift(1).over(session, order_by=order)
        frame = frame.with_columns(shifted.alias(before))
        befores.append(before)
    # Missing event types equal each other. The first item of a session has none before.
    equal = [
        (nw.col(name) == nw.col(before)).fill_null(False)
        | (nw.col(name).is_null() & nw.col(before).is_null())
        for name, before in zip(same, befores, strict=True)
    ]
    frame = frame.filter(~nw.all_horizontal(*equal, ignore_nulls=True))
    return frame.select(*names)


def first_rows(frame, keys, n, order):
    """The first rows of each group, such as a session."""
    names = frame.collect_schema().names()
    frame, order = _with_sort_keys(frame, order)
    place = nw.col(keys[0]).cum_count().over(*keys, order_by=order)
    frame = frame.with_columns(place.alias(COUNT)).filter(nw.col(COUNT) <= n)
    return frame.select(*names)


# -- Dask ------------------------------------------------------------------------------


def in_partitions(frame, key, function):
    """Apply a function of frames to each partition of a Dask frame, as pandas frames.

    A shuffle first brings all rows with the same value of `key` into one partition, or
    all rows if `key` is None. Dask has no window functions, so this is the way to
    compare a click with the one before it.
    """

    def of_pandas(part):
        return function(nw.from_native(part)).to_native()

    native = frame.to_native()
    parts = native.repartition(npartitions=1) if key is None else native.shuffle(key)
    return nw.from_native(parts.map_partitions(of_pandas, meta=of_pandas(parts._meta)))
