"""Save and load fitted models in one file that runs no code.

joblib and pickle execute code from the file that they open, so only use them for your
own files. `save` writes plain data: a JSON document with names of classes and
parameters, and arrays in the safetensors format, with a checksum. `load` only creates
objects of classes that it has in its own list.
"""

from __future__ import annotations

import base64
import inspect
import os
from collections.abc import Collection
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skclip import (
    backbones,
    baselines,
    controls,
    ensemble,
    features,
    llm,
    losses,
    rerank,
    text,
)
from skclip._base import VERSION
from skclip._clip import CLIPSessionRecommender
from skclip._clusters import SessionClusterer
from skclip._container import read_container, write_container
from skclip._data import ItemFeatures
from skclip._model import Fusion, Prompt
from skclip._sklearn import CALLBACKS
from skclip._typing import Estimator, PathLike
from skclip._warnings import warn_user
from skclip.backbones import BackboneSpec
from skclip.metrics import SessionScorer

__all__ = ["load", "save"]

_MAGIC = b"\x89skclip\n"
_THEIRS = (Pipeline, FrozenEstimator)  # scikit-learn classes that wrap our estimators
_KIND = "\N{SECTION SIGN}"  # key that marks types which JSON does not have


class _Damaged(ValueError):
    """The content of the file is not what `save` writes."""


def save(estimator: Estimator, path: PathLike) -> None:
    """Write an estimator to one file.

    Parameters
    ----------
    estimator : CLIPSessionRecommender, clusterer, baseline, or Pipeline of these
        Estimator to save, usually fitted. If its backbone is your own class, pass that
        class to `load`.
    path : path-like
        Path of the file, with any name. An existing file is only replaced when the new
        one is complete, so a crash leaves the old file intact.

    Raises
    ------
    TypeError
        If the estimator, a parameter (such as a callable `scoring`) or an item id
        cannot be stored exactly. Ids may be numbers, text, bytes, booleans and tuples
        of these.

    Warns
    -----
    UserWarning
        If the estimator is not fitted.

    Notes
    -----
    The file takes 4 bytes per parameter of the network, including ``embedding_dim``
    parameters per item, and the ids. Clusterers store their graph, 12 bytes per edge.

    A `CLIPSessionRecommender` keeps training sessions for `partial_fit`, 4 bytes per
    click, and `SessionKNN` keeps all of them. Everyone with the file can read them.
    With ``n_rehearsed=0``, a `CLIPSessionRecommender` keeps no sessions.

    Callbacks belong to a fit and not to the model, so they are not saved.

    Examples
    --------
    >>> import tempfile, os, skclip
    >>> model = skclip.PopularityRecommender().fit([["a", "b"], ["b", "c"]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skclip.save(model, os.path.join(folder, "model.skclip"))
    ...     again = skclip.load(os.path.join(folder, "model.skclip"))
    >>> again.predict([["a"]]).tolist()
    ['b']
    """
    if isinstance(path, BaseEstimator):
        raise TypeError("Pass the estimator first: skclip.save(estimator, path).")
    if hasattr(estimator, "best_estimator_"):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}. Save its best estimator: "
            "skclip.save(search.best_estimator_, path)."
        )
    if isinstance(estimator, BaseEstimator) and hasattr(estimator, "fit"):
        try:
            check_is_fitted(estimator)
        except NotFittedError:
            warn_user(
                f"This {type(estimator).__name__} is not fitted, so the file only has "
                "its parameters. Call fit first to save a model."
            )
    arrays = {}
    document = {"skclip": VERSION, "estimator": _encode(estimator, arrays, "estimator")}
    write_container(path, _MAGIC, document, arrays)


def load(path: PathLike, *, backbones: Collection[type[BackboneSpec]] = ()) -> Any:
    """Load a file that `save` wrote. No code in the file is executed.

    Parameters
    ----------
    path : path-like
        Path of the file.
    backbones : sequence of BackboneSpec classes, default=()
        Your own backbone classes that the file may contain.

    Returns
    -------
    estimator : object
        The saved estimator. A fitted one ranks bit for bit as before on the same
        machine. It uses a GPU if there is one and its ``device`` parameter allows it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a skclip model, if it is truncated or changed, if it has a
        newer format, or if it contains an unknown class.

    See Also
    --------
    save : Write the file.

    Examples
    --------
    >>> import os, tempfile, skclip
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.skclip")
    ...     skclip.save(skclip.SessionClusterer(resolution=2.0), path)
    ...     skclip.load(path)
    SessionClusterer(resolution=2.0)
    """
    classes = _known_classes(backbones)
    document, arrays = read_container(
        path, _MAGIC, "skclip model file (written by skclip.save; for joblib files, "
        "use joblib.load)"
    )  # fmt: skip
    try:
        if not isinstance(document, dict):
            raise _Damaged("the document is not an object")
        return _decode(document.get("estimator"), arrays, classes)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        what = f"{error!r:.200}" if isinstance(error, KeyError) else f"{error!s:.200}"
        saved_by = document.get("skclip") if isinstance(document, dict) else None
        if isinstance(saved_by, str) and saved_by != VERSION:
            raise ValueError(
                f"{path} was saved by skclip {saved_by:.20}, and skclip {VERSION} "
                f"cannot load it ({what}). Fit the model again, or load it with the "
                "version that saved it."
            ) from error
        raise ValueError(f"{path} is not a valid skclip model: {what}") from error


