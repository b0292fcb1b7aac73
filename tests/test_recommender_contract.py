"""What every recommender promises, tested once for all of them."""

import itertools
import json
import pickle
import warnings
from collections import Counter
from copy import deepcopy as copied

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

import skclip
from skclip import (
    SLIST,
    AssociationRules,
    CandidateRanker,
    CLIPSessionRecommender,
    LLMReranker,
    MarkovRecommender,
    MMRReranker,
    PopularityRecommender,
    SequentialRules,
    SessionClusterer,
    SessionKNN,
    Sessions,
    VotingRecommender,
)
from skclip._ranking import _topk
from skclip.datasets import make_sessions
from skclip.exceptions import IdTypeWarning, UnseenItemWarning
from skclip.metrics import SessionScorer, map_at_k, mrr_at_k, ndcg_at_k, recall_at_k

# Items are known by text and by numbers in the same order; both have the same titles.
TITLES = {f"item-{i:03}": f"{'abcdefgh'[i % 8] * 4} {i:03}" for i in range(50)}
TITLES |= dict(enumerate(TITLES.values()))


def newest_first(messages):
    """Answer instead of a language model: the titles of the session, backwards."""
    return json.dumps({"titles": json.loads(messages[1]["content"])["session"][::-1]})


def clip(**params):
    return CLIPSessionRecommender(
        "gru4rec", embedding_dim=8, max_epochs=1, random_state=0, n_threads=1,
        device="cpu", **params,
    )  # fmt: skip


MARKOV, KNN = ("markov", MarkovRecommender()), ("knn", SessionKNN("vstan"))
RECOMMENDERS = {
    "clip": clip(),
    "clip of the paper": clip(preset="paper", unseen_items="vote", scoring="mrr@20"),
    "clip without prompt": clip(prompt=None),
    "popularity": PopularityRecommender(),
    "popularity with half-life": PopularityRecommender(half_life=3),
    "markov": MarkovRecommender(),
    "markov without backoff": MarkovRecommender(tie_break="first", backoff=None),
    "sequential rules": SequentialRules(),
    "association rules": AssociationRules(),
    "sknn": SessionKNN("sknn", n_neighbors=30),
    "vsknn": SessionKNN("vsknn", n_neighbors=30, sample_size=60),
    "stan": SessionKNN("stan"),
    "vstan": SessionKNN("vstan"),
    "slist": SLIST(),
    "slist from the last item": SLIST(direction="sr"),
    "votes": VotingRecommender([MARKOV, KNN]),
    "scores": VotingRecommender([MARKOV, ("s", SLIST())], method="score"),
    "blend": VotingRecommender([MARKOV, ("s", SLIST())], method="blend"),
    "learned blend": VotingRecommender([MARKOV, KNN], method="blend", weights="auto"),
    "llm": LLMReranker(PopularityRecommender(), TITLES, client=newest_first),
    "mmr": MMRReranker(SessionKNN(), diversity=0.3, random_state=0),
    "candidates": CandidateRanker(
        SessionKNN(), DecisionTreeClassifier(max_depth=4), random_state=0
    ),
}
# Whose answer depends on which of two equal sessions is the more recent.
ORDERED = ("markov without backoff", "sknn", "vsknn", "stan", "vstan", "votes")
ORDERED += ("learned blend", "candidates", "mmr")
OF_SLIST = ("scores", "blend")  # it cannot be updated
READ_NOTHING = ("popularity", "popularity with half-life", "llm")  # of the items
HARDLY_TRAINED = ("clip", "clip of the paper", "clip without prompt")
SECOND_STAGES = ("llm", "mmr", "candidates")


@pytest.fixture(params=RECOMMENDERS)
def name(request):
    return request.param


def only(names):
    """Mark of a test that concerns some of RECOMMENDERS."""
    names = [name for name in RECOMMENDERS if name in names]
    return pytest.mark.parametrize("name", names, indirect=True)


@pytest.fixture(scope="module")
def shop():
    X, _ = make_sessions(n_sessions=300, n_items=50, random_state=0)
    return X[:240], X[240:]


