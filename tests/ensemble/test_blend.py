"""A mixture of probabilities: against loops, and learned from simulated clicks."""

import json
import warnings

import joblib
import numpy as np
import pytest
from common import small
from scipy.special import softmax
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import (
    SLIST,
    LLMReranker,
    MarkovRecommender,
    PopularityRecommender,
    SessionClusterer,
    SessionKNN,
    Sessions,
    VotingRecommender,
)
from skclip.baselines import BaselineRecommender
from skclip.ensemble import _mixture
from skclip.ensemble._mixture import (
    TEMPERATURES,
    learn_mixture,
    mixture_weights,
    prefixes_with_targets,
    target_probabilities,
)
from skclip.exceptions import TrainingWarning
from skclip.features import ItemFeatures
from skclip.model_selection import TemporalSplit

MARKOV, SLOPE = ("markov", MarkovRecommender()), ("slist", SLIST())
KNN = ("knn", SessionKNN("vstan"))


def blend(*members, **params):
    return VotingRecommender(list(members), method="blend", **params)


class Table(BaselineRecommender):
    """A row of scores for each last item, the same whatever it is fitted on."""

    _parameter_constraints: dict = {}
    backoff, scoring = None, "mrr@20"

    def __init__(self, table, kind="logits"):
        self.table = table
        self.kind = kind

    @property
    def _scores_are(self):
        return self.kind

    def _learn(self, data):
        return {}

    def _add_scores(self, scores, queries):
        last = queries.offsets[:-1][queries.rows] + queries.ends - 1
        scores += self.table[queries.codes[last] - 1]


class Recorder(PopularityRecommender):
    """Notes what each of its clones was fitted on."""

    fits = []

    def fit(self, X, y=None):
        self.fits.append((X, y))
        return super().fit(X, y)


# -- probabilities ---------------------------------------------------------------------


def probabilities(member, row, temperature):
    """Of one session, by definition."""
    scores = member.decision_function([row])[0].astype(np.float64)
    if isinstance(member, SLIST):
        return softmax(scores / temperature)
    return scores ** (1 / temperature) / (scores ** (1 / temperature)).sum()


@pytest.mark.parametrize("temperatures", [[1, 1, 1], [0.5, 0.125, 2]])
def test_a_blend_is_the_mixture(shop, temperatures):
    model = blend(MARKOV, SLOPE, KNN, weights=[1, 3, 4]).fit(shop[0])
    np.testing.assert_allclose(model.weights_, [1 / 8, 3 / 8, 1 / 2])
    np.testing.assert_array_equal(model.temperatures_, [1, 1, 1])
    model.temperatures_ = np.array(temperatures, dtype=float)
    rows = shop[1][:20].to_lists()
    expected = [
        sum(
            weight * probabilities(member, row, temperature)
            for weight, member, temperature in zip(
                model.weights_, model.estimators_, temperatures, strict=True
            )
        )
        for row in rows
    ]
    found = model.decision_function(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


@pytest.fixture(scope="module")
def shop():
    X, _ = skclip.datasets.make_sessions(800, 60, random_state=0)
    return X[:700], X[700:]


def test_without_weights_all_count_alike(shop):
    model = blend(MARKOV, KNN).fit(shop[0])
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5])
    same = blend(MARKOV, KNN, weights=[7, 7]).fit(shop[0])
    np.testing.assert_array_equal(
        model.decision_function(shop[1]), same.decision_function(shop[1])
    )


def test_one_member_is_itself(shop):
    model = blend(KNN).fit(shop[0])
    np.testing.assert_array_equal(
        model.predict_topk(shop[1], k=10),
        model.estimators_[0].predict_topk(shop[1], 10),
    )


def test_equal_scores_stay_equal_at_any_temperature():
    X = [[f"{i:03}", "next"] for i in range(133)]  # all with one click
    model = blend(("popular", PopularityRecommender())).fit(X)
    for temperature in TEMPERATURES:
        model.temperatures_ = np.array([temperature])
        assert len(np.unique(model.decision_function([["001"]]))) == 2


