"""Ids of another type than those of fit: text for numbers, lost zeros, bytes."""

import contextlib
import itertools
import re
import uuid
from numbers import Number

import numpy as np

from skclip._data._ids import as_id_array, is_missing
from skclip._data._index import ItemIndex
from skclip._warnings import warn_once, warn_user
from skclip.exceptions import IdTypeWarning

_LOOKED_AT = 50  # ids that are compared
_WHOLE = re.compile(r"[+-]?\d{1,40}(\.0+)?")
_ZEROS = re.compile(r"0\d+")
_KINDS = {"U": "text", "S": "bytes", "i": "numbers", "u": "numbers", "f": "numbers"}
_REMEDIES = {
    ("text", "numbers"): "Convert them with int(...)",
    ("numbers", "text"): "Read them as text, for instance read_csv(..., dtype=str)",
    ("text", "text"): "Write both in the same way: read them as text, so that leading "
    "zeros are kept, and strip spaces",
    ("bytes", "text"): "Decode them",
    ("text", "bytes"): "Encode them",
}
_HOW_TO_GO_ON = {  # after the ids were read as text, by the origin of the catalog
    "which was seen in fit": "fit again",
    "which has features": "build the features again",
}


def other_type(ids, index, *, kinds=True, where="which was seen in fit"):
    """Return a hint if unknown ids are probably known ones of another type, else "".

    Parameters
    ----------
    ids : ndarray of shape (n,)
        Raw ids that are not in the catalog. None and NaN are skipped.
    index : ItemIndex
        The catalog.
    kinds : bool, default=True
        Whether to give a hint too if no id resembles a known one, but all of them have
        other types than the catalog.
    where : str
        Origin of the catalog, for the message.

    Returns
    -------
    hint : str
        An example from each side, and what to do.
    """
    are_numbers = index.item_ids.dtype.kind in "iuf"
    if len(index) == 0 or (are_numbers and ids.dtype.kind in "iuf"):
        return ""
    examples = _examples(ids)
    if not examples:
        return ""
    variants = [
        (v, value) for value in examples for v in _variants(value, index.digits)
    ]
    if are_numbers:
        variants = [pair for pair in variants if isinstance(pair[0], Number)]
    codes = index.codes_of(as_id_array([variant for variant, _ in variants]))
    if codes.any():
        found = np.flatnonzero(codes).tolist()
        at = next((i for i in found if _has_zeros(variants[i][1])), found[0])
        known = index.item_ids[codes[at] - 1 : codes[at]].tolist()[0]
        return _hint(variants[at][1], known, "looks like", where)
    theirs = _kinds(index.item_ids)
    if kinds and theirs.isdisjoint(map(kind_of, examples)):
        known = index.item_ids[:1].tolist()[0]
        value = next(filter(_has_zeros, examples), examples[0])
        return _hint(value, known, "is of another type than", where)
    return ""


def _hint(value, known, how, where):
    mine, theirs = kind_of(value), kind_of(known)
    remedy = _REMEDIES.get((mine, theirs), f"Convert them to {theirs}")
    if mine == theirs != "text":
        remedy = "Write both in the same way"
    if theirs == "numbers" and _has_zeros(value):  # int(...) would merge "07" and "7"
        remedy = (
            "Numbers have no leading zeros. Read the ids as text, for instance with "
            "pd.read_csv(..., dtype=str), and "
            + _HOW_TO_GO_ON.get(where, "use text everywhere")
        )
    return (
        f"The id {value!r:.60} ({mine}) {how} {known!r:.60} ({theirs}), {where}. "
        f"{remedy}."
    )


def refuse_other_type(ids, index, what):
    """Refuse new ids that are probably known ones of another type."""
    hint = other_type(ids, index)
    if hint:
        raise ValueError(f"{what} has ids of another type than those of fit. {hint}")


def checked_codes(ids, index, what):
    """Codes of ids; warns if unknown ones are probably known ones of another type.

    If some ids are known, unknown ones that resemble no known id are not warned about:
    they are fill values or new.
    """
    codes = index.codes_of(ids)
    unknown, kinds = ids[codes == 0], not codes.any()
    hint = other_type(unknown, index, kinds=kinds, where="which is known")
    if hint:
        warn_user(f"{what} has ids of another type. {hint}", IdTypeWarning)
    return codes


def check_own_types(index, what, *, portable=True):
    """Warn if ids look like other ids that are written in another way.

    With `portable`, also warn about types that `skclip.save` cannot write.
    """
    ids = index.item_ids
    values = ids.tolist() if ids.dtype.kind == "O" else []
    first_of = {type(value): value for value in reversed(values)}
    foreign = [value for value in first_of.values() if not is_portable(value)]
    foreign += [v for v in values if isinstance(v, tuple) and not is_portable(v)][:1]
    if foreign and portable:
        message = (
            f"{what} has ids such as {foreign[0]!r:.60} ({kind_of(foreign[0])}), which "
            "skclip.save cannot write: it takes numbers, text, bytes and tuples of "
            "these. Convert them first, for instance with str(...), or save the model "
            "with joblib."
        )
        warn_once(index, "not portable", message, IdTypeWarning)
    kinds = set(map(kind_of, first_of.values()))
    hint = _mixed_types(values) if len(kinds) > 1 else _lost_zeros(index)
    if hint:
        message = f"{what} mixes ids that are written in several ways. {hint}"
        warn_once(index, "mixed types", message, IdTypeWarning)


