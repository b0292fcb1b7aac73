"""Everything that scikit-learn may do with an estimator and its data; files."""

import subprocess
import sys
import warnings
from importlib.util import find_spec

import joblib
import matplotlib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    LearningCurveDisplay,
    PredefinedSplit,
    RandomizedSearchCV,
    ShuffleSplit,
    TimeSeriesSplit,
    ValidationCurveDisplay,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.utils import resample, shuffle

import skclip
from skclip import CLIPSessionRecommender, SessionClusterer, SessionKNN, Sessions
from skclip.features import ClusterFeatures, ItemFeatures
from skclip.metrics import SessionScorer
from skclip.model_selection import TemporalSplit

matplotlib.use("Agg")
JOBS = pytest.mark.parametrize("n_jobs", [1, 2])


@pytest.fixture
def quick(small_recommender):
    return clone(small_recommender).set_params(max_epochs=1, embedding_dim=8)


@pytest.fixture
def data(shop):
    X, _ = shop
    return X[:120].with_users(np.arange(120) % 10)


@pytest.fixture
def pipe(small_recommender):
    return make_pipeline(SessionClusterer(random_state=0), clone(small_recommender))


# -- containers ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_every_split_is_sessions(data):
    train, test = train_test_split(data, random_state=0)
    parts = [train, test, shuffle(data, random_state=0), resample(data, random_state=0)]
    for splitter in (
        KFold(3),
        KFold(3, shuffle=True, random_state=0),
        GroupKFold(3),
        TimeSeriesSplit(3),
        ShuffleSplit(2, random_state=0),
        PredefinedSplit(np.arange(120) % 3),
        TemporalSplit(2),
    ):
        for a, b in splitter.split(data, groups=data.users):
            parts += [data[a], data[b], data[a, ...]]
    for part in parts:
        assert type(part) is Sessions
        assert part.shape == (len(part),)
        assert len(part.users) == len(part)
        assert part.times is not None


def test_indexing(data):
    assert data[-1].tolist() == data[119].tolist()
    assert len(data[[]]) == 0
    assert len(data[data.lengths > 3]) == (data.lengths > 3).sum()
    with pytest.raises(IndexError, match="mask for 120 sessions"):
        data[np.array([True])]
    with pytest.raises((TypeError, ValueError)):
        np.asarray(data, dtype=float)


# -- searches and curves ---------------------------------------------------------------


@pytest.mark.parametrize(("n_jobs", "with_y"), [(1, True), (2, False)])
def test_searches(quick, data, n_jobs, with_y):
    X, y = data.to_prefixes() if with_y else (data, None)
    options = {"cv": 2, "n_jobs": n_jobs, "error_score": "raise"}
    grid = {"learning_rate": [1e-3, 1e-2], "clusterer__resolution": [0.5, 2.0]}
    for search in (
        GridSearchCV(quick, grid, **options),
        RandomizedSearchCV(quick, grid, n_iter=2, random_state=0, **options),
        HalvingGridSearchCV(
            quick,
            {"learning_rate": [1e-3, 1e-2]},
            resource="max_epochs",
            max_resources=2,
            random_state=0,
            **options,
        ),
    ):
        search.fit(X, y)
        assert np.isfinite(search.best_score_)
        assert skclip.predict_topk(search, X, 3).shape == (len(X), 3)
        assert search.predict(X).shape == (len(X),)


@JOBS
def test_a_search_over_a_pipeline_by_several_metrics(pipe, shop_split, n_jobs):
    train, test = shop_split
    search = GridSearchCV(
        pipe,
        {
            "sessionclusterer__resolution": [0.5, 2.0],
            "clipsessionrecommender__learning_rate": [1e-3, 1e-2],
        },
        cv=TemporalSplit(2, test_size=60),
        n_jobs=n_jobs,
        scoring=SessionScorer("mrr@20", "recall@5"),
        refit="mrr@20",
        error_score="raise",
    ).fit(train)
    assert search.best_params_["clipsessionrecommender__learning_rate"] == 1e-2
    assert (search.cv_results_["mean_test_recall@5"] > 0).all()
    assert skclip.predict_topk(search, test, 3).shape == (len(test), 3)


