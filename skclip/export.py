"""A fitted recommender as an ONNX graph, which needs neither skclip nor torch."""

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
from skclip._warnings import warn_user
from skclip.backbones import Batch, ExportedGRU

__all__ = ["export_onnx"]

_FORMAT = 1
_MOST_BYTES = 2**31 - 2**20  # of a protobuf file, less what the graph itself takes
_TOLERANCE = 1e-4  # of a score, as a share of the largest one
_SAMPLE = 64  # sessions that are compared at a time
_SCORES = 2**23  # of the whole catalog that are looked at in a comparison
_CHATTY = (  # loggers that tell users what only their developers can change
    "torch.onnx._internal.exporter._registration",
    "onnxscript.optimizer._constant_folding",
    "onnx_ir._convenience",
)
# Modules that warn of what torch and ONNX do inside; torch lets copyreg warn for it.
_WARNING = "(torch|onnx|copyreg)"
_ONE = threading.RLock()  # torch's exporter changes settings of the process
_OF_THE_MACHINE = ("checkpoint", "device", "n_threads", "verbose")  # parameters


def export_onnx(estimator, path, *, k=None, exclude_seen=False, sessions=None):
    """Write a fitted recommender as a graph for ONNX Runtime.

    The graph does what ``predict_topk`` does, with codes in the place of ids. It runs
    wherever ONNX Runtime runs, such as in Node, Java or C#. The page "ONNX export"
    has examples.

    Before the file is written, the graph ranks some sessions, and so does
    ``predict_topk``. Where they differ there is an error and no file.

    Parameters
    ----------
    estimator : CLIPSessionRecommender, Pipeline or search
        Fitted. Of a Pipeline or a search the recommender inside is exported, without
        the steps before it.
    path : path-like
        The file. An existing one is replaced at once.
    k : int, default=None
        Number of items per session, at most the size of the catalog. None is the
        smaller of 20 and that size.
    exclude_seen : bool, default=False
        Leave out the items of the session itself.
    sessions : Sessions or list of lists, default=None
        Sessions to compare the graph with ``predict_topk`` on. None takes random
        sessions of all lengths.

    Raises
    ------
    ImportError
        The extra ``skclip[onnx]`` is missing, or torch is older than 2.8.
    TypeError
        `estimator` holds no `CLIPSessionRecommender`, a parameter has a wrong type,
        or JSON has no form for an id.
    ValueError
        `k` is out of range, the backbone cannot be exported, the model reads features
        of clicks, `sessions` have no known item, or the file would be larger than
        2 GB.
    FileNotFoundError
        The folder of the file is missing.
    RuntimeError
        The graph and ``predict_topk`` give different lists.

    Warns
    -----
    UserWarning
        The model reads unseen items or users, and the graph does not.

    See Also
    --------
    save : Writes a file that skclip opens again.

    Notes
    -----
    The graph has two inputs, int64. ``codes`` (batch, length) holds positions in
    ``item_ids_``, counted from 1, in order of time and padded on the right. Codes that
    are not in the catalog, such as 0, are left out. ``lengths`` (batch,) says how many
    places of each row count. Both sizes may differ from call to call, and are at
    least 1. Of a long session the latest ``max_session_length`` items are read.

    The outputs are ``items`` (batch, k), int64, codes in the same sense, best first,
    and ``scores`` (batch, k), float32. Where `exclude_seen` leaves fewer than `k` items
    the rest of a row is 0, with a score of minus infinity. A session without a known
    item gets the most popular ones.

    The file's metadata are texts: ``item_ids``, a JSON list in the order of the codes;
    ``skclip_version``; ``skclip_format``, now 1; and ``settings``, a JSON object. It
    holds `k`, `exclude_seen`, ``max_session_length``, the largest difference of scores
    in the comparison, and the parameters of the model. Those that say how it was fitted
    on a machine are left out: checkpoint, device, n_threads and verbose.

    The file has two vectors for each item, 4 bytes a number, and the ids. Protobuf
    limits it to 2 GB, which 3 million items with 64 dimensions stay below.

    Users are unknown to the graph: prompts of users and of sessions by table are those
    of unknown ones.

    All backbones of skclip can be exported. One of your own can if it is made of tensor
    operations that ONNX has, and asks for sizes by ``x.shape[0]``, not by ``len(x)``.

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
            f"{type(recommender).__name__} has no network that could be exported. "
            "Export a CLIPSessionRecommender, or serve this one with skclip.save."
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
            "and an exported graph is given item ids alone. Fit with "
            "click_features=None to export, or serve this model with skclip.serve."
        )
    ranker = _Ranker(fitted, k, bool(exclude_seen))
    if sessions is None:
        rows = _sample(recommender)
    else:  # as plain lists, which say nothing of users
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


# -- before anything is made -----------------------------------------------------------


def _check_extra():
    """Refuse to begin without the packages, or without a torch that can do it."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"export_onnx needs {error.name}, which is not installed: pip install "
            "'skclip[onnx]'."
        ) from error
    if not hasattr(torch.onnx, "ops"):
        raise ImportError(
            f"export_onnx needs torch 2.8 or later, and this is {torch.__version__}: "
            "pip install --upgrade torch."
        )


