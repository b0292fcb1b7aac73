"""Baselines against loops written from the formulas."""

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skclip import (
    SLIST,
    AssociationRules,
    CLIPSessionRecommender,
    MarkovRecommender,
    PopularityRecommender,
    SequentialRules,
    SessionClusterer,
    SessionKNN,
    Sessions,
    VotingRecommender,
)
from skclip._ranking import _topk
from skclip.baselines import _knn
from skclip.datasets import make_sessions
from skclip.features import ItemFeatures

DAY = 86_400.0
rows_of_items = st.lists(
    st.lists(st.integers(0, 6), min_size=1, max_size=7), min_size=2, max_size=12
)


@pytest.fixture(scope="module")
def shop():
    X, _ = make_sessions(n_sessions=300, n_items=50, random_state=0)
    return X[:240], X[240:]


# -- popularity ------------------------------------------------------------------------


def test_counts_and_ties():
    model = PopularityRecommender().fit([["b", "a"], ["c", "a"], ["d"]])
    assert model.item_counts_.tolist() == [2, 1, 1, 1]
    assert model.predict_topk([["x"], []], k=3).tolist() == [["a", "b", "c"]] * 2
    assert model.rank_targets([["a"]] * 4, list("abcd")).tolist() == [1, 4, 4, 4]
    assert PopularityRecommender().fit([["a"]], ["b"]).item_counts_.tolist() == [1, 1]


def timed(rows, days):
    lengths = [len(row) for row in rows]
    plain = Sessions.from_lists(rows)
    return Sessions(
        plain.codes,
        plain.offsets,
        plain.vocabulary,
        times=np.repeat(np.asarray(days) * DAY, lengths),
    )


def test_an_old_event_counts_half():
    X = timed([["a", "a", "a"], ["b", "b"], ["c"]], [0, 7, 14])
    model = PopularityRecommender(half_life=7).fit(X)
    np.testing.assert_allclose(model.item_scores_, [3 / 4, 2 / 2, 1])


# -- rules -----------------------------------------------------------------------------


def loop_rules(rows, weight, max_gap):
    rules = defaultdict(float)
    for row in rows:
        for i, before in enumerate(row):
            for gap in range(1, min(max_gap, len(row) - 1 - i) + 1):
                rules[before, row[i + gap]] += weight(gap)
    return rules


def as_dict(model):
    rules = model.rules_.tocoo()
    ids = model.item_ids_
    return {
        (ids[i], ids[j]): v
        for i, j, v in zip(*rules.coords, rules.data, strict=True)
        if v != 0
    }


@settings(max_examples=40)
@given(rows_of_items)
def test_sequential_rules_are_the_loops(rows):
    weights = {
        "div": lambda gap: 1 / gap,
        "same": lambda gap: 1,
        "linear": lambda gap: max(0, 1 - (gap - 1) / 10),
        "quadratic": lambda gap: gap**-2,
        "log": lambda gap: 1 / math.log10(gap + 1.7),
    }
    for weighting, weight in weights.items():
        model = SequentialRules(max_gap=3, weighting=weighting).fit(rows)
        assert as_dict(model) == pytest.approx(loop_rules(rows, weight, 3), rel=1e-6)
    model = MarkovRecommender().fit(rows)
    assert as_dict(model) == loop_rules(rows, lambda gap: 1, 1)


@settings(max_examples=40)
@given(rows_of_items)
def test_association_rules_are_the_loops(rows):
    expected = defaultdict(float)
    for row in rows:
        for i, first in enumerate(row):
            for j, second in enumerate(row):
                if i != j and first != second:
                    expected[first, second] += 1
    assert as_dict(AssociationRules().fit(rows)) == expected


def test_first_to_follow_wins_a_tie():
    rows = [["a", "z"], ["a", "c"], ["a", "b"], ["a", "b"], ["a", "c"]]
    first = MarkovRecommender(tie_break="first", backoff=None).fit(rows)
    assert first.predict_topk([["a"]], k=3).tolist() == [["c", "b", "z"]]
    assert first.rank_targets([["a"]] * 4, list("cbza")).tolist() == [1, 2, 3, 4]
    plain = MarkovRecommender(backoff=None).fit(rows)
    assert plain.rank_targets([["a"]] * 4, list("cbza")).tolist() == [2, 2, 3, 4]


