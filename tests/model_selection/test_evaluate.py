"""evaluate: the same numbers as score, intervals as a naive bootstrap has them."""

import importlib.util
import re
import sys
import warnings
from itertools import product

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
from skclip.model_selection._p_values import holm

RANK = ["recall@1", "recall@5", "precision@5", "mrr@5", "ndcg@5"]
LISTS = ["coverage@5", "gini@5", "novelty@5", "popularity_lift@5"]


class Newest(PopularityRecommender):
    """Another ranking: the least popular item first."""

    def _score_chunks(self, queries):
        for at, scores in super()._score_chunks(queries):
            yield at, -scores


def of_popularity(*parts, **options):
    return evaluate({"pop": PopularityRecommender()}, *parts, **options)


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
        found = {metric: cell(frame, name, metric) for metric in RANK}
        assert found == pytest.approx(expected, rel=1e-12)
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
    score = PopularityRecommender(scoring="mrr@5").fit(train).score(test)
    assert cell(frame, "pop", "mrr@5") == pytest.approx(score, rel=1e-12)
    assert not hasattr(estimators["pop"], "item_ids_")  # clones were fitted
    assert set(frame.n_queries) == {len(prefixes)}
    assert set(frame.n_sessions) == {int((test.lengths > 1).sum())}
    assert frame[["lower", "upper", "difference_lower"]].isna().all(axis=None)
    assert (frame[frame.estimator != "clip"].fit_seconds > 0).all()
    assert frame[frame.estimator == "clip"].fit_seconds.isna().all()
    expected = 1000 * frame.predict_seconds / frame.n_queries
    np.testing.assert_allclose(frame.ms_per_query, expected)
    rows = frame[frame.metric == "mrr@5"].set_index("estimator")
    assert np.isnan(rows.difference["pop"])
    assert rows.difference["clip"] == rows.value["clip"] - rows.value["pop"]


def test_remaining_items_equal_scorers_and_their_bootstrap(parts):
    train, test = parts
    metrics = ["recall@5", "map@5", "ndcg@5", "mrr@5", "precision@5", "hit_rate@5"]
    options = {"metrics": metrics, "n_boot": 200, "random_state": 0}
    models = {"pop": PopularityRecommender(), "rare": Newest()}
    frame, models = evaluate(
        models, train, test, targets="remaining", return_estimators=True, **options
    )
    scorer = SessionScorer(*metrics, targets="remaining")
    for name, model in models.items():
        found = {metric: cell(frame, name, metric) for metric in metrics}
        assert found == pytest.approx(scorer(model, test), rel=1e-12)
    prefixes, _ = test.to_prefixes()
    assert set(frame.n_queries) == {len(prefixes)}
    y = [s[t:] for s in test.to_lists() for t in range(1, len(s))]
    given = evaluate(
        models, train, prefixes, y, fit=False, targets="remaining", **options
    )
    columns = ["value", "lower", "upper", "difference", "p_value", "n_sessions"]
    pd.testing.assert_frame_equal(given[columns], frame[columns], rtol=1e-9)
    assert ((frame.lower < frame.value) & (frame.value < frame.upper)).all()


def test_groups_of_remaining_items(parts):
    train, test = parts
    options = {"metrics": "map@5", "n_boot": 0, "targets": "remaining"}
    for by, groups in (
        ("position", position_groups),
        ("session_length", length_groups),
    ):
        frame, models = of_popularity(
            train, test, by=by, return_estimators=True, **options
        )
        ranks, offsets = models["pop"].rank_targets(test, targets="remaining")
        codes, names = groups(test)
        expected = by_group(ranks, codes, "map@5", names=names, offsets=offsets)
        np.testing.assert_allclose(frame.value, expected["value"], rtol=1e-12)
        assert frame.n_queries.tolist() == expected["n_queries"]
    X, y = [["a"], ["a", "b"]], [["b"], ["c", "a"]]
    frame = of_popularity(train, X, y, by="position", **options)
    assert frame.n_queries.tolist() == [1, 1, 0, 0, 0]
    for by, parts in (("target_popularity", (train, test)),
                      ("session_length", (train, X, y))):  # fmt: skip
        with pytest.raises(ValueError, match=f"by='{by}' needs the next item"):
            of_popularity(*parts, by=by, **options)


