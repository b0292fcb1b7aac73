"""partial_fit of a baseline is a fit on all sessions, the old ones first."""

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import skclip
from skclip import (
    AssociationRules,
    MarkovRecommender,
    PopularityRecommender,
    SequentialRules,
    SessionKNN,
    Sessions,
)
from skclip.datasets import make_sessions

DAY = 86_400.0
TIMELESS = {
    "popularity": PopularityRecommender(),
    "markov": MarkovRecommender(),
    "sequential rules": SequentialRules(),
    "linear rules": SequentialRules(weighting="linear", max_gap=12, backoff=None),
    "association rules": AssociationRules(),
}
ORDERED = {
    "markov, first": MarkovRecommender(tie_break="first", backoff=None),
    "sknn": SessionKNN("sknn", n_neighbors=3, sample_size=4),
    "vsknn": SessionKNN(n_neighbors=3, sample_size=5),
    "stan": SessionKNN("stan", n_neighbors=3),
    "vstan": SessionKNN("vstan", sample_size=6),
}
DATED = {
    "half-life": PopularityRecommender(half_life=1),  # a power of 2 each day is exact
    "old neighbors": SessionKNN("stan", lambda2=3.0, n_neighbors=4),
}
MODELS = TIMELESS | ORDERED | DATED
EXACT = set(MODELS) - {"sequential rules", "linear rules"}

item = st.integers(0, 9)
session = st.lists(item, min_size=0, max_size=6)
days = st.one_of(st.integers(0, 4), st.just(float("nan")))
dated_session = st.tuples(session, days)
part_of = {
    False: st.lists(session, min_size=1, max_size=9).filter(any),
    True: st.lists(dated_session, min_size=1, max_size=9).filter(
        lambda part: any(row and day == day for row, day in part)
    ),
}


def sessions_of(part, dated):
    """Sessions of (items, day) pairs, or of items alone."""
    if not dated:
        return Sessions.from_lists(part)
    plain = Sessions.from_lists([row for row, _ in part])
    times = np.repeat([day * DAY for _, day in part], plain.lengths)
    return Sessions(plain.codes, plain.offsets, plain.vocabulary, times=times)


def scores_by_item(model, asked):
    """Scores of the catalog in the order of a fit, whatever that of the model."""
    order = np.argsort(model.item_ids_, kind="stable")
    return model.item_ids_[order], model.decision_function(asked)[:, order]


def assert_same(updated, whole, asked, exact=True):
    items, scores = scores_by_item(updated, asked)
    assert items.tolist() == whole.item_ids_.tolist()
    if exact:
        np.testing.assert_array_equal(scores, whole.decision_function(asked))
        targets = np.resize(items, len(asked))
        np.testing.assert_array_equal(
            updated.rank_targets(asked, targets), whole.rank_targets(asked, targets)
        )
    else:
        np.testing.assert_allclose(scores, whole.decision_function(asked), rtol=1e-6)
    counts = updated.item_counts_[np.argsort(updated.item_ids_, kind="stable")]
    assert counts.tolist() == whole.item_counts_.tolist()


@pytest.mark.filterwarnings("ignore:.*sessions are empty")
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25)
@given(dated=st.booleans(), targets=st.booleans(), data=st.data())
def test_it_equals_a_fit_on_all_sessions(name, dated, targets, data):
    """Old ones, ties in time, sessions without items or times, and new items."""
    dated |= name in DATED
    parts = data.draw(st.lists(part_of[dated], min_size=2, max_size=3))
    y = [None] * 4
    if targets:
        y = [data.draw(st.lists(item, min_size=len(p), max_size=len(p))) for p in parts]
    model = clone(MODELS[name])
    for part, of_part in zip(parts, y, strict=False):
        assert model.partial_fit(sessions_of(part, dated), of_part) is model
    whole = sessions_of([row for part in parts for row in part], dated)
    whole = clone(model).fit(whole, sum(y, []) if targets else None)
    asked = [[i] for i in whole.item_ids_.tolist()] + [[], [3, 1], [0, 2, 2, 4, 1]]
    assert_same(model, whole, asked, exact=name in EXACT)


