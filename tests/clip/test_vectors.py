"""Vectors, interests and counts of fitted recommenders."""

import joblib
import numpy as np
import pytest
from sklearn.base import clone

import skclip
from skclip import CLIPSessionRecommender
from skclip.backbones import BACKBONES, NISER, GRU4Rec, PoMRec

QUESTIONS = [["item-001", "item-007"], ["item-003"], ["item-001"] * 9]


def fitted_to(rows, backbone, **options):
    model = CLIPSessionRecommender(
        backbone,
        **{"embedding_dim": 8, "max_epochs": 1, "random_state": 0} | options,
        n_threads=1,
        device="cpu",
    )
    return model.fit(rows)


@pytest.fixture(scope="module")
def pomrec(shop_split):
    return fitted_to(shop_split[0][:150], "pomrec", max_session_length=6)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_products_of_the_vectors_are_the_scores(backbone, shop_split):
    options = {} if backbone != "narm" else {"similarity": "cosine"}
    model = fitted_to(shop_split[0][:60], backbone, **options)
    if backbone == "tagnn":
        with pytest.raises(ValueError, match="TAGNN scores each item by a vector of"):
            model.session_vectors(QUESTIONS)
        assert not hasattr(model, "item_vectors_")
        with pytest.raises(AttributeError, match="Use predict_topk"):
            model.item_vectors_  # noqa: B018
        model._repr_html_()  # looks at every attribute
        return
    found = model.session_vectors(QUESTIONS) @ model.item_vectors_.T
    np.testing.assert_allclose(
        found, model.decision_function(QUESTIONS), atol=1e-4, rtol=1e-4
    )


def test_a_bias_is_a_column_more_and_nothing_read_is_nan(shop_split):
    model = fitted_to(shop_split[0][:60], GRU4Rec(tied=True), loss="bpr")
    with pytest.warns(UserWarning, match="sessions are empty"):
        vectors = model.session_vectors([*QUESTIONS, []])
    assert vectors.shape == (4, 9)
    assert np.isnan(vectors[3]).all()
    found = vectors[:3] @ model.item_vectors_.T
    np.testing.assert_allclose(found, model.decision_function(QUESTIONS), atol=1e-5)
    with pytest.warns(UserWarning, match="sessions are empty"):
        vectors = model.session_vectors([[], []])
    assert vectors.shape == (2, 9)
    assert np.isnan(vectors).all()


