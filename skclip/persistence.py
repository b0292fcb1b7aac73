"""Save and load fitted models in one file that runs no code.

joblib and pickle open a file by running what is in it, so they are for files of your
own. `save` writes plain data: a JSON document that names classes and parameters, and
arrays in the safetensors format, under a checksum. `load` builds the classes that it
knows by name, and no others.
"""

import base64
import inspect
import os

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
from skclip._warnings import warn_user
from skclip.backbones import BackboneSpec
from skclip.metrics import SessionScorer

__all__ = ["load", "save"]

_MAGIC = b"\x89skclip\n"
_THEIRS = (Pipeline, FrozenEstimator)  # scikit-learn's own, around ours
_KIND = "\N{SECTION SIGN}"  # key that marks what JSON has no word for


class _Damaged(ValueError):
    """What stands in the file is not what `save` writes."""


def save(estimator, path):
    """Write an estimator to one file; a warning says so if it is not fitted.

    Parameters
    ----------
    estimator : CLIPSessionRecommender, clusterer, baseline, or Pipeline of these
        Also one with a backbone of your own, which `load` is then told.
    path : path-like
        Any name. An existing file is replaced at once when everything is written, so
        that a crash leaves the old one whole.

    Raises
    ------
    TypeError
        The estimator, a parameter (such as a callable `scoring`) or an item id is
        nothing that the file can carry exactly. Ids may be numbers, text, bytes,
        booleans and tuples of these.

    Notes
    -----
    The file takes 4 bytes for each parameter of the network (``embedding_dim`` for
    each item), and the ids. Clusterers carry their graph, 12 bytes an edge.

    A `CLIPSessionRecommender` keeps training sessions for `partial_fit`, 4 bytes a
    click, and `SessionKNN` all of them. Whoever has the file can read them.
    ``n_rehearsed=0`` keeps none.

    Callbacks watch a fit and are no part of a model, so the file has none.

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
            f"estimator is a {type(estimator).__name__}. Save what it found: "
            "skclip.save(search.best_estimator_, path)."
        )
    if isinstance(estimator, BaseEstimator) and hasattr(estimator, "fit"):
        try:
            check_is_fitted(estimator)
        except NotFittedError:
            warn_user(
                f"This {type(estimator).__name__} is not fitted: the file holds its "
                "parameters alone. Call fit first to save a model."
            )
    arrays = {}
    document = {"skclip": VERSION, "estimator": _encode(estimator, arrays, "estimator")}
    write_container(path, _MAGIC, document, arrays)


def load(path, *, backbones=()):
    """Open a file that `save` wrote. Nothing that stands in it is executed.

    Parameters
    ----------
    path : path-like
        The file.
    backbones : sequence of BackboneSpec classes, default=()
        Classes of your own that the file may name, apart from those of skclip.

    Returns
    -------
    estimator : object
        Fitted; ranks bit for bit as the saved one on the same machine. On a machine
        with a GPU it is there if its ``device`` parameter allows.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no skclip model, is truncated or changed, comes from a newer
        format, or names a class that is not known.

    See Also
    --------
    save : Writes the file.

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
        path, _MAGIC, "skclip model file; skclip.save writes them, joblib.load opens "
        "joblib files"
    )  # fmt: skip
    try:
        if not isinstance(document, dict):
            raise _Damaged("the document is no object")
        return _decode(document.get("estimator"), arrays, classes)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        what = f"{error!r:.200}" if isinstance(error, KeyError) else f"{error!s:.200}"
        saved_by = document.get("skclip") if isinstance(document, dict) else None
        if isinstance(saved_by, str) and saved_by != VERSION:
            raise ValueError(
                f"{path} was saved by skclip {saved_by:.20}, and {VERSION} cannot open "
                f"it ({what}). Fit the model again, or open it with the version that "
                "saved it."
            ) from error
        raise ValueError(f"{path} is no sound skclip model: {what}") from error


def _known_classes(own=()):
    for cls in own:
        if not (inspect.isclass(cls) and issubclass(cls, BackboneSpec)):
            raise TypeError(
                f"backbones holds {cls!r:.60}. Expected classes that derive from "
                "skclip.backbones.BackboneSpec, such as [MyBackbone]."
            )
    classes = [CLIPSessionRecommender, SessionClusterer, Prompt, Fusion, *_THEIRS]
    modules = (backbones, baselines, controls, ensemble, features, llm, losses)
    modules += (rerank, text)
    named = [getattr(module, name) for module in modules for name in module.__all__]
    classes += [c for c in named if inspect.isclass(c) and issubclass(c, BaseEstimator)]
    return {cls.__name__: cls for cls in [*classes, *own]}


def _encode(value, arrays, where):
    """Turn a value into JSON, its numeric arrays aside; `where` is for messages."""
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
    """Kind of an object, and the parts that `_MAKERS` make it of again."""
    if isinstance(value, np.generic) and _is_plain(value.dtype):
        return "number", {"dtype": value.dtype.str, "value": value.item()}
    if type(value) is bytes:
        return "bytes", {"value": base64.b64encode(value).decode("ascii")}
    if isinstance(value, tuple):
        return "tuple", {"value": list(value)}
    if isinstance(value, dict):  # keys that are no text
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
        theirs = cls in _THEIRS  # the state would have scikit-learn's version
        state = value.get_params(deep=False) if theirs else value.__getstate__()
        state = {k: v for k, v in state.items() if k != CALLBACKS}  # they watch a fit
        return "estimator", {"class": cls.__name__, "state": state}
    raise _refused(value, where)


def _refused(value, where):
    if isinstance(value, BaseEstimator):
        home = type(value).__module__.partition(".")[0]
        return TypeError(
            f"{where} is a {type(value).__name__} of {home}, and a skclip "
            "file carries estimators of skclip alone. Use joblib.dump, for files that "
            "you alone open."
        )
    return TypeError(
        f"{where} is a {type(value).__module__}.{type(value).__name__}: {value!r:.60}, "
        "which a skclip file cannot carry exactly. Use ids that are numbers, text, "
        "bytes or tuples of these, and names instead of callables; or joblib.dump, for "
        "files that you alone open."
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
        raise _Damaged(f"a value of the unknown kind {kind!r:.40}")
    return _MAKERS[kind](**parts)


def _estimator(name, state, classes):
    if name not in classes:
        raise _Damaged(
            f"it names the class {name!r:.60}, which skclip does not have. Pass a "
            "backbone of your own: skclip.load(path, backbones=[MyBackbone])"
        )
    cls = classes[name]
    if cls in _THEIRS:
        return cls(**state)
    parameters = set(cls._get_param_names())
    if not parameters <= set(state):
        raise _Damaged(f"{name} lacks {sorted(parameters - set(state))[0]!r}")
    estimator = cls(**{key: state[key] for key in parameters})
    estimator.__setstate__(state)
    return estimator


def _number(dtype, value):
    dtype = np.dtype(str(dtype))
    if dtype.kind not in "biuf":
        raise _Damaged(f"a number of type {dtype}")
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
