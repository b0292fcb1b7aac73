"""Prefixes and sessions in the files of SR-GNN and GCE-GNN."""

from __future__ import annotations

import json
import re
from pathlib import Path

from skclip._data import Sessions
from skclip._typing import ItemIds, PathLike
from skclip.datasets._text_table import prefixes_and_targets, read_text

_QUOTED_OR_ROUND = re.compile(r'"(?:\\.|[^"\\])*"|[()]')


def read_srgnn(path: PathLike) -> tuple[Sessions, ItemIds]:
    """Read prefixes and labels of SR-GNN and GCE-GNN, written as text.

    The programs of SR-GNN, GCE-GNN and their followers write a pair of prefixes and
    labels, such as ``([[1, 2], [1]], [3, 2])``. This function reads such a pair from a
    text file. Most authors publish a pickle instead, often named ``train.txt``. This
    function refuses pickles, because loading one can run code of its author. To convert
    a pickle to text, load it with an unpickler that accepts only lists and numbers::

        import json, pickle

        class Plain(pickle.Unpickler):
            def find_class(self, module, name):
                raise pickle.UnpicklingError(f"{module}.{name} is not a list or number")

        with open("train.txt", "rb") as file, open("train.json", "w") as text:
            json.dump(Plain(file).load(), text)

    Parameters
    ----------
    path : path-like
        File with the pair, in round or square brackets.

    Returns
    -------
    X : Sessions
        Prefixes in the order of the file. The files have no session ids, users or
        times.
    y : ndarray of shape (n_prefixes,)
        Label of each prefix, for ``fit(X, y)`` and ``score(X, y)``.

    Raises
    ------
    ValueError
        The file is a pickle, or does not hold a pair of equally long lists.

    See Also
    --------
    read_srgnn_sessions : Read whole sessions, ``all_train_seq.txt``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_srgnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "train.json")
    ...     _ = path.write_text("([[1, 2], [1]], [3, 2])")
    ...     X, y = read_srgnn(path)
    >>> X.to_lists(), y.tolist()
    ([[1, 2], [1]], [3, 2])
    """
    return prefixes_and_targets(*_pair(path, _read_lists(path)))


def read_srgnn_sessions(path: PathLike) -> Sessions:
    """Read the whole sessions of SR-GNN and GCE-GNN, written as text.

    Parameters
    ----------
    path : path-like
        File ``all_train_seq.txt`` as text, such as ``[[1, 2, 3], [1, 2]]``. To convert
        a pickle to text, see `read_srgnn`.

    Returns
    -------
    X : Sessions
        Sessions in the order of the file. The files have no session ids, users or
        times.

    Raises
    ------
    ValueError
        The file is a pickle, or does not hold a list of lists.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.datasets import read_srgnn_sessions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "all_train_seq.json")
    ...     _ = path.write_text("[[1, 2, 3], [1, 2]]")
    ...     read_srgnn_sessions(path).to_lists()
    [[1, 2, 3], [1, 2]]
    """
    rows = _read_lists(path)
    nested = [row for row in rows if isinstance(row, list) and row]
    if len(rows) == 2 and any(isinstance(row[0], list) for row in nested):
        raise ValueError(
            f"{path} is a pair of prefixes and labels. Use read_srgnn, which "
            "returns (X, y)."
        )
    _check_rows(path, rows, "session")
    return Sessions.from_lists(rows)


def _pair(path, pair):
    """Check a pair of prefixes and labels, and return it."""
    if len(pair) != 2 or not all(isinstance(part, list) for part in pair):
        raise ValueError(
            f"{path} is a list of {len(pair)} parts. Expected a pair of prefixes and "
            "labels, such as ([[1, 2], [1]], [3, 2]). For whole sessions, use "
            "read_srgnn_sessions."
        )
    prefixes, labels = pair
    if len(prefixes) != len(labels):
        raise ValueError(
            f"{path} has {len(prefixes)} prefixes and {len(labels)} labels. Expected "
            "one label for each prefix."
        )
    _check_rows(path, prefixes, "prefix")
    _check_ids(path, labels, "label")
    return prefixes, labels


def _read_lists(path):
    """Read the lists of a text file, in round or square brackets."""
    if _is_pickle(path):
        raise ValueError(
            f"{path} is a pickle. Loading one can run code of its author, so skclip "
            "refuses it. The docstring of read_srgnn shows how to convert it to text."
        )
    text = _QUOTED_OR_ROUND.sub(_square, read_text(path))
    if not text.strip():
        raise ValueError(f"{path} is empty.")
    try:
        lists = json.loads(text)
    except RecursionError:
        raise ValueError(f"{path} has too many nested brackets.") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}, column {error.colno}: {error.msg}. Expected "
            "lists of ids, such as ([[1, 2], [1]], [3, 2]). Put ids that are text in "
            "double quotes."
        ) from None
    if not isinstance(lists, list):
        raise ValueError(
            f"{path} holds a {type(lists).__name__}. Expected lists of ids, such as "
            "([[1, 2], [1]], [3, 2])."
        )
    return lists


def _is_pickle(path):
    """Whether a file begins and ends like a pickle, and unlike a text of lists."""
    content = Path(path).read_bytes()
    first, last = content[:1], content[-1:]
    return first == b"\x80" or (first in (b"(", b"]", b"}", b"c") and last == b".")


def _square(match):
    return {"(": "[", ")": "]"}.get(match[0], match[0])


def _check_rows(path, rows, what):
    if not rows:
        raise ValueError(f"{path} holds no {what}.")
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise ValueError(
                f"{path}, {what} {i + 1}: {row!r:.40} is not a list of ids "
                "such as [1, 2]."
            )
        _check_ids(path, row, f"{what} {i + 1}, id")


def _check_ids(path, ids, what):
    for i, value in enumerate(ids):
        if type(value) not in (int, str):
            raise ValueError(
                f"{path}, {what} {i + 1}: {value!r:.40} is not an id. Expected a whole "
                "number or text."
            )
