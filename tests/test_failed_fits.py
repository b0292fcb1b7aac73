"""A fit that fails or is interrupted changes nothing, whatever the estimator."""

import functools
import itertools
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted
from test_recommender_contract import OF_SLIST, RECOMMENDERS, TITLES

import skclip
from skclip import CandidateRanker, PopularityRecommender, SessionClusterer, Sessions
from skclip.controls import OneCluster, RandomClusters
from skclip.datasets import make_sessions
from skclip.features import ClusterFeatures
from skclip.text import ItemTextEncoder

ROOT = str(Path(skclip.__file__).parent)
CLUSTERER = SessionClusterer((1.0, 4.0), random_state=0)
ESTIMATORS = RECOMMENDERS | {
    "clusterer": CLUSTERER,
    "random clusters": RandomClusters(CLUSTERER, random_state=0),
    "one cluster": OneCluster(),
    "cluster features": ClusterFeatures(SessionClusterer(random_state=0)),
    "text encoder": ItemTextEncoder(n_components=3, random_state=0),
}
X, _ = make_sessions(n_sessions=60, n_items=20, random_state=0)
MORE, _ = make_sessions(n_sessions=60, n_items=25, random_state=1)
LATER = MORE[:40]  # with other items, counts and clusters
FALLING = Sessions([0, 1, 0], [0, 1, 3], ["a", "b"], times=[9, 5, 3])
STRANGE = Sessions.from_lists([["w", "x", "y"], ["y", "z"]] * 9)  # and without times
WORDS = [list(TITLES.values())[:18], list(TITLES.values())[9:30]]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Broken(PopularityRecommender):
    """A member or clusterer that cannot be fitted."""

    def fit(self, X, y=None):
        raise RuntimeError("this member fails")


class BrokenEncoder(BaseEstimator):
    def encode(self, titles):
        raise RuntimeError("this member fails")


def inputs(estimator):
    """What to fit on, and what to fit on again."""
    return WORDS if isinstance(estimator, ItemTextEncoder) else (X, LATER)


def answers(estimator):
    """What a fitted estimator says: scores, features or clusters; and its catalog."""
    asked = inputs(estimator)[0][:25]
    if hasattr(estimator, "decision_function"):
        said = estimator.decision_function(asked)
    else:
        said = estimator.transform(asked)
        said = said.clusters if isinstance(said, Sessions) else said
    return said.tolist(), getattr(estimator, "item_ids_", np.empty(0)).tolist()


@functools.cache
def expected(name, later=False):
    """What an estimator says after an undisturbed fit."""
    estimator = clone(ESTIMATORS[name])
    return answers(estimator.fit(inputs(estimator)[later]))


def saved(estimator, folder):
    if isinstance(estimator, CandidateRanker):  # no file carries its classifier
        return pickle.dumps(estimator)
    skclip.save(estimator, folder / "model")
    return (folder / "model").read_bytes()


def assert_not_fitted(estimator, folder):
    """Every method says so, and so does the file."""
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    asked = inputs(estimator)[0]
    for method in ("predict_topk", "predict", "decision_function", "rank_targets",
                   "score", "session_vectors", "item_vectors_", "estimate_cost",
                   "transform", "get_feature_names_out", "levels_"):  # fmt: skip
        if hasattr(type(estimator), method):
            with pytest.raises(NotFittedError):
                getattr(estimator, method)(asked)
    if not isinstance(estimator, CandidateRanker):
        with pytest.warns(UserWarning, match="is not fitted"):
            saved(estimator, folder)


def reset(estimator, name):
    """Give an estimator its parameters back."""
    return estimator.set_params(**clone(ESTIMATORS[name]).get_params(deep=False))


# -- fits that fail --------------------------------------------------------------------

