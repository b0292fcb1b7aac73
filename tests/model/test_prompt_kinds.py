"""User and session prompts in the recommender, unseen items, and leaks."""

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip._clip import _DEFAULTS, PRESETS, chosen_params
from skclip.backbones import BACKBONES, CORE
from skclip.model_selection import within_session_split

KINDS = [
    "cluster",
    "user",
    "session",
    ("cluster", "user"),
    ("cluster", "session"),
    ("user", "session"),
    ("cluster", "user", "session"),
]


@pytest.fixture(scope="module")
def taste():
    """Users with a taste: after "start" each always clicks an item of their own."""
    rng = np.random.default_rng(0)
    users = rng.integers(8, size=400)
    rows = [["start", f"own-{u}", f"then-{u}"] for u in users]
    return Sessions.from_lists(rows, users=[f"user-{u}" for u in users])


@pytest.fixture(scope="module")
def small(small_recommender):
    return clone(small_recommender).set_params(max_epochs=3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_users_are_known_again(backbone, taste, small):
    model = clone(small).set_params(
        backbone=backbone, prompt="user", max_epochs=40, learning_rate=0.02
    )
    model.set_params(n_iter_no_change=40, batch_size=64).fit(taste)
    asked = Sessions.from_lists([["start"]] * 8, users=[f"user-{u}" for u in range(8)])
    found = model.predict(asked)
    assert (found == [f"own-{u}" for u in range(8)]).mean() >= 0.75
    nobody = model.predict_topk([["start"]] * 2, k=3)
    stranger = Sessions.from_lists([["start"]] * 2, users=["new", "newer"])
    np.testing.assert_array_equal(model.predict_topk(stranger, k=3), nobody)


@pytest.mark.parametrize("session_prompt", ["table", "pooled"])
@pytest.mark.parametrize("prompt", KINDS, ids=str)
def test_every_combination_fits_ranks_and_is_saved(
    prompt, session_prompt, taste, small, tmp_path
):
    if session_prompt == "pooled" and "session" not in prompt:
        pytest.skip("no session prompt")
    model = clone(small).set_params(prompt=prompt, session_prompt=session_prompt)
    model.fit(taste[:300])
    test = taste[300:]
    scores = model.decision_function(test)
    alone = np.concatenate([model.decision_function(test[[i]]) for i in range(9)])
    np.testing.assert_allclose(scores[:9], alone, atol=1e-5)
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(again.decision_function(test), scores)
    assert (model.membership_ is None) == ("cluster" not in prompt)
    assert (model.user_ids_ is None) == ("user" not in prompt)
    piped = make_pipeline(SessionClusterer(random_state=0), clone(model))
    users_too = piped.fit(taste[:300])[-1]
    assert (users_too.user_ids_ is None) == ("user" not in prompt)
    assert (
        len(cross_val_score(model, taste[:60], cv=KFold(2), error_score="raise")) == 2
    )


def test_session_table_speaks_where_a_session_comes_again():
    """Each session repeats an item of its own: only its id tells which."""
    rng = np.random.default_rng(0)
    rows = [["go"] + [f"item-{i % 12}", "go"] * 5 for i in rng.permutation(60)]
    train, _, (X_test, y_test) = within_session_split(rows, validation_size=0.0)
    assert set(y_test) == {"go"}
    model = CLIPSessionRecommender(
        "gru4rec", prompt="session", max_epochs=30, random_state=0, n_threads=1,
        early_stopping=False, embedding_dim=16,
    ).fit(train)  # fmt: skip
    asked = Sessions.from_lists([["go"]] * len(train), ids=train.ids)
    own = [row[1] for row in train.to_lists()]
    known = model.rank_targets(asked, own)
    unknown = model.rank_targets([["go"]] * len(train), own)
    assert (1 / known).mean() > 2 * (1 / unknown).mean()
    assert len(X_test) == len(rows)


def test_validation_users_have_no_prompt_unless_trained_on(taste, small):
    model = clone(small).set_params(prompt="user").fit(taste)
    assert set(model.user_ids_) <= set(taste.users)
    one_user = Sessions.from_lists([["a", "b"]] * 9 + [["b", "a"]], users=[1] * 9 + [2])
    fitted = clone(small).set_params(prompt="user", validation_fraction=0.1)
    fitted.fit(one_user[:9], eval_set=(one_user[9:], None))
    assert fitted.user_ids_.tolist() == [1]


def test_pooled_prompts_read_each_prefix_on_its_own(taste, small):
    model = clone(small).set_params(prompt="session", session_prompt="pooled")
    model.fit(taste[:200])
    assert not model._model.shares_prefixes
    X, y = taste[200:220].to_prefixes()
    np.testing.assert_array_equal(
        model.rank_targets(taste[200:220]), model.rank_targets(X, y)
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"prompt": "user"},
            "needs sessions with users.*user= to Sessions.from_events",
        ),
        ({"prompt": "item"}, "'prompt' parameter"),
        ({"prompt": ("cluster", "shop")}, "has the kind 'shop'. Pass one of"),
        ({"prompt": ("user", "user")}, "names a kind twice"),
        ({"session_prompt": "mean"}, "'session_prompt' parameter"),
        ({"unknown_user": "first"}, "'unknown_user' parameter"),
        ({"preset": "best"}, "'preset' parameter"),
    ],
)
def test_bad_parameters_say_what_to_do(params, message, small):
    with pytest.raises(ValueError, match=message):
        clone(small).set_params(**params).fit([["a", "b"]] * 4)


