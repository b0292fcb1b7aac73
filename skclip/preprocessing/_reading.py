"""Arguments of the functions: eager or lazy frames, columns and tie-breakers."""

from skclip._data import as_frame, check_columns


def read(events, *, by=None, **columns):
    """Read an eager or lazy frame, and check that its columns exist."""
    frame = as_frame(events, lazy=True)
    check_columns(frame, **columns)
    for name in by or ():
        check_columns(frame, by=name)
    return frame


def tie_breakers(by):
    """Tie-breaking columns as a tuple, or None if there are none."""
    if not isinstance(by, str | list | tuple | None):
        raise TypeError(
            f"by={by!r}. Expected the name of a column, or a list of names."
        )
    return (by,) if isinstance(by, str) else tuple(by or ()) or None
