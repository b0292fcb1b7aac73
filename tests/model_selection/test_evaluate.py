"""evaluate: the same numbers as score, intervals as a naive bootstrap has them."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip.model_selection._evaluate as module
from skclip import PopularityRecommender, SessionClusterer, Sessions
from skclip.metrics import (
    SessionScorer,
    by_group,
    catalog_coverage,
    cluster_diversity,
    gini_index,
    length_groups,
    novelty,
    popularity_groups,
    popularity_lift,
    position_groups,
)
from skclip.model_selection import evaluate, last_targets

RANK = ["recall@1", "recall@5", "precision@5", "mrr@5", "ndcg@5"]
LISTS = ["coverage@5", "gini@5", "novelty@5", "popularity_lift@5"]


class Newest(PopularityRecommender):
    """Another ranking: the least popular item first."""

    def _score_chunks(self, queries):
        for at, scores in super()._score_chunks(queries):
            yield at, -scores


@pytest.fixture
def parts(shop_split):
    train, test = shop_split
    return train[:300], test


def cell(frame, estimator, metric, column="value", **group):
    rows = frame[(frame.estimator == estimator) & (frame.metric == metric)]
    for name, value in group.items():
        rows = rows[rows[name] == value]
    (value,) = rows[column]
    return value


def test_values_equal_scorers_and_list_metrics(parts, fitted):
    train, test = parts
    clusterer = SessionClusterer(random_state=3).fit(train)
    estimators = {
        "pop": PopularityRecommender(),
        "rare": Newest(),
        "clip": FrozenEstimator(fitted),
    }
    frame, models = evaluate(
        estimators, train, test,
        metrics=[*RANK, *LISTS, "cluster_diversity@5", "coverage@2"],
        clusterer=clusterer, n_boot=0, return_estimators=True,
    )  # fmt: skip
    assert len(frame) == 3 * (len(RANK) + len(LISTS) + 2)
    prefixes, _ = test.to_prefixes()
    catalog = PopularityRecommender().fit(train).item_ids_
    for name, model in models.items():
        expected = SessionScorer(*RANK)(model, test)
        assert {m: cell(frame, name, m) for m in RANK} == expected  # to the last bit
        items = model.predict_topk(prefixes, 5)
        expected = {
            "coverage@5": catalog_coverage(items, catalog),
            "coverage@2": catalog_coverage(items, catalog, k=2),
            "gini@5": gini_index(items, catalog),
            "novelty@5": novelty(items, train),
            "popularity_lift@5": popularity_lift(items, prefixes, train),
            "cluster_diversity@5": cluster_diversity(
                items, clusterer.item_ids_, clusterer.membership_
            ),
        }
        for metric, value in expected.items():
            assert cell(frame, name, metric) == pytest.approx(value, rel=1e-12)
    assert models["pop"].scoring == "mrr@20"
    assert cell(frame, "pop", "mrr@5") == PopularityRecommender(scoring="mrr@5").fit(
        train
    ).score(test)
    assert not hasattr(estimators["pop"], "item_ids_")  # clones were fitted
    assert set(frame.n_queries) == {len(prefixes)}
    assert set(frame.n_sessions) == {int((test.lengths > 1).sum())}
    assert frame[["lower", "upper", "difference_lower"]].isna().all(axis=None)
    assert (frame[frame.estimator != "clip"].fit_seconds > 0).all()
    assert frame[frame.estimator == "clip"].fit_seconds.isna().all()
    np.testing.assert_allclose(
        frame.ms_per_query, 1000 * frame.predict_seconds / frame.n_queries
    )
    rows = frame[frame.metric == "mrr@5"].set_index("estimator")
    assert np.isnan(rows.difference["pop"])
    assert rows.difference["clip"] == rows.value["clip"] - rows.value["pop"]


@pytest.mark.parametrize("with_ids", [True, False])
def test_intervals_equal_a_naive_bootstrap(parts, monkeypatch, with_ids):
    """Draw by draw, session by session, query by query, at the same seed."""
    train, test = parts
    X, y = Sessions.from_lists(test.to_lists()[:25]).to_prefixes()
    if with_ids:  # prefixes of a session stand together, in any order
        X, y = test[:25].to_prefixes()
        order = np.random.default_rng(8).permutation(len(X))
        X, y = X[order], y[order]
        names = X.ids.tolist()
    else:
        names = list(range(len(X)))
    n_boot, seed = 60, 5
    monkeypatch.setattr(module, "_CHUNK", 7 * len(set(names)))  # several chunks
    metrics = ["mrr@5", "novelty@3", "popularity_lift@3"]
    frame, models = evaluate(
        [("pop", PopularityRecommender()), ("rare", Newest())], train, X, y,
        metrics=metrics, by="position", n_boot=n_boot, baseline="rare",
        confidence_level=0.8, random_state=seed, return_estimators=True,
    )  # fmt: skip

    groups, group_names = position_groups(X, y)
    sessions = sorted(set(names))
    rows_of = [[i for i, s in enumerate(names) if s == session] for session in sessions]
    generator = np.random.default_rng(
        np.random.RandomState(seed).randint(2**31 - 1, size=2)[0]
    )
    found = {}
    ranks = {name: model.rank_targets(X, y) for name, model in models.items()}
    lists = {name: model.predict_topk(X, 3) for name, model in models.items()}
    for _ in range(n_boot):
        drawn = generator.integers(len(sessions), size=len(sessions))
        rows = np.array([i for s in drawn for i in rows_of[s]])
        for g, group in enumerate(group_names):
            own = rows[groups[rows] == g]
            for name in models:
                values = np.full(3, np.nan)
                if len(own):
                    gains = np.where(ranks[name] <= 5, 1 / ranks[name], 0)
                    values[0] = np.mean(gains[own])
                    values[1] = novelty(lists[name][own], train)
                    values[2] = popularity_lift(lists[name][own], X[own], train)
                found.setdefault((group, name), []).append(values)
    for group in group_names:
        for i, metric in enumerate(metrics):
            draws = {name: np.array(found[group, name])[:, i] for name in models}
            for name in models:
                wanted = {
                    ("lower", "upper"): draws[name],
                    ("difference_lower", "difference_upper"): draws[name]
                    - draws["rare"],
                }
                for columns, values in wanted.items():
                    values = values[~np.isnan(values)]
                    if len(values) == 0:
                        continue
                    expected = np.quantile(values, [0.1, 0.9])
                    got = [cell(frame, name, metric, c, group=group) for c in columns]
                    if name == "rare" and columns[0].startswith("difference"):
                        assert np.isnan(got).all()
                    else:
                        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_sessions_are_drawn_whole():
    """With one session there is nothing to vary, however many prefixes it has."""
    test = [["a", "b", "c", "a", "b", "c"]]
    frame = evaluate({"pop": PopularityRecommender()}, [["a", "b"], ["c", "a"]], test,
                     metrics="mrr@2", n_boot=50)  # fmt: skip
    assert 0 < frame.value[0] < 1
    assert frame.lower[0] == frame.upper[0] == pytest.approx(frame.value[0])
    assert frame.n_queries[0] == 5
    assert frame.n_sessions[0] == 1


def test_interval_has_the_width_of_the_standard_error(rng):
    """One target a session: the bootstrap must agree with the binomial."""
    test = [["x", "a" if hit else "b"] for hit in rng.random(400) < 0.3]
    frame = evaluate({"pop": PopularityRecommender()}, [["a", "a", "b"]], test,
                     metrics="recall@1", n_boot=4000, random_state=0)  # fmt: skip
    p = frame.value[0]
    half = 1.96 * np.sqrt(p * (1 - p) / 400)
    assert frame.lower[0] == pytest.approx(p - half, abs=0.006)
    assert frame.upper[0] == pytest.approx(p + half, abs=0.006)


def test_seeds_and_chunks_do_not_change_the_draws(parts, monkeypatch):
    def intervals(seed):
        frame = evaluate({"pop": PopularityRecommender()}, *parts, n_boot=37,
                         random_state=seed)  # fmt: skip
        return frame[["lower", "upper"]].to_numpy()

    first = intervals(0)
    assert (first != intervals(1)).any()
    monkeypatch.setattr(module, "_CHUNK", 1)
    np.testing.assert_allclose(intervals(0), first, rtol=1e-12)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("target_popularity", lambda X, y, train: popularity_groups(y, train)),
        ("session_length", lambda X, y, train: length_groups(X)),
        ("position", lambda X, y, train: position_groups(X)),
    ],
)
def test_groups_equal_by_group(parts, by, groups):
    train, test = parts
    frame, models = evaluate(
        {"pop": PopularityRecommender()}, train, test,
        metrics=["recall@5", "mrr@5", "coverage@5"], by=by, n_boot=20, random_state=0,
        return_estimators=True,
    )  # fmt: skip
    prefixes, y = test.to_prefixes()
    codes, names = groups(test, y, train)
    ranks = models["pop"].rank_targets(test)
    expected = pd.DataFrame(by_group(ranks, codes, RANK[1::2], names=names))
    rows = frame[frame.metric.isin(["recall@5", "mrr@5"])]
    merged = rows.merge(expected, on=["group", "metric"], validate="one_to_one")
    assert len(merged) == 2 * len(names)
    np.testing.assert_array_equal(merged.value_x, merged.value_y)
    assert merged.n_queries_x.tolist() == merged.n_queries_y.tolist()
    items = models["pop"].predict_topk(prefixes, 5)
    for g, name in enumerate(names):
        found = cell(frame, "pop", "coverage@5", group=name)
        if (codes == g).any():
            expected = catalog_coverage(items[codes == g], models["pop"].item_ids_)
            assert found == expected
        else:
            assert np.isnan(found)


def test_own_groups(parts):
    train, test = parts
    X, y = last_targets(test)
    labels = np.where(np.arange(len(y)) % 3 == 0, "old", "new")
    frame = evaluate({"pop": PopularityRecommender()}, train, X, y, metrics="mrr@5",
                     by=labels, n_boot=0)  # fmt: skip
    assert frame.group.tolist() == ["new", "old"]
    assert frame.n_queries.tolist() == [(labels == g).sum() for g in ("new", "old")]
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        evaluate({"pop": PopularityRecommender()}, train, X, y, by=["a", "b", "c"])


def test_pipelines_searches_and_fitted_ones(parts):
    train, test = parts
    search = GridSearchCV(
        PopularityRecommender(), {"scoring": ["mrr@5", "mrr@10"]}, cv=2
    )
    pipe = make_pipeline(SessionClusterer(random_state=0), PopularityRecommender())
    plain = PopularityRecommender().fit(train)
    frame = evaluate([("plain", plain), ("pipe", pipe), ("search", search)], train,
                     test, metrics=["mrr@5", "novelty@4"], n_boot=30)  # fmt: skip
    for metric in ("mrr@5", "novelty@4"):
        rows = frame[frame.metric == metric]
        np.testing.assert_allclose(rows.value, rows.value.iloc[0], rtol=1e-12)
        np.testing.assert_allclose(rows.difference_lower[1:], 0, atol=1e-12)
    fitted = evaluate({"plain": plain}, None, test, metrics="mrr@5", fit=False)
    assert fitted.value[0] == pytest.approx(cell(frame, "plain", "mrr@5"))
    assert np.isnan(fitted.fit_seconds[0])


def test_targets_for_fit_and_unseen_ids():
    train, y = [["a"], ["b"]], ["b", "b"]
    frame = evaluate({"pop": PopularityRecommender()}, train, [["q"], ["a"]],
                     ["never", "b"], y_train=y, metrics=["recall@1", "novelty@9"],
                     n_boot=0)  # fmt: skip
    assert cell(frame, "pop", "recall@1") == 0.5
    model = PopularityRecommender().fit(train, y)
    items = model.predict_topk([["q"], ["a"]])  # two items, k = 9
    assert cell(frame, "pop", "novelty@9") == novelty(items, [["a", "b"], ["b", "b"]])


def test_targets_of_the_training_part_are_training_events():
    frame = evaluate(
        {"pop": PopularityRecommender()}, [["a"], ["a"]], [["a"]], ["b"],
        y_train=["b", "b"], metrics=["recall@2", "coverage@2", "cluster_diversity@2"],
        by="target_popularity", n_boot=0, random_state=0,
    )  # fmt: skip
    group = frame[frame.n_queries > 0]
    assert group.group.tolist() == ["1-5"] * 3  # not "0": "b" was learned
    assert group.value.tolist() == [1.0, 1.0, 0.0]


def test_what_holds_no_recommender_is_named_before_the_first_fit(parts):
    fitted = []

    class Noted(PopularityRecommender):
        def fit(self, X, y=None):
            fitted.append(self)
            return super().fit(X, y)

    for wrong in (SessionClusterer(), make_pipeline(SessionClusterer())):
        with pytest.raises(TypeError, match="SessionClusterer holds no recommender"):
            evaluate([("noted", Noted()), ("wrong", wrong)], *parts, n_boot=0)
    assert not fitted


def test_one_ranking_pass_for_all_cut_offs(parts, monkeypatch):
    calls = []
    for name in ("rank_targets", "predict_topk"):
        original = getattr(PopularityRecommender, name)

        def counted(self, *args, _name=name, _original=original, **kwargs):
            calls.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(PopularityRecommender, name, counted)
    evaluate({"pop": PopularityRecommender()}, *parts, metrics=RANK, n_boot=2)
    assert calls == ["rank_targets"]
    evaluate({"pop": PopularityRecommender()}, *parts, metrics=[*LISTS, "gini@2"],
             n_boot=2)  # fmt: skip
    assert calls == ["rank_targets", "rank_targets", "predict_topk"]


def test_progress_bar(parts, capsys):
    evaluate({"pop": PopularityRecommender()}, *parts, n_boot=0)
    assert capsys.readouterr().err == ""
    evaluate({"pop": PopularityRecommender()}, *parts, n_boot=0, verbose=True)
    assert "1/1" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["polars", "pyarrow"])
def test_other_frames(parts, backend):
    pytest.importorskip(backend)
    frame = evaluate({"pop": PopularityRecommender()}, *parts, by="position", n_boot=5,
                     backend=backend, random_state=0)  # fmt: skip
    expected = evaluate({"pop": PopularityRecommender()}, *parts, by="position",
                        n_boot=5, random_state=0)  # fmt: skip
    columns = list(getattr(frame, "column_names", None) or frame.columns)
    assert columns == list(expected.columns)
    for column in ("group", "metric", "value", "upper", "n_queries"):
        assert list(map(str, np.asarray(frame[column]))) == list(
            map(str, expected[column])
        )


class Fails:
    """No estimator may be fitted before all can be checked."""

    def fit(self, X, y=None):
        raise AssertionError("fitted too early")

    predict_topk = rank_targets = None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"metrics": ["hit@3", "mrr@5", "auc"]}, ValueError,
         r"Unknown metrics \['hit@3', 'auc'\].*'recall@k'.*'cluster_diversity@k'"),
        ({"metrics": []}, ValueError, "metrics is empty"),
        ({"estimators": [Fails()]}, TypeError, "list of pairs"),
        ({"estimators": [("a", Fails()), ("a", Fails())]}, ValueError, "'a', 'a'"),
        ({"estimators": {}}, ValueError, "at least one"),
        ({"estimators": {"pop": PopularityRecommender}}, TypeError, "'pop' is <class"),
        ({"estimators": {"x": 3}}, TypeError, "'x' is 3"),
        ({"baseline": "knn"}, ValueError, r"'knn' is none of the estimators \['x'\]"),
        ({"by": "weekday"}, ValueError, "by='weekday' is unknown.*session_length"),
        ({"n_boot": -1}, ValueError, "got -1"),
        ({"confidence_level": 95}, ValueError, "got 95"),
        ({"backend": "dask"}, ValueError, "got 'dask'"),
        ({"X_test": [["a"], ["b"]]}, ValueError, "All 2 sessions of X_test"),
        ({"X_train": None}, ValueError, "X_train is None"),
        ({"X_train": None, "fit": False, "metrics": "gini@2"}, ValueError,
         r"\['gini'\] need the training sessions"),
        ({"X_train": None, "fit": False, "by": "target_popularity"}, ValueError,
         "counts events: pass X_train"),
        ({"metrics": "cluster_diversity@3", "clusterer": SessionClusterer()},
         ValueError, "is not fitted"),
        ({"y_test": ["a"]}, ValueError, "y has shape"),
    ],
)  # fmt: skip
def test_bad_arguments_are_found_before_the_first_fit(changes, error, message):
    arguments = {
        "estimators": {"x": Fails()},
        "X_train": [["a", "b"]],
        "X_test": [["a", "b"], ["b", "a"]],
    } | changes
    with pytest.raises(error, match=message):
        evaluate(**arguments)


def test_missing_frame_library_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install pandas"):
        evaluate({"x": Fails()}, [["a", "b"]], [["a", "b"]])


def test_estimators_must_answer_the_same_targets():
    class Drops(PopularityRecommender):
        def rank_targets(self, X, y=None):
            return super().rank_targets(X, y)[1:]

    class NoRanks:
        def fit(self, X, y=None):
            return self

        def get_params(self, deep=True):
            return {}

        def predict_topk(self, X, k=None):
            raise AssertionError

    with pytest.raises(ValueError, match="'x' ranked 1 targets, expected 2"):
        evaluate({"x": Drops()}, [["a", "b"]], [["a", "b", "a"]])
    with pytest.raises(TypeError, match="'x': NoRanks has no rank_targets"):
        evaluate({"x": NoRanks()}, [["a", "b"]], [["a", "b", "a"]])
