"""`set_item_features`: other features and new items for a fitted model."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from common import fused, same, small, unit
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import CLIPSessionRecommender, Fusion, SessionClusterer
from skclip._clip import _new_features
from skclip._model import FUSIONS
from skclip.features import ItemFeatures

every_kind = pytest.mark.parametrize("kind", FUSIONS)
N_FEATURES = 8


@pytest.fixture(scope="module")
def features(shop):
    """Features that tell the community of an item, and one item nobody clicked."""
    X, _ = shop
    rng = np.random.default_rng(0)
    communities = SessionClusterer(random_state=0).fit(X).membership_ % N_FEATURES
    rows = np.eye(N_FEATURES)[[*communities, 0]]
    rows += 0.1 * rng.normal(size=rows.shape)
    return ItemFeatures([*X.vocabulary.tolist(), "cold"], rows)


@pytest.fixture(scope="module")
def fitted_models(features, train):
    """A fitted model of each kind; copy it before it is changed."""
    return {
        kind: small(
            item_features=Fusion(features, kind=kind), prompt=None, batch_size=64,
            learning_rate=0.02,
        ).fit(train[:200])
        for kind in FUSIONS
    }  # fmt: skip


@pytest.fixture
def model_of(fitted_models):
    return lambda kind="gate": copy.deepcopy(fitted_models[kind])


@pytest.fixture
def new():
    """New features of a clicked item and of one that nobody clicked; a new item."""
    rows = np.random.default_rng(1).normal(size=(3, N_FEATURES))
    return ItemFeatures(["later", "item-003", "cold"], rows)


def accepted(kind, given):
    """What a kind takes: "init" has nothing to do with features of clicked items."""
    kept = given.item_ids != ("item-003" if kind == "init" else None)
    return ItemFeatures(given.item_ids[kept], given.vectors[kept])


# -- equal to ... ----------------------------------------------------------------------


@every_kind
def test_features_that_have_not_changed_change_no_bit(kind, model_of, features, test):
    model, rows = model_of(kind), slice(-1 if kind == "init" else None, None)
    expected, ids = model.decision_function(test), model.item_ids_
    for some in (rows, slice(-1, None)):
        given = ItemFeatures(features.item_ids[some], features.vectors[some])
        assert model.set_item_features(given) is model
        np.testing.assert_array_equal(model.decision_function(test), expected)
        np.testing.assert_array_equal(model.item_ids_, ids)
        assert repr(model.item_features.features) == repr(features)


@pytest.mark.parametrize(
    ("kind", "backbone"),
    [*((kind, "gru4rec") for kind in FUSIONS), ("late", "tagnn"), ("gate", "gcegnn")],
)
def test_scores_are_those_of_weights_that_are_written_by_hand(
    kind, backbone, model_of, features, train, test, new
):
    model = model_of(kind)
    if backbone != "gru4rec":
        model.set_params(backbone=backbone, max_epochs=1, prompt="cluster")
        model.fit(train[:60])
    given = accepted(kind, new)
    written = CLIPSessionRecommender()
    written.__setstate__(_with_rows(model.__getstate__(), given, kind))
    model.set_item_features(given)
    assert model.item_ids_.tolist() == written.item_ids_.tolist()
    assert model.item_ids_[-1] == "later"
    queries = [*test.to_lists()[:40], ["later", "item-001"], ["cold"]]
    found, expected = (m.decision_function(queries) for m in (model, written))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert found.std(axis=0).min() > 0  # the new item has scores of its own


def _with_rows(state, given, kind):
    """The state of a recommender with these features, by arrays alone."""
    state = copy.deepcopy(state)
    fitted = state["_fitted"]
    weights, ids = fitted["model"], fitted["item_ids"].tolist()
    fitted["item_ids"] = np.array([*ids, "later"])
    fitted["popularity"] = np.append(fitted["popularity"], 0)
    fitted["config"] = fitted["config"] | {"n_items": len(ids) + 1}
    if fitted["config"]["item_clusters"] is not None:
        clusters = np.pad(fitted["config"]["item_clusters"], ((0, 1), (0, 0)))
        fitted["config"]["item_clusters"] = clusters
    by_item = {"item_table", "fusion.table", "fusion.counts", "network.bias"}
    by_item |= {"network.neighbors", "network.weights"}
    for name in by_item & set(weights):
        zero = np.zeros_like(weights[name][:1])
        weights[name] = np.concatenate([weights[name], zero])
    for item, row in zip(given.item_ids, given.vectors, strict=True):
        at = [*ids, "later"].index(item)
        if kind in ("init", "init_frozen", "nullspace"):
            row = (row - weights["fusion.mean"]) @ weights["fusion.basis"]
        if kind == "nullspace":
            row = unit(row)
        if kind.startswith("init"):
            weights["item_table"][at] = np.pad(row, (0, 16 - len(row)))
        else:
            weights["fusion.table"][at] = row
    return state


@pytest.mark.parametrize("kind", ["gate", "add", "concat"])
def test_item_vectors_are_those_of_the_equations(kind, model_of, features, new):
    model = model_of(kind).set_item_features(new)
    rows = dict(zip(features.item_ids, features.vectors, strict=True))
    rows |= dict(zip(new.item_ids, new.vectors, strict=True))
    inner = model._fitted.model
    p = {k: v.double().numpy() for k, v in inner.fusion.state_dict().items()}
    table = inner.item_table.detach().double().numpy()
    for at in [0, 3, *range(model.n_items_ - 3, model.n_items_)]:
        item = model.item_ids_[at]
        z = fused(kind, table[at], rows[item].astype(float), p["counts"][at], p)
        np.testing.assert_allclose(model.item_vectors_[at], unit(z), atol=1e-5)


def test_the_order_of_features_changes_nothing(model_of, features, train, test, new):
    order = np.random.default_rng(0).permutation(len(features))
    mixed = ItemFeatures(features.item_ids[order], features.vectors[order])
    one, other = (
        small(item_features=given, max_epochs=1).fit(train[:100])
        for given in (features, mixed)
    )
    same(one, other, test)
    backwards = ItemFeatures(new.item_ids[::-1], new.vectors[::-1])
    one, other = (model_of().set_item_features(given) for given in (new, backwards))
    same(one, other, test)


# -- new items -------------------------------------------------------------------------


@every_kind
def test_a_new_item_is_recommended_at_once(kind, model_of, features):
    """Of two new items the one wins that is like what is watched."""
    model = model_of(kind)
    model.set_item_features({f"new-{c}": np.eye(N_FEATURES)[c] for c in (0, 1)})
    rows = features.vectors[:-1, :2]
    lead = []
    for community, other in ((0, 1), (1, 0)):
        alike = features.item_ids[:-1][rows[:, community] > 0.6].tolist()
        sessions = [alike[a : a + 3] for a in range(len(alike) - 3)]
        ranks = [
            model.rank_targets(sessions, [f"new-{c}"] * len(sessions))
            for c in (community, other)
        ]
        lead.append((ranks[0] < ranks[1]).mean())
    assert min(lead) > 0.8, lead
    model.set_item_features({"a": np.eye(N_FEATURES)[0], "b": np.eye(N_FEATURES)[1]})
    assert model.similar_items(["a", "b"], k=1).tolist() == [["new-0"], ["new-1"]]


def test_with_cluster_prompts_new_items_have_no_cluster(features, train, new):
    model = small(item_features=features, unseen_items="vote").fit(train[:100])
    known, counts = model.membership_.copy(), model.item_counts_.copy()
    model.set_item_features(new)
    assert model.membership_.tolist() == [*known, -1]
    assert model.item_counts_.tolist() == [*counts, 0]
    assert model.n_items_ == len(model.item_ids_) == len(known) + 1
    scores = model.decision_function([["later"], ["later", "unseen"]])
    assert np.isfinite(scores).all()
    assert scores[0].std() > 0  # it is read, not left out


def test_new_items_of_which_nothing_is_known_stay_outside(model_of):
    model = model_of()
    n = model.n_items_
    rows = {"told": np.ones(N_FEATURES), "bare": np.zeros(N_FEATURES)}
    with pytest.warns(UserWarning, match="1 of 2 items of features are new and have"):
        model.set_item_features(rows)
    assert model.item_ids_[n:].tolist() == ["told"]


# -- with everything else --------------------------------------------------------------


def test_learning_goes_on_from_the_new_features(model_of, features, test, new):
    model = model_of().set_item_features(new)
    ids = model.item_ids_.tolist()
    merged = model.item_features.features
    assert merged.rows_of(np.array(["cold", "later"])).tolist() == (
        new.rows_of(np.array(["cold", "later"])).tolist()
    )
    assert len(merged) == len(features) + 1
    model.partial_fit([["later", "item-003"], ["item-003", "later"]] * 5)
    assert model.item_ids_.tolist() == ids
    assert model.item_counts_[ids.index("later")] == 10
    assert np.isfinite(model.decision_function(test)).all()
    model.set_params(max_epochs=1).fit(test)
    assert "later" in model.item_ids_


def test_what_was_passed_is_not_changed(features, train, new):
    fusion = Fusion(features, kind="add", cold_item_weight=0.3)
    before = repr(features)
    model = small(item_features=fusion, prompt=None, max_epochs=1).fit(train[:60])
    model.set_item_features(new)
    assert fusion.features is features
    assert repr(features) == before
    assert (model.item_features.kind, model.item_features.cold_item_weight) == (
        "add",
        0.3,
    )
    model.set_params(item_features=None).set_item_features(new)  # to save memory
    assert model.item_features is None


@every_kind
def test_files_hold_the_new_catalog(kind, model_of, test, new, tmp_path):
    model = model_of(kind).set_item_features(accepted(kind, new))
    skclip.save(model, tmp_path / "model.skclip")
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = skclip.load(tmp_path / "model.skclip")
    for again in (loaded, joblib.load(tmp_path / "model.joblib")):
        same(again, model, [*test.to_lists(), ["later"]])
    again = accepted(kind, ItemFeatures(new.item_ids, -new.vectors))
    same(loaded.set_item_features(again), model.set_item_features(again), test)


def test_inside_a_pipeline_and_a_search(features, train, new):
    pipe = make_pipeline(
        SessionClusterer(random_state=0), small(item_features=features, max_epochs=1)
    )
    name = "clipsessionrecommender__item_features__kind"
    search = GridSearchCV(pipe, {name: ["add", "gate"]}, cv=2).fit(train[:120])
    best = search.best_estimator_[-1].set_item_features(new)
    assert best.membership_[-1] == -1
    top = skclip.predict_topk(search, [["later", "item-001"]], k=best.n_items_)
    assert "later" in top
    skclip.partial_fit(search, [["later", "item-001"]] * 3)
    assert "later" in search.best_estimator_[-1].item_ids_


def test_arrays_of_a_fixed_width_keep_it(features):
    X = np.array([[1, 2, 3], [2, 3, 1], [3, 1, 2]] * 5)
    model = small(item_features={i: [i, 1.0] for i in (1, 2, 3, 9)}, max_epochs=1)
    model.fit(X).set_item_features({4: [4.0, 1.0]})
    assert model.n_features_in_ == 3
    assert model.item_ids_.tolist() == [1, 2, 3, 9, 4]
    assert model.item_ids_.dtype.kind == "i"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_price_of_a_frame(library, shop, train, test):
    frames = pytest.importorskip(library)
    ids = train.vocabulary.tolist()
    prices = np.random.default_rng(0).normal(size=len(ids))
    frame = frames.DataFrame({"item": ids, "price": prices, "one": 1.0})
    features = ItemFeatures.from_frame(frame, "item")
    model = small(item_features=features, max_epochs=1).fit(train[:60])
    before = model.decision_function(test)
    changed = frames.DataFrame({"item": ids[3:5], "price": [5.0, -5.0], "one": 1.0})
    model.set_item_features(model.item_features.encode(changed))
    after = model.decision_function(test)
    assert (after != before)[:, 3:5].all()
    of_two = ~np.isin(test.vocabulary[test.codes], ids[3:5])
    rows = np.add.reduceat(~of_two, test.offsets[:-1]) == 0
    np.testing.assert_array_equal(after[rows][:, 5:], before[rows][:, 5:])
    if library == "pandas":
        again = pickle.loads(pickle.dumps(model))
        again.set_item_features(changed.set_index("item"))
        same(again, model, test)


# -- what fails changes nothing --------------------------------------------------------


def test_a_failure_changes_nothing(model_of, test, new, monkeypatch):
    model = model_of()
    before, scores = dict(vars(model)), model.decision_function(test)

    def fails(model):
        raise RuntimeError("no memory")

    monkeypatch.setattr(_new_features, "candidate_vectors", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        model.set_item_features(new)
    assert vars(model) == before
    np.testing.assert_array_equal(model.decision_function(test), scores)


def row(**changes):
    return {"item-003": np.ones(N_FEATURES)} | changes


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (None, TypeError, "features is None. Pass ItemFeatures, a data frame"),
        ([1, 2], TypeError, r"features is a list. Expected skclip.features.ItemFeat"),
        ({"a": [1.0, 2.0]}, ValueError, "2 columns, but .* with 8. Encode the items"),
        ({7: np.ones(8)}, ValueError, r"features has ids of another type .* id 7 \(nu"),
        ({" item-003": np.ones(8)}, ValueError, "looks like 'item-003' .*strip spaces"),
        (
            {"cold": np.zeros(8)},
            ValueError,
            "1 items .* training, such as 'cold'",
        ),
        ({"a": np.full(8, np.nan)}, ValueError, "hold NaN or infinity, such as .* 'a'"),
    ],
)
def test_bad_features(given, error, match, model_of, test):
    model = model_of()
    before = dict(vars(model))
    with pytest.raises(error, match=match):
        model.set_item_features(given)
    assert vars(model) == before


def test_models_that_take_no_features(fitted, model_of, features, new):
    with pytest.raises(NotFittedError):
        small(item_features=features).set_item_features(new)
    with pytest.raises(ValueError, match="fitted without item_features, so it"):
        copy.deepcopy(fitted).set_item_features(new)
    match = r"kind='init'.* 1 of 3 items .* such as 'item-003'. Pass the other items"
    with pytest.raises(ValueError, match=match):
        model_of("init").set_item_features(new)
    model = model_of().set_params(item_features={"a": [1.0]})
    with pytest.raises(ValueError, match="item_features has 1 columns now, but .* 8"):
        model.set_item_features(new)


def test_a_frame_without_ids_is_refused():
    pandas = pytest.importorskip("pandas")
    X = [[3, 1, 2], [2, 3], [1, 3, 2], [2, 1]] * 5
    model = small(item_features={i: [i, 1.0] for i in (1, 2, 3)}, max_epochs=1).fit(X)
    frame = pandas.DataFrame({"price": [5.0, 6.0], "one": 1.0})
    with pytest.raises(ValueError, match="row numbers, and 1 of its 2 .* such as 0"):
        model.set_item_features(frame)
    frame.index = [1, 2]
    assert model.set_item_features(frame).n_items_ == 3
