"""The graph of a recommender ranks as `predict_topk` does."""

import copy
import datetime
import json
import logging
import sys
import warnings

import numpy as np
import pytest
import torch
from common import small
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import skclip
from skclip import Fusion, Prompt, SessionClusterer, Sessions
from skclip import export as exporting
from skclip.backbones import (
    BACKBONES,
    CORE,
    GCEGNN,
    NISER,
    SRGNN,
    Backbone,
    BackboneSpec,
    GRU4Rec,
    PoMRec,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
LONGEST, N_ITEMS = 6, 79


def opened(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def ask(session, rec, rows):
    """Codes and scores that a graph gives for lists of ids."""
    code_of = {item: code for code, item in enumerate(rec.item_ids_.tolist(), 1)}
    codes = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.int64)
    for own, row in zip(codes, rows, strict=True):
        own[: len(row)] = [code_of.get(item, 0) for item in row]
    lengths = np.array([len(row) for row in rows])
    return session.run(None, {"codes": codes, "lengths": lengths})


def check(session, rec, rows, **options):
    """The graph's lists are those of `predict_topk`, up to rounding."""
    items, scores = ask(session, rec, rows)
    wanted_items, wanted = rec.predict_topk(
        rows, items.shape[1], return_scores=True, **options
    )
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4)
    catalog = rec.decision_function(rows)
    own = np.take_along_axis(catalog, np.maximum(items, 1) - 1, axis=1)
    there = np.isfinite(wanted)
    np.testing.assert_array_equal(items > 0, there)
    np.testing.assert_allclose(own[there], wanted[there], rtol=1e-4, atol=1e-4)
    # Where no score is near, the item is the same.
    gaps = -np.diff(np.where(there, wanted, -1e9), axis=1, append=-2e9)
    apart = gaps > 1e-3 * abs(wanted[there]).max()
    clear = there & apart & np.roll(apart, 1, axis=1)
    clear[:, 0] = there[:, 0] & apart[:, 0]
    assert clear.any()
    np.testing.assert_array_equal(rec.item_ids_[items - 1][clear], wanted_items[clear])


def rows_of(rec, lengths, seed=0):
    """Random sessions; items may occur again."""
    rng = np.random.default_rng(seed)
    return [rng.choice(rec.item_ids_, n).tolist() for n in lengths]