def test_p_values_go_with_the_intervals(parts):
    """They name the same differences, up to the rounding of two draws."""
    train, test = parts
    n_boot = 999
    models = {"pop": PopularityRecommender(), "rare": Newest()}
    models |= {f"half-life {h}": PopularityRecommender(half_life=h) for h in (1, 9)}
    models["same"] = PopularityRecommender()
    options = {"metrics": ["recall@5", "mrr@5", "coverage@5"], "n_boot": n_boot,
               "by": "position", "random_state": 0}  # fmt: skip
    frame = evaluate(models, train, test, **options)
    others = frame[(frame.estimator != "pop") & (frame.metric != "coverage@5")]
    others = others[others.n_queries > 0]
    apart = (others.difference_lower > 0) | (others.difference_upper < 0)
    slack = 4 / (n_boot + 1)
    assert apart.any()
    assert not apart.all()
    assert (others.p_value[apart] <= 0.05 + slack).all()
    assert (others.p_value[~apart] >= 0.05 - slack).all()
    assert others.p_value.min() == pytest.approx(2 / (n_boot + 1))
    assert (others[others.estimator == "same"].p_value == 1).all()
    assert frame[frame.estimator == "pop"].p_value.isna().all()
    assert frame[frame.metric == "coverage@5"].adjusted_p_value.isna().all()
    for _, family in others.groupby(["metric", "group"]):  # against one baseline
        np.testing.assert_array_equal(family.adjusted_p_value, holm(family.p_value))

    order = ["half-life 9", "same", "rare", "pop", "half-life 1"]
    turned = evaluate({name: models[name] for name in order}, train, test,
                      baseline="pop", **options)  # fmt: skip
    keys = ["estimator", "metric", "group"]
    both = frame.merge(turned, on=keys, validate="one_to_one")
    for name in ("p_value", "adjusted_p_value"):
        np.testing.assert_array_equal(both[f"{name}_x"], both[f"{name}_y"])


