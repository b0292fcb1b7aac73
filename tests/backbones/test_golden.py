"""Every offered variant of every fixture, in both precisions."""

import numpy as np
import pytest
import torch
from golden import CASES, FLOAT32, FLOAT64, golden_model, load, session_vectors


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
    scores = model.scores(vectors, model.keys())
    np.testing.assert_allclose(vectors, expected["session_vectors"], atol=atol, rtol=0)
    np.testing.assert_allclose(scores, expected["scores"], atol=atol, rtol=0)


def test_every_fixture_variant_is_offered():
    for fixture in {fixture for fixture, _ in CASES}:
        offered = {variant for name, variant in CASES if name == fixture}
        assert offered == set(load(fixture)["variants"])