@pytest.mark.parametrize("member", [SLIST(), small(max_epochs=1), MarkovRecommender()])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_session_without_a_known_item_has_the_shares_of_the_clicks(member, shop):
    model = blend(("member", member)).fit(shop[0])
    shares = model.item_counts_ / model.item_counts_.sum()
    found = model.decision_function([["new"], [], ["new", "newer"]])
    np.testing.assert_allclose(found, np.tile(shares, (3, 1)), rtol=1e-5)
    asked = Sessions.from_lists([["new"]])
    (fitted,) = model.estimators_
    table = target_probabilities(fitted, asked, model.item_ids_[7:8])
    if not isinstance(member, MarkovRecommender):  # counts are not tempered
        np.testing.assert_allclose(table, shares[7], rtol=1e-5)


def test_a_member_that_knows_nothing_adds_nothing():
    X = [["a", "b"], ["a", "b"], ["c", "a"]]
    silent = ("silent", MarkovRecommender(backoff=None))
    model = blend(silent, ("popular", PopularityRecommender())).fit(X)
    found = model.decision_function([["b"], ["c"]])  # nothing ever followed b
    np.testing.assert_allclose(found[0], [3 / 12, 2 / 12, 1 / 12], rtol=1e-5)
    np.testing.assert_allclose(found[1], [9 / 12, 2 / 12, 1 / 12], rtol=1e-5)
    assert blend(silent).fit(X).predict_topk([["b"]], k=3).tolist() == [["a", "b", "c"]]


def test_members_with_catalogs_of_their_own(shop):
    early = MarkovRecommender().fit(shop[0][:40])
    late = MarkovRecommender().fit(shop[0])
    model = blend(("early", early), ("late", late), prefit=True).fit(shop[0])
    assert len(early.item_ids_) < len(late.item_ids_)
    own = early.decision_function(shop[1])
    expected = late.decision_function(shop[1])
    expected /= 2 * expected.sum(axis=1, keepdims=True)
    at = np.searchsorted(late.item_ids_, early.item_ids_)
    expected[:, at] += own / (2 * own.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        model.decision_function(shop[1]), expected, rtol=1e-5, atol=1e-9
    )


def test_items_that_a_member_knows_by_their_features(shop):
    ids = [*shop[0].vocabulary, "brand-new"]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 6))
    clip = small(item_features=ItemFeatures(ids, vectors), prompt=None, max_epochs=1)
    model = blend(("clip", clip), KNN, weights="auto").fit(shop[0])
    scores = model.decision_function(shop[1])
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert (scores[:, model.item_ids_ == "brand-new"] > 0).all()


def test_blends_of_blends_pipelines_and_searches(shop):
    pipe = make_pipeline(SessionClusterer(random_state=0), small(max_epochs=1))
    inner = VotingRecommender([MARKOV, KNN])
    model = blend(("pipe", pipe), ("ranks", inner), ("blend", blend(MARKOV, SLOPE)),
                  weights="auto")  # fmt: skip
    search = GridSearchCV(
        model, {"ranks__knn__n_neighbors": [5, 50]}, cv=TemporalSplit(2)
    ).fit(shop[0])
    best = search.best_estimator_
    assert best.weights_.sum() == pytest.approx(1)
    assert best.temperatures_[1] < 0.2  # 1 / (60 + rank) falls off slowly
    assert best.score(shop[1]) > 0.9 * best.estimators_[2].score(shop[1])
    np.testing.assert_allclose(best.decision_function(shop[1]).sum(1), 1, rtol=1e-5)


def test_files_keep_weights_and_temperatures(shop, tmp_path):
    model = blend(MARKOV, SLOPE, weights="auto").fit(shop[0])
    assert set(model.temperatures_) - {1}
    skclip.save(model, tmp_path / "own")
    joblib.dump(model, tmp_path / "joblib")
    for again in (skclip.load(tmp_path / "own"), joblib.load(tmp_path / "joblib")):
        np.testing.assert_array_equal(again.weights_, model.weights_)
        np.testing.assert_array_equal(
            again.decision_function(shop[1]), model.decision_function(shop[1])
        )