def _checked_k(k, n_items):
    if k is None:
        return min(20, n_items)
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise TypeError(f"k must be a whole number or None, got {k!r}.")
    if not 1 <= k <= n_items:
        raise ValueError(
            f"k={k} is not between 1 and the {n_items} items of the catalog. Pass such "
            "a number, or None for the default."
        )
    return int(k)


def _ids_as_json(item_ids):
    ids = item_ids.tolist()
    for item in ids:
        parts, verb = (item, "holds") if type(item) is tuple else ((item,), "is")
        for part in parts:
            if type(part) not in (str, int, float, bool):
                raise TypeError(
                    f"The item id {item!r:.60} {verb} a {type(part).__name__}, which "
                    "the file has no form for. Fit on ids that are text, numbers or "
                    "tuples of text and numbers."
                )
    return json.dumps(ids)


def _check_path(path):
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"path is a {type(path).__name__}: {path!r:.60}. Pass text or a Path."
        )
    path = Path(os.path.realpath(path))  # the file behind a link
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file. Pass the path of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.parent} for the file. Make it first."
        )


def _check_known(rows, index):
    if not _padded(rows, index)[0].any():
        raise ValueError(
            "No session has an item of the catalog, so there is nothing to compare. "
            "Pass sessions with known items, or None for random ones."
        )


def _check_size(fitted, n_bytes_of_ids):
    n_items, dim = fitted.model.item_table.shape
    vectors = 4 * n_items * (dim + fitted.candidates().shape[1])
    if vectors + n_bytes_of_ids > _MOST_BYTES:
        raise ValueError(
            f"The graph of {n_items:,} items with {dim} dimensions would take "
            f"{(vectors + n_bytes_of_ids) / 2**30:.1f} GB, and an ONNX file is limited "
            "to 2 GB. Fit with a smaller embedding_dim or a larger min_item_count."
        )


def _warn_of_limits(fitted):
    if fitted.votes:
        warn_user(
            "The model reads unseen items by the votes of those beside them "
            "(unseen_items='vote'). The graph leaves unseen items out, as "
            "unseen_items='drop' does."
        )
    kinds = [
        kind
        for kind, owners in zip(("user", "session"), fitted.owners, strict=True)
        if owners is not None
    ]
    if kinds:
        warn_user(
            f"The model has a prompt for each {' and each '.join(kinds)}. The graph "
            "knows none of them, and ranks as for unknown ones. Use skclip.save where "
            "these prompts matter."
        )


# -- the graph -------------------------------------------------------------------------


class _Ranker(nn.Module):
    """Codes and lengths in, the codes and the scores of the best items out."""

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
        repeats = None if exclude_seen else fitted.repeats  # of items that are left out
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
        """The latest known codes, moved to the left, and how many there are."""
        from_end = known.flip(1).cumsum(1).flip(1)
        kept = known & (from_end <= self.max_length)
        width = torch.sym_min(codes.shape[1], self.max_length)
        to = (kept.cumsum(1) - 1).where(kept, width)  # the last column takes the rest
        latest = torch.zeros(codes.shape[0], width + 1, dtype=codes.dtype)
        return latest.scatter(1, to, codes)[:, :-1], kept.sum(1)

    def scores(self, codes, ends):
        """Scores (batch, n_items); those of an empty session are never read."""
        rows, none = torch.arange(codes.shape[0]), torch.zeros_like(ends)
        batch = Batch(codes=codes, rows=rows, ends=ends, targets=none)
        return self.model.scores(self.model.states(batch), self.keys.T)

    def repeat_bias(self, codes, ends):
        """Which events are the last click on an item, and the bias of that item."""
        place = torch.arange(codes.shape[1])
        event = place < ends[:, None]
        same = (codes[:, :, None] == codes[:, None, :]) & event[:, None]
        later = (same & (place > place[:, None])).any(dim=2)
        count = same.sum(dim=2).clamp(1, N_COUNTS) - 1
        steps = (ends[:, None] - 1 - place).clamp(0, N_STEPS - 1)
        return event & ~later, self.repeats[steps, count]