@pytest.fixture(scope="module")
def models():
    """Those of RECOMMENDERS that were fitted, each once, by name."""
    return {}


@pytest.fixture
def model(name, shop, models):
    if name not in models:
        models[name] = clone(RECOMMENDERS[name]).fit(shop[0])
    return models[name]


@pytest.fixture
def new(name):
    return clone(RECOMMENDERS[name])


def same(model, other, X):
    np.testing.assert_array_equal(
        model.decision_function(X), other.decision_function(X)
    )


# -- scores, lists, ranks --------------------------------------------------------------


def test_lists_are_the_order_of_the_scores(model, shop):
    X = [*shop[1].to_lists(), ["item-003"] * 90]
    scores = model.decision_function(X)
    n_items = len(model.item_ids_)
    assert model.item_ids_.tolist() == sorted(model.item_ids_.tolist())
    assert scores.shape == (61, n_items)
    assert scores.dtype == np.float32
    order = np.argsort(-scores, axis=1, kind="stable")  # ties: order of the catalog
    items, values = model.predict_topk(X, k=n_items, return_scores=True)
    np.testing.assert_array_equal(items, model.item_ids_[order])
    np.testing.assert_array_equal(values, np.take_along_axis(scores, order, axis=1))
    np.testing.assert_array_equal(model.predict_topk(X, k=5), items[:, :5])
    np.testing.assert_array_equal(model.predict_topk(X), items[:, :20])
    np.testing.assert_array_equal(model.predict(X), items[:, 0])


def test_ranks_are_places_where_ties_count_against_the_target(model, shop):
    X, y = shop[1].to_prefixes()
    y[::9] = "never seen"
    scores = model.decision_function(X)
    columns = np.searchsorted(model.item_ids_, y)
    known = np.isin(y, model.item_ids_)
    own = scores[known, columns[known]]
    expected = np.full(len(y), np.inf)
    expected[known] = (scores[known] >= own[:, None]).sum(axis=1)
    np.testing.assert_array_equal(model.rank_targets(X, y), expected)


def test_a_prefix_is_ranked_from_its_own_clicks(model, shop):
    X = shop[1][:20]
    np.testing.assert_array_equal(
        model.rank_targets(X), model.rank_targets(*X.to_prefixes())
    )
    session = ["item-003", "new", "item-001", "newer", "item-007"]
    alone = [model.rank_targets([session[:t]], [session[t]])[0] for t in range(1, 5)]
    np.testing.assert_array_equal(model.rank_targets([session]), alone)


def test_remaining_items_have_places_in_the_worst_list(model, shop):
    """Among equal scores the remaining items of a session come last."""
    X = Sessions.from_lists([*shop[1][:20].to_lists(), ["item-003", "new", "item-001"]])
    lists, prefixes = X.to_lists(), X.to_prefixes()[0]
    rest = [s[t:] for s in lists for t in range(1, len(s))]
    ids, expected = model.item_ids_.tolist(), []
    for row, items in zip(model.decision_function(prefixes), rest, strict=True):
        order = sorted(range(len(ids)), key=lambda i: (-row[i], ids[i] in items))
        place = {ids[i]: rank for rank, i in enumerate(order, 1)}
        expected.append(
            sorted(place.get(item, np.inf) for item in dict.fromkeys(items))
        )
    for asked in ((X, None), (prefixes, rest), (prefixes, Sessions.from_lists(rest))):
        ranks, offsets = model.rank_targets(*asked, targets="remaining")
        found = [sorted(part.tolist()) for part in np.split(ranks, offsets[1:-1])]
        assert found == expected
    scorer = SessionScorer("map@5", targets="remaining")
    assert scorer(model, X) == map_at_k(ranks, 5, offsets)


def test_metrics_are_those_of_the_ranks(model, shop):
    ranks = model.rank_targets(shop[1])
    assert model.score(shop[1]) == mrr_at_k(ranks, 20)
    assert model.score(*shop[1].to_prefixes()) == mrr_at_k(ranks, 20)
    for scoring, value in {"recall@5": recall_at_k(ranks, 5),
                           "ndcg@10": ndcg_at_k(ranks, 10)}.items():  # fmt: skip
        scorer = pickle.loads(pickle.dumps(SessionScorer(scoring)))
        assert scorer(model, shop[1]) == scorer(model, *shop[1].to_prefixes()) == value


