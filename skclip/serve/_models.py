"""Models of a server: load them, watch their files, and reload them."""

import contextlib
import ctypes
import hashlib
import logging
import os
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from skclip._data import Sessions
from skclip._inside import predict_topk, recommender_inside
from skclip._warnings import told_already
from skclip.inspection import occlusion
from skclip.persistence import load
from skclip.serve._catalog import Catalog, json_ids, with_catalog
from skclip.serve._rules import Rules, read_rules

logger = logging.getLogger("skclip.serve")

NAMES = ("a", "b")
_TRIES = 5  # to read a file that is replaced during the read


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A model and its items, as in its file at one time. It never changes.

    A request gets one of these from `Models` and uses it to its end, even if a new
    model is loaded meanwhile.
    """

    version: str
    loaded_at: str
    load_seconds: float
    estimator: object
    recommender: object
    catalog: Catalog
    titles_version: str | None
    similar_by: object  # the part with `similar_items`, or None
    rules: Rules
    rules_version: str | None

    @property
    def _for_lists(self):
        return {"return_scores": True, "fill_value": self.catalog.no_id}

    def recommend(self, sessions, k, columns=None, **filters):
        """Return the best items of each session and their scores, without filling.

        `columns` are types and times of clicks, as for `Sessions.from_lists`.
        """
        if columns:
            sessions = Sessions.from_lists(sessions, **columns)
        k = min(k, len(self.catalog))
        with told_already():  # unknown ids are part of the answer
            items, scores = predict_topk(
                self.estimator, sessions, k, **self._for_lists,
                **self.rules.options(**filters),
            )  # fmt: skip
        return _lists(items, scores)

    def similar(self, ids, k, **filters):
        """Return the items that are most similar to each id, and their scores."""
        k = min(k, len(self.catalog))
        with told_already():
            items, scores = self.similar_by.similar_items(
                ids, k, **self._for_lists, **filters
            )
        return _lists(items, scores)

    def explain(self, sessions, k, columns=None, **filters):
        """Recommend for one session, with the drops of scores without each click."""
        if sessions == [[]]:
            return *self.recommend(sessions, k, **filters)[0], []
        if columns:
            sessions = Sessions.from_lists(sessions, **columns)
        k = min(k, len(self.catalog))
        with told_already():
            options = self.rules.options(**filters, fill_value=self.catalog.no_id)
            found = occlusion(self.estimator, sessions, k, "score", options)
        ((items, scores),) = _lists(found["items"], found["scores"])
        drops = found["drop"][:, np.isfinite(found["scores"][0])]
        return items, scores, [[_number(d) for d in row] for row in drops.tolist()]


def _lists(items, scores):
    kept = np.isfinite(scores)
    return [
        (json_ids(row[keep]), values[keep].tolist())
        for row, values, keep in zip(items, scores, kept, strict=True)
    ]


def _number(value):
    return value if np.isfinite(value) else None


class Models:
    """One or two models by name, each from the newest valid state of its file."""

    def __init__(self, paths, titles=None, rules=None):
        if isinstance(paths, (str, os.PathLike)):
            paths = [paths]
        if not 1 <= len(paths) <= len(NAMES):
            raise ValueError(f"Expected one or two model files, got {len(paths)}.")
        pairs = zip(NAMES, paths, strict=False)
        self._watched = {
            name: _Watched(name, path, titles, rules) for name, path in pairs
        }
        found = [watched.model.catalog.mismatch for watched in self._watched.values()]
        if all(found):  # catalogs may differ, but the file must fit one
            raise ValueError(found[0])

    def __getitem__(self, name):
        return self._watched[name].model

    def __contains__(self, name):
        return name in self._watched

    def refresh(self):
        """Load new models from files that have changed."""
        for watched in self._watched.values():
            watched.refresh()

    def describe(self):
        """Describe each model."""
        return [watched.describe() for watched in self._watched.values()]


class _Watched:
    """A file, the last model that was read from it, and the error since then."""

    def __init__(self, name, path, titles, rules):
        self._name, self._path = name, Path(path)
        self._titles, self._rules = (p and Path(p) for p in (titles, rules))
        self._files = [p for p in (self._path, self._titles, self._rules) if p]
        self._tried, self.model = self._read()
        self.reload_error = None
        self._log_loaded()

    def refresh(self):
        state = _state(self._files)
        if state == self._tried:
            return
        try:
            self._tried, self.model = self._read(self.model)
        except Exception as error:  # of any type, because the old model stays
            self._tried = state
            self.reload_error = self._without_folders(f"{error}")
            logger.error(
                "Model %s could not be reloaded and stays at version %s: %s",
                self._name,
                self.model.version,
                self.reload_error,
            )
        else:
            self.reload_error = None
            self._log_loaded()
        _return_freed_memory()

    def _without_folders(self, text):
        for path in self._files:
            text = text.replace(str(path), path.name)
        return text

    def describe(self):
        model = self.model
        return {
            "name": self._name,
            "file": self._path.name,
            "version": model.version,
            "loaded_at": model.loaded_at,
            "load_seconds": model.load_seconds,
            "estimator": type(model.recommender).__name__,
            "n_items": len(model.catalog),
            "n_clusters": model.catalog.n_clusters,
            "similar": model.similar_by is not None,
            "titles": model.catalog.n_titles > 0,
            "titles_version": model.titles_version,
            "rules_version": model.rules_version,
            "reload_error": self.reload_error,
        }

    def _read(self, before=None):
        """Return the state of the files, and the model in them.

        A model file with the same content as `before` is not loaded again.
        """
        for _ in range(_TRIES):
            state = _state(self._files)
            model = _read_model(
                self._name, self._path, self._titles, self._rules, before=before
            )
            if _state(self._files) != state:
                continue  # or version and content might not match
            mismatch = model.catalog.mismatch
            if mismatch and before is not None and not before.catalog.mismatch:
                raise ValueError(mismatch)
            return state, model
        raise ValueError(
            f"{self._path} was replaced during each of {_TRIES} attempts to read it. "
            "Write it less often."
        )

    def _log_loaded(self):
        model = self.model
        n_items = len(model.catalog)
        titled = ""
        if model.catalog.titles is not None:
            titled = f", {model.catalog.n_titles:,} of them with a title"
        logger.info(
            "Model %s is version %s of %s: %s with %s items%s, loaded in %.2f s",
            self._name,
            model.version,
            self._path.name,
            type(model.recommender).__name__,
            f"{n_items:,}",
            titled,
            model.load_seconds,
        )
        if model.rules.unknown:
            logger.warning(
                "The rules name ids that are not in the catalog of model %s "
                "(%s, such as %r). They have no effect. Check these ids.",
                self._name,
                f"{len(model.rules.unknown):,}",
                min(map(str, model.rules.unknown)),
            )


def _state(paths):
    """Return values that change when files are replaced or written."""
    return [_state_of_file(path) for path in paths]


def _state_of_file(path):
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_model(name, path, titles, rules, *, before=None):
    begun = time.perf_counter()
    version = _digest(path)[:12]
    if before is not None and version == before.version:
        estimator = before.estimator
    else:
        estimator = load(path)
    recommender = recommender_inside(estimator)
    catalog = Catalog(estimator, recommender, titles)
    similar_by = _try(estimator, recommender)
    return Model(
        version=version,
        loaded_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        load_seconds=round(time.perf_counter() - begun, 3),
        estimator=estimator,
        recommender=recommender,
        catalog=catalog,
        titles_version=None if titles is None else _digest(titles)[:12],
        similar_by=similar_by,
        rules=_rules_of(name, estimator, recommender, rules),
        rules_version=None if rules is None else _digest(rules)[:12],
    )


def _rules_of(name, estimator, recommender, path):
    """Read the rules of a model, and try them once."""
    if path is None:
        return Rules({}, estimator, recommender)
    read = read_rules(path, name, NAMES)
    try:
        rules = Rules(read, estimator, recommender)
        first = [recommender.item_ids_[:1].tolist()]
        with told_already():
            predict_topk(estimator, first, 1, **rules.options())
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {error}") from None
    return rules


def _digest(path):
    if path.exists() and not path.is_file():  # a pipe would block the read
        raise ValueError(f"{path} is not a regular file.")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def _return_freed_memory():
    """Return the memory of deleted models to the system.

    The C library of Linux keeps it in fragments, so each new model would take more.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # with another C library
            ctypes.CDLL(None).malloc_trim(0)


def _try(estimator, recommender):
    """Rank once before the first request. Return the part with `similar_items`."""
    item_ids = recommender.item_ids_
    first = item_ids[:1].tolist()
    parts = with_catalog(recommender, item_ids)
    similar_by = next((p for p in parts if hasattr(p, "similar_items")), None)
    with told_already():
        predict_topk(estimator, [first], 1)
        if similar_by is not None:
            similar_by.similar_items(first, 1)
    return similar_by
