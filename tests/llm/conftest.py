"""An endpoint on this machine, and titles for the items of `shop`."""

import pytest
from juice_shop import KEY, SENTINEL

from skclip.llm import ChatModel


@pytest.fixture
def endpoint(monkeypatch):
    """Parameters that reach a scripted server through the package openai."""
    pytest.importorskip("openai")
    monkeypatch.setenv(KEY, SENTINEL)

    def parameters(server, **model):
        model = {"base_url": server.url, "api_key_env": KEY, "max_retries": 0} | model
        return {"client": None, "model": ChatModel("m", **model)}

    return parameters


@pytest.fixture
def no_waiting(monkeypatch):
    """Retries of the package openai come at once."""
    client = pytest.importorskip("openai._base_client").BaseClient
    monkeypatch.setattr(client, "_calculate_retry_timeout", lambda *args: 0.0)


@pytest.fixture
def shop_titles(shop):
    _, truth = shop
    words = ["oak", "pine", "tin", "silk", "jute"]
    return {
        item: f"{words[c]} {words[i % 5]} number {i}"
        for i, (item, c) in enumerate(
            zip(truth.item_ids.tolist(), truth.communities, strict=True)
        )
    }