@only(set(RECOMMENDERS) - {*READ_NOTHING, *HARDLY_TRAINED})
def test_the_session_tells_more_than_popularity(model, shop):
    popular = PopularityRecommender().fit(shop[0])
    assert model.score(shop[1]) > 1.5 * popular.score(shop[1])


def test_scoring_is_a_metric_or_a_function(new, shop):
    key = "scoring" if "scoring" in new.get_params() else "estimator__scoring"
    fitted = clone(new).set_params(**{key: "recall@5"}).fit(shop[0])
    assert fitted.score(shop[1]) == recall_at_k(fitted.rank_targets(shop[1]), 5)
    own = clone(new).set_params(**{key: lambda estimator, X, y=None: len(X) / 7})
    assert own.fit(shop[0]).score(shop[1]) == 60 / 7
    with pytest.raises(ValueError, match="Unknown metric 'hits'"):
        new.set_params(**{key: "hits"}).fit(shop[0])


# -- filters ---------------------------------------------------------------------------


def test_filters(model, name, shop):
    rows = shop[1][:5].to_lists()
    everything = model.predict_topk(rows, k=len(model.item_ids_)).tolist()
    allowed, denied = model.item_ids_[::3].tolist(), model.item_ids_[::2].tolist()
    each = [[*allowed, "unknown"]] * 4 + [allowed[:8]]
    for options, kept in (
        ({"exclude_seen": True}, lambda i, item: item not in rows[i]),
        ({"allow": allowed}, lambda i, item: item in allowed),
        ({"deny": np.array(denied)}, lambda i, item: item not in denied),
        ({"allow": each, "deny": [denied, [], denied, [], []]},
         lambda i, item: item in each[i] and (item not in denied or i in (1, 3, 4))),
    ):  # fmt: skip
        found = model.predict_topk(rows, k=6, **options)
        for i, row in enumerate(found.tolist()):
            assert len(set(row)) == 6
            assert all(kept(i, item) for item in row)
            if name not in SECOND_STAGES:  # these have other candidates then
                assert row == [item for item in everything[i] if kept(i, item)][:6]


def test_filters_that_leave_too_few_fill(model):
    options = {"k": 4, "allow": ["item-003", "item-007"]}
    items, scores = model.predict_topk(
        [["item-003"], []], return_scores=True, **options
    )
    assert set(items[:, :2].ravel()) == set(options["allow"])
    assert items[:, 2:].tolist() == [["", ""]] * 2
    assert np.isneginf(scores).tolist() == [[False, False, True, True]] * 2
    items = model.predict_topk([[]], fill_value=-1, **options)
    assert items[:, 2:].tolist() == [[-1, -1]]
    with pytest.raises(ValueError, match="fill_value='item-004' is an item"):
        model.predict_topk([[]], fill_value="item-004", **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k=0 is less than 1"),
        ({"k": 2.5}, TypeError, "k must be a whole number"),
        ({"k": True}, TypeError, "k must be a whole number"),
        ({"allow": "a"}, TypeError, r"allow is a str: 'a'.*\['a'\]"),
        ({"deny": [["a"]]}, ValueError, "deny has 1 lists, expected one for each of 2"),
    ],
    ids=str,
)
def test_wrong_options(model, options, error, message):
    with pytest.raises(error, match=message):
        model.predict_topk([["item-003"], []], **options)