def test_order_of_end_times_says_who_was_first():
    X = timed([["a", "b"], ["a", "c"]], [5, 2])
    model = MarkovRecommender(tie_break="first").fit(X)
    assert model.predict([["a"]]).tolist() == ["c"]


def test_targets_alone_are_followed():
    X, y = [["a", "b"], ["a", "b", "c"]], ["c", "d"]
    model = MarkovRecommender().fit(X, y)
    assert as_dict(model) == {("b", "c"): 1, ("c", "d"): 1}
    model = SequentialRules(weighting="same").fit(X, y)
    assert as_dict(model) == {
        ("b", "c"): 1, ("a", "c"): 1, ("c", "d"): 1, ("b", "d"): 1, ("a", "d"): 1,
    }  # fmt: skip
    model = AssociationRules().fit(X, y)
    pairs = {("b", "c"), ("a", "c"), ("c", "d"), ("b", "d"), ("a", "d")}
    assert as_dict(model) == dict.fromkeys(pairs | {p[::-1] for p in pairs}, 1)


def test_backoff_ranks_what_never_followed():
    rows = [["a", "b"], ["c", "c", "c"], ["d", "d"]]
    assert MarkovRecommender().fit(rows).predict_topk([["a"]], k=4).tolist() == [
        ["b", "c", "d", "a"]
    ]
    plain = MarkovRecommender(backoff=None).fit(rows)
    assert plain.predict_topk([["a"]], k=4).tolist() == [["b", "a", "c", "d"]]


# -- nearest neighbors ----------------------------------------------------------------


class LoopKNN:
    """The formulas, session by session and item by item."""

    weightings = {
        "same": lambda p, n: 1,
        "linear": lambda p, n: max(0, 1 - 0.1 * p),
        "div": lambda p, n: (n - p) / n,
        "quadratic": lambda p, n: ((n - p) / n) ** 2,
        "log": lambda p, n: 1 / math.log10(p + 1.7),
    }
    decays = {
        "same": lambda s: 1,
        "linear": lambda s: max(0, 1 - 0.1 * s),
        "div": lambda s: 1 / s,
        "quadratic": lambda s: 1 / s**2,
        "log": lambda s: 1 / math.log10(s + 1.7),
    }

    def __init__(self, model, rows, days=None):
        self.model, self.rows, self.days = model, rows, days
        self.params = model._resolved(days is not None)

    def scores(self, observed, now=None):
        model, params, rows = self.model, self.params, self.rows
        items = sorted({item for row in rows for item in row})
        observed = [item for item in observed if item in items]
        n = len(observed)
        p = {item: n - 1 - i for i, item in enumerate(observed)}  # the newest wins
        found = [i for i, row in enumerate(rows) if set(row) & set(p)]
        if model.sample_size is not None:
            found = found[-model.sample_size :]
        similar = []
        for i in found:
            B = set(rows[i])
            if model.variant == "vsknn":
                w = self.weightings[params["weighting"]]
                sim = sum(w(p[item], n) for item in B & set(p))
            else:
                lam = params.get("lambda1", math.inf)
                w = {item: math.exp(-p[item] / lam) for item in p}
                sim = sum(w[item] for item in B & set(p))
                sim /= math.sqrt(sum(v**2 for v in w.values()) * len(B))
                if params.get("lambda2"):
                    age = max(0, (now if now is not None else self.days[-1])
                              - self.days[i])  # fmt: skip
                    sim *= math.exp(-age / params["lambda2"])
            similar.append((sim, i))
        similar.sort(reverse=True)
        scores = dict.fromkeys(items, 0.0)
        factors = []
        for sim, i in similar[: model.n_neighbors]:
            newest = min((p[item], item) for item in set(rows[i]) & set(p))[1]
            if "decay" in params:
                sim *= self.decays[params["decay"]](p[newest] + 1)
            if "lambda4" in params:
                sim *= math.exp(-p[newest] / params["lambda4"])
            factors.append((sim, newest, rows[i]))
        largest = max((factor for factor, _, _ in factors), default=1)
        unit = largest if 0 < largest < 1e-9 else 1
        for factor, newest, row in factors:
            last = {item: place for place, item in enumerate(row)}
            for j in set(row):
                value = factor / unit
                if "lambda3" in params:
                    value *= math.exp(-abs(last[j] - last[newest]) / params["lambda3"])
                if "idf_weight" in params:
                    n_j = sum(row.count(j) for row in rows)
                    idf = max(0, math.log(len(rows) / n_j))
                    value *= 1 + params["idf_weight"] * idf
                scores[j] += value
        return [scores[item] for item in items]


