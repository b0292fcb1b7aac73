"""Features of items in the model: equations, new items, state, errors."""

import json
import pickle

import numpy as np
import pytest
import torch
from common import GOLDEN, fused, same, small, unit
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skclip
from skclip import CLIPSessionRecommender, Fusion, SessionClusterer
from skclip._data import ItemFeatures, query_data
from skclip._model import FUSIONS, Batches
from skclip._training import _losses
from skclip._training._sampled_losses import Sampler
from skclip.backbones import BACKBONES, CORE, GRU4Rec, PoMRec
from skclip.datasets import make_sessions
from skclip.inspection import interest_vectors
from skclip.losses import BPR, BPRMax

every_kind = pytest.mark.parametrize("kind", FUSIONS)


@pytest.fixture(scope="module")
def features(shop):
    """Features that tell the community of an item, and two items nobody clicked."""
    X, _ = shop
    ids = X.vocabulary
    rng = np.random.default_rng(0)
    communities = SessionClusterer(random_state=0).fit(X).membership_
    rows = np.eye(8)[communities % 8] + 0.1 * rng.normal(size=(len(ids), 8))
    new = np.eye(8)[:2] + 0.1 * rng.normal(size=(2, 8))
    return ItemFeatures([*ids.tolist(), "new-0", "new-1"], np.vstack([rows, new]))


@pytest.fixture
def model_of(features):
    """A function that makes a small recommender with features."""

    def make(kind="gate", features=features, **params):
        return small(item_features=Fusion(features, kind=kind), **params)

    return make


def parts(model):
    """What is fitted: the fusion, and the learned vectors."""
    inner = model._fitted.model
    return inner.fusion, inner.item_table.detach()


def is_new(model):
    return np.isin(model.item_ids_, ["new-0", "new-1"])


# -- without features nothing has changed ----------------------------------------------


FORMER_CORE = CORE(attention_dropout=0.0, training={"learning_rate": 0.0025})


@pytest.mark.parametrize("backbone", [GRU4Rec(), FORMER_CORE])
def test_without_features_scores_are_those_before_features_came(backbone):
    """Numbers of the last version without them; rounding differs between machines."""
    X, _ = make_sessions(n_sessions=300, n_items=50, n_communities=4, random_state=3)
    former = {"similarity": None, "prompt__candidates": "raw", "temperature": 0.07,
              "clusterer": SessionClusterer(), "early_stopping": True,
              "embedding_dim": 8, "batch_size": 64, "n_rehearsed": 0,
              "precision": "float32"}  # fmt: skip
    expected = json.loads((GOLDEN / "no_features.json").read_text("utf-8"))
    for name, params in {
        "plain": {},
        "cosine": {"similarity": "cosine", "prompt__candidates": "prompted"},
        "bpr-max": {"loss": BPRMax(20), "prompt": None},
    }.items():
        model = small(backbone, **former).set_params(**params)
        model.fit(X[:250]).partial_fit(X[250:280])
        found = model.decision_function(X[280:])[0, :4]
        values = expected[f"{type(backbone).__name__} {name}"]
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4)


# -- equations -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in FUSIONS if k != "nullspace"])
def test_vectors_equal_the_equations(kind):
    torch.manual_seed(0)
    fusion = FUSIONS[kind](6, 5, 4)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.normal_()
    rng = np.random.default_rng(1)
    t = rng.normal(size=(6, 5))
    t[[2, 3]] = 0
    n = np.array([3, 0, 7, 1, 0, 50])
    table = torch.randn(6, 4)
    fusion.fill_(t, n, table)
    p = {k: v.double().numpy() for k, v in fusion.state_dict().items()}
    expected = [
        fused(kind, e, row, c, p)
        for e, row, c in zip(table.double().numpy(), t, n, strict=True)
    ]
    found = fusion(table)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-5)
    at = torch.tensor([[5, 1], [2, 2]])
    torch.testing.assert_close(fusion(table[at], at), found[at])


def test_a_square_map_has_no_bias():
    assert FUSIONS["gate"](3, 4, 4).phi.bias is None
    assert FUSIONS["gate"](3, 5, 4).phi.bias is not None