def test_boosts_and_caps_equal_a_plain_loop(model, name, shop):
    rows = [*shop[1][:12].to_lists(), ["new"], []]
    ids = model.item_ids_.tolist()
    boost = {"item-003": 4.0, "item-009": 0.2, "item-030": 50, "gone": 2.0}
    groups = {item: None if i % 7 == 0 else i % 4 for i, item in enumerate(ids)}
    cap = {"max_per_group": 2, "groups": groups, "return_scores": True}
    if name in SECOND_STAGES:
        with pytest.raises(ValueError, match="Boost the recommender inside"):
            model.predict_topk(rows, boost=boost)
        boosts = {}
    else:
        boosts = {"boost": boost, "boost_seen": 3.0}
    items, values = model.predict_topk(rows, k=12, **boosts, **cap)
    unread = model._by_popularity(model._queries(rows))
    logits = model._scores_are == "logits"
    for i, scores in enumerate(model.decision_function(rows)):
        for part in (boost, dict.fromkeys(rows[i], 3.0)) if boosts else ():
            for item in part.keys() & set(ids):
                factor, column = np.float32(part[item]), ids.index(item)
                if logits and not unread[i]:
                    scores[column] += np.float32(np.log(part[item]))
                else:
                    scores[column] *= factor
        taken, expected = Counter(), []
        for column in np.argsort(-scores, kind="stable").tolist():
            group = groups[ids[column]]
            taken[group] += 1
            if group is None or taken[group] <= 2:
                expected.append(column)
        expected, n = expected[:12], min(12, len(expected))
        assert items[i].tolist() == [ids[c] for c in expected] + [""] * (12 - n)
        assert values[i, :n].tolist() == scores[expected].tolist()
    pipe = make_pipeline(model)
    found, _ = skclip.predict_topk(pipe, rows, 12, **boosts, **cap)
    np.testing.assert_array_equal(found, items)


# -- similar items ---------------------------------------------------------------------

COMPARE = ("clip", "clip of the paper", "clip without prompt", "markov", "slist")
COMPARE += ("markov without backoff", "sequential rules", "association rules")
COMPARE += ("slist from the last item",)


def similar_to(item, model, name, sessions):
    """Other items and their similarity to one, by plain loops over what was fitted."""
    found, ids = Counter(), model.item_ids_.tolist()
    if name.startswith("clip"):
        vectors = model.item_vectors_.astype(float)
        own = vectors[ids.index(item)]
        for other, vector in zip(ids, vectors, strict=True):
            norms = np.sqrt(own @ own) * np.sqrt(vector @ vector)
            found[other] = own @ vector / norms
    elif name.startswith("slist"):
        found.update(dict(zip(ids, model.weights_[ids.index(item)], strict=True)))
    for session in sessions if not found else ():
        for t, u in itertools.product(range(len(session)), repeat=2):
            near = {"markov": u - t == 1, "sequential rules": 1 <= u - t <= 10}
            if session[t] == item and near.get(name, name == "association rules"):
                found[session[u]] += 1 / (u - t) if "seq" in name else 1
    del found[item]
    if not name.startswith("clip"):
        found = {other: weight for other, weight in found.items() if weight > 0}
    return found


def test_similar_items_are_the_order_of_the_similarities(model, name, shop):
    if name not in COMPARE:
        assert not hasattr(model, "similar_items")
        asked = model.estimator_ if name in SECOND_STAGES else model
        message = f"{type(asked).__name__} has no .*Use a fitted CLIPSession.* or SLIST"
        for error in (TypeError, AttributeError):
            with pytest.raises(error, match=message):
                model.similar_items(["item-003"])
        return
    ids, n_items = model.item_ids_, len(model.item_ids_)
    items, scores = model.similar_items(ids, n_items + 2, return_scores=True)
    assert items.shape == scores.shape == (n_items, n_items + 2)
    assert scores.dtype == np.float32
    assert model.similar_items(ids[::-1]).tolist() == items[::-1, :20].tolist()
    for item, row, values in zip(ids.tolist(), items.tolist(), scores, strict=True):
        n = int(np.isfinite(values).sum())
        assert row[n:] == [""] * (len(row) - n)
        assert item not in row[:n]
        order = [(-v, other) for v, other in zip(values[:n], row[:n], strict=True)]
        assert order == sorted(order)  # equal ones in the order of the catalog
        if name == "markov without backoff":  # places in a ranking
            last = [[item]] if n else []
            for ranked in model.predict_topk(last, k=n_items).tolist():
                assert row[:n] == [other for other in ranked if other != item][:n]
            continue
        expected = similar_to(item, model, name, shop[0].to_lists())
        assert set(row[:n]) == set(expected)
        wanted = [expected[other] for other in row[:n]]
        np.testing.assert_allclose(values[:n], wanted, rtol=2e-5, atol=2e-6)


