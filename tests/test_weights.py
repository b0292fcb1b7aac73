"""Weights of events and of rows, in every estimator."""

import json
import pickle

import joblib
import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.tree import DecisionTreeClassifier
from test_recommender_contract import OF_SLIST, RECOMMENDERS, SECOND_STAGES, same

import skclip
from skclip import (
    SLIST,
    AssociationRules,
    CandidateRanker,
    CLIPSessionRecommender,
    MarkovRecommender,
    MMRReranker,
    PopularityRecommender,
    SequentialRules,
    SessionClusterer,
    SessionKNN,
    Sessions,
    VotingRecommender,
)
from skclip._clusters import build_item_graph
from skclip._data import training_data
from skclip.controls import OneCluster, RandomClusters
from skclip.datasets import make_sessions
from skclip.metrics import SessionScorer

VARIANTS = ("sknn", "vsknn", "stan", "vstan")
COUNTING = {
    "popularity": PopularityRecommender(),
    "half-life": PopularityRecommender(half_life=3),
    "markov": MarkovRecommender(),
    "first": MarkovRecommender(tie_break="first"),
    "sequential": SequentialRules(max_gap=3),
    "association": AssociationRules(),
    **{v: SessionKNN(v, n_neighbors=5000, sample_size=None) for v in VARIANTS},
    "slist": SLIST(),
    "slist sr": SLIST(direction="sr", alpha=0.2),
    "votes": VotingRecommender([("m", MarkovRecommender()), ("k", SessionKNN())]),
}
CLUSTERERS = {
    "leiden": SessionClusterer(random_state=0),
    "binary": SessionClusterer(per_session_binary=True, random_state=0),
    "one": OneCluster(),
    "random": RandomClusters(random_state=0),
}
counting = pytest.mark.parametrize("name", COUNTING)
with_targets = pytest.mark.parametrize("targets", [False, True], ids=["X", "Xy"])


