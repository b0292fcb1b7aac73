"""Few sessions are answered in a way of their own: as the general way answers."""

import copy
import functools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from common import small
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import Fusion, PopularityRecommender, Sessions
from skclip._clip import _chunks, _few, _fitted
from skclip._data import _queries
from skclip._model import RepeatBias
from skclip._ranking import _filters, _topk
from skclip.backbones import BACKBONES, PoMRec
from skclip.features import ItemFeatures

N_ITEMS = 30
CAUSAL = ("gru4rec", "narm", "stamp", "core", "pomrec", "sasrec")
KINDS = {  # ids of the catalog, and what else may be asked
    "numbers": (int, [99, 2**70, "3", 3.0, True, np.int64(3), None, float("nan")]),
    "text": (lambda i: f"item{i:02d}", ["other", 3, b"item03", np.str_("item03")]),
    "tuples": (lambda i: (i // 5, i % 5), [(9, 9), (0.0, 3), [0, 3], ("0", 3)]),
    "mixed": (lambda i: i if i % 2 else f"{i}", [3.0, "3", 4, True, 99, None]),
}


@functools.cache
def fitted(backbone="gru4rec", kind="numbers", **params):
    rng = np.random.default_rng(0)
    name = KINDS[kind][0]
    rows = [rng.permutation(N_ITEMS)[: rng.integers(2, 7)] for _ in range(60)]
    X = Sessions.from_lists([[name(int(i)) for i in row] for row in rows])
    if params.get("prompt") == ("cluster", "user"):
        X = Sessions.from_lists(X.to_lists(), users=np.arange(60) % 7)
    if params.get("item_features") is not None:
        ids = [name(i) for i in range(N_ITEMS)]
        features = ItemFeatures(ids, rng.normal(size=(N_ITEMS, 5)).astype(np.float32))
        params["item_features"] = Fusion(features, kind=params["item_features"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return small(backbone, max_epochs=1, max_session_length=7, **params).fit(X)


def with_ties(model, repeats=True):
    """A copy of a model in which items have equal vectors, and a bias for repeats."""
    model = copy.copy(model)
    found = model._fitted
    if repeats:
        recency = np.linspace(0.5, -0.4, 12, dtype=np.float32)
        count = np.linspace(0, 0.3, 4, dtype=np.float32)
        found = found.with_repeats(RepeatBias(recency, count))
    keys = found.keys.clone()
    keys[10:20] = keys[9]
    model.__dict__["_fitted"] = replace(found, keys=keys)
    return model


class General:
    """Inside the block every call goes the general way."""

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for module in (_few, _queries, _filters, _topk):
            self.patch.setattr(module, "FEW", 0)

    def __exit__(self, *error):
        self.patch.undo()


def outcome(ask):
    """What is returned or raised, and the warnings, of a model that told of nothing."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = ask()
        except Exception as error:
            found = type(error), str(error)
    return found, [(w.category, str(w.message)) for w in told]


def assert_same(model, X, **options):
    def ask():
        own = copy.copy(model)  # which has warned of nothing so far
        index = copy.copy(own._index)
        holders = replace(own._fitted.holders, items=index)
        own.__dict__["_index"] = index
        own.__dict__["_fitted"] = replace(own._fitted, holders=holders)
        return own.predict_topk(X, return_scores=True, **options)

    found, told = outcome(ask)
    with General():
        expected, expected_told = outcome(ask)
    assert told == expected_told
    if isinstance(expected[0], type):
        assert found == expected
        return
    for array, right in zip(found, expected, strict=True):
        assert array.dtype == right.dtype
        np.testing.assert_array_equal(array, right)


# Some of them again and again.
CODES = st.one_of(st.integers(0, N_ITEMS - 1), st.integers(0, 2))


@st.composite
def questions(draw, kind):
    name, others = KINDS[kind]
    known = CODES.map(name)
    unusual = st.sampled_from(others) if draw(st.integers(0, 3)) == 0 else known
    least = 0 if draw(st.integers(0, 4)) == 0 else 1
    row = st.lists(st.one_of(known, known, unusual), min_size=least, max_size=9)
    X = draw(st.lists(row, min_size=1, max_size=9))
    options = {"k": draw(st.sampled_from([None, 1, 5, N_ITEMS, N_ITEMS + 3]))}
    options["exclude_seen"] = draw(st.booleans())
    for filtered in ("allow", "deny"):
        ids = st.lists(known, max_size=N_ITEMS)
        per_row = st.lists(ids.filter(len), min_size=len(X), max_size=len(X))
        options[filtered] = draw(st.one_of(st.none(), st.none(), ids, per_row))
    return draw(st.sampled_from([X, X, X, [tuple(row) for row in X]])), options


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("repeats", [False, True])
def test_answers_errors_and_warnings_are_those_of_the_general_way(kind, repeats):
    model = with_ties(fitted(kind=kind), repeats)

    @settings(max_examples=20)
    @given(questions(kind))
    def check(question):
        X, options = question
        assert_same(model, X, **options)

    check()


PLAIN = st.lists(st.lists(CODES, min_size=1, max_size=9), min_size=1, max_size=8)


def check_plain(model, n=8):
    @settings(max_examples=n)
    @given(PLAIN, st.booleans())
    def check(X, exclude_seen):
        assert_same(model, X, exclude_seen=exclude_seen)
        scores = model.decision_function(X)
        with General():
            np.testing.assert_array_equal(scores, model.decision_function(X))

    check()


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_answers_as_in_the_general_way(backbone):
    check_plain(with_ties(fitted(backbone)))


OTHERS = {
    "no prompt": {"prompt": None},
    "users": {"prompt": ("cluster", "user")},
    "votes": {"unseen_items": "vote"},
    "features": {"item_features": "add"},
    "late features": {"item_features": "late"},
    "own score": {"similarity": None},
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_kind_of_model_answers_as_in_the_general_way(name):
    model = fitted(**OTHERS[name])
    check_plain(model)
    assert_same(model, [[1, 99, 2], [3]])
    assert_same(model, [[99], [3]])
    assert_same(model, Sessions.from_lists([[1, 2], [3]], users=[3, 99]))


def test_items_that_return_have_the_bias_of_the_general_way():
    model = with_ties(fitted())
    assert_same(model, [[1] * 7, [2, 1, 2, 2], [3, 3], [5, 4, 3, 2, 1, 0, 9, 8, 7]])


def test_a_scorer_that_is_no_product_answers_as_in_the_general_way():
    check_plain(with_ties(fitted(PoMRec(aggregation="max"))))


@pytest.mark.parametrize("backbone", CAUSAL)
def test_a_few_plain_lists_are_not_answered_in_the_general_way(backbone, monkeypatch):
    def general(*_):
        raise AssertionError("the general way")

    model = with_ties(fitted(backbone))
    for module, name in (
        (_queries, "as_sessions"),
        (_fitted, "observed_prefixes"),
        (_chunks, "reading_tasks"),
        (_topk, "_largest"),
    ):
        monkeypatch.setattr(module, name, general)
    model.predict_topk([[1, 2, 3]], k=5, exclude_seen=True)
    model.predict_topk([[1], [2, 3, 4, 5, 6, 7, 8, 9], [4, 4]], allow=range(20))


def test_a_state_that_is_not_finite_is_refused():
    model = copy.deepcopy(fitted())
    with torch.no_grad():
        model._fitted.model.network.dense.bias[0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        model.predict_topk([[1, 2]])


@settings(max_examples=30)
@given(PLAIN)
def test_baselines_answer_as_in_the_general_way(X):
    popular = PopularityRecommender().fit([[i, i + 1] for i in range(N_ITEMS)])
    found = popular.predict_topk(X, k=7, exclude_seen=True, return_scores=True)
    with General():
        expected = popular.predict_topk(X, k=7, exclude_seen=True, return_scores=True)
    for array, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, right)
