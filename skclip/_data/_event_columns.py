"""Weights, types and times of events in `Sessions`."""

import numpy as np

from skclip._data._ids import as_list, check_hashable, factorize_list, is_missing


def check_weights(weights):
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise ValueError(
            f"weights[{bad[0]}] is {weights[bad[0]]}. Expected a finite number of 0 or "
            "more for each event. Events of weight 0 are not learned."
        )


def check_types(types, names):
    if types is None and names is None:
        return
    if types is None or names is None:
        given, missing = ("type_names", "types")[:: 1 if types is None else -1]
        raise ValueError(f"{given} is given without {missing}. Pass both, or neither.")
    if len(types) and not (types.min() >= -1 and types.max() < len(names)):
        raise ValueError(
            f"types has values from {types.min()} to {types.max()}. Expected positions "
            f"in the {len(names)} type_names, or -1 for an unknown type."
        )


def flat_rows(values, sessions, lengths, name):
    """Flatten rows of values, one row for each session, to one value for each event."""
    of = "event types" if name == "events" else name
    rows = as_list(values, name, ordered=True, of=f"lists of {of}")
    if len(rows) != len(lengths):
        raise ValueError(
            f"{name} has {len(rows)} rows, expected {len(lengths)}. Pass one row for "
            "each session."
        )
    flat = []
    for i, (row, session, n) in enumerate(zip(rows, sessions, lengths, strict=True)):
        row = as_list(row, f"{name}[{i}]", ordered=True, of=of)
        if len(row) != len(session):
            raise ValueError(
                f"{name}[{i}] has {len(row)} values, but session {i} has "
                f"{len(session)} items. Pass one value for each item."
            )
        flat.extend(row[:n])  # without the padding of the session
    return flat


def column_of_events(name, values):
    """Arguments of `Sessions` for the values of each event."""
    if name == "events":
        known = np.array([not is_missing(value) for value in values], dtype=bool)
        types = np.full(len(values), -1, dtype=np.int32)
        check_hashable(values, name)
        of_known = [v for v, k in zip(values, known, strict=True) if k]
        names, types[known] = factorize_list(of_known)
        return {"types": types, "type_names": names}
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be numbers. Pass one number for each item."
        ) from None
    if name == "times" and not np.isfinite(numbers).all():
        raise ValueError(f"{name} has missing or infinite values. Expected seconds.")
    return {name: numbers}


def joined_weights(parts):
    """Weights of several `Sessions`, with 1 for those without any; {} if none has."""
    if all(part.weights is None for part in parts):
        return {}
    weights = [
        np.ones(part.n_events) if part.weights is None else part.weights
        for part in parts
    ]
    return {"weights": np.concatenate(weights)}


def joined_types(parts):
    """Types of several `Sessions` as positions in the names of all."""
    if all(part.types is None for part in parts):
        return {}
    names = [[] if p.types is None else p.type_names.tolist() for p in parts]
    vocabulary, codes = factorize_list([name for own in names for name in own])
    bounds = np.cumsum([0] + [len(own) for own in names])
    types = [
        np.full(part.n_events, -1)
        if part.types is None
        else np.append(codes[begin:end], -1)[part.types]  # -1 is the last
        for part, begin, end in zip(parts, bounds, bounds[1:], strict=False)
    ]
    return {"types": np.concatenate(types), "type_names": vocabulary}
