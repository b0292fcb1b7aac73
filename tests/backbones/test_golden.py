"""Every offered variant of every fixture, in both precisions."""

import numpy as np
import pytest
import torch
from golden import (
    CASES,
    FLOAT32,
    FLOAT64,
    SKIPPED,
    golden_model,
    load,
    scores,
    session_vectors,
)

from skclip.backbones import BACKBONES


@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float32, FLOAT32), (torch.float64, FLOAT64)]
)
@pytest.mark.parametrize(("fixture", "variant"), CASES)
@torch.no_grad()
def test_fixture(fixture, variant, dtype, atol):
    golden = load(fixture)
    expected = golden["variants"][variant]
    model = golden_model(fixture, variant, dtype)
    vectors = session_vectors(model, golden["sessions"])
    found = scores(model, golden["sessions"])
    if fixture.startswith("core"):  # scores are divided by 0.07
        atol *= 10
    np.testing.assert_allclose(vectors, expected["session_vectors"], atol=atol, rtol=0)
    np.testing.assert_allclose(found, expected["scores"], atol=atol, rtol=0)


def test_every_fixture_variant_is_offered_or_skipped_for_a_reason():
    for fixture in {fixture for fixture, _ in CASES}:
        offered = {v for name, v in [*CASES, *SKIPPED] if name == fixture}
        assert offered == set(load(fixture)["variants"])


def test_every_backbone_has_a_fixture():
    elsewhere = {"niser", "pomrec", "sasrec"}  # naive loops in files of their own
    assert {name.split("_")[0] for name, _ in CASES} | elsewhere == set(BACKBONES)
