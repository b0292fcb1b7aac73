"""Export a fitted recommender as an ONNX graph that runs without skclip and torch."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import logging
import os
import reprlib
import threading
import warnings
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import nn

from skclip._base import VERSION
from skclip._clip import CLIPSessionRecommender
from skclip._container import replace_file
from skclip._data import as_sessions
from skclip._inside import recommender_inside
from skclip._model import N_COUNTS, N_STEPS
from skclip._ranking import topk_codes
from skclip._typing import Estimator, PathLike, SessionsLike
from skclip._warnings import warn_user
from skclip.backbones import Batch, ExportedGRU

__all__ = ["export_onnx"]

_FORMAT = 1
_MOST_BYTES = 2**31 - 2**20  # limit of a protobuf file, minus room for the graph itself
_TOLERANCE = 1e-4  # largest difference of scores, as a share of the largest score
_SAMPLE = 64  # number of sessions that are compared at a time
_SCORES = 2**23  # number of scores that are computed at a time in a comparison
_CHATTY = (  # loggers with messages for the developers of torch and ONNX
    "torch.onnx._internal.exporter._registration",
    "onnxscript.optimizer._constant_folding",
    "onnx_ir._convenience",
)
# Modules that warn about internals of torch and ONNX. Torch lets copyreg warn for it.
_WARNING = "(torch|onnx|copyreg)"
_ONE = threading.RLock()  # torch's exporter changes settings of the process
_OF_THE_MACHINE = ("checkpoint", "device", "n_threads", "verbose")  # parameters


def export_onnx(
    estimator: Estimator,
    path: PathLike,
    *,
    k: int | None = None,
    exclude_seen: bool = False,
    sessions: SessionsLike | None = None,
) -> None:
    """Write a fitted recommender as a graph for ONNX Runtime.

    The graph does the same as ``predict_topk``, with integer codes instead of ids. You
    can use it wherever ONNX Runtime runs, for example in Node, Java or C#. The page
    "Export to ONNX" of the documentation has examples.

    Before it writes the file, the function ranks sessions with the graph and with
    ``predict_topk``. If they differ, it raises an error and writes nothing.

    Parameters
    ----------
    estimator : CLIPSessionRecommender, Pipeline or search
        Fitted estimator. Of a Pipeline or a search, only the recommender inside is
        exported, without the steps before it.
    path : path-like
        Path of the file. An existing file is replaced once the new one is complete.
    k : int, default=None
        Number of items per session, at most the size of the catalog. None means 20, or
        all items of a smaller catalog.
    exclude_seen : bool, default=False
        Whether to leave out the items of the session itself.
    sessions : Sessions or list of lists, default=None
        Sessions for the comparison with ``predict_topk``. None uses random sessions of
        all lengths.

    Raises
    ------
    ImportError
        If the extra ``skclip[onnx]`` is missing.
    TypeError
        If `estimator` contains no `CLIPSessionRecommender`, if a parameter has a wrong
        type, or if an id cannot be written as JSON.
    ValueError
        If `k` is out of range, or if `sessions` have no known item. If the backbone
        cannot be exported, if the model uses features of clicks, or if the file would
        be larger than 2 GB.
    FileNotFoundError
        If the folder of the file does not exist.
    RuntimeError
        If the graph and ``predict_topk`` return different lists.

    Warns
    -----
    UserWarning
        If the model uses unseen items or users, which the graph ignores.

    See Also
    --------
    save : Write a file that skclip can load.

    Notes
    -----
    The graph has two inputs of type int64. ``codes`` (batch, length) holds positions in
    ``item_ids_``, counted from 1, in order of time and padded on the right. Codes
    outside the catalog, such as 0, are left out. ``lengths`` (batch,) is the number of
    valid codes in each row. Batch size and length may change from call to call and must
    be at least 1. Of a long session, the latest ``max_session_length`` items are used.

    The outputs are ``items`` (batch, k), int64, with codes as in the input, best first,
    and ``scores`` (batch, k), float32. If `exclude_seen` leaves fewer than `k` items,
    the rest of the row is 0 with a score of minus infinity. A session without a known
    item gets the most popular items.

    The metadata of the file are texts. ``item_ids`` is a JSON list in the order of the
    codes. ``skclip_version`` is the version that wrote the file, and ``skclip_format``
    is 1. ``settings`` is a JSON object with `k`, `exclude_seen`,
    ``max_session_length``, the largest difference of scores in the comparison, and the
    parameters of the model. It leaves out checkpoint, device, n_threads and verbose,
    which only matter for the machine that fitted the model.

    The file holds two vectors per item, with 4 bytes per number, and the ids. Protobuf
    limits it to 2 GB. Three million items with 64 dimensions stay below this limit.

    The graph has no users. Prompts of users, and prompts of sessions by table, are
    those of unknown users and sessions.

    You can export all backbones of skclip. Your own backbone can be exported if its
    tensor operations exist in ONNX, and if it uses ``x.shape[0]`` instead of
    ``len(x)``.

    References
    ----------
    .. [1] ONNX, https://onnx.ai, and ONNX Runtime, https://onnxruntime.ai.

    Examples
    --------
    >>> import os, tempfile, onnxruntime, skclip
    >>> rec = skclip.CLIPSessionRecommender(max_epochs=1, repeats=False, random_state=0)
    >>> rec = rec.fit([["a", "b"], ["b", "c"]] * 20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     skclip.export_onnx(rec, path, k=2)
    ...     graph = onnxruntime.InferenceSession(path)
    >>> [(value.name, value.shape) for value in graph.get_inputs()]
    [('codes', ['batch', 'length']), ('lengths', ['batch'])]
    """
    recommender = recommender_inside(estimator)
    if not isinstance(recommender, CLIPSessionRecommender):
        raise TypeError(
            f"{type(recommender).__name__} has no network to export. Export a "
            "CLIPSessionRecommender, or write this recommender with skclip.save."
        )
    k = _checked_k(k, recommender.n_items_)
    if not isinstance(exclude_seen, (bool, np.bool_)):
        raise TypeError(f"exclude_seen must be True or False, got {exclude_seen!r}.")
    _check_path(path)
    ids = _ids_as_json(recommender.item_ids_)
    _check_extra()
    fitted = recommender._fitted
    _check_size(fitted, len(ids))
    if fitted.config["click_features"]:
        raise ValueError(
            f"The model reads click_features={tuple(fitted.config['click_features'])}, "
            "but an exported graph only gets item ids. To export, fit with "
            "click_features=None. Or serve this model with skclip.serve."
        )
    ranker = _Ranker(fitted, k, bool(exclude_seen))
    if sessions is None:
        rows = _sample(recommender)
    else:  # as plain lists, which have no users
        rows = as_sessions(sessions, recommender._index).to_lists()
        _check_known(rows, recommender._index)
    name = type(fitted.config["spec"]).__name__
    with _quiet(), _as_refusal(name):
        model = _onnx_model(ranker)
    options = {"k": k, "exclude_seen": bool(exclude_seen)}
    difference = _largest_difference(model, recommender, rows, name, **options)
    settings = recommender.get_params(deep=False) | recommender.resolved_params_
    settings |= options | {"largest_difference": difference}
    settings = {k: v for k, v in settings.items() if k not in _OF_THE_MACHINE}
    _add_metadata(model, ids, settings)
    _warn_of_limits(fitted)
    replace_file(path, [model.SerializeToString()])


# -- checks before the export ----------------------------------------------------------


def _check_extra():
    """Raise an error if packages are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"export_onnx needs {error.name}, which is not installed. Run: pip "
            "install 'skclip[onnx]'."
        ) from error


