"""P-values of draws, and Holm's adjustment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip.model_selection._p_values import bootstrap_p_values, holm

P_VALUES = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.05, 1.0])), max_size=9
)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        # 4 * 0.005, 3 * 0.01, 2 * 0.03, and 1 * 0.04, which may not fall below 0.06.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        # 5 * 0.0002, 4 * 0.0002 (not below), 3 * 0.02, 2 * 0.04, 1 * 0.5.
        ([0.0002, 0.0002, 0.02, 0.5, 0.04], [0.001, 0.001, 0.06, 0.5, 0.08]),
        ([0.9, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([np.nan, 0.01, 0.04], [np.nan, 0.02, 0.04]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_worked_by_hand(p_values, adjusted):
    """The rows without NaN are also what statsmodels' multipletests has."""
    np.testing.assert_allclose(holm(p_values), adjusted, rtol=1e-12)


@given(P_VALUES, st.randoms())
def test_holm_keeps_the_order_and_knows_none(p_values, random):
    adjusted = holm(p_values)
    n = len(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(1, n * np.array(p_values))).all()  # Bonferroni's
    by_p = adjusted[np.argsort(p_values)]
    assert (np.diff(by_p) >= 0).all()
    order = random.sample(range(n), n)
    mixed = holm([p_values[i] for i in order])
    np.testing.assert_array_equal(mixed, adjusted[order])


@given(P_VALUES, st.floats(0.001, 0.5))
def test_holm_rejects_as_the_steps_do(p_values, level):
    """The smallest p-value against level / m, the next against level / (m - 1), ..."""
    rejected, left = set(), len(p_values)
    for i in np.argsort(p_values, kind="stable").tolist():
        if p_values[i] * left > level:
            break
        rejected.add(i)
        left -= 1
    assert set(np.flatnonzero(holm(p_values) <= level).tolist()) == rejected


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_p_values_count_draws_on_the_other_side(draws):
    below, above = sum(d <= 0 for d in draws), sum(d >= 0 for d in draws)
    expected = min(1, 2 * (1 + min(below, above)) / (1 + len(draws)))
    columns = np.array([[d, -d, d + 1e-17, 0] for d in draws], dtype=float)
    found = bootstrap_p_values(columns)
    assert found == pytest.approx([expected, expected, expected, 1])
    with_gaps = np.concatenate([columns, np.full((3, 4), np.nan)])
    np.testing.assert_array_equal(bootstrap_p_values(with_gaps), found)


def test_no_draws_have_no_p_value():
    assert np.isnan(bootstrap_p_values(np.empty((0, 2)))).all()
    assert np.isnan(bootstrap_p_values(np.full((5, 2), np.nan))).all()
