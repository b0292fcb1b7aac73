"""Ids of another type than those of fit: text for numbers, lost zeros, bytes."""

import contextlib
import re
import uuid
from decimal import Decimal
from numbers import Real

from skclip._data._ids import as_id_array
from skclip._sklearn import warn_user
from skclip.exceptions import IdTypeWarning

_LOOKED_AT = 50  # ids that are compared
_WHOLE = re.compile(r"[+-]?\d+(\.0+)?")
_KINDS = {"U": "text", "S": "bytes", "i": "numbers", "u": "numbers", "f": "numbers"}
_REMEDIES = {
    ("text", "numbers"): "Convert them with int(...)",
    ("numbers", "text"): "Read them as text, for instance read_csv(..., dtype=str)",
    ("text", "text"): "Read both as text, so that leading zeros are kept",
    ("bytes", "text"): "Decode them",
}


def other_type(ids, index):
    """What to say where unknown ids probably are known ones of another type, or "".

    Parameters
    ----------
    ids : ndarray of shape (n,)
        Raw ids that are not in the catalog.
    index : ItemIndex
        The catalog.

    Returns
    -------
    hint : str
        With an example from each side, and what to do.
    """
    if ids.dtype.kind == "O":
        ids = as_id_array([value for value in ids.tolist() if value is not None])
    if len(ids) == 0 or len(index) == 0:
        return ""
    ids = ids[:: max(1, len(ids) // _LOOKED_AT)]
    for value in ids.tolist():
        variants = as_id_array(list(_variants(value, index.text_widths)))
        codes = index.codes_of(variants)
        if codes.any():
            known = index.item_ids[codes.max() - 1 : codes.max()].tolist()[0]
            return _hint(value, known, "looks like")
    theirs = _kinds(index.item_ids)
    mine = _kinds(ids)
    if mine.isdisjoint(theirs):
        first, known = ids.tolist()[0], index.item_ids.tolist()[0]
        return _hint(first, known, "is of another type than")
    return ""


def _hint(value, known, how):
    mine, theirs = kind_of(value), kind_of(known)
    remedy = _REMEDIES.get((mine, theirs), f"Convert them to {theirs}")
    return (
        f"The id {value!r:.60} ({mine}) {how} {known!r:.60} ({theirs}), which was seen "
        f"in fit. {remedy}."
    )


def refuse_other_type(ids, index, what):
    """Refuse new ids that probably are known ones of another type."""
    hint = other_type(ids, index)
    if hint:
        raise ValueError(f"{what} has ids of another type than those of fit. {hint}")


def checked_codes(ids, index, what):
    """Codes of ids; warns if unknown ones probably are known ones of another type."""
    codes = index.codes_of(ids)
    hint = other_type(ids[codes == 0], index)
    if hint:
        warn_user(f"{what} has ids of another type. {hint}", IdTypeWarning)
    return codes


def kind_of(value):
    """What an id is, in a word."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, Real) and not isinstance(value, bool):
        return "numbers"
    return type(value).__name__


def _kinds(ids):
    if ids.dtype.kind in _KINDS:
        return {_KINDS[ids.dtype.kind]}
    return {kind_of(value) for value in ids[:: max(1, len(ids) // _LOOKED_AT)].tolist()}


def _variants(value, widths):
    """The same id as text, bytes, number and UUID, with and without leading zeros."""
    if isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
    elif isinstance(value, (Real, Decimal)) and not isinstance(value, bool):
        text = str(value)
    elif isinstance(value, (str, uuid.UUID)):
        text = str(value).strip()
    else:
        return
    texts = {text}
    if _WHOLE.fullmatch(text):
        number = int(text.partition(".")[0])
        yield number
        yield Decimal(number)
        texts |= {str(number), *(str(number).zfill(width) for width in widths)}
    elif len(text) == 36 and text.count("-") == 4:
        with contextlib.suppress(ValueError):
            yield uuid.UUID(text)
    for text in texts:
        yield text
        yield text.encode()
