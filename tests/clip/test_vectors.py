"""Vectors and counts of fitted recommenders."""

import numpy as np
import pytest
from common import small

import skclip
from skclip import CLIPSessionRecommender
from skclip.backbones import BACKBONES, GRU4Rec, PoMRec

QUESTIONS = [["item-002", "item-007"], ["item-003"], ["item-002"] * 9]


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_products_of_the_vectors_are_the_scores(backbone, train):
    similarity = "cosine" if backbone == "narm" else None
    model = small(backbone, max_epochs=1, similarity=similarity).fit(train[:60])
    if backbone == "tagnn":
        with pytest.raises(ValueError, match="TAGNN has no session vectors"):
            model.session_vectors(QUESTIONS)
        assert not hasattr(model, "item_vectors_")
        with pytest.raises(AttributeError, match="Use predict_topk"):
            model.item_vectors_  # noqa: B018
        model._repr_html_()  # looks at every attribute
        return
    found = model.session_vectors(QUESTIONS) @ model.item_vectors_.T
    scores = model.decision_function(QUESTIONS)
    np.testing.assert_allclose(found, scores, atol=1e-4, rtol=1e-4)
    if backbone == "niser":
        norms = np.linalg.norm(model.item_vectors_, axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-5)
        norms = np.linalg.norm(model.session_vectors(QUESTIONS), axis=1)
        np.testing.assert_allclose(norms, 16, rtol=1e-5)


def test_a_bias_is_a_column_more_and_nothing_read_is_nan(train):
    model = small(GRU4Rec(tied=True), loss="bpr", embedding_dim=8, similarity=None)
    model.fit(train[:60])
    with pytest.warns(UserWarning, match="sessions are empty"):
        vectors = model.session_vectors([*QUESTIONS, []])
    assert vectors.shape == (4, 9)
    assert np.isnan(vectors[3]).all()
    found = vectors[:3] @ model.item_vectors_.T
    np.testing.assert_allclose(found, model.decision_function(QUESTIONS), atol=1e-5)
    vectors = model.session_vectors([[], []])
    assert vectors.shape == (2, 9)
    assert np.isnan(vectors).all()


def test_frozen_prompts_stay_and_are_saved(train, tmp_path):
    one, two = (
        small(PoMRec(frozen_prompts=True), max_epochs=n, early_stopping=False).fit(
            train[:60]
        )
        for n in (1, 2)
    )
    a, b = (m._fitted.model.network.extractor_prompts for m in (one, two))
    assert a.equal(b)
    assert "backbone.extractor_prompts" not in one.parameter_report()
    skclip.save(one, tmp_path / "model.skclip")
    again = skclip.load(tmp_path / "model.skclip").session_vectors(QUESTIONS)
    np.testing.assert_array_equal(again, one.session_vectors(QUESTIONS))


@pytest.mark.parametrize(
    ("n_items", "K", "published"),
    [(3706, 2, 240_301), (3706, 3, 240_375), (43_097, 3, 2_761_399)],
)
def test_parameters_of_pomrec_by_hand(n_items, K, published):
    """d = 64, M = 20, a = 8, P = 4, L = 1; published counts have a row for padding."""
    rows = [[i, i + 1] for i in range(0, n_items - 1, 2)] + [[n_items - 1, 0]]
    model = CLIPSessionRecommender(
        PoMRec(n_interests=K), prompt=None, max_session_length=20, embedding_dim=64,
        loss="bpr", batch_size=50_000, max_epochs=1, early_stopping=False,
        random_state=0,
    )  # fmt: skip
    assert model.set_params(loss__n_negatives=1).fit(rows).parameter_report() == {
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
def test_every_learned_number_is_reported_once(backbone, train):
    model = small(backbone, max_epochs=1, similarity="cosine").fit(train[:40])
    report = model.parameter_report()
    levels = model.clusterer_.levels_
    padding = 16 * levels.shape[1]  # the row of no cluster at each level
    expected = sum(p.numel() for p in model._fitted.model.parameters()) - padding
    assert report["total"] == expected
    assert sum(report.values()) == 2 * expected
    assert report["cluster prompts"] == 16 * (levels.max(axis=0) + 1).sum()
    assert report["prompt gates"] == 2 * (16 * 16 + 16)