def test_a_search_over_a_baseline(shop_split):
    pipe = make_pipeline(SessionClusterer(), SessionKNN())
    grid = {"sessionknn__n_neighbors": [5, 50]}
    search = GridSearchCV(pipe, grid, cv=TemporalSplit(2)).fit(shop_split[0])
    assert search.score(shop_split[1]) > 0.05


@pytest.mark.parametrize(("n_jobs", "with_y"), [(1, True), (2, False)])
def test_curves_and_scores(quick, data, n_jobs, with_y):
    X, y = data.to_prefixes() if with_y else (data, None)
    options = {"cv": 2, "n_jobs": n_jobs, "error_score": "raise"}
    assert len(cross_val_score(quick, X, y, **options)) == 2
    scorer = SessionScorer("recall@1", "mrr@20", "ndcg@5")
    result = cross_validate(quick, X, y, scoring=scorer, **options)
    assert (result["test_mrr@20"] > 0).all()
    assert (result["test_mrr@20"] >= result["test_recall@1"]).all()
    predicted = cross_val_predict(quick, X, y, cv=2, n_jobs=n_jobs)
    assert predicted.shape == (len(X),)
    sizes, *_ = learning_curve(quick, X, y, train_sizes=[0.5, 1.0], **options)
    assert len(sizes) == 2
    validation_curve(
        quick, X, y, param_name="max_epochs", param_range=[1, 2], **options
    )


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


def test_permutation_test_score(quick, data):
    X, y = data.to_prefixes()
    score, permuted, _ = permutation_test_score(
        clone(quick).set_params(max_epochs=8), X, y, cv=2, n_permutations=3,
        random_state=0,
    )  # fmt: skip
    assert score > np.mean(permuted)


def test_displays(quick, data):
    curve = LearningCurveDisplay.from_estimator(quick, data, None, train_sizes=[0.5, 1])
    assert curve.ax_ is not None
    ValidationCurveDisplay.from_estimator(
        quick, data, None, param_name="max_epochs", param_range=[1, 2], cv=2
    )


def test_one_forward_pass_for_all_metrics(quick, data, monkeypatch):
    model, calls = quick.fit(data), []
    ranks = CLIPSessionRecommender.rank_targets
    monkeypatch.setattr(
        CLIPSessionRecommender,
        "rank_targets",
        lambda *args: calls.append(1) or ranks(*args),
    )
    SessionScorer("recall@1", "recall@5", "mrr@20", "ndcg@10")(model, data)
    assert len(calls) == 1


# -- composition -----------------------------------------------------------------------


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
    assert pipe.score(test) == inside.score(test)
    unseen = [["item-001", "new"], ["new"], []]
    np.testing.assert_array_equal(
        skclip.predict_topk(pipe, unseen, 4), inside.predict_topk(unseen, 4)
    )


def test_cluster_features(data):
    features = ClusterFeatures(SessionClusterer(random_state=0)).fit(data)
    dense = features.transform(data)
    clusters = features.clusterer_.transform(data)
    for i in range(0, 120, 13):
        rows = slice(*clusters.offsets[i : i + 2])
        counts = np.bincount(clusters.clusters[rows, 0] - 1, minlength=dense.shape[1])
        np.testing.assert_allclose(dense[i], counts / counts.sum())
    names = features.get_feature_names_out()
    frame = features.set_output(transform="pandas").transform(data)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == names.tolist()
    counts = clone(features).set_params(values="count").fit(data).transform(data)
    np.testing.assert_array_equal(counts.sum(axis=1), data.lengths)


def test_feature_union_and_a_classifier(data):
    union = FeatureUnion(
        [
            ("fine", ClusterFeatures(SessionClusterer(4.0, random_state=0))),
            ("coarse", ClusterFeatures(SessionClusterer(random_state=0))),
        ]
    )
    union.set_output(transform="pandas")
    frame = union.fit_transform(data)
    assert all(n.startswith(("fine__", "coarse__")) for n in frame.columns)
    long = (data.lengths > 4).astype(int)
    pipe = make_pipeline(union, LogisticRegression())
    assert cross_val_score(pipe, data, long, cv=3, error_score="raise").mean() > 0.4


