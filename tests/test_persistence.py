"""Files that run no code: round trips, refusals, mutations."""

import json
import os
import struct
import subprocess
import sys
from datetime import date

import joblib
import numpy as np
import pytest
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


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_comes_back_bit_for_bit(
    backbone, small_recommender, shop_split, tmp_path
):
    train, test = shop_split
    model = clone(small_recommender).set_params(backbone=backbone, max_epochs=1)
    model.fit(train[:150])
    again = saved(model, tmp_path)
    np.testing.assert_array_equal(
        again.decision_function(test), model.decision_function(test)
    )
    assert repr(again) == repr(model)
    assert again.history_ == model.history_
    np.testing.assert_array_equal(again.membership_, model.membership_)
    other = clone(again).fit(train[:150])  # a parameter lost would show here
    np.testing.assert_array_equal(
        other.decision_function(test), model.decision_function(test)
    )


@pytest.mark.parametrize(
    "params",
    [
        {"prompt": None},
        {"prompt": ("cluster", "user", "session")},
        {"clusterer": RandomClusters(random_state=0)},
        {"random_state": np.random.RandomState(3)},
        {"scoring": SessionScorer("recall@5")},
        {"backbone": NARM(hidden_dim=12), "learning_rate": np.float64(0.01)},
        {"preset": "strong", "temperature": "learned"},
    ],
    ids=lambda p: next(iter(p)),
)
def test_parameters_of_all_kinds(params, small_recommender, shop_split, tmp_path):
    train, test = shop_split
    train = train.with_users(np.arange(len(train)) % 5)
    model = clone(small_recommender).set_params(**params).fit(train)
    again = saved(model, tmp_path)
    np.testing.assert_array_equal(
        again.decision_function(test), model.decision_function(test)
    )


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
    assert again.item_ids_.tolist() == model.item_ids_.tolist()
    assert [type(i) for i in again.item_ids_.tolist()] == [
        type(i) for i in model.item_ids_.tolist()
    ]
    assert again.predict_topk([ids]).tolist() == model.predict_topk([ids]).tolist()


def test_other_estimators(shop, tmp_path):
    X, _ = shop
    for clusterer in (
        SessionClusterer(random_state=0),
        OneCluster(),
        RandomClusters(random_state=1),
    ):
        again = saved(clusterer.fit(X), tmp_path)
        np.testing.assert_array_equal(again.transform(X).clusters,
                                      clusterer.transform(X).clusters)  # fmt: skip
    assert (again.predict(X) == clusterer.predict(X)).all()
    unfitted = saved(CLIPSessionRecommender("narm", temperature=0.5), tmp_path)
    assert unfitted.temperature == 0.5


def test_pipeline(small_recommender, shop_split, tmp_path):
    train, test = shop_split
    pipe = make_pipeline(SessionClusterer(random_state=0), clone(small_recommender))
    pipe.fit(train)
    again = saved(pipe, tmp_path)
    np.testing.assert_array_equal(
        skclip.predict_topk(again, test), skclip.predict_topk(pipe, test)
    )


FRESH = """
import sys, numpy as np, skclip
model = skclip.load(sys.argv[1])
np.save(sys.argv[2], model.decision_function([["item-001", "item-002"], ["new"]]))
"""


def test_in_a_fresh_process(fitted, tmp_path):
    skclip.save(fitted, tmp_path / "model")
    joblib.dump(fitted, tmp_path / "model.joblib")
    command = [sys.executable, "-W", "error::UserWarning:skclip", "-c", FRESH]
    subprocess.run([*command, tmp_path / "model", tmp_path / "out.npy"], check=True)
    expected = fitted.decision_function([["item-001", "item-002"], ["new"]])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_what_cannot_be_carried_is_refused(small_recommender, shop_split, tmp_path):
    path = tmp_path / "model"
    model = clone(small_recommender).set_params(scoring=lambda est, X, y=None: 0.0)
    with pytest.raises(TypeError, match=r"estimator.scoring is a .*names instead of"):
        skclip.save(model, path)
    days = PopularityRecommender().fit([[date(2020, 1, 1), date(2020, 1, 2)]])
    with pytest.raises(TypeError, match=r"item_ids_\[\d\] is a datetime.date"):
        skclip.save(days, path)
    with pytest.raises(TypeError, match="estimator is a builtins.dict|estimator is a"):
        skclip.save(Sessions.from_lists([["a"]]), path)
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


def test_refusals_name_their_reason(fitted, tmp_path):
    path = tmp_path / "model"
    skclip.save(fitted, path)
    good = path.read_bytes()

    def refuse(data, match):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=match):
            skclip.load(path)

    refuse(good[:-1], "truncated or something was appended")
    refuse(good + b"x", "truncated or something was appended")
    refuse(good[:20], "no skclip model file")
    refuse(b"", "no skclip model file")
    refuse(joblib.hash("x").encode() * 9, "no skclip model file")
    refuse(good[:-3] + b"abc", "checksum")
    refuse(good[:8] + struct.pack("<I", 2) + good[12:], "format 2.*reads format 1")
    with pytest.raises(FileNotFoundError):
        skclip.load(tmp_path / "none")
    with pytest.raises(TypeError, match="backbones holds 'narm'"):
        skclip.load(path, backbones=["narm"])


