"""What the recommender reads of a click beside its item: type, times, position."""

import io
import warnings

import joblib
import numpy as np
import pytest
from common import same, small
from sklearn.base import clone

import skclip
from skclip import Sessions, export_onnx
from skclip._model import Batches
from skclip.backbones import BACKBONES
from skclip.exceptions import UnseenItemWarning
from skclip.features import ItemFeatures
from skclip.metrics import SessionScorer

ALL = ("event", "gap", "dwell", "position", "hour", "weekday")
KINDS = np.array(["cart", "view"])


def with_columns(X, seed=0, kinds=KINDS):
    rng = np.random.default_rng(seed)
    lists = X.to_lists()
    return Sessions.from_lists(
        lists,
        events=[rng.choice(kinds, len(row)) for row in lists],
        times=[1e6 * i + rng.gamma(0.3, 900, len(row)).cumsum()
               for i, row in enumerate(lists)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def clicks(train):
    return with_columns(train[:300])


@pytest.fixture(scope="module")
def fitted(clicks):
    return small(click_features=ALL).fit(clicks)


def without_types(X):
    return Sessions(X.codes, X.offsets, X.vocabulary, times=X.times)


def test_auto_reads_types_where_there_are_two(clicks):
    assert small(max_epochs=1).fit(clicks).resolved_params_["click_features"] == (
        "event",
    )
    bare = small(max_epochs=1).fit(without_types(clicks))
    assert bare.resolved_params_["click_features"] == ()
    assert "click features" not in bare.parameter_report()


@pytest.mark.parametrize("asked", ["auto", "event"])
def test_a_single_type_changes_nothing(clicks, asked):
    bare = without_types(clicks)
    one = Sessions.from_lists(
        bare.to_lists(),
        events=[["view"] * n for n in bare.lengths],
        times=np.split(bare.times, bare.offsets[1:-1]),
    )
    same(small(click_features=asked).fit(one), small().fit(bare), bare[:50])


def test_the_input_is_the_sum_of_the_vectors(fitted, clicks):
    """Written out for one session from the definitions of the features."""
    model, row = fitted._fitted.model, int(np.argmax(clicks.lengths))
    X = clicks[[row]]
    (instances,) = [fitted._fitted.observed(fitted._queries(X))]
    batch = Batches(instances, "cpu", shared=False).batch(np.array([0]))
    x, _ = model.inputs(batch)
    tables = {k: v.detach().numpy() for k, v in model.click_vectors.tables.items()}
    bare = model.vectors(batch.codes)[0].detach().numpy()
    n = X.n_events
    for t in range(n):
        seconds = X.times[t]
        days = int(seconds // 86_400)
        code = {
            "event": 1 + KINDS.tolist().index(X.type_names[X.types[t]]),
            "position": n - t,
            "hour": 1 + int(seconds // 3600 % 24),
            "weekday": 1 + (days + 3) % 7,
            "gap": 0 if t == 0 else bucket(seconds - X.times[t - 1]),
            "dwell": 0 if t == n - 1 else bucket(X.times[t + 1] - seconds),
        }
        expected = bare[t] + sum(tables[name][code[name]] for name in ALL)
        np.testing.assert_allclose(x[0, t].detach().numpy(), expected, atol=1e-6)


def bucket(seconds):
    """Below a second 1, below two 2, below four 3, ..."""
    number = 1
    while number <= 21 and seconds >= 2.0 ** (number - 1):
        number += 1
    return number


@pytest.mark.parametrize("features", [("event", "gap", "hour"), ALL])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_prefix_does_not_see_what_comes_later(clicks, backbone, features):
    """Scores of prefixes inside their session are those of the prefixes alone."""
    model = small(backbone, max_epochs=1, click_features=features).fit(clicks[:80])
    X = clicks[80:110]
    prefixes, targets = X.to_prefixes()
    inside, alone = model.rank_targets(X), model.rank_targets(prefixes, targets)
    np.testing.assert_array_equal(np.isinf(inside), np.isinf(alone))
    inside, alone = (ranks[np.isfinite(ranks)] for ranks in (inside, alone))
    assert (np.abs(inside - alone) <= 1).all()  # rounding may change places
    assert (inside == alone).mean() > 0.95


def test_types_and_times_change_the_answer(fitted, clicks):
    X = clicks[:60]
    scores = fitted.decision_function(X)
    for other in (with_columns(X, seed=1), without_types(X)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnseenItemWarning)
            assert (fitted.decision_function(other) != scores).any(axis=1).all()


def test_equal_items_with_other_types_are_read_apart(fitted):
    X = Sessions.from_lists(
        [["item-001", "item-002"]] * 2,
        events=[["view", "view"], ["view", "cart"]],
        times=[[0, 9], [0, 9]],
    )
    one, other = fitted.decision_function(X)
    assert (one != other).any()
    np.testing.assert_allclose(one, fitted.decision_function(X[:1])[0], rtol=1e-5)


def test_unknown_types_are_ignored_with_one_warning(fitted, clicks):
    X = clicks[:20]
    missing = Sessions.from_lists(
        X.to_lists(),
        events=[[None] * n for n in X.lengths],
        times=np.split(X.times, X.offsets[1:-1]),
    )
    new = Sessions.from_lists(
        X.to_lists(),
        events=[["gift"] * n for n in X.lengths],
        times=np.split(X.times, X.offsets[1:-1]),
    )
    model = joblib_copy(fitted)
    with pytest.warns(UnseenItemWarning, match="event types .*'gift'.*ignored"):
        found = model.decision_function(new)
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter("error")
        model.decision_function(new)
    np.testing.assert_array_equal(found, model.decision_function(missing))


def joblib_copy(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def test_plain_lists_are_answered_with_one_warning_of_each_kind(fitted):
    model = joblib_copy(fitted)
    with pytest.warns(UnseenItemWarning) as got:
        model.predict_topk([["item-001"]], k=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict_topk([["item-002"]], k=3)
    texts = sorted(str(warning.message) for warning in got)
    assert ["no event types" in text for text in texts] == [True, False]
    assert ["have no times" in text for text in texts] == [False, True]


def test_files_keep_types(fitted, clicks, tmp_path):
    skclip.save(fitted, tmp_path / "model.skclip")
    for copy in (skclip.load(tmp_path / "model.skclip"), joblib_copy(fitted)):
        same(copy, fitted, clicks[:30])


def test_partial_fit_takes_new_types_in(fitted, clicks, train):
    model = joblib_copy(fitted)
    before = model._fitted.model.click_vectors.tables["event"].detach().clone()
    more = with_columns(train[300:400], seed=3, kinds=["buy", "view"])
    model.partial_fit(more)
    after = model._fitted.model.click_vectors.tables["event"].detach()
    assert len(before) == 3
    assert len(after) == 4
    assert model._fitted.holders.types.item_ids.tolist() == ["cart", "view", "buy"]
    assert (after[3] != 0).any()
    assert (after[0] == 0).all()
    with pytest.raises(ValueError, match="needs sessions with times"):
        model.partial_fit(train[400:420].to_lists())


def test_a_warm_start_finds_the_types_again(clicks, train):
    model = small(warm_start=True, click_features="event", learning_rate=1e-9)
    model.fit(clicks)
    before = model._fitted.model.click_vectors.tables["event"].detach().clone()
    model.fit(with_columns(train[:300], seed=5, kinds=["buy", "cart", "view"]))
    after = model._fitted.model.click_vectors.tables["event"].detach()
    np.testing.assert_allclose(after[2:], before[1:], atol=1e-6)


def test_rows_in_another_order_give_the_same_model(clicks):
    order = np.random.default_rng(1).permutation(len(clicks))
    model = small(click_features=ALL, max_epochs=1)
    same(clone(model).fit(clicks), clone(model).fit(clicks[order]), clicks[:20])


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (("event", "colour"), "'colour'. Pass some of"),
        (("gap", "gap"), "has a name twice"),
        ("auto event", "Pass some of"),
    ],
)
def test_bad_names_are_refused(clicks, asked, match):
    with pytest.raises(ValueError, match=match):
        small(click_features=asked).fit(clicks)


def test_what_the_sessions_lack_is_named(train):
    with pytest.raises(ValueError, match="'gap'.*needs sessions with times"):
        small(click_features="gap").fit(train.to_lists())
    with pytest.raises(ValueError, match="'event'.*needs sessions with event types"):
        small(click_features="event").fit(train.to_lists())


def test_times_that_fall_inside_a_session_are_refused(fitted):
    X = Sessions.from_lists(
        [["item-001", "item-002"]], times=[[9, 1]], events=[["view", "view"]]
    )
    for call in (fitted.predict_topk, clone(fitted).fit):
        with pytest.raises(ValueError, match="times of session 0 are not in order"):
            call(X)


def test_a_graph_of_items_alone_is_not_exported(fitted, tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match="exported graph only gets item ids"):
        export_onnx(fitted, tmp_path / "model.onnx")


def test_new_features_of_items_keep_the_types(clicks, tmp_path):
    ids = np.unique(clicks.vocabulary[clicks.codes]).tolist()
    features = ItemFeatures(ids, np.random.default_rng(0).normal(size=(len(ids), 3)))
    model = small(item_features=features, click_features=("event", "gap")).fit(clicks)
    scores = model.decision_function(clicks[:20])
    model.set_item_features(features)
    np.testing.assert_array_equal(model.decision_function(clicks[:20]), scores)
    skclip.save(model, tmp_path / "model.skclip")
    same(skclip.load(tmp_path / "model.skclip"), model, clicks[:20])
    model.partial_fit(clicks[:30])


def test_further_sessions_with_other_columns_are_told(fitted, clicks):
    lists, times = clicks[:20].to_lists(), np.split(clicks.times, clicks.offsets[1:-1])
    with pytest.warns(UnseenItemWarning, match="have no event types, but the model"):
        joblib_copy(fitted).partial_fit(Sessions.from_lists(lists, times=times[:20]))
    bare = small(max_epochs=1).fit(without_types(clicks))
    with pytest.warns(UnseenItemWarning, match="The types are ignored. Fit again"):
        bare.partial_fit(clicks[:20])


def test_scorers_of_a_rare_type(clicks, tmp_path):
    kinds = [["buy" if i == 0 and n else "view" for i in range(n)]
             for n in clicks.lengths]  # fmt: skip
    kinds[0][1:] = ["buy"] * (len(kinds[0]) - 1)
    rare = Sessions.from_lists(clicks.to_lists(), events=kinds)
    scorer = SessionScorer("mrr@20", event="buy")
    model = small(max_epochs=1, scoring=scorer, repeats="auto").fit(rare)
    assert not model.resolved_params_["repeats"]
    skclip.save(model, tmp_path / "model.skclip")
    loaded = skclip.load(tmp_path / "model.skclip")
    assert repr(loaded.scoring) == repr(scorer)
    assert loaded.score(rare) == model.score(rare)
    stopping = clone(model).set_params(early_stopping=True, random_state=1)
    with pytest.raises(ValueError, match="validation part cannot be scored.*eval_set"):
        stopping.fit(rare, eval_set=(rare[1:30], None))