def clip(**params):
    return CLIPSessionRecommender(
        embedding_dim=8, max_epochs=1, random_state=0, n_threads=1, device="cpu",
        **params,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shop():
    X, _ = make_sessions(n_sessions=120, n_items=30, random_state=0)
    return X[:90], X[90:]


def weighted(X, seed=0, values=(0, 1, 2, 0.5)):
    """The sessions with weights of events."""
    weights = np.random.default_rng(seed).choice(values, X.n_events)
    parts = {name: getattr(X, name) for name in ("times", "ids", "users")}
    return Sessions(X.codes, X.offsets, X.vocabulary, weights=weights, **parts)


def close(model, other, X):
    np.testing.assert_allclose(
        model.decision_function(X), other.decision_function(X), rtol=2e-5, atol=1e-30
    )


def counts(n, seed=0):
    return np.random.default_rng(seed).integers(0, 4, n)


# -- weights of 1 ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in RECOMMENDERS if n != "clip of the paper"])
def test_weights_of_1_change_no_bit(name, shop):
    X, asked = shop
    plain = clone(RECOMMENDERS[name]).fit(X)
    of_events = clone(RECOMMENDERS[name]).fit(weighted(X, values=[1]))
    of_rows = clone(RECOMMENDERS[name]).fit(X, sample_weight=[1] * len(X))
    same(plain, of_events, asked)
    same(plain, of_rows, asked)
    if name not in (*OF_SLIST, *SECOND_STAGES) and hasattr(plain, "partial_fit"):
        again = pickle.loads(pickle.dumps(plain)).partial_fit(asked)
        same(again, of_rows.partial_fit(asked, sample_weight=np.ones(30)), asked)


@pytest.mark.parametrize("name", CLUSTERERS)
def test_weights_of_1_change_no_cluster(name, shop):
    plain = clone(CLUSTERERS[name]).fit(shop[0])
    other = clone(CLUSTERERS[name]).fit(shop[0], sample_weight=np.ones(90))
    np.testing.assert_array_equal(plain.membership_, other.membership_)
    assert plain.membership_.dtype == other.membership_.dtype


def test_counts_stay_whole_numbers_without_weights(shop):
    assert PopularityRecommender().fit(shop[0]).item_counts_.dtype.kind == "i"
    half = PopularityRecommender().fit(shop[0], sample_weight=np.full(90, 0.5))
    assert half.item_counts_.sum() == shop[0].n_events / 2
    whole = half.partial_fit(shop[1])
    assert whole.item_counts_.sum() == shop[0].n_events / 2 + shop[1].n_events


@pytest.mark.parametrize("weights", [None, [0.5]])
def test_fading_counts_grow_from_sessions_of_which_some_have_no_time(weights):
    undated = Sessions([0, 1, 0], [0, 2, 3], ["a", "b"], times=[1, 2, np.nan])
    dated = Sessions.from_lists([["a", "b"]], times=[[1, 2]])
    for first, more in ((undated, dated), (dated, undated)):
        rows = None if weights is None else weights * len(first)
        model = PopularityRecommender(half_life=3).fit(first, sample_weight=rows)
        scale = 1 if weights is None else 0.5
        n_first = np.bincount(first.codes)
        expected = scale * n_first + np.bincount(more.codes)
        scores = model.partial_fit(more).item_scores_
        np.testing.assert_allclose(scores, expected, rtol=1e-4)


# -- a row of weight 2 is the row twice ------------------------------------------------


@with_targets
@counting
def test_whole_weights_are_repeated_rows(name, targets, shop):
    X, y = shop[0].to_prefixes() if targets else (shop[0], None)
    times = counts(len(X))
    rows = np.repeat(np.arange(len(X)), times)
    repeated = clone(COUNTING[name]).fit(X[rows], None if y is None else y[rows])
    model = clone(COUNTING[name]).fit(X, y, sample_weight=times)
    assert model.item_ids_.tolist() == repeated.item_ids_.tolist()
    np.testing.assert_array_equal(model.item_counts_, repeated.item_counts_)
    close(model, repeated, shop[1])


@with_targets
@pytest.mark.parametrize("name", ["leiden", "binary"])
def test_whole_weights_are_repeated_rows_in_the_graph(name, targets, shop):
    X, y = shop[0].to_prefixes() if targets else (shop[0], None)
    times = counts(len(X))
    rows = np.repeat(np.arange(len(X)), times)
    repeated = clone(CLUSTERERS[name]).fit(X[rows], None if y is None else y[rows])
    model = clone(CLUSTERERS[name]).fit(X, y, sample_weight=times)
    assert abs(model.graph_ - repeated.graph_).max() == 0
    np.testing.assert_array_equal(model.membership_, repeated.membership_)
    np.testing.assert_array_equal(model.item_ids_, repeated.item_ids_)


@counting
def test_weights_of_rows_multiply_those_of_events(name, shop):
    X = weighted(shop[0])
    rows = np.random.default_rng(1).uniform(0.5, 2, len(X))
    product = X.weights * np.repeat(rows, X.lengths)
    parts = {"times": X.times, "weights": product}
    both = Sessions(X.codes, X.offsets, X.vocabulary, **parts)
    model = clone(COUNTING[name]).fit(X, sample_weight=rows)
    close(model, clone(COUNTING[name]).fit(both), shop[1])


@pytest.mark.parametrize("name", [name for name in COUNTING if "slist" not in name])
def test_updates_with_weights_equal_one_fit(name, shop):
    (X, asked), model = shop, COUNTING[name]
    late = weighted(X[60:])
    for early in (X[:60], weighted(X[:60])):
        whole = clone(model).fit(Sessions.concat(early, late))
        updated = clone(model).fit(early).partial_fit(late)
        by_rows = clone(model).fit(early).partial_fit(late, sample_weight=np.ones(30))
        order = np.argsort(updated.item_ids_)
        np.testing.assert_allclose(
            updated.decision_function(asked)[:, order],
            whole.decision_function(asked),
            rtol=2e-5,
            atol=1e-30,
        )
        same(updated, by_rows, asked)


# -- events of weight 0 ----------------------------------------------------------------


def test_rules_count_by_the_weight_of_the_later_event():
    X = Sessions.from_lists([["a", "b", "c"]], weights=[[5, 0.5, 2]])
    assert MarkovRecommender().fit(X).rules_.toarray().tolist() == [
        [0, 0.5, 0],
        [0, 0, 2],
        [0, 0, 0],
    ]
    rules = SequentialRules().fit(X).rules_.toarray()
    assert rules[0].tolist() == [0, 0.5, 1]
    pairs = AssociationRules().fit(X).rules_.toarray()
    assert pairs.tolist() == [[0, 0.5, 2], [5, 0, 2], [5, 0.5, 0]]
    popular = PopularityRecommender().fit(X)
    assert popular.item_counts_.tolist() == [5, 0.5, 2]


@counting
def test_an_item_of_weight_0_is_read_but_never_recommended(name):
    X = [["a", "x", "b"], ["x", "b"], ["b", "a"], ["c", "x"], ["a", "c"]] * 4
    weights = [[float(item != "x") for item in session] for session in X]
    times = [np.arange(len(session)) + 9.0 * i for i, session in enumerate(X)]
    sessions = Sessions.from_lists(X, weights=weights, times=times)
    model = clone(COUNTING[name]).fit(sessions)
    assert "x" in model.item_ids_
    assert model.item_counts_[model.item_ids_ == "x"] == 0
    scores = model.decision_function([["x"], ["a"], ["c", "b"]])
    if name == "votes":  # its members vote by places
        assert (scores[:, -1] <= scores.min(axis=1)).all()
    else:
        assert (scores[:, -1] <= 0).all()
    if "popular" not in name and name != "half-life":
        plain = model.decision_function([[]])
        assert (scores[0] != plain).any()  # what follows "x" is known


def test_neighbors_vote_with_the_largest_weight():
    X = Sessions.from_lists([["a", "b", "b", "c"]], weights=[[1, 3, 0.5, 0]])
    scores = SessionKNN("sknn").fit(X).decision_function([["a"]])[0]
    assert scores == pytest.approx(np.array([1, 3, 0]) / np.sqrt(3))


def test_idf_counts_weights():
    X = Sessions.from_lists([["a", "b"], ["a"]], weights=[[4, 2], [1]])
    knn = SessionKNN("vsknn", idf_weight=1.0).fit(X)
    n = 3 + 1  # mean weights of the sessions
    expected = 1 + np.maximum(0, np.log(n / np.array([5, 2])))
    np.testing.assert_allclose(knn._item_weights, expected)


def test_slist_solves_the_weighted_ridge(shop):
    """The doubled rows of its least squares, solved densely."""
    X = Sessions.from_lists([["a", "b"], ["b", "c"]], weights=[[1, 3], [2, 2]])
    model = SLIST(alpha=0.5, reg=0.7).fit(X)
    S = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [1, 0, 0], [0, 1, 0]])
    T = np.array([[1, 1, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1]])
    omega = 0.5 * np.diag([2, 2, 3, 2])
    expected = np.linalg.solve(S.T @ omega @ S + 0.7 * np.eye(3), S.T @ omega @ T)
    np.testing.assert_allclose(model.weights_, expected, rtol=1e-5)


