"""Lazy frames: rows with ids, counts of groups, ties, Dask's partitions."""

import narwhals.stable.v2 as nw

from skclip._data import plain

# Columns of ours in between; no log has such names.
COUNT, VALUES, BEFORE = "_skclip_count", "_skclip_values", "_skclip_before"


def is_lazy(frame):
    return isinstance(frame, nw.LazyFrame)


def with_ids(frame, *names):
    """Rows that have a value in each of these columns; None is passed over."""
    return frame.filter(*(is_there(frame, n) for n in dict.fromkeys(names) if n))


def is_there(frame, name):
    """Whether a row has a value; what is no number in a column of floats is none."""
    column = nw.col(name)
    if frame.collect_schema()[name].is_float():
        return column.is_finite().fill_null(False)
    return ~column.is_null()


def frequent(frame, name, least):
    """Rows whose value in a column is that of at least so many rows."""
    frame = with_ids(frame, name)
    return having(frame, _counts(frame, name).filter(nw.col(COUNT) >= least), name)


def frequent_users(frame, user, session, least):
    """Rows of users that have at least so many sessions."""
    frame = with_ids(frame, user, session)
    counts = _counts(_counts(frame, user, session), user)
    return having(frame, counts.filter(nw.col(COUNT) >= least), user)


def most_frequent(frame, name, n):
    """Rows of the values that most rows have; of equal ones the smaller values."""
    frame = with_ids(frame, name)
    value = nw.col(name)
    if frame.collect_schema()[name] in (nw.Categorical, nw.Enum):
        value = value.cast(nw.String)  # engines sort them by their categories
    counts = _counts(frame, name).with_columns(value.alias(VALUES))

    def top(counts):
        return counts.sort(COUNT, VALUES, descending=[True, False]).head(n)

    if frame.implementation.is_dask():  # its own sort looks at all data at once
        return having(frame, in_partitions(counts, None, top), name)
    return having(frame, top(counts), name)


def _counts(frame, *names):
    return frame.group_by(*names).agg(nw.len().alias(COUNT))


def having(frame, values, name):
    """Rows whose value in a column is one of those of another frame."""
    return frame.join(values.select(name), on=name, how="semi")


def n_rows(frame):
    """How many rows a lazy frame has, counted by its engine."""
    return int(collected(frame.select(nw.len())).item())


def collected(frame):
    """A small result in memory."""
    streaming = {"engine": "streaming"} if frame.implementation.is_polars() else {}
    return frame.collect(**streaming)


# -- order -----------------------------------------------------------------------------


def check_times(frame, time):
    """Refuse times that an engine could only sort as text."""
    kind = frame.collect_schema()[time]
    if not (kind.is_numeric() or kind in (nw.Date, nw.Datetime)):
        raise ValueError(
            f"Column {time!r} (given as time=) of the lazy frame holds {kind}. "
            "Expected numbers, dates or datetimes. Cast the column in its engine "
            "first, for instance with str.to_datetime in polars or CAST(... AS "
            "TIMESTAMP) in SQL."
        )


def order_of(frame, session, time, by, check, *, differ=()):
    """Columns that put the clicks of a session in order, or a ValueError.

    Parameters
    ----------
    frame : LazyFrame
    session : str
    time : str or None
    by : tuple of str or None
        Tie-breakers; None where the caller has given none.
    check : bool
        Count the ties that are left. Without, a caller has to give tie-breakers.
    differ : tuple of str, default=()
        Tied clicks matter only where they differ in one of these columns. Without, all
        matter.
    """
    if time is not None:
        check_times(frame, time)
    elif not by:
        raise ValueError(
            "events is a lazy frame, whose rows have no order. Pass time= (and by=, "
            "where times may be equal)."
        )
    if by is None and not check:
        raise ValueError(
            "events is a lazy frame, whose rows have no order: clicks of a session at "
            "the same time could come in any. Pass by= with a column that breaks such "
            "ties, such as the number of the row, or check=True, which counts the ties "
            "first."
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
            f"{n_ties:,} times have several clicks of one session, such as the "
            f"{first[COUNT]} of {where}. The rows of a lazy frame have no order that "
            "could decide which comes first. Pass by= with a column that does, such as "
            "the number of the row, or drop_duplicates first."
        )


# -- rows of a session one after the other ---------------------------------------------


def without_repeats(frame, session, same, order):
    """Rows that differ in one of some columns from the row before in the session."""
    schema, befores = frame.collect_schema(), []
    for i, name in enumerate(same):
        before = f"{BEFORE}_{i}"
        shifted = nw.col(name).shift(1).over(session, order_by=order)
        frame = frame.with_columns(shifted.alias(before))
        befores.append(before)
    # A missing event type equals another one; the first item has none before it.
    equal = [
        (nw.col(name) == nw.col(before)).fill_null(False)
        | (nw.col(name).is_null() & nw.col(before).is_null())
        for name, before in zip(same, befores, strict=True)
    ]
    frame = frame.filter(~nw.all_horizontal(*equal, ignore_nulls=True))
    return frame.select(*schema.names())


def first_rows(frame, keys, n, order):
    """The first rows of each group, such as a session."""
    names = frame.collect_schema().names()
    place = nw.col(keys[0]).cum_count().over(*keys, order_by=order)
    frame = frame.with_columns(place.alias(COUNT)).filter(nw.col(COUNT) <= n)
    return frame.select(*names)


# -- Dask ------------------------------------------------------------------------------


def in_partitions(frame, key, function):
    """A function of frames on each partition of a Dask frame, which is a pandas frame.

    A shuffle brings the rows of one value of `key` into one partition before, all rows
    where it is None. Dask has no window functions, so that this is how it sees clicks
    one after the other.
    """

    def of_pandas(part):
        return function(nw.from_native(part)).to_native()

    native = frame.to_native()
    parts = native.repartition(npartitions=1) if key is None else native.shuffle(key)
    return nw.from_native(parts.map_partitions(of_pandas, meta=of_pandas(parts._meta)))