@pytest.fixture(scope="module")
def halved(train):
    """A model in which the second half of the items has the score 0."""
    rec = small("stamp", prompt=None, repeats=True, max_session_length=LONGEST)
    rec.set_params(similarity="dot").fit(train)
    state = copy.deepcopy(rec.__getstate__())
    state["_fitted"]["model"]["item_table"][N_ITEMS // 2 :] = 0.0
    rec.__setstate__(state)
    return rec


@pytest.fixture(scope="module")
def path(halved, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    skclip.export_onnx(halved, path, k=N_ITEMS)
    return path


@pytest.fixture(scope="module")
def graph(path):
    return opened(path)


@pytest.mark.parametrize("n", [1, 2, LONGEST, LONGEST + 1, 40])
def test_one_session_of_any_length(graph, halved, n):
    for seed in range(3):
        check(graph, halved, rows_of(halved, [n], seed))


def test_many_sessions_at_a_time(graph, halved):
    assert halved.repeat_bias_ is not None
    check(graph, halved, rows_of(halved, [1, 3, 40, 2, LONGEST, 7, 1, 12] * 4))


def test_equal_scores_are_in_the_order_of_the_catalog(graph, halved):
    first = halved.item_ids_[0]
    items, scores = ask(graph, halved, [[first]])
    tied = items[scores == 0.0]
    assert len(tied) == N_ITEMS - N_ITEMS // 2
    np.testing.assert_array_equal(tied, np.sort(tied))


def test_sessions_without_a_known_item_get_popular_ones(graph, halved):
    rows = [["never seen"] * 3, [], rows_of(halved, [3])[0]]
    items, scores = ask(graph, halved, rows)
    wanted, counts = halved.predict_topk(rows, N_ITEMS, return_scores=True)
    np.testing.assert_array_equal(halved.item_ids_[items[:2] - 1], wanted[:2])
    np.testing.assert_array_equal(scores[:2], counts[:2])
    check(graph, halved, rows[2:])


def test_codes_outside_the_catalog_are_left_out_wherever_they_stand(graph, halved):
    n = N_ITEMS
    plain = np.array([[3, 1, 3, 2, 0, 0, 0, 0]])
    mixed = np.array([[0, 3, n + 1, 1, 3, -5, 2, 9]])
    expected = graph.run(None, {"codes": plain, "lengths": np.array([4])})
    found = graph.run(None, {"codes": mixed, "lengths": np.array([7])})
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_sizes_have_names(graph):
    shapes = {x.name: x.shape for x in (*graph.get_inputs(), *graph.get_outputs())}
    assert shapes == {
        "codes": ["batch", "length"],
        "lengths": ["batch"],
        "items": ["batch", N_ITEMS],
        "scores": ["batch", N_ITEMS],
    }


def test_metadata(graph, halved, path):
    texts = graph.get_modelmeta().custom_metadata_map
    assert set(texts) == {"skclip_format", "skclip_version", "item_ids", "settings"}
    assert texts["skclip_format"] == "1"
    assert texts["skclip_version"] == skclip.__version__
    assert json.loads(texts["item_ids"]) == halved.item_ids_.tolist()
    settings = json.loads(texts["settings"])
    assert (settings["k"], settings["exclude_seen"]) == (N_ITEMS, False)
    assert settings["max_session_length"] == LONGEST
    assert settings["embedding_dim"] == 16
    parameters = settings.keys() & halved.get_params(deep=False).keys()
    machine = {"checkpoint", "device", "n_threads", "verbose"}
    assert parameters == halved.get_params(deep=False).keys() - machine
    assert 0 <= settings["largest_difference"] < 1e-3
    assert exporting.__file__.encode() not in path.read_bytes()
    onnx.checker.check_model(path)


@pytest.mark.slow
def test_seen_items_are_left_out_of_the_whole_session(train, tmp_path, caplog, capfd):
    """Also where the network reads the latest items alone; places may stay free."""
    model = small("gru4rec", max_session_length=LONGEST).fit(train)
    with caplog.at_level(logging.WARNING):
        skclip.export_onnx(model, tmp_path / "m.onnx", k=5, exclude_seen=True)
    assert not caplog.records
    assert not any(capfd.readouterr())
    session = opened(tmp_path / "m.onnx")
    rows = rows_of(model, [1, 4, 60]) + [model.item_ids_[3:].tolist()]
    check(session, model, rows, exclude_seen=True)
    items, scores = ask(session, model, rows[3:])
    np.testing.assert_array_equal(np.sort(items[0, :3]), [1, 2, 3])
    np.testing.assert_array_equal(items[0, 3:], 0)
    np.testing.assert_array_equal(scores[0, 3:], -np.inf)
    popular, _ = ask(session, model, [[]])
    assert model.item_ids_[popular - 1].tolist() == model.predict_topk([[]], 5).tolist()


def test_only_warnings_of_the_exporter_are_kept_back():
    """The filters of Python before 3.14 are those of all threads."""
    with warnings.catch_warnings(record=True) as seen, exporting._quiet():
        for module in ("torch.export._trace", "onnxscript", "shop.orders", "sklearn"):
            warnings.warn_explicit(module, UserWarning, "a.py", 1, module)
    assert [str(warning.message) for warning in seen] == ["shop.orders", "sklearn"]


# -- what is refused, and what stays whole ---------------------------------------------


@pytest.fixture
def ready(monkeypatch, path):
    """Skip the slow part: what is exported is the graph of `halved`."""
    monkeypatch.setattr(exporting, "_onnx_model", lambda ranker: onnx.load(path))


def test_a_graph_that_differs_is_not_written(ready, halved, train, tmp_path):
    file = tmp_path / "m.onnx"
    file.write_bytes(b"before")
    other = small("stamp", prompt=None, similarity="dot", random_state=1).fit(train)
    with pytest.raises(RuntimeError, match="does not rank as predict_topk does"):
        skclip.export_onnx(other, file, k=N_ITEMS)
    with pytest.raises(RuntimeError, match="does not rank as predict_topk does"):
        skclip.export_onnx(other, file, k=N_ITEMS, sessions=train[:9])
    assert file.read_bytes() == b"before"
    assert [x.name for x in tmp_path.iterdir()] == ["m.onnx"]
    skclip.export_onnx(halved, file, k=N_ITEMS)
    assert [x.name for x in tmp_path.iterdir()] == ["m.onnx"]
    check(opened(file), halved, rows_of(halved, [4]))


def test_a_pipeline_is_looked_into(ready, halved, train, tmp_path):
    pipeline = make_pipeline(SessionClusterer(random_state=0), halved)
    skclip.export_onnx(pipeline, tmp_path / "m.onnx", k=N_ITEMS, sessions=train[:9])
    assert (tmp_path / "m.onnx").exists()


def test_a_graph_that_does_not_run(halved, tmp_path, monkeypatch, path):
    broken = onnx.load(path)
    del broken.graph.node[3]
    monkeypatch.setattr(exporting, "_onnx_model", lambda ranker: broken)
    with pytest.raises(ValueError, match=r"STAMP cannot be exported to ONNX.*\[ONNX"):
        skclip.export_onnx(halved, tmp_path / "m.onnx", k=N_ITEMS)
    assert not list(tmp_path.iterdir())


class LoopNetwork(Backbone):
    def encode(self, x, batch):
        return torch.stack(
            [row[:n].mean(0) for row, n in zip(x, batch.ends.tolist(), strict=True)]
        )


class Loop(BackboneSpec):
    def build(self, embedding_dim, n_items, max_length):
        return LoopNetwork()


def test_a_network_with_a_loop_over_rows_is_named(train, tmp_path):
    rec = small(Loop(), prompt=None, max_epochs=1).fit(train)
    with pytest.raises(ValueError, match=r"(?s)Loop cannot be exported.*skclip\.save"):
        skclip.export_onnx(rec, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_what_has_no_network(train, tmp_path):
    rec = skclip.PopularityRecommender().fit(train)
    with pytest.raises(TypeError, match="PopularityRecommender has no network"):
        skclip.export_onnx(rec, tmp_path / "m.onnx")
    with pytest.raises(NotFittedError):
        skclip.export_onnx(small(), tmp_path / "m.onnx")


@pytest.mark.parametrize("k", [0, N_ITEMS + 1])
def test_k_out_of_range(halved, tmp_path, k):
    with pytest.raises(
        ValueError, match=f"k={k} is not between 1 and the {N_ITEMS} items"
    ):
        skclip.export_onnx(halved, tmp_path / "m.onnx", k=k)


def test_k_is_a_whole_number(halved, tmp_path):
    with pytest.raises(TypeError, match="k must be a whole number"):
        skclip.export_onnx(halved, tmp_path / "m.onnx", k=2.5)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_exclude_seen_is_true_or_false(halved, tmp_path, value):
    with pytest.raises(TypeError, match=f"must be True or False, got {value!r}"):
        skclip.export_onnx(halved, tmp_path / "m.onnx", exclude_seen=value)


def test_paths_and_sessions_are_checked_before_tracing(halved, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_onnx_model", None)
    file = tmp_path / "m.onnx"
    with pytest.raises(TypeError, match="path is a int: 3"):
        skclip.export_onnx(halved, 3)
    with pytest.raises(ValueError, match="not a regular file"):
        skclip.export_onnx(halved, tmp_path)
    with pytest.raises(FileNotFoundError, match="The folder .*missing does not exist"):
        skclip.export_onnx(halved, tmp_path / "missing" / "m.onnx")
    for rows in ([["new"], []], [[]]):
        with pytest.raises(ValueError, match="No session has an item of the catalog"):
            skclip.export_onnx(halved, file, sessions=rows)


@pytest.mark.filterwarnings("error")
def test_rows_with_places_left_free_are_compared_quietly(halved):
    rows = [halved.item_ids_[3:].tolist(), halved.item_ids_[:2].tolist()]
    items, scores = halved.predict_topk(rows, 5, return_scores=True, exclude_seen=True)
    there = np.isfinite(scores)
    assert not there.all()
    codes, _ = exporting._padded(rows, halved._index)
    found = [np.where(there, halved._index.codes_of(items.ravel()).reshape(2, 5), 0)]
    options = {"k": 5, "exclude_seen": True}
    compared = halved, rows, codes
    assert exporting._difference(*compared, [*found, scores], **options) < 1e-3
    with pytest.raises(RuntimeError, match="does not rank"):
        exporting._difference(*compared, [*found, scores + 1], **options)
    with pytest.raises(RuntimeError, match="does not rank"):
        exporting._difference(*compared, [found[0] * 0, scores], **options)


@pytest.mark.filterwarnings("ignore::skclip.exceptions.IdTypeWarning")
def test_nested_tuples_are_refused(tmp_path):
    ids = [("a", ("b", i)) for i in range(8)]
    rec = small("stamp", prompt=None, max_epochs=1).fit([ids, ids[::-1]] * 5)
    with pytest.raises(TypeError, match="contains a tuple, which .* tuples of these"):
        skclip.export_onnx(rec, tmp_path / "m.onnx")


@pytest.mark.filterwarnings("ignore::skclip.exceptions.IdTypeWarning")
def test_ids_that_json_does_not_have(tmp_path):
    days = [datetime.date(2026, 1, d) for d in range(1, 9)]
    rec = small("stamp", prompt=None, max_epochs=1).fit([days, days[::-1]] * 5)
    with pytest.raises(TypeError, match=r"date\(2026, 1, 1\) is a date"):
        skclip.export_onnx(rec, tmp_path / "m.onnx")


def test_a_file_that_would_be_too_large(halved, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_MOST_BYTES", 10_000)
    with pytest.raises(
        ValueError, match=f"{N_ITEMS} items with 16 dimensions would take"
    ):
        skclip.export_onnx(halved, tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(halved, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs {name}.*'skclip\[onnx\]'"):
        skclip.export_onnx(halved, tmp_path / "m.onnx")


def test_what_the_graph_cannot_read_is_told(train, tmp_path, monkeypatch, path):
    monkeypatch.setattr(exporting, "_onnx_model", lambda ranker: onnx.load(path))
    monkeypatch.setattr(exporting, "_largest_difference", lambda *_, **__: 0.0)
    rec = small("stamp", unseen_items="vote", max_epochs=1).fit(train)
    with pytest.warns(UserWarning, match="ignores unseen items"):
        skclip.export_onnx(rec, tmp_path / "m.onnx")
    rec = small("stamp", prompt=("user", "session"), max_epochs=1)
    rec.fit(with_users(train))
    with pytest.warns(UserWarning, match="user and each session. The graph does not"):
        skclip.export_onnx(rec, tmp_path / "m.onnx")


def with_users(X):
    names = np.array([f"user-{i % 9}" for i in range(len(X))])
    ids = np.arange(len(X))
    return Sessions(X.codes, X.offsets, X.vocabulary, users=names, ids=ids)


# -- all backbones ---------------------------------------------------------------------


def check_export(rec, X, tmp_path, **options):
    rec.fit(X)
    rec.set_params(n_threads=1)
    skclip.export_onnx(rec, tmp_path / "m.onnx", k=20, **options)
    session = opened(tmp_path / "m.onnx")
    longest = rec.max_session_length
    rng = np.random.default_rng(0)
    lengths = [1, longest, longest + 3, *rng.integers(1, longest + 1, 200)]
    check(session, rec, rows_of(rec, lengths), **options)
    for n in (1, 2, longest, longest + 3):
        check(session, rec, rows_of(rec, [n]), **options)


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("prompt", ["cluster", None])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_all_backbones(backbone, prompt, similarity, train, tmp_path):
    rec = small(backbone, prompt=prompt, similarity=similarity, max_epochs=1)
    check_export(rec, train, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        GRU4Rec(tied=True, n_layers=2),
        CORE(encoder="average"),
        GCEGNN(n_hops=2),
        NISER(positions=False),
        SRGNN(hybrid=False, step=2),
        PoMRec(aggregation="max"),
        PoMRec(aggregation="mean", dispersion="var", legacy_ones_padding=5),
    ],
    ids=repr,
)
def test_forms_of_backbones(backbone, train, tmp_path):
    rec = small(backbone, max_epochs=1, repeats=True)
    check_export(rec, train, tmp_path, exclude_seen=True)


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
@pytest.mark.parametrize("backbone", ["stamp", "gcegnn", "pomrec"])
def test_prompts_of_the_session(backbone, gate, train, tmp_path):
    prompt = Prompt(("cluster", "session"), session="pooled", gate=gate)
    rec = small(backbone, prompt=prompt, max_epochs=1, repeats=True)
    check_export(rec, train, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("unknown", ["zero", "mean"])
@pytest.mark.filterwarnings("ignore:The model has a prompt for each user")
def test_prompts_of_users(unknown, train, tmp_path):
    prompt = Prompt(("cluster", "user"), unknown_user=unknown)
    rec = small("narm", prompt=prompt, max_epochs=1)
    check_export(rec, with_users(train), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["stamp", "tagnn"])
@pytest.mark.parametrize("kind", ["gate", "late", "nullspace"])
def test_features(kind, backbone, train, tmp_path):
    rng = np.random.default_rng(0)
    vectors = {item: rng.normal(size=12) for item in train.vocabulary.tolist()}
    rec = small(backbone, item_features=Fusion(vectors, kind=kind), max_epochs=1)
    check_export(rec, train, tmp_path)


@pytest.mark.slow
def test_new_items_with_features_are_in_the_graph(train, tmp_path):
    vectors = {item: [i % 7, 1.0] for i, item in enumerate(train.vocabulary.tolist())}
    rec = small("core", item_features=vectors, max_epochs=1).fit(train[:60])
    rec.set_item_features({"later": [3.0, -1.0]})
    skclip.export_onnx(rec, tmp_path / "model.onnx")
    check(opened(tmp_path / "model.onnx"), rec, [["later"], ["item-003", "later"]])


@pytest.mark.slow
@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize(
    "backbone", ["core", "gru4rec", "lessr", "niser", "gcegnn", "sasrec"]
)
def test_short_memories(backbone, longest, train, tmp_path):
    rec = small(backbone, max_session_length=longest, max_epochs=1, repeats=True)
    check_export(rec, train, tmp_path)