# -- the item graph --------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=6),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
)
def test_graph_equals_a_loop(sessions, self_loops, binary):
    expected = np.zeros((4, 4))
    for session in sessions:
        of_session = np.zeros((4, 4))
        for (a, _), (b, weight) in zip(session, session[1:], strict=False):
            if a != b or self_loops:
                at = min(a, b) - 1, max(a, b) - 1
                heaviest = max(of_session[at], weight)
                of_session[at] = heaviest if binary else of_session[at] + weight
        expected += of_session
    expected += np.triu(expected, 1).T
    flat = [event for session in sessions for event in session]
    codes, weights = np.array(flat, dtype=int).reshape(-1, 2).T
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sessions])])
    options = {"self_loops": self_loops, "per_session_binary": binary}
    graph = build_item_graph(
        codes, offsets, 4, weights=weights.astype(float), **options
    )
    np.testing.assert_array_equal(graph.toarray(), expected)
    assert (graph.data > 0).all()
    ones = build_item_graph(codes, offsets, 4, weights=np.ones(len(codes)), **options)
    plain = build_item_graph(codes, offsets, 4, **options)
    assert (ones != plain).nnz == 0


# -- the neural recommender ------------------------------------------------------------


def test_the_network_learns_what_weighs_more():
    X = Sessions.from_lists([["a", "b"], ["a", "c"]] * 60)
    rows = np.tile([1.0, 9.0], 60)
    params = {"max_epochs": 30, "prompt": None, "repeats": False, "batch_size": 120}
    for weights, best in ((rows, "c"), (10 - rows, "b")):
        model = clip().set_params(**params).fit(X, sample_weight=weights)
        probabilities = np.exp(model.decision_function([["a"]])[0])
        shares = probabilities[1:] / probabilities[1:].sum()
        assert model.predict([["a"]]).tolist() == [best]
        assert shares.max() == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax"])