@pytest.mark.parametrize(
    ("membership", "message"),
    [
        ([0, 1], r"shape \(2,\), expected \(3,\).*sorted item ids"),
        ([0.5, 1.0, 0.0], "holds float64"),
        ([0, -2, 1], "down to -2"),
        (None, "has no membership_ after fit"),
    ],
)
def test_a_membership_that_does_not_fit(membership, message, small):
    class Odd:
        def fit(self, X, y=None):
            if membership is not None:
                self.membership_ = np.array(membership)
            return self

    with pytest.raises(ValueError, match=message):
        clone(small).set_params(clusterer=Odd()).fit([["a", "b", "c"]] * 4)


# -- presets ---------------------------------------------------------------------------


def test_presets_set_documented_parameters(small, shop_split):
    train, _ = shop_split
    paper = CLIPSessionRecommender("gru4rec", preset="paper", max_epochs=1)
    resolved = paper.fit(train).resolved_params_
    assert resolved["scoring"] == "mrr@5"
    assert resolved["n_iter_no_change"] == 10
    assert resolved["candidates"] == "raw"
    assert resolved["similarity"] is None
    assert resolved["max_epochs"] == 1  # explicit values win
    assert resolved["batch_size"] == 256
    strong = clone(small).set_params(preset="strong", scoring="recall@5").fit(train)
    resolved = strong.resolved_params_
    assert resolved["similarity"] == "cosine"
    assert resolved["candidates"] == "prompted"
    assert resolved["scoring"] == "recall@5"
    explicit = {
        key: resolved[key]
        for key in ("gate", "normalization", "candidates", "similarity", "temperature")
    }
    same = clone(small).set_params(scoring="recall@5", **explicit)
    same.set_params(learning_rate=resolved["learning_rate"]).fit(train)
    np.testing.assert_array_equal(
        same.decision_function(train[:9]), strong.decision_function(train[:9])
    )


def test_every_preset_key_is_a_parameter():
    parameters = CLIPSessionRecommender().get_params(deep=False)
    own = [spec.strong_training for spec in BACKBONES.values()]
    for preset in (*PRESETS.values(), _DEFAULTS, *own):
        for key in preset:
            assert parameters[key] == "auto"


@pytest.mark.parametrize(
    ("parameters", "epochs"),
    [
        ({"backbone": "gru4rec"}, 6),
        ({"backbone": "narm"}, 12),
        ({"backbone": "core"}, 20),
        ({"backbone": CORE(training={"max_epochs": 3})}, 3),
        ({"backbone": "core", "max_epochs": 2}, 2),
        ({"backbone": "core", "preset": "paper"}, 50),
    ],
)
def test_epochs_of_the_strong_preset(parameters, epochs):
    """A backbone's own number before the preset's, but behind what the user says."""
    model = CLIPSessionRecommender(**{"preset": "strong"} | parameters)
    spec = model.backbone
    if isinstance(spec, str):
        spec = BACKBONES[spec]()
    assert chosen_params(model, spec)["max_epochs"] == epochs


