"""Pipelines, searches, cross-validation, files."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import make_pipeline

import skclip
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.metrics import SessionScorer
from skclip.model_selection import TemporalSplit


@pytest.fixture
def pipe(small_recommender):
    return make_pipeline(SessionClusterer(random_state=0), clone(small_recommender))


def test_pipeline_equals_the_clusterer_inside(pipe, small_recommender, shop_split):
    train, test = shop_split
    inside = clone(small_recommender).set_params(
        clusterer=SessionClusterer(random_state=0)
    )
    inside.fit(train)
    pipe.fit(train)
    expected = inside.predict_topk(test, k=4)
    np.testing.assert_array_equal(skclip.predict_topk(pipe, test, 4), expected)
    np.testing.assert_array_equal(pipe.predict(test), expected[:, 0])
    np.testing.assert_array_equal(
        pipe.predict(
            test,
        ),
        inside.predict(test),
    )
    assert pipe.score(test) == inside.score(test)
    unseen = [["item-001", "new"], ["new"], []]
    np.testing.assert_array_equal(
        skclip.predict_topk(pipe, unseen, 4), inside.predict_topk(unseen, 4)
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_inside_and_in_a_pipeline(
    pipe, small_recommender, shop_split, n_jobs
):
    train, test = shop_split
    cv = TemporalSplit(2, test_size=60)
    inside = GridSearchCV(
        clone(small_recommender),
        {"clusterer__resolution": [0.5, 2.0], "learning_rate": [1e-3, 1e-2]},
        cv=cv,
        n_jobs=n_jobs,
        error_score="raise",
    ).fit(train)
    outside = GridSearchCV(
        pipe,
        {
            "sessionclusterer__resolution": [0.5, 2.0],
            "clipsessionrecommender__learning_rate": [1e-3, 1e-2],
        },
        cv=cv,
        n_jobs=n_jobs,
        scoring=SessionScorer("mrr@20", "recall@5"),
        refit="mrr@20",
        error_score="raise",
    ).fit(train)
    assert inside.best_params_["learning_rate"] == 1e-2
    assert outside.best_params_["clipsessionrecommender__learning_rate"] == 1e-2
    for search in (inside, outside):
        assert skclip.predict_topk(search, test, 3).shape == (len(test), 3)
    assert (outside.cv_results_["mean_test_recall@5"] > 0).all()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_search_gives_the_same_bits_with_two_workers(
    small_recommender, shop_split, n_threads
):
    train, _ = shop_split
    one, two = (
        GridSearchCV(
            clone(small_recommender).set_params(n_threads=n_threads),
            {"learning_rate": [1e-3, 1e-2]},
            cv=KFold(2),
            n_jobs=n_jobs,
            error_score="raise",
        ).fit(train)
        for n_jobs in (1, 2)
    )
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name])


def test_cross_validation_with_and_without_y(small_recommender, shop_split):
    train, _ = shop_split
    result = cross_validate(
        clone(small_recommender),
        train,
        cv=2,
        scoring=SessionScorer("recall@1", "mrr@10"),
        error_score="raise",
    )
    assert (result["test_mrr@10"] >= result["test_recall@1"]).all()
    prefixes, targets = train[:100].to_prefixes()
    result = cross_validate(
        clone(small_recommender), prefixes, targets, cv=2, error_score="raise"
    )
    assert (result["test_score"] > 0).all()
    assert cross_val_predict(clone(small_recommender), train[:40], cv=2).shape == (40,)


def test_learning_curve(small_recommender, shop_split):
    sizes, *_ = learning_curve(
        clone(small_recommender), shop_split[0], y=None, cv=2, train_sizes=[0.5, 1.0]
    )
    assert len(sizes) == 2


def test_pipeline_memory_clusters_once(
    small_recommender, shop_split, tmp_path, monkeypatch
):
    calls = []
    fit = SessionClusterer.fit
    monkeypatch.setattr(
        SessionClusterer, "fit", lambda self, *args: calls.append(1) or fit(self, *args)
    )
    pipe = make_pipeline(
        SessionClusterer(random_state=0), clone(small_recommender), memory=str(tmp_path)
    )
    for learning_rate in (1e-3, 1e-2):
        pipe.set_params(clipsessionrecommender__learning_rate=learning_rate)
        pipe.fit(shop_split[0])
    assert len(calls) == 1


def test_predict_topk_of_something_else():
    with pytest.raises(TypeError, match="KFold holds no recommender"):
        skclip.predict_topk(KFold(), [["a"]])


LOAD = """
import sys, joblib, numpy as np
model = joblib.load(sys.argv[1], mmap_mode=sys.argv[3] or None)
import skclip
X = [["item-001", "item-002"], ["item-003"]]
np.save(sys.argv[2], skclip.predict_topk(model, X, 6))
"""


@pytest.mark.parametrize("mmap_mode", ["", "r"])
@pytest.mark.parametrize("kind", ["recommender", "pipeline"])
def test_joblib_into_a_fresh_process(
    fitted, pipe, shop_split, tmp_path, kind, mmap_mode
):
    model = fitted if kind == "recommender" else pipe.fit(shop_split[0])
    joblib.dump(model, tmp_path / "model.joblib")
    subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            LOAD,
            tmp_path / "model.joblib",
            tmp_path / "top.npy",
            mmap_mode,
        ],
        check=True,
    )
    expected = skclip.predict_topk(model, [["item-001", "item-002"], ["item-003"]], 6)
    np.testing.assert_array_equal(np.load(tmp_path / "top.npy"), expected)


def test_loading_draws_nothing_and_keeps_bits(fitted, shop_split, tmp_path):
    import torch

    _, X = shop_split
    joblib.dump(fitted, tmp_path / "m")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    loaded = joblib.load(tmp_path / "m")
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(
        loaded.decision_function(X), fitted.decision_function(X)
    )
    again = joblib.load(tmp_path / "m").set_params(embedding_dim=5, prompt=None)
    joblib.dump(again, tmp_path / "m2")  # parameters changed after fit do not matter
    np.testing.assert_array_equal(
        joblib.load(tmp_path / "m2").decision_function(X), fitted.decision_function(X)
    )


def test_held_out_rows_leave_no_trace(small_recommender, shop_split):
    train, test = shop_split
    secret = [["item-001", "secret"]] * 200
    model = clone(small_recommender).fit(train)
    assert "secret" not in model.item_ids_
    rows = Sessions.concat([train, secret])
    inside_fold = clone(small_recommender).fit(rows[np.arange(len(train))])
    np.testing.assert_array_equal(
        inside_fold.clusterer_.graph_.toarray(), model.clusterer_.graph_.toarray()
    )
    assert CLIPSessionRecommender().get_params()["clusterer"] is None