BAD_INPUT = [
    pytest.param(name, {}, data, message, id=f"{name}: {data!r}")
    for name in ESTIMATORS
    for data, message in (
        [([None, ""], "All 2 titles are missing"), ("abc", "titles is a str: 'abc'")]
        if name == "text encoder"
        else [
            ([], "0 sample"),
            ([[], []], "All 2 sessions are empty"),
            (["abc"], "Session 0 of X is a str: 'abc'"),
            ([["a", None]], "None"),
        ]
    )
]
NEEDS = "needs sessions with times"
FAILURES = [
    ("popularity", {"half_life": 7}, STRANGE, f"half_life=7 {NEEDS}"),
    ("stan", {"lambda2": 3}, STRANGE, f"lambda2=3 {NEEDS}"),
    ("slist", {"delta_time": 4}, STRANGE, f"delta_time=4 {NEEDS}"),
    ("votes", {"knn__lambda2": 5.0}, STRANGE, NEEDS),
    ("sknn", {"decay": "div"}, STRANGE, "decay='div' is not a parameter .* no param"),
    ("stan", {"lambda4": 1.0}, STRANGE, "lambda4=1.0 is not a parameter of variant="),
    ("sknn", {"variant": "knn"}, STRANGE, "'variant' parameter .* 'knn'"),
    ("slist", {"max_items": 3}, STRANGE, "4 items, more than max_items=3.*SessionKNN"),
    ("slist", {"reg": 1e-30, "alpha": 1.0}, STRANGE, "reg=1e-30 is too small"),
    ("votes", {"estimators": []}, STRANGE, "Expected at least one"),
    ("votes", {"estimators": [Broken()]}, STRANGE, "Expected at least one"),
    ("votes", {"estimators": [(1, Broken())]}, STRANGE, "Expected at least one"),
    ("votes", {"estimators": [("a", Broken())] * 2}, STRANGE, "are not unique"),
    ("votes", {"weights": [1, -1]}, STRANGE, r"weights=\[1, -1\]"),
    ("votes", {"weights": [1, np.inf]}, STRANGE, r"weights=\[1, inf\].*finite"),
    ("votes", {"prefit": True}, STRANGE, "MarkovRecommender instance is not"),
    ("votes", {"knn": Broken()}, STRANGE, "this member fails"),
    # Members that are no recommenders are found before the first one is fitted.
    ("votes", {"markov": Broken(), "knn": SessionClusterer()}, STRANGE,
     "SessionClusterer holds no recommender"),
    ("votes", {"markov": Broken(), "knn": make_pipeline(SessionClusterer())}, STRANGE,
     "SessionClusterer holds no recommender"),
    ("llm", {"estimator": Broken()}, STRANGE, "this member fails"),
    ("llm", {}, STRANGE, "no title for any of the 4 items"),
    ("llm", {"item_titles": {"w": 5}}, STRANGE, "has 5 for the id 'w'"),
    ("clip", {"clusterer": Broken()}, STRANGE, "this member fails"),
    ("clip", {"temperature": 1e-42}, STRANGE, "loss became|not finite"),
    ("clip", {"prompt": "user"}, STRANGE, "needs sessions with users"),
    ("clusterer", {"resolution": [1, -1]}, STRANGE, "Expected a number above 0"),
    ("clusterer", {"graph_edges": "text"}, STRANGE, "needs item_features"),
    ("random clusters", {"clusterer": "leiden"}, STRANGE, "'clusterer' parameter of R"),
    ("random clusters", {"clusterer": Broken()}, STRANGE, "this member fails"),
    ("cluster features", {"clusterer": Broken()}, STRANGE, "this member fails"),
    ("text encoder", {"encoder": BrokenEncoder()}, WORDS[1], "this member fails"),
    *((name, {}, FALLING, "session 1 are not in order: event 1 is")
      for name in ESTIMATORS if name != "text encoder"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "data", "message"),
    BAD_INPUT + [pytest.param(*f, id=f"{f[0]}: {f[3][:40]}") for f in FAILURES],
)
def test_a_fit_that_fails_changes_nothing(name, change, data, message, tmp_path):
    error = ValueError, TypeError, RuntimeError
    estimator = clone(ESTIMATORS[name]).set_params(**change)
    with pytest.raises(error, match=message):
        estimator.fit(data)
    assert_not_fitted(reset(estimator, name), tmp_path)

    estimator.fit(inputs(estimator)[0])
    file = saved(estimator, tmp_path)
    estimator.set_params(**change)
    with pytest.raises(error, match=message):
        estimator.fit(data)
    assert saved(reset(estimator, name), tmp_path) == file
    assert answers(estimator) == expected(name)