def _checked_k(k, n_items):
    if k is None:
        return min(20, n_items)
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise TypeError(f"k must be a whole number or None, got {k!r}.")
    if not 1 <= k <= n_items:
        raise ValueError(
            f"k={k} is not between 1 and the {n_items} items of the catalog. Pass a "
            "number in this range, or None for the default."
        )
    return int(k)


def _ids_as_json(item_ids):
    ids = item_ids.tolist()
    for item in ids:
        parts, verb = (item, "contains") if type(item) is tuple else ((item,), "is")
        for part in parts:
            if type(part) not in (str, int, float, bool):
                raise TypeError(
                    f"The item id {item!r:.60} {verb} a {type(part).__name__}, which "
                    "cannot be written as JSON. Fit on ids that are text, numbers or "
                    "tuples of these."
                )
    return json.dumps(ids)


def _check_path(path):
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"path is a {type(path).__name__}: {path!r:.60}. Pass text or a Path."
        )
    path = Path(os.path.realpath(path))  # the file behind a link
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file. Pass the path of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {path.parent} does not exist. Create it first."
        )


def _check_known(rows, index):
    if not _padded(rows, index)[0].any():
        raise ValueError(
            "No session has an item of the catalog, so there is nothing to compare. "
            "Pass sessions with known items, or None for random sessions."
        )