def test_a_state_of_before_there_were_temperatures(shop):
    model = VotingRecommender([MARKOV, KNN], weights=[1, 3]).fit(shop[0])
    state = model.__getstate__()
    del state["temperatures_"]
    state["_weights"] = state.pop("weights_")
    again = VotingRecommender([])
    again.__setstate__(state)
    for method in ("rrf", "blend"):
        np.testing.assert_array_equal(
            again.set_params(method=method).decision_function(shop[1]),
            model.set_params(method=method).decision_function(shop[1]),
        )


def test_the_method_can_be_changed_after_fit(shop):
    model = VotingRecommender([MARKOV, KNN], weights=[1, 3]).fit(shop[0])
    expected = blend(MARKOV, KNN, weights=[1, 3]).fit(shop[0])
    np.testing.assert_allclose(
        model.set_params(method="blend").decision_function(shop[1]),
        expected.decision_function(shop[1]),
    )
    learned = blend(MARKOV, KNN, weights="auto").fit(shop[0])
    ranks = VotingRecommender([MARKOV, KNN], weights=learned.weights_).fit(shop[0])
    np.testing.assert_array_equal(
        learned.set_params(method="rrf").predict_topk(shop[1]),
        ranks.predict_topk(shop[1]),
    )


# -- learning --------------------------------------------------------------------------

N_ITEMS = 30
IDS = np.array([f"{i:02}" for i in range(N_ITEMS)])


def simulated(weights, n, seed=0):
    """Logits of members by the last item, and clicks drawn from their mixture."""
    rng = np.random.default_rng(seed)
    tables = rng.normal(scale=2.0, size=(len(weights), N_ITEMS, N_ITEMS))
    tables = tables.astype(np.float32)
    mixture = np.tensordot(weights, softmax(tables, axis=2), axes=1)
    last = rng.integers(N_ITEMS, size=n)
    last[:N_ITEMS] = np.arange(N_ITEMS)
    drawn = (rng.uniform(size=(n, 1)) > mixture[last].cumsum(axis=1)).sum(axis=1)
    X = Sessions(last, np.arange(n + 1), IDS)
    return tables, X, IDS[np.minimum(drawn, N_ITEMS - 1)]


def test_weights_and_temperatures_of_simulated_clicks_are_found():
    (first, second), X, y = simulated([0.3, 0.7], n=10_000)
    sharpened = Table(np.exp(2 * second), "weights")  # squares: temperature 2
    members = [
        ("a", Table(first / 4)),
        ("b", sharpened),
        ("c", PopularityRecommender()),
    ]
    members = [(name, member.fit(X, y)) for name, member in members]
    model = blend(*members, weights="auto", prefit=True).fit(X, y)
    np.testing.assert_allclose(model.weights_, [0.3, 0.7, 0], atol=0.03)
    np.testing.assert_array_equal(model.temperatures_[:2], [0.25, 2])


def test_weights_are_learned_without_targets_of_ones_own():
    """Sessions of two clicks say the same as a click and its target."""
    (first, second), X, y = simulated([0.6, 0.4], n=6000)
    codes = np.stack([X.codes, np.searchsorted(IDS, y)], axis=1).reshape(-1)
    whole = Sessions(codes, 2 * np.arange(len(X) + 1), IDS)
    members = [("a", Table(first).fit(X, y)), ("b", Table(second).fit(X, y))]
    model = blend(*members, weights="auto", prefit=True).fit(X, y)
    again = blend(*members, weights="auto", prefit=True).fit(whole)
    np.testing.assert_allclose(model.weights_, [0.6, 0.4], atol=0.04)
    np.testing.assert_array_equal(again.weights_, model.weights_)


def test_the_mixture_is_the_best_of_a_grid():
    rng = np.random.default_rng(0)
    tables = np.exp(rng.normal(-4, 1.5, size=(2, len(TEMPERATURES), 300))).clip(0, 1)
    tables[:, 8] *= 2  # temperatures that are better than others
    weights, temperatures = learn_mixture(tables)
    chosen = np.searchsorted(TEMPERATURES, temperatures)

    def value(share, i, j):
        mixed = share * tables[0, i] + (1 - share) * tables[1, j]
        return np.log(mixed + 1e-9).mean()

    shares = np.linspace(0, 1, 51)
    best = max(value(s, i, j) for s in shares for i in range(17) for j in range(17))
    assert value(weights[0], *chosen) > best - 1e-4
    fine = np.linspace(0, 1, 2001)
    found, at = mixture_weights(tables[[0, 1], chosen])
    assert found[0] == pytest.approx(
        max(fine, key=lambda share: value(share, *chosen)), abs=2e-3
    )
    assert at == pytest.approx(value(found[0], *chosen))