@only(COMPARE)
def test_similar_items_with_filters(model):
    ids = model.item_ids_[[3, 4, 3, 9]]
    everything = model.similar_items(ids, len(model.item_ids_)).tolist()
    allowed, denied = model.item_ids_[::2].tolist(), model.item_ids_[::3].tolist()
    each = [[*allowed, "unknown"], allowed, [], allowed]
    for options, kept in (
        ({"allow": np.array(allowed)}, lambda i, item: item in allowed),
        ({"allow": each, "deny": [denied, [], denied, []]},
         lambda i, item: item in each[i] and (i != 0 or item not in denied)),
    ):  # fmt: skip
        found = model.similar_items(ids, 6, fill_value=-1, **options).tolist()
        for i, row in enumerate(found):
            wanted = [item for item in everything[i] if item and kept(i, item)][:6]
            assert row == wanted + [-1] * (6 - len(wanted))


@only(COMPARE)
def test_similar_items_of_unknown_ids(new, model):
    with pytest.raises(NotFittedError, match=type(new).__name__):
        new.similar_items(["item-003"])
    model = copied(model)  # one warning for each fitted model
    with pytest.warns(UnseenItemWarning, match="3 of 4 ids were not seen in fit"):
        items, scores = model.similar_items(
            ["new", "item-003", None, "new"], 2, return_scores=True
        )
    assert np.isneginf(scores[[0, 2, 3]]).all()
    assert set(items[[0, 2, 3]].ravel().tolist()) == {""}
    assert items[1].tolist() == model.similar_items(["item-003"], 2)[0].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnseenItemWarning)
        assert model.similar_items(["new"], 2).tolist() == [["", ""]]
    assert model.similar_items([], 3).shape == (0, 3)


@only(COMPARE)
@pytest.mark.filterwarnings("ignore:.*sessions have fewer than 2 items")
def test_similar_items_of_ids_of_another_type(new):
    new.fit([[1, 2], [2, 3]] * 9)
    with pytest.warns(IdTypeWarning, match="^The list has .* '2' .text. looks like 2 "):
        assert new.similar_items(["2"], 1).tolist() == [[-1]]
    items = new.similar_items(np.array([2.0]), 1).tolist()
    assert items == new.similar_items([2], 1).tolist()
    assert items[0][0] in (1, 3)


@only(COMPARE)
@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        ("abc", {}, TypeError, r"ids is a str: 'abc'.* Wrap a single one: \['abc'\]"),
        ([["a"]], {}, TypeError, r"ids holds a list: \['a'\]"),
        ({"a"}, {}, TypeError, "ids is a set, which has no order"),
        (["item-003"], {"k": 0}, ValueError, "k=0 is less than 1"),
        (["item-003"], {"fill_value": "item-004"}, ValueError, "is an item"),
        (["item-003"], {"deny": [["a"]] * 2}, ValueError, "each of 1 items"),
    ],
    ids=str,
)
def test_wrong_options_of_similar_items(model, ids, options, error, message):
    with pytest.raises(error, match=message):
        model.similar_items(ids, **options)


# -- what is not known -----------------------------------------------------------------


@only(set(RECOMMENDERS) - {"llm"})  # copies leave the client out
def test_unknown_items_and_empty_sessions_get_an_answer(model, name, shop):
    X = [[], ["new", (1, 2), 500, b"x"], ["item-003"], ["newer", "item-003"]]
    model = copied(model)  # one warning for each fitted model
    with pytest.warns(UnseenItemWarning) as caught:
        top = model.predict_topk(X, k=5)
    texts = [str(warning.message) for warning in caught]
    assert texts[0].startswith("5 of 7 clicks are on items that were not seen in fit.")
    assert texts[1].startswith("1 of 4 sessions are empty.")
    assert [warning.filename for warning in caught] == [__file__] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnseenItemWarning)
        model.predict_topk(X, k=5)
    assert top[0].tolist() == top[1].tolist()
    if name != "clip of the paper":  # an unseen item has the prompt of its neighbors
        assert top[2].tolist() == top[3].tolist()
    others = ("popularity with half-life", "markov without backoff")
    if name not in (*others, *SECOND_STAGES):
        popular = PopularityRecommender().fit(shop[0])
        assert top[0].tolist() == popular.predict_topk([[]], k=5)[0].tolist()