def test_init_is_the_projection_at_the_usual_length():
    torch.manual_seed(0)
    table = torch.randn(40, 3) * 0.02
    length = float(table.norm(dim=1).mean())
    before = table.clone()
    t = np.random.default_rng(0).normal(size=(40, 6)) * [4, 3, 2, 1, 1, 1] + 5
    t[7] = 0
    fusion = FUSIONS["init"](40, 6, 3)
    fusion.fill_(t, np.ones(40), table)
    known = np.delete(np.arange(40), 7)
    assert float(table[known].norm(dim=1).mean()) == pytest.approx(length, rel=1e-4)
    torch.testing.assert_close(table[7], before[7])
    centered = t[known] - t[known].mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    expected = abs(centered @ directions[:3].T)  # signs of directions are free
    ratio = abs(table[known].numpy()) / expected
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_few_features_leave_columns_of_zeros():
    table = torch.randn(9, 4)
    fusion = FUSIONS["init"](9, 2, 4)
    fusion.fill_(np.random.default_rng(0).normal(size=(9, 2)), np.ones(9), table)
    assert table[:, :2].any()
    assert not table[:, 2:].any()


def test_nullspace_is_whitened_features_beside_learned_columns():
    torch.manual_seed(0)
    table = torch.randn(300, 6)
    t = np.random.default_rng(0).normal(size=(300, 9)) * np.arange(1, 10)
    n = np.ones(300)
    n[4] = 0
    fusion = FUSIONS["nullspace"](300, 9, 6)
    fusion.fill_(t, n, table)
    z = fusion(table)
    torch.testing.assert_close(z[:, :3].norm(dim=1), torch.ones(300))
    torch.testing.assert_close(z[5:, 3:], table[5:, 3:])
    assert not z[4, 3:].any()
    white = torch.from_numpy(t).float() @ fusion.basis
    np.testing.assert_allclose(np.cov(white.T.numpy()), np.eye(3), atol=0.02)


@pytest.mark.parametrize("backbone", ["gru4rec", "core", "tagnn"])
def test_late_scores_equal_two_cosines(backbone, model_of, train, test):
    model = model_of("late", backbone=backbone, prompt=None).fit(train[:200])
    fusion, _ = parts(model)
    with torch.no_grad():
        fusion.w_a.normal_()
        fusion.a.fill_(0.4)
    session = ["new-0", *test.vocabulary[test[:1].codes].tolist()]
    found = model.decision_function([session])[0]
    omega = model.fusion_weight_
    text = fusion.text()[0].detach().double().numpy()
    rows = text[model._index.codes_of(np.array(session)) - 1]
    logits = rows @ fusion.w_a.detach().double().numpy()
    logits = logits - 0.4 * np.arange(len(rows))[::-1]
    beta = np.exp(logits - logits.max())
    u = unit((beta / beta.sum()) @ rows)
    with torch.no_grad():  # the score by learned vectors alone
        fusion.omega_logit.fill_(-30.0)
    own = model.decision_function([session])[0]
    scale = model._fitted.model.scale
    expected = (1 - omega) * own + omega * scale * (text @ u)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@every_kind