@pytest.mark.parametrize("name", MODELS)
def test_a_year_in_parts(name):
    """Many sessions and half-lives that are no powers of 2."""
    X, _ = make_sessions(n_sessions=400, n_items=60, random_state=0)
    model = clone(MODELS[name])
    if name == "half-life":
        model.set_params(half_life=0.7)
    whole = clone(model).fit(X)
    late_first = clone(model).fit(X[150:]).partial_fit(X[:40]).partial_fit(X[40:150])
    for part in (X[:200], X[200:201], X[201:]):
        model.partial_fit(part)
    assert_same(model, whole, X[:50], exact=name in EXACT - {"half-life"})
    assert_same(late_first, whole, X[:50], exact=name in EXACT - {"half-life"})


@pytest.mark.parametrize("name", MODELS)
def test_files_go_on(name, tmp_path):
    X, _ = make_sessions(n_sessions=120, n_items=30, random_state=0)
    model = clone(MODELS[name]).fit(X[:90])
    skclip.save(model, tmp_path / "model")
    joblib.dump(model, tmp_path / "joblib")
    expected = model.partial_fit(X[90:]).decision_function(X[:20])
    for loaded in (
        skclip.load(tmp_path / "model"),
        joblib.load(tmp_path / "joblib"),
        joblib.load(tmp_path / "joblib", mmap_mode="r"),
    ):
        loaded.partial_fit(X[90:])
        np.testing.assert_array_equal(loaded.decision_function(X[:20]), expected)


def test_new_items_are_appended():
    model = PopularityRecommender().fit([["b", "d"]]).partial_fit([["c", "a"], ["a"]])
    assert model.item_ids_.tolist() == ["b", "d", "a", "c"]
    assert model.item_counts_.tolist() == [1, 1, 2, 1]
    assert model.predict_topk([[]], k=2).tolist() == [["a", "b"]]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("half-life", {"half_life": 2}),
        ("markov", {"tie_break": "first"}),
        ("sequential rules", {"max_gap": 3}),
        ("sequential rules", {"weighting": "same"}),
        ("sknn", {"variant": "vsknn"}),
        ("stan", {"lambda1": 2.0}),
        ("stan", {"lambda2": None}),
    ],
)
def test_a_parameter_of_fit_cannot_change(name, change):
    X, _ = make_sessions(n_sessions=50, n_items=20, random_state=0)
    model = clone(MODELS[name]).fit(X)
    before = model.get_params()
    ((key, value),) = change.items()
    with pytest.raises(ValueError, match=f"{key}={value!r}, but .*{key}="):
        model.set_params(**change).partial_fit(X)
    model.set_params(**before).partial_fit(X)


def test_what_prediction_reads_can_change():
    X, _ = make_sessions(n_sessions=50, n_items=20, random_state=0)
    model = SessionKNN().fit(X[:30])
    model.set_params(n_neighbors=3, sample_size=9, backoff=None, scoring="recall@5")
    assert_same(model.partial_fit(X[30:]), clone(model).fit(X), X)


@pytest.mark.parametrize("name", ORDERED | DATED)
def test_times_are_there_always_or_never(name):
    X, _ = make_sessions(n_sessions=50, n_items=20, random_state=0)
    with_times = clone(MODELS[name]).fit(X)
    with pytest.raises(ValueError, match="these sessions have none. Pass time="):
        with_times.partial_fit(X.to_lists())
    if name in ORDERED:
        without = clone(MODELS[name]).fit(X.to_lists())
        with pytest.raises(ValueError, match=r"have times.* Pass X.to_lists\(\)"):
            without.partial_fit(X)
        without.partial_fit(X.to_lists())


@pytest.mark.parametrize("name", TIMELESS)
def test_times_do_not_matter_where_none_are_read(name):
    X, _ = make_sessions(n_sessions=50, n_items=20, random_state=0)
    model = clone(MODELS[name]).fit(X[:20]).partial_fit(X[20:].to_lists())
    assert_same(model, clone(model).fit(X), X, exact=name in EXACT)


def test_a_model_of_before_says_what_to_do():
    model = PopularityRecommender().fit([["a"]])
    del model._fit_params
    with pytest.raises(ValueError, match="without partial_fit. Call fit with"):
        model.partial_fit([["a"]])