def _check_size(fitted, n_bytes_of_ids):
    n_items, dim = fitted.model.item_table.shape
    vectors = 4 * n_items * (dim + fitted.candidates().shape[1])
    if vectors + n_bytes_of_ids > _MOST_BYTES:
        raise ValueError(
            f"The graph of {n_items:,} items with {dim} dimensions would take "
            f"{(vectors + n_bytes_of_ids) / 2**30:.1f} GB, but ONNX files are limited "
            "to 2 GB. Fit with a smaller embedding_dim or a larger min_item_count."
        )


def _warn_of_limits(fitted):
    if fitted.votes:
        warn_user(
            "The model uses unseen items through the clusters of the items beside them "
            "(unseen_items='vote'). The graph ignores unseen items, as "
            "unseen_items='drop' does. Use skclip.save if unseen items matter."
        )
    kinds = [
        kind
        for kind, owners in zip(("user", "session"), fitted.owners, strict=True)
        if owners is not None
    ]
    if kinds:
        warn_user(
            f"The model has a prompt for each {' and each '.join(kinds)}. The graph "
            "does not store these prompts, and ranks as for unknown ones. Use "
            "skclip.save if these prompts matter."
        )


# -- the graph -------------------------------------------------------------------------


class _Ranker(nn.Module):
    """Module from codes and lengths to the codes and scores of the best items."""

    def __init__(self, fitted, k, exclude_seen):
        super().__init__()
        self.k, self.exclude_seen = k, exclude_seen
        self.n_items, self.max_length = len(fitted.index), fitted.config["max_length"]
        self.model = copy.deepcopy(fitted.model).cpu().eval()
        with torch.no_grad():
            self.model.store_vectors_()
        for part in self.model.modules():
            if type(part) is nn.GRU and not part.bidirectional and part.batch_first:
                part.__class__ = ExportedGRU
        self.register_buffer("keys", fitted.candidates().cpu().T.contiguous())
        counts = torch.from_numpy(fitted.popularity.astype(np.float32))[None]
        columns, values = topk_codes(counts, k)
        self.register_buffer("popular_items", torch.from_numpy(columns + 1))
        self.register_buffer("popular_scores", torch.from_numpy(values))
        repeats = None if exclude_seen else fitted.repeats  # not needed then
        table = None if repeats is None else torch.from_numpy(repeats.table())
        self.register_buffer("repeats", table)

    def forward(self, codes, lengths):
        place = torch.arange(codes.shape[1])
        known = (codes > 0) & (codes <= self.n_items) & (place < lengths[:, None])
        latest, ends = self.latest(codes, known)
        scores = self.scores(latest, ends.clamp_min(1))
        if self.exclude_seen:
            bias = torch.zeros(codes.shape, dtype=scores.dtype)
            scores = _add_at(scores, codes, known, bias - torch.inf)
        if self.repeats is not None:
            scores = _add_at(scores, latest, *self.repeat_bias(latest, ends))
        scores, items = scores.topk(self.k, dim=1)
        items = (items + 1).masked_fill(scores == -torch.inf, 0)
        empty = (ends == 0)[:, None]
        items = torch.where(empty, self.popular_items, items)
        return items, torch.where(empty, self.popular_scores, scores)

    def latest(self, codes, known):
        """The latest known codes, moved to the left, and their number."""
        from_end = known.flip(1).cumsum(1).flip(1)
        kept = known & (from_end <= self.max_length)
        width = torch.sym_min(codes.shape[1], self.max_length)
        to = (kept.cumsum(1) - 1).where(kept, width)  # the last column takes the rest
        latest = torch.zeros(codes.shape[0], width + 1, dtype=codes.dtype)
        return latest.scatter(1, to, codes)[:, :-1], kept.sum(1)

    def scores(self, codes, ends):
        """Scores (batch, n_items). The scores of empty sessions are never used."""
        rows, none = torch.arange(codes.shape[0]), torch.zeros_like(ends)
        batch = Batch(codes=codes, rows=rows, ends=ends, targets=none)
        return self.model.scores(self.model.states(batch), self.keys.T)

    def repeat_bias(self, codes, ends):
        """A mask of the last click on each item, and the bias of that item."""
        place = torch.arange(codes.shape[1])
        event = place < ends[:, None]
        same = (codes[:, :, None] == codes[:, None, :]) & event[:, None]
        later = (same & (place > place[:, None])).any(dim=2)
        count = same.sum(dim=2).clamp(1, N_COUNTS) - 1
        steps = (ends[:, None] - 1 - place).clamp(0, N_STEPS - 1)
        return event & ~later, self.repeats[steps, count]