def resealed(data, change):
    """The file after a change of its document, with a checksum that fits."""
    import hashlib

    head, body = data[: _container._HEAD.size], data[_container._HEAD.size :]
    _, _, n_text, n_tensors, _ = _container._HEAD.unpack(head)
    document = json.loads(body[:n_text])
    change(document)
    body = json.dumps(document).encode() + body[n_text:]
    return (
        _container._HEAD.pack(
            persistence._MAGIC,
            _container._FORMAT,
            len(body) - n_tensors,
            n_tensors,
            hashlib.sha256(body).digest(),
        )
        + body
    )


def test_a_forged_file_builds_known_classes_only(fitted, tmp_path):
    path = tmp_path / "model"
    skclip.save(fitted, path)
    good = path.read_bytes()

    def forge(*keys, value):
        def change(document):
            *inner, last = keys
            for key in inner:
                document = document[key]
            document[last] = value

        path.write_bytes(resealed(good, change))
        with pytest.raises(ValueError, match="no sound skclip model"):
            skclip.load(path)

    forge("estimator", "class", value="os.system")
    forge("estimator", "class", value="Popen")
    forge("estimator", "state", value={})
    forge("estimator", "state", "item_ids_", value={persistence._KIND: "code"})
    forge("estimator", "state", "_model", value={"item_table": 3})
    forge("estimator", value={persistence._KIND: "array", "name": "none"})
    path.write_bytes(resealed(good, lambda document: None))
    skclip.load(path)


class Own(NARM):
    """A backbone that skclip does not know."""


def test_own_backbones_must_be_handed_in(small_recommender, shop_split, tmp_path):
    train, test = shop_split
    model = clone(small_recommender).set_params(backbone=Own()).fit(train)
    skclip.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"'Own'.*backbones=\[MyBackbone\]"):
        skclip.load(tmp_path / "model")
    again = skclip.load(tmp_path / "model", backbones=[Own])
    np.testing.assert_array_equal(again.predict(test), model.predict(test))


@pytest.mark.filterwarnings("ignore:This .* was saved by skclip")
def test_five_thousand_mutated_files(tmp_path):
    """Each is refused, or holds the same content; nothing else is raised."""
    rng = np.random.default_rng(0)
    model = PopularityRecommender().fit([["a", "b"], ["b", "c"], ["b"]])
    path = tmp_path / "model"
    skclip.save(model, path)
    good = path.read_bytes()
    expected = joblib.hash(model.__getstate__())
    outcomes = {"refused": 0, "same": 0}
    for case in range(5000):
        data = bytearray(good)
        kind = case % 5
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
        else:  # a changed document under a checksum that fits
            text = json.dumps(json.loads(good[_container._HEAD.size :].split(b"\x00")[0]
                    [: _container._HEAD.unpack_from(good)[2]]))  # fmt: skip
            data = bytearray(reseal_text(good, mutated(text, rng)))
        path.write_bytes(data)
        try:
            again = skclip.load(path)
        except ValueError:
            outcomes["refused"] += 1
            continue
        if kind == 4:  # forged with care: sound content, whatever it is
            assert type(again).__module__.startswith(("skclip", "sklearn", "builtins"))
            continue
        assert joblib.hash(again.__getstate__()) == expected
        outcomes["same"] += 1
    assert outcomes["refused"] >= 4000


def mutated(text, rng):
    at = int(rng.integers(len(text)))
    return text[:at] + chr(int(rng.integers(32, 127))) + text[at + 1 :]


def reseal_text(data, text):
    import hashlib

    _, _, n_text, n_tensors, _ = _container._HEAD.unpack_from(data)
    body = text.encode() + data[_container._HEAD.size + n_text :]
    head = _container._HEAD.pack(
        persistence._MAGIC,
        _container._FORMAT,
        len(text.encode()),
        n_tensors,
        hashlib.sha256(body).digest(),
    )
    return head + body


def test_paths_modes_links_and_pipelines(small_recommender, shop_split, tmp_path):
    train, test = shop_split
    model = clone(small_recommender).set_params(checkpoint=tmp_path / "run").fit(train)
    path = tmp_path / "model"
    skclip.save(model, path)
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    skclip.save(model, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    pipe = make_pipeline(
        SessionClusterer(random_state=0),
        clone(small_recommender),
        memory=str(tmp_path / "cache"),
    ).fit(train)
    again = saved(pipe, tmp_path)
    assert again.memory == pipe.memory
    with pytest.raises(TypeError, match="learning_rate is a numpy.longdouble"):
        skclip.save(CLIPSessionRecommender(learning_rate=np.longdouble(0.01)), path)


def test_what_cannot_be_saved_says_why(tmp_path):
    path, model = tmp_path / "model.skclip", PopularityRecommender()
    with pytest.warns(UserWarning, match="This PopularityRecommender is not fitted"):
        skclip.save(model, tmp_path / "unfitted.skclip")
    with pytest.raises(TypeError, match=r"skclip.save\(estimator, path\)"):
        skclip.save(path, model)
    search = GridSearchCV(model, {"scoring": ["mrr@20"]}, cv=2).fit([["a", "b"]] * 4)
    with pytest.raises(TypeError, match=r"save\(search.best_estimator_, path\)"):
        skclip.save(search, path)
    assert not path.exists()