@only(set(RECOMMENDERS) - {"llm", "popularity with half-life"})  # client, times
@pytest.mark.filterwarnings("ignore:.*sessions have fewer than 2 items")
def test_ids_of_another_type_are_named(new, model):
    with pytest.warns(IdTypeWarning, match="The id 1 .numbers. is of another type"):
        copied(model).predict_topk([[1, 2]])
    new.fit([[1, 2], [2, 3]] * 9)
    with pytest.warns(IdTypeWarning, match="The id '1' .text. looks like 1 .numbers."):
        new.predict_topk([["1", "2"]], k=1)
    with pytest.warns(IdTypeWarning, match="^y has ids"):
        new.rank_targets([[1], [2]], ["2", "3"])
    with pytest.warns(IdTypeWarning, match="^deny has ids"):
        new.predict_topk([[1]], k=1, deny=["2"])


def test_wrong_sessions_and_targets(new, model):
    for call in (new.fit, model.rank_targets, model.score):
        with pytest.raises(TypeError, match="Session 0 of X is a str: 'abc'"):
            call(["abc"])
        for y, message in (
            (["a"], r"y has shape \(1,\), expected \(2,\)"),
            (["a", None], r"y\[1\] is None"),
            (pd.Series(["a", pd.NA], dtype="string"), r"y\[1\] is <NA>"),
            ([1.0, float("nan")], r"y\[1\] is nan"),
            ([[1], [2]], "Expected a 1-D array with one target item id"),
        ):
            with pytest.raises((TypeError, ValueError), match=message):
                call([["a"], ["b"]], y)
    for call in (model.rank_targets, model.score):
        with pytest.raises(ValueError, match="All 2 sessions have fewer than 2 items"):
            call([["item-003"], []])


def test_not_fitted(new, name, tmp_path):
    for method in ("predict", "predict_topk", "decision_function", "score",
                   "rank_targets"):  # fmt: skip
        with pytest.raises(NotFittedError, match=type(new).__name__):
            getattr(new, method)([["item-003", "item-004"]])
    if name == "candidates":
        new.set_params(classifier=None)  # files carry none of scikit-learn
    with pytest.warns(UserWarning, match="is not fitted"):
        skclip.save(new, tmp_path / "model")


# -- what changes nothing --------------------------------------------------------------


def test_company_chunks_and_earlier_calls_change_nothing(model, shop, monkeypatch):
    X = [*shop[1].to_lists()[:20], ["new", "item-003"], []]
    before, attributes = model.decision_function(X), set(vars(model))
    alone = np.concatenate([model.decision_function([row]) for row in X])
    np.testing.assert_allclose(alone, before, rtol=1e-5, atol=1e-5)
    backwards = model.decision_function(X[::-1])[::-1]
    np.testing.assert_allclose(backwards, before, rtol=1e-5, atol=1e-5)
    same(model, model, X)
    ranks, top = model.rank_targets(shop[1]), model.predict_topk(X)
    rest = model.rank_targets(shop[1], targets="remaining")[0]
    monkeypatch.setattr(_topk, "_CHUNK_FLOATS", 150)  # three rows at a time
    chunked = model.decision_function(X)
    np.testing.assert_allclose(chunked, before, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.rank_targets(shop[1]), ranks)
    again, _ = model.rank_targets(shop[1], targets="remaining")
    np.testing.assert_array_equal(again, rest)
    np.testing.assert_array_equal(model.predict_topk(X), top)
    assert set(vars(model)) == attributes


