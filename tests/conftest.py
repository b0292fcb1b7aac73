"""Tiny fixtures. The kitchen and the workshop share no item."""

import os
from pathlib import Path

import numpy as np
import pytest
from common import small
from hypothesis import HealthCheck, settings
from outcomes import pytest_terminal_summary  # noqa: F401, pytest calls it

from skclip.datasets import make_sessions

# A busy machine is no fault of what is tested.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def patience():
    """No warning of fits that wait for cores: tests count the warnings they expect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skclip._threads._ENOUGH_SECONDS", float("inf"))
        yield


@pytest.fixture
def kitchen_and_workshop():
    """Edges: cup-tea 2, cup-milk 1, nail-saw 2, glue-saw 1."""
    return [
        ["tea", "cup", "milk"],
        ["cup", "tea"],
        ["saw", "nail"],
        ["nail", "saw", "glue"],
    ]


@pytest.fixture(scope="session")
def shop():
    return make_sessions(n_sessions=600, n_items=80, n_communities=5, random_state=3)


@pytest.fixture(scope="session")
def shop_split(shop):
    X, _ = shop
    return X[:500], X[500:]


@pytest.fixture(scope="session")
def train(shop_split):
    return shop_split[0]


@pytest.fixture(scope="session")
def test(shop_split):
    return shop_split[1]


@pytest.fixture(scope="session")
def small_recommender():
    """`small` as a fixture; clone it before it is changed or fitted."""
    return small()


@pytest.fixture(scope="session")
def fitted(train):
    return small().fit(train)


@pytest.fixture(scope="session")
def data_home():
    """Folder of real data sets, or skip (never silently: see the report)."""
    home = os.environ.get("SKCLIP_DATA")
    if not home or not Path(home).is_dir():
        pytest.skip("needs real data: SKCLIP_DATA names no folder")
    return Path(home)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
