"""Titles of items from a CSV file, matched to the ids of a catalog."""

import csv
import re

import numpy as np

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,40})(\.0+)?\s*")


def read_titles(path):
    """Read titles by id from a CSV file, both as text.

    Raises
    ------
    ValueError
        There is no column of titles, the file is not CSV in UTF-8, or an item has two
        titles.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _titles_by_id(csv.reader(file, strict=True), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}.") from error


def _titles_by_id(rows, path):
    header = [name.strip().casefold() for name in next(rows, [])]
    if "title" not in header[1:]:
        raise ValueError(
            f"{path} has the columns {header!s:.200}. Expected item ids in the first "
            "column, and a later column 'title'."
        )
    at, titles = header.index("title", 1), {}
    for row in rows:
        if not row:
            continue
        if len(row) <= at:
            raise ValueError(
                f"{path}, line {rows.line_num}: expected {len(header)} columns, found "
                f"{len(row)}."
            )
        _add(titles, row[0], row[at].strip(), path)
    return titles


def _add(titles, item, title, path):
    if titles.setdefault(item, title) != title:
        raise ValueError(
            f"{path} has two titles for the item {item!r:.60}: {titles[item]!r:.60} "
            f"and {title!r:.60}. Keep one."
        )


def match_titles(titles, index, path):
    """Return titles in the order of a catalog, and None for items without a title.

    Ids of the file are text. An id stands for a number if the catalog has the number
    but not the text.

    Returns
    -------
    titles : list
    mismatch : str or None
        Error message if the file has none of the items.

    Raises
    ------
    ValueError
        An item of the catalog has two titles.
    """
    found = {}
    for code, item, title in _coded(titles, index):
        if found.setdefault(code, title) != title:
            raise ValueError(
                f"{path} has two titles for the item "
                f"{index.item_ids[code - 1].item()!r:.60}, once as {item!r:.60}: "
                f"{found[code]!r:.60} and {title!r:.60}. Keep one."
            )
    mismatch = None
    if not found:
        mismatch = (
            f"{path} has titles of {len(titles):,} items, and none of them is in the "
            f"model. Its ids look like {next(iter(titles), '')!r:.60}, and those of "
            f"the model like {index.item_ids[:1].tolist()[0]!r:.60}."
        )
    return [found.get(code) or None for code in range(1, len(index) + 1)], mismatch


def _coded(titles, index):
    """Return code, id and title of each line whose item is in the catalog."""
    items = np.empty(len(titles), dtype=object)
    items[:] = list(titles)
    codes = index.codes_of(items)
    numbers = [_WHOLE.fullmatch(item) for item in titles]
    as_number = np.empty(len(titles), dtype=object)
    as_number[:] = [int(number[1]) if number else "" for number in numbers]
    is_number = np.array([number is not None for number in numbers], dtype=bool)
    also = (codes == 0) & is_number
    codes[also] = index.codes_of(as_number[also])
    rows = zip(codes.tolist(), titles.items(), strict=True)
    return [(code, item, title) for code, (item, title) in rows if code]