# -- unseen items ----------------------------------------------------------------------


def test_a_later_click_does_not_tell_the_cluster_of_an_unseen_item(fitted, shop_split):
    """The score of a prefix is the same whatever comes behind it."""
    _, test = shop_split
    rows = [["new-1", *row] for row in test.to_lists()[:30]]
    for row in rows:
        row.insert(2, "new-2")
    for end in (1, 2, 3):
        ranks = []
        for tail in ("item-000", "item-079"):
            longer = [[*row[:end], row[end], tail] for row in rows]
            all_ranks = fitted.rank_targets(longer)
            firsts = np.cumsum([0] + [end + 1] * len(rows))[:-1]
            ranks.append(all_ranks[firsts + end - 1])
        np.testing.assert_array_equal(*ranks)
        X, y = [row[:end] for row in rows], [row[end] for row in rows]
        np.testing.assert_array_equal(ranks[0], fitted.rank_targets(X, y))


def test_prediction_leaves_the_model_as_it_was(fitted, shop_split):
    _, test = shop_split
    before = joblib.hash(fitted.__getstate__())
    rows = [[*row, f"new-{i}"] for i, row in enumerate(test.to_lists())]
    scores = fitted.decision_function(rows)
    fitted.score(rows)
    fitted.predict_topk(rows, exclude_seen=True)
    assert joblib.hash(fitted.__getstate__()) == before
    for i in range(0, len(rows), 17):  # and the other rows are of no consequence
        alone = fitted.decision_function([rows[i]])
        np.testing.assert_allclose(scores[[i]], alone, atol=1e-5)


# -- leaks -----------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["gru4rec", "gcegnn"])
def test_nothing_of_the_held_out_rows_is_in_a_fold(backbone, shop, small_recommender):
    """Fitting on a fold gives the same whatever the held-out rows are."""
    rows = shop[0].to_lists()
    X = Sessions.from_lists(rows)
    model = clone(small_recommender).set_params(backbone=backbone, max_epochs=1)
    for train, test in KFold(3).split(X):
        other = list(rows)
        for i in test:  # other transitions, other items, other popularity
            other[i] = [f"leak-{j}" for j in rows[i]]
        fold, changed = X[train], Sessions.from_lists(other)[train]
        a, b = clone(model).fit(fold), clone(model).fit(changed)
        assert not any(str(i).startswith("leak") for i in b.item_ids_)
        np.testing.assert_array_equal(a.item_ids_, b.item_ids_)
        np.testing.assert_array_equal(a.membership_, b.membership_)
        assert (a.clusterer_.graph_ != b.clusterer_.graph_).nnz == 0
        np.testing.assert_array_equal(a.predict_topk([[]]), b.predict_topk([[]]))
        if backbone == "gcegnn":
            np.testing.assert_array_equal(
                a._model.network.neighbors, b._model.network.neighbors
            )
        edges = {
            (u, v) for i in train for u, v in zip(rows[i], rows[i][1:], strict=False)
        }
        ids = b.item_ids_
        for u, v in zip(*b.clusterer_.graph_.nonzero(), strict=True):
            assert (ids[u], ids[v]) in edges or (ids[v], ids[u]) in edges


def test_a_signal_of_the_held_out_sessions_is_not_found(small_recommender):
    """In the held-out part alone, "left-i" is always followed by "right-i"."""
    rng = np.random.default_rng(0)
    sides = [[f"{s}-{i}" for i in range(20)] for s in ("left", "right")]
    train = [[str(i) for i in rng.permutation(sum(sides, []))[:5]] for _ in range(300)]
    held_out = [[left, right] for left, right in zip(*sides, strict=True)] * 5
    X = Sessions.from_lists(train + held_out)
    model = clone(small_recommender).set_params(max_epochs=5, scoring="mrr@20")
    fold = clone(model).fit(X[: len(train)])
    chance = (1 / np.arange(1, 21)).sum() / 40
    assert fold.score(X[len(train) :]) < 2 * chance
    knows = clone(model).set_params(max_epochs=40, learning_rate=0.02).fit(X)
    assert knows.score(X[len(train) :]) > 4 * chance  # the signal can be found