GROWING = [name for name in ESTIMATORS if hasattr(ESTIMATORS[name], "partial_fit")]
GROWING = [name for name in GROWING if name not in OF_SLIST]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "0 sample"),
        ([[], []], "All 2 sessions are empty"),
        (["abc"], "Session 0 of X is a str: 'abc'"),
        ([[1, 2], [3, 1]], "ids of another type"),
        (FALLING, "session 1 are not in order: event 1 is"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("name", GROWING)
def test_a_partial_fit_that_fails_changes_nothing(name, data, message, tmp_path):
    estimator = clone(ESTIMATORS[name]).fit(X)
    file = saved(estimator, tmp_path)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.partial_fit(data)
    assert saved(estimator, tmp_path) == file
    assert answers(estimator) == expected(name)


# -- fits that are interrupted ---------------------------------------------------------


class Interrupt:
    """Raises at the n-th line that skclip executes; counts them without an error."""

    def __init__(self, at=None, error=None):
        self.at, self.error, self.n_lines = at, error, 0

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(ROOT):
            return None
        if event == "line":
            self.n_lines += 1
            if self.n_lines == self.at:
                raise self.error
        return self

    def __enter__(self):
        self.outer = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *error):
        sys.settrace(self.outer)


def places(n_lines, n):
    """Lines to stop at: some of all, and each of the last, where things are set."""
    some = np.linspace(1, n_lines, n).astype(int).tolist()
    return sorted({*some, *range(max(1, n_lines - n), n_lines + 1)})


def interruptions():
    """Both errors in first and second fits.

    Only fits of networks treat a KeyboardInterrupt in a way of their own. So half of
    the others are for the slow run.
    """
    methods = [(name, "fit") for name in ESTIMATORS]
    methods += [(name, "partial_fit") for name in GROWING if "clip " not in name]
    cases = []
    for (name, method), first, error in itertools.product(
        methods, (True, False), (RuntimeError, KeyboardInterrupt)
    ):
        is_slow = "clip" not in name and first == (error is RuntimeError)
        nth = "first fit" if first else "second fit"
        marks = [pytest.mark.slow] * is_slow
        case = f"{name}-{method}-{nth}-{error.__name__}"
        cases.append(pytest.param(name, method, first, error, marks=marks, id=case))
    return cases


@pytest.mark.parametrize(("name", "method", "first", "error"), interruptions())
def test_an_interrupted_fit_changes_nothing(name, method, first, error, tmp_path):
    """At no line of skclip is an estimator half fitted."""
    estimator = clone(ESTIMATORS[name])
    data, later = inputs(estimator)
    if not first:
        estimator.fit(data)
        file = saved(estimator, tmp_path)
    start = dict(vars(estimator))
    with Interrupt() as counter:
        getattr(estimator, method)(later)
    whole, after = saved(estimator, tmp_path), answers(estimator)
    assert after != expected(name)
    n_stopped = 0
    for place in places(counter.n_lines, 8 if "clip" in name else 20):
        vars(estimator).clear()
        vars(estimator).update(start)
        with Interrupt(place, error("stopped")):
            try:
                getattr(estimator, method)(later)
            except error:
                n_stopped += 1
        now = vars(estimator)
        if now.keys() != start.keys() or any(now[key] is not start[key] for key in now):
            if "clip" not in name:  # its history tells how long each epoch took
                assert saved(estimator, tmp_path) == whole, place
            assert answers(estimator) == after, place  # all was set already
    assert n_stopped > 5
    vars(estimator).clear()
    vars(estimator).update(start)
    if first:
        assert_not_fitted(estimator, tmp_path)
    else:  # nor was anything changed in place
        assert saved(estimator, tmp_path) == file
        assert answers(estimator) == expected(name)
