"""Items that were not seen in fit: dropped, or read as the prompt of a cluster."""

import warnings

import numpy as np
import pytest
from common import small
from sklearn.base import clone

import skclip
from skclip.exceptions import UnseenItemWarning

pytestmark = pytest.mark.filterwarnings("ignore::skclip.exceptions.UnseenItemWarning")


@pytest.fixture(scope="module", params=["drop", "vote"])
def rule(request):
    return request.param


@pytest.fixture(scope="module")
def fitted_by(train):
    models = {rule: small(unseen_items=rule).fit(train) for rule in ("drop", "vote")}
    return models.__getitem__


def with_strangers(rows):
    """The rows, with an unseen item before, inside and behind each."""
    for i, row in enumerate(rows):
        cut = len(row) // 2
        yield [f"new {i}", *row[:cut], "new", *row[cut:], f"new {i}"]


def test_drop_answers_as_if_they_had_not_been_clicked(fitted_by, train):
    rows = train[:40].to_lists()
    model = fitted_by("drop")
    found = model.decision_function(list(with_strangers(rows)))
    np.testing.assert_array_equal(found, model.decision_function(rows))


def test_vote_reads_them(fitted_by, train):
    rows = train[:40].to_lists()
    found = fitted_by("vote").decision_function(list(with_strangers(rows)))
    assert (found != fitted_by("vote").decision_function(rows)).any(axis=1).all()


def test_both_are_the_same_model(fitted_by, train):
    rows = train[:40].to_lists()
    one, other = (fitted_by(rule).decision_function(rows) for rule in ("drop", "vote"))
    np.testing.assert_array_equal(one, other)


def test_nothing_known_means_popularity(fitted_by, rule):
    model = fitted_by(rule)
    popular = model.item_ids_[np.argsort(-model.item_counts_, kind="stable")]
    for session in (["new"], ["new", "newer", "new"], []):
        assert model.predict_topk([session], k=5)[0].tolist() == popular[:5].tolist()
    assert np.isnan(model.session_vectors([["new", "newer"]])).all()


def test_without_cluster_prompts_they_are_dropped(train, rule):
    rows = train[:20].to_lists()
    model = small(prompt=None, unseen_items=rule).fit(train)
    found = model.decision_function(list(with_strangers(rows)))
    np.testing.assert_array_equal(found, model.decision_function(rows))


def test_the_rule_is_that_of_the_fit(fitted_by, rule, train, tmp_path):
    """It goes into files, and a parameter that is set later waits for the next fit."""
    model = fitted_by(rule)
    rows = list(with_strangers(train[:20].to_lists()))
    expected = model.decision_function(rows)
    path = tmp_path / "model.skclip"
    skclip.save(model, path)
    again = skclip.load(path)
    np.testing.assert_array_equal(again.decision_function(rows), expected)
    again.set_params(unseen_items={"drop": "vote", "vote": "drop"}[rule])
    np.testing.assert_array_equal(again.decision_function(rows), expected)


def test_partial_fit_keeps_the_rule(train, rule):
    rows = list(with_strangers(train[:20].to_lists()))
    model = small(unseen_items=rule).fit(train).partial_fit(train[:50])
    dropped = model.decision_function(train[:20].to_lists())
    same = (model.decision_function(rows) == dropped).all()
    assert same == (rule == "drop")


@pytest.mark.parametrize(
    ("rule", "text"),
    [("drop", "They are ignored."), ("vote", "vote for that")],
)
def test_the_warning_says_what_happens(train, rule, text):
    model = small(unseen_items=rule).fit(train)
    item = model.item_ids_[0]
    with pytest.warns(UnseenItemWarning, match=f"1 of 2 clicks.*{text}.*most popular"):
        model.predict_topk([[item, "new"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict_topk([[item, "new"]])


def test_an_unknown_rule():
    with pytest.raises(ValueError, match="'unseen_items' parameter .*'drop'"):
        clone(small()).set_params(unseen_items="ignore").fit([["a", "b"]] * 3)
