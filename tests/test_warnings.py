"""Warnings: own categories, one for each fitted estimator, at the user's line."""

import copy
import gc
import inspect
import logging
import threading
import warnings

import numpy as np
import pytest
from common import small
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from test_recommender_contract import RECOMMENDERS

import skclip
from skclip import MarkovRecommender, SessionClusterer, SessionKNN, VotingRecommender
from skclip import _warnings as told
from skclip.datasets import make_sessions
from skclip.exceptions import (
    IdTypeWarning,
    SessionDataWarning,
    ShortSessionWarning,
    TimeWarning,
    TrainingWarning,
    UnseenItemWarning,
)
from skclip.features import ClusterFeatures
from skclip.model_selection import evaluate

ROWS = [["a", "b", "c"], ["b", "c"], ["c", "a", "d"], ["d", "b"]] * 3
SERVER = """
def serve(model, n):
    for i in range(n):
        model.predict_topk([["a", *["new"] * (i % 7 + 1), f"newer {i}"]], k=2)
"""


def caught(function, *args, category=SessionDataWarning):
    """Our warnings, all of them."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*args)
    return [warning for warning in found if issubclass(warning.category, category)]


@pytest.mark.parametrize(
    ("model", "n"),
    [(MarkovRecommender(), 3000), (small(), 500)],
    ids=["markov", "clip"],
)
def test_thousands_of_predictions_leave_one_warning_and_one_registry_entry(model, n):
    model.fit(ROWS)
    server = {"__name__": "server", "__file__": "server.py"}
    exec(compile(SERVER, "server.py", "exec"), server)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")  # as Python shows them
        server["serve"](model, n)
    (warning,) = found
    assert warning.category is UnseenItemWarning
    assert warning.filename == "server.py"
    assert str(warning.message).startswith(
        "2 of 3 clicks are on items that were not seen in fit. "  # of the first call
    )
    entries = [key for key in server["__warningregistry__"] if key != "version"]
    assert len(entries) == 1


def test_later_calls_are_logged_for_those_who_debug(caplog):
    model = MarkovRecommender().fit(ROWS)
    with caplog.at_level(logging.DEBUG, logger="skclip"):
        assert len(caught(model.predict_topk, [["new", "a"]])) == 1
        assert caplog.messages == []
        assert caught(model.predict_topk, [["new", "x", "a"]]) == []
    (message,) = caplog.messages
    assert message.startswith("2 of 3 clicks are on items that were not seen in fit.")


@pytest.mark.parametrize("name", [n for n in RECOMMENDERS if n != "llm"])
def test_each_fitted_model_entrance_and_kind_has_one_warning(name):
    X, _ = make_sessions(n_sessions=60, n_items=20, random_state=0)
    first, second = (copy.deepcopy(RECOMMENDERS[name]).fit(X) for _ in range(2))
    item = X[0][0]

    def ask(model):
        for n in (1, 2, 3):
            model.predict_topk([[item], *[["new"]] * n, []], k=2, deny=[1, 2])
            model.predict([["newer"] * n])
            model.decision_function([["newest"] * n])
            model.rank_targets([[item]] * n, [7] * n)
            model.score([[item, "new"], ["new", item, item]])

    for model in (first, copy.deepcopy(first), second):
        kinds = [warning.category for warning in caught(ask, model)]
        # unseen items and empty sessions; deny; y
        assert sorted(k.__name__ for k in kinds) == (
            ["IdTypeWarning"] * 2 + ["UnseenItemWarning"] * 2
        )
        assert caught(ask, model) == []
    model = first.fit(X)  # which makes a new model of it
    assert len(caught(ask, model)) == 4


def test_transformers_and_vectors_tell_once_too():
    clusterer, model = SessionClusterer(random_state=0).fit(ROWS), small().fit(ROWS)
    features = ClusterFeatures(SessionClusterer(random_state=0)).fit(ROWS)
    for call in (clusterer.transform, features.transform, model.session_vectors):
        assert len(caught(call, [[1, 2], ["a"]], category=IdTypeWarning)) == 1
        assert caught(call, [[1, 2, 3], ["a"]]) == []


def test_a_hundred_threads_are_told_once():
    model, barrier = MarkovRecommender().fit(ROWS), threading.Barrier(20)

    def ask(i):
        barrier.wait()
        model.predict_topk([["new"] * i, ["a"]], k=1)

    def run():
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(1, 21)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(caught(run)) == 1


def test_members_and_validation_leave_the_telling_to_what_was_asked():
    vote = VotingRecommender([("m", MarkovRecommender()), ("k", SessionKNN())])
    vote.fit(ROWS)
    assert len(caught(vote.predict_topk, [["new", "a"]])) == 1

    def fit(model):
        model.fit(ROWS, eval_set=([["a", "new", "b"], ["new", "c"]], None))

    model = small(early_stopping=True, max_epochs=3, n_iter_no_change=5)
    (warning,) = caught(fit, model)
    message = "2 of 5 clicks of eval_set are on items that were not seen in fit."
    assert str(warning.message).startswith(message)
    assert len(caught(model.predict_topk, [["new", "a"]])) == 1  # another entrance


# -- categories ------------------------------------------------------------------------


def test_each_category_can_be_filtered():
    ours = (UnseenItemWarning, IdTypeWarning, ShortSessionWarning, TimeWarning)
    assert all(issubclass(category, SessionDataWarning) for category in ours)
    assert issubclass(SessionDataWarning, UserWarning)
    assert issubclass(TrainingWarning, UserWarning)
    assert not issubclass(TrainingWarning, SessionDataWarning)
    model = MarkovRecommender().fit(ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UnseenItemWarning)
        model.predict_topk([["new"], []])
        with pytest.raises(IdTypeWarning):
            model.predict_topk([[1]])
        small().fit([*ROWS[:4], ["a", "b"]])
        with pytest.raises(ShortSessionWarning, match="1 of 13 sessions have fewer"):
            small().fit([*ROWS, ["a"]])


def test_the_words_of_the_warning_that_everybody_sees():
    model = MarkovRecommender().fit(ROWS)
    (warning,) = caught(model.score, [["a", "new"] * 2000])
    assert str(warning.message) == (
        "2,000 of 4,000 clicks are on items that were not seen in fit. They are "
        "ignored. Sessions without a known item get the most popular items."
    )


# -- where -----------------------------------------------------------------------------


def line_before():
    """Number of the line before the one that calls."""
    return inspect.currentframe().f_back.f_lineno - 1


def in_a_search(model, X):
    GridSearchCV(model, {}, cv=2).fit(X)
    return line_before()


def in_a_validation(model, X):
    cross_validate(model, X, cv=2)
    return line_before()


def in_a_pipeline(model, X):
    pipe = make_pipeline("passthrough", model).fit(ROWS)
    skclip.predict_topk(pipe, X, 2)
    return line_before()


def in_an_evaluation(model, X):
    evaluate({"model": model}, ROWS, X, n_boot=0)
    return line_before()


def in_a_prediction(model, X):
    model.fit(ROWS)
    model.predict_topk(X)
    return line_before()


@pytest.mark.parametrize(
    "model", [small(), MarkovRecommender()], ids=["clip", "markov"]
)
@pytest.mark.parametrize(
    "call",
    [in_a_search, in_a_validation, in_a_pipeline, in_an_evaluation, in_a_prediction],
)  # fmt: skip
def test_a_warning_points_at_the_line_of_the_user(call, model):
    X = [*ROWS, *[["x", "y"], ["x", "z"], ["z", "a"]]]  # unseen in every split
    lines = []
    found = caught(lambda: lines.append(call(model, X)))
    assert {warning.filename for warning in found} == {__file__}
    assert {warning.lineno for warning in found} == set(lines)


def test_warnings_of_a_fit_point_at_the_line_of_the_user_too():
    found = caught(lambda: GridSearchCV(small(), {}, cv=2).fit([*ROWS, ["a"], ["b"]]))
    assert found
    assert {warning.filename for warning in found} == {__file__}


def test_what_was_told_is_forgotten_with_the_model_and_is_no_part_of_it():
    model = MarkovRecommender().fit(ROWS)
    before = model.__getstate__().keys()
    n = len(told._told)
    caught(model.predict_topk, [["new"]])
    assert model.__getstate__().keys() == before
    assert len(told._told) == n + 1
    del model
    gc.collect()
    assert len(told._told) <= n


def test_zeros_that_look_like_padding_are_told_at_each_entrance_once():
    padded = np.array([[1, 2, 3], [2, 1, 0], [3, 0, 0]])
    for fit in (MarkovRecommender().fit, SessionClusterer(random_state=0).fit):
        (warning,) = caught(fit, padded)
        assert str(warning.message) == (
            "2 of 3 rows of X end in zeros, which are read as items. If they are "
            "padding, pass Sessions.from_lists(X, padding=0)."
        )
    assert len(caught(skclip.Sessions.from_lists, padded)) == 1
    vote = VotingRecommender([("m", MarkovRecommender()), ("k", SessionKNN())])
    assert len(caught(vote.fit, padded)) == 1
    assert len(caught(small().fit, np.tile(padded, (9, 1)))) == 1
    model = MarkovRecommender()
    caught(model.fit, padded)
    assert len(caught(model.predict_topk, padded)) == 1
    assert caught(model.predict_topk, padded[:2]) == []
    clusterer = SessionClusterer(random_state=0)
    caught(clusterer.fit, padded)
    assert len(caught(clusterer.transform, padded)) == 1
    assert clusterer.transform(padded).shape == (3,)
    (warning,) = caught(lambda: model.predict_topk(padded, k=1, deny=padded))
    assert "rows of deny end in zeros" in str(warning.message)
    for fine in (np.array([[0, 1, 2], [2, 0, 1]]), np.array([[1, 2], [2, 0], [0, 1]])):
        assert caught(MarkovRecommender().fit, fine) == []
    X = skclip.Sessions.from_lists(padded, padding=0)
    assert X.to_lists() == [[1, 2, 3], [2, 1], [3]]
    assert caught(model.fit, X) == []