def _known_classes(own=()):
    for cls in own:
        if not (inspect.isclass(cls) and issubclass(cls, BackboneSpec)):
            raise TypeError(
                f"backbones contains {cls!r:.60}. Expected classes that derive from "
                "skclip.backbones.BackboneSpec, such as [MyBackbone]."
            )
    classes = [CLIPSessionRecommender, SessionClusterer, Prompt, Fusion, *_THEIRS]
    modules = (backbones, baselines, controls, ensemble, features, llm, losses)
    modules += (rerank, text)
    named = [getattr(module, name) for module in modules for name in module.__all__]
    classes += [c for c in named if inspect.isclass(c) and issubclass(c, BaseEstimator)]
    return {cls.__name__: cls for cls in [*classes, *own]}


def _encode(value, arrays, where):
    """Turn a value into JSON and arrays. `where` is used in error messages."""
    if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list):
        return [_encode(v, arrays, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict) and all(type(k) is str and k != _KIND for k in value):
        return {k: _encode(v, arrays, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, np.ndarray) and _is_plain(value.dtype):
        name = f"{len(arrays)}"
        arrays[name] = value
        return {_KIND: "array", "name": name}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.ndim == 1:
        return {_KIND: "text", "value": value.tolist()}
    kind, parts = _parts(value, where)
    document = {_KIND: kind}
    for key, part in parts.items():
        inside = where if key in ("value", "state") else f"{where}.{key}"
        document[key] = _encode(part, arrays, inside)
    return document


def _is_plain(dtype):
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def _parts(value, where):
    """Kind of an object, and the arguments to recreate it with `_MAKERS`."""
    if isinstance(value, np.generic) and _is_plain(value.dtype):
        return "number", {"dtype": value.dtype.str, "value": value.item()}
    if type(value) is bytes:
        return "bytes", {"value": base64.b64encode(value).decode("ascii")}
    if isinstance(value, tuple):
        return "tuple", {"value": list(value)}
    if isinstance(value, dict):  # with keys that are not text
        return "dict", {"value": [list(pair) for pair in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.ndim == 1:
        return "objects", {"value": list(value)}
    if isinstance(value, sparse.csr_array):
        parts = {name: getattr(value, name) for name in ("data", "indices", "indptr")}
        return "csr", {"shape": list(value.shape)} | parts
    if isinstance(value, np.random.RandomState):
        return "random_state", {"value": value.get_state()}
    if isinstance(value, ItemFeatures):
        return "item_features", {"ids": value.item_ids, "vectors": value.vectors}
    if isinstance(value, SessionScorer):
        event = value.event
        if isinstance(event, (set, np.ndarray)):
            event = list(event)
        options = {"targets": value.targets, "event": event}
        return "scorer", {"names": list(value.names)} | options
    cls = type(value)
    ours = _known_classes().get(cls.__name__) is cls or isinstance(value, BackboneSpec)
    if isinstance(value, BaseEstimator) and ours:
        theirs = cls in _THEIRS  # their state would include scikit-learn's version
        state = value.get_params(deep=False) if theirs else value.__getstate__()
        state = {k: v for k, v in state.items() if k != CALLBACKS}  # not the model
        return "estimator", {"class": cls.__name__, "state": state}
    raise _refused(value, where)


def _refused(value, where):
    if isinstance(value, BaseEstimator):
        home = type(value).__module__.partition(".")[0]
        return TypeError(
            f"{where} is a {type(value).__name__} of {home}, but a skclip file can "
            "only contain estimators of skclip. Use joblib.dump, for files that only "
            "you open."
        )
    return TypeError(
        f"{where} is a {type(value).__module__}.{type(value).__name__}: {value!r:.60}, "
        "which a skclip file cannot store exactly. Use ids that are numbers, text, "
        "bytes or tuples of these, and names instead of callables. Or use joblib.dump, "
        "for files that only you open."
    )


def _decode(value, arrays, classes):
    if isinstance(value, list):
        return [_decode(v, arrays, classes) for v in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind == "array":
        return arrays[value["name"]]
    if kind == "text":
        return np.array(value["value"], dtype=np.str_)
    parts = {k: _decode(v, arrays, classes) for k, v in value.items() if k != _KIND}
    if _KIND not in value:
        return parts
    if kind == "estimator":
        return _estimator(parts["class"], parts["state"], classes)
    if kind not in _MAKERS:
        raise _Damaged(f"it contains a value of unknown kind {kind!r:.40}")
    return _MAKERS[kind](**parts)


def _estimator(name, state, classes):
    if name not in classes:
        raise _Damaged(
            f"it contains the class {name!r:.60}, which skclip does not have. If it is "
            "your own backbone, pass it: skclip.load(path, backbones=[MyBackbone])"
        )
    cls = classes[name]
    if cls in _THEIRS:
        return cls(**state)
    parameters = set(cls._get_param_names())
    if not parameters <= set(state):
        raise _Damaged(f"{name} has no {sorted(parameters - set(state))[0]!r}")
    estimator = cls(**{key: state[key] for key in parameters})
    estimator.__setstate__(state)
    return estimator


def _number(dtype, value):
    dtype = np.dtype(str(dtype))
    if dtype.kind not in "biuf":
        raise _Damaged(f"it contains a number of type {dtype}")
    return dtype.type(value)


def _objects(value):
    items = np.empty(len(value), dtype=object)
    for i, item in enumerate(value):  # one by one: an item may be a tuple
        items[i] = item
    return items


def _csr(shape, data, indices, indptr):
    return sparse.csr_array((data, indices, indptr), shape=tuple(shape))


def _random_state(value):
    state = np.random.RandomState()
    state.set_state(value)
    return state


_MAKERS = {
    "number": _number,
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "tuple": lambda value: tuple(value),
    "dict": lambda value: dict(value),
    "objects": _objects,
    "csr": _csr,
    "random_state": _random_state,
    "item_features": lambda ids, vectors: ItemFeatures(ids, vectors),
    "scorer": lambda names, **options: SessionScorer(*names, **options),
}
