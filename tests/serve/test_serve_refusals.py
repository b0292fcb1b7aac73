"""Requests and files that the server refuses, and how it says so."""

import json
import os
import socket
import sys

import anyio
import joblib
import pytest
from fastapi.testclient import TestClient

import skclip
from skclip import MarkovRecommender, PopularityRecommender, SessionClusterer
from skclip.exceptions import IdTypeWarning
from skclip.serve import create_app
from skclip.serve.__main__ import main
from skclip.serve._middleware import BodyLimit

JSON = "application/json"
X = [["a", "b"], ["b", "c"], ["b"]]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.skclip"
    skclip.save(PopularityRecommender().fit(X), path)
    return path


@pytest.fixture(scope="module")
def client(path):
    return TestClient(create_app(path, max_body=100_000))


BAD = [
    ("{}", "Expected either session or sessions."),
    ('{"session": ["a"], "sessions": []}', "Expected either session or sessions."),
    ('{"session": "abc"}', "session: Input should be a valid list."),
    ('{"session": null}', "session: Input should be a valid list."),
    ('{"session": [true]}', "session.0: An id is text of at most 1,000"),
    ('{"session": ["a", 1.5]}', "session.1: An id is text"),
    ('{"session": [NaN]}', "session.0: An id is text"),
    ('{"session": [["a"]]}', "session.0: An id is text"),
    ('{"session": ["%s"]}' % ("a" * 1001), "session.0: An id is text"),
    ('{"session": ["\\ud800"]}', "session.0: An id has an unpaired surrogate."),
    (json.dumps({"session": ["a"] * 1001}), "session: List should have at most 1000"),
    (json.dumps({"sessions": [[]] * 1001}), "sessions: List should have at most"),
    ('{"session": [], "k": 0}', "k: Input should be greater than or equal to 1."),
    ('{"session": [], "k": 1001}', "k: Input should be less than or equal to 1000."),
    ('{"session": [], "k": "3"}', "k: Input should be a valid integer."),
    ('{"session": [], "k": true}', "k: Input should be a valid integer."),
    ('{"session": [], "k": 1e400}', "k: Input should be a valid integer."),
    ('{"session": [], "top": 3}', "top: Extra inputs are not permitted."),
    ('{"session": [], "\\ud800": 3}', "The body has an unpaired surrogate"),
    ('{"session": [9007199254740994.0]}', "session.0: An id is text"),
    ('{"session": [], "model": "b"}', "model: the server has no model 'b'."),
    ('{"session": [], "model": "c"}', "model: Input should be 'a' or 'b'."),
    ('{"sessions": [], "explain": true}', "explain needs session, not sessions."),
    (
        json.dumps({"session": ["a"] * 101, "explain": True}),
        "explain takes at most 100 clicks.",
    ),
    (
        json.dumps({"sessions": [[]] * 101, "k": 101}),
        "takes at most 100 sessions. Send them in several requests",
    ),
    ("[]", "The body is not a JSON object."),
    ("null", "The body is not a JSON object."),
    ("", "The body is missing."),
    ("{", "The body is not valid JSON."),
]


@pytest.mark.parametrize(("body", "detail"), BAD)
def test_bad_requests_are_refused(client, body, detail):
    answer = client.post("/recommend", content=body, headers={"content-type": JSON})
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
    assert len(answer.content) < 1000


@pytest.mark.parametrize(("n", "k"), [(100, 1000), (1000, 100)])
def test_the_largest_answers(client, n, k):
    assert client.post("/recommend", json={"sessions": [[]] * n, "k": k}).is_success


@pytest.mark.parametrize("where", ["/recommend", "/similar", "/items"])
@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}])
def test_a_body_that_is_not_sent_as_json(client, where, headers):
    answer = client.post(where, content=b'{"session": ["a"]}', headers=headers)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail == "Send the header content-type: application/json."


@pytest.mark.parametrize("body", [b"\xff", '{"session": [1%s]}' % ("0" * 5000)])
def test_what_is_no_json_is_refused(client, body):
    answer = client.post("/recommend", content=body, headers={"content-type": JSON})
    assert answer.status_code == 400
    assert answer.json() == {"detail": "The body cannot be read as JSON in UTF-8."}


def test_deep_nesting_is_refused(client):
    """Python reads more levels from 3.13 on, and then this is no object."""
    answer = client.post(
        "/recommend", content="[" * 50_000, headers={"content-type": JSON}
    )
    assert answer.status_code in {400, 422}
    assert len(answer.content) < 1000


def test_other_paths_and_methods_are_refused(client):
    assert client.get("/nothing").json() == {"detail": "Not Found"}
    answer = client.put("/items")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST"}
    assert client.get("/items?limit=101").status_code == 422
    refused = client.get("/items?text=a")
    assert refused.json() == {"detail": "text: Extra inputs are not permitted."}


def test_a_body_that_does_not_come_is_refused():
    messages = []

    async def receive():
        await anyio.sleep_forever()

    async def send(message):
        messages.append(message)

    limited = BodyLimit(None, max_body=100, seconds=0.01)
    anyio.run(limited, {"type": "http", "headers": []}, receive, send)
    assert messages[0]["status"] == 408
    assert b"did not arrive within 0.01 seconds" in messages[1]["body"]


def test_a_long_body_is_refused_as_it_comes(client):
    body = b" " * 100_000 + b'{"session": []}'
    announced = client.post("/recommend", content=body)
    streamed = client.post("/recommend", content=iter([body[:60_000], body[60_000:]]))
    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert answer.json()["detail"] == "The body has more than 100,000 bytes."
    headers = {"content-type": JSON}
    answer = client.post("/recommend", content=body[50_000:], headers=headers)
    assert answer.status_code == 200


