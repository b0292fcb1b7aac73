"""Files that run no code: round trips, refusals, mutations."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from datetime import date

import joblib
import numpy as np
import pytest
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionClusterer,
    Sessions,
    _container,
    persistence,
)
from skclip.backbones import BACKBONES, NARM
from skclip.controls import OneCluster, RandomClusters
from skclip.metrics import SessionScorer


def saved(estimator, folder, **options):
    skclip.save(estimator, folder / "model.skclip")
    return skclip.load(folder / "model.skclip", **options)


# -- round trips -----------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_comes_back_bit_for_bit(backbone, train, test, tmp_path):
    model = small(backbone, max_epochs=1).fit(train[:150])
    again = saved(model, tmp_path)
    same(again, model, test)
    assert repr(again) == repr(model)
    assert again.history_ == model.history_
    np.testing.assert_array_equal(again.membership_, model.membership_)
    same(clone(again).fit(train[:150]), model, test)  # no parameter was lost


@pytest.mark.parametrize(
    "params",
    [
        {"prompt": None},
        {"prompt": ("cluster", "user", "session")},
        {"clusterer": RandomClusters(random_state=0)},
        {"random_state": np.random.RandomState(3)},
        {"scoring": SessionScorer("recall@5")},
        {"backbone": NARM(hidden_dim=12), "learning_rate": np.float64(0.01)},
        {"preset": "paper", "similarity": "cosine", "temperature": 0.5},
    ],
    ids=lambda params: next(iter(params)),
)
def test_parameters_of_all_kinds(params, train, test, tmp_path):
    model = small(**params).fit(train.with_users(np.arange(len(train)) % 5))
    same(saved(model, tmp_path), model, test)


def test_a_scorer_comes_back_with_its_targets(tmp_path):
    scoring = SessionScorer("recall@5", "map@5", targets="remaining")
    model = PopularityRecommender(scoring=scoring).fit([["a", "b"], ["b", "c", "a"]])
    found = saved(model, tmp_path)
    assert repr(found.scoring) == repr(scoring)
    assert found.score([["a", "b", "c"]]) == model.score([["a", "b", "c"]])


@pytest.mark.parametrize(
    "ids",
    [
        [1, -5, 2**62],
        [2**70, 1, 2],
        [0.5, 1.25, -3.0],
        ["a", "ü\n\ud800", "x" * 400],
        [b"\x00\xff", b"", b"b"],
        [("a", 1), ("b", (2, 3)), ("c",)],
        [1, "1", 2.5],
        [True, "yes", 3],
    ],
    ids=str,
)
def test_ids_come_back_exactly(ids, tmp_path):
    model = PopularityRecommender().fit([ids, ids[:2], ids[:1]])
    again = saved(model, tmp_path)
    found, expected = again.item_ids_.tolist(), model.item_ids_.tolist()
    assert [(i, type(i)) for i in found] == [(i, type(i)) for i in expected]
    assert again.predict_topk([ids]).tolist() == model.predict_topk([ids]).tolist()


def test_clusterers_pipelines_and_unfitted_ones(train, test, tmp_path):
    clusterer = SessionClusterer(random_state=0)
    for one in (clusterer, OneCluster(), RandomClusters(random_state=1)):
        again = saved(clone(one).fit(train), tmp_path)
        expected = clone(one).fit(train).transform(test).clusters
        np.testing.assert_array_equal(again.transform(test).clusters, expected)
    pipe = make_pipeline(clusterer, small(), memory=str(tmp_path / "cache")).fit(train)
    again = saved(pipe, tmp_path)
    assert again.memory == pipe.memory
    np.testing.assert_array_equal(again.predict(test), pipe.predict(test))
    with pytest.warns(UserWarning, match="This CLIPSessionRecommender is not fitted"):
        unfitted = saved(CLIPSessionRecommender(temperature=0.5), tmp_path)
    assert unfitted.temperature == 0.5


FRESH = """
import sys, numpy as np, skclip
model = skclip.load(sys.argv[1])
np.save(sys.argv[2], model.decision_function([["item-001", "item-002"], ["new"]]))
"""


def test_in_a_fresh_process(fitted, tmp_path):
    skclip.save(fitted, tmp_path / "model")
    command = [sys.executable, "-W", "error::UserWarning:skclip", "-c", FRESH]
    subprocess.run([*command, tmp_path / "model", tmp_path / "out.npy"], check=True)
    expected = fitted.decision_function([["item-001", "item-002"], ["new"]])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


class Own(NARM):
    """A backbone that skclip does not know."""


def test_own_backbones_must_be_handed_in(train, test, tmp_path):
    model = small(Own(), max_epochs=1).fit(train)
    with pytest.raises(ValueError, match=r"'Own'.*backbones=\[MyBackbone\]"):
        saved(model, tmp_path)
    same(saved(model, tmp_path, backbones=[Own]), model, test)
    with pytest.raises(TypeError, match="backbones contains 'narm'"):
        saved(model, tmp_path, backbones=["narm"])


# -- what is not saved -----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.* is not fitted")
def test_what_cannot_be_saved_says_why(fitted, tmp_path):
    path, popular = tmp_path / "model", PopularityRecommender()
    search = GridSearchCV(popular, {"scoring": ["mrr@20"]}, cv=2).fit([["a", "b"]] * 4)
    days = clone(popular).fit([[date(2020, 1, 1), date(2020, 1, 2)]])
    own = small()
    own.__setstate__(fitted.__getstate__())
    own.scoring = lambda estimator, X, y=None: 0.0
    long = CLIPSessionRecommender(learning_rate=np.longdouble(0.01))
    for arguments, message in (
        ((path, popular), r"skclip.save\(estimator, path\)"),
        ((search, path), r"save\(search.best_estimator_, path\)"),
        ((own, path), r"estimator.scoring is a .*names instead of"),
        ((days, path), r"item_ids_\[\d\] is a datetime.date"),
        ((Sessions.from_lists([["a"]]), path), "estimator is a"),
        ((long, path), "learning_rate is a numpy.longdouble"),
    ):
        with pytest.raises(TypeError, match=message):
            skclip.save(*arguments)
    assert not list(tmp_path.iterdir())  # nothing half-written is left


def test_a_crash_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    path = tmp_path / "model"
    skclip.save(PopularityRecommender().fit([["a", "b"]]), path)
    before = path.read_bytes()

    def crash(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        skclip.save(fitted, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
def test_paths_modes_and_links(fitted, tmp_path):
    model = small()
    model.__setstate__(fitted.__getstate__())
    model.checkpoint = tmp_path / "run"
    path, plain = tmp_path / "model", tmp_path / "plain"
    skclip.save(model, path)
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    skclip.save(model, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert skclip.load(path).checkpoint == str(tmp_path / "run")


# -- what is not opened ----------------------------------------------------------------


def unsealed(path):
    """The document of a file as text, and its tensors."""
    data = path.read_bytes()
    n_text = _container._HEAD.unpack_from(data)[2]
    body = data[_container._HEAD.size :]
    return body[:n_text].decode(), body[n_text:]


def seal(path, text, tensors):
    """Write a file with a checksum that fits."""
    body = text.encode() + tensors
    sizes, digest = (len(text.encode()), len(tensors)), hashlib.sha256(body).digest()
    magic = persistence._MAGIC, _container._FORMAT
    path.write_bytes(_container._HEAD.pack(*magic, *sizes, digest) + body)


def test_refusals_name_their_reason(fitted, tmp_path):
    path = tmp_path / "model"
    skclip.save(fitted, path)
    good = path.read_bytes()
    for data, message in (
        (good[:-1], "truncated or something was appended"),
        (good + b"x", "truncated or something was appended"),
        (good[:20], "not a skclip model file"),
        (b"", "not a skclip model file"),
        (joblib.hash("x").encode() * 9, "not a skclip model file"),
        (good[:-3] + b"abc", "checksum"),
        (good[:8] + struct.pack("<I", 2) + good[12:], "format 2.*reads format 1"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            skclip.load(path)
    with pytest.raises(FileNotFoundError):
        skclip.load(tmp_path / "none")


def test_a_forged_file_builds_known_classes_only(fitted, tmp_path):
    path = tmp_path / "model"
    skclip.save(fitted, path)
    good = unsealed(path)
    kind = persistence._KIND
    for keys, value in (
        (["class"], "os.system"),
        (["class"], "Popen"),
        (["state"], {}),
        (["state", "prompt"], {kind: "code"}),
        (["state", "_fitted", "model"], {"item_table": 3}),
        (["state", "_fitted", "popularity"], {kind: "array", "name": "none"}),
        ([], {kind: "array", "name": "none"}),
    ):
        document = json.loads(good[0])
        *inner, last = ["estimator", *keys]
        place = document
        for key in inner:
            place = place[key]
        place[last] = value
        seal(path, json.dumps(document), good[1])
        with pytest.raises(ValueError, match="(valid|sound) skclip model"):
            skclip.load(path)
    seal(path, *good)
    skclip.load(path)


@pytest.mark.parametrize(
    ("estimator", "former", "gone"),
    [
        (small(), {"gate": "add", "n_negatives": None}, ["_fitted"]),
        (small(), {"feature_fusion": "gate"}, ["prompt"]),
        (small(), {}, ["unseen_items"]),
        (SessionClusterer(), {}, ["levels_"]),
    ],
)
def test_files_of_older_versions_say_what_to_do(estimator, former, gone, tmp_path):
    """Their parameters or attributes differ."""
    path = tmp_path / "model"
    skclip.save(clone(estimator).fit([["a", "b", "c"]] * 9), path)
    text, tensors = unsealed(path)
    document = json.loads(text) | {"skclip": "0.0.9"}
    state = document["estimator"]["state"] | former | {"_skclip_version": "0.0.9"}
    document["estimator"]["state"] = {k: v for k, v in state.items() if k not in gone}
    seal(path, json.dumps(document), tensors)
    message = "saved by skclip 0.0.9, and .* cannot load it .* Fit the model again, or"
    with pytest.raises(ValueError, match=message):
        skclip.load(path)


@pytest.mark.parametrize("name", ["unseen_items", "repeats", "n_rehearsed"])
def test_a_joblib_file_of_before_a_parameter(name, tmp_path):
    model = small().fit([["a", "b", "c"]] * 9)
    delattr(model, name)
    joblib.dump(model, tmp_path / "model.joblib")
    with pytest.raises(ValueError, match=f"before '{name}' .* Fit it again"):
        joblib.load(tmp_path / "model.joblib")


@pytest.mark.filterwarnings("ignore:This .* was saved by skclip")
def test_five_thousand_mutated_files(tmp_path):
    """Each is refused, or holds the same content; nothing else is raised."""
    rng = np.random.default_rng(0)
    model = PopularityRecommender().fit([["a", "b"], ["b", "c"], ["b"]])
    path = tmp_path / "model"
    skclip.save(model, path)
    good, (text, tensors) = path.read_bytes(), unsealed(path)
    expected = joblib.hash(model.__getstate__())
    n_refused = 0
    for case in range(5000):
        data, kind = bytearray(good), case % 5
        at = int(rng.integers(len(data)))
        if kind == 0:  # flip bits
            for i in rng.integers(len(data), size=rng.integers(1, 4)):
                data[i] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 3:
            data[at : at + 8] = rng.bytes(len(data[at : at + 8]))
        path.write_bytes(data)
        if kind == 4:  # a changed document under a checksum that fits
            at = int(rng.integers(len(text)))
            other = chr(int(rng.integers(32, 127)))
            seal(path, text[:at] + other + text[at + 1 :], tensors)
        try:
            again = skclip.load(path)
        except ValueError:
            n_refused += 1
            continue
        if kind == 4:  # forged with care: sound content, whatever it is
            assert type(again).__module__.startswith(("skclip", "sklearn", "builtins"))
        else:
            assert joblib.hash(again.__getstate__()) == expected
    assert n_refused >= 4000