def test_scaled_weights_train_alike(loss, shop):
    rows = 2.0 ** counts(90)
    models = [
        clip(loss=loss).fit(shop[0], sample_weight=scale * rows) for scale in (1, 2**20)
    ]
    read = ~models[0]._by_popularity(models[0]._queries(shop[1]))
    same(*models, shop[1][read])
    assert models[0].history_[0]["train_loss"] == models[1].history_[0]["train_loss"]
    plain = clip(loss=loss).fit(shop[0])
    assert plain.history_[0]["train_loss"] != models[0].history_[0]["train_loss"]


def test_rows_of_weight_0_are_as_if_they_were_not_there(shop):
    X, kept = shop[0], np.arange(90) % 3 > 0
    for model in (clip(), RECOMMENDERS["candidates"], RECOMMENDERS["mmr"]):
        some = clone(model).fit(X, sample_weight=kept.astype(float))
        same(some, clone(model).fit(X[kept]), shop[1])
        assert some.item_ids_.tolist() == sorted(set(sum(X[kept].to_lists(), [])))


def test_a_blend_learns_from_rows_that_are_there():
    X, _ = make_sessions(n_sessions=400, n_items=30, random_state=1)
    kept = np.arange(400) % 4 > 0
    blend = RECOMMENDERS["learned blend"]
    some = clone(blend).fit(X, sample_weight=2.0 * kept)
    other = clone(blend).fit(X[kept], sample_weight=np.full(300, 2.0))
    assert some.weights_[0] not in (0.5, other.weights_[1])
    np.testing.assert_array_equal(some.weights_, other.weights_)
    same(some, other, X[:20])


def test_targets_give_clusters_their_weights(shop):
    """A recommender of prefixes has the graph of a clusterer of its own."""
    X, y = shop[0].to_prefixes()
    rows = counts(len(X)).astype(float)
    model = clip().fit(X, y, sample_weight=rows)
    alone = SessionClusterer(random_state=0).fit(X, y, sample_weight=rows)
    assert abs(model.clusterer_.graph_ - alone.graph_).max() == 0
    grown = model.partial_fit(X[:9], y[:9], sample_weight=rows[:9] + 0.5)
    alone.partial_fit(X[:9], y[:9], sample_weight=rows[:9] + 0.5)
    assert abs(grown.clusterer_.graph_.sum() - alone.graph_.sum()) < 1e-9


def test_what_stands_for_the_fit_data_has_their_weights(shop):
    X, y = shop[0].to_prefixes()
    rows = counts(len(X)) / 3
    data = training_data(weighted(X), y, sample_weight=rows)
    again = training_data(
        *data.as_fit_arguments(), sample_weight=data.target_weights(), in_order=True
    )
    np.testing.assert_array_equal(again.codes, data.codes)
    np.testing.assert_allclose(again.weights, data.weights, rtol=1e-14)


class Plain:
    """A clusterer that knows nothing of weights."""

    def fit(self, X, y=None):
        self.membership_ = np.zeros(len(set(X.vocabulary) | set(y)), dtype=int)
        return self


def test_clusterers_without_sample_weight_still_work(shop):
    X, y = shop[0].to_prefixes()
    model = clip(clusterer=Plain()).fit(X, y, sample_weight=counts(len(X)) + 0.5)
    assert set(model.membership_) == {0}


def test_held_out_bias_of_repeats_is_learned_beside_weights(shop):
    X = Sessions.from_lists([[*s, s[0]] for s in shop[0].to_lists()])
    for params in ({}, {"early_stopping": True}):
        model = clip(repeats=True, **params).fit(X, sample_weight=counts(90) + 0.5)
        assert model.repeat_bias_.shape == (12, 4)