def test_an_error_of_the_server_is_json(path, monkeypatch):
    app = create_app(path)
    monkeypatch.setattr("skclip.serve._models.predict_topk", None)
    client = TestClient(app, raise_server_exceptions=False)
    answer = client.post("/recommend", json={"session": []})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "Internal server error."}
    safe = client.get("/health").headers
    for name in ("content-security-policy", "x-content-type-options", "cache-control"):
        assert answer.headers[name] == safe[name]


# -- files -----------------------------------------------------------------------------


def test_files_without_a_recommender_are_refused(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        create_app(tmp_path / "none.skclip")
    joblib.dump(PopularityRecommender().fit(X), tmp_path / "model.joblib")
    with pytest.raises(ValueError, match="is not a skclip model file.*joblib"):
        create_app(tmp_path / "model.joblib")
    skclip.save(SessionClusterer(random_state=0).fit(X), tmp_path / "clusters")
    with pytest.raises(TypeError, match="SessionClusterer holds no recommender"):
        create_app(tmp_path / "clusters")
    with pytest.warns(UserWarning, match="is not fitted"):
        skclip.save(PopularityRecommender(), tmp_path / "unfitted")
    with pytest.raises(ValueError, match="not fitted"):
        create_app(tmp_path / "unfitted")
    with pytest.raises(ValueError, match="one or two model files, got 3"):
        create_app([path] * 3)


@pytest.mark.parametrize("ids", [[("a", 1), ("b", 2)], [b"a", b"b"], [0.5, 1.5]])
def test_ids_that_json_cannot_hold_are_refused(ids, tmp_path):
    skclip.save(MarkovRecommender().fit([ids]), tmp_path / "model.skclip")
    with pytest.raises(TypeError, match="text or whole numbers"):
        create_app(tmp_path / "model.skclip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"columns \[\]. Expected item ids in the first column"),
        ("item,name\na,x\n", "a later column 'title'"),
        ("title,item\nx,a\n", "a later column 'title'"),
        ("item,title\na,x\na,y\n", "two titles for the item 'a': 'x' and 'y'"),
        ("item,title\nz,x\n", "titles of 1 items, and none of them is in the model"),
        ("item,title\na\n", "line 2: expected 2 columns, found 1"),
        (b"item,title\na,\xff\n", "not a CSV file in UTF-8"),
        ('item,title\na,"x\n', "not a CSV file in UTF-8"),
    ],
)
def test_bad_titles_are_refused(path, tmp_path, text, message):
    text = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "titles.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        create_app(path, tmp_path / "titles.csv")


@pytest.mark.parametrize("offset", [0, 0.0])
def test_titles_of_ids_that_are_numbers(tmp_path, offset):
    sessions = [[offset + 3, offset + 40], [offset + 40, offset + 3]]
    skclip.save(MarkovRecommender().fit(sessions), tmp_path / "model.skclip")
    titles = tmp_path / "titles.csv"
    titles.write_text("\ufeffid,title\n03,three\n40.0,forty\nx,none\n\n")
    client = TestClient(create_app(tmp_path / "model.skclip", titles))
    found = client.get("/items").json()["items"]
    assert {i["id"]: i["title"] for i in found} == {3: "three", 40: "forty"}
    titles.write_text("id,title\n03,three\n3,drei\n")
    with pytest.raises(ValueError, match="two titles for the item 3.*once as '3'"):
        create_app(tmp_path / "model.skclip", titles)


def test_text_ids_keep_their_zeros(tmp_path):
    with pytest.warns(IdTypeWarning):
        model = MarkovRecommender().fit([["7", "07"]])
    skclip.save(model, tmp_path / "model.skclip")
    titles = tmp_path / "titles.csv"
    titles.write_text("id,title\n7,seven\n07,zero seven\n007,other\n")
    client = TestClient(create_app(tmp_path / "model.skclip", titles))
    found = client.get("/items").json()["items"]
    assert {i["id"]: i["title"] for i in found} == {"7": "seven", "07": "zero seven"}


# -- the command -----------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
def test_a_port_in_use_is_told(path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"127.0.0.1, port {port}: Address alr"):
            main([str(path), "--port", str(port)])


@pytest.mark.parametrize(
    "options",
    [["--port", "0"], ["--workers", "0"], ["--reload-seconds", "nan"], ["--max", "x"]],
)
def test_options_are_checked(path, options, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(path), *options])
    assert "error: argument --" in capsys.readouterr().err


def test_a_missing_package_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[serve\]'"):
        create_app(path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit, match=r"pip install 'skclip\[serve\]'"):
        main([str(path)])


def test_half_a_character_in_an_id_of_the_model(tmp_path):
    path = tmp_path / "model.skclip"
    skclip.save(PopularityRecommender().fit([["a", "\ud800"]]), path)
    with pytest.raises(ValueError, match="has an unpaired surrogate"):
        create_app(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")
def test_a_pipe_in_the_place_of_a_file(tmp_path):
    os.mkfifo(tmp_path / "model.skclip")
    with pytest.raises(ValueError, match="is not a regular file"):
        create_app(tmp_path / "model.skclip")


@pytest.mark.parametrize("option", [{"reload_seconds": -1}, {"max_body": 0}])
def test_options_of_the_application_are_checked(path, option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"{name}={value} is"):
        create_app(path, **option)


def test_a_missing_file_is_named(capsys):
    with pytest.raises(SystemExit, match=r"nowhere\.skclip: No such file"):
        main(["nowhere.skclip", "--port", "1024"])