def _mixed_types(values):
    """Return a hint if ids look like others of another type, else ""."""
    by_kind = {}
    for value in values:
        by_kind.setdefault(kind_of(value), []).append(value)
    *rarer, _ = sorted(by_kind, key=lambda kind: len(by_kind[kind]))
    for kind in rarer:
        others = [v for other in by_kind if other != kind for v in by_kind[other]]
        hint = other_type(
            as_id_array(by_kind[kind]),
            ItemIndex(as_id_array(others)),
            kinds=False,
            where="which is there too",
        )
        if hint:
            return hint
    return ""


def _lost_zeros(index):
    """Return a hint if most ids with leading zeros also occur without them, else ""."""
    if not index.digits.zeros:
        return ""
    ids = index.item_ids
    ids = ids[ids.astype("U1") == "0"] if ids.dtype.kind == "U" else ids
    found = [i for i in _examples(ids) if isinstance(i, str) and i[:1] == "0" and i[1:]]
    bare = as_id_array([i.lstrip("0") for i in found])
    known = index.codes_of(bare) > 0
    if 2 * known.sum() <= len(found):
        return ""
    at = int(known.argmax())
    return _hint(found[at], bare.tolist()[at], "looks like", "which is there too")


def is_portable(value):
    """Whether `skclip.save` can write an id exactly."""
    if isinstance(value, tuple):
        return all(map(is_portable, value))
    if isinstance(value, np.generic):
        return isinstance(value, (str, bytes)) or (
            value.dtype.kind in "biuf" and value.dtype.itemsize <= 8
        )
    return isinstance(value, (bool, str, bytes)) or type(value) in (int, float)


def kind_of(value):
    """The kind of an id, in a word."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, Number) and not isinstance(value, bool):
        return "numbers"
    return type(value).__name__


def _has_zeros(value):
    """Whether an id is text of digits with leading zeros."""
    text = _text_of(value) if isinstance(value, (str, bytes)) else ""
    return _ZEROS.fullmatch(text.strip()) is not None


def _kinds(ids):
    if ids.dtype.kind in _KINDS:
        return {_KINDS[ids.dtype.kind]}
    return set(map(kind_of, {type(value): value for value in ids.tolist()}.values()))


def _examples(ids):
    """Some ids, at least one of each type, without missing ones."""
    if ids.dtype.kind in "OT":
        values = [value for value in ids.tolist() if not is_missing(value)]
        first_of = {type(value): value for value in reversed(values)}
        return [*first_of.values(), *values[:: max(1, len(values) // _LOOKED_AT)]]
    ids = ids[ids == ids]
    return ids[:: max(1, len(ids) // _LOOKED_AT)].tolist()


def _variants(value, digits):
    """The same id as text, bytes, number and UUID, with and without leading zeros.

    `digits` describes how text of digits is written in the catalog, see `ItemIndex`.
    """
    if isinstance(value, tuple):
        ways = [
            {part, _number_of(part), _text_of(part), str(_text_of(part)).encode()}
            for part in value
        ]
        yield from itertools.islice(itertools.product(*ways), 256)
        return
    text = _text_of(value)
    if not isinstance(text, str):
        return
    texts = {text, text.strip()}
    if _WHOLE.fullmatch(text.strip()):
        number = _number_of(text)
        yield number
        # Leading zeros may be part of an id: "7" and "07" are two ids if other ids
        # have one digit.
        is_text = isinstance(value, (str, bytes))
        if not (is_text and digits.zeros and text[:1] == "0"):
            texts |= {str(number), f"{number}.0"}
        lost = digits.zeros and len(text) not in digits.widths
        if not is_text or (lost and (text[:1] != "0" or len(digits.widths) == 1)):
            texts |= {str(number).zfill(width) for width in digits.widths}
    else:
        with contextlib.suppress(ValueError):
            found = uuid.UUID(text)
            yield found
            texts |= {str(found), str(found).upper(), found.hex}
    for text in texts:
        yield text
        yield text.encode("utf-8", "surrogatepass")


def _text_of(value):
    """An id as text if possible, else the id itself."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, uuid.UUID)):
        return str(value)
    if isinstance(value, Number) and not isinstance(value, bool):
        whole = isinstance(value, float) and value.is_integer()
        return f"{int(value)}.0" if whole else str(value)
    return value


def _number_of(value):
    """The whole number that an id stands for if there is one, else the id itself."""
    text = _text_of(value)
    if isinstance(text, str) and _WHOLE.fullmatch(text.strip()):
        return int(text.strip().partition(".")[0])
    return value