def _add_at(scores, codes, where, values):
    """Add values (batch, length) to the scores of items, at the marked positions."""
    at, zero = (codes - 1).where(where, 0), torch.zeros((), dtype=scores.dtype)
    return scores.scatter_add(1, at, values.where(where, zero))


def _onnx_model(ranker):
    """The graph as a protobuf message, without traces of this machine."""
    width = max(2, min(7, ranker.max_length))
    codes, lengths = torch.ones(3, width, dtype=torch.int64), torch.tensor([2, 1, 2])
    any_size = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.export.export(
            ranker,
            (codes, lengths),
            dynamic_shapes=({0: any_size, 1: any_size}, {0: any_size}),
            strict=False,
        )
    # Given the program, torch keeps the operator for a GRU.
    model = torch.onnx.export(
        program,
        (),
        input_names=["codes", "lengths"],
        output_names=["items", "scores"],
        dynamo=True,
        verbose=False,
    ).model_proto
    for node in model.graph.node:  # source lines with their folders
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        names = ("batch", "length" if value.name == "codes" else None)
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, names, strict=False):
            if dim.dim_param and name:
                dim.dim_param = name
    return model


@contextlib.contextmanager
def _as_refusal(name):
    """Turn errors inside torch or ONNX Runtime into one that says what to do."""
    try:
        yield
    except Exception as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{name} cannot be exported to ONNX. {type(cause).__name__}: {reason:.300} "
            "Usual causes are sizes or branches that depend on the data, len(x) in "
            "place of x.shape[0], and operators that ONNX lacks. Change the network to "
            "avoid these, or save the model with skclip.save."
        ) from error


@contextlib.contextmanager
def _quiet():
    """Hide messages of the exporter to its own developers in this thread."""
    thread = threading.get_ident()
    loggers = [logging.getLogger(name) for name in _CHATTY]

    def of_others(record):
        return record.thread != thread

    for logger in loggers:
        logger.addFilter(of_others)
    try:
        with _ONE, warnings.catch_warnings():
            # Before Python 3.14 this affects all threads, but only these modules.
            warnings.filterwarnings("ignore", module=_WARNING)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(of_others)