def _add_at(scores, codes, where, values):
    """Add values (batch, length) to the scores of items, at some of the places."""
    at, zero = (codes - 1).where(where, 0), torch.zeros((), dtype=scores.dtype)
    return scores.scatter_add(1, at, values.where(where, zero))


def _onnx_model(ranker):
    """The graph as a protobuf message, with nothing in it of this machine."""
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
    # Given the program, torch leaves the operator for a GRU as it is.
    model = torch.onnx.export(
        program,
        (),
        input_names=["codes", "lengths"],
        output_names=["items", "scores"],
        dynamo=True,
        verbose=False,
    ).model_proto
    for node in model.graph.node:  # lines of the sources, with their folders
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
    """Errors from inside torch or ONNX Runtime as one that says what to do."""
    try:
        yield
    except Exception as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{name} cannot be exported to ONNX. {type(cause).__name__}: {reason:.300} "
            "Usual causes are sizes or branches that depend on the data, len(x) in the "
            "place of x.shape[0], and operators that ONNX lacks. Write the network "
            "without these, or serve the model with skclip.save."
        ) from error


@contextlib.contextmanager
def _quiet():
    """Keep what the exporter says to its own developers from users of this thread."""
    thread = threading.get_ident()
    loggers = [logging.getLogger(name) for name in _CHATTY]

    def of_others(record):
        return record.thread != thread

    for logger in loggers:
        logger.addFilter(of_others)
    try:
        with _ONE, warnings.catch_warnings():
            # Before Python 3.14 this is for all threads: theirs go on being shown.
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
    """A number, a text, a truth value or None as it is, all else described in short."""
    kinds = (str, int, float, bool, type(None))
    return value if isinstance(value, kinds) else reprlib.repr(value)


# -- comparison ------------------------------------------------------------------------


def _sample(recommender):
    """Random sessions of all lengths, and longer ones; items may occur again."""
    rng = np.random.default_rng(0)
    longest = recommender._fitted.config["max_length"] + 2
    lengths = np.unique(np.linspace(1, longest, _SAMPLE).astype(int))
    some = rng.choice(recommender.n_items_, min(recommender.n_items_, 2 * longest))
    ids = recommender.item_ids_.tolist()
    return [[ids[i] for i in rng.choice(some, n)] for n in rng.permutation(lengths)]


def _largest_difference(model, recommender, rows, name, **options):
    """Largest difference of scores; refuses a graph that ranks otherwise."""
    import onnxruntime

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4  # what it says is in the error
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
    """Codes of rows of ids, 0 for unknown ones and for padding; and lengths."""
    lengths = np.array([len(row) for row in rows])
    codes = np.zeros((len(rows), max(1, lengths.max())), dtype=np.int64)
    flat = np.empty(lengths.sum(), dtype=object)
    flat[:] = list(itertools.chain.from_iterable(rows))
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = index.codes_of(flat)
    return codes, lengths


def _difference(recommender, rows, codes, found, k, exclude_seen):
    """Largest difference from `predict_topk`; refuses more than rounding explains.

    Items may change places where their scores are as near as that.
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
    of_graph = scores[there]  # without places that are left free: minus infinity
    far = np.maximum(abs(of_graph - expected[there]), abs(of_graph - own[there]))
    largest = float(far.max(initial=0.0))
    scale = max(1.0, float(abs(expected[np.isfinite(expected)]).max(initial=0.0)))
    twice = (np.diff(np.sort(np.where(there, items, -np.arange(k)), axis=1)) == 0).any()
    same_places = (there == np.isfinite(expected)).all()
    if not (largest <= _TOLERANCE * scale and same_places) or twice:
        raise RuntimeError(
            f"The graph does not rank as predict_topk does: scores differ by up to "
            f"{largest:.2g} on {len(rows)} sessions of up to {codes.shape[1]} items. "
            "Nothing was written. Serve the model with skclip.save, and please report "
            "this with the versions of torch, onnxscript and onnxruntime."
        )
    return largest
