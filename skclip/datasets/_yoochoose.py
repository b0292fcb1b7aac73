"""YooChoose, the RecSys Challenge 2015."""

from __future__ import annotations

from skclip._data import Sessions
from skclip._typing import PathLike
from skclip.datasets._text_table import Field, read_events


def read_yoochoose(path: PathLike) -> Sessions:
    """Read the raw clicks of YooChoose, the RecSys Challenge 2015.

    Parameters
    ----------
    path : path-like
        File ``yoochoose-clicks.dat`` or ``yoochoose-test.dat``, separated by commas,
        without a header. The columns are session, time such as
        ``2014-04-07T10:51:09.277Z``, item and category. The header
        ``session_id,timestamp,item_id,category`` is accepted, because the program of
        SR-GNN needs it.

    Returns
    -------
    X : Sessions
        Sessions with times in seconds. Events are sorted by time, unlike in the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_yoochoose
    >>> lines = "7,2014-04-07T10:51:09.277Z,31,0\\n7,2014-04-07T10:54:09.868Z,30,0\\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.dat")
    ...     _ = path.write_text(lines)
    ...     X = read_yoochoose(path)
    >>> X.to_lists(), X.ids.tolist()
    ([[31, 30]], [7])
    """
    fields = [
        Field("session", ("session_id",), "id"),
        Field("item", ("item_id",), "id"),
        Field("time", ("timestamp",), "time"),
    ]
    names = ["session_id", "timestamp", "item_id", "category"]
    return read_events(path, fields, sep=",", names=names)
