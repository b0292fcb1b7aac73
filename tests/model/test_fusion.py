"""Features of items in the model: equations, new items, state, errors."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skclip
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip._data import ItemFeatures, query_data
from skclip._model import FUSIONS, Batches, Fusion
from skclip._training import SampledLoss
from skclip.backbones import BACKBONES, PoMRec
from skclip.datasets import make_sessions

KINDS = [kind for kind in FUSIONS if kind != "none"]
GOLDEN = Path(__file__).parents[1] / "golden" / "no_features.json"


@pytest.fixture(scope="module")
def features(shop):
    """Features that tell the community of an item, and two items nobody clicked."""
    X, _ = shop
    ids = X.vocabulary
    rng = np.random.default_rng(0)
    communities = skclip.SessionClusterer(random_state=0).fit(X).membership_
    rows = np.eye(8)[communities % 8] + 0.1 * rng.normal(size=(len(ids), 8))
    new = np.eye(8)[:2] + 0.1 * rng.normal(size=(2, 8))
    return ItemFeatures([*ids.tolist(), "new-0", "new-1"], np.vstack([rows, new]))


def model_of(small_recommender, features, kind="gate", **params):
    model = clone(small_recommender)
    return model.set_params(item_features=features, feature_fusion=kind, **params)


# -- without features nothing has changed ----------------------------------------------


def numbers_without_features():
    X, _ = make_sessions(n_sessions=300, n_items=50, n_communities=4, random_state=3)
    found = {}
    for backbone in ("gru4rec", "core"):
        for params in (
            {},
            {"similarity": "cosine", "candidates": "prompted"},
            {"loss": "bpr-max", "n_negatives": 20, "prompt": None},
        ):
            model = CLIPSessionRecommender(
                backbone, embedding_dim=8, max_epochs=2, random_state=0, n_threads=1,
                device="cpu", **params,
            ).fit(X[:250])  # fmt: skip
            scores = model.partial_fit(X[250:280]).decision_function(X[280:])
            found[f"{backbone} {json.dumps(params)}"] = scores[0, :4].tolist()
    return found


def test_without_features_scores_are_those_before_features_came():
    """Numbers of the last version without them; rounding differs between machines."""
    expected = json.loads(GOLDEN.read_text())
    found = numbers_without_features()
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["none", None])
def test_no_fusion_ignores_the_features(
    kind, small_recommender, fitted, features, shop_split
):
    model = model_of(small_recommender, features, kind).fit(shop_split[0])
    np.testing.assert_array_equal(
        model.decision_function(shop_split[1]), fitted.decision_function(shop_split[1])
    )
    assert model.fusion_weight_ is None
    assert fitted.fusion_weight_ is None


# -- equations -------------------------------------------------------------------------


def unit(v):
    return v / max(np.linalg.norm(v), 1e-12)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def naive(kind, e, t, n, p):
    """One item, from section 4 of the specification."""
    if kind in ("init", "init_frozen"):
        return e
    if kind == "late":
        return e if n else 0 * e
    phi = t @ p["phi.weight"].T + p["phi.bias"] if t.any() else np.zeros(len(e))
    text = unit(phi)
    if kind == "add":
        return (unit(e) if n else 0) + p["gamma"] * text
    if kind == "concat":
        return p["W_c.weight"] @ np.concatenate([e if n else 0 * e, phi])
    g = sigmoid(p["w_e"] @ unit(e) + p["w_t"] @ text + p["c"] * np.log(1 + n) + p["b"])
    g = 0.0 if n == 0 else g if t.any() else 1.0
    return g * unit(e) + (1 - g) * text


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "nullspace"])
def test_vectors_equal_the_equations(kind):
    torch.manual_seed(0)
    fusion = Fusion(kind, 6, 5, 4, 0.1)
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
        naive(kind, e, row, c, p)
        for e, row, c in zip(table.double().numpy(), t, n, strict=True)
    ]
    found = fusion(table)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-5)
    at = torch.tensor([[5, 1], [2, 2]])
    torch.testing.assert_close(fusion(table[at], at), found[at])


def test_a_square_map_has_no_bias():
    assert Fusion("gate", 3, 4, 4, 0.1).phi.bias is None
    assert Fusion("gate", 3, 5, 4, 0.1).phi.bias is not None


def test_init_is_the_projection_at_the_usual_length():
    torch.manual_seed(0)
    table = torch.randn(40, 3) * 0.02
    length = float(table.norm(dim=1).mean())
    before = table.clone()
    t = np.random.default_rng(0).normal(size=(40, 6)) * [4, 3, 2, 1, 1, 1] + 5
    t[7] = 0
    fusion = Fusion("init", 40, 6, 3, 0.1)
    fusion.fill_(t, np.ones(40), table)
    known = np.delete(np.arange(40), 7)
    assert float(table[known].norm(dim=1).mean()) == pytest.approx(length, rel=1e-4)
    torch.testing.assert_close(table[7], before[7])
    centred = t[known] - t[known].mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    expected = abs(centred @ directions[:3].T)  # signs of directions are free
    ratio = abs(table[known].numpy()) / expected
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_few_features_leave_columns_of_zeros():
    table = torch.randn(9, 4)
    fusion = Fusion("init", 9, 2, 4, 0.1)
    fusion.fill_(np.random.default_rng(0).normal(size=(9, 2)), np.ones(9), table)
    assert table[:, :2].any()
    assert not table[:, 2:].any()


def test_nullspace_is_whitened_features_beside_learned_columns():
    torch.manual_seed(0)
    table = torch.randn(300, 6)
    t = np.random.default_rng(0).normal(size=(300, 9)) * np.arange(1, 10)
    n = np.ones(300)
    n[4] = 0
    fusion = Fusion("nullspace", 300, 9, 6, 0.1)
    fusion.fill_(t, n, table)
    z = fusion(table)
    torch.testing.assert_close(z[:, :3].norm(dim=1), torch.ones(300))
    torch.testing.assert_close(z[5:, 3:], table[5:, 3:])
    assert not z[4, 3:].any()
    white = torch.from_numpy(t).float() @ fusion.basis
    np.testing.assert_allclose(np.cov(white.T.numpy()), np.eye(3), atol=0.02)


@pytest.mark.parametrize("backbone", ["gru4rec", "core", "tagnn"])
def test_late_scores_equal_two_cosines(
    backbone, small_recommender, features, shop_split
):
    train, test = shop_split
    model = model_of(small_recommender, features, "late", backbone=backbone)
    model.set_params(prompt=None).fit(train[:200])
    with torch.no_grad():
        model._model.fusion.w_a.normal_()
        model._model.fusion.a.fill_(0.4)
    session = ["new-0", *test.vocabulary[test[:1].codes].tolist()]
    found = model.decision_function([session])[0]
    fusion, network = model._model.fusion, model._model
    omega = float(fusion.omega.detach())
    text = fusion.text()[0].detach().double().numpy()
    codes = model._index.codes_of(np.array(session)) - 1
    rows = text[codes]
    logits = rows @ fusion.w_a.detach().double().numpy()
    logits = logits - 0.4 * np.arange(len(codes))[::-1]
    beta = np.exp(logits - logits.max())
    u = unit((beta / beta.sum()) @ rows)
    with torch.no_grad():  # the score by learned vectors alone
        fusion.omega_logit.fill_(-30.0)
        model._keep_keys()
        own = model.decision_function([session])[0]
    expected = (1 - omega) * own + omega * float(network.scale) * (text @ u)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "bpr"])
def test_the_nearest_interest_meets_features(
    kind, loss, small_recommender, features, shop_split
):
    """Training chooses an interest by the target's vector; "late" has two."""
    train, test = shop_split
    model = model_of(small_recommender, features, kind, loss=loss, max_epochs=1)
    model.set_params(
        backbone=PoMRec(n_interests=2, aggregation="max"),
        n_negatives=3,
        share_negatives=False,
    ).fit(train[:60])
    found = model.decision_function(test[:3])
    v, (_, dim) = model.interest_vectors(test[:3]), model._model.item_table.shape
    keys = model._keys.detach().numpy()
    if kind == "late":
        v = v / np.linalg.norm(v, axis=2, keepdims=True)
    expected = (v @ keys[:, :dim].T).max(axis=1)
    if kind == "late":
        with torch.no_grad():
            batch = Batches(
                model._observed(query_data(test[:3], model._index)), "cpu", False
            ).batch(np.arange(3))
            u = model._model.fusion.session_text(batch, model.n_items_).numpy()
        omega = model.fusion_weight_
        expected = (1 - omega) * expected + omega * u @ keys[:, dim:].T
    scale = float(model._model.scale)
    np.testing.assert_allclose(found, scale * expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", ["niser", "pomrec", "gru4rec"])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_counts_with_features(
    kind, backbone, small_recommender, features, shop_split
):
    train, test = shop_split
    model = model_of(small_recommender, features, kind, backbone=backbone, max_epochs=1)
    model.fit(train[:60])
    sessions = [["new-0"], *test[:4]]
    found = model.session_vectors(sessions) @ model.item_vectors_.T
    expected = model.decision_function(sessions)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    report = model.parameter_report()
    d, m = model._model.item_table.shape[1], features.shape[1]
    phi = d * m + (0 if d == m else d)
    assert report.get("feature fusion") == {
        "gate": phi + 2 * d + 2,
        "add": phi + 1,
        "concat": phi + 2 * d * d,
        "late": phi + d + 2,
    }.get(kind, 0)
    learned = {"init_frozen": 0, "nullspace": d - min(d // 2, m)}.get(kind, d)
    assert report["item table"] == model.n_items_ * learned
    padding = d  # the row of no cluster
    n_all = sum(p.numel() for p in model._model.parameters()) - padding
    assert report["total"] == n_all - model.n_items_ * (d - learned)


# -- new items -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_item_is_ranked_at_once(kind, small_recommender, features, shop_split):
    """Nobody clicked it; among unclicked items it wins where its like is watched."""
    train, _ = shop_split
    model = model_of(small_recommender, features, kind, prompt=None)
    model.set_params(max_epochs=6, batch_size=64, early_stopping=False)
    model.fit(train[:300])
    ids = model.item_ids_.tolist()
    assert {"new-0", "new-1"} <= set(ids)
    assert model._popularity[ids.index("new-0")] == 0
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
    loss, backbone, small_recommender, features, shop_split
):
    train, test = shop_split
    rows = features.vectors.copy()
    rows[-2:] = 5.0
    other = ItemFeatures(features.item_ids, rows)
    params = {"loss": loss, "backbone": backbone, "n_negatives": 30, "max_epochs": 1}
    params["cold_item_weight"] = 0
    one, two = (
        model_of(small_recommender, f, early_stopping=False, **params).fit(train[:200])
        for f in (features, other)
    )
    clicked = ~np.isin(one.item_ids_, ["new-0", "new-1"])
    a, b = one.decision_function(test), two.decision_function(test)
    np.testing.assert_allclose(a[:, clicked], b[:, clicked], rtol=1e-4, atol=1e-5)
    assert abs(a[:, ~clicked] - b[:, ~clicked]).max() > 1e-3


def test_items_without_clicks_weigh_in_the_softmax():
    """A negative of weight w adds w times its exponential."""
    fusion = Fusion("gate", 3, 2, 4, 0.25)
    fusion.fill_(np.eye(3, 2) + 0.1, np.array([4, 0, 2]), torch.randn(3, 4))
    bias = fusion.training_bias(None)
    torch.testing.assert_close(bias.exp(), torch.tensor([1.0, 0.25, 1.0]))
    torch.testing.assert_close(fusion.take_cold_weights(), bias.exp())
    assert fusion.training_bias(None) is None
    whole = Fusion("gate", 3, 2, 4, 1.0)
    whole.fill_(np.eye(3, 2) + 0.1, np.array([4, 0, 2]), torch.randn(3, 4))
    assert whole.training_bias(None) is None


@pytest.mark.parametrize("loss", ["sampled_softmax", "bpr-max"])
def test_a_weight_is_no_bias_where_the_loss_is_no_softmax(
    loss, small_recommender, features, shop_split, monkeypatch
):
    found = []

    class Recorded(SampledLoss):
        def __call__(self, *args, bias=None, **options):
            found.append((self.item_weights, bias))
            return super().__call__(*args, bias=bias, **options)

    monkeypatch.setattr("skclip._clip._recommender.SampledLoss", Recorded)
    params = {"loss": loss, "n_negatives": 30, "max_epochs": 1}
    model = model_of(small_recommender, features, **params).fit(shop_split[0][:200])
    expected = torch.where(model._model.fusion.counts == 0, 0.1, 1.0)
    weights, bias = found[0]
    if loss == "bpr-max":
        assert bias is None
        torch.testing.assert_close(weights, expected)
    else:
        assert weights is None
        torch.testing.assert_close(bias.exp(), expected)


def test_the_more_they_weigh_the_lower_new_items_stand(
    small_recommender, features, shop_split
):
    train, test = shop_split
    places = []
    for weight in (0, 0.1, 1):
        model = model_of(
            small_recommender, features, cold_item_weight=weight, max_epochs=4
        ).fit(train)
        scores = model.decision_function(test)
        new = np.isin(model.item_ids_, ["new-0", "new-1"])
        places.append((scores[:, new].max(axis=1)[:, None] < scores).sum(1).mean())
    assert places[0] < places[1] < places[2]


def test_items_of_the_validation_part_alone_count_as_new(
    small_recommender, features, shop_split
):
    train, _ = shop_split
    valid = [["new-0", "new-1"]] * 60
    X = skclip.Sessions.from_lists(
        [
            train.vocabulary[s.codes].tolist()
            for s in (train[i : i + 1] for i in range(99))
        ]
        + valid
    )
    model = model_of(small_recommender, features).fit(X)
    clicks = model._model.fusion.counts.numpy()
    popular = model._popularity
    assert (clicks <= popular).all()
    assert clicks.sum() < popular.sum()  # a tenth validates
    known = model_of(small_recommender, features).fit(X[:99], eval_set=(valid, None))
    at = np.isin(known.item_ids_, ["new-0", "new-1"])
    assert not known._model.fusion.counts.numpy()[at].any()
    assert known.best_validation_score_ is not None


def test_ids_without_features_and_clicks_stay_outside(
    small_recommender, features, shop_split
):
    more = features.covering(["bare"])
    with pytest.warns(UserWarning, match="1 of 83 items of item_features have neither"):
        model = model_of(small_recommender, more, max_epochs=1).fit(shop_split[0])
    assert "bare" not in model.item_ids_
    assert model.n_items_ == len(features)


def test_an_item_without_a_title_is_its_learned_vector(
    small_recommender, features, shop_split
):
    rows = features.vectors.copy()
    rows[0] = 0
    model = model_of(
        small_recommender, ItemFeatures(features.item_ids, rows), prompt=None
    ).fit(shop_split[0])
    fusion, table = model._model.fusion, model._model.item_table
    at = int(model._index.codes_of(features.item_ids[:1])[0]) - 1
    z = fusion(table)[at]
    torch.testing.assert_close(z, torch.nn.functional.normalize(table[at], dim=0))


def test_frozen_and_held_vectors(small_recommender, features, shop_split):
    params = {"prompt": None, "max_epochs": 3, "weight_decay": 0.1, "loss": "bpr"}
    params["n_negatives"] = 10
    starts = {}
    for kind in ("init", "init_frozen"):
        for epochs in (1, 3):
            model = model_of(
                small_recommender, features, kind, **params | {"max_epochs": epochs}
            ).fit(shop_split[0])
            starts[kind, epochs] = model._model.item_table.detach().numpy()
    new = np.isin(model.item_ids_, ["new-0", "new-1"])
    frozen = starts["init_frozen", 1]
    np.testing.assert_array_equal(frozen, starts["init_frozen", 3])
    np.testing.assert_array_equal(frozen[new], starts["init", 3][new])
    assert (frozen[~new] != starts["init", 3][~new]).any(axis=1).mean() > 0.9


# -- with everything else --------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["gate", "late"])
def test_every_backbone_comes_back_bit_for_bit(
    backbone, kind, small_recommender, features, shop_split, tmp_path
):
    train, test = shop_split
    model = model_of(small_recommender, features, kind, backbone=backbone)
    model.set_params(max_epochs=1).fit(train[:120])
    scores = model.decision_function(test[:20])
    assert np.isfinite(scores).all()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.decision_function(test[:20]), scores)
    skclip.save(model, tmp_path / "model.skclip")
    loaded = skclip.load(tmp_path / "model.skclip")
    np.testing.assert_array_equal(loaded.decision_function(test[:20]), scores)
    assert repr(loaded) == repr(model)
    single = np.vstack([model.decision_function(test[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(single, scores[:5], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_cosine_and_temperature(kind, small_recommender, features, shop_split):
    model = model_of(
        small_recommender,
        features,
        kind,
        similarity="cosine",
        temperature="learned",
        candidates="prompted",
        loss="sampled_softmax",
        n_negatives=30,
        clusterer=SessionClusterer(graph_edges="both", item_features=features),
    ).fit(shop_split[0])
    assert (model.membership_ >= 0).all()  # edges by features link new items too
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.decision_function(shop_split[1]), model.decision_function(shop_split[1])
    )


def test_without_text_edges_new_items_have_no_cluster(
    small_recommender, features, shop_split
):
    model = model_of(small_recommender, features, max_epochs=1).fit(shop_split[0])
    clicked = model._popularity > 0
    assert (~clicked).sum() >= 2
    assert (model.membership_[~clicked] == -1).all()
    np.testing.assert_array_equal(
        model.membership_[clicked], model.clusterer_.membership_
    )


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_takes_new_items_and_first_clicks_in(
    kind, small_recommender, features, shop_split
):
    train, test = shop_split
    model = model_of(small_recommender, features, kind, max_epochs=3).fit(train)
    ids = model.item_ids_.tolist()
    before = model._model.item_table.detach().clone()
    kept = model._model.fusion.counts > 0
    more = ItemFeatures(
        [*features.item_ids.tolist(), "late-1", "late-2"],
        np.vstack([features.vectors, np.eye(8)[:2] + 0.1]),
    )
    model.set_params(item_features=more)
    model.partial_fit([["new-0", "late-1", ids[0]], [ids[1], "late-1", "new-0"]] * 10)
    assert model.item_ids_.tolist() == [*ids, "late-1", "late-2"]
    clicks = dict(
        zip(model.item_ids_, model._model.fusion.counts.tolist(), strict=True)
    )
    assert clicks["new-0"] == clicks["late-1"] == 20
    assert clicks["new-1"] == clicks["late-2"] == 0
    table = model._model.item_table.detach()[: len(before)]
    torch.testing.assert_close(table[kept], before[kept], rtol=0, atol=0)
    if kind != "init_frozen":
        assert not torch.equal(table[ids.index("new-0")], before[ids.index("new-0")])
    assert np.isfinite(model.decision_function(test)).all()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.decision_function(test), model.decision_function(test)
    )


def test_an_item_that_was_not_trained_on_stays_new(
    small_recommender, features, shop_split
):
    """A session of one event teaches nothing, in `fit` as in `partial_fit`."""
    train, _ = shop_split
    model = model_of(small_recommender, features, max_epochs=1).fit(train[:60])
    ids = model.item_ids_.tolist()
    model.partial_fit([["new-0"], [ids[0], "new-1"]])
    counts = dict(zip(ids, model._model.fusion.counts.tolist(), strict=True))
    assert counts["new-0"] == 0
    assert counts["new-1"] == 1
    assert model._popularity[ids.index("new-0")] == 1


def test_partial_fit_asks_for_features(small_recommender, features, shop_split):
    model = model_of(small_recommender, features, max_epochs=1).fit(shop_split[0])
    with pytest.raises(ValueError, match="no row for 1 of .* such as 'other'"):
        model.partial_fit([["other", "new-0"]])
    narrow = ItemFeatures(features.item_ids, features.vectors[:, :3])
    for given in (None, narrow):
        model.set_params(item_features=given)
        with pytest.raises(ValueError, match="fitted with item_features of 8 columns"):
            model.partial_fit([["new-0", "new-1"]])


@pytest.mark.parametrize("kind", KINDS)
def test_warm_start_goes_on(kind, small_recommender, features, shop_split):
    train, _ = shop_split
    model = model_of(small_recommender, features, kind, max_epochs=2, warm_start=True)
    model.fit(train)
    first = model.history_[-1]["train_loss"]
    fresh = model._model.fusion.state_dict()
    model.set_params(learning_rate=1e-9, max_epochs=1).fit(train)
    assert model.history_[0]["train_loss"] < first + 0.05
    for name, value in model._model.fusion.state_dict().items():
        torch.testing.assert_close(value, fresh[name], rtol=1e-4, atol=1e-5)


def test_checkpoint_knows_the_features(
    small_recommender, features, shop_split, tmp_path
):
    train, test = shop_split
    path = tmp_path / "run"
    params = {"early_stopping": False, "max_epochs": 3}
    whole = model_of(small_recommender, features, "init", **params).fit(train)
    cut = model_of(small_recommender, features, "init", checkpoint=path, **params)

    from skclip._training import _trainer

    saves, original = [], _trainer.tqdm

    class Cut(original):
        def update(self, n=1):
            saves.append(n)
            if len(saves) == 3:
                raise RuntimeError("power cut")
            return super().update(n)

    _trainer.tqdm = Cut
    try:
        with pytest.raises(RuntimeError, match="power cut"):
            clone(cut).fit(train)
    finally:
        _trainer.tqdm = original
    assert path.exists()
    rows = features.vectors.copy()
    rows[0, 0] += 1
    other = clone(cut).set_params(item_features=ItemFeatures(features.item_ids, rows))
    with pytest.raises(ValueError, match="checkpoint of another run"):
        other.fit(train)
    cut.fit(train)
    np.testing.assert_array_equal(
        cut.decision_function(test), whole.decision_function(test)
    )


def test_a_search_over_kinds(small_recommender, features, shop_split):
    model = model_of(small_recommender, features, max_epochs=1, prompt=None)
    search = GridSearchCV(model, {"feature_fusion": ["none", "add"]}, cv=2)
    search.fit(shop_split[0][:200])
    assert clone(model).item_features is features  # one matrix for all copies
    assert search.best_estimator_.item_features is features


def test_cached_vectors_are_those_of_the_parameters(
    small_recommender, features, shop_split
):
    model = model_of(small_recommender, features, max_epochs=1).fit(shop_split[0])
    inner = model._model
    assert inner.fusion._cached is not None
    assert inner.fusion.cold_bias is None  # let go of after training
    with torch.no_grad():
        torch.testing.assert_close(inner.fusion._cached, inner.fusion(inner.item_table))


def test_weight_that_is_shown(small_recommender, features, shop_split):
    train = shop_split[0]
    gate = model_of(small_recommender, features, max_epochs=1).fit(train)
    assert 0 < gate.fusion_weight_ < 1
    late = model_of(small_recommender, features, "late", max_epochs=1).fit(train)
    assert abs(late.fusion_weight_ - 0.3) < 0.2
    with pytest.raises(AttributeError):
        CLIPSessionRecommender().fusion_weight_  # noqa: B018


def test_whole_number_ids_stay_what_they_are(small_recommender):
    X = [[3, 1, 2], [2, 3], [1, 3, 2], [2, 1]] * 5
    features = ItemFeatures([9, 1, 2, 3], np.random.default_rng(0).normal(size=(4, 3)))
    model = model_of(small_recommender, features, max_epochs=1).fit(X)
    assert model.item_ids_.tolist() == [1, 2, 3, 9]
    assert model.item_ids_.dtype.kind == "i"


# -- errors ----------------------------------------------------------------------------


def test_bad_input(small_recommender, features, shop_split):
    train = shop_split[0]
    short = ItemFeatures(features.item_ids[1:], features.vectors[1:])
    missing = features.item_ids[0]
    with pytest.raises(ValueError, match=rf"no row for 1 of 79 .* '{missing}'"):
        model_of(small_recommender, short).fit(train)
    with pytest.raises(TypeError, match=r"ndarray of shape \(82, 8\)\. Expected"):
        model_of(small_recommender, features.vectors).fit(train)
    with pytest.raises(ValueError, match="'feature_fusion' parameter .* 'gat'"):
        model_of(small_recommender, features, "gat").fit(train)
    zeros = ItemFeatures(features.item_ids, np.zeros((len(features), 3)))
    with pytest.raises(ValueError, match="All 82 rows of item_features are zero"):
        model_of(small_recommender, zeros).fit(train)
    with pytest.raises(ValueError, match="'late' adds two cosines"):
        model_of(small_recommender, features, "late", similarity="dot").fit(train)


if __name__ == "__main__":  # writes the numbers that the first test compares with
    GOLDEN.write_text(json.dumps(numbers_without_features(), indent=1) + "\n")
