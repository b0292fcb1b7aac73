"""What a caller passes: a frame in memory or a lazy one, columns, tie-breakers."""

from skclip._data import as_frame, check_columns


def read(events, *, by=None, **columns):
    """The frame, in memory or lazy, after a look at the names of its columns."""
    frame = as_frame(events, lazy=True)
    check_columns(frame, **columns)
    for name in by or ():
        check_columns(frame, by=name)
    return frame


def tie_breakers(by):
    """Columns as a tuple, or None where there are none."""
    if not isinstance(by, str | list | tuple | None):
        raise TypeError(
            f"by={by!r}. Expected the name of a column, or a list of names."
        )
    return (by,) if isinstance(by, str) else tuple(by or ()) or None