@pytest.mark.parametrize("loss", ["cross_entropy", BPR(3, shared=False)], ids=str)
def test_the_nearest_interest_meets_features(kind, loss, model_of, train, test):
    """Training chooses an interest by the target's vector; "late" has two."""
    model = model_of(kind, loss=loss, max_epochs=1, similarity=None)
    model.set_params(backbone=PoMRec(n_interests=2, aggregation="max")).fit(train[:60])
    X, (fusion, table) = test[:3], parts(model)
    v, keys, dim = interest_vectors(model, X), model._fitted.keys.numpy(), len(table.T)
    if kind == "late":
        v = v / np.linalg.norm(v, axis=2, keepdims=True)
    expected = (v @ keys[:, :dim].T).max(axis=1)
    if kind == "late":
        instances = model._fitted.observed(query_data(X, model._index))
        batch = Batches(instances, torch.device("cpu"), False).batch(np.arange(3))
        with torch.no_grad():
            u = fusion.session_text(batch, model.n_items_).numpy()
        omega = model.fusion_weight_
        expected = (1 - omega) * expected + omega * u @ keys[:, dim:].T
    expected = model._fitted.model.scale * expected
    found = model.decision_function(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", ["niser", "pomrec", "gru4rec"])
@every_kind
def test_vectors_and_counts_with_features(kind, backbone, model_of, train, test):
    model = model_of(kind, backbone=backbone, max_epochs=1, similarity=None)
    model.fit(train[:60])
    sessions = [["new-0"], *test[:4]]
    found = model.session_vectors(sessions) @ model.item_vectors_.T
    expected = model.decision_function(sessions)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    report = model.parameter_report()
    d, m = 16, 8
    phi = d * m + d
    assert report.get("feature fusion") == {
        "gate": phi + 2 * d + 2,
        "add": phi + 1,
        "concat": phi + 2 * d * d,
        "late": phi + d + 2,
    }.get(kind, 0)
    learned = {"init_frozen": 0, "nullspace": d - min(d // 2, m)}.get(kind, d)
    assert report["item table"] == model.n_items_ * learned
    padding = d * model.clusterer_.levels_.shape[1]  # rows of no cluster
    n_all = sum(p.numel() for p in model._fitted.model.parameters()) - padding
    assert report["total"] == n_all - model.n_items_ * (d - learned)


# -- new items -------------------------------------------------------------------------


@every_kind
def test_a_new_item_is_ranked_at_once(kind, model_of, features, train):
    """Nobody clicked it; among unclicked items it wins where its like is watched."""
    model = model_of(kind, prompt=None, max_epochs=6, batch_size=64)
    model.set_params(early_stopping=False).fit(train[:300])
    ids = model.item_ids_.tolist()
    assert {"new-0", "new-1"} <= set(ids)
    assert model.item_counts_[ids.index("new-0")] == 0
    rows = features.rows_of(model.item_ids_)[:, :2]
    lead = []
    for community, other in ((0, 1), (1, 0)):
        alike = [i for i, r in zip(ids, rows, strict=True) if r[community] > 0.6]
        alike = [i for i in alike if not i.startswith("new")]
        sessions = [alike[a : a + 3] for a in range(len(alike) - 3)]
        scores = model.decision_function(sessions)
        of_new = [scores[:, ids.index(f"new-{c}")] for c in (community, other)]
        lead.append((of_new[0] > of_new[1]).mean())
    assert min(lead) > 0.8, lead
    assert np.isfinite(model.rank_targets([["new-0"]], ["new-1"])).all()
    top = model.predict_topk([alike[:2]], k=1, allow=["new-0", "new-1"])
    assert top.tolist() == [["new-1"]]
    rest = model.predict_topk([["new-0", "new-1"]], k=20, exclude_seen=True)
    assert not {"new-0", "new-1"} & set(rest[0].tolist())


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax", "bpr-max"])
@pytest.mark.parametrize("backbone", ["gru4rec", "tagnn"])
def test_items_of_no_weight_do_not_change_what_is_learned(
    loss, backbone, features, train, test
):
    rows = features.vectors.copy()
    rows[-2:] = 5.0
    model = small(backbone, loss=loss, max_epochs=1, early_stopping=False)
    if loss != "cross_entropy":
        model.set_params(loss__n_negatives=30)
    a, b = (
        clone(model)
        .set_params(item_features=Fusion(given, cold_item_weight=0))
        .fit(train[:200])
        .decision_function(test)
        for given in (features, ItemFeatures(features.item_ids, rows))
    )
    new = np.isin(sorted(features.item_ids), ["new-0", "new-1"])
    np.testing.assert_allclose(a[:, ~new], b[:, ~new], rtol=1e-4, atol=1e-5)
    assert abs(a[:, new] - b[:, new]).max() > 1e-3


def test_items_without_clicks_weigh_in_the_softmax():
    """A negative of weight w adds w times its exponential."""
    vectors, counts = np.eye(3, 2) + 0.1, np.array([4, 0, 2])
    fusion = FUSIONS["gate"](3, 2, 4, 0.25)
    fusion.fill_(vectors, counts, torch.randn(3, 4))
    bias = fusion.training_bias(None)
    torch.testing.assert_close(bias.exp(), torch.tensor([1.0, 0.25, 1.0]))
    torch.testing.assert_close(fusion.take_cold_weights(), bias.exp())
    assert fusion.training_bias(None) is None
    whole = FUSIONS["gate"](3, 2, 4, 1.0)
    whole.fill_(vectors, counts, torch.randn(3, 4))
    assert whole.training_bias(None) is None


@pytest.mark.parametrize("loss", ["sampled_softmax", "bpr-max"])
def test_a_weight_is_no_bias_where_the_loss_is_no_softmax(
    loss, model_of, train, monkeypatch
):
    found = []

    class Recorded(Sampler):
        def __call__(self, *args, bias=None, **options):
            found.append((self.item_weights, bias))
            return super().__call__(*args, bias=bias, **options)

    monkeypatch.setattr(_losses, "Sampler", Recorded)
    model = model_of(loss=loss, max_epochs=1, loss__n_negatives=30).fit(train[:200])
    expected = torch.where(parts(model)[0].counts == 0, 0.1, 1.0)
    weights, bias = found[0]
    if loss == "bpr-max":
        assert bias is None
        torch.testing.assert_close(weights, expected)
    else:
        assert weights is None
        torch.testing.assert_close(bias.exp(), expected)


def test_the_more_they_weigh_the_lower_new_items_stand(model_of, train, test):
    places = []
    for weight in (0, 0.1, 1):
        model = model_of(max_epochs=4, item_features__cold_item_weight=weight)
        scores = model.fit(train).decision_function(test)
        best = scores[:, is_new(model)].max(axis=1)
        places.append((best[:, None] < scores).sum(axis=1).mean())
    assert places[0] < places[1] < places[2]


def test_items_of_the_validation_part_alone_count_as_new(model_of, train):
    valid = [["new-0", "new-1"]] * 60
    X = skclip.Sessions.from_lists(train.to_lists()[:99] + valid)
    model = model_of(early_stopping=True).fit(X)
    clicks, popular = parts(model)[0].counts.numpy(), model.item_counts_
    assert (clicks <= popular).all()
    assert clicks.sum() < popular.sum()  # a tenth validates
    model.fit(X[:99], eval_set=(valid, None))
    assert not parts(model)[0].counts.numpy()[is_new(model)].any()
    assert model.best_validation_score_ is not None


def test_ids_without_features_and_clicks_stay_outside(model_of, features, train):
    more = features.covering(["bare"])
    with pytest.warns(UserWarning, match="1 of 83 items of item_features have neither"):
        model = model_of(features=more, max_epochs=1).fit(train)
    assert "bare" not in model.item_ids_
    assert model.n_items_ == len(features)


def test_frozen_and_held_vectors(model_of, train):
    params = {"prompt": None, "weight_decay": 0.1, "loss": BPR(10)}
    tables = {}
    for kind in ("init", "init_frozen"):
        for epochs in (1, 3):
            model = model_of(kind, max_epochs=epochs, **params).fit(train)
            tables[kind, epochs] = parts(model)[1].numpy()
    new = is_new(model)
    frozen, moved = tables["init_frozen", 1], tables["init", 3]
    np.testing.assert_array_equal(frozen, tables["init_frozen", 3])
    np.testing.assert_array_equal(frozen[new], moved[new])
    assert (frozen[~new] != moved[~new]).any(axis=1).mean() > 0.9


# -- with everything else --------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["gate", "late"])
def test_every_backbone_comes_back_bit_for_bit(
    backbone, kind, model_of, train, test, tmp_path
):
    model = model_of(kind, backbone=backbone, max_epochs=1).fit(train[:120])
    X = test[:20]
    scores = model.decision_function(X)
    assert np.isfinite(scores).all()
    skclip.save(model, tmp_path / "model.skclip")
    loaded = skclip.load(tmp_path / "model.skclip")
    for again in (loaded, pickle.loads(pickle.dumps(model))):
        same(again, model, X)
    assert repr(loaded) == repr(model)
    single = np.vstack([model.decision_function(X[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(single, scores[:5], rtol=1e-3, atol=1e-4)


@every_kind
def test_with_prompted_candidates_cosine_and_samples(
    kind, model_of, features, train, test
):
    model = model_of(kind, similarity="cosine", prompt__candidates="prompted")
    model.set_params(
        loss__n_negatives=30,
        clusterer=SessionClusterer(graph_edges="both", item_features=features),
    ).fit(train)
    assert (model.membership_ >= 0).all()  # edges by features link new items too
    same(pickle.loads(pickle.dumps(model)), model, test)


def test_without_text_edges_new_items_have_no_cluster(model_of, train):
    model = model_of(max_epochs=1).fit(train)
    clicked = model.item_counts_ > 0
    assert (~clicked).sum() >= 2
    assert (model.membership_[~clicked] == -1).all()
    expected = model.clusterer_.membership_
    np.testing.assert_array_equal(model.membership_[clicked], expected)


@every_kind
def test_partial_fit_takes_new_items_and_first_clicks_in(
    kind, model_of, features, train, test
):
    model = model_of(kind, max_epochs=3, n_rehearsed=0).fit(train)
    ids, (fusion, before) = model.item_ids_.tolist(), parts(model)
    kept = fusion.counts > 0
    more = ItemFeatures(
        [*features.item_ids.tolist(), "late-1", "late-2"],
        np.vstack([features.vectors, np.eye(8)[:2] + 0.1]),
    )
    model.set_params(item_features__features=more)
    model.partial_fit([["new-0", "late-1", ids[0]], [ids[1], "late-1", "new-0"]] * 10)
    assert model.item_ids_.tolist() == [*ids, "late-1", "late-2"]
    fusion, table = parts(model)
    clicks = dict(zip(model.item_ids_, fusion.counts.tolist(), strict=True))
    assert clicks["new-0"] == clicks["late-1"] == 20
    assert clicks["new-1"] == clicks["late-2"] == 0
    assert table[: len(before)][kept].equal(before[kept])
    if kind != "init_frozen":
        assert not table[ids.index("new-0")].equal(before[ids.index("new-0")])
    assert np.isfinite(model.decision_function(test)).all()
    same(pickle.loads(pickle.dumps(model)), model, test)


def test_an_item_that_was_not_trained_on_stays_new(model_of, train):
    """A session of one event teaches nothing, in `fit` as in `partial_fit`."""
    model = model_of(max_epochs=1).fit(train[:60])
    ids = model.item_ids_.tolist()
    model.partial_fit([["new-0"], [ids[0], "new-1"]])
    counts = dict(zip(ids, parts(model)[0].counts.tolist(), strict=True))
    assert counts["new-0"] == 0
    assert counts["new-1"] == 1
    assert model.item_counts_[ids.index("new-0")] == 1


def test_partial_fit_asks_for_features(model_of, features, train):
    model = model_of(max_epochs=1).fit(train)
    with pytest.raises(ValueError, match="no row for 1 of .* such as 'other'"):
        model.partial_fit([["other", "new-0"]])
    narrow = ItemFeatures(features.item_ids, features.vectors[:, :3])
    for given in (None, narrow):
        model.set_params(item_features=given)
        with pytest.raises(ValueError, match="fitted with item_features of 8 columns"):
            model.partial_fit([["new-0", "new-1"]])


@every_kind
def test_warm_start_goes_on(kind, model_of, train):
    model = model_of(kind, warm_start=True).fit(train)
    first, (fusion, _) = model.history_[-1]["train_loss"], parts(model)
    model.set_params(learning_rate=1e-9, max_epochs=1).fit(train)
    assert model.history_[0]["train_loss"] < first + 0.05
    before = fusion.state_dict()
    for name, value in parts(model)[0].state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-5)


def test_a_search_over_kinds(model_of, features, train):
    model = small(item_features=features, max_epochs=1, prompt=None)
    grid = [{"item_features": [None]}, {"item_features__kind": ["add", "init"]}]
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(train[:200])
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    assert clone(model).item_features is features  # one matrix for all copies
    assert clone(model_of()).item_features.features is features


def test_cached_vectors_are_those_of_the_parameters(model_of, train):
    fusion, table = parts(model_of(max_epochs=1).fit(train))
    assert fusion._cached is not None
    assert fusion.cold_bias is None  # let go of after training
    with torch.no_grad():
        torch.testing.assert_close(fusion._cached, fusion(table))


def test_weight_that_is_shown(model_of, train):
    assert 0 < model_of(max_epochs=1).fit(train).fusion_weight_ < 1
    late = model_of("late", max_epochs=1).fit(train)
    assert abs(late.fusion_weight_ - 0.3) < 0.2
    assert model_of("concat", max_epochs=1).fit(train).fusion_weight_ is None
    with pytest.raises(AttributeError):
        CLIPSessionRecommender().fusion_weight_  # noqa: B018


def test_whole_number_ids_stay_what_they_are(model_of):
    X = [[3, 1, 2], [2, 3], [1, 3, 2], [2, 1]] * 5
    features = ItemFeatures([9, 1, 2, 3], np.random.default_rng(0).normal(size=(4, 3)))
    model = model_of(features=features, max_epochs=1).fit(X)
    assert model.item_ids_.tolist() == [1, 2, 3, 9]
    assert model.item_ids_.dtype.kind == "i"


def test_bad_input(model_of, features, train):
    short = ItemFeatures(features.item_ids[1:], features.vectors[1:])
    missing = features.item_ids[0]
    with pytest.raises(ValueError, match=rf"no row for 1 of 79 .* '{missing}'"):
        model_of(features=short).fit(train)
    zeros = ItemFeatures(features.item_ids, np.zeros((len(features), 3)))
    with pytest.raises(ValueError, match="All 82 rows of item_features are zero"):
        model_of(features=zeros).fit(train)
    with pytest.raises(ValueError, match="'late'.* adds two cosine scores"):
        model_of("late", similarity="dot").fit(train)