def test_cosine_vectors_have_one_length(shop_split):
    model = fitted_to(shop_split[0][:60], "niser")
    norms = np.linalg.norm(model.item_vectors_, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    norms = np.linalg.norm(model.session_vectors(QUESTIONS), axis=1)
    np.testing.assert_allclose(norms, 16, rtol=1e-5)


def test_normalize_items_reaches_the_model(shop_split):
    for asked, expected in (("auto", True), (None, True), (False, False)):
        model = fitted_to(shop_split[0][:40], NISER(), normalize_items=asked)
        assert model._model.normalize_items == expected
    model = fitted_to(shop_split[0][:40], "gru4rec", normalize_items=True)
    assert model.resolved_params_["normalize_items"] is True
    norms = np.linalg.norm(model.item_vectors_, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)


def test_interests_add_up(pomrec, shop_split, tmp_path):
    X = shop_split[1][:20]
    v, w = pomrec.interest_vectors(X), pomrec.interest_weights(X)
    assert v.shape == (20, 3, 8)
    assert w.shape == (20, 3)
    np.testing.assert_allclose(w.sum(axis=1), 1, atol=1e-6)
    found = (w[:, :, None] * v).sum(axis=1)
    np.testing.assert_allclose(found, pomrec.session_vectors(X), atol=1e-5)
    assignments, share = pomrec.interest_assignments(X)
    for row, of_prompts, session in zip(assignments, share, X, strict=True):
        assert row.shape == (min(6, len(session)), 3)
        assert (row >= 0).all()
        np.testing.assert_allclose(row.sum(axis=0) + of_prompts, 1, atol=1e-5)
    skclip.save(pomrec, tmp_path / "model.skclip")
    for again in (
        skclip.load(tmp_path / "model.skclip"),
        joblib.load(joblib.dump(pomrec, tmp_path / "model.joblib")[0]),
    ):
        np.testing.assert_array_equal(again.interest_vectors(X), v)


def test_long_sessions_are_their_latest_events(pomrec, shop):
    row = shop[0][:3].vocabulary[:1].tolist() * 4 + ["item-001", "item-007"] * 3
    found = pomrec.interest_vectors([row, row[-6:]])
    np.testing.assert_array_equal(found[0], found[1])


def test_interests_of_what_cannot_be_read(pomrec):
    with pytest.warns(UserWarning, match="are empty"):
        assignments, share = pomrec.interest_assignments([[], ["item-001"]])
    assert [row.shape for row in assignments] == [(0, 3), (1, 3)]
    assert np.isnan(share[0]).all()
    assert np.isfinite(share[1]).all()


def test_frozen_prompts_stay_and_are_saved(shop_split, tmp_path):
    one, two = (
        fitted_to(
            shop_split[0][:60],
            PoMRec(frozen_prompts=True),
            max_epochs=n,
            early_stopping=False,
        )
        for n in (1, 2)
    )
    a, b = (m._model.network.extractor_prompts.numpy() for m in (one, two))
    np.testing.assert_array_equal(a, b)
    assert "backbone.extractor_prompts" not in one.parameter_report()
    skclip.save(one, tmp_path / "model.skclip")
    np.testing.assert_array_equal(
        skclip.load(tmp_path / "model.skclip").session_vectors(QUESTIONS),
        one.session_vectors(QUESTIONS),
    )


def test_no_report_of_nothing(pomrec):
    with (
        pytest.warns(UserWarning, match="are empty"),
        pytest.raises(ValueError, match="Nothing could be read of the 2 sessions"),
    ):
        pomrec.interest_report([[], []])


def test_interest_report(pomrec, shop_split):
    X = shop_split[1][:10]
    report = pomrec.interest_report(X)
    w, v = pomrec.interest_weights(X), pomrec.interest_vectors(X)
    np.testing.assert_allclose(report["mean_weights"], w.mean(axis=0), atol=1e-6)
    unit = v / np.linalg.norm(v, axis=2, keepdims=True)
    pairs = [(unit[:, a] * unit[:, b]).sum(1) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert report["interest_cosine"] == pytest.approx(np.mean(pairs), abs=1e-5)
    _, share = pomrec.interest_assignments(X)
    assert report["prompt_share"] == pytest.approx(share.mean(), abs=1e-6)
    assert 0 < report["dominance"] < 1
    assert report["prompt_norm_ratio"] > 0
    plain = fitted_to(
        X, PoMRec(n_interests=1, dispersion_weight=0, use_extractor_prompts=False)
    ).interest_report(X)
    assert plain["dominance"] == plain["prompt_share"] == 0
    assert plain["interest_cosine"] is plain["prompt_norm_ratio"] is None


def test_interests_belong_to_pomrec_alone(fitted):
    for name in ("vectors", "weights", "assignments", "report"):
        assert not hasattr(fitted, f"interest_{name}")
        assert hasattr(clone(fitted).set_params(backbone="pomrec"), f"interest_{name}")
    assert not hasattr(clone(fitted).set_params(backbone="nrm"), "interest_vectors")


@pytest.mark.parametrize(
    ("n_items", "K", "published"),
    [(3706, 2, 240_301), (3706, 3, 240_375), (43_097, 3, 2_761_399)],
)
def test_parameters_of_pomrec_by_hand(n_items, K, published):
    """d = 64, M = 20, a = 8, P = 4, L = 1; published counts have a row for padding."""
    rows = [[i, i + 1] for i in range(0, n_items - 1, 2)] + [[n_items - 1, 0]]
    model = CLIPSessionRecommender(
        PoMRec(n_interests=K),
        prompt=None,
        max_session_length=20,
        embedding_dim=64,
        loss="bpr",
        n_negatives=1,
        batch_size=50_000,
        max_epochs=1,
        early_stopping=False,
        random_state=0,
    ).fit(rows)
    assert model.parameter_report() == {
        "item table": n_items * 64,
        "backbone.positions": 21 * 64,
        "backbone.extractor_prompts": 4 * 64,
        "backbone.aggregator_prompts": 4 * 64,
        "backbone.extractor": 64 * 8 + 8 + 8 * K + K,
        "backbone.aggregator": 64 * 8 + 8 + 8 + 1,
        "backbone.weight_mlp": 64 * K + K,
        "total": published - 64,
    }


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_learned_number_is_reported_once(backbone, shop_split):
    model = fitted_to(
        shop_split[0][:40], backbone, similarity="cosine", temperature="learned"
    )
    report = model.parameter_report()
    padding = 8  # the row of no cluster
    expected = sum(p.numel() for p in model._model.parameters()) - padding
    assert report["total"] == expected
    assert sum(report.values()) == 2 * expected
    n_clusters = model.membership_.max() + 1
    assert report["cluster prompts"] == 8 * n_clusters
    assert report["prompt gates"] == 2 * (8 * 8 + 8)
    assert report["temperature"] == 1
