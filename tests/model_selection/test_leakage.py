"""leakage_check finds what was planted, and nothing else."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skclip import (
    CLIPSessionRecommender,
    Fusion,
    PopularityRecommender,
    SessionClusterer,
    Sessions,
    VotingRecommender,
)
from skclip.features import ItemFeatures
from skclip.model_selection import (
    TemporalSplit,
    leakage_check,
    temporal_split,
    within_session_split,
)


def timed(rows, times, **columns):
    X, times = Sessions.from_lists(rows), np.concatenate(times)
    return Sessions(X.codes, X.offsets, X.vocabulary, times=times, **columns)


def look(*parts, **options):
    """The report, and the checks that found a leak; nothing is warned of."""
    report = leakage_check(*parts, on_leak="ignore", **options)
    return report, {leak.check: leak.count for leak in report.leaks}


@pytest.fixture
def train():
    return timed([["a", "b"], ["b", "c", "a"]], [[0, 1], [2, 3, 10]], ids=[1, 2],
                 users=["u", "v"])  # fmt: skip


@pytest.fixture
def later():
    return timed([["a", "b"], ["c", "d"]], [[11, 12], [13, 14]], ids=[3, 4],
                 users=["v", "w"])  # fmt: skip


def test_a_clean_split(train, later):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = leakage_check(train, later, on_leak="raise")
    assert report.ok
    assert not report.leaks + report.unchecked
    checks = "session_ids test_before_train_ends train_after_test_begins duplicates"
    levels = {f.check: (f.level, f.count) for f in report.findings}
    clean = dict.fromkeys(checks.split(), ("ok", 0))
    assert levels == clean | {"users": ("info", 1), "unseen_items": ("info", 1)}
    assert "0.250 of the test events" in report["unseen_items"].message
    assert repr(report).startswith("LeakageReport: no leak found\n")
    assert "info  users: 1 of 2 test users are in both parts." in repr(report)
    with pytest.raises(KeyError, match="No check 'moon'"):
        report["moon"]


def test_each_planted_leak_is_found(train, later):
    assert look(train, later.with_ids([2, 4]))[1] == {"session_ids": 1}
    early = timed([["a", "b"], ["c", "d"]], [[9, 12], [13, 14]])
    report, leaks = look(train, early)
    assert leaks == {"test_before_train_ends": 1, "train_after_test_begins": 1}
    assert "overlap for 0.0 hours" in report["test_before_train_ends"].message
    message = report["train_after_test_begins"].message
    assert "1 of 2 training sessions end after the first test event" in message
    assert "1 of 5 training events are later than it" in message
    assert {f.check for f in report.unchecked} == {"session_ids", "users"}
    copy = timed([["d"], ["b", "c", "a"]], [[12], [2, 3, 10]])
    assert look(train, copy)[1]["duplicates"] == 1


def test_duplicates_need_equal_order_and_times(train):
    for rows, times in (
        ([["b", "a", "c"]], [[2, 3, 10]]),
        ([["b", "c", "a"]], [[2, 4, 10]]),
        ([["b", "c"]], [[2, 3]]),
        ([["a", "b", "c", "a"]], [[1, 2, 3, 10]]),
    ):
        assert look(train, timed(rows, times))[0]["duplicates"].count == 0
    report = leakage_check([["a", "b"], ["c"]], [["a", "b"], ["b", "a"], []])
    assert (report["duplicates"].level, report["duplicates"].count) == ("info", 1)
    assert report.ok


def test_what_could_not_be_checked_is_said(train):
    bare = Sessions.from_lists([["a", "b"]], ids=[9])
    report = leakage_check(train, bare)
    assert report.ok
    assert {f.check: f.message for f in report.unchecked} == {
        "test_before_train_ends": "not checked: X_test has no times.",
        "train_after_test_begins": "not checked: X_test has no times.",
        "users": "not checked: X_test has no users.",
    }
    assert repr(report).startswith("LeakageReport: no leak found, 3 not checked")
    assert leakage_check([[]], [["a"]]).ok  # nothing there is nothing found
    empty = Sessions([], [0, 0], [], times=[])
    assert leakage_check(empty, train)["train_after_test_begins"].level == "unchecked"


def test_warn_raise_ignore(train, later):
    leaky = later.with_ids([1, 2])
    with pytest.warns(UserWarning, match="session_ids: 2 of 2 test sessions"):
        leakage_check(train, leaky)
    with pytest.raises(ValueError, match="The test part leaks: session_ids"):
        leakage_check(train, leaky, on_leak="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not leakage_check(train, leaky, on_leak="ignore").ok
    with pytest.raises(ValueError, match="got 'shout'"):
        leakage_check(train, leaky, on_leak="shout")
    unsorted = Sessions([0, 0], [0, 2], ["a"], times=[5, 3])
    with pytest.raises(ValueError, match="session 0 are not in order: event 1 is at 3"):
        leakage_check(train, unsorted)


def test_splits_with_drop_pass_and_prefixes_within_sessions_do_not(shop):
    X, _ = shop
    parts = temporal_split(X, straddling="drop")
    assert leakage_check(parts[0], parts[1], on_leak="raise").ok
    for a, b in TemporalSplit(3, straddling="drop").split(X):
        assert not look(X[a], X[b])[1]
    inside, _, (X_test, y_test) = within_session_split(X)
    assert "session_ids" in look(inside, X_test, y_test=y_test)[1]


def test_estimators_that_saw_the_test_part(train, later):
    both = Sessions.concat([train, later])
    popular = PopularityRecommender()
    clusterer = SessionClusterer(random_state=0)
    network = CLIPSessionRecommender("gru4rec", max_epochs=1, prompt=None)
    for estimator in (popular, clusterer, network):
        honest = clone(estimator).fit(train)
        assert leakage_check(train, later, estimator=honest, on_leak="raise").ok
    report, _ = look(train, later, estimator=clone(popular).fit(both))
    assert report["catalog"].examples == ["d"]
    assert report["counts"].count == 4  # a, b, c, d
    assert "graph" not in {f.check for f in report.findings}
    report, _ = look(train, later, estimator=clone(clusterer).fit(both))
    assert report["graph"].examples == [("c", "d")]
    seen_before = PopularityRecommender().fit(both)
    for estimator, expected in (
        (make_pipeline(clusterer, popular), {"catalog", "counts", "graph"}),
        (GridSearchCV(popular, {"scoring": ["mrr@2"]}, cv=2), {"catalog", "counts"}),
        (network, {"catalog", "counts"}),
        (VotingRecommender([("a", popular)]), {"catalog", "counts"}),
    ):
        assert set(look(train, later, estimator=estimator.fit(both))[1]) == expected
    voting = VotingRecommender([("a", seen_before)]).fit(train)  # fits a clone of it
    assert not look(train, later, estimator=voting)[1]
    with pytest.raises(TypeError, match="holds no fitted recommender"):
        leakage_check(train, later, estimator=PopularityRecommender())


def test_targets_belong_to_their_part():
    X, y = [["a"], ["b"]], ["b", "c"]
    honest = PopularityRecommender().fit(X, y)
    assert leakage_check(X, [["c"]], y_train=y, estimator=honest, on_leak="raise").ok
    graph = SessionClusterer(random_state=0).fit(X, y)
    assert leakage_check(X, [["b", "c"]], y_train=y, estimator=graph).ok
    report, _ = look(X, [["b"]], y_test=["c"], estimator=graph)
    assert report["catalog"].examples == ["c"]
    assert report["graph"].examples == [("b", "c")]


def test_items_left_out_by_min_item_count_make_no_false_alarm(small_recommender):
    """Without a rare item its neighbors follow each other."""
    X_train = [["a", "rare", "b"], ["a", "c"], ["b", "c"]] * 1 + [["c", "a"]] * 3
    rec = clone(small_recommender).set_params(
        min_item_count=2, max_epochs=1, early_stopping=False
    )
    rec.fit(X_train)
    assert rec.clusterer_.graph_.nnz > 0
    report = leakage_check(X_train, [["a", "b"]], estimator=rec, on_leak="raise")
    assert report["graph"].level == report["catalog"].level == "ok"


@pytest.mark.parametrize("graph_edges", ["text", "both"])
def test_features_are_no_leak(graph_edges):
    """Items are in the catalog by their features, and linked by them."""
    features = ItemFeatures(list("abcdef"), np.ones((6, 2)))
    train, test = [["a", "b", "c"], ["d", "e"]], [["a", "d", "f"]]
    clusterer = SessionClusterer(
        graph_edges=graph_edges, item_features=features, random_state=0
    )
    report = leakage_check(train, test, estimator=clone(clusterer).fit(train))
    assert report["catalog"].level == report["graph"].level == "ok"
    report, _ = look(train, test, estimator=clusterer.fit(train + test))
    assert report["graph"].examples == [("a", "d"), ("d", "f")]


def test_features_by_id_are_no_leak():
    vectors = {item: [1.0, i] for i, item in enumerate("abcf")}
    train, test = [["a", "b", "c"]] * 4, [["a", "f", "g"]]
    for features in (vectors, pd.DataFrame(vectors).T, Fusion(vectors, kind="add")):
        rec = CLIPSessionRecommender("gru4rec", item_features=features, max_epochs=1)
        found = leakage_check(train, test, estimator=rec.fit(train))["catalog"]
        assert found.level == "ok"
        assert "f" in rec.item_ids_