def _add_metadata(model, ids, settings):
    texts = {
        "skclip_format": str(_FORMAT),
        "skclip_version": VERSION,
        "item_ids": ids,
        "settings": json.dumps({k: _plain(v) for k, v in settings.items()}),
    }
    for key, text in texts.items():
        model.metadata_props.add(key=key, value=text)


def _plain(value):
    """Numbers, text, booleans and None unchanged, short descriptions of the rest."""
    kinds = (str, int, float, bool, type(None))
    return value if isinstance(value, kinds) else reprlib.repr(value)


# -- comparison ------------------------------------------------------------------------


def _sample(recommender):
    """Random sessions of all lengths up to the maximum, and longer ones."""
    rng = np.random.default_rng(0)
    longest = recommender._fitted.config["max_length"] + 2
    lengths = np.unique(np.linspace(1, longest, _SAMPLE).astype(int))
    some = rng.choice(recommender.n_items_, min(recommender.n_items_, 2 * longest))
    ids = recommender.item_ids_.tolist()
    return [[ids[i] for i in rng.choice(some, n)] for n in rng.permutation(lengths)]


def _largest_difference(model, recommender, rows, name, **options):
    """Largest difference of scores. Raises an error if the rankings differ."""
    import onnxruntime

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4  # the error contains its message
    with _as_refusal(name):
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), quiet, providers=["CPUExecutionProvider"]
        )
    size = max(1, min(_SAMPLE, _SCORES // recommender.n_items_))
    parts = [rows[:1], *(rows[a : a + size] for a in range(0, len(rows), size))]
    largest = 0.0
    for part in parts:
        codes, lengths = _padded(part, recommender._index)
        with _as_refusal(name):
            found = session.run(None, {"codes": codes, "lengths": lengths})
        difference = _difference(recommender, part, codes, found, **options)
        largest = max(largest, difference)
    return largest


def _padded(rows, index):
    """Codes of rows of ids, with 0 for unknown ids and padding, and lengths."""
    lengths = np.array([len(row) for row in rows])
    codes = np.zeros((len(rows), max(1, lengths.max())), dtype=np.int64)
    flat = np.empty(lengths.sum(), dtype=object)
    flat[:] = list(itertools.chain.from_iterable(rows))
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = index.codes_of(flat)
    return codes, lengths


def _difference(recommender, rows, codes, found, k, exclude_seen):
    """Largest difference from `predict_topk`.

    Raises an error if it is larger than rounding explains. Items may change places if
    the difference of their scores is as small.
    """
    items, scores = found
    expected_items, expected = recommender.predict_topk(
        rows, k, return_scores=True, exclude_seen=exclude_seen
    )
    catalog = recommender.decision_function(rows)
    if exclude_seen:
        row, place = np.nonzero(codes)
        catalog[row, codes[row, place] - 1] = -np.inf
    there = items > 0
    own = np.take_along_axis(catalog, np.maximum(items, 1) - 1, axis=1)
    of_graph = scores[there]  # without empty places, which have minus infinity
    far = np.maximum(abs(of_graph - expected[there]), abs(of_graph - own[there]))
    largest = float(far.max(initial=0.0))
    scale = max(1.0, float(abs(expected[np.isfinite(expected)]).max(initial=0.0)))
    twice = (np.diff(np.sort(np.where(there, items, -np.arange(k)), axis=1)) == 0).any()
    same_places = (there == np.isfinite(expected)).all()
    if not (largest <= _TOLERANCE * scale and same_places) or twice:
        raise RuntimeError(
            f"The graph does not rank as predict_topk does. Scores differ by up to "
            f"{largest:.2g} on {len(rows)} sessions of up to {codes.shape[1]} items. "
            "No file was written. Save the model with skclip.save instead. Please "
            "report this with the versions of torch, onnxscript and onnxruntime."
        )
    return largest