def test_column_transformer_on_a_column_of_lists(data):
    frame = pd.DataFrame({"session": data.to_lists(), "n": data.lengths})
    transformer = ColumnTransformer(
        [("clusters", ClusterFeatures(SessionClusterer(random_state=0)), "session")],
        remainder="passthrough",
    )
    found = transformer.fit_transform(frame)
    assert found.shape[0] == 120
    np.testing.assert_array_equal(found[:, -1], data.lengths)


def test_frozen_and_unfitted_clones(quick, data):
    model = quick.fit(data)
    frozen = FrozenEstimator(model)
    assert clone(frozen) is frozen
    np.testing.assert_array_equal(frozen.predict(data), model.predict(data))
    copy = clone(model)
    assert not hasattr(copy, "item_ids_")
    clusterer = FrozenEstimator(SessionClusterer(random_state=0).fit(data))
    pipe = make_pipeline(clusterer, clone(quick)).fit(data[:60])
    assert pipe[-1].membership_ is not None


@pytest.mark.parametrize("routing", [False, True])
def test_metadata_routing(quick, data, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        pipe = make_pipeline(SessionClusterer(random_state=0), clone(quick))
        pipe.fit(data)
        scorer = SessionScorer("mrr@20")
        assert np.isfinite(scorer(pipe, data))
        if not routing:  # with routing scikit-learn 1.9 asks for score(sample_weight=)
            assert pipe.score(data) == scorer(pipe, data)
        grid = {"clipsessionrecommender__max_epochs": [1]}
        search = GridSearchCV(pipe, grid, cv=2, scoring=scorer, error_score="raise")
        assert np.isfinite(search.fit(data).best_score_)
        alone = GridSearchCV(quick, {"max_epochs": [1]}, cv=2, error_score="raise")
        assert np.isfinite(alone.fit(data).best_score_)


def test_eval_set_is_left_whole_by_a_pipeline(quick, data):
    pipe = Pipeline([("rec", quick)])
    pipe.fit(data, rec__eval_set=(data[:30], None))
    assert pipe[-1].best_validation_score_ is not None


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_global_transform_output(quick, data, output):
    with sklearn.config_context(transform_output=output):
        pipe = make_pipeline(SessionClusterer(random_state=0), clone(quick)).fit(data)
        assert isinstance(pipe[:-1].transform(data), Sessions)


def test_html_and_text(quick, data):
    for estimator in (quick, clone(quick).fit(data), SessionClusterer().fit(data)):
        assert type(estimator).__name__ in estimator._repr_html_()
        assert type(estimator).__name__ in repr(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_pipeline(SessionClusterer(), quick)._repr_html_()


class Watch:
    """A callback that notes the tasks that end; `at_epoch` sees each epoch."""

    def __init__(self, at_epoch=lambda history: None):
        self.seen, self.at_epoch = [], at_epoch

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.seen.append(context.task_name)
        assert fitted_estimator.predict_topk(X[:3], k=2).shape == (3, 2)
        self.history = fitted_estimator.history_
        assert fitted_estimator.n_iter_ == len(self.history)
        return context.task_name == "epoch" and self.at_epoch(self.history)


needs_callbacks = pytest.mark.skipif(
    find_spec("sklearn.callback") is None, reason="needs scikit-learn 1.9 for callbacks"
)


@needs_callbacks
def test_callbacks_see_each_epoch_and_may_stop(quick, data):
    watch = Watch(lambda history: len(history) == 2)
    model = clone(quick).set_params(max_epochs=5).set_callbacks(watch)
    model.fit(data)
    assert watch.seen == ["setup", "epoch", "epoch", "fit", "teardown"]
    assert model.n_iter_ == 2
    assert watch.history == model.history_
    plain = clone(quick).set_params(max_epochs=5).fit(data)
    assert plain.n_iter_ > 2
    assert not hasattr(model, "_callback_fit_ctx")


@needs_callbacks
def test_callbacks_see_validation_scores(quick, data):
    rows = []
    watch = Watch(lambda history: rows.append(history[-1]))
    model = clone(quick).set_params(max_epochs=3, early_stopping=True)
    model.set_callbacks(watch).fit(data)
    assert rows == model.history_
    assert all("validation_score" in row for row in rows)


@needs_callbacks
def test_an_error_of_a_callback_changes_nothing(quick, data):
    def fail(history):
        raise RuntimeError("enough")

    model = clone(quick).set_callbacks(Watch(fail))
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(data)
    assert not hasattr(model, "item_ids_")
    model.set_callbacks().fit(data)
    before = dict(vars(model))
    watch = Watch(fail)
    with pytest.raises(RuntimeError, match="enough"):
        model.set_callbacks(watch).fit(data[:20])
    assert watch.seen == ["setup", "epoch", "teardown"]
    assert vars(model.set_callbacks()) == before


@needs_callbacks
def test_callbacks_are_not_saved(quick, data, tmp_path):
    model = clone(quick).set_callbacks(Watch()).fit(data)
    skclip.save(model, tmp_path / "model.skclip")
    again = skclip.load(tmp_path / "model.skclip")
    assert not hasattr(again, "_skl_callbacks")
    np.testing.assert_array_equal(again.predict(data), model.predict(data))


def test_content_stable_pickles(data):
    a = SessionClusterer(random_state=0).fit(data)
    b = SessionClusterer(random_state=0).fit(data)
    assert joblib.hash(a) == joblib.hash(b)
    assert joblib.hash(data) == joblib.hash(Sessions(**data.__getstate__()))


def test_other_version_warns(quick, data, tmp_path):
    state = quick.fit(data).__getstate__()
    assert state["_skclip_version"] == skclip.__version__
    other = clone(quick)
    with pytest.warns(UserWarning, match="saved by skclip 0.0.1 and opened by skclip"):
        other.__setstate__(state | {"_skclip_version": "0.0.1"})
    np.testing.assert_array_equal(other.predict(data), quick.predict(data))


def test_skops_round_trip(quick, data, tmp_path):
    skops = pytest.importorskip("skops.io")
    model = quick.fit(data)
    skops.dump(model, tmp_path / "model.skops")
    names = skops.get_untrusted_types(file=tmp_path / "model.skops")
    known = ("skclip.", "scipy.sparse.")
    assert all(name.startswith(known) for name in names), names
    again = skops.load(tmp_path / "model.skops", trusted=names)
    np.testing.assert_array_equal(again.predict(data), model.predict(data))


def test_cluster_features_of_any_clusterer():
    class Odd:
        def fit(self, X, y=None):
            self.membership_ = np.array([1, -1, 0])
            return self

    features = ClusterFeatures(Odd(), values="count").fit([["a", "b"], ["c"]])
    found = features.transform([["a", "a", "b", "c", "new"], []])
    assert found.tolist() == [[1, 2], [0, 0]]


def test_cluster_features_of_items_that_no_session_has():
    vectors = ItemFeatures(["aa", "b", "c", "d"], [[1, 0], [1, 0], [0, 1], [0, 1]])
    clusterer = SessionClusterer(
        graph_edges="both", item_features=vectors, n_neighbors=1, random_state=0
    )
    features = ClusterFeatures(clusterer).fit([["b", "b"], ["c", "d"]])
    assert features.transform([["aa"], ["b"], ["c"], ["d"]]).tolist() == [
        [1, 0], [1, 0], [0, 1], [0, 1]
    ]  # fmt: skip


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
models = [joblib.load(sys.argv[1], mmap_mode=mode) for mode in (None, "r")]
import skclip
X = [["item-001", "item-002"], ["item-003"]]
np.save(sys.argv[2], [skclip.predict_topk(model, X, 6) for model in models])
"""


@pytest.mark.parametrize("kind", ["recommender", "pipeline"])
def test_joblib_into_a_fresh_process(fitted, pipe, shop_split, tmp_path, kind):
    model = fitted if kind == "recommender" else pipe.fit(shop_split[0])
    joblib.dump(model, tmp_path / "model.joblib")
    command = [sys.executable, "-W", "error", "-c", LOAD]
    files = [tmp_path / "model.joblib", tmp_path / "top.npy"]
    subprocess.run([*command, *files], check=True)
    expected = skclip.predict_topk(model, [["item-001", "item-002"], ["item-003"]], 6)
    for found in np.load(tmp_path / "top.npy"):
        np.testing.assert_array_equal(found, expected)


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
