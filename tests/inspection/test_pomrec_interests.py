"""What PoMRec's interests are, how they are weighted, and what they read."""

import copy

import joblib
import numpy as np
import pytest
from common import small
from sklearn.pipeline import make_pipeline

import skclip
from skclip import SessionClusterer
from skclip.backbones import PoMRec
from skclip.inspection import (
    interest_assignments,
    interest_report,
    interest_vectors,
    interest_weights,
)


@pytest.fixture(scope="module")
def pomrec(train):
    model = small("pomrec", embedding_dim=8, max_epochs=1, max_session_length=6)
    model.set_params(similarity=None, unseen_items="vote")
    return model.fit(train[:150])


def test_interests_add_up(pomrec, test, tmp_path):
    X = test[:20]
    v, w = interest_vectors(pomrec, X), interest_weights(pomrec, X)
    assert v.shape == (20, 3, 8)
    assert w.shape == (20, 3)
    np.testing.assert_allclose(w.sum(axis=1), 1, atol=1e-6)
    found = (w[:, :, None] * v).sum(axis=1)
    np.testing.assert_allclose(found, pomrec.session_vectors(X), atol=1e-5)
    assignments, share = interest_assignments(pomrec, X)
    for row, of_prompts, session in zip(assignments, share, X, strict=True):
        assert row.shape == (min(6, len(session)), 3)
        assert (row >= 0).all()
        np.testing.assert_allclose(row.sum(axis=0) + of_prompts, 1, atol=1e-5)
    joblib.dump(pomrec, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(interest_vectors(again, X), v)


def test_long_sessions_are_their_latest_events(pomrec):
    row = ["item-000"] * 4 + ["item-001", "item-007"] * 3
    found = interest_vectors(pomrec, [row, row[-6:]])
    np.testing.assert_array_equal(found[0], found[1])


def test_interests_of_what_cannot_be_read(pomrec):
    pomrec = copy.deepcopy(pomrec)  # one warning for each fitted model
    with pytest.warns(UserWarning, match="are empty"):
        assignments, share = interest_assignments(pomrec, [[], ["item-001"]])
    assert [row.shape for row in assignments] == [(0, 3), (1, 3)]
    assert np.isnan(share[0]).all()
    assert np.isfinite(share[1]).all()
    with pytest.raises(ValueError, match="None of the 2 sessions has an item"):
        interest_report(pomrec, [[], []])


def test_interest_report(pomrec, test):
    X = test[:10]
    report = interest_report(pomrec, X)
    w, v = interest_weights(pomrec, X), interest_vectors(pomrec, X)
    np.testing.assert_allclose(report["mean_weights"], w.mean(axis=0), atol=1e-6)
    unit = v / np.linalg.norm(v, axis=2, keepdims=True)
    pairs = [(unit[:, a] * unit[:, b]).sum(1) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert report["interest_cosine"] == pytest.approx(np.mean(pairs), abs=1e-5)
    _, share = interest_assignments(pomrec, X)
    assert report["prompt_share"] == pytest.approx(share.mean(), abs=1e-6)
    assert 0 < report["dominance"] < 1
    assert report["prompt_norm_ratio"] > 0
    one = PoMRec(n_interests=1, dispersion_weight=0, use_extractor_prompts=False)
    plain = interest_report(small(one).fit(X), X)
    assert plain["dominance"] == plain["prompt_share"] == 0
    assert plain["interest_cosine"] is plain["prompt_norm_ratio"] is None


def test_the_nearest_interest_has_no_weight(train, test):
    model = small(PoMRec(aggregation="max"), max_epochs=1).fit(train[:80])
    with pytest.raises(ValueError, match="aggregation='weighted'"):
        interest_weights(model, test[:2])
    assert interest_vectors(model, test[:2]).shape == (2, 3, 16)
    assert interest_report(model, test[:9])["mean_weights"] is None


def test_interests_belong_to_pomrec_alone(fitted, train, test):
    for model in (fitted, skclip.PopularityRecommender().fit(train)):
        with pytest.raises(TypeError, match="has no interests.* backbone='pomrec'"):
            interest_vectors(model, test)
    pipe = make_pipeline(SessionClusterer(random_state=0), small("pomrec"))
    pipe.fit(train[:150])
    assert interest_vectors(pipe, test[:4]).shape == (4, 3, 16)