class PowerCut:
    """A scorer that fails in its n-th call."""

    def __init__(self, at):
        self.at, self.calls = at, 0
        self.__qualname__ = "PowerCut"  # one and the same to the checkpoint

    def __call__(self, estimator, X, y=None):
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("power cut")
        return -float(estimator.rank_targets(X, y).mean())


def test_a_checkpoint_knows_the_weights(shop, tmp_path):
    model = clip(checkpoint=tmp_path / "run", early_stopping=True)
    model.set_params(scoring=PowerCut(2), repeats=False, max_epochs=3)
    weights = counts(90) + 1
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(shop[0], sample_weight=weights)
    model.set_params(scoring=PowerCut(0))
    with pytest.raises(ValueError, match="another run"):
        model.fit(shop[0], sample_weight=weights + (np.arange(90) == 3))
    model.fit(shop[0], sample_weight=weights)
    assert not (tmp_path / "run").exists()


def test_rehearsed_sessions_keep_their_weights(shop, tmp_path):
    model = clip().fit(shop[0], sample_weight=counts(90) + 0.5)
    kept = model._fitted.rehearsal.weights
    assert sorted(set(kept)) == [0.5, 1.5, 2.5, 3.5]
    skclip.save(model, tmp_path / "model")
    loaded = skclip.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded._fitted.rehearsal.weights, kept)
    updated = [m.partial_fit(shop[1]) for m in (model, loaded)]
    same(*updated, shop[1])
    assert set(model._fitted.rehearsal.weights) == {0.5, 1.0, 1.5, 2.5, 3.5}


# -- where weights travel --------------------------------------------------------------


@pytest.mark.parametrize("name", [*COUNTING, "clip"])
def test_files_keep_what_weights_have_taught(name, shop, tmp_path):
    model = clip() if name == "clip" else clone(COUNTING[name])
    model.fit(weighted(shop[0]))
    joblib.dump(model, tmp_path / "model.joblib")
    same(model, joblib.load(tmp_path / "model.joblib"), shop[1])
    if name != "votes":
        skclip.save(model, tmp_path / "model.skclip")
        same(model, skclip.load(tmp_path / "model.skclip"), shop[1])


def test_weights_of_sessions_pass_through_a_pipeline(shop):
    X = weighted(shop[0])
    pipe = make_pipeline(SessionClusterer(random_state=0), MarkovRecommender()).fit(X)
    same(pipe[-1], MarkovRecommender().fit(X), shop[1])
    alone = SessionClusterer(random_state=0).fit(X)
    assert abs(pipe[0].graph_ - alone.graph_).max() == 0
    other = skclip.partial_fit(pipe, weighted(shop[1]))
    expected = MarkovRecommender().fit(X).partial_fit(weighted(shop[1]))
    same(other[-1], expected, shop[1])


def test_weights_of_rows_reach_the_steps_of_a_pipeline(shop):
    (X, more), rows = shop, counts(90)
    pipe = Pipeline([("find", SessionClusterer(random_state=0)), ("rec", SLIST())])
    pipe.fit(X, rec__sample_weight=rows)
    same(pipe[-1], SLIST().fit(X, sample_weight=rows), more)
    pipe.set_params(rec=MarkovRecommender())
    skclip.partial_fit(clone(pipe), X, sample_weight=rows)
    fresh = skclip.partial_fit(clone(pipe), X, sample_weight=rows)
    same(fresh[-1], MarkovRecommender().fit(X, sample_weight=rows), more)
    updated = skclip.partial_fit(fresh, more, sample_weight=np.full(30, 2))
    expected = MarkovRecommender().fit(X, sample_weight=rows)
    expected.partial_fit(more, sample_weight=np.full(30, 2))
    same(updated[-1], expected, more)
    finder = SessionClusterer(random_state=0).fit(X, sample_weight=rows)
    finder.partial_fit(more, sample_weight=np.full(30, 2))
    assert abs(updated[0].graph_ - finder.graph_).max() == 0