def test_a_member_that_often_knows_nothing_keeps_its_own_temperature():
    """Its misses, which another member explains, do not flatten it."""
    hits = np.arange(400) < 200
    flat = np.maximum(1, TEMPERATURES)[:, None]  # what a temperature above 1 does
    first = np.where(hits, 0.9 / flat, np.where(flat > 1, 1e-3, 1e-12))
    second = np.full_like(first, 0.02)
    alone = np.log(first + 1e-9).mean(axis=1)
    assert TEMPERATURES[alone.argmax()] > 1
    weights, temperatures = learn_mixture(np.stack([first, second]))
    assert temperatures[0] <= 1
    assert weights[0] == pytest.approx(0.5, abs=0.05)


def test_probabilities_of_targets_are_those_of_prediction(shop, monkeypatch):
    X, y = shop[1].to_prefixes()
    y[::11] = "never seen"
    model = blend(SLOPE, KNN).fit(shop[0])
    monkeypatch.setattr("skclip._ranking._topk._CHUNK_FLOATS", 500)
    columns = np.searchsorted(model.item_ids_, y)
    known = np.isin(y, model.item_ids_)
    for weights, member in zip(np.eye(2), model.estimators_, strict=True):
        table = target_probabilities(member, X, y)
        model.weights_ = weights
        for i in (0, 4, 12, 16):
            model.temperatures_ = np.full(2, TEMPERATURES[i])
            scores = model.decision_function(X)
            expected = np.where(known, scores[np.arange(len(X)), columns * known], 0)
            np.testing.assert_allclose(table[i], expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("with_y", [False, True])
def test_the_latest_tenth_is_held_out_and_then_learned(with_y):
    X, _ = skclip.datasets.make_sessions(900, 40, random_state=0)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled, y = X[order], None
    if with_y:
        shuffled, y = shuffled.to_prefixes()
    Recorder.fits.clear()
    blend(("a", Recorder()), weights="auto").fit(shuffled, y)
    (early, early_y), (everything, all_y) = Recorder.fits
    assert everything is shuffled
    assert all_y is y
    n = round(0.1 * len(shuffled))
    assert len(early) == len(shuffled) - n
    assert early.end_times.max() <= np.sort(shuffled.end_times)[-n]
    if with_y:
        held = np.argsort(shuffled.end_times, kind="stable")[:-n]
        assert early_y.tolist() == y[held].tolist()
        assert early.to_lists() == shuffled[held].to_lists()


def test_without_times_the_last_rows_are_held_out():
    rows = [["a", "b", "a"]] * 200 + [["a", "c", "b"]] * 50
    Recorder.fits.clear()
    blend(("a", Recorder()), weights="auto").fit(rows)
    assert Recorder.fits[0][0].to_lists() == rows[:225]


def test_few_of_many_prefixes_are_read(monkeypatch):
    X, _ = skclip.datasets.make_sessions(300, 40, random_state=0)
    everything, targets = X.to_prefixes()
    asked, some = prefixes_with_targets(X)
    assert asked.to_lists() == everything.to_lists()
    assert some.tolist() == targets.tolist()
    monkeypatch.setattr(_mixture, "_MOST_TARGETS", 100)
    rows = np.linspace(0, len(targets) - 1, 100).astype(int)
    for part in (prefixes_with_targets(X), prefixes_with_targets(everything, targets)):
        assert part[0].to_lists() == everything[rows].to_lists()
        assert part[1].tolist() == targets[rows].tolist()


def test_learning_leaves_no_checkpoint_of_other_sessions(shop, tmp_path):
    """One that an interrupted fit left is still that of all sessions."""
    file = tmp_path / "training"

    class Interrupt(Exception):
        pass

    clip = small(checkpoint=file, max_epochs=3)
    expected = blend(("clip", small(max_epochs=3)), MARKOV, weights="auto").fit(shop[0])
    model = blend(("clip", clip), MARKOV, weights="auto")
    fits = []

    def fit(self, X, y=None):
        fits.append(file.exists())
        if len(fits) == 2:
            raise Interrupt
        return MarkovRecommender.fit(self, X, y)

    flaky = type("MarkovRecommender", (MarkovRecommender,), {"fit": fit})
    with pytest.raises(Interrupt):
        clone(model).set_params(markov=flaky()).fit(shop[0])
    assert fits == [False, False]
    found = model.fit(shop[0])
    np.testing.assert_array_equal(
        found.decision_function(shop[1]), expected.decision_function(shop[1])
    )


def test_a_blend_is_better_than_its_members(shop):
    model = blend(MARKOV, SLOPE, KNN, weights="auto").fit(shop[0])
    assert model.score(shop[1]) > max(m.score(shop[1]) for m in model.estimators_)


# -- updates ---------------------------------------------------------------------------


def test_an_update_equals_updated_members(shop):
    parts = shop[0][:400], shop[0][400:]
    pipe = ("pipe", make_pipeline(SessionClusterer(random_state=0), SessionKNN()))
    model = blend(MARKOV, pipe, weights="auto").fit(parts[0])
    weights, temperatures = model.weights_, model.temperatures_
    before, old_ids = model.decision_function(shop[1]), model.item_ids_
    first = model.estimators_[0]
    assert model.partial_fit(parts[1]) is model
    np.testing.assert_array_equal(model.weights_, weights)
    np.testing.assert_array_equal(model.temperatures_, temperatures)
    assert model.item_ids_[: len(old_ids)].tolist() == old_ids.tolist()
    assert set(model.item_ids_) == set(MarkovRecommender().fit(shop[0]).item_ids_)
    assert model.item_counts_.sum() == shop[0].n_events
    whole = blend(MARKOV, pipe, weights=weights).fit(shop[0])
    whole.temperatures_ = temperatures
    np.testing.assert_allclose(
        model.decision_function(shop[1])[:, np.argsort(model.item_ids_)],
        whole.decision_function(shop[1]),
        rtol=1e-4,
        atol=1e-7,
    )
    assert len(first.item_ids_) == len(old_ids)  # members are copied
    assert (model.decision_function(shop[1])[:, : len(old_ids)] != before).any()
    assert model.estimators_ == list(model.named_estimators_.values())


def test_an_update_with_targets_and_new_items(shop):
    X, y = shop[0].to_prefixes()
    model = VotingRecommender([MARKOV, KNN]).fit(X.to_lists(), y)
    model.partial_fit([["item-001"], ["new"], ["item-001"]], ["newer", "new", "newer"])
    assert model.item_ids_[-2:].tolist() == ["new", "newer"]
    assert model.item_counts_[-2:].tolist() == [2, 2]
    assert model.predict([["new"]]).tolist() == ["new"]
    model = blend(MARKOV, KNN).partial_fit(shop[0])  # unfitted before
    assert model.item_counts_.sum() == shop[0].n_events


def test_an_update_that_fails_changes_nothing(shop):
    class Fails(MarkovRecommender):
        def partial_fit(self, X, y=None):
            super().partial_fit(X, y)
            raise RuntimeError("too late")

    markov, fails = MarkovRecommender().fit(shop[0]), Fails().fit(shop[0])
    model = blend(("markov", markov), ("fails", fails), prefit=True).fit(shop[0])
    before, state = model.decision_function(shop[1]), dict(vars(model))
    with pytest.raises(RuntimeError, match="too late"):
        model.partial_fit([["new", "item-001"]])
    assert vars(model) == state
    np.testing.assert_array_equal(model.decision_function(shop[1]), before)
    model = blend(("markov", markov), prefit=True).fit(shop[0])
    model.partial_fit([["new", "item-001"]])
    assert "new" in model.item_ids_
    assert "new" not in markov.item_ids_  # what was passed stays as it is


def test_a_member_that_cannot_be_updated_is_named(shop):
    model = blend(MARKOV, SLOPE).fit(shop[0])
    with pytest.raises(TypeError, match="The member 'slist' is a SLIST.* partial_fit"):
        model.partial_fit(shop[1])
    frozen = ("cold", FrozenEstimator(MarkovRecommender().fit(shop[0])))
    with pytest.raises(TypeError, match="The MarkovRecommender is frozen"):
        blend(KNN, frozen).fit(shop[0]).partial_fit(shop[1])


# -- bad input -------------------------------------------------------------------------


class Own:
    """A recommender of the user's own."""

    def fit(self, X, y=None):
        raise AssertionError("refused before")

    def predict_topk(self, X, k=None):
        """Rank nothing."""


def answer(messages):
    return json.dumps({"titles": []})


@pytest.mark.parametrize(
    ("member", "name"),
    [(Own(), "Own"), (LLMReranker(MarkovRecommender(), str, client=answer), "LLMRer")],
)
def test_members_without_probabilities_are_named(member, name, shop):
    message = f"The member 'odd' is a {name}.*method='rrf'.*LLMReranker.VotingRec"
    with pytest.raises(TypeError, match=message):
        blend(MARKOV, ("odd", member)).fit(shop[0])


def test_a_method_that_does_not_fit_the_members_is_refused_at_prediction(shop):
    titled = LLMReranker(MarkovRecommender(), str, client=answer, on_error="fallback")
    model = VotingRecommender([MARKOV, ("llm", titled)]).fit(shop[0][:60])
    with pytest.raises(TypeError, match="The member 'llm' is a LLMReranker"):
        model.set_params(method="blend").predict_topk(shop[1])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_reranker_around_a_blend(shop):
    model = LLMReranker(blend(MARKOV, KNN), str, client=answer).fit(shop[0][:60])
    expected = blend(MARKOV, KNN).fit(shop[0][:60])
    np.testing.assert_array_equal(
        model.predict_topk(shop[1][:3]), expected.predict_topk(shop[1][:3])
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weights": [1]}, r"weights=\[1\]. Expected 2 finite numbers"),
        ({"weights": [1, -1]}, "Expected 2 finite numbers of at least 0"),
        (
            {"weights": [0, 0]},
            r"weights=\[0, 0\]. method='blend' needs a weight",
        ),
        (
            {"weights": "auto", "method": "rrf"},
            "weights='auto' with method='rrf'. Only",
        ),
        ({"weights": "auto", "method": "score"}, "with method='score'"),
        ({"weights": "best"}, "The 'weights' parameter of VotingRecommender must be"),
    ],
)
def test_wrong_weights(params, message, shop):
    with pytest.raises(ValueError, match=message):
        blend(MARKOV, KNN).set_params(**params).fit(shop[0])