@settings(max_examples=60)
@given(
    rows_of_items,
    st.lists(st.integers(0, 8), max_size=9),
    st.sampled_from(["sknn", "vsknn", "stan", "vstan"]),
    st.sampled_from([1, 2, 50]),
    st.sampled_from([1, 3, None]),
    st.sampled_from(sorted(LoopKNN.weightings)),
    st.sampled_from(sorted(LoopKNN.decays)),
    st.booleans(),
)
def test_neighbors_are_the_loops(
    rows, observed, variant, n_neighbors, sample_size, weighting, decay, with_times
):
    own = {"weighting": weighting, "decay": decay} if variant == "vsknn" else {}
    model = SessionKNN(
        variant, n_neighbors=n_neighbors, sample_size=sample_size, backoff=None, **own
    )
    days = [0.5 * i for i in range(len(rows))] if with_times else None
    X = timed(rows, days) if with_times else rows
    model.fit(X)
    query, now = [observed], None
    if with_times:
        now = days[-1] + 2
        query = timed([observed], [now])
    expected = LoopKNN(model, rows, days).scores(observed, now)
    np.testing.assert_allclose(
        model.decision_function(query)[0], expected, rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("variant", ["sknn", "vsknn", "stan", "vstan"])
def test_sorted_and_multiplied_neighbors_are_the_same_bits(variant, monkeypatch):
    """Both ways to sum shared weights agree, ties at the cuts included."""
    X, _ = make_sessions(n_sessions=400, n_items=60, random_state=0)
    model = SessionKNN(variant, n_neighbors=20, sample_size=50).fit(X[:350])
    monkeypatch.setattr(_knn, "_SORT_RATIO", 0)
    by_sorting = model.decision_function(X[350:])
    monkeypatch.setattr(_knn, "_SORT_RATIO", 10**9)
    by_product = model.decision_function(X[350:])
    assert (by_sorting == by_product).all()
    monkeypatch.undo()
    alone = [model.decision_function(X[i : i + 1])[0] for i in range(350, 400)]
    assert (alone == by_product).all()


@pytest.mark.parametrize("variant", ["sknn", "vsknn", "stan", "vstan"])
def test_small_chunks_of_queries_are_the_same_bits(variant, shop, monkeypatch):
    X, asked = shop
    model = SessionKNN(variant, n_neighbors=30).fit(X)
    expected = model.decision_function(asked)
    ranks, add_scores, sizes = model.rank_targets(asked), SessionKNN._add_scores, []

    def recorded(self, scores, queries):
        sizes.append(len(scores))
        add_scores(self, scores, queries)

    monkeypatch.setattr(SessionKNN, "_add_scores", recorded)
    for most in (1, 500, 2000):
        monkeypatch.setattr(_knn, "_MOST_ITEMS", most)
        np.testing.assert_array_equal(model.decision_function(asked), expected)
        assert max(sizes) == model._rows_per_chunk() < len(asked)
        np.testing.assert_array_equal(model.rank_targets(asked), ranks)
        sizes.clear()


@pytest.mark.parametrize("n_neighbors", [1, 30, 10**6])
def test_a_chunk_has_no_more_neighbors_than_fit(n_neighbors, shop, monkeypatch):
    model = SessionKNN(n_neighbors=n_neighbors).fit(shop[0])
    lengths = np.diff(model.sessions_.indptr)
    of_query = min(n_neighbors, len(lengths)) * lengths.mean()  # items of neighbors
    for most in (1, 100, 10_000, 2**22):
        monkeypatch.setattr(_knn, "_MOST_ITEMS", most)
        for most_scores in (1, 1000, 2**24):
            monkeypatch.setattr(_topk, "_CHUNK_FLOATS", most_scores)
            rows = model._rows_per_chunk()
            share = max(of_query / most, len(model.item_ids_) / most_scores)
            assert rows == 1 or rows * share <= 1
            assert (rows + 1) * share > 1  # it is no smaller than it must be


def test_each_prefix_has_its_own_time():
    X = timed([["a", "b"], ["a", "c"]], [1, 4])
    model = SessionKNN("stan", lambda2=1.0, backoff=None).fit(X)
    vocabulary = np.array(["a", "c"])
    query = Sessions([0, 1], [0, 2], vocabulary, times=[1 * DAY, 10 * DAY])
    assert model.rank_targets(query).tolist() == [3]  # on day 1 no neighbor is old
    late = Sessions([0], [0, 1], vocabulary, times=[10 * DAY])
    assert model.rank_targets(late, ["c"]).tolist() == [2]
    scores = model.decision_function(late)[0]
    assert scores[1] == pytest.approx(math.exp(-3) * scores[2])
    assert scores[2] == pytest.approx(math.exp(-6 - 1 / 2) / math.sqrt(2))


@pytest.mark.parametrize(
    "model",
    [
        SessionKNN("stan", lambda2=1.0),
        SessionKNN("vstan", lambda2=1.0, lambda1=0.1, lambda3=0.1, lambda4=0.1),
    ],
)
def test_no_neighbor_is_too_old_or_too_far_away_to_be_heard(model):
    """What a neighbor holds stands before what none holds, however small its share."""
    rows = [["old", "far", *[f"x{i}" for i in range(50)], "wanted"]] + [["top"] * 9] * 9
    X = timed(rows, [0] + [2000] * 9)
    model = clone(model).fit(X)
    query = timed([["old"]], [2001])
    ranked = model.predict_topk(query, k=54)[0].tolist()
    assert ranked[0] == "old"
    assert ranked[-1] == "top"


def test_equally_similar_ones_the_most_recent():
    rows = [["a", "x"], ["a", "y"], ["a", "z"]]
    model = SessionKNN("sknn", n_neighbors=1, backoff=None).fit(rows)
    assert model.predict_topk([["a"]], k=1, deny=["a"]).tolist() == [["z"]]
    oldest_last = timed(rows, [3, 2, 1])
    model.fit(oldest_last)
    assert model.predict_topk([["a"]], k=1, deny=["a"]).tolist() == [["x"]]


def test_long_sessions_keep_their_newest_items():
    rows = [[f"{i:03}", "x"] for i in range(80)] + [["079", "y"]]
    model = SessionKNN("vsknn", backoff=None).fit(rows)
    scores = model.decision_function([[f"{i:03}" for i in range(80)]])[0]
    found = model.item_ids_[scores > 0]
    assert set(found) == {f"{i:03}" for i in range(30, 80)} | {"x", "y"}


# -- SLIST -----------------------------------------------------------------------------


def test_no_session_is_too_old_for_slist():
    """What a session of long ago held stands before what none held with the item."""
    X = timed([["a", "b"]] + [["c", "d"]] * 5, [0] + [4000] * 5)
    model = SLIST(delta_time=0.5).fit(X)
    assert model.predict_topk([["a"]], k=2).tolist() == [["b", "a"]]


def loop_slist(model, rows, days=None):
    items = sorted({item for row in rows for item in row})
    S, T, weights = [], [], []

    def vector(pairs):
        values = np.zeros(len(items))
        for item, value in pairs:
            values[items.index(item)] += value
        return values

    delta = model.delta_time if days is not None and model.delta_time else math.inf
    delta = 128.0 if delta == "auto" else delta
    for i, row in enumerate(rows):
        age = 0 if days is None else days[-1] - days[i]
        weight = math.exp(-age / delta)
        whole = vector((item, 1) for item in set(row))
        S.append(whole / whole.sum())
        T.append(whole)
        weights.append(model.alpha * weight)
        for t in range(len(row) - 1):
            if model.direction == "part":
                past = vector(
                    (row[s], math.exp(-(t - s) / model.delta_pos)) for s in range(t + 1)
                )
            else:
                past = vector([(row[t], 1)])
            S.append(past / past.sum())
            T.append(
                vector(
                    (row[s], math.exp(-(s - t - 1) / model.delta_pos))
                    for s in range(t + 1, len(row))
                )
            )
            weights.append((1 - model.alpha) * weight)
    S, T, W = np.array(S), np.array(T), np.diag(weights)
    return np.linalg.solve(S.T @ W @ S + model.reg * np.eye(len(items)), S.T @ W @ T)


@settings(max_examples=40)
@given(
    rows_of_items,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from(["part", "sr"]),
    st.booleans(),
)
def test_slist_is_the_closed_form(rows, alpha, direction, with_times):
    model = SLIST(alpha=alpha, direction=direction, delta_pos=0.7, delta_inf=1.5, reg=2)
    days = [3.0 * i for i in range(len(rows))] if with_times else None
    model.fit(timed(rows, days) if with_times else rows)
    B = loop_slist(model, rows, days)
    np.testing.assert_allclose(model.weights_, B, rtol=1e-4, atol=1e-6)
    ids = model.item_ids_.tolist()
    observed = rows[0]
    expected = sum(
        math.exp(-(len(observed) - 1 - i) / 1.5) * B[ids.index(item)]
        for i, item in enumerate(observed)
    )
    np.testing.assert_allclose(
        model.decision_function([observed])[0], expected, rtol=1e-4, atol=1e-6
    )


def test_slist_in_blocks_and_in_single_precision(shop, monkeypatch):
    whole = SLIST().fit(shop[0])
    monkeypatch.setattr("skclip.baselines._slist._BLOCK", 7)
    monkeypatch.setattr("skclip.baselines._slist._EXACT_ITEMS", 10)
    blocks = SLIST().fit(shop[0])
    np.testing.assert_allclose(blocks.weights_, whole.weights_, rtol=1e-3, atol=1e-5)


# -- voting ----------------------------------------------------------------------------


def test_reciprocal_ranks_are_the_loop(shop):
    members = [("markov", MarkovRecommender()), ("knn", SessionKNN())]
    model = VotingRecommender(members, weights=[1, 2], n_candidates=10).fit(shop[0])
    X = shop[1][:30]
    lists = [member.predict_topk(X, k=10) for member in model.estimators_]
    scores = model.decision_function(X)
    for row in range(len(X)):
        expected = defaultdict(float)
        for weight, items in zip([1, 2], lists, strict=True):
            for place, item in enumerate(items[row], start=1):
                expected[item] += weight / (60 + place)
        got = dict(zip(model.item_ids_, scores[row], strict=True))
        assert {k: v for k, v in got.items() if v > 1e-9} == pytest.approx(
            expected, rel=1e-5
        )


def test_scores_are_scaled_and_added(shop):
    members = [("markov", MarkovRecommender()), ("slist", SLIST())]
    model = VotingRecommender(members, method="score", weights=[1, 3]).fit(shop[0])
    X = shop[1][:20]
    expected = 0
    for weight, member in zip([1, 3], model.estimators_, strict=True):
        scores = member.decision_function(X)
        low, high = scores.min(1, keepdims=True), scores.max(1, keepdims=True)
        expected = expected + weight * (scores - low) / (high - low)
    np.testing.assert_allclose(
        model.decision_function(X), expected, rtol=1e-5, atol=1e-9
    )


def test_one_voter_is_itself(shop):
    markov = MarkovRecommender().fit(shop[0])
    alone = VotingRecommender([("m", markov)], prefit=True, n_candidates=48)
    alone.fit(shop[0])
    assert alone.estimators_[0] is markov
    np.testing.assert_array_equal(
        alone.predict_topk(shop[1], k=10), markov.predict_topk(shop[1], k=10)
    )


def test_pipelines_vote_and_members_are_searched(shop):
    pipe = make_pipeline(SessionClusterer(random_state=0), MarkovRecommender())
    model = VotingRecommender([("pipe", pipe), ("knn", SessionKNN())])
    model.set_params(knn__n_neighbors=3, pipe__sessionclusterer__resolution=2.0)
    assert model.fit(shop[0]).estimators_[1].n_neighbors == 3
    assert model.score(shop[1]) > 0.05
    model.set_params(knn=MarkovRecommender())
    assert isinstance(model.fit(shop[0]).named_estimators_["knn"], MarkovRecommender)


def test_a_member_with_a_smaller_catalog(shop):
    small = MarkovRecommender().fit(shop[0][:20])
    model = VotingRecommender([("s", small), ("k", SessionKNN().fit(shop[0]))],
                              prefit=True).fit(shop[0])  # fmt: skip
    assert model.predict_topk(shop[1], k=48).shape == (60, 48)


def test_a_vote_by_popularity_is_scaled_as_any_other():
    X = [["a", "b"], ["b", "c"], ["b", "b"]]  # b 4, a 1, c 1
    vote = VotingRecommender([("m", MarkovRecommender())], method="score").fit(X)
    with pytest.warns(UserWarning, match="1 sessions are empty"):
        scores = vote.decision_function([[]])
    np.testing.assert_allclose(scores, [[0, 1, 0]], atol=1e-20)


@pytest.mark.parametrize(
    "model",
    [
        PopularityRecommender(half_life=1.0),
        SLIST(reg=1.0, delta_time=1.0),
        SessionKNN("stan"),
        SessionKNN("vstan", lambda2=3.0),
    ],
    ids=lambda model: getattr(model, "variant", type(model).__name__),
)
def test_sessions_without_an_end_count_as_the_latest(model):
    """An empty session has no time; with a target it is a session all the same."""
    day = 86400.0
    times = np.array([0, 1, day, day + 1])
    X = Sessions([0, 1, 1, 2], [0, 2, 2, 4], np.array(["a", "b", "c"]), times=times)
    with_gap = clone(model).fit(X).decision_function([["a"]])
    np.testing.assert_array_equal(
        with_gap, clone(model).fit(X[[0, 2]]).decision_function([["a"]])
    )
    scores = clone(model).fit(X, ["b", "a", "a"]).decision_function([["a"]])
    assert np.isfinite(scores).all()
    if isinstance(model, PopularityRecommender):  # the first three events count half
        np.testing.assert_allclose(scores, [[2.5, 2.0, 1.0]])


@pytest.mark.parametrize("exact_items", [10_000, 0])
def test_slist_says_when_reg_is_too_small(monkeypatch, exact_items):
    """Three items that always come together: a matrix of rank one and a half."""
    monkeypatch.setattr("skclip.baselines._slist._EXACT_ITEMS", exact_items)
    X = [["a", "b", "d"], ["a", "b", "d"], ["a", "b", "d", "c"]] * 50
    SLIST(alpha=1.0, reg=0.1).fit(X)
    with pytest.raises(ValueError, match="reg=1e-17 is too small.*larger reg"):
        SLIST(alpha=1.0, reg=1e-17).fit(X)


def test_a_session_before_the_training_sessions_finds_none_of_them_old():
    """Nor does a session whose time is unknown: it is asked now."""
    day = 86400.0
    times = np.array([0, 1, 5 * day, 5 * day + 1])
    X = Sessions([0, 1, 0, 2], [0, 2, 4], np.array(["a", "b", "c"]), times=times)
    aged = SessionKNN("stan", lambda2=1.0).fit(X)
    query = Sessions([0], [0, 1], np.array(["a"]), times=[-9 * day])
    ageless = SessionKNN("stan", lambda2=None).fit(X).decision_function([["a"]])
    np.testing.assert_allclose(aged.decision_function(query), ageless)
    unknown = Sessions([0], [0, 1], np.array(["a"]), times=[np.nan])
    now = aged.decision_function([["a"]])
    assert now[0, 1] < ageless[0, 1]
    np.testing.assert_array_equal(aged.decision_function(unknown), now)


@pytest.mark.parametrize("variant", ["vsknn", "vstan"])
def test_an_item_with_more_events_than_sessions_loses_no_weight(variant):
    X = [["a", "b", "b", "b", "b"], ["a"]]
    with_idf = SessionKNN(variant, idf_weight=3.0).fit(X).decision_function([["a"]])
    without = SessionKNN(variant, idf_weight=0).fit(X).decision_function([["a"]])
    np.testing.assert_allclose(with_idf, without)


def test_what_a_member_knows_by_features_can_be_voted_for(shop):
    ids = [*MarkovRecommender().fit(shop[0]).item_ids_, "brand-new"]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 6))
    clip = CLIPSessionRecommender(
        "gru4rec",
        item_features=ItemFeatures(ids, vectors),
        max_epochs=1,
        embedding_dim=8,
        prompt=None,
        n_threads=1,
        random_state=0,
    )
    vote = VotingRecommender([("clip", clip), ("knn", SessionKNN())]).fit(shop[0])
    assert len(vote.item_ids_) == len(ids)
    assert vote.item_counts_[vote.item_ids_ == "brand-new"].tolist() == [0]
    ranked = vote.predict_topk(shop[1], k=len(ids))
    assert (ranked == "brand-new").any(axis=1).all()
    assert vote.item_counts_.sum() == shop[0].n_events


@pytest.mark.parametrize("fitted", ["sknn", "vsknn", "stan", "vstan"])
def test_the_variant_of_fit_answers_until_the_next_fit(fitted, shop):
    X, asked = shop[0], shop[1][:20]
    model = SessionKNN(fitted).fit(X)
    scores = model.decision_function(asked)
    for other in ("sknn", "vsknn", "stan", "vstan"):
        model.set_params(variant=other, weighting="log", lambda1=3.0)
        np.testing.assert_array_equal(model.decision_function(asked), scores)