def test_metadata_routing_hands_weights_to_folds(shop):
    X, rows = shop[0], counts(90).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        model = PopularityRecommender().set_fit_request(sample_weight=True)
        found = cross_validate(
            model, X, cv=3, params={"sample_weight": rows}, return_estimator=True
        )
        finder = SessionClusterer(random_state=0).set_fit_request(sample_weight=False)
        piped = cross_validate(
            make_pipeline(finder, model),
            X,
            cv=3,
            params={"sample_weight": rows},
            scoring=SessionScorer("mrr@20"),
            return_estimator=True,
        )
    assert np.isfinite([*found["test_score"], *piped["test_score"]]).all()
    folds = np.array_split(np.arange(90), 3)
    for fold, one, other in zip(
        folds, found["estimator"], piped["estimator"], strict=True
    ):
        left = np.setdiff1d(np.arange(90), fold)
        expected = PopularityRecommender().fit(X[left], sample_weight=rows[left])
        same(one, expected, shop[1])
        same(other[-1], expected, shop[1])


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([1, -1], "Negative values in data passed to.*sample_weight"),
        ([1, np.nan], "sample_weight contains NaN"),
        ([1, np.inf], "sample_weight contains infinity"),
        ([1, 2, 3], r"sample_weight has shape \(3,\), expected \(2,\)"),
        ([[1], [1]], r"sample_weight has shape \(2, 1\)"),
        ([0, 0], "at least one non-zero number"),
        (["x", "y"], "could not convert string"),
    ],
)
@pytest.mark.parametrize("model", [MarkovRecommender(), SessionClusterer(), clip()])
def test_bad_weights_of_rows_are_refused(model, rows, match):
    with pytest.raises(ValueError, match=match):
        clone(model).fit([["a", "b"], ["b", "a"]], sample_weight=rows)


def test_weights_that_leave_nothing_to_learn_are_refused():
    nothing = Sessions.from_lists([["a", "b"]], weights=[[0, 0]])
    for model in (PopularityRecommender(), SessionClusterer(), clip()):
        with pytest.raises(ValueError, match="All 2 events have weight 0"):
            model.fit(nothing)
    no_target = Sessions.from_lists([["a", "b"]], weights=[[1, 0]])
    with pytest.raises(ValueError, match="All targets of the 1 training sessions have"):
        clip().fit(no_target)


class WithoutWeights(MarkovRecommender):
    def fit(self, X, y=None):
        return super().fit(X, y)


@pytest.mark.parametrize(
    "model",
    [
        VotingRecommender([("m", WithoutWeights())]),
        MMRReranker(WithoutWeights()),
        CandidateRanker(WithoutWeights(), DecisionTreeClassifier()),
    ],
)
def test_bases_that_take_no_weights_are_told(model, shop):
    with pytest.raises(TypeError, match="takes no sample_weight. .*from_events"):
        clone(model).fit(shop[0], sample_weight=counts(90))
    clone(model).fit(shop[0])


def test_pipelines_inside_hand_weights_to_their_steps(shop):
    weights = counts(90)
    pipe = make_pipeline(SessionClusterer(random_state=0), MarkovRecommender())
    model = MMRReranker(pipe).fit(shop[0], sample_weight=weights)
    alone = MarkovRecommender().fit(shop[0], sample_weight=weights)
    same(model.estimator_[-1], alone, shop[1])


def test_prefit_bases_need_no_weights(shop):
    base = WithoutWeights().fit(shop[0])
    model = MMRReranker(base, prefit=True).fit(shop[0], sample_weight=counts(90))
    assert len(model.item_ids_) == len(base.item_ids_)


def test_an_example_of_an_llm_is_no_row_of_weight_0(shop):
    model = clone(RECOMMENDERS["llm"])
    kept = np.arange(90) < 40
    model.fit(shop[0], sample_weight=kept.astype(float))
    other = clone(RECOMMENDERS["llm"]).fit(shop[0][kept])
    same(model, other, shop[1])
    assert json.dumps(model.usage_) == json.dumps(other.usage_)


def test_weights_that_are_far_from_1_are_refused():
    for scale in (1e-20, 1e200):
        with pytest.raises(ValueError, match="largest weight is .*Divide all weights"):
            MarkovRecommender().fit([["a", "b"]] * 2, sample_weight=[scale, scale])


def test_weights_of_events_without_one_of_the_target_are_told():
    X, y = Sessions.from_lists([["a", "b", "a"]], weights=[[1, 5, 2]]).to_prefixes()
    with pytest.warns(UserWarning, match="each target counts 1. Pass sample_weight="):
        MarkovRecommender().fit(X, y)