@pytest.mark.parametrize("n_sessions", [1, 4, 60])
def test_a_log_too_small_to_learn_from(n_sessions):
    X, _ = skclip.datasets.make_sessions(60, 20, random_state=0)
    Recorder.fits.clear()
    model = blend(("a", Recorder()), MARKOV, weights="auto")
    with pytest.warns(
        TrainingWarning, match="needs 50 targets.* latest sessions have"
    ) as caught:
        model.fit(X[:n_sessions])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5])
    np.testing.assert_array_equal(model.temperatures_, [1, 1])
    assert len(Recorder.fits) == 1


def test_targets_that_no_member_knows_teach_nothing(shop):
    known = [(name, clone(member).fit(shop[0])) for name, member in (MARKOV, KNN)]
    strange = Sessions.from_lists([["w", "x", "y"], ["y", "z"]] * 40)
    with pytest.warns(TrainingWarning, match="the 80 sessions have 0. All members"):
        model = blend(*known, weights="auto", prefit=True).fit(strange)
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        both = Sessions.concat([strange, shop[1]])
        learned = blend(*known, weights="auto", prefit=True).fit(both)
        alone = blend(*known, weights="auto", prefit=True).fit(shop[1])
    np.testing.assert_allclose(learned.weights_, alone.weights_, rtol=1e-6)