def test_two_models_need_no_adjustment(parts):
    models = {"pop": PopularityRecommender(), "rare": Newest()}
    frame = evaluate(models, *parts, metrics="mrr@5", n_boot=50, random_state=0)
    assert frame.p_value[1] == frame.adjusted_p_value[1] < 0.1
    frame = evaluate(models, *parts, metrics="mrr@5", n_boot=0)
    assert frame[["p_value", "adjusted_p_value"]].isna().all(axis=None)


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
    ranks = {name: model.rank_targets(X, y) for name, model in models.items()}
    lists = {name: model.predict_topk(X, 3) for name, model in models.items()}
    found = np.full((n_boot, 2, len(group_names), 3), np.nan)
    for draw in found:
        drawn = generator.integers(len(sessions), size=len(sessions))
        rows = np.array([i for s in drawn for i in rows_of[s]])
        for (e, name), g in product(enumerate(models), range(len(group_names))):
            own = rows[groups[rows] == g]
            if len(own):
                gains = np.where(ranks[name] <= 5, 1 / ranks[name], 0)
                draw[e, g, 0] = np.mean(gains[own])
                draw[e, g, 1] = novelty(lists[name][own], train)
                draw[e, g, 2] = popularity_lift(lists[name][own], X[own], train)
    for values, prefix in ((found, ""), (found - found[:, 1:], "difference_")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # groups without a draw
            bounds = np.nanquantile(values, [0.1, 0.9], axis=0)
        for side, expected in zip(("lower", "upper"), bounds, strict=True):
            got = frame[prefix + side].to_numpy().reshape(2, 3, -1)
            if prefix:
                assert np.isnan(got[1]).all()  # the baseline itself
                got, expected = got[:1], expected[:1]
            expected = expected.transpose(0, 2, 1)
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_sessions_are_drawn_whole():
    """With one session there is nothing to vary, however many prefixes it has."""
    test = [["a", "b", "c", "a", "b", "c"]]
    frame = of_popularity([["a", "b"], ["c", "a"]], test, metrics="mrr@2", n_boot=50)
    assert 0 < frame.value[0] < 1
    assert frame.lower[0] == frame.upper[0] == pytest.approx(frame.value[0])
    assert frame.n_queries[0] == 5
    assert frame.n_sessions[0] == 1


def test_interval_has_the_width_of_the_standard_error(rng):
    """One target a session: the bootstrap must agree with the binomial."""
    test = [["x", "a" if hit else "b"] for hit in rng.random(400) < 0.3]
    options = {"metrics": "recall@1", "n_boot": 4000, "random_state": 0}
    frame = of_popularity([["a", "a", "b"]], test, **options)
    p = frame.value[0]
    half = 1.96 * np.sqrt(p * (1 - p) / 400)
    assert frame.lower[0] == pytest.approx(p - half, abs=0.006)
    assert frame.upper[0] == pytest.approx(p + half, abs=0.006)


def test_seeds_and_chunks_do_not_change_the_draws(parts, monkeypatch):
    def intervals(seed):
        frame = of_popularity(*parts, n_boot=37, random_state=seed)
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
    frame, models = of_popularity(
        train, test, metrics=["recall@5", "mrr@5", "coverage@5"], by=by, n_boot=20,
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
    items, catalog = models["pop"].predict_topk(prefixes, 5), models["pop"].item_ids_
    for g, name in enumerate(names):
        own = items[codes == g]
        expected = catalog_coverage(own, catalog) if len(own) else np.nan
        np.testing.assert_equal(cell(frame, "pop", "coverage@5", group=name), expected)


def test_own_groups(parts):
    train, test = parts
    X, y = last_targets(test)
    labels = np.where(np.arange(len(y)) % 3 == 0, "old", "new")
    frame = of_popularity(train, X, y, metrics="mrr@5", by=labels, n_boot=0)
    assert frame.group.tolist() == ["new", "old"]
    assert frame.n_queries.tolist() == [(labels == g).sum() for g in ("new", "old")]
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        of_popularity(train, X, y, by=["a", "b", "c"])


def test_pipelines_searches_and_fitted_ones(parts):
    train, test = parts
    grid = {"scoring": ["mrr@5", "mrr@10"]}
    search = GridSearchCV(PopularityRecommender(), grid, cv=2)
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
    options = {"metrics": ["recall@1", "novelty@9"], "n_boot": 0}
    frame = of_popularity(train, [["q"], ["a"]], ["never", "b"], y_train=y, **options)
    assert cell(frame, "pop", "recall@1") == 0.5
    model = PopularityRecommender().fit(train, y)
    items = model.predict_topk([["q"], ["a"]])  # two items, k = 9
    assert cell(frame, "pop", "novelty@9") == novelty(items, [["a", "b"], ["b", "b"]])

    frame = of_popularity(
        [["a"], ["a"]], [["a"]], ["b"], y_train=["b", "b"], n_boot=0, random_state=0,
        metrics=["recall@2", "coverage@2", "cluster_diversity@2"],
        by="target_popularity",
    )  # fmt: skip
    group = frame[frame.n_queries > 0]
    assert group.group.tolist() == ["1-5"] * 3  # not "0": "b" was learned
    assert group.value.tolist() == [1.0, 1.0, 0.0]


def test_one_ranking_pass_for_all_cut_offs(parts, monkeypatch):
    calls = []
    for name in ("rank_targets", "predict_topk"):
        original = getattr(PopularityRecommender, name)

        def counted(self, *args, _name=name, _original=original, **kwargs):
            calls.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(PopularityRecommender, name, counted)
    of_popularity(*parts, metrics=RANK, n_boot=2)
    assert calls == ["rank_targets"]
    of_popularity(*parts, metrics=[*LISTS, "gini@2"], n_boot=2)
    assert calls == ["rank_targets", "rank_targets", "predict_topk"]


def test_progress_is_a_bar_or_lines_of_a_log(parts, capsys, monkeypatch):
    of_popularity(*parts, n_boot=0)
    assert capsys.readouterr() == ("", "")
    of_popularity(*parts, n_boot=0, verbose=True)
    out, bars = capsys.readouterr()
    assert bars == ""
    assert re.fullmatch(r"model 1/1, pop, \d+\.\d s\n", out)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    of_popularity(*parts, n_boot=0, verbose=True)
    out, bars = capsys.readouterr()
    assert out == ""
    assert "1/1" in bars


@pytest.mark.parametrize("backend", ["polars", "pyarrow"])
def test_other_frames(parts, backend):
    pytest.importorskip(backend)
    options = {"by": "position", "n_boot": 5, "random_state": 0}
    frame = of_popularity(*parts, backend=backend, **options)
    expected = of_popularity(*parts, **options)
    columns = list(getattr(frame, "column_names", None) or frame.columns)
    assert columns == list(expected.columns)
    for name in ("group", "metric", "value", "upper", "n_queries"):
        found, wanted = (list(map(str, np.asarray(f[name]))) for f in (frame, expected))
        assert found == wanted


class NoRanks:
    """No estimator may be fitted before all can be checked."""

    predict_topk = None

    def fit(self, X, y=None):
        raise AssertionError("fitted too early")


class Fails(NoRanks):
    rank_targets = None


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
        ({"estimators": {"x": Fails(), "y": SessionClusterer()}}, TypeError,
         "SessionClusterer holds no recommender"),
        ({"estimators": {"x": Fails(), "y": make_pipeline(SessionClusterer())}},
         TypeError, "SessionClusterer holds no recommender"),
        ({"estimators": {"x": NoRanks()}}, TypeError, "NoRanks has no rank_targets"),
        ({"baseline": "knn"}, ValueError, r"'knn' is not among the estimators \['x'\]"),
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
        ({"targets": "rest"}, ValueError, "targets='rest' is unknown"),
        ({"targets": "remaining", "y_test": ["a", "b"]}, TypeError, "several items"),
        ({"targets": "remaining", "y_test": [["a"], []]}, ValueError, "y.1. is empty"),
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

    with pytest.raises(ValueError, match="'x' ranked 1 targets, expected 2"):
        evaluate({"x": Drops()}, [["a", "b"]], [["a", "b", "a"]])

    class DropsRows(PopularityRecommender):
        def rank_targets(self, X, y=None, *, targets="next"):
            return super().rank_targets(X[:1], y, targets=targets)

    with pytest.raises(ValueError, match="'x' ranked 2 rows, expected 3"):
        evaluate({"x": DropsRows()}, [["a", "b"]], [["a", "b", "a"], ["b", "a"]],
                 targets="remaining")  # fmt: skip