def test_copies_are_the_same_bits(model, name, shop, tmp_path):
    pickle_file, joblib_file, own = (tmp_path / c for c in "pjs")
    pickle_file.write_bytes(pickle.dumps(model))
    joblib.dump(model, joblib_file)
    copies = [
        pickle.loads(pickle_file.read_bytes()),
        joblib.load(joblib_file),
        joblib.load(joblib_file, mmap_mode="r"),
    ]
    if name == "candidates":
        with pytest.raises(TypeError, match="DecisionTreeClassifier of sklearn, but"):
            skclip.save(model, own)
    else:
        skclip.save(model, own)
        copies.append(skclip.load(own))
    for copy in copies:
        if name == "llm":  # files hold no client
            copy.set_params(client=newest_first)
        same(copy, model, shop[1])


def test_a_second_fit_is_a_first_fit(new, model, shop):
    params = new.get_params(deep=False)
    assert new.fit(shop[0][:9]) is new
    same(new.fit(shop[0]), model, shop[1])
    assert new.get_params(deep=False) == params


def test_order_of_rows_changes_nothing(new, name, model, shop):
    train, test = shop
    order = np.random.default_rng(5).permutation(len(train))
    same(clone(new).fit(train[order]), model, test)
    if name in ORDERED:
        return
    if name != "popularity with half-life":
        plain = Sessions(train.codes, train.offsets, train.vocabulary)
        same(clone(new).fit(plain), clone(new).fit(plain[order]), test)
    X, y = train.to_prefixes()
    order = np.random.default_rng(5).permutation(len(X))
    same(clone(new).fit(X, y), clone(new).fit(X[order], y[order]), test)


def test_further_sessions_come_in_anywhere(new, name, shop):
    first, further = shop[0][:150], shop[0][150:]
    pipe = make_pipeline(SessionClusterer(random_state=0), clone(new)).fit(first)
    if not hasattr(new, "partial_fit") or name in OF_SLIST:
        with pytest.raises(TypeError, match="(?i)(slist|ranker).* has no partial_fit"):
            skclip.partial_fit(pipe, further)
        return
    assert skclip.partial_fit(pipe, further) is pipe
    alone = clone(new).partial_fit(first)
    same(alone, clone(new).fit(first), shop[1])
    alone.partial_fit(further)
    if name in ("clip", "clip of the paper"):
        assert pipe[-1].item_ids_.tolist() == alone.item_ids_.tolist()
    else:
        same(pipe[-1], alone, shop[1])


def test_text_and_numbers_rank_alike(new, model, shop):
    numbers = [int(item[5:]) for item in shop[0].vocabulary]
    assert (shop[0].vocabulary == shop[1].vocabulary).all()
    train, test = (
        Sessions(X.codes, X.offsets, np.array(numbers), times=X.times) for X in shop
    )
    fitted = new.fit(train)
    assert fitted.item_ids_.dtype.kind == "i"
    np.testing.assert_array_equal(
        fitted.decision_function(test), model.decision_function(shop[1])
    )


def test_targets_are_learned(new, shop):
    X, y = shop[0].to_prefixes()
    fitted = new.fit(X, y)
    assert set(y) <= set(fitted.item_ids_)
    assert fitted.score(*shop[1].to_prefixes()) > 0


def test_parameters_set_after_fit_wait_for_the_next_fit(model, name, shop):
    """What is read at prediction may act at once; nothing is ever mixed."""
    expected = model.decision_function(shop[1])
    copy, params = pickle.loads(pickle.dumps(model)), model.get_params(deep=False)
    copy.set_params(**params)
    for other in RECOMMENDERS.values():
        if type(other) is type(model):
            copy.set_params(**clone(other).get_params(deep=False))
            assert np.isfinite(copy.decision_function(shop[1])).all()
            copy.set_params(**params)
            np.testing.assert_array_equal(copy.decision_function(shop[1]), expected)


def test_in_a_pipeline(new, name, model, shop):
    pipe = make_pipeline(SessionClusterer(random_state=0), new).fit(shop[0])
    top = skclip.predict_topk(pipe, shop[1], 3)
    assert top.shape == (60, 3)
    np.testing.assert_array_equal(pipe.predict(shop[1]), top[:, 0])
    assert np.isfinite(pipe.score(shop[1]))
    if name not in ("clip", "clip of the paper"):
        np.testing.assert_array_equal(top, model.predict_topk(shop[1], k=3))
