"""Types and times of clicks in requests, for models that read them."""

import numpy as np
import pytest
from common import small
from fastapi.testclient import TestClient

import skclip
from skclip import Sessions
from skclip.serve import create_app

SESSIONS = [["item-003", "item-019"], [], ["item-041", "new"]]
EVENTS = [["view", "buy"], [], ["view", None]]
TIMES = [[0, 1.5], [], [7, 7]]


@pytest.fixture(scope="module")
def model(train):
    lists, rng = train[:300].to_lists(), np.random.default_rng(0)
    X = Sessions.from_lists(
        lists,
        events=[rng.choice(["buy", "view"], len(row)) for row in lists],
        times=[np.arange(len(row)) * 30 for row in lists],
    )
    return small(click_features=("event", "gap", "dwell")).fit(X)


@pytest.fixture(scope="module")
def client(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.skclip"
    skclip.save(model, path)
    with TestClient(create_app([path])) as client:
        yield client


def post(client, **body):
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_many_sessions_are_read_with_types_and_times(client, model):
    X = Sessions.from_lists(SESSIONS, events=EVENTS, times=TIMES)
    body = {"sessions": SESSIONS, "events": EVENTS, "times": TIMES}
    found = post(client, k=5, exclude_seen=False, **body)["results"]
    items, scores = model.predict_topk(X, k=5, return_scores=True)
    for row, best, values in zip(found, items, scores, strict=True):
        assert row["items"] == best.tolist()
        np.testing.assert_allclose(row["scores"], values, rtol=1e-6)
    assert found != post(client, k=5, exclude_seen=False, sessions=SESSIONS)["results"]


def test_one_session_and_its_explanation(client, model):
    body = {"session": SESSIONS[0], "events": EVENTS[0], "times": TIMES[0]}
    X = Sessions.from_lists(SESSIONS[:1], events=EVENTS[:1], times=TIMES[:1])
    expected = model.predict_topk(X, k=3, exclude_seen=True)[0].tolist()
    assert post(client, k=3, **body)["items"] == expected
    answer = post(client, k=3, explain=True, **body)
    assert answer["items"] == expected
    assert len(answer["explanation"]["drops"]) == 2


def test_types_alone_and_unknown_types_are_fine(client):
    one = {"session": SESSIONS[0]}
    unknown = post(client, **one, events=["gift", 7])
    assert unknown["items"] == post(client, **one, events=[None, None])["items"]


@pytest.mark.parametrize(
    ("columns", "detail"),
    [
        (
            {"events": ["view"]},
            "events does not match the clicks. Expected one value per",
        ),
        (
            {"times": [[0, 1]]},
            "times does not match the clicks. Expected one value per",
        ),
        ({"times": [1, 0]}, "times must not decrease within a session"),
        ({"times": [0, "1"]}, "times"),
        ({"times": [0, None]}, "times"),
        ({"events": [["view"], ["buy"]]}, "events does not match the clicks"),
    ],
)
def test_what_does_not_fit_the_clicks_is_refused(client, columns, detail):
    body = {"session": SESSIONS[0]} | columns
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]


def test_rows_of_several_sessions_must_fit_each(client):
    body = {"sessions": SESSIONS, "events": EVENTS[:2]}
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 422
    assert "one list per session" in answer.json()["detail"]
